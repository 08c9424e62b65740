//! Both servers unpacked into a fresh prefix, by several at once, and run from there.

use std::ffi::OsString;
use std::sync::Mutex;

use testkit::servers::{Host, Kind, Lifetime, Postgres, Redis};

#[test]
#[ignore = "downloads 50 MB of Debian's packages"]
fn servers_run_from_a_fresh_prefix_that_is_unpacked_once() {
    if !std::path::Path::new("/usr/bin/apt-get").exists() {
        eprintln!("skipped: this system has no apt-get");
        return;
    }
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // An empty PATH to search means: look nowhere, unpack.
    let host = Host::new(&folder.path().join("home"), OsString::new()).unwrap();
    let said = Mutex::new(Vec::new());
    let unpack = || host.find_or_unpack(&[Kind::Postgres, Kind::Redis], &|line| said.lock().unwrap().push(line.to_owned())).unwrap();
    let binaries = std::thread::scope(|scope| {
        let other = scope.spawn(unpack);
        let binaries = unpack();
        other.join().unwrap();
        binaries
    });
    let said = said.into_inner().unwrap();
    assert_eq!(said.iter().filter(|line| line.contains("done in")).count(), 1, "{said:#?}");
    for kind in [Kind::Postgres, Kind::Redis] {
        assert!(binaries.program(kind).unwrap().starts_with(host.home().join("prefix")));
    }
    drop(Postgres::start(&binaries, Lifetime::Temporary, None).unwrap());
    drop(Redis::start(&binaries, None).unwrap());
}
