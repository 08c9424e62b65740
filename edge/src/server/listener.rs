//! The socket that connections come in by: one that a supervisor holds open and hands over, or one of our own.
//!
//! The one that is handed over has a single queue, which no edge closes when it goes: whoever connects while edges are replaced waits
//! there for the next. Several sockets on one port (`SO_REUSEPORT`) have a queue each, and what waits in one is reset with it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that may wait to be accepted: as many as Linux allows by default. Whoever comes to a full queue believes to be connected,
/// and is not. A bound, so that a flood cannot keep an edge from leaving.
const WAITING_MAX: usize = 4_096;

/// The listening socket that `LISTEN_FDS` speaks of, if it does. Reads the environment and changes it, so only for `main`, before it
/// starts threads.
///
/// # Errors
/// When there is more than one, or something else than a TCP socket.
pub fn inherited() -> anyhow::Result<Option<std::net::TcpListener>> {
    let mut handed_over = ListenFd::from_env();
    let count = handed_over.len();
    ensure!(count <= 1, "LISTEN_FDS={count}: an edge takes one listening socket; give each address a service of its own");
    handed_over.take_tcp_listener(0).context("LISTEN_FDS: the socket that was handed over")
}

fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Otherwise nobody could listen here again for a minute after we had.
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(WAITING_MAX as u32)
}

/// A listening socket. Clones share it; it is closed with the last one.
#[derive(Debug, Clone)]
pub struct Listener {
    socket: Arc<TcpListener>,
    address: SocketAddr,
}

impl Listener {
    /// Uses the inherited socket, or binds one to `listen`.
    pub async fn open(inherited: Option<std::net::TcpListener>, listen: SocketAddr) -> anyhow::Result<Self> {
        let Some(inherited) = inherited else {
            let socket = bind(listen).with_context(|| format!("edge.listen: cannot listen on {listen}"))?;
            return Self::over(socket);
        };
        inherited.set_nonblocking(true)?;
        let this = Self::over(TcpListener::from_std(inherited)?)?;
        if this.address == listen {
            tracing::info!(address = %this.address, "the listening socket was handed over");
        } else {
            tracing::warn!(address = %this.address, %listen, "the listening socket was handed over; edge.listen is another address and is not used");
        }
        Ok(this)
    }

    fn over(socket: TcpListener) -> anyhow::Result<Self> {
        let address = socket.local_addr()?;
        Ok(Self { socket: Arc::new(socket), address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection. Nothing is lost when this is dropped before it is done.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.socket.accept().await
    }

    /// The connections that wait this moment. They would be reset if the socket were closed with them.
    pub fn waiting(&self) -> Vec<(TcpStream, SocketAddr)> {
        // Asks the system itself: the runtime might not have heard yet.
        let accept = |socket: &std::net::TcpListener| {
            let (stream, peer) = socket.accept()?;
            stream.set_nonblocking(true)?;
            Ok::<_, io::Error>((TcpStream::from_std(stream)?, peer))
        };
        let Ok(socket) = std::os::fd::AsFd::as_fd(&*self.socket).try_clone_to_owned().map(std::net::TcpListener::from) else {
            return Vec::new();
        };
        std::iter::from_fn(|| accept(&socket).ok()).take(WAITING_MAX).collect()
    }
}
