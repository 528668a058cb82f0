//! What a dialling hears and what it answers. Pure.
//!
//! Keeps: an answer is a short list of values, made without allocating.

use std::net::SocketAddr;
use std::time::Duration;

use crate::decide::faults::ConnectCause;

/// One of the two sockets of a dialling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The only one, where a target has one address.
    First,
    /// The one beside it.
    Second,
}

impl Lane {
    pub(super) const BOTH: [Self; 2] = [Self::First, Self::Second];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// What did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialFailure {
    /// A connection to an address.
    Connect(ConnectCause),
    /// The addresses of a name.
    Name,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The target, or its name, has this one address.
    Address(SocketAddr),
    /// The target is a name.
    Name,
    /// The name has these addresses, several of them, to be tried in this order.
    Addresses(Vec<SocketAddr>),
    /// The name has no address. That is a verdict about the target only where the name servers answered.
    Unresolved {
        /// They did.
        is_verdict: bool,
    },
    /// The target was taken out of use.
    Gone,
    /// A socket cannot be made before this host has a descriptor again.
    Wanting(Lane),
    /// That one is being connected now.
    Begun(Lane),
    /// A socket is connected.
    Opened(Lane),
    /// A socket is not, or could not be made.
    Failed(Lane, ConnectCause),
    /// A socket is broken. It was connected before that where its target has sent something, or an end of its own.
    Broken {
        /// Which one.
        lane: Lane,
        /// Why.
        cause: ConnectCause,
        /// The target has.
        has_sent: bool,
    },
    /// The client is gone. What it sent before that is for a target even so.
    ClientGone {
        /// It sent something.
        has_sent: bool,
    },
    /// A flow that lost its way has something to send again.
    Wanted,
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Do {
    /// Go to the target at this place of the order, and report its address, its name, or that it is gone.
    Approach(u8),
    /// Look up the name of the target.
    LookUp,
    /// Connect a socket.
    Connect(Lane, SocketAddr),
    /// Close a socket, if it is open.
    Close(Lane),
    /// Count a failure.
    Count(DialFailure),
    /// Tell health that the target failed.
    Tell(DialFailure),
    /// Try this address after the others of its name for a while.
    Defer(SocketAddr),
    /// Try this address in its turn again.
    Trust(SocketAddr),
    /// The target serves, over this socket.
    Serve(Lane),
    /// No target does.
    GiveUp,
    /// Nobody wants a target any more.
    Abandon,
}

/// The most steps of one answer: both sockets time out as the last ones of all.
const STEPS: usize = 8;

/// Steps in their order. Allocates nothing.
#[derive(Debug, Default)]
pub struct Steps {
    steps: [Option<Do>; STEPS],
    count: usize,
}

impl Steps {
    pub(super) fn push(&mut self, step: Do) {
        debug_assert!(self.count < STEPS, "an answer has eight steps at most");
        if let Some(place) = self.steps.get_mut(self.count) {
            *place = Some(step);
            self.count += 1;
        }
    }
}

impl IntoIterator for Steps {
    type Item = Do;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<Do>, STEPS>>;

    fn into_iter(self) -> Self::IntoIter {
        self.steps.into_iter().flatten()
    }
}

/// On what terms one dials.
#[derive(Debug, Clone, Copy)]
pub struct DialTerms {
    /// How many targets the order has.
    pub targets: usize,
    /// The place of the first that is tried.
    pub first: u8,
    /// How long one address is tried.
    pub each: Duration,
    /// Nothing answers to a connect: addresses do not race, and what was opened may still fail.
    pub is_flow: bool,
}
