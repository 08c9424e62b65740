//! The edge's side of computing tax: ask a worker and wait, a few seconds at most. Nothing is written down and nothing is guessed: without
//! an answer the page says so, and asks again.

use common::job::{JOB_VERSION, TaxJob, TaxOutcome};
use common::tax::quote::{QuoteError, QuoteRequest, TaxQuote};

use crate::asking::Asker;
use crate::metrics::EdgeMetrics;

/// Asks workers what tax is owed.
pub struct TaxQuotes {
    /// Puts the question.
    pub asker: Asker,
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
    /// What tax is owed, or why nobody knows.
    pub async fn quote(&self, request: &QuoteRequest, request_id: &str) -> Result<TaxQuote, NoQuote> {
        let answer = self.asker.ask(request_id, |slip| TaxJob {
            v: JOB_VERSION,
            id: slip.id,
            reply_to: slip.reply_to,
            request_id: request_id.to_owned(),
            ttl_ms: slip.ttl_ms,
            request: request.clone(),
        });
        let (how, quote) = match answer.await {
            Ok(TaxOutcome::Quoted { quote }) => ("quoted", Ok(*quote)),
            Ok(TaxOutcome::Refused { error }) => ("refused", Err(error.into())),
            Ok(TaxOutcome::Unavailable) => ("unavailable", Err(NoQuote::Unavailable)),
            Err(none) => (none.as_str(), Err(NoQuote::Unavailable)),
        };
        self.metrics.tax_quotes_total.with_label_values(&[how]).inc();
        quote
    }
}
