//! Hands libFuzzer's bytes to [`fuzz::session_token`].
#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls an exported symbol")]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::session_token::check(data));
