//! `/stripe/webhook/`: Stripe's events come in. Whoever is not Stripe is refused; what is Stripe's is answered with 200 as soon as it is on the
//! disk, and never before. What it means is found out by a worker.
//!
//! Events that come at the same time share a transaction ([`Writer`]), so that thousands a second are a few hundred trips to the disk.

pub mod test_payment;

use std::sync::Arc;
use std::time::Duration;

use common::mode::Mode;
use common::stripe::{SignatureError, SigningSecret, StripeEvent, Verifier};
use http::StatusCode;
use http::header::HeaderName;
use storage::crash_point::reach;
use storage::pg::stripe_events::{self, NewEvent};
use storage::{Pg, StorageError};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::answer::Answer;
use crate::edge::Edge;
use crate::error::{ApiError, Code};
use crate::metrics::EdgeMetrics;
use crate::service::Call;

const SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");
/// The most bytes of an event.
pub const BODY_MAX_BYTES: usize = 1 << 20;
/// Events that wait for the disk. Beyond it Stripe is told to come again.
const WAITING_MAX: usize = 4_096;
/// Events in one transaction.
const TOGETHER_MAX: usize = 256;
/// Stripe gives up after some seconds, and comes again.
const PATIENCE: Duration = Duration::from_secs(5);

type Ack = oneshot::Sender<bool>;

/// Where events go.
pub struct Intake {
    live: Verifier,
    test: Verifier,
    writer: mpsc::Sender<(NewEvent, Ack)>,
}

/// Writes what an [`Intake`] takes.
pub struct Writer(tokio::sync::Mutex<mpsc::Receiver<(NewEvent, Ack)>>);

impl Intake {
    /// An intake for events signed with these secrets, and what writes them down.
    pub fn new(live: &[SigningSecret], test: &[SigningSecret]) -> (Self, Arc<Writer>) {
        let (writer, waiting) = mpsc::channel(WAITING_MAX);
        let intake = Self { live: Verifier::new(live), test: Verifier::new(test), writer };
        (intake, Arc::new(Writer(tokio::sync::Mutex::new(waiting))))
    }

    /// Whose secret has signed this.
    fn mode_of(&self, header: &[u8], body: &[u8], now_unix_s: u64) -> Result<Mode, SignatureError> {
        match self.live.verify(header, body, now_unix_s) {
            Err(SignatureError::Mismatch) => self.test.verify(header, body, now_unix_s).map(|()| Mode::Test),
            live => live.map(|()| Mode::Live),
        }
    }
}

/// `POST /stripe/webhook/`
pub async fn webhook(edge: &Edge, call: &Call<'_>) -> Result<Answer, ApiError> {
    let intake = &edge.stripe;
    if intake.live.is_empty() && intake.test.is_empty() {
        return Err(ApiError::new(Code::NotFound, "No signing secret of Stripe's is configured here."));
    }
    let mut signatures = call.headers.get_all(SIGNATURE).iter();
    let (Some(signature), None) = (signatures.next(), signatures.next()) else {
        edge.metrics.stripe_events_total.with_label_values(&["unsigned"]).inc();
        return Err(ApiError::field("Stripe-Signature", "must be there exactly once"));
    };
    receive(edge, signature.as_bytes(), &call.body, call.now.unix_s(), call.request_id).await
}

/// Takes an event in, whoever brings it.
async fn receive(edge: &Edge, signature: &[u8], body: &[u8], now_unix_s: u64, request_id: &str) -> Result<Answer, ApiError> {
    let counted = |outcome| edge.metrics.stripe_events_total.with_label_values(&[outcome]).inc();
    let intake = &edge.stripe;
    let mode = intake.mode_of(signature, body, now_unix_s).map_err(|error| {
        counted("unsigned");
        tracing::warn!(request_id, %error, "refusing an event");
        ApiError::field("Stripe-Signature", error.to_string())
    })?;
    let event = StripeEvent::read(body).map_err(|error| {
        counted("malformed");
        ApiError::field("body", error.to_string())
    })?;
    if event.mode != mode {
        counted("malformed");
        return Err(ApiError::field("livemode", "is not the mode whose secret has signed"));
    }
    let Some(event) = NewEvent::of(event) else {
        counted("ignored");
        return Ok(received());
    };
    if let Err(reason) = &event.fact {
        tracing::error!(event = event.id, kind = event.kind, reason, "an event of Stripe's cannot be used");
    }
    let (ack, written) = oneshot::channel();
    let is_written = match intake.writer.try_send((event, ack)) {
        Ok(()) => matches!(tokio::time::timeout(PATIENCE, written).await, Ok(Ok(true))),
        Err(_) => false,
    };
    if is_written {
        counted("stored");
        Ok(received())
    } else {
        counted("unstored");
        Err(ApiError::plain(Code::Unavailable))
    }
}

fn received() -> Answer {
    Answer::json_text(StatusCode::OK, &br#"{"received":true}"#[..])
}

impl Writer {
    /// Writes until `stop`: whatever waits goes together. What cannot be written is answered so, and comes again.
    pub async fn run(self: Arc<Self>, pg: Pg, metrics: EdgeMetrics, stop: CancellationToken) -> Result<(), StorageError> {
        let mut waiting = self.0.lock().await;
        let mut batch = Vec::with_capacity(TOGETHER_MAX);
        while stop.run_until_cancelled(waiting.recv_many(&mut batch, TOGETHER_MAX)).await.is_some_and(|count| count > 0) {
            let (events, acks): (Vec<NewEvent>, Vec<Ack>) = batch.drain(..).unzip();
            reach("intake.begun").await;
            let written = async { stripe_events::insert(&*pg.client().await?, &events).await }.await;
            reach("intake.written").await;
            match &written {
                Ok(new) => metrics.stripe_duplicates_total.inc_by(events.len() as u64 - new),
                Err(error) if error.is_unavailable() => tracing::debug!(%error, events = events.len(), "storing events of Stripe's"),
                Err(error) => tracing::error!(%error, events = events.len(), "storing events of Stripe's"),
            }
            for ack in acks {
                // Whoever does not wait any more is told the next time.
                let _ = ack.send(written.is_ok());
            }
        }
        Ok(())
    }
}
