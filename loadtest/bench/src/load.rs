//! The load: plain HTTP/1.1 over raw sockets, one thread, prebuilt requests, as little work as can be, so that it never is what limits.
//!
//! Closed loop: every connection asks again as soon as it was answered. Open loop: requests are due at fixed moments, whatever the server
//! does, and an answer's latency counts from when its request was due; one that had to wait for a free connection has waited.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

/// Nothing that is measured takes as long; who is silent for so long is broken.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Longer than any answer.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each connection's next follows its last answer.
    Closed,
    /// So many a second, evenly, whatever the server does. Sleeps in between.
    Open(f64),
    /// The same without sleeping, which is exact to the microsecond and wants a core of its own.
    OpenAwake(f64),
}

/// Open connections to one server.
pub struct Clients {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    expected_status: u16,
}

/// What became of a number of requests, all of them answered as expected.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Of each request, in no order; in nanoseconds.
    pub latencies_ns: Vec<u64>,
    /// Of one answer, head and body.
    pub last_answer: Vec<u8>,
}

impl Outcome {
    /// Answers a second.
    pub fn per_s(&self) -> f64 {
        self.latencies_ns.len() as f64 / self.elapsed.as_secs_f64()
    }
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    filled: usize,
    due: Instant,
}

impl Clients {
    /// Opens so many connections. Answers are expected to have this status.
    pub fn connect(address: SocketAddr, connections: usize, expected_status: u16) -> Result<Self> {
        let streams = (0..connections).map(|_| TcpStream::connect(address)).collect::<std::io::Result<_>>();
        Self::over(streams.with_context(|| format!("connecting to {address}"))?, expected_status)
    }

    /// Uses these connections.
    pub fn over(streams: Vec<TcpStream>, expected_status: u16) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(streams.len());
        for (index, stream) in streams.into_iter().enumerate() {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
            connections.push(Connection { stream, answer: vec![0; 4096], filled: 0, due: Instant::now() });
        }
        Ok(Self { epoll, connections, expected_status })
    }

    /// Sends so many requests and waits for all answers. `write_request` appends the next request to a buffer.
    ///
    /// # Errors
    /// When any answer is not what it should be, or does not come.
    pub fn run(&mut self, pace: Pace, requests: usize, mut write_request: impl FnMut(&mut Vec<u8>)) -> Result<Outcome> {
        let mut outcome = Outcome { latencies_ns: Vec::with_capacity(requests), ..Outcome::default() };
        let mut events = Vec::with_capacity(self.connections.len());
        // In turns, as many partners would, not the same few all the time.
        let mut idle: VecDeque<usize> = (0..self.connections.len()).collect();
        let (mut sent, mut request) = (0, Vec::with_capacity(1024));
        let started = Instant::now();
        while outcome.latencies_ns.len() < requests {
            let mut patience = SILENCE_MAX;
            while sent < requests
                && let Some(&index) = idle.front()
            {
                let due = match pace {
                    Pace::Closed => Instant::now(),
                    Pace::Open(per_s) | Pace::OpenAwake(per_s) => started + Duration::from_secs_f64(sent as f64 / per_s),
                };
                let early = due.saturating_duration_since(Instant::now());
                if !early.is_zero() {
                    patience = if matches!(pace, Pace::OpenAwake(_)) { Duration::ZERO } else { early };
                    break;
                }
                request.clear();
                write_request(&mut request);
                self.connections[index].ask(due, &request)?;
                idle.pop_front();
                sent += 1;
            }
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&Timespec::try_from(patience)?)) {
                Ok(0) if patience == SILENCE_MAX => {
                    bail!("{} of {sent} requests were not answered within {SILENCE_MAX:?}", sent - outcome.latencies_ns.len())
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for answers"),
            }
            for event in &events {
                let index = event.data.u64() as usize;
                let connection = &mut self.connections[index];
                if let Some(length) = connection.read(self.expected_status)? {
                    outcome.latencies_ns.push(u64::try_from(connection.due.elapsed().as_nanos())?);
                    if outcome.latencies_ns.len() == requests {
                        outcome.last_answer = connection.answer[..length].to_vec();
                    }
                    idle.push_back(index);
                }
            }
        }
        outcome.elapsed = started.elapsed();
        Ok(outcome)
    }
}

impl Connection {
    fn ask(&mut self, due: Instant, request: &[u8]) -> Result<()> {
        self.due = due;
        let written = self.stream.write(request).context("sending a request")?;
        ensure!(written == request.len(), "a connection took only {written} of a request's {} bytes", request.len());
        Ok(())
    }

    /// The answer's length, once all of it is there. It stays readable until the next one.
    fn read(&mut self, expected_status: u16) -> Result<Option<usize>> {
        if self.filled == self.answer.len() {
            ensure!(self.filled < ANSWER_MAX_BYTES, "an answer of more than {ANSWER_MAX_BYTES} bytes");
            self.answer.resize(self.filled * 2, 0);
        }
        match self.stream.read(&mut self.answer[self.filled..]) {
            Ok(0) => bail!("the server closed a connection, having answered {:?}", String::from_utf8_lossy(&self.answer[..self.filled])),
            Ok(read) => self.filled += read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(None),
            Err(error) => return Err(error).context("reading an answer"),
        }
        let answer = &self.answer[..self.filled];
        let Some((status, length)) = parse(answer)? else { return Ok(None) };
        if answer.len() < length {
            return Ok(None);
        }
        if status != expected_status || answer.len() > length {
            bail!("expected an answer with status {expected_status}, and it was:\n{}", String::from_utf8_lossy(answer));
        }
        self.filled = 0;
        Ok(Some(length))
    }
}

/// Status and length of an answer, once its head is there.
pub fn parse(answer: &[u8]) -> Result<Option<(u16, usize)>> {
    let Some(head_bytes) = head_length(answer) else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..head_bytes]).context("an answer's head")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let lengths = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let body_bytes = lengths.and_then(|(_, value)| value.trim().parse::<usize>().ok());
    let (Some(status), Some(body_bytes)) = (status, body_bytes) else { bail!("an answer without status or length:\n{head}") };
    Ok(Some((status, head_bytes + body_bytes)))
}

/// Where the body begins, once that is known.
pub fn head_length(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4)
}

/// A POST of JSON as cURL would send it, ready to be written.
pub fn post(address: SocketAddr, path: &str, api_key: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\nAuthorization: Bearer {api_key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_long_as_it_says() {
        assert_eq!(parse(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{").unwrap(), Some((201, 45)));
        assert_eq!(parse(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r").unwrap(), None);
        assert!(parse(b"HTTP/1.1 201 Created\r\n\r\n").is_err());
    }
}
