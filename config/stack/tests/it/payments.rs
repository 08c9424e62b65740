//! Payments, from Stripe's event to license keys and the partner's webhook: whatever the order in which events come, and however often.

mod others;

use std::collections::BTreeMap;
use std::time::Duration;

use common::ids::OrderId;
use common::mode::Mode;
use common::order::OrderStatus;
use serde_json::{Value, json};
use storage::Pg;
use storage::pg::products::Product;
use testkit::http::{Client, Response};
use testkit::receiver::{Behavior, Receiver};
use testkit::shop::{Shop, license_keys};
use testkit::stripe::Payment;

use crate::system::{SOON, System, eventually, in_parallel, license_keys_of, read_order, until_order_is};

const LIVE: &str = "whsec_live_mode_of_the_stack";
const TEST: &str = "whsec_test_mode_of_the_stack";
const TOTAL: i64 = 2_999;
/// Longer than a sweep, of which there is one each second.
const A_SWEEP: Duration = Duration::from_millis(2_500);

async fn system() -> System {
    let mut system = System::new().await;
    system.set("STRIPE__LIVE_SIGNING_SECRETS", LIVE);
    system.set("STRIPE__TEST_SIGNING_SECRETS", TEST);
    system
}

/// An order of one piece that is to be paid.
async fn pending(system: &System, shop: &Shop, product: &Product) -> OrderId {
    let id = OrderId::new(1_772_452_800_000, rand::random());
    pending_as(&system.pg, shop, product, &id).await;
    id
}

async fn pending_as(pg: &Pg, shop: &Shop, product: &Product, id: &OrderId) {
    let mut client = pg.client().await.unwrap();
    let tx = client.transaction().await.unwrap();
    shop.pending(&tx, Mode::Live, product, id, TOTAL, None).await.unwrap();
    tx.commit().await.unwrap();
}

fn paid(n: usize, order: &OrderId, amount: i64, currency: &str) -> Value {
    let payment = format!("pi_{order}");
    Payment { id: &payment, livemode: true, amount, currency }.succeeded(&format!("evt_{order}_{n}"), order)
}

/// Names its payment alone, as what follows on a payment does.
fn refunded(n: usize, order: &OrderId, amount: i64) -> Value {
    let payment = format!("pi_{order}");
    Payment { id: &payment, livemode: true, amount: TOTAL, currency: "gbp" }.refunded(&format!("evt_{order}_{n}"), amount)
}

fn disputed(n: usize, order: &OrderId, what: &str, status: &str) -> Value {
    let payment = format!("pi_{order}");
    Payment { id: &payment, livemode: true, amount: TOTAL, currency: "gbp" }.disputed(&format!("evt_{order}_{n}"), what, status)
}

async fn tell(client: &Client, secret: &str, event: &Value) -> Response {
    testkit::stripe::tell(client, secret, event).await.unwrap()
}

async fn settled(system: &System) {
    let sql = "select count(*) from stripe_events where status in ('waiting', 'parked')";
    eventually("that every event is settled", SOON, async || (system.number(sql).await == 0).then_some(())).await;
}

