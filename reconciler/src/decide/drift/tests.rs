//! Every kind of drift of CONTRACT §4, each from the least that makes it.

use std::sync::Arc;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::capability::Rejection;
use schema::codes::RuleCode;
use schema::health::RuleHealth;
use schema::rule::Rule;
use schema::ruleset::Placed;
use schema::testing::rule;

use super::*;
use crate::decide::break_glass::Override;
use crate::decide::status::StatusDocument;
use crate::decide::view::{DesiredEdge, Report, RuleView};

/// A connected edge that was told the first rules, and says that it runs the second.
fn edge(told: &[Arc<Rule>], runs: &[Arc<Rule>]) -> EdgeView {
    let placed = |rule: &Arc<Rule>| (rule.name.clone(), Placed { rule: rule.clone(), origin: None });
    let digest = Digest::of(b"told");
    let desired = DesiredEdge {
        generation: 7,
        wanted: told.iter().map(placed).collect(),
        rules: told.iter().map(placed).collect(),
        digest,
        acknowledged: true,
        ..DesiredEdge::default()
    };
    let report = Report {
        generation: 7,
        desired_digest: digest,
        rules: runs.iter().map(|rule| (rule.name.clone(), RuleView::serving(rule))).collect(),
        ..Report::default()
    };
    EdgeView { connected: true, desired: Some(desired), report: Some(report), ..EdgeView::default() }
}

/// What is found on it, as `kind RULE`.
fn found(edge: EdgeView) -> Vec<String> {
    let name = EdgeName::new("e").expect("a name");
    let words = |one: &Drift| {
        assert!(one.kind == DriftKind::Changed || !one.message.is_empty(), "{one:?} says why");
        let rule = one.rule.as_ref().map(|rule| format!(" {rule}")).unwrap_or_default();
        format!("{}{rule}", one.kind.as_str())
    };
    drift(&Edges::from([(name, edge)])).iter().map(words).collect()
}

fn with(mut edge: EdgeView, change: impl FnOnce(&mut RuleView)) -> EdgeView {
    let report = edge.report.as_mut().expect("it reports");
    change(report.rules.values_mut().next().expect("it runs a rule"));
    edge
}

#[test]
fn an_edge_that_runs_what_it_was_told_has_none() {
    assert_eq!(found(edge(&[rule("a", 80, 80)], &[rule("a", 80, 80)])), [""; 0]);
}

#[test]
fn what_is_not_there_is_missing_and_what_nobody_applied_is_extra() {
    assert_eq!(found(edge(&[rule("a", 80, 80)], &[])), ["missing a"]);
    assert_eq!(found(edge(&[], &[rule("a", 80, 80)])), ["extra a"]);
    for going in [RuleState::Draining, RuleState::Pending] {
        let goes = with(edge(&[], &[rule("a", 80, 80)]), |view| view.state = going);
        assert_eq!(found(goes), [""; 0], "{going}: it was told to go");
    }
    let drains = with(edge(&[rule("a", 80, 80)], &[rule("a", 80, 80)]), |view| view.state = RuleState::Draining);
    assert_eq!(found(drains), ["missing a"]);
}

#[test]
fn another_version_is_changed_and_the_fields_say_how() {
    let other = edge(&[rule("a", 80, 80)], &[rule("a", 81, 81)]);
    assert_eq!(found(other.clone()), ["changed a"]);
    let all = drift(&Edges::from([(EdgeName::new("e").expect("a name"), other)]));
    let paths: Vec<&str> = all[0].fields.iter().map(|field| field.path.as_str()).collect();
    assert!(paths.contains(&"listen_port"), "{paths:?}");
}

#[test]
fn an_edge_says_what_failed_and_what_it_rejects_and_the_planner_rejects_too() {
    let told = [rule("a", 80, 80)];
    for (state, code, kind) in
        [(RuleState::Failed, "port_in_use", "failed a"), (RuleState::Rejected, "forbidden_by_policy", "rejected a")]
    {
        let view = with(edge(&told, &told), |view| {
            view.state = state;
            code.clone_into(&mut view.code);
            "it says why".clone_into(&mut view.message);
            view.wanted = view.running.take();
        });
        assert_eq!(found(view), [kind]);
    }
    let mut planned = edge(&[], &[]);
    let rejection = Rejection { code: RuleCode::PortRangeUnsupported, message: "no ranges".to_owned() };
    planned.desired.as_mut().expect("told").rejected.insert(told[0].name.clone(), rejection);
    assert_eq!(found(planned), ["rejected a"]);
}

#[test]
fn a_rule_without_a_healthy_target_is_in_sync() {
    let told = [rule("a", 80, 80)];
    let sick = with(edge(&told, &told), |view| view.health = Some(RuleHealth::Down));
    assert_eq!(found(sick), [""; 0], "health is another axis than sync");
}

#[test]
fn what_an_earlier_version_called_degraded_is_read_as_no_drift() {
    let text = r#"{"drift": [{"edge": "e", "rule": "a", "kind": "degraded"}, {"edge": "e", "kind": "edge_offline"}]}"#;
    let status: StatusDocument = serde_json::from_str(text).expect("a status");
    assert_eq!(status.drift.iter().map(|one| one.kind).collect::<Vec<_>>(), [DriftKind::EdgeOffline]);
    let unknown = r#"{"drift": [{"edge": "e", "kind": "sideways"}]}"#;
    assert!(serde_json::from_str::<StatusDocument>(unknown).is_err());
}

#[test]
fn an_edge_without_a_session_is_never_in_sync() {
    let mut gone = edge(&[rule("a", 80, 80)], &[rule("a", 80, 80)]);
    gone.connected = false;
    assert_eq!(found(gone), ["edge_offline"]);
    let unseen = EdgeView { desired: edge(&[rule("a", 80, 80)], &[]).desired, ..EdgeView::default() };
    assert_eq!(found(unseen), ["edge_offline"], "also one that was never heard");
    assert_eq!(found(EdgeView::default()), [""; 0], "but one that nobody knows anything of");
}

#[test]
fn an_edge_behind_its_generation_is_stale_and_what_is_on_its_way_out_is_not_extra() {
    let mut behind = edge(&[rule("a", 80, 80)], &[rule("a", 80, 80), rule("old", 81, 81)]);
    behind.desired.as_mut().expect("told").generation = 8;
    assert_eq!(found(behind), ["stale_generation"]);
}

#[test]
fn a_break_glass_rule_is_an_override_until_it_ends() {
    let glass = rule("glass", 90, 90);
    let mut opened = edge(&[rule("a", 80, 80)], &[rule("a", 80, 80)]);
    let held = Override {
        rule: glass.clone(),
        actor: "ada".to_owned(),
        why: "the pager rang".to_owned(),
        since: Timestamp::UNIX_EPOCH,
        until: Timestamp::UNIX_EPOCH,
    };
    opened.overrides.insert(glass.name.clone(), held);
    assert_eq!(found(opened), ["override glass"]);
}
