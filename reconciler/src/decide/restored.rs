//! What a fleet starts from: what was recorded of it. Values.

use std::collections::BTreeSet;

use schema::canonical::Digest;

use super::applied::Applied;
use super::control::{Freeze, Hold};
use super::edges::Edges;
use super::ledger::{Entry, Head};

/// What a fleet starts from: what was recorded.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Edges with what was decided for them.
    pub edges: Edges,
    /// The tree in force.
    pub applied: Option<Applied>,
    /// The end of the ledger.
    pub head: Head,
    /// Its first line that does not fit the chain, if any.
    pub ledger_break: Option<u64>,
    /// Plan files that were used.
    pub used_plans: BTreeSet<Digest>,
    /// The apply that had begun and not ended when the server went.
    pub cut_off: Option<Entry>,
    /// The freeze that stood.
    pub frozen: Option<Freeze>,
    /// The rollback that was held.
    pub hold: Option<Hold>,
}
