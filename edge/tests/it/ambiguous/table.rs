//! Requests of HTTP/1.1 that somebody might read in another way than we do, as bytes, and what an edge makes of them.
//!
//! Wherever a second request could be hidden, one is: it carries [`HIDDEN`], and nobody may ever answer it.

mod bodies;

use crate::stage::{GEO, SESSION, session};

/// The name of requests that are hidden in what belongs to another one.
pub const HIDDEN: &str = "hidden";

/// What is made of a request, and of what stands behind it on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// One answer with this status. What is behind it is not read.
    Refused(u16),
    /// One answer with this status, as it can mean only one thing: what the text says. What is behind it is not read.
    Last(u16, &'static str),
    /// One answer with this status, as it can mean only one thing: what the text says. What is behind it is another request.
    Read(u16, &'static str),
}

pub use Outcome::{Last, Read, Refused};

/// A request and what is to be made of it.
pub struct Case {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub outcome: Outcome,
}

fn case(name: &'static str, outcome: Outcome, bytes: impl Into<Vec<u8>>) -> Case {
    Case { name, bytes: bytes.into(), outcome }
}

/// All of them. `key` opens the shop.
pub fn table(key: &str) -> Vec<Case> {
    [bodies::lengths(key), bodies::chunks(key), fields(), hosts(), targets(), lines(), behind(key)].into_iter().flatten().collect()
}

/// A request that may be hidden.
fn hidden() -> String {
    format!("GET {GEO} HTTP/1.1\r\nhost: pay.example\r\nx-request-id: {HIDDEN}\r\n\r\n")
}

/// A POST of a session with these lines, and these bytes behind its head.
fn post(key: &str, lines: &str, body: &str) -> String {
    let fields = format!("host: pay.example\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n{lines}");
    format!("POST {SESSION} HTTP/1.1\r\n{fields}\r\n{body}")
}

/// Which lines are fields, and what do they say?
fn fields() -> Vec<Case> {
    let with = |name, outcome, lines: &str| case(name, outcome, format!("GET {GEO} HTTP/1.1\r\nhost: pay.example\r\n{lines}\r\n"));
    let raw = |name, outcome, lines: &[u8]| {
        case(name, outcome, [format!("GET {GEO} HTTP/1.1\r\nhost: pay.example\r\n").as_bytes(), lines, b"\r\n"].concat())
    };
    vec![
        with("a folded field", Refused(400), "x: a\r\n b\r\n"),
        with("a field folded with a tab", Refused(400), "x: a\r\n\tcontent-length: 5\r\n"),
        with("a folded first field", Refused(400), " x: a\r\n"),
        with("a fold that hides a coding", Refused(400), "x: a\r\n transfer-encoding: chunked\r\n"),
        with("a bare LF behind a field", Read(200, "RFC 9112, 2.2: a LF alone ends a line, too; no value can hold one"), "x: a\ny: b\r\n"),
        case(
            "bare LF everywhere",
            Read(200, "RFC 9112, 2.2: a LF alone ends a line, too; no value can hold one"),
            format!("GET {GEO} HTTP/1.1\nhost: pay.example\n\n"),
        ),
        with("a bare CR in a value", Refused(400), "x: a\rb\r\n"),
        with("a bare CR that hides a field", Refused(400), "x: a\rtransfer-encoding: chunked\r\n"),
        with("CR CR LF", Refused(400), "x: a\r\r\n"),
        with("a NUL in a value", Refused(400), "x: a\0b\r\n"),
        with("a NUL in a name", Refused(400), "x\0: a\r\n"),
        with("an escape in a value", Refused(400), "x: a\x1b[0m\r\n"),
        with("a DEL in a value", Refused(400), "x: a\x7f\r\n"),
        with("a space in a name", Refused(400), "x y: a\r\n"),
        with("a space behind a name", Refused(400), "x : a\r\n"),
        with("a name without a colon", Refused(400), "x\r\n"),
        with("no name", Refused(400), ": a\r\n"),
        with("a name that is a colon", Refused(400), ":: a\r\n"),
        with("a colon before a name", Refused(400), ":authority: other.example\r\n"),
        with("two colons", Read(200, "RFC 9112, 5: the first colon ends the name"), "x:: a\r\n"),
        with("brackets in a name", Refused(400), "x[1]: a\r\n"),
        with("a slash in a name", Refused(400), "x/y: a\r\n"),
        with("a name in other letters", Refused(400), "x\u{e9}: a\r\n"),
        with("a name that looks like a length", Refused(400), "content-length\u{a0}: 5\r\n"),
        raw("bytes that are no ASCII in a value", Read(200, "RFC 9110, 5.5: opaque, and no field of ours takes them"), b"x: \xff\xfe\r\n"),
        with("64 KiB in one field", Refused(431), &format!("x: {}\r\n", "y".repeat(65_536))),
        with("65 fields", Refused(431), &"x: y\r\n".repeat(65)),
        with("1,000 fields", Refused(431), &"x: y\r\n".repeat(1_000)),
        with("an empty value", Read(200, "RFC 9110, 5.5: a value may be empty"), "x:\r\n"),
        with("fields that a proxy wrote", Read(200, "RFC 9110, 7.6.3: they ask for nothing"), "via: 1.0 a\r\nmax-forwards: 0\r\n"),
        with(
            "fields that name another address",
            Read(200, "addresses come from the first line alone"),
            "x-original-url: /api/v1/none\r\nx-rewrite-url: /api/v1/none\r\nx-http-method-override: DELETE\r\n",
        ),
    ]
}

/// Which host is asked?
fn hosts() -> Vec<Case> {
    let asked = |name, outcome, lines: &str| case(name, outcome, format!("GET {GEO} HTTP/1.1\r\n{lines}\r\n"));
    let absolute = |name, outcome, start: &str, lines: &str| case(name, outcome, format!("GET {start}{GEO} HTTP/1.1\r\n{lines}\r\n"));
    vec![
        asked("no host", Refused(400), ""),
        asked("an empty host", Refused(400), "host:\r\n"),
        asked("two hosts", Refused(400), "host: pay.example\r\nhost: other.example\r\n"),
        asked("a host twice", Refused(400), "host: pay.example\r\nhost: pay.example\r\n"),
        asked("a list of hosts", Refused(400), "host: pay.example, other.example\r\n"),
        asked("a space in the host", Refused(400), "host: pay.example other.example\r\n"),
        asked("a tab in the host", Refused(400), "host: pay.example\tother.example\r\n"),
        asked("a path in the host", Refused(400), "host: pay.example/other\r\n"),
        asked("a question in the host", Refused(400), "host: pay.example?other\r\n"),
        asked("a fragment in the host", Refused(400), "host: pay.example#other\r\n"),
        asked("somebody's name in the host", Refused(400), "host: pay.example@other.example\r\n"),
        asked("a scheme in the host", Refused(400), "host: http://pay.example\r\n"),
        asked("an escape in the host", Refused(400), "host: pay%2eexample\r\n"),
        asked("a backslash in the host", Refused(400), "host: pay.example\\other\r\n"),
        asked("a port that is none", Refused(400), "host: pay.example:80a\r\n"),
        asked("two ports", Refused(400), "host: pay.example:80:81\r\n"),
        asked("a bracket that is not closed", Refused(400), "host: [::1\r\n"),
        asked("a host folded", Refused(400), "host:\r\n pay.example\r\n"),
        asked("a space before the host's colon", Refused(400), "host : pay.example\r\n"),
        asked(
            "other names that proxies have for it",
            Read(200, "nothing is made of them"),
            "host: pay.example\r\nx-forwarded-host: other.example\r\nx-host: other.example\r\n",
        ),
        asked("an address of IPv6 as host", Read(200, "RFC 9110, 7.2"), "host: [2001:db8::7]:8000\r\n"),
        absolute(
            "the same host twice over",
            Read(200, "RFC 9112, 3.2.2: the absolute form is the same"),
            "http://pay.example",
            "host: PAY.example\r\n",
        ),
        absolute("another host in the address", Refused(400), "http://other.example", "host: pay.example\r\n"),
        absolute("another port in the address", Refused(400), "http://pay.example:81", "host: pay.example\r\n"),
        absolute("a host only in the address", Refused(400), "http://pay.example", ""),
        absolute("somebody's name in the address", Refused(400), "http://user@pay.example", "host: user@pay.example\r\n"),
        absolute("an address without a host", Refused(400), "http://", "host: pay.example\r\n"),
        absolute("an address of another kind", Refused(400), "ftp://pay.example", "host: pay.example\r\n"),
        case("no host in HTTP/1.0", Last(200, "RFC 9112, 3.2: HTTP/1.0 need not say it"), format!("GET {GEO} HTTP/1.0\r\n\r\n")),
        case("two hosts in HTTP/1.0", Refused(400), format!("GET {GEO} HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n")),
    ]
}

/// What is asked for?
fn targets() -> Vec<Case> {
    const AS_IT_STANDS: &str = "a path is compared as it stands: nothing is decoded, merged or resolved";
    let asked =
        |name, outcome, method: &str, target: &str| case(name, outcome, format!("{method} {target} HTTP/1.1\r\nhost: pay.example\r\n\r\n"));
    let nowhere = |name, target: &str| asked(name, Read(404, AS_IT_STANDS), "GET", target);
    vec![
        asked("an exclamation mark", Refused(400), "GET", "!"),
        asked("a scheme alone", Refused(400), "GET", "http://"),
        asked("a scheme and a slash", Refused(400), "GET", "http:///"),
        asked("a word", Refused(400), "GET", "api"),
        asked("a question alone", Refused(400), "GET", "?country=US"),
        asked("a backslash", Refused(400), "GET", "\\api\\v1"),
        asked("the asterisk of a GET", Refused(400), "GET", "*"),
        asked(
            "the asterisk of OPTIONS",
            Read(404, "RFC 9112, 3.2.4: the server as a whole, of which there is nothing to say"),
            "OPTIONS",
            "*",
        ),
        asked("an asterisk and more", Refused(400), "OPTIONS", "*/x"),
        asked("CONNECT to a host", Refused(400), "CONNECT", "pay.example:443"),
        asked("CONNECT to a path", Read(405, "a method that no address takes"), "CONNECT", GEO),
        asked("a host and a port", Refused(400), "GET", "pay.example:80"),
        asked("an e-mail address", Refused(400), "GET", "a@b.example"),
        asked("a control character", Refused(400), "GET", "/\x01"),
        asked("a NUL", Refused(400), "GET", "/\0"),
        asked("a DEL", Refused(400), "GET", "/\x7f"),
        asked("a CR", Refused(400), "GET", "/\rx"),
        nowhere("two slashes first", "//api/v1/geo/subdivisions/?country=US"),
        nowhere("two slashes and another host", "//other.example/api/v1/geo/subdivisions/?country=US"),
        nowhere("two slashes within", "/api//v1/geo/subdivisions/?country=US"),
        nowhere("an encoded slash", "/api/v1%2fgeo/subdivisions/?country=US"),
        nowhere("an encoded letter", "/api/v1/%67eo/subdivisions/?country=US"),
        nowhere("dots", "/api/v1/x/../geo/subdivisions/?country=US"),
        nowhere("encoded dots", "/api/v1/x/%2e%2e/geo/subdivisions/?country=US"),
        nowhere("one dot", "/api/v1/./geo/subdivisions/?country=US"),
        nowhere("dots behind a parameter", "/developers/errors/x/..;/not_found/"),
        nowhere("a path parameter", "/api/v1/geo;x=1/subdivisions/?country=US"),
        nowhere("a backslash within", "/api/v1\\geo/subdivisions/?country=US"),
        nowhere("an encoded NUL", "/api/v1/geo/subdivisions%00/?country=US"),
        nowhere("an encoded question mark", "/api/v1/geo/subdivisions%3fcountry=US"),
        nowhere("other capitals", "/API/v1/geo/subdivisions/?country=US"),
        asked(
            "a fragment",
            Read(200, "RFC 3986, 3.5: a fragment is not part of what is asked for"),
            "GET",
            "/api/v1/geo/subdivisions/?country=US#x",
        ),
        asked("a target of 9,000 bytes", Refused(414), "GET", &format!("/{}", "x".repeat(9_000))),
    ]
}

/// What is a first line?
fn lines() -> Vec<Case> {
    let line = |name, outcome, line: &str| case(name, outcome, format!("{line}\r\nhost: pay.example\r\n\r\n"));
    vec![
        line("a space in the address", Refused(400), &format!("GET {GEO} x HTTP/1.1")),
        line("two spaces", Refused(400), &format!("GET  {GEO} HTTP/1.1")),
        line("two spaces before the version", Refused(400), &format!("GET {GEO}  HTTP/1.1")),
        line("a space at the end", Refused(400), &format!("GET {GEO} HTTP/1.1 ")),
        line("a space before the method", Refused(400), &format!(" GET {GEO} HTTP/1.1")),
        line("tabs", Refused(400), &format!("GET\t{GEO}\tHTTP/1.1")),
        line("a tab before the version", Refused(400), &format!("GET {GEO}\tHTTP/1.1")),
        line("no version", Refused(400), &format!("GET {GEO}")),
        line("no version, but its space", Refused(400), &format!("GET {GEO} ")),
        line("no address", Refused(400), "GET HTTP/1.1"),
        line("only a method", Refused(400), "GET"),
        line("HTTP/0.9", Refused(400), &format!("GET {GEO} HTTP/0.9")),
        line("HTTP/1.2", Refused(400), &format!("GET {GEO} HTTP/1.2")),
        line("HTTP/1.10", Refused(400), &format!("GET {GEO} HTTP/1.10")),
        line("HTTP/1", Refused(400), &format!("GET {GEO} HTTP/1")),
        line("HTTP/2.0", Refused(400), &format!("GET {GEO} HTTP/2.0")),
        line("HTTP/3", Refused(400), &format!("GET {GEO} HTTP/3")),
        line("http/1.1", Refused(400), &format!("GET {GEO} http/1.1")),
        line("another protocol", Refused(400), &format!("GET {GEO} ICAP/1.0")),
        case("the beginning of HTTP/2, broken", Refused(400), "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
        case("bytes of TLS", Refused(400), b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00".to_vec()),
        case(
            "a proxy protocol",
            Refused(400),
            format!("PROXY TCP4 198.51.100.1 198.51.100.2 1 2\r\nGET {GEO} HTTP/1.1\r\nhost: pay.example\r\n\r\n"),
        ),
        line(
            "a method with odd characters",
            Read(405, "RFC 9110, 5.6.2: a token, of which there is no method"),
            &format!("G!#$%&'*+T {GEO} HTTP/1.1"),
        ),
        line("a method with a bracket", Refused(400), &format!("G(T {GEO} HTTP/1.1")),
        line("a method in other letters", Refused(400), &format!("G\u{c9}T {GEO} HTTP/1.1")),
        line("a method with a colon", Refused(400), &format!("GET: {GEO} HTTP/1.1")),
        line("a method in lower case", Read(405, "RFC 9110, 9.1: methods are told apart by their case"), &format!("get {GEO} HTTP/1.1")),
        line("no method", Refused(400), &format!(" {GEO} HTTP/1.1")),
        case(
            "empty lines first",
            Read(200, "RFC 9112, 2.2: an empty line before a request is nothing"),
            format!("\r\n\r\nGET {GEO} HTTP/1.1\r\nhost: pay.example\r\n\r\n"),
        ),
        case("a CR first", Refused(400), format!("\rGET {GEO} HTTP/1.1\r\nhost: pay.example\r\n\r\n")),
        case("a mark of byte order first", Refused(400), format!("\u{feff}GET {GEO} HTTP/1.1\r\nhost: pay.example\r\n\r\n")),
    ]
}

/// Is there another request behind it?
fn behind(key: &str) -> Vec<Case> {
    let (body, hidden) = (session().to_string(), hidden());
    let with = |name, outcome, lines: &str, bytes: &str| {
        case(name, outcome, format!("GET {GEO} HTTP/1.1\r\nhost: pay.example\r\n{lines}\r\n{bytes}"))
    };
    vec![
        with("the last one, and one behind it", Last(200, "RFC 9112, 9.6: nothing is behind close"), "connection: close\r\n", &hidden),
        with("the last one in a list", Last(200, "RFC 9112, 9.6: nothing is behind close"), "connection: keep-alive, close\r\n", &hidden),
        with(
            "the last one, then not",
            Last(200, "RFC 9112, 9.6: nothing is behind close"),
            "connection: close\r\nconnection: keep-alive\r\n",
            &hidden,
        ),
        case(
            "the last one with a body, and one behind it",
            Last(201, "RFC 9112, 9.6: nothing is behind close"),
            post(key, &format!("connection: close\r\ncontent-length: {}\r\n", body.len()), &format!("{body}{hidden}")),
        ),
        case(
            "a body that is never sent",
            Last(408, "RFC 9110, 10.1.1: it is asked for and awaited"),
            post(key, "expect: 100-continue\r\ncontent-length: 100000\r\n", "").replacen("100000", "60000", 1),
        ),
        case(
            "a body that is sent unasked",
            Read(201, "RFC 9110, 10.1.1: who does not wait has sent it"),
            post(key, &format!("expect: 100-continue\r\ncontent-length: {}\r\n", body.len()), &body),
        ),
        case(
            "a refused body that comes all the same",
            Read(401, "RFC 9110, 10.1.1: it is dropped"),
            post("sk_live_x", &format!("expect: 100-continue\r\ncontent-length: {}\r\n", hidden.len()), &hidden),
        ),
        with("an expectation of something else", Read(200, "RFC 9110, 10.1.1: it may be ignored"), "expect: 200-ok\r\n", ""),
        with(
            "an upgrade to HTTP/2",
            Read(200, "RFC 9110, 7.8: an upgrade may be ignored"),
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
            "",
        ),
        with(
            "an upgrade to a socket",
            Read(200, "RFC 9110, 7.8: an upgrade may be ignored"),
            "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            "",
        ),
        with(
            "fields that are to be dropped",
            Read(200, "RFC 9110, 7.6.1: only who passes a request on drops them"),
            "connection: authorization, x-forwarded-for, content-length\r\n",
            "",
        ),
        with("trailers wanted", Read(200, "RFC 9110, 10.1.4: they may be wanted"), "te: trailers, chunked\r\n", ""),
    ]
}
