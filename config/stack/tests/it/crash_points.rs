//! An execution may end at any moment. Every moment that has a name (`storage::crash_point::POINTS`) is walked to, alone and followed by
//! every other that the recovery comes by: what was acknowledged is never lost, nothing is doubled, and all of it heals alone.

mod kind;
mod lane;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use storage::crash_point::POINTS;
use tokio::task::{JoinSet, LocalSet};

use self::kind::Kind;
use self::lane::{End, Lane, Walked};
use crate::system::alone;

/// Walks side by side. Each waits more than it works.
const LANES: usize = 8;
/// A walk that did not come to its end, because something was faster this time, is walked again.
const TRIES: usize = 3;

/// A piece of work, and where it is interrupted.
type Walk = (Kind, Vec<End>);

/// Walks all of these, side by side. On one thread: what works has threads of its own.
async fn walk_all(lanes: Vec<Lane>, walks: Vec<Walk>) -> (Vec<Lane>, Vec<(Walk, Walked)>) {
    let left = Rc::new(RefCell::new(VecDeque::from(walks)));
    let (local, mut walking) = (LocalSet::new(), JoinSet::new());
    for mut lane in lanes {
        let left = left.clone();
        let walk_one_after_the_other = async move {
            let mut walked = Vec::new();
            loop {
                let next = left.borrow_mut().pop_front();
                let Some((kind, ends)) = next else {
                    lane.audit().await;
                    return (lane, walked);
                };
                let how = lane.walk(kind, &ends).await;
                walked.push(((kind, ends), how));
            }
        };
        walking.spawn_local_on(walk_one_after_the_other, &local);
    }
    let (lanes, walked): (Vec<_>, Vec<_>) = local.run_until(walking.join_all()).await.into_iter().unzip();
    (lanes, walked.into_iter().flatten().collect())
}

/// As [`walk_all`], and those again that did not come to all of their ends. Returns what was reached after the last end of each walk that
/// did, and the walks that never did.
async fn walk_to_ends(mut lanes: Vec<Lane>, walks: Vec<Walk>, tries: usize) -> (Vec<Lane>, BTreeMap<Walk, BTreeSet<End>>, Vec<Walk>) {
    let (mut come, mut left) = (BTreeMap::new(), walks);
    for _ in 0..tries {
        let walked;
        (lanes, walked) = walk_all(lanes, std::mem::take(&mut left)).await;
        for ((kind, ends), how) in walked {
            if how.ends == ends.len() {
                come.insert((kind, ends), how.reached);
            } else {
                left.push((kind, ends));
            }
        }
    }
    (lanes, come, left)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_wherever_and_again_nothing_is_lost_or_doubled() {
    let _turn = alone().await;
    let began = Instant::now();
    let mut lanes = Vec::new();
    for number in 0..LANES {
        lanes.push(Lane::new(number).await);
    }

    // What each kind comes by when nothing happens to it. On a busy machine a kind may take another's way, and has its own next time.
    let (mut singles, mut missed): (BTreeSet<Walk>, Vec<&str>) = (BTreeSet::new(), POINTS.to_vec());
    for _ in 0..TRIES {
        let undisturbed;
        (lanes, undisturbed) = walk_all(lanes, Kind::ALL.iter().map(|&kind| (kind, Vec::new())).collect()).await;
        singles.extend(undisturbed.into_iter().flat_map(|((kind, _), how)| how.reached.into_iter().map(move |end| (kind, vec![end]))));
        missed.retain(|point| !singles.iter().any(|(_, ends)| ends[0].at == *point));
        if missed.is_empty() {
            break;
        }
    }
    assert!(missed.is_empty(), "no kind of work comes by {missed:?}");
    // That many license keys take their time: only where nothing smaller comes by.
    let elsewhere: BTreeSet<End> = singles.iter().filter(|(kind, _)| *kind != Kind::Large).map(|(_, ends)| ends[0]).collect();
    singles.retain(|(kind, ends)| *kind != Kind::Large || !elsewhere.contains(&ends[0]));
    println!("crash points: {}, found after {:?}", POINTS.len(), began.elapsed());

    let (lanes, recovered, never) = walk_to_ends(lanes, singles.into_iter().collect(), TRIES).await;
    println!("singles: {} walked, {} overtaken; after {:?}", recovered.len(), never.len(), began.elapsed());
    let ended_at: BTreeSet<&str> = recovered.keys().map(|(_, ends)| ends[0].at).collect();
    let missed: Vec<_> = POINTS.iter().filter(|point| !ended_at.contains(*point)).collect();
    assert!(missed.is_empty(), "nothing ended at {missed:?}");

    // Each point once, in the first kind of work that has it, followed by all that its recovery came by.
    let mut firsts = BTreeSet::new();
    let of_first_kinds = recovered.into_iter().filter(|((_, ends), _)| firsts.insert(ends[0].at));
    let pairs: Vec<Walk> =
        of_first_kinds.flat_map(|((kind, ends), reached)| reached.into_iter().map(move |second| (kind, vec![ends[0], second]))).collect();
    let count = pairs.len();
    println!("pairs: {count} to walk");
    let (_lanes, walked, never) = walk_to_ends(lanes, pairs, 2).await;
    println!("pairs: {} walked, {} overtaken by the recovery; after {:?}", walked.len(), never.len(), began.elapsed());
    // Most of them must come to be, or it is not pairs that are walked.
    assert!(walked.len() * 2 > count, "{} of {count} pairs", walked.len());
}

/// What is between the quotes of every `reach("…")` in a folder's Rust files.
fn points_below(folder: &Path, points: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            points_below(&path, points);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("source");
            let calls = text.split("reach(\"").skip(1).filter_map(|rest| rest.split_once("\").await;"));
            points.extend(calls.map(|(point, _)| point.to_owned()));
        }
    }
}

#[test]
fn the_list_of_points_is_what_the_source_has() {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for room in ["common/storage/src", "edge/src", "worker/src"] {
        points_below(&top.join(room), &mut found);
    }
    found.sort_unstable();
    let mut listed: Vec<&str> = POINTS.to_vec();
    listed.sort_unstable();
    assert_eq!(found, listed, "each point stands in one place of the source and once in the list");
}

/// Nothing that is shipped has them: without a test's asking, no feature of any dependency turns them on.
#[test]
fn what_is_shipped_has_no_crash_points() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let tree = |edges: &str| {
        let mut command = std::process::Command::new(&cargo);
        command.args(["tree", "--offline", "--locked", "--workspace", "--prefix", "none", "--format", "{p} {f}", "--edges", edges]);
        let output = command.arg("--manifest-path").arg(&manifest).output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(tree("normal,build,dev").contains("crash-points"), "tests have them");
    assert!(!tree("normal,build").contains("crash-points"));
}
