//! Every snippet of the developer portal, taken out of its pages as they are shown and run with its real client against the running system.
//! Only host and key are put in, as a reader would.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::mode::Mode;
use common::stripe::event::KINDS;
use http::Method;
use serde_json::{Value, json};
use testkit::browser::Browser;
use testkit::process::{Launch, Process};
use testkit::servers::{Host, free_port};
use testkit::shop::Shop;
use tokio::net::TcpStream;
use tokio::task::block_in_place;

use crate::node;
use crate::php::php;
use crate::system::{Edge, System, eventually, fulfill, order, order_id_of};
use testkit::python::Python;

const TOOLS: &str = include_str!("snippets/requirements.txt");
const NPM_PACKAGE: &str = "express@5.3.0";
/// The store and the products that the examples name.
const STORE: &str = "my-store";
const PRODUCTS: [&str; 2] = ["WIN-11-PRO", "OFFICE-2024"];
const BASE_URL: &str = "https://pay.example.com";
const KEY: &str = "sk_live_...";
/// A program that is started may have to be read from a slow disk.
const LONG: Duration = Duration::from_secs(30);

/// A reader with the system beside them.
struct Desk {
    system: System,
    edge: Edge,
    shop: Shop,
    key: String,
    folder: tempfile::TempDir,
}

impl Desk {
    async fn new() -> Self {
        let mut system = System::new().await;
        system.set("HTTP__PUBLIC_BASE_URL", BASE_URL);
        let (shop, key) = system.shop(STORE).await;
        for sku in PRODUCTS {
            shop.generated(&system.pg, sku).await.unwrap();
        }
        let edge = system.edge().await;
        Self { system, edge, shop, key, folder: tempfile::tempdir().unwrap() }
    }

    /// A snippet as a page shows it, by its id there, with host and key put in; in a file of this name.
    async fn snippet(&self, page: &str, id: &str, file: &str) -> PathBuf {
        let page = Browser::new(self.edge.client("")).get(&format!("/developers/{page}")).await;
        assert_eq!(page.status(), 200);
        let shown = page.between(&format!("<code id=\"{id}\""), "</code>").unwrap_or_else(|| panic!("no {id}")).split_once('>').unwrap().1;
        let text = unescaped(shown).replace(BASE_URL, &format!("http://{}", self.edge.address)).replace(KEY, &self.key);
        let path = self.folder.path().join(file);
        fs::write(&path, text).unwrap();
        path
    }
}

