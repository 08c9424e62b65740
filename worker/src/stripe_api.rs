//! Asking Stripe for payments. One question is one request; whoever is told nothing asks again, and Stripe sees to it that asking again
//! makes nothing twice. What Stripe says is neither believed nor logged beyond what is read: its words may repeat what was sent.

use std::sync::Arc;

use bytes::Bytes;
use common::stripe::PaymentIntent;
use common::stripe::payment_intent::{PATH, STRIPE_VERSION, request};
use common::webhook_target::{Rules, Target};
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use storage::pg::order_payments::Payable;

use crate::metrics::WorkerMetrics;
use crate::outgoing::{Bounds, Outcome, Outgoing, OutgoingError, SystemResolver};

/// Who is calling.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("AnonymousPay/", env!("CARGO_PKG_VERSION")));
const VERSION: HeaderName = HeaderName::from_static("stripe-version");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// More than any payment intent has: some 3 KiB.
const ANSWER_MAX: usize = 64 * 1024;
/// Connections that are kept open.
const IDLE_MAX: usize = 16;
/// The longest of Stripe's words that is repeated in the log.
const WORD_MAX: usize = 64;

/// Why there is no payment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StripeError {
    /// Asking again in a moment is right.
    #[error("Stripe cannot be asked right now: {0}")]
    Unavailable(String),
    /// Asking again brings the same.
    #[error("Stripe makes no such payment: {0}")]
    Refused(String),
    /// There is no key, or Stripe does not let it in: so it will be for every order, until somebody sees to it.
    #[error("Stripe does not let us in: {0}")]
    Denied(String),
}

/// Asks Stripe.
pub struct StripeApi {
    /// None where there is no key to ask with.
    outgoing: Option<Outgoing>,
    settings: config::Stripe,
    rules: Rules,
    metrics: WorkerMetrics,
}

impl StripeApi {
    /// As the settings say. Connects nowhere yet.
    pub fn new(settings: &config::Stripe, rules: Rules, metrics: WorkerMetrics) -> Result<Self, OutgoingError> {
        let bounds = Bounds {
            connect_timeout: settings.timeout,
            timeout: settings.timeout,
            idle_per_host_max: IDLE_MAX,
            body_kept_max: ANSWER_MAX,
            tls_ca_file: None,
        };
        let asks = settings.live_secret_key.is_some() || settings.test_secret_key.is_some();
        let outgoing = asks.then(|| Outgoing::new(bounds, rules, Arc::new(SystemResolver::new()))).transpose()?;
        Ok(Self { outgoing, settings: settings.clone(), rules, metrics })
    }

    /// The payment of an order: a new one, or the one that it has. Ends within `stripe.timeout_ms`.
    pub async fn payment(&self, payable: &Payable) -> Result<PaymentIntent, StripeError> {
        let asked = self.ask(payable).await;
        let outcome = match &asked {
            Ok(_) => "answered",
            Err(StripeError::Unavailable(_)) => "unavailable",
            Err(StripeError::Refused(_)) => "refused",
            Err(StripeError::Denied(_)) => "denied",
        };
        self.metrics.stripe_requests_total.with_label_values(&[outcome]).inc();
        asked
    }

    async fn ask(&self, payable: &Payable) -> Result<PaymentIntent, StripeError> {
        let refused = |error: &dyn std::fmt::Display| StripeError::Refused(error.to_string());
        let (Some(outgoing), Some(key)) = (&self.outgoing, self.settings.secret_key(payable.mode)) else {
            return Err(StripeError::Denied(format!("stripe.{}_secret_key is not set", payable.mode)));
        };
        let mut headers = HeaderMap::with_capacity(5);
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", key.expose_secret())).map_err(|error| refused(&error))?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(USER_AGENT, AGENT);
        headers.insert(VERSION, HeaderValue::from_static(STRIPE_VERSION));
        let (method, path, body) = match &payable.payment_intent {
            Some(id) => (Method::GET, format!("{PATH}/{id}"), String::new()),
            None => {
                let form = request(&payable.order_id, payable.total_minor, payable.currency).map_err(|error| refused(&error))?;
                let key = HeaderValue::try_from(payable.order_id.as_str()).map_err(|error| refused(&error))?;
                headers.insert(IDEMPOTENCY_KEY, key);
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
                (Method::POST, PATH.to_owned(), form)
            }
        };
        let url = format!("{}{path}", self.settings.api_base_url);
        let target = Target::parse(&url, self.rules).map_err(|error| StripeError::Refused(format!("stripe.api_base_url: {error}")))?;
        let attempt = outgoing.send(method, &target, headers, Bytes::from(body)).await;
        self.metrics.stripe_request_seconds.observe(attempt.duration.as_secs_f64());
        match attempt.outcome {
            Outcome::Failed(failure) => Err(StripeError::Unavailable(failure.to_string())),
            Outcome::Answered { status: 200..=299, body, .. } => {
                PaymentIntent::read(&body, &payable.order_id, payable.total_minor, payable.currency).map_err(|error| refused(&error))
            }
            // Another question about the same order is under way, there were too many, or Stripe is in trouble.
            Outcome::Answered { status: status @ (409 | 424 | 429 | 500..), body, .. } => {
                Err(StripeError::Unavailable(format!("status {status}{}", words(&body))))
            }
            Outcome::Answered { status: status @ (401 | 403), body, .. } => {
                Err(StripeError::Denied(format!("status {status}{}", words(&body))))
            }
            Outcome::Answered { status, body, .. } => Err(StripeError::Refused(format!("status {status}{}", words(&body)))),
        }
    }
}

/// What Stripe calls the error: its type and code, which are words of Stripe's own. Its message may repeat what we sent.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Answer {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(default, rename = "type")]
        kind: Option<String>,
        #[serde(default)]
        code: Option<String>,
    }
    let Ok(Answer { error }) = serde_json::from_slice(body) else { return String::new() };
    let is_word = |word: &String| word.len() <= WORD_MAX && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let words: Vec<String> = [error.kind, error.code].into_iter().flatten().filter(is_word).collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn only_words_of_stripes_own_are_repeated() {
        let body = br#"{"error":{"type":"invalid_request_error","code":"amount_too_small","message":"canary","param":"canary"}}"#;
        assert_eq!(words(body), " (invalid_request_error, amount_too_small)");
        for body in [&b"canary"[..], b"{}", br#"{"error":{"type":"Canary sk_live_1"}}"#, br#"{"error":{"code":7}}"#] {
            assert_eq!(words(body), "");
        }
    }
}
