//! One binary for all of this crate's tests: its command line, and the system as a whole, edges and workers together over real Postgres,
//! real Redis and real sockets.

mod alerts;
mod browser;
mod canaries;
mod checkout;
mod command_line;
mod crash_points;
mod dashboards;
mod deploy;
mod draining;
mod followers;
mod fulfill;
mod load;
mod metrics;
mod mortal;
mod node;
mod openapi;
mod orders;
mod outages;
mod patience;
mod payments;
mod php;
mod poison;
mod redis_commands;
mod roles;
mod rules;
mod secrecy;
mod snippets;
mod system;
mod tax;
mod traces;
mod usage;
mod walls;
mod webhooks;
