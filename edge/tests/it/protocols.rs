//! HTTP/1.0, HTTP/1.1 and HTTP/2, in clear and over TLS: what they share, and what only a rude client does.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{CertificateDer, ServerName};
use testkit::http::Client;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::stage::{Backstage, GEO, SESSION, Stage, fields, problem, session};
use crate::wire::{Wire, get, post};

#[tokio::test]
async fn one_connection_serves_many_requests_in_their_order() {
    let stage = Stage::new().await;
    let mut wire = Wire::connect(stage.address).await;
    for _ in 0..3 {
        assert_eq!(wire.ask(get(GEO, "")).await.status, 200);
        assert_eq!(wire.ask(post(SESSION, &stage.key, "", &session().to_string())).await.status, 201);
        assert_eq!(wire.ask(post(SESSION, &stage.key, "", "{")).await.status, 400, "a mistake does not end the connection");
    }
    let body = session().to_string();
    let all: String = (0..20)
        .map(|n| {
            let id = format!("x-request-id: n{n}\r\n");
            if n % 2 == 0 { get(GEO, &id) } else { post(SESSION, &stage.key, &id, &body) }
        })
        .collect();
    wire.say(all).await;
    for n in 0..20 {
        let answer = wire.hear().await;
        assert_eq!((answer.status.as_u16(), answer.header("x-request-id")), (if n % 2 == 0 { 200 } else { 201 }, format!("n{n}").as_str()));
    }
    assert_eq!(wire.ask(get(GEO, "connection: close\r\n")).await.status, 200);
    assert!(wire.ended().await.is_empty());
}

#[tokio::test]
async fn old_clients_are_served_and_left() {
    let stage = Stage::new().await;
    let mut wire = Wire::connect(stage.address).await;
    assert_eq!(wire.ask(format!("GET {GEO} HTTP/1.0\r\n\r\n")).await.status, 200);
    assert!(wire.ended().await.is_empty());
    let mut wire = Wire::connect(stage.address).await;
    for _ in 0..2 {
        assert_eq!(wire.ask(format!("GET {GEO} HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")).await.status, 200);
    }
}

#[tokio::test]
async fn exactly_one_host_and_an_address_that_is_one() {
    let stage = Stage::new().await;
    let ask = async |request: String| Wire::connect(stage.address).await.ask(request).await;
    for lines in ["", "host: a.example\r\nhost: a.example\r\n", "Host: a.example\r\nhost: b.example\r\n"] {
        let told = problem(&ask(format!("GET {GEO} HTTP/1.1\r\n{lines}\r\n")).await, 400, "invalid_request");
        assert_eq!(fields(&told), ["Host"]);
    }
    problem(&ask(get(GEO, "host: b.example\r\n")).await, 400, "invalid_request");
    assert_eq!(ask(get(&format!("http://pay.example{GEO}"), "")).await.status, 200, "the absolute form is the same");
    for target in ["!", "api", "?country=US", "..", "/\u{1}", "/a b", "pay.example:80"] {
        assert_eq!(ask(get(target, "")).await.status, 400, "{target:?}");
    }
    for line in ["G@T / HTTP/1.1", "GET / HTTP/9.9", "GET /", "hello", "GET / HTTP/1.1 x"] {
        let mut wire = Wire::connect(stage.address).await;
        wire.say(format!("{line}\r\nhost: x\r\n\r\n")).await;
        let said = wire.ended().await;
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 400 "), "{line}: {:?}", String::from_utf8_lossy(&said));
    }
}

#[tokio::test]
async fn where_a_body_ends_is_never_in_doubt() {
    let stage = Stage::new().await;
    let body = session().to_string();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let head = |lines: &str| {
        let key = &stage.key;
        format!("POST {SESSION} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n{lines}\r\n")
    };
    for (lines, good) in [
        ("transfer-encoding: chunked\r\n", true),
        ("transfer-encoding: Chunked\r\n", true),
        ("transfer-encoding: ,chunked\r\n", false),
        ("transfer-encoding: gzip, chunked\r\n", false),
        ("transfer-encoding: chunked, chunked\r\n", false),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", false),
        ("transfer-encoding: chunked, identity\r\n", false),
        ("transfer-encoding: identity\r\n", false),
        ("transfer-encoding: xchunked\r\n", false),
        ("content-length: 5\r\ncontent-length: 6\r\n", false),
        ("content-length: -1\r\n", false),
        ("content-length: 1e2\r\n", false),
        ("content-length: 99999999999999999999\r\n", false),
    ] {
        let mut wire = Wire::connect(stage.address).await;
        wire.say(head(lines) + &chunked).await;
        if good {
            assert_eq!(wire.hear().await.status, 201, "{lines}");
            continue;
        }
        // Refused, and what follows is not taken for another request.
        wire.try_say(get(GEO, "x-request-id: smuggled\r\n")).await;
        let said = String::from_utf8_lossy(&wire.ended().await).into_owned();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 "), "{lines}: {said}");
        assert!(!said.contains("smuggled") && said.matches("HTTP/1.1").count() <= 1, "{lines}: {said}");
    }
}

