//! One request, straight through: name it, find its route, ask the gate, read the body, call the handler, write the headers, count it.

use std::net::{Ipv6Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use bytes::Bytes;
use common::clock::Now;
use common::trace::{TRACEPARENT, TRACESTATE, Trace};
use futures_util::FutureExt;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ALLOW, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING,
};
use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use uuid::Uuid;
use uuid::fmt::Simple as SimpleUuid;

use crate::answer::Answer;
use crate::api::webhooks::deliveries;
use crate::api::{checkout_session, fulfill, openapi, orders, subdivisions, tax_rates, webhooks};
use crate::body;
use crate::client_address::{self, ClientAddress};
use crate::developers;
use crate::edge::{Edge, Knobs};
use crate::error::{ApiError, Code};
use crate::gate::{Access, Caller};
use crate::metrics::EdgeMetrics;
use crate::pages::{self, visit::Visit};
use crate::portal;
use crate::quotas::{self, QuotaName, Rate};
use crate::router::{Endpoint, Found, Params, Route, allow};
use crate::stripe;

/// The header that names a request, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_MAX: usize = 128;
/// A body of this size has come along with its head, or is not waited for when nobody reads it.
const READ_AT_ONCE_BYTES: usize = 8_192;

/// A request that was let in, with everything its handler may look at.
#[derive(Debug)]
pub struct Call<'r> {
    /// Its name.
    pub request_id: &'r str,
    /// The trace that it belongs to, if its caller says so.
    pub trace: Option<&'r Trace>,
    /// Who sent it, as far as its address tells.
    pub address: ClientAddress,
    /// When its head was there.
    pub now: Now,
    /// The parameters of its path.
    pub params: Params<'r>,
    /// What follows the question mark.
    pub query: &'r str,
    /// Its header.
    pub headers: &'r HeaderMap,
    /// Its body; empty where the route takes none.
    pub body: Bytes,
}

/// What a request is found by in logs: the caller's, ours, and those of whoever answers the call further on.
#[derive(Debug, Clone, Copy)]
pub struct Ids<'r> {
    /// Its name.
    pub request_id: &'r str,
    /// The trace that it belongs to, if its caller says so.
    pub trace: Option<&'r Trace>,
}

/// Answers one request. Never fails: whatever goes wrong is an answer too.
pub async fn serve(edge: &Edge, peer: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let started = Instant::now();
    let now = edge.clock.now();
    let (head, incoming) = request.into_parts();
    let request_id_header = request_id(&head.headers);
    let request_id = std::str::from_utf8(request_id_header.as_bytes()).unwrap_or_default();
    let trace = trace(&head.headers);
    let ids = Ids { request_id, trace: trace.as_ref() };
    let found = edge.router.find(&head.method, head.uri.path());
    let address = ClientAddress::of(client_address::of(peer, &head.headers, &edge.knobs.trusted_proxies));
    let (route, params) = match &found {
        Found::Route(route, params) => (Some(*route), params.clone()),
        Found::OtherMethods(..) | Found::Nothing => (None, Params::default()),
    };

    let mut counted = Counted {
        metrics: &edge.metrics,
        route: route.map_or("none", |route| route.name),
        method: method_label(&head.method),
        started,
        status: None,
    };

    let (mut answer, rate) = match (check(edge, &head), route) {
        (Err(error), _) => {
            let (mut answer, rate) = refuse(edge, error, &head.uri, address, now, ids);
            if head.version < Version::HTTP_2 {
                // Where such a request ends is in doubt, so nothing behind it is taken for another one.
                answer.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            (answer, rate)
        }
        (Ok(()), None) => without_route(edge, &head, &found, address, now, ids),
        (Ok(()), Some(route)) => {
            let decision = edge.gate.admit(route.access, &head.headers, params.slug, address, now);
            let query = head.uri.query().unwrap_or("");
            let call = |body| Call { request_id, trace: ids.trace, address, now, params, query, headers: &head.headers, body };
            let answered = match decision.outcome {
                Err(error) => {
                    edge.metrics.gate_refusals_total.with_label_values(&[error.code().as_str()]).inc();
                    Err(error)
                }
                Ok(caller) => match body::read(&edge.knobs, route, &head.headers, incoming).await {
                    Err(error) => Err(error),
                    // A panic is a defect, and told as one; the hook has logged where it was. Other requests of the connection go on.
                    Ok(body) => {
                        AssertUnwindSafe(handle(edge, route, caller.as_ref(), call(body))).catch_unwind().await.unwrap_or_else(|_| {
                            tracing::error!(request_id, trace_id = ids.trace.map(Trace::id), route = route.name, "a handler panicked");
                            Err(ApiError::plain(Code::Internal))
                        })
                    }
                },
            };
            let refusal = |error: ApiError| match route.access {
                Access::Page => pages::problem::of_api_error(&Visit::of(edge, &head.headers, request_id), error),
                _ => error.into_answer(&edge.knobs.public_base_url, ids),
            };
            (answered.unwrap_or_else(refusal), decision.rate)
        }
    };

    write_headers(&mut answer.headers, rate.as_ref(), route);
    if head.version < Version::HTTP_2 && leaves_body_unread(answer.status, &head.headers) {
        answer.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(Rate { name, decision }) = rate
        && !decision.admitted
    {
        edge.metrics.rate_limited_total.with_label_values(&[name.as_str()]).inc();
    }
    counted.status = Some(answer.status);
    tracing::debug!(request_id, trace_id = ids.trace.map(Trace::id), route = counted.route, status = answer.status.as_u16(), "answered");
    answer.headers.insert(REQUEST_ID, request_id_header);
    answer.into_response(head.method == Method::HEAD)
}

/// A request that is counted when it is dropped: with its answer, or without one as 499, when its caller has hung up and this is not run any
/// further. Those who lose patience are the first to know that something is slow.
struct Counted<'r> {
    metrics: &'r EdgeMetrics,
    route: &'static str,
    method: &'static str,
    started: Instant,
    status: Option<StatusCode>,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let code = self.status.as_ref().map_or("499", StatusCode::as_str);
        self.metrics.requests_total.with_label_values(&[self.route, self.method, code]).inc();
        self.metrics.request_seconds.with_label_values(&[self.route]).observe(self.started.elapsed().as_secs_f64());
    }
}

