//! JSON bodies as a strict reader sees them: duplicate members, bad UTF-8, deep nesting and trailing text are refused, and whoever
//! reads a body reports everything that is wrong with it at once, each with the path of the field.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The most problems one answer lists; a body with more has the same cause many times.
pub const FIELD_ERRORS_MAX: usize = 20;
/// Objects up to this size are searched for duplicates one by one, larger ones through a set.
const LINEAR_SEARCH_MAX: usize = 16;

/// A parsed JSON value that borrows from the body where it can.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number written without fraction or exponent, within 64 bits.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// A string.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object: members in the order of the body, names unique.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Reads one whole body. The error names line and column.
pub fn parse(body: &[u8]) -> Result<Json<'_>, FieldErrors> {
    serde_json::from_slice(body).map_err(|error| {
        let hint = if body.iter().all(u8::is_ascii_whitespace) { "the body is empty: send a JSON object" } else { "" };
        let message = if hint.is_empty() { format!("not valid JSON: {error}") } else { hint.to_owned() };
        FieldErrors::one("body", message)
    })
}

impl<'a> Json<'a> {
    /// What JSON calls this value, for error messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Integer(_) => "an integer",
            Json::Float(_) => "a number with fraction or exponent",
            Json::String(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }

    /// The members of the body's outermost object, each to be taken once; what is left at the end is unknown.
    pub fn into_members(self, path: &'static str, errors: &mut FieldErrors) -> Members<'a> {
        let members = match self {
            Json::Object(members) => members,
            other => {
                errors.add(path, format!("must be an object, not {}", other.kind()));
                Vec::new()
            }
        };
        Members { members }
    }

    /// The string, or a complaint at `path`.
    pub fn into_string(self, path: &str, errors: &mut FieldErrors) -> Option<Cow<'a, str>> {
        match self {
            Json::String(text) => Some(text),
            other => {
                errors.add(path, format!("must be a string, not {}", other.kind()));
                None
            }
        }
    }

    /// The integer if it is within `range`, or a complaint at `path`.
    pub fn into_integer(self, path: &str, range: std::ops::RangeInclusive<i64>, errors: &mut FieldErrors) -> Option<i64> {
        let (low, high) = (*range.start(), *range.end());
        match self {
            Json::Integer(value) if (i128::from(low)..=i128::from(high)).contains(&value) => i64::try_from(value).ok(),
            Json::Integer(_) => {
                errors.add(path, format!("must be from {low} to {high}"));
                None
            }
            other => {
                errors.add(path, format!("must be an integer from {low} to {high}, not {}", other.kind()));
                None
            }
        }
    }
}

/// The members of an object, taken one by one.
#[derive(Debug)]
pub struct Members<'a> {
    members: Vec<(Cow<'a, str>, Json<'a>)>,
}

impl<'a> Members<'a> {
    /// The member of this name; `None` when it is absent or `null`, which mean the same.
    pub fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let index = self.members.iter().position(|(member, _)| member == name)?;
        Some(self.members.swap_remove(index).1).filter(|value| *value != Json::Null)
    }

    /// The member of this name, with a complaint when it is absent or `null`.
    pub fn require(&mut self, path: &str, name: &str, errors: &mut FieldErrors) -> Option<Json<'a>> {
        let value = self.take(name);
        if value.is_none() {
            errors.add(join(path, name), "is required");
        }
        value
    }

    /// Complains about every member that was not taken: a misspelled name should not pass in silence.
    pub fn finish(self, path: &str, errors: &mut FieldErrors) {
        for (name, _) in self.members {
            errors.add(join(path, &name), "is not a member of this request");
        }
    }
}

