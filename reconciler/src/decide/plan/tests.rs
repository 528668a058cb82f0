//! The planner by example; the laws over any two states are in the schema crate's property tests.

mod ending;

use std::sync::Arc;

use schema::capability::{Capability, Limits};
use schema::codes::RuleCode;
use schema::name::RuleName;
use schema::rule::{Host, Rule, Target};
use schema::ruleset::Placed;
use schema::state::RuleState;
use schema::testing::{rule, rule_with};

use super::*;
use crate::decide::glossary;
use crate::decide::view::{Hello, Report, RuleView};

fn name(text: &str) -> EdgeName {
    EdgeName::new(text).expect("a name")
}

fn ruleset(rules: &[Arc<Rule>]) -> RuleSet {
    let mut ruleset = RuleSet::default();
    let edge = ruleset.edges.entry(name("a")).or_default();
    for rule in rules {
        edge.insert(rule.name.clone(), Placed { rule: rule.clone(), origin: None });
    }
    ruleset
}

fn running(rules: &[Arc<Rule>]) -> Edges {
    let view = |rule: &Arc<Rule>| RuleView {
        state: RuleState::Active,
        code: String::new(),
        message: String::new(),
        running: Some(rule.clone()),
        wanted: None,
        connections: 3,
        live: None,
        health: None,
        targets: Vec::new(),
        flow_limit: None,
    };
    let report =
        Report { rules: rules.iter().map(|rule| (rule.name.clone(), view(rule))).collect(), ..Report::default() };
    let hello = Hello {
        capabilities: Capability::ALL.iter().copied().collect(),
        limits: Limits::default(),
        ..Hello::default()
    };
    let edge = EdgeView { connected: true, report: Some(report), hello: Some(hello), ..EdgeView::default() };
    Edges::from([(name("a"), edge)])
}

fn planned(ruleset: &RuleSet, edges: &Edges) -> Plan {
    let source = Source::unversioned(Digest::default());
    plan(&PlanInput {
        ruleset,
        source: &source,
        edges,
        lineage: "here",
        rails: None,
        succession: crate::decide::succession::Succession::default(),
        allowances: &Allowances::default(),
        diagnostics: &[],
        now: Timestamp::UNIX_EPOCH,
    })
}

#[test]
fn ports_that_the_host_gives_away_are_told_where_they_are_bound_and_change_no_identity() {
    let ruleset = ruleset(&[rule("kept", 40_000, 40_000), rule("new", 40_001, 40_001), rule("outside", 2000, 2000)]);
    let edges = running(&[rule("kept", 40_000, 40_000)]);
    let without = planned(&ruleset, &edges);
    assert_eq!(without.hints, []);
    let range = schema::net::PortRange::new(32_768, 60_999).expect("a range");
    let mut edge = edges.get(&name("a")).expect("it runs").clone();
    edge.hello.as_mut().expect("it was heard").ephemeral_ports = schema::net::PortSet::from_ranges([range]);
    let edges = Edges::from([(name("a"), edge)]);
    let plan = planned(&ruleset, &edges);
    let told: Vec<_> = plan.hints.iter().map(|hint| (hint.key.as_str(), hint.rule.as_str())).collect();
    assert_eq!(told, [("listen_port", "new")]);
    assert_eq!(plan.plan_id, without.plan_id);
}

/// The plan of these new rules, each on a port of its own.
pub(super) fn planned_activations(rules: &[(&str, &str)]) -> Plan {
    let mut ruleset = RuleSet::default();
    for (port, (edge, label)) in (80..).zip(rules) {
        let rule = rule(label, port, port);
        let edge = ruleset.edges.entry(name(edge)).or_default();
        edge.insert(rule.name.clone(), Placed { rule, origin: None });
    }
    planned(&ruleset, &Edges::new())
}

fn ports(change: &RuleChange) -> [Vec<String>; 3] {
    let ports = Ports::from(&change.ports);
    [ports.bind, ports.keep, ports.release]
}

#[test]
fn a_sliding_range_binds_keeps_and_releases() {
    let document = planned(&ruleset(&[rule("r", 20050, 20149)]), &running(&[rule("r", 20000, 20099)]));
    let [change] = &document.changes[..] else { panic!("one change") };
    assert_eq!(change.action, Action::Rebind);
    assert_eq!(ports(change), [["*:20100-20149"], ["*:20050-20099"], ["*:20000-20049"]]);
    assert_eq!((document.summary.ports_bound, document.summary.ports_released), (50, 50));
    assert_eq!(change.impact, Impact { losing: Some(Losing::Listeners), ..Impact::new(ImpactKind::Drain, 3) });
}

