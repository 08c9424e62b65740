//! The edge from outside: real servers, real sockets, and a clock that the tests move. One test binary, so that it links once.

mod addresses;
mod ambiguous;
mod bodies;
mod buckets;
mod deadlines;
mod feed;
mod fields_at_their_limits;
mod indistinguishable;
mod keys;
mod leaving;
mod manners;
mod mutations;
mod problems;
mod process;
mod protocols;
mod queries;
mod races;
mod rate_headers;
mod rolling;
mod stage;
mod starting;
mod wire;