/// What a browser makes of a page's text.
fn unescaped(text: &str) -> String {
    [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
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

/// Where the cart of a checkout URL is.
fn is_cart(url: &str) -> bool {
    url.starts_with(&format!("{BASE_URL}/s/{STORE}/cart/?token=cs1."))
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_examples_work_as_they_stand() {
    let desk = Desk::new().await;
    let _worker = desk.system.worker().await;
    // So that curl says the status without a change to the example.
    fs::write(desk.folder.path().join(".curlrc"), "silent\nshow-error\nwrite-out = \"\\n%{http_code}\"\n").unwrap();
    for (page, id, status, has) in [
        ("", "quick-sh", "201", "checkout_url"),
        ("guides/", "fulfill-sh", "201", "license_keys"),
        ("guides/", "subdivisions", "200", "Alabama"),
        ("guides/", "tax", "200", "\"country\":\"GB\""),
    ] {
        let file = desk.snippet(page, id, "example.sh").await;
        let said = block_in_place(|| shell().env("CURL_HOME", desk.folder.path()).arg(&file).must_succeed()).unwrap();
        let (body, told) = said.rsplit_once('\n').unwrap();
        assert_eq!(told, status, "{id}: {body}");
        assert!(body.contains(has), "{id}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn python_and_node_examples_work_as_they_stand() {
    let python = block_in_place(|| Python::with("snippets", TOOLS)).unwrap();
    let desk = Desk::new().await;
    let _worker = desk.system.worker().await;
    for (id, program, file) in [("quick-py", "python", "example.py"), ("quick-mjs", "node", "example.mjs")] {
        let file = desk.snippet("", id, file).await;
        let said = block_in_place(|| python.program(program).arg(&file).must_succeed()).unwrap();
        assert!(is_cart(said.trim()), "{id}: {said}");
    }
    let file = desk.snippet("guides/", "fulfill-py", "fulfill.py").await;
    let first = block_in_place(|| python.program("python").arg(&file).must_succeed()).unwrap();
    assert!(first.starts_with("WIN-11-PRO "), "{first}");
    // Sent again, as it does after an answer that was lost, it is the same order.
    let again = block_in_place(|| python.program("python").arg(&file).must_succeed()).unwrap();
    assert_eq!(first, again);
}

#[tokio::test(flavor = "multi_thread")]
async fn wordpress_makes_a_checkout_session() {
    let desk = Desk::new().await;
    let file = desk.snippet("guides/", "wordpress", "functions.php").await;
    let wordpress = block_in_place(|| Host::of_this_checkout("").unwrap().unpack_alone("wordpress", &|line| eprintln!("{line}"))).unwrap();
    let harness = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snippets/wordpress.php");
    let run = |key: &str| {
        let launch = php().arg(&harness).arg(wordpress.folder.join("usr/share/wordpress")).arg(&file).arg(key);
        let said = block_in_place(|| launch.must_succeed()).unwrap();
        serde_json::from_str::<Value>(&said).unwrap_or_else(|_| panic!("no JSON: {said}"))
    };
    assert!(is_cart(run(&desk.key)["checkout_url"].as_str().unwrap()));
    assert_eq!(run("sk_live_wrong")["success"], false);
}

/// A server of an example's on a port of its own, once it listens.
async fn serving(launch: Launch, port: u16, log: &Path) -> Process {
    let process = launch.start(log).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("that the example listens", LONG, async || TcpStream::connect(address).await.ok()).await;
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn express_redirects_to_the_checkout() {
    let python = block_in_place(|| Python::with("snippets", TOOLS)).unwrap();
    let packages = block_in_place(|| node::packages(&python, "express", &[NPM_PACKAGE]));
    let desk = Desk::new().await;
    let (file, port) = on_a_port(&desk, "guides/", "express", "server.mjs", "3000").await;
    // Modules are looked for beside the script alone.
    std::os::unix::fs::symlink(packages.join("node_modules"), desk.folder.path().join("node_modules")).unwrap();
    let launch = python.program("node").env("EPAY_API_KEY", &desk.key).arg(&file);
    let _server = serving(launch, port, &desk.folder.path().join("express.log")).await;
    let shop = testkit::http::Client::new(SocketAddr::from(([127, 0, 0, 1], port)), false);
    let answer = shop.post("/buy", &json!({"cart": {"WIN-11-PRO": 2}})).await.unwrap();
    assert_eq!(answer.status, 302);
    assert!(is_cart(answer.header("location")), "{}", answer.header("location"));
    assert_eq!(shop.post("/buy", &json!({"cart": {"NONE": 1}})).await.unwrap().status, 502);
}

/// A server's example, on a free port instead of its own.
async fn on_a_port(desk: &Desk, page: &str, id: &str, file: &str, own: &str) -> (PathBuf, u16) {
    let (path, port) = (desk.snippet(page, id, file).await, free_port().unwrap());
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches(own).count(), 1, "{own} in {text}");
    fs::write(&path, text.replace(own, &port.to_string())).unwrap();
    (path, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_take_what_we_sign_and_nothing_else() {
    let python = block_in_place(|| Python::with("snippets", TOOLS)).unwrap();
    let packages = block_in_place(|| node::packages(&python, "express", &[NPM_PACKAGE]));
    let desk = Desk::new().await;
    let _worker = desk.system.worker().await;
    std::os::unix::fs::symlink(packages.join("node_modules"), desk.folder.path().join("node_modules")).unwrap();
    let mut receivers = Vec::new();
    for (id, name, file, own) in [
        ("webhook-py", "python", "webhook.py", "5000"),
        ("webhook-mjs", "node", "webhook.mjs", "3000"),
        ("webhook-php", "php", "webhook.php", ""),
    ] {
        let (file, port) = if own.is_empty() {
            (desk.snippet("webhooks/", id, file).await, free_port().unwrap())
        } else {
            on_a_port(&desk, "webhooks/", id, file, own).await
        };
        let (_, secret) = desk.shop.endpoint(&desk.system.pg, Mode::Live, &format!("http://127.0.0.1:{port}/webhook")).await.unwrap();
        let launch = match name {
            "php" => php().arg("-S").arg(format!("127.0.0.1:{port}")),
            _ => python.program(name),
        };
        let log = desk.folder.path().join(format!("{id}.log"));
        let process = serving(launch.env("WEBHOOK_SECRET", secret.expose()).arg(&file), port, &log).await;
        let receiver = testkit::http::Client::new(SocketAddr::from(([127, 0, 0, 1], port)), false);
        for signature in ["", "sha256=00", "\u{e9}"] {
            let headers = [("content-type", "application/json"), ("x-anonymouspay-signature", signature)];
            let answer = receiver.send(Method::POST, "/webhook", &headers, "{\"event\":\"order.fulfilled\"}").await.unwrap();
            assert_eq!(answer.status, 400, "{id}: {signature:?}");
        }
        receivers.push((id, log, process));
    }
    let made = fulfill(&desk.edge.client(&desk.key), STORE, &order("told", &[("WIN-11-PRO", 1)])).await;
    let line = format!("order.fulfilled {} fulfilled", order_id_of(&made));
    for (id, log, _process) in &receivers {
        let told = async || fs::read_to_string(log).unwrap_or_default().contains(&line).then_some(());
        eventually(&format!("{id}: {line}"), LONG, told).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_lead_to_carts_and_stripes_events_are_ours() {
    let desk = Desk::new().await;
    let links = fs::read_to_string(desk.snippet("guides/", "links", "links.html").await).unwrap();
    let address = format!("http://{}", desk.edge.address);
    let hrefs: Vec<String> = links.split("href=\"").skip(1).map(|rest| unescaped(rest.split_once('"').unwrap().0)).collect();
    assert_eq!(hrefs.len(), 2);
    for (href, products) in hrefs.iter().zip([&PRODUCTS[..1], &PRODUCTS]) {
        let page = Browser::new(desk.edge.client("")).get(href.strip_prefix(&address).unwrap()).await;
        assert_eq!(page.status(), 200, "{href}");
        for product in products {
            page.has(product);
        }
    }
    let listen = fs::read_to_string(desk.snippet("webhooks/", "stripe-sh", "listen.sh").await).unwrap().replace("\\\n", "");
    assert!(listen.contains(&format!("--forward-to {address}{} ", testkit::stripe::PATH)), "{listen}");
    let events = listen.split_once("--events ").unwrap().1.trim().split(',');
    assert_eq!(events.collect::<std::collections::BTreeSet<_>>(), KINDS.into_iter().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standard_libraries_example_takes_a_delivery() {
    let python = block_in_place(|| Python::with("snippets", TOOLS)).unwrap();
    let desk = Desk::new().await;
    let _worker = desk.system.worker().await;
    let receiver = testkit::receiver::Receiver::start(testkit::receiver::Behavior::status(200)).await.unwrap();
    let (_, secret) = desk.shop.endpoint(&desk.system.pg, Mode::Live, &receiver.url("/")).await.unwrap();
    fulfill(&desk.edge.client(&desk.key), STORE, &order("standard", &[("WIN-11-PRO", 1)])).await;
    receiver.wait_for_requests(1, LONG).await.unwrap();
    let received = receiver.received().remove(0);
    let example = desk.snippet("webhooks/", "standard-py", "standard.py").await;
    let given = json!({
        "headers": received.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<serde_json::Map<_, _>>(),
        "body": String::from_utf8(received.body.to_vec()).unwrap(), "webhook_secret": secret.expose(),
    });
    // The example's three names are the reader's own.
    let before = format!("import json\nglobals().update(json.loads({:?}))\n", given.to_string());
    let script = format!("{before}{}\nprint(event['event'])\n", fs::read_to_string(example).unwrap());
    let said = block_in_place(|| python.program("python").arg("-c").arg(script).must_succeed()).unwrap();
    assert!(said.starts_with("order."), "{said}");
}
