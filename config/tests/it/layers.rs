//! Defaults, file and environment: the later wins, knob by knob.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;
use std::time::Duration;

use config::{EXIT_CONFIG, LogFormat, Mode, PostgresTls};

use crate::{environment, file, load, load_file};

#[test]
fn defaults_need_only_what_nobody_can_guess() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.mode, Mode::Production);
    assert_eq!(settings.http.public_base_url, "https://pay.example.com");
    assert!(settings.http.is_https());
    assert_eq!(settings.edge.listen.to_string(), "0.0.0.0:8000");
    assert_eq!(settings.edge.tls, None);
    assert_eq!(settings.edge.idle_timeout, Duration::from_secs(75));
    assert_eq!(settings.edge.session_lifetime, Duration::from_secs(86_400));
    assert!(settings.edge.trusted_proxies.is_empty());
    assert_eq!(settings.worker.job_starts_max, 5);
    assert_eq!(settings.postgres.tls, PostgresTls::VerifyFull);
    assert_eq!(settings.postgres.url.expose(), "postgres://edge:pg-pass-w0rd@db.example.com/pay");
    assert_eq!(settings.redis.command_timeout, Duration::from_secs(1));
    assert_eq!(settings.queue.prefix, "ap");
    assert_eq!((settings.limits.checkout, settings.limits.api, settings.limits.anonymous), (100, 600, 300));
    assert_eq!(settings.secrets.sealing.first().id(), "seal");
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(EXIT_CONFIG, 78);
}

#[test]
fn the_file_lies_over_the_defaults_and_the_environment_over_both() {
    let text = "mode = 'development'\n[edge]\nthreads = 3\nwaiters_max = 10\n[queue]\nprefix = 'file'\n";
    let settings = load_file(text, &[("EDGE__THREADS", "4"), ("LOG__FORMAT", "text")]).unwrap();
    assert_eq!(settings.mode, Mode::Development);
    assert_eq!(settings.edge.threads, 4);
    assert_eq!(settings.edge.waiters_max, 10);
    assert_eq!(settings.queue.prefix, "file");
    assert_eq!(settings.log.format, LogFormat::Text);
    assert_eq!(settings.edge.connections_max, 20_000);
    assert_eq!(load_file(text, &[("MODE", "production")]).unwrap().mode, Mode::Production);
}

#[test]
fn lists_come_as_arrays_or_separated_by_commas() {
    let shown = |settings: config::Settings| settings.edge.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = ["10.1.0.0/16", "192.0.2.7/32", "2001:db8::/32"];
    assert_eq!(shown(load(&[("EDGE__TRUSTED_PROXIES", "10.1.2.3/16, 192.0.2.7,2001:db8::/32")]).unwrap()), expected);
    let text = "[edge]\ntrusted_proxies = ['10.1.2.3/16', '192.0.2.7', '2001:db8::/32']\n";
    assert_eq!(shown(load_file(text, &[]).unwrap()), expected);
    assert!(shown(load_file(text, &[("EDGE__TRUSTED_PROXIES", "")]).unwrap()).is_empty());
}

#[test]
fn secrets_come_from_the_environment_or_from_files() {
    let secrets = file("new:QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ\nold:UUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUU\n");
    let path = secrets.path().to_str().unwrap();
    let by_file = [("SECRETS__SEALING", ""), ("SECRETS__SEALING_FILE", path)];
    let ids = |settings: config::Settings| settings.secrets.sealing.iter().map(|secret| secret.id().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(load(&[]).unwrap()), ["seal"]);
    assert_eq!(ids(load(&by_file).unwrap()), ["new", "old"]);
    let text = format!("[secrets]\nsealing_file = {path:?}\n");
    assert_eq!(ids(load_file(&text, &[("SECRETS__SEALING", "")]).unwrap()), ["new", "old"]);
}

#[test]
fn development_may_keep_secrets_in_the_configuration_file_and_speak_plainly_to_postgres() {
    let text = "mode = 'development'
        [secrets]
        sealing = 'dev:QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ='
        [postgres]
        tls = 'disable'";
    let mut environment = environment(&[]);
    environment.retain(|(name, _)| name != "ANONYMOUSPAY_SECRETS__SEALING");
    let settings = config::Settings::load(Some(file(text).path()), environment).unwrap();
    assert_eq!(settings.secrets.sealing.first().id(), "dev");
    assert_eq!(settings.postgres.tls, PostgresTls::Disable);
}

#[test]
fn tls_takes_both_files() {
    let settings = load(&[("EDGE__TLS_CERTIFICATE_FILE", "/etc/cert.pem"), ("EDGE__TLS_KEY_FILE", "/etc/key.pem")]).unwrap();
    let tls = settings.edge.tls.unwrap();
    assert_eq!((tls.certificate.to_str(), tls.key.to_str()), (Some("/etc/cert.pem"), Some("/etc/key.pem")));
}

#[test]
fn production_may_be_http_on_a_lan_and_reach_postgres_on_this_machine_plainly() {
    let settings = load(&[("HTTP__PUBLIC_BASE_URL", "http://192.168.1.10:8000")]).unwrap();
    assert!(!settings.http.is_https());
    for url in ["postgres://edge@127.0.0.1/pay", "postgres://[::1]/pay", "postgres:///pay?host=/run/postgresql"] {
        let settings = load(&[("POSTGRES__TLS", "disable"), ("POSTGRES__URL", url)]).unwrap();
        assert_eq!(settings.postgres.tls, PostgresTls::Disable, "{url}");
    }
}

#[test]
fn variables_of_others_are_ignored() {
    let mut environment = environment(&[
        ("EDGE_SERVICE_HOST", "10.96.0.7"),
        ("EDGE_SERVICE_PORT_HTTP", "8000"),
        ("EDGE_PORT", "tcp://10.96.0.7:8000"),
        ("EDGE_PORT_8000_TCP_ADDR", "10.96.0.7"),
    ]);
    environment.push(("EDGE__THREADS".into(), "many".into()));
    environment.push(("PATH".into(), "\u{fffd}".into()));
    assert_eq!(config::Settings::load(None, environment).unwrap().edge.threads, 0);
}

/// The environment of a process can only be set from outside, so this test runs itself once more with one.
#[test]
fn the_process_environment_is_read() {
    if std::env::var_os("ANONYMOUSPAY_EDGE__THREADS").is_some() {
        assert_eq!(config::Settings::from_process(None).unwrap().edge.threads, 7);
        return;
    }
    let run = |threads: &OsStr| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "layers::the_process_environment_is_read"]);
        child.envs(environment(&[])).env("ANONYMOUSPAY_EDGE__THREADS", threads).output().unwrap()
    };
    let good = run(OsStr::new("7"));
    assert!(good.status.success(), "{good:?}");
    assert!(String::from_utf8_lossy(&good.stdout).contains("1 passed"), "{good:?}");
    let bad = run(OsStr::from_bytes(b"7\xff"));
    let told = String::from_utf8_lossy(&[bad.stdout, bad.stderr].concat()).into_owned();
    assert!(!bad.status.success() && told.contains("found text that is not UTF-8"), "{told}");
}
