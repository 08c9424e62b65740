//! The bodies that manage webhook endpoints, as far as they can be judged without asking anybody. They hold secrets, and URLs that may have
//! a token in them: none has a `Debug`.

use jiff::Timestamp;

use super::ids::DeliveryId;
use super::secret::WebhookSecret;
use crate::event::EventKind;
use crate::json::{self, FieldErrors, Json, Members};
use crate::webhook_target::{Rules, Target};

/// A new endpoint.
pub struct CreateRequest {
    /// Where it is.
    pub url: Target,
    /// Public names of the events it asks for, each once; none means all.
    pub events: Vec<String>,
    /// The partner's own secret, unless one is to be made.
    pub secret: Option<WebhookSecret>,
}

/// What is to be different about an endpoint.
pub struct ChangeRequest {
    /// Where it is.
    pub url: Option<Target>,
    /// Public names of the events it asks for, each once; none means all.
    pub events: Option<Vec<String>>,
    /// Whether it is sent anything.
    pub enabled: Option<bool>,
}

/// Another secret for an endpoint.
pub struct RotateRequest {
    /// The partner's own, unless one is to be made.
    pub secret: Option<WebhookSecret>,
    /// The secret before it is known to somebody who should not know it, and signs no longer.
    pub revoke_previous: bool,
}

/// Deliveries to be sent again.
pub struct ResendRequest {
    /// Those made from here on, in Unix milliseconds,
    pub from_ms: u64,
    /// and before this.
    pub to_ms: u64,
    /// Not only those that were given up.
    pub all: bool,
    /// Where the call before ended.
    pub after: Option<DeliveryId>,
}

impl CreateRequest {
    /// Reads a body.
    pub fn parse(body: &[u8], rules: Rules) -> Result<Self, FieldErrors> {
        let (mut members, mut errors) = members(body)?;
        let url = members.require("", "url", &mut errors).and_then(|value| read_url(value, rules, &mut errors));
        let events = members.take("events").and_then(|value| read_events(value, &mut errors));
        let secret = members.take("secret").and_then(|value| read_secret(value, &mut errors));
        members.finish("", &mut errors);
        errors.into_result(url.map(|url| Self { url, events: events.unwrap_or_default(), secret }))
    }
}

impl ChangeRequest {
    /// Reads a body.
    pub fn parse(body: &[u8], rules: Rules) -> Result<Self, FieldErrors> {
        let (mut members, mut errors) = members(body)?;
        let url = members.take("url").and_then(|value| read_url(value, rules, &mut errors));
        let events = members.take("events").and_then(|value| read_events(value, &mut errors));
        let enabled = members.take("enabled").and_then(|value| read_bool("enabled", value, &mut errors));
        members.finish("", &mut errors);
        errors.into_result(Some(Self { url, events, enabled }))
    }
}

impl RotateRequest {
    /// Reads a body, which may be none at all.
    pub fn parse(body: &[u8]) -> Result<Self, FieldErrors> {
        if body.is_empty() {
            return Ok(Self { secret: None, revoke_previous: false });
        }
        let (mut members, mut errors) = members(body)?;
        let secret = members.take("secret").and_then(|value| read_secret(value, &mut errors));
        let revoke_previous = members.take("revoke_previous").and_then(|value| read_bool("revoke_previous", value, &mut errors));
        members.finish("", &mut errors);
        errors.into_result(Some(Self { secret, revoke_previous: revoke_previous.unwrap_or_default() }))
    }
}

impl ResendRequest {
    /// Reads a body.
    pub fn parse(body: &[u8]) -> Result<Self, FieldErrors> {
        let (mut members, mut errors) = members(body)?;
        let mut time = |name, errors: &mut FieldErrors| members.require("", name, errors).and_then(|value| read_time(name, value, errors));
        let from = time("from", &mut errors);
        let to = time("to", &mut errors);
        let all = members.take("all").and_then(|value| read_bool("all", value, &mut errors));
        let after = members.take("cursor").and_then(|value| {
            let text = value.into_string("cursor", &mut errors)?;
            text.parse().map_err(|_| errors.add("cursor", "must be the next_cursor of an earlier answer")).ok()
        });
        members.finish("", &mut errors);
        let range = from.zip(to);
        if range.is_some_and(|(from, to)| from >= to) {
            errors.add("to", "must be after from");
        }
        let request = range.map(|(from_ms, to_ms)| Self { from_ms, to_ms, all: all.unwrap_or_default(), after });
        errors.into_result(request)
    }
}