#[test]
fn two_rules_that_swap_ports_bind_and_release_nothing() {
    let document =
        planned(&ruleset(&[rule("x", 81, 81), rule("y", 80, 80)]), &running(&[rule("x", 80, 80), rule("y", 81, 81)]));
    assert_eq!(document.summary.rebind, 2);
    assert_eq!((document.summary.ports_bound, document.summary.ports_released), (0, 0));
}

#[test]
fn a_renamed_rule_moves() {
    let document = planned(&ruleset(&[rule("new", 80, 80)]), &running(&[rule("old", 80, 80)]));
    let [change] = &document.changes[..] else { panic!("one change") };
    assert_eq!(change.action, Action::Move);
    assert_eq!(change.previous_rule, RuleName::new("old").ok());
    assert_eq!(change.fields.iter().map(|field| field.path.as_str()).collect::<Vec<_>>(), ["name"]);
    assert_eq!(change.impact.kind, ImpactKind::None);
}

#[test]
fn a_target_that_goes_or_is_disabled_costs_its_connections() {
    let with = |targets: &[(&str, bool)]| {
        rule_with("r", 80, 80, |parts| {
            let model = parts.targets[0].clone();
            let target = |(host, enabled): &(&str, bool)| Target {
                host: Host::parse(host).expect("a host"),
                enabled: *enabled,
                ..model.clone()
            };
            parts.targets = targets.iter().map(target).collect();
        })
    };
    let kind = |before: &[(&str, bool)], after: &[(&str, bool)]| {
        let document = planned(&ruleset(&[with(after)]), &running(&[with(before)]));
        let [change] = &document.changes[..] else { panic!("one change") };
        (change.impact.kind, document.summary.connections_affected)
    };
    let new_only = (ImpactKind::NewConnections, 0);
    let cut = (ImpactKind::Drain, 3);
    assert_eq!(kind(&[("10.0.0.1", true)], &[("10.0.0.1", true), ("10.0.0.2", true)]), new_only);
    assert_eq!(kind(&[("10.0.0.1", true)], &[("10.0.0.2", true)]), cut);
    assert_eq!(kind(&[("10.0.0.1", true), ("10.0.0.2", true)], &[("10.0.0.1", true), ("10.0.0.2", false)]), cut);
    assert_eq!(kind(&[("10.0.0.1", true), ("10.0.0.2", false)], &[("10.0.0.1", true)]), new_only);
}

#[test]
fn the_same_state_plans_nothing() {
    let document = planned(&ruleset(&[rule("r", 80, 89)]), &running(&[rule("r", 80, 89)]));
    assert!(document.changes.is_empty());
    assert_eq!(document.summary.unchanged, 1);
}

#[test]
fn a_failed_rule_is_retried_and_an_impossible_one_rejected() {
    let mut edges = running(&[rule("r", 80, 80)]);
    let edge = edges.get_mut("a").expect("there");
    let view = edge.report.as_mut().and_then(|report| report.rules.get_mut("r")).expect("there");
    view.state = RuleState::Failed;
    "port_in_use".clone_into(&mut view.code);
    view.wanted = view.running.take();
    if let Some(hello) = &mut edge.hello {
        hello.capabilities.remove(&Capability::PortRange);
    }
    let document = planned(&ruleset(&[rule("r", 80, 80), rule("wide", 100, 109)]), &edges);
    let code = |change: &RuleChange| change.code.as_ref().map(ToString::to_string);
    let actions: Vec<(&str, Action, Option<String>)> =
        document.changes.iter().map(|change| (change.rule.as_str(), change.action, code(change))).collect();
    assert_eq!(
        actions,
        [
            ("r", Action::Retry, Some("port_in_use".to_owned())),
            ("wide", Action::Reject, Some("port_range_unsupported_by_client".to_owned())),
        ]
    );
}

#[test]
fn the_identity_of_a_plan_is_free_of_time_connections_and_sessions() {
    let tree = ruleset(&[rule("r", 81, 81)]);
    let edges = running(&[rule("r", 80, 80)]);
    let first = planned(&tree, &edges);
    let mut busier = edges.clone();
    let edge = busier.get_mut("a").expect("there");
    edge.last_seen = Some(Timestamp::MAX);
    edge.connected = false;
    let report = edge.report.as_mut().expect("there");
    report.rules.get_mut("r").expect("there").connections = 99;
    let second = planned(&tree, &busier);
    assert_eq!(first.plan_id, second.plan_id);
    assert!(!second.complete);
    let other = planned(&ruleset(&[rule("r", 82, 82)]), &edges);
    assert_ne!(first.plan_id, other.plan_id);
}

