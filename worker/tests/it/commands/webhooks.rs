//! Webhook endpoints as an operator manages them: the secret is shown once and stored sealed, and rows are made due for working workers.

use common::seal::{Purpose, Sealer};
use common::webhook::ids::EndpointId;
use common::webhook::secret::WebhookSecret;
use serde_json::{Value, json};
use storage::pg::webhook_endpoints;

use super::Installation;

const URL: &str = "https://shop.example/hooks";

impl Installation {
    /// `worker webhook … --store demo …`
    fn webhook(&self, command: &str, more: &[&str]) -> Value {
        self.json(&[&["webhook", command, "--store", "demo"], more].concat())
    }

    /// The id of a new endpoint.
    fn add_webhook(&self) -> String {
        self.webhook("add", &["--url", URL])["id"].as_str().unwrap().to_owned()
    }

    /// The secret that an endpoint's row holds, and whether there is one before it.
    async fn sealed(&self, id: &str) -> (String, bool) {
        let EndpointId(id) = id.parse().unwrap();
        let sql = "select sealed_secret, sealed_previous_secret is not null from webhook_endpoints where id = $1";
        let row = self.pg.client().await.unwrap().query_one(sql, &[&id]).await.unwrap();
        let sealer = Sealer::new(&self.settings.load().unwrap().secrets.sealing, Purpose::WebhookSecret, rand::random());
        let opened = sealer.open(&webhook_endpoints::place(id), row.get(0)).unwrap();
        (String::from_utf8(opened.to_vec()).unwrap(), row.get(1))
    }
}

#[tokio::test]
async fn a_secret_is_shown_once_and_stored_sealed() {
    let installation = Installation::with_products().await;
    let made =
        installation.webhook("add", &["--url", URL, "--event", "order.refunded", "--event", "order.created", "--event", "order.created"]);
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert!(WebhookSecret::parse(secret).is_ok(), "{made}");
    assert_eq!((&made["mode"], &made["url"]), (&json!("live"), &json!(URL)));
    assert_eq!((&made["events"], &made["enabled"]), (&json!(["order.created", "order.refunded"]), &json!(true)));
    assert_eq!(installation.sealed(id).await, (secret.to_owned(), false));
    assert!(!installation.stores(secret).await && !installation.stores(&secret[6..]).await, "the secret stands in the database");

    let mut shown = made.clone();
    shown.as_object_mut().unwrap().remove("secret");
    assert_eq!(installation.webhook("show", &[id]), shown);
    assert_eq!(installation.webhook("list", &[]), json!([shown]));
    let table = installation.run(&["webhook", "list", "--store", "demo"]).stdout;
    assert!(table.contains("FAILING SINCE") && table.contains("order.created,order.refunded") && !table.contains(&secret[6..]), "{table}");

    let rotated = installation.webhook("rotate", &[id]);
    let new = rotated["secret"].as_str().unwrap();
    assert!(new != secret && rotated["previous_secret_until"].is_string(), "{rotated}");
    assert_eq!(installation.sealed(id).await, (new.to_owned(), true));
    let text = installation.run(&["webhook", "rotate", "--store", "demo", id, "--revoke-previous"]).stdout;
    let (newest, previous) = installation.sealed(id).await;
    assert!(text.contains(&newest) && text.contains("cannot be shown again") && !previous, "{text}");
}

#[tokio::test]
async fn endpoints_are_changed_disabled_enabled_and_removed() {
    let installation = Installation::with_products().await;
    let id = &installation.add_webhook();
    let changed = installation.webhook("change", &[id, "--url", "https://shop.example/new", "--event", "order.disputed"]);
    assert_eq!((&changed["url"], &changed["events"]), (&json!("https://shop.example/new"), &json!(["order.disputed"])));
    let changed = installation.webhook("change", &[id, "--all-events"]);
    assert_eq!((&changed["url"], &changed["events"]), (&json!("https://shop.example/new"), &json!([])));
    let disabled = installation.webhook("disable", &[id]);
    assert_eq!((&disabled["enabled"], &disabled["disabled_reason"]), (&json!(false), &json!("its owner disabled it")));
    let text = installation.run(&["webhook", "show", "--store", "demo", id]).stdout;
    assert!(text.contains("disabled: its owner disabled it") && text.contains("https://shop.example/new"), "{text}");
    assert_eq!(installation.webhook("enable", &[id])["enabled"], json!(true));
    assert_eq!(installation.webhook("remove", &[id]), json!({"removed": id}));
    assert_eq!(installation.webhook("list", &[]), json!([]));

    // What is not there, not of this store, or not of this mode.
    let id = &installation.add_webhook();
    installation.json(&["store", "create", "--slug", "other", "--name", "Other"]);
    for owner in [["--store", "other", "--mode", "live"], ["--store", "demo", "--mode", "test"]] {
        for command in ["show", "enable", "disable", "rotate", "remove", "test", "deliveries"] {
            installation.run(&[&["webhook", command, id][..], &owner].concat()).fails(1, &["has no webhook endpoint", id]);
        }
        assert_eq!(installation.json(&[&["webhook", "list"][..], &owner].concat()), json!([]));
    }
    for _ in 0..4 {
        installation.add_webhook();
    }
    installation.run(&["webhook", "add", "--store", "demo", "--url", URL]).fails(1, &["has 5 webhook endpoints", "remove one"]);
    assert_eq!(installation.webhook("add", &["--url", URL, "--mode", "test"])["mode"], "test");

    installation.run(&["webhook", "add", "--store", "none", "--url", URL]).fails(1, &["no store"]);
    installation.run(&["webhook", "add", "--store", "demo", "--url", "ftp://shop.example/"]).fails(2, &["--url", "https://"]);
    installation.run(&["webhook", "change", "--store", "demo", id]).fails(2, &["--url"]);
    installation.run(&["webhook", "show", "--store", "demo", "wh_1"]).fails(2, &["wh_ and 32"]);
}

