//! Checking and hashing passwords away from the threads that serve requests, so many at once and no more, and never for longer than somebody
//! waits.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::partner::{hash_password, is_password};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::error::{PageError, PageProblem};

/// How long a password may wait for its turn, and how long it may then take.
const DEADLINE: Duration = Duration::from_secs(3);

/// Where passwords are worked on.
#[derive(Debug)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// What is checked where there is no hash, so that it takes as long.
    nobodys: Arc<OnceLock<String>>,
}

impl Passwords {
    /// With so many at once.
    pub fn new(at_once: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(at_once)), nobodys: Arc::default() }
    }

    /// Whether this password was hashed to this; where nothing was, no, after the same work.
    pub async fn is_good(&self, password: Zeroizing<String>, hash: Option<String>) -> Result<bool, PageError> {
        let nobodys = self.nobodys.clone();
        self.work(move || {
            let nobodys = nobodys.get_or_init(|| hash_password("nobody's", &rand::random()));
            let is_good = is_password(&password, hash.as_ref().unwrap_or(nobodys));
            is_good && hash.is_some()
        })
        .await
    }

    /// The hash to keep of a new password.
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<String, PageError> {
        self.work(move || hash_password(&password, &rand::random())).await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PageError> {
        let unavailable = || PageError::new(PageProblem::Unavailable);
        let turn = tokio::time::timeout(DEADLINE, self.turns.clone().acquire_owned()).await;
        // The semaphore is never closed.
        let turn = turn.map_err(|_| unavailable())?.map_err(|_| unavailable())?;
        // The turn goes with the work: it is over when the work is, even if nobody waits any more.
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        let done = tokio::time::timeout(DEADLINE, working).await.map_err(|_| unavailable())?;
        done.map_err(|_| PageError::new(PageProblem::Internal))
    }
}