fn members(body: &[u8]) -> Result<(Members<'_>, FieldErrors), FieldErrors> {
    let mut errors = FieldErrors::default();
    let members = json::parse(body)?.into_members("body", &mut errors);
    if errors.as_slice().is_empty() { Ok((members, errors)) } else { Err(errors) }
}

fn read_url(value: Json<'_>, rules: Rules, errors: &mut FieldErrors) -> Option<Target> {
    let text = value.into_string("url", errors)?;
    Target::parse(&text, rules).map_err(|error| errors.add("url", error.to_string())).ok()
}

fn read_events(value: Json<'_>, errors: &mut FieldErrors) -> Option<Vec<String>> {
    let Json::Array(values) = value else {
        errors.add("events", format!("must be an array, not {}", value.kind()));
        return None;
    };
    let mut events: Vec<EventKind> = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        let path = format!("events[{index}]");
        let Some(name) = value.into_string(&path, errors) else { continue };
        match EventKind::subscribable(&name) {
            None => errors.add(path, format!("must be one of {}", EventKind::SUBSCRIBABLE.map(EventKind::as_str).join(", "))),
            Some(kind) if events.contains(&kind) => errors.add(path, "is there twice"),
            Some(kind) => events.push(kind),
        }
    }
    Some(events.into_iter().map(|kind| kind.as_str().to_owned()).collect())
}

fn read_secret(value: Json<'_>, errors: &mut FieldErrors) -> Option<WebhookSecret> {
    let text = value.into_string("secret", errors)?;
    WebhookSecret::parse(&text).map_err(|error| errors.add("secret", error.to_string())).ok()
}

fn read_bool(path: &str, value: Json<'_>, errors: &mut FieldErrors) -> Option<bool> {
    match value {
        Json::Bool(value) => Some(value),
        other => {
            errors.add(path, format!("must be a boolean, not {}", other.kind()));
            None
        }
    }
}

fn read_time(path: &str, value: Json<'_>, errors: &mut FieldErrors) -> Option<u64> {
    let text = value.into_string(path, errors)?;
    let time = parse_time(&text);
    if time.is_none() {
        errors.add(path, "must be an RFC 3339 time such as 2026-03-02T12:00:00Z");
    }
    time
}

