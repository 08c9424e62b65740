//! Files of license keys: one key a line, or CSV with the keys in its first column or in the one that its header calls `license_key` or
//! `key`. Read line by line and never whole; a line that could be meant in two ways is refused, because a wrong key would be sold.

use std::io::{self, BufRead, Read as _};

use common::license::LicenseKey;

/// The longest line, in bytes. A key has at most 512; the rest is room for other columns.
const LINE_MAX_BYTES: usize = 16 * 1_024;
const HEADERS: [&str; 2] = ["license_key", "key"];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One line that should hold a key.
#[derive(Debug)]
pub struct Entry {
    /// Counted from 1, as editors do.
    pub line: u64,
    /// The key, or why it is none. Never repeats the line.
    pub key: Result<LicenseKey, String>,
}

/// Why the file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Its storage fails.
    #[error("line {line}: cannot be read: {error}")]
    Io {
        /// Counted from 1.
        line: u64,
        /// Why.
        error: io::Error,
    },
    /// No line of keys.
    #[error("line {line}: longer than {LINE_MAX_BYTES} bytes; a file of license keys has one key a line")]
    Long {
        /// Counted from 1.
        line: u64,
    },
    /// What follows would be misread.
    #[error("line {line}: a quoted value does not end on its line; write every value on one line")]
    OpenQuote {
        /// Counted from 1.
        line: u64,
    },
    /// Another kind of table.
    #[error("line 1: columns are to be separated by commas; save the file as CSV with commas, or with the license keys alone")]
    Separator,
}

impl FileError {
    /// The same with its line counted otherwise: where what was read is a part of a file.
    pub fn at(self, count: &impl Fn(u64) -> u64) -> Self {
        match self {
            Self::Io { line, error } => Self::Io { line: count(line), error },
            Self::Long { line } => Self::Long { line: count(line) },
            Self::OpenQuote { line } => Self::OpenQuote { line: count(line) },
            Self::Separator => Self::Separator,
        }
    }
}

/// A file of keys, read as its entries are asked for. Ends after the first error.
pub struct KeyFile<R> {
    input: R,
    line: u64,
    /// Where the keys are, once the first line has said it.
    column: Option<Column>,
    buffer: Vec<u8>,
    failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    /// There is no header, and so there must be no other column.
    Only,
    Named(usize),
}

impl<R: BufRead> KeyFile<R> {
    /// A file from its beginning.
    pub fn new(input: R) -> Self {
        Self { input, line: 0, column: None, buffer: Vec::new(), failed: false }
    }

