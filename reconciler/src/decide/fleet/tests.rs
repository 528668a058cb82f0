//! The fleet by script: events in, effects out, no I/O.
//!
//! Long because each promise of the fleet is one short test, and they share their builders.

mod overrides;
mod size;
mod waves;

use std::sync::Arc;
use std::time::Duration;

use schema::canonical::rules_digest;
use schema::capability::{Capability, Limits};
use schema::rule::Rule;
use schema::ruleset::{Placed, RuleSet};
use schema::state::RuleState;
use schema::testing::{rule, rule_with};

use super::*;
use crate::decide::plan::{Allowances, Source};
use crate::decide::view::{Hello, Report, RuleView};

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).expect("in range")
}

pub(super) fn edge_name(name: &str) -> EdgeName {
    EdgeName::new(name).expect("a name")
}

pub(super) fn tree(label: &str, rules: &[(&str, Arc<Rule>)]) -> TreeRead {
    let digest = Digest::of(label.as_bytes());
    let mut ruleset = RuleSet { digest, ..RuleSet::default() };
    for (edge, rule) in rules {
        let placed = Placed { rule: rule.clone(), origin: None };
        ruleset.edges.entry(edge_name(edge)).or_default().insert(rule.name.clone(), placed);
    }
    TreeRead {
        source: Source { vcs: "git".to_owned(), commit: Some("c0ffee".to_owned()), ..Source::unversioned(digest) },
        ruleset: Some(Arc::new(ruleset)),
        diagnostics: Vec::new(),
        files: Arc::new([]),
        ancestry: None,
    }
}

fn hello() -> Hello {
    Hello {
        version: "test".to_owned(),
        capabilities: Capability::ALL.iter().copied().collect(),
        limits: Limits::default(),
        ..Hello::default()
    }
}

/// What an edge that runs these rules reports.
pub(super) fn runs(lineage: &str, generation: u64, rules: &[Arc<Rule>]) -> Report {
    let digest = rules_digest(rules.iter().map(|rule| &**rule));
    Report {
        lineage: lineage.to_owned(),
        generation,
        desired_digest: digest,
        running_digest: digest,
        rules: rules.iter().map(|rule| (rule.name.clone(), RuleView::serving(rule))).collect(),
        refused: None,
        answers: generation,
        ..Report::default()
    }
}

pub(super) fn fleet(mode: Mode) -> Fleet {
    Fleet::new("here".to_owned(), mode, false, Restored::default())
}

pub(super) fn sent(effects: &[Effect]) -> Vec<(String, u64, Vec<String>)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send { edge, generation, rules, .. } => {
                Some((edge.to_string(), *generation, rules.iter().map(|rule| rule.name.to_string()).collect()))
            }
            _ => None,
        })
        .collect()
}

pub(super) fn say_hello(fleet: &mut Fleet, session: SessionId, edge: &str, report: Report) -> Vec<Effect> {
    fleet.step(Event::Hello { session, edge: edge_name(edge), hello: hello(), report }, at(0))
}

pub(super) fn say(fleet: &mut Fleet, session: SessionId, edge: &str, report: Report, second: i64) -> Vec<Effect> {
    fleet.step(Event::Report { session, edge: edge_name(edge), report }, at(second))
}

pub(super) fn request(tree: TreeRead) -> ApplyRequest {
    ApplyRequest {
        purpose: Purpose::Apply,
        tree,
        plan: None,
        seal: None,
        allowances: Allowances::default(),
        actor: "operator".to_owned(),
        authority: None,
        applied_by: None,
        timeout: Duration::from_mins(1),
        allow_offline: false,
        rollback: false,
        wait_healthy: false,
        confirm_within: None,
        quiet_window: Duration::ZERO,
    }
}

fn apply(fleet: &mut Fleet, request: ApplyRequest, second: i64) -> (Result<ApplyResult, Refusal>, Vec<Effect>) {
    let mut effects = fleet.step(Event::Apply { ticket: 7, request: Box::new(request) }, at(second));
    let position = effects.iter().position(|effect| matches!(effect, Effect::Answer { ticket: 7, .. }));
    let Effect::Answer { answer, .. } = effects.remove(position.expect("every apply is answered")) else {
        unreachable!("found as an answer")
    };
    (*answer, effects)
}

