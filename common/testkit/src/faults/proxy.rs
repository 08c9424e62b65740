//! A TCP proxy on loopback that misbehaves on command: the network between two programs, in a test's hand.
//!
//! One thread moves all bytes and sleeps while there is nothing to do; it needs no async runtime, so that it also works beside one that is
//! the test's subject. It must not understand what it carries.

mod lane;
mod traffic;

use std::io::{PipeWriter, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::traffic::{Command, Traffic};
use crate::servers::free_port;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the target.
    ToTarget,
    /// From the target to the client.
    ToClient,
    /// Both ways.
    Both,
}

/// What happens to the bytes of one direction, and to the news that a side has closed or reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// They arrive.
    Pass,
    /// They do not, and nobody is told: no FIN, no RST. Like packets lost on the way they arrive after all when the flow passes again.
    /// Senders fill their buffers and then wait.
    Hold,
    /// They arrive this much later, in order, without getting in each other's way (at most 64 KiB are on their way at a time).
    Delay(Duration),
}

/// An open connection through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// For [`Proxy::cut_off`]; never used again.
    pub id: u64,
    /// The client's end, as the client knows it.
    pub client: SocketAddr,
    /// The end from which the target was called, as the target knows it (in Postgres `pg_stat_activity.client_port`). `None` until it was.
    pub toward_target: Option<SocketAddr>,
    /// Whether it was cut off.
    pub cut_off: bool,
}

/// What went through so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Connections that are open now.
    pub open: usize,
    /// Connections ever taken.
    pub accepted: u64,
    /// Bytes handed to the target.
    pub to_target_bytes: u64,
    /// Bytes handed to clients.
    pub to_client_bytes: u64,
}

/// A running proxy, transparent at first. It can be commanded from any thread; a command has taken effect when the call returns. Dropping
/// it closes everything.
///
/// At most 1,024 connections are open at a time, others wait to be accepted; memory is bounded by 64 KiB for each direction of each. When
/// the target refuses a connection, the client sees a reset.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    commands: Sender<Command>,
    // Both are there until drop.
    wake: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts it on a free port of 127.0.0.1, in front of `target`, which must be a loopback address too.
    pub fn start(target: SocketAddr) -> Result<Self> {
        ensure!(target.ip().is_loopback(), "the proxy only speaks to this machine, not to {target}");
        // The same as for servers: a port that stays free while nobody listens, so that it can be had back after `refuse`.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port()?)).context("cannot listen for the proxy")?;
        let address = listener.local_addr()?;
        let (commands, incoming) = channel();
        let (wakened, wake) = std::io::pipe().context("cannot make a pipe")?;
        let traffic = Traffic::new(listener, address, target)?;
        let thread = std::thread::Builder::new().name(format!("proxy {}", address.port()));
        let thread = thread.spawn(move || traffic.run(&incoming, wakened)).context("cannot start the proxy's thread")?;
        Ok(Self { address, commands, wake: Some(wake), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happens from now on to all connections, present and future. While the way to the target is held, new connections are taken, but
    /// the target does not hear of them.
    pub fn set(&self, direction: Direction, flow: Flow) -> Result<()> {
        self.ask(move |traffic| traffic.set(direction, flow))
    }

    /// Ends every fault: everything passes, also what was cut off, and new connections are taken. Fails when somebody else has taken
    /// the port since [`Proxy::refuse`].
    pub fn pass(&self) -> Result<()> {
        self.ask(Traffic::pass)?.with_context(|| format!("cannot listen on {} again", self.address))
    }

    /// Nobody listens any more: new connections are refused, open ones stay.
    pub fn refuse(&self) -> Result<()> {
        self.ask(Traffic::refuse)
    }

    /// The open connections, oldest first.
    pub fn connections(&self) -> Result<Vec<Connection>> {
        self.ask(|traffic| traffic.connections())
    }

    /// Holds one connection in both directions until [`Proxy::pass`], whatever happens to the others. False when it is not open any more.
    pub fn cut_off(&self, id: u64) -> Result<bool> {
        self.ask(move |traffic| traffic.cut_off(id))
    }

    /// Ends all open connections with an RST to both sides. Returns how many there were.
    pub fn reset_all(&self) -> Result<usize> {
        self.ask(Traffic::reset_all)
    }

    /// Tells the receiving side of all open connections that nothing more will come, without the sender's knowledge. What was on its way is
    /// lost. The other direction goes on. Returns how many connections there were.
    pub fn half_close(&self, direction: Direction) -> Result<usize> {
        self.ask(move |traffic| traffic.half_close(direction))
    }

    /// What went through so far.
    pub fn counts(&self) -> Result<Counts> {
        self.ask(|traffic| traffic.counts())
    }

    fn ask<T: Send + 'static>(&self, question: impl FnOnce(&mut Traffic) -> T + Send + 'static) -> Result<T> {
        const ENDED: &str = "the proxy's thread has ended";
        let (reply, answer) = channel();
        let command: Command = Box::new(move |traffic| {
            // Whoever asked waits for the answer below.
            let _ = reply.send(question(traffic));
        });
        self.commands.send(command).ok().context(ENDED)?;
        self.wake.as_ref().context(ENDED)?.write_all(&[0]).context(ENDED)?;
        answer.recv().context(ENDED)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The thread ends when nobody can wake it any more.
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // A panic was printed where it happened.
            let _ = thread.join();
        }
    }
}
