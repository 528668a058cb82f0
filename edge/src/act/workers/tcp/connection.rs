//! What a worker knows of one TCP connection. Values; the sockets in it close with it.
//!
//! Keeps: it owns no buffer and no pipe while nothing waits to be written; its sockets close before it stops counting
//! as active.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use mio::event::Event;
use rustix::io::Errno;
use rustix::net::sockopt;

use super::super::counting::ticket::Ticket;
use super::super::limiting::throttle::Throttle;
use super::super::mailbox::ClientEnds;
use super::super::timers::Tick;
use super::ready::Score;
use super::splice::Pipe;
use super::watch::Watch;
use crate::decide::breaks::{Break, broken_by};
use crate::decide::dialling::{Dialling, Lane};
use crate::decide::relaying::{self, ConnectionState, Passage, RelayDecision, Side};

/// The sockets of a connection, as tokens distinguish them.
pub(super) const CLIENT: u8 = 0;
pub(super) const TARGET: u8 = 1;
pub(super) const RIVAL: u8 = 2;

/// One of its two sockets, and what is known about it.
pub(super) struct Leg {
    pub(super) socket: OwnedFd,
    /// There may be something to read, or the end.
    pub(super) is_readable: bool,
    /// There may be room to write.
    pub(super) is_writable: bool,
    /// The peer has sent its end: a short read does not mean that it was the last one.
    pub(super) is_closing: bool,
    /// Urgent data came: a read stops short before it, and more may be behind it.
    pub(super) is_urgent: bool,
    failure: SocketFailure,
}

/// Whether a connection is broken. What it sent before can still be read.
#[derive(Clone, Copy)]
enum SocketFailure {
    None,
    /// An event said so; which error it is has yet to be asked.
    Noticed,
    /// The first error that a call reported; the kernel forgets an error that it has reported.
    Reported(Errno),
}

impl Leg {
    /// A socket of which nothing is known yet.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            is_readable: false,
            is_writable: false,
            is_closing: false,
            is_urgent: false,
            failure: SocketFailure::None,
        }
    }

    /// Learns from an event.
    pub(super) fn note(&mut self, event: &Event) {
        self.is_closing |= event.is_read_closed();
        self.is_urgent |= event.is_priority();
        self.is_readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.is_writable |= event.is_writable();
        if event.is_error() && matches!(self.failure, SocketFailure::None) {
            self.failure = SocketFailure::Noticed;
        }
    }

    /// True if the connection is broken.
    pub(super) fn has_failed(&self) -> bool {
        !matches!(self.failure, SocketFailure::None)
    }

    /// Learns of an error: it takes nothing more, and what it sent before is read to its end.
    pub(super) fn fail(&mut self, error: Errno) {
        if !matches!(self.failure, SocketFailure::Reported(_)) {
            self.failure = SocketFailure::Reported(error);
        }
        self.is_readable = true;
    }

    /// True if the end of what can be read is not the end that its peer meant. Linux reports a reset that comes after
    /// the peer's end as a broken pipe, and any other error otherwise; while it was not reported, reading reports it.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self.failure, SocketFailure::Reported(error) if error != Errno::PIPE)
    }

    /// Why it failed.
    fn error(&mut self) -> Errno {
        if let SocketFailure::Reported(error) = self.failure {
            return error;
        }
        let error = sockopt::socket_error(&self.socket).ok().and_then(Result::err).unwrap_or(Errno::IO);
        self.failure = SocketFailure::Reported(error);
        error
    }
}

/// Bytes that were read and could not be written yet.
pub(super) enum Held {
    Nothing,
    /// In memory; apart, because hardly any connection has some.
    Rest(Box<Rest>),
    /// So many in a pipe.
    Piped(Pipe, u32),
}

/// Bytes in memory that are partly written.
pub(super) struct Rest {
    pub(super) bytes: Box<[u8]>,
    /// So many are written.
    pub(super) start: u32,
    /// So many of the others are nobody's payload.
    pub(super) header: u32,
}

/// Where a direction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReceiverDistance {
    /// It got too little to matter.
    Unknown,
    /// On this host; what the kernel queues for it is bounded.
    Near,
    Far,
}

/// Whether the receiver's socket keeps small data back while earlier data is unacknowledged (Nagle's algorithm). The
/// first write finds nothing unacknowledged, so only the second one needs TCP_NODELAY: a connection that carries one
/// message each way is spared a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nagle {
    /// It would, but nothing was sent yet.
    Idle,
    /// It would from now on.
    Due,
    /// It does not.
    Off,
}

/// One direction of a connection.
pub(super) struct Direction {
    pub(super) held: Held,
    /// What comes in goes through a pipe: the source has more than a buffer full.
    pub(super) is_splicing: bool,
    pub(super) passage: Passage,
    pub(super) receiver: ReceiverDistance,
    pub(super) nagle: Nagle,
    /// Bytes so far, up to the bound at which they do not matter any more.
    pub(super) moved: u32,
}

impl Direction {
    /// To a client, whose socket inherits TCP_NODELAY from its listener.
    pub(super) fn to_client() -> Self {
        Self { nagle: Nagle::Off, ..Self::to_target() }
    }

    pub(super) fn to_target() -> Self {
        Self {
            held: Held::Nothing,
            is_splicing: false,
            passage: Passage::Reading,
            receiver: ReceiverDistance::Unknown,
            nagle: Nagle::Idle,
            moved: 0,
        }
    }
}