#[test]
fn a_new_tree_is_recorded_before_it_is_sent() {
    let mut fleet = fleet(Mode::Apply);
    say_hello(&mut fleet, 1, "a", Report::default());
    let effects = fleet.step(Event::Tree(tree("one", &[("a", rule("web", 80, 80))])), at(1));
    let persisted =
        effects.iter().position(|effect| matches!(effect, Effect::Persist(record) if record.key == "edge/a"));
    let sent_at = effects.iter().position(|effect| matches!(effect, Effect::Send { .. }));
    assert!(persisted.expect("recorded") < sent_at.expect("sent"));
    assert_eq!(sent(&effects), [("a".to_owned(), 1, vec!["web".to_owned()])]);
}

#[test]
fn reading_the_same_tree_again_sends_nothing_and_bumps_nothing() {
    let mut fleet = fleet(Mode::Apply);
    let web = rule("web", 80, 80);
    say_hello(&mut fleet, 1, "a", Report::default());
    fleet.step(Event::Tree(tree("one", &[("a", web.clone())])), at(1));
    say(&mut fleet, 1, "a", runs("here", 1, std::slice::from_ref(&web)), 2);
    let again = fleet.step(Event::Tree(tree("one", &[("a", web.clone())])), at(3));
    assert_eq!(again, Vec::new());
    // Another file with the same rules is another revision of the same generation.
    let renamed = fleet.step(Event::Tree(tree("two", &[("a", web)])), at(4));
    assert!(sent(&renamed).is_empty());
    assert_eq!(fleet.edges()[&edge_name("a")].desired_generation(), 1);
}

#[test]
fn a_tree_with_errors_leaves_everything_in_force() {
    let mut fleet = fleet(Mode::Apply);
    let web = rule("web", 80, 80);
    say_hello(&mut fleet, 1, "a", Report::default());
    fleet.step(Event::Tree(tree("one", &[("a", web.clone())])), at(1));
    say(&mut fleet, 1, "a", runs("here", 1, &[web]), 2);
    let mut broken = tree("broken", &[]);
    broken.ruleset = None;
    let effects = fleet.step(Event::Tree(broken), at(3));
    assert!(sent(&effects).is_empty());
    assert_eq!(fleet.attempt().map(|attempt| &attempt.verdict), Some(&Verdict::Invalid));
    assert_eq!(fleet.edges()[&edge_name("a")].running().len(), 1);
}

#[test]
fn one_state_is_in_flight_and_the_newest_coalesces() {
    let mut fleet = fleet(Mode::Apply);
    say_hello(&mut fleet, 1, "a", Report::default());
    let first = fleet.step(Event::Tree(tree("1", &[("a", rule("web", 80, 80))])), at(1));
    assert_eq!(sent(&first).len(), 1);
    assert!(sent(&fleet.step(Event::Tree(tree("2", &[("a", rule("web", 81, 81))])), at(2))).is_empty());
    assert!(sent(&fleet.step(Event::Tree(tree("3", &[("a", rule("web", 82, 82))])), at(3))).is_empty());
    let acked = say(&mut fleet, 1, "a", runs("here", 1, &[rule("web", 80, 80)]), 4);
    assert_eq!(sent(&acked), [("a".to_owned(), 3, vec!["web".to_owned()])]);
}

#[test]
fn a_second_session_of_a_connected_name_is_refused() {
    let mut fleet = fleet(Mode::Apply);
    say_hello(&mut fleet, 1, "a", Report::default());
    let effects = say_hello(&mut fleet, 2, "a", Report::default());
    assert!(matches!(effects[..], [Effect::Refuse { session: 2, code: "already_connected", .. }]));
    // The refused session's end does not end the first one.
    fleet.step(Event::Gone { session: 2, edge: edge_name("a") }, at(1));
    assert!(fleet.edges()[&edge_name("a")].connected);
}

#[test]
fn a_server_that_lost_its_state_goes_above_the_generation_that_it_meets() {
    let mut fleet = fleet(Mode::Apply);
    let web = rule("web", 80, 80);
    fleet.step(Event::Tree(tree("one", &[("a", web.clone())])), at(0));
    let effects = say_hello(&mut fleet, 1, "a", runs("elsewhere", 41, &[web]));
    assert_eq!(sent(&effects), [("a".to_owned(), 42, vec!["web".to_owned()])]);
}

