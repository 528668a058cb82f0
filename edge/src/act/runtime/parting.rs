//! What the runtime does with live connections: after a switch, and where health asks for it. I/O.
//!
//! Keeps: what a switch ends is what `schema::ending` says of it; an override is in force before it is stored, and
//! stored before it is answered for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schema::access;
use schema::diff::{self, Change, ChangeSet, Rules};
use schema::ending::{self, Endings, Part};
use schema::name::RuleName;
use schema::proto::TargetOverrides;
use tokio::time::Instant;

use super::actor::Actor;
use crate::act::health::{Parting, PartingOrder};
use crate::act::workers::{Drain, Meter, Overdue, Refusing};
use crate::decide::breaks::Break;
use crate::decide::overrides;

/// The counters of rules, by name.
pub(super) type Meters = BTreeMap<RuleName, Arc<Meter>>;

impl Actor {
    /// Lets connections learn of a switch: those that it ends have until their drain timeout, those whose listener is
    /// another rule's now go on with that one. `meters` are those of `before`.
    pub(super) async fn end_what_goes(&mut self, before: &Rules, meters: &Meters) {
        let changes = diff::diff(before, &self.current());
        let endings = ending::ends(&changes);
        let is_elsewhere = |change: &Change| match (&change.before, &change.after) {
            (Some(before), Some(after)) => before.listen != after.listen,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let mut concerned = changes.changes.iter().filter(|change| is_elsewhere(change));
        let refusing = self.refusing(&changes, meters);
        if concerned.next().is_some() || !endings.is_empty() || !refusing.is_empty() || !self.drains.is_empty() {
            self.dataplane.settle().await;
            let is_busy = |name: &RuleName| meters.get(name).is_some_and(|meter| meter.active() > 0);
            let mut moved = changes.changes.iter().filter(|change| is_elsewhere(change));
            let is_any_moved = moved.any(|change| change.before.as_ref().is_some_and(|rule| is_busy(&rule.name)));
            if is_any_moved || endings.rules().any(is_busy) || !refusing.is_empty() || !self.drains.is_empty() {
                self.note_switch(endings, refusing, (before, meters)).await;
            }
        }
        // Published with the rest, once it is known which rules failed.
        self.drains.forget_ended();
    }

    /// The rules whose new access lists end live connections, each with a drain of its own.
    fn refusing(&mut self, changes: &ChangeSet, meters: &Meters) -> Vec<Refusing> {
        let mut all = Vec::new();
        for change in &changes.changes {
            let (Some(before), Some(rule)) = (&change.before, &change.after) else { continue };
            let meter = meters.get(&before.name).filter(|meter| meter.active() > 0);
            if let Some(meter) = meter.filter(|_| access::ends_refused(before, rule)) {
                let drain = self.drains.refuse(meter, before);
                all.push(Refusing { meter: meter.clone(), rule: rule.clone(), drain });
            }
        }
        all
    }

    async fn note_switch(&mut self, endings: Endings, refusing: Vec<Refusing>, (before, meters): (&Rules, &Meters)) {
        let mut by_rule: HashMap<RuleName, Arc<Drain>> = HashMap::new();
        for rule in endings.rules() {
            if let Some(meter) = meters.get(rule) {
                by_rule.insert(rule.clone(), self.drains.begin(meter, endings.of_rule(rule)));
            }
        }
        let drain = |part: &Part| by_rule.get(&part.rule).cloned().unwrap_or_else(|| Drain::new(Vec::new(), 0, false));
        let drains = endings.parts().iter().map(drain).collect();
        let by_meter = meters.iter().filter_map(|(name, meter)| Some((meter.clone(), before.get(name)?.clone())));
        self.dataplane.note_switch(endings, drains, refusing, by_meter.collect()).await;
    }

    /// Takes the whole list of what operators ordered.
    pub(super) async fn set_overrides(&mut self, mut overrides: TargetOverrides) {
        overrides::set_ends(&mut overrides, &self.overrides, self.health.steady().now_ms());
        if self.overrides != overrides {
            self.overrides.clone_from(&overrides);
            self.tell_overrides(overrides).await;
            self.store().await;
        }
        self.publish();
    }

    /// Tells health about it.
    pub(super) async fn tell_overrides(&self, overrides: TargetOverrides) {
        if self.health.set_overrides(overrides).await.is_err() {
            tracing::error!("health ended because of a bug");
        }
    }

    /// Does with live connections what health asks for.
    pub(super) async fn part(&mut self, order: PartingOrder) {
        let Some(served) = self.serving.get(&order.rule) else { return };
        let (meter, listen, scope) = (served.meter.clone(), served.rule.listen, order.scope);
        match order.parting {
            Parting::Reset => {
                let before = meter.next_connection();
                self.dataplane.reset(Overdue { meter, listen, scope, before, why: Break::EdgeCut }).await;
            }
            Parting::Failover => meter.failed_over(),
            Parting::Failing => self.failing.begin(&served.rule, &meter, scope, Instant::now()),
            Parting::Recovered => self.failing.recovered(&meter, &scope),
            // Targets of the version before, which serve no longer: the rule does not lead to them.
            Parting::Drain => {
                let strays = Part::of_strays(&served.rule, served.rule.drain_timeout);
                let before = Rules::from([(order.rule.clone(), served.rule.clone())]);
                let meters = Meters::from([(order.rule, meter)]);
                self.dataplane.settle().await;
                self.note_switch(Endings::from(vec![strays]), Vec::new(), (&before, &meters)).await;
                self.drains.forget_ended();
                self.publish();
            }
        }
    }
}
