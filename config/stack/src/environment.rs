//! What the caller's environment says, read once. No other file of this crate asks for a variable.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The variables that mean something here.
pub struct Environment {
    /// The command line, without our own name.
    pub arguments: Vec<OsString>,
    /// Where programs are looked for.
    pub path: OsString,
    /// Our own program, asked for at the start: the path gets lost when a build puts another one in its place.
    pub own: PathBuf,
    /// The cargo that started us.
    pub cargo: PathBuf,
    /// Variables by which cargo tells us about our own package.
    pub of_this_package: Vec<OsString>,
    /// A Postgres to use instead of our own.
    pub database_url: Option<String>,
    /// A Redis to use instead of our own.
    pub redis_url: Option<String>,
    /// Whether the caller has decided about TLS to Postgres.
    pub postgres_tls_is_set: bool,
    /// Whether the caller has signing secrets of Stripe's own.
    pub stripe_is_set: bool,
}

impl Environment {
    /// An empty variable counts as not set.
    pub fn read() -> Result<Self> {
        Ok(Self {
            arguments: env::args_os().skip(1).collect(),
            path: env::var_os("PATH").context("PATH is not set")?,
            own: env::current_exe().context("cannot find our own program")?,
            cargo: env::var_os("CARGO").unwrap_or_else(|| "cargo".into()).into(),
            of_this_package: env::vars_os().map(|(name, _)| name).filter(is_of_this_package).collect(),
            database_url: url("DATABASE_URL", &["postgres://", "postgresql://"])?,
            redis_url: url("REDIS_URL", &["redis://", "rediss://"])?,
            postgres_tls_is_set: env::var_os("ANONYMOUSPAY_POSTGRES__TLS").is_some(),
            stripe_is_set: env::vars_os().any(|(name, _)| is_signing_secret(&name)),
        })
    }
}

fn is_of_this_package(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
}

fn is_signing_secret(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("ANONYMOUSPAY_STRIPE__") && name.contains("_SIGNING_SECRETS"))
}

fn url(name: &str, schemes: &[&str]) -> Result<Option<String>> {
    let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    match value.into_string() {
        Ok(value) if schemes.iter().any(|scheme| value.starts_with(scheme)) => Ok(Some(value)),
        // The value is not repeated: it may hold a password.
        _ => bail!("{name} does not begin with {}; correct it, or unset it to get a private server", schemes.join(" or ")),
    }
}
