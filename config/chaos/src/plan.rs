//! Which faults strike when: decided before the run from a seed, so that the same seed means the same run. Pure; carrying faults out is
//! [`crate::fleet`]'s.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Fault {
    /// kill -9 of an edge, started again at once.
    KillEdge,
    /// kill -9 of a worker, started again at once.
    KillWorker,
    /// An edge is asked to stop, and started again when it has.
    RestartEdge,
    /// A worker is asked to stop, and started again when it has.
    RestartWorker,
    /// kill -9 of Redis, which comes back empty.
    KillRedis,
    /// FLUSHALL, once.
    Flush,
    /// FLUSHALL every 2 s.
    FlushStorm,
    /// Redis stands still for 0.7, 1.5 or 10 s.
    StallRedis,
    /// Redis can be reached, but nothing comes back.
    CutRedis,
    /// Redis cannot write its log and refuses every write.
    FullRedisDisk,
    /// kill -9 of Postgres and all of its processes.
    KillPostgres,
    /// Postgres' immediate shutdown, and crash recovery.
    RestartPostgres,
    /// All of our sessions are terminated by the operator.
    TerminateBackends,
    /// One connection to Postgres is cut off without a word.
    CutBackend,
    /// Postgres answers 50 ms late.
    SlowPostgres,
    /// Postgres stands still.
    StallPostgres,
    /// The disk under Postgres is full.
    FullPostgresDisk,
    /// One worker's clock is ten minutes ahead or behind.
    SkewClock,
    /// One worker is stopped for two minutes and goes on as if nothing had been. Other faults strike meanwhile.
    Zombie,
}

impl Fault {
    /// Every kind there is.
    pub const ALL: [Fault; 19] = [
        Fault::KillEdge,
        Fault::KillWorker,
        Fault::RestartEdge,
        Fault::RestartWorker,
        Fault::KillRedis,
        Fault::Flush,
        Fault::FlushStorm,
        Fault::StallRedis,
        Fault::CutRedis,
        Fault::FullRedisDisk,
        Fault::KillPostgres,
        Fault::RestartPostgres,
        Fault::TerminateBackends,
        Fault::CutBackend,
        Fault::SlowPostgres,
        Fault::StallPostgres,
        Fault::FullPostgresDisk,
        Fault::SkewClock,
        Fault::Zombie,
    ];

    /// What it is done to. Two faults of one round have different victims: one must not make it impossible to mend the other.
    fn victim(self) -> Victim {
        match self {
            Fault::KillEdge | Fault::RestartEdge => Victim::Edge,
            Fault::KillWorker | Fault::RestartWorker | Fault::SkewClock | Fault::Zombie => Victim::Worker,
            Fault::KillRedis | Fault::Flush | Fault::FlushStorm | Fault::StallRedis | Fault::CutRedis | Fault::FullRedisDisk => {
                Victim::Redis
            }
            Fault::KillPostgres
            | Fault::RestartPostgres
            | Fault::TerminateBackends
            | Fault::CutBackend
            | Fault::SlowPostgres
            | Fault::StallPostgres
            | Fault::FullPostgresDisk => Victim::Postgres,
        }
    }

    /// How long it lasts, by chance.
    fn hold(self, rng: &mut StdRng) -> Duration {
        let millis = match self {
            // Over in the moment in which they strike.
            Fault::KillEdge | Fault::KillWorker | Fault::RestartEdge | Fault::RestartWorker | Fault::Flush | Fault::TerminateBackends => 0,
            Fault::StallRedis => [700, 1_500, 10_000][rng.random_range(0..3)],
            Fault::FlushStorm => rng.random_range(4_000..7_000),
            Fault::CutRedis | Fault::FullRedisDisk | Fault::CutBackend | Fault::SlowPostgres => rng.random_range(500..4_000),
            Fault::KillRedis | Fault::KillPostgres | Fault::RestartPostgres | Fault::StallPostgres => rng.random_range(100..3_000),
            // A program looks at a wrong clock within three seconds.
            Fault::FullPostgresDisk | Fault::SkewClock => rng.random_range(4_000..6_000),
            Fault::Zombie => 120_000,
        };
        Duration::from_millis(millis)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self);
        f.write_str(value.as_ref().map_or("?", clap::builder::PossibleValue::get_name))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Edge,
    Worker,
    Redis,
    Postgres,
}

/// A fault, whom it strikes, when and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// What.
    pub fault: Fault,
    /// After the round's beginning.
    pub after: Duration,
    /// Until it is mended.
    pub hold: Duration,
    /// Chooses among equals: which edge, which worker, which connection, ahead or behind.
    pub chance: u32,
}

/// One or two strikes. The next round begins when the system has healed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// In the order in which they strike.
    pub strikes: Vec<Strike>,
}

/// `count` rounds. Every kind of fault comes once before any comes again, and in some rounds two strike together.
pub fn rounds(seed: u64, count: usize, faults: &[Fault]) -> Vec<Round> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut deck: Vec<Fault> = Vec::new();
    let mut draw = |rng: &mut StdRng, beside: Option<Fault>| {
        if deck.is_empty() {
            deck.extend_from_slice(faults);
            deck.shuffle(rng);
        }
        let fits = deck.last().is_some_and(|fault| beside.is_none_or(|beside| beside.victim() != fault.victim()));
        if fits { deck.pop() } else { None }
    };
    let strike = |rng: &mut StdRng, fault: Fault| Strike {
        fault,
        after: Duration::from_millis(rng.random_range(0..1_000)),
        hold: fault.hold(rng),
        chance: rng.random(),
    };
    let mut round = |rng: &mut StdRng| {
        let first = draw(rng, None);
        let second = if rng.random_ratio(1, 4) { draw(rng, first) } else { None };
        let mut strikes: Vec<Strike> = first.into_iter().chain(second).map(|fault| strike(rng, fault)).collect();
        strikes.sort_by_key(|strike| strike.after);
        Round { strikes }
    };
    (0..count).map(|_| round(&mut rng)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_a_run() {
        assert_eq!(rounds(7, 50, &Fault::ALL), rounds(7, 50, &Fault::ALL));
        assert_ne!(rounds(7, 50, &Fault::ALL), rounds(8, 50, &Fault::ALL));
    }

    #[test]
    fn every_kind_comes_before_any_comes_again() {
        for seed in 0..20 {
            let struck: Vec<Fault> = rounds(seed, 40, &Fault::ALL).iter().flat_map(|round| &round.strikes).map(|s| s.fault).collect();
            // Within a round they are sorted by time, so that the last of a deck may change places with the first of the next.
            let first: BTreeSet<Fault> = struck[..=Fault::ALL.len()].iter().copied().collect();
            assert_eq!(first.len(), Fault::ALL.len(), "{struck:?}");
        }
        for round in rounds(3, 500, &Fault::ALL) {
            assert!(round.strikes.len() < 2 || round.strikes[0].fault.victim() != round.strikes[1].fault.victim(), "{round:?}");
        }
        assert!(rounds(3, 500, &Fault::ALL).iter().any(|round| round.strikes.len() == 2));
        assert!(rounds(1, 3, &[]).iter().all(|round| round.strikes.is_empty()));
    }

    #[test]
    fn faults_are_called_what_the_command_line_calls_them() {
        assert_eq!(Fault::KillEdge.to_string(), "kill-edge");
        let names: BTreeSet<String> = Fault::ALL.iter().map(Fault::to_string).collect();
        assert_eq!(names.len(), Fault::ALL.len());
    }
}
