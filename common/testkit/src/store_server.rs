//! A store's own server, where its webhooks arrive. It checks their signatures as a partner should, writes each event down, one line in a
//! log, and tells what has arrived for an order. It hears this machine only, and takes what our worker sends: HTTP/1.1 with a length.
//!
//! `GET /received?order_id=ORD-…` answers with what has come for that order, oldest first:
//! `[{"event": "order.created", "id": "0193…", "verified": true}]`.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use common::clock::{Clock, SystemClock};
use common::webhook::secret::{WebhookSecret, WebhookSigner};
use serde_json::{Value, json};
use uuid::Uuid;

const HEAD_MAX_BYTES: u64 = 16 * 1024;
const BODY_MAX_BYTES: usize = 1 << 20;
/// One for each connection of the worker, and one for each of a load test's users.
const CONNECTIONS_MAX: usize = 4_096;
/// A connection that says nothing for so long is closed.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How much older or younger than now a signed time may be. Standard Webhooks' libraries take as much.
const AGE_MAX_S: u64 = 300;
/// Of how many orders it is remembered what arrived, and how much of each.
const ORDERS_MAX: usize = 20_000;
const EVENTS_MAX: usize = 50;

/// The server. It ends with the process.
pub struct StoreServer {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    signer: OnceLock<WebhookSigner>,
    log: Mutex<File>,
    arrivals: Mutex<Arrivals>,
    verified: AtomicU64,
    refused: AtomicU64,
    connections: AtomicUsize,
}

/// What has arrived for each of the latest orders.
#[derive(Default)]
struct Arrivals {
    of_order: HashMap<String, Vec<Value>>,
    oldest_first: VecDeque<String>,
}

impl Arrivals {
    fn add(&mut self, order_id: &str, arrival: Value) {
        if !self.of_order.contains_key(order_id) {
            if self.oldest_first.len() >= ORDERS_MAX
                && let Some(oldest) = self.oldest_first.pop_front()
            {
                self.of_order.remove(&oldest);
            }
            self.oldest_first.push_back(order_id.to_owned());
        }
        let known = self.of_order.entry(order_id.to_owned()).or_default();
        if known.len() < EVENTS_MAX {
            known.push(arrival);
        }
    }

    fn of(&self, order_id: &str) -> Value {
        self.of_order.get(order_id).cloned().unwrap_or_default().into()
    }
}

impl StoreServer {
    /// Listens, at the port of an earlier run if it is still free, and writes to this log.
    pub fn start(earlier_port: Option<u16>, log: &Path) -> Result<Self> {
        let listen = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = match earlier_port.map(listen) {
            Some(Ok(listener)) => listener,
            _ => listen(0).context("no port for the store's webhooks")?,
        };
        let port = listener.local_addr()?.port();
        let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let shared = Arc::new(Shared {
            signer: OnceLock::new(),
            log: Mutex::new(log),
            arrivals: Mutex::default(),
            verified: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
        });
        let accepting = shared.clone();
        std::thread::Builder::new().name("store".into()).spawn(move || accept(&listener, &accepting))?;
        Ok(Self { port, shared })
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same as a URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Says with what events are signed. Before that, none is taken.
    pub fn expect(&self, secret: &str) -> Result<()> {
        let secret = WebhookSecret::parse(secret).map_err(|error| anyhow::anyhow!("the store's webhook secret {error}"))?;
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
    while let Some(request) = read(&mut reader)? {
        let answer = if request.is_get { shared.tell(&request.path) } else { shared.take(&request)? };
        (&*stream).write_all(answer.as_bytes())?;
    }
    Ok(())
}

impl Shared {
    /// Checks an event and writes it down.
    fn take(&self, request: &Request) -> std::io::Result<String> {
        let is_ours = self.signer.get().is_some_and(|signer| request.is_signed_by(signer));
        let (word, count) = if is_ours { ("verified", &self.verified) } else { ("REFUSED, the signature is not ours:", &self.refused) };
        count.fetch_add(1, Ordering::Relaxed);
        let event: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if let Some(order_id) = event["order_id"].as_str() {
            let arrival = json!({ "event": event["event"], "id": request.id, "verified": is_ours });
            self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).add(order_id, arrival);
        }
        let line = format!("{word} {}\n", String::from_utf8_lossy(&request.body).replace(char::is_control, "\u{fffd}"));
        self.log.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())?;
        Ok(if is_ours { "HTTP/1.1 204 No Content\r\n\r\n".to_owned() } else { answer("401 Unauthorized", "") })
    }

