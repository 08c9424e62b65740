//! Deliveries: born with their events, claimed once, settled by whoever claimed last, in the order of their order's events.

use std::collections::BTreeMap;
use std::time::Duration;

use common::event::EventKind;
use common::fulfill::FulfillRequest;
use common::ids::OrderId;
use common::job::NewOrder;
use common::mode::Mode;
use common::webhook::schedule::ATTEMPTS_MAX;
use storage::Pg;
use storage::pg::audit_log::Actor;
use storage::pg::events::{self, Born, Wish};
use storage::pg::webhook_attempts::{self, Filter};
use storage::pg::webhook_deliveries::{self, Claimed, Ended, Made, Outcome, Room};
use storage::pg::webhook_endpoints::{self, Changes, Endpoint, NewEndpoint, Which};
use testkit::database::Database;
use uuid::Uuid;

use crate::patient;

const LEASE: Duration = Duration::from_secs(60);
const CREATED_AT: &str = "2026-03-02T12:00:00Z";
const BOTH: [EventKind; 2] = [EventKind::Created, EventKind::Fulfilled];

struct Stage {
    _database: Database,
    pg: Pg,
    store_id: i64,
}

impl Stage {
    async fn new() -> Self {
        let database = Database::new().await.unwrap();
        let pg = patient(&database);
        let store_id = storage::pg::stores::create(&pg, "demo", "demo", true).await.unwrap().id;
        Self { _database: database, pg, store_id }
    }

    fn which(&self, id: Uuid) -> Which {
        Which { store_id: self.store_id, mode: Mode::Live, id }
    }

    async fn endpoint(&self, events: &[&str]) -> Endpoint {
        let events: Vec<String> = events.iter().map(|&event| event.to_owned()).collect();
        let new =
            NewEndpoint { which: self.which(Uuid::now_v7()), url: "https://partner.example/", events: &events, sealed_secret: b"sealed" };
        webhook_endpoints::create(&self.pg, &new, Actor::CommandLine).await.unwrap().unwrap()
    }

