//! Files of `NAME='value'` lines that `sh` can source and we can read back.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

use crate::folder::write_private;

/// Names and values, in the order they are to be written.
pub type Pairs = Vec<(&'static str, String)>;

/// Writes the file for our eyes only.
pub fn write(path: &Path, pairs: &Pairs) -> Result<()> {
    let lines: String = pairs.iter().map(|(name, value)| format!("{name}={}\n", quote(value))).collect();
    write_private(path, &lines)
}

/// Reads what [`write()`] wrote; nothing there is an empty map.
pub fn read(path: &Path) -> Result<BTreeMap<String, String>> {
    match fs::read_to_string(path) {
        Ok(text) => {
            Ok(text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), unquote(value))).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// In single quotes the shell leaves everything alone but the quote itself.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

fn unquote(value: &str) -> String {
    value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap_or(value).replace(r"'\''", "'")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    const AWKWARD: &str = r#"postgres://u:p'"$(id)`id`\@h/d?a=b&c=d #x"#;

    #[test]
    fn the_shell_and_we_read_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        write(&path, &vec![("A", AWKWARD.to_owned()), ("B", "1 2 3".to_owned()), ("C", String::new())]).unwrap();
        let read_back = read(&path).unwrap();
        assert_eq!(read_back["A"], AWKWARD);
        assert_eq!(read_back["C"], "");
        let script = format!(". {} && printf '%s|%s|%s' \"$A\" \"$B\" \"$C\"", path.display());
        let output = Command::new("sh").args(["-euc", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{AWKWARD}|1 2 3|"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_not_there_is_empty() {
        assert!(read(Path::new("/nowhere/env")).unwrap().is_empty());
    }
}
