//! The developer page's own examples for making a checkout session, letter by letter, against the running system. Only host, store and
//! key are put in, as a reader would.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use testkit::process::Launch;
use testkit::servers::Host;
use tokio::task::block_in_place;

use crate::python::Python;
use crate::system::System;

const QUICK_START: &str = include_str!("snippets/quick_start.sh");
const CURL: &str = include_str!("snippets/checkout_session.sh");
const PYTHON: &str = include_str!("snippets/checkout_session.py");
const TOOLS: &str = include_str!("snippets/requirements.txt");
const STORE: &str = "corner-shop";

/// The snippet with what the page tells its readers to put in. Every one of the three has to be there.
fn filled_in(snippet: &str, address: std::net::SocketAddr, key: &str) -> String {
    let places =
        [("https://pay.example.com", format!("http://{address}")), ("my-store", STORE.to_owned()), ("sk_live_...", key.to_owned())];
    places.iter().fold(snippet.to_owned(), |text, (place, value)| {
        assert_eq!(text.matches(place).count(), 1, "{place} in {snippet}");
        text.replace(place, value)
    })
}

/// A shell that finds `curl`.
fn shell() -> Launch {
    let shell = Launch::new("sh", "sh").arg("-e");
    if Launch::new("curl", "curl").arg("--version").must_succeed().is_ok() {
        return shell;
    }
    let unpacked = Host::of_this_checkout("").unwrap().unpack("curl", &|line| eprintln!("{line}")).unwrap();
    let own = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([unpacked.folder.join("usr/bin")].into_iter().chain(std::env::split_paths(&own))).unwrap();
    shell.env("PATH", path).env("LD_LIBRARY_PATH", unpacked.libraries)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_examples_work_as_they_stand() {
    let python = block_in_place(|| Python::with("requests", TOOLS)).unwrap();
    let system = System::new().await;
    let (shop, key) = system.shop(STORE).await;
    shop.generated(&system.pg, "WIN-11-PRO").await.unwrap();
    let edge = system.edge().await;
    let opened = format!("http://localhost:8000/s/{STORE}/cart/?token=cs1.");

    let folder = tempfile::tempdir().unwrap();
    // So that curl says the status without a change to the example.
    fs::write(folder.path().join(".curlrc"), "silent\nshow-error\nwrite-out = \"\\n%{http_code}\"\n").unwrap();
    for (name, snippet) in [("quick_start.sh", QUICK_START), ("checkout_session.sh", CURL)] {
        let file: PathBuf = folder.path().join(name);
        fs::write(&file, filled_in(snippet, edge.address, &key)).unwrap();
        let said = block_in_place(|| shell().env("CURL_HOME", folder.path()).arg(&file).must_succeed()).unwrap();
        let (body, status) = said.rsplit_once('\n').unwrap();
        assert_eq!(status, "201", "{name}: {body}");
        let session: Value = serde_json::from_str(body).unwrap();
        assert!(session["checkout_url"].as_str().unwrap().starts_with(&opened), "{name}: {body}");
    }

    let script = format!("{}\nprint(resp.status_code)\nprint(checkout_url)\n", filled_in(PYTHON, edge.address, &key));
    let said = block_in_place(|| python.program("python").arg("-c").arg(script).must_succeed()).unwrap();
    let (status, url) = said.split_once('\n').unwrap();
    assert_eq!(status, "201");
    assert!(url.starts_with(&opened), "{url}");
    edge.stop().await;
}
