//! From targets to clients: the replies of all flows of a worker leave together. I/O.
//!
//! Keeps: a reply leaves from the address that its client wrote to; what finds no room is dropped and counted, and
//! nothing waits for it.

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGroSegment;
use rustix::io::Errno;
use schema::counters::Lost;

use super::super::context::Context;
use super::super::limiting::throttle::OUT;
use super::super::slab::Key;
use super::errors::{SendError, judge, refuses_pieces};
use super::flow::Upstream;
use super::sender::{From, Parcel, as_family, send_alone};
use super::slots::{BATCH, CUT, Slots};
use super::{DatagramBuffers, Udp};
use crate::decide::datagrams::next_piece;
use crate::decide::endings::ConnectionEnd;

/// Slots as they lie.
const IN_ORDER: [u8; BATCH] = {
    let mut slots = [0; BATCH];
    let mut slot = 0;
    while slot < BATCH {
        slots[slot] = slot as u8;
        slot += 1;
    }
    slots
};

/// Replies that leave at the end of the turn.
pub(super) struct Outbox {
    slots: Slots,
    /// Whose they are.
    flows: [Option<Key>; BATCH],
    used: usize,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self { slots: Slots::new(), flows: [None; BATCH], used: 0 }
    }
}

impl Udp {
    /// One turn of every flow whose target may have sent something.
    pub(super) fn take_out(&mut self, tools: &mut DatagramBuffers, context: &mut Context) {
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else { break };
            if let Some(flow) = self.flows.get_mut(key) {
                flow.is_queued = false;
                self.collect(key, tools, context);
            }
        }
        self.flush(tools);
    }

    fn collect(&mut self, key: Key, tools: &mut DatagramBuffers, context: &mut Context) {
        if tools.outbox.used + super::slots::FEW > BATCH {
            self.flush(tools);
        }
        let Some(flow) = self.flows.get_mut(key) else { return };
        let Upstream::Open(socket) = &flow.upstream else { return };
        let Outbox { slots, flows, used } = &mut tools.outbox;
        let got = match tools.receiver.of_target(socket, (flow.is_busy, flow.joins_in), *used, slots) {
            Ok(got) => got,
            Err(Errno::AGAIN) => return,
            Err(Errno::INTR) => return self.enqueue(key),
            Err(error) => match judge(error) {
                SendError::Failed(cause) => {
                    flow.ticket.lost(Lost::Unreachable, 1);
                    // What has its answers needs no other target.
                    if flow.released.is_some() || !self.fail(key, cause, context) {
                        self.end(key, ConnectionEnd::NoTarget, context);
                    }
                    return;
                }
                SendError::Lost(lost) => {
                    flow.ticket.lost(lost, 1);
                    return self.enqueue(key);
                }
                SendError::Full => return,
            },
        };
        let came = *used..*used + got.count;
        for (whose, received) in flows[came.clone()].iter_mut().zip(&slots.received[came]) {
            *whose = (*received != CUT).then_some(key);
            if *received == CUT {
                flow.ticket.lost(Lost::Other, 1);
            }
        }
        if flow.ticket.is_limited() {
            for (slot, whose) in flows.iter_mut().enumerate().skip(*used).take(got.count) {
                let (datagrams, bytes) = (slots.received[slot].count() as u64, slots.bytes(slot).len());
                if whose.is_some() && !flow.ticket.passes(OUT, datagrams, bytes) {
                    *whose = None;
                }
            }
        }
        let datagrams = slots.received[*used..*used + got.count].iter().map(|received| received.count()).sum();
        *used += got.count;
        if got.count > 0 && !flow.has_answered {
            flow.has_answered = true;
            flow.ticket.answered();
        }
        flow.active = context.now;
        if got.is_drained {
            flow.is_busy &= got.count >= super::slots::FEW;
            return self.answered(key, datagrams, context);
        }
        flow.is_busy = true;
        if !flow.joins_in {
            // Where the kernel cannot, it is as it was.
            flow.joins_in = setsockopt(socket, UdpGroSegment, &true).is_ok();
        }
        self.answered(key, datagrams, context);
        self.enqueue(key);
    }

    /// Sends all replies that were collected.
    fn flush(&mut self, tools: &mut DatagramBuffers) {
        let mut at = 0;
        while at < tools.outbox.used {
            at += self.flush_some(at, tools);
        }
        tools.outbox.used = 0;
    }

    /// Sends replies that leave through one socket from one address. How many slots that were.
    fn flush_some(&mut self, at: usize, tools: &mut DatagramBuffers) -> usize {
        let Outbox { slots, flows, used } = &mut tools.outbox;
        let Some(flow) = flows[at].and_then(|key| self.flows.get_mut(key)) else { return 1 };
        let (listening, local) = (flow.listening, flow.id.local);
        let Some(through) = self.sockets.get(listening) else { return 1 };
        let (from, family, can_segment) = (through.from(local), through.asked.family, through.can_segment);
        let socket = through.acceptor.clone();
        let mut parcels = [Parcel::NONE; BATCH];
        let (mut first, mut count) = (at, 0);
        while first < *used {
            let key = flows[first];
            let Some(flow) = key.and_then(|key| self.flows.get_mut(key)) else { break };
            if flow.listening != listening || (flow.id.local != local && from.is_some()) {
                break;
            }
            let same = flows[first..*used].iter().take_while(|other| **other == key).count();
            let to = Some(as_family(flow.id.client, family));
            let end = first + same;
            while let Some(piece) = next_piece(&slots.received[first..end], first, can_segment && !flow.is_plain_out) {
                parcels[count] = Parcel { piece, to };
                (first, count) = (first + piece.parts, count + 1);
            }
        }
        let mut rest = &parcels[..count];
        while !rest.is_empty() {
            let (sent, error) = tools.sender.send(&*socket.socket(), from, (slots, &IN_ORDER), rest);
            for parcel in &rest[..sent] {
                if let Some(flow) = flows[parcel.piece.first].and_then(|key| self.flows.get_mut(key)) {
                    flow.ticket.passed_out(parcel.piece.datagrams as u64, parcel.piece.bytes);
                }
            }
            rest = &rest[sent..];
            let (Some(error), Some((stuck, behind))) = (error, rest.split_first()) else { continue };
            let verdict = judge(error);
            let is_split = stuck.piece.segment > 0 && refuses_pieces(error);
            let dropped = if is_split || verdict != SendError::Full { &rest[..1] } else { rest };
            for parcel in dropped {
                let Some(flow) = flows[parcel.piece.first].and_then(|key| self.flows.get_mut(key)) else { continue };
                if is_split {
                    flow.is_plain_out = true;
                    flow.send_apart(&*socket.socket(), from, slots, stuck);
                    continue;
                }
                let lost = match verdict {
                    SendError::Lost(lost) => lost,
                    SendError::Full => Lost::NoRoom,
                    SendError::Failed(_) => Lost::Unreachable,
                };
                flow.ticket.lost(lost, parcel.piece.datagrams as u64);
            }
            rest = if dropped.len() > 1 { &[] } else { behind };
        }
        first - at
    }
}

impl super::flow::Flow {
    /// Sends the datagrams of a piece one by one.
    fn send_apart(&self, socket: &impl std::os::fd::AsRawFd, from: Option<From>, slots: &Slots, parcel: &Parcel) {
        for slot in parcel.piece.first..parcel.piece.first + parcel.piece.parts {
            for datagram in slots.bytes(slot).chunks(parcel.piece.segment.into()) {
                match send_alone(socket, from, parcel.to, datagram).map_err(judge) {
                    Ok(()) => self.ticket.passed_out(1, datagram.len()),
                    Err(SendError::Lost(lost)) => self.ticket.lost(lost, 1),
                    Err(SendError::Full) => self.ticket.lost(Lost::NoRoom, 1),
                    Err(SendError::Failed(_)) => self.ticket.lost(Lost::Unreachable, 1),
                }
            }
        }
    }
}
