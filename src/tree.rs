//! The rule tree of a command: read from its directory, checked, and told where it comes from. I/O.
//!
//! Keeps: a tree of which a file could not be read is never sent anywhere, for the server would take the missing
//! rules as removed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reconciler::act::checked_tree::{CheckedTree, read_and_check, read_and_check_until};
use schema::check::CheckLimits;
use schema::findings::Cancel;
use tokio::task::{self, JoinError, JoinHandle};
use tokio::time::timeout;

use crate::failure::Failure;

/// The whole range of ports: for trees whose server has a limit of its own and applies it.
pub(crate) const NO_RANGE_LIMIT: u32 = 65535;

/// The limits that the flags ask for.
pub(crate) fn limits(range_rule_max_ports: Option<u32>, allow_empty: bool) -> CheckLimits {
    let default = CheckLimits::default();
    CheckLimits {
        range_rule_max_ports: range_rule_max_ports.unwrap_or(default.range_rule_max_ports),
        allow_empty,
        ..default
    }
}

/// Reads a tree that has to be valid.
pub(crate) fn read_valid(dir: &Path, limits: CheckLimits) -> Result<CheckedTree, Failure> {
    let tree = read_and_check(dir, &limits);
    if tree.moved {
        return Err(Failure::Moving(dir.to_owned()));
    }
    if tree.ruleset.is_none() {
        return Err(Failure::InvalidTree(tree.diagnostics));
    }
    Ok(tree)
}

/// A tree that is read beside everything else; dropping it cancels the reading.
pub(crate) struct Reading {
    job: JoinHandle<CheckedTree>,
    cancel: Cancel,
}

impl Reading {
    pub(crate) fn start(dir: PathBuf, limits: CheckLimits) -> Self {
        let cancel = Cancel::default();
        let flag = cancel.clone();
        Self { job: task::spawn_blocking(move || read_and_check_until(&dir, &limits, &flag)), cancel }
    }

    /// The tree, if it is there by then.
    pub(crate) async fn within(&mut self, most: Duration) -> Result<Option<CheckedTree>, Failure> {
        timeout(most, &mut self.job).await.ok().transpose().map_err(|error| bug(&error))
    }

    /// The tree, however long it takes.
    pub(crate) async fn end(mut self) -> Result<CheckedTree, Failure> {
        (&mut self.job).await.map_err(|error| bug(&error))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn bug(error: &JoinError) -> Failure {
    Failure::Other(format!("the rule tree could not be read: {error}"))
}
