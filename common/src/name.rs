//! Names that people give to things and read again: stores, products, API keys.

/// The most characters of a name.
pub const NAME_MAX_CHARS: usize = 100;

/// A text that is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to {NAME_MAX_CHARS} characters, no control characters among them")]
pub struct MalformedName;

/// A name, without white space around it.
pub fn parse(text: &str) -> Result<&str, MalformedName> {
    let text = text.trim();
    let is_name = (1..=NAME_MAX_CHARS).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if is_name { Ok(text) } else { Err(MalformedName) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printable() {
        assert_eq!(parse("  Größe 1 "), Ok("Größe 1"));
        assert!(parse(&"ß".repeat(100)).is_ok());
        assert!(["", "   ", "a\nb", "\u{1b}[2J", &"x".repeat(101)].iter().all(|text| parse(text) == Err(MalformedName)));
    }
}
