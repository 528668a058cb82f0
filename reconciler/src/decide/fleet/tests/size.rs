//! What a change of one edge costs in a large fleet: as much as in a small one.

use super::*;
use crate::decide::assign::tests::counted;

/// What one step did.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    /// Sets that were decided.
    decided: usize,
    effects: usize,
    /// Edges that were written down again.
    edges_recorded: usize,
    sent: usize,
}

fn named(number: usize) -> String {
    format!("edge-{number:04}")
}

fn tree_of(edges: usize, label: &str, port_of_first: u16) -> TreeRead {
    let names: Vec<String> = (0..edges).map(named).collect();
    let port = |number| if number == 0 { port_of_first } else { 80 };
    let rules: Vec<(&str, Arc<Rule>)> = names
        .iter()
        .enumerate()
        .map(|(number, name)| (name.as_str(), rule("web", port(number), port(number))))
        .collect();
    tree(label, &rules)
}

/// A fleet that runs the tree `before`, with a session for each edge.
fn at_rest(edges: usize) -> Fleet {
    let mut fleet = fleet(Mode::Apply);
    fleet.step(Event::Tree(tree_of(edges, "before", 80)), at(0));
    for number in 0..edges {
        let session = number as u64 + 1;
        say_hello(&mut fleet, session, &named(number), Report::default());
        say(&mut fleet, session, &named(number), runs("here", 1, &[rule("web", 80, 80)]), 1);
    }
    fleet.step(Event::Tick, at(2));
    fleet
}

fn cost(work: impl FnOnce() -> Vec<Effect>) -> Cost {
    let (effects, decided) = counted(work);
    let is_edge = |effect: &&Effect| matches!(effect, Effect::Persist(record) if record.key.starts_with("edge/"));
    Cost {
        decided,
        effects: effects.len(),
        edges_recorded: effects.iter().filter(is_edge).count(),
        sent: sent(&effects).len(),
    }
}

#[test]
fn a_change_of_one_edge_decides_as_few_sets_in_a_large_fleet_as_in_a_small_one() {
    let of = |edges: usize| {
        let mut fleet = at_rest(edges);
        let change = cost(|| fleet.step(Event::Tree(tree_of(edges, "after", 81)), at(3)));
        let report = cost(|| say(&mut fleet, 1, "edge-0000", runs("here", 2, &[rule("web", 81, 81)]), 4));
        let comment = cost(|| fleet.step(Event::Tree(tree_of(edges, "comment", 81)), at(5)));
        (change, report, comment)
    };
    let (change, report, comment) = of(300);
    assert_eq!((change.sent, change.edges_recorded, comment.sent), (1, 1, 0));
    assert!(change.decided <= 2, "planned once and put in force once: {change:?}");
    assert_eq!(comment.decided, 0, "a comment decides nothing");
    assert_eq!((change, report, comment), of(3));
}

#[test]
fn a_rule_that_is_wanted_decided_and_runs_is_kept_once_after_a_restart_too() {
    let is_kept_once = |fleet: &Fleet, tree: &TreeRead| {
        let name = edge_name("edge-0000");
        let view = &fleet.edges()[&name];
        let desired = view.desired.as_ref().expect("decided");
        let own = &tree.ruleset.as_ref().expect("valid").edges[&name]["web"].rule;
        let running = view.rule(&own.name).and_then(|rule| rule.running.as_ref());
        Arc::ptr_eq(&desired.rules["web"].rule, own)
            && Arc::ptr_eq(&desired.wanted["web"].rule, own)
            && running.is_some_and(|running| Arc::ptr_eq(running, own))
    };
    let mut first = fleet(Mode::Apply);
    let tree = tree_of(1, "tree", 80);
    let mut records = BTreeMap::new();
    for effect in first.step(Event::Tree(tree.clone()), at(0)) {
        if let Effect::Persist(record) = effect {
            records.insert(record.key, record.value);
        }
    }
    say_hello(&mut first, 1, "edge-0000", Report::default());
    say(&mut first, 1, "edge-0000", runs("here", 1, &[rule("web", 80, 80)]), 1);
    assert!(is_kept_once(&first, &tree));

    let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
    let restored = super::super::super::record::restore(records).expect("readable");
    let mut second = Fleet::new("here".to_owned(), Mode::Apply, false, restored);
    say_hello(&mut second, 1, "edge-0000", runs("here", 1, &[rule("web", 80, 80)]));
    assert!(!is_kept_once(&second, &tree), "the store's are its own");
    second.step(Event::Tree(tree.clone()), at(2));
    assert!(is_kept_once(&second, &tree));
}
