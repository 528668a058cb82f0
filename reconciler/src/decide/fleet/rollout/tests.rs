//! The lease of an operator, and when a rollout is looked at again.

use jiff::SignedDuration;

use super::*;
use crate::decide::fleet::EdgeResult;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(1_000 + secs).expect("a time")
}

fn edge(name: &str) -> EdgeName {
    EdgeName::new(name).expect("a name")
}

fn run(is_automatic: bool, outcome: EdgeOutcome) -> Run {
    let entry = Entry { at: at(0), apply_id: "a1".to_owned(), actor: "ada".to_owned(), ..Entry::default() };
    let mut result = ApplyResult::cut_off(&entry);
    result.edges = vec![EdgeResult {
        edge: edge("edge-01"),
        outcome,
        generation: 1,
        code: String::new(),
        message: String::new(),
        rules: Vec::new(),
    }];
    Run {
        lease: Run::lease_from(at(0)),
        result,
        deadline: at(60),
        is_automatic,
        allow_offline: false,
        wait_healthy: false,
        entry,
        waves: None,
        bases: BTreeMap::new(),
        confirming: None,
        is_untold: false,
        tell_from: at(5),
    }
}

fn rollout(run: Run) -> Rollout {
    Rollout { run: Some(run), ..Rollout::default() }
}

#[test]
fn an_operator_keeps_others_out_until_the_lease_lapses_and_is_renewed_by_a_sign_of_life() {
    let mut rollout = rollout(run(false, EdgeOutcome::Waiting));
    let end = Run::lease_from(at(0));
    assert_eq!(rollout.lock(at(1)).map(|lock| (lock.holder, lock.until)), Some(("ada".to_owned(), end)));
    assert_eq!(rollout.lock(end), None);
    rollout.renew_lease("another apply", at(10));
    assert_eq!(rollout.lock(end), None, "another apply renews nothing");
    rollout.renew_lease("a1", at(10));
    assert!(rollout.lock(end + SignedDuration::from_secs(9)).is_some());
}

#[test]
fn the_followed_tree_keeps_nobody_out() {
    assert_eq!(rollout(run(true, EdgeOutcome::Waiting)).lock(at(1)), None);
    assert_eq!(Rollout::default().lock(at(1)), None);
}

#[test]
fn nobody_is_late_while_no_edge_is_waited_for() {
    assert_eq!(rollout(run(false, EdgeOutcome::Waiting)).next_deadline(), Some(at(60)));
    assert_eq!(rollout(run(false, EdgeOutcome::Queued)).next_deadline(), None);
    let untold = Run { is_untold: true, ..run(false, EdgeOutcome::Queued) };
    assert_eq!(rollout(untold).next_deadline(), Some(at(5)), "what was not emitted yet is due then");
}

#[test]
fn a_quiet_window_is_of_the_edges_that_were_named_and_ends_with_the_apply() {
    let (one, other) = (edge("edge-01"), edge("edge-02"));
    let mut rollout = Rollout::default();
    rollout.set_quiet([&one].into_iter(), Duration::from_secs(5));
    assert_eq!((rollout.quiet_window(&one), rollout.quiet_window(&other)), (Duration::from_secs(5), Duration::ZERO));
    rollout.set_quiet([&other].into_iter(), Duration::ZERO);
    assert_eq!(rollout.quiet_window(&one), Duration::ZERO, "a new apply replaces the windows of the one before");
}
