//! What a run came to, for people: per kind of fault how often it struck, how callers were answered meanwhile and how fast the fleet was
//! back; and what was broken, if anything.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use testkit::process::Usage;

use crate::judge::{RULES, Violation};
use crate::load::{Completion, Kind};
use crate::partner;
use crate::payer;
use crate::plan::Fault;

/// A round as it went.
#[derive(Debug, Clone)]
pub struct Healed {
    /// What struck.
    pub faults: Vec<Fault>,
    /// When the first strike fell, after the run's beginning.
    pub struck: Duration,
    /// When the last was mended.
    pub mended: Duration,
    /// How long after that new orders were made at 90 % of their rate again.
    pub recovered_after: Duration,
    /// When the round ended.
    pub ended: Duration,
}

/// Everything about a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// What made the plan.
    pub seed: u64,
    /// How long calls were made.
    pub lasted: Duration,
    /// The rounds.
    pub rounds: Vec<Healed>,
    /// The calls.
    pub completions: Vec<Completion>,
    /// Calls that were not made because too many were in flight.
    pub held_back: u64,
    /// How long it took until nothing was being worked on any more.
    pub rested_after: Duration,
    /// What each process held before the first fault, and what it held at rest after the last.
    pub processes: Vec<(String, Usage, Usage)>,
    /// Orders in the end.
    pub orders: usize,
    /// License keys given out in the end.
    pub license_keys: usize,
    /// Events that partners heard of.
    pub events: usize,
    /// How many of Stripe's events were taken.
    pub stripe_events: u64,
    /// Promises that were not kept.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Whether everything held.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    /// Calls answered with 2xx.
    pub fn acknowledged(&self) -> usize {
        self.completions.iter().filter(|completion| (200..300).contains(&completion.status)).count()
    }

    /// How callers were answered while these faults, and no others, struck and healed: statuses, 0 for a connection that broke.
    pub fn statuses_during(&self, faults: &[Fault]) -> Vec<u16> {
        self.rounds.iter().filter(|round| round.faults == faults).flat_map(|round| self.during(round)).collect()
    }

    fn during(&self, round: &Healed) -> impl Iterator<Item = u16> {
        let round = round.struck..round.ended;
        self.completions.iter().filter(move |call| round.contains(&call.at)).map(|call| call.status)
    }

    /// Everything, as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let minutes = self.lasted.as_secs_f64() / 60.0;
        writeln!(out, "seed {}, {} rounds, {minutes:.1} minutes", self.seed, self.rounds.len())?;
        writeln!(out, "\n| fault | rounds | 2xx | 202 | 503 | broken off | back after, median | at worst |")?;
        writeln!(out, "|---|---|---|---|---|---|---|---|")?;
        let mut by_fault: BTreeMap<String, Vec<&Healed>> = BTreeMap::new();
        for round in &self.rounds {
            let name = round.faults.iter().map(Fault::to_string).collect::<Vec<_>>().join(" + ");
            by_fault.entry(if round.faults.len() > 1 { "two at once".into() } else { name }).or_default().push(round);
        }
        for (name, rounds) in &by_fault {
            let statuses: Vec<u16> = rounds.iter().flat_map(|round| self.during(round)).collect();
            let count = |wanted: fn(u16) -> bool| statuses.iter().filter(|status| wanted(**status)).count();
            let mut waits: Vec<Duration> = rounds.iter().map(|round| round.recovered_after).collect();
            waits.sort_unstable();
            let (median, worst) = (seconds(waits[waits.len() / 2]), seconds(waits[waits.len() - 1]));
            let (good, accepted) = (count(|status| (200..300).contains(&status)), count(|status| status == 202));
            let (unavailable, broken) = (count(|status| status == 503), count(|status| status == 0));
            writeln!(out, "| {name} | {} | {good} | {accepted} | {unavailable} | {broken} | {median} | {worst} |", rounds.len())?;
        }
        let mut by_status: BTreeMap<u16, usize> = BTreeMap::new();
        for completion in &self.completions {
            *by_status.entry(completion.status).or_default() += 1;
        }
        let statuses: Vec<String> = by_status
            .iter()
            .map(|(status, count)| if *status == 0 { format!("{count} broken off") } else { format!("{count} × {status}") })
            .collect();
        writeln!(out, "\n{} calls: {}; {} not made for want of room", self.completions.len(), statuses.join(", "), self.held_back)?;
        writeln!(out, "fulfillments that were made: {}", self.latency(|call| call.kind == Kind::First && call.status == 201))?;
        writeln!(out, "503s: {}", self.latency(|call| call.status == 503))?;
        writeln!(out, "{} acknowledged; {} orders with {} license keys", self.acknowledged(), self.orders, self.license_keys)?;
        writeln!(out, "{} of Stripe's events taken", self.stripe_events)?;
        writeln!(out, "partners heard of {} events; at rest after {}", self.events, seconds(self.rested_after))?;
        for (name, before, after) in &self.processes {
            let megabytes = |usage: &Usage| usage.resident_bytes / 1_000_000;
            let (was, is) = (megabytes(before), megabytes(after));
            writeln!(out, "{name}: {was} → {is} MB resident, {} → {} descriptors", before.open_files, after.open_files)?;
        }
        writeln!(out)?;
        let others = partner::RULES.iter().chain(&payer::RULES).map(|(rule, statement)| (rule, statement));
        for (rule, statement) in RULES.iter().map(|(rule, statement, _)| (rule, statement)).chain(others) {
            let broken = self.violations.iter().filter(|violation| violation.rule == *rule).count();
            writeln!(out, "{} {rule}: {statement}", if broken == 0 { "holds ".to_owned() } else { format!("BROKEN {broken} ×") })?;
        }
        for violation in self.violations.iter().take(50) {
            writeln!(out, "  {violation}")?;
        }
        writeln!(out, "\n{}", if self.is_good() { "nothing lost, nothing doubled" } else { "PROMISES WERE BROKEN" })
    }

    fn latency(&self, which: fn(&Completion) -> bool) -> String {
        let mut took: Vec<Duration> = self.completions.iter().filter(|call| which(call)).map(|call| call.took).collect();
        took.sort_unstable();
        let Some(worst) = took.last() else { return "none".into() };
        let (half, most) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        let millis = |time: &Duration| format!("{:.1} ms", time.as_secs_f64() * 1_000.0);
        format!("{}, half of them within {}, 99 % within {}, all within {}", took.len(), millis(&half), millis(&most), millis(worst))
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
