//! Who is to blame: ports that stay, move, change hands, are renamed, tried again and brought back.

use std::collections::BTreeMap;
use std::convert::Infallible;

use schema::diff::{Rules, diff};
use schema::rule::Rule;
use schema::spec::field_changes;
use schema::testing::rule_with;

use super::*;
use crate::decide::ledger::Head;
use crate::decide::plan::{Impact, ImpactKind, PortChanges};

fn port(number: u16) -> Port {
    Port { edge: EdgeName::new("a").expect("a name"), port: number, protocol: Protocol::Tcp }
}

fn name(text: &str) -> RuleName {
    RuleName::new(text).expect("a name")
}

/// What an apply from one set to another is to change.
fn changes(before: &[Rule], after: &[Rule]) -> Vec<RuleChange> {
    let rules =
        |rules: &[Rule]| -> Rules { rules.iter().map(|rule| (rule.name.clone(), rule.clone().into())).collect() };
    let planned = |change: &schema::diff::Change| RuleChange {
        edge: port(1).edge,
        rule: change.rule.clone(),
        previous_rule: change.previous_rule.clone(),
        action: match change.kind {
            schema::diff::ChangeKind::Activate => Action::Activate,
            schema::diff::ChangeKind::Rebind => Action::Rebind,
            schema::diff::ChangeKind::Update => Action::Update,
            schema::diff::ChangeKind::Move => Action::Move,
            schema::diff::ChangeKind::Remove => Action::Remove,
        },
        code: None,
        message: None,
        ports: PortChanges { bind: change.bind.clone(), keep: change.keep.clone(), release: change.release.clone() },
        fields: match (&change.before, &change.after) {
            (Some(before), Some(after)) => field_changes(before, after),
            _ => Vec::new(),
        },
        impact: Impact::new(ImpactKind::None, 0),
        origin: None,
        proof: None,
    };
    diff(&rules(before), &rules(after)).changes.iter().map(planned).collect()
}

/// A ledger of applies, each with its outcome, of which each has changed what it was to change.
struct Ledger {
    lines: Vec<Entry>,
    plans: BTreeMap<String, Vec<RuleChange>>,
    head: Head,
}

impl Ledger {
    fn new() -> Self {
        Self { lines: Vec::new(), plans: BTreeMap::new(), head: Head::default() }
    }

    fn apply(&mut self, changes: Vec<RuleChange>, ended: impl FnOnce(&mut Entry)) {
        let id = format!("a{}", self.head.id + 1);
        let generations = [(port(1).edge, self.head.id + 1)].into();
        let entry = Entry { apply_id: id.clone(), generations, outcome: "started".to_owned(), ..Entry::default() };
        let started = entry.chained(&mut self.head);
        let mut end = started.with_outcome("applied", Timestamp::UNIX_EPOCH);
        ended(&mut end);
        self.lines.extend([started, end.chained(&mut self.head)]);
        self.plans.insert(id, changes);
    }

    fn blame(&self, number: u16, rule: &str) -> Option<u64> {
        let changes_of = |entry: &Entry| Ok::<_, Infallible>(self.plans.get(&entry.apply_id).cloned());
        let found = applied(&port(number), &name(rule), &self.lines, changes_of).expect("nothing fails");
        found.map(|found| found.entry.id.div_ceil(2))
    }
}

/// Which apply, from 1, is to blame for a port of a rule, when each puts the next set in force.
fn blamed(number: u16, rule: &str, sets: &[&[Rule]]) -> Option<u64> {
    let mut ledger = Ledger::new();
    let mut before: &[Rule] = &[];
    for after in sets {
        ledger.apply(changes(before, after), |_| {});
        before = after;
    }
    ledger.blame(number, rule)
}

fn rule(name: &str, first: u16, last: u16) -> Rule {
    (*rule_with(name, first, last, |_| {})).clone()
}

