//! From listening sockets to targets. I/O.
//!
//! Keeps: what belongs to a live flow reaches it whatever else arrives; nothing is allocated for a datagram that no flow
//! takes; datagrams of a flow leave in the order in which they came.

use std::sync::atomic::Ordering;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use schema::counters::Lost;
use schema::net::Listener;

use super::super::context::Context;
use super::super::counting::admitted::Admitted;
use super::super::counting::meter::Refusal;
use super::super::counting::ticket::Ticket;
use super::super::limiting::throttle::IN;
use super::super::room::{FLOW, Lent};
use super::super::slab::Key;
use super::super::targets::routing::Route;
use super::super::timers::ticks;
use super::errors::{SendError, judge, refuses_pieces};
use super::flow::{Flow, FlowId, Upstream};
use super::sender::{Parcel, send_alone};
use super::slots::{BATCH, CUT, Slots};
use super::{DatagramBuffers, Udp};
use crate::decide::datagrams::{Received, next_piece};
use crate::decide::dialling::DialFailure;
use crate::decide::endings::ConnectionEnd;
use crate::decide::faults::ConnectCause;

/// What became of the datagrams of one flow.
enum Sent {
    All,
    /// So many were dealt with when the target turned out not to be there.
    Failed(usize, ConnectCause),
}

/// A datagram that no flow takes: where it arrived, and why it is refused.
pub(super) struct RefusedFlow<'r> {
    pub(super) route: &'r Route,
    pub(super) listener: Listener,
    pub(super) why: Refusal,
}

impl Udp {
    /// One batch of every socket that has something.
    pub(super) fn take_in(&mut self, tools: &mut DatagramBuffers, context: &mut Context) {
        for _ in 0..self.sockets.waiting() {
            if let Some(key) = self.sockets.next()
                && self.receive(key, tools, context)
            {
                self.sockets.note(key);
            }
        }
    }

    /// Takes in one batch. True if more may wait.
    pub(super) fn receive(&mut self, key: Key, tools: &mut DatagramBuffers, context: &mut Context) -> bool {
        let Some(listening) = self.sockets.get(key) else { return false };
        let (port, address) = (listening.listener.port, listening.address());
        let socket = listening.acceptor.clone();
        let got = match tools.receiver.of_clients(&*socket.socket(), listening.asked, &mut tools.inbox) {
            Ok(got) => got,
            Err(error) => return error == Errno::INTR,
        };
        if got.count == BATCH {
            listening.join();
        }
        let mut order = [(u32::MAX, 0); BATCH];
        let mut keys = [None; BATCH];
        let mut known: Option<(FlowId, Option<Key>)> = None;
        for slot in 0..got.count {
            let way = tools.inbox.ways[slot];
            let Some(local) = address.or(way.local).filter(|_| tools.inbox.received[slot] != CUT) else { continue };
            let id = FlowId { client: way.client, local, port };
            let flow = match known {
                Some((before, flow)) if before == id => flow,
                _ => self.flow_of(id, key, context),
            };
            known = Some((id, flow));
            keys[slot] = flow;
            order[slot] = (flow.map_or(u32::MAX, Key::slot), slot as u8);
        }
        // Datagrams of one flow leave together.
        let order = &mut order[..got.count];
        if !order.is_sorted() {
            order.sort_unstable();
        }
        let mut slots = [0; BATCH];
        for (slot, (_, from)) in slots.iter_mut().zip(&*order) {
            *slot = *from;
        }
        let mut first = 0;
        for group in order.chunk_by(|one, next| one.0 == next.0) {
            let slots = &slots[first..first + group.len()];
            first += group.len();
            if let Some(key) = keys[usize::from(slots[0])] {
                self.deliver(key, slots, tools, context);
            }
        }
        !got.is_drained
    }

    /// The flow of a datagram that came through a socket, a new one if need be.
    fn flow_of(&mut self, id: FlowId, via: Key, context: &Context) -> Option<Key> {
        let Some(key) = self.by_id.get(&id).copied() else { return self.admit(id, via, context) };
        if !self.take_back(key, context).ok()? {
            return self.admit(id, via, context);
        }
        let flow = self.flows.get_mut(key)?;
        if flow.listening != via && self.sockets.get(via).is_some_and(|listening| !listening.is_leaving) {
            let before = std::mem::replace(&mut flow.listening, via);
            self.sockets.joined(via);
            self.sockets.left(before, context.registry());
        }
        Some(key)
    }

