//! One connection of its own that listens for notifications and watches over the server: as soon as it breaks, or does not answer in
//! time, [`Pg::is_up`] says so. It reconnects for ever. A server whose schema is older than this program counts as one that is not there
//! yet: a program may be started before its migrations, and begins by itself when they have been applied.

use std::future::poll_fn;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio_postgres::AsyncMessage;

use super::{Pg, StorageError, Trouble, migrations, roles};

/// How often the server is asked whether it is there.
const PING_EVERY: Duration = Duration::from_millis(500);
/// How long its answer may take.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_millis(500);
/// How often the rights of the login are looked at: somebody may take one.
const RIGHTS_EVERY: Duration = Duration::from_secs(10);
/// How many of the rights that a login lacks are named.
const RIGHTS_TOLD_MAX: usize = 5;

/// Something that was said on a channel.
#[derive(Debug, Clone)]
pub enum Notice {
    /// The connection is new: whatever was said before may have been missed.
    Connected,
    /// A notification.
    Said {
        /// On which channel.
        channel: String,
        /// What.
        payload: String,
    },
}

/// Listens on these channels and passes on what is said there, for ever. Never returns; end it by dropping it.
pub async fn run(pg: &Pg, channels: &[&str], notices: broadcast::Sender<Notice>) -> std::convert::Infallible {
    let (mut wait, mut told) = (RECONNECT_MIN, None);
    loop {
        let mut connected = false;
        let error = listen(pg, channels, &notices, &mut connected).await.expect_err("listening ends only by an error");
        let refused = (!error.is_unavailable()).then(|| error.to_string());
        pg.set(Err(refused.clone().map_or(Trouble::Unreachable, Trouble::Refused)));
        if refused.is_some() {
            // Told once, and again when it is something else.
            if told != refused {
                tracing::error!(%error, "the database does not let this program work");
            }
            wait = RECONNECT_MAX;
        } else if connected {
            tracing::warn!(%error, "lost the database, reconnecting");
            wait = RECONNECT_MIN;
        } else {
            tracing::debug!(%error, "the database cannot be reached");
            wait = (wait * 2).min(RECONNECT_MAX);
        }
        told = refused;
        tokio::time::sleep(wait.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
    }
}

async fn listen(
    pg: &Pg,
    channels: &[&str],
    notices: &broadcast::Sender<Notice>,
    connected: &mut bool,
) -> Result<std::convert::Infallible, StorageError> {
    let connect = pg.config.connect(pg.tls.clone());
    let (client, mut connection) =
        tokio::time::timeout(PING_TIMEOUT, connect).await.map_err(|_| StorageError::Unavailable("connecting took too long".into()))??;
    let (sender, mut messages) = mpsc::unbounded_channel();
    let driver = tokio::spawn(async move {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                Ok(AsyncMessage::Notification(notification)) => {
                    if sender.send(notification).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    let _abort = tokio_util::task::AbortOnDropHandle::new(driver);
    let listen: String = channels.iter().map(|channel| format!("listen {channel};")).collect();
    ping(client.batch_execute(&format!("{listen}select 1"))).await?;
    *connected = true;
    until_migrated(pg, &client).await?;
    check_rights(pg, &client).await?;
    pg.set(Ok(()));
    tracing::info!("listening to the database");
    // Nobody listening to us is no reason to stop: the flag above is what matters.
    let _ = notices.send(Notice::Connected);
    let mut interval = tokio::time::interval(PING_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut rights = tokio::time::interval_at(tokio::time::Instant::now() + RIGHTS_EVERY, RIGHTS_EVERY);
    rights.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = messages.recv() => {
                let Some(said) = message else { return Err(StorageError::Unavailable("the connection was closed".into())) };
                let _ = notices.send(Notice::Said { channel: said.channel().to_owned(), payload: said.payload().to_owned() });
            }
            _ = rights.tick() => check_rights(pg, &client).await?,
            _ = interval.tick() => ping(client.batch_execute("select 1")).await?,
        }
    }
}

/// Waits for the schema that this program knows, or a newer one.
async fn until_migrated(pg: &Pg, client: &tokio_postgres::Client) -> Result<(), StorageError> {
    let is_current = || async {
        let current = tokio::time::timeout(PING_TIMEOUT, migrations::is_current_for(client)).await;
        current.map_err(|_| StorageError::Unavailable("no answer in time".into()))?
    };
    let mut told = false;
    while !is_current().await? {
        if !std::mem::replace(&mut told, true) {
            tracing::warn!("{}", Trouble::OldSchema);
        }
        pg.set(Err(Trouble::OldSchema));
        tokio::time::sleep(PING_EVERY).await;
    }
    Ok(())
}

/// Fails when the login lacks a right that this program's role has.
async fn check_rights(pg: &Pg, client: &tokio_postgres::Client) -> Result<(), StorageError> {
    let Some(role) = pg.role else { return Ok(()) };
    let lacking = tokio::time::timeout(PING_TIMEOUT, roles::lacking(client, role)).await;
    let lacking = lacking.map_err(|_| StorageError::Unavailable("no answer in time".into()))??;
    if lacking.is_empty() {
        return Ok(());
    }
    let more = lacking.len().saturating_sub(RIGHTS_TOLD_MAX);
    let first = lacking[..lacking.len() - more].join("; ");
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(StorageError::Forbidden(format!("the login lacks rights of the role {}: {first}{more}", role.name())))
}

async fn ping(answer: impl Future<Output = Result<(), tokio_postgres::Error>>) -> Result<(), StorageError> {
    let answer = tokio::time::timeout(PING_TIMEOUT, answer).await;
    Ok(answer.map_err(|_| StorageError::Unavailable("no answer in time".into()))??)
}

/// Resolves when something may have been said on `channel`: it was, or what was said may have been missed. Never when nobody listens any
/// more.
pub async fn heard(notices: &mut broadcast::Receiver<Notice>, channel: &str) {
    loop {
        match notices.recv().await {
            Ok(Notice::Said { channel: other, .. }) if other != channel => {}
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