#[tokio::test]
async fn http2_is_spoken_from_the_first_byte() {
    let stage = Stage::new().await;
    let client = Client::new(stage.address, true);
    let (partner, body) = (client.with_key(&stage.key), session());
    let answers = futures_util::future::join_all((0..50).map(|_| partner.post(SESSION, &body))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status == 201));
    let head = client.send(Method::HEAD, GEO, &[], "").await.unwrap();
    let whole = client.get(GEO).await.unwrap();
    assert_eq!((head.header("content-length"), head.body.len()), (whole.body.len().to_string().as_str(), 0));
    assert_eq!(whole.body, stage.anyone().get(GEO).await.unwrap().body);
    problem(&client.post(SESSION, &session()).await.unwrap(), 401, "missing_api_key");
    let fields = vec![("x", "y"); 65];
    problem(&client.send(Method::GET, GEO, &fields, "").await.unwrap(), 431, "head_too_large");
    let long = "y".repeat(17_000);
    problem(&client.send(Method::GET, GEO, &[("x", &long)], "").await.unwrap(), 431, "head_too_large");
    problem(&client.get(&format!("{GEO}&x={}", "y".repeat(9_000))).await.unwrap(), 414, "uri_too_long");
    assert_eq!(client.get(GEO).await.unwrap().status, 200, "the connection has survived all that");
}

/// What is before a stage behind a certificate of its own, and that certificate.
pub async fn tls_backstage() -> (Backstage, CertificateDer<'static>, tempfile::TempDir) {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let backstage = Backstage::new().await.unlimited_addresses().set("EDGE__FIRST_BYTE_TIMEOUT_MS", "1000");
    let backstage =
        backstage.set("EDGE__TLS_CERTIFICATE_FILE", certificate.to_str().unwrap()).set("EDGE__TLS_KEY_FILE", key.to_str().unwrap());
    (backstage, cert.der().clone(), folder)
}

async fn tls_stage() -> (Stage, CertificateDer<'static>, tempfile::TempDir) {
    let (backstage, certificate, folder) = tls_backstage().await;
    (backstage.start().await, certificate, folder)
}

pub async fn connect_tls(stage: &Stage, trusted: &CertificateDer<'static>, alpn: &[&str]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(stage.address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await.expect("a handshake")
}

#[tokio::test]
async fn tls_agrees_on_a_protocol_and_speaks_it() {
    let (stage, certificate, _folder) = tls_stage().await;
    for (offered, agreed) in [(&["http/1.1"][..], Some("http/1.1")), (&[], None)] {
        let stream = connect_tls(&stage, &certificate, offered).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes));
        let mut wire = Wire::over(stream);
        assert_eq!(wire.ask(get(GEO, "")).await.status, 200);
        assert_eq!(wire.ask(post(SESSION, &stage.key, "", &session().to_string())).await.status, 201);
    }
    for offered in [&["h2", "http/1.1"][..], &["http/1.1", "h2"], &["h2"]] {
        let stream = connect_tls(&stage, &certificate, offered).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "{offered:?}");
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        let request = Request::post(format!("https://localhost{SESSION}"))
            .header("authorization", format!("Bearer {}", stage.key))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(session().to_string())))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (201, http::Version::HTTP_2));
        assert!(!answer.into_body().collect().await.unwrap().to_bytes().is_empty());
        driver.abort();
    }
}

#[tokio::test]
async fn who_does_not_speak_tls_is_not_heard() {
    let (stage, certificate, _folder) = tls_stage().await;
    let mut clear = Wire::connect(stage.address).await;
    clear.say(get(GEO, "")).await;
    let said = clear.ended().await;
    assert!(!said.starts_with(b"HTTP/"), "{:?}", String::from_utf8_lossy(&said));
    let mut silent = Wire::connect(stage.address).await;
    assert!(silent.ended().await.is_empty(), "who says nothing is ended by the deadline for the first byte");
    let mut wire = Wire::over(connect_tls(&stage, &certificate, &[]).await);
    assert_eq!(wire.ask(get(GEO, "")).await.status, 200);
}
