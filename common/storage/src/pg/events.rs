//! Events: facts about orders, born in the order's own transaction.

use std::collections::VecDeque;
use std::time::Duration;

use common::event::{EventBody, EventKind};
use common::ids::OrderId;
use common::job::NewOrder;
use common::order::Order;
use common::order::facts::News;
use common::trace::Trace;
use common::webhook::ORDER_WAIT_S;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::webhook_deliveries::{Claimed, Room};
use super::{GenericClient, StorageError};

/// A delivery that is due as soon as its transaction is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The delivery.
    pub id: i64,
    /// Where it goes.
    pub endpoint_id: Uuid,
}

/// What whoever writes events would deliver himself, as soon as they are committed.
#[derive(Debug, Clone)]
pub struct Wish {
    /// After it, whoever has not settled is taken for dead. Shorter than an event waits for an earlier one of its order.
    pub lease: Duration,
    /// How much an endpoint may be given that is not in `rooms`.
    pub room: i32,
    /// How much the others may be given.
    pub rooms: Vec<Room>,
}

/// The deliveries of events that were just written.
#[derive(Debug, Default)]
pub struct Born {
    /// Claimed as wished, each with those behind it that are to follow it.
    pub claimed: Vec<Claimed>,
    /// Due for anybody, as there was no room for them or no wish.
    pub due: Vec<Due>,
}

/// Keeps the events of orders that were paid elsewhere, with a delivery to each endpoint that wants to hear of them. An event whose order
/// has an earlier one that is not settled waits for it, a minute at most. With a wish, deliveries are born claimed, as far as it goes:
/// their first attempt is on the disk with the order itself and waits for nothing more. An event belongs to its order's trace, or else to
/// that of the order's first event. `created_at` is RFC 3339.
pub async fn insert_of_fulfillment(
    tx: &impl GenericClient,
    events: &[(EventKind, &NewOrder)],
    created_at: &str,
    wish: Option<&Wish>,
) -> Result<Born, StorageError> {
    let bodies: Vec<EventBody<'_>> =
        events.iter().map(|(kind, order)| EventBody::of_fulfillment(*kind, order, Uuid::now_v7(), created_at)).collect();
    let stores: Vec<i64> = events.iter().map(|(_, order)| order.store_id).collect();
    let traces: Vec<Option<String>> = events.iter().map(|(_, order)| order.trace.as_ref().map(Trace::to_string)).collect();
    insert(tx, &stores, &bodies, &traces, wish).await
}

/// What happens to an order: which event, and the news about its money that it tells, if it does.
pub type Happening<'n> = (EventKind, Option<&'n News>);

/// Keeps events of one order, in their order, behind those that it has. The order must be locked. What is due is as of
/// [`insert_of_fulfillment`].
pub async fn insert_of_order<'n>(
    tx: &impl GenericClient,
    order: &'n Order,
    happened: &[Happening<'n>],
    created_at: &'n str,
    wish: Option<&Wish>,
) -> Result<Born, StorageError> {
    let row = tx.query_one("select coalesce(max(sequence), 0) from events where order_id = $1", &[&order.id.as_str()]).await?;
    let last: i32 = row.get(0);
    let body = |((kind, news), sequence): (&Happening<'n>, i32)| {
        let body = EventBody::of_order(*kind, order, Uuid::now_v7(), created_at, sequence);
        news.map_or_else(|| body.clone(), |news| body.clone().with_news(news))
    };
    let bodies: Vec<EventBody<'_>> = happened.iter().zip(last + 1..).map(body).collect();
    insert(tx, &vec![order.store_id; bodies.len()], &bodies, &vec![None; bodies.len()], wish).await
}

