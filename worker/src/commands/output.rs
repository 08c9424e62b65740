//! What a command prints: one JSON value for scripts, or text for people; and on a terminal, how far it has come.

use std::io::{IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Failure;

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether scripts read it.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints one result.
    pub fn show(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let shown = if self.json { serde_json::to_string(value).map_err(|error| Failure::other(error.to_string()))? } else { text() };
        let mut stdout = std::io::stdout().lock();
        // Not `println!`, which panics when nobody reads any more.
        let written = writeln!(stdout, "{}", shown.trim_end()).and_then(|()| stdout.flush());
        written.map_err(|error| Failure::other(format!("it is done, but the result cannot be printed: {error}")))
    }

    /// Prints a list; `columns` are the table's titles, and `row` makes a line of it.
    pub fn list<T: Serialize, const N: usize>(
        self,
        items: &[T],
        columns: [&str; N],
        row: impl Fn(&T) -> [String; N],
    ) -> Result<(), Failure> {
        self.show(&items, || {
            let rows: Vec<[String; N]> = std::iter::once(columns.map(str::to_owned)).chain(items.iter().map(row)).collect();
            if items.is_empty() { "(none)".to_owned() } else { table(&rows) }
        })
    }
}

fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// RFC 3339 in UTC.
pub fn time(at: SystemTime) -> String {
    common::clock::rfc3339(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

/// The value, or a dash where a table has nothing to show.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// One line on a terminal that says how far a long command is.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
}

impl Progress {
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal() }
    }

    /// Replaces the line.
    pub fn say(&self, line: &str) {
        if self.terminal {
            // Only decoration: without it the command does the same.
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.say("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["SLUG", "NAME"], ["a", "Größe"], ["longer", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "SLUG    NAME\na       Größe\nlonger  x");
    }
}
