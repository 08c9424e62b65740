//! Importing license keys: every key once, whoever imports what how often, and none of them in clear anywhere.

use std::io::Write as _;
use std::process::Stdio;

use common::license::{LicenseDigester, LicenseKey};
use common::mode::Mode;
use serde_json::json;
use storage::pg::license_keys::{self, NewDigest};
use storage::pg::stores;

use super::{Ended, Installation};

const IMPORT: [&str; 7] = ["--json", "stock", "import", "--store", "demo", "--sku", "POOL"];

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("that it is written");
    file
}

impl Installation {
    fn import(&self, text: impl AsRef<[u8]>) -> Ended {
        self.run_with(&[&IMPORT[..], &["-"]].concat(), text)
    }
}

#[tokio::test]
async fn the_report_tells_new_known_and_invalid_keys() {
    let installation = Installation::with_products().await;
    let long = "x".repeat(513);
    let report = installation.import(format!("AAA-1\nAAA-2\nAAA-1\n\n{long}\nAAA-3,note\n")).json();
    assert_eq!((&report["new"], &report["duplicate"], &report["invalid"]), (&json!(2), &json!(1), &json!(2)));
    assert_eq!((&report["invalid_lines"][0]["line"], &report["invalid_lines"][1]["line"]), (&json!(5), &json!(6)));
    assert!(!report.to_string().contains(&long) && !report.to_string().contains("AAA"), "a report repeats no key: {report}");

    let again = installation.import("license_key,note\nAAA-2,x\nAAA-4,y\n").json();
    assert_eq!(again, json!({"new": 1, "duplicate": 1, "invalid": 0, "invalid_lines": []}));
    let from_file = file("AAA-4\nAAA-5\n");
    let text = installation.run(&["stock", "import", "--store", "demo", "--sku", "POOL", from_file.path().to_str().unwrap()]);
    assert_eq!((text.code, text.stdout.as_str()), (0, "1 new, 1 known already, 0 invalid\n"), "{text:?}");
    assert_eq!(installation.count("select count(*) from license_keys").await, 4);
    assert!(!installation.stores("AAA-").await, "a license key stands somewhere in clear");
}

#[tokio::test]
async fn only_the_first_invalid_lines_are_named() {
    let installation = Installation::with_products().await;
    let report = installation.import("a,b\n".repeat(12_000)).json();
    assert_eq!((&report["new"], &report["invalid"]), (&json!(0), &json!(12_000)));
    assert_eq!(report["invalid_lines"].as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn a_key_that_was_sold_is_known() {
    let installation = Installation::with_products().await;
    installation.import("AAA\nBBB\n").json();
    // What an order does: the key leaves the stock, and its digest stays.
    installation.execute("delete from license_keys").await;
    assert_eq!(installation.import("AAA\nCCC\n").json(), json!({"new": 1, "duplicate": 1, "invalid": 0, "invalid_lines": []}));
}

#[tokio::test]
async fn keys_known_under_an_older_secret_are_known() {
    let mut installation = Installation::with_products().await;
    installation.import("AAA\nBBB\n").json();
    let both = "t2:BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=,t1:BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=";
    installation.settings = installation.settings.clone().set("SECRETS__LICENSE_DIGEST", both);
    assert_eq!(installation.import("AAA\nCCC\nBBB\n").json(), json!({"new": 1, "duplicate": 2, "invalid": 0, "invalid_lines": []}));
}

#[tokio::test]
async fn what_cannot_be_imported_is_refused_before_anything_is_stored() {
    let installation = Installation::with_products().await;
    let import = |arguments: &[&str]| installation.run_with(&[&["stock", "import"], arguments].concat(), "");
    import(&["--store", "demo", "--sku", "MADE", "-"]).fails(1, &["MADE", "generated"]);
    import(&["--store", "demo", "--sku", "NONE", "-"]).fails(1, &["no product"]);
    import(&["--store", "none", "--sku", "POOL", "-"]).fails(1, &["no store"]);
    import(&["--store", "demo", "--sku", "POOL", "/no/such/file"]).fails(1, &["/no/such/file"]);
    import(&["--store", "demo", "--sku", "POOL", "/"]).fails(1, &["line 1", "cannot be read"]);
    assert_eq!(installation.import("").json(), json!({"new": 0, "duplicate": 0, "invalid": 0, "invalid_lines": []}));
}

#[tokio::test]
async fn a_file_that_breaks_off_keeps_what_came_before_and_can_be_imported_again() {
    let installation = Installation::with_products().await;
    let keys: String = (0..5_000).map(|n| format!("KEY-{n}\n")).collect();
    let broken = installation.import(format!("{keys}{}\nLAST\n", "x".repeat(20_000)));
    broken.fails(1, &["line 5001", "5000 new", "import the whole file again"]);
    let fixed = installation.import(format!("{keys}LAST\n")).json();
    assert_eq!((&fixed["new"], &fixed["duplicate"]), (&json!(1), &json!(5_000)));
}

#[tokio::test]
async fn four_imports_of_one_file_at_once_make_every_key_once() {
    // More than one transaction each, and the first ones of both directions overlap.
    const KEYS: usize = 7_000;
    let installation = Installation::with_products().await;
    let keys: Vec<String> = (0..KEYS).map(|n| format!("PARALLEL-{n:05}\n")).collect();
    // The same keys in opposite orders, and somebody who holds one in the middle until all have come as far as they can: who claims
    // keys as the file says would then wait in a circle.
    let (forward, backward) = (file(&keys.concat()), file(&keys.iter().rev().map(String::as_str).collect::<String>()));
    let mut holder = installation.pg.client().await.unwrap();
    let holder = holder.transaction().await.unwrap();
    let digester = LicenseDigester::new(&installation.settings.load().unwrap().secrets.license_digest);
    let store_id = stores::find(&holder, "demo").await.unwrap().unwrap().id;
    let (secret_id, digest) = digester.digest(store_id, Mode::Live, &LicenseKey::parse(&keys[KEYS / 2]).unwrap());
    let held = NewDigest { store_id, mode: Mode::Live, digest, secret_id };
    assert_eq!(license_keys::claim_digests(&holder, &[held]).await.unwrap(), [digest]);
    let children: Vec<_> = [&forward, &backward, &forward, &backward]
        .map(|file| {
            let mut command = installation.command(&[&IMPORT[..], &[file.path().to_str().unwrap()]].concat());
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the worker")
        })
        .into();
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    while installation.count(waiting).await < 4 {
        tokio::task::yield_now().await;
    }
    holder.rollback().await.unwrap();

    let reports: Vec<_> = children.into_iter().map(|child| Ended::from(child.wait_with_output().unwrap()).json()).collect();
    let sum = |name: &str| reports.iter().map(|report| report[name].as_u64().unwrap()).sum::<u64>() as usize;
    assert_eq!((sum("new"), sum("duplicate"), sum("invalid")), (KEYS, 3 * KEYS, 0), "{reports:?}");
    assert_eq!(installation.count("select count(*) from license_keys").await, KEYS as i64);
    assert_eq!(installation.count("select count(*) from license_digests").await, KEYS as i64);
}
