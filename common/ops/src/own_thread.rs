//! A thread with a single-threaded runtime of its own, for the few things that must
//! go on while the main runtime is busy or stuck: the admin listener and the signals.
//! Nothing that serves customers belongs here.

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// Runs what `start` returns, on a new thread called `name`, until it ends.
///
/// `start` is called on the new thread, inside its runtime; this function returns after
/// it has succeeded or failed, so the caller sees every error before anything runs.
pub(crate) fn spawn<S, F>(name: &'static str, start: S) -> io::Result<JoinHandle<()>>
where
    S: FnOnce() -> io::Result<F> + Send + 'static,
    F: Future<Output = ()>,
{
    let (tell, told) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let prepared = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
            let future = {
                let _inside = runtime.enter();
                start()?
            };
            Ok((runtime, future))
        });
        // The receiver waits for exactly this message, so that sending cannot fail.
        match prepared {
            Ok((runtime, future)) => {
                let _ = tell.send(Ok(()));
                runtime.block_on(future);
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        }
    })?;
    match told.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other(format!("the {name} thread died while starting"))),
    }
}
