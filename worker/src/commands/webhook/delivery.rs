//! An endpoint's deliveries: what was sent, what came of it, and sending it again.

use std::borrow::Cow;

use clap::builder::PossibleValuesParser;
use clap::{Args, value_parser};
use common::clock::{Clock, SystemClock, rfc3339};
use common::ids::OrderId;
use common::webhook::ids::DeliveryId;
use common::webhook::request::parse_time;
use serde::Serialize;
use storage::pg::webhook_attempts::{self, Attempt, Delivery, Filter, Span};
use uuid::Uuid;

use super::super::output::{Progress, or_dash};
use super::{Context, Failure, Named};

/// Which deliveries to list.
#[derive(Debug, Args)]
pub struct FilterArguments {
    /// Only those that stand here
    #[arg(long, value_parser = PossibleValuesParser::new(["pending", "delivered", "exhausted"]))]
    status: Option<String>,
    /// Only those about this order
    #[arg(long, value_name = "ORDER", value_parser = OrderId::parse)]
    order: Option<OrderId>,
    /// Only those before this one: the last of the list before
    #[arg(long, value_name = "DELIVERY")]
    starting_after: Option<DeliveryId>,
    /// The most to list
    #[arg(long, default_value_t = 20, value_parser = value_parser!(i64).range(1..=1_000))]
    limit: i64,
}

/// Which deliveries to send again.
#[derive(Debug, Args)]
pub struct ResendArguments {
    /// One delivery
    #[arg(conflicts_with_all = ["from", "to", "all"])]
    delivery: Option<DeliveryId>,
    /// Those made from here on, an RFC 3339 time such as 2026-03-02T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time, requires = "to")]
    from: Option<u64>,
    /// And before this
    #[arg(long, value_name = "TIME", value_parser = time, requires = "from")]
    to: Option<u64>,
    /// Not only those that were given up
    #[arg(long, requires = "from")]
    all: bool,
}

fn time(text: &str) -> Result<u64, &'static str> {
    parse_time(text).ok_or("write an RFC 3339 time such as 2026-03-02T12:00:00Z")
}

#[derive(Serialize)]
struct Shown<'a> {
    id: DeliveryId,
    event_id: Uuid,
    event: &'a str,
    order_id: &'a str,
    status: &'a str,
    attempts_made: u32,
    next_attempt_at: Option<String>,
    created_at: String,
    settled_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<ShownAttempt<'a>>>,
}

#[derive(Serialize)]
struct ShownAttempt<'a> {
    attempt: u32,
    started_at: String,
    duration_ms: u32,
    status: Option<u16>,
    error: Option<&'a str>,
    answer: Cow<'a, str>,
}

impl<'a> From<&'a Delivery> for Shown<'a> {
    fn from(delivery: &'a Delivery) -> Self {
        Self {
            id: DeliveryId(delivery.id),
            event_id: delivery.event_id,
            event: &delivery.event,
            order_id: &delivery.order_id,
            status: &delivery.status,
            attempts_made: delivery.attempts,
            next_attempt_at: delivery.next_attempt_at_ms.map(rfc3339),
            created_at: rfc3339(delivery.created_at_ms),
            settled_at: delivery.settled_at_ms.map(rfc3339),
            attempts: None,
        }
    }
}

impl<'a> From<&'a Attempt> for ShownAttempt<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        Self {
            attempt: attempt.attempt,
            started_at: rfc3339(attempt.started_at_ms),
            duration_ms: attempt.duration_ms,
            status: attempt.status,
            error: attempt.error.as_deref(),
            answer: String::from_utf8_lossy(&attempt.answer),
        }
    }
}

impl Shown<'_> {
    fn text(&self) -> String {
        let mut text = format!("delivery {} of {}, {}: {}\n\n", self.id, self.event, self.order_id, self.status);
        for (what, value) in [
            ("event", self.event_id.to_string()),
            ("attempts", self.attempts_made.to_string()),
            ("next attempt", or_dash(self.next_attempt_at.as_ref())),
            ("created", self.created_at.clone()),
            ("settled", or_dash(self.settled_at.as_ref())),
        ] {
            text += &format!("{what:<14} {value}\n");
        }
        for ShownAttempt { attempt, started_at, duration_ms, status, error, answer } in self.attempts.iter().flatten() {
            let outcome = status.map_or_else(|| error.unwrap_or_default().to_owned(), |status| status.to_string());
            text += &format!("\nattempt {attempt}, {started_at}, {duration_ms} ms: {outcome}\n");
            if !answer.is_empty() {
                // As it may be anything, and this is a terminal.
                text += &format!("  {}\n", answer.escape_debug());
            }
        }
        text
    }
}

