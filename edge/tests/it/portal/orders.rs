//! Orders in the portal: each is found by whatever is known of it, whole lists are walked page by page, a file has what the list has, and no
//! page shows a license key.

use common::ids::OrderId;
use common::license::LicenseKey;
use serde_json::{Value, json};

use super::*;
use crate::stage::{FULFILL, order};

const LIST: &str = "/portal/stores/demo/orders/";

/// Puts an order there as if it had been fulfilled, without its items. `age` makes it older than those with a smaller one.
pub async fn fulfilled(stage: &Stage, store_id: i64, age: u64, reference: &str, email: &str) -> String {
    // 23 November 2026.
    let id = OrderId::new(1_795_392_000_000 - age, age);
    let sql = "insert into orders (id, store_id, live, external_reference, fingerprint, status, currency, total_minor, customer_email, created_at)
               values ($1, $2, true, $3, '\\x00'::bytea || decode(repeat('00', 31), 'hex'), 'fulfilled', 'GBP', 2999, $4, '2026-11-23')";
    stage.pg.client().await.unwrap().execute(sql, &[&id.as_str(), &store_id, &reference, &email]).await.unwrap();
    id.as_str().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_found_by_whatever_is_known_of_it() {
    let stage = stage().await;
    partner(&stage, OWNER, stage.shop.store_id, Role::Owner).await;
    let mut browser = signed_in(&stage, OWNER).await;
    browser.get(LIST).await.has("There is no live order yet.");
    let foreign = Shop::open(&stage.pg, "foreign").await.unwrap();
    let store_id = stage.shop.store_id;
    let first = fulfilled(&stage, store_id, 10, "=1+1", "Ann@Example.com").await;
    let second = fulfilled(&stage, store_id, 20, "ann@example.com", "bob@example.com").await;
    let third = fulfilled(&stage, store_id, 30, "third", "bob@example.com").await;
    let theirs = fulfilled(&stage, foreign.store_id, 5, "third", "ann@example.com").await;
    execute(&stage, &format!("update orders set status = 'failed' where id = '{third}'")).await;
    let all = [&first, &second, &third, &theirs];
    for (query, expected) in [
        ("", vec![&first, &second, &third]),
        ("?q=ann%40example.com", vec![&first, &second]),
        ("?q=third", vec![&third]),
        ("?q=thir", vec![]),
        (&format!("?q={}", second.to_lowercase()), vec![&second]),
        (&format!("?q={theirs}"), vec![]),
        ("?status=failed", vec![&third]),
        ("?status=failed&q=bob%40EXAMPLE.com", vec![&third]),
        ("?status=fulfilled&q=+bob%40example.com+", vec![&second]),
        ("?mode=test", vec![]),
        (&format!("?after={first}"), vec![&second, &third]),
        ("?q='%3B+drop+table+orders--", vec![]),
    ] {
        let page = browser.get(&format!("{LIST}{query}")).await;
        assert_eq!(page.status(), 200, "{query}");
        let found: Vec<&&String> = all.iter().filter(|id| page.text.contains(&format!("/orders/{id}/"))).collect();
        assert_eq!(found.into_iter().copied().collect::<Vec<_>>(), expected, "{query}");
    }
    for query in ["?status=gone", "?mode=both", "?after=1", "?q=%00", "?q=a&q=b", &format!("?q={}", "x".repeat(256))] {
        assert_eq!(browser.get(&format!("{LIST}{query}")).await.status(), 400, "{query}");
    }

    let page = browser.get(&format!("{LIST}export/?from=2026-11-22&to=2026-11-23")).await;
    assert!(page.answer.header("content-type").starts_with("text/csv"));
    assert!(page.answer.header("content-disposition").contains("orders-demo-live-2026-11-22-2026-11-23.csv"));
    let lines: Vec<&str> = page.text.lines().collect();
    let expected = format!("{first},2026-11-23T00:00:00Z,live,fulfilled,\"'=1+1\",Ann@Example.com,GBP,29.99,2999");
    assert_eq!((lines.len(), lines[1]), (4, expected.as_str()));
    let page = browser.get(&format!("{LIST}export/?from=2026-11-23&to=2026-11-23")).await;
    assert_eq!(page.text.lines().count(), 1, "they are of the day before");
    let page = browser.get(&format!("{LIST}export/?from=2026-11-22&to=2026-11-22&status=failed")).await;
    assert_eq!(page.text.lines().count(), 2);
    for days in ["", "from=2026-11-23&to=2026-11-22", "from=x&to=2026-11-22"] {
        let page = browser.get(&format!("{LIST}export/?{days}")).await;
        assert_eq!(page.status(), 400);
        page.has("Choose a first and a last day");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_orders_are_walked_page_by_page_and_too_many_make_no_file() {
    let stage = stage().await;
    partner(&stage, OWNER, stage.shop.store_id, Role::ReadOnly).await;
    let mut browser = signed_in(&stage, OWNER).await;
    for age in 1..=101 {
        fulfilled(&stage, stage.shop.store_id, age, &format!("r{age}"), "c@example.com").await;
    }
    let mut address = format!("{LIST}?q=c%40example.com&status=fulfilled");
    let mut seen = Vec::new();
    let mut pages = 0;
    loop {
        let page = browser.get(&address).await;
        let references = page.text.split("class=\"sub\">r").skip(1).map(|rest| rest.split('<').next().unwrap().parse::<u32>().unwrap());
        seen.extend(references);
        pages += 1;
        let Some((before, _)) = page.text.split_once("\" rel=\"next\"") else { break };
        address = before.rsplit('"').next().unwrap().replace("&#38;", "&");
    }
    assert_eq!((pages, seen), (3, (1..=101).collect()));

    execute(
        &stage,
        "insert into orders (id, store_id, live, fingerprint, status, customer_email)
         select overlay(max(id) placing lpad((n + 1000)::text, 9, '0') from 14), max(store_id), true, max(fingerprint::text)::bytea, 'fulfilled', 'x'
         from orders, generate_series(1, 19900) n group by n",
    )
    .await;
    let page = browser.get(&format!("{LIST}export/?from=2026-11-01&to=2026-11-30")).await;
    assert_eq!(page.status(), 400);
    page.has("more than 20000 orders");
    let few = browser.get(&format!("{LIST}export/?from=2026-11-01&to=2026-11-30&q=c%40example.com")).await;
    assert_eq!((few.status(), few.text.lines().count()), (200, 102));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_tells_what_happened_and_is_revoked_with_its_keys_hidden() {
    let stage = stage().await;
    let _worker = stage.start_worker();
    partner(&stage, OWNER, stage.shop.store_id, Role::Developer).await;
    stage.shop.endpoint(&stage.pg, Mode::Live, "https://hooks.shop.example/in?token=secret-token").await.unwrap();
    let mut browser = signed_in(&stage, OWNER).await;
    let made: Value = stage.partner().post(FULFILL, &order("history")).await.unwrap().json();
    let id = made["order_id"].as_str().unwrap();
    let key = LicenseKey::parse(made["items"][0]["license_keys"][0].as_str().unwrap()).unwrap();
    let address = format!("{LIST}{id}/");
    let page = browser.get(&address).await;
    page.has("Order made")
        .has("License keys issued")
        .has("1 license key")
        .has("customer@example.com")
        .has("history")
        .has("hooks.shop.example");
    page.has(&format!("…{}<", &key.expose()[key.expose().len() - 4..])).has_not(key.expose()).has_not("secret-token");
    // Money that went back, and a dispute, as the worker that merges Stripe's facts writes them.
    let sql = "insert into order_payments (order_id, live, payment_intent, paid_at) values ($1, true, 'pi_1', now() - interval '1 minute')";
    let client = stage.pg.client().await.unwrap();
    client.execute(sql, &[&id]).await.unwrap();
    for (sequence, kind, more) in [
        (3, "order.refunded", json!({"refunded_minor": 1_000})),
        (4, "order.disputed", json!({"dispute": {"id": "dp_1", "status": "lost", "amount_minor": 1_999}})),
    ] {
        let sql =
            "insert into events (id, store_id, live, order_id, sequence, kind, body) values (gen_random_uuid(), $1, true, $2, $3, $4, $5)";
        client.execute(sql, &[&stage.shop.store_id, &id, &sequence, &kind, &more.to_string()]).await.unwrap();
    }
    execute(&stage, &format!("update orders set currency = 'GBP', total_minor = 2999 where id = '{id}'")).await;
    let page = browser.get(&address).await;
    page.has("pi_1").has("Paid").has("£10.00 in all").has("Dispute lost").has("£19.99, dp_1");
    let place = |text: &str| page.text.find(text).unwrap_or_else(|| panic!("{text}"));
    assert!(place("Paid</strong>") < place("Order made") && place("Order made") < place("Dispute lost"));

    let token = page.form_token();
    let revoke = format!("{address}revoke/");
    let revoked = browser.ask(Method::POST, &revoke, &[("form_token", &token)]).await;
    let text = String::from_utf8(revoked.body.to_vec()).unwrap();
    assert!(revoked.status == 200 && text.contains("The order is revoked.") && text.contains("<strong>Revoked</strong>"), "{text}");
    let again = browser.ask(Method::POST, &revoke, &[("form_token", &token)]).await;
    assert!(String::from_utf8(again.body.to_vec()).unwrap().contains("was revoked before"));
    let seen = stage.partner().get(&format!("{}{id}/", crate::stage::ORDERS)).await.unwrap().json();
    assert_eq!((seen["status"].as_str(), &seen["items"][0]["license_keys"]), (Some("revoked"), &json!([])));
    execute(&stage, &format!("update orders set status = 'failed' where id = '{id}'")).await;
    assert_eq!(browser.ask(Method::POST, &revoke, &[("form_token", &token)]).await.status, 409);
    assert_eq!(browser.get(&format!("{LIST}ORD-000000000000000000/")).await.status(), 404);
    assert_eq!(browser.get(&format!("{LIST}x/")).await.status(), 404);
}
