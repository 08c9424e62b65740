//! The worker from outside: the real binary and real servers. One test binary, so that it links once.

mod bad_servers;
mod commands;
mod outgoing;
mod prune;
