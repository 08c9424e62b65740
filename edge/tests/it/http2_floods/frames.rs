//! HTTP/2 frames as bytes, well-formed but for what an attack is about.

/// What every HTTP/2 client begins with: empty settings, and its answer to ours.
pub const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&[a, b, c, kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// A field that stands in no table and goes into none. `name` is an index of the static table, or 0 for a name that is written out.
fn literal(name: u8, value: &str) -> Vec<u8> {
    let len = match value.len() {
        len @ 0..127 => vec![len as u8],
        len => vec![0x7f, ((len - 127) % 128) as u8 | 0x80, ((len - 127) / 128) as u8],
    };
    // Up to 14 the index fits beside its four bits of kind.
    let name = if name < 15 { vec![name] } else { vec![0x0f, name - 15] };
    [name, len, value.as_bytes().to_vec()].concat()
}

/// The fields of a GET.
pub fn get_fields(path: &str) -> Vec<u8> {
    // :method GET, :scheme http, :path, :authority.
    [vec![0x82, 0x86], literal(4, path), literal(1, "pay.example")].concat()
}

/// The fields of a POST of JSON with this key.
pub fn post_fields(path: &str, key: &str) -> Vec<u8> {
    let fields = [literal(4, path), literal(1, "pay.example"), literal(31, "application/json"), literal(23, &format!("Bearer {key}"))];
    [vec![0x83, 0x86], fields.concat()].concat()
}

/// A whole GET.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get_fields(path))
}

/// A POST whose body is still to come.
pub fn post(stream: u32, path: &str, key: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &post_fields(path, key))
}

/// Gives up a stream.
pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// A client that takes no byte of any answer, and says so.
pub fn no_window() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])
}

/// A kind, a stream and a payload.
pub type Frame = (u8, u32, Vec<u8>);

/// The whole frames in these bytes.
pub fn frames(bytes: &[u8]) -> Vec<Frame> {
    split(bytes).0
}

/// The same, which are taken out.
pub fn take(bytes: &mut Vec<u8>) -> Vec<Frame> {
    let (frames, rest) = split(bytes);
    bytes.drain(..bytes.len() - rest);
    frames
}

/// And how many bytes are left.
fn split(mut bytes: &[u8]) -> (Vec<Frame>, usize) {
    let mut frames = Vec::new();
    while let Some((&[a, b, c, kind, _, s, t, u, v], rest)) = bytes.split_first_chunk()
        && let Some((payload, next)) = rest.split_at_checked(usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c))
    {
        frames.push((kind, u32::from_be_bytes([s, t, u, v]), payload.to_vec()));
        bytes = next;
    }
    (frames, bytes.len())
}
