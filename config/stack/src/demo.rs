//! The demo store: made through the worker's own commands, the way an operator would. Every step may be repeated, so that an interrupted
//! start is completed by the next one.

use anyhow::{Context, Result, bail};
use rand::Rng;
use serde_json::Value;
use testkit::process::Launch;

use crate::env_file::{self, Pairs};
use crate::folder::{Folder, write_private};
use crate::interrupt::Interrupt;

const STORE: &str = "my-store";
/// Their keys are made when they are sold.
const GENERATED: [(&str, &str); 5] = [
    ("WIN-11-PRO", "Windows 11 Pro"),
    ("SKU-001", "First product"),
    ("PRODUCT-SKU", "Product"),
    ("PRODUCT-SKU-1", "Product one"),
    ("PRODUCT-SKU-2", "Product two"),
];
/// Its keys come from a file.
const POOLED: (&str, &str) = ("OFFICE-2024", "Office 2024");
const POOLED_KEYS: usize = 1_000;
const PATTERN: &str = "XXXXX-XXXXX-XXXXX-XXXXX";
const PRICES: [&str; 3] = ["GBP=2999", "USD=3499", "EUR=3299"];
/// The worker's status for "that exists already".
const EXISTS: i32 = 9;
/// Enough that no load test ever meets a limit.
const UNLIMITED_PER_MINUTE: &str = "100000000";

/// What callers need to know about the demo store.
pub struct Demo {
    pub store: &'static str,
    pub sku: &'static str,
    pub api_key: String,
    pub loadtest_api_key: String,
    pub webhook: Webhook,
}

/// Where the demo store hears of its orders, as the worker knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    pub id: String,
    pub secret: String,
    pub port: u16,
}

/// The port at which an earlier run listened.
pub fn webhook_port(folder: &Folder) -> Result<Option<u16>> {
    Ok(env_file::read(&folder.demo_env())?.get("WEBHOOK_PORT").and_then(|port| port.parse().ok()))
}

/// Makes what is missing. `worker` begins a command of the worker with JSON output; `identity` says which database and pepper the keys
/// of an earlier run must belong to; webhooks are to come to `webhook_port`.
pub fn prepare(worker: &dyn Fn() -> Launch, folder: &Folder, identity: &str, webhook_port: u16, interrupt: &Interrupt) -> Result<Demo> {
    let known = env_file::read(&folder.demo_env())?;
    let known = |name: &str| known.get(name).filter(|_| known.get("IDENTITY").is_some_and(|value| value == identity)).cloned();
    let (api_key, loadtest_api_key) = match (known("API_KEY"), known("LOADTEST_API_KEY")) {
        (Some(api_key), Some(loadtest_api_key)) => (api_key, loadtest_api_key),
        _ => create_store(worker, folder, interrupt)?,
    };
    let earlier = match (known("WEBHOOK_ID"), known("WEBHOOK_SECRET"), known("WEBHOOK_PORT").and_then(|port| port.parse().ok())) {
        (Some(id), Some(secret), Some(port)) => Some(Webhook { id, secret, port }),
        _ => None,
    };
    let webhook = webhook(worker, earlier.as_ref(), webhook_port)?;
    let changed = earlier.as_ref() != Some(&webhook);
    let demo = Demo { store: STORE, sku: GENERATED[0].0, api_key, loadtest_api_key, webhook };
    if changed {
        // Last, as it says that all of the above is there.
        env_file::write(&folder.demo_env(), &kept(&demo, identity))?;
    }
    Ok(demo)
}

fn kept(demo: &Demo, identity: &str) -> Pairs {
    vec![
        ("IDENTITY", identity.to_owned()),
        ("API_KEY", demo.api_key.clone()),
        ("LOADTEST_API_KEY", demo.loadtest_api_key.clone()),
        ("WEBHOOK_ID", demo.webhook.id.clone()),
        ("WEBHOOK_SECRET", demo.webhook.secret.clone()),
        ("WEBHOOK_PORT", demo.webhook.port.to_string()),
    ]
}

