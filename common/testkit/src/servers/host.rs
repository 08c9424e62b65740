//! Where servers live on this machine and which programs they are.
//!
//! Programs are looked for first; only what is missing is unpacked, once, however many processes ask at the same time.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::account::{Account, everybody_can_reach};
use super::apt::{self, Extent};
use super::loopback;
use crate::process::Launch;

/// A server program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `postgres` and `initdb`.
    Postgres,
    /// `redis-server`, or `valkey-server`.
    Redis,
}

/// How long a server's data lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// In the folder of this name below [`Host::home`]; survives, written durably.
    Lasting(&'static str),
    /// In a fresh folder, removed in the end; written without a care for power cuts.
    Temporary,
}

/// The folder and the account for servers of this checkout.
#[derive(Debug, Clone)]
pub struct Host {
    home: PathBuf,
    account: Option<Account>,
    path: OsString,
}

impl Host {
    /// `folder` is used when the account that runs the servers can get there; otherwise one in `/var/tmp`, named after `folder`.
    /// `path` is the `PATH` to look for programs in; they are also looked for where Debian and others keep Postgres. With an empty
    /// `path` nothing is looked for and everything is unpacked.
    pub fn new(folder: &Path, path: impl Into<OsString>) -> Result<Self> {
        let account = Account::for_servers()?;
        let home = if account.is_none() || everybody_can_reach(folder) { folder.to_owned() } else { in_var_tmp(folder)? };
        make_folder(&home)?;
        let home = home.canonicalize().with_context(|| format!("cannot find {}", home.display()))?;
        Ok(Self { home, account, path: path.into() })
    }

    /// The host for tests and the stack of this checkout: `target/stack`, or its stand-in in `/var/tmp`.
    pub fn of_this_checkout(path: impl Into<OsString>) -> Result<Self> {
        Self::new(&stack_folder(), path)
    }

    /// The folder that holds everything of the servers.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Who runs the servers; `None` means ourselves.
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Finds the programs asked for, unpacking Debian's packages where they are missing. `progress` is told of the long steps.
    pub fn find_or_unpack(&self, kinds: &[Kind], progress: &dyn Fn(&str)) -> Result<Binaries> {
        let mut missing = Vec::new();
        let mut binaries = Binaries { host: self.clone(), postgres: None, redis: None };
        for &kind in kinds {
            match self.find(kind) {
                Some(tool) => binaries.put(kind, tool),
                None => missing.push(kind),
            }
        }
        if missing.is_empty() {
            return Ok(binaries);
        }
        let _lock = self.lock_prefix(progress)?;
        missing.retain(|&kind| self.find_unpacked(kind).is_none());
        if !missing.is_empty() {
            let packages: Vec<&str> = missing.iter().map(|&kind| package(kind)).collect();
            apt::unpack(&packages, Extent::WithLibraries, &self.prefix(), progress)?;
        }
        for &kind in kinds {
            if binaries.get(kind).is_err() {
                let tool = self.find_unpacked(kind);
                binaries.put(kind, tool.with_context(|| format!("the package {} holds no server program", package(kind)))?);
            }
        }
        Ok(binaries)
    }

    /// Unpacks any other Debian package with its libraries, once. For programs that tests call as ourselves.
    pub fn unpack(&self, package: &str, progress: &dyn Fn(&str)) -> Result<Unpacked> {
        self.unpack_to(package, Extent::WithLibraries, progress)
    }

    /// Unpacks a Debian package without anything that it depends on, once. For files that tests read.
    pub fn unpack_alone(&self, package: &str, progress: &dyn Fn(&str)) -> Result<Unpacked> {
        self.unpack_to(package, Extent::Alone, progress)
    }

    fn unpack_to(&self, package: &str, extent: Extent, progress: &dyn Fn(&str)) -> Result<Unpacked> {
        let folder = self.prefix().join(package);
        let _lock = self.lock_prefix(progress)?;
        if !folder.exists() {
            apt::unpack(&[package], extent, &self.prefix(), progress)?;
        }
        Ok(Unpacked { libraries: apt::library_path(&folder), folder })
    }

    /// A program that tests call as ourselves: the one in `PATH` or `/usr/sbin`, where plain users do not look, or that of the Debian package
    /// of the same name, unpacked. Only for packages whose program needs nothing but its libraries.
    pub fn program(&self, name: &str, progress: &dyn Fn(&str)) -> Result<Launch> {
        let folders = std::env::split_paths(&self.path).chain([PathBuf::from("/usr/sbin")]).filter(|_| !self.path.is_empty());
        if let Some(program) = folders.map(|folder| folder.join(name)).find(|program| program.is_file()) {
            return Ok(Launch::new(name, program));
        }
        let unpacked = self.unpack(name, progress)?;
        let program = ["usr/bin", "usr/sbin"].map(|folder| unpacked.folder.join(folder).join(name)).into_iter().find(|path| path.is_file());
        let program = program.with_context(|| format!("the package {name} holds no program of its name"))?;
        Ok(Launch::new(name, program).env("LD_LIBRARY_PATH", unpacked.libraries))
    }

