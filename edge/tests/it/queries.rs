//! Query strings: what is missing, malformed, unknown or there twice, on every route that reads one.

use common::ids::OrderId;
use serde_json::{Value, json};

use crate::stage::{Backstage, FULFILL, ORDERS, Stage, fields, order, problem};

#[tokio::test]
async fn countries_are_asked_for_once_and_in_any_case() {
    let stage = Stage::new().await;
    let anyone = stage.anyone();
    for path in ["/api/v1/geo/subdivisions/", "/api/v1/tax/rates/"] {
        let whole = anyone.get(&format!("{path}?country=US")).await.unwrap();
        assert_eq!((whole.status.as_u16(), whole.header("content-type")), (200, "application/json"));
        for same in
            ["?country=us", "?country=Us", "?utm_source=x&country=US&utm_source=y", "?country=%55%53", "?country=US&", "?&country=US"]
        {
            let answer = anyone.get(&format!("{path}{same}")).await.unwrap();
            assert_eq!((answer.status, &answer.body), (whole.status, &whole.body), "{same}");
        }
        for query in [
            "",
            "?",
            "?country",
            "?country=",
            "?country=U",
            "?country=USA",
            "?country=1A",
            "?country=%00%00",
            "?country=%F0%9F",
            "?country=U%20",
            "?Country=US",
            "?country=US&country=US",
            "?country=US&country=GB",
            "?country=US%00",
        ] {
            let told = problem(&anyone.get(&format!("{path}{query}")).await.unwrap(), 400, "invalid_request");
            assert_eq!(fields(&told), ["country"], "{query}");
        }
        for unknown in ["ZZ", "XX", "UK", "AA"] {
            problem(&anyone.get(&format!("{path}?country={unknown}")).await.unwrap(), 404, "country_not_found");
        }
    }
    let antarctica = anyone.get("/api/v1/geo/subdivisions/?country=AQ").await.unwrap();
    assert_eq!(antarctica.json(), json!({"country": "AQ", "subdivisions": []}), "a country without any is an answer");
    let states = anyone.get("/api/v1/geo/subdivisions/?country=US").await.unwrap().json();
    assert_eq!((&states["country"], &states["subdivisions"][0]), (&json!("US"), &json!({"code": "AL", "name": "Alabama"})));
}

#[tokio::test]
async fn tax_rates_may_be_narrowed_by_place_and_day() {
    let stage = Stage::new().await;
    let ask = async |query: &str| stage.anyone().get(&format!("/api/v1/tax/rates/?{query}")).await.unwrap();
    let rates = |answer: &Value| answer["rates"].as_array().unwrap().clone();
    let standard = ask("country=GB").await.json();
    let rate = rates(&standard).into_iter().find(|rate| rate["category"] == "standard").unwrap();
    assert_eq!((&rate["rate_percent"], &rate["rate_ppm"]), (&json!("20.00"), &json!(200_000)));
    assert!(standard["prices_include_tax"].as_bool().unwrap() && standard["as_of"].is_string(), "{standard}");
    let ontario = ask("country=CA&subdivision=ON").await.json();
    assert!(rates(&ontario).iter().all(|rate| rate["subdivision"].is_null() || rate["subdivision"] == "ON"), "{ontario}");
    assert_eq!(
        ask("country=CA&subdivision=on").await.body,
        ask("country=ca&subdivision=ON&date=2026-03-02").await.body,
        "today is the clock's"
    );
    for unknown in ["subdivision=ZZZ", "subdivision=", "subdivision=%00"] {
        problem(&ask(&format!("country=CA&{unknown}")).await, 404, "subdivision_not_found");
    }
    for date in ["", "2026-02-30", "2026-3-2", "02.03.2026", "20260302", "2026-03-02T00:00:00Z", "9999999-01-01", "%00", "-001-01-01"] {
        let told = problem(&ask(&format!("country=GB&date={date}")).await, 400, "invalid_request");
        assert_eq!(fields(&told), ["date"], "{date}");
    }
    for twice in ["date=2026-01-01&date=2026-01-01", "subdivision=ON&subdivision=ON"] {
        let told = problem(&ask(&format!("country=CA&{twice}")).await, 400, "invalid_request");
        assert_eq!(fields(&told), [twice.split('=').next().unwrap()]);
    }
    for date in ["0001-01-01", "9999-12-31"] {
        assert_eq!(ask(&format!("country=GB&date={date}")).await.status, 200);
    }
}

