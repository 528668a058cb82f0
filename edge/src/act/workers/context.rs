//! What a worker lends to TCP and UDP, one at a time: what it shares with others, and what it knows itself.

use std::sync::Arc;

use mio::{Poll, Registry};

use super::shared::Shared;
use super::slab::Key;
use super::targets::local_addresses::LocalAddresses;
use super::timers::Tick;
use crate::decide::live::ConnectionId;

/// What a worker lends to both protocols.
pub(super) struct Context {
    /// Which of the workers it is.
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) poll: Poll,
    /// The addresses of this host.
    pub(super) local: LocalAddresses,
    /// When it is: the same for all that happened since the last poll.
    pub(super) now: Tick,
}

impl Context {
    /// Where sockets are registered to be noticed.
    pub(super) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// The name of a connection or flow of this worker.
    pub(super) fn id_of(&self, key: Key, run: u32, is_flow: bool) -> ConnectionId {
        let (slot, generation) = (key.slot(), key.generation());
        ConnectionId { run, worker: self.index as u16, is_flow, slot, generation }
    }

    /// A connection or flow of this worker has ended.
    pub(super) fn ended(&self) {
        self.shared.ended(self.index);
    }
}
