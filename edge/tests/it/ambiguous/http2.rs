//! The same in HTTP/2, whose frames cannot be misread, but whose fields can: what it forbids because HTTP/1.1 would read it in another way.

use futures_util::StreamExt;

use super::{AT_ONCE, hasty};
use crate::stage::{Backstage, GEO, SESSION, Stage, session};
use crate::wire::Wire;

const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PROTOCOL_ERROR: &[u8] = &[0, 0, 0, 1];

/// What a stream comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// One answer with this status.
    Answered(u16),
    /// No answer: malformed. The connection goes on.
    Reset,
    /// No answer to anything: fields that cannot be read leave both sides with different tables of them.
    Gone,
}
use Outcome::{Answered, Gone, Reset};

/// A request and what becomes of it.
struct Case {
    name: &'static str,
    outcome: Outcome,
    fields: Vec<(String, String)>,
    /// Its frames of data.
    data: Vec<String>,
    /// Behind the data.
    trailers: Vec<(String, String)>,
}

impl Case {
    /// A GET with these fields instead of what it has of these names, and behind the others. No value: not there.
    fn get(name: &'static str, outcome: Outcome, changes: &[(&str, Option<&str>)]) -> Self {
        let common = [(":method", "GET"), (":scheme", "http"), (":path", GEO), (":authority", "pay.example")];
        let kept = common.into_iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        let changed = changes.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        // What begins with a colon must stand first.
        let (first, others): (Vec<_>, Vec<_>) = kept.chain(changed).partition(|(name, _)| name.starts_with(':'));
        Self { name, outcome, fields: owned(first.into_iter().chain(others)), data: Vec::new(), trailers: Vec::new() }
    }

    fn post(name: &'static str, outcome: Outcome, key: &str, lengths: &[&str], data: &[&str]) -> Self {
        let common = [(":method", "POST"), (":scheme", "http"), (":path", SESSION), (":authority", "pay.example")];
        let authorization = format!("Bearer {key}");
        let others = [("content-type", "application/json"), ("authorization", &authorization)];
        let lengths = lengths.iter().map(|length| ("content-length", *length));
        let data = data.iter().map(|data| (*data).to_owned()).collect();
        Self { name, outcome, fields: owned(common.into_iter().chain(others).chain(lengths)), data, trailers: Vec::new() }
    }

    fn trailers(mut self, trailers: &[(&str, &str)]) -> Self {
        self.trailers = owned(trailers.iter().copied());
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let end = |is_last| if is_last { END_STREAM } else { 0 };
        let head = frame(HEADERS, END_HEADERS | end(self.data.is_empty()), 1, &block(&self.fields));
        let data = self.data.iter().enumerate().flat_map(|(n, data)| {
            let is_last = n + 1 == self.data.len() && self.trailers.is_empty();
            frame(DATA, end(is_last), 1, data.as_bytes())
        });
        let trailers = (!self.trailers.is_empty()).then(|| frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&self.trailers)));
        head.into_iter().chain(data).chain(trailers.into_iter().flatten()).collect()
    }
}

fn owned<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, len @ ..] = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&len[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as they stand: in no table, not compressed.
fn block(fields: &[(String, String)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).ok().filter(|len| *len < 127).expect("a short text")], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// The kinds, streams and payloads of the frames in these bytes.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, &[u8])> {
    let mut frames = Vec::new();
    while let Some((&[a, b, c, kind, _, s, t, u, v], rest)) = bytes.split_first_chunk() {
        let (payload, next) = rest.split_at(u32::from_be_bytes([0, a, b, c]) as usize);
        frames.push((kind, u32::from_be_bytes([s, t, u, v]), payload));
        bytes = next;
    }
    frames
}

/// The status of an answer: those that are in HTTP/2's own table, and 201, which is written out.
fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x48, ..] => 201,
        _ => panic!("another status: {block:02x?}"),
    }
}

