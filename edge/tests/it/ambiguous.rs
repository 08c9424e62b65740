//! Requests that might be read in two ways: none is answered twice, none is taken for one when it is not, and what was hidden behind one is
//! never heard of.

mod http2;
mod table;

use std::net::SocketAddr;

use futures_util::StreamExt;

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

/// An answer's status and the name of its request.
pub type Told = (u16, String);

/// Says this and another request behind it, and hears everything until the end of the connection.
pub async fn told(address: SocketAddr, case: &Case) -> Vec<Told> {
    let mut wire = Wire::connect(address).await;
    let behind = get("/developers/errors/not_found/", &format!("x-request-id: {BEHIND}\r\nconnection: close\r\n"));
    // Who is refused in the middle of it need not have read it all.
    wire.try_say([&case.bytes, behind.as_bytes()].concat()).await;
    let said = wire.ended().await;
    answers(&said, case.bytes.starts_with(b"HEAD "))
}

/// The answers in these bytes. What is none, as HTTP/0.9 has it, has the status 0. The first one has no body if it is to a HEAD.
fn answers(mut said: &[u8], to_head: bool) -> Vec<Told> {
    let mut answers = Vec::new();
    while let Some(end) = said.windows(4).position(|window| window == b"\r\n\r\n").filter(|_| said.starts_with(b"HTTP/1.")) {
        let head = String::from_utf8_lossy(&said[..end]).to_lowercase();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        let len = if to_head && answers.is_empty() { 0 } else { field("content-length").parse().unwrap_or(0) };
        said = &said[said.len().min(end + 4 + len)..];
        // 100 is no answer yet, only an invitation.
        if status != 100 {
            answers.push((status, field("x-request-id").to_owned()));
        }
    }
    if !said.is_empty() {
        answers.push((0, String::new()));
    }
    answers
}

/// What is wrong with these answers.
fn complaint(case: &Case, answers: &[Told]) -> Option<String> {
    let first = answers.first().filter(|(_, id)| id != BEHIND).map(|(status, _)| *status);
    let is_right = match case.outcome {
        Outcome::Refused(status) | Outcome::Last(status, _) => answers.len() == 1 && first == Some(status),
        Outcome::Read(status, _) => answers.len() == 2 && first == Some(status) && answers[1] == (200, BEHIND.to_owned()),
    };
    (!is_right || answers.iter().any(|(_, id)| id == HIDDEN)).then(|| format!("{}: {:?}, but {answers:?}", case.name, case.outcome))
}

#[tokio::test]
async fn nothing_is_read_in_two_ways() {
    let stage = hasty(Backstage::new().await).start().await;
    let cases = table(&stage.key);
    assert!(cases.len() > 200);
    let all = futures_util::stream::iter(&cases).map(async |case| (case, told(stage.address, case).await));
    let all: Vec<_> = all.buffer_unordered(AT_ONCE).collect().await;
    let complaints: Vec<String> = all.iter().filter_map(|(case, answers)| complaint(case, answers)).collect();
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), cases.len(), complaints.join("\n"));
    // What the parser refuses is no request, and gets no name. Of the others each was answered once, and none in silence.
    let named = all.iter().flat_map(|(_, answers)| answers).filter(|(_, id)| !id.is_empty()).count();
    assert_eq!(requests(&stage), named as u64);
}