#[test]
fn an_edge_of_another_lineage_gets_a_newer_generation_even_where_all_else_is_equal() {
    let mut fleet = fleet(Mode::Apply);
    let web = rule("web", 80, 80);
    fleet.step(Event::Tree(tree("one", &[("a", web.clone())])), at(0));
    let first = say_hello(&mut fleet, 1, "a", runs("elsewhere", 1, std::slice::from_ref(&web)));
    assert_eq!(sent(&first), [("a".to_owned(), 2, vec!["web".to_owned()])]);
    assert!(sent(&say(&mut fleet, 1, "a", runs("here", 2, &[web]), 1)).is_empty());
}

#[test]
fn a_server_that_lost_its_state_still_has_its_rails() {
    let mut fleet = fleet(Mode::Apply);
    let many: Vec<Arc<Rule>> = (0..10).map(|n| rule(&format!("r{n}"), 8000 + n, 8000 + n)).collect();
    fleet.step(Event::Tree(tree("one", &[("a", many[0].clone())])), at(0));
    let effects = say_hello(&mut fleet, 1, "a", runs("elsewhere", 41, &many));
    assert!(sent(&effects).is_empty(), "nine of ten rules would go");
    assert!(matches!(fleet.attempt().map(|attempt| &attempt.verdict), Some(Verdict::Railed { .. })));
}

#[test]
fn an_edge_that_holds_another_content_of_the_same_generation_gets_a_newer_one() {
    let mut fleet = fleet(Mode::Apply);
    let web = rule("web", 80, 80);
    fleet.step(Event::Tree(tree("one", &[("a", web)])), at(0));
    let other = rule("other", 90, 90);
    let effects = say_hello(&mut fleet, 1, "a", runs("here", 1, &[other]));
    assert_eq!(sent(&effects), [("a".to_owned(), 2, vec!["web".to_owned()])]);
}

#[test]
fn a_refused_state_is_not_sent_again_and_again() {
    let mut fleet = fleet(Mode::Apply);
    say_hello(&mut fleet, 1, "a", Report::default());
    fleet.step(Event::Tree(tree("one", &[("a", rule("web", 80, 80))])), at(1));
    let refused = Report {
        refused: Some(("bad_digest".to_owned(), "the digest does not fit".to_owned())),
        answers: 1,
        ..Report::default()
    };
    assert!(sent(&say(&mut fleet, 1, "a", refused.clone(), 2)).is_empty());
    assert!(sent(&say(&mut fleet, 1, "a", Report { answers: 0, ..refused }, 3)).is_empty());
}

#[test]
fn an_apply_ends_when_every_touched_edge_has_answered() {
    let mut fleet = fleet(Mode::Heal);
    say_hello(&mut fleet, 1, "a", Report::default());
    let web = rule("web", 80, 80);
    let (answer, effects) = apply(&mut fleet, request(tree("one", &[("a", web.clone())])), 1);
    let id = answer.expect("begins").id;
    assert_eq!(sent(&effects).len(), 1);
    assert_eq!(fleet.apply_result(&id).map(|result| result.outcome), Some(Outcome::Running));
    say(&mut fleet, 1, "a", runs("here", 1, &[web]), 2);
    assert_eq!(fleet.apply_result(&id).map(|result| result.outcome), Some(Outcome::Applied));
}

#[test]
fn applying_twice_is_applying_once() {
    let mut fleet = fleet(Mode::Heal);
    say_hello(&mut fleet, 1, "a", Report::default());
    let web = rule("web", 80, 80);
    let (first, _) = apply(&mut fleet, request(tree("one", &[("a", web.clone())])), 1);
    first.expect("begins");
    say(&mut fleet, 1, "a", runs("here", 1, std::slice::from_ref(&web)), 2);
    let (second, effects) = apply(&mut fleet, request(tree("one", &[("a", web)])), 3);
    assert_eq!(second.expect("nothing to do").outcome, Outcome::Applied);
    assert_eq!(effects, Vec::new());
}

