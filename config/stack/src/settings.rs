//! What the binaries are told, by environment. The whole table is here and nowhere else.
//!
//! Knobs that are not in it stay the caller's: `ANONYMOUSPAY_LIMITS__CHECKOUT=5 cargo stack up` works.

use testkit::process::Launch;

use crate::secrets::Secrets;

/// The first edge's port, and what customers are told.
pub const PORT: u16 = 8000;

/// The same for all processes of one stack.
pub struct Settings {
    /// The owner's.
    pub database_url: String,
    /// The edges', the owner's too where the database is not ours.
    pub edge_database_url: String,
    /// The workers', likewise.
    pub worker_database_url: String,
    pub redis_url: String,
    /// Says nothing about TLS to Postgres because the caller has.
    pub postgres_tls_is_set: bool,
    /// Takes Stripe's events under secrets of the caller's.
    pub stripe_is_set: bool,
    pub secrets: Secrets,
}

impl Settings {
    /// What the worker's commands need, and the others too.
    pub fn apply(&self, launch: Launch) -> Launch {
        // Our own Postgres is on loopback and speaks no TLS, as most that a developer names do.
        let launch = if self.postgres_tls_is_set { launch } else { launch.env("ANONYMOUSPAY_POSTGRES__TLS", "disable") };
        let launch = match self.stripe_is_set {
            true => launch,
            false => launch
                .env("ANONYMOUSPAY_STRIPE__LIVE_SIGNING_SECRETS", &self.secrets.stripe_live)
                .env("ANONYMOUSPAY_STRIPE__TEST_SIGNING_SECRETS", &self.secrets.stripe_test),
        };
        launch
            .env("ANONYMOUSPAY_MODE", "development")
            .env("ANONYMOUSPAY_HTTP__PUBLIC_BASE_URL", base_url())
            .env("ANONYMOUSPAY_POSTGRES__URL", &self.database_url)
            .env("ANONYMOUSPAY_REDIS__URL", &self.redis_url)
            .env("ANONYMOUSPAY_SECRETS__API_KEY_PEPPER", &self.secrets.api_key_pepper)
            .env("ANONYMOUSPAY_SECRETS__SESSION_SIGNING", &self.secrets.session_signing)
            .env("ANONYMOUSPAY_SECRETS__SEALING", &self.secrets.sealing)
            .env("ANONYMOUSPAY_SECRETS__LICENSE_DIGEST", &self.secrets.license_digest)
            .env("ANONYMOUSPAY_LOG__FORMAT", "json")
    }

    /// What an edge needs. Loopback: a stack on a developer's machine is nobody else's business.
    pub fn edge(&self, launch: Launch, port: u16, admin_port: u16) -> Launch {
        self.apply(launch)
            .env("ANONYMOUSPAY_POSTGRES__URL", &self.edge_database_url)
            .env("ANONYMOUSPAY_EDGE__LISTEN", format!("127.0.0.1:{port}"))
            .env("ANONYMOUSPAY_EDGE__ADMIN_LISTEN", format!("127.0.0.1:{admin_port}"))
            // Whoever loads it from this machine may say for which address: limits are counted by it.
            .env("ANONYMOUSPAY_EDGE__TRUSTED_PROXIES", "127.0.0.1,::1")
            // Whoever presses Ctrl-C has no other edge whose requests could be on their way, and may have a browser open.
            .env("ANONYMOUSPAY_EDGE__DRAIN_IDLE_MS", "0")
    }

    /// What a worker that works needs.
    pub fn worker(&self, launch: Launch, admin_port: u16) -> Launch {
        self.apply(launch)
            .env("ANONYMOUSPAY_POSTGRES__URL", &self.worker_database_url)
            .env("ANONYMOUSPAY_WORKER__ADMIN_LISTEN", format!("127.0.0.1:{admin_port}"))
    }
}

/// Where customers reach the first edge.
pub fn base_url() -> String {
    format!("http://localhost:{PORT}")
}
