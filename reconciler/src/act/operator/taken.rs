//! Who used what a plan takes away: when the last connection came, and from which networks they came. I/O.
//!
//! Keeps: it only adds figures to a plan, and never holds it up for longer than [`PATIENCE`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use schema::name::{EdgeName, RuleName};
use schema::proto;
use schema::rule::Rule;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::State;
use crate::decide::plan::{Action, ImpactKind, Losing, Plan, RuleChange};
use crate::decide::target::time_from_wire;
use crate::decide::unused::busiest;

/// How long a plan waits for all edges: an edge answers in milliseconds, and a person waits.
const PATIENCE: Duration = Duration::from_secs(1);
/// Edges that are asked at once.
const AT_ONCE: usize = 32;

/// Adds what edges remember of the rules and ports that are released or removed, and of the sources that the changed access
/// lists of `relisted` refuse; these are changes by their place in the plan, with the rule that they lead to.
pub(super) async fn add(state: &State, relisted: &BTreeMap<usize, Arc<Rule>>, plan: &mut Plan) {
    let mut rules: BTreeMap<EdgeName, BTreeSet<RuleName>> = BTreeMap::new();
    let is_asked = |(index, change): &(usize, &RuleChange)| takes_away(change) || relisted.contains_key(index);
    for (_, change) in plan.changes.iter().enumerate().filter(is_asked) {
        let (edge, rule) = before(change);
        if plan.base.edges.get(&edge).is_some_and(|edge| edge.connected) {
            rules.entry(edge).or_default().insert(rule);
        }
    }
    let answers = ask(state, rules).await;
    for (index, change) in plan.changes.iter_mut().enumerate() {
        let Some(usage) = answers.get(&before(change)) else { continue };
        if takes_away(change) {
            change.impact.last_connection_at = time_from_wire(last_use(change, usage));
            change.impact.sources = busiest(usage, |_| true);
        } else if let Some(access) = relisted.get(&index).and_then(|rule| rule.access.as_deref()) {
            let is_refused = |text: &str| text.parse().is_ok_and(|network| access.refuses_some(network));
            change.impact.sources = busiest(usage, is_refused);
            change.impact.last_connection_at = change.impact.sources.iter().filter_map(|source| source.last_seen).max();
        }
    }
}

/// The rule as it serves before the change.
pub(super) fn before(change: &RuleChange) -> (EdgeName, RuleName) {
    (change.edge.clone(), change.previous_rule.clone().unwrap_or_else(|| change.rule.clone()))
}

fn takes_away(change: &RuleChange) -> bool {
    let drains = change.impact.kind == ImpactKind::Drain && change.impact.losing != Some(Losing::Access);
    change.action == Action::Remove || !change.ports.release.is_empty() || drains
}

/// When what is taken away was used last: of a rule that keeps some of its ports, the released ones.
fn last_use(change: &RuleChange, usage: &proto::RuleUsage) -> u64 {
    let released = &change.ports.release;
    if change.action == Action::Remove || released.is_empty() || change.ports.keep.is_empty() {
        return usage.last_ms;
    }
    let is_released = |port: &&proto::PortUsage| {
        u16::try_from(port.port).is_ok_and(|port| released.iter().any(|range| range.ports.contains(port)))
    };
    usage.ports.iter().filter(is_released).map(|port| port.last_ms).max().unwrap_or_default()
}

async fn ask(
    state: &State,
    rules: BTreeMap<EdgeName, BTreeSet<RuleName>>,
) -> BTreeMap<(EdgeName, RuleName), proto::RuleUsage> {
    let until = Instant::now() + PATIENCE;
    let (mut questions, mut under_way) = (rules.into_iter(), JoinSet::new());
    let mut all = BTreeMap::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some((edge, rules)) = questions.next()
        {
            let fleet = state.context.fleet.clone();
            let rules = rules.iter().map(ToString::to_string).collect();
            let request = proto::UsageRequest { rules, per_port: true, sources: true, ..Default::default() };
            under_way.spawn(async move { (edge.clone(), fleet.usage(edge, request).await) });
        }
        match timeout_at(until, under_way.join_next()).await {
            Ok(Some(Ok((edge, Ok(Ok(report)))))) => {
                for usage in report.rules {
                    if let Ok(rule) = RuleName::new(&usage.rule) {
                        all.insert((edge.clone(), rule), usage);
                    }
                }
            }
            // An edge that cannot answer leaves its changes without these figures.
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return all,
        }
    }
}
