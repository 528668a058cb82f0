//! Rules that release their ports for another edge of the same host. Decides about the runtime's rules; no I/O.
//!
//! Keeps: only a rule that the server named releases a port that its next version cannot have yet.

use std::collections::BTreeMap;

use schema::codes::RuleCode;
use schema::name::RuleName;

use super::actor::{Actor, FailedRule};
use crate::decide::transition::{RuleFailure, Wanted};

/// Tries of a rule that released its ports before it counts as failed: 16 s, in which the other edge has answered.
const YIELDED_TRIES: u32 = 6;

impl Actor {
    /// The same wishes without the old versions of rules whose ports another edge of this host waits for, where the new
    /// versions wait for ports of that edge: one of the two has to be first.
    pub(super) fn without_yielding(
        &self,
        wanted: &BTreeMap<RuleName, Wanted>,
        failures: &BTreeMap<RuleName, RuleFailure>,
    ) -> Option<BTreeMap<RuleName, Wanted>> {
        let is_in_use = |name: &RuleName| {
            failures
                .get(name)
                .is_some_and(|failure| failure.code == RuleCode::PortInUse && failure.blocked_by.is_none())
        };
        let yielding =
            |name: &&RuleName| self.yields.contains(*name) && self.serving.contains_key(*name) && is_in_use(name);
        let names: Vec<&RuleName> = wanted.keys().filter(yielding).collect();
        if names.is_empty() {
            return None;
        }
        let wishes = wanted.iter().filter(|(name, _)| !names.contains(name)).map(|(name, wish)| {
            let wish = match wish {
                Wanted::Try(rule) if failures.contains_key(name) => Wanted::Hold(Some(rule.clone())),
                wish => wish.clone(),
            };
            (name.clone(), wish)
        });
        for name in &names {
            tracing::warn!(rule = %name, "the ports of a rule are released: another edge of this host waits for them");
        }
        Some(wishes.collect())
    }

    /// True for a rule that released its ports and waits for those of the edge that took them.
    pub(super) fn is_yielding(&self, name: &RuleName) -> bool {
        let waits = |failed: &FailedRule| failed.failure.code == RuleCode::PortInUse && failed.times <= YIELDED_TRIES;
        self.yields.contains(name) && !self.serving.contains_key(name) && self.failed.get(name).is_some_and(waits)
    }
}
