//! Requests that might be read in two ways: none is answered twice, none is taken for one when it is not, and what was hidden behind one is
//! never heard of.

mod http2;
mod table;

use futures_util::StreamExt;
use testkit::http::Response;

use crate::stage::{Backstage, Stage};
use crate::wire::{Wire, get};
pub use table::{Case, HIDDEN, Outcome, table};

/// The name of the request that is sent behind each.
const BEHIND: &str = "behind";
/// How many connections are open at the same time.
const AT_ONCE: usize = 32;

/// A stage on which nobody is waited for long.
pub fn hasty(backstage: Backstage) -> Backstage {
    ["BODY_TIMEOUT_MS", "HEAD_TIMEOUT_MS"]
        .into_iter()
        .fold(backstage.unlimited_addresses(), |backstage, knob| backstage.set(&format!("EDGE__{knob}"), "1500"))
}

/// How many requests the edge has answered that it took for some.
pub fn requests(stage: &Stage) -> u64 {
    use ops::prometheus::core::Collector;
    let families = stage.running.edge.metrics.requests_total.collect();
    families.iter().flat_map(|family| family.get_metric()).map(|metric| metric.get_counter().get_value() as u64).sum()
}

/// Says this and another request behind it, and hears everything until the end of the connection. An answer to HEAD has no body.
async fn told(stage: &Stage, case: &Case) -> Vec<Response> {
    let mut wire = Wire::connect(stage.address).await;
    let behind = get("/developers/errors/not_found/", &format!("x-request-id: {BEHIND}\r\nconnection: close\r\n"));
    // Who is refused in the middle of it need not have read it all.
    wire.try_say([&case.bytes, behind.as_bytes()].concat()).await;
    let is_head = case.bytes.starts_with(b"HEAD ");
    let mut answers = Vec::new();
    while !wire.silent().await {
        let answer = if is_head && answers.is_empty() { wire.hear_head().await } else { wire.hear().await };
        // Not an answer yet, only an invitation.
        if answer.status != 100 {
            answers.push(answer);
        }
    }
    answers
}

/// What is wrong with these answers.
fn complaint(case: &Case, answers: &[Response]) -> Option<String> {
    let seen: Vec<(u16, &str)> = answers.iter().map(|answer| (answer.status.as_u16(), answer.header("x-request-id"))).collect();
    let is_right = match case.outcome {
        Outcome::Refused(status) | Outcome::Last(status, _) => seen.len() == 1 && seen[0].0 == status && seen[0].1 != BEHIND,
        Outcome::Read(status, _) => seen.len() == 2 && seen[0].0 == status && seen[0].1 != BEHIND && seen[1] == (200, BEHIND),
    };
    (!is_right || seen.iter().any(|(_, id)| *id == HIDDEN)).then(|| format!("{}: {:?}, but {seen:?}", case.name, case.outcome))
}

#[tokio::test]
async fn nothing_is_read_in_two_ways() {
    let stage = hasty(Backstage::new().await).start().await;
    let cases = table(&stage.key);
    assert!(cases.len() > 200);
    let all = futures_util::stream::iter(&cases).map(async |case| (case, told(&stage, case).await));
    let all: Vec<_> = all.buffer_unordered(AT_ONCE).collect().await;
    let complaints: Vec<String> = all.iter().filter_map(|(case, answers)| complaint(case, answers)).collect();
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), cases.len(), complaints.join("\n"));
    // What the parser refuses is no request, and gets no name. Of the others each was answered once, and none in silence.
    let named = all.iter().flat_map(|(_, answers)| answers).filter(|answer| !answer.header("x-request-id").is_empty()).count();
    assert_eq!(requests(&stage), named as u64);
}
