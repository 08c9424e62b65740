//! The apalis side of the queue: one apalis task is one batch, everything that was waiting when the worker was ready for more, so that a
//! lone job is never delayed and a flood is taken in large steps.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::task::task_id::RandomId;
use apalis_core::worker::context::WorkerContext;
use tokio::sync::mpsc;
use tower_layer::Identity;

use super::{Entry, ServerClock};

/// Entries to be worked on together. One that was redelivered is always alone: it may be what ended its last worker.
pub type Batch = Vec<Entry>;

/// Yields batches to an apalis worker. Ends when the reader has stopped and everything it read was handed out.
#[derive(Debug)]
pub struct QueueBackend {
    entries: mpsc::Receiver<Entry>,
    /// A redelivered entry that came behind others and waits for its turn alone.
    next: Option<Entry>,
    clock: Arc<ServerClock>,
    batch_jobs_max: usize,
}

impl QueueBackend {
    pub(super) fn new(entries: mpsc::Receiver<Entry>, clock: Arc<ServerClock>, batch_jobs_max: usize) -> Self {
        Self { entries, next: None, clock, batch_jobs_max }
    }

    fn fill(&mut self, first: Entry) -> Batch {
        let mut batch = vec![first];
        while !batch[0].redelivered && batch.len() < self.batch_jobs_max {
            match self.entries.try_recv() {
                Ok(entry) if entry.redelivered => {
                    self.next = Some(entry);
                    break;
                }
                Ok(entry) => batch.push(entry),
                Err(_) => break,
            }
        }
        // Only now: under load entries have waited here as well.
        for entry in &mut batch {
            entry.age_ms = self.clock.age_ms(&entry.id);
        }
        batch
    }
}

impl Backend for QueueBackend {
    type Task = Task<Batch>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Option<Result<Task<Batch>, Infallible>>> {
        if let Some(entry) = self.next.take() {
            return Poll::Ready(Some(Ok(Task::new(self.fill(entry)))));
        }
        let first = ready!(self.entries.poll_recv(cx));
        if first.is_none()
            && let Err(error) = worker.stop()
        {
            // A worker whose backend has ended waits for this word, and for ever.
            tracing::warn!(%error, "the apalis worker did not take the end of its queue");
        }
        Poll::Ready(first.map(|first| Ok(Task::new(self.fill(first)))))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for QueueBackend {
    type Args = Batch;
    type Id = RandomId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
