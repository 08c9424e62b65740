//! What was promised, what was measured, and whether the one keeps the other.

use std::fmt::Write;

use crate::spread::Spread;

/// Which side of a bound is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Good {
    /// Less is better.
    AtMost,
    /// More is better.
    AtLeast,
}

/// A line of the table of budgets.
#[derive(Debug, Clone, PartialEq)]
pub struct Promise {
    /// What is promised.
    pub what: &'static str,
    /// Which side is good.
    pub good: Good,
    /// What has to be reached.
    pub must: f64,
    /// What is really wanted.
    pub glory: f64,
    /// Written behind the numbers.
    pub unit: &'static str,
    /// How many decimals to show of measurements.
    pub decimals: usize,
}

/// What became of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not even what must be.
    Missed,
    /// What must be.
    Met,
    /// All that was wanted.
    Glory,
}

impl Promise {
    /// Judges a measurement.
    pub fn verdict(&self, measured: f64) -> Verdict {
        let keeps = |bound: f64| match self.good {
            Good::AtMost => measured <= bound,
            Good::AtLeast => measured >= bound,
        };
        match (keeps(self.must), keeps(self.glory)) {
            (_, true) => Verdict::Glory,
            (true, false) => Verdict::Met,
            (false, false) => Verdict::Missed,
        }
    }

    fn bound(&self, value: f64) -> String {
        let sign = if self.good == Good::AtMost { '≤' } else { '≥' };
        format!("{sign} {value}{}", self.unit)
    }
}

/// A promise and what was measured of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was promised.
    pub promise: Promise,
    /// What was measured, over all rounds.
    pub measured: Spread,
}

/// What one part, or all of them, came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// What was promised and measured.
    pub rows: Vec<Row>,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
}

impl Report {
    /// Adds a line to the table.
    pub fn measured(&mut self, promise: Promise, measured: Spread) {
        self.rows.push(Row { promise, measured });
    }

    /// Adds a remark.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Adds all of another.
    pub fn add(&mut self, other: Report) {
        self.rows.extend(other.rows);
        self.notes.extend(other.notes);
    }

    /// Whether everything that must be is.
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.promise.verdict(row.measured.median) != Verdict::Missed)
    }

    /// A Markdown table, and the remarks.
    pub fn markdown(&self) -> String {
        let mut text = String::from("| what | must | glory | measured: median (min–max) | verdict |\n|---|---|---|---|---|\n");
        for Row { promise, measured } in &self.rows {
            let verdict = match promise.verdict(measured.median) {
                Verdict::Missed => "**missed**",
                Verdict::Met => "met",
                Verdict::Glory => "glory",
            };
            let (must, glory) = (promise.bound(promise.must), promise.bound(promise.glory));
            let measured = format!("{}{}", measured.text(promise.decimals), promise.unit);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {} | {must} | {glory} | {measured} | {verdict} |", promise.what);
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(good: Good, must: f64, glory: f64) -> Promise {
        Promise { what: "something", good, must, glory, unit: " ms", decimals: 1 }
    }

    #[test]
    fn a_bound_is_kept_on_its_good_side() {
        let fast = promise(Good::AtMost, 100.0, 40.0);
        assert_eq!([40.0, 40.1, 100.0, 100.1].map(|ms| fast.verdict(ms)), [Verdict::Glory, Verdict::Met, Verdict::Met, Verdict::Missed]);
        let many = promise(Good::AtLeast, 2.0, 2.5);
        assert_eq!([2.5, 2.4, 2.0, 1.9].map(|ratio| many.verdict(ratio)), [Verdict::Glory, Verdict::Met, Verdict::Met, Verdict::Missed]);
        assert_eq!(fast.verdict(f64::NAN), Verdict::Missed);
    }

    #[test]
    fn one_missed_promise_is_a_bad_report() {
        let mut report = Report::default();
        report.measured(promise(Good::AtMost, 100.0, 40.0), Spread::of([30.0, 31.0, 500.0]));
        assert!(report.is_good(), "the median counts");
        report.note("quiet");
        report.measured(promise(Good::AtMost, 100.0, 40.0), Spread::of([130.0, 131.0, 50.0]));
        assert!(!report.is_good());
        let text = report.markdown();
        assert!(text.contains("| something | ≤ 100 ms | ≤ 40 ms | 31.0 (30.0–500.0) ms | glory |"), "{text}");
        assert!(text.contains("| 130.0 (50.0–131.0) ms | **missed** |") && text.ends_with("\n- quiet\n"), "{text}");
    }
}
