//! The edge from outside: real servers, real sockets, and a clock that the tests move. One test binary, so that it links once.

mod addresses;
mod ambiguous;
mod behind_proxies;
mod bodies;
mod buckets;
mod cardinality;
mod certificates;
mod deadlines;
mod descriptors;
mod edge_process;
mod feed;
mod fields_at_their_limits;
mod http2_floods;
mod indistinguishable;
mod keys;
mod leaving;
mod manners;
mod mutations;
mod pages;
mod portal;
mod problems;
mod process;
mod protocols;
mod queries;
mod races;
mod rate_headers;
mod resting;
mod rolling;
mod slow_clients;
mod spoofing;
mod stage;

mod starting;
mod stripe;
mod webhooks;
mod wire;
