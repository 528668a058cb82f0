//! Connections that may go on for a while, and rules that are gone but for them. Owned by the runtime's task.
//!
//! Keeps: what drains ends by itself or is reset at its deadline; a rule that is gone is forgotten only when its last
//! connection has ended or lives on with another one.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schema::ending::Part;
use schema::name::RuleName;
use schema::net::ListenRange;
use schema::rule::Rule;
use tokio::time::Instant;

use crate::act::workers::{Drain, Meter};

/// A rule that serves no longer.
struct Removed {
    name: RuleName,
    meter: Arc<Meter>,
}

/// What drains of one rule since one switch.
struct Draining {
    meter: Arc<Meter>,
    drain: Arc<Drain>,
    deadline: Instant,
}

/// Everything that drains on an edge.
#[derive(Default)]
pub(crate) struct Drains {
    removed: Vec<Removed>,
    draining: Vec<Draining>,
}

impl Drains {
    /// Rules that serve no longer.
    pub(crate) fn removed(&mut self, rules: impl Iterator<Item = (RuleName, Arc<Meter>)>) {
        self.removed.extend(rules.map(|(name, meter)| Removed { name, meter }));
    }

    /// A drain for what these parts of one rule end, all of them by the same version. It is owned from now on.
    pub(crate) fn begin<'a>(&mut self, meter: &Arc<Meter>, parts: impl Iterator<Item = &'a Part>) -> Arc<Drain> {
        let (mut listen, mut lasts) = (Vec::new(), Duration::ZERO);
        for part in parts {
            listen.push(part.listen);
            lasts = part.drain_timeout;
        }
        self.start(meter, (listen, lasts), false)
    }

    /// A drain for connections of one rule whose clients its new access lists refuse.
    pub(crate) fn refuse(&mut self, meter: &Arc<Meter>, before: &Rule) -> Arc<Drain> {
        self.start(meter, (vec![before.listen], before.drain_timeout), true)
    }

    fn start(&mut self, meter: &Arc<Meter>, terms: (Vec<ListenRange>, Duration), is_refusal: bool) -> Arc<Drain> {
        let (listen, lasts) = terms;
        let ends_at = SystemTime::now() + lasts;
        let ends_at_ms = ends_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let drain = Drain::new(listen, u64::try_from(ends_at_ms).unwrap_or(u64::MAX), is_refusal);
        let (meter, deadline) = (meter.clone(), Instant::now() + lasts);
        self.draining.push(Draining { meter, drain: drain.clone(), deadline });
        drain
    }

    /// True if anything drains.
    pub(crate) fn is_empty(&self) -> bool {
        self.draining.iter().all(|draining| draining.drain.live() == 0)
    }

    /// The meter of a rule that comes back before its connections have ended.
    pub(crate) fn revive(&mut self, name: &RuleName) -> Option<Arc<Meter>> {
        let index = self.removed.iter().position(|removed| removed.name == *name)?;
        Some(self.removed.swap_remove(index).meter)
    }

    /// When to call [`Drains::overdue`].
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.draining.iter().map(|draining| draining.deadline).min()
    }

    /// What is over its time and to be reset.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<Arc<Drain>> {
        let over = self.draining.extract_if(.., |draining| draining.deadline <= now);
        over.map(|draining| draining.drain).filter(|drain| drain.live() > 0).collect()
    }

    /// Forgets drains and gone rules without connections; true if there were any.
    pub(crate) fn forget_ended(&mut self) -> bool {
        let count = self.removed.len() + self.draining.len();
        self.draining.retain(|draining| draining.drain.live() > 0);
        self.removed.retain(|removed| removed.meter.active() > 0);
        self.removed.len() + self.draining.len() != count
    }

    /// Gone rules that still have connections.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (&RuleName, &Arc<Meter>)> {
        self.removed.iter().map(|removed| (&removed.name, &removed.meter))
    }

    /// What drains of the connections that a meter counts.
    pub(crate) fn of(&self, meter: &Arc<Meter>) -> Vec<Arc<Drain>> {
        let own = self.draining.iter().filter(|draining| Arc::ptr_eq(&draining.meter, meter));
        own.filter(|draining| draining.drain.live() > 0).map(|draining| draining.drain.clone()).collect()
    }
}
