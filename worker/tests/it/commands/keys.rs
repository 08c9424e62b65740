//! API keys: shown once, rolled with an overlap, and revoked with a report of who has followed.

use std::time::{Duration, Instant};

use common::api_key::{ApiKey, ApiKeyHasher};
use common::mode::Mode;
use serde_json::{Value, json};
use testkit::servers::Redis;

use super::Installation;

impl Installation {
    fn key(&self, more: &[&str]) -> Value {
        self.json(&[&["key", "create", "--store", "demo", "--name", "shop"], more].concat())
    }

    async fn edge(&self, id: &str, applied_change_id: i64, seen: &str) {
        let sql = format!("insert into edges (id, applied_change_id, seen_at) values ('{id}', {applied_change_id}, now() - interval '{seen}')");
        self.execute(&sql).await;
    }
}

#[tokio::test]
async fn a_key_is_shown_once_and_never_stored() {
    let installation = Installation::with_products().await;
    let made = installation.key(&["--mode", "test", "--scope", "checkout", "--scope", "webhooks", "--expires-in-days", "2"]);
    let text = made["key"].as_str().unwrap();
    let key = ApiKey::parse(text.as_bytes()).unwrap();
    assert_eq!((key.mode(), made["hint"].as_str().unwrap()), (Mode::Test, key.hint()));
    assert!(made["expires_at"].is_string());

    let hasher = ApiKeyHasher::new(&installation.settings.load().unwrap().secrets.api_key_pepper);
    let hash: Vec<u8> = installation.pg.client().await.unwrap().query_one("select hash from api_keys", &[]).await.unwrap().get(0);
    assert_eq!(hash, hasher.hash(&key).1, "the edge will know the key by this");
    assert!(!installation.stores(text).await && !installation.stores(&text[13..]).await, "the key stands in the database");

    let listed = installation.run(&["--json", "key", "list", "--store", "demo"]);
    assert!(!listed.stdout.contains(text), "{listed:?}");
    let listed = &listed.json()[0];
    assert_eq!((&listed["hint"], &listed["mode"], &listed["scopes"]), (&made["hint"], &json!("test"), &json!(["checkout", "webhooks"])));
    assert_eq!((&listed["revoked_at"], &listed["last_used_at"], &listed["requests_24h"]), (&json!(null), &json!(null), &json!(0)));

    let shown = installation.run(&["key", "create", "--store", "demo", "--name", "other"]);
    assert!(shown.stdout.contains("sk_live_") && shown.stdout.contains("cannot be shown again"), "{shown:?}");
    let table = installation.run(&["key", "list", "--store", "demo"]).stdout;
    assert!(table.contains("LAST USED") && table.contains("checkout,webhooks") && table.contains("all"), "{table}");
    installation.run(&["key", "create", "--store", "none", "--name", "x"]).fails(1, &["no store"]);
}

#[tokio::test]
async fn usage_is_listed() {
    let installation = Installation::with_products().await;
    let id = installation.key(&[])["id"].as_i64().unwrap();
    installation
        .execute(&format!(
            "insert into api_key_usage values ({id}, now() - interval '1 hour', 10, 3), ({id}, now() - interval '2 days', 99, 99);
             update api_keys set last_used_at = '2026-03-02T12:00:00Z'"
        ))
        .await;
    let listed = installation.json(&["key", "list", "--store", "demo"]);
    assert_eq!((&listed[0]["requests_24h"], &listed[0]["limited_24h"]), (&json!(10), &json!(3)));
    assert_eq!(listed[0]["last_used_at"], "2026-03-02T12:00:00Z");
}

#[tokio::test]
async fn a_rolled_key_overlaps_with_its_successor() {
    let installation = Installation::with_products().await;
    let old = installation.key(&["--scope", "licensing"]);
    let old_id = old["id"].to_string();
    installation.json(&["limit", "set", "--key", &old_id, "--checkout", "7"]);
    let new = installation.json(&["key", "roll", &old_id, "--overlap-hours", "3"]);
    assert!(new["key"].as_str().unwrap().starts_with("sk_live_") && new["key"] != old["key"]);
    assert_eq!(new["replaces"]["id"], old["id"]);
    assert!(new["replaces"]["expires_at"].is_string());
    let hours = format!("select round(extract(epoch from expires_at - now()) / 3600)::bigint from api_keys where id = {old_id}");
    assert_eq!(installation.count(&hours).await, 3);

    let listed = installation.json(&["key", "list", "--store", "demo"]);
    assert_eq!((&listed[0]["id"], &listed[1]["id"]), (&new["id"], &old["id"]));
    for inherited in ["name", "mode", "scopes", "limits"] {
        assert_eq!(listed[0][inherited], listed[1][inherited]);
    }
    installation.json(&["key", "roll", &new["id"].to_string()]);
    let hours = format!("select round(extract(epoch from expires_at - now()) / 3600)::bigint from api_keys where id = {}", new["id"]);
    assert_eq!(installation.count(&hours).await, 24, "the overlap when nothing is said");

    installation.json(&["key", "revoke", &old_id, "--config", "/dev/null"]);
    installation.run(&["key", "roll", &old_id]).fails(1, &["is revoked"]);
    installation.run(&["key", "roll", "99"]).fails(1, &["no API key 99"]);
}