/// The endpoint of an earlier run, moved if need be, or another.
fn webhook(worker: &dyn Fn() -> Launch, earlier: Option<&Webhook>, port: u16) -> Result<Webhook> {
    let url = format!("http://127.0.0.1:{port}/");
    match earlier {
        Some(earlier) if earlier.port == port => Ok(earlier.clone()),
        Some(earlier) => {
            let moving = worker().args(["webhook", "change", "--store", STORE, &earlier.id, "--url", &url]);
            moving.must_succeed().context("cannot move the demo store's webhook endpoint")?;
            Ok(Webhook { port, ..earlier.clone() })
        }
        None => {
            let said = json(&worker().args(["webhook", "add", "--store", STORE, "--url", &url]).must_succeed()?)?;
            Ok(Webhook { id: text(&said, "id")?, secret: text(&said, "secret")?, port })
        }
    }
}

/// The store with everything in it. Returns its API key, and the one whose limits nobody reaches.
fn create_store(worker: &dyn Fn() -> Launch, folder: &Folder, interrupt: &Interrupt) -> Result<(String, String)> {
    eprintln!("making the demo store {STORE}");
    create(worker().args(["store", "create", "--slug", STORE, "--name", "My Store", "--licensing"]))?;
    for (sku, name) in GENERATED {
        interrupt.check()?;
        create(product(worker(), sku, name).args(["--source", "generator", "--pattern", PATTERN]))?;
    }
    create(product(worker(), POOLED.0, POOLED.1).args(["--source", "pool"]))?;
    import_stock(worker, folder)?;
    interrupt.check()?;
    let api_key = create_key(worker, "Demo")?.key;
    let loadtest = create_key(worker, "Load test")?;
    let limits = ["--checkout", "--licensing", "--api"].into_iter().flat_map(|limit| [limit, UNLIMITED_PER_MINUTE]);
    worker().args(["limit", "set", "--key", &loadtest.id]).args(limits).must_succeed().context("cannot lift the load test's limits")?;
    Ok((api_key, loadtest.key))
}

fn product(worker: Launch, sku: &str, name: &str) -> Launch {
    let prices = PRICES.into_iter().flat_map(|price| ["--price", price]);
    worker.args(["product", "create", "--store", STORE, "--sku", sku, "--name", name]).args(prices)
}

/// The keys are written down before they are imported: a repeated import finds duplicates, not a second thousand.
fn import_stock(worker: &dyn Fn() -> Launch, folder: &Folder) -> Result<()> {
    let path = folder.demo_stock();
    if !path.exists() {
        let keys: String = (0..POOLED_KEYS).map(|_| random_key() + "\n").collect();
        write_private(&path, &keys)?;
    }
    let report = json(&worker().args(["stock", "import", "--store", STORE, "--sku", POOLED.0]).arg(&path).must_succeed()?)?;
    let count = |name: &str| report[name].as_u64().with_context(|| format!("the worker's report says nothing of {name}: {report}"));
    let (new, duplicate) = (count("new")?, count("duplicate")?);
    if new + duplicate != POOLED_KEYS as u64 {
        bail!("of {POOLED_KEYS} license keys in {} the worker took {new} and knew {duplicate}: {report}", path.display());
    }
    Ok(())
}

/// In the generator's pattern, without the letters that people confuse.
fn random_key() -> String {
    const LETTERS: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut random = rand::rng();
    PATTERN.chars().map(|c| if c == 'X' { char::from(LETTERS[random.random_range(0..LETTERS.len())]) } else { c }).collect()
}

struct Key {
    id: String,
    key: String,
}

fn create_key(worker: &dyn Fn() -> Launch, name: &str) -> Result<Key> {
    let said = json(&worker().args(["key", "create", "--store", STORE, "--name", name, "--mode", "live"]).must_succeed()?)?;
    Ok(Key { id: text(&said, "id")?, key: text(&said, "key")? })
}

fn text(said: &Value, member: &str) -> Result<String> {
    match &said[member] {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        // What else it said may be a key in clear.
        _ => bail!("the worker made what it was asked for, but its answer has no {member}"),
    }
}

/// A creation that may have happened in an earlier run.
fn create(command: Launch) -> Result<()> {
    let output = command.output()?;
    match output.status.code() {
        Some(0 | EXISTS) => Ok(()),
        _ => {
            let said = [output.stdout, output.stderr].concat();
            bail!("making the demo store failed ({}):\n{}", output.status, String::from_utf8_lossy(&said).trim_end())
        }
    }
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text.trim()).context("the worker's answer is not JSON")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Stands in for the worker: notes each command, refuses the one that `refuse` names, says "exists" to every creation that it has
    /// seen before.
    const WORKER: &str = r#"
