//! What an edge was before an apply reached it. Pure.
//!
//! Keeps: what an edge returns to is what was decided for it, or what it ran before.

use schema::name::RuleName;
use schema::ruleset::{EdgeRules, Placed};
use schema::state::RuleState;

use crate::decide::view::EdgeView;

/// What an edge was before the apply reached it.
#[derive(Debug, Clone)]
pub(super) struct Before {
    pub(super) wanted: EdgeRules,
    pub(super) disabled: EdgeRules,
    /// The rules that served.
    serving: Vec<RuleName>,
}

impl Before {
    pub(super) fn of(view: &EdgeView) -> Self {
        let (wanted, disabled) = match &view.desired {
            Some(desired) => (desired.wanted.clone(), desired.disabled.clone()),
            // Another server, or an earlier state of this one, gave it these rules: they stay.
            None => (rules_without_origin(view), EdgeRules::new()),
        };
        let serving = view.running().into_keys().filter(|name| serves(view, name)).collect();
        Self { wanted, disabled, serving }
    }

    /// Only what was decided.
    pub(super) fn with(wanted: EdgeRules) -> Self {
        Self { wanted, disabled: EdgeRules::new(), serving: Vec::new() }
    }

    /// Rules that served before, are still wanted, and do not serve now.
    pub(super) fn worse_off<'a>(&'a self, view: &'a EdgeView) -> impl Iterator<Item = &'a RuleName> {
        let is_wanted =
            |name: &RuleName| view.desired.as_ref().is_some_and(|desired| desired.wanted.contains_key(name));
        self.serving.iter().filter(move |name| is_wanted(name) && !serves(view, name))
    }
}

fn rules_without_origin(view: &EdgeView) -> EdgeRules {
    view.applied().into_iter().map(|(name, rule)| (name, Placed { rule, origin: None })).collect()
}

fn serves(view: &EdgeView, name: &RuleName) -> bool {
    view.rule(name).is_some_and(|rule| rule.state == RuleState::Active)
}
