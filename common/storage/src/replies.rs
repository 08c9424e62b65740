//! Replies: what a worker answers to the edge that asked, over Redis' pub/sub. A reply is a hint. A lost one is a late answer, never a
//! lost order, since whoever waits asks Postgres in the end.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::fulfill::FulfillOutcome;
use common::job::{Outcome, REPLY_MAX_BYTES, Reply};
use common::seal::Sealer;
use dashmap::DashMap;
use fred::clients::{Client, Pipeline, SubscriberClient};
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::Value;
use serde_json::value::RawValue;
use tokio::sync::{broadcast, oneshot};
use uuid::Uuid;

use crate::StorageError;
use crate::redis::{self, fail_fast};
use crate::revocations;

/// What replies are sealed to.
const PLACE: &[u8] = b"reply";
const SUBSCRIBE_AGAIN_AFTER: Duration = Duration::from_secs(5);
const SUBSCRIBE_BACKOFF: Duration = Duration::from_millis(100);

/// The worker's side.
#[derive(Clone)]
pub struct Replier {
    client: Client,
    sealer: Arc<Sealer>,
}

impl Replier {
    /// A replier over a connection that others may share.
    pub fn new(client: Client, sealer: Arc<Sealer>) -> Self {
        Self { client, sealer }
    }

    /// Sends replies, each to the channel of the edge that asked: as many as fit in one message, all messages at once. A reply that would
    /// not fit is told in short, if it can be. When Redis does not take them, that is all right too.
    pub async fn send<O: Outcome>(&self, replies: impl IntoIterator<Item = (String, Reply<O>)>) -> Result<(), StorageError> {
        let mut messages: Vec<(String, Vec<u8>)> = Vec::new();
        for (channel, mut reply) in replies {
            let mut json = to_json(&reply)?;
            if json.len() > REPLY_MAX_BYTES {
                reply.outcome = reply.outcome.in_short();
                json = to_json(&reply)?;
            }
            let fits = |message: &&mut (String, Vec<u8>)| message.0 == channel && message.1.len() + json.len() <= REPLY_MAX_BYTES;
            // A channel's latest message is the one with room.
            match messages.iter_mut().rev().find(fits) {
                Some((_, message)) => {
                    message.push(b',');
                    message.extend_from_slice(&json);
                }
                None => messages.push((channel, [b"[", &*json].concat())),
            }
        }
        let pipeline = Pipeline::from(self.client.with_options(&fail_fast()));
        for (channel, mut message) in messages {
            message.push(b']');
            let sealed = bytes::Bytes::from(self.sealer.seal(PLACE, &message));
            let _queued: Value = pipeline.publish(channel, sealed).await?;
        }
        let _receivers: Value = Box::pin(pipeline.all()).await?;
        Ok(())
    }
}

fn to_json<O: Outcome>(reply: &Reply<O>) -> Result<Vec<u8>, StorageError> {
    serde_json::to_vec(reply).map_err(|error| StorageError::Corrupt(error.to_string()))
}

/// A reply whose outcome only its waiter can read.
type Unread = Reply<Box<RawValue>>;

/// Who waits for which reply.
type Waiting = Arc<DashMap<Uuid, oneshot::Sender<Unread>>>;

/// The edge's side: one subscription for its own replies and for revocations.
#[derive(Clone)]
pub struct Inbox {
    client: SubscriberClient,
    channel: Arc<str>,
    waiting: Waiting,
    late: Arc<AtomicU64>,
}

/// Somebody waiting for a reply. Dropping it stops the waiting.
pub struct Waiter<O = FulfillOutcome> {
    id: Uuid,
    /// Gone once the reply was handed over.
    reply: Option<oneshot::Receiver<Unread>>,
    waiting: Waiting,
    outcome: PhantomData<fn() -> O>,
}

