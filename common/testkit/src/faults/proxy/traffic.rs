//! The proxy's thread: all its connections, and one `poll` to wait for whatever happens next.
//!
//! A socket is watched only for what would be done about it, so that a connection that is held costs nothing even when its peers have gone.

use std::collections::HashSet;
use std::io::{self, ErrorKind, PipeReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use super::lane::Lane;
use super::{Connection, Counts, Direction, Flow};

const CONNECTIONS_MAX: usize = 1024;
/// After an error that the next `accept` would meet again at once, such as no descriptors being left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Done by the proxy's thread between two waits.
pub type Command = Box<dyn FnOnce(&mut Traffic) + Send>;

/// Everything the thread knows. Where there are two of something, the first belongs to the client and the way from it, the second to the
/// target and the way from that: lane `from` reads socket `from` and writes to socket `1 - from`.
#[derive(Debug)]
pub struct Traffic {
    listener: Option<TcpListener>,
    accept_after: Option<Instant>,
    address: SocketAddr,
    target: SocketAddr,
    flows: [Flow; 2],
    links: Vec<Link>,
    accepted: u64,
    passed_bytes: [u64; 2],
}

/// One connection.
#[derive(Debug)]
struct Link {
    id: u64,
    client: SocketAddr,
    sockets: [Option<TcpStream>; 2],
    lanes: [Lane; 2],
    calling: Calling,
    cut_off: bool,
    /// A side has reset. The other side hears of it when the way to it is not held.
    broken: bool,
}

/// How far the way to the target has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calling {
    NotYet,
    Underway,
    Done,
}

const CLIENT: usize = 0;
const TARGET: usize = 1;

impl Traffic {
    pub fn new(listener: TcpListener, address: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let flows = [Flow::Pass; 2];
        Ok(Self {
            listener: Some(listener),
            accept_after: None,
            address,
            target,
            flows,
            links: Vec::new(),
            accepted: 0,
            passed_bytes: [0; 2],
        })
    }

    /// Works until the other end of `wake` is closed.
    pub fn run(mut self, commands: &Receiver<Command>, mut wake: PipeReader) {
        let mut ready = HashSet::new();
        loop {
            let Ok(awake) = self.wait(&wake, &mut ready) else { return };
            if awake {
                // One byte for each command; more commands than bytes are done early, more bytes than commands mean nothing.
                match wake.read(&mut [0; 64]) {
                    Ok(0) | Err(_) => return,
                    Ok(_) => commands.try_iter().for_each(|command| command(&mut self)),
                }
            }
            self.accept();
            let now = Instant::now();
            for link in &mut self.links {
                if ready.contains(&link.id) || link.has_work(self.flows, now) {
                    link.work(self.target, self.flows, now, &mut self.passed_bytes);
                }
            }
            self.links.retain(|link| !link.is_over());
        }
    }

