//! The proxy between two plain sockets, and once between us and a real server.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use testkit::faults::proxy::{Direction, Flow, Proxy};
use testkit::servers::Redis;

use crate::servers::LONG;
use crate::{binaries, until};

/// Long enough for loopback to have delivered what it was going to deliver.
const SILENCE: Duration = Duration::from_millis(150);

struct Stage {
    target: TcpListener,
    proxy: Proxy,
}

impl Stage {
    fn new() -> Self {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(target.local_addr().unwrap()).unwrap();
        Self { target, proxy }
    }

    fn client(&self) -> TcpStream {
        patient(TcpStream::connect(self.proxy.address()).unwrap())
    }

    /// A client, and the connection that the target has accepted for it.
    fn pair(&self) -> (TcpStream, TcpStream) {
        let client = self.client();
        (client, patient(self.target.accept().unwrap().0))
    }

    /// CPU ticks (10 ms) of the proxy's thread; `None` when it is not there.
    fn ticks(port: u16) -> Option<u64> {
        fs::read_dir("/proc/self/task").unwrap().flatten().find_map(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).ok()?;
            let (name, rest) = stat.rsplit_once(')')?;
            let fields: Vec<&str> = rest.split_whitespace().collect();
            name.ends_with(&format!("(proxy {port}")).then(|| fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
        })
    }
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

fn say(mut to: &TcpStream, word: &str) {
    to.write_all(word.as_bytes()).unwrap();
}

#[track_caller]
fn hear(mut from: &TcpStream, word: &str) {
    let mut heard = vec![0; word.len()];
    from.read_exact(&mut heard).unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), word);
}

/// Nothing: no byte, no end, no error.
#[track_caller]
fn hear_nothing(mut from: &TcpStream) {
    from.set_read_timeout(Some(SILENCE)).unwrap();
    let heard = from.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(heard, Err(ErrorKind::WouldBlock));
    from.set_read_timeout(Some(LONG)).unwrap();
}

fn end_of(mut from: &TcpStream) -> Result<usize, ErrorKind> {
    from.read(&mut [0]).map_err(|error| error.kind())
}

fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

#[test]
fn it_is_transparent_bytes_and_ends_arrive_and_are_counted() {
    const SIZE: usize = 5_000_000;
    let stage = Stage::new();
    let (mut client, mut server) = stage.pair();
    let sent: Vec<u8> = (0..SIZE).map(|n| (n * 7 % 251) as u8).collect();
    std::thread::scope(|scope| {
        // Both ways at once, the target late, so that all buffers on the way are full for a while.
        let echo = scope.spawn(|| {
            let mut all = Vec::new();
            server.read_to_end(&mut all).unwrap();
            server.write_all(&all).unwrap();
            server.shutdown(Shutdown::Write).unwrap();
        });
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert!(received == sent);
        echo.join().unwrap();
    });
    until("the connection is over", || stage.proxy.counts().unwrap().open == 0);
    let counts = stage.proxy.counts().unwrap();
    assert_eq!((counts.accepted, counts.to_target_bytes, counts.to_client_bytes), (1, SIZE as u64, SIZE as u64));
}

#[test]
fn what_is_held_is_silence_and_arrives_when_it_passes_again() {
    let stage = Stage::new();
    let (client, server) = stage.pair();
    stage.proxy.set(Direction::Both, Flow::Hold).unwrap();
    say(&client, "question ");
    say(&server, "news ");
    hear_nothing(&client);
    hear_nothing(&server);
    // Not even an end is heard of.
    say(&client, "again");
    client.shutdown(Shutdown::Write).unwrap();
    hear_nothing(&server);
    stage.proxy.pass().unwrap();
    hear(&server, "question again");
    assert_eq!(end_of(&server), Ok(0));
    hear(&client, "news ");
}

#[test]
fn one_direction_can_be_held_alone() {
    let stage = Stage::new();
    for (direction, held_to_client) in [(Direction::ToClient, true), (Direction::ToTarget, false)] {
        let (client, server) = stage.pair();
        stage.proxy.set(direction, Flow::Hold).unwrap();
        let (speaks, listens) = if held_to_client { (&client, &server) } else { (&server, &client) };
        say(speaks, "heard");
        hear(listens, "heard");
        say(listens, "held");
        hear_nothing(speaks);
        stage.proxy.pass().unwrap();
        hear(speaks, "held");
    }
}

