//! `compute_tax`: the question of an edge whose customer is looking at the page. Answered from memory; whatever cannot be answered in time
//! is dropped, since its asker asks again. There is no row, and none is needed: a quote promises nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use common::job::{COMPUTE_TAX, JOB_VERSION, Reply, TaxJob, TaxOutcome};
use common::tax::TaxTable;
use common::tax::quote::QuoteRequest;
use storage::pg::tax_rates::LiveTable;
use storage::queue::backend::Batch;
use storage::queue::settle::Settler;

use crate::questions::Questions;

/// The job's name: part of the queue's key, and a label.
pub const NAME: &str = COMPUTE_TAX;

/// What the job needs.
pub struct ComputeTax {
    /// The rates in force.
    pub taxes: Arc<LiveTable>,
    /// Opens jobs and answers edges.
    pub questions: Questions,
}

impl ComputeTax {
    /// Answers a batch and settles all of it.
    pub async fn run(self: Arc<Self>, batch: Batch, settler: Settler) {
        let table = self.taxes.table();
        let (mut replies, mut done) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for entry in batch {
            self.questions.taken(&entry);
            let job: TaxJob = match self.questions.read(&entry) {
                Ok(job) => job,
                Err(reason) => {
                    self.questions.bury(entry, &reason, &settler).await;
                    continue;
                }
            };
            // What was given to a worker before may be what ended it.
            if entry.redelivered || entry.age_ms > job.ttl_ms {
                self.questions.settle(entry, "moot", &settler);
                continue;
            }
            match outcome(table.as_deref(), &job.request) {
                Ok(outcome) => {
                    done.push((entry, label(&outcome)));
                    replies.push((job.reply_to, Reply { v: JOB_VERSION, id: job.id, outcome }));
                }
                Err(reason) => self.questions.bury(entry, reason, &settler).await,
            }
        }
        self.questions.reply(replies).await;
        for (entry, label) in done {
            self.questions.settle(entry, label, &settler);
        }
    }
}

/// What is owed. A question that our code cannot bear must not take the others of its batch with it.
fn outcome(table: Option<&TaxTable>, request: &QuoteRequest) -> Result<TaxOutcome, &'static str> {
    let Some(table) = table else { return Ok(TaxOutcome::Unavailable) };
    match catch_unwind(AssertUnwindSafe(|| table.quote(request))) {
        Ok(Ok(quote)) => Ok(TaxOutcome::Quoted { quote: Box::new(quote) }),
        Ok(Err(error)) => Ok(TaxOutcome::Refused { error }),
        Err(_) => Err("computing the tax panicked"),
    }
}

fn label(outcome: &TaxOutcome) -> &'static str {
    match outcome {
        TaxOutcome::Quoted { .. } => "quoted",
        TaxOutcome::Refused { .. } => "refused",
        TaxOutcome::Unavailable => "unavailable",
    }
}
