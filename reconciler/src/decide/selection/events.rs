//! Which events a selection means. Pure.

use jiff::Timestamp;
use schema::health::TargetState;
use schema::name::{EdgeName, RuleName};

use super::{Matcher, Selection, Unselected, rule_state};
use crate::decide::fleet::{Fleet, Notice};
use crate::decide::status::rule_status;

/// Where something happened: an edge, or a rule on it.
fn place(notice: &Notice) -> Option<(&EdgeName, Option<&RuleName>)> {
    match notice {
        Notice::Edge { edge, .. } | Notice::Unsettled { edge, .. } => Some((edge, None)),
        Notice::Certificate { edge, .. } => edge.as_ref().map(|edge| (edge, None)),
        Notice::Rule { edge, rule, .. }
        | Notice::Health { edge, rule, .. }
        | Notice::Target { edge, rule, .. }
        | Notice::Weights { edge, rule, .. }
        | Notice::Balance { edge, rule, .. }
        | Notice::Override { edge, rule, .. } => Some((edge, Some(rule))),
        Notice::Quota { edge, rule, .. } => Some((edge, rule.as_ref())),
        Notice::TargetOverride { edge, deviation, .. } => Some((edge, Some(&deviation.rule))),
        Notice::Tree { .. }
        | Notice::Remote { .. }
        | Notice::Freeze { .. }
        | Notice::Hold { .. }
        | Notice::Apply { .. } => None,
    }
}

/// True if the event is of what is selected. An apply is of every edge that it touches.
pub fn wants(selection: &Selection, fleet: &Fleet, notice: &Notice) -> bool {
    let Ok(matcher) = selection.matcher() else { return false };
    has_state(selection, notice) && has_health(selection, notice) && is_there(selection, &matcher, fleet, notice)
}

/// Refuses a state that no event can have.
pub(crate) fn check_state(text: &str) -> Result<(), Unselected> {
    let is_known = text == "gone" || TargetState::parse(text).is_some();
    if is_known { Ok(()) } else { rule_state(text).map(drop) }
}

fn is_there(selection: &Selection, matcher: &Matcher<'_>, fleet: &Fleet, notice: &Notice) -> bool {
    if !selection.names_places() {
        return true;
    }
    let is_edge = |edge: &EdgeName| matcher.is_edge(edge, &fleet.labels(edge));
    if let Notice::Apply { result } = notice {
        return !selection.names_rules() && result.edges.iter().any(|edge| is_edge(&edge.edge));
    }
    let Some((edge, rule)) = place(notice) else { return false };
    if !is_edge(edge) || !selection.names_rules() {
        return is_edge(edge);
    }
    let Some(rule) = rule else { return false };
    // Of a rule that is gone only its name is known.
    let known = fleet.edges().get(edge).and_then(|view| rule_status(view, rule, Timestamp::UNIX_EPOCH));
    match known {
        Some(status) => matcher.is_place(&status),
        None => selection.owner.is_none() && selection.port.is_none() && matcher.is_named(rule),
    }
}

fn has_state(selection: &Selection, notice: &Notice) -> bool {
    let Some(wanted) = &selection.state else { return true };
    match notice {
        Notice::Rule { state, .. } => state.map_or("gone", |state| state.as_str()) == wanted,
        Notice::Target { to, .. } => to.as_str() == wanted,
        _ => false,
    }
}

fn has_health(selection: &Selection, notice: &Notice) -> bool {
    let Some(wanted) = selection.health else { return true };
    matches!(notice, Notice::Health { to, .. } if *to == Some(wanted))
}