#[test]
fn an_edited_plan_file_is_noticed() {
    let document = planned(&ruleset(&[rule("r", 81, 81)]), &running(&[]));
    let file = PlanFile::new(document.into(), &[]);
    let text = serde_json::to_string(&file).expect("json");
    assert!(PlanFile::read(&text).is_ok());
    let edited = text.replace("*:81", "*:82");
    assert!(matches!(PlanFile::read(&edited), Err(PlanFileError::Edited)));
}

#[test]
fn percentages_trip_above_the_limit_and_at_three_or_more() {
    let before: Vec<Arc<Rule>> = (0..10).map(|n| rule(&format!("r{n}"), 8000 + n, 8000 + n)).collect();
    let tripped = |kept: usize| -> Vec<&str> {
        let document = planned(&ruleset(&before[..kept]), &running(&before));
        document.rails.into_iter().filter(|rail| rail.tripped).map(|rail| rail.kind.as_str()).collect()
    };
    assert!(tripped(7).is_empty(), "three of ten are 30 %, which is the limit");
    assert_eq!(tripped(6), ["max_removed_percent"]);
    assert_eq!(tripped(0), ["max_removed_percent", "last_rule"]);
}

#[test]
fn a_rule_that_never_came_to_serve_is_removed_in_the_plan_too() {
    let mut edges = running(&[rule("r", 80, 80), rule("s", 81, 81)]);
    let report = edges.get_mut("a").and_then(|edge| edge.report.as_mut()).expect("there");
    let view = report.rules.get_mut("r").expect("there");
    view.state = RuleState::Failed;
    view.wanted = view.running.take();
    let document = planned(&ruleset(&[rule("s", 81, 81)]), &edges);
    let [change] = &document.changes[..] else { panic!("one change") };
    assert_eq!((change.rule.as_str(), change.action), ("r", Action::Remove));
    assert_eq!(change.ports, PortChanges::default());
    // It is not the edge's last rule either: nothing is taken off the net.
    let has_tripped = |edges: &Edges| {
        let document = planned(&ruleset(&[]), edges);
        document.rails.iter().any(|rail| rail.kind == RailKind::LastRule && rail.tripped)
    };
    assert!(has_tripped(&edges), "`s` serves");
    let report = edges.get_mut("a").and_then(|edge| edge.report.as_mut()).expect("there");
    report.rules.remove("s");
    assert!(!has_tripped(&edges));
}

#[test]
fn an_edge_that_was_never_heard_runs_nothing_and_one_that_acknowledged_runs_what_was_decided() {
    let tree = ruleset(&[rule("r", 80, 80)]);
    let decide = |acknowledged| {
        let unseen = EdgeView::default();
        let wanted = &tree.edges[&name("a")];
        let mut desired = crate::decide::assign::next_desired(&unseen, wanted, &EdgeRules::new()).expect("news");
        desired.acknowledged = acknowledged;
        Edges::from([(name("a"), EdgeView { desired: Some(desired), ..EdgeView::default() })])
    };
    let unheard = planned(&tree, &decide(false));
    assert_eq!(unheard.summary.activate, 1);
    assert!(!unheard.complete);
    let known = planned(&tree, &decide(true));
    assert_eq!((known.summary.activate, known.summary.unchanged), (0, 1));
    // And its removal is planned either way.
    assert_eq!(planned(&ruleset(&[]), &decide(false)).summary.remove, 1);
    assert_eq!(planned(&ruleset(&[]), &decide(true)).summary.remove, 1);
}

#[test]
fn an_edges_own_refusal_counts_without_its_hello() {
    let mut edges = running(&[rule("r", 80, 80)]);
    let edge = edges.get_mut("a").expect("there");
    edge.hello = None;
    let view = edge.report.as_mut().and_then(|report| report.rules.get_mut("r")).expect("there");
    view.state = RuleState::Rejected;
    "forbidden_by_policy".clone_into(&mut view.code);
    view.wanted = view.running.take();
    let document = planned(&ruleset(&[rule("r", 80, 80)]), &edges);
    assert_eq!(document.changes[0].action, Action::Reject);
    assert_eq!(document.changes[0].code, Some(RuleCode::ForbiddenByPolicy.into()));
}