    /// The next line that holds anything, without its end. `None` at the end of the file.
    fn next_line(&mut self) -> Result<Option<&[u8]>, FileError> {
        loop {
            self.line += 1;
            let line = self.line;
            self.buffer.clear();
            let mut limited = (&mut self.input).take(LINE_MAX_BYTES as u64 + 2);
            limited.read_until(b'\n', &mut self.buffer).map_err(|error| FileError::Io { line, error })?;
            if self.buffer.is_empty() {
                return Ok(None);
            }
            if line == 1 && self.buffer.starts_with(BYTE_ORDER_MARK) {
                self.buffer.drain(..BYTE_ORDER_MARK.len());
            }
            if self.buffer.trim_ascii().len() > LINE_MAX_BYTES {
                return Err(FileError::Long { line });
            }
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        Ok(Some(self.buffer.trim_ascii()))
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, FileError> {
        loop {
            let Some(text) = self.next_line()? else { return Ok(None) };
            let parsed = fields(text);
            let line = self.line;
            let Some(fields) = parsed.map_err(|OpenQuote| FileError::OpenQuote { line })? else {
                self.column.get_or_insert(Column::Only);
                return Ok(Some(Entry { line, key: Err("not UTF-8 text, or a control character in it".into()) }));
            };
            let column = match self.column {
                Some(column) => column,
                None => {
                    let named = named_column(&fields)?;
                    self.column = Some(named.map_or(Column::Only, Column::Named));
                    if named.is_some() {
                        continue;
                    }
                    Column::Only
                }
            };
            return Ok(Some(Entry { line, key: key_of(&fields, column) }));
        }
    }
}

impl<R: BufRead> Iterator for KeyFile<R> {
    type Item = Result<Entry, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_entry().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

struct OpenQuote;

/// The values of one line. `None` when it is not text.
fn fields(line: &[u8]) -> Result<Option<csv::StringRecord>, OpenQuote> {
    // A carriage return would end the record, and what follows it would be lost.
    if line.contains(&b'\r') {
        return Ok(None);
    }
    if !line.contains(&b'"') {
        // Nearly every line, and a hundred times faster.
        return Ok(std::str::from_utf8(line).ok().map(|text| text.split(',').collect()));
    }
    let ended = [line, b"\n"].concat();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).buffer_capacity(ended.len()).from_reader(ended.as_slice());
    let mut record = csv::ByteRecord::new();
    if !reader.read_byte_record(&mut record).is_ok_and(|found| found) {
        return Ok(None);
    }
    // Only a quote that is still open lets the line's end into a value.
    if record.iter().any(|value| value.contains(&b'\n')) {
        return Err(OpenQuote);
    }
    Ok(csv::StringRecord::from_byte_record(record).ok())
}

/// Which column a header names, if this is one.
fn named_column(fields: &csv::StringRecord) -> Result<Option<usize>, FileError> {
    let is_header = |value: &str| HEADERS.iter().any(|header| value.trim().eq_ignore_ascii_case(header));
    if fields.len() == 1 && fields[0].contains([';', '\t', '|']) && fields[0].split([';', '\t', '|']).any(is_header) {
        return Err(FileError::Separator);
    }
    Ok(HEADERS.iter().find_map(|header| fields.iter().position(|value| value.trim().eq_ignore_ascii_case(header))))
}

fn key_of(fields: &csv::StringRecord, column: Column) -> Result<LicenseKey, String> {
    let value = match column {
        Column::Only if fields.len() > 1 => {
            return Err("more than one column; name the column of the keys license_key in a header line".into());
        }
        Column::Only => fields.get(0),
        Column::Named(index) => fields.get(index),
    };
    let value = value.filter(|value| !value.trim().is_empty()).ok_or("there is no license key")?;
    LicenseKey::parse(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line's key, or `!`; and how the file ended.
    fn read(text: impl AsRef<[u8]>) -> (Vec<(u64, String)>, Option<String>) {
        let (mut entries, mut error) = (Vec::new(), None);
        for entry in KeyFile::new(text.as_ref()) {
            match entry {
                Ok(Entry { line, key }) => entries.push((line, key.map_or_else(|_| "!".to_owned(), |key| key.expose().to_owned()))),
                Err(failed) => error = Some(failed.to_string()),
            }
        }
        (entries, error)
    }

    fn keys(text: impl AsRef<[u8]>) -> Vec<(u64, String)> {
        let (entries, error) = read(text);
        assert_eq!(error, None);
        entries
    }

    fn expected(entries: &[(u64, &str)]) -> Vec<(u64, String)> {
        entries.iter().map(|&(line, key)| (line, key.to_owned())).collect()
    }

    #[test]
    fn one_key_a_line_in_every_flavor_of_text() {
        assert_eq!(keys("AAA\nBBB\nCCC"), expected(&[(1, "AAA"), (2, "BBB"), (3, "CCC")]));
        assert_eq!(keys("\u{feff}AAA\r\n\r\n  \r\n BBB \r\n"), expected(&[(1, "AAA"), (4, "BBB")]));
        assert_eq!(keys("A\"B\nkäy ½"), expected(&[(1, "A\"B"), (2, "käy ½")]));
        assert!(keys("").is_empty() && keys("\n\n").is_empty());
    }

    #[test]
    fn csv_names_its_column() {
        assert_eq!(keys("license_key\nAAA\n"), expected(&[(2, "AAA")]));
        assert_eq!(keys("License_Key,note\nAAA,x\n\"B,B\"\"B\",\"y, z\"\n"), expected(&[(2, "AAA"), (3, "B,B\"B")]));
        assert_eq!(keys("id, key\n1,AAA\n2\n3, \n4,BBB,more\n"), expected(&[(2, "AAA"), (3, "!"), (4, "!"), (5, "BBB")]));
        assert_eq!(keys("key,license_key\nno,AAA\n"), expected(&[(2, "AAA")]));
    }

    #[test]
    fn what_could_be_meant_in_two_ways_is_no_key() {
        assert_eq!(keys("AAA,first\nBBB"), expected(&[(1, "!"), (2, "BBB")]));
        assert_eq!(keys("AAA\nx\ty\na\rb\n"), expected(&[(1, "AAA"), (2, "!"), (3, "!")]));
        assert_eq!(keys(format!("{}\n{}\n", "x".repeat(512), "x".repeat(513))), [(1, "x".repeat(512)), (2, "!".to_owned())]);
        assert_eq!(keys(b"\xff\xfeA\0\nAAA\n"), expected(&[(1, "!"), (2, "AAA")]));
    }

    #[test]
    fn what_would_be_misread_from_here_on_ends_the_file() {
        let (entries, error) = read("license_key,note\nAAA,\"one\ntwo\"\nBBB,x\n");
        assert!(entries.is_empty() && error.unwrap().starts_with("line 2: a quoted value"));
        let (entries, error) = read(format!("AAA\n{}\nBBB\n", "x".repeat(LINE_MAX_BYTES + 1)));
        assert_eq!(entries, expected(&[(1, "AAA")]));
        assert!(error.unwrap().starts_with("line 2: longer than"));
        assert!(read("license_key;note\nAAA;x\n").1.unwrap().contains("commas"));
        assert!(read("id\tkey\nAAA\tx\n").1.unwrap().contains("commas"));
    }
}
