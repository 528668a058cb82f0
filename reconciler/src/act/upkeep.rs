//! Gives disk space back once an apply is over. I/O, on a blocking thread.
//!
//! Keeps: the store is never rewritten while an apply runs, and once in a while at most.

use std::sync::Arc;
use std::time::Duration;

use schema::causes::with_causes;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::driver::FleetHandle;
use super::store::{Compaction, Store};
use crate::decide::fleet::{Notice, Outcome};

/// Between two looks at how much of the store is free.
const PAUSE: Duration = Duration::from_mins(1);

/// Looks after every apply that has ended, until it is stopped.
pub(super) async fn keep_small(store: Arc<Store>, fleet: FleetHandle, stop: CancellationToken) {
    let looking = async {
        let mut notices = fleet.notices();
        loop {
            match notices.recv().await {
                Ok((.., notice)) if !is_end(&notice) => continue,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
            let is_running = |result: &crate::decide::fleet::ApplyResult| result.outcome == Outcome::Running;
            let is_busy = fleet.read(move |view| view.fleet.latest_apply().is_some_and(is_running)).await;
            match is_busy {
                // The end of that one is looked at.
                Ok(true) => continue,
                Ok(false) => compact(Arc::clone(&store)).await,
                Err(_) => return,
            }
            sleep(PAUSE).await;
        }
    };
    _ = stop.run_until_cancelled(looking).await;
}

fn is_end(notice: &Notice) -> bool {
    matches!(notice, Notice::Apply { result } if result.outcome != Outcome::Running)
}

async fn compact(store: Arc<Store>) {
    let before = store.bytes();
    let compacted =
        tokio::task::spawn_blocking(move || store.compact(Compaction::Serving).map(|_| store.bytes())).await;
    match compacted {
        Ok(Ok(after)) if after < before => info!(before, after, "the state on disk was compacted"),
        Ok(Ok(_)) => {}
        Ok(Err(error)) => warn!(error = with_causes(&error), "the state on disk cannot be compacted"),
        Err(error) => warn!(%error, "compacting the state on disk failed because of a bug"),
    }
}
