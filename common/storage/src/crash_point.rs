//! Points at which a test may end an execution as `kill -9` would: one at each await of what makes, completes and revokes orders.
//!
//! Without the feature `crash-points`, which only tests turn on, nothing is here but an empty function. A point stands where something
//! has happened since the last one that outlives the process, or that a transaction holds; two awaits with only computing between them
//! share one.

#[cfg(feature = "crash-points")]
pub use walked::{Execution, POINTS, reach};

/// Goes on, always.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn reach(_: &'static str) -> std::future::Ready<()> {
    std::future::ready(())
}

#[cfg(feature = "crash-points")]
mod walked {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use tokio::sync::watch;

    /// All there are. A test sees to it that this is what the source has.
    pub const POINTS: &[&str] = &[
        // The edge asks.
        "ask.sealed",
        "ask.pushed",
        "ask.replied",
        // Nobody answered: it writes the order down, waits and looks.
        "promise.begun",
        "promise.existing_found",
        "promise.waited",
        "promise.looked",
        "promise.sold_read",
        // Edges and workers write orders down.
        "write_down.begun",
        "write_down.inserted",
        "write_down.events_inserted",
        "write_down.notified",
        "write_down.committed",
        "write_down.refused",
        // A worker is given an entry, and answers it.
        "queue.read",
        "queue.picked_up",
        "job.taken",
        "job.decided",
        "job.replied",
        "bury.begun",
        "bury.kept",
        "settle.begun",
        "settle.done",
        // A new order is made.
        "attempt.begun",
        "attempt.catalogue_read",
        "attempt.inserted",
        "attempt.short_deleted",
        "attempt.committing",
        "attempt.committed",
        "allocate.taken",
        "allocate.claimed",
        "allocate.left_returned",
        "record.items_inserted",
        "record.events_inserted",
        "existing.found",
        "existing.items_read",
        "refuse.begun",
        "refuse.counted",
        // Stripe says that an order is paid.
        "intake.begun",
        "intake.written",
        "apply.claimed",
        "apply.locked",
        "apply.stored",
        "apply.committing",
        "apply.committed",
        // An order that was written down is completed, or ends without.
        "sweep.claimed",
        "sweep.completed",
        "sweep.forgiven",
        "complete.begun",
        "complete.locked",
        "complete.catalogue_read",
        "complete.unknown_failed",
        "complete.status_set",
        "complete.committing",
        "complete.committed",
        "fail_short.begun",
        "fail_short.counted",
        "fail_short.locked",
        "fail_short.failed",
        "fail_short.committing",
        "fail_short.committed",
        "give_up.begun",
        "give_up.locked",
        "give_up.dead_letter_kept",
        "give_up.failed",
        "give_up.committing",
        "give_up.committed",
        // Webhooks: a delivery is claimed, made and settled.
        "deliver.claimed",
        "deliver.answered",
        "deliver.settling",
        "deliver.settled",
        "deliver.committing",
        "deliver.committed",
        "deliver.next_claimed",
        // An order is read, and revoked.
        "read.order_found",
        "revoke.begun",
        "revoke.locked",
        "revoke.status_set",
        "revoke.committed",
    ];

    thread_local! {
        static EXECUTION: RefCell<Option<Arc<Execution>>> = const { RefCell::new(None) };
    }

    /// What a test knows of one execution, which is whatever runs on the threads that entered it: several, ended at several points, may
    /// go on side by side in one process.
    #[derive(Debug, Default)]
    pub struct Execution {
        course: Mutex<Course>,
        ended: watch::Sender<bool>,
    }

    #[derive(Debug, Default)]
    struct Course {
        ends_at: Option<&'static str>,
        reached: BTreeSet<&'static str>,
    }

    impl Execution {
        /// Makes this thread one of the execution's, for good.
        pub fn enter(self: &Arc<Self>) {
            EXECUTION.set(Some(self.clone()));
        }

        /// It is to end at this point, when next reached; `None` for nowhere.
        pub fn end_at(&self, point: Option<&'static str>) {
            self.course().ends_at = point;
        }

        /// Resolves when it has come to its end. Nothing of it gets past any point from then on, and the test ends it altogether.
        pub async fn ended(&self) {
            // The sender lives in `self`, so waiting cannot fail.
            let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
        }

        /// The points reached since last asked.
        pub fn take_reached(&self) -> BTreeSet<&'static str> {
            std::mem::take(&mut self.course().reached)
        }

        /// Whether it goes no further than this.
        fn ends_here(&self, point: &'static str) -> bool {
            if *self.ended.borrow() {
                return true;
            }
            let mut course = self.course();
            course.reached.insert(point);
            let ends = course.ends_at == Some(point);
            if ends {
                self.ended.send_replace(true);
            }
            ends
        }

        fn course(&self) -> MutexGuard<'_, Course> {
            self.course.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// Goes on, or never does when the execution that this thread belongs to ends here.
    pub async fn reach(point: &'static str) {
        let execution = EXECUTION.with_borrow(Clone::clone);
        if execution.is_some_and(|execution| execution.ends_here(point)) {
            std::future::pending::<()>().await;
        }
    }
}
