//! What this process tells the service manager that started it, if one did (`sd_notify`). I/O.
//!
//! Keeps: nothing waits for the service manager; the watchdog hears of the process only while the parts that serve have
//! answered.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{sleep, timeout};

/// Between two looks at the status without a watchdog.
const LOOK: Duration = Duration::from_secs(10);

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be notified");
    }
}

/// The process serves.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The end was asked for.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("shutting down, connections are draining")]);
}

/// Settings are read again; [`ready`] is to follow.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager cannot be notified"),
    }
}

/// Reports the status whenever it changes, and to the watchdog that the process lives, for as long as it does. `look`
/// asks the parts that serve and returns their status; while it does not return, the watchdog hears nothing.
pub(crate) async fn report<L: Future<Output = Option<String>>>(look: impl Fn() -> L) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    let watchdog = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
    // As sd_watchdog_enabled(3) recommends: one report in time even if another one is late.
    let pause = watchdog.map_or(LOOK, |limit| (limit / 2).min(LOOK));
    let mut told = String::new();
    loop {
        match timeout(pause, look()).await {
            Ok(Some(status)) => {
                if watchdog.is_some() {
                    tell(&[NotifyState::Watchdog]);
                }
                if status != told {
                    tell(&[NotifyState::Status(&status)]);
                    told = status;
                }
            }
            // The process ends.
            Ok(None) => return std::future::pending().await,
            Err(_) => {
                tracing::error!("a part of this process does not answer, the watchdog is not notified");
                continue;
            }
        }
        sleep(pause).await;
    }
}