#[test]
fn a_failed_rule_makes_the_outcome_partial_at_once() {
    let mut fleet = fleet(Mode::Heal);
    say_hello(&mut fleet, 1, "a", Report::default());
    let (web, api) = (rule("web", 80, 80), rule("api", 81, 81));
    let (answer, _) = apply(&mut fleet, request(tree("one", &[("a", web.clone()), ("a", api.clone())])), 1);
    let id = answer.expect("begins").id;
    let mut report = runs("here", 1, &[api, web.clone()]);
    let view = report.rules.get_mut("web").expect("there");
    view.state = RuleState::Failed;
    "port_in_use".clone_into(&mut view.code);
    view.wanted = view.running.take();
    say(&mut fleet, 1, "a", report, 2);
    let result = fleet.apply_result(&id).expect("kept");
    assert_eq!(result.outcome, Outcome::Partial);
    let codes: BTreeMap<&str, &str> =
        result.edges[0].rules.iter().map(|rule| (rule.rule.as_str(), rule.code.as_str())).collect();
    assert_eq!(codes, BTreeMap::from([("api", ""), ("web", "port_in_use")]));
}

#[test]
fn an_edge_that_does_not_answer_is_unknown_after_the_deadline() {
    let mut fleet = fleet(Mode::Heal);
    say_hello(&mut fleet, 1, "a", Report::default());
    let (answer, _) = apply(&mut fleet, request(tree("one", &[("a", rule("web", 80, 80))])), 1);
    let id = answer.expect("begins").id;
    fleet.step(Event::Tick, at(60));
    assert_eq!(fleet.apply_result(&id).map(|result| result.outcome), Some(Outcome::Running));
    fleet.step(Event::Tick, at(61));
    let result = fleet.apply_result(&id).expect("kept");
    assert_eq!((result.outcome, result.edges[0].outcome), (Outcome::Partial, EdgeOutcome::Timeout));
    assert_eq!(result.edges[0].code, "ack_timeout");
}

#[test]
fn a_plan_is_stale_only_where_it_touches() {
    let mut fleet = fleet(Mode::Heal);
    say_hello(&mut fleet, 1, "a", Report::default());
    say_hello(&mut fleet, 2, "b", Report::default());
    let web = rule("web", 80, 80);
    let wanted = tree("one", &[("a", web.clone())]);
    let allowances = Allowances::default();
    let plan_now = |fleet: &Fleet| {
        crate::decide::plan::plan(&crate::decide::plan::PlanInput {
            ruleset: wanted.ruleset.as_ref().expect("valid"),
            source: &wanted.source,
            edges: fleet.edges(),
            lineage: fleet.lineage(),
            rails: None,
            succession: crate::decide::succession::Succession::default(),
            allowances: &allowances,
            diagnostics: &[],
            now: at(0),
        })
    };
    let seen = plan_now(&fleet);
    // Edge b changes: no matter.
    say(&mut fleet, 2, "b", runs("elsewhere", 9, &[]), 1);
    let with_plan = ApplyRequest { plan: Some(seen.clone()), ..request(wanted.clone()) };
    let (answer, _) = apply(&mut fleet.clone(), with_plan.clone(), 2);
    assert!(answer.is_ok());
    // Edge a changes: stale.
    say(&mut fleet, 1, "a", runs("elsewhere", 9, &[rule("old", 70, 70)]), 3);
    let (answer, effects) = apply(&mut fleet, with_plan, 4);
    assert!(matches!(answer, Err(Refusal::Stale { .. })));
    assert_eq!(effects, Vec::new());
}

#[test]
fn a_plan_file_is_used_once() {
    let mut fleet = fleet(Mode::Heal);
    say_hello(&mut fleet, 1, "a", Report::default());
    let web = rule("web", 80, 80);
    let sealed = ApplyRequest { seal: Some(Digest::of(b"seal")), ..request(tree("one", &[("a", web.clone())])) };
    apply(&mut fleet, sealed.clone(), 1).0.expect("begins");
    say(&mut fleet, 1, "a", runs("here", 1, &[web]), 2);
    assert!(matches!(apply(&mut fleet, sealed, 3).0, Err(Refusal::Stale { .. })));
}

