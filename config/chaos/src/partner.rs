//! The partners' server: where all stores hear of their orders. Whatever breaks, each event arrives, signed, and no oftener than attempts
//! were counted. What comes is checked and counted at once, so that a long run keeps a number of each event and nothing more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use common::mode::Mode;
use common::webhook::secret::WebhookSigner;
use storage::Pg;
use testkit::receiver::{Behavior, Received, Receiver};
use testkit::shop::Shop;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::judge::Violation;

const COUNT_EVERY: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Violations told of one rule; a system that is broken has thousands.
const EXAMPLES_MAX: usize = 10;

/// The rules about what partners hear, and what each of them says.
pub const RULES: [(&str, &str); 4] = [
    ("every_event_arrives", "every event that is in Postgres came to its partner, once at least"),
    ("no_event_from_nowhere", "no event came that is not in Postgres"),
    ("no_attempt_too_many", "no event came oftener than attempts to deliver it were counted"),
    ("signed", "whatever came was signed with the endpoint's secret, in both ways"),
];

/// The server, and what it has heard.
pub struct Partner {
    receiver: Receiver,
    signers: HashMap<String, WebhookSigner>,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// How often each event came.
    events: HashMap<Uuid, u32>,
    /// Deliveries that no secret of ours has signed.
    unsigned: Vec<String>,
}

impl Partner {
    /// Opens the server, and an endpoint there for each store.
    pub async fn open(pg: &Pg, shops: impl Iterator<Item = &Shop>) -> Result<Arc<Self>> {
        let receiver = Receiver::start(Behavior::status(200)).await?;
        let mut signers = HashMap::new();
        for shop in shops {
            let path = format!("/{}", shop.slug);
            let (_, secret) = shop.endpoint(pg, Mode::Live, &receiver.url(&path)).await?;
            signers.insert(path, WebhookSigner::new(&secret));
        }
        Ok(Arc::new(Self { receiver, signers, heard: Mutex::default() }))
    }

    /// Checks and counts what comes, until `stop`.
    pub async fn listen(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(COUNT_EVERY)).await.is_some() {
            self.count();
        }
    }

    fn count(&self) {
        let received = self.receiver.take_received();
        let mut heard = self.heard();
        for received in received {
            match self.signed_event(&received) {
                Some(event) => *heard.events.entry(event).or_default() += 1,
                None if heard.unsigned.len() < EXAMPLES_MAX => {
                    heard.unsigned.push(format!("{} {:?}", received.path, String::from_utf8_lossy(&received.body)));
                }
                None => {}
            }
        }
    }

    fn signed_event(&self, received: &Received) -> Option<Uuid> {
        let (signer, event) = (self.signers.get(&received.path)?, received.header("webhook-id").parse().ok()?);
        let unix_s = received.header("webhook-timestamp").parse().ok()?;
        let page = received.header("x-anonymouspay-signature") == signer.sign(&received.body);
        let standard = received.header("webhook-signature") == signer.sign_standard(event, unix_s, &received.body);
        (page && standard).then_some(event)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing is left to be delivered.
    pub async fn rest(&self, deadline: Instant, pg: &Pg) -> Result<()> {
        loop {
            let backlog = storage::pg::webhook_deliveries::backlog(&*pg.client().await?).await?;
            if backlog.pending == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} events are still to be delivered, the oldest for {:.0} s", backlog.pending, backlog.oldest_s);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How many events came, and everything that is wrong with them.
    pub async fn judge(&self, pg: &Pg) -> Result<(usize, Vec<Violation>)> {
        self.count();
        let told = truth(pg).await?;
        let heard = self.heard();
        let unsigned = heard.unsigned.iter().map(|what| Violation { rule: "signed", what: what.clone() });
        Ok((heard.events.len(), unsigned.chain(compare(&told, &heard.events)).collect()))
    }
}

/// The events of Postgres, and how often their deliveries were attempted.
async fn truth(pg: &Pg) -> Result<HashMap<Uuid, u32>> {
    let sql =
        "select e.id, coalesce(sum(d.attempts), 0)::integer from events e left join webhook_deliveries d on d.event_id = e.id group by 1";
    let rows = pg.client().await?.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), u32::try_from(row.get::<_, i32>(1)).unwrap_or(0))).collect())
}

fn compare(told: &HashMap<Uuid, u32>, heard: &HashMap<Uuid, u32>) -> Vec<Violation> {
    let missing = told.keys().filter(|event| !heard.contains_key(event));
    let missing = missing.map(|event| Violation { rule: "every_event_arrives", what: format!("event {event} never came") });
    let invented = heard.keys().filter(|event| !told.contains_key(event));
    let invented = invented.map(|event| Violation { rule: "no_event_from_nowhere", what: format!("event {event} came and is not there") });
    let too_often = heard.iter().filter_map(|(event, &times)| {
        let attempts = *told.get(event)?;
        let what = format!("event {event} came {times} times, and {attempts} attempts were counted");
        (times > attempts).then_some(Violation { rule: "no_attempt_too_many", what })
    });
    missing.take(EXAMPLES_MAX).chain(invented.take(EXAMPLES_MAX)).chain(too_often.take(EXAMPLES_MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(u128, u32)]) -> HashMap<Uuid, u32> {
        counts.iter().map(|&(event, count)| (Uuid::from_u128(event), count)).collect()
    }

    #[test]
    fn each_break_is_noticed_by_its_rule() {
        let told = counts(&[(1, 1), (2, 3)]);
        let rules = |heard: &[(u128, u32)]| compare(&told, &counts(heard)).into_iter().map(|violation| violation.rule).collect::<Vec<_>>();
        assert!(rules(&[(1, 1), (2, 2)]).is_empty());
        assert_eq!(rules(&[(2, 1)]), ["every_event_arrives"]);
        assert_eq!(rules(&[(1, 1), (2, 1), (3, 1)]), ["no_event_from_nowhere"]);
        assert_eq!(rules(&[(1, 2), (2, 1)]), ["no_attempt_too_many"]);
    }
}