/// Who waits for Postgres or Redis does so in a box of its own: some kilobytes, which otherwise every connection would carry along and
/// every request would move.
async fn handle(edge: &Edge, route: &Route, caller: Option<&Caller>, call: Call<'_>) -> Result<Answer, ApiError> {
    match (route.endpoint, caller) {
        (Endpoint::CheckoutSession, Some(caller)) => checkout_session::create(edge, caller, &call),
        (Endpoint::Fulfill, Some(caller)) => Box::pin(fulfill::fulfill(edge, caller, &call)).await,
        (Endpoint::ListOrders, Some(caller)) => Box::pin(orders::list(edge, caller, &call)).await,
        (Endpoint::GetOrder, Some(caller)) => Box::pin(orders::get(edge, caller, &call)).await,
        (Endpoint::RevokeOrder, Some(caller)) => Box::pin(orders::revoke(edge, caller, &call)).await,
        (Endpoint::ListWebhooks, Some(caller)) => Box::pin(webhooks::list(edge, caller)).await,
        (Endpoint::CreateWebhook, Some(caller)) => Box::pin(webhooks::create(edge, caller, &call)).await,
        (Endpoint::GetWebhook, Some(caller)) => Box::pin(webhooks::get(edge, caller, &call)).await,
        (Endpoint::ChangeWebhook, Some(caller)) => Box::pin(webhooks::change(edge, caller, &call)).await,
        (Endpoint::DeleteWebhook, Some(caller)) => Box::pin(webhooks::delete(edge, caller, &call)).await,
        (Endpoint::RotateWebhookSecret, Some(caller)) => Box::pin(webhooks::rotate(edge, caller, &call)).await,
        (Endpoint::TestWebhook, Some(caller)) => Box::pin(deliveries::test(edge, caller, &call)).await,
        (Endpoint::ResendDeliveries, Some(caller)) => Box::pin(deliveries::resend_between(edge, caller, &call)).await,
        (Endpoint::ListDeliveries, Some(caller)) => Box::pin(deliveries::list(edge, caller, &call)).await,
        (Endpoint::GetDelivery, Some(caller)) => Box::pin(deliveries::get(edge, caller, &call)).await,
        (Endpoint::ResendDelivery, Some(caller)) => Box::pin(deliveries::resend(edge, caller, &call)).await,
        (Endpoint::Subdivisions, _) => subdivisions::list(edge, &call),
        (Endpoint::TaxRates, _) => tax_rates::list(edge, &call),
        (Endpoint::OpenApi, _) => Ok(openapi::document()),
        (Endpoint::StripeWebhook, _) => Box::pin(stripe::webhook(edge, &call)).await,
        (Endpoint::Developers(topic), _) => Box::pin(developers::serve(edge, topic, &call)).await,
        (Endpoint::Page(page), _) => Box::pin(pages::serve(edge, page, &call)).await,
        (Endpoint::Portal(screen), _) => Box::pin(portal::serve(edge, screen, &call)).await,
        // The table gives these endpoints a key to ask for.
        (_, None) => Err(ApiError::plain(Code::MissingApiKey)),
    }
}

