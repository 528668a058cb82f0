//! What the policy of the edge's owner ends, and what it lets in again. I/O only through the runtime's own road.
//!
//! Keeps: after every switch nothing serves that the policy forbids, whatever the server sent, a restart restored or a
//! plan had promised; what is ended drains as a removed rule does.

use std::collections::BTreeMap;

use schema::diff::Rules;
use schema::name::RuleName;
use schema::policy::Policy;

use super::Restored;
use super::actor::{Actor, Trying};
use crate::decide::policy;
use crate::decide::transition::Wanted;

impl Actor {
    /// Takes another policy.
    pub(super) async fn set_policy(&mut self, policy: Policy) {
        if *self.policy.load().as_ref() == policy {
            return;
        }
        self.policy.set(policy);
        if self.is_stopping() {
            return;
        }
        self.judge();
        // Held for plans that were decided under the other policy.
        self.reserved.clear();
        self.reconcile(Trying::All).await;
    }

    /// Rejects what the policy forbids of the desired set.
    pub(super) fn judge(&mut self) {
        let current = self.current();
        policy::judge(&mut self.desired, &current, &self.policy.load());
    }

    /// The same before anything serves: what served before the restart stands for what serves.
    pub(super) fn judge_restored(&mut self, exceptions: &mut [Restored]) {
        let desired = self.desired.rules.iter();
        let mut served: Rules = desired.filter_map(|(name, rule)| Some((name.clone(), rule.rule.clone()?))).collect();
        for (name, running) in exceptions.iter() {
            match running {
                Some(rule) => served.insert(name.clone(), rule.clone()),
                None => served.remove(name),
            };
        }
        let policy = self.policy.load();
        let beyond = policy::judge(&mut self.desired, &served, &policy);
        for (name, running) in exceptions {
            if beyond.contains(name) || running.as_ref().is_some_and(|rule| policy.forbids(rule).is_some()) {
                *running = None;
            }
        }
    }

    /// Ends what serves although the policy forbids it: the version before one that is rejected or has failed.
    pub(super) async fn stop_forbidden(&mut self) {
        let current = self.current();
        let stops = policy::must_stop(&current, &self.policy.load());
        if stops.is_empty() {
            return;
        }
        for name in &stops {
            tracing::warn!(rule = %name, "the policy of this edge forbids a rule: it accepts no more connections");
        }
        let stays = current.into_keys().filter(|name| !stops.contains(name));
        let wanted: BTreeMap<RuleName, Wanted> = stays.map(|name| (name, Wanted::Hold(None))).collect();
        self.switch(&wanted).await;
    }
}
