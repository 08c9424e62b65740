//! One binary for all of this crate's tests: its command line, and the system as a whole, edges and workers together over real Postgres,
//! real Redis and real sockets.

mod browser;
mod canaries;
mod checkout;
mod command_line;
mod crash_points;
mod draining;
mod followers;
mod fulfill;
mod mortal;
mod openapi;
mod orders;
mod outages;
mod patience;
mod payments;
mod poison;
mod python;
mod redis_commands;
mod roles;
mod secrecy;
mod snippets;
mod system;
mod tax;
mod usage;
mod walls;
mod webhooks;