#[test]
fn the_apply_that_gave_the_rule_the_port_is_to_blame() {
    let (web, wide, away) = (|| rule("web", 80, 80), || rule("web", 79, 90), || rule("web", 81, 81));
    assert_eq!(blamed(80, "web", &[&[web()]]), Some(1));
    assert_eq!(blamed(80, "web", &[&[web()], &[wide()], &[web()]]), Some(1), "kept all the time");
    assert_eq!(blamed(85, "web", &[&[web()], &[wide()]]), Some(2), "the range reached it");
    assert_eq!(blamed(80, "web", &[&[web()], &[away()], &[web()]]), Some(3), "it was elsewhere in between");
    assert_eq!(blamed(80, "web", &[&[web()], &[], &[wide()]]), Some(3), "it was gone in between");
    assert_eq!(blamed(80, "web", &[&[wide()], &[wide(), rule("other", 1, 1)]]), Some(1), "others change around it");
}

#[test]
fn a_port_that_changes_hands_is_new_to_its_rule_and_a_rename_is_not() {
    let (a, b) = (|first| rule("a", first, first), |first| rule("b", first, first));
    let swap: &[&[Rule]] = &[&[a(80), b(81)], &[a(81), b(80)]];
    assert_eq!((blamed(80, "b", swap), blamed(81, "a", swap)), (Some(2), Some(2)));
    assert_eq!(blamed(80, "b", &[&[a(80)], &[b(80)], &[b(80), a(9)]]), Some(1), "renamed: the port never moved");
    let other: &[&[Rule]] = &[&[rule("a", 80, 81)], &[a(81), b(80)]];
    assert_eq!((blamed(80, "b", other), blamed(81, "a", other)), (Some(2), Some(1)), "handed over, and kept");
}

#[test]
fn what_is_planned_again_is_blamed_on_the_first_that_reached_the_edge() {
    let fresh = || changes(&[], &[rule("web", 80, 80)]);
    let mut ledger = Ledger::new();
    ledger.apply(fresh(), |end| end.generations.clear());
    ledger.apply(fresh(), |end| end.brought_back = [port(1).edge].into());
    ledger.apply(fresh(), |_| {});
    ledger.apply(fresh(), |_| {});
    assert_eq!(ledger.blame(80, "web"), Some(3), "skipped, brought back, done, and found not done yet");
}

#[test]
fn a_plan_that_is_kept_no_longer_ends_the_walk() {
    let mut ledger = Ledger::new();
    ledger.apply(changes(&[], &[rule("web", 80, 80)]), |_| {});
    ledger.apply(Vec::new(), |_| {});
    ledger.plans.remove("a1");
    assert_eq!(ledger.blame(80, "web"), None);
}

#[test]
fn a_port_that_was_open_before_is_taken_over_by_the_first_tree_that_has_it() {
    let mut ledger = Ledger::new();
    (0..4).for_each(|_| ledger.apply(Vec::new(), |_| {}));
    let placed = || Placed { rule: rule("web", 80, 80).into(), origin: None };
    let owner = |kept: u64, owners: [bool; 4]| {
        let owner_in = move |entry: &Entry| {
            let number = entry.id.div_ceil(2);
            if number > kept { Ok(owners[number as usize - 1].then(placed)) } else { Err(()) }
        };
        taken_over(&name("web"), &ledger.lines, owner_in).map(|found| found.entry.id.div_ceil(2))
    };
    assert_eq!(owner(0, [true; 4]), Some(1));
    assert_eq!(owner(0, [true, false, true, true]), Some(3));
    assert_eq!(owner(2, [true; 4]), Some(3), "older trees are kept no longer");
    assert_eq!(owner(0, [true, true, true, false]), Some(1), "a newer version need not serve");
    assert_eq!(owner(4, [true; 4]), None);
}

#[test]
fn a_port_is_among_listeners_of_its_protocol_whatever_their_address() {
    let udp = Port { protocol: Protocol::Udp, ..port(53) };
    let range = |text: &str| [ListenRange::parse(text).expect("a listener")];
    for (text, tcp, is_udp) in [
        ("*:53", true, false),
        ("[::1]:50-60", true, false),
        ("127.0.0.1:53/udp", false, true),
        ("*:54-60", false, false),
    ] {
        assert_eq!((port(53).is_among(&range(text)), udp.is_among(&range(text))), (tcp, is_udp), "{text}");
    }
}
