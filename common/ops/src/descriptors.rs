//! Open files and sockets, of which a process may have only so many. What there are many of must not take those that Postgres, Redis and the
//! admin page need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are kept back.
const RESERVE: u64 = 128;

/// Takes as many descriptors as the system allows without asking an administrator. For a process's start.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised to what the system allows");
    }
}

/// For how many of the `wanted` things, each with a descriptor, this process has room; `knob` is what wants them. Fewer are worth a warning.
pub fn that_fit(knob: &str, wanted: usize) -> usize {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return wanted };
    let fit = fit(wanted, limit);
    if fit < wanted {
        tracing::warn!(
            open_files = limit,
            fit,
            wanted,
            "{knob} does not fit into the limit of open files; raise that (ulimit -n, LimitNOFILE in systemd) by {} or lower the knob",
            wanted - fit
        );
    }
    fit
}

fn fit(wanted: usize, limit: u64) -> usize {
    // With next to nothing, half is for either.
    let left = limit.saturating_sub(RESERVE).max(limit / 2);
    wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept_back() {
        for (wanted, limit, expected) in
            [(20_000, 65_536, 20_000), (20_000, 20_128, 20_000), (20_000, 20_000, 19_872), (100, 256, 100), (1_000, 200, 100), (5, 8, 4)]
        {
            assert_eq!(fit(wanted, limit), expected, "{wanted} with {limit}");
        }
    }
}
