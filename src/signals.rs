//! What signals mean. To a process that serves the first asks for the end, and the second ends it; a command that
//! waits ends at once and says what it leaves behind. I/O.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::failure::Failure;

/// Waits for something, unless the person ends it with Ctrl-C; the words say what that leaves behind.
pub(crate) async fn unless_interrupted<T>(
    work: impl Future<Output = Result<T, Failure>>,
    words: impl FnOnce() -> String,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted(words())),
        result = work => result,
    }
}

/// SIGTERM and SIGINT of this process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the two signals do not end the process by themselves.
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::Other(format!("no signals: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Does the work; the first signal meanwhile cancels `end`, the second `at_once`.
    pub(crate) async fn during<T>(
        mut self,
        work: impl Future<Output = T>,
        end: CancellationToken,
        at_once: CancellationToken,
    ) -> T {
        tokio::pin!(work);
        tokio::select! {
            result = &mut work => return result,
            () = self.next() => info!("the end was asked for; another signal ends at once"),
        }
        end.cancel();
        tokio::select! {
            result = &mut work => return result,
            () = self.next() => info!("ends at once"),
        }
        at_once.cancel();
        work.await
    }
}
