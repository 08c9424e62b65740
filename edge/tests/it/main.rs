//! The edge from outside: real servers, real sockets, and a clock that the tests move. One test binary, so that it links once.

mod addresses;
mod buckets;
mod keys;
mod problems;
mod races;
mod rate_headers;
mod stage;
mod wire;
