//! A killed parent leaves no child behind, not even children that stand still, and its folders are removed by whoever comes next.
//!
//! The parent is this test binary itself, started again with only [`the_parent`] to run.

use std::fs;
use std::path::Path;
use std::time::Duration;

use testkit::process::{Launch, wait_gone};
use testkit::servers::{Host, Kind, Lifetime, Postgres, Redis};

use crate::{binaries, path};

const FOLDER: &str = "TESTKIT_PARENT_FOLDER";
const PAUSE: &str = "TESTKIT_PARENT_PAUSES";

#[test]
#[ignore = "not a test: the parent that the tests below kill"]
fn the_parent() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let binaries = Host::new(&folder.join("home"), path()).unwrap().find_or_unpack(&[Kind::Postgres, Kind::Redis], &|_| {}).unwrap();
    // Started from a thread that ends: the children must not take that for our death.
    let (mut postgres, mut redis, process) = std::thread::spawn({
        let log = folder.join("log");
        move || {
            let process = Launch::new("tail", "tail").args(["-f", "/dev/null"]).start(&log).unwrap();
            (Postgres::start(&binaries, Lifetime::Temporary, None).unwrap(), Redis::start(&binaries, None).unwrap(), process)
        }
    })
    .join()
    .unwrap();
    if std::env::var_os(PAUSE).is_some() {
        postgres.pause().unwrap();
        redis.pause().unwrap();
    }
    fs::write(folder.join("pids.new"), format!("{} {} {}", postgres.pid(), redis.pid(), process.pid())).unwrap();
    fs::rename(folder.join("pids.new"), folder.join("pids")).unwrap();
    loop {
        std::thread::park();
    }
}

fn kill_a_parent(pauses: bool) {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // Whatever has to be unpacked is unpacked once, not for each test.
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    binaries();
    let prefix = Host::of_this_checkout(path()).unwrap().home().join("prefix");
    if prefix.exists() {
        std::os::unix::fs::symlink(prefix, home.join("prefix")).unwrap();
    }
    let parent = Launch::new("the parent", std::env::current_exe().unwrap());
    let parent = parent.args(["--exact", "orphans::the_parent", "--ignored"]).env(FOLDER, folder.path());
    let parent = if pauses { parent.env(PAUSE, "1") } else { parent };
    let mut parent = parent.start(&folder.path().join("parent.log")).unwrap();
    let pids_file = folder.path().join("pids");
    parent.wait_until(Duration::from_secs(30), || pids_file.exists()).unwrap();
    let pids: Vec<u32> = fs::read_to_string(pids_file).unwrap().split(' ').map(|pid| pid.parse().unwrap()).collect();
    for pid in &pids {
        assert!(!wait_gone(*pid, Duration::ZERO).unwrap(), "child {pid} ended before its parent");
    }
    parent.kill().unwrap();
    for pid in pids {
        assert!(wait_gone(pid, Duration::from_secs(10)).unwrap(), "process {pid} outlived its parent");
    }

    let runs = home.join("runs");
    assert!(fs::read_dir(&runs).unwrap().count() > 1, "a killed parent cannot clean up");
    let binaries = Host::new(&home, path()).unwrap().find_or_unpack(&[Kind::Redis], &|_| {}).unwrap();
    drop(Redis::start(&binaries, None).unwrap());
    assert_eq!(fs::read_dir(&runs).unwrap().count(), 1, "the next start cleans up");
}

#[test]
fn children_die_with_a_killed_parent() {
    kill_a_parent(false);
}

#[test]
fn children_that_stand_still_die_with_a_killed_parent() {
    kill_a_parent(true);
}
