//! Hands libFuzzer's bytes to [`fuzz::request_head`].
#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls an exported symbol")]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::request_head::check(data));