#[tokio::test]
async fn deliveries_are_listed_shown_and_sent_again() {
    let installation = Installation::with_products().await;
    let id = &installation.add_webhook();
    let first = installation.webhook("test", &[id]);
    assert_eq!((&first["event"], &first["status"], &first["attempts_made"]), (&json!("webhook.test"), &json!("pending"), &json!(0)));
    let text = installation.run(&["webhook", "test", "--store", "demo", id]).stdout;
    assert!(text.contains(&format!("worker webhook show --store demo --mode live {id} whd_")), "{text}");
    let listed = installation.webhook("deliveries", &[id]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[1]), (2, &first), "newest first");
    let delivery = first["id"].as_str().unwrap();
    let number = &delivery["whd_".len()..];
    assert_eq!(
        installation.webhook("deliveries", &[id, "--limit", "1", "--starting-after", listed[0]["id"].as_str().unwrap()]),
        json!([first])
    );

    installation
        .execute(&format!(
            "insert into webhook_attempts (delivery_id, attempt, started_at, duration_ms, status, error, answer) values
                 ({number}, 1, '2026-03-02T12:00:00Z', 84, 500, null, '\\x1b5b324aff');
             update webhook_deliveries set attempts = 11, status = 'exhausted', settled_at = now() where id = {number};
             update webhook_deliveries set created_at = '2026-03-02T12:00:00Z'"
        ))
        .await;
    let shown = installation.webhook("show", &[id, delivery]);
    let attempt = json!({"attempt": 1, "started_at": "2026-03-02T12:00:00Z", "duration_ms": 84, "status": 500, "error": null,
        "answer": "\u{1b}[2J\u{fffd}"});
    assert_eq!((&shown["status"], &shown["attempts"]), (&json!("exhausted"), &json!([attempt])));
    let text = installation.run(&["webhook", "show", "--store", "demo", id, delivery]).stdout;
    assert!(text.contains("attempt 1, 2026-03-02T12:00:00Z, 84 ms: 500") && !text.contains('\u{1b}'), "{text}");
    assert!(!text.contains("customer@example.com"), "no customer's address on a terminal: {text}");
    assert_eq!(installation.webhook("deliveries", &[id, "--status", "exhausted"])[0]["id"], first["id"]);
    assert_eq!(installation.webhook("deliveries", &[id, "--order", "ORD-000000000000000000"]), json!([]));

    let span = ["--from", "2026-03-02T00:00:00Z", "--to", "2026-03-03T00:00:00Z"];
    assert_eq!(installation.webhook("resend", &[&[id.as_str()], &span[..]].concat()), json!({"resent": 1}));
    assert_eq!(installation.webhook("resend", &[&[id.as_str()], &span[..]].concat()), json!({"resent": 0}), "they are pending now");
    installation.execute("update webhook_deliveries set status = 'delivered', settled_at = now()").await;
    assert_eq!(installation.webhook("resend", &[&[id.as_str()], &span[..]].concat()), json!({"resent": 0}), "nothing was given up");
    assert_eq!(installation.webhook("resend", &[&[id.as_str(), "--all"], &span[..]].concat()), json!({"resent": 2}));
    installation.execute("update webhook_deliveries set status = 'delivered', settled_at = now()").await;
    assert_eq!(installation.webhook("resend", &[id, delivery]), json!({"resent": 1}));
    let due = "select count(*) from webhook_deliveries where status = 'pending' and next_attempt_at <= now()";
    assert_eq!(installation.count(due).await, 1);

    let other = &installation.add_webhook();
    installation.run(&["webhook", "show", "--store", "demo", other, delivery]).fails(1, &["has no delivery", delivery]);
    installation.run(&["webhook", "resend", "--store", "demo", other, delivery]).fails(1, &["has no delivery", delivery]);
    installation.run(&["webhook", "resend", "--store", "demo", id]).fails(2, &["--from"]);
    installation.run(&["webhook", "resend", "--store", "demo", id, delivery, "--all"]).fails(2, &["cannot be used with"]);
    let backwards = ["--from", "2026-03-03T00:00:00Z", "--to", "2026-03-02T00:00:00Z"];
    installation.run(&[&["webhook", "resend", "--store", "demo", id][..], &backwards].concat()).fails(2, &["--to must be after --from"]);
    installation.run(&["webhook", "resend", "--store", "demo", id, "--from", "yesterday", "--to", "now"]).fails(2, &["RFC 3339"]);
}
