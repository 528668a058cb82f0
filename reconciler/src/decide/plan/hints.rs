//! What running rules say that a plan does nothing about: hints for the next change, which block nothing. Pure.
//!
//! A hint is about what is, not about what is planned: it is not a part of a plan's identity.

use std::time::Duration;

use jiff::Timestamp;
use schema::name::{EdgeName, RuleName};
use schema::rule::Rule;
use schema::ruleset::RuleSet;
use serde::{Deserialize, Serialize};

use super::super::edges::Edges;
use super::super::view::FlowLimit;

/// What happened longer ago gives no hint.
const RECENT: Duration = Duration::from_hours(24);

/// One hint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// The edge.
    pub edge: EdgeName,
    /// The rule, as the tree names it.
    pub rule: RuleName,
    /// The key that it is about.
    pub key: String,
    /// In words: what happens, and what to do.
    pub message: String,
}

/// All hints, by edge and rule.
pub(super) fn hints(ruleset: &RuleSet, edges: &Edges, now: Timestamp) -> Vec<Hint> {
    let mut hints = Vec::new();
    for (name, edge, wanted) in edges.beside(&ruleset.edges) {
        let (Some(edge), Some(wanted)) = (edge, wanted) else { continue };
        for (rule, placed) in wanted {
            let Some(view) = edge.rule(rule) else { continue };
            let (Some(limit), Some(running)) = (&view.flow_limit, &view.running) else { continue };
            if placed.rule.udp_max_flows <= running.udp_max_flows && is_recent(limit, now) {
                let (edge, rule) = (name.clone(), rule.clone());
                hints.push(Hint { edge, rule, key: "udp_max_flows".to_owned(), message: words(limit, running) });
            }
        }
    }
    hints
}

fn is_recent(limit: &FlowLimit, now: Timestamp) -> bool {
    limit.last_at.is_some_and(|at| now.duration_since(at).unsigned_abs() <= RECENT)
}

fn words(limit: &FlowLimit, running: &Rule) -> String {
    let (max, idle) = (running.udp_max_flows, running.udp_flow_idle.as_secs());
    let flows =
        if limit.refused == 1 { "1 new flow was".to_owned() } else { format!("{} new flows were", limit.refused) };
    format!("{flows} refused at udp_max_flows = {max}: raise it, or lower udp_flow_idle_secs = {idle}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use schema::net::Protocol;
    use schema::ruleset::Placed;
    use schema::testing::rule_with;

    use super::super::super::view::{EdgeView, Report, RuleView};
    use super::*;

    fn hinted(planned: u32, refused_secs_ago: i64) -> Vec<Hint> {
        let rule = |max| {
            rule_with("dns", 53, 53, |parts| {
                parts.listen.protocol = Protocol::Udp;
                parts.udp_max_flows = max;
            })
        };
        let now = Timestamp::from_second(1_000_000).expect("in range");
        let last_at = Timestamp::from_second(1_000_000 - refused_secs_ago).ok();
        let name: EdgeName = EdgeName::new("edge-01").expect("a name");
        let running: Arc<Rule> = rule(1024);
        let view = RuleView { flow_limit: Some(FlowLimit { refused: 1203, last_at }), ..RuleView::serving(&running) };
        let report = Report { rules: [(running.name.clone(), view)].into(), ..Report::default() };
        let edge = EdgeView { report: Some(report), ..EdgeView::default() };
        let mut ruleset = RuleSet::default();
        let wanted = ruleset.edges.entry(name.clone()).or_default();
        wanted.insert(running.name.clone(), Placed { rule: rule(planned), origin: None });
        hints(&ruleset, &Edges::from([(name, edge)]), now)
    }

    #[test]
    fn a_limit_that_was_hit_lately_is_a_hint_unless_the_plan_raises_it() {
        let hints = hinted(1024, 10);
        assert_eq!(hints.len(), 1);
        assert!(hints[0].message.starts_with("1203 new flows were refused at udp_max_flows = 1024: raise it"));
        assert!(hinted(4096, 10).is_empty());
        assert!(hinted(1024, 90_000).is_empty());
    }
}
