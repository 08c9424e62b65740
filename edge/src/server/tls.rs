//! TLS on the edge itself, where nothing in front of it does that: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN.

use std::sync::Arc;

use anyhow::{Context, ensure};
use config::TlsFiles;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Reads certificate and key.
pub fn acceptor(files: &TlsFiles) -> anyhow::Result<TlsAcceptor> {
    let shown = files.certificate.display();
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .with_context(|| format!("edge.tls_certificate_file: reading {shown}"))?
        .collect::<Result<_, _>>()
        .with_context(|| format!("edge.tls_certificate_file: {shown} is not PEM"))?;
    ensure!(!certificates.is_empty(), "edge.tls_certificate_file: {shown} holds no certificate");
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("edge.tls_key_file: {} holds no private key in PEM", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("edge.tls_key_file: the key does not belong to the certificate")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
