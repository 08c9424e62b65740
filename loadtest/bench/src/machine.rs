//! What figures were measured on: they mean nothing without.

use std::fs;

use anyhow::Result;
use common::clock::{Clock, SystemClock, rfc3339};
use testkit::process::Launch;
use testkit::servers::{Host, Kind};

/// One line for each fact, at this moment.
pub fn facts() -> Result<Vec<String>> {
    let host = Host::of_this_checkout(std::env::var_os("PATH").unwrap_or_default())?;
    let binaries = host.find_or_unpack(&[Kind::Postgres, Kind::Redis], &|line| eprintln!("{line}"))?;
    let postgres = binaries.tool(Kind::Postgres, "postgres")?.arg("--version").must_succeed()?;
    let redis = binaries.program(Kind::Redis)?.file_name().unwrap_or_default().to_owned();
    let redis = binaries.tool(Kind::Redis, &redis.to_string_lossy())?.arg("--version").must_succeed()?;
    let cores = std::thread::available_parallelism()?;
    let now = rfc3339(SystemClock::new().now().unix_ms);
    Ok(vec![
        format!("{now}, commit {}", said_by("git", &["describe", "--always", "--dirty"])),
        format!("{cores} cores: {}; {} of memory", cpu(), memory()),
        format!("Linux {}; load before the run {}", file("/proc/sys/kernel/osrelease"), file("/proc/loadavg")),
        format!("{}; {}; {}", said_by("rustc", &["--version"]), postgres.trim(), redis.trim()),
    ])
}

/// Of a tool that need not be there.
fn said_by(program: &str, args: &[&str]) -> String {
    Launch::new(program, program).args(args).must_succeed().map_or_else(|_| format!("{program} unknown"), |said| said.trim().to_owned())
}

fn file(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn line(path: &str, name: &str) -> Option<String> {
    let text = file(path);
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn cpu() -> String {
    line("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned())
}

fn memory() -> String {
    line("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned())
}
