//! HTTP manners: slashes, HEAD, OPTIONS, other methods, other origins, caches and content types.

use edge::gate::Access;
use edge::router::{ROUTES, Route};
use http::{HeaderMap, Method};
use serde_json::Value;
use testkit::http::Response;

use crate::stage::{Backstage, FULFILL, GEO, SESSION, Stage, TAX, problem, session};
use crate::wire::{Wire, get, post};

/// A path of this route that leads to something, or to an honest 404.
fn path(route: &Route) -> String {
    let path = route.path.replace("{slug}", "demo").replace("{order_id}", "ORD-000000000000000000").replace("{code}", "not_found");
    let path = path.replace("{webhook_id}", &format!("wh_{}", "0".repeat(32))).replace("{delivery_id}", "whd_1");
    let path = path
        .replace("{cart_id}", &"0".repeat(26))
        .replace("{link}", "rc1")
        .replace("{name}", &edge::pages::assets::STYLES.path["/assets/".len()..]);
    if matches!(route.name, "subdivisions" | "tax_rates") { format!("{path}/?country=GB") } else { path }
}

fn slash(path: &str) -> String {
    path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned)
}

/// What two answers to the same question share.
fn lasting(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let passing =
        ["date", "x-request-id", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "set-cookie", "content-security-policy"];
    let kept = headers.iter().filter(|(name, _)| !passing.contains(&name.as_str()));
    kept.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

#[tokio::test]
async fn both_slash_forms_are_the_same_and_neither_redirects() {
    let stage = Stage::new().await;
    for route in ROUTES.iter().filter(|route| route.method == Method::GET) {
        let ask = async |path: &str| stage.partner().send(Method::GET, path, &[("x-request-id", "same")], "").await.unwrap();
        let (with, without) = match path(route).split_once('?') {
            Some((path, query)) => (ask(&format!("{path}?{query}")).await, ask(&format!("{}?{query}", slash(path))).await),
            None => (ask(&path(route)).await, ask(&slash(&path(route))).await),
        };
        // Pages name their scripts anew each time.
        let is_page = |answer: &Response| answer.header("content-type").starts_with("text/html");
        let body = |answer: &Response| if is_page(answer) { answer.body.len().into() } else { Value::from(answer.body.to_vec()) };
        assert_eq!(
            (with.status, body(&with), lasting(&with.headers)),
            (without.status, body(&without), lasting(&without.headers)),
            "{}",
            route.name
        );
        // Whoever is not signed in is sent to where they can, from either form.
        let leads_to_sign_in = with.headers.get("location").is_some_and(|to| to == "/portal/sign-in/");
        assert!(!with.status.is_redirection() || (route.path.starts_with("/portal") && leads_to_sign_in), "{}", route.name);
    }
    for form in [SESSION, SESSION.trim_end_matches('/')] {
        assert_eq!(stage.partner().post(form, &session()).await.unwrap().status, 201);
    }
    for not in
        ["//", "/api/v1/geo/subdivisions//?country=US", "//api/v1/geo/subdivisions/?country=US", "/api/v1/geo/subdivisions/x/?country=US"]
    {
        problem(&Wire::connect(stage.address).await.ask(get(not, "")).await, 404, "not_found");
    }
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let stage = Stage::new().await;
    for route in ROUTES.iter().filter(|route| route.method == Method::GET) {
        for query in ["", "&country=GB", "&x=%00"] {
            let path = format!("{}{}{query}", path(route), if path(route).contains('?') { "" } else { "?" });
            let lines = format!("authorization: Bearer {}\r\nx-request-id: same\r\n", stage.key);
            let mut wire = Wire::connect(stage.address).await;
            let whole = wire.ask(get(&path, &lines)).await;
            wire.say(get(&path, &lines).replacen("GET", "HEAD", 1)).await;
            let head = wire.hear_head().await;
            assert_eq!((head.status, lasting(&head.headers)), (whole.status, lasting(&whole.headers)), "{path}");
            assert_eq!(head.header("content-length"), whole.body.len().to_string(), "{path}");
            // Nothing more came: the next answer begins where it should.
            assert_eq!(wire.ask(get(&path, &lines)).await.status, whole.status, "{path}");
        }
    }
    problem(&stage.partner().get("/api/v1/stores/demo/checkout/session").await.unwrap(), 405, "method_not_allowed");
}

#[tokio::test]
async fn options_and_405_name_the_methods() {
    let stage = Stage::new().await;
    for route in &ROUTES {
        let taken: Vec<&Method> = ROUTES.iter().filter(|other| other.path == route.path).map(|other| &other.method).collect();
        let spelled = |method: &&Method| if *method == Method::GET { "GET, HEAD".to_owned() } else { method.to_string() };
        let expected = taken.iter().map(spelled).chain(["OPTIONS".to_owned()]).collect::<Vec<_>>().join(", ");
        for path in [path(route), slash(path(route).split('?').next().unwrap())] {
            let answer = stage.anyone().send(Method::OPTIONS, &path, &[], "").await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.header("allow"), answer.body.len()), (204, expected.as_str(), 0), "{path}");
            assert!(answer.headers.get("content-length").is_none() && answer.headers.get("content-type").is_none(), "{answer:?}");
            let others = [Method::PUT, Method::PATCH, Method::DELETE, Method::TRACE, Method::from_bytes(b"BREW").unwrap()];
            for method in others.into_iter().filter(|method| !taken.contains(&method)) {
                let answer = stage.partner().send(method, &path, &[], "").await.unwrap();
                problem(&answer, 405, "method_not_allowed");
                assert_eq!(answer.header("allow"), expected, "{path}");
            }
        }
    }
    problem(&stage.anyone().send(Method::OPTIONS, "/api/v1/none", &[], "").await.unwrap(), 404, "not_found");
}

