//! Who runs the servers. Postgres refuses uid 0, so root hands the children to an unprivileged account.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// An unprivileged account of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its user id.
    pub uid: u32,
    /// Its main group.
    pub gid: u32,
}

impl Account {
    /// `None` when we are not root and the children simply run as us.
    pub fn for_servers() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let account = find(&passwd, "postgres").or_else(|| find(&passwd, "nobody"));
        account.context("running as root, and neither `postgres` nor `nobody` is in /etc/passwd: run this as an ordinary user").map(Some)
    }
}

/// Whether everybody may pass through all folders above `path`, and through `path` itself as far as it exists.
pub fn everybody_can_reach(path: &Path) -> bool {
    path.ancestors().all(|folder| match fs::metadata(folder) {
        Ok(metadata) => metadata.permissions().mode() & 0o001 != 0,
        Err(_) => true,
    })
}

fn find(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let matches = fields.next() == Some(name);
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        matches.then_some(Account { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_from_its_own_line() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nnobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin\n";
        assert_eq!(find(passwd, "nobody"), Some(Account { uid: 65534, gid: 65533 }));
        assert_eq!(find(passwd, "postgres"), None);
    }
}
