//! Programs under a clock that is wrong.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use testkit::faults::clock::ShiftedClock;
use testkit::process::{Launch, Process};

use crate::servers::LONG;
use crate::{binaries, until};

fn clock() -> Option<ShiftedClock> {
    match ShiftedClock::find_or_unpack(binaries().host(), &|line| eprintln!("{line}")) {
        Ok(clock) => Some(clock),
        Err(reason) => {
            eprintln!("skipped: {reason:#}");
            None
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the machine's clock is what these tests are about")]
fn unix_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

fn shared_memory_of(process: &Process) -> bool {
    Path::new(&format!("/dev/shm/faketime_shm_{}", process.pid())).exists()
}

#[test]
#[ignore = "not a test: the program that the tests below start under a wrong clock"]
fn a_program_that_tells_the_time() {
    let began = Instant::now();
    while began.elapsed() < LONG {
        println!("now {} {}", unix_s(), began.elapsed().as_millis());
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// The last pair that the program above has told: the time of day, and the milliseconds of its monotonic clock.
fn told(log: &Path) -> Option<(i64, u64)> {
    let text = fs::read_to_string(log).unwrap();
    // The last line may be half written.
    let mut words = text.rsplit_once('\n')?.0.lines().rev().find_map(|line| line.split_once("now "))?.1.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[test]
fn a_program_is_started_in_another_time() {
    let Some(clock) = clock() else { return };
    for offset_s in [600, -86_400] {
        clock.shift(offset_s).unwrap();
        let date = clock.apply(Launch::new("date", "date").arg("+%s")).must_succeed().unwrap();
        let shifted = date.trim().parse::<i64>().unwrap() - unix_s();
        assert!((shifted - offset_s).abs() <= 2, "{shifted} instead of {offset_s}");
    }
    // With the allocator and everything of a real binary of ours, where one has been built.
    let worker = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("worker");
    if worker.exists() {
        let said = clock.apply(Launch::new("the worker", worker).arg("version")).must_succeed().unwrap();
        assert!(said.starts_with("worker "), "{said}");
    }
}

#[test]
fn a_running_program_sees_the_time_jump_and_its_monotonic_clock_does_not() {
    let Some(clock) = clock() else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let program = Launch::new("a program", std::env::current_exe().unwrap());
    let program = program.args(["--exact", "faults::clock::a_program_that_tells_the_time", "--ignored", "--nocapture"]);
    let mut process = clock.apply(program).start(&log).unwrap();
    let shifted = || told(&log).map(|(unix, _)| unix - unix_s());
    until("it tells the true time", || shifted().is_some_and(|by| by.abs() <= 1));

    clock.shift(-600).unwrap();
    let moved = Instant::now();
    until("the time has jumped", || shifted().is_some_and(|by| (by + 600).abs() <= 2));
    assert!(moved.elapsed() <= ShiftedClock::FOLLOWS_WITHIN, "{:?}", moved.elapsed());
    let text = fs::read_to_string(&log).unwrap();
    let monotonic: Vec<u64> = text.lines().filter_map(|line| line.split_once("now ")?.1.split_once(' ')?.1.parse().ok()).collect();
    assert!(monotonic.is_sorted() && monotonic.windows(2).all(|pair| pair[1] - pair[0] < 5_000), "{monotonic:?}");

    assert!(shared_memory_of(&process));
    process.kill().unwrap();
    drop(clock);
    assert!(!shared_memory_of(&process), "something is left behind");
}
