//! The fleet in a few figures: what the first line of `status` says, and what needs a person's eye. Pure.
//!
//! Keeps: its size does not grow with the fleet, and neither a rule's settings nor its targets are written down to count
//! them; what an operator may not see is in no figure but `hidden`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schema::health::{RuleHealth, TargetState};
use schema::name::{EdgeName, RuleName};
use schema::rule::Rule;
use schema::state::RuleState;
use serde::{Deserialize, Serialize};

use super::drift::DriftKind;
use super::fleet::{ApplyResult, Fleet, Freeze, Lock, Mode};
use super::operators::grant::GrantMatcher;
use super::plan::FORMAT_VERSION;
use super::status::{self, RevisionStatus};
use super::target::TargetResult;
use super::target_totals::TargetTotals;
use super::view::{EdgeView, RuleView};

/// Places, rules and edges that are listed; figures count all of them.
const LISTED: usize = 10;

/// How many edges there are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EdgeTotals {
    /// All of them.
    pub all: u64,
    /// Those with a session.
    pub connected: u64,
    /// Those without one: the first ten by name, with the time when each was heard last.
    pub offline: BTreeMap<EdgeName, Option<Timestamp>>,
}

/// How many rules there are, each counted once per edge.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleTotals {
    /// All of them.
    pub all: u64,
    /// By state; a state that no rule has is left out.
    pub states: BTreeMap<RuleState, u64>,
    /// Those that are up.
    pub up: u64,
    /// Those that are down.
    pub down: u64,
    /// The first ten of those that are down, as `EDGE/RULE`.
    pub down_first: Vec<String>,
    /// Rules that operators added for a while.
    pub overrides: u64,
}

/// A target that is down, whichever rules lead to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownTarget {
    /// `HOST:PORT` or `HOST:LO-HI`.
    pub target: String,
    /// In how many rules, each counted once per edge.
    pub rules: u64,
    /// On how many edges.
    pub edges: u64,
    /// The rule as `EDGE/RULE`, where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Since when, where it was first found down.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// The newest result there.
    #[serde(default)]
    pub last: Option<TargetResult>,
}

/// Answer to `GET /v1/summary`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetSummary {
    /// See [`FORMAT_VERSION`].
    pub format_version: String,
    /// `summary`
    pub kind: String,
    /// True if what runs everywhere is what was applied, and what was applied is what is followed.
    pub in_sync: bool,
    /// What the server does by itself.
    pub mode: Option<Mode>,
    /// What is in force, and the result of reading the followed tree.
    pub revision: RevisionStatus,
    /// The edges.
    pub edges: EdgeTotals,
    /// The rules.
    pub rules: RuleTotals,
    /// The targets of all rules.
    pub targets: TargetTotals,
    /// Those that are down, in the most rules first, at most ten.
    pub down: Vec<DownTarget>,
    /// Live connections that go on.
    pub connections: u64,
    /// Live connections that drain.
    pub draining: u64,
    /// Drift by kind; a kind without any is left out.
    pub drift: BTreeMap<DriftKind, u64>,
    /// Targets that operators paused, disabled or weighted.
    pub target_overrides: u64,
    /// The apply that runs, or the last one; rules that went as planned are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply: Option<ApplyResult>,
    /// Who applies at the moment, and until when others wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// The freeze that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Freeze>,
    /// How much is left out because the operator may not see it.
    #[serde(skip_serializing_if = "crate::decide::is_zero")]
    pub hidden: u64,
    /// The first line of the ledger that did not fit its chain when the server started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger_broken: Option<u64>,
}

/// The fleet as an operator sees it.
pub fn summary(fleet: &Fleet, limits: &GrantMatcher, now: Timestamp) -> FleetSummary {
    let mut found = FleetSummary {
        format_version: FORMAT_VERSION.to_owned(),
        kind: "summary".to_owned(),
        mode: Some(fleet.mode()),
        revision: status::revision(fleet),
        apply: fleet.latest_apply().cloned(),
        lock: fleet.lock(now),
        frozen: fleet.frozen().cloned(),
        ledger_broken: fleet.ledger_break(),
        ..FleetSummary::default()
    };
    let mut places = Places::new();
    for (name, edge) in fleet.edges() {
        count_edge(&mut found, &mut places, fleet, limits, (name, edge));
    }
    found.down = listed(places);
    let mut drift = fleet.drift();
    found.hidden += limits.leave_drift(fleet.edges(), &mut drift);
    for one in drift {
        *found.drift.entry(one.kind).or_default() += 1;
    }
    let is_followed = found.revision.digest.is_some() && !found.revision.held;
    found.in_sync = is_followed && found.drift.is_empty();
    found.hidden += limits.leave_revision(&mut found.revision);
    if let Some(apply) = &mut found.apply {
        limits.leave_apply(fleet.edges(), apply);
        for edge in &mut apply.edges {
            edge.rules.retain(|rule| !rule.is_as_planned());
        }
    }
    found
}

/// What is known of each place that is down.
type Places<'a> = BTreeMap<&'a str, Place<'a>>;

