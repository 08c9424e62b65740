//! One connection of its own that listens for notifications and watches over the server: as soon as it breaks, or does not answer in
//! time, [`Pg::is_up`] says so. It reconnects for ever.

use std::future::poll_fn;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio_postgres::AsyncMessage;

use super::{Pg, StorageError};

/// How often the server is asked whether it is there.
const PING_EVERY: Duration = Duration::from_millis(500);
/// How long its answer may take.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_millis(500);

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
    let mut wait = RECONNECT_MIN;
    loop {
        let mut connected = false;
        let error = listen(pg, channels, &notices, &mut connected).await.expect_err("listening ends only by an error");
        pg.set_up(false);
        if connected {
            tracing::warn!(%error, "lost the database, reconnecting");
            wait = RECONNECT_MIN;
        } else {
            tracing::debug!(%error, "the database cannot be reached");
            wait = (wait * 2).min(RECONNECT_MAX);
        }
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
    pg.set_up(true);
    *connected = true;
    tracing::info!("listening to the database");
    // Nobody listening to us is no reason to stop: the flag above is what matters.
    let _ = notices.send(Notice::Connected);
    let mut interval = tokio::time::interval(PING_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = messages.recv() => {
                let Some(said) = message else { return Err(StorageError::Unavailable("the connection was closed".into())) };
                let _ = notices.send(Notice::Said { channel: said.channel().to_owned(), payload: said.payload().to_owned() });
            }
            _ = interval.tick() => ping(client.batch_execute("select 1")).await?,
        }
    }
}

async fn ping(answer: impl Future<Output = Result<(), tokio_postgres::Error>>) -> Result<(), StorageError> {
    let answer = tokio::time::timeout(PING_TIMEOUT, answer).await;
    Ok(answer.map_err(|_| StorageError::Unavailable("no answer in time".into()))??)
}
