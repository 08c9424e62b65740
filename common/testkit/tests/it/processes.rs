//! One child at a time: its log, its end, its refusal to end.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use testkit::process::{Launch, Signal};

const LONG: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Launch {
    Launch::new("a shell", "sh").arg("-c").arg(script)
}

#[test]
fn output_goes_to_the_log_and_the_environment_is_passed() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut process = shell(r#"echo "out $GREETING"; echo err >&2; exit 3"#).env("GREETING", "hello").start(&log).unwrap();
    let status = process.wait(LONG).unwrap().expect("ended");
    assert_eq!(status.code(), Some(3));
    assert_eq!(process.log_tail(5), "out hello\nerr");
    assert_eq!(process.log_tail(1), "err");
}

#[test]
fn a_polite_process_goes_by_itself_and_a_stubborn_one_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    // `read` from a pipe nobody writes to: a shell that waits without a child of its own.
    let wait = "mkfifo wait; echo ready; while :; do read line <> wait; done";
    let mut polite = shell(&format!("trap 'exit 0' TERM; {wait}")).folder(folder.path()).start(&log).unwrap();
    polite.wait_until(LONG, || fs::read_to_string(&log).is_ok_and(|text| text.contains("ready"))).unwrap();
    assert!(polite.stop(Signal::TERM, LONG).unwrap().by_itself);

    let other = tempfile::tempdir().unwrap();
    let log = other.path().join("log");
    let mut stubborn = shell(&format!("trap '' TERM; {wait}")).folder(other.path()).start(&log).unwrap();
    stubborn.wait_until(LONG, || fs::read_to_string(&log).is_ok_and(|text| text.contains("ready"))).unwrap();
    let asked = Instant::now();
    assert!(!stubborn.stop(Signal::TERM, Duration::from_millis(200)).unwrap().by_itself);
    assert!(asked.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_process_that_ends_while_starting_is_reported_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = shell("echo the reason; exit 1").start(&folder.path().join("log")).unwrap();
    let error = process.wait_until(LONG, || false).unwrap_err().to_string();
    assert!(error.contains("the reason") && error.contains("exit status: 1"), "{error}");
}

#[test]
fn a_failing_command_is_an_error_with_its_output() {
    let error = shell("echo said; echo complained >&2; exit 9").must_succeed().unwrap_err().to_string();
    assert!(error.contains("said") && error.contains("complained") && error.contains('9'), "{error}");
    let missing = Launch::new("nothing", "/nowhere/at-all").output().unwrap_err().to_string();
    assert!(missing.contains("/nowhere/at-all"), "{missing}");
}

/// Serves one connection on descriptor 3, and complains when anything about it is not as systemd has it.
const SERVES_DESCRIPTOR_3: &str = r"
import os, socket
assert os.environ['LISTEN_FDS'] == '1', os.environ
assert os.environ['LISTEN_PID'] == str(os.getpid()), os.environ
assert os.read(0, 1) == b'', 'the input is not empty'
listener = socket.socket(fileno=3)
connection, _ = listener.accept()
connection.sendall(str(os.getpid()).encode())
";

#[test]
fn a_listening_socket_is_handed_to_one_program_after_the_other() {
    let Ok(python) = Launch::new("python", "python3").args(["-c", "import sys; print(sys.executable)"]).must_succeed() else {
        eprintln!("skipped: no python3 here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let launch = Launch::new("a server", python.trim()).args(["-c", SERVES_DESCRIPTOR_3]).listener(listener);
    for turn in ["first", "second"] {
        // Nobody accepts yet, and still nobody is refused.
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        let mut server = launch.start(&folder.path().join(turn)).unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert_eq!(server.wait(LONG).unwrap().map(|status| status.success()), Some(true), "{}", server.log_tail(20));
        assert_eq!(said, server.pid().to_string());
    }
    drop(launch);
    assert!(TcpStream::connect(address).is_err(), "the socket outlived its last holder");
}
