//! A whole request head as HTTP/1.1 writes it, through everything that looks at one before a body is read: routes, queries, the gate, the
//! idempotency key, and the problem documents of whatever they refuse.

use std::net::SocketAddr;

use common::fulfill::IDEMPOTENCY_KEY_MAX;
use edge::api::idempotency;
use edge::client_address::{self, ClientAddress};
use edge::error::ApiError;
use edge::gate::Access;
use edge::query::Query;
use edge::quotas::QuotaName;
use edge::router::{Found, Params, ROUTES, Route};
use edge::service::Ids;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use url::form_urlencoded::{self, Serializer};

use crate::bounds::measured;
use crate::knowledge::{GATE, NOW, ROUTER, TRUSTED};

const FIELDS_MAX: usize = 100;
/// The parameters that any route asks for.
const NAMES: [&str; 9] = ["country", "subdivision", "date", "external_reference", "order_id", "status", "limit", "starting_after", "token"];

/// Everything that a head meets.
pub fn check(data: &[u8]) {
    let Some((method, uri, headers)) = read(data) else { return };
    let slug = measured(data.len(), 64, || check_route(&method, uri.path()));
    measured(data.len(), 64, || check_query(uri.query().unwrap_or_default()));
    check_idempotency(&headers);
    check_gate(&headers, slug, data.len());
}

/// As hyper reads a head: what it would refuse is none.
fn read(data: &[u8]) -> Option<(Method, Uri, HeaderMap)> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    if head.parse(data).ok()?.is_partial() {
        return None;
    }
    let mut headers = HeaderMap::new();
    for field in head.headers {
        headers.append(HeaderName::from_bytes(field.name.as_bytes()).ok()?, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some((Method::from_bytes(head.method?.as_bytes()).ok()?, head.path?.parse().ok()?, headers))
}

/// The slug, if the path has one.
fn check_route<'p>(method: &Method, path: &'p str) -> &'p str {
    let bare = path.strip_suffix('/').unwrap_or(path);
    match ROUTER.find(method, path) {
        Found::Route(route, params) => {
            assert!(route.method == *method || (*method == Method::HEAD && route.method == Method::GET));
            assert_eq!(spell(route, &params), bare, "{params:?}");
            assert!(![params.slug, params.id, params.delivery_id].iter().any(|param| param.contains('/')), "{params:?}");
            assert!(
                matches!(ROUTER.find(method, bare), Found::Route(again, _) if std::ptr::eq(again, route)),
                "a slash makes a difference"
            );
            params.slug
        }
        Found::OtherMethods(routes) => {
            assert!(!routes.is_empty() && routes.iter().all(|route| route.method != *method));
            ""
        }
        Found::Nothing => {
            assert!(!ROUTES.iter().any(|route| route.path == bare));
            ""
        }
    }
}

fn spell(route: &Route, params: &Params<'_>) -> String {
    let segments = route.path.split('/').map(|segment| match segment {
        "{slug}" => params.slug,
        "{order_id}" | "{webhook_id}" | "{code}" => params.id,
        "{delivery_id}" => params.delivery_id,
        literal => literal,
    });
    segments.collect::<Vec<_>>().join("/")
}

fn check_query(text: &str) {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    let count = |name: &str| pairs.iter().filter(|(other, _)| other == name).count();
    match Query::parse(text, &NAMES) {
        Ok(query) => {
            let mut again = Serializer::new(String::new());
            for name in NAMES {
                assert_eq!(usize::from(query.get(name).is_some()), count(name), "{name}");
                assert_eq!(query.require(name).ok(), query.get(name));
                again.extend_pairs(query.get(name).map(|value| (name, value)));
            }
            let again = Query::parse(&again.finish(), &NAMES).expect("what was read is read in other words");
            assert!(NAMES.iter().all(|name| again.get(name) == query.get(name)));
        }
        Err(error) => {
            assert!(NAMES.iter().any(|name| count(name) > 1), "{error:?}");
            check_problem(error);
        }
    }
}

fn check_idempotency(headers: &HeaderMap) {
    let values: Vec<&HeaderValue> = headers.get_all("idempotency-key").iter().collect();
    match idempotency::key(headers) {
        Ok(None) => assert!(values.is_empty()),
        Ok(Some(key)) => {
            assert!((1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()), "{key:?}");
            assert!(matches!(values.as_slice(), [value] if value.as_bytes() == key.as_bytes()));
        }
        Err(error) => check_problem(error),
    }
}

fn check_gate(headers: &HeaderMap, slug: &str, len: usize) {
    let peer = SocketAddr::from(([10, 0, 0, 1], 40_000));
    let address = ClientAddress::of(client_address::of(peer, headers, &*TRUSTED));
    for access in [ROUTES[0].access, Access::Address(QuotaName::Geo), Access::Open] {
        let decision = measured(len, 64, || GATE.admit(access, headers, slug, address, NOW));
        let mut written = HeaderMap::new();
        decision.rate.inspect(|rate| rate.write(&mut written));
        assert_eq!(written.is_empty(), access == Access::Open);
        match decision.outcome {
            Ok(caller) => assert!(caller.is_none() && !matches!(access, Access::Key(..)), "nobody has a key"),
            Err(error) => {
                assert!(matches!(access, Access::Key(..)), "{error:?}");
                check_problem(error);
            }
        }
    }
    // So that as many addresses as there are runs do not fill the memory.
    if GATE.address_buckets() > 500 {
        GATE.sweep(common::clock::Now { unix_ms: NOW.unix_ms, mono_ns: u64::MAX });
    }
}

/// What a caller is told is a document, of a status between 400 and 499.
fn check_problem(error: ApiError) {
    let status = error.code().status();
    let answer = error.into_answer("https://pay.example", Ids { request_id: "req_1", trace: None });
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect("a problem is JSON");
    assert!(status.is_client_error() && answer.status == status && problem["status"] == status.as_u16(), "{problem}");
}