/// The last event of each kind, without what is new in each: its name, its place and its time.
fn last_of_each_kind(bodies: &[String]) -> BTreeMap<String, Value> {
    let mut last = BTreeMap::new();
    for body in bodies {
        let mut body: Value = serde_json::from_str(body).unwrap();
        // Where the order stood in between depends on what was known; where it stands in the end does not.
        for member in ["event_id", "order_id", "sequence", "created_at", "status"] {
            body.as_object_mut().unwrap().remove(member);
        }
        if let Some(dispute) = body["dispute"].as_object_mut() {
            dispute.remove("id");
        }
        last.insert(body["event"].as_str().unwrap().to_owned(), body);
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_order_of_arrival_orders_end_alike() {
    let system = system().await;
    let (shop, key) = system.shop("demo").await;
    let product = shop.generated(&system.pg, "MADE").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    for (refund, closed, status, usable) in [
        (1_000, "won", OrderStatus::PartiallyRefunded, true),
        (1_000, "lost", OrderStatus::Revoked, false),
        (TOTAL, "won", OrderStatus::Refunded, false),
    ] {
        let ends = in_parallel(24, 6, |n| {
            let (client, pg, shop, product) = (client.clone(), system.pg.clone(), shop.clone(), product.clone());
            // Every way of beginning is there: the others follow turned by as many places, every other one backwards.
            let order = OrderId::new(1_772_452_800_000, rand::random());
            let mut events = vec![
                paid(0, &order, TOTAL, "gbp"),
                refunded(1, &order, refund),
                disputed(2, &order, "created", "needs_response"),
                disputed(3, &order, "funds_withdrawn", "needs_response"),
                disputed(4, &order, "updated", "under_review"),
                disputed(5, &order, "closed", closed),
                disputed(6, &order, "funds_reinstated", if closed == "won" { "won" } else { "under_review" }),
            ];
            events.rotate_left(n % 7);
            if n >= 7 {
                events[1..].reverse();
            }
            if n >= 14 {
                events.swap(2, 5);
            }
            async move {
                pending_as(&pg, &shop, &product, &order).await;
                for event in &events {
                    assert_eq!(tell(&client, LIVE, event).await.status, 200);
                    if n % 3 == 0 {
                        assert_eq!(tell(&client, LIVE, event).await.status, 200, "once more");
                    }
                    // Some are applied one by one, others together.
                    if n % 2 == 0 {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
                order
            }
        })
        .await;
        settled(&system).await;
        let mut expected = None;
        for order in &ends {
            let answer = read_order(&client, "demo", order.as_str()).await;
            let body = answer.json();
            assert_eq!(body["status"], status.as_str(), "{body}");
            assert_eq!(license_keys_of(&answer).len(), usize::from(usable), "{body}");
            let bodies = storage::pg::events::of_order(&*system.pg.client().await.unwrap(), order).await.unwrap();
            let last = last_of_each_kind(&bodies);
            assert_eq!(last.keys().collect::<Vec<_>>(), ["order.created", "order.disputed", "order.fulfilled", "order.refunded"]);
            assert_eq!(last["order.refunded"]["refunded_minor"], refund);
            assert_eq!(last["order.disputed"]["dispute"]["status"], closed);
            assert_eq!(last, *expected.get_or_insert_with(|| last.clone()));
        }
    }
    assert_eq!(system.number("select count(*) from stripe_events where status <> 'applied'").await, 0);
    assert_eq!(system.number("select count(*) from stripe_events").await, 3 * 24 * 7);
    assert_eq!(system.number("select count(*) from order_keys").await, 3 * 24, "one each");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_this_orders_money_pays_for_nothing() {
    let system = system().await;
    let (shop, key) = system.shop("demo").await;
    let product = shop.generated(&system.pg, "MADE").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    let (order, other) = (pending(&system, &shop, &product).await, pending(&system, &shop, &product).await);
    let refused = async |n: i64| {
        let sql = "select count(*) from stripe_events where status = 'refused'";
        eventually("that it is refused", SOON, async || (system.number(sql).await == n).then_some(())).await;
        assert_eq!(read_order(&client, "demo", order.as_str()).await.json()["status"], "pending");
    };
    for (n, (amount, currency)) in [(TOTAL - 1, "gbp"), (TOTAL + 1, "gbp"), (TOTAL, "usd")].into_iter().enumerate() {
        assert_eq!(tell(&client, LIVE, &paid(n, &order, amount, currency)).await.status, 200);
        refused(n as i64 + 1).await;
    }
    // Of a known kind, and not readable: kept for a person, as Stripe would only send the same again.
    let mut odd = paid(7, &order, TOTAL, "gbp");
    odd["data"]["object"]["amount_received"] = json!("2999");
    assert_eq!(tell(&client, LIVE, &odd).await.status, 200);
    refused(4).await;
    // The other order's payment.
    assert_eq!(tell(&client, LIVE, &paid(0, &other, TOTAL, "gbp")).await.status, 200);
    until_order_is(&client, "demo", other.as_str(), "fulfilled").await;
    let mut borrowed = paid(8, &order, TOTAL, "gbp");
    borrowed["data"]["object"]["id"] = json!(format!("pi_{other}"));
    assert_eq!(tell(&client, LIVE, &borrowed).await.status, 200);
    refused(5).await;
    // Test mode's events are about test mode's orders.
    let mut test = paid(9, &order, TOTAL, "gbp");
    test["livemode"] = json!(false);
    assert_eq!(tell(&client, TEST, &test).await.status, 200);
    eventually("that it is parked", SOON, async || {
        (system.number("select count(*) from stripe_events where status = 'parked'").await == 1).then_some(())
    })
    .await;
    tokio::time::sleep(A_SWEEP).await;
    refused(5).await;
    // After all of that the right one does it.
    assert_eq!(tell(&client, LIVE, &paid(10, &order, TOTAL, "gbp")).await.status, 200);
    until_order_is(&client, "demo", order.as_str(), "fulfilled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_that_come_before_their_order_wait_for_it() {
    let system = system().await;
    let (shop, key) = system.shop("demo").await;
    let product = shop.generated(&system.pg, "MADE").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    let order = OrderId::new(1_772_452_800_000, rand::random());
    for event in [disputed(0, &order, "created", "needs_response"), refunded(1, &order, 500), paid(2, &order, TOTAL, "gbp")] {
        assert_eq!(tell(&client, LIVE, &event).await.status, 200);
    }
    let parked = "select count(*) from stripe_events where status = 'parked'";
    eventually("that all are parked", SOON, async || (system.number(parked).await == 3).then_some(())).await;
    pending_as(&system.pg, &shop, &product, &order).await;
    until_order_is(&client, "demo", order.as_str(), "disputed").await;
    settled(&system).await;
    assert_eq!(tell(&client, LIVE, &disputed(3, &order, "closed", "won")).await.status, 200);
    let answer = until_order_is(&client, "demo", order.as_str(), "partially_refunded").await;
    assert_eq!(license_keys_of(&answer).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_paid_waits_for_stock_and_the_first_is_served_first() {
    let system = system().await;
    let (shop, key) = system.shop("demo").await;
    let product = shop.pooled(&system.pg, "POOL", &license_keys("FIRST", 1)).await.unwrap();
    let receiver = Receiver::start(Behavior::status(200)).await.unwrap();
    shop.endpoint(&system.pg, Mode::Live, &receiver.url("/")).await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    let mut orders = Vec::new();
    for n in 0..4 {
        let order = pending(&system, &shop, &product).await;
        assert_eq!(tell(&client, LIVE, &paid(0, &order, TOTAL, "gbp")).await.status, 200);
        until_order_is(&client, "demo", order.as_str(), if n == 0 { "fulfilled" } else { "awaiting_stock" }).await;
        orders.push(order);
    }
    // The third does not want to wait any longer, and gets the money back.
    assert_eq!(tell(&client, LIVE, &refunded(1, &orders[2], TOTAL)).await.status, 200);
    until_order_is(&client, "demo", orders[2].as_str(), "refunded").await;
    shop.stock(&system.pg, &product, Mode::Live, &license_keys("SECOND", 1)).await.unwrap();
    until_order_is(&client, "demo", orders[1].as_str(), "fulfilled").await;
    assert_eq!(read_order(&client, "demo", orders[3].as_str()).await.json()["status"], "awaiting_stock");
    shop.stock(&system.pg, &product, Mode::Live, &license_keys("THIRD", 2)).await.unwrap();
    let answer = until_order_is(&client, "demo", orders[3].as_str(), "fulfilled").await;
    assert_eq!(license_keys_of(&answer), ["THIRD-000000"]);
    assert_eq!(system.free(&product, Mode::Live).await, 1, "nothing for whom the money went back to");
    // Four orders begun, three served, one given its money back.
    receiver.wait_for_requests(8, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_payments_for_one_order_either_may_come_first() {
    let system = system().await;
    let (shop, key) = system.shop("demo").await;
    let product = shop.generated(&system.pg, "MADE").await.unwrap();
    let (edge, worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    let mut ends = Vec::new();
    for turn in 0..2 {
        let order = pending(&system, &shop, &product).await;
        let ids = [format!("pi_a{turn}"), format!("pi_b{turn}")];
        let payments = ids.each_ref().map(|id| Payment { id, livemode: true, amount: TOTAL, currency: "gbp" });
        let mut events = [payments[0].succeeded(&format!("evt_a{turn}"), &order), payments[1].succeeded(&format!("evt_b{turn}"), &order)];
        if turn == 1 {
            events.reverse();
        }
        for event in &events {
            assert_eq!(tell(&client, LIVE, event).await.status, 200);
            settled(&system).await;
        }
        let read = until_order_is(&client, "demo", order.as_str(), "fulfilled").await;
        assert_eq!(license_keys_of(&read).len(), 1, "paid twice, sold once");
        let sql = format!("select count(*) from events where order_id = '{order}'");
        ends.push((read.json()["status"].clone(), system.number(&sql).await));
    }
    assert_eq!(ends[0], ends[1]);
    edge.stop().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_stripe_is_asked_to_come_again_and_nothing_is_lost() {
    let mut system = System::with_own_postgres().await;
    system.set("STRIPE__LIVE_SIGNING_SECRETS", LIVE);
    let (shop, key) = system.shop("demo").await;
    let product = shop.generated(&system.pg, "MADE").await.unwrap();
    let order = pending(&system, &shop, &product).await;
    let (edge, worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    tokio::task::block_in_place(|| system.postgres().kill()).unwrap();
    let event = paid(1, &order, TOTAL, "gbp");
    for _ in 0..3 {
        let answer = tell(&client, LIVE, &event).await;
        assert_eq!(answer.status, 503);
        assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
    }
    tokio::task::block_in_place(|| system.postgres().restart()).unwrap();
    eventually("the event to be taken", SOON, async || (tell(&client, LIVE, &event).await.status == 200).then_some(())).await;
    until_order_is(&client, "demo", order.as_str(), "fulfilled").await;
    edge.stop().await;
    worker.stop().await;
}