async fn find(context: &Context, webhook: &Named, id: DeliveryId) -> Result<(Delivery, Uuid), Failure> {
    let (_, which) = webhook.find(context).await?;
    let found = webhook_attempts::delivery(&*context.client().await?, which, id.0).await?;
    let (delivery, _) = found.ok_or_else(|| Failure::other(format!("webhook endpoint {} has no delivery {id}", webhook.id)))?;
    Ok((delivery, which.id))
}

/// The body stays out: it has a customer's address in it.
pub async fn show(context: &Context, webhook: &Named, id: DeliveryId) -> Result<(), Failure> {
    let (delivery, _) = find(context, webhook, id).await?;
    let attempts = webhook_attempts::of_delivery(&*context.client().await?, id.0).await?;
    let attempts = Some(attempts.iter().map(ShownAttempt::from).collect());
    let shown = Shown { attempts, ..Shown::from(&delivery) };
    context.output.show(&shown, || shown.text())
}

pub async fn list(context: &Context, webhook: &Named, filter: FilterArguments) -> Result<(), Failure> {
    let (_, which) = webhook.find(context).await?;
    let FilterArguments { status, order, starting_after, limit } = filter;
    let filter = Filter { status, order_id: order.map(String::from), before: starting_after.map(|id| id.0) };
    let found = webhook_attempts::deliveries(&*context.client().await?, which, &filter, limit).await?;
    let shown: Vec<Shown<'_>> = found.iter().map(Shown::from).collect();
    context.output.list(&shown, ["DELIVERY", "EVENT", "ORDER", "STATUS", "ATTEMPTS", "NEXT ATTEMPT", "CREATED", "SETTLED"], |delivery| {
        [
            delivery.id.to_string(),
            delivery.event.to_owned(),
            delivery.order_id.to_owned(),
            delivery.status.to_owned(),
            delivery.attempts_made.to_string(),
            or_dash(delivery.next_attempt_at.as_ref()),
            delivery.created_at.clone(),
            or_dash(delivery.settled_at.as_ref()),
        ]
    })
}

pub async fn test(context: &Context, webhook: &Named) -> Result<(), Failure> {
    let which = webhook.which(context).await?;
    let unix_ms = SystemClock::new().now().unix_ms;
    let (event_id, order_id) = (Uuid::now_v7(), OrderId::new(unix_ms, rand::random()));
    let id = webhook_attempts::send_test(&*context.client().await?, which, event_id, &order_id, unix_ms, None).await?;
    let id = DeliveryId(id.ok_or_else(|| webhook.not_there())?);
    let (delivery, _) = find(context, webhook, id).await?;
    let shown = Shown::from(&delivery);
    let Named { owner, id: webhook } = webhook;
    let look = format!("worker webhook show --store {} --mode {} {webhook} {id}", owner.store, owner.mode);
    context.output.show(&shown, || format!("delivery {id} is due; `{look}` tells what came of it"))
}

pub async fn resend(context: &Context, webhook: &Named, what: ResendArguments) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Resent {
        resent: u64,
    }
    let ResendArguments { delivery, from, to, all } = what;
    let mut report = Resent { resent: 0 };
    if let Some(id) = delivery {
        let (_, endpoint_id) = find(context, webhook, id).await?;
        report.resent = webhook_attempts::resend(&*context.client().await?, endpoint_id, &[id.0]).await?;
    } else {
        let range = from.zip(to).ok_or_else(|| Failure::usage("name a delivery, or a span of time with --from and --to"))?;
        let span = Span { from_ms: range.0, to_ms: range.1, all };
        if span.from_ms >= span.to_ms {
            return Err(Failure::usage("--to must be after --from"));
        }
        let (_, which) = webhook.find(context).await?;
        let (client, progress, mut after) = (context.client().await?, Progress::new(), 0);
        loop {
            let (resent, next) = webhook_attempts::resend_span(&*client, which, span, after).await?;
            report.resent += resent;
            let Some(last) = next else { break };
            after = last;
            progress.say(&format!("{} deliveries made due", report.resent));
        }
    }
    context.output.show(&report, || match report.resent {
        0 => "nothing to send again: what is under way, or comes within a minute by itself, stays as it is".to_owned(),
        resent => format!("{resent} deliveries are due"),
    })
}
