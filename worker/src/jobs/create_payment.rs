//! `create_payment`: a customer wants to pay an order, and the edge asks by which payment of Stripe's. The order's row says whether there is
//! anything to pay; the payment is written to it before anybody hears of it, as what Stripe says later may name the payment alone. Nothing
//! is promised: without an answer the customer's page asks again, and gets the same payment.

use std::sync::Arc;

use common::job::{CREATE_PAYMENT, JOB_VERSION, PaymentJob, PaymentOutcome, Reply};
use common::stripe::payment_intent::Standing;
use storage::pg::order_payments;
use storage::queue::Entry;
use storage::queue::backend::Batch;
use storage::queue::settle::Settler;
use storage::{Pg, StorageError};
use tokio::task::JoinSet;

use crate::questions::Questions;
use crate::stripe_api::{StripeApi, StripeError};

/// The job's name: part of the queue's key, and a label.
pub const NAME: &str = CREATE_PAYMENT;
/// Questions to Stripe at once, of one batch.
const AT_ONCE: usize = 16;

/// What the job needs.
pub struct CreatePayment {
    /// Where orders are.
    pub pg: Pg,
    /// Who makes payments.
    pub stripe: StripeApi,
    /// Opens jobs and answers edges.
    pub questions: Questions,
}

impl CreatePayment {
    /// Answers a batch and settles all of it, each job as soon as its answer is there.
    pub async fn run(self: Arc<Self>, batch: Batch, settler: Settler) {
        let mut running = JoinSet::new();
        for entry in batch {
            self.questions.taken(&entry);
            if running.len() >= AT_ONCE {
                running.join_next().await;
            }
            let (this, settler) = (self.clone(), settler.clone());
            running.spawn(async move { this.answer(entry, &settler).await });
        }
        // What has panicked is picked up again, and is moot by then.
        while running.join_next().await.is_some() {}
    }

    async fn answer(&self, entry: Entry, settler: &Settler) {
        let job: PaymentJob = match self.questions.read(&entry) {
            Ok(job) => job,
            Err(reason) => return self.questions.bury(entry, &reason, settler).await,
        };
        if entry.age_ms > job.ttl_ms {
            return self.questions.settle(entry, "moot", settler);
        }
        let outcome = self.outcome(&job).await;
        let label = outcome.as_str();
        self.questions.reply(vec![(job.reply_to, Reply { v: JOB_VERSION, id: job.id, outcome })]).await;
        self.questions.settle(entry, label, settler);
    }

    async fn outcome(&self, job: &PaymentJob) -> PaymentOutcome {
        let told = |error: &dyn std::fmt::Display| {
            tracing::error!(order_id = %job.order_id, request_id = job.request_id, %error, "an order cannot be paid");
            PaymentOutcome::Refused
        };
        match self.payment(job).await {
            Ok(outcome) => outcome,
            Err(Trouble::Storage(error)) if error.is_unavailable() => PaymentOutcome::Unavailable,
            Err(Trouble::Storage(error)) => told(&error),
            Err(Trouble::Stripe(error @ StripeError::Unavailable(_))) => {
                tracing::warn!(order_id = %job.order_id, request_id = job.request_id, %error, "a customer who wants to pay has to wait");
                PaymentOutcome::Unavailable
            }
            Err(Trouble::Stripe(error)) => told(&error),
        }
    }

    async fn payment(&self, job: &PaymentJob) -> Result<PaymentOutcome, Trouble> {
        // In a block of its own, so that no connection is held while Stripe is asked.
        let payable = { order_payments::payable(&*self.pg.client().await?, job.mode, &job.order_id).await? };
        let Some(payable) = payable else { return Ok(PaymentOutcome::Settled) };
        let is_new = payable.payment_intent.is_none();
        let payment = self.stripe.payment(&payable).await?;
        if is_new {
            order_payments::keep_payment_intent(&self.pg, job.mode, &job.order_id, &payment.id).await?;
        }
        match payment.standing {
            Standing::Open => Ok(PaymentOutcome::Ready { client_secret: payment.client_secret }),
            Standing::Settled => Ok(PaymentOutcome::Settled),
            Standing::Canceled => Err(StripeError::Refused("the payment was canceled at Stripe".into()).into()),
        }
    }
}

/// Why there is no payment.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Stripe(#[from] StripeError),
}
