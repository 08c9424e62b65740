//! The deploy files, checked by the tools that know their formats (kubernetes-validate, compose_spec, systemd-analyze, promtool) and against
//! ourselves: each knob that they set exists and takes its value, each port, probe and command is there, and nothing is ended before it may
//! have drained.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::Settings;
use serde_json::Value;
use testkit::process::Launch;
use testkit::servers::Host;
use tokio::task::block_in_place;

use crate::canaries::programs;
use testkit::python::Python;

const REQUIREMENTS: &str = "kubernetes-validate==1.37.0\ncompose-spec==0.2.1\nPyYAML==6.0.3\n";
const SECRETS: [&str; 4] = ["api_key_pepper", "session_signing", "sealing", "license_digest"];
/// As Postgres comes, but for those that it keeps for administrators.
const POSTGRES_CONNECTIONS: usize = 97;
const UNITS: [&str; 3] = ["anonymouspay-edge.socket", "anonymouspay-edge@1.service", "anonymouspay-worker.service"];
/// In tenths: what systemd-analyze calls OK ends at 50. Ours are at 12, as they need the network.
const EXPOSURE_MAX: &str = "15";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").canonicalize().unwrap()
}

fn read() -> Value {
    let python = Python::with("deploy", REQUIREMENTS).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/deploy/read.py");
    serde_json::from_str(&python.program("python").arg(script).arg(folder()).must_succeed().unwrap()).unwrap()
}

