//! Keeps the snapshot equal to the database: loads everything once, then follows the change feed. A notification wakes it, a poll makes
//! sure; whoever has fallen too far behind loads everything again. While the database is away the snapshot stays as it is, and says how
//! old it is.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use common::clock::Clock;
use futures_util::TryStreamExt;
use ops::health::Check;
use storage::pg::changes::{self, ChangeKind, Position};
use storage::pg::listener::{self, Notice};
use storage::pg::tax_rates::LiveTable;
use storage::pg::{api_keys, edges, products, stores};
use storage::{Pg, StorageError};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::snapshot::Snapshot;

/// The most changes read at once.
const CHANGES_MAX: i64 = 1_000;

/// Follows the feed.
#[derive(Clone)]
pub struct Follower {
    /// What is kept up to date.
    pub snapshot: Arc<Snapshot>,
    /// The tax rates, which are kept up to date as well.
    pub taxes: Arc<LiveTable>,
    /// Where the truth is.
    pub pg: Pg,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// This edge's name in the `edges` table.
    pub edge_id: Arc<str>,
    /// How often the feed is read without being woken.
    pub poll: Duration,
    /// Passes once everything has been loaded.
    pub check: Check,
}

impl Follower {
    /// Follows until `stop`.
    pub async fn run(self, mut notices: broadcast::Receiver<Notice>, stop: CancellationToken) -> Result<(), Infallible> {
        let mut position = None;
        loop {
            let loaded = self.snapshot.applied_change_id() >= 0;
            // What was loaded once goes on serving. The first time everything must be there to load from, all tables too.
            if !loaded && !self.pg.is_up() {
                self.check.failed(format!("not loaded yet: {}", self.pg.trouble()));
            } else if let Err(error) = self.catch_up(&mut position).await {
                tracing::debug!(%error, "the snapshot could not be brought up to date");
                if !loaded {
                    self.check.failed("not loaded yet");
                }
            } else {
                self.check.ok();
            }
            let woken = listener::heard(&mut notices, changes::CHANNEL);
            tokio::select! {
                () = stop.cancelled() => break,
                () = woken => {}
                () = tokio::time::sleep(self.poll) => {}
            }
        }
        self.leave().await;
        Ok(())
    }

    /// Reads on from `position`, or loads everything when that is not possible: at first, behind what is kept, and when the place was
    /// never there, as after a restored backup.
    async fn catch_up(&self, position: &mut Option<Position>) -> Result<(), StorageError> {
        let client = self.pg.client().await?;
        let applied = match *position {
            Some(position) => self.apply(&client, position).await?,
            None => None,
        };
        drop(client);
        *position = Some(match applied {
            Some(position) => position,
            None => self.load().await?,
        });
        let client = self.pg.client().await?;
        edges::report(&*client, &self.edge_id, self.snapshot.applied_change_id()).await
    }

    /// Applies all changes after `position`. Returns where the feed ends, or `None` if it does not lead on from there.
    async fn apply(&self, client: &storage::pg::Client, mut position: Position) -> Result<Option<Position>, StorageError> {
        loop {
            let now = self.clock.now();
            let Some(changes) = changes::after(&**client, position, CHANGES_MAX).await? else { return Ok(None) };
            let kind = |kind| changes.iter().filter(|change| change.kind == kind).map(|change| change.subject_id).collect::<BTreeSet<_>>();
            for id in kind(ChangeKind::Store) {
                if let Some(store) = stores::get(&**client, id).await? {
                    self.snapshot.put_store(&store);
                    self.snapshot.put_catalogue(id, products::of_store(&**client, id).await?);
                }
            }
            for store_id in kind(ChangeKind::Catalogue) {
                self.snapshot.put_catalogue(store_id, products::of_store(&**client, store_id).await?);
            }
            for id in kind(ChangeKind::ApiKey) {
                match api_keys::get(&**client, id).await? {
                    Some(row) => self.snapshot.put_key(&row),
                    None => self.snapshot.revoke(&[id]),
                }
            }
            if !kind(ChangeKind::Tax).is_empty() {
                self.taxes.load(&**client).await?;
            }
            position = changes.last().map_or(position, |change| change.position);
            self.snapshot.confirm(position.id, now);
            if changes.len() < CHANGES_MAX as usize {
                return Ok(Some(position));
            }
        }
    }

    /// Loads everything, as it stood at one moment. Returns where the feed ended then.
    async fn load(&self) -> Result<Position, StorageError> {
        let mut client = self.pg.client().await?;
        let now = self.clock.now();
        let tx = storage::pg::snapshot_transaction(&mut client).await?;
        let end = changes::end(&tx).await?;
        let generation = self.snapshot.begin_loading();
        let mut seen = HashMap::new();
        for store in stores::list(&tx).await? {
            self.snapshot.put_store(&store);
            seen.insert(store.id, store.slug);
        }
        let mut catalogues: HashMap<i64, Vec<products::Priced>> = seen.keys().map(|&id| (id, Vec::new())).collect();
        for product in products::all(&tx).await? {
            catalogues.entry(product.0.store_id).or_default().push(product);
        }
        for (store_id, products) in catalogues {
            self.snapshot.put_catalogue(store_id, products);
        }
        self.taxes.load(&tx).await?;
        let mut keys = std::pin::pin!(api_keys::stream_all(&tx).await?);
        while let Some(row) = keys.try_next().await? {
            self.snapshot.put_key(&row);
        }
        self.snapshot.end_loading(generation, &seen);
        self.snapshot.confirm(end.id, now);
        let (keys, stores) = self.snapshot.len();
        tracing::info!(keys, stores, change = end.id, "loaded the snapshot");
        Ok(end)
    }

    /// Takes this edge out of the list of those who follow, so that nobody waits for it.
    async fn leave(&self) {
        let left = async { edges::remove(&*self.pg.client().await?, &self.edge_id).await };
        if let Err(error) = left.await {
            tracing::debug!(%error, "could not say goodbye; the edge's row ages out");
        }
    }
}

/// Takes revoked keys out as soon as Redis says so, many at a time: looking through a million keys is done once for all that came in.
pub async fn revoke_at_once(
    snapshot: Arc<Snapshot>,
    mut revoked: mpsc::UnboundedReceiver<i64>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut ids = Vec::new();
    while let Some(count) = stop.run_until_cancelled(revoked.recv_many(&mut ids, 1_024)).await {
        if count == 0 {
            stop.cancelled().await;
            break;
        }
        snapshot.revoke(&ids);
        ids.clear();
    }
    Ok(())
}
