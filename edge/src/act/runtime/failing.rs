//! Flows of targets that have failed. Values, owned by the runtime's task.
//!
//! A flow moves to an eligible target with its next datagram; this is for those that have none to move to, or whose
//! client says nothing.
//!
//! Keeps: what is left after the drain timeout is ended, unless its target has recovered before.

use std::sync::Arc;

use schema::rule::Rule;
use tokio::time::Instant;

use crate::act::workers::{Meter, Overdue, Scope};
use crate::decide::breaks::Break;

struct FailedTarget {
    /// Later flows came when it was known already: nothing was better for them.
    flows: Overdue,
    deadline: Instant,
}

/// Every target or port of one that fails and had flows.
#[derive(Default)]
pub(super) struct FailingFlows(Vec<FailedTarget>);

impl FailingFlows {
    /// A target, or one port of it, has failed.
    pub(super) fn begin(&mut self, rule: &Rule, meter: &Arc<Meter>, scope: Scope, now: Instant) {
        self.recovered(meter, &scope);
        if meter.active() > 0 {
            let (meter, before) = (meter.clone(), meter.next_connection());
            let flows = Overdue { meter, listen: rule.listen, scope, before, why: Break::EdgeCut };
            self.0.push(FailedTarget { flows, deadline: now + rule.drain_timeout });
        }
    }

    /// It has recovered.
    pub(super) fn recovered(&mut self, meter: &Arc<Meter>, scope: &Scope) {
        self.0.retain(|failed| !Arc::ptr_eq(&failed.flows.meter, meter) || failed.flows.scope != *scope);
    }

    /// When to call [`Self::overdue`].
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.0.iter().map(|failed| failed.deadline).min()
    }

    /// What has had its time.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Overdue> {
        let over = self.0.extract_if(.., |failed| failed.deadline <= now);
        over.map(|failed| failed.flows).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::testing::rule;

    #[test]
    fn what_a_target_that_stays_down_has_left_is_overdue_and_what_recovered_is_not() {
        let (rule, meter, now) = (rule("dns", 5300, 5309), Arc::<Meter>::default(), Instant::now());
        let place = |port| Scope::Place((rule.targets[0].host.clone(), 80), port);
        let mut flows = FailingFlows::default();
        flows.begin(&rule, &meter, place(80), now);
        assert_eq!(flows.next_deadline(), None, "a rule without flows has none to end");
        meter.arrived();
        for port in [80, 81] {
            flows.begin(&rule, &meter, place(port), now);
        }
        flows.recovered(&meter, &place(80));
        assert_eq!(flows.next_deadline(), Some(now + rule.drain_timeout));
        let over = flows.overdue(now + rule.drain_timeout);
        assert_eq!(over.iter().map(|over| over.scope.clone()).collect::<Vec<_>>(), [place(81)]);
        assert_eq!(flows.next_deadline(), None);
    }
}
