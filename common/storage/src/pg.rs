//! Postgres: a pool with a deadline on every wait, TLS, and one flag that says whether the database can be reached right now, so that
//! callers are told at once instead of after a time-out.

pub mod account_invites;
pub mod accounts;
pub mod api_keys;
pub mod audit;
pub mod audit_log;
pub mod carts;
pub mod changes;
mod client;
pub mod dead_letters;
pub mod edges;
pub mod events;
pub mod held_license_keys;
pub mod license_keys;
pub mod listener;
pub mod listings;
pub mod memberships;
pub mod migrations;
pub mod order_checkouts;
pub mod order_items;
pub mod order_payments;
pub mod orders;
pub mod portal_sessions;
pub mod products;
pub mod retention;
pub mod rewrap;
pub mod roles;
pub mod stores;
pub mod stripe_events;
pub mod tax_rates;
pub mod usage;
pub mod webhook_attempts;
pub mod webhook_deliveries;
pub mod webhook_endpoints;

use std::error::Error as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use config::PostgresTls;
use deadpool_postgres::{Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType, Timeouts};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::sync::watch;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres_rustls::MakeRustlsConnect;

pub use client::GenericClient;
pub use deadpool_postgres::{Client, Transaction};

use roles::{REMEDY, Role};

/// Where the tables are, and nowhere else: not what a login's own schema, or a temporary table, has under the same name.
const SEARCH_PATH: &str = "public,pg_temp";
/// How long a crowd is remembered. Then somebody may try whether it is gone.
const CROWDED_FOR: Duration = Duration::from_millis(250);

/// A pool of connections and what is known about the server's health.
#[derive(Clone)]
pub struct Pg {
    pool: Pool,
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    health: Arc<watch::Sender<bool>>,
    trouble: Arc<Mutex<Trouble>>,
    role: Option<Role>,
    crowd: Arc<Crowd>,
}

/// Remembers how long callers have waited for connections, and when somebody last did so in vain.
#[derive(Debug)]
struct Crowd {
    begun: Instant,
    /// Milliseconds after `begun`.
    until_ms: AtomicU64,
    /// All that all callers have waited.
    waited_us: AtomicU64,
}

impl Crowd {
    fn note(&self) {
        let until = self.begun.elapsed() + CROWDED_FOR;
        self.until_ms.store(until.as_millis() as u64, Ordering::Relaxed);
    }

    fn is_there(&self) -> bool {
        self.until_ms.load(Ordering::Relaxed) > self.begun.elapsed().as_millis() as u64
    }
}

/// Why the database cannot be used just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It cannot be reached.
    Unreachable,
    /// It lacks what this program needs.
    OldSchema,
    /// It is there, and does not let this login do what this program needs. In words, with what is to be done.
    Refused(String),
}

/// For people, with what is to be done.
impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Trouble::Unreachable => "the database cannot be reached",
            Trouble::OldSchema => "the database lacks what this version needs: run `worker migrate`",
            Trouble::Refused(why) => why,
        })
    }
}

impl Pg {
    /// Prepares a pool. Connects to nothing yet, so that a process can start before its database. `application_name` is what the
    /// server calls us in `pg_stat_activity`.
    pub fn new(settings: &config::Postgres, application_name: &str) -> Result<Self, StorageError> {
        let mut config: tokio_postgres::Config =
            settings.url.expose().parse().map_err(|error| StorageError::Settings(format!("postgres.url: {error}")))?;
        let options = config.get_options().unwrap_or_default().to_owned();
        config
            .application_name(application_name)
            .connect_timeout(settings.connect_timeout)
            .tcp_user_timeout(settings.statement_timeout)
            .keepalives_idle(Duration::from_secs(5))
            .keepalives_interval(Duration::from_secs(1))
            .keepalives_retries(3)
            // What the URL says comes last, and wins.
            .options(format!(
                "-c statement_timeout={0} -c lock_timeout={1} -c idle_in_transaction_session_timeout={0} -c TimeZone=UTC \
                 -c search_path={SEARCH_PATH} {options}",
                settings.statement_timeout.as_millis(),
                // Less, so that waiting for somebody is told from being slow.
                (settings.statement_timeout / 2).as_millis().max(1),
            ))
            .ssl_mode(match settings.tls {
                PostgresTls::Disable => SslMode::Disable,
                PostgresTls::VerifyFull => SslMode::Require,
            });
        let tls = MakeRustlsConnect::new(tls_config(settings)?);
        let manager = Manager::from_config(config.clone(), tls.clone(), ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let timeouts = Timeouts {
            wait: Some(settings.checkout_timeout),
            create: Some(settings.connect_timeout),
            recycle: Some(settings.connect_timeout),
        };
        let pool = Pool::builder(manager)
            .max_size(settings.connections_max)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StorageError::Settings(error.to_string()))?;
        let crowd = Arc::new(Crowd { begun: Instant::now(), until_ms: AtomicU64::new(0), waited_us: AtomicU64::new(0) });
        let trouble = Arc::new(Mutex::new(Trouble::Unreachable));
        Ok(Self { pool, config, tls, health: Arc::new(watch::Sender::new(false)), trouble, role: None, crowd })
    }

