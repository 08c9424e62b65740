//! Hands libFuzzer's bytes to [`fuzz::fulfill_body`].
#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls an exported symbol")]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::fulfill_body::check(data));