#[test]
fn mode_apply_takes_only_the_followed_tree_from_operators() {
    let mut fleet = fleet(Mode::Apply);
    say_hello(&mut fleet, 1, "a", Report::default());
    fleet.step(Event::Tree(tree("one", &[("a", rule("web", 80, 80))])), at(1));
    let (answer, _) = apply(&mut fleet, request(tree("two", &[("a", rule("web", 90, 90))])), 2);
    assert!(matches!(answer, Err(Refusal::NotFollowed { .. })));
}

#[test]
fn a_dirty_tree_is_planned_and_not_applied() {
    let mut fleet = fleet(Mode::Apply);
    say_hello(&mut fleet, 1, "a", Report::default());
    let mut dirty = tree("one", &[("a", rule("web", 80, 80))]);
    dirty.source.dirty = true;
    assert!(sent(&fleet.step(Event::Tree(dirty.clone()), at(1))).is_empty());
    assert_eq!(fleet.attempt().map(|attempt| &attempt.verdict), Some(&Verdict::Dirty));
    // The commit comes: the same files, no longer dirty.
    dirty.source.dirty = false;
    dirty.source.commit = Some("c0ffee".to_owned());
    assert_eq!(sent(&fleet.step(Event::Tree(dirty), at(2))).len(), 1);
}

#[test]
fn the_modes_off_plan_and_heal_do_not_follow() {
    for mode in [Mode::Off, Mode::Plan, Mode::Heal] {
        let mut fleet = fleet(mode);
        say_hello(&mut fleet, 1, "a", Report::default());
        let effects = fleet.step(Event::Tree(tree("one", &[("a", rule("web", 80, 80))])), at(1));
        assert!(sent(&effects).is_empty(), "{mode:?}");
        assert!(fleet.attempt().is_some_and(|attempt| attempt.plan.is_some()), "{mode:?}");
    }
}

#[test]
fn every_mode_but_off_heals_what_was_applied() {
    for (mode, is_healed) in [(Mode::Off, false), (Mode::Plan, true), (Mode::Heal, true), (Mode::Apply, true)] {
        let mut fleet = fleet(Mode::Heal);
        say_hello(&mut fleet, 1, "a", Report::default());
        let web = rule("web", 80, 80);
        apply(&mut fleet, request(tree("one", &[("a", web.clone())])), 1).0.expect("begins");
        say(&mut fleet, 1, "a", runs("here", 1, &[web]), 2);
        fleet.mode = mode;
        fleet.step(Event::Gone { session: 1, edge: edge_name("a") }, at(3));
        // The edge comes back without its rules.
        let effects = say_hello(&mut fleet, 2, "a", Report::default());
        assert_eq!(!sent(&effects).is_empty(), is_healed, "{mode:?}");
    }
}

#[test]
fn a_rejected_rule_keeps_its_previous_version_and_comes_when_the_edge_can() {
    let mut fleet = fleet(Mode::Apply);
    let old = rule("web", 80, 80);
    let mut poor = hello();
    poor.capabilities.remove(&Capability::PortRange);
    let connect = |session, hello: Hello, report| Event::Hello { session, edge: edge_name("a"), hello, report };
    fleet.step(connect(1, poor, Report::default()), at(0));
    fleet.step(Event::Tree(tree("one", &[("a", old.clone())])), at(1));
    say(&mut fleet, 1, "a", runs("here", 1, std::slice::from_ref(&old)), 2);
    let effects = fleet.step(Event::Tree(tree("two", &[("a", rule("web", 80, 89))])), at(3));
    assert!(sent(&effects).is_empty(), "the old version goes on serving");
    assert!(
        fleet.edges()[&edge_name("a")].desired.as_ref().is_some_and(|desired| desired.rejected.contains_key("web"))
    );
    fleet.step(Event::Gone { session: 1, edge: edge_name("a") }, at(4));
    let effects = fleet.step(connect(2, hello(), runs("here", 1, &[old])), at(5));
    assert_eq!(sent(&effects), [("a".to_owned(), 2, vec!["web".to_owned()])]);
}

