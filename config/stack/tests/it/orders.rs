//! What was sold can be read, found and taken back, by the store that sold it.

use common::mode::Mode;
use http::Method;
use serde_json::{Value, json};
use testkit::http::{Client, Response};
use testkit::shop::license_keys;

use crate::system::{System, all_are, fulfill, fulfill_once, in_parallel, license_keys_of, order, order_id_of, read_order};

async fn list(client: &Client, query: &str) -> Value {
    let answer = client.get(&format!("/api/v1/stores/demo/orders/{query}")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn ids(list: &Value) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(|order| order["order_id"].as_str().unwrap().to_owned()).collect()
}

async fn revoke(client: &Client, id: &str) -> Response {
    client.send(Method::POST, &format!("/api/v1/stores/demo/orders/{id}/revoke/"), &[], "").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_read_as_it_was_made() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.pooled(&system.pg, "POOL", &license_keys("K", 5)).await.unwrap();
    shop.generated(&system.pg, "MADE").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);

    let made = fulfill(&client, "demo", &order("r-1", &[("POOL", 2), ("MADE", 1)])).await;
    let id = order_id_of(&made);
    let read = read_order(&client, "demo", &id).await;
    let document = read.json();
    assert_eq!(document["items"][0]["license_keys"], made.json()["items"][0]["license_keys"]);
    let told = ["order_id", "status", "external_reference", "total_minor", "currency", "customer_email", "livemode"];
    let told = told.map(|name| document[name].clone());
    let expected = [json!(id), json!("fulfilled"), json!("r-1"), json!(2999), json!("GBP"), json!("customer@shop.example"), json!(true)];
    assert_eq!(told, expected);
    assert_eq!((&document["items"][0]["sku"], &document["items"][0]["quantity"]), (&json!("POOL"), &json!(2)));
    assert_eq!((&document["items"][1]["sku"], &document["items"][1]["quantity"]), (&json!("MADE"), &json!(1)));
    assert!(["created_at", "updated_at"].iter().all(|name| document[name].as_str().unwrap().ends_with('Z')));
    assert_eq!(read.header("cache-control"), "no-store");

    let lower = read_order(&client, "demo", &id.to_lowercase()).await;
    assert_eq!((lower.status.as_u16(), &lower.body), (200, &read.body), "order ids are read in any case");
    for unknown in ["ORD-000000000000000000", "ORD-0", "nonsense", "ORD-00000000000000000U", "%00", &format!("{id}0")] {
        let answer = read_order(&client, "demo", unknown).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "order_not_found"), "{unknown}");
        assert_eq!(revoke(&client, unknown).await.code(), "order_not_found", "{unknown}");
    }

    // What was not said when the order was made is null.
    let mut bare = order("r-2", &[("MADE", 1)]);
    for name in ["currency", "total_minor"] {
        bare.as_object_mut().unwrap().remove(name);
    }
    let bare = read_order(&client, "demo", &order_id_of(&fulfill(&client, "demo", &bare).await)).await.json();
    assert_eq!((&bare["currency"], &bare["total_minor"]), (&Value::Null, &Value::Null));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_listed_newest_first_in_pages() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    for n in 0..5 {
        assert_eq!(fulfill(&client, "demo", &order(&format!("r-{n}"), &[("A", 1)])).await.status, 201);
    }
    let all = list(&client, "").await;
    let newest_first = ids(&all);
    assert_eq!((newest_first.len(), &all["has_more"]), (5, &json!(false)));
    assert!(newest_first.is_sorted_by(|newer, older| newer > older), "{newest_first:?}");
    assert!(all["data"].as_array().unwrap().iter().all(|order| order.get("items").is_none()), "a list shows no license keys");

    let mut paged = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = list(&client, &query).await;
        paged.extend(ids(&page));
        query = format!("?limit=2&starting_after={}", paged.last().unwrap().to_lowercase());
        assert!(paged.len() <= 5);
        if page["has_more"] == json!(false) {
            break;
        }
    }
    assert_eq!(paged, newest_first);
    assert_eq!(list(&client, &format!("?starting_after={}", newest_first[4])).await["data"], json!([]));

    assert_eq!(ids(&list(&client, "?external_reference=r-2").await), [newest_first[2].clone()]);
    assert_eq!(list(&client, "?external_reference=nobody").await["data"], json!([]));
    assert_eq!(revoke(&client, &newest_first[1]).await.status, 200);
    assert_eq!(ids(&list(&client, "?status=revoked").await), [newest_first[1].clone()]);
    assert_eq!(ids(&list(&client, "?status=fulfilled").await).len(), 4);
    assert_eq!(list(&client, "?status=revoked&external_reference=r-2").await["data"], json!([]));
    for (query, field) in [("limit=0", "limit"), ("limit=101", "limit"), ("status=sold", "status"), ("starting_after=x", "starting_after")]
    {
        let answer = client.get(&format!("/api/v1/stores/demo/orders/?{query}")).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.json()["errors"][0]["field"]), (400, &json!(field)), "{query}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_order_keeps_its_license_keys_from_everybody() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    let stock = license_keys("K", 4);
    let product = shop.pooled(&system.pg, "POOL", &stock).await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    let body = order("r-1", &[("POOL", 2)]);
    let made = fulfill_once(&client, "demo", "key-1", &body).await;
    let (id, taken) = (order_id_of(&made), license_keys_of(&made));

    // Many at once are one; so is once more afterwards.
    let answers = in_parallel(20, 20, |_| {
        let (client, id) = (client.clone(), id.clone());
        async move { revoke(&client, &id).await }
    })
    .await;
    all_are(&answers, 200);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body), "twice is once, to the time of it");
    let (again, read) = (revoke(&client, &id.to_lowercase()).await, read_order(&client, "demo", &id).await);
    assert_eq!((&again.body, &read.body), (&answers[0].body, &answers[0].body));
    assert_eq!(read.json()["status"], "revoked");
    assert_eq!(read.json()["items"], json!([{ "sku": "POOL", "quantity": 2, "license_keys": [] }]));

    for replay in [fulfill(&client, "demo", &body).await, fulfill_once(&client, "demo", "key-1", &body).await] {
        assert_eq!((replay.status.as_u16(), replay.header("idempotent-replayed")), (201, "true"));
        let expected = json!({ "order_id": id, "status": "revoked", "items": [{ "sku": "POOL", "license_keys": [] }] });
        assert_eq!(replay.json(), expected);
    }

    // The keys are gone for good: not in stock, and not in whatever else is sold.
    assert_eq!(system.free(&product, Mode::Live).await, 2);
    assert_eq!(fulfill(&client, "demo", &order("r-2", &[("POOL", 3)])).await.code(), "out_of_stock");
    let rest = license_keys_of(&fulfill(&client, "demo", &order("r-3", &[("POOL", 2)])).await);
    assert!(rest.len() == 2 && rest.iter().all(|key| !taken.contains(key)));
    assert_eq!(system.number("select count(*) from license_digests").await, 4, "and none of them can be imported again");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_is_our_fault_and_says_nothing_of_itself() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "MADE").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    let id = order_id_of(&fulfill(&client, "demo", &order("r-1", &[("MADE", 1)])).await);
    let database = system.pg.client().await.unwrap();
    database.execute("update orders set status = 'misspelled' where id = $1", &[&id]).await.unwrap();

    let answer = read_order(&client, "demo", &id).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (500, "internal_error"), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(["misspelled", "select", "orders", "Corrupt"].iter().all(|word| !body.contains(word)), "{body}");
    assert_eq!(edge.client(&key).get("/api/v1/stores/demo/orders/?limit=1&status=failed").await.unwrap().status, 200, "others go on");
}
