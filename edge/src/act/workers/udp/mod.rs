//! UDP: flows between clients and targets, batched both ways. I/O.
//!
//! A listening socket and all of its flows belong to one worker. A flow is known by client and local address, not by
//! socket or rule: it survives a port that changes hands, and a socket that is exchanged for another one on its port.
//!
//! Keeps: a flow ends in one place, which gives back all that it had; live flows are never thrown out for new ones; a
//! released socket stays open for exactly as long as it has flows.

mod dial;
mod errors;
mod flow;
mod inward;
mod listening;
mod moving;
mod outward;
mod refused;
mod sender;
mod slots;

use std::collections::{HashMap, VecDeque};

use mio::Token;
use schema::counters::{Break, Lost};

use super::context::Context;
use super::counting::meant::Concerned;
use super::counting::switch::{Adoptions, Switch};
use super::counting::ticket::Ticket;
use super::live::{QuerySlice, SLICE, SeenConnection, SlabQuery};
use super::room::FLOW;
use super::slab::{Key, Slab};
use super::timers::{Tick, Wheel};
use crate::decide::endings::ConnectionEnd;
use flow::{Flow, FlowId};
use listening::Sockets;
use outward::Outbox;
use refused::RefusedFlows;
use sender::Sender;
use slots::{DatagramReceiver, Slots};

/// Marks the tokens of flows, and with the mark of listening sockets those of UDP.
pub(super) const MARK: usize = 1 << 62;
/// Marks the tokens of listening sockets.
const LISTENING: usize = 1 << 63;

/// What is needed once there is traffic.
struct DatagramBuffers {
    inbox: Slots,
    outbox: Outbox,
    receiver: DatagramReceiver,
    sender: Sender,
}

impl DatagramBuffers {
    fn new() -> Self {
        Self {
            inbox: Slots::new(),
            outbox: Outbox::new(),
            receiver: DatagramReceiver::default(),
            sender: Sender::default(),
        }
    }
}

/// All of UDP on one worker.
#[derive(Default)]
pub(super) struct Udp {
    sockets: Sockets,
    flows: Slab<Flow>,
    by_id: HashMap<FlowId, Key>,
    timers: Wheel,
    /// Flows whose target may have sent something.
    ready: VecDeque<Key>,
    /// Buffers, from the first socket on.
    tools: Option<Box<DatagramBuffers>>,
    /// Bytes that wait for names.
    waiting: usize,
    /// Flows that have all of their answers, oldest first, each with since when: what is taken back stays listed.
    answered: VecDeque<(Key, Tick)>,
    /// Flows that were refused lately.
    refused: RefusedFlows,
    /// Names looked up so far, so that their addresses take turns.
    names: usize,
    due: Vec<u32>,
}

impl Udp {
    /// Takes note of an event if it is one of UDP.
    pub(super) fn note(&mut self, event: &mio::event::Event) -> bool {
        let Token(token) = event.token();
        if token & MARK == 0 {
            return false;
        }
        let (key, _) = Key::unpack(token & !(MARK | LISTENING));
        if token & LISTENING != 0 {
            self.sockets.note(key);
        } else {
            self.enqueue(key);
        }
        true
    }

    fn enqueue(&mut self, key: Key) {
        if let Some(flow) = self.flows.get_mut(key).filter(|flow| !flow.is_queued) {
            flow.is_queued = true;
            self.ready.push_back(key);
        }
    }

    /// True if there is something to do at once.
    pub(super) fn is_busy(&self) -> bool {
        !self.ready.is_empty() || self.sockets.is_busy()
    }

    /// When to look at the timers next.
    pub(super) fn next(&self) -> Option<Tick> {
        self.timers.next()
    }

    /// One turn: what came from clients, then what came from targets, and all replies together.
    pub(super) fn work(&mut self, context: &mut Context) {
        self.expire(context);
        if !self.is_busy() {
            return;
        }
        let Some(mut tools) = self.tools.take() else { return };
        self.take_in(&mut tools, context);
        self.take_out(&mut tools, context);
        self.tools = Some(tools);
    }

    fn expire(&mut self, context: &mut Context) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.advance(context.now, &mut due);
        for slot in due.drain(..) {
            let Some(key) = self.flows.key_of(slot) else { continue };
            self.overdue(key, context);
        }
        self.due = due;
    }

    /// How many ticks ago each flow of a rule came.
    pub(super) fn ages(&self, meant: &Concerned, now: Tick) -> impl Iterator<Item = u32> {
        self.flows.iter().filter_map(move |(_, flow)| flow.ticket.age_in(meant, now))
    }

    /// Lets every flow learn that other rules serve from now on.
    pub(super) fn note_switch(&mut self, switch: &Switch, adoptions: &mut Adoptions) {
        for flow in self.flows.values_mut() {
            flow.ticket.note(switch, adoptions);
            flow.ticket.note_access(switch);
        }
    }

    /// Ends the flows that are meant.
    pub(super) fn reset(&mut self, is_meant: impl Fn(&Ticket) -> bool, why: Break, context: &Context) {
        let meant = |(_, flow): &(Key, &Flow)| is_meant(&flow.ticket);
        let keys: Vec<Key> = self.flows.iter().filter(meant).map(|(key, _)| key).collect();
        for key in keys {
            self.end(key, ConnectionEnd::Broken(why), context);
        }
    }

    /// Looks at a slice of the flows: to list them, or to end those that are meant. A flow that has all of its answers
    /// counts as ended.
    pub(super) fn survey(&mut self, look: &SlabQuery, from: u32, context: &Context) -> QuerySlice {
        let (slice, next) = self.flows.slice(from, SLICE);
        let live = slice.filter(|(_, flow)| !flow.ticket.is_released());
        let seen = live.map(|(key, flow)| {
            let id = context.id_of(key, look.run(), true);
            (key, SeenConnection { ticket: &flow.ticket, id, active: flow.active })
        });
        let (found, meant) = look.slice(seen, context.now);
        for key in meant {
            self.end(key, ConnectionEnd::Broken(Break::EdgeOperator), context);
        }
        QuerySlice::new(found, next)
    }

    /// Ends all flows.
    pub(super) fn reset_all(&mut self, context: &Context) {
        let keys: Vec<Key> = self.flows.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.end(key, ConnectionEnd::Broken(Break::EdgeCut), context);
        }
    }

    /// Ends a flow, and gives back what it had.
    fn end(&mut self, key: Key, end: ConnectionEnd, context: &Context) {
        let Some(Flow { id, listening, upstream, waiting, ticket, released, is_owed, .. }) = self.flows.remove(key)
        else {
            return;
        };
        self.timers.clear(key.slot());
        self.by_id.remove(&id);
        ticket.lost(Lost::Other, waiting.take(&mut self.waiting).len() as u64);
        if is_owed {
            context.shared.room.settle(context.index, FLOW);
        }
        context.log_end(&ticket, end);
        // The socket closes before the ticket is given back.
        drop(upstream);
        drop(ticket);
        self.sockets.left(listening, context.registry());
        if released.is_none() {
            context.ended();
        }
    }
}
