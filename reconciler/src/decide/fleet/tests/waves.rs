//! Rollouts, by script: three edges, a canary first.

use std::num::NonZeroU32;

use schema::name::Labels;
use schema::rollout::{Rollout, Wave};

use super::*;

const SOAK: i64 = 30;

fn wave(stage: &str, parallel: u32, failed: u32) -> Wave {
    Wave {
        edge_labels: Labels::from([("stage".to_owned(), stage.to_owned())]),
        max_parallel: NonZeroU32::new(parallel).expect("not zero"),
        max_failed: failed,
        soak: Duration::from_secs(SOAK.unsigned_abs()),
    }
}

/// A tree that gives the canary `a` and the edges `b`, `c` and `d` one rule at this port.
fn tree_at(port: u16, waves: Vec<Wave>) -> TreeRead {
    let rules: Vec<(&str, Arc<Rule>)> = ["a", "b", "c", "d"].map(|edge| (edge, rule("web", port, port))).into();
    let mut read = tree(&format!("{port}"), &rules);
    let ruleset = Arc::make_mut(read.ruleset.as_mut().expect("valid"));
    let stage = |edge: &str| if edge == "a" { "canary" } else { "rest" };
    ruleset.inventory = ["a", "b", "c", "d"]
        .map(|edge| (edge_name(edge), Labels::from([("stage".to_owned(), stage(edge).to_owned())])))
        .into();
    ruleset.rollout = Rollout { waves };
    read
}

/// All edges run the rule at port 8000, by the generation 1 of an apply without waves.
fn running(mode: Mode) -> Fleet {
    let mut fleet = fleet(mode);
    for (session, edge) in ["a", "b", "c", "d"].iter().enumerate() {
        say_hello(&mut fleet, session as u64 + 1, edge, runs("here", 0, &[]));
    }
    if mode == Mode::Apply {
        fleet.step(Event::Tree(tree_at(8000, Vec::new())), at(1));
    } else {
        apply(&mut fleet, request(tree_at(8000, Vec::new())), 1).0.expect("applied");
    }
    for edge in ["a", "b", "c", "d"] {
        serves(&mut fleet, edge, 1, 8000, 2);
    }
    fleet
}

fn session_of(edge: &str) -> SessionId {
    u64::from(edge.as_bytes()[0] - b'a') + 1
}

/// The edge reports that it runs the rule at this port.
fn serves(fleet: &mut Fleet, edge: &str, generation: u64, port: u16, second: i64) -> Vec<Effect> {
    say(fleet, session_of(edge), edge, runs("here", generation, &[rule("web", port, port)]), second)
}

/// The edge reports that the new version failed and the old one serves on.
fn fails(fleet: &mut Fleet, edge: &str, generation: u64, port: u16, second: i64) -> Vec<Effect> {
    let mut report = runs("here", generation, &[rule("web", port, port)]);
    let view = report.rules.values_mut().next().expect("one rule");
    view.state = RuleState::Failed;
    "port_in_use".clone_into(&mut view.code);
    view.wanted = view.running.replace(rule("web", 8000, 8000));
    say(fleet, session_of(edge), edge, report, second)
}

fn sent_to(effects: &[Effect]) -> Vec<String> {
    sent(effects).into_iter().map(|(edge, ..)| edge).collect()
}

fn outcome(fleet: &Fleet) -> (Outcome, Vec<EdgeOutcome>) {
    let result = fleet.latest_apply().expect("an apply");
    (result.outcome, result.edges.iter().map(|edge| edge.outcome).collect())
}

fn begin(fleet: &mut Fleet, waves: Vec<Wave>) -> Vec<Effect> {
    let (answer, effects) = apply(fleet, request(tree_at(9000, waves)), 10);
    answer.expect("begun");
    effects
}

#[test]
fn a_wave_begins_after_the_one_before_went_well_and_soaked() {
    let mut fleet = running(Mode::Heal);
    let effects = begin(&mut fleet, vec![wave("canary", 1, 0), wave("rest", 2, 0)]);
    assert_eq!(sent_to(&effects), ["a"]);
    assert_eq!(sent_to(&serves(&mut fleet, "a", 2, 9000, 11)), [""; 0]);
    assert_eq!(fleet.next_deadline(), Some(at(11 + SOAK)));
    assert_eq!(sent_to(&fleet.step(Event::Tick, at(10 + SOAK))), [""; 0]);
    assert_eq!(sent_to(&fleet.step(Event::Tick, at(11 + SOAK))), ["b", "c"]);
    // Two at once, and the next one in the place of the first that is done.
    assert_eq!(sent_to(&serves(&mut fleet, "c", 2, 9000, 50)), ["d"]);
    serves(&mut fleet, "d", 2, 9000, 51);
    assert_eq!(outcome(&fleet).0, Outcome::Running);
    serves(&mut fleet, "b", 2, 9000, 52);
    assert_eq!(outcome(&fleet).0, Outcome::Applied);
}