impl Inbox {
    /// Subscribes for the edge of this id, and does so again after every reconnect, for as long as the returned future runs.
    pub fn start<R: Fn(i64) + Send + Sync + 'static>(
        settings: &config::Redis,
        prefix: &str,
        edge_id: &str,
        sealer: Arc<Sealer>,
        revoked: R,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<R>), StorageError> {
        let client = redis::subscriber(settings)?;
        let channel: Arc<str> = format!("{prefix}:replies:{edge_id}").into();
        let inbox = Self { client: client.clone(), channel: channel.clone(), waiting: Arc::default(), late: Arc::default() };
        let (waiting, late, revocations) = (inbox.waiting.clone(), inbox.late.clone(), revocations::channel(prefix));
        let mut messages = client.message_rx();
        let subscribing = keep_subscribed(client, vec![channel.to_string(), revocations.clone()]);
        let reading = async move {
            loop {
                let message = match messages.recv().await {
                    Ok(message) => message,
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        tracing::warn!(missed, "replies came faster than they were read");
                        continue;
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                if message.channel == revocations {
                    match message.value.as_i64() {
                        Some(key_id) => revoked(key_id),
                        None => tracing::warn!("a revocation that cannot be read"),
                    }
                } else if let Some(sealed) = message.value.as_bytes() {
                    deliver(&waiting, &late, &sealer, sealed);
                }
            }
        };
        let listening = async move {
            tokio::select! {
                () = reading => {}
                never = subscribing => match never {},
            }
        };
        Ok((inbox, listening))
    }

    /// The channel that replies must be sent to.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Begins to wait for the reply to this fulfill job.
    pub fn wait_for(&self, id: Uuid) -> Waiter {
        self.wait_for_outcome(id)
    }

    /// Begins to wait for the reply to this job, whatever its kind.
    pub fn wait_for_outcome<O: Outcome>(&self, id: Uuid) -> Waiter<O> {
        let (sender, reply) = oneshot::channel();
        self.waiting.insert(id, sender);
        Waiter { id, reply: Some(reply), waiting: self.waiting.clone(), outcome: PhantomData }
    }

    /// How many replies came when nobody waited for them any more.
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there is a connection just now.
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }
}

/// Subscribes, and again after every reconnect. Now and then for no reason at all: subscribing twice is harmless, not being subscribed
/// is not, and nobody would notice.
async fn keep_subscribed(client: SubscriberClient, channels: Vec<String>) -> Infallible {
    let mut reconnects = client.reconnect_rx();
    loop {
        let wait = match client.subscribe(channels.clone()).await {
            Ok(()) => SUBSCRIBE_AGAIN_AFTER,
            Err(error) => {
                tracing::debug!(%error, "subscribing");
                SUBSCRIBE_BACKOFF
            }
        };
        // A reconnect, a missed one, or time: all mean the same.
        let _ = tokio::time::timeout(wait, reconnects.recv()).await;
    }
}

fn deliver(waiting: &DashMap<Uuid, oneshot::Sender<Unread>>, late: &AtomicU64, sealer: &Sealer, sealed: &[u8]) {
    let replies = match sealer.open(PLACE, sealed) {
        Ok(json) => serde_json::from_slice::<Vec<Unread>>(&json).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match replies {
        Ok(replies) => {
            for reply in replies {
                // Nobody waits any more when the reply is late.
                let taken = waiting.remove(&reply.id).is_some_and(|(_, sender)| sender.send(reply).is_ok());
                if !taken {
                    late.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Err(error) => tracing::warn!(error, "replies that cannot be read"),
    }
}

impl<O: Outcome> Waiter<O> {
    /// The id that the job must carry.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The reply, whenever it comes. There is one at most: whoever asks for another waits for ever.
    pub async fn reply(&mut self) -> Reply<O> {
        if let Some(waiting) = &mut self.reply {
            let reply = waiting.await;
            self.reply = None;
            // The sender is only dropped by this waiter's own end.
            if let Ok(Reply { v, id, outcome }) = reply {
                match serde_json::from_str(outcome.get()) {
                    Ok(outcome) => return Reply { v, id, outcome },
                    Err(error) => tracing::warn!(%error, "a reply that cannot be read"),
                }
            }
        }
        std::future::pending().await
    }
}

impl<O> Drop for Waiter<O> {
    fn drop(&mut self) {
        self.waiting.remove(&self.id);
    }
}
