//! Nobody reaches another store's endpoints, the other mode's, or another endpoint's deliveries, on any path; and is told no more about
//! them than about what does not exist.

use storage::pg::api_keys::Quotas as KeyQuotas;
use testkit::shop::Shop;

use super::*;

/// Every route of one endpoint: method, path and a good body.
fn routes(webhook: &str, delivery: &str) -> Vec<(Method, String, &'static str)> {
    let paths: Vec<_> = ROUTES
        .iter()
        .filter(|route| route.path.starts_with("/api/") && route.path.contains("{webhook_id}"))
        .map(|route| {
            let path = route.path.replace("{slug}", "demo").replace("{webhook_id}", webhook).replace("{delivery_id}", delivery);
            let body = match (route.name, &route.method) {
                ("resend_deliveries", _) => r#"{"from":"2000-01-01T00:00:00Z","to":"2100-01-01T00:00:00Z","all":true}"#,
                (_, &Method::POST) => "{}",
                (_, &Method::PATCH) => r#"{"enabled":false,"url":"https://elsewhere.example/"}"#,
                _ => "",
            };
            (route.method.clone(), format!("{path}/"), body)
        })
        .collect();
    assert_eq!(paths.len(), 9, "{paths:?}");
    paths
}

async fn ask(client: &Client, (method, path, body): &(Method, String, &'static str)) -> Response {
    client.send(method.clone(), path, &[("content-type", "application/json")], *body).await.unwrap()
}

#[tokio::test]
async fn between_stores_and_modes_on_every_path() {
    let backstage = Backstage::new().await.unlimited_addresses();
    let other = Shop::open(&backstage.pg, "other").await.unwrap();
    let other_key = other.unlimited_key(&backstage.pg).await.unwrap();
    let test_key = backstage.key_with(Mode::Test, &[], Quotas { api: Some(100_000), ..KeyQuotas::default() }).await.1;
    let stage = backstage.start().await;
    let (partner, test, stranger) = (stage.partner(), stage.anyone().with_key(&test_key), stage.anyone().with_key(&other_key));
    let (path, made) = make(&partner).await;
    let webhook = made["id"].as_str().unwrap();
    let delivery = push(&partner, &format!("{path}test/")).await.json()["id"].as_str().unwrap().to_owned();
    let stored = async || {
        let sql = "select w::text from webhook_endpoints w union all select d::text from webhook_deliveries d order by 1";
        let rows = stage.pg.client().await.unwrap().query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
    };
    let before = stored().await;

    let unknown = format!("wh_{}", "0".repeat(32));
    for (real, none) in routes(webhook, &delivery).iter().zip(routes(&unknown, &delivery)) {
        // The other mode, through its own path.
        let told = [ask(&test, real).await, ask(&test, &none).await];
        let [told, of_none] = told.map(|answer| problem(&answer, 404, "webhook_not_found"));
        assert_eq!(told["detail"].as_str().unwrap().replace(webhook, ""), of_none["detail"].as_str().unwrap().replace(&unknown, ""));
        // Another store's key, through this store's path and through its own.
        problem(&ask(&stranger, real).await, 401, "invalid_api_key");
        let own = (real.0.clone(), real.1.replace("/demo/", "/other/"), real.2);
        problem(&ask(&stranger, &own).await, 404, "webhook_not_found");
        problem(&ask(&stage.anyone(), real).await, 401, "missing_api_key");
    }
    for client in [&test, &stranger] {
        let path = if std::ptr::eq(client, &test) { WEBHOOKS.to_owned() } else { WEBHOOKS.replace("demo", "other") };
        assert_eq!(ok(&client.get(&path).await.unwrap()), json!({"data": []}));
    }
    assert_eq!(stored().await, before);
    assert_eq!(ok(&partner.get(&path).await.unwrap())["url"], URL);
}

#[tokio::test]
async fn between_endpoints_of_one_store() {
    let stage = Stage::new().await;
    let partner = stage.partner();
    let (first, _) = make(&partner).await;
    let (second, _) = make(&partner).await;
    let delivery = push(&partner, &format!("{first}test/")).await.json()["id"].as_str().unwrap().to_owned();
    for (path, method) in
        [(format!("{second}deliveries/{delivery}/"), Method::GET), (format!("{second}deliveries/{delivery}/resend/"), Method::POST)]
    {
        problem(&partner.send(method, &path, &[], "").await.unwrap(), 404, "delivery_not_found");
    }
    assert_eq!(ok(&partner.get(&format!("{second}deliveries/")).await.unwrap()), json!({"data": [], "has_more": false}));
    let everything = json!({"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "all": true});
    let resent = partner.post(&format!("{second}resend/"), &everything).await.unwrap();
    assert_eq!(ok(&resent), json!({"resent": 0, "next_cursor": null}));
}

#[tokio::test]
async fn ids_that_are_none() {
    let stage = Stage::new().await;
    let partner = stage.partner();
    let (path, made) = make(&partner).await;
    let id = made["id"].as_str().unwrap();
    for not in ["wh_1", &id[3..], &id.to_uppercase(), &format!("{id}0"), "%00", "..%2f..%2fetc", &"x".repeat(500)] {
        problem(&partner.get(&format!("{WEBHOOKS}{not}/")).await.unwrap(), 404, "webhook_not_found");
    }
    for not in ["whd_0", "1", "whd_01", "whd_-1", "whd_9223372036854775808", "whd_9223372036854775807", "%00", "whd_1%00"] {
        problem(&partner.get(&format!("{path}deliveries/{not}/")).await.unwrap(), 404, "delivery_not_found");
    }
}

#[tokio::test]
async fn a_key_without_the_scope_opens_nothing() {
    let backstage = Backstage::new().await.unlimited_addresses();
    let narrow = backstage.key_with(Mode::Live, &["checkout", "licensing"], Quotas::default()).await.1;
    let scoped = backstage.key_with(Mode::Live, &["webhooks"], Quotas::default()).await.1;
    let stage = backstage.start().await;
    let (narrow, scoped) = (stage.anyone().with_key(&narrow), stage.anyone().with_key(&scoped));
    let (_, made) = make(&scoped).await;
    let list = (Method::GET, WEBHOOKS.to_owned(), "");
    let create = (Method::POST, WEBHOOKS.to_owned(), r#"{"url":"https://shop.example/"}"#);
    for route in [list, create].into_iter().chain(routes(made["id"].as_str().unwrap(), "whd_1")) {
        let told = problem(&ask(&narrow, &route).await, 401, "insufficient_scope");
        assert!(told["detail"].as_str().unwrap().contains("webhooks"), "{told}");
    }
    assert_eq!(ok(&scoped.get(WEBHOOKS).await.unwrap())["data"].as_array().unwrap().len(), 1);
}