#[tokio::test]
async fn lists_of_orders_are_bounded_and_filtered() {
    let backstage = Backstage::new().await;
    let stage = backstage.set("EDGE__FULFILL_FALLBACK_MS", "1").set("EDGE__FULFILL_DEADLINE_MS", "2").start().await;
    let partner = stage.partner();
    let mut made = Vec::new();
    for n in 0..3 {
        // Ids sort by the time in them.
        stage.clock.advance(std::time::Duration::from_millis(1));
        let accepted = partner.post(FULFILL, &order(&format!("ref {n} é"))).await.unwrap();
        assert_eq!(accepted.status, 202, "{accepted:?}");
        made.insert(0, accepted.json()["order_id"].clone());
    }
    let list = async |query: &str| {
        let answer = partner.get(&format!("{ORDERS}?{query}")).await.unwrap();
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let ids: Vec<Value> = answer.json()["data"].as_array().unwrap().iter().map(|order| order["order_id"].clone()).collect();
        (ids, answer.json()["has_more"].as_bool().unwrap())
    };
    assert_eq!(list("").await, (made.clone(), false));
    assert_eq!(list("limit=100").await, (made.clone(), false));
    assert_eq!(list("limit=1").await, (made[..1].to_vec(), true));
    assert_eq!(list("limit=3").await, (made.clone(), false));
    let first = made[0].as_str().unwrap();
    assert_eq!(list(&format!("limit=1&starting_after={first}")).await, (made[1..2].to_vec(), true));
    assert_eq!(list(&format!("starting_after={}", first.to_lowercase())).await, (made[1..].to_vec(), false));
    assert_eq!(list(&format!("starting_after={}", OrderId::new(0, 0))).await, (Vec::new(), false));
    assert_eq!(list("external_reference=ref+1+%C3%A9").await, (made[1..2].to_vec(), false));
    assert_eq!(list("external_reference=none").await, (Vec::new(), false));
    assert_eq!(list(&format!("external_reference={}", "x".repeat(255))).await, (Vec::new(), false));
    assert_eq!(list("status=processing").await, (made, false));
    assert_eq!(list("status=fulfilled").await, (Vec::new(), false));
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=", "limit"),
        ("limit=1.0", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=%31%00", "limit"),
        ("limit=1&limit=1", "limit"),
        ("status=Fulfilled", "status"),
        ("status=", "status"),
        ("status=fulfilled%00", "status"),
        ("starting_after=ORD-1", "starting_after"),
        ("starting_after=%00", "starting_after"),
        ("external_reference=%00", "external_reference"),
        ("external_reference=a%01b", "external_reference"),
        ("external_reference=a%0Ab", "external_reference"),
        ("external_reference=", "external_reference"),
        (&format!("external_reference={}", "x".repeat(256)), "external_reference"),
    ] {
        let told = problem(&partner.get(&format!("{ORDERS}?{query}")).await.unwrap(), 400, "invalid_request");
        assert_eq!(fields(&told), [field], "{query}");
    }
    let told = problem(&partner.get(&format!("{ORDERS}?limit=0&status=x&starting_after=y")).await.unwrap(), 400, "invalid_request");
    assert_eq!(fields(&told), ["limit", "status", "starting_after"], "all at once");
    for path in ["ORD-", "ORD-00000000000000000U", "%00", "..%2f..%2fetc", "ORD-000000000000000000%00", &"x".repeat(500)] {
        problem(&partner.get(&format!("{ORDERS}{path}/")).await.unwrap(), 404, "order_not_found");
    }
}
