//! The load takes nothing for an answer that is none.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use bench::load::{Clients, Pace, post};

const CREATED: &str = "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}";

/// Answers every request of one connection after the other with the next of these, and closes when there is none left.
fn server(answers: &[&str]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, answers) = (listener.local_addr().unwrap(), answers.iter().map(|answer| (*answer).to_owned()).collect::<Vec<_>>());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for answer in answers {
            let mut request = [0; 1024];
            let _request = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

fn run(answers: &[&str], requests: usize) -> anyhow::Result<usize> {
    let address = server(answers);
    let request = post(address, "/", "key", "{}");
    let outcome = Clients::connect(address, 1, 201)?.run(Pace::Closed, requests, |buffer| buffer.extend_from_slice(&request))?;
    assert_eq!(outcome.last_answer, CREATED.as_bytes());
    Ok(outcome.latencies_ns.len())
}

#[test]
fn as_many_answers_as_requests() {
    assert_eq!(run(&[CREATED; 3], 3).unwrap(), 3);
}

#[test]
fn another_status_is_an_error_that_shows_the_answer() {
    let error = run(&[CREATED, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"], 2).unwrap_err().to_string();
    assert!(error.contains("201") && error.contains("503") && error.contains("busy"), "{error}");
}

#[test]
fn a_connection_that_ends_is_an_error() {
    assert!(run(&[CREATED], 2).is_err());
    assert!(run(&["HTTP/1.1 201 Created\r\ncontent-length: 20\r\n\r\n{}"], 1).is_err());
}

#[test]
fn more_than_the_answer_is_an_error() {
    assert!(run(&["HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}{}"], 1).is_err());
}

/// One connection, and each answer takes 20 ms: of requests that are due every 5 ms the tenth has waited for nine others.
#[test]
fn what_waits_for_a_connection_has_waited() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (_kept, never) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        while stream.read(&mut request).is_ok_and(|read| read > 0) {
            let _timeout = never.recv_timeout(Duration::from_millis(20));
            stream.write_all(CREATED.as_bytes()).unwrap();
        }
    });
    let request = post(address, "/", "key", "{}");
    let mut clients = Clients::connect(address, 1, 201).unwrap();
    let mut latencies = clients.run(Pace::Open(200.0), 10, |buffer| buffer.extend_from_slice(&request)).unwrap().latencies_ns;
    latencies.sort_unstable();
    assert!(latencies[9] >= 10 * 20_000_000 - 9 * 5_000_000, "{latencies:?}");
}
