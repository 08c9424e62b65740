//! Looking up the addresses of a name. Whoever asks must judge every address of the answer: nothing is judged here.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

/// Each waits in a thread of its own, for as long as the system's resolver pleases.
const LOOKUPS_MAX: usize = 64;
/// A name with more addresses than this is not an ordinary server's, and is refused.
pub(super) const ADDRESSES_MAX: usize = 16;

/// What knows the addresses of names.
pub trait Resolve: Send + Sync {
    /// All addresses of this name, each with this port. May be dropped at any moment, which must leave nothing running without bound.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver, asked by at most 64 threads at once.
#[derive(Debug)]
pub struct SystemResolver {
    permits: Arc<Semaphore>,
}

impl SystemResolver {
    /// A resolver with nothing under way.
    pub fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let permit = self.permits.clone().acquire_owned().await.map_err(io::Error::other)?;
            let host = host.to_owned();
            let look_up = move || {
                // Given back when the thread is free, which is later than when its asker has given up.
                let _permit = permit;
                // One more than is allowed, so that the excess is seen.
                (host.as_str(), port).to_socket_addrs().map(|addresses| addresses.take(ADDRESSES_MAX + 1).collect())
            };
            tokio::task::spawn_blocking(look_up).await.map_err(io::Error::other)?
        })
    }
}