    /// Sleeps until something happens; `ready` are then the ids of connections with a ready socket. Returns whether a command waits.
    fn wait(&self, wake: &PipeReader, ready: &mut HashSet<u64>) -> io::Result<bool> {
        let now = Instant::now();
        let mut watched = vec![PollFd::new(wake, PollFlags::IN)];
        let mut owners = Vec::new();
        for link in &self.links {
            for side in [CLIENT, TARGET] {
                let interest = link.interest(side, self.flows, now);
                if let Some(socket) = link.sockets[side].as_ref().filter(|_| !interest.is_empty()) {
                    watched.push(PollFd::new(socket, interest));
                    owners.push(link.id);
                }
            }
        }
        let links_end = watched.len();
        if let Some(listener) = self.listener.as_ref().filter(|_| self.accepts()) {
            watched.push(PollFd::new(listener, PollFlags::IN));
        }
        let moments = self.links.iter().filter_map(|link| link.next_due(self.flows, now)).chain(self.accept_after);
        let sleep = moments.min().map(|moment| Timespec::try_from(moment.saturating_duration_since(now))).transpose();
        match poll(&mut watched, sleep.map_err(io::Error::other)?.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.clear();
        ready.extend(watched[1..links_end].iter().zip(owners).filter(|(polled, _)| !polled.revents().is_empty()).map(|(_, id)| id));
        Ok(!watched[0].revents().is_empty())
    }

    fn accepts(&self) -> bool {
        self.links.len() < CONNECTIONS_MAX && self.accept_after.is_none()
    }

    fn accept(&mut self) {
        let now = Instant::now();
        self.accept_after = self.accept_after.filter(|moment| *moment > now);
        if self.accept_after.is_some() {
            return;
        }
        let Some(listener) = &self.listener else { return };
        while self.links.len() < CONNECTIONS_MAX {
            match listener.accept() {
                Ok((socket, client)) => {
                    // Without it small writes would be held back by the kernel, which is not for the kernel to do here.
                    if socket.set_nonblocking(true).and_then(|()| socket.set_nodelay(true)).is_ok() {
                        self.accepted += 1;
                        self.links.push(Link::new(self.accepted, client, socket));
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.accept_after = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    pub fn set(&mut self, direction: Direction, flow: Flow) {
        let now = Instant::now();
        for &from in directions(direction) {
            self.flows[from] = flow;
            let latest = match flow {
                Flow::Pass => now,
                Flow::Delay(delay) => now + delay,
                Flow::Hold => continue,
            };
            for link in &mut self.links {
                link.lanes[from].hurry(latest);
            }
        }
    }

    pub fn pass(&mut self) -> io::Result<()> {
        self.set(Direction::Both, Flow::Pass);
        for link in &mut self.links {
            link.cut_off = false;
        }
        if self.listener.is_none() {
            let listener = TcpListener::bind(self.address)?;
            listener.set_nonblocking(true)?;
            self.listener = Some(listener);
        }
        Ok(())
    }

    pub fn refuse(&mut self) {
        // Who was on its way in when the command came was not refused yet.
        self.accept();
        self.listener = None;
    }

    pub fn connections(&self) -> Vec<Connection> {
        self.links.iter().map(Link::describe).collect()
    }

    pub fn cut_off(&mut self, id: u64) -> bool {
        let link = self.links.iter_mut().find(|link| link.id == id);
        link.map(|link| link.cut_off = true).is_some()
    }

    pub fn reset_all(&mut self) -> usize {
        let links = std::mem::take(&mut self.links);
        links.iter().flat_map(|link| &link.sockets).flatten().for_each(reset_on_close);
        links.len()
    }

    pub fn half_close(&mut self, direction: Direction) -> usize {
        let mut closed = 0;
        for link in &mut self.links {
            // The target may have taken a call that we have not heard the end of yet.
            link.broken |= link.call(self.target, self.flows).is_err();
        }
        for link in self.links.iter_mut().filter(|link| link.calling == Calling::Done && !link.broken) {
            closed += 1;
            for &from in directions(direction) {
                if let Some(socket) = &link.sockets[1 - from] {
                    // Fails when that side has gone already.
                    link.broken |= link.lanes[from].close(socket).is_err();
                }
            }
        }
        closed
    }

    pub fn counts(&self) -> Counts {
        let [to_target_bytes, to_client_bytes] = self.passed_bytes;
        Counts { open: self.links.len(), accepted: self.accepted, to_target_bytes, to_client_bytes }
    }
}

impl Link {
    fn new(id: u64, client: SocketAddr, socket: TcpStream) -> Self {
        let lanes = [Lane::default(), Lane::default()];
        Self { id, client, sockets: [Some(socket), None], lanes, calling: Calling::NotYet, cut_off: false, broken: false }
    }

    fn describe(&self) -> Connection {
        let toward_target = self.sockets[TARGET].as_ref().and_then(|socket| socket.local_addr().ok());
        Connection { id: self.id, client: self.client, toward_target, cut_off: self.cut_off }
    }

    fn is_held(&self, from: usize, flows: [Flow; 2]) -> bool {
        self.cut_off || flows[from] == Flow::Hold
    }

    /// What would be done about `side` if it were possible.
    fn interest(&self, side: usize, flows: [Flow; 2], now: Instant) -> PollFlags {
        match (self.calling, side) {
            (Calling::Underway, TARGET) if !self.broken => return PollFlags::OUT,
            (Calling::Done, _) if !self.broken => {}
            _ => return PollFlags::empty(),
        }
        let (away, toward) = (side, 1 - side);
        let reads = !self.is_held(away, flows) && self.lanes[away].wants_bytes();
        let writes = !self.is_held(toward, flows) && self.lanes[toward].due().is_some_and(|due| due <= now);
        let flag = |wanted: bool, flag: PollFlags| if wanted { flag } else { PollFlags::empty() };
        flag(reads, PollFlags::IN) | flag(writes, PollFlags::OUT)
    }

    /// When time alone gives it something to do, or gave: what is due and cannot be written is waited for as interest.
    fn next_due(&self, flows: [Flow; 2], now: Instant) -> Option<Instant> {
        let free = [CLIENT, TARGET].into_iter().filter(|&from| !self.broken && !self.is_held(from, flows));
        free.filter_map(|from| self.lanes[from].due()).filter(|due| *due > now).min()
    }

    /// Whether it has something to do without any socket being ready.
    fn has_work(&self, flows: [Flow; 2], now: Instant) -> bool {
        let free = |from: &usize| !self.is_held(*from, flows);
        let due = |from: usize| self.lanes[from].due().is_some_and(|due| due <= now);
        self.broken || self.calling == Calling::NotYet || [CLIENT, TARGET].into_iter().filter(free).any(due)
    }

    fn work(&mut self, target: SocketAddr, flows: [Flow; 2], now: Instant, passed_bytes: &mut [u64; 2]) {
        let moved = self.call(target, flows).and_then(|()| self.move_bytes(flows, now, passed_bytes));
        self.broken |= moved.is_err();
        if self.broken {
            for side in [CLIENT, TARGET] {
                if !self.is_held(1 - side, flows)
                    && let Some(socket) = self.sockets[side].take()
                {
                    reset_on_close(&socket);
                }
            }
        }
    }

    /// Calls the target without waiting for it: one that stands still may take its time.
    fn call(&mut self, target: SocketAddr, flows: [Flow; 2]) -> io::Result<()> {
        match (self.calling, &self.sockets[TARGET]) {
            (Calling::NotYet, _) if !self.is_held(CLIENT, flows) => {
                let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
                let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
                self.calling = Calling::Underway;
                match rustix::net::connect(&socket, &target) {
                    Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
                    Err(error) => return Err(error.into()),
                }
                let socket = TcpStream::from(socket);
                socket.set_nodelay(true)?;
                self.sockets[TARGET] = Some(socket);
            }
            (Calling::Underway, Some(socket)) => match socket.take_error()? {
                Some(error) => return Err(error),
                // No error and no peer: not there yet.
                None if socket.peer_addr().is_ok() => self.calling = Calling::Done,
                None => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn move_bytes(&mut self, flows: [Flow; 2], now: Instant, passed_bytes: &mut [u64; 2]) -> io::Result<()> {
        if self.broken || self.calling != Calling::Done {
            return Ok(());
        }
        for from in [CLIENT, TARGET] {
            let (Some(source), Some(destination)) = (&self.sockets[from], &self.sockets[1 - from]) else { continue };
            let delay = match flows[from] {
                Flow::Delay(delay) => delay,
                Flow::Pass | Flow::Hold => Duration::ZERO,
            };
            if !self.is_held(from, flows) {
                self.lanes[from].read(source, now, delay)?;
                passed_bytes[from] += self.lanes[from].write(destination, now)? as u64;
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.broken && self.sockets.iter().all(Option::is_none) || self.lanes.iter().all(Lane::is_closed)
    }
}

fn directions(direction: Direction) -> &'static [usize] {
    match direction {
        Direction::ToTarget => &[CLIENT],
        Direction::ToClient => &[TARGET],
        Direction::Both => &[CLIENT, TARGET],
    }
}

/// Makes the coming close of this socket an RST.
fn reset_on_close(socket: &TcpStream) {
    // Fails for a socket that is not connected, which then has nobody to tell.
    let _ = sockopt::set_socket_linger(socket.as_fd(), Some(Duration::ZERO));
}