#[tokio::test]
async fn other_origins_may_read_what_is_public_and_nothing_else() {
    let stage = Backstage::new().await.set("LIMITS__GEO", "4").set("LIMITS__TAX", "4").start().await;
    let origin = ("origin", "https://shop.example");
    let preflight = [origin, ("access-control-request-method", "GET"), ("access-control-request-headers", "x-request-id")];
    for (path, name) in [(GEO, "geo"), (TAX, "tax")] {
        let base = path.split('?').next().unwrap();
        let asked = stage.anyone().send(Method::OPTIONS, path, &preflight, "").await.unwrap();
        assert_eq!((asked.status.as_u16(), asked.header("access-control-allow-origin")), (204, "*"), "{name}");
        assert!(asked.header("access-control-allow-methods").contains("GET"));
        assert!(asked.header("access-control-max-age").parse::<u32>().is_ok_and(|seconds| seconds > 0));
        for (status, path, headers) in [
            (200, path.to_owned(), vec![origin]),
            (304, path.to_owned(), vec![origin, ("if-none-match", "*")]),
            (400, base.to_owned(), vec![origin]),
            (404, format!("{base}?country=ZZ"), vec![origin]),
            (429, path.to_owned(), vec![origin]),
        ] {
            let answer = stage.anyone().send(Method::GET, &path, &headers, "").await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (status, "*"));
            let exposed = answer.header("access-control-expose-headers").to_lowercase();
            for name in ["x-request-id", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"] {
                assert!(exposed.contains(name), "{name} in {exposed}");
            }
            assert!(answer.headers.get("access-control-allow-credentials").is_none());
        }
    }
    let closed = |answer: &Response| !answer.headers.keys().any(|name| name.as_str().starts_with("access-control-"));
    for route in ROUTES.iter().filter(|route| matches!(route.access, Access::Key(..))) {
        for client in [stage.anyone(), stage.partner()] {
            for method in [Method::OPTIONS, route.method.clone()] {
                let headers = [origin, ("access-control-request-method", "POST"), ("access-control-request-headers", "authorization")];
                let answer = client.send(method, &path(route), &headers, "").await.unwrap();
                assert!(closed(&answer), "{}: {answer:?}", route.name);
            }
        }
    }
}