#[derive(Default)]
struct Place<'a> {
    rules: u64,
    edges: BTreeSet<&'a EdgeName>,
    rule: Option<String>,
    since: Option<Timestamp>,
    last: Option<&'a TargetResult>,
}

fn count_edge<'a>(
    found: &mut FleetSummary,
    places: &mut Places<'a>,
    fleet: &'a Fleet,
    limits: &GrantMatcher,
    (name, edge): (&'a EdgeName, &'a EdgeView),
) {
    let rules = edge.rule_names();
    if !limits.is_none() && !limits.has_edge(name) {
        found.hidden += (rules.len() as u64).max(1);
        return;
    }
    found.edges.all += 1;
    found.edges.connected += u64::from(edge.connected);
    if !edge.connected && found.edges.offline.len() < LISTED {
        found.edges.offline.insert(name.clone(), edge.last_seen);
    }
    found.target_overrides += edge.deviations.len() as u64;
    for rule in rules {
        if !limits.is_none() && !limits.sees(fleet.edges(), name, rule) {
            found.hidden += 1;
            continue;
        }
        count_rule(found, places, (name, edge), rule);
    }
}

fn count_rule<'a>(
    found: &mut FleetSummary,
    places: &mut Places<'a>,
    (name, edge): (&'a EdgeName, &'a EdgeView),
    rule: &RuleName,
) {
    let Some(state) = status::rule_state(edge, rule) else { return };
    let decided = matches!(state.state, RuleState::Rejected | RuleState::Disabled);
    let shown = if edge.connected || decided { state.state } else { RuleState::Unknown };
    let totals = &mut found.rules;
    totals.all += 1;
    *totals.states.entry(shown).or_default() += 1;
    totals.overrides += u64::from(edge.overrides.contains_key(rule));
    let view = edge.rule(rule);
    match view.and_then(|view| view.health).filter(|_| edge.connected) {
        Some(RuleHealth::Up) => totals.up += 1,
        Some(RuleHealth::Down) => {
            totals.down += 1;
            if totals.down_first.len() < LISTED {
                totals.down_first.push(format!("{name}/{rule}"));
            }
        }
        Some(RuleHealth::Unknown) | None => {}
    }
    if let Some(view) = view {
        let going_on = view.going_on();
        found.connections += if view.state == RuleState::Draining { 0 } else { going_on };
        let draining = view.live.as_ref().map_or(0, super::live::Live::draining);
        found.draining += if view.state == RuleState::Draining { view.connections } else { draining };
    }
    count_targets(&mut found.targets, edge.connected, (state.state, state.rule.map(|rule| &**rule)), view);
    let targets = view.iter().flat_map(|view| &view.targets).filter(|_| edge.connected);
    for target in targets.filter(|target| target.state == TargetState::Down) {
        let place = places.entry(&target.target).or_default();
        place.rules += 1;
        place.edges.insert(name);
        place.rule = (place.rules == 1).then(|| format!("{name}/{rule}"));
        place.since = [place.since, target.since].into_iter().flatten().min();
        place.last = [place.last, target.last.as_ref()].into_iter().flatten().max_by_key(|last| last.at);
    }
}

/// Counts as [`status::target_rows`] does, without a row for each.
fn count_targets(
    totals: &mut TargetTotals,
    is_connected: bool,
    (state, rule): (RuleState, Option<&Rule>),
    view: Option<&RuleView>,
) {
    let reported = view.map(|view| view.targets.as_slice()).unwrap_or_default();
    let is_deployed = match state {
        RuleState::Disabled | RuleState::Draining => false,
        RuleState::Rejected => !reported.is_empty(),
        RuleState::Pending | RuleState::Active | RuleState::Failed | RuleState::Unknown => true,
    };
    if !is_deployed {
        return;
    }
    let is_checked = rule.is_some_and(|rule| rule.health.is_some());
    if reported.is_empty() {
        let targets = rule.map_or(0, |rule| rule.targets.len() as u64);
        totals.all += targets;
        totals.unknown += targets;
        totals.unchecked += if is_checked { 0 } else { targets };
        return;
    }
    for target in reported {
        let count = match target.state {
            TargetState::Removed => continue,
            _ if !is_connected => &mut totals.unknown,
            TargetState::Up => &mut totals.up,
            TargetState::Down => &mut totals.down,
            TargetState::Unknown => &mut totals.unknown,
            TargetState::Paused => &mut totals.paused,
            TargetState::Disabled => &mut totals.disabled,
        };
        *count += 1;
        totals.all += 1;
        let is_never_met = target.state == TargetState::Unknown && !is_checked && target.last.is_none();
        totals.unchecked += u64::from(is_never_met);
    }
}

fn listed(places: Places<'_>) -> Vec<DownTarget> {
    let down = |(target, place): (&str, Place<'_>)| DownTarget {
        target: target.to_owned(),
        rules: place.rules,
        edges: place.edges.len() as u64,
        rule: place.rule,
        since: place.since,
        last: place.last.cloned(),
    };
    let mut all: Vec<DownTarget> = places.into_iter().map(down).collect();
    all.sort_by_key(|place| std::cmp::Reverse(place.rules));
    all.truncate(LISTED);
    all
}
