//! Redis connections with the settings that they need: without them fred waits for ever, gives up reconnecting, sends commands twice
//! and drops messages.

use std::time::Duration;

use fred::clients::{Client, SubscriberClient};
use fred::error::ErrorKind;
use fred::interfaces::{ClientLike, EventInterface};
use fred::prelude::{Builder, Config, ReconnectPolicy};
use fred::types::config::{ConnectionConfig, PerformanceConfig, TcpConfig, UnresponsiveConfig};

use crate::StorageError;

/// The replies of thousands of waiters may arrive in one read; fred drops what does not fit here. For a client that subscribes only:
/// fred makes nine channels of this size for each, full of empty places.
const MESSAGES_MAX: usize = 16_384;
/// What others hear is about their connection.
const NOTICES_MAX: usize = 32;

const QUIT_TIMEOUT: Duration = Duration::from_millis(200);
/// Between two attempts at the first connection.
const CONNECT_AGAIN_AFTER: Duration = Duration::from_millis(200);

fn builder(settings: &config::Redis, command_timeout: Duration, broadcast_channel_capacity: usize) -> Result<Builder, StorageError> {
    let config = Config::from_url(settings.url.expose()).map_err(|error| StorageError::Settings(format!("redis.url: {error}")))?;
    let mut builder = Builder::from_config(config);
    // For ever, from 50 ms up to half a second apart.
    builder.set_policy(ReconnectPolicy::new_exponential(0, 50, 500, 2));
    builder.set_performance_config(PerformanceConfig {
        default_command_timeout: command_timeout,
        broadcast_channel_capacity,
        ..PerformanceConfig::default()
    });
    builder.set_connection_config(ConnectionConfig {
        connection_timeout: settings.connect_timeout,
        internal_command_timeout: settings.command_timeout,
        // A command that may have been executed is never sent again by itself.
        max_command_attempts: 1,
        max_command_buffer_len: 16_384,
        reconnect_on_auth_error: true,
        unresponsive: UnresponsiveConfig {
            max_timeout: Some(command_timeout + Duration::from_secs(1)),
            interval: Duration::from_millis(500),
        },
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    });
    Ok(builder)
}

/// A client for ordinary commands. It connects in the background and reconnects for ever; commands fail at once while it is not connected.
pub fn client(settings: &config::Redis) -> Result<Client, StorageError> {
    let client = builder(settings, settings.command_timeout, NOTICES_MAX)?.build()?;
    start(&client);
    Ok(client)
}

/// A client for reads that block for up to `block`, on a connection of its own.
pub fn blocking_client(settings: &config::Redis, block: Duration) -> Result<Client, StorageError> {
    let client = builder(settings, block + settings.command_timeout, NOTICES_MAX)?.build()?;
    start(&client);
    Ok(client)
}

/// A client that subscribes. Whoever uses it sees to it that it does so again after a reconnect.
pub fn subscriber(settings: &config::Redis) -> Result<SubscriberClient, StorageError> {
    let client = builder(settings, settings.command_timeout, MESSAGES_MAX)?.build_subscriber_client()?;
    start(&client);
    Ok(client)
}

/// Connects, and stays connected until the client is closed.
fn start(client: &(impl EventInterface + 'static)) {
    let connecting = client.clone();
    tokio::spawn(async move {
        // fred gives up when the first connection fails, but a process may start before its Redis; and when something is wrong with the
        // login, but that may be put right.
        while !matches!(connecting.connect().await, Ok(Ok(()))) {
            tokio::time::sleep(CONNECT_AGAIN_AFTER).await;
        }
    });
    client.on_error(|(error, _)| async move {
        match error.kind() {
            ErrorKind::Auth => tracing::warn!(%error, "redis refuses the login: see redis.url"),
            _ => tracing::debug!(%error, "redis connection"),
        }
        Ok(())
    });
}

/// Closes a connection for good. Without this it would go on reconnecting for as long as the process lives.
pub(crate) async fn quit(client: &Client) {
    // Without a connection the farewell waits for its time-out; the client has ended all the same.
    if let Ok(Err(error)) = tokio::time::timeout(QUIT_TIMEOUT, client.quit()).await {
        tracing::debug!(%error, "closing a redis connection");
    }
}

/// Options that make a command fail at once when there is no connection, instead of waiting for one.
pub(crate) fn fail_fast() -> fred::types::config::Options {
    fred::types::config::Options { fail_fast: true, max_attempts: Some(1), ..fred::types::config::Options::default() }
}