    /// Begins a flow, unless its rule has as many as it may or no target takes any.
    fn admit(&mut self, id: FlowId, via: Key, context: &Context) -> Option<Key> {
        let listening = self.heir(via, id.local)?;
        let listener = self.sockets.get(listening)?.listener;
        // Nobody could be answered at port 0.
        if context.shared.is_resetting.load(Ordering::Acquire) || id.client.port() == 0 {
            return None;
        }
        let routing = context.shared.routing.load();
        let route = routing.find(&listener)?.one()?;
        let admitted = match Admitted::new(route, listener, id.client.ip(), context.index) {
            Ok(admitted) => admitted,
            Err(why) => {
                self.refuse(&id, &RefusedFlow { route, listener, why }, context);
                return None;
            }
        };
        context.shared.workers[context.index].began();
        if context.shared.is_beyond_policy() {
            context.shared.ended(context.index);
            let refused = RefusedFlow { route: &admitted.route, listener, why: Refusal::Limit };
            self.refuse(&id, &refused, context);
            return None;
        }
        let ticket = Ticket::new(admitted, id.client.into(), context.index, context.now);
        match context.shared.room.take(context.index, FLOW) {
            Lent::Granted => {}
            Lent::NotYet => context.shared.room.lend(context.index, FLOW),
            Lent::Full => {
                context.shared.room.note_shortage(Errno::MFILE);
                ticket.count(DialFailure::Connect(ConnectCause::Descriptors), &context.shared.shortages);
                ticket.unserved();
                context.shared.ended(context.index);
                return None;
            }
        }
        let idle = ticket.route().rule.udp_flow_idle;
        let key = self.flows.insert_with(|_| Flow::new(id, listening, ticket, context.now));
        self.by_id.insert(id, key);
        self.sockets.joined(listening);
        self.timers.set(key.slot(), context.now + ticks(idle));
        Some(key)
    }

    /// Counts a datagram that no flow takes, and writes its flow down.
    pub(super) fn refuse(&mut self, id: &FlowId, refused: &RefusedFlow<'_>, context: &Context) {
        let RefusedFlow { route, listener, why } = *refused;
        route.meter.refused(context.index, listener.port, why);
        if context.shared.log.is_some() && self.refused.is_new(id, context.now) {
            context.log_refusal(route, listener, id.client, why);
        }
    }

    /// Passes on what one flow has in these slots. A target that is not there is followed by the next one, once.
    fn deliver(&mut self, mut key: Key, slots: &[u8], tools: &mut DatagramBuffers, context: &mut Context) {
        let mut passed = [0; BATCH];
        let slots = match self.flows.get_mut(key) {
            Some(flow) if flow.ticket.is_limited() => flow.passed(slots, tools, &mut passed),
            _ => slots,
        };
        if slots.is_empty() {
            return;
        }
        let mut dealt_with = 0;
        for is_last in [false, true] {
            let Sent::Failed(count, cause) = self.send_in(key, &slots[dealt_with..], tools, context) else { return };
            dealt_with += count;
            let Some(flow) = self.flows.get_mut(key) else { return };
            // The datagram that the target refused; the one in hand has not left yet.
            flow.ticket.lost(Lost::Unreachable, 1);
            let (id, via) = (flow.id, flow.listening);
            let is_over = !self.fail(key, cause, context);
            if is_last {
                let rest: usize = slots[dealt_with..].iter().map(|slot| count_in(&tools.inbox, *slot)).sum();
                if let Some(flow) = self.flows.get_mut(key) {
                    flow.ticket.lost(Lost::Unreachable, rest as u64);
                }
            }
            if is_over {
                self.end(key, ConnectionEnd::NoTarget, context);
                if is_last {
                    return;
                }
                let Some(next) = self.admit(id, via, context) else { return };
                key = next;
            }
        }
    }

    fn send_in(&mut self, key: Key, slots: &[u8], tools: &mut DatagramBuffers, context: &mut Context) -> Sent {
        let Some(flow) = self.flows.get_mut(key) else { return Sent::All };
        flow.active = context.now;
        self.reconsider(key, context);
        self.asked(key, slots.iter().map(|slot| count_in(&tools.inbox, *slot)).sum());
        let Some(flow) = self.flows.get_mut(key) else { return Sent::All };
        if matches!(flow.upstream, Upstream::Failed)
            && let Err(lost) = self.open(key, context)
        {
            if let Some(flow) = self.flows.get_mut(key) {
                let datagrams: usize = slots.iter().map(|slot| count_in(&tools.inbox, *slot)).sum();
                flow.ticket.lost(lost, datagrams as u64);
            }
            self.end(key, ConnectionEnd::NoTarget, context);
            return Sent::All;
        }
        let Some(flow) = self.flows.get_mut(key) else { return Sent::All };
        if matches!(flow.upstream, Upstream::Named) {
            for slot in slots.iter().copied().map(usize::from) {
                let kept = flow.waiting.keep(tools.inbox.received[slot], tools.inbox.bytes(slot), &mut self.waiting);
                flow.ticket.lost(Lost::NoRoom, kept);
            }
            return Sent::All;
        }
        match slots {
            [slot] if tools.inbox.received[usize::from(*slot)].segment == 0 => {
                flow.send_one(tools.inbox.bytes(usize::from(*slot)))
            }
            slots => {
                let can_segment = self.sockets.get(flow.listening).is_some_and(|listening| listening.can_segment);
                flow.send_many(slots, can_segment, tools)
            }
        }
    }
}