/// What HTTP demands of every request, before anything is made of it.
fn check(edge: &Edge, head: &http::request::Parts) -> Result<(), ApiError> {
    let Knobs { uri_max_bytes, head_max_bytes, head_fields_max, .. } = edge.knobs;
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > uri_max_bytes {
        return Err(ApiError::new(Code::UriTooLong, format!("An address may have {uri_max_bytes} bytes.")));
    }
    if head.headers.len() > head_fields_max || head_bytes(head, target) > head_max_bytes {
        let detail = format!("A header may have {head_fields_max} fields and {head_max_bytes} bytes.");
        return Err(ApiError::new(Code::HeadTooLarge, detail));
    }
    check_host(head)?;
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) || codings.next().is_some() {
        // A proxy in front might read a list of them in another way than we do.
        return Err(ApiError::field("Transfer-Encoding", "may only be chunked, once"));
    }
    if head.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(ApiError::field("scheme", "must be http or https"));
    }
    let is_of_server = head.uri.path() == "*" && head.method == Method::OPTIONS;
    if !is_of_server && !head.uri.path().starts_with('/') {
        return Err(ApiError::field("path", "must begin with a slash"));
    }
    Ok(())
}

/// One host, which is one, however often it is said. Nothing here depends on it; but who is in front may choose by it where a request goes,
/// and whoever is asked must not be in doubt.
fn check_host(head: &http::request::Parts) -> Result<(), ApiError> {
    let refuse = |message| Err(ApiError::field("Host", message));
    let mut fields = head.headers.get_all(HOST).iter();
    let (field, others) = (fields.next().map(HeaderValue::as_bytes), fields.count());
    // HTTP/2 has it in `:authority`; HTTP/1.1 may have it in its first line too.
    let target = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    if others > 0 || (field.is_none() && head.version == Version::HTTP_11) {
        return refuse("must be there exactly once");
    }
    if let (Some(field), Some(target)) = (field, target)
        && !field.eq_ignore_ascii_case(target)
    {
        return refuse("must not differ from the host in the address");
    }
    match target.or(field) {
        Some(host) if !is_host(host) => refuse("must be a name or an address, with a port where it needs one"),
        None if head.version == Version::HTTP_2 => refuse("must be there, or :authority"),
        _ => Ok(()),
    }
}

/// Whether this is what DNS and IP know as a host, with or without a port.
fn is_host(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let (name, port) = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).unwrap_or((host, ""));
    let is_name = match name.strip_prefix('[') {
        Some(ip) => ip.strip_suffix(']').is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok()),
        None => !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')),
    };
    is_name && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// The size of a head as HTTP/1.1 writes it, whichever version it came in.
fn head_bytes(head: &http::request::Parts, target: usize) -> usize {
    let fields: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + ": \r\n".len() + value.len()).sum();
    head.method.as_str().len() + target + "  HTTP/1.1\r\n\r\n".len() + fields
}

/// A request that leads to no route: to other methods, to a question about methods, or nowhere.
fn without_route(
    edge: &Edge,
    head: &http::request::Parts,
    found: &Found<'_>,
    address: ClientAddress,
    now: Now,
    ids: Ids<'_>,
) -> (Answer, Option<Rate>) {
    let error = match found {
        Found::OtherMethods(routes) if head.method == Method::OPTIONS => {
            let rate = in_api(&head.uri).then(|| edge.gate.charge(address, QuotaName::Anonymous, now));
            return (options(routes), rate);
        }
        Found::OtherMethods(routes) => ApiError::method_not_allowed(allow(routes)),
        _ if pages::is_page(head.uri.path()) => {
            let rate = edge.gate.charge(address, QuotaName::Pages, now);
            let code = if rate.decision.admitted { Code::NotFound } else { Code::RateLimited };
            let visit = Visit::of(edge, &head.headers, ids.request_id);
            return (pages::problem::of_api_error(&visit, ApiError::plain(code)), Some(rate));
        }
        _ => ApiError::plain(Code::NotFound),
    };
    refuse(edge, error, &head.uri, address, now, ids)
}

