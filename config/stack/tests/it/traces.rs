//! Traces: what a caller calls its trace is in the webhooks that its call sets off, however the order goes and however often a webhook is
//! tried, and in errors. Nothing is made up for callers who have none.

use common::mode::Mode;
use http::Method;
use serde_json::Value;
use testkit::http::{Client, Response};
use testkit::receiver::{Behavior, Received, Receiver};

use crate::system::{SOON, System, fulfill, fulfill_path, order, order_id_of, until_order_is};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: [&str; 2] = ["rojo=00f067aa0ba902b7", "congo=t61rcWkgMzE"];

async fn fulfill_in_trace(client: &Client, reference: &str, sku: &str) -> Response {
    let headers = [("content-type", "application/json"), ("traceparent", PARENT), ("tracestate", STATE[0]), ("tracestate", STATE[1])];
    client.send(Method::POST, &fulfill_path("demo"), &headers, order(reference, &[(sku, 1)]).to_string()).await.unwrap()
}

/// What webhooks say about their traces: event, `traceparent`, `tracestate`.
fn traces(received: &[Received]) -> Vec<(String, String, String)> {
    let trace = |received: &Received| {
        let event: Value = serde_json::from_slice(&received.body).unwrap();
        let header = |name| received.header(name).to_owned();
        (event["event"].as_str().unwrap().to_owned(), header("traceparent"), header("tracestate"))
    };
    received.iter().map(trace).collect()
}

fn of(event: &str, parent: &str, state: &str) -> (String, String, String) {
    (event.to_owned(), parent.to_owned(), state.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_from_the_call_to_its_webhooks() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let receiver = Receiver::start(Behavior::status(200)).await.unwrap();
    let (which, _) = shop.endpoint(&system.pg, Mode::Live, &receiver.url("/hooks")).await.unwrap();
    let edge = system.edge().await;
    let client = edge.client(&key);
    let state = STATE.join(",");
    let both = [of("order.created", PARENT, &state), of("order.fulfilled", PARENT, &state)];

    // Nobody works: the order is written down, and found by a worker that never saw the call.
    let accepted = fulfill_in_trace(&client, "r-1", "A").await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let _worker = system.worker().await;
    until_order_is(&client, "demo", &order_id_of(&accepted), "fulfilled").await;
    receiver.wait_for_requests(2, SOON).await.unwrap();
    assert_eq!(traces(&receiver.take_received()), both);

    // Through the queue, and a webhook that is tried twice.
    receiver.behave(Behavior::status(500));
    assert_eq!(fulfill_in_trace(&client, "r-2", "A").await.status, 201);
    receiver.wait_for_requests(3, SOON).await.unwrap();
    receiver.behave(Behavior::status(200));
    receiver.wait_for_requests(5, SOON).await.unwrap();
    let again = traces(&receiver.take_received());
    assert_eq!(again, [both[0].clone(), both[0].clone(), both[1].clone()]);

    // Nothing is made up.
    for parents in [&[][..], &[("traceparent", "00-zz")], &[("traceparent", PARENT), ("traceparent", PARENT)]] {
        let headers = [&[("content-type", "application/json"), ("tracestate", STATE[0])], parents].concat();
        let path = format!("/api/v1/stores/demo/webhooks/wh_{}/test/", which.id.simple());
        let before = receiver.requests();
        assert_eq!(client.send(Method::POST, &path, &headers, "").await.unwrap().status, 202, "{parents:?}");
        receiver.wait_for_requests(before + 1, SOON).await.unwrap();
        assert_eq!(traces(&receiver.take_received()), [of("webhook.test", "", "")], "{parents:?}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_names_the_trace_of_its_call() {
    let system = System::new().await;
    let (_, key) = system.shop("demo").await;
    let edge = system.edge().await;
    let client = edge.client(&key);
    let told = fulfill_in_trace(&client, "r-1", "NO-SUCH").await;
    assert_eq!((told.code(), &told.json()["trace_id"]), ("product_not_found".into(), &Value::from("4bf92f3577b34da6a3ce929d0e0e4736")));
    let without = fulfill(&client, "demo", &order("r-1", &[("NO-SUCH", 1)])).await;
    assert_eq!((without.code(), without.json().get("trace_id")), ("product_not_found".into(), None));
    edge.stop().await;
}
