//! What is refused, and that it is told well: which knob, from where, what is expected, all at once, and never a secret.

use std::path::Path;

use config::Settings;

use crate::{environment, file, lines, load, load_file};

/// The only problem of a configuration that differs by `extra`.
fn only(extra: &[(&str, &str)]) -> String {
    let mut lines = lines(load(extra));
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines.remove(0)
}

#[test]
fn each_is_one_sentence_with_knob_origin_and_expectation() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        // Wrong type.
        (
            &[("EDGE__THREADS", "many")],
            "edge.threads (environment ANONYMOUSPAY_EDGE__THREADS): expected a whole number from 0 to 1024; found \"many\"",
        ),
        (
            &[("EDGE__LISTEN", "8000")],
            "edge.listen (environment ANONYMOUSPAY_EDGE__LISTEN): expected an IP address and a port, \
             such as 127.0.0.1:8000 or [::]:8000; found \"8000\"",
        ),
        (
            &[("MODE", "prod"), ("POSTGRES__TLS", "disable")],
            "mode (environment ANONYMOUSPAY_MODE): expected \"development\" or \"production\"; found \"prod\"",
        ),
        (
            &[("QUEUE__PREFIX", "a b")],
            "queue.prefix (environment ANONYMOUSPAY_QUEUE__PREFIX): expected 1 to 16 of a-z, 0-9 and -; found \"a b\"",
        ),
        (
            &[("QUEUE__PREFIX", "a\u{fffd}")],
            "queue.prefix (environment ANONYMOUSPAY_QUEUE__PREFIX): expected 1 to 16 of a-z, 0-9 and -; found text that is not UTF-8",
        ),
        (
            &[("EDGE__TRUSTED_PROXIES", "10.0.0.0/8,proxy")],
            "edge.trusted_proxies (environment ANONYMOUSPAY_EDGE__TRUSTED_PROXIES): expected a list of up to 256 addresses or CIDR \
             networks, none of them of length /0; found \"10.0.0.0/8,proxy\"",
        ),
        (
            &[("HTTP__PUBLIC_BASE_URL", "https://pay.example.com/")],
            "http.public_base_url (environment ANONYMOUSPAY_HTTP__PUBLIC_BASE_URL): expected http://host or https://host, with :port \
             if need be, without a path and without a slash at the end; found \"https://pay.example.com/\"",
        ),
        // Out of range.
        (
            &[("EDGE__SESSION_LIFETIME_S", "1799")],
            "edge.session_lifetime_s (environment ANONYMOUSPAY_EDGE__SESSION_LIFETIME_S): expected a whole number \
             from 1800 to 86400; found \"1799\"",
        ),
        (
            &[("RETENTION__IDEMPOTENCY_KEYS_DAYS", "29")],
            "retention.idempotency_keys_days (environment ANONYMOUSPAY_RETENTION__IDEMPOTENCY_KEYS_DAYS): expected a whole number \
             from 30 to 3650; found \"29\"",
        ),
        (
            &[("EDGE__TRUSTED_PROXIES", "::/0")],
            "edge.trusted_proxies (environment ANONYMOUSPAY_EDGE__TRUSTED_PROXIES): expected a list of up to 256 addresses or CIDR \
             networks, none of them of length /0; found \"::/0\"",
        ),
        // Missing.
        (
            &[("HTTP__PUBLIC_BASE_URL", "")],
            "http.public_base_url (environment ANONYMOUSPAY_HTTP__PUBLIC_BASE_URL): missing; expected http://host or https://host, \
             with :port if need be, without a path and without a slash at the end, by ANONYMOUSPAY_HTTP__PUBLIC_BASE_URL",
        ),
        (
            &[("REDIS__URL", "")],
            "redis.url (environment ANONYMOUSPAY_REDIS__URL): missing; expected a URL that begins with redis:// or rediss://, \
             by ANONYMOUSPAY_REDIS__URL",
        ),
        (
            &[("SECRETS__SEALING", "")],
            "secrets.sealing (environment ANONYMOUSPAY_SECRETS__SEALING): missing; expected id:base64 of 32 random bytes or more \
             (openssl rand -base64 32), by ANONYMOUSPAY_SECRETS__SEALING or ANONYMOUSPAY_SECRETS__SEALING_FILE",
        ),
        // Contradictory.
        (
            &[("EDGE__FULFILL_FALLBACK_MS", "4000")],
            "edge.fulfill_fallback_ms (environment ANONYMOUSPAY_EDGE__FULFILL_FALLBACK_MS): is 4000, and must be less than \
             edge.fulfill_deadline_ms, which is 4000 (default)",
        ),
        (
            &[("QUEUE__RENEW_MS", "5000")],
            "queue.renew_ms (environment ANONYMOUSPAY_QUEUE__RENEW_MS): is 5000, and must be less than half of queue.pickup_idle_ms, \
             which is 10000 (default)",
        ),
        (
            &[("EDGE__TLS_KEY_FILE", "/etc/key.pem")],
            "edge.tls_certificate_file (default): is \"\", and must be set or empty together with edge.tls_key_file, \
             which is \"/etc/key.pem\" (environment ANONYMOUSPAY_EDGE__TLS_KEY_FILE)",
        ),
        (
            &[("EDGE__ADMIN_LISTEN", "0.0.0.0:8000")],
            "edge.admin_listen (environment ANONYMOUSPAY_EDGE__ADMIN_LISTEN): is \"0.0.0.0:8000\", and must differ from edge.listen, \
             which is \"0.0.0.0:8000\" (default)",
        ),
        (
            &[("EDGE__CONNECTIONS_MAX", "100")],
            "edge.connections_per_address_max (default): is 2000, and must not be more than edge.connections_max, \
             which is 100 (environment ANONYMOUSPAY_EDGE__CONNECTIONS_MAX)",
        ),
        (
            &[("EDGE__DRAIN_TIMEOUT_MS", "4000")],
            "edge.drain_idle_ms (default): is 5000, and must not be more than edge.drain_timeout_ms, \
             which is 4000 (environment ANONYMOUSPAY_EDGE__DRAIN_TIMEOUT_MS)",
        ),
        (
            &[("EDGE__URI_MAX_BYTES", "16384")],
            "edge.uri_max_bytes (environment ANONYMOUSPAY_EDGE__URI_MAX_BYTES): is 16384, and must be less than edge.head_max_bytes, \
             which is 16384 (default)",
        ),
        (
            &[("POSTGRES__TLS", "disable")],
            "postgres.tls (environment ANONYMOUSPAY_POSTGRES__TLS): is \"disable\", which production allows for loopback and Unix \
             sockets only, and postgres.url names \"db.example.com\"; expected \"verify-full\"",
        ),
        (
            &[("POSTGRES__URL", "postgres://edge:pass-w0rd@%2Frun%2Fpg/pay")],
            "postgres.tls (default): is \"verify-full\", and postgres.url names the Unix socket \"/run/pg\", on which there is no TLS; \
             expected \"disable\"",
        ),
        (
            &[("POSTGRES__URL", "postgres://edge:pass-w0rd@db/pay?sslmode=disable")],
            "postgres.url (environment ANONYMOUSPAY_POSTGRES__URL): says sslmode, which postgres.tls decides; take it out of the URL",
        ),
        (
            &[("POSTGRES__URL", "postgres://localhost"), ("POSTGRES__TLS", "disable"), ("POSTGRES__TLS_CA_FILE", "/ca.pem")],
            "postgres.tls_ca_file (environment ANONYMOUSPAY_POSTGRES__TLS_CA_FILE): is \"/ca.pem\", and has no use with postgres.tls, \
             which is \"disable\" (environment ANONYMOUSPAY_POSTGRES__TLS)",
        ),
        (
            &[("SECRETS__SEALING_FILE", "/run/sealing")],
            "secrets.sealing (environment ANONYMOUSPAY_SECRETS__SEALING): is set, and so is secrets.sealing_file; \
             leave one of them empty",
        ),
        (
            &[("SECRETS__LICENSE_DIGEST", "d:MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM,e:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")],
            "secrets.license_digest (environment ANONYMOUSPAY_SECRETS__LICENSE_DIGEST): secret \"e\" is the same as \"pepper\" of \
             secrets.api_key_pepper; each purpose needs secrets of its own",
        ),
        // Secrets and passwords, told without their values.
        (
            &[("SECRETS__SEALING", "seal:AAAAAAAA")],
            "secrets.sealing (environment ANONYMOUSPAY_SECRETS__SEALING): secret \"seal\" has 6 bytes, and needs at least 32",
        ),
        (
            &[("SECRETS__SEALING", "AAAAAAAA")],
            "secrets.sealing (environment ANONYMOUSPAY_SECRETS__SEALING): write each secret as id:base64",
        ),
        (
            &[("SECRETS__SEALING", "QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ:seal!")],
            "secrets.sealing (environment ANONYMOUSPAY_SECRETS__SEALING): a secret's id is 1 to 16 of a-z, 0-9 and -",
        ),
        (
            &[("REDIS__URL", "http://edge:pass-w0rd@cache")],
            "redis.url (environment ANONYMOUSPAY_REDIS__URL): expected a URL that begins with redis:// or rediss://; it begins otherwise",
        ),
    ];
    for (extra, expected) in cases {
        assert_eq!(only(extra), *expected);
    }
}