/// The settings that a program has with these variables, its secrets being in files below `secrets`, whatever the deploy file calls that
/// folder. What comes from elsewhere in a real deployment is as in development.
fn settings(variables: &BTreeMap<String, String>, secrets: &Path, called: &str) -> Settings {
    let mut environment: BTreeMap<String, String> = [
        ("ANONYMOUSPAY_MODE", "development"),
        ("ANONYMOUSPAY_POSTGRES__URL", "postgres://edge@localhost/db"),
        ("ANONYMOUSPAY_POSTGRES__TLS", "disable"),
        ("ANONYMOUSPAY_REDIS__URL", "redis://localhost"),
        ("ANONYMOUSPAY_HTTP__PUBLIC_BASE_URL", "http://localhost:8000"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for (name, value) in variables {
        environment.insert(name.clone(), value.replace(called, secrets.to_str().unwrap()).replace("%i", "1"));
    }
    let names: Vec<&String> = variables.keys().filter(|name| name.starts_with("ANONYMOUSPAY_SECRETS__")).collect();
    assert_eq!(names.len(), SECRETS.len(), "{names:?}");
    Settings::load(None, environment).unwrap_or_else(|problems| panic!("{problems}\nof {variables:?}"))
}

/// Four secrets, in files with their names.
fn secrets() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = testkit::settings::Settings::new();
    for name in SECRETS {
        let variable = format!("ANONYMOUSPAY_SECRETS__{}", name.to_uppercase());
        let (_, value) = made.environment().find(|(name, _)| **name == variable).unwrap();
        fs::write(folder.path().join(name), value).unwrap();
    }
    folder
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// `60` or `60s`.
fn seconds(value: &Value) -> Duration {
    let number = value.as_u64().or_else(|| value.as_str()?.strip_suffix('s')?.parse().ok());
    Duration::from_secs(number.unwrap_or_else(|| panic!("{value} is no time")))
}

/// What it takes to leave, at most.
fn leaving(program: &str, settings: &Settings) -> Duration {
    match program {
        "edge" => settings.edge.drain_delay + settings.edge.drain_timeout,
        _ => settings.worker.drain_timeout,
    }
}

fn admin_port(program: &str, settings: &Settings) -> u64 {
    u64::from(if program == "edge" { settings.edge.admin_listen.port() } else { settings.worker.admin_listen.port() })
}

/// Asks the program itself whether it knows this command.
fn command_exists(command: &str, arguments: &[&str]) {
    let at = ["edge", "worker"].iter().position(|name| command == format!("/usr/local/bin/{name}"));
    let program = programs()[at.unwrap_or_else(|| panic!("{command} is no program of ours"))].clone();
    Launch::new(command, program).args(arguments).arg("--help").must_succeed().unwrap();
}

fn of_kind<'m>(manifests: &'m [Value], kind: &str) -> Vec<&'m Value> {
    manifests.iter().filter(|manifest| manifest["kind"] == kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_manifests_fit_what_they_run() {
    let (read, secrets) = block_in_place(|| (read(), secrets()));
    let manifests = list(&read["manifests"]);
    let deployments = of_kind(manifests, "Deployment");
    let pods = |labels: &Value| deployments.iter().find(|one| one["spec"]["template"]["metadata"]["labels"] == *labels).copied();
    let mut connections = 0;
    for deployment in &deployments {
        let program = text(&deployment["metadata"]["name"]);
        let pod = &deployment["spec"]["template"];
        assert!(pods(&deployment["spec"]["selector"]["matchLabels"]).is_some(), "{program} selects its own pods");
        let container = &pod["spec"]["containers"][0];
        let variables = list(&container["env"]).iter().map(|one| (text(&one["name"]).to_owned(), text(&one["value"]).to_owned())).collect();
        let settings = settings(&variables, secrets.path(), "/secrets");
        let port = |name: &Value| list(&container["ports"]).iter().find(|port| port["name"] == *name).map(|port| &port["containerPort"]);
        assert_eq!(port(&"admin".into()).and_then(Value::as_u64), Some(admin_port(program, &settings)), "{program}");
        assert_eq!(text(&pod["metadata"]["annotations"]["prometheus.io/port"]), admin_port(program, &settings).to_string());
        if program == "edge" {
            assert_eq!(port(&"http".into()).and_then(Value::as_u64), Some(u64::from(settings.edge.listen.port())));
        }
        for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
            let asked = &container[probe]["httpGet"];
            assert_eq!((text(&asked["path"]), text(&asked["port"])), (path, "admin"), "{program}");
        }
        let grace = seconds(&pod["spec"]["terminationGracePeriodSeconds"]);
        assert!(grace > leaving(program, &settings) + Duration::from_secs(5), "{program} has {grace:?} to leave");
        let disruption = of_kind(manifests, "PodDisruptionBudget");
        let budget = disruption.iter().find(|budget| budget["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]);
        assert_eq!(budget.map(|budget| &budget["spec"]["maxUnavailable"]), Some(&1.into()), "{program}");
        // Each has a connection beside its pools on which it is told of changes, and one more while it is checked. A roll-out adds one of each.
        let scaler = of_kind(manifests, "HorizontalPodAutoscaler").into_iter().find(|one| one["spec"]["scaleTargetRef"]["name"] == program);
        let most = scaler.map_or(&deployment["spec"]["replicas"], |scaler| &scaler["spec"]["maxReplicas"]).as_u64().unwrap() as usize + 1;
        let portal = if program == "edge" { settings.portal.postgres_connections_max } else { 0 };
        connections += most * (settings.postgres.connections_max + portal + 2);
    }
    assert!(connections < POSTGRES_CONNECTIONS, "{connections} connections");
    for job in of_kind(manifests, "Job") {
        let pod = &job["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let variables = list(&container["env"]).iter().map(|one| (text(&one["name"]).to_owned(), text(&one["value"]).to_owned())).collect();
        settings(&variables, secrets.path(), "/secrets");
        assert_eq!(text(&container["volumeMounts"][0]["mountPath"]), "/secrets");
        assert_eq!(container["volumeMounts"][0]["name"], pod["volumes"][0]["name"]);
        assert!(pod["securityContext"]["fsGroup"].is_u64(), "files that only their group may read");
    }
    let service = of_kind(manifests, "Service")[0];
    let served = pods(&service["spec"]["selector"]).expect("the service's pods");
    let target = &service["spec"]["ports"][0]["targetPort"];
    assert!(list(&served["spec"]["template"]["spec"]["containers"][0]["ports"]).iter().any(|port| port["name"] == *target));
    let scaled = &of_kind(manifests, "HorizontalPodAutoscaler")[0]["spec"]["scaleTargetRef"];
    assert!(deployments.iter().any(|one| one["metadata"]["name"] == scaled["name"] && one["kind"] == scaled["kind"]), "{scaled}");
    block_in_place(|| {
        for manifest in manifests {
            for container in list(&manifest["spec"]["template"]["spec"]["containers"]) {
                // The image's own program is the edge.
                let command = container["command"].get(0).map_or("/usr/local/bin/edge", text);
                command_exists(command, &list(&container["args"]).iter().map(text).collect::<Vec<_>>());
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn compose_and_prometheus_fit_what_they_run() {
    let (read, secrets) = block_in_place(|| (read(), secrets()));
    let services = read["compose"]["services"].as_object().unwrap();
    let mut admin_ports = BTreeMap::new();
    for name in ["edge", "worker", "migrate"] {
        let service = &services[name];
        let variables = service["environment"].as_object().unwrap();
        let variables = variables.iter().map(|(name, value)| (name.clone(), text(value).to_owned())).collect();
        let settings = settings(&variables, secrets.path(), "/run/secrets");
        assert!(seconds(&service["stop_grace_period"]) > leaving(name, &settings) + Duration::from_secs(5), "{name}");
        admin_ports.insert(name, admin_port(name, &settings));
        let command = service["entrypoint"].get(0).map_or("/usr/local/bin/edge", text);
        let arguments: Vec<&str> = list(&service["command"]).iter().map(text).collect();
        block_in_place(|| command_exists(command, if arguments.is_empty() { &["run"] } else { &arguments }));
        for secret in list(&service["secrets"]) {
            assert!(SECRETS.contains(&text(secret)) && read["compose"]["secrets"].get(text(secret)).is_some(), "{secret}");
        }
    }
    for job in list(&read["prometheus"]["scrape_configs"]) {
        let name = text(&job["job_name"]);
        assert_eq!(text(&job["static_configs"][0]["targets"][0]), format!("{name}:{}", admin_ports[name]));
    }
    block_in_place(|| {
        let prometheus = Host::of_this_checkout("").unwrap().unpack_alone("prometheus", &|line| eprintln!("{line}")).unwrap();
        let promtool = Launch::new("promtool", prometheus.folder.join("usr/bin/promtool"));
        promtool.args(["check", "config"]).arg(folder().join("prometheus.yml")).must_succeed().unwrap();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_units_are_whole_hardened_and_patient() {
    let secrets = secrets();
    for (unit, program) in [("anonymouspay-edge@.service", "edge"), ("anonymouspay-worker.service", "worker")] {
        let unit = fs::read_to_string(folder().join("systemd").join(unit)).unwrap();
        let values = |name: &str| {
            let name = format!("{name}=");
            unit.lines().filter_map(|line| line.strip_prefix(&name)).map(str::to_owned).collect::<Vec<_>>()
        };
        let pair = |line: String| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
        let settings = settings(&values("Environment").into_iter().map(pair).collect(), secrets.path(), "%d");
        let patience = Duration::from_secs(values("TimeoutStopSec")[0].parse().unwrap());
        assert!(patience > leaving(program, &settings) + Duration::from_secs(5), "{program}");
        assert_eq!(values("StartLimitIntervalSec"), ["0"], "{program} is started again however often it ends");
        assert_eq!(values("RestartPreventExitStatus"), ["78"], "{program}: settings that cannot be used");
        let descriptors: usize = values("LimitNOFILE")[0].parse().unwrap();
        assert!(descriptors > settings.edge.connections_max + settings.webhooks.in_flight_max, "{program}");
        let start = &values("ExecStart")[0];
        let (command, arguments) = start.split_once(' ').unwrap();
        block_in_place(|| command_exists(command, &[arguments]));
    }
    block_in_place(|| {
        // An installation of its own to look at: Debian's units, ours, and our programs where ours say that they are.
        let unpacked = Host::of_this_checkout("").unwrap().unpack("systemd", &|line| eprintln!("{line}")).unwrap();
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in ["etc/systemd/system", "usr/local/bin", "lib"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        symlink(unpacked.folder.join("lib/systemd"), at("lib/systemd")).unwrap();
        for file in fs::read_dir(folder().join("systemd")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), at("etc/systemd/system").join(file.file_name())).unwrap();
        }
        for program in ["usr/local/bin/edge", "usr/local/bin/worker"] {
            fs::write(at(program), "#!/bin/sh\n").unwrap();
            fs::set_permissions(at(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let libraries = [unpacked.libraries, unpacked.folder.join(format!("usr/lib/{}-linux-gnu/systemd", std::env::consts::ARCH)).into()];
        let analyze = || {
            Launch::new("systemd-analyze", unpacked.folder.join("usr/bin/systemd-analyze"))
                .env("LD_LIBRARY_PATH", libraries.join(std::ffi::OsStr::new(":")))
        };
        let root = format!("--root={}", root.path().display());
        analyze().args(["verify", "--man=no", "--recursive-errors=no", &root]).args(UNITS).must_succeed().unwrap();
        let threshold = format!("--threshold={EXPOSURE_MAX}");
        analyze().args(["security", "--no-pager", "--offline=true", &threshold, &root]).args(&UNITS[1..]).must_succeed().unwrap();
    });
}
