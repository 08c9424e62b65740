//! The guard against forged requests. Every address that a name leads to is judged before any is connected to; one that is not allowed
//! refuses them all, for a name that leads both outside and inside is somebody's try. What was judged is what is connected to: the name
//! is not looked up again.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use common::webhook_target::Rules;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::Failure;
use super::failure::detail;
use super::resolve::{ADDRESSES_MAX, Resolve};
use super::wire::{Stream, Wire};

/// Connections that may be kept open between requests, of all destinations together. Each is an open file.
const KEPT_MAX: usize = 512;

/// Makes checked connections.
#[derive(Clone)]
pub(super) struct Connector {
    shared: Arc<Shared>,
}

struct Shared {
    rules: Rules,
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
    timeout: Duration,
    kept: Arc<Semaphore>,
}

impl Connector {
    pub(super) fn new(rules: Rules, resolver: Arc<dyn Resolve>, tls: ClientConfig, timeout: Duration) -> Self {
        let tls = TlsConnector::from(Arc::new(tls));
        Self { shared: Arc::new(Shared { rules, resolver, tls, timeout, kept: Arc::new(Semaphore::new(KEPT_MAX)) }) }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move {
            // Its own, as the client may finish a connection whose request has gone another way.
            let deadline = Instant::now() + shared.timeout;
            let stream = timeout_at(deadline, shared.connect(&uri, deadline)).await.unwrap_or(Err(Failure::ConnectTimeout))?;
            Ok(TokioIo::new(Wire::new(stream, shared.kept.clone().try_acquire_owned().ok())))
        })
    }
}

impl Shared {
    async fn connect(&self, uri: &Uri, deadline: Instant) -> Result<Stream, Failure> {
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let host = uri.host().ok_or_else(|| Failure::Url("it has no host".into()))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let addresses = self.checked_addresses(host, port).await?;
        let stream = self.dial(&addresses, deadline).await?;
        if !is_https {
            return Ok(Stream::Plain(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| Failure::Tls(detail(&error)))?;
        match self.tls.connect(name, stream).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(error) => Err(Failure::Tls(detail(&error))),
        }
    }

    /// All addresses of a host, every one of them allowed.
    async fn checked_addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => self.resolver.resolve(host, port).await.map_err(|error| Failure::Dns(detail(&error)))?,
        };
        if addresses.is_empty() {
            return Err(Failure::Dns("it has no address".into()));
        }
        let allowed = |address: &SocketAddr| address.port() == port && self.rules.admit(address.ip());
        match addresses.len() <= ADDRESSES_MAX && addresses.iter().all(allowed) {
            true => Ok(addresses),
            false => Err(Failure::RefusedAddress),
        }
    }

    /// One after the other, each with its share of the time that is left: an address that swallows everything does not hide the next one.
    async fn dial(&self, addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Failure> {
        let mut failure = Failure::ConnectTimeout;
        for (tried, &address) in addresses.iter().enumerate() {
            let now = Instant::now();
            let share = deadline.saturating_duration_since(now) / (addresses.len() - tried) as u32;
            failure = match timeout_at(now + share, self.dial_one(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::ConnectTimeout,
            };
        }
        Err(failure)
    }

    async fn dial_one(&self, address: SocketAddr) -> Result<TcpStream, Failure> {
        let failed = |error: io::Error| Failure::Connection(detail(&error));
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        // Where it ended is asked of the kernel, whatever was asked for.
        let peer = stream.peer_addr().map_err(failed)?;
        if peer.ip() != address.ip() || !self.rules.admit(peer.ip()) {
            return Err(Failure::RefusedAddress);
        }
        stream.set_nodelay(true).map_err(failed)?;
        Ok(stream)
    }
}
