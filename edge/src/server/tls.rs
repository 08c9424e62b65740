//! TLS on the edge itself, where nothing in front of it does that: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN. A certificate that is
//! replaced is used for the connections that come after; those that are open go on.

use std::convert::Infallible;
use std::fs;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, ensure};
use config::TlsFiles;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How often the files are read again. Certificates live for weeks; who replaces one wants to see it work.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A certificate with its key, as they are in their files now.
pub struct Certificate {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
}

/// What the files hold, to be told from what they held before. Nobody keeps the key for that.
type Fingerprint = [u8; 32];

impl Certificate {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// When they cannot be read or used; says which, and why.
    pub fn read(files: &TlsFiles) -> anyhow::Result<Self> {
        let (_, config) = read(files);
        Ok(Self { files: files.clone(), current: RwLock::new(config?) })
    }

    /// What a new connection is accepted with.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Uses what is in the files, whenever that has changed and is any good, until `stop`.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) -> Result<(), Infallible> {
        // What was read at the start is read once more, and found to be the same certificate.
        let mut seen = None;
        let mut complained: Option<(Fingerprint, bool)> = None;
        loop {
            let this = self.clone();
            let looked = tokio::task::spawn_blocking(move || read(&this.files)).await;
            match looked {
                Ok((fingerprint, _)) if seen == Some(fingerprint) => {}
                Ok((fingerprint, Ok(config))) => {
                    if seen.is_some() {
                        tracing::info!(certificate = %self.files.certificate.display(), "a new certificate is used from now on");
                    }
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                    (seen, complained) = (Some(fingerprint), None);
                }
                // Two files are not replaced at one moment: only what stays broken is told, and once.
                Ok((fingerprint, Err(error))) => match complained {
                    Some((known, is_told)) if known == fingerprint => {
                        if !is_told {
                            tracing::error!(error = format!("{error:#}"), "the new certificate is no good; the one before is used on");
                            complained = Some((fingerprint, true));
                        }
                    }
                    _ => complained = Some((fingerprint, false)),
                },
                Err(error) => tracing::error!(%error, "reading the certificate"),
            }
            if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
                return Ok(());
            }
        }
    }
}

fn read(files: &TlsFiles) -> (Fingerprint, anyhow::Result<Arc<ServerConfig>>) {
    let (certificate, key) = (fs::read(&files.certificate), fs::read(&files.key));
    let mut fingerprint = Sha256::new();
    for content in [&certificate, &key] {
        let content = content.as_deref().unwrap_or_default();
        fingerprint.update((content.len() as u64).to_be_bytes());
        fingerprint.update(content);
    }
    let config = || {
        let certificate = certificate.with_context(|| format!("edge.tls_certificate_file: reading {}", files.certificate.display()))?;
        let key = key.with_context(|| format!("edge.tls_key_file: reading {}", files.key.display()))?;
        config(files, &certificate, &key)
    };
    (fingerprint.finalize().into(), config())
}

fn config(files: &TlsFiles, certificate: &[u8], key: &[u8]) -> anyhow::Result<Arc<ServerConfig>> {
    let shown = files.certificate.display();
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .with_context(|| format!("edge.tls_certificate_file: {shown} is not PEM"))?;
    ensure!(!certificates.is_empty(), "edge.tls_certificate_file: {shown} holds no certificate");
    let key = PrivateKeyDer::from_pem_slice(key)
        .with_context(|| format!("edge.tls_key_file: {} holds no private key in PEM", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        // 1.2 and 1.3; there are no others in rustls.
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("edge.tls_key_file: the key does not belong to the certificate")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
