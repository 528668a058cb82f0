//! What signals mean. To a process that serves the first one to end asks for the end, and the second ends it; SIGHUP
//! makes it look again, and the others change nothing. A command that waits ends at once and says what it leaves
//! behind. I/O.
//!
//! Keeps: no signal that has a meaning to other programs ends a process that serves by accident.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::failure::Failure;
use crate::service;

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

/// The signals of this process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    first_of_users: Signal,
    second_of_users: Signal,
}

impl Signals {
    /// From now on signals have their meaning here. To be called before anything that takes a while.
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::Other(format!("signals cannot be handled: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            first_of_users: listen(SignalKind::user_defined1())?,
            second_of_users: listen(SignalKind::user_defined2())?,
        })
    }

    /// Waits for one that asks for the end, and obeys the others.
    async fn end(&mut self, look_again: &impl Fn()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    info!("SIGHUP: reading again");
                    look_again();
                }
                _ = self.first_of_users.recv() => debug!("SIGUSR1 is ignored"),
                _ = self.second_of_users.recv() => info!("SIGUSR2 is reserved for upgrades and does nothing yet"),
            }
        }
    }

    /// Does work that comes before serving; `None` where the end was asked for first.
    pub(crate) async fn unless_ended<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            result = work => Some(result),
            () = self.end(&|| {}) => {
                info!("the end was asked for before anything was served");
                None
            }
        }
    }

    /// Does the work; the first signal to end meanwhile cancels `end`, the second `at_once`. SIGHUP calls `look_again`.
    pub(crate) async fn during<T>(
        mut self,
        work: impl Future<Output = T>,
        look_again: impl Fn(),
        end: CancellationToken,
        at_once: CancellationToken,
    ) -> T {
        tokio::pin!(work);
        tokio::select! {
            result = &mut work => return result,
            () = self.end(&look_again) => info!("shutdown was requested; another signal ends the process at once"),
        }
        service::stopping();
        end.cancel();
        tokio::select! {
            result = &mut work => return result,
            () = self.end(&look_again) => info!("the process ends at once"),
        }
        at_once.cancel();
        work.await
    }
}
