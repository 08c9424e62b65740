//! The quotas by name, and what a bucket's answer looks like in headers.

use bytes::Bytes;
use common::limits::{Decision, Quota};
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

/// A quota: four with names of their own, one for all other keyed routes, and one for requests that belong to no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuotaName {
    /// Checkout sessions, per key.
    Checkout,
    /// Fulfillments, per key.
    Licensing,
    /// All other keyed routes together, per key.
    Api,
    /// Subdivisions, per address.
    Geo,
    /// Tax rates, per address.
    Tax,
    /// Requests whose key fails, and unknown paths, per address.
    Anonymous,
    /// Hosted pages, per address.
    Pages,
}

impl QuotaName {
    /// The name in headers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            QuotaName::Checkout => "checkout",
            QuotaName::Licensing => "licensing",
            QuotaName::Api => "api",
            QuotaName::Geo => "geo",
            QuotaName::Tax => "tax",
            QuotaName::Anonymous => "anonymous",
            QuotaName::Pages => "pages",
        }
    }
}

/// Everybody's quotas.
#[derive(Debug, Clone, Copy)]
pub struct Quotas {
    checkout: Quota,
    licensing: Quota,
    api: Quota,
    geo: Quota,
    tax: Quota,
    anonymous: Quota,
    pages: Quota,
}

impl Quotas {
    /// From the settings.
    pub fn new(limits: &config::Limits) -> Self {
        Self {
            checkout: Quota::per_minute(limits.checkout),
            licensing: Quota::per_minute(limits.licensing),
            api: Quota::per_minute(limits.api),
            geo: Quota::per_minute(limits.geo),
            tax: Quota::per_minute(limits.tax),
            anonymous: Quota::per_minute(limits.anonymous),
            pages: Quota::per_minute(limits.pages),
        }
    }

    /// The quota of this name.
    pub fn get(&self, name: QuotaName) -> Quota {
        match name {
            QuotaName::Checkout => self.checkout,
            QuotaName::Licensing => self.licensing,
            QuotaName::Api => self.api,
            QuotaName::Geo => self.geo,
            QuotaName::Tax => self.tax,
            QuotaName::Anonymous => self.anonymous,
            QuotaName::Pages => self.pages,
        }
    }
}

/// A bucket's answer and whose it was.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// The quota that was charged.
    pub name: QuotaName,
    /// How its bucket stands.
    pub decision: Decision,
}

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// What a browser may read across origins.
pub const EXPOSED: &str =
    "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit, RateLimit-Policy, Retry-After";

impl Rate {
    /// Writes the documented headers, the IETF draft's beside them, and `Retry-After` when nothing was left.
    pub fn write(&self, headers: &mut HeaderMap) {
        let Decision { admitted, limit, remaining, reset_unix_s, reset_after_s, retry_after_s } = self.decision;
        let name = self.name.as_str().as_bytes();
        let mut buffers: [itoa::Buffer; 4] = std::array::from_fn(|_| itoa::Buffer::new());
        let [limit_digits, remaining_digits, reset_digits, after_digits] = &mut buffers;
        let limit = limit_digits.format(limit).as_bytes();
        let remaining = remaining_digits.format(remaining).as_bytes();
        let reset = reset_digits.format(reset_unix_s).as_bytes();
        let after = after_digits.format(reset_after_s).as_bytes();
        let values: [(HeaderName, &[&[u8]]); 5] = [
            (LIMIT, &[limit]),
            (REMAINING, &[remaining]),
            (RESET, &[reset]),
            (POLICY, &[b"\"", name, b"\";q=", limit, b";w=60"]),
            (RATELIMIT, &[b"\"", name, b"\";r=", remaining, b";t=", after]),
        ];
        // All texts in one piece of memory: every answer carries them.
        let mut text = Vec::with_capacity(128);
        let ends = values.each_ref().map(|(_, parts)| {
            parts.iter().for_each(|part| text.extend_from_slice(part));
            text.len()
        });
        let (text, mut start) = (Bytes::from(text), 0);
        for ((header, _), end) in values.into_iter().zip(ends) {
            headers.insert(header, HeaderValue::from_maybe_shared(text.slice(start..end)).expect("names and digits are visible ASCII"));
            start = end;
        }
        if !admitted {
            headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
        }
    }
}