cd "$0" && shift
case "$*" in "$(cat refuse)"*) echo refused >&2; exit 1;; esac
known=$(grep -cxF -- "$*" commands)
echo "$*" >> commands
case "$1 $2" in
  "store create"|"product create") test "$known" = 0 || exit 9;;
  "stock import") if test "$known" = 0; then echo '{"new":1000,"duplicate":0,"invalid":0}'; else echo '{"new":0,"duplicate":1000,"invalid":0}'; fi;;
  "webhook add") echo "{\"id\":\"wh_$known\",\"secret\":\"whsec_$known\"}";;
  "key create") echo "{\"id\":\"id-$known\",\"key\":\"sk_live_$6-$known\"}";;
esac
"#;

    struct Bench {
        root: tempfile::TempDir,
        folder: Folder,
    }

    impl Bench {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join("commands"), "").unwrap();
            fs::write(root.path().join("refuse"), "nothing").unwrap();
            Self { folder: Folder::at(root.path().join("stack")).unwrap(), root }
        }

        fn path(&self) -> &Path {
            self.root.path()
        }

        fn prepare(&self, identity: &str) -> Result<Demo> {
            self.prepare_with(identity, 9_000)
        }

        fn prepare_with(&self, identity: &str, webhook_port: u16) -> Result<Demo> {
            let worker = || Launch::new("worker", "sh").args(["-c", WORKER]).arg(self.path()).arg("--json");
            prepare(&worker, &self.folder, identity, webhook_port, &Interrupt::listen()?)
        }

        fn commands(&self, starting: &str) -> usize {
            fs::read_to_string(self.path().join("commands")).unwrap().lines().filter(|line| line.starts_with(starting)).count()
        }
    }

    #[test]
    fn the_store_is_made_once() {
        let bench = Bench::new();
        let first = bench.prepare("one").unwrap();
        assert_eq!(bench.commands("product create"), 6);
        assert_eq!(bench.commands("limit set --key id-0 --checkout 100000000 --licensing 100000000 --api 100000000"), 1);
        assert_ne!(first.api_key, first.loadtest_api_key);
        let all = bench.commands("");
        let second = bench.prepare("one").unwrap();
        assert_eq!((bench.commands(""), &second.api_key), (all, &first.api_key), "nothing is asked of the worker again");
    }

    #[test]
    fn an_interrupted_start_is_completed_by_the_next() {
        let bench = Bench::new();
        fs::write(bench.path().join("refuse"), "limit set").unwrap();
        let error = format!("{:#}", bench.prepare("one").err().unwrap());
        assert!(error.contains("refused"), "{error}");
        fs::write(bench.path().join("refuse"), "nothing").unwrap();
        let keys = fs::read_to_string(bench.folder.demo_stock()).unwrap();
        bench.prepare("one").unwrap();
        assert_eq!(fs::read_to_string(bench.folder.demo_stock()).unwrap(), keys, "the same keys are imported again");
        assert_eq!(bench.commands("limit set"), 1);
    }

    #[test]
    fn keys_of_another_database_are_not_used() {
        let bench = Bench::new();
        bench.prepare("one").unwrap();
        let other = bench.prepare("two").unwrap();
        assert_eq!(bench.commands("key create"), 4);
        assert_eq!(bench.prepare("two").unwrap().api_key, other.api_key);
    }

    #[test]
    fn webhooks_come_to_where_we_listen() {
        let bench = Bench::new();
        let first = bench.prepare("one").unwrap().webhook;
        assert_eq!(bench.commands("webhook add --store my-store --url http://127.0.0.1:9000/"), 1);
        assert_eq!((first.id.as_str(), webhook_port(&bench.folder).unwrap()), ("wh_0", Some(9_000)));
        let moved = bench.prepare_with("one", 9_001).unwrap().webhook;
        assert_eq!(bench.commands("webhook change --store my-store wh_0 --url http://127.0.0.1:9001/"), 1);
        assert_eq!(moved, Webhook { port: 9_001, ..first });
        assert_eq!(bench.prepare_with("one", 9_001).unwrap().webhook, moved);
        assert_eq!((bench.commands("webhook"), bench.commands("key create")), (2, 2));
    }

    #[test]
    fn license_keys_follow_the_pattern_and_differ() {
        let (one, other) = (random_key(), random_key());
        assert_eq!(one.len(), PATTERN.len());
        assert_eq!(one.matches('-').count(), 3);
        assert_ne!(one, other);
    }
}
