//! What a worker asks about a target's name, and what it gets back. Values.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::slab::Key;
use crate::act::names::NameError;

/// A connection that needs the addresses of a name, which are not known to be fresh.
pub(crate) struct NameQuestion {
    pub(crate) name: Arc<str>,
    pub(crate) asker: Asker,
}

/// Which of a worker's slabs a key is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlabKind {
    /// Connections.
    Connection,
    /// Flows.
    Flow,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) worker: usize,
    pub(crate) key: Key,
    pub(crate) kind: SlabKind,
    /// For which of the targets in its order; comes back with the answer.
    pub(crate) step: u8,
}

/// The answer for one connection.
pub(crate) struct Resolved {
    pub(crate) key: Key,
    pub(crate) kind: SlabKind,
    pub(crate) step: u8,
    pub(crate) found: Result<Arc<[IpAddr]>, NameError>,
}
