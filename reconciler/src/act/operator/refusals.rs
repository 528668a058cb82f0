//! How many live connections the new access lists of a plan refuse, as the edges list them. I/O.
//!
//! Keeps: the lists themselves judge ([`schema::access::Access::admits`], as on the edges); a plan waits no longer
//! than [`PATIENCE`], and says nothing where it does not know all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use schema::bounds::MAX_LISTED;
use schema::diff::Rules;
use schema::name::EdgeName;
use schema::proto;
use schema::rule::Rule;
use schema::ruleset::RuleSet;
use tokio::time::{Instant, timeout_at};

use super::State;
use crate::decide::edges::Edges;
use crate::decide::plan::{Losing, Plan, RuleChange};

/// How long a plan waits for all lists.
const PATIENCE: Duration = Duration::from_secs(1);
/// Changes whose edges are asked: each list has up to [`MAX_LISTED`] connections.
const ASKED: usize = 32;
/// Questions under way at once.
const AT_ONCE: usize = 8;

/// Adds to each change of access lists how many live connections the new lists refuse. Returns these changes by their
/// place in the plan, with the rule that they lead to.
pub(super) async fn count_refused(
    state: &State,
    (ruleset, edges): (&RuleSet, &Edges),
    plan: &mut Plan,
) -> BTreeMap<usize, Arc<Rule>> {
    let mut running: BTreeMap<EdgeName, Rules> = BTreeMap::new();
    let mut asked = Vec::new();
    for (index, change) in plan.changes.iter().enumerate() {
        let Some(after) = ruleset.edges.get(&change.edge).and_then(|rules| rules.get(&change.rule)) else { continue };
        let Some(view) = edges.get(&change.edge).filter(|view| view.connected && after.rule.access.is_some()) else {
            continue;
        };
        let rules = running.entry(change.edge.clone()).or_insert_with(|| view.running());
        let before = rules.get(change.previous_rule.as_ref().unwrap_or(&change.rule));
        if before.is_some_and(|before| before.access != after.rule.access) && asked.len() < ASKED {
            asked.push((index, request(change), after.rule.clone()));
        }
    }
    let changed = asked.iter().map(|(index, _, rule)| (*index, Arc::clone(rule))).collect();
    let questions = asked.into_iter().map(|(index, (edge, request), rule)| {
        let fleet = state.context.fleet.clone();
        async move { (index, rule, fleet.connections(edge, request).await) }
    });
    let until = Instant::now() + PATIENCE;
    let mut answers = stream::iter(questions).buffer_unordered(AT_ONCE);
    while let Ok(Some((index, rule, answer))) = timeout_at(until, answers.next()).await {
        let Ok(Ok(report)) = answer else { continue };
        let Some(refused) = refused(&rule, &report) else { continue };
        let impact = &mut plan.changes[index].impact;
        impact.refused = Some(refused);
        if impact.losing == Some(Losing::Access) {
            impact.connections = refused;
        }
    }
    changed
}

fn request(change: &RuleChange) -> (EdgeName, proto::ConnectionsRequest) {
    let rule = change.previous_rule.as_ref().unwrap_or(&change.rule);
    let limit = u32::try_from(MAX_LISTED).unwrap_or(u32::MAX);
    let request = proto::ConnectionsRequest { rules: vec![rule.to_string()], limit, ..Default::default() };
    (change.edge.clone(), request)
}

/// How many of the listed connections the rule refuses; `None` where not all of them are listed.
fn refused(rule: &Arc<Rule>, report: &proto::ConnectionsReport) -> Option<u64> {
    let access = rule.access.as_deref()?;
    let total: u64 = report.rules.iter().map(|rule| rule.connections).sum();
    let is_whole = report.refused.is_none() && total <= report.connections.len() as u64;
    let is_refused = |live: &&proto::LiveConnection| {
        let source = live.source.parse::<std::net::SocketAddr>();
        !live.drains && source.is_ok_and(|source| !access.admits(source.ip()))
    };
    is_whole.then(|| report.connections.iter().filter(is_refused).count() as u64)
}

#[cfg(test)]
mod tests {
    use schema::access::Access;
    use schema::testing::rule_with;

    use super::*;

    #[test]
    fn those_that_the_new_list_refuses_are_counted_where_all_are_listed() {
        let rule = rule_with("web", 80, 80, |parts| {
            let deny = ["10.0.0.0/8".parse().expect("a network")].into_iter().collect();
            parts.access = Some(Box::new(Access { deny, ..Access::default() }));
        });
        let live =
            |source: &str, drains| proto::LiveConnection { source: source.to_owned(), drains, ..Default::default() };
        let connections = vec![
            live("10.1.0.1:5", false),
            live("192.0.2.1:5", false),
            live("10.1.0.2:5", true),
            live("[::ffff:10.2.0.1]:5", false),
        ];
        let rules = |connections| vec![proto::RuleConnections { rule: "web".to_owned(), connections }];
        let mut report = proto::ConnectionsReport { rules: rules(4), connections, ..Default::default() };
        assert_eq!(refused(&rule, &report), Some(2));
        report.rules = rules(5);
        assert_eq!(refused(&rule, &report), None, "one is not listed");
    }
}
