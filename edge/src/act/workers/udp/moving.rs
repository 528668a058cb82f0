//! What becomes of a flow whose target is not what it was: it failed, its name leads elsewhere, or it has answered all
//! that it was asked. I/O.
//!
//! Nothing of UDP says by itself that nobody is there: a client that goes on sending would keep a dead target for ever.
//!
//! Keeps: a flow leaves a target only where another one, or another address of its name, is better; a flow that has its
//! answers takes no room, and passes on late ones for as long as there is room for it.

use std::net::{IpAddr, SocketAddr};

use rustix::net::getpeername;
use schema::rule::Host;

use super::super::context::Context;
use super::super::counting::meter::Refusal;
use super::super::slab::Key;
use super::super::targets::question::{Asker, NameQuestion, Resolved, SlabKind};
use super::super::targets::routing::PortPlan;
use super::super::timers::{Tick, ticks};
use super::Udp;
use super::flow::{Flow, Upstream};
use super::inward::RefusedFlow;
use crate::decide::endings::ConnectionEnd;
use crate::decide::flows::{self, ANSWERED, SILENCE};

/// Flows of one worker that have their answers and wait for late ones: each holds a descriptor.
const ANSWERED_FLOWS: usize = 1024;

impl Flow {
    fn name(&self) -> Option<&std::sync::Arc<str>> {
        match &self.ticket.target().host {
            Host::Name(name) => Some(name),
            Host::Ip(_) | Host::Scoped(_) => None,
        }
    }

    /// The address that its datagrams go to.
    fn peer(&self) -> Option<IpAddr> {
        let Upstream::Open(socket) = &self.upstream else { return None };
        let address = SocketAddr::try_from(getpeername(socket).ok()??).ok()?;
        Some(address.ip().to_canonical())
    }

    /// Closes the way to the address that it is at.
    fn leave(&mut self, now: Tick) {
        self.upstream = Upstream::Failed;
        self.dialling = self.ticket.dialling(now);
        self.has_answered = false;
        self.silent_since = None;
    }

    /// How long it lives without a datagram.
    pub(super) fn idle(&self) -> Tick {
        if self.released.is_some() { ticks(ANSWERED) } else { ticks(self.ticket.route().rule.udp_flow_idle) }
    }
}

impl Udp {
    /// Looks whether the client's next datagrams have somewhere better to go.
    pub(super) fn reconsider(&mut self, key: Key, context: &Context) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        if !matches!(flow.upstream, Upstream::Open(_)) {
            return;
        }
        if flow.ticket.reconsider(flow.id.client.ip()) {
            flow.leave(context.now);
            return;
        }
        let since = *flow.silent_since.get_or_insert(context.now);
        if context.now.saturating_sub(since) < ticks(SILENCE) {
            return;
        }
        flow.silent_since = Some(context.now);
        let Some(name) = flow.name() else { return };
        if let Some(ips) = context.shared.names.known(name) {
            self.follow_name(key, &ips, context.now);
        } else {
            let asker = Asker { worker: context.index, key, step: flow.dialling.step(), kind: SlabKind::Flow };
            // Where there are too many questions, it asks again after as long a silence.
            _ = context.shared.questions.try_send(NameQuestion { name: name.clone(), asker });
        }
    }

    /// Takes the answer to the question of a flow that goes on meanwhile.
    pub(super) fn answered_meanwhile(&mut self, resolved: &Resolved, now: Tick) {
        if let Ok(ips) = &resolved.found {
            self.follow_name(resolved.key, ips, now);
        }
    }

    /// Leaves an address that the name of the target does not lead to any more.
    fn follow_name(&mut self, key: Key, ips: &[IpAddr], now: Tick) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        let is_left = flow.peer().is_some_and(|peer| !ips.iter().any(|ip| ip.to_canonical() == peer));
        if is_left && !ips.is_empty() {
            flow.leave(now);
        }
    }

    /// Notes datagrams that a client sent.
    pub(super) fn asked(&mut self, key: Key, datagrams: usize) {
        if let Some(flow) = self.flows.get_mut(key) {
            flow.owed = flow.owed.saturating_add(i32::try_from(datagrams).unwrap_or(i32::MAX));
        }
    }

    /// Notes datagrams that a target sent. Where questions and answers come in pairs and this was the last answer, the
    /// flow takes no room any more.
    pub(super) fn answered(&mut self, key: Key, datagrams: usize, context: &Context) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        flow.silent_since = None;
        flow.owed = flow.owed.saturating_sub(i32::try_from(datagrams).unwrap_or(i32::MAX));
        let rule = &flow.ticket.route().rule;
        let ports = [flow.ticket.listener().port, flow.ticket.target_port()];
        if flow.owed > 0 || !flows::ends_with_its_answers(ports, rule.udp_flow_idle) {
            return;
        }
        if !flow.ticket.release() {
            return;
        }
        flow.released = Some(context.now);
        self.timers.set(key.slot(), context.now + ticks(ANSWERED));
        context.ended();
        self.answered.push_back((key, context.now));
        if self.answered.len() > ANSWERED_FLOWS
            && let Some((oldest, since)) = self.answered.pop_front()
            && self.flows.get_mut(oldest).is_some_and(|flow| flow.released == Some(since))
        {
            self.end(oldest, ConnectionEnd::Closed, context);
        }
    }

    /// Takes back a flow that has its answers, for its client sends again. An error where its rule has no room; `false`
    /// where it is over, because its port has another rule now or the rule another version.
    pub(super) fn take_back(&mut self, key: Key, context: &Context) -> Result<bool, Refusal> {
        let Some(flow) = self.flows.get_mut(key) else { return Ok(false) };
        if flow.released.is_none() {
            return Ok(true);
        }
        let routing = context.shared.routing.load();
        let (route, listener) = (flow.ticket.route(), flow.ticket.listener());
        if !routing
            .find(&listener)
            .and_then(PortPlan::one)
            .is_some_and(|now| std::sync::Arc::ptr_eq(&now.rule, &route.rule))
        {
            self.end(key, ConnectionEnd::Closed, context);
            return Ok(false);
        }
        if let Err(why) = flow.ticket.come_back() {
            let (id, route) = (flow.id, flow.ticket.route().clone());
            self.refuse(&id, &RefusedFlow { route: &route, listener, why }, context);
            return Err(why);
        }
        (flow.released, flow.owed) = (None, 0);
        context.shared.workers[context.index].began();
        let end = context.now + flow.idle();
        self.timers.set(key.slot(), end);
        Ok(true)
    }
}
