//! `[portal]`: where partners run their stores. The reason of each default stands in `default.toml`.

use std::time::Duration;

use crate::reader::Section;

/// `[portal]`.
#[derive(Debug, Clone)]
pub struct Portal {
    /// Without a click for so long, a session is over.
    pub session_idle: Duration,
    /// How long a session lives at most. Not less than `session_idle`.
    pub session_lifetime: Duration,
    /// Connections to Postgres for the portal alone.
    pub postgres_connections_max: usize,
    /// Passwords checked at once.
    pub password_checks_max: usize,
}

impl Portal {
    pub(crate) fn read(mut from: Section<'_>) -> Self {
        let portal = Self {
            session_idle: from.seconds("session_idle_s", 60..=604_800),
            session_lifetime: from.seconds("session_lifetime_s", 60..=7_776_000),
            postgres_connections_max: from.number("postgres_connections_max", 1..=100),
            password_checks_max: from.number("password_checks_max", 1..=64),
        };
        let fits = portal.session_idle <= portal.session_lifetime;
        from.relate("session_idle_s", "must not be more than", "session_lifetime_s", fits);
        portal
    }
}
