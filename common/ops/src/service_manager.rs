//! Tells systemd how the process is, where it was started by a unit of `Type=notify`: that it is ready, that it stops, and, with each
//! heartbeat, that it is alive. Elsewhere nobody listens, and nothing is said.

use sd_notify::NotifyState;

/// What the service manager has been told.
#[derive(Debug, Default)]
pub(crate) struct ServiceManager {
    is_ready: Option<bool>,
}

impl ServiceManager {
    /// Says that the process is alive, and whether it is ready where that has changed.
    pub(crate) fn tell(&mut self, is_ready: bool) {
        let mut news = vec![NotifyState::Watchdog];
        if self.is_ready.replace(is_ready) != Some(is_ready) {
            // Once said, it holds for the unit; whether it still is shows in the status alone.
            news.extend(is_ready.then_some(NotifyState::Ready));
            news.push(NotifyState::Status(if is_ready { "ready" } else { "not ready; /readyz says why" }));
        }
        send(&news);
    }
}

/// Says that the process is about to end.
pub(crate) fn tell_stopping() {
    send(&[NotifyState::Stopping]);
}

fn send(news: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(news) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