/// Refuses a request that no key pays for: its address does.
fn refuse(edge: &Edge, error: ApiError, uri: &http::Uri, address: ClientAddress, now: Now, ids: Ids<'_>) -> (Answer, Option<Rate>) {
    let rate = in_api(uri).then(|| edge.gate.charge(address, QuotaName::Anonymous, now));
    let error = if rate.is_some_and(|rate| !rate.decision.admitted) { ApiError::plain(Code::RateLimited) } else { error };
    (error.into_answer(&edge.knobs.public_base_url, ids), rate)
}

fn in_api(uri: &http::Uri) -> bool {
    uri.path().starts_with("/api/")
}

fn options(routes: &[&Route]) -> Answer {
    let allow = HeaderValue::try_from(allow(routes)).expect("methods are visible ASCII");
    let answer = Answer::new(StatusCode::NO_CONTENT, "").with(ALLOW, allow.clone());
    if !routes.iter().all(|route| route.any_origin) {
        return answer;
    }
    answer
        .with(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))
        .with(ACCESS_CONTROL_ALLOW_METHODS, allow)
        .with(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("X-Request-Id, If-None-Match, traceparent, tracestate"))
        .with(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"))
}

/// Whether a body was refused of which more may come than is here already. Nobody reads it, so an HTTP/1 connection ends behind the answer;
/// a client that is not told so sends its next request into that end.
fn leaves_body_unread(status: StatusCode, headers: &HeaderMap) -> bool {
    let announced = || headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT)
        || status.is_client_error() && announced().is_some_and(|length| length > READ_AT_ONCE_BYTES)
}

fn write_headers(headers: &mut HeaderMap, rate: Option<&Rate>, route: Option<&Route>) {
    match rate {
        // People have no use for figures.
        Some(Rate { name: QuotaName::Pages, decision }) if !decision.admitted => {
            headers.insert(RETRY_AFTER, HeaderValue::from(decision.retry_after_s));
        }
        Some(Rate { name: QuotaName::Pages, .. }) | None => {}
        Some(rate) => rate.write(headers),
    }
    if route.is_some_and(|route| route.any_origin) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(quotas::EXPOSED));
    }
    if matches!(route.map(|route| route.access), Some(Access::Key(..))) {
        headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// The name of a request: the caller's own where it is well-formed, a new one otherwise. ASCII.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let well_formed = |id: &&HeaderValue| {
        let id = id.as_bytes();
        (1..=REQUEST_ID_MAX).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    headers.get(REQUEST_ID).filter(well_formed).cloned().unwrap_or_else(|| {
        let mut digits = [0; SimpleUuid::LENGTH];
        let digits = Uuid::from_u128(rand::random()).simple().encode_lower(&mut digits);
        HeaderValue::try_from(["req_", &digits[..24]].concat()).expect("hex digits are visible ASCII")
    })
}

/// The trace that the caller says its request belongs to. More than one `traceparent` is none.
fn trace(headers: &HeaderMap) -> Option<Trace> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let parent = parents.next().filter(|_| parents.next().is_none())?;
    let states: Vec<&[u8]> = headers.get_all(TRACESTATE).iter().map(HeaderValue::as_bytes).collect();
    Trace::parse(parent.as_bytes(), &states.join(&b','))
}

/// Callers may send any word as a method; metrics know these.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for host in ["pay.example", "PAY.example.", "a_b", "127.0.0.1:8000", "pay.example:", "[::1]", "[2001:db8::7]:443", "x:65535"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for not in
            ["", ":80", "a b", "a/b", "u@a", "a:b", "a:1:2", "a:123456", "a,b", "a%2e", "[::1", "[::1]80", "[a]", "[]", "::1", "a\u{e9}"]
        {
            assert!(!is_host(not.as_bytes()), "{not}");
        }
    }
}
