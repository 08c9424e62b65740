//! The demo store's own server, where its webhooks arrive: it checks each signature as a partner should and writes each event down, one line
//! in `logs/webhooks.log`. It hears this machine only, and takes what our worker sends: HTTP/1.1 with a length.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use common::webhook::secret::{WebhookSecret, WebhookSigner};

/// What the page's own header is called, in lower case.
const SIGNATURE: &str = "x-anonymouspay-signature";
const HEAD_MAX_BYTES: u64 = 16 * 1024;
const BODY_MAX_BYTES: usize = 1 << 20;
const CONNECTIONS_MAX: usize = 256;
/// A connection that says nothing for so long is closed.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// The server. It ends with the process.
pub struct Receiver {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    signer: OnceLock<WebhookSigner>,
    log: Mutex<File>,
    verified: AtomicU64,
    refused: AtomicU64,
    connections: AtomicUsize,
}

impl Receiver {
    /// Listens, at the port of an earlier run if it is still free, and writes to this log.
    pub fn start(earlier_port: Option<u16>, log: &Path) -> Result<Self> {
        let listen = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = match earlier_port.map(listen) {
            Some(Ok(listener)) => listener,
            _ => listen(0).context("no port for the demo store's webhooks")?,
        };
        let port = listener.local_addr()?.port();
        let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let shared = Arc::new(Shared {
            signer: OnceLock::new(),
            log: Mutex::new(log),
            verified: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
        });
        let accepting = shared.clone();
        std::thread::Builder::new().name("webhooks".into()).spawn(move || accept(&listener, &accepting))?;
        Ok(Self { port, shared })
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Says with what events are signed. Before that, none is taken.
    pub fn expect(&self, secret: &str) -> Result<()> {
        let secret = WebhookSecret::parse(secret).map_err(|error| anyhow::anyhow!("the demo store's webhook secret {error}"))?;
        self.shared.signer.get_or_init(|| WebhookSigner::new(&secret));
        Ok(())
    }

    /// Events that were signed as they should be.
    pub fn verified(&self) -> u64 {
        self.shared.verified.load(Ordering::Relaxed)
    }

    /// What was not.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // No descriptor left, most likely; whoever calls calls again.
            std::thread::park_timeout(Duration::from_millis(100));
            continue;
        };
        if shared.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let of_thread = shared.clone();
        let serving = std::thread::Builder::new().name("webhook".into()).stack_size(128 * 1024).spawn(move || {
            // A caller that goes away has said what it had to say, or says it again.
            let _ = serve(&stream, &of_thread);
            of_thread.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if serving.is_err() {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    let mut reader = BufReader::new(stream);
    while let Some((signature, body)) = read(&mut reader)? {
        let is_ours = shared.signer.get().is_some_and(|signer| signer.sign(&body) == signature);
        let (word, count, status) = if is_ours {
            ("verified", &shared.verified, "204 No Content")
        } else {
            ("REFUSED, the signature is not ours:", &shared.refused, "401 Unauthorized")
        };
        count.fetch_add(1, Ordering::Relaxed);
        let line = format!("{word} {}\n", String::from_utf8_lossy(&body).replace(char::is_control, "\u{fffd}"));
        shared.log.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())?;
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        (&*stream).write_all(if is_ours { b"HTTP/1.1 204 No Content\r\n\r\n" } else { answer.as_bytes() })?;
    }
    Ok(())
}

/// The signature and the body of the next request; `None` when the caller has closed.
fn read(reader: &mut impl BufRead) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let unclear = |what: &str| std::io::Error::new(ErrorKind::InvalidData, what.to_owned());
    let (mut signature, mut length) = (String::new(), None);
    let mut head = reader.by_ref().take(HEAD_MAX_BYTES);
    let mut line = String::new();
    for number in 0.. {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return if number == 0 { Ok(None) } else { Err(unclear("half a head")) };
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        match line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim())) {
            Some((name, value)) if name == SIGNATURE => value.clone_into(&mut signature),
            Some((name, value)) if name == "content-length" => length = value.parse().ok().filter(|length| *length <= BODY_MAX_BYTES),
            _ => {}
        }
    }
    let mut body = vec![0; length.ok_or_else(|| unclear("no length"))?];
    reader.read_exact(&mut body)?;
    Ok(Some((signature, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &str = r#"{"event":"order.created","order_id":"ORD-1"}"#;

    fn post(stream: &mut TcpStream, signature: &str, body: &str) -> String {
        let length = body.len();
        write!(stream, "POST / HTTP/1.1\r\nHost: x\r\nX-AnonymousPay-Signature: {signature}\r\nContent-Length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = [0; 256];
        let read = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    #[test]
    fn what_is_signed_is_taken_and_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("webhooks.log");
        let receiver = Receiver::start(None, &log).unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, receiver.port())).unwrap();
        let signature = WebhookSigner::new(&WebhookSecret::parse(SECRET).unwrap()).sign(BODY.as_bytes());
        assert!(post(&mut stream, &signature, BODY).starts_with("HTTP/1.1 401"), "nobody has said with what to check");
        receiver.expect(SECRET).unwrap();
        assert!(post(&mut stream, &signature, BODY).starts_with("HTTP/1.1 204"));
        assert!(post(&mut stream, &signature, "{\"event\":\"\\n\n\"}").starts_with("HTTP/1.1 401"), "another body");
        assert_eq!((receiver.verified(), receiver.refused()), (1, 2));
        let log = std::fs::read_to_string(&log).unwrap();
        assert_eq!(log.lines().count(), 3, "a line each, whatever is in them: {log}");
        assert_eq!(log.lines().nth(1), Some(&*format!("verified {BODY}")));
    }

    #[test]
    fn the_port_of_an_earlier_run_is_taken_again_if_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let first = Receiver::start(None, &folder.path().join("first")).unwrap();
        let second = Receiver::start(Some(first.port()), &folder.path().join("second")).unwrap();
        assert_ne!(second.port(), first.port());
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        assert_eq!(Receiver::start(Some(free), &folder.path().join("third")).unwrap().port(), free);
    }
}