fn count_in(slots: &Slots, slot: u8) -> usize {
    slots.received[usize::from(slot)].count()
}

impl Flow {
    /// Those of these slots that limits let pass.
    fn passed<'a>(&self, slots: &[u8], tools: &DatagramBuffers, passed: &'a mut [u8; BATCH]) -> &'a [u8] {
        let mut count = 0;
        for slot in slots {
            let datagrams = count_in(&tools.inbox, *slot) as u64;
            if self.ticket.passes(IN, datagrams, tools.inbox.bytes(usize::from(*slot)).len()) {
                passed[count] = *slot;
                count += 1;
            }
        }
        &passed[..count]
    }

    fn send_one(&self, bytes: &[u8]) -> Sent {
        let Upstream::Open(socket) = &self.upstream else { return Sent::All };
        let mut sent = send(socket, bytes, SendFlags::NOSIGNAL);
        // What is said of an earlier datagram is said once, and keeps this one back.
        if matches!(sent, Err(Errno::MSGSIZE | Errno::INTR)) {
            sent = send(socket, bytes, SendFlags::NOSIGNAL);
        }
        match sent.map_err(judge) {
            Ok(_) => self.ticket.passed_in(1, bytes.len()),
            Err(SendError::Full) => self.ticket.lost(Lost::NoRoom, 1),
            Err(SendError::Lost(lost)) => self.ticket.lost(lost, 1),
            Err(SendError::Failed(cause)) => return Sent::Failed(0, cause),
        }
        Sent::All
    }

    fn send_many(&mut self, slots: &[u8], can_segment: bool, tools: &mut DatagramBuffers) -> Sent {
        let Upstream::Open(socket) = &self.upstream else { return Sent::All };
        let mut received = [Received::default(); BATCH];
        for (one, slot) in received.iter_mut().zip(slots) {
            *one = tools.inbox.received[usize::from(*slot)];
        }
        let received = &received[..slots.len()];
        let mut parcels = [const { Parcel::NONE }; BATCH];
        let (mut first, mut count) = (0, 0);
        while let Some(piece) = next_piece(&received[first..], first, can_segment && !self.is_plain_in) {
            first += piece.parts;
            parcels[count] = Parcel { piece, to: None };
            count += 1;
        }
        let mut rest = &parcels[..count];
        while !rest.is_empty() {
            let (sent, error) = tools.sender.send(socket, None, (&tools.inbox, slots), rest);
            let (left, others) = rest.split_at(sent);
            for Parcel { piece, .. } in left {
                self.ticket.passed_in(piece.datagrams as u64, piece.bytes);
            }
            rest = others;
            let (Some(error), Some((stuck, behind))) = (error, rest.split_first()) else { continue };
            if stuck.piece.segment > 0 && refuses_pieces(error) {
                self.is_plain_in = true;
                for slot in &slots[stuck.piece.first..][..stuck.piece.parts] {
                    let bytes = tools.inbox.bytes(usize::from(*slot));
                    for datagram in bytes.chunks(stuck.piece.segment.into()) {
                        match send_alone(socket, None, None, datagram).map_err(judge) {
                            Ok(()) => self.ticket.passed_in(1, datagram.len()),
                            Err(SendError::Lost(lost)) => self.ticket.lost(lost, 1),
                            Err(_) => self.ticket.lost(Lost::NoRoom, 1),
                        }
                    }
                }
                rest = behind;
                continue;
            }
            match judge(error) {
                SendError::Failed(cause) => return Sent::Failed(stuck.piece.first, cause),
                SendError::Lost(lost) => {
                    self.ticket.lost(lost, stuck.piece.datagrams as u64);
                    rest = behind;
                }
                SendError::Full => {
                    let datagrams: usize = rest.iter().map(|parcel| parcel.piece.datagrams).sum();
                    self.ticket.lost(Lost::NoRoom, datagrams as u64);
                    return Sent::All;
                }
            }
        }
        Sent::All
    }
}
