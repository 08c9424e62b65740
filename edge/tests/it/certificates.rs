//! The edge's own certificate: replaced while it runs, never by a broken one; which versions and protocols of TLS are spoken behind it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::edge_process::EdgeProcess;
use crate::protocols::tls_backstage;
use crate::stage::{GEO, until};
use crate::wire::{Wire, get};

type Trusted = CertificateDer<'static>;

/// A handshake that trusts one certificate alone.
async fn handshake(
    address: SocketAddr,
    trusted: &Trusted,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").expect("a name"), stream).await
}

async fn connect(address: SocketAddr, trusted: &Trusted) -> std::io::Result<Wire<TlsStream<TcpStream>>> {
    handshake(address, trusted, &[&TLS12, &TLS13], &[]).await.map(Wire::over)
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// A new certificate and its key, in PEM, and the certificate to trust.
fn pair() -> (String, String, Trusted) {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem(), cert.der().clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_while_connections_go_on_and_a_broken_one_is_not_used() {
    let (backstage, first, folder) = tls_backstage().await;
    let files = Files { certificate: folder.path().join("certificate.pem"), key: folder.path().join("key.pem") };
    let edge = EdgeProcess::start(&backstage.settings).await;
    let mut old = connect(edge.address, &first).await.expect("the first certificate");
    assert_eq!(old.ask(get(GEO, "")).await.status, 200);

    let (certificate, key, second) = pair();
    // One after the other, as any tool does it.
    fs::write(&files.certificate, certificate).unwrap();
    fs::write(&files.key, &key).unwrap();
    until("the second certificate", async || connect(edge.address, &second).await.is_ok()).await;
    assert!(connect(edge.address, &first).await.is_err(), "the first one is gone");
    assert_eq!(old.ask(get(GEO, "")).await.status, 200, "a connection that is open goes on");

    let complaints = || edge.log().into_iter().filter(|line| line["level"] == "ERROR").collect::<Vec<_>>();
    assert_eq!(complaints(), Vec::<serde_json::Value>::new());
    let (certificate, other_key, third) = pair();
    for (n, (name, content)) in [(&files.key, &*other_key), (&files.key, "no key"), (&files.certificate, "")].into_iter().enumerate() {
        fs::write(name, content).unwrap();
        until("a complaint", async || complaints().len() > n).await;
        assert!(connect(edge.address, &second).await.is_ok(), "the second one is used on");
        assert!(complaints()[n].to_string().contains("edge.tls_"), "{:?}", complaints());
    }
    // Long enough to look once more.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(complaints().len(), 3, "each is told once: {:?}", complaints());
    assert!(connect(edge.address, &second).await.is_ok());

    fs::write(&files.certificate, certificate).unwrap();
    fs::write(&files.key, other_key).unwrap();
    until("the third certificate", async || connect(edge.address, &third).await.is_ok()).await;
    assert_eq!(old.ask(get(GEO, "")).await.status, 200);
}

#[tokio::test]
async fn tls_of_today_is_spoken_and_nothing_older() {
    let (backstage, certificate, _folder) = tls_backstage().await;
    let stage = backstage.start().await;
    for (version, spoken) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let stream = handshake(stage.address, &certificate, &[version], &["http/1.1"]).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.protocol_version(), Some(spoken));
        assert_eq!(Wire::over(stream).ask(get(GEO, "")).await.status, 200);
    }
    for alpn in ["h3", "spdy/3", "http/1.0"] {
        assert!(handshake(stage.address, &certificate, &[&TLS13], &[alpn]).await.is_err(), "{alpn}");
    }
    // A hello of TLS 1.0 or 1.1: its version, 32 random bytes, no session, one cipher of that time, no compression.
    for minor in [1, 2] {
        let body = [&[3, minor][..], &[7; 32], &[0, 0, 2, 0xc0, 0x13, 1, 0]].concat();
        let hello = [&[1, 0, 0, body.len() as u8], &body[..]].concat();
        let record = [&[22, 3, 1, 0, hello.len() as u8], &hello[..]].concat();
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        stream.write_all(&record).await.unwrap();
        let mut said = Vec::new();
        let _ended_or_reset = stream.read_to_end(&mut said).await;
        // A fatal alert, and no word of a handshake: protocol_version, or handshake_failure for want of what newer hellos say.
        assert!(matches!(said[..], [21, 3, _, 0, 2, 2, 40 | 70]), "{said:?}");
    }
}

#[tokio::test]
async fn whoever_speaks_clear_text_to_tls_is_not_answered() {
    let (backstage, _, _folder) = tls_backstage().await;
    let stage = backstage.start().await;
    for text in [&get(GEO, ""), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\r\n", &"x".repeat(10_000)] {
        let mut wire = Wire::connect(stage.address).await;
        wire.try_say(text).await;
        let said = wire.ended().await;
        // At most an alert of seven bytes.
        assert!(said.is_empty() || (said[0] == 21 && said.len() == 7), "{said:?}");
    }
}