fn table(key: &str) -> Vec<Case> {
    let text = session().to_string();
    let (whole, len) = (text.as_str(), text.len());
    let (less, more) = ((len - 1).to_string(), (len + 1).to_string());
    let exactly = len.to_string();
    let with = |name, outcome, field, value| Case::get(name, outcome, &[(field, Some(value))]);
    let without = |name, outcome, field| Case::get(name, outcome, &[(field, None)]);
    let sent = |name, outcome, lengths: &[&str], data: &[&str]| Case::post(name, outcome, key, lengths, data);
    let (start, end) = whole.split_at(5);
    vec![
        Case::get("as it should be", Answered(200), &[]),
        with("connection", Reset, "connection", "keep-alive"),
        with("keep-alive", Reset, "keep-alive", "timeout=5"),
        with("proxy-connection", Reset, "proxy-connection", "keep-alive"),
        with("upgrade", Reset, "upgrade", "h2c"),
        with("transfer-encoding", Reset, "transfer-encoding", "chunked"),
        with("te: gzip", Reset, "te", "gzip"),
        with("te: trailers, gzip", Reset, "te", "trailers, gzip"),
        with("te: trailers", Answered(200), "te", "trailers"),
        with("a name in capitals", Gone, "X-A", "a"),
        with("a length in capitals", Gone, "Content-Length", "5"),
        with("a name with a space", Gone, "x a", "a"),
        with("a name with a colon", Gone, "x:a", "a"),
        with("a name with a line in it", Gone, "x\r\ny", "a"),
        with("no name", Gone, "", "a"),
        with("a value with a line in it", Gone, "x", "a\r\ntransfer-encoding: chunked"),
        with("a value with a LF", Gone, "x", "a\nb"),
        with("a value with a CR", Gone, "x", "a\rb"),
        with("a value with a NUL", Gone, "x", "a\0b"),
        Case::get("two methods", Reset, &[(":method", Some("GET")), (":method", Some("POST"))]),
        Case::get("two paths", Reset, &[(":path", Some(GEO)), (":path", Some("/"))]),
        Case::get("two schemes", Reset, &[(":scheme", Some("http")), (":scheme", Some("https"))]),
        Case::get("two authorities", Reset, &[(":authority", Some("pay.example")), (":authority", Some("pay.example"))]),
        with("a status", Reset, ":status", "200"),
        with("a protocol", Reset, ":protocol", "websocket"),
        with("an unknown word of HTTP/2", Gone, ":x", "a"),
        without("no method", Reset, ":method"),
        without("no scheme", Reset, ":scheme"),
        without("no path", Reset, ":path"),
        with("an empty path", Reset, ":path", ""),
        with("a path without its slash", Reset, ":path", "api/v1/geo/subdivisions/?country=US"),
        with("a whole address as path", Reset, ":path", "http://other.example/api/v1/geo/subdivisions/?country=US"),
        with("an asterisk as path", Answered(400), ":path", "*"),
        with("two slashes", Answered(404), ":path", "//api/v1/geo/subdivisions/?country=US"),
        with("a path with a space", Reset, ":path", "/a b"),
        with("a path with a first line in it", Reset, ":path", "/ HTTP/1.1\r\nhost: x\r\n\r\n"),
        with("a fragment", Answered(200), ":path", "/api/v1/geo/subdivisions/?country=US#x"),
        with("an empty method", Gone, ":method", ""),
        with("a method with a first line in it", Gone, ":method", "GET / HTTP/1.1"),
        Case::get("CONNECT", Answered(400), &[(":method", Some("CONNECT")), (":path", None), (":scheme", None)]),
        with("CONNECT with a path", Reset, ":method", "CONNECT"),
        with("a scheme of another kind", Answered(400), ":scheme", "ftp"),
        with("an empty scheme", Answered(400), ":scheme", ""),
        with("a scheme with an address in it", Reset, ":scheme", "http://other.example/?"),
        with("the same host twice over", Answered(200), "host", "PAY.example"),
        with("two different hosts", Answered(400), "host", "other.example"),
        Case::get("two host fields", Answered(400), &[("host", Some("pay.example")), ("host", Some("pay.example"))]),
        Case::get("a host field instead", Answered(200), &[(":authority", None), ("host", Some("pay.example"))]),
        without("no host", Answered(400), ":authority"),
        with("an empty authority", Reset, ":authority", ""),
        with("somebody's name in the authority", Answered(400), ":authority", "user@pay.example"),
        with("a path in the authority", Reset, ":authority", "pay.example/x"),
        with("a space in the authority", Reset, ":authority", "pay.example x"),
        with("a port that is none", Answered(400), ":authority", "pay.example:x"),
        sent("a length that is right", Answered(201), &[&exactly], &[start, end]),
        sent("no length", Answered(201), &[], &[start, end]),
        sent("more data than its length", Reset, &[&less], &[whole]),
        sent("more data than its length, later", Reset, &["5"], &[start, end]),
        sent("less data than its length", Reset, &[&more], &[whole]),
        sent("a length and no data", Reset, &["5"], &[]),
        sent("a length of nothing, and data", Reset, &["0"], &[whole]),
        sent("two different lengths", Reset, &[&exactly, &more], &[whole]),
        sent("a length with a plus", Reset, &[&format!("+{len}")], &[whole]),
        sent("a length that is none", Reset, &["x"], &[whole]),
        sent("a length beyond 64 bits", Reset, &["18446744073709551616"], &[whole]),
        sent("trailers", Answered(201), &[], &[whole]).trailers(&[("x", "y"), ("content-length", "0")]),
        // Forbidden; `h2` drops it, as we drop all that is in a trailer.
        sent("trailers with a path", Answered(201), &[], &[whole]).trailers(&[(":path", "/")]),
    ]
}

/// Says this, hears what it comes to, and whether another request on the connection is answered.
async fn told(stage: &Stage, case: &Case) -> (Vec<Outcome>, bool) {
    let mut wire = Wire::connect(stage.address).await;
    wire.say([HELLO, &case.bytes()].concat()).await;
    let other = Case::get("another", Answered(404), &[(":path", Some("/another"))]);
    let bye = frame(GOAWAY, 0, 0, &[0; 8]);
    wire.try_say([frame(HEADERS, END_HEADERS | END_STREAM, 3, &block(&other.fields)), bye].concat()).await;
    let said = wire.ended().await;
    let frames = frames(&said);
    let of = |stream| frames.iter().filter(move |frame| frame.1 == stream);
    let outcomes = of(1).filter_map(|(kind, _, payload)| match *kind {
        HEADERS => Some(Answered(status(payload))),
        RST_STREAM if *payload == PROTOCOL_ERROR => Some(Reset),
        _ => None,
    });
    (outcomes.collect(), of(3).any(|(kind, _, payload)| *kind == HEADERS && status(payload) == 404))
}

#[tokio::test]
async fn nothing_is_read_in_two_ways() {
    let stage = hasty(Backstage::new().await).start().await;
    let cases = table(&stage.key);
    let all = futures_util::stream::iter(&cases).map(async |case| (case, told(&stage, case).await));
    let all: Vec<_> = all.buffer_unordered(AT_ONCE).collect().await;
    let expected = |case: &Case| match case.outcome {
        Gone => (vec![], false),
        outcome => (vec![outcome], true),
    };
    let wrong = all.iter().filter(|(case, seen)| *seen != expected(case));
    let wrong: Vec<String> = wrong.map(|(case, seen)| format!("{}: {:?}, but {seen:?}", case.name, case.outcome)).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