#[test]
fn a_freeze_keeps_what_was_not_reached_as_it_is_until_it_ends() {
    let mut fleet = running(Mode::Heal);
    begin(&mut fleet, vec![wave("canary", 1, 0), wave("rest", 3, 0)]);
    let decide = |fleet: &mut Fleet, control, second| {
        fleet.step(Event::Control { ticket: 1, actor: "ada".to_owned(), control }, at(second))
    };
    decide(&mut fleet, Control::Freeze { why: "the auditors".to_owned(), until: None }, 11);
    serves(&mut fleet, "a", 2, 9000, 12);
    for second in [12 + SOAK, 1000, 5000] {
        assert_eq!(sent_to(&fleet.step(Event::Tick, at(second))), [""; 0], "{second}");
        assert_eq!(fleet.next_deadline(), None, "nothing is to be waited for but the end of the freeze");
    }
    assert_eq!(outcome(&fleet).0, Outcome::Running);
    let paused = |fleet: &Fleet| fleet.latest_apply().and_then(|result| result.paused.clone());
    let words = "3 edges wait until the fleet is unfrozen; ada froze it: the auditors";
    assert_eq!(paused(&fleet).as_deref(), Some(words));
    let effects = decide(&mut fleet, Control::Unfreeze { why: String::new() }, 6000);
    assert_eq!(paused(&fleet), None);
    assert_eq!(sent_to(&effects), ["b", "c", "d"]);
    for edge in ["b", "c", "d"] {
        serves(&mut fleet, edge, 2, 9000, 6001);
    }
    assert_eq!(outcome(&fleet).0, Outcome::Applied);
}

#[test]
fn a_wave_that_is_watched_for_longer_than_an_edge_may_take_is_looked_at_when_that_is_over() {
    let mut fleet = running(Mode::Heal);
    let long = Wave { soak: Duration::from_hours(1), ..wave("canary", 1, 0) };
    begin(&mut fleet, vec![long, wave("rest", 3, 0)]);
    serves(&mut fleet, "a", 2, 9000, 11);
    fleet.step(Event::Tick, at(1000));
    assert_eq!(fleet.next_deadline(), Some(at(11 + 3600)), "and not at a time that has passed");
}

#[test]
fn edges_under_way_end_while_a_freeze_stands_and_a_failed_wave_stops_the_rest_all_the_same() {
    let freeze = |fleet: &mut Fleet| {
        let control = Control::Freeze { why: "the auditors".to_owned(), until: None };
        fleet.step(Event::Control { ticket: 1, actor: "ada".to_owned(), control }, at(11))
    };
    let mut fleet = running(Mode::Heal);
    begin(&mut fleet, vec![wave("rest", 2, 0), wave("canary", 1, 0)]);
    freeze(&mut fleet);
    // Of two at once, one is done: no third begins in its place.
    assert_eq!(sent_to(&serves(&mut fleet, "b", 2, 9000, 12)), [""; 0]);
    serves(&mut fleet, "c", 2, 9000, 13);
    let (end, edges) = outcome(&fleet);
    assert_eq!(end, Outcome::Running);
    assert_eq!(edges, [EdgeOutcome::Queued, EdgeOutcome::Done, EdgeOutcome::Done, EdgeOutcome::Queued]);
    let mut fleet = running(Mode::Heal);
    begin(&mut fleet, vec![wave("canary", 1, 0), wave("rest", 2, 0)]);
    freeze(&mut fleet);
    fails(&mut fleet, "a", 2, 9000, 12);
    let result = fleet.latest_apply().expect("an apply");
    assert_eq!((result.outcome, result.paused.as_ref()), (Outcome::Partial, None), "an end that is clear");
}

