//! One attempt: sign, send, and say what the answer means.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::seal::Sealer;
use common::trace::{TRACEPARENT, TRACESTATE, Trace};
use common::webhook;
use common::webhook::schedule::{retry_after, wait_after};
use common::webhook::secret::{WebhookSecret, WebhookSigner};
use common::webhook_target::{Rules, Target};
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use storage::pg::webhook_deliveries::{Claimed, Ended, Made, Outcome};
use storage::pg::webhook_endpoints::place;

use super::Parts;
use super::lanes::Sign;
use crate::outgoing::{self, Attempt};

/// Who is calling.
const AGENT: HeaderValue = HeaderValue::from_static(webhook::AGENT);
/// The page's own header.
const SIGNATURE: HeaderName = HeaderName::from_static(webhook::SIGNATURE);
/// The same under the secret before, for a day after a rotation.
const SIGNATURE_PREVIOUS: HeaderName = HeaderName::from_static(webhook::SIGNATURE_PREVIOUS);

/// An endpoint, ready to be sent to.
pub struct Recipient {
    /// Host and port.
    pub destination: Arc<str>,
    target: Target,
    signer: WebhookSigner,
    previous_signer: Option<WebhookSigner>,
    /// What all this was made of.
    url: String,
    sealed_secret: Vec<u8>,
    sealed_previous_secret: Option<Vec<u8>>,
}

impl Recipient {
    /// Reads the URL and opens the secrets. The error says why that cannot be.
    pub fn of(claimed: &Claimed, secrets: &Sealer, rules: Rules) -> Result<Self, String> {
        let target = Target::parse(&claimed.url, rules).map_err(|error| format!("its URL {error}"))?;
        let signer = |sealed: &[u8]| {
            let text = secrets.open(&place(claimed.endpoint_id), sealed).map_err(|error| format!("its secret cannot be read: {error}"))?;
            let text = std::str::from_utf8(&text).map_err(|_| "its secret is no text".to_owned())?;
            let secret = WebhookSecret::parse(text).map_err(|error| format!("its secret {error}"))?;
            Ok::<_, String>(WebhookSigner::new(&secret))
        };
        Ok(Self {
            destination: target.destination().into(),
            signer: signer(&claimed.sealed_secret)?,
            previous_signer: claimed.sealed_previous_secret.as_deref().map(signer).transpose()?,
            target,
            url: claimed.url.clone(),
            sealed_secret: claimed.sealed_secret.clone(),
            sealed_previous_secret: claimed.sealed_previous_secret.clone(),
        })
    }

    /// Whether this is still what the endpoint is.
    pub fn is_of(&self, claimed: &Claimed) -> bool {
        self.url == claimed.url
            && self.sealed_secret == claimed.sealed_secret
            && self.sealed_previous_secret == claimed.sealed_previous_secret
    }

    /// All header fields of a delivery but those that HTTP itself adds. The page's are signed for ever, the standard's for `unix_s`.
    fn headers(&self, claimed: &Claimed, unix_s: u64) -> HeaderMap {
        let value = |text: String| HeaderValue::try_from(text).expect("ids, numbers and encoded digests are visible ASCII");
        let body = claimed.body.as_bytes();
        let mut headers = HeaderMap::with_capacity(9);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, AGENT);
        headers.insert(SIGNATURE, value(self.signer.sign(body)));
        let mut standard = self.signer.sign_standard(claimed.event_id, unix_s, body);
        if let Some(previous) = &self.previous_signer {
            headers.insert(SIGNATURE_PREVIOUS, value(previous.sign(body)));
            standard.push(' ');
            standard.push_str(&previous.sign_standard(claimed.event_id, unix_s, body));
        }
        headers.insert("webhook-id", value(claimed.event_id.to_string()));
        headers.insert("webhook-timestamp", HeaderValue::from(unix_s));
        headers.insert("webhook-signature", value(standard));
        if let Some(trace) = &claimed.trace {
            headers.insert(TRACEPARENT, value(trace.parent().to_owned()));
            if !trace.state().is_empty() {
                headers.insert(TRACESTATE, value(trace.state().to_owned()));
            }
        }
        headers
    }
}