/// What is needed until a target has answered.
pub(super) struct Dial {
    pub(super) dialling: Dialling,
    /// The socket beside the target's.
    pub(super) second: Option<Leg>,
    /// Which of the two could be connected to itself.
    pub(super) may_meet_itself: [bool; 2],
    /// Where the client is, if a target is to learn of it: of one that has gone the system does not tell any more.
    pub(super) from: Option<Box<ClientEnds>>,
    /// The descriptor that was lent for its target is not open yet.
    pub(super) is_owed: bool,
}

/// One connection.
pub(super) struct Connection {
    pub(super) client: Leg,
    /// None while a name is looked up.
    pub(super) target: Option<Leg>,
    /// What its events bear. The other one of the two is the rival's.
    pub(super) target_leg: u8,
    /// None once it is connected. Apart, because idle connections do not need the room.
    pub(super) dial: Option<Box<Dial>>,
    pub(super) inward: Direction,
    pub(super) outward: Direction,
    pub(super) score: Score,
    /// Its sockets look for dead peers.
    pub(super) is_settled: bool,
    /// The side that failed first.
    pub(super) blamed: Option<Side>,
    /// When to look next whether its peers take what waits for them; never while nothing was moved since the last look.
    pub(super) look: Tick,
    /// What is known of a peer that leaves something waiting.
    pub(super) watch: Option<Box<Watch>>,
    /// Its last turn ended at a receiver far away that took no more.
    pub(super) is_held_up: bool,
    /// When it was connected or moved something last.
    pub(super) active: Tick,
    /// Its part in the limits of its rule, where that has some. It counts as gone before its ticket does.
    pub(super) throttle: Option<Box<Throttle>>,
    pub(super) ticket: Ticket,
}

impl Connection {
    /// A connection that was just accepted.
    pub(super) fn new(client: OwnedFd, ticket: Ticket, dial: Dial) -> Self {
        Self {
            client: Leg::new(client),
            target: None,
            target_leg: TARGET,
            dial: Some(Box::new(dial)),
            inward: Direction::to_target(),
            outward: Direction::to_client(),
            score: Score::default(),
            is_settled: false,
            blamed: None,
            look: Tick::MAX,
            watch: None,
            is_held_up: false,
            active: 0,
            throttle: None,
            ticket,
        }
    }

    /// The socket that an event is about.
    pub(super) fn leg_mut(&mut self, leg: u8) -> Option<&mut Leg> {
        if leg == CLIENT {
            Some(&mut self.client)
        } else if leg == self.target_leg {
            self.target.as_mut()
        } else {
            self.dial.as_mut()?.second.as_mut()
        }
    }

    /// Takes it that both sides have room again.
    pub(super) fn try_again(&mut self) {
        self.client.is_writable = true;
        self.target.iter_mut().for_each(|leg| leg.is_writable = true);
    }

    /// Closes a socket that is being connected. A target that has accepted it meanwhile gets a reset: a connection that
    /// is not used ends nothing that somebody may take for whole.
    pub(super) fn close(&mut self, lane: Lane) {
        let leg = match (lane, &mut self.dial) {
            (Lane::First, _) => self.target.take(),
            (Lane::Second, Some(dial)) => dial.second.take(),
            (Lane::Second, None) => None,
        };
        if let Some(leg) = leg {
            reset(&leg.socket);
        }
    }

    /// What to do with it.
    pub(super) fn next(&self) -> RelayDecision {
        let state = |direction: &Direction| relaying::DirectionState {
            passage: direction.passage,
            holds: !direction.is_empty(),
        };
        let (client_failed, target_failed) = self.failures();
        let (inward, outward) = (state(&self.inward), state(&self.outward));
        relaying::next(ConnectionState { inward, outward, client_failed, target_failed })
    }

    /// Which of its sides failed: the client, the target.
    pub(super) fn failures(&self) -> (bool, bool) {
        (self.client.has_failed(), self.target.as_ref().is_some_and(Leg::has_failed))
    }

    /// True once a side has ended its direction, or failed.
    pub(super) fn is_half_closed(&self) -> bool {
        !self.inward.passage.is_reading() || !self.outward.passage.is_reading()
    }

    /// The socket of a side.
    pub(super) fn side_mut(&mut self, side: Side) -> Option<&mut Leg> {
        match side {
            Side::Client => Some(&mut self.client),
            Side::Target => self.target.as_mut(),
        }
    }

    /// The direction to a side.
    pub(super) fn direction_to(&self, side: Side) -> &Direction {
        match side {
            Side::Client => &self.outward,
            Side::Target => &self.inward,
        }
    }

    /// How it was broken, if a side failed.
    pub(super) fn break_of(&mut self) -> Option<Break> {
        let side = self.blamed?;
        Some(broken_by(side, self.side_mut(side)?.error().kind()))
    }

    /// Makes the close of both sockets a reset.
    pub(super) fn reset(&self) {
        reset(&self.client.socket);
        self.target.iter().for_each(|leg| reset(&leg.socket));
    }

    /// The pipes that hold bytes of it.
    pub(super) fn take_pipes(&mut self) -> impl Iterator<Item = Pipe> {
        [&mut self.inward, &mut self.outward].into_iter().filter_map(|direction| {
            match std::mem::replace(&mut direction.held, Held::Nothing) {
                Held::Piped(pipe, _) => Some(pipe),
                Held::Nothing | Held::Rest(_) => None,
            }
        })
    }
}

/// Makes the close of a socket a reset: the peer learns at once that nobody serves it.
pub(super) fn reset(socket: impl AsFd) {
    if let Err(error) = sockopt::set_socket_linger(socket, Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection is closed instead of reset");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_takes_less_than_a_third_of_a_kibibyte() {
        assert!(size_of::<Connection>() <= 296, "{}", size_of::<Connection>());
    }
}
