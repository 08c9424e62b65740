//! The live line under a running stack, and the watch over its processes.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use testkit::store_server::StoreServer;

use crate::http::metric_sum;
use crate::interrupt::Interrupt;
use crate::system::System;

const INTERVAL: Duration = Duration::from_secs(1);

/// Returns when a signal has come; fails when a process has ended by itself. Without a terminal nothing is drawn.
pub fn watch(system: &mut System, store_server: &StoreServer, interrupt: &Interrupt) -> Result<()> {
    let started = Instant::now();
    let draws = std::io::stdout().is_terminal();
    let mut last: Option<(Instant, f64)> = None;
    while !interrupt.raised() {
        system.check_alive()?;
        if draws {
            let requests = total(system);
            let now = Instant::now();
            let rate = match (requests, last) {
                (Some(requests), Some((then, before))) => Some((requests - before).max(0.0) / now.duration_since(then).as_secs_f64()),
                _ => None,
            };
            last = requests.map(|requests| (now, requests));
            draw(&line(system, store_server, started.elapsed(), requests, rate));
        }
        interrupt.wait(&system.endings(), INTERVAL)?;
    }
    if draws {
        println!();
    }
    Ok(())
}

fn total(system: &System) -> Option<f64> {
    system.edges.iter().filter_map(|edge| metric_sum(&edge.metrics()?, "edge_requests_total")).reduce(|sum, requests| sum + requests)
}

fn line(system: &System, store_server: &StoreServer, uptime: Duration, requests: Option<f64>, rate: Option<f64>) -> String {
    let ready = |services: &[crate::system::Service]| {
        format!("{}/{}", services.iter().filter(|service| service.is_ready()).count(), services.len())
    };
    let ours = |ours: bool| if ours { "up" } else { "yours" };
    let queued = system.workers.first().and_then(|worker| metric_sum(&worker.metrics()?, "worker_queue_entries"));
    format!(
        "up {} · edge {} · worker {} · postgres {} · redis {} · {} requests ({}/s) · {} jobs queued · {} webhooks heard{} · Ctrl-C stops",
        clock(uptime),
        ready(&system.edges),
        ready(&system.workers),
        ours(system.postgres.is_some()),
        ours(system.redis.is_some()),
        grouped(requests),
        grouped(rate),
        grouped(queued),
        grouped(Some(store_server.verified() as f64)),
        if store_server.refused() > 0 { format!(", {} REFUSED", store_server.refused()) } else { String::new() },
    )
}

fn draw(line: &str) {
    let mut out = std::io::stdout().lock();
    // A terminal that is gone will tell by SIGHUP; the stack does not end over a status line.
    let _ = write!(out, "\r\x1b[K{line}").and_then(|()| out.flush());
}

fn clock(time: Duration) -> String {
    let s = time.as_secs();
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// `1,234,567`; what is not known yet is a dash.
fn grouped(number: Option<f64>) -> String {
    let Some(number) = number else { return "–".to_owned() };
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_for_eyes() {
        assert_eq!(grouped(Some(0.0)), "0");
        assert_eq!(grouped(Some(999.4)), "999");
        assert_eq!(grouped(Some(1_234_567.0)), "1,234,567");
        assert_eq!(grouped(None), "–");
        assert_eq!(clock(Duration::from_secs(3_725)), "1:02:05");
    }
}