/// Makes the attempt, which has been due since `due_at`. Never takes longer than an attempt may.
pub async fn make(parts: &Parts, claimed: &Claimed, due_at: Instant, recipient: &Recipient) -> (Ended, Sign) {
    let began = Instant::now();
    let unix_s = parts.clock.now().unix_s();
    if claimed.attempts == 1 {
        parts.metrics.webhook_wait_seconds.observe((began - due_at).as_secs_f64());
    }
    let headers = recipient.headers(claimed, unix_s);
    let Attempt { outcome, duration } =
        parts.outgoing.send(Method::POST, &recipient.target, headers, Bytes::copy_from_slice(claimed.body.as_bytes())).await;
    parts.metrics.webhook_attempt_seconds.observe(duration.as_secs_f64());
    let (outcome, label, sign, answer) = judge(outcome, claimed, unix_s, rand::random());
    parts.metrics.webhook_attempts_total.with_label_values(&[label]).inc();
    if outcome != Outcome::Delivered {
        // Not where to: its path may be a secret of the partner's. Nor what it answered: that is kept with the delivery.
        tracing::info!(
            delivery = claimed.id,
            endpoint = %claimed.endpoint_id,
            event = %claimed.event_id,
            order_id = claimed.order_id,
            attempt = claimed.attempts,
            trace_id = claimed.trace.as_ref().map(Trace::id),
            outcome = label,
            "a webhook was not taken"
        );
    }
    let made = Made { ago: began.elapsed(), took: duration, answer };
    (ended(claimed, outcome, Some(made)), sign)
}

type Answer = Result<(u16, Vec<u8>), String>;

/// What an answer, or none, means for the delivery; its label; what it says about the server; and what is kept of it.
fn judge(outcome: outgoing::Outcome, claimed: &Claimed, unix_s: u64, chance: f64) -> (Outcome, &'static str, Sign, Answer) {
    let again = |wished: Option<Duration>| Outcome::Failed(wait_after(claimed.attempts_of_schedule, wished, chance));
    match outcome {
        outgoing::Outcome::Answered { status, body, .. } if (200..300).contains(&status) => {
            (Outcome::Delivered, "delivered", Sign::Taken, Ok((status, body)))
        }
        outgoing::Outcome::Answered { status: 410, body, .. } => (Outcome::Gone, "gone", Sign::Answered, Ok((410, body))),
        outgoing::Outcome::Answered { status, retry_after: wish, body } => {
            let wish = wish.and_then(|wish| retry_after(&wish, unix_s));
            (again(wish), "refused", Sign::Answered, Ok((status, body)))
        }
        outgoing::Outcome::Failed(failure) => (again(None), failure.as_str(), Sign::Silent, Err(failure.to_string())),
    }
}

/// The end of an attempt that could not even be begun. It counts, so that it does not go on for ever.
pub fn impossible(claimed: &Claimed, why: String) -> Ended {
    let outcome = Outcome::Failed(wait_after(claimed.attempts_of_schedule, None, rand::random()));
    ended(claimed, outcome, Some(Made { ago: Duration::ZERO, took: Duration::ZERO, answer: Err(why) }))
}

/// The end of an attempt that there was no time or no room for.
pub fn not_made(claimed: &Claimed) -> Ended {
    ended(claimed, Outcome::NotMade, None)
}

/// The end of an attempt for which it is too early, as the event before it is to be tried again.
pub fn too_early(claimed: &Claimed) -> Ended {
    ended(claimed, Outcome::Waits, None)
}

fn ended(claimed: &Claimed, outcome: Outcome, made: Option<Made>) -> Ended {
    Ended { id: claimed.id, attempts: claimed.attempts, endpoint_id: claimed.endpoint_id, outcome, made }
}