    /// What has arrived for an order.
    fn tell(&self, path: &str) -> String {
        let Some(order_id) = path.strip_prefix("/received?order_id=") else { return answer("404 Not Found", "") };
        let arrived = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).of(order_id);
        answer("200 OK", &arrived.to_string())
    }
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// What is looked at of a request.
#[derive(Default)]
struct Request {
    is_get: bool,
    path: String,
    /// `X-AnonymousPay-Signature`
    signature: String,
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature`
    id: String,
    unix_s: String,
    standard: String,
    body: Vec<u8>,
}

impl Request {
    /// Both ways, the page's and the standard's.
    fn is_signed_by(&self, signer: &WebhookSigner) -> bool {
        let (Ok(id), Ok(unix_s)) = (self.id.parse::<Uuid>(), self.unix_s.parse()) else { return false };
        let is_fresh = SystemClock::new().now().unix_s().abs_diff(unix_s) <= AGE_MAX_S;
        let standard = signer.sign_standard(id, unix_s, &self.body);
        is_fresh && signer.sign(&self.body) == self.signature && self.standard.split(' ').any(|one| one == standard)
    }
}

/// The next request; `None` when the caller has closed.
fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let unclear = |what: &str| std::io::Error::new(ErrorKind::InvalidData, what.to_owned());
    let (mut request, mut length) = (Request::default(), None);
    let mut head = reader.by_ref().take(HEAD_MAX_BYTES);
    let mut line = String::new();
    for number in 0.. {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return if number == 0 { Ok(None) } else { Err(unclear("half a head")) };
        }
        let line = line.trim_end();
        if number == 0 {
            let mut words = line.split(' ');
            request.is_get = words.next() == Some("GET");
            words.next().unwrap_or_default().clone_into(&mut request.path);
            continue;
        }
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match &*name.to_ascii_lowercase() {
            "x-anonymouspay-signature" => value.clone_into(&mut request.signature),
            "webhook-id" => value.clone_into(&mut request.id),
            "webhook-timestamp" => value.clone_into(&mut request.unix_s),
            "webhook-signature" => value.clone_into(&mut request.standard),
            "content-length" => length = value.parse().ok().filter(|length| *length <= BODY_MAX_BYTES),
            _ => {}
        }
    }
    if !request.is_get {
        request.body = vec![0; length.ok_or_else(|| unclear("no length"))?];
        reader.read_exact(&mut request.body)?;
    }
    Ok(Some(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "01930000-0000-7000-8000-00000000e001";
    const BODY: &str = r#"{"event":"order.created","order_id":"ORD-1"}"#;

    fn ask(stream: &mut TcpStream, request: &str) -> String {
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 1_024];
        let read = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    /// An event as it is signed `ago_s` seconds before now, of which `body` arrives.
    fn event(ago_s: u64, body: &str) -> String {
        let signer = WebhookSigner::new(&WebhookSecret::parse(SECRET).unwrap());
        let unix_s = SystemClock::new().now().unix_s() - ago_s;
        let (signature, standard) = (signer.sign(BODY.as_bytes()), signer.sign_standard(ID.parse().unwrap(), unix_s, BODY.as_bytes()));
        let signed = format!(
            "X-AnonymousPay-Signature: {signature}\r\nwebhook-id: {ID}\r\nwebhook-timestamp: {unix_s}\r\nwebhook-signature: {standard}"
        );
        format!("POST / HTTP/1.1\r\nHost: x\r\n{signed}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn what_is_signed_is_taken_and_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("webhooks.log");
        let server = StoreServer::start(None, &log).unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
        let mut status = |request: &str| ask(&mut stream, request)[9..12].to_owned();
        assert_eq!(status(&event(0, BODY)), "401", "nobody has said with what to check");
        server.expect(SECRET).unwrap();
        assert_eq!(status(&event(0, BODY)), "204");
        assert_eq!(status(&event(0, "{\"event\":\"\\n\n\"}")), "401", "another body");
        assert_eq!(status(&event(AGE_MAX_S + 5, BODY)), "401", "from long ago");
        assert_eq!(status(&event(0, BODY).replace("sha256=", "sha256=0")), "401", "the page's signature");
        assert_eq!(status(&event(0, BODY).replace("v1,", "v1,A")), "401", "the standard's signature");
        assert_eq!((server.verified(), server.refused()), (1, 5));
        let log = std::fs::read_to_string(&log).unwrap();
        assert_eq!(log.lines().count(), 6, "a line each, whatever is in them: {log}");
        assert_eq!(log.lines().nth(1), Some(&*format!("verified {BODY}")));

        let received = ask(&mut stream, "GET /received?order_id=ORD-1 HTTP/1.1\r\nHost: x\r\n\r\n");
        let received: Value = serde_json::from_str(received.split_once("\r\n\r\n").unwrap().1).unwrap();
        let arrival = |verified: bool| json!({ "event": "order.created", "id": ID, "verified": verified });
        assert_eq!(received, json!([arrival(false), arrival(true), arrival(false), arrival(false), arrival(false)]));
        assert!(ask(&mut stream, "GET /received?order_id=ORD-2 HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n[]"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut arrivals = Arrivals::default();
        (0..=ORDERS_MAX).for_each(|order| arrivals.add(&order.to_string(), json!(order)));
        (0..EVENTS_MAX).for_each(|event| arrivals.add("1", json!(event)));
        assert_eq!((arrivals.of("0"), arrivals.of_order.len(), arrivals.oldest_first.len()), (json!([]), ORDERS_MAX, ORDERS_MAX));
        assert_eq!(arrivals.of("1").as_array().unwrap().len(), EVENTS_MAX);
    }

    #[test]
    fn the_port_of_an_earlier_run_is_taken_again_if_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let first = StoreServer::start(None, &folder.path().join("first")).unwrap();
        let second = StoreServer::start(Some(first.port()), &folder.path().join("second")).unwrap();
        assert_ne!(second.port(), first.port());
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        assert_eq!(StoreServer::start(Some(free), &folder.path().join("third")).unwrap().port(), free);
    }
}
