//! Free ports on loopback, outside the range the kernel takes source ports from.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail};
use rand::Rng;

/// Below 32768: a client that keeps dialing a stopped server may otherwise be given the server's own port as its source port, connect to
/// itself, and block the restart.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// A port nobody listens on at this moment.
pub fn free_port() -> Result<u16> {
    let mut random = rand::rng();
    for _ in 0..200 {
        let port = random.random_range(PORTS);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port found on 127.0.0.1 between {} and {}", PORTS.start, PORTS.end)
}

/// Calls `start` with a free port. Somebody may take the port between our look and the server's: then, and only then, another one is tried.
pub fn on_free_port<T>(start: impl Fn(u16) -> Result<T>) -> Result<(u16, T)> {
    for _ in 0..4 {
        let port = free_port()?;
        match start(port) {
            Ok(started) => return Ok((port, started)),
            Err(_) if connect(port, Duration::from_millis(100)).is_ok() => {}
            Err(error) => return Err(error),
        }
    }
    bail!("four free ports in a row were taken by somebody else before the server took them")
}

/// Connects with deadlines on everything.
pub fn connect(port: u16, deadline: Duration) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), deadline)?;
    stream.set_read_timeout(Some(deadline))?;
    stream.set_write_timeout(Some(deadline))?;
    Ok(stream)
}

/// A password that needs no quoting anywhere: 32 letters and digits, 190 random bits.
pub fn random_password() -> String {
    rand::rng().sample_iter(rand::distr::Alphanumeric).take(32).map(char::from).collect()
}