#[test]
fn who_comes_while_the_way_is_held_is_taken_and_the_target_does_not_hear_of_it() {
    let stage = Stage::new();
    stage.proxy.set(Direction::ToTarget, Flow::Hold).unwrap();
    let client = stage.client();
    say(&client, "hello");
    until("the proxy has it", || stage.proxy.counts().unwrap().open == 1);
    hear_nothing(&client);
    stage.target.set_nonblocking(true).unwrap();
    assert_eq!(stage.target.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(stage.proxy.connections().unwrap()[0].toward_target, None);
    stage.target.set_nonblocking(false).unwrap();
    stage.proxy.pass().unwrap();
    let (server, _) = stage.target.accept().unwrap();
    hear(&server, "hello");
}

#[test]
fn a_delay_moves_everything_by_the_same_time_and_ends_when_it_is_taken_away() {
    const DELAY: Duration = Duration::from_millis(200);
    let stage = Stage::new();
    let (client, server) = stage.pair();
    client.set_nodelay(true).unwrap();
    stage.proxy.set(Direction::ToTarget, Flow::Delay(DELAY)).unwrap();
    let asked = Instant::now();
    for _ in 0..10 {
        say(&client, "a");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    hear(&server, "a");
    assert!(asked.elapsed() >= DELAY);
    hear(&server, "aaaaaaaaa");
    assert!(asked.elapsed() < DELAY * 8, "delays have added up: {:?}", asked.elapsed());
    // The other way is not delayed, and both in turn are twice the delay.
    stage.proxy.set(Direction::Both, Flow::Delay(DELAY)).unwrap();
    let asked = Instant::now();
    say(&client, "q");
    hear(&server, "q");
    say(&server, "a");
    hear(&client, "a");
    assert!(asked.elapsed() >= DELAY * 2);

    stage.proxy.set(Direction::Both, Flow::Delay(Duration::from_secs(3600))).unwrap();
    say(&client, "late");
    hear_nothing(&server);
    stage.proxy.pass().unwrap();
    hear(&server, "late");
}

#[test]
fn a_reset_reaches_both_sides_and_the_next_connection_works() {
    let stage = Stage::new();
    let pairs = [stage.pair(), stage.pair()];
    assert_eq!(stage.proxy.reset_all().unwrap(), 2);
    for (client, server) in &pairs {
        assert_eq!(end_of(client), Err(ErrorKind::ConnectionReset));
        assert_eq!(end_of(server), Err(ErrorKind::ConnectionReset));
    }
    let (client, server) = stage.pair();
    say(&client, "hello");
    hear(&server, "hello");
    // A reset of one side is passed on as one.
    reset(client);
    assert_eq!(end_of(&server), Err(ErrorKind::ConnectionReset));
    until("it is over", || stage.proxy.counts().unwrap().open == 0);
}

#[test]
fn refusing_leaves_open_connections_alone() {
    let stage = Stage::new();
    let (client, server) = stage.pair();
    stage.proxy.refuse().unwrap();
    assert_eq!(TcpStream::connect(stage.proxy.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    say(&client, "still here");
    hear(&server, "still here");
    stage.proxy.pass().unwrap();
    stage.pair();
}

#[test]
fn a_half_closed_connection_still_speaks_the_other_way() {
    let stage = Stage::new();
    let (client, server) = stage.pair();
    assert_eq!(stage.proxy.half_close(Direction::ToClient).unwrap(), 1);
    assert_eq!(end_of(&client), Ok(0));
    say(&server, "into the void");
    say(&client, "hello");
    hear(&server, "hello");
    assert_eq!(stage.proxy.half_close(Direction::ToTarget).unwrap(), 1);
    assert_eq!(end_of(&server), Ok(0));
    until("it is over", || stage.proxy.counts().unwrap().open == 0);
}

#[test]
fn one_connection_is_cut_off_and_the_others_go_on() {
    let stage = Stage::new();
    let pairs = [stage.pair(), stage.pair(), stage.pair()];
    let victim = stage.proxy.connections().unwrap()[1];
    assert_eq!(victim.client, pairs[1].0.local_addr().unwrap());
    assert_eq!(victim.toward_target, Some(pairs[1].1.peer_addr().unwrap()));
    assert!(stage.proxy.cut_off(victim.id).unwrap());
    assert!(stage.proxy.connections().unwrap()[1].cut_off);
    for (client, server) in &pairs {
        say(client, "to");
        say(server, "fro");
    }
    for number in [0, 2] {
        hear(&pairs[number].1, "to");
        hear(&pairs[number].0, "fro");
    }
    hear_nothing(&pairs[1].0);
    hear_nothing(&pairs[1].1);
    stage.proxy.pass().unwrap();
    hear(&pairs[1].1, "to");
    assert!(!stage.proxy.cut_off(u64::MAX).unwrap());
}

#[test]
fn a_side_that_goes_while_it_is_held_costs_nothing_and_is_heard_of_later() {
    let stage = Stage::new();
    let port = stage.proxy.address().port();
    let (client, server) = stage.pair();
    let (other_client, other_server) = stage.pair();
    stage.proxy.set(Direction::Both, Flow::Hold).unwrap();
    say(&client, "late");
    reset(client);
    drop(other_server);
    let before = Stage::ticks(port).unwrap();
    hear_nothing(&server);
    hear_nothing(&other_client);
    assert!(Stage::ticks(port).unwrap() - before <= 3, "the proxy is busy with nothing");
    stage.proxy.pass().unwrap();
    hear(&server, "late");
    assert_eq!(end_of(&server), Err(ErrorKind::ConnectionReset));
    assert_eq!(end_of(&other_client), Ok(0));
}

#[test]
fn a_target_that_stands_still_or_refuses_does_not_hold_the_proxy_up() {
    let stage = Stage::new();
    let port = stage.proxy.address().port();
    // Nobody accepts: more than the target's queue takes.
    rustix::net::listen(&stage.target, 1).unwrap();
    let clients: Vec<TcpStream> = (0..6).map(|_| stage.client()).collect();
    for client in &clients {
        say(client, "hello");
    }
    until("all are taken", || stage.proxy.counts().unwrap().open == 6);
    let before = Stage::ticks(port).unwrap();
    hear_nothing(&clients[5]);
    stage.proxy.set(Direction::Both, Flow::Hold).unwrap();
    hear_nothing(&clients[5]);
    assert!(Stage::ticks(port).unwrap() - before <= 3, "the proxy is busy with waiting");
    stage.proxy.pass().unwrap();
    drop(clients);

    drop(stage.target);
    let client = patient(TcpStream::connect(stage.proxy.address()).unwrap());
    assert_eq!(end_of(&client), Err(ErrorKind::ConnectionReset));
}

#[test]
fn dropping_it_closes_everything_and_ends_its_thread() {
    let stage = Stage::new();
    let address = stage.proxy.address();
    let (client, server) = stage.pair();
    stage.proxy.set(Direction::Both, Flow::Hold).unwrap();
    assert!(Stage::ticks(address.port()).is_some());
    drop(stage.proxy);
    assert!(Stage::ticks(address.port()).is_none());
    assert_eq!((end_of(&client), end_of(&server)), (Ok(0), Ok(0)));
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(Proxy::start("192.0.2.1:80".parse().unwrap()).is_err(), "only this machine");
}

#[test]
fn a_real_server_behind_it_is_reached_lost_and_found() {
    let redis = Redis::start(&binaries(), None).unwrap();
    let proxy = Proxy::start(([127, 0, 0, 1], redis.port()).into()).unwrap();
    let client = patient(TcpStream::connect(proxy.address()).unwrap());
    let password = redis.url().split([':', '@']).nth(2).unwrap().to_owned();
    say(&client, &format!("AUTH {password}\r\nINCR n\r\n"));
    hear(&client, "+OK\r\n:1\r\n");
    // The server hears the command; its answer is lost: what a client must not take for a failure.
    proxy.set(Direction::ToClient, Flow::Hold).unwrap();
    say(&client, "INCR n\r\n");
    hear_nothing(&client);
    proxy.reset_all().unwrap();
    proxy.pass().unwrap();
    let client = patient(TcpStream::connect(proxy.address()).unwrap());
    say(&client, &format!("AUTH {password}\r\nGET n\r\n"));
    hear(&client, "+OK\r\n$1\r\n2\r\n");
}