#[test]
fn removals_over_the_rails_wait_for_a_person() {
    let mut fleet = fleet(Mode::Apply);
    say_hello(&mut fleet, 1, "a", Report::default());
    let rules: Vec<Arc<Rule>> = (0..10).map(|n| rule(&format!("r{n}"), 8000 + n, 8000 + n)).collect();
    let placed: Vec<(&str, Arc<Rule>)> = rules.iter().map(|rule| ("a", rule.clone())).collect();
    fleet.step(Event::Tree(tree("ten", &placed)), at(1));
    say(&mut fleet, 1, "a", runs("here", 1, &rules), 2);
    let six = tree("six", &placed[..6]);
    assert!(sent(&fleet.step(Event::Tree(six.clone()), at(3))).is_empty());
    let allowed = |removals| ApplyRequest {
        allowances: Allowances { removals: Some(removals), ..Allowances::default() },
        ..request(six.clone())
    };
    assert!(matches!(apply(&mut fleet, allowed(3), 4).0, Err(Refusal::Rails { .. })));
    let (answer, effects) = apply(&mut fleet, allowed(4), 5);
    assert!(answer.is_ok());
    assert_eq!(sent(&effects).len(), 1);
    say(&mut fleet, 1, "a", runs("here", 2, &rules[..6]), 6);
    assert_eq!(fleet.attempt().map(|attempt| &attempt.verdict), Some(&Verdict::Applied));
}

#[test]
fn a_protected_rule_stays_until_the_applied_tree_lets_it_go() {
    let mut fleet = fleet(Mode::Heal);
    say_hello(&mut fleet, 1, "a", Report::default());
    let (kept, other) = (rule_with("db", 80, 80, |parts| parts.protected = true), rule("web", 81, 81));
    apply(&mut fleet, request(tree("one", &[("a", kept.clone()), ("a", other.clone())])), 1).0.expect("begins");
    say(&mut fleet, 1, "a", runs("here", 1, &[kept, other.clone()]), 2);
    let (answer, _) = apply(&mut fleet, request(tree("two", &[("a", other)])), 3);
    assert!(matches!(answer, Err(Refusal::Rails { .. })));
}

#[test]
fn what_was_recorded_restores_the_same_fleet() {
    let mut fleet = fleet(Mode::Apply);
    say_hello(&mut fleet, 1, "a", Report::default());
    let mut records = BTreeMap::new();
    let web = rule_with("web", 80, 89, |parts| parts.owner = "team".to_owned());
    for effect in fleet.step(Event::Tree(tree("one", &[("a", web)])), at(1)) {
        if let Effect::Persist(record) = effect {
            records.insert(record.key, record.value);
        }
    }
    let restored = super::super::record::restore(records.iter().map(|(key, value)| (key.as_str(), value.as_slice())))
        .expect("readable");
    assert_eq!(restored.edges[&edge_name("a")].desired, fleet.edges()[&edge_name("a")].desired);
    assert_eq!(restored.applied.as_ref(), fleet.applied());
    assert_eq!(restored.head, fleet.head);
    // The apply had begun and no edge had answered: the next server reports it, once.
    let mut next = Fleet::new("here".to_owned(), Mode::Apply, false, restored);
    let lines = |effects: Vec<Effect>| {
        effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Persist(record) if record.key.starts_with("ledger/")))
            .count()
    };
    assert_eq!(lines(next.step(Event::Tick, at(9))), 1);
    assert_eq!(lines(next.step(Event::Tick, at(10))), 0);
}

#[test]
fn counts_between_reports_keep_the_live_connections_new() {
    let mut fleet = fleet(Mode::Heal);
    let web = rule("web", 80, 80);
    let name = edge_name("a");
    let report = runs("here", 1, std::slice::from_ref(&web));
    fleet.step(Event::Hello { session: 1, edge: name.clone(), hello: hello(), report }, at(0));
    let mut count = |session, connections| {
        let counted =
            Event::Counted { session, edge: name.clone(), connections: vec![(web.name.clone(), connections, None)] };
        assert!(fleet.step(counted, at(1)).is_empty(), "a count is nothing to act upon");
        fleet.edges()[&name].rule(&web.name).map(|view| view.connections)
    };
    assert_eq!(count(1, 7), Some(7));
    assert_eq!(count(2, 9), Some(7), "only the session that the edge has may report it");
    assert_eq!(count(1, 0), Some(0));
}
