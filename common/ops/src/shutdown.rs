//! The signals that end a process. The first one asks: a token is cancelled and the binary
//! drains. The second one insists: the process exits at once, whatever it was doing.
//!
//! They are waited for on a thread of their own, because a process whose main runtime is
//! stuck is just the one an operator wants to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::own_thread;

/// A token that SIGTERM or SIGINT cancels. A second signal of either kind exits the process with
/// 128 + its number: 143 or 130. Call it once, early in `main`; until then the signals kill.
///
/// # Errors
/// When the system refuses the handlers or the thread.
pub fn on_signals() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let asked = token.clone();
    own_thread::spawn("signals", move || {
        let mut signals = Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        Ok(async move {
            let (name, _) = signals.next().await;
            tracing::info!(signal = name, "shutting down; a second signal exits at once");
            asked.cancel();
            let (name, number) = signals.next().await;
            tracing::warn!(signal = name, "second signal: exiting without draining");
            std::process::exit(128 + number);
        })
    })?;
    Ok(token)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// The next signal's name and number.
    async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            Some(()) = self.terminate.recv() => ("SIGTERM", SignalKind::terminate().as_raw_value()),
            Some(()) = self.interrupt.recv() => ("SIGINT", SignalKind::interrupt().as_raw_value()),
        }
    }
}
