//! What is printed: enough to see what is in force, and nothing that must be kept.

use crate::{SECRET_PIECES, file, load, load_file};

#[test]
fn neither_debug_nor_the_printed_configuration_shows_a_secret() {
    let url = "postgres://edge:pass-w0rd@db.example.com/pay?password=pass-w0rd";
    let secrets = file("new:QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ old:UUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUU");
    let path = secrets.path().to_str().unwrap();
    let settings = load(&[("POSTGRES__URL", url), ("SECRETS__SEALING", ""), ("SECRETS__SEALING_FILE", path)]).unwrap();
    let printed = settings.redacted_toml();
    for text in [printed, &format!("{settings:?}"), &format!("{settings:#?}")] {
        for piece in SECRET_PIECES {
            assert!(!text.contains(piece), "{piece} in {text}");
        }
    }
    for line in [
        "url = \"postgres://edge:***@db.example.com/pay?password=***\" # environment ANONYMOUSPAY_POSTGRES__URL",
        "url = \"redis://edge:***@cache.example.com\" # environment ANONYMOUSPAY_REDIS__URL",
        "api_key_pepper = \"pepper:***\" # environment ANONYMOUSPAY_SECRETS__API_KEY_PEPPER",
        "sealing = \"new:***, old:***\" # environment ANONYMOUSPAY_SECRETS__SEALING_FILE",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} in {printed}");
    }
}

#[test]
fn the_printed_configuration_is_the_effective_one() {
    let settings =
        load_file("[edge]\nthreads = 0x10\ntrusted_proxies = ['10.1.2.3/8', '::1']\n", &[("LOG__FILTER", "info,edge=\"x\"")]).unwrap();
    let printed: toml::Table = settings.redacted_toml().parse().unwrap();
    assert_eq!(printed["mode"].as_str(), Some("production"));
    assert_eq!(printed["edge"]["threads"].as_integer(), Some(16));
    assert_eq!(printed["edge"]["tls_key_file"].as_str(), Some(""));
    assert_eq!(printed["edge"]["trusted_proxies"], toml::Value::from(vec!["10.0.0.0/8", "::1/128"]));
    assert_eq!(printed["log"]["filter"].as_str(), Some("info,edge=\"x\""));
    // Every knob, in the manual's order.
    let knobs = |text: &str| {
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.split_once(" = ")?.0.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(knobs(settings.redacted_toml()), knobs(config::DEFAULT_TOML));
}