#[test]
fn every_edge_that_trips_a_percentage_is_named_worst_first() {
    let before: Vec<Arc<Rule>> = (0..10).map(|n| rule(&format!("r{n}"), 8000 + n, 8000 + n)).collect();
    let shown = |kept: &[(&str, usize)]| -> Rail {
        let (mut tree, mut edges) = (RuleSet::default(), Edges::new());
        for (edge, kept) in kept {
            tree.edges.insert(name(edge), ruleset(&before[..*kept]).edges.remove("a").expect("made for a"));
            edges.insert(name(edge), running(&before)[&name("a")].clone());
        }
        let rails = planned(&tree, &edges).rails;
        rails.into_iter().find(|rail| rail.kind == RailKind::MaxRemovedPercent).expect("always listed")
    };
    let one = shown(&[("a", 9), ("b", 5), ("c", 7)]);
    assert_eq!((one.actual, one.message.as_str()), (50, "on edge b"));
    let three = shown(&[("a", 6), ("b", 3), ("c", 8), ("d", 4)]);
    assert_eq!((three.actual, three.tripped), (70, true));
    assert_eq!(three.message, "on edges b (70 %), d (60 %), a (40 %)");
    let many = shown(&[("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5), ("f", 6), ("g", 6)]);
    assert_eq!(many.message, "on edges a (90 %), b (80 %), c (70 %), d (60 %), e (50 %) and 2 more");
}

#[test]
fn a_small_edge_shows_its_share_without_tripping() {
    let before = [rule("r1", 80, 80), rule("r2", 81, 81), rule("r3", 82, 82), rule("r4", 83, 83)];
    let document = planned(&ruleset(&before[..2]), &running(&before));
    let rail = document.rails.iter().find(|rail| rail.kind == RailKind::MaxRemovedPercent).expect("always listed");
    assert_eq!((rail.actual, rail.tripped), (50, false));
}

#[test]
fn every_rail_that_trips_is_listed_with_the_exact_flag_and_the_limits_are_those_of_before() {
    let mut before: Vec<Arc<Rule>> = (0..10).map(|n| rule(&format!("r{n}"), 8000 + n, 8000 + n)).collect();
    before.push(rule_with("kept", 7000, 7000, |parts| parts.protected = true));
    let mut edges = running(&before);
    let other = running(&[rule("last", 80, 80)]).get("a").expect("there").clone();
    edges.insert(name("b"), other);
    let mut after: Vec<Arc<Rule>> = (0..2).map(|n| rule(&format!("r{n}"), 8000 + n, 8000 + n)).collect();
    after.extend((2..6).map(|n| rule(&format!("r{n}"), 9000 + n, 9000 + n)));
    let mut tree = ruleset(&after);
    // The new tree would allow everything; it is not asked.
    let lax = Rails {
        max_removed_percent: 100,
        max_removed_rules: 1000,
        max_rebound_percent: 100,
        max_connections_dropped: 0,
    };
    tree.rails = lax;
    let strict = Rails { max_removed_rules: 5, max_connections_dropped: 9, ..Rails::default() };
    let rails = |allowances: Allowances, rails: &Rails| {
        let source = Source::unversioned(Digest::default());
        let document = plan(&PlanInput {
            ruleset: &tree,
            source: &source,
            edges: &edges,
            lineage: "here",
            rails: Some(rails),
            allowances: &allowances,
            diagnostics: &[],
            succession: crate::decide::succession::Succession::default(),
            now: Timestamp::UNIX_EPOCH,
        });
        let tripped = document.rails.into_iter().filter(|rail| rail.tripped);
        let flag = |allow: Option<AllowFlag>| allow.map_or_else(String::new, |flag| flag.to_string());
        tripped.map(|rail| (rail.kind.as_str().to_owned(), flag(rail.allow))).collect::<Vec<_>>()
    };
    let line = |name: &str, flag: &str| (name.to_owned(), flag.to_owned());
    // Six removals (r6 to r9, the protected one, the other edge's last), four rebinds, three connections each.
    let removals = "--allow-removals 6";
    let all = [
        line("max_removed_percent", removals),
        line("max_removed_rules", removals),
        line("last_rule", removals),
        line("max_rebound_percent", "--allow-rebinds 4"),
        line("max_connections_dropped", "--allow-drops 30"),
        line("protected", ""),
    ];
    assert_eq!(rails(Allowances::default(), &strict), all);
    for kind in RailKind::ALL {
        let is_rail = |meaning: &glossary::Meaning| meaning.topic == "rail";
        assert!(glossary::explain(kind.as_str()).any(is_rail), "`explain` does not know the rail {kind:?}");
    }
    let allowed = Allowances { removals: Some(6), rebinds: Some(4), drops: Some(30), ..Allowances::default() };
    assert_eq!(rails(allowed, &strict), all[5..], "no flag lifts a protection");
    let off_by_one = Allowances { removals: Some(7), rebinds: Some(3), drops: Some(31), ..Allowances::default() };
    assert_eq!(rails(off_by_one, &strict), all, "a flag names the exact number");
    assert_eq!(rails(Allowances::default(), &lax), [all[2].clone(), all[5].clone()]);
}