async fn insert(
    tx: &impl GenericClient,
    stores: &[i64],
    bodies: &[EventBody<'_>],
    traces: &[Option<String>],
    wish: Option<&Wish>,
) -> Result<Born, StorageError> {
    let ids: Vec<Uuid> = bodies.iter().map(|body| body.event_id).collect();
    let lives: Vec<bool> = bodies.iter().map(|body| body.livemode).collect();
    let orders: Vec<&str> = bodies.iter().map(|body| body.order_id.as_str()).collect();
    let sequences: Vec<i32> = bodies.iter().map(|body| body.sequence).collect();
    let kinds: Vec<&str> = bodies.iter().map(|body| body.event).collect();
    let json: Vec<String> = bodies.iter().map(EventBody::to_json).collect();
    let lease_s = wish.map_or(0.0, |wish| wish.lease.as_secs_f64());
    let room = wish.map_or(0, |wish| wish.room);
    let (endpoints, rooms): (Vec<Uuid>, Vec<i32>) =
        wish.map(|wish| wish.rooms.as_slice()).unwrap_or_default().iter().map(|room| (room.endpoint_id, room.deliveries)).unzip();
    // Endpoints that are disabled get theirs too, and keep them. `behind` counts the events of the order before it that are born with it.
    // What follows a claimed one is claimed with it, for as long as it would wait: nobody else looks at it before.
    let sql = format!(
        "with made as (
             insert into events (id, store_id, live, order_id, sequence, kind, body, trace)
             select id, store_id, live, order_id, sequence, kind, body,
                    case when trace is null and sequence > 1
                         then (select e.trace from events e where e.order_id = happened.order_id and e.sequence = 1) else trace end
             from unnest($1::uuid[], $2::bigint[], $3::boolean[], $4::text[], $5::integer[], $6::text[], $7::text[], $12::text[])
                 as happened (id, store_id, live, order_id, sequence, kind, body, trace)
             returning id, store_id, live, order_id, sequence, kind, trace),
         wanted as (
             select w.id as endpoint_id, w.enabled, made.id as event_id, made.order_id, made.sequence,
                    row_number() over (partition by w.id, made.order_id order by made.sequence) - 1 as behind,
                    made.sequence > 1 and exists (
                        select 1 from webhook_deliveries d
                        where d.order_id = made.order_id and d.endpoint_id = w.id and d.status = 'pending') as late
             from made join webhook_endpoints w
                 on w.store_id = made.store_id and w.live = made.live and (w.events = '{{}}' or made.kind = any(w.events))),
         ranked as (
             select wanted.*, bool_or(late) over of_order as waits_for_other,
                    dense_rank() over (partition by endpoint_id order by order_id) <= coalesce(r.deliveries, $9) as fits
             from wanted left join unnest($10::uuid[], $11::integer[]) r (endpoint_id, deliveries) using (endpoint_id)
             window of_order as (partition by endpoint_id, order_id)),
         born as (
             insert into webhook_deliveries (endpoint_id, event_id, order_id, sequence, waits, attempts, next_attempt_at)
             select endpoint_id, event_id, order_id, sequence, waits_for_other or behind > 0,
                    (enabled and fits and not waits_for_other)::integer,
                    now() + make_interval(secs => case when waits_for_other or behind > 0 then {ORDER_WAIT_S}
                                                       when enabled and fits then $8::float8 else 0 end)
             from ranked order by endpoint_id, order_id, sequence
             returning id, endpoint_id, event_id, order_id, waits, attempts)
         select born.id, born.endpoint_id, born.event_id, born.waits, born.attempts, w.store_id, w.url, w.sealed_secret,
                case when w.previous_secret_until > now() then w.sealed_previous_secret end,
                (select made.trace from made where made.id = born.event_id)
         from born join webhook_endpoints w on w.id = born.endpoint_id
         where born.attempts > 0 or w.enabled and not born.waits
         order by born.id"
    );
    let parameters: [&(dyn ToSql + Sync); 12] =
        [&ids, &stores, &lives, &orders, &sequences, &kinds, &json, &lease_s, &room, &endpoints, &rooms, &traces];
    let mut born = Born::default();
    for row in tx.query(&sql, &parameters).await? {
        let (id, endpoint_id, event_id): (i64, Uuid, Uuid) = (row.get(0), row.get(1), row.get(2));
        if row.get::<_, i32>(4) == 0 {
            born.due.push(Due { id, endpoint_id });
            continue;
        }
        let Some(at) = ids.iter().position(|id| *id == event_id) else { continue };
        let claimed = Claimed {
            id,
            attempts: 1,
            attempts_of_schedule: 1,
            endpoint_id,
            store_id: row.get(5),
            url: row.get(6),
            sealed_secret: row.get(7),
            sealed_previous_secret: row.get(8),
            event_id,
            order_id: orders[at].to_owned(),
            body: json[at].clone(),
            trace: row.get::<_, Option<String>>(9).and_then(|trace| Trace::try_from(trace).ok()),
            due_s: 0.0,
            followers: VecDeque::new(),
        };
        match born.claimed.last_mut() {
            // They are born in the order of their endpoints, orders and sequences.
            Some(leader) if row.get::<_, bool>(3) => leader.followers.push_back(claimed),
            _ => born.claimed.push(claimed),
        }
    }
    Ok(born)
}

/// The bodies of an order's events, oldest first.
pub async fn of_order(client: &impl GenericClient, order_id: &OrderId) -> Result<Vec<String>, StorageError> {
    let rows = client.query("select body from events where order_id = $1 order by sequence", &[&order_id.as_str()]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
