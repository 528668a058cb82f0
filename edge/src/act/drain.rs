//! Connections that may go on for a while: of removed rules, released sockets and removed targets. Owned by the
//! runtime's task.
//!
//! Keeps: what drains ends by itself or is reset at its deadline, and is forgotten only when it has ended.

use std::collections::HashSet;
use std::sync::Arc;

use schema::name::RuleName;
use schema::net::{Listener, Protocol};
use schema::rule::Rule;
use tokio::time::Instant;

use crate::act::workers::{Meter, Scope};

struct RemovedRule {
    name: RuleName,
    meter: Arc<Meter>,
    deadline: Instant,
    is_reset: bool,
}

struct Part {
    meter: Arc<Meter>,
    scope: Scope,
    /// Later connections are not meant.
    before: u64,
    deadline: Instant,
}

/// Connections that have had their time.
pub(crate) struct Overdue {
    pub(crate) meter: Arc<Meter>,
    pub(crate) scope: Scope,
    /// Later connections are not meant.
    pub(crate) before: u64,
}

fn owns(rule: &Rule, listener: &Listener) -> bool {
    let listen = rule.listen;
    listen.protocol == listener.protocol && listen.address == listener.address && listen.ports.contains(listener.port)
}

/// Everything that drains on an edge.
#[derive(Default)]
pub(crate) struct Drains {
    removed: Vec<RemovedRule>,
    parts: Vec<Part>,
}

impl Drains {
    /// Rules that serve no longer.
    pub(crate) fn removed(&mut self, rules: impl Iterator<Item = (RuleName, Arc<Rule>, Arc<Meter>)>, now: Instant) {
        self.removed.extend(rules.map(|(name, rule, meter)| RemovedRule {
            name,
            meter,
            deadline: now + rule.drain_timeout,
            is_reset: false,
        }));
    }

    /// A rule that serves in another version: what came in through its released sockets or goes to its removed
    /// targets drains.
    pub(crate) fn changed(
        &mut self,
        former: &Rule,
        next: &Rule,
        meter: &Arc<Meter>,
        released: &HashSet<Listener>,
        now: Instant,
    ) {
        // A UDP flow does not end by itself while its client sends: where its port went to another rule, it drains too.
        let is_lost = |listener: &Listener| {
            released.contains(listener) || (listener.protocol == Protocol::Udp && !owns(next, listener))
        };
        let listeners: Vec<Listener> = former.listen.listeners().filter(is_lost).collect();
        let by_listener = (!listeners.is_empty()).then_some(Scope::Listeners(listeners));
        let by_target = Scope::of_removed_targets(&former.targets, &next.targets);
        for scope in [by_listener, by_target].into_iter().flatten() {
            self.part(next, meter, scope, now);
        }
    }

    /// Connections of a rule that have its drain timeout from now on.
    pub(crate) fn part(&mut self, rule: &Rule, meter: &Arc<Meter>, scope: Scope, now: Instant) {
        if meter.active() > 0 {
            let (meter, before) = (meter.clone(), meter.next_connection());
            self.parts.push(Part { meter, scope, before, deadline: now + rule.drain_timeout });
        }
    }

    /// The meter of a rule that comes back before its connections have ended: they go on.
    pub(crate) fn revive(&mut self, name: &RuleName) -> Option<Arc<Meter>> {
        let index = self.removed.iter().position(|removed| removed.name == *name && !removed.is_reset)?;
        Some(self.removed.swap_remove(index).meter)
    }

    /// When to call [`Drains::overdue`].
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let removed = self.removed.iter().filter(|removed| !removed.is_reset).map(|removed| removed.deadline);
        removed.chain(self.parts.iter().map(|part| part.deadline)).min()
    }

    /// What is over its time and to be reset. `serves` is the version that a meter belongs to now: what has come back in
    /// it is left alone.
    pub(crate) fn overdue<'a>(
        &mut self,
        now: Instant,
        serves: impl Fn(&Arc<Meter>) -> Option<&'a Rule>,
    ) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        for removed in self.removed.iter_mut().filter(|removed| removed.deadline <= now && !removed.is_reset) {
            tracing::info!(rule = %removed.name, connections = removed.meter.active(), "drain timeout, connections are reset");
            overdue.push(Overdue { meter: removed.meter.clone(), scope: Scope::Rule, before: u64::MAX });
            removed.is_reset = true;
        }
        for part in self.parts.extract_if(.., |part| part.deadline <= now) {
            let scope = match (part.scope, serves(&part.meter)) {
                (Scope::Listeners(mut listeners), Some(rule)) => {
                    listeners.retain(|listener| !owns(rule, listener));
                    Scope::Listeners(listeners)
                }
                (Scope::Targets(mut targets), Some(rule)) => {
                    let is_back = |(host, port): &(_, u16)| {
                        rule.targets.iter().any(|target| target.host == *host && target.ports.first() == *port)
                    };
                    targets.retain(|target| !is_back(target));
                    Scope::Targets(targets)
                }
                (scope, _) => scope,
            };
            overdue.push(Overdue { meter: part.meter, scope, before: part.before });
        }
        overdue
    }

    /// Drops removed rules without connections; true if there were any.
    pub(crate) fn forget_ended(&mut self) -> bool {
        let count = self.removed.len();
        self.removed.retain(|removed| removed.meter.active() > 0);
        self.removed.len() != count
    }

    /// Removed rules that still have connections.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (&RuleName, &Arc<Meter>)> {
        self.removed.iter().map(|removed| (&removed.name, &removed.meter))
    }
}