fn join(path: &str, name: &str) -> String {
    let mut name: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    if name.is_empty() {
        // A member may be called nothing at all, and still has to be found.
        name.push_str("\"\"");
    }
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FieldError {
    /// Where: `items[0].sku`, `cart.SKU-1`, `body` for the whole.
    pub field: String,
    /// What, and what would be right.
    pub message: String,
}

/// Everything that is wrong with a request, at most [`FIELD_ERRORS_MAX`] entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// A single error.
    pub fn one(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// Adds an error, unless there are enough already.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.0.len() < FIELD_ERRORS_MAX {
            self.0.push(FieldError { field: field.into(), message: message.into() });
        }
    }

    /// The value if nothing is wrong and it is there.
    pub fn into_result<T>(mut self, value: Option<T>) -> Result<T, FieldErrors> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => {
                if self.0.is_empty() {
                    self.add("body", "is incomplete");
                }
                Err(self)
            }
        }
    }

    /// The errors in the order they were found.
    pub fn as_slice(&self) -> &[FieldError] {
        &self.0
    }

    /// The errors in the order they were found.
    pub fn into_vec(self) -> Vec<FieldError> {
        self.0
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            write!(f, "{}{}: {}", if index == 0 { "" } else { "; " }, error.field, error.message)?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Json::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let mut members: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        let mut names: HashSet<String> = HashSet::new();
        while let Some(Name(name)) = map.next_key()? {
            if members.len() == LINEAR_SEARCH_MAX {
                names.extend(members.iter().map(|(name, _)| name.to_string()));
            }
            let known = match members.len() {
                0..LINEAR_SEARCH_MAX => members.iter().any(|(other, _)| *other == name),
                _ => !names.insert(name.to_string()),
            };
            if known {
                let shown: String = name.chars().take(80).collect();
                return Err(de::Error::custom(format!("member {shown:?} is there twice")));
            }
            let value = map.next_value()?;
            members.push((name, value));
        }
        Ok(Json::Object(members))
    }
}

/// A member's name, borrowed when it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(JsonVisitor)? {
            Json::String(name) => Ok(Name(name)),
            _ => Err(de::Error::custom("a member's name must be a string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &[u8]) -> String {
        parse(body).unwrap_err().to_string()
    }

    #[test]
    fn reads_every_kind() {
        let body = br#"{"a":null,"b":[true,-1,1.5,"x\ny"],"c":{"d":18446744073709551615}}"#;
        let Json::Object(members) = parse(body).unwrap() else { panic!("an object") };
        assert_eq!(members[0], ("a".into(), Json::Null));
        let list = vec![Json::Bool(true), Json::Integer(-1), Json::Float(1.5), Json::String("x\ny".into())];
        assert_eq!(members[1], ("b".into(), Json::Array(list)));
        assert_eq!(members[2].1, Json::Object(vec![("d".into(), Json::Integer(u64::MAX.into()))]));
    }

    #[test]
    fn refuses_duplicates_however_they_are_written_and_however_many_there_are() {
        assert!(message(br#"{"a":1,"\u0061":2}"#).contains("\"a\" is there twice"));
        assert!(message(br#"{"cart":{"A":1,"A":1}}"#).contains("\"A\" is there twice"));
        for size in [15, 16, 17, 40] {
            let members: Vec<String> = (0..size).map(|n| format!("\"m{n}\":0")).collect();
            assert!(parse(format!("{{{}}}", members.join(",")).as_bytes()).is_ok());
            for again in [0, size / 2, size - 1] {
                let body = format!("{{{},\"m{again}\":0}}", members.join(","));
                assert!(message(body.as_bytes()).contains("is there twice"), "{size} {again}");
            }
        }
    }

    #[test]
    fn refuses_what_is_not_json() {
        for body in
            [&b""[..], b" \n", b"{", b"{}x", b"{\"a\":1e999}", b"{\"a\":\"\xff\"}", b"\"\\ud800\"", b"{'a':1}", b"NaN", b"{\"a\":01}"]
        {
            assert!(parse(body).is_err(), "{body:?}");
        }
        assert!(message(b"  ").contains("empty"));
        let deep = "[".repeat(100_000);
        assert!(message(deep.as_bytes()).contains("recursion limit"));
    }

    #[test]
    fn a_member_without_a_visible_name_is_named_all_the_same() {
        for body in [&b"{\"\":1}"[..], b"{\"\\u0000\":1}"] {
            let mut errors = FieldErrors::default();
            parse(body).unwrap().into_members("body", &mut errors).finish("", &mut errors);
            assert_eq!(errors.as_slice()[0].field, "\"\"");
        }
    }

    #[test]
    fn lists_all_problems_but_not_without_end() {
        let mut errors = FieldErrors::default();
        let body = (0..100).map(|n| format!("\"m{n}\":0")).collect::<Vec<_>>().join(",");
        let body = format!("{{{body}}}");
        parse(body.as_bytes()).unwrap().into_members("body", &mut errors).finish("", &mut errors);
        assert_eq!(errors.as_slice().len(), FIELD_ERRORS_MAX);
    }
}
