//! What a worker knows of one flow: the datagrams between one client and one address of this host. Values; the socket
//! in it closes with it.
//!
//! Keeps: it owns no buffer; what waits for a name is bounded, for a flow and for all of them.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use super::super::counting::ticket::Ticket;
use super::super::slab::Key;
use super::super::timers::Tick;
use crate::decide::datagrams::Received;
use crate::decide::dialling::Dialling;

/// Datagrams of one flow that may wait for a name: a burst of a client that does not wait for answers.
const WAITING: usize = 16;
/// Bytes of all flows of a worker that may wait for names: a flood may not fill the memory.
const WAITING_BYTES: usize = 4 << 20;

/// Who talks to which address of this host. IPv4 addresses are never mapped ones here, so that a flow stays itself
/// where its socket is exchanged for one of the other family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FlowId {
    pub(super) client: SocketAddr,
    pub(super) local: IpAddr,
    pub(super) port: u16,
}

/// The way to the target.
pub(super) enum Upstream {
    /// The target's name is looked up.
    Named,
    /// A connected socket.
    Open(OwnedFd),
    /// The target did not listen. The next datagram goes on to the next address or target.
    Failed,
}

/// One flow.
pub(super) struct Flow {
    pub(super) id: FlowId,
    /// The listening socket that its replies leave from.
    pub(super) listening: Key,
    pub(super) upstream: Upstream,
    pub(super) dialling: Dialling,
    /// What came while a name is looked up.
    pub(super) waiting: WaitingDatagrams,
    /// When something moved last; while a name is looked up, when to give up.
    pub(super) active: Tick,
    /// It waits for its turn to be read from.
    pub(super) is_queued: bool,
    /// Many datagrams come from its target at once.
    pub(super) is_busy: bool,
    /// Its target has sent something.
    pub(super) has_answered: bool,
    /// Since when its client sends without an answer.
    pub(super) silent_since: Option<Tick>,
    /// Questions without an answer, as far as they come in pairs.
    pub(super) owed: i32,
    /// Since when it has all of its answers, and takes no room.
    pub(super) released: Option<Tick>,
    /// The descriptor that was lent for it is not open yet.
    pub(super) is_owed: bool,
    /// Its socket tells how datagrams were put together on their way in.
    pub(super) joins_in: bool,
    /// The way to its target takes no pieces.
    pub(super) is_plain_in: bool,
    /// The way to its client takes no pieces.
    pub(super) is_plain_out: bool,
    pub(super) ticket: Ticket,
}

impl Flow {
    /// A flow that has no way to a target yet.
    pub(super) fn new(id: FlowId, listening: Key, ticket: Ticket, now: Tick) -> Self {
        Self {
            id,
            listening,
            upstream: Upstream::Failed,
            dialling: ticket.dialling(now),
            waiting: WaitingDatagrams::default(),
            active: now,
            is_queued: false,
            is_busy: false,
            has_answered: false,
            silent_since: None,
            owed: 0,
            released: None,
            is_owed: true,
            joins_in: false,
            is_plain_in: false,
            is_plain_out: false,
            ticket,
        }
    }
}

/// Datagrams that wait for a name.
#[derive(Default)]
pub(super) struct WaitingDatagrams(Vec<Box<[u8]>>);

impl WaitingDatagrams {
    /// Keeps what was received, as far as there is room. How many datagrams found none. `used` counts for all flows.
    pub(super) fn keep(&mut self, received: Received, bytes: &[u8], used: &mut usize) -> u64 {
        let size = if received.segment == 0 { bytes.len().max(1) } else { received.segment.into() };
        let mut lost = 0;
        // An empty datagram is one too.
        let alone = bytes.is_empty().then_some(bytes);
        for datagram in bytes.chunks(size).chain(alone) {
            if self.0.len() < WAITING && *used + datagram.len() <= WAITING_BYTES {
                *used += datagram.len();
                self.0.push(datagram.into());
            } else {
                lost += 1;
            }
        }
        lost
    }

    /// Everything, in order of arrival.
    pub(super) fn take(self, used: &mut usize) -> Vec<Box<[u8]>> {
        *used -= self.0.iter().map(|datagram| datagram.len()).sum::<usize>();
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_datagrams_wait_and_few_bytes_of_all_flows_together() {
        let (mut waiting, mut used) = (WaitingDatagrams::default(), 0);
        let train = Received { length: 25, segment: 10 };
        assert_eq!(waiting.keep(train, &[7; 25], &mut used), 0);
        assert_eq!(waiting.keep(Received::default(), &[], &mut used), 0);
        for _ in 4..WAITING {
            assert_eq!(waiting.keep(Received { length: 5, segment: 0 }, &[1; 5], &mut used), 0);
        }
        assert_eq!(waiting.keep(train, &[7; 25], &mut used), 3);
        used += WAITING_BYTES;
        assert_eq!(WaitingDatagrams::default().keep(train, &[7; 25], &mut used), 3);
        used -= WAITING_BYTES;
        let lengths: Vec<usize> = waiting.take(&mut used).iter().map(|datagram| datagram.len()).take(5).collect();
        assert_eq!((lengths, used), (vec![10, 10, 5, 0, 5], 0));
    }

    #[test]
    fn an_idle_flow_takes_less_than_three_eighths_of_a_kibibyte() {
        assert!(size_of::<Flow>() <= 368, "{}", size_of::<Flow>());
    }
}
