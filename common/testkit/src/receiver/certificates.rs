//! A receiver's certificate, made for this run: one to be accepted, and one of each kind that must not be.

use std::sync::Arc;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// The name that good certificates are for. Nobody has it: tests say which address it has.
pub const HOST: &str = "hooks.example.com";

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateKind {
    /// Nothing: it is for [`HOST`], and the receiver's authority has signed it.
    Good,
    /// It is for another host.
    WrongName,
    /// It has signed itself.
    SelfSigned,
    /// It was good once.
    Expired,
}

pub(super) struct Made {
    pub(super) acceptor: TlsAcceptor,
    pub(super) authority_pem: String,
}

pub(super) fn make(kind: CertificateKind) -> Result<Made> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "Receivers of a test");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let name = if kind == CertificateKind::WrongName { "another.example.com" } else { HOST };
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    if kind == CertificateKind::Expired {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    }
    let key = KeyPair::generate()?;
    let certificate = match kind {
        CertificateKind::SelfSigned => params.self_signed(&key)?,
        _ => params.signed_by(&key, &authority)?,
    };
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Made { acceptor: TlsAcceptor::from(Arc::new(config)), authority_pem: authority.pem() })
}
