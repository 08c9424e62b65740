//! Where does a body end? Lengths, codings, both, and the chunks themselves.

use super::{Case, Last, Read, Refused, case, hidden, post};
use crate::stage::{GEO, session};

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// How long is the body? Lengths, codings, and both.
pub fn lengths(key: &str) -> Vec<Case> {
    const BY_CHUNKS: &str = "RFC 9112, 6.1: chunked overrides a length, and the connection ends";
    let (body, hidden) = (session().to_string(), hidden());
    let (len, whole) = (body.len(), chunk(&body) + "0\r\n\r\n");
    let coded = |name, outcome, lines: &str| case(name, outcome, post(key, lines, &whole));
    let sized = |name, outcome, value: &str| case(name, outcome, post(key, &format!("content-length:{value}\r\n"), &body));
    let both = format!("{whole}{hidden}");
    vec![
        // A front that goes by the length sends the hidden request along as body; one that goes by the chunks stops before it.
        case(
            "length and chunks",
            Last(201, BY_CHUNKS),
            post(key, &format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", both.len()), &both),
        ),
        case(
            "chunks and length",
            Last(201, BY_CHUNKS),
            post(key, &format!("transfer-encoding: chunked\r\ncontent-length: {}\r\n", both.len()), &both),
        ),
        // A front that goes by the chunks sends the hidden request along as one.
        case(
            "a short length and chunks",
            Last(400, BY_CHUNKS),
            post(key, "content-length: 4\r\ntransfer-encoding: chunked\r\n", &(chunk(&hidden) + "0\r\n\r\n")),
        ),
        case(
            "no length and chunks",
            Last(400, BY_CHUNKS),
            post(key, "content-length: 0\r\ntransfer-encoding: chunked\r\n", &(chunk(&hidden) + "0\r\n\r\n")),
        ),
        case("an invalid length and chunks", Refused(400), post(key, "content-length: x\r\ntransfer-encoding: chunked\r\n", &whole)),
        coded("a comma before chunked", Refused(400), "transfer-encoding: ,chunked\r\n"),
        coded("a comma behind chunked", Refused(400), "transfer-encoding: chunked,\r\n"),
        coded("xchunked", Refused(400), "transfer-encoding: xchunked\r\n"),
        coded("chunkedx", Refused(400), "transfer-encoding: chunkedx\r\n"),
        coded("quoted chunked", Refused(400), "transfer-encoding: \"chunked\"\r\n"),
        coded("chunked with a parameter", Refused(400), "transfer-encoding: chunked;q=1\r\n"),
        coded("chunked twice in one field", Refused(400), "transfer-encoding: chunked, chunked\r\n"),
        coded("chunked in two fields", Refused(400), "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        coded("chunked, then identity", Refused(400), "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n"),
        coded("identity, then chunked", Refused(400), "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n"),
        coded("gzip and chunked", Refused(400), "transfer-encoding: gzip, chunked\r\n"),
        coded("identity", Refused(400), "transfer-encoding: identity\r\n"),
        coded("identity and a length", Refused(400), "transfer-encoding: identity\r\ncontent-length: 4\r\n"),
        coded("no coding", Refused(400), "transfer-encoding:\r\n"),
        coded(
            "a tab before chunked",
            Read(201, "RFC 9112, 5: white space around a value is none of it"),
            "transfer-encoding:\tchunked\r\n",
        ),
        coded(
            "a tab in front of the coding and behind",
            Read(201, "RFC 9112, 5: white space around a value is none of it"),
            "transfer-encoding: \tchunked \t\r\n",
        ),
        coded("a vertical tab before chunked", Refused(400), "transfer-encoding: \x0bchunked\r\n"),
        coded("a form feed behind chunked", Refused(400), "transfer-encoding: chunked\x0c\r\n"),
        coded("a space before the colon", Refused(400), "transfer-encoding : chunked\r\n"),
        coded("a tab before the colon", Refused(400), "transfer-encoding\t: chunked\r\n"),
        coded("a vertical tab before the colon", Refused(400), "transfer-encoding\x0b: chunked\r\n"),
        coded("a space before the name", Refused(400), " transfer-encoding: chunked\r\n"),
        case(
            "an underscore",
            Read(400, "another name, of which we know nothing: the body is as long as it says"),
            post(key, &format!("transfer_encoding: chunked\r\ncontent-length: {}\r\n", whole.len()), &whole),
        ),
        case(
            "chunked in HTTP/1.0",
            Refused(400),
            post(key, "transfer-encoding: chunked\r\nconnection: keep-alive\r\n", &whole).replacen("HTTP/1.1", "HTTP/1.0", 1),
        ),
        case(
            "two different lengths",
            Refused(400),
            post(key, &format!("content-length: {len}\r\ncontent-length: 0\r\n"), &(body.clone() + &hidden)),
        ),
        case(
            "two different lengths, the other way round",
            Refused(400),
            post(key, &format!("content-length: 0\r\ncontent-length: {len}\r\n"), &body),
        ),
        case(
            "a length twice",
            Read(201, "RFC 9110, 8.6: the same number twice is that number"),
            post(key, &format!("content-length: {len}\r\ncontent-length: {len}\r\n"), &body),
        ),
        sized("a list of lengths", Refused(400), &format!(" {len}, {len}")),
        sized("a list of different lengths", Refused(400), &format!(" 0, {len}")),
        sized("a length with a plus", Refused(400), &format!(" +{len}")),
        sized("a negative length", Refused(400), " -1"),
        sized("two numbers", Refused(400), " 5 6"),
        sized("a length in hex", Refused(400), " 0x5"),
        sized("a length with a point", Refused(400), " 5.0"),
        sized("a length with an exponent", Refused(400), " 1e1"),
        sized("a length with an underscore", Refused(400), " 1_0"),
        sized("a length in other digits", Refused(400), " \u{665}"),
        sized("an empty length", Refused(400), ""),
        sized("a length in quotes", Refused(400), &format!(" \"{len}\"")),
        sized("a length beyond 64 bits", Refused(400), " 18446744073709551616"),
        sized("the last length of 64 bits", Refused(431), " 18446744073709551615"),
        sized("a huge length", Refused(413), " 9223372036854775807"),
        sized("a length with zeros", Read(201, "RFC 9110, 8.6: digits, in decimal"), &format!(" 000{len}")),
        sized("white space around a length", Read(201, "RFC 9112, 5: white space around a value is none of it"), &format!(" \t{len}\t ")),
        case(
            "a length in HTTP/1.0",
            Last(201, "RFC 9112, 9.3: it is the last one unless it says keep-alive"),
            post(key, &format!("content-length: {len}\r\n"), &body).replacen("HTTP/1.1", "HTTP/1.0", 1),
        ),
        case("neither", Read(400, "RFC 9112, 6.3: without both there is no body"), post(key, "", "")),
        case(
            "neither in HTTP/1.0, which might mean until the end",
            Last(400, "RFC 9112, 6.3: without both there is no body"),
            post(key, "", "").replacen("HTTP/1.1", "HTTP/1.0", 1),
        ),
        case(
            "a GET with a body",
            Read(200, "RFC 9112, 6.3: a length is one in any request"),
            format!("GET {GEO} HTTP/1.1\r\nhost: pay.example\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len()),
        ),
        case(
            "a GET with chunks",
            Read(200, "RFC 9112, 6.3: chunks are a body in any request"),
            format!("GET {GEO} HTTP/1.1\r\nhost: pay.example\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk(&hidden)),
        ),
        case(
            "a HEAD with a body",
            Read(200, "RFC 9112, 6.3: a length is one in any request"),
            format!("HEAD {GEO} HTTP/1.1\r\nhost: pay.example\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len()),
        ),
        case(
            "an OPTIONS with a body",
            Read(204, "RFC 9112, 6.3: a length is one in any request"),
            format!("OPTIONS {GEO} HTTP/1.1\r\nhost: pay.example\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len()),
        ),
    ]
}

/// Where does a chunk end?
pub fn chunks(key: &str) -> Vec<Case> {
    const EXTENSION: &str = "RFC 9112, 7.1.1: an extension that is not known is none";
    let (body, hidden) = (session().to_string(), hidden());
    let len = body.len();
    let chunked = |name, outcome, bytes: String| case(name, outcome, post(key, "transfer-encoding: chunked\r\n", &bytes));
    let sized = |name, outcome, size: &str| chunked(name, outcome, format!("{size}\r\n{body}\r\n0\r\n\r\n"));
    let trailed = |name, trailer: &str| {
        let why = "RFC 9112, 7.1.2: trailers are dropped, not merged into the header";
        chunked(name, Read(201, why), format!("{}0\r\n{trailer}\r\n\r\n", chunk(&body)))
    };
    let unread = |name, bytes: &str| {
        case(
            name,
            Last(200, "nobody wants that body, so nobody looks for its end"),
            format!("GET {GEO} HTTP/1.1\r\nhost: pay.example\r\ntransfer-encoding: chunked\r\n\r\n{bytes}{hidden}"),
        )
    };
    vec![
        sized("a size with a plus", Refused(400), &format!("+{len:x}")),
        sized("a negative size", Refused(400), "-1"),
        sized("a size with 0x", Refused(400), &format!("0x{len:x}")),
        sized("a size of 2^64", Refused(400), "10000000000000000"),
        sized("a size that wraps around to the right one", Refused(400), &format!("10000000000000{len:03x}")),
        sized("the last size of 64 bits", Last(408, "a size is believed until its data is too much or too late"), "ffffffffffffffff"),
        sized("no size", Refused(400), ""),
        sized("only an extension", Refused(400), ";a=b"),
        sized("a space before the size", Refused(400), &format!(" {len:x}")),
        sized("a size in two parts", Refused(400), &format!("{len:x} 1")),
        sized("a size with an underscore", Refused(400), &format!("0_{len:x}")),
        sized("a size with a control character", Refused(400), &format!("{len:x}\x0b")),
        sized(
            "white space behind the size",
            Read(201, "white space behind a size belongs to no number and to no data"),
            &format!("{len:x} \t"),
        ),
        sized("zeros before the size", Read(201, "RFC 9112, 7.1: hex digits, any number of them"), &format!("0000{len:x}")),
        sized("an extension", Read(201, EXTENSION), &format!("{len:x};a=b;c=\"d\"")),
        sized("a size in capitals", Read(201, "RFC 9112, 7.1: hex digits"), &format!("{len:X}")),
        sized("an extension of 20,000 bytes", Refused(400), &format!("{len:x};{}", "a".repeat(20_000))),
        sized("an extension with a bare LF", Refused(400), &format!("{len:x};a\nb")),
        sized("an extension with a bare CR", Refused(400), &format!("{len:x};a\rb")),
        chunked("a bare LF behind the size", Refused(400), format!("{len:x}\n{body}\r\n0\r\n\r\n")),
        chunked("a bare CR behind the size", Refused(400), format!("{len:x}\r{body}\r\n0\r\n\r\n")),
        chunked("nothing behind the data", Refused(400), format!("{len:x}\r\n{body}0\r\n\r\n")),
        chunked("a bare LF behind the data", Refused(400), format!("{len:x}\r\n{body}\n0\r\n\r\n")),
        chunked("two other bytes behind the data", Refused(400), format!("{len:x}\r\n{body}XX0\r\n\r\n")),
        chunked("data longer than its size", Refused(400), format!("{:x}\r\n{body}\r\n0\r\n\r\n", len - 1)),
        chunked("a bare LF at the end", Refused(400), format!("{}0\n\n", chunk(&body))),
        chunked("an end without its empty line", Refused(400), format!("{}0\r\n", chunk(&body))),
        trailed("a length in the trailer", "content-length: 0"),
        trailed("a coding in the trailer", "transfer-encoding: identity"),
        trailed("a host in the trailer", "host: other.example"),
        trailed("a key in the trailer", "authorization: Bearer sk_live_x"),
        chunked("a trailer without a colon", Refused(400), format!("{}0\r\nx y\r\n\r\n", chunk(&body))),
        chunked("a trailer of 40,000 bytes", Refused(400), format!("{}0\r\nx: {}\r\n\r\n", chunk(&body), "y".repeat(40_000))),
        unread("chunks that nobody wants, of no size", "\r\n"),
        unread("chunks that nobody wants, of a negative size", "-1\r\n\r\n"),
        unread("chunks that nobody wants, too long", "1\r\nxxx\r\n0\r\n\r\n"),
    ]
}
