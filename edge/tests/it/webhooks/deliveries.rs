//! What was sent and what came of it, a test event, and sending things again. Attempts are written as a worker writes them.

use serde_json::{Value, json};
use testkit::http::Client;
use uuid::Uuid;

use super::{make, ok, push};
use crate::stage::{Stage, fields, problem};

/// Changes what a worker would change.
async fn execute(stage: &Stage, sql: &str) {
    stage.pg.client().await.unwrap().batch_execute(sql).await.unwrap();
}

async fn test_event(partner: &Client, webhook: &str) -> Value {
    let answer = push(partner, &format!("{webhook}test/")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_test_event_is_a_delivery_of_this_endpoint_alone() {
    let stage = Stage::new().await;
    let partner = stage.partner();
    let (webhook, made) = make(&partner).await;
    make(&partner).await;
    let delivery = test_event(&partner, &webhook).await;
    let expected = json!({"id": delivery["id"], "webhook_id": made["id"], "event_id": delivery["event_id"], "event": "webhook.test",
        "order_id": delivery["order_id"], "status": "pending", "attempts_made": 0, "next_attempt_at": delivery["next_attempt_at"],
        "created_at": delivery["created_at"], "settled_at": null});
    assert_eq!(delivery, expected);
    assert!(delivery["next_attempt_at"].is_string());
    let id = delivery["id"].as_str().unwrap();
    assert_eq!(ok(&partner.get(&format!("{webhook}deliveries/")).await.unwrap()), json!({"data": [delivery], "has_more": false}));
    let whole = ok(&partner.get(&format!("{webhook}deliveries/{id}/")).await.unwrap());
    let body: Value = serde_json::from_str(whole["body"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&body["event"], &body["order_id"], &body["event_id"]),
        (&json!("webhook.test"), &delivery["order_id"], &delivery["event_id"])
    );
    assert_eq!((&body["livemode"], &whole["attempts"]), (&json!(true), &json!([])));
    let count = stage.pg.client().await.unwrap().query_one("select count(*) from webhook_deliveries", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 1);
}

#[tokio::test]
async fn attempts_are_told_with_what_was_answered() {
    let stage = Stage::new().await;
    let partner = stage.partner();
    let (webhook, _) = make(&partner).await;
    let id = test_event(&partner, &webhook).await["id"].as_str().unwrap().to_owned();
    let number = &id["whd_".len()..];
    execute(
        &stage,
        &format!(
            "insert into webhook_attempts (delivery_id, attempt, started_at, duration_ms, status, error, answer) values
                 ({number}, 1, '2026-03-02T12:00:00Z', 10000, null, 'no answer within 10 s', null),
                 ({number}, 2, '2026-03-02T12:00:05Z', 84, 500, null, '\\xff0041c3a9');
             update webhook_deliveries set attempts = 2, status = 'exhausted', settled_at = now()"
        ),
    )
    .await;
    let whole = ok(&partner.get(&format!("{webhook}deliveries/{id}/")).await.unwrap());
    let attempts = json!([
        {"attempt": 1, "started_at": "2026-03-02T12:00:00Z", "duration_ms": 10000, "status": null, "error": "no answer within 10 s", "answer": ""},
        {"attempt": 2, "started_at": "2026-03-02T12:00:05Z", "duration_ms": 84, "status": 500, "error": null, "answer": "\u{fffd}\u{0}Aé"},
    ]);
    assert_eq!(whole["attempts"], attempts);
    assert_eq!((&whole["status"], &whole["attempts_made"], &whole["next_attempt_at"]), (&json!("exhausted"), &json!(2), &json!(null)));
    assert!(whole["settled_at"].is_string(), "{whole}");

    let again = push(&partner, &format!("{webhook}deliveries/{id}/resend/")).await;
    assert_eq!(again.status, 202, "{again:?}");
    let again = again.json();
    assert_eq!((&again["status"], &again["attempts_made"], &again["settled_at"]), (&json!("pending"), &json!(2), &json!(null)));
    assert!(again["next_attempt_at"].is_string() && again["id"] == whole["id"] && again["event_id"] == whole["event_id"]);
}

#[tokio::test]
async fn lists_are_bounded_and_filtered() {
    let stage = Stage::new().await;
    let partner = stage.partner();
    let (webhook, _) = make(&partner).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.insert(0, test_event(&partner, &webhook).await);
    }
    let id = |n: usize| made[n]["id"].as_str().unwrap();
    execute(&stage, &format!("update webhook_deliveries set status = 'delivered', settled_at = now() where id = {}", &id(1)[4..])).await;
    let list = async |query: &str| {
        let page = ok(&partner.get(&format!("{webhook}deliveries/?{query}")).await.unwrap());
        let ids: Vec<String> =
            page["data"].as_array().unwrap().iter().map(|delivery| delivery["id"].as_str().unwrap().to_owned()).collect();
        (ids, page["has_more"].as_bool().unwrap())
    };
    let ids = |from: usize, to: usize| (from..to).map(|n| id(n).to_owned()).collect::<Vec<_>>();
    assert_eq!(list("").await, (ids(0, 3), false));
    assert_eq!(list("limit=2").await, (ids(0, 2), true));
    assert_eq!(list(&format!("limit=2&starting_after={}", id(1))).await, (ids(2, 3), false));
    assert_eq!(list(&format!("limit=1&starting_after={}", id(0))).await, (ids(1, 2), true));
    assert_eq!(list("status=delivered&utm=x").await, (ids(1, 2), false));
    assert_eq!(list("status=exhausted").await, (ids(0, 0), false));
    assert_eq!(list(&format!("order_id={}", made[2]["order_id"].as_str().unwrap().to_lowercase())).await, (ids(2, 3), false));
    assert_eq!(list("order_id=ORD-000000000000000000").await, (ids(0, 0), false));
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=1&limit=1", "limit"),
        ("status=", "status"),
        ("status=failed", "status"),
        ("order_id=ORD-1", "order_id"),
        ("order_id=%00", "order_id"),
        ("starting_after=1", "starting_after"),
        ("starting_after=whd_9223372036854775808", "starting_after"),
    ] {
        let told = problem(&partner.get(&format!("{webhook}deliveries/?{query}")).await.unwrap(), 400, "invalid_request");
        assert_eq!(fields(&told), [field], "{query}");
    }
    let told = problem(
        &partner.get(&format!("{webhook}deliveries/?limit=x&status=x&order_id=x&starting_after=x")).await.unwrap(),
        400,
        "invalid_request",
    );
    assert_eq!(fields(&told), ["limit", "status", "order_id", "starting_after"], "all at once");
}

