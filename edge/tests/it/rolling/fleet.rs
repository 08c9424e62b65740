//! Real processes that are replaced one after another, and the door that they share.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::process::{Launch, Process, Signal};
use testkit::settings::Settings;

use crate::stage::PATIENCE;

/// How edges come by the port that all of them serve.
pub enum Door {
    /// One listening socket, which this process holds and hands to every edge.
    OneSocket(TcpListener),
    /// A listening socket for every edge, all on this address (`SO_REUSEPORT`).
    SocketEach(SocketAddr),
}

impl Door {
    pub fn one_socket() -> Self {
        Door::OneSocket(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    pub fn socket_each() -> Self {
        let first = reuse_port("127.0.0.1:0".parse().expect("an address"));
        Door::SocketEach(first.local_addr().expect("an address"))
    }

    pub fn address(&self) -> SocketAddr {
        match self {
            Door::OneSocket(socket) => socket.local_addr().expect("an address"),
            Door::SocketEach(address) => *address,
        }
    }

    fn socket(&self) -> TcpListener {
        match self {
            Door::OneSocket(socket) => socket.try_clone().expect("a descriptor"),
            Door::SocketEach(address) => reuse_port(*address),
        }
    }
}

fn reuse_port(address: SocketAddr) -> TcpListener {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("an option");
    socket.bind(address).expect("a port");
    socket.listen(1_024).and_then(tokio::net::TcpListener::into_std).expect("a listening socket")
}

/// What is running.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    Edge,
    Worker,
}

/// What processes are made from.
pub struct Fleet {
    pub edge: PathBuf,
    pub worker: PathBuf,
    /// Of edges.
    pub settings: Settings,
    /// The database, as a worker logs in.
    pub worker_url: String,
    pub door: Door,
    pub logs: tempfile::TempDir,
    pub started: AtomicU32,
}

/// A process that is ready.
pub struct Member {
    role: Role,
    process: Process,
}

impl Fleet {
    pub fn settings(&self, role: Role) -> Settings {
        match role {
            Role::Edge => self.settings.clone(),
            Role::Worker => self.settings.clone().postgres(&self.worker_url),
        }
    }

    /// Starts one and waits until it is ready. Blocks.
    pub fn start(&self, role: Role) -> Member {
        let (name, program) = match role {
            Role::Edge => ("edge", &self.edge),
            Role::Worker => ("worker", &self.worker),
        };
        let log = self.logs.path().join(format!("{name}-{}", self.started.fetch_add(1, Ordering::Relaxed)));
        let mut launch = Launch::new(name, program).arg("run");
        for (name, value) in self.settings(role).environment() {
            launch = launch.env(name, value);
        }
        if let Role::Edge = role {
            launch = launch.env("ANONYMOUSPAY_EDGE__LISTEN", self.door.address().to_string()).listener(self.door.socket());
        }
        let mut process = launch.start(&log).expect("a process");
        // Of several sockets on one port each belongs to its edge alone.
        drop(launch);
        let is_ready = || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let admin = lines.filter_map(|line| line["admin"].as_str()?.parse().ok()).next();
            admin.is_some_and(is_ready)
        };
        process.wait_until(PATIENCE, is_ready).expect("a process that is ready");
        Member { role, process }
    }

    /// Asks one to leave, waits until it has, and starts its successor. Returns how long the leaving took. Blocks.
    pub fn replace(&self, member: &mut Member) -> Duration {
        let took = member.leave();
        *member = self.start(member.role);
        took
    }
}

impl Member {
    /// Ends it as a supervisor does. It must end well, by itself, and without a complaint.
    pub fn leave(&mut self) -> Duration {
        let began = Instant::now();
        let stopped = self.process.stop(Signal::TERM, PATIENCE).expect("an end");
        assert!(stopped.by_itself && stopped.status.success(), "{stopped:?}: {}", self.process.log_tail(20));
        let log = fs::read_to_string(self.process.log()).expect("a log");
        let complaints: Vec<&str> = log.lines().filter(|line| ["\"WARN\"", "\"ERROR\""].iter().any(|level| line.contains(level))).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        began.elapsed()
    }
}

fn is_ready(admin: SocketAddr) -> bool {
    let answer = || {
        let mut stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    answer().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
}
