//! When an edge is at rest, and how often sets are decided.

use std::cell::Cell;
use std::sync::Arc;

use schema::capability::{Capability, Limits};
use schema::codes::RuleCode;
use schema::policy::Policy;
use schema::testing::{rule, rule_with};

use super::*;
use crate::decide::view::Report;

thread_local! {
    static ASSIGNED: Cell<usize> = const { Cell::new(0) };
}

/// One more set is decided.
pub(super) fn count() {
    ASSIGNED.set(ASSIGNED.get() + 1);
}

/// What some work gives, and how many sets it decided.
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ASSIGNED.get();
    let result = work();
    (result, ASSIGNED.get() - before)
}

fn placed(rules: &[Arc<Rule>]) -> EdgeRules {
    rules.iter().map(|rule| (rule.name.clone(), Placed { rule: rule.clone(), origin: None })).collect()
}

/// An edge that was told these rules and runs them.
fn resting(rules: &[Arc<Rule>]) -> EdgeView {
    let hello = Hello {
        capabilities: Capability::ALL.iter().copied().collect(),
        limits: Limits::default(),
        ..Hello::default()
    };
    let mut edge = EdgeView { connected: true, hello: Some(hello), ..EdgeView::default() };
    let desired = next_desired(&edge, &placed(rules), &EdgeRules::new()).expect("nothing was decided before");
    edge.report = Some(Report {
        generation: desired.generation,
        desired_digest: desired.digest,
        running_digest: desired.digest,
        rules: rules.iter().map(|rule| (rule.name.clone(), RuleView::serving(rule))).collect(),
        ..Report::default()
    });
    edge.desired = Some(desired);
    edge
}

#[test]
fn deciding_again_for_an_edge_at_rest_gives_what_was_decided() {
    let rules = [rule("a", 80, 80), rule("b", 81, 81)];
    let (edge, wanted) = (resting(&rules), placed(&rules));
    assert!(is_at_rest(&edge, &wanted));
    let desired = edge.desired.as_ref().expect("decided");
    let again = assign(&edge, &wanted);
    assert_eq!((&again.rules, again.digest), (&wanted, desired.digest));
    assert!(again.rejected.is_empty() && edge.waiting().is_empty());
    assert!(diff::diff(&edge.running(), &rules_only(&wanted)).changes.is_empty());
    let (next, decided) = counted(|| next_desired(&edge, &wanted, &EdgeRules::new()));
    assert_eq!((next, decided), (None, 0));
    let disabled = placed(&[rule("c", 82, 82)]);
    assert!(next_desired(&edge, &wanted, &disabled).is_some(), "what is disabled is shown");
}

type Change = fn(&mut EdgeView);

/// Changes what the edge reported of `a`.
fn of_a(edge: &mut EdgeView, change: fn(&mut RuleView)) {
    let report = edge.report.as_mut().expect("reported");
    change(report.rules.get_mut("a").expect("there"));
}

#[test]
fn an_edge_that_differs_in_anything_is_not_at_rest() {
    let rules = [rule("a", 80, 80), rule("b", 81, 81)];
    let wanted = placed(&rules);
    let other = rule_with("a", 80, 80, |rule| rule.description = "other".to_owned());
    assert!(!is_at_rest(&resting(&rules), &placed(&[other.clone(), rules[1].clone()])), "the tree has another version");
    assert!(!is_at_rest(&resting(&rules), &placed(&rules[..1])), "the tree has one less");
    let moved: [(&str, Change); 10] = [
        ("no report", |edge| edge.report = None),
        ("nothing decided", |edge| edge.desired = None),
        ("failed", |edge| of_a(edge, |view| view.state = RuleState::Failed)),
        ("rejected by the edge", |edge| of_a(edge, |view| view.state = RuleState::Rejected)),
        ("draining", |edge| of_a(edge, |view| view.state = RuleState::Draining)),
        ("told another version", |edge| of_a(edge, |view| view.wanted = view.running.clone())),
        ("runs nothing", |edge| of_a(edge, |view| view.running = None)),
        ("one is missing", |edge| drop(edge.report.as_mut().expect("reported").rules.remove("a"))),
        ("it lost a capability", |edge| edge.hello.as_mut().expect("said").capabilities.clear()),
        ("one is rejected", |edge| {
            let rejection = Rejection { code: RuleCode::PrivilegedPort, message: String::new() };
            let rejected = &mut edge.desired.as_mut().expect("decided").rejected;
            rejected.insert(RuleName::new("a").expect("a name"), rejection);
        }),
    ];
    for (what, change) in moved {
        let mut edge = resting(&rules);
        change(&mut edge);
        assert!(!is_at_rest(&edge, &wanted), "{what}");
    }
    let mut edge = resting(&rules);
    edge.report.as_mut().expect("reported").rules.get_mut("a").expect("there").running = Some(other);
    assert!(!is_at_rest(&edge, &wanted), "runs another version");
}

fn under(mut edge: EdgeView, policy: Policy) -> EdgeView {
    edge.hello.as_mut().expect("said").policy = Some(policy);
    edge
}

fn ports(first: u16, last: u16) -> Policy {
    let range = schema::net::PortRange::new(first, last).expect("ascending");
    Policy { listen_ports: Some(schema::net::PortSet::from_ranges([range])), ..Policy::default() }
}

fn names(rules: &EdgeRules) -> Vec<&str> {
    rules.keys().map(RuleName::as_str).collect()
}

#[test]
fn what_the_policy_of_an_edge_forbids_is_rejected_and_ends_although_it_serves() {
    let rules = [rule("a", 80, 80), rule("b", 8081, 8081)];
    let wanted = placed(&rules);
    let edge = under(resting(&rules), ports(8000, 8999));
    assert!(!is_at_rest(&edge, &wanted));
    let assignment = assign(&edge, &wanted);
    assert_eq!(names(&assignment.rules), ["b"]);
    let rejection = &assignment.rejected["a"];
    assert_eq!(rejection.code, RuleCode::ForbiddenByPolicy);
    // Whichever message of the edge comes first, its policy or its own refusal, the set is the same.
    let mut refused = edge.clone();
    of_a(&mut refused, |view| {
        (view.state, view.code) = (RuleState::Rejected, "forbidden_by_policy".to_owned());
        view.wanted = view.running.take();
    });
    assert_eq!(assign(&refused, &wanted).rules, assignment.rules);
    // A policy that allows it again is believed over a refusal from before.
    let widened = under(refused, ports(1, 8999));
    assert!(assign(&widened, &wanted).rejected.is_empty());
}

#[test]
fn a_forbidden_version_leaves_the_allowed_one_before_it_serving() {
    let before = [rule("a", 8080, 8080)];
    let edge = under(resting(&before), ports(8000, 8999));
    let assignment = assign(&edge, &placed(&[rule("a", 80, 80)]));
    assert_eq!(assignment.rejected["a"].code, RuleCode::ForbiddenByPolicy);
    assert_eq!(assignment.rules["a"].rule, before[0]);
}

#[test]
fn no_more_rules_are_sent_than_the_policy_allows_and_those_that_serve_stay() {
    let rules = [rule("a", 80, 80), rule("b", 81, 81), rule("c", 82, 82)];
    let policy = |most| Policy { max_rules: Some(most), ..Policy::default() };
    let new = under(resting(&rules[1..]), policy(2));
    let assignment = assign(&new, &placed(&rules));
    assert_eq!((names(&assignment.rules), assignment.rejected.len()), (vec!["b", "c"], 1));
    let narrowed = under(resting(&rules), policy(1));
    assert_eq!(names(&assign(&narrowed, &placed(&rules)).rules), ["a"]);
}