#[tokio::test]
async fn what_a_cache_has_already_is_not_sent_again() {
    let stage = Stage::new().await;
    for (path, lifetime) in [(GEO, "public, max-age=86400"), (TAX, "public, max-age=3600")] {
        let ask = async |method: Method, lines: &[(&str, &str)]| stage.anyone().send(method, path, lines, "").await.unwrap();
        let whole = ask(Method::GET, &[]).await;
        let etag = whole.header("etag").to_owned();
        assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10, "{etag}");
        assert_eq!(whole.header("cache-control"), lifetime);
        let weak = format!("W/{etag}");
        let (list, weak_list) = (format!("\"a\", {etag}, \"b\""), format!("W/\"a\",{weak}"));
        for tags in [&etag, &weak, &list, &weak_list, &"*".to_owned(), &format!(" {etag} ")] {
            for method in [Method::GET, Method::HEAD] {
                let answer = ask(method.clone(), &[("if-none-match", tags)]).await;
                assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0), "{tags}");
                assert_eq!((answer.header("etag"), answer.header("cache-control")), (etag.as_str(), lifetime));
                for name in ["content-type", "content-length"] {
                    assert!(answer.headers.get(name).is_none(), "{method} {tags}: {answer:?}");
                }
            }
        }
        assert_eq!(ask(Method::GET, &[("if-none-match", "\"a\""), ("if-none-match", &etag)]).await.status, 304, "two headers are one list");
        for tags in ["\"a\"", "", etag.trim_matches('"'), "\"*\"", "W/*", &etag.to_uppercase()] {
            let answer = ask(Method::GET, &[("if-none-match", tags)]).await;
            assert_eq!((answer.status.as_u16(), &answer.body), (200, &whole.body), "{tags}");
        }
        // An error is an error, whatever the caller has.
        let base = path.split('?').next().unwrap();
        let answer = stage.anyone().send(Method::GET, base, &[("if-none-match", "*")], "").await.unwrap();
        problem(&answer, 400, "invalid_request");
        assert!(answer.headers.get("etag").is_none());
    }
    let other = stage.anyone().get("/api/v1/geo/subdivisions/?country=CA").await.unwrap();
    assert_ne!(other.header("etag"), stage.anyone().get(GEO).await.unwrap().header("etag"));
    // What belongs to one caller stays with it.
    assert_eq!(stage.partner().post(SESSION, &session()).await.unwrap().header("cache-control"), "no-store");
    assert_eq!(stage.anyone().post(SESSION, &session()).await.unwrap().header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_body_is_json_and_says_so() {
    let stage = Stage::new().await;
    let cases = [
        ("content-type: application/json\r\n", 201),
        ("Content-Type: APPLICATION/JSON\r\n", 201),
        ("content-type: application/json; charset=utf-8\r\n", 201),
        ("content-type: application/json;charset=\"UTF-8\";v=1\r\n", 201),
        ("content-type: application/json\r\ncontent-encoding: identity\r\n", 201),
        ("", 415),
        ("content-type:\r\n", 415),
        ("content-type: text/plain\r\n", 415),
        ("content-type: application/jsonx\r\n", 415),
        ("content-type: application/problem+json\r\n", 415),
        ("content-type: application/x-www-form-urlencoded\r\n", 415),
        ("content-type: text/json, application/json\r\n", 415),
        ("content-type: application/json\r\ncontent-type: application/json\r\n", 415),
        ("content-type: application/json\r\ncontent-encoding: gzip\r\n", 415),
        ("content-type: application/json\r\ncontent-encoding: identity, gzip\r\n", 415),
        ("content-type: application/json\r\ncontent-encoding: identity\r\ncontent-encoding: gzip\r\n", 415),
    ];
    for (lines, status) in cases {
        let request = post(SESSION, &stage.key, lines, &session().to_string()).replacen("content-type: application/json\r\n", "", 1);
        assert_eq!(Wire::connect(stage.address).await.ask(request).await.status, status, "{lines}");
    }
    // Without a body there is nothing of the wrong type; that it is missing is told as such.
    let empty = stage.partner().send(Method::POST, FULFILL, &[], "").await.unwrap();
    assert!(problem(&empty, 400, "invalid_request")["errors"][0]["message"].as_str().unwrap().contains("empty"));
    // A GET's body is nobody's business.
    let answer = stage.anyone().send(Method::GET, GEO, &[("content-type", "text/plain")], "x").await.unwrap();
    assert_eq!(answer.status, 200);
}