    fn order(&self, reference: &str) -> NewOrder {
        let body = format!(r#"{{"customer_email":"a@b.example","items":[{{"sku":"A","quantity":1}}],"external_reference":"{reference}"}}"#);
        NewOrder {
            order_id: OrderId::new(1_772_452_800_000, rand::random()),
            store_id: self.store_id,
            mode: Mode::Live,
            idempotency_key: None,
            request: FulfillRequest::parse(body.as_bytes()).unwrap(),
            trace: None,
        }
    }

    /// These happen to an order. Returns the deliveries that are due.
    async fn happen(&self, order: &NewOrder, kinds: &[EventKind]) -> Vec<i64> {
        let happened: Vec<(EventKind, &NewOrder)> = kinds.iter().map(|&kind| (kind, order)).collect();
        let born = events::insert_of_fulfillment(&*self.pg.client().await.unwrap(), &happened, CREATED_AT, None).await.unwrap();
        assert!(born.claimed.is_empty(), "nobody wished for it");
        born.due.into_iter().map(|due| due.id).collect()
    }

    /// The same to several orders, by somebody who would deliver it himself.
    async fn happen_wished(&self, orders: &[&NewOrder], kinds: &[EventKind], room: i32, rooms: &[Room]) -> Born {
        let happened: Vec<(EventKind, &NewOrder)> = orders.iter().flat_map(|&order| kinds.iter().map(move |&kind| (kind, order))).collect();
        let wish = Wish { lease: Duration::from_secs(35), room, rooms: rooms.to_vec() };
        events::insert_of_fulfillment(&*self.pg.client().await.unwrap(), &happened, CREATED_AT, Some(&wish)).await.unwrap()
    }

    /// Seconds until each delivery of the endpoint may be claimed by anybody, and whether it waits.
    async fn due_in(&self, id: Uuid) -> Vec<(i64, bool)> {
        let sql = "select round(extract(epoch from next_attempt_at - created_at))::bigint, waits from webhook_deliveries
                   where endpoint_id = $1 order by id";
        let rows = self.pg.client().await.unwrap().query(sql, &[&id]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    async fn claim(&self, ids: &[i64]) -> Vec<Claimed> {
        webhook_deliveries::claim(&*self.pg.client().await.unwrap(), ids, LEASE).await.unwrap()
    }

    async fn claim_due(&self, limit: i64, room: i32, rooms: &[Room]) -> Vec<Claimed> {
        webhook_deliveries::claim_due(&*self.pg.client().await.unwrap(), limit, room, rooms, LEASE).await.unwrap()
    }

    async fn settle(&self, ended: &[Ended]) -> Vec<Claimed> {
        webhook_deliveries::settle(&self.pg, ended, LEASE).await.unwrap()
    }

    async fn run(&self, sql: &str) {
        self.pg.client().await.unwrap().batch_execute(sql).await.unwrap();
    }

    async fn get(&self, id: Uuid) -> Endpoint {
        webhook_endpoints::get(&*self.pg.client().await.unwrap(), self.which(id)).await.unwrap().unwrap()
    }

    async fn statuses(&self, id: Uuid) -> BTreeMap<i64, (String, u32)> {
        let client = self.pg.client().await.unwrap();
        let deliveries = webhook_attempts::deliveries(&*client, self.which(id), &Filter::default(), 1_000).await.unwrap();
        deliveries.into_iter().map(|delivery| (delivery.id, (delivery.status, delivery.attempts))).collect()
    }

    async fn change(&self, id: Uuid, enabled: bool) -> Endpoint {
        let changes = Changes { enabled: Some(enabled), ..Changes::default() };
        webhook_endpoints::change(&self.pg, self.which(id), &changes, Actor::CommandLine).await.unwrap().unwrap()
    }
}

fn ended(claimed: &Claimed, outcome: Outcome) -> Ended {
    let answer = if outcome == Outcome::Delivered { Ok((200, b"thanks".to_vec())) } else { Err("timeout".to_owned()) };
    let made = Made { ago: Duration::from_millis(30), took: Duration::from_millis(20), answer };
    let made = (!matches!(outcome, Outcome::NotMade | Outcome::Waits)).then_some(made);
    Ended { id: claimed.id, attempts: claimed.attempts, endpoint_id: claimed.endpoint_id, outcome, made }
}

fn later(seconds: u64) -> Outcome {
    Outcome::Failed(Some(Duration::from_secs(seconds)))
}

/// What the events say that these carry.
fn told(claimed: &[Claimed]) -> Vec<String> {
    let event = |claimed: &Claimed| serde_json::from_str::<serde_json::Value>(&claimed.body).unwrap()["event"].as_str().unwrap().to_owned();
    claimed.iter().map(event).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_has_a_delivery_for_each_endpoint_that_wants_it_and_the_next_waits() {
    let stage = Stage::new().await;
    let all = stage.endpoint(&[]).await;
    let fulfilled = stage.endpoint(&["order.fulfilled"]).await;
    let disabled = stage.endpoint(&[]).await;
    stage.change(disabled.id, false).await;
    let order = stage.order("r1");
    let due = stage.happen(&order, &BOTH).await;
    assert_eq!(due.len(), 2, "the first event for the one, the second for the other");
    assert_eq!(stage.statuses(all.id).await.len(), 2);
    assert_eq!(stage.statuses(fulfilled.id).await.len(), 1);
    assert_eq!(stage.statuses(disabled.id).await.len(), 2, "kept");

    // Another store, and the other mode, are other worlds.
    assert!(stage.happen(&NewOrder { mode: Mode::Test, ..stage.order("r2") }, &BOTH).await.is_empty());
    assert!(stage.happen(&NewOrder { store_id: stage.store_id + 1, ..stage.order("r3") }, &BOTH).await.is_empty());

    let mut claimed = stage.claim(&due).await;
    claimed.sort_by_key(|claimed| claimed.id);
    assert_eq!(told(&claimed), ["order.created", "order.fulfilled"]);
    assert!(stage.claim(&due).await.is_empty(), "nobody claims twice");
    assert!(stage.claim_due(100, 100, &[]).await.is_empty(), "not what is claimed, nor what waits, nor what is kept");
    let next = stage.settle(&[ended(&claimed[0], Outcome::Delivered)]).await;
    assert_eq!(told(&next), ["order.fulfilled"]);
    assert_eq!((next[0].endpoint_id, next[0].attempts, next[0].order_id.as_str()), (all.id, 1, order.order_id.as_str()));
    assert!(stage.settle(&[ended(&next[0], Outcome::Delivered), ended(&claimed[1], Outcome::Delivered)]).await.is_empty());
    for id in [all.id, fulfilled.id] {
        assert!(stage.statuses(id).await.values().all(|state| *state == ("delivered".into(), 1)));
    }
    // An event that comes when nothing of its order is pending does not wait.
    let alone = stage.order("r4");
    let due = stage.happen(&alone, &[EventKind::Created]).await;
    stage.settle(&stage.claim(&due).await.iter().map(|claimed| ended(claimed, Outcome::Delivered)).collect::<Vec<_>>()).await;
    assert_eq!(stage.happen(&alone, &[EventKind::Fulfilled]).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_event_waits_a_minute_at_most() {
    let stage = Stage::new().await;
    let endpoint = stage.endpoint(&[]).await;
    let due = stage.happen(&stage.order("r1"), &BOTH).await;
    let first = stage.claim(&due).await;
    assert!(stage.settle(&[ended(&first[0], later(300))]).await.is_empty(), "it is not settled");
    assert!(stage.claim_due(10, 10, &[]).await.is_empty());
    stage.run("update webhook_deliveries set next_attempt_at = next_attempt_at - interval '61 s'").await;
    assert_eq!(told(&stage.claim_due(10, 10, &[]).await), ["order.fulfilled"]);

    // It was not seen when the earlier one was settled, and is found all the same.
    let due = stage.happen(&stage.order("r2"), &BOTH).await;
    stage.run(&format!("update webhook_deliveries set status = 'delivered', settled_at = now() where id = {}", due[0])).await;
    assert!(stage.claim_due(10, 10, &[]).await.is_empty());
    let client = stage.pg.client().await.unwrap();
    assert_eq!(webhook_deliveries::release_waiting(&*client).await.unwrap(), 1);
    assert_eq!(told(&stage.claim_due(10, 10, &[]).await), ["order.fulfilled"]);
    assert_eq!(stage.statuses(endpoint.id).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claimed_last_settles_and_what_was_not_made_does_not_count() {
    let stage = Stage::new().await;
    let endpoint = stage.endpoint(&["order.created"]).await;
    let due = stage.happen(&stage.order("r1"), &[EventKind::Created]).await;
    let lost = stage.claim(&due).await.remove(0);
    assert_eq!(lost.attempts, 1);
    // Its worker went silent, and the lease ran out.
    stage.run("update webhook_deliveries set next_attempt_at = now()").await;
    let taken = stage.claim_due(10, 10, &[]).await.remove(0);
    assert_eq!((taken.attempts, taken.attempts_of_schedule), (2, 2));
    stage.settle(&[ended(&lost, Outcome::Failed(None))]).await;
    assert_eq!(stage.statuses(endpoint.id).await[&taken.id], ("pending".into(), 2), "too late to say anything about the delivery");
    stage.settle(&[ended(&taken, Outcome::NotMade)]).await;
    let again = stage.claim_due(10, 10, &[]).await.remove(0);
    assert_eq!((again.attempts, again.attempts_of_schedule), (3, 2), "a number of its own, in the same place of the schedule");
    // Said twice, because nobody knew whether it was heard: it touches no claim but its own.
    stage.settle(&[ended(&taken, Outcome::NotMade)]).await;
    assert_eq!(stage.statuses(endpoint.id).await[&taken.id], ("pending".into(), 3));
    stage.settle(&[ended(&again, Outcome::Delivered)]).await;
    stage.settle(&[ended(&again, later(5))]).await;
    let client = stage.pg.client().await.unwrap();
    let (delivery, body) = webhook_attempts::delivery(&*client, stage.which(endpoint.id), again.id).await.unwrap().unwrap();
    assert_eq!((delivery.status.as_str(), delivery.next_attempt_at_ms, body), ("delivered", None, again.body));
    let attempts = webhook_attempts::of_delivery(&*client, again.id).await.unwrap();
    let seen: Vec<_> = attempts.iter().map(|attempt| (attempt.attempt, attempt.status, attempt.error.as_deref())).collect();
    assert_eq!(seen, [(1, None, Some("timeout")), (3, Some(200), None)], "every attempt that was made is kept, once");
    assert_eq!((attempts[1].duration_ms, attempts[1].answer.as_slice()), (20, &b"thanks"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_endpoint_is_given_what_it_has_room_for_oldest_first() {
    let stage = Stage::new().await;
    let (busy, full, unknown) = (stage.endpoint(&[]).await, stage.endpoint(&[]).await, stage.endpoint(&[]).await);
    for n in 0..20 {
        stage.happen(&stage.order(&format!("r{n}")), &[EventKind::Created]).await;
    }
    let rooms = [Room { endpoint_id: busy.id, deliveries: 3 }, Room { endpoint_id: full.id, deliveries: 0 }];
    let claimed = stage.claim_due(100, 8, &rooms).await;
    let of = |id: Uuid| claimed.iter().filter(|claimed| claimed.endpoint_id == id).count();
    assert_eq!((of(busy.id), of(full.id), of(unknown.id)), (3, 0, 8));
    let mut taken: Vec<i64> = claimed.iter().filter(|claimed| claimed.endpoint_id == unknown.id).map(|claimed| claimed.id).collect();
    taken.sort_unstable();
    assert_eq!(taken, stage.statuses(unknown.id).await.into_keys().take(8).collect::<Vec<_>>());
    assert_eq!(stage.claim_due(5, 100, &[]).await.len(), 5, "in all");
    // Many who claim at once share, and nobody gets what another got.
    let many = (0..8).map(|_| stage.claim_due(10, 100, &[]));
    let mut ids: Vec<i64> = futures_util::future::join_all(many).await.into_iter().flatten().map(|claimed| claimed.id).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), all <= 60 - 16), (all, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_fails_for_days_is_disabled_and_replays_when_it_is_enabled() {
    let stage = Stage::new().await;
    let endpoint = stage.endpoint(&[]).await;
    let fail = async |count: usize| {
        for n in 0..count {
            let due = stage.happen(&stage.order(&format!("{n}-{}", rand::random::<u64>())), &[EventKind::Created]).await;
            for claimed in stage.claim(&due).await {
                stage.settle(&[ended(&claimed, later(7_200))]).await;
            }
        }
    };
    fail(19).await;
    stage.run("update webhook_endpoints set failing_since = now() - interval '73 hours'").await;
    assert!(stage.get(endpoint.id).await.enabled, "19 failures are not enough");
    // A success in between begins anew.
    let due = stage.happen(&stage.order("good"), &[EventKind::Created]).await;
    stage.settle(&[ended(&stage.claim(&due).await[0], Outcome::Delivered)]).await;
    assert_eq!((stage.get(endpoint.id).await.failures, stage.get(endpoint.id).await.failing_since_ms), (0, None));
    fail(19).await;
    stage.run("update webhook_endpoints set failing_since = now() - interval '71 hours'").await;
    fail(1).await;
    assert!(stage.get(endpoint.id).await.enabled, "71 hours are not enough");
    stage.run("update webhook_endpoints set failing_since = now() - interval '73 hours'").await;
    fail(1).await;
    let disabled = stage.get(endpoint.id).await;
    assert_eq!((disabled.enabled, disabled.disabled_reason.as_deref()), (false, Some(webhook_endpoints::DISABLED_FAILING)));
    let client = stage.pg.client().await.unwrap();
    assert_eq!(webhook_endpoints::failed(&*client).await.unwrap(), 1);

    // What happens now is kept, and nothing is sent.
    assert!(stage.happen(&stage.order("kept"), &[EventKind::Created]).await.is_empty());
    assert!(stage.claim_due(1_000, 1_000, &[]).await.is_empty());
    let backlog = webhook_deliveries::backlog(&*client).await.unwrap();
    assert_eq!((backlog.pending, backlog.kept, backlog.oldest_s, backlog.due_s), (41, 41, 0.0, 0.0));
    let enabled = stage.change(endpoint.id, true).await;
    assert_eq!((enabled.enabled, enabled.disabled_reason, enabled.failures, enabled.failing_since_ms), (true, None, 0, None));
    let mut steps = 0;
    while webhook_deliveries::replay(&*client, 15).await.unwrap() {
        steps += 1;
    }
    assert_eq!(steps, 3, "40 wait for a later attempt");
    let replayed = stage.claim_due(1_000, 1_000, &[]).await;
    assert_eq!(
        (replayed.len(), replayed.iter().all(|claimed| claimed.attempts_of_schedule == 1)),
        (41, true),
        "and their schedules begin anew"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gone_is_gone_until_somebody_says_otherwise() {
    let stage = Stage::new().await;
    let (gone, other) = (stage.endpoint(&[]).await, stage.endpoint(&[]).await);
    let due = stage.happen(&stage.order("r1"), &[EventKind::Created]).await;
    let claimed = stage.claim(&due).await;
    let outcome = |claimed: &Claimed| if claimed.endpoint_id == gone.id { Outcome::Gone } else { Outcome::Delivered };
    stage.settle(&claimed.iter().map(|claimed| ended(claimed, outcome(claimed))).collect::<Vec<_>>()).await;
    let disabled = stage.get(gone.id).await;
    assert_eq!((disabled.enabled, disabled.disabled_reason.as_deref()), (false, Some(webhook_endpoints::DISABLED_GONE)));
    assert!(stage.get(other.id).await.enabled);
    assert!(stage.claim_due(10, 10, &[]).await.is_empty());
    stage.change(gone.id, true).await;
    assert_eq!(stage.claim_due(10, 10, &[]).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_used_up_is_exhausted_and_can_be_asked_for_again() {
    let stage = Stage::new().await;
    let endpoint = stage.endpoint(&[]).await;
    let due = stage.happen(&stage.order("r1"), &BOTH).await;
    // Its worker died over the last attempt that there was.
    stage.run(&format!("update webhook_deliveries set attempts = {ATTEMPTS_MAX} where id = {}", due[0])).await;
    assert!(stage.claim(&due).await.is_empty());
    assert!(stage.claim_due(10, 10, &[]).await.is_empty());
    assert_eq!(stage.statuses(endpoint.id).await[&due[0]], ("exhausted".into(), ATTEMPTS_MAX));
    let client = stage.pg.client().await.unwrap();
    assert_eq!(webhook_attempts::resend(&*client, Uuid::now_v7(), &due).await.unwrap(), 0, "another endpoint's");
    assert_eq!(webhook_attempts::resend(&*client, endpoint.id, &due).await.unwrap(), 1);
    let again = stage.claim_due(1, 10, &[]).await;
    assert_eq!((again[0].id, again[0].attempts, again[0].attempts_of_schedule), (due[0], ATTEMPTS_MAX as i32 + 1, 1));
    assert_eq!(webhook_attempts::resend(&*client, endpoint.id, &due).await.unwrap(), 0, "it is under way");
    let next = stage.settle(&[ended(&again[0], Outcome::Failed(None))]).await;
    assert_eq!(told(&next), ["order.fulfilled"], "what is given up is waited for no longer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_for_a_removed_endpoint_is_given_up() {
    let stage = Stage::new().await;
    let (removed, other) = (stage.endpoint(&[]).await, stage.endpoint(&[]).await);
    stage.happen(&stage.order("r1"), &BOTH).await;
    let client = stage.pg.client().await.unwrap();
    assert!(webhook_endpoints::remove(&stage.pg, stage.which(removed.id), Actor::CommandLine).await.unwrap());
    assert_eq!(stage.claim_due(10, 10, &[]).await.len(), 1);
    assert_eq!(webhook_deliveries::give_up_removed(&*client, 1).await.unwrap(), 1);
    assert_eq!(webhook_deliveries::give_up_removed(&*client, 10).await.unwrap(), 1);
    assert_eq!(webhook_deliveries::give_up_removed(&*client, 10).await.unwrap(), 0);
    assert!(stage.statuses(other.id).await.values().all(|(status, _)| status == "pending"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_settle_the_same_endpoints_at_once_do_not_stand_in_each_others_way() {
    let stage = Stage::new().await;
    let endpoints = [stage.endpoint(&[]).await.id, stage.endpoint(&[]).await.id, stage.endpoint(&[]).await.id];
    for n in 0..60 {
        stage.happen(&stage.order(&format!("r{n}")), &BOTH).await;
    }
    let rounds = (0..12).map(|n| {
        let stage = &stage;
        async move {
            for _ in 0..20 {
                let mut claimed = stage.claim_due(20, 20, &[]).await;
                // In any order, and with both ends.
                claimed.sort_by_key(|claimed| (claimed.id * 7 + n) % 11);
                let end = |claimed: &Claimed| ended(claimed, if claimed.id % 3 == n % 3 { Outcome::Delivered } else { later(0) });
                if !claimed.is_empty() {
                    let next = stage.settle(&claimed.iter().map(end).collect::<Vec<_>>()).await;
                    stage.settle(&next.iter().map(|claimed| ended(claimed, Outcome::Delivered)).collect::<Vec<_>>()).await;
                }
            }
        }
    });
    futures_util::future::join_all(rounds).await;
    for id in endpoints {
        assert_eq!(stage.statuses(id).await.len(), 120);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_writes_events_may_claim_their_deliveries_as_they_are_born() {
    let stage = Stage::new().await;
    let all = stage.endpoint(&[]).await;
    let fulfilled = stage.endpoint(&["order.fulfilled"]).await;
    let disabled = stage.endpoint(&[]).await;
    stage.change(disabled.id, false).await;
    let order = stage.order("r1");
    let born = stage.happen_wished(&[&order], &BOTH, 8, &[]).await;
    assert!(born.due.is_empty());
    assert_eq!(born.claimed.len(), 2);
    let leader = born.claimed.iter().find(|claimed| claimed.endpoint_id == all.id).unwrap();
    let followers: Vec<Claimed> = leader.followers.iter().cloned().collect();
    assert_eq!((told(std::slice::from_ref(leader)), told(&followers)), (vec!["order.created".into()], vec!["order.fulfilled".into()]));
    assert_eq!((leader.attempts, followers[0].attempts, leader.url.as_str()), (1, 1, "https://partner.example/"));
    let body = |claimed: &Claimed| serde_json::from_str::<serde_json::Value>(&claimed.body).unwrap();
    assert_eq!(body(&followers[0])["event_id"], followers[0].event_id.to_string());
    assert_eq!(stage.due_in(all.id).await, [(35, false), (60, true)], "the follower's claim lasts for as long as it would wait");
    assert_eq!(stage.due_in(disabled.id).await, [(0, false), (60, true)], "kept");
    assert!(stage.statuses(disabled.id).await.values().all(|(_, attempts)| *attempts == 0));

    // While they are under way nobody else takes them, whatever has become of the first.
    assert!(stage.claim_due(100, 100, &[]).await.is_empty());
    assert!(stage.settle(&[ended(leader, Outcome::Delivered)]).await.is_empty(), "the follower is claimed");
    assert_eq!(webhook_deliveries::release_waiting(&*stage.pg.client().await.unwrap()).await.unwrap(), 0);
    let of_fulfilled = born.claimed.iter().find(|claimed| claimed.endpoint_id == fulfilled.id).unwrap();
    assert!(of_fulfilled.followers.is_empty());
    stage.settle(&[ended(&followers[0], Outcome::Delivered), ended(of_fulfilled, Outcome::Delivered)]).await;
    for id in [all.id, fulfilled.id] {
        assert!(stage.statuses(id).await.values().all(|state| *state == ("delivered".into(), 1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_claimed_behind_an_event_that_failed_goes_on_waiting() {
    let stage = Stage::new().await;
    let endpoint = stage.endpoint(&[]).await;
    let born = stage.happen_wished(&[&stage.order("r1")], &BOTH, 8, &[]).await;
    let (leader, follower) = (&born.claimed[0], &born.claimed[0].followers[0]);
    stage.settle(&[ended(leader, later(5)), ended(follower, Outcome::Waits)]).await;
    assert_eq!(stage.due_in(endpoint.id).await, [(5, false), (60, true)]);
    assert_eq!(webhook_deliveries::release_waiting(&*stage.pg.client().await.unwrap()).await.unwrap(), 0, "the first is pending");
    stage.run("update webhook_deliveries set next_attempt_at = now() where not waits").await;
    let again = stage.claim_due(100, 100, &[]).await;
    assert_eq!(told(&again), ["order.created"]);
    let next = stage.settle(&[ended(&again[0], Outcome::Delivered)]).await;
    assert_eq!(told(&next), ["order.fulfilled"]);
    assert_eq!((next[0].attempts, next[0].attempts_of_schedule), (2, 1), "numbers are never given twice, and it is its first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_claimed_at_birth_than_there_is_room_for() {
    let stage = Stage::new().await;
    let (known, unknown) = (stage.endpoint(&[]).await, stage.endpoint(&[]).await);
    let orders: Vec<NewOrder> = (0..4).map(|number| stage.order(&format!("r{number}"))).collect();
    let rooms = [Room { endpoint_id: known.id, deliveries: 1 }];
    let born = stage.happen_wished(&orders.iter().collect::<Vec<_>>(), &BOTH, 3, &rooms).await;
    let count = |id: Uuid| {
        let claimed = born.claimed.iter().filter(|claimed| claimed.endpoint_id == id);
        (
            claimed.clone().count(),
            claimed.map(|claimed| claimed.followers.len()).sum::<usize>(),
            born.due.iter().filter(|due| due.endpoint_id == id).count(),
        )
    };
    assert_eq!((count(known.id), count(unknown.id)), ((1, 1, 3), (3, 3, 1)));
    let claimed = stage.claim_due(100, 100, &[]).await;
    assert_eq!(claimed.len(), 4, "the others are anybody's");
    assert!(claimed.iter().all(|claimed| told(std::slice::from_ref(claimed)) == ["order.created"]));

    // The first event is pending from before: nothing is claimed ahead of it.
    let late = stage.order("r9");
    stage.happen(&late, &[EventKind::Created]).await;
    let born = stage.happen_wished(&[&late], &[EventKind::Fulfilled], 8, &[]).await;
    assert!(born.claimed.is_empty() && born.due.is_empty());
}
