//! Follows a directory: a hint or the clock makes it read the whole tree, and the fleet decides what follows. I/O.

use std::path::PathBuf;

use schema::check::{CheckLimits, Memo};
use schema::findings::Cancel;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::ancestries::Ancestries;
use super::checked_tree::{MOST_CANCELLED, read_with};
use super::driver::FleetHandle;
use super::wake::Wake;
use super::watch::{Patience, TreeWatcher};
use crate::decide::fleet::Event;

/// Feeds the tree into the fleet for as long as the server runs.
pub async fn follow(dir: PathBuf, limits: CheckLimits, fleet: FleetHandle, wake: Wake, shutdown: CancellationToken) {
    let mut watcher = TreeWatcher::start(dir.clone(), Patience::default()).await;
    let mut ancestries = Ancestries::default();
    let mut memo = Memo::default();
    let mut cancelled = 0;
    loop {
        let (path, cancel) = (dir.clone(), Cancel::default());
        let flag = cancel.clone();
        let look = move || {
            let tree = read_with(&path, limits, Some(&mut memo), &flag);
            (tree, memo)
        };
        let mut job = tokio::task::spawn_blocking(look);
        let mut is_newer = false;
        let done = tokio::select! {
            done = &mut job => done,
            () = shutdown.cancelled() => {
                cancel.cancel();
                return;
            }
            // A tree that always changes is still read to its end now and then.
            () = watcher.changed(), if cancelled < MOST_CANCELLED => {
                cancel.cancel();
                is_newer = true;
                job.await
            }
        };
        let tree = match done {
            Ok((tree, kept)) => {
                memo = kept;
                tree
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        cancelled = if is_newer { cancelled + 1 } else { 0 };
        if tree.moved {
            debug!("the tree changed while it was being read and is read again");
        } else {
            let mut tree = tree.into_read();
            tree.ancestry = ancestries.of(&dir, tree.source.commit.as_deref(), &fleet).await;
            if fleet.event(Event::Tree(tree)).await.is_err() {
                return;
            }
        }
        if is_newer {
            continue;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = watcher.changed() => {}
            () = wake.woken() => debug!("the tree is read on request"),
        }
    }
}
