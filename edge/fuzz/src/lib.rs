//! What must hold for every byte that strangers send: one module for each way in, each with a `check` that panics when something does
//! not hold. libFuzzer calls it with bytes that it invents (`targets/`), the ordinary tests with those that it found worth keeping
//! (`corpus/`). Nothing in here is random or knows the time, so that what was found once is found again.

pub mod bounds;
pub mod cart_body;
pub mod cart_link;
pub mod forwarding;
pub mod fulfill_body;
pub mod key_header;
pub mod knowledge;
pub mod request_head;
pub mod session_token;

/// One way in, by the name of its target and of its folder in `corpus/`.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 7] = [
    ("cart_body", cart_body::check),
    ("cart_link", cart_link::check),
    ("forwarding", forwarding::check),
    ("fulfill_body", fulfill_body::check),
    ("key_header", key_header::check),
    ("request_head", request_head::check),
    ("session_token", session_token::check),
];