#[test]
fn the_plan_shows_the_waves_by_which_edges_change() {
    let fleet = running(Mode::Heal);
    let waves = vec![wave("nobody", 1, 0), wave("canary", 1, 0), wave("rest", 2, 1)];
    let read = tree_at(9000, waves);
    let document = crate::decide::plan::plan(&crate::decide::plan::PlanInput {
        ruleset: read.ruleset.as_ref().expect("valid"),
        source: &read.source,
        edges: fleet.edges(),
        lineage: fleet.lineage(),
        rails: None,
        allowances: &crate::decide::plan::Allowances::default(),
        diagnostics: &[],
        succession: crate::decide::succession::Succession::default(),
        now: at(10),
    });
    let shown: Vec<_> = document
        .waves
        .iter()
        .map(|wave| (wave.wave, wave.soak_secs, wave.edges.iter().map(EdgeName::as_str).collect::<Vec<_>>()))
        .collect();
    // A wave without changes is passed over and keeps its number; nobody waits for anything after the last one.
    assert_eq!(shown, [(2, SOAK.unsigned_abs(), vec!["a"]), (3, 0, vec!["b", "c", "d"])]);
}

#[test]
fn a_failed_wave_stops_the_next_and_leaves_it_as_it_was() {
    let mut fleet = running(Mode::Heal);
    begin(&mut fleet, vec![wave("canary", 1, 0), wave("rest", 2, 0)]);
    let effects = fails(&mut fleet, "a", 2, 9000, 11);
    assert_eq!(sent_to(&effects), [""; 0]);
    let (end, edges) = outcome(&fleet);
    assert_eq!(end, Outcome::Partial);
    assert_eq!(edges, [EdgeOutcome::Done, EdgeOutcome::Skipped, EdgeOutcome::Skipped, EdgeOutcome::Skipped]);
    let reason = fleet.latest_apply().and_then(|result| result.stopped.clone()).expect("stopped");
    assert!(reason.contains("wave 1") && reason.contains('a'), "{reason}");
    assert_eq!(fleet.edges()[&edge_name("b")].desired_generation(), 1);
    // Applying it again begins where it stopped: the canary is tried again first.
    let (answer, effects) =
        apply(&mut fleet, request(tree_at(9000, vec![wave("canary", 1, 0), wave("rest", 2, 0)])), 20);
    answer.expect("begun");
    assert_eq!(sent_to(&effects), ["a"]);
}

#[test]
fn a_rule_that_stops_serving_while_its_wave_is_watched_fails_the_wave() {
    let mut fleet = running(Mode::Heal);
    begin(&mut fleet, vec![wave("canary", 1, 0), wave("rest", 2, 0)]);
    serves(&mut fleet, "a", 2, 9000, 11);
    fails(&mut fleet, "a", 2, 9000, 20);
    assert_eq!(outcome(&fleet).0, Outcome::Partial);
    assert_eq!(fleet.edges()[&edge_name("b")].desired_generation(), 1);
}

#[test]
fn a_wave_bears_as_many_failures_as_it_may() {
    let mut fleet = running(Mode::Heal);
    begin(&mut fleet, vec![wave("rest", 3, 1), wave("canary", 1, 0)]);
    fails(&mut fleet, "b", 2, 9000, 11);
    serves(&mut fleet, "c", 2, 9000, 11);
    serves(&mut fleet, "d", 2, 9000, 11);
    assert_eq!(outcome(&fleet).0, Outcome::Running);
    assert_eq!(sent_to(&fleet.step(Event::Tick, at(11 + SOAK))), ["a"]);
}

#[test]
fn a_failure_brings_all_edges_back_where_that_was_asked_for() {
    let mut fleet = running(Mode::Heal);
    let mut asked = request(tree_at(9000, vec![wave("rest", 2, 0), wave("canary", 1, 0)]));
    asked.rollback = true;
    apply(&mut fleet, asked, 10).0.expect("begun");
    serves(&mut fleet, "b", 2, 9000, 11);
    let effects = fails(&mut fleet, "c", 2, 9000, 12);
    // `d` had begun: what it was sent is still on its way, and its answer brings the newest.
    assert_eq!(sent_to(&effects), ["b", "c"]);
    assert_eq!(sent(&serves(&mut fleet, "d", 2, 9000, 13)), [("d".to_owned(), 3, vec!["web".to_owned()])]);
    for edge in ["b", "c", "d"] {
        serves(&mut fleet, edge, 3, 8000, 14);
    }
    assert_eq!(outcome(&fleet).0, Outcome::Partial);
    for edge in ["a", "b", "c", "d"] {
        let running = fleet.edges()[&edge_name(edge)].running();
        assert_eq!(running.values().next(), Some(&rule("web", 8000, 8000)), "{edge}");
    }
    assert_eq!(fleet.applied().expect("applied").source.digest, Digest::of(b"8000"));
}

