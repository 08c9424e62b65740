//! However odd the requests, the metrics page does not grow: nothing that a caller sends becomes a label.

use http::Method;

use crate::stage::Stage;

const REQUESTS: usize = 100_000;
const CONNECTIONS: usize = 16;

fn series(stage: &Stage) -> usize {
    let page = stage.metrics.encode().unwrap();
    page.lines().filter(|line| !line.starts_with('#')).count()
}

/// A request like no other: its path, its query, its method, its key, its host and its ids.
async fn odd(client: &testkit::http::Client, n: usize) {
    let method = Method::from_bytes(format!("ODD{n}").as_bytes()).unwrap();
    let method = [Method::GET, Method::POST, Method::PATCH, method][n % 4].clone();
    let path = match n % 6 {
        0 => format!("/odd/{n}/"),
        1 => format!("/api/v1/stores/odd-{n}/checkout/session/"),
        2 => format!("/api/v1/stores/demo/orders/ORD-{n}/?odd{n}={n}"),
        3 => format!("/s/odd-{n}/cart/?items=ODD-{n}:1&currency=GBP"),
        4 => format!("/api/v1/geo/subdivisions/?country=odd{n}"),
        _ => format!("/portal/stores/odd-{n}/keys/"),
    };
    let key = format!("Bearer sk_live_{n:048}");
    let (host, id) = (format!("odd-{n}.example"), format!("odd-{n}"));
    let headers = [("authorization", key.as_str()), ("host", &host), ("x-request-id", &id), ("user-agent", &id)];
    client.send(method, &path, &headers, "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_odd_requests_leave_no_series_of_their_own() {
    let stage = crate::stage::Backstage::new().await.unlimited_addresses().set("LIMITS__PAGES", "1000000").start().await;
    // One of each kind with each kind of method, and so every series that there may be.
    let client = stage.anyone();
    for n in 0..12 {
        odd(&client, n).await;
    }
    let before = series(&stage);
    let ask = |part: usize| {
        let client = stage.anyone();
        async move {
            for n in (part..REQUESTS).step_by(CONNECTIONS) {
                odd(&client, n).await;
            }
        }
    };
    futures_util::future::join_all((0..CONNECTIONS).map(ask)).await;
    let after = series(&stage);
    println!("series: {before} before, {after} after");
    assert_eq!(after, before);
    let counted: u64 = stage.running.edge.metrics.request_seconds.with_label_values(&["none"]).get_sample_count();
    assert!(counted > REQUESTS as u64 / 6, "the requests were seen: {counted}");
}