#[test]
fn unknown_names_bring_a_suggestion() {
    let cases = [
        ("EDGE__LISTN", "ANONYMOUSPAY_EDGE__LISTN (environment): no such knob; did you mean ANONYMOUSPAY_EDGE__LISTEN?"),
        ("EDGE_LISTEN", "ANONYMOUSPAY_EDGE_LISTEN (environment): no such knob; did you mean ANONYMOUSPAY_EDGE__LISTEN?"),
        ("edge__listen", "ANONYMOUSPAY_edge__listen (environment): no such knob; did you mean ANONYMOUSPAY_EDGE__LISTEN?"),
        ("COLOR", "ANONYMOUSPAY_COLOR (environment): no such knob; default.toml lists them all"),
    ];
    for (name, expected) in cases {
        assert_eq!(only(&[(name, "pass-w0rd")]), expected);
    }
    let text = "mdoe = 'pass-w0rd'\n[edge]\nlistn = 'pass-w0rd'\n[http]\n\n  trusted_proxies = 1\n[x.y]\n\"a\\nb\" = 1";
    let file = file(text);
    let path = file.path().display();
    let told = lines(Settings::load(Some(file.path()), environment(&[])));
    let expected = [
        format!("mdoe (file {path} line 1): no such knob; did you mean mode?"),
        format!("edge.listn (file {path} line 3): no such knob; did you mean edge.listen?"),
        format!("http.trusted_proxies (file {path} line 6): no such knob; did you mean edge.trusted_proxies?"),
        format!("x.y (file {path} line 7): no such knob; default.toml lists them all"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn types_of_the_file_are_checked() {
    let text = "[edge]\nthreads = '1'\nlisten = true\nwaiters_max = 1.5\ntrusted_proxies = [1]\nidle_timeout_ms = 99999999999999999999
        [edge.head_timeout_ms]
        x = 1
        [redis]
        url = ['pass-w0rd']";
    let file = file(text);
    let told = lines(Settings::load(Some(file.path()), {
        let mut environment = environment(&[]);
        environment.retain(|(name, _)| name != "ANONYMOUSPAY_REDIS__URL");
        environment
    }));
    let path = file.path().display();
    let expected = [
        format!(
            "edge.listen (file {path} line 3): expected an IP address and a port, such as 127.0.0.1:8000 or [::]:8000; found a boolean"
        ),
        format!("edge.threads (file {path} line 2): expected a whole number from 0 to 1024; found \"1\""),
        format!("edge.head_timeout_ms (file {path} line 7): expected a whole number from 100 to 600000; found a section"),
        format!("edge.idle_timeout_ms (file {path} line 6): expected a whole number from 100 to 3600000; found a number that is too large"),
        format!(
            "edge.trusted_proxies (file {path} line 5): expected a list of up to 256 addresses or CIDR networks, none of them of length /0; \
             found a list of something else"
        ),
        format!("edge.waiters_max (file {path} line 4): expected a whole number from 1 to 1000000; found a number with a fraction"),
        format!("redis.url (file {path} line 10): expected a URL that begins with redis:// or rediss://"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn all_are_told_at_once() {
    let told = lines(load_file(
        "[edge]\nthreads = -1\n[queue]\nprefix = ''\nprefx = 'x'\n",
        &[
            ("EDGE__WRITE_TIMEOUT_MS", "soon"),
            ("EDGE__FULFILL_FALLBACK_MS", "9000"),
            ("POSTGRES__URL", ""),
            ("SECRETS__SEALING", "seal:AAAA"),
            ("SECRETS__SESSION_SIGNING", ""),
            ("NONSENSE", "1"),
        ],
    ));
    let about: Vec<&str> = told.iter().map(|line| line.split(' ').next().unwrap()).collect();
    let expected = [
        "queue.prefx",
        "ANONYMOUSPAY_NONSENSE",
        "edge.threads",
        "edge.write_timeout_ms",
        "edge.fulfill_fallback_ms",
        "postgres.url",
        "queue.prefix",
        "secrets.session_signing",
        "secrets.sealing",
    ];
    assert_eq!(about, expected, "{told:#?}");
}

#[test]
fn with_nothing_set_everything_needed_is_told() {
    let told = lines(Settings::load(None, []));
    let about: Vec<&str> = told.iter().map(|line| line.split(' ').next().unwrap()).collect();
    let expected = [
        "http.public_base_url",
        "postgres.url",
        "redis.url",
        "secrets.api_key_pepper",
        "secrets.session_signing",
        "secrets.sealing",
        "secrets.license_digest",
    ];
    assert_eq!(about, expected, "{told:#?}");
}

#[test]
fn production_keeps_secrets_out_of_the_configuration_file() {
    let mut environment = environment(&[]);
    environment.retain(|(name, _)| name != "ANONYMOUSPAY_SECRETS__SEALING");
    let file = file("[secrets]\nsealing = 'seal:QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ'");
    let expected = format!(
        "secrets.sealing (file {} line 2): a secret stands in the configuration file only in development; \
         use ANONYMOUSPAY_SECRETS__SEALING or ANONYMOUSPAY_SECRETS__SEALING_FILE",
        file.path().display()
    );
    assert_eq!(lines(Settings::load(Some(file.path()), environment)), [expected]);
}

#[test]
fn one_secret_for_two_purposes_is_refused_wherever_it_came_from() {
    let secrets = file("other:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let path = secrets.path().to_str().unwrap();
    let told = only(&[("SECRETS__SEALING", ""), ("SECRETS__SEALING_FILE", path)]);
    assert!(told.starts_with("secrets.sealing (environment ANONYMOUSPAY_SECRETS__SEALING_FILE): secret \"other\" is the same"), "{told}");
}

#[test]
fn files_that_cannot_be_read_are_told() {
    let told = lines(Settings::load(
        Some(Path::new("/nowhere/pay.toml")),
        environment(&[("EDGE__THREADS", "x"), ("EDGE__FULFILL_FALLBACK_MS", "9000"), ("REDIS__URL", "")]),
    ));
    assert!(told[0].starts_with("configuration file (file /nowhere/pay.toml): cannot be read: "), "{told:#?}");
    // What the environment says is checked all the same; what is missing or contradicts may stand in the file.
    assert!(told[1].starts_with("edge.threads "), "{told:#?}");
    assert_eq!(told.len(), 2, "{told:#?}");

    let told = only(&[("SECRETS__SEALING", ""), ("SECRETS__SEALING_FILE", "/nowhere/sealing")]);
    assert!(
        told.starts_with("secrets.sealing_file (environment ANONYMOUSPAY_SECRETS__SEALING_FILE): \"/nowhere/sealing\" cannot be read: "),
        "{told}"
    );

    let large = file(&"#".repeat((256 << 10) + 1));
    let told = lines(Settings::load(Some(large.path()), environment(&[])));
    assert_eq!(told, [format!("configuration file (file {}): is larger than 262144 bytes", large.path().display())]);
}

#[test]
fn a_file_that_is_not_toml_is_told_by_lines_and_never_quoted() {
    let text = "[redis]\nurl = redis://edge:pass-w0rd@cache?a.b=pass-w0rd\n[secrets]\nsealing = \"seal:AAAAAAAA\n\n[edge]\nthreads 3\n";
    let file = file(text);
    let told = lines(Settings::load(Some(file.path()), environment(&[])));
    for line in [2, 4, 7] {
        let start = format!("configuration file (file {} line {line}): ", file.path().display());
        assert!(told.iter().any(|told| told.starts_with(&start)), "{start} in {told:#?}");
    }
    assert!(told.iter().all(|told| told.starts_with("configuration file ")), "{told:#?}");
}

#[test]
fn keys_of_stripe_are_of_their_mode_and_never_repeated() {
    for (knob, value) in [
        ("LIVE_SECRET_KEY", "sk_test_canary"),
        ("TEST_SECRET_KEY", "sk_live_canary"),
        ("LIVE_SECRET_KEY", "sk_live_"),
        ("LIVE_SECRET_KEY", "pk_live_canary"),
        ("TEST_SECRET_KEY", "sk_test_canary canary"),
        ("LIVE_PUBLISHABLE_KEY", "sk_live_canary"),
        ("TEST_PUBLISHABLE_KEY", "pk_live_canary"),
        ("TEST_PUBLISHABLE_KEY", "pk_test_<canary>"),
    ] {
        let told = lines(load(&[(&format!("STRIPE__{knob}"), value)]));
        assert_eq!(told.len(), 1, "{knob}={value}: {told:?}");
        assert!(told[0].contains(&knob.to_lowercase()) && !told[0].contains("canary"), "{told:?}");
    }
    let settings = load(&[("STRIPE__LIVE_SECRET_KEY", "rk_live_canary"), ("STRIPE__TEST_PUBLISHABLE_KEY", "pk_test_1")]).unwrap();
    assert!(!settings.redacted_toml().contains("canary") && !format!("{settings:?}").contains("canary"));
    assert!(settings.stripe.secret_key(common::mode::Mode::Live).is_some());
    assert_eq!(settings.stripe.publishable_key(common::mode::Mode::Test), Some("pk_test_1"));
    // Real money asks by a way that nobody can listen to.
    for value in ["http://127.0.0.1:12111", "https://api.stripe.com/v1", "https://user@api.stripe.com"] {
        let told = lines(load(&[("MODE", "production"), ("STRIPE__API_BASE_URL", value)]));
        assert!(told.iter().any(|line| line.contains("api_base_url")), "{told:?}");
    }
}