    fn lock_prefix(&self, progress: &dyn Fn(&str)) -> Result<File> {
        make_folder(&self.prefix())?;
        let lock = File::create(self.prefix().join("lock"))?;
        if lock.try_lock().is_err() {
            progress("another process is unpacking packages, waiting for it");
            lock.lock().context("cannot lock the prefix")?;
        }
        Ok(lock)
    }

    fn find(&self, kind: Kind) -> Option<Tool> {
        if self.path.is_empty() {
            return self.find_unpacked(kind);
        }
        let reachable = |folder: &PathBuf| self.account.is_none() || everybody_can_reach(folder);
        let in_path = std::env::split_paths(&self.path).filter_map(|folder| first_in(kind, &folder));
        let known = newest_first("/usr/lib/postgresql").into_iter().filter_map(|version| first_in(kind, &version.join("bin")));
        let program = in_path.chain(known).find(reachable);
        program.map(|program| Tool { program, libraries: OsString::new() }).or_else(|| self.find_unpacked(kind))
    }

    fn find_unpacked(&self, kind: Kind) -> Option<Tool> {
        let root = self.prefix().join(package(kind));
        let versions = newest_first(root.join("usr/lib/postgresql")).into_iter().map(|version| version.join("bin"));
        let program = versions.chain([root.join("usr/bin")]).find_map(|folder| first_in(kind, &folder))?;
        Some(Tool { program, libraries: apt::library_path(&root) })
    }

    fn prefix(&self) -> PathBuf {
        self.home.join("prefix")
    }

    /// A fresh folder of the servers' account, for backups, archives and the like; removed in the end.
    pub fn temporary_folder(&self) -> Result<DataFolder> {
        self.data_folder(Lifetime::Temporary)
    }

    /// A folder for one server's data. A temporary one stays locked by us; what earlier processes could not remove is removed here.
    pub(super) fn data_folder(&self, lifetime: Lifetime) -> Result<DataFolder> {
        let runs = self.home.join("runs");
        make_folder(&runs)?;
        match lifetime {
            Lifetime::Lasting(name) => {
                let path = self.home.join(name);
                self.make_private(&path)?;
                let lock = File::create(self.home.join(format!("{name}.lock")))?;
                if lock.try_lock().is_err() {
                    bail!("another process uses {}", path.display());
                }
                Ok(DataFolder { path, temporary: false, _lock: lock })
            }
            Lifetime::Temporary => {
                let gate = File::create(runs.join("gate"))?;
                gate.lock().context("cannot lock the folder of temporary servers")?;
                remove_abandoned(&runs)?;
                let name = loopback::random_password()[..12].to_owned();
                let lock = File::create(runs.join(format!("{name}.lock")))?;
                lock.lock().context("cannot lock a new folder")?;
                let path = runs.join(name);
                self.make_private(&path)?;
                Ok(DataFolder { path, temporary: true, _lock: lock })
            }
        }
    }

    fn make_private(&self, path: &Path) -> Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| format!("cannot create {}", path.display()))?;
        self.give(path)
    }

    /// Writes a file that only the servers' account may read.
    pub(super) fn write_private(&self, path: &Path, content: &str) -> Result<()> {
        let unfinished = path.with_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options.create(true).write(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(content.as_bytes())?;
        self.give(&unfinished)?;
        fs::rename(&unfinished, path).with_context(|| format!("cannot write {}", path.display()))
    }

    fn give(&self, path: &Path) -> Result<()> {
        match &self.account {
            Some(account) => chown(path, Some(account.uid), Some(account.gid))
                .with_context(|| format!("cannot hand {} to uid {}", path.display(), account.uid)),
            None => Ok(()),
        }
    }
}

/// `target/stack` of this checkout: secrets, logs and, where possible, the servers' data.
pub fn stack_folder() -> PathBuf {
    // This crate lies two folders below the repository.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/")).join("target/stack")
}

/// Programs that were found, and where their servers may live.
#[derive(Debug, Clone)]
pub struct Binaries {
    pub(super) host: Host,
    postgres: Option<Tool>,
    redis: Option<Tool>,
}