/// A time as RFC 3339 writes it, in Unix milliseconds; whatever was before 1970 is 0.
pub fn parse_time(text: &str) -> Option<u64> {
    // The parser takes more: other separators, times without seconds, names of zones.
    let last = text.len().checked_sub(1).filter(|_| text.is_ascii())?;
    let zoned = text[last..].eq_ignore_ascii_case("z") || text.len() > 6 && text.as_bytes()[text.len() - 3] == b':';
    let shaped = text.bytes().enumerate().all(|(index, b)| match index {
        4 | 7 => b == b'-',
        10 => b.eq_ignore_ascii_case(&b't'),
        13 | 16 => b == b':',
        0..19 => b.is_ascii_digit(),
        _ => b.is_ascii_digit() || matches!(b, b'.' | b'+' | b'-' | b':' | b'z' | b'Z'),
    });
    let time: Timestamp = text.parse().ok().filter(|_| shaped && zoned && text.len() >= "0000-00-00T00:00:00Z".len())?;
    Some(u64::try_from(time.as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<T>(parsed: Result<T, FieldErrors>) -> Vec<String> {
        parsed.err().map(|errors| errors.into_vec().into_iter().map(|error| error.field).collect()).unwrap_or_default()
    }

    #[test]
    fn reads_what_is_documented() {
        let made = CreateRequest::parse(br#"{"url":"https://shop.example/hooks"}"#, Rules::Production).ok().unwrap();
        assert_eq!((made.url.as_str(), made.events.len(), made.secret.is_none()), ("https://shop.example/hooks", 0, true));
        let body = br#"{"url":"https://shop.example/","events":["order.refunded","order.created"],"secret":"sixteen-letters!"}"#;
        let made = CreateRequest::parse(body, Rules::Production).ok().unwrap();
        assert_eq!(
            (made.events, made.secret.unwrap().expose()),
            (vec!["order.refunded".into(), "order.created".into()], "sixteen-letters!")
        );

        let change = ChangeRequest::parse(br#"{"enabled":false,"events":[],"url":null}"#, Rules::Production).ok().unwrap();
        assert_eq!((change.url.is_none(), change.events, change.enabled), (true, Some(Vec::new()), Some(false)));
        assert!(ChangeRequest::parse(b"{}", Rules::Production).is_ok_and(|change| change.enabled.is_none() && change.events.is_none()));

        for nothing in [&b""[..], b"{}", br#"{"secret":null,"revoke_previous":false}"#] {
            assert!(RotateRequest::parse(nothing).is_ok_and(|rotate| rotate.secret.is_none() && !rotate.revoke_previous));
        }
        assert!(RotateRequest::parse(br#"{"revoke_previous":true}"#).is_ok_and(|rotate| rotate.revoke_previous));

        let body = br#"{"from":"2026-03-02T12:00:00Z","to":"2026-03-02T14:00:00.5+01:00","all":true,"cursor":"whd_7"}"#;
        let resend = ResendRequest::parse(body).ok().unwrap();
        assert_eq!((resend.from_ms, resend.to_ms - resend.from_ms), (1_772_452_800_000, 3_600_500));
        assert_eq!((resend.all, resend.after), (true, Some(DeliveryId(7))));
    }

    #[test]
    fn says_everything_that_is_wrong_at_once() {
        let body = br#"{"events":["order.created","order.paid",7,"order.created"],"secret":"short","x":1}"#;
        assert_eq!(fields(CreateRequest::parse(body, Rules::Production)), ["url", "events[1]", "events[2]", "events[3]", "secret", "x"]);
        let body = br#"{"url":"http://shop.example/","events":"order.created","enabled":"yes","secret":"sixteen-letters!"}"#;
        assert_eq!(fields(ChangeRequest::parse(body, Rules::Production)), ["url", "events", "enabled", "secret"]);
        assert_eq!(fields(RotateRequest::parse(br#"{"secret":1,"revoke_previous":1,"y":1}"#)), ["secret", "revoke_previous", "y"]);
        assert_eq!(fields(RotateRequest::parse(b" ")), ["body"]);
        assert_eq!(fields(ResendRequest::parse(br#"{"from":"2026-03-02","all":0,"cursor":"7"}"#)), ["from", "to", "all", "cursor"]);
        let same = br#"{"from":"2026-03-02T12:00:00Z","to":"2026-03-02T12:00:00Z"}"#;
        assert_eq!(fields(ResendRequest::parse(same)), ["to"]);
        for body in [&b"[]"[..], b"{", b"null"] {
            assert_eq!(fields(CreateRequest::parse(body, Rules::Production)), ["body"]);
        }
    }

    #[test]
    fn a_secret_is_never_told_back() {
        let body = br#"{"url":"https://shop.example/","secret":"whsec_never-to-be-seen"}"#;
        let told = CreateRequest::parse(body, Rules::Production).err().unwrap().to_string();
        assert!(told.starts_with("secret: ") && !told.contains("never-to-be-seen"), "{told}");
    }

    #[test]
    fn times_are_those_of_rfc_3339() {
        for (text, unix_ms) in [
            ("1970-01-01T00:00:01Z", 1_000),
            ("1970-01-01t00:00:01z", 1_000),
            ("1970-01-01T00:00:00.999999999Z", 999),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1960-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(parse_time(text), Some(unix_ms), "{text}");
        }
        for text in [
            "",
            "Z",
            "2026-03-02",
            "2026-03-02T12:00:00",
            "2026-03-02T12:00Z",
            "2026-03-02 12:00:00Z",
            "20260302T120000Z",
            "2026-03-02T12:00:00+01",
            "2026-03-02T12:00:00+01:00[Europe/Paris]",
            "2026-02-30T12:00:00Z",
            "2026-03-02T12:00:00Zé",
            "1772452800",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
