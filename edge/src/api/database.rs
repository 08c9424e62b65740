//! What waits for the database: never longer than callers do, and not at all when the database is known to be away.

use std::time::Duration;

use storage::Pg;

use crate::edge::Edge;
use crate::error::{ApiError, Code};

/// How long the database may take in all. Many clients give up after 5 s.
const DEADLINE: Duration = Duration::from_secs(4);

/// Ends at once when the database is known to be away, before or while it is being asked, and in time when it is merely slow.
pub async fn in_time<T, E: From<ApiError>>(edge: &Edge, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    in_time_of(&edge.pg, work).await
}

/// The same of a pool of its own.
pub async fn in_time_of<T, E: From<ApiError>>(pg: &Pg, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    if pg.is_crowded() {
        return Err(unavailable("The database is busy right now. Send the request again."));
    }
    tokio::select! {
        biased;
        () = pg.down() => Err(unavailable("The database cannot be reached right now. Send the request again.")),
        answer = tokio::time::timeout(DEADLINE, work) => answer.unwrap_or_else(|_| {
            Err(unavailable("The database did not answer in time. Send the request again."))
        }),
    }
}

fn unavailable<E: From<ApiError>>(detail: &str) -> E {
    ApiError::new(Code::Unavailable, detail).into()
}
