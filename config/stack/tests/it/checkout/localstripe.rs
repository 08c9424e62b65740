//! The same against a Stripe that none of us wrote: `localstripe` of PyPI makes the payment, is paid as a customer would, and sends its own
//! signed event.

use std::net::TcpListener;
use std::path::Path;

use http::Method;
use serde_json::Value;
use testkit::http::Client;
use testkit::process::Signal;
use tokio::task::block_in_place;

use super::{browser, checked, order_of, ordered, system};
use crate::system::{SOON, eventually, until_order_is};
use testkit::python::Python;

const REQUIREMENTS: &str = "localstripe==1.15.10\n";
const SIGNING: &str = "whsec_of_somebody_elses_stripe";

/// A form as Stripe's interface takes it.
async fn ask(client: &Client, path: &str, form: &[(&str, &str)]) -> Value {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = client.send(Method::POST, path, &headers, body).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_made_there_is_fulfilled_here() {
    let python = block_in_place(|| Python::with("localstripe", REQUIREMENTS)).unwrap();
    // The port is free now, and nobody else in this process asks for it by number.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let mut localstripe = block_in_place(|| {
        let launch = python.program("localstripe").args(["--port", &port.to_string(), "--from-scratch"]).folder(folder.path());
        launch.start(&Path::new(folder.path()).join("log"))
    })
    .unwrap();
    let theirs = Client::new(([127, 0, 0, 1], port).into(), false).with_key("sk_test_checkout");
    eventually("localstripe to answer", SOON, async || theirs.get("/v1/payment_intents").await.ok()).await;

    let mut system = system().await;
    system.set("STRIPE__API_BASE_URL", &format!("http://127.0.0.1:{port}"));
    system.set("STRIPE__TEST_SECRET_KEY", "sk_test_checkout");
    system.set("STRIPE__TEST_PUBLISHABLE_KEY", "pk_test_checkout");
    system.set("STRIPE__TEST_SIGNING_SECRETS", SIGNING);
    let (shop, _) = system.shop("demo").await;
    shop.generated(&system.pg, "MADE").await.unwrap();
    let (_, key) = shop.key(&system.pg, common::mode::Mode::Test, &[], Default::default()).await.unwrap();
    let (edge, worker) = (system.edge().await, system.worker().await);
    let body = serde_json::json!({"cart": {"MADE": 2}, "currency": "GBP"});
    let session = edge.client(&key).post("/api/v1/stores/demo/checkout/session/", &body).await.unwrap().json();
    let token = session["token"].as_str().unwrap();
    let mut customer = browser(&edge);
    let page = checked(&mut customer, &format!("token={token}")).await;
    let payment = ordered(&mut customer, &page).await;
    payment.has("pk_test_checkout");
    let id = order_of(&payment.address);
    let secret = payment.between("data-client-secret=\"", "\"").expect("a payment");
    let intent = secret.split("_secret_").next().unwrap().to_owned();

    let url = format!("http://{}/stripe/webhook/", edge.address);
    let webhook = serde_json::json!({"url": url, "secret": SIGNING}).to_string();
    let headers = [("content-type", "application/json")];
    let registered = theirs.send(Method::POST, "/_config/webhooks/ours", &headers, webhook).await.unwrap();
    assert!(registered.status.is_success(), "{}", String::from_utf8_lossy(&registered.body));
    // What the customer's browser does in Stripe's form.
    let card = [
        ("type", "card"),
        ("card[number]", "4242424242424242"),
        ("card[exp_month]", "12"),
        ("card[exp_year]", "2030"),
        ("card[cvc]", "123"),
    ];
    let method = ask(&theirs, "/v1/payment_methods", &card).await;
    let method = method["id"].as_str().unwrap();
    let buyer = ask(&theirs, "/v1/customers", &[("email", "customer@example.com")]).await;
    let buyer = buyer["id"].as_str().unwrap();
    ask(&theirs, &format!("/v1/payment_methods/{method}/attach"), &[("customer", buyer)]).await;
    ask(&theirs, &format!("/v1/payment_intents/{intent}"), &[("payment_method", method), ("customer", buyer)]).await;
    let paid = ask(&theirs, &format!("/v1/payment_intents/{intent}/confirm"), &[]).await;
    assert_eq!(paid["status"], "succeeded", "{paid}");
    let order = until_order_is(&edge.client(&key), "demo", id.as_str(), "fulfilled").await.json();
    assert_eq!(order["livemode"], false);
    edge.stop().await;
    worker.stop().await;
    block_in_place(|| localstripe.stop(Signal::TERM, SOON)).unwrap();
}
