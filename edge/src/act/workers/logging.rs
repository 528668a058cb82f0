//! What the workers write to the log of connections, where there is one. Values, and a queue that never waits.
//!
//! Keeps: without a log it costs one comparison for each connection.

use std::sync::Arc;
use std::time::Duration;

use schema::counters::SniMiss;
use schema::net::Listener;
use schema::rule::Rule;

use super::context::Context;
use super::counting::meter::Refusal;
use super::counting::source::Source;
use super::counting::tally::wall_clock;
use super::counting::ticket::Ticket;
use super::targets::routing::{PortPlan, Route};
use super::timers::lasting;
use crate::act::connection_log::ConnectionRecord;
use crate::decide::endings::ConnectionEnd;
use crate::decide::entry::RefusalReason;

impl Context {
    /// Writes down a connection or flow that ends.
    pub(super) fn log_end(&self, ticket: &Ticket, end: ConnectionEnd) {
        let Some(log) = &self.shared.log else { return };
        log.push(ConnectionRecord {
            ended_ms: wall_clock(),
            duration: lasting(ticket.age(self.now).into()),
            rule: Some(self.rule_of(ticket)),
            source: ticket.source(),
            listener: ticket.listener(),
            target: Some((ticket.target().host.clone(), ticket.target_port())),
            moved: ticket.moved(),
            end,
        });
    }

    /// Counts a connection that is not taken in, and writes it down.
    pub(super) fn refused(&self, route: &Route, listener: Listener, source: impl Into<Source>, why: Refusal) {
        route.meter.refused(self.index, listener.port, why);
        self.log_refusal(route, listener, source, why);
    }

    /// Writes down a connection that is not taken in.
    pub(super) fn log_refusal(&self, route: &Route, listener: Listener, source: impl Into<Source>, why: Refusal) {
        let Some(log) = &self.shared.log else { return };
        log.push(ConnectionRecord {
            ended_ms: wall_clock(),
            duration: Duration::ZERO,
            rule: Some(route.rule.clone()),
            source: source.into(),
            listener,
            target: None,
            moved: (0, 0),
            end: match why {
                Refusal::NoServer => ConnectionEnd::NoTarget,
                Refusal::Limit | Refusal::Overflow => ConnectionEnd::Refused(RefusalReason::Connections),
                Refusal::Entry(reason) => ConnectionEnd::Refused(reason),
            },
        });
    }

    /// Counts a connection that no rule of its port is for, and writes it down.
    pub(super) fn missed(&self, listener: Listener, source: impl Into<Source>, waited: Duration, why: SniMiss) {
        self.shared.missed(why);
        let Some(log) = &self.shared.log else { return };
        log.push(ConnectionRecord {
            ended_ms: wall_clock(),
            duration: waited,
            rule: None,
            source: source.into(),
            listener,
            target: None,
            moved: (0, 0),
            end: ConnectionEnd::Missed(why),
        });
    }

    /// The rule that a connection belongs to: by its present name, if it was renamed.
    fn rule_of(&self, ticket: &Ticket) -> Arc<Rule> {
        let routing = self.shared.routing.load();
        let plan = routing.serving(&ticket.listener());
        let mut owners = plan.into_iter().flat_map(PortPlan::routes);
        let owner = owners.find(|owner| Arc::ptr_eq(&owner.meter, &ticket.route().meter));
        owner.unwrap_or_else(|| ticket.route()).rule.clone()
    }
}