    /// Asks for what this role's program needs before [`Pg::is_up`] says yes.
    pub fn with_role(self, role: Role) -> Self {
        Self { role: Some(role), ..self }
    }

    /// The same server by a pool of its own, so that one kind of work cannot take another's connections. Health is watched by one for both.
    pub fn apart(&self, settings: &config::Postgres, application_name: &str) -> Result<Self, StorageError> {
        let other = Self::new(settings, application_name)?;
        Ok(Self { health: self.health.clone(), trouble: self.trouble.clone(), role: self.role, ..other })
    }

    /// A connection of the pool, returned when dropped.
    pub async fn client(&self) -> Result<Client, StorageError> {
        let began = Instant::now();
        let got = self.pool.get().await;
        self.crowd.waited_us.fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        if let Err(PoolError::Timeout(TimeoutType::Wait)) = got {
            self.crowd.note();
        }
        Ok(got?)
    }

    /// Whether somebody has waited for a connection in vain a moment ago. Work that can be refused had better be refused now, before anything
    /// was done for it: else those who come again keep everybody busy with what comes to nothing.
    pub fn is_crowded(&self) -> bool {
        self.crowd.is_there()
    }

    /// Whether Postgres could be reached when last looked at, and has the schema that we need; kept current by [`listener`].
    pub fn is_up(&self) -> bool {
        *self.health.borrow()
    }

    /// Why [`Pg::is_up`] says no.
    pub fn trouble(&self) -> Trouble {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows [`Pg::is_up`], and [`Pg::trouble`] with it.
    pub fn health(&self) -> watch::Receiver<bool> {
        self.health.subscribe()
    }

    /// Resolves when [`Pg::is_up`] says yes, at once if it does already.
    pub async fn up(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.health.subscribe().wait_for(|up| *up).await;
    }

    /// Resolves when Postgres cannot be reached, at once if that is so already.
    pub async fn down(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.health.subscribe().wait_for(|up| !up).await;
    }

    fn set(&self, state: Result<(), Trouble>) {
        let is_up = state.is_ok();
        let trouble = state.err().unwrap_or(Trouble::Unreachable);
        let known = std::mem::replace(&mut *self.trouble.lock().unwrap_or_else(PoisonError::into_inner), trouble.clone());
        self.health.send_if_modified(|up| std::mem::replace(up, is_up) != is_up || known != trouble);
    }

    /// Connections in use and open, for metrics.
    pub fn pool_status(&self) -> PoolStatus {
        let status = self.pool.status();
        let waited = Duration::from_micros(self.crowd.waited_us.load(Ordering::Relaxed));
        PoolStatus { size: status.size, idle: status.available, waiting: status.waiting, waited }
    }
}

/// A transaction that sees the database as it stands at one moment, and changes nothing.
pub async fn snapshot_transaction(client: &mut Client) -> Result<Transaction<'_>, StorageError> {
    let builder = client.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).read_only(true);
    Ok(builder.start().await?)
}

