//! API keys: shown once, rolled with an overlap, and revoked with a report of who has followed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use common::api_key::{ApiKey, ApiKeyHasher};
use common::mode::Mode;
use serde_json::{Value, json};
use testkit::servers::Redis;

use super::{Ended, Installation};

/// A change that no edge of a test has seen, and one that each has.
const NONE: i64 = 0;
const ALL: i64 = 1_000_000;

impl Installation {
    fn key(&self, more: &[&str]) -> Value {
        self.json(&[&["key", "create", "--store", "demo", "--name", "shop"], more].concat())
    }

    /// An edge that reported just now, or so long ago.
    async fn edge(&self, id: &str, applied_change_id: i64, ago: &str) {
        let columns = "insert into edges (id, applied_change_id, seen_at, applied_at)";
        self.execute(&format!("{columns} values ('{id}', {applied_change_id}, now() - interval '{ago}', now() + interval '1 s')")).await;
    }

    fn revoke(&self) -> Ended {
        self.run(&["--json", "key", "revoke", &self.key(&[])["id"].to_string()])
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

    installation.execute(&format!("update api_keys set revoked_at = now() where id = {old_id}")).await;
    installation.run(&["key", "roll", &old_id]).fails(1, &["is revoked"]);
    installation.run(&["key", "roll", "99"]).fails(1, &["no API key 99"]);
}

#[tokio::test]
async fn revoking_says_which_edges_refuse_the_key() {
    let installation = Installation::with_products().await;
    installation.edge("edge-a", ALL, "0").await;
    installation.edge("edge-b", ALL, "4 s").await;
    installation.edge("edge-c", NONE, "1 min").await;
    let revoked = installation.revoke();
    assert_eq!(revoked.code, 0, "{revoked:?}");
    let report = revoked.value();
    assert_eq!((&report["followed"], &report["alive"], &report["silent"]), (&json!(2), &json!(2), &json!(["edge-c"])));
    assert!(report["edges"][0]["followed_at"].is_string() && report["edges"][0]["followed_after_ms"].as_u64() < Some(1_001), "{report}");
    assert!(installation.json(&["key", "list", "--store", "demo"])[0]["revoked_at"].is_string());

    // Nobody listens where these settings say that Redis is: told, but no reason to fail.
    assert_eq!(report["redis"], "unreachable");
    assert!(revoked.stderr.contains("Redis could not be told"), "{revoked:?}");
    installation.run(&["key", "revoke", "99"]).fails(1, &["no API key 99"]);

    installation.execute("update edges set seen_at = now() where id <> 'edge-c'").await;
    let text = installation.run(&["key", "revoke", "1"]).stdout;
    assert!(
        text.contains("2 of 2 edges refuse it since 2") && text.contains("either crashed or cut off") && text.contains("edge-c"),
        "{text}"
    );
}

#[tokio::test]
async fn revoking_ends_with_10_when_an_edge_has_not_followed() {
    let installation = Installation::with_products().await;
    installation.edge("edge-a", ALL, "0").await;
    // Falls silent while it is waited for, which must not take it out of the account.
    installation.edge("edge-b", NONE, "4 s").await;
    let revoked = installation.revoke();
    assert_eq!(revoked.code, 10, "{revoked:?}");
    assert!(revoked.stderr.contains("1 of 2 edges had not followed after 3 s") && revoked.stderr.contains(": edge-b;"), "{revoked:?}");
    let report = revoked.value();
    assert_eq!((&report["followed"], &report["alive"], &report["edges"][1]["followed_at"]), (&json!(1), &json!(2), &json!(null)));
}

#[tokio::test]
async fn revoking_waits_for_edges_that_are_about_to_follow_or_to_stop() {
    let installation = Installation::with_products().await;
    installation.edge("edge-a", NONE, "0").await;
    installation.edge("edge-b", NONE, "0").await;
    let id = installation.key(&[])["id"].to_string();
    let mut command = installation.command(&["--json", "key", "revoke", &id]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let revoked = format!("select count(*) from api_keys where id = {id} and revoked_at is not null");
    while installation.count(&revoked).await == 0 {
        tokio::task::yield_now().await;
    }
    let follow =
        "update edges set applied_change_id = (select max(id) from changes), applied_at = now(), seen_at = now() where id = 'edge-a'";
    installation.execute(follow).await;
    installation.execute("delete from edges where id = 'edge-b'").await;
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.value()["followed"], 1, "{ended:?}");
}

#[tokio::test]
async fn revocations_travel_on_redis_too() {
    let mut installation = Installation::with_products().await;
    let redis = tokio::task::spawn_blocking(Redis::shared_for_tests).await.unwrap().unwrap();
    installation.settings = installation.settings.clone().redis(&redis.url()).set("QUEUE__PREFIX", "revoking");
    let mut edge = BufReader::new(TcpStream::connect(("127.0.0.1", redis.port())).unwrap());
    edge.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let url = redis.url();
    let password = url.strip_prefix("redis://:").and_then(|rest| rest.split('@').next()).unwrap();
    edge.get_mut().write_all(format!("AUTH {password}\r\nSUBSCRIBE revoking:revoked\r\n").as_bytes()).unwrap();
    let mut heard = String::new();
    while !heard.ends_with(":1\r\n") {
        edge.read_line(&mut heard).unwrap();
    }

    let revoked = installation.revoke();
    let report = revoked.json();
    assert_eq!((&report["redis"], &report["alive"]), (&json!("told"), &json!(0)));
    heard.clear();
    while !heard.ends_with(&format!("\r\n{}\r\n", report["id"])) {
        assert_ne!(edge.read_line(&mut heard).unwrap(), 0, "the connection ended before the revocation came: {heard:?}");
    }
}