impl Binaries {
    /// Where the servers live and as whom.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The program's path (for Postgres that of `postgres`; `initdb` lies beside it). Fails when it was not asked for.
    pub fn program(&self, kind: Kind) -> Result<&Path> {
        Ok(&self.get(kind)?.program)
    }

    /// A program beside the server's own (`pg_basebackup`), with what it needs to run: the servers' account and libraries, in [`Host::home`].
    pub fn tool(&self, kind: Kind, program: &str) -> Result<Launch> {
        let tool = self.get(kind)?;
        Ok(self.launch(program, tool, &tool.program.with_file_name(program)))
    }

    /// The server itself. `name` is for people.
    pub(super) fn server(&self, kind: Kind, name: &str) -> Result<Launch> {
        let tool = self.get(kind)?;
        Ok(self.launch(name, tool, &tool.program))
    }

    fn launch(&self, name: &str, tool: &Tool, program: &Path) -> Launch {
        let launch = Launch::new(name, program).account(self.host.account()).folder(self.host.home()).env("LC_ALL", "C");
        if tool.libraries.is_empty() { launch } else { launch.env("LD_LIBRARY_PATH", &tool.libraries) }
    }

    fn get(&self, kind: Kind) -> Result<&Tool> {
        let tool = match kind {
            Kind::Postgres => &self.postgres,
            Kind::Redis => &self.redis,
        };
        tool.as_ref().with_context(|| format!("{kind:?} was not asked for when looking for servers"))
    }

    fn put(&mut self, kind: Kind, tool: Tool) {
        match kind {
            Kind::Postgres => self.postgres = Some(tool),
            Kind::Redis => self.redis = Some(tool),
        }
    }
}

/// An unpacked package.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// What would be `/` had it been installed.
    pub folder: PathBuf,
    /// What its programs need as `LD_LIBRARY_PATH`.
    pub libraries: OsString,
}

/// A program and the libraries it was unpacked with.
#[derive(Debug, Clone)]
struct Tool {
    program: PathBuf,
    libraries: OsString,
}

/// The folder of one server, locked as long as this value lives; removed with it when temporary.
#[derive(Debug)]
pub struct DataFolder {
    pub(super) path: PathBuf,
    temporary: bool,
    _lock: File,
}

impl DataFolder {
    /// Where it is. It belongs to the servers' account, and nobody else can enter.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed now is abandoned from here on, and the next start removes it.
            let _ = fs::remove_dir_all(&self.path).and_then(|()| fs::remove_file(self.path.with_extension("lock")));
        }
    }
}

/// Static servers of a test binary are never dropped, and killed processes drop nothing: their locks are free, their folders still there.
fn remove_abandoned(runs: &Path) -> Result<()> {
    for entry in fs::read_dir(runs)? {
        let path = entry?.path();
        // Whoever ends just now may be quicker than we are.
        let Some(lock) = unless_gone(File::open(&path))? else { continue };
        if path.extension() == Some(OsStr::new("lock")) && lock.try_lock().is_ok() {
            if unless_gone(fs::remove_dir_all(path.with_extension(""))).is_err() {
                // Its server is still dying and writes; the next start comes by again.
                continue;
            }
            unless_gone(fs::remove_file(&path))?;
        }
    }
    Ok(())
}

fn unless_gone<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

fn package(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => "postgresql",
        Kind::Redis => "redis-server",
    }
}

fn first_in(kind: Kind, folder: &Path) -> Option<PathBuf> {
    match kind {
        // A link in PATH leads to the folder with all the others. (Redis is left as it is: the program decides by its name what to be.)
        Kind::Postgres => {
            let program = folder.join("postgres").canonicalize().ok()?;
            program.with_file_name("initdb").is_file().then_some(program)
        }
        Kind::Redis => ["redis-server", "valkey-server"].iter().map(|name| folder.join(name)).find(|program| program.is_file()),
    }
}

fn newest_first(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, path)| path).collect()
}

/// `/var/tmp` is everybody's: a folder that somebody else made under our name is not used.
fn in_var_tmp(folder: &Path) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    let home = PathBuf::from(format!("/var/tmp/anonymouspay-{:016x}", hasher.finish()));
    make_folder(&home)?;
    let metadata = fs::symlink_metadata(&home)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        bail!("{} belongs to somebody else; remove it", home.display());
    }
    Ok(home)
}

/// Readable by all whatever the umask says: the servers' account has to pass.
fn make_folder(path: &Path) -> Result<()> {
    let create = || {
        if !path.is_dir() {
            fs::create_dir_all(path)?;
            fs::set_permissions(path, PermissionsExt::from_mode(0o755))?;
        }
        Ok::<_, std::io::Error>(())
    };
    create().with_context(|| format!("cannot create {}", path.display()))
}
