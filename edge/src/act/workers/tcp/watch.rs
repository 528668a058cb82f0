//! What is known of peers that leave something waiting. Values.

use super::super::timers::Tick;
use super::ending::Ending;
use crate::decide::patience::Wait;

/// What is known of peers that leave something waiting.
#[derive(Default)]
pub(super) struct Watch {
    pub(super) waits: [Option<Wait>; 2],
    /// Their sockets have a user timeout.
    pub(super) is_bounded: [bool; 2],
    /// Since when a side sends to one that failed.
    pub(super) in_vain_since: Option<Tick>,
    /// Nothing is left to do but to await what was sent.
    pub(super) awaiting: Option<Awaiting>,
}

/// The end of a connection that awaits acknowledgements.
#[derive(Clone, Copy)]
pub(super) struct Awaiting {
    pub(super) ending: Ending,
    pub(super) next: Tick,
    pub(super) pause: Tick,
}
