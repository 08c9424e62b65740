//! Connections with TLS and HTTP/2 that make one request and then stay.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use testkit::settings::Settings;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{PER_ADDRESS, connect};

/// A certificate for `localhost`, trusted by nobody else.
pub(super) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    trusted: CertificateDer<'static>,
}

impl Certificate {
    pub(super) fn make(folder: &Path) -> Result<Self> {
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, cert.pem())?;
        std::fs::write(&key, signing_key.serialize_pem())?;
        Ok(Self { certificate, key, trusted: cert.der().clone() })
    }

    /// The same settings, with TLS.
    pub(super) fn apply(&self, settings: Settings) -> Settings {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        settings.set("EDGE__TLS_CERTIFICATE_FILE", &text(&self.certificate)).set("EDGE__TLS_KEY_FILE", &text(&self.key))
    }

    /// Opens connections, one after another, and makes one request on each.
    pub(super) async fn hold(
        &self,
        edge: SocketAddr,
        count: usize,
        path: &str,
        api_key: &str,
        body: &'static str,
    ) -> Result<Vec<SendRequest<Full<Bytes>>>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.trusted.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let mut held = Vec::with_capacity(count);
        for number in 0..count {
            let stream = TcpStream::from_std(connect(edge, number / PER_ADDRESS).await?)?;
            let stream = connector.connect(ServerName::try_from("localhost")?, stream).await.context("the TLS handshake")?;
            let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            // A connection that breaks is one whose request fails, or that is gone when we are done with it.
            tokio::spawn(async move { drop(connection.await) });
            let request = Request::post(format!("https://localhost{path}"))
                .header("authorization", format!("Bearer {api_key}"))
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from_static(body.as_bytes())))?;
            let answer = sender.send_request(request).await?;
            ensure!(answer.status() == 201, "expected an answer with status 201, and it was {}", answer.status());
            answer.into_body().collect().await?;
            held.push(sender);
        }
        Ok(held)
    }
}
