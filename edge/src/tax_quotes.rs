//! The edge's side of computing tax: ask a worker and wait, a few seconds at most. Nothing is written down and nothing is guessed: without
//! an answer the page says so, and asks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::job::{JOB_VERSION, TaxJob, TaxOutcome};
use common::tax::quote::{QuoteError, QuoteRequest, TaxQuote};
use storage::replies::Waiter;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::asking::Asking;
use crate::metrics::EdgeMetrics;

/// Asks workers what tax is owed.
pub struct TaxQuotes {
    /// Puts the question.
    pub asking: Asking,
    /// Room for this many to wait.
    pub waiters: Semaphore,
    /// Entries in the queue, as last seen.
    pub depth: Arc<AtomicU64>,
    /// Beyond so many entries in the queue callers are told to come back.
    pub depth_max: u64,
    /// How long to wait.
    pub deadline: Duration,
    /// What is counted.
    pub metrics: EdgeMetrics,
}

/// Why there is no quote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoQuote {
    /// Nobody could say in time. Asking again in a moment is right.
    #[error("the tax cannot be computed right now")]
    Unavailable,
    /// The question has no answer, and must be another one: a place that does not exist, say.
    #[error(transparent)]
    Refused(#[from] QuoteError),
}

impl TaxQuotes {
    /// What tax is owed, or why nobody knows. Takes [`TaxQuotes::deadline`] at most, and no time at all while Redis is away.
    pub async fn quote(&self, request: &QuoteRequest, request_id: &str) -> Result<TaxQuote, NoQuote> {
        let crowded = self.depth.load(Ordering::Relaxed) > self.depth_max;
        let Some(_room) = self.waiters.try_acquire().ok().filter(|_| !crowded) else {
            return self.counted("shed", Err(NoQuote::Unavailable));
        };
        let until = Instant::now() + self.deadline;
        let mut waiter: Waiter<TaxOutcome> = self.asking.wait();
        let job = TaxJob {
            v: JOB_VERSION,
            id: waiter.id(),
            reply_to: self.asking.reply_to(),
            request_id: request_id.to_owned(),
            ttl_ms: self.deadline.as_millis() as u64,
            request: request.clone(),
        };
        if !self.asking.put(&job, request_id, self.deadline).await {
            return self.counted("not_asked", Err(NoQuote::Unavailable));
        }
        match tokio::time::timeout_at(until, waiter.reply()).await.map(|reply| reply.outcome) {
            Ok(TaxOutcome::Quoted { quote }) => self.counted("quoted", Ok(*quote)),
            Ok(TaxOutcome::Refused { error }) => self.counted("refused", Err(error.into())),
            Ok(TaxOutcome::Unavailable) => self.counted("unavailable", Err(NoQuote::Unavailable)),
            Err(_) => self.counted("no_answer", Err(NoQuote::Unavailable)),
        }
    }

    fn counted(&self, how: &str, answer: Result<TaxQuote, NoQuote>) -> Result<TaxQuote, NoQuote> {
        self.metrics.tax_quotes_total.with_label_values(&[how]).inc();
        answer
    }
}