/// What was given up in a span of time comes back, 1,000 a call, and nothing else does.
#[tokio::test]
async fn a_span_of_time_is_sent_again_step_by_step() {
    let stage = Stage::new().await;
    let partner = stage.partner();
    let (webhook, made) = make(&partner).await;
    let delivery = test_event(&partner, &webhook).await;
    let (endpoint, event) = (made["id"].as_str().unwrap(), delivery["event_id"].as_str().unwrap());
    let endpoint = Uuid::parse_str(&endpoint[3..]).unwrap();
    // One a minute: 2,500 that were given up, and 10 on either side that were delivered.
    execute(
        &stage,
        &format!(
            "delete from webhook_deliveries;
             insert into webhook_deliveries (endpoint_id, event_id, order_id, sequence, attempts, status, settled_at, created_at)
             select '{endpoint}', '{event}', 'ORD-000000000000000000', 1, 11,
                 case when n between 11 and 2510 then 'exhausted' else 'delivered' end, now(), '2026-03-01T00:00:00Z'::timestamptz + n * interval '1 minute'
             from generate_series(1, 2520) n"
        ),
    )
    .await;
    let pending = async || {
        let sql = "select count(*) from webhook_deliveries where status = 'pending' and next_attempt_at <= now() and attempts_before = 11";
        stage.pg.client().await.unwrap().query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    let resend = async |body: Value| ok(&partner.post(&format!("{webhook}resend/"), &body).await.unwrap());
    // The end is left out.
    let span = json!({"from": "2026-03-01T00:11:00Z", "to": "2026-03-01T00:13:00Z"});
    assert_eq!(resend(span.clone()).await, json!({"resent": 2, "next_cursor": null}));
    assert_eq!(resend(span).await, json!({"resent": 0, "next_cursor": null}), "they are pending now");

    let (mut resent, mut calls, mut cursor) = (0, 0, Value::Null);
    loop {
        let step = resend(json!({"from": "2026-03-01T00:00:00Z", "to": "2026-03-05T00:00:00+01:00", "cursor": cursor})).await;
        resent += step["resent"].as_u64().unwrap();
        calls += 1;
        cursor = step["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!((resent, calls, pending().await), (2_498, 3, 2_500));
    let all = resend(json!({"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T00:11:00Z", "all": true})).await;
    assert_eq!((all, pending().await), (json!({"resent": 10, "next_cursor": null}), 2_510));

    for (body, field) in [
        (json!({"to": "2026-03-01T00:00:00Z"}), "from"),
        (json!({"from": "2026-03-01", "to": "2026-03-02T00:00:00Z"}), "from"),
        (json!({"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"}), "to"),
        (json!({"from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z", "cursor": "4"}), "cursor"),
        (json!({"from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z", "all": "yes"}), "all"),
    ] {
        let told = problem(&partner.post(&format!("{webhook}resend/"), &body).await.unwrap(), 400, "invalid_request");
        assert_eq!(fields(&told), [field], "{body}");
    }
}
