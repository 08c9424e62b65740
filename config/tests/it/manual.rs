//! `default.toml` is the manual: every knob is explained, every knob is read, and nothing is read that is not there.

use config::DEFAULT_TOML;

use crate::{environment, lines, load};

/// All knobs as `section.knob`, each with its comment and its default.
fn knobs() -> Vec<(String, String, toml::Value)> {
    let defaults: toml::Table = DEFAULT_TOML.parse().unwrap();
    let (mut section, mut comment, mut knobs) = ("", String::new(), Vec::new());
    for line in DEFAULT_TOML.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.strip_suffix(']').unwrap();
        } else if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text);
            continue;
        } else if let Some((knob, _)) = line.split_once(" = ") {
            let full = if section.is_empty() { knob.to_owned() } else { format!("{section}.{knob}") };
            let value = if section.is_empty() { &defaults[knob] } else { &defaults[section][knob] };
            knobs.push((full, comment.trim().to_owned(), value.clone()));
        }
        comment.clear();
    }
    let total: usize = defaults.values().map(|value| value.as_table().map_or(1, |section| section.len())).sum();
    assert_eq!(knobs.len(), total, "a line of default.toml escapes this test");
    knobs
}

fn variable(knob: &str) -> String {
    knob.replace('.', "__").to_ascii_uppercase()
}

#[test]
fn every_knob_says_its_unit_or_reason() {
    for (knob, comment, _) in knobs() {
        assert!(comment.len() >= 25 && comment.ends_with('.'), "{knob} needs a comment of its own above it, and has {comment:?}");
        for (unit, word) in [("_ms", "Milliseconds"), ("_s", "Seconds"), ("_bytes", "Bytes"), ("_days", "Days")] {
            assert!(!knob.ends_with(unit) || comment.starts_with(word), "{knob}'s comment must begin with {word}");
        }
        let per_minute = knob.starts_with("limits.");
        assert!(!per_minute || comment.contains("a minute"), "{knob} is a rate a minute");
    }
}

#[test]
fn every_knob_is_read_and_every_reader_refuses_nonsense() {
    load(&[]).expect("a reader without its line in default.toml would have panicked");
    for (knob, _, _) in knobs() {
        // No reader takes a control character, so that a knob without a problem is a knob that nobody reads.
        let told = lines(load(&[(&variable(&knob), "\u{1}")]));
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].starts_with(&format!("{knob} (environment ANONYMOUSPAY_{}): ", variable(&knob))), "{told:#?}");
    }
}

#[test]
fn every_number_has_a_range() {
    let numbers = knobs().into_iter().filter(|(.., value)| value.is_integer());
    for (knob, ..) in numbers {
        for value in ["-1", "1000000000000"] {
            let told = lines(load(&[(&variable(&knob), value)]));
            assert_eq!(told.len(), 1, "{told:#?}");
            assert!(told[0].contains("expected a whole number from "), "{told:#?}");
        }
    }
}

#[test]
fn every_default_stands_when_it_is_said_again() {
    let expected = load(&[]).unwrap();
    let again: Vec<(String, String)> = knobs()
        .into_iter()
        .filter_map(|(knob, _, value)| {
            let text = value.as_str().map(str::to_owned).or_else(|| value.as_integer().map(|number| number.to_string()))?;
            (!text.is_empty()).then(|| (format!("ANONYMOUSPAY_{}", variable(&knob)), text))
        })
        .chain(environment(&[]))
        .collect();
    let values = |settings: &config::Settings| settings.redacted_toml().parse::<toml::Table>().unwrap();
    assert_eq!(values(&config::Settings::load(None, again).unwrap()), values(&expected));
}
