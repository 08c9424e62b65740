//! Real servers, real processes: started, hurt, and looked for afterwards.

mod faults;
mod orphans;
mod processes;
mod servers;
mod unpack;

use std::ffi::OsString;
use std::time::{Duration, Instant};

use testkit::servers::{Binaries, Host, Kind};

fn path() -> OsString {
    std::env::var_os("PATH").expect("PATH is set")
}

fn binaries() -> Binaries {
    let host = Host::of_this_checkout(path()).expect("a host");
    host.find_or_unpack(&[Kind::Postgres, Kind::Redis], &|line| eprintln!("{line}")).expect("servers")
}

/// Asks again and again until the answer is yes.
fn until(what: &str, mut yes: impl FnMut() -> bool) {
    let asked = Instant::now();
    while !yes() {
        assert!(asked.elapsed() < Duration::from_secs(20), "not within 20 seconds: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