#[test]
fn a_followed_tree_is_rolled_out_too_and_a_stopped_one_is_not_begun_again() {
    let mut fleet = running(Mode::Apply);
    let waves = || vec![wave("canary", 1, 0), wave("rest", 2, 0)];
    assert_eq!(sent_to(&fleet.step(Event::Tree(tree_at(9000, waves())), at(10))), ["a"]);
    fails(&mut fleet, "a", 2, 9000, 11);
    assert_eq!(outcome(&fleet).0, Outcome::Partial);
    for second in 12..15 {
        assert_eq!(sent_to(&fleet.step(Event::Tree(tree_at(9000, waves())), at(second))), [""; 0]);
    }
    assert!(matches!(fleet.attempt().expect("read").verdict, Verdict::Stopped { .. }));
    // Another tree is another rollout.
    assert_eq!(sent_to(&fleet.step(Event::Tree(tree_at(9001, waves())), at(20))), ["a"]);
}

#[test]
fn a_server_that_ends_in_the_middle_goes_on_with_the_rollout() {
    let mut before = running(Mode::Apply);
    let waves = || vec![wave("canary", 1, 0), wave("rest", 3, 0)];
    let mut stored: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for edge in ["a", "b", "c", "d"] {
        let desired = before.edges()[&edge_name(edge)].desired.clone().expect("decided");
        let record = Record::edge(&edge_name(edge), &desired);
        stored.insert(record.key, record.value);
    }
    for effect in before.step(Event::Tree(tree_at(9000, waves())), at(10)) {
        if let Effect::Persist(record) = effect {
            stored.insert(record.key, record.value);
        }
    }
    let records = stored.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
    let restored = crate::decide::record::restore(records).expect("readable");
    let mut after = Fleet::new("here".to_owned(), Mode::Apply, false, restored);
    for (edge, port, generation) in [("a", 9000, 2), ("b", 8000, 1), ("c", 8000, 1), ("d", 8000, 1)] {
        say_hello(&mut after, session_of(edge), edge, runs("here", generation, &[rule("web", port, port)]));
    }
    // What it was watching is watched for as long again.
    assert_eq!(sent_to(&after.step(Event::Tree(tree_at(9000, waves())), at(20))), [""; 0]);
    let effects = after.step(Event::Tick, at(20 + SOAK));
    // The canary has it already; the others are the only ones that are left.
    assert_eq!(sent_to(&effects), ["b", "c", "d"]);
    let running = after.latest_apply().expect("one runs");
    assert_eq!(running.continues.as_deref(), before.latest_apply().map(|apply| apply.id.as_str()));
}

#[test]
fn a_quiet_window_goes_with_the_states_of_its_apply_and_with_no_others() {
    let windows = |effects: &[Effect]| -> Vec<(String, Duration)> {
        let window = |effect: &Effect| match effect {
            Effect::Send { edge, quiet_window, .. } => Some((edge.to_string(), *quiet_window)),
            _ => None,
        };
        effects.iter().filter_map(window).collect()
    };
    let mut fleet = running(Mode::Heal);
    let window = Duration::from_secs(45);
    let mut asked = request(tree_at(9000, vec![wave("canary", 1, 0), wave("rest", 2, 0)]));
    (asked.quiet_window, asked.rollback) = (window, true);
    let (answer, effects) = apply(&mut fleet, asked, 10);
    answer.expect("begun");
    assert_eq!(windows(&effects), [("a".to_owned(), window)]);
    assert_eq!(fleet.next_deadline(), Some(at(10 + 60 + 45)), "an edge may answer so much later");
    serves(&mut fleet, "a", 2, 9000, 60);
    let effects = fleet.step(Event::Tick, at(60 + SOAK));
    assert_eq!(windows(&effects), [("b".to_owned(), window), ("c".to_owned(), window)]);
    // What goes back does not wait.
    serves(&mut fleet, "b", 2, 9000, 91);
    let effects = fails(&mut fleet, "c", 2, 9000, 92);
    assert!(
        windows(&effects).len() >= 2 && windows(&effects).iter().all(|(_, window)| window.is_zero()),
        "{effects:?}"
    );
}