/// Milliseconds since 1970; 0 for what is earlier.
fn unix_ms(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// How the pool stands.
#[derive(Debug, Clone, Copy)]
pub struct PoolStatus {
    /// Open connections.
    pub size: usize,
    /// Of these, the idle ones.
    pub idle: usize,
    /// Callers waiting for one.
    pub waiting: usize,
    /// How long all callers so far have waited for one, together.
    pub waited: Duration,
}

/// The server's certificate and name are always verified, against the platform's roots or the file's.
fn tls_config(settings: &config::Postgres) -> Result<rustls::ClientConfig, StorageError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |error: &dyn std::fmt::Display| StorageError::Settings(format!("postgres.tls_ca_file: {error}"));
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| unusable(&error))?;
    let builder = match (settings.tls, &settings.tls_ca_file) {
        // Never used, so the machine need not have any roots.
        (PostgresTls::Disable, _) => builder.with_root_certificates(rustls::RootCertStore::empty()),
        (PostgresTls::VerifyFull, Some(path)) => {
            let mut roots = rustls::RootCertStore::empty();
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))?;
            for certificate in certificates {
                roots.add(certificate.map_err(|error| unusable(&error))?).map_err(|error| unusable(&error))?;
            }
            if roots.is_empty() {
                return Err(unusable(&"holds no certificate"));
            }
            builder.with_root_certificates(roots)
        }
        (PostgresTls::VerifyFull, None) => builder.with_platform_verifier().map_err(|error| unusable(&error))?,
    };
    Ok(builder.with_no_client_auth())
}

/// Why storage could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The server cannot be reached, is starting or stopping, or has no connection to spare. Nothing is known to have happened.
    #[error("the database cannot be reached: {0}")]
    Unavailable(String),
    /// The login may not do this. Nothing happened, and the same again will not go better.
    #[error("the database refused: {0}; {REMEDY}")]
    Forbidden(String),
    /// The server refused or aborted the statement.
    #[error("the database refused: {}", describe(.0))]
    Refused(tokio_postgres::Error),
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// A row holds something that this version cannot read.
    #[error("a stored value cannot be read: {0}")]
    Corrupt(String),
    /// A sealed value cannot be opened.
    #[error(transparent)]
    Sealed(#[from] common::seal::OpenError),
    /// A migration failed.
    #[error("migrating: {0}")]
    Migration(#[from] refinery::Error),
    /// Redis did not do it.
    #[error("redis: {0}")]
    Redis(#[from] fred::error::Error),
}

impl StorageError {
    /// Whether the same again may go better without anybody changing anything.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, StorageError::Unavailable(_))
    }

    /// Whether the login may not do this: nobody's fault but the operator's, and not for long.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, StorageError::Forbidden(_))
    }

    /// Whether a unique constraint stood in the way.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, StorageError::Refused(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION))
    }
}

/// What the client calls a handshake that failed, for whatever reason. It has no other way to tell.
const TLS_FAILED: &str = "error performing TLS handshake";

/// What went wrong and what is behind it, without the details that a server adds: they quote values, and values are e-mail addresses
/// and references.
fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{} ({})", error.message(), error.code().code());
    }
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl From<tokio_postgres::Error> for StorageError {
    fn from(error: tokio_postgres::Error) -> Self {
        let passing = |state: &SqlState| {
            // 08: connection, 53: no resources, 57: the operator or a time-out stepped in, 40: deadlock or serialization, 55: a lock.
            ["08", "53", "57", "40", "55"].iter().any(|class| state.code().starts_with(class))
        };
        match error.code() {
            Some(state) if passing(state) => Self::Unavailable(describe(&error)),
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Self::Forbidden(describe(&error)),
            Some(_) => Self::Refused(error),
            None if error.to_string() == TLS_FAILED => {
                Self::Unavailable(format!("{}; see postgres.tls and postgres.tls_ca_file", describe(&error)))
            }
            None if error.is_closed() || error.source().is_some_and(|source| source.is::<std::io::Error>()) => {
                Self::Unavailable(describe(&error))
            }
            None => Self::Refused(error),
        }
    }
}

impl From<PoolError> for StorageError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(TimeoutType::Wait) => Self::Unavailable("no free connection in time".into()),
            PoolError::Timeout(_) => Self::Unavailable("connecting took too long".into()),
            PoolError::Closed => Self::Unavailable("the pool is closed".into()),
            other => Self::Settings(other.to_string()),
        }
    }
}
