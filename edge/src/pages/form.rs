//! What a form sent: named values, each at most once, bounded. The token that proves which page it came from is checked by whoever knows
//! the browser, [`super::visit::Visit::form`].

use common::json::FieldErrors;

/// A cart's lines, and what else the largest form has.
const FIELDS_MAX: usize = 80;
/// The longest value: a webhook endpoint's URL is the longest that anybody types into a line.
const VALUE_MAX_BYTES: usize = common::webhook_target::URL_MAX;

/// A form's values.
#[derive(Debug, Clone, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a body of `application/x-www-form-urlencoded`.
    pub fn parse(body: &[u8]) -> Result<Self, FieldErrors> {
        Self::parse_with(body, "")
    }

    /// The same of a form with a field for whole texts, which is as long as the body allows.
    pub fn parse_with(body: &[u8], text_field: &str) -> Result<Self, FieldErrors> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            if pairs.len() == FIELDS_MAX {
                return Err(FieldErrors::one("form", format!("may have {FIELDS_MAX} fields")));
            }
            if name.len() > VALUE_MAX_BYTES || (value.len() > VALUE_MAX_BYTES && name != text_field) {
                return Err(FieldErrors::one("form", format!("may have values of {VALUE_MAX_BYTES} bytes")));
            }
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(FieldErrors::one("form", "may have each field once"));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    /// A value without white space around it; empty when it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.text(name).trim()
    }

    /// A value to the letter; empty when it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    /// All values whose names begin so, with the rest of their names.
    pub fn beginning<'f>(&'f self, prefix: &'f str) -> impl Iterator<Item = (&'f str, &'f str)> {
        self.0.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.trim())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_browsers_send_and_no_more_than_that() {
        let form = Form::parse(b"email=a%40b.example&quantity.SKU-1=+2+&empty=&plus=a+b").unwrap();
        assert_eq!((form.get("email"), form.get("empty"), form.get("none"), form.get("plus")), ("a@b.example", "", "", "a b"));
        assert_eq!(form.beginning("quantity.").collect::<Vec<_>>(), [("SKU-1", "2")]);
        assert!(Form::parse(b"a=1&a=2").is_err());
        let many = |count: usize| (0..count).map(|n| format!("f{n}=1")).collect::<Vec<_>>().join("&");
        assert!(Form::parse(many(FIELDS_MAX).as_bytes()).is_ok());
        assert!(Form::parse(many(FIELDS_MAX + 1).as_bytes()).is_err());
        assert!(Form::parse(format!("a={}", "x".repeat(VALUE_MAX_BYTES)).as_bytes()).is_ok());
        let long = format!("a={}", "x".repeat(VALUE_MAX_BYTES + 1));
        assert!(Form::parse(long.as_bytes()).is_err() && Form::parse_with(long.as_bytes(), "b").is_err());
        assert!(Form::parse_with(long.as_bytes(), "a").is_ok());
    }
}
