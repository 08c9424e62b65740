//! A short run: every kind of fault once, and every promise kept.

use std::path::PathBuf;
use std::time::Duration;

use chaos::fleet::{Program, Programs};
use chaos::plan::Fault;
use chaos::run::{Options, run};

/// The harness' own program, as an edge or as a worker: there is no other to be found for sure.
fn program(role: &str) -> Program {
    Program { path: PathBuf::from(env!("CARGO_BIN_EXE_chaos")), args: vec![role.to_owned()] }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_fault_strikes_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        seed: 20,
        rounds: Fault::ALL.len(),
        faults: Fault::ALL.to_vec(),
        rate: 40,
        stripe_rate: 100,
        programs: Programs { edge: program("edge"), worker: program("worker") },
        folder: folder.path().to_owned(),
    };
    let report = Box::pin(run(options, |line| eprintln!("{line}"))).await.unwrap();
    println!("{}", report.text());
    if !report.is_good() {
        // For whoever looks for the reason.
        let kept = folder.keep();
        panic!("promises were broken; ledger and logs are kept in {}", kept.display());
    }
    let struck: usize = report.rounds.iter().map(|round| round.faults.len()).sum();
    assert!(struck >= Fault::ALL.len(), "{struck} faults");
    for fault in [Fault::Flush, Fault::FlushStorm, Fault::KillRedis, Fault::StallRedis, Fault::CutRedis] {
        let statuses = report.statuses_during(&[fault]);
        assert!(!statuses.iter().any(|status| *status >= 500), "{fault} is Redis' affair and not the callers': {statuses:?}");
    }
    for round in &report.rounds {
        assert!(round.recovered_after < Duration::from_secs(15), "{round:?}");
    }
    assert!(report.acknowledged() > 1_000, "{} calls acknowledged", report.acknowledged());
}
