//! Postgres and Redis of our own: found or unpacked, started on private loopback ports, stopped without a trace.
//!
//! Nothing here touches the system's services, its package database or folders outside [`Host::home`].

mod account;
mod apt;
mod host;
mod login;
mod loopback;
mod postgres;
mod prometheus;
mod redis;

pub use account::Account;
pub use host::{Binaries, DataFolder, Host, Kind, Lifetime, Unpacked, stack_folder};
pub use login::Login;
pub use loopback::free_port;
pub use postgres::{Postgres, PostgresOptions};
pub use prometheus::Prometheus;
pub use redis::{Redis, RedisOptions};
