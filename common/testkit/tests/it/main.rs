//! Real servers, real processes: started, hurt, and looked for afterwards.

mod faults;
mod orphans;
mod processes;
mod servers;
mod unpack;

use std::ffi::OsString;

use testkit::servers::{Binaries, Host, Kind};

fn path() -> OsString {
    std::env::var_os("PATH").expect("PATH is set")
}

fn binaries() -> Binaries {
    let host = Host::of_this_checkout(path()).expect("a host");
    host.find_or_unpack(&[Kind::Postgres, Kind::Redis], &|line| eprintln!("{line}")).expect("servers")
}
