//! The addresses of a target's name, in the order in which its next connection or flow tries them. Shared memory.
//!
//! Keeps: connections are spread over all addresses of a name, and those that failed not long ago come last.

use std::net::IpAddr;
use std::sync::Arc;

use schema::rule::Host;

use super::super::counting::ticket::Ticket;
use super::super::shared::Shared;
use super::question::{Asker, NameQuestion};
use crate::act::names::NameError;
use crate::decide::dial;
use crate::decide::dialling::Heard;

/// Finds the addresses of the target's name, or asks for them. Returns what is known at once. `turn` counts the names
/// that the worker has looked up.
pub(crate) fn look_up(ticket: &Ticket, shared: &Shared, asker: Asker, turn: &mut usize) -> Option<Heard> {
    let Host::Name(name) = &ticket.target().host else { return None };
    if let Some(ips) = shared.names.known(name) {
        return Some(heard(ticket, &Ok(ips), shared, turn));
    }
    if shared.questions.try_send(NameQuestion { name: name.clone(), asker }).is_ok() {
        return None;
    }
    tracing::warn!("too many names wait to be looked up");
    Some(Heard::Unresolved { is_verdict: false })
}

/// What a dialling hears of an answer.
pub(crate) fn heard(
    ticket: &Ticket,
    found: &Result<Arc<[IpAddr]>, NameError>,
    shared: &Shared,
    turn: &mut usize,
) -> Heard {
    let port = ticket.target_port();
    match found.as_deref() {
        Ok([ip]) => Heard::Address((*ip, port).into()),
        Ok(ips @ [first, ..]) => {
            let is_deferred = shared.names.deferred(&ticket.target().host);
            let is_put_off = |ip| is_deferred((ip, port).into());
            let mut ordered = dial::order(ips, ticket.route().rule.prefer_ipv6, *turn, is_put_off);
            let policy = shared.policy.load();
            ordered.retain(|ip| policy.allows_address(*ip));
            if let [] | [_] = ordered[..] {
                // Where none is allowed, connecting to one of them fails by the policy, and is counted so.
                return Heard::Address((ordered.first().copied().unwrap_or(*first), port).into());
            }
            *turn = turn.wrapping_add(1);
            Heard::Addresses(ordered.into_iter().map(|ip| (ip, port).into()).collect())
        }
        Ok([]) => Heard::Unresolved { is_verdict: true },
        Err(error) => Heard::Unresolved { is_verdict: error.is_verdict() },
    }
}
