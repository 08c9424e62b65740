//! PHP, from `PATH` or Debian.

use std::fs;
use std::path::PathBuf;

use testkit::process::Launch;
use testkit::servers::Host;

/// A PHP that reads no settings of the machine's.
pub fn php() -> Launch {
    if Launch::new("php", "php").arg("--version").must_succeed().is_ok() {
        return Launch::new("php", "php").arg("-n");
    }
    let unpacked = Host::of_this_checkout("").unwrap().unpack("php-cli", &|line| eprintln!("{line}")).unwrap();
    let mut programs: Vec<PathBuf> = fs::read_dir(unpacked.folder.join("usr/bin")).unwrap().map(|entry| entry.unwrap().path()).collect();
    programs.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("php") && path.is_file()));
    programs.sort_unstable();
    Launch::new("php", &programs[0]).arg("-n").env("LD_LIBRARY_PATH", unpacked.libraries)
}
