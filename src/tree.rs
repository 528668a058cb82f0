//! The rule tree of a command: read from its directory, checked, and told where it comes from. I/O.
//!
//! Keeps: a tree of which a file could not be read is never sent anywhere, for the server would take the missing
//! rules as removed.

use std::path::Path;

use reconciler::act::follow::{CheckedTree, read_and_check};
use schema::check::CheckLimits;

use crate::failure::Failure;

/// The whole range of ports: for trees whose server has a limit of its own and applies it.
pub(crate) const NO_RANGE_LIMIT: u32 = 65535;

/// The limits that the flags ask for.
pub(crate) fn limits(range_rule_max_ports: Option<u32>, allow_empty: bool) -> CheckLimits {
    let default = CheckLimits::default();
    CheckLimits { range_rule_max_ports: range_rule_max_ports.unwrap_or(default.range_rule_max_ports), allow_empty }
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
