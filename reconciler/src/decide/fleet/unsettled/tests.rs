//! Edges that answer every state with a higher one, and servers that take turns.

use crate::decide::drift::DriftKind;
use crate::decide::fleet::tests::{at, edge_name, fleet, request, runs, say, say_hello, sent, tree};
use crate::decide::fleet::{Effect, Event, Fleet, Mode, Notice};
use crate::decide::ledger::Entry;
use crate::decide::view::Report;
use schema::testing::rule;

/// Ledger lines about an edge that does not settle.
fn lines(effects: &[Effect]) -> Vec<Entry> {
    let records = effects.iter().filter_map(|effect| match effect {
        Effect::Persist(record) if record.key.starts_with("ledger/") => serde_json::from_slice(&record.value).ok(),
        _ => None,
    });
    records.filter(|entry: &Entry| entry.outcome == "unsettled").collect()
}

fn notices(effects: &[Effect]) -> Vec<(String, String)> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Emit(Notice::Unsettled { code, message, .. }) => Some((code.clone(), message.clone())),
        _ => None,
    });
    told.collect()
}

fn shown(fleet: &Fleet) -> Option<String> {
    fleet.drift().into_iter().find(|drift| drift.kind == DriftKind::Unsettled).map(|drift| drift.code)
}

/// A fleet with one edge that has a rule, and the generation that it was sent.
fn applied() -> (Fleet, u64) {
    let mut fleet = fleet(Mode::Heal);
    say_hello(&mut fleet, 1, "a", Report::default());
    let request = Box::new(request(tree("one", &[("a", rule("web", 80, 80))])));
    let effects = fleet.step(Event::Apply { ticket: 1, request }, at(0));
    let generation = sent(&effects)[0].1;
    (fleet, generation)
}

#[test]
fn an_edge_that_answers_with_a_higher_generation_each_time_is_backed_off_and_written_down_once() {
    let (mut fleet, mut generation) = applied();
    let mut states = Vec::new();
    let (mut written, mut told) = (Vec::new(), Vec::new());
    // A liar at the speed of a network: ten answers a second for five minutes.
    for tenth in 0..3000_i64 {
        let now = at(0).checked_add(std::time::Duration::from_millis(tenth as u64 * 100)).expect("in range");
        let report = Report { answers: generation, ..runs("here", generation + 1, &[]) };
        let mut effects = fleet.step(Event::Report { session: 1, edge: edge_name("a"), report }, now);
        effects.extend(fleet.step(Event::Tick, now));
        if let Some((_, newest, _)) = sent(&effects).last() {
            generation = *newest;
            states.push(tenth / 10);
        }
        written.extend(lines(&effects));
        told.extend(notices(&effects));
    }
    assert_eq!(states.iter().filter(|second| **second < 1).count(), 5, "{states:?}");
    assert!(states.len() < 5 + 7 + 5, "a state a minute in the end: {states:?}");
    let last: Vec<i64> = states.windows(2).map(|pair| pair[1] - pair[0]).skip(5).collect();
    assert!(last.windows(2).all(|pair| pair[1] >= pair[0]) && last.last().is_some_and(|gap| *gap >= 59), "{last:?}");
    assert_eq!((written.len(), told.len()), (1, 1), "{told:?}");
    assert_eq!(shown(&fleet).as_deref(), Some("unsettled"));
}

#[test]
fn an_edge_that_comes_to_rest_is_forgotten_after_a_while() {
    let (mut fleet, mut generation) = applied();
    for second in 0..6 {
        let report = Report { answers: generation, ..runs("here", generation + 1, &[]) };
        generation = sent(&say(&mut fleet, 1, "a", report, second)).last().map_or(generation, |sent| sent.1);
    }
    assert!(shown(&fleet).is_some());
    say(&mut fleet, 1, "a", runs("here", generation, &[rule("web", 80, 80)]), 70);
    fleet.step(Event::Tick, at(100));
    assert!(shown(&fleet).is_some(), "not yet");
    fleet.step(Event::Tick, at(191));
    assert_eq!(shown(&fleet), None);
    assert!(fleet.next_deadline().is_none_or(|deadline| deadline > at(191)));
}

#[test]
fn two_servers_on_one_edge_are_recognised_by_their_lineages() {
    let (mut fleet, mut generation) = applied();
    let own = [rule("web", 80, 80)];
    for second in 0..12 {
        // It takes what each of them sends, in turn.
        say(&mut fleet, 1, "a", runs("here", generation, &own), second);
        let other = Report { answers: 0, ..runs("there", generation + 1, &[]) };
        let effects = say(&mut fleet, 1, "a", other, second);
        generation = sent(&effects).last().map_or(generation, |sent| sent.1);
    }
    assert_eq!(shown(&fleet).as_deref(), Some("two_servers"));
    let drift = fleet.drift().into_iter().find(|drift| drift.kind == DriftKind::Unsettled).expect("shown");
    assert!(drift.message.contains("here") && drift.message.contains("there"), "{}", drift.message);
}

#[test]
fn a_server_that_lost_its_state_is_not_taken_for_two() {
    let mut fleet = fleet(Mode::Heal);
    say_hello(&mut fleet, 1, "a", runs("there", 7, &[rule("web", 80, 80)]));
    let request = Box::new(request(tree("one", &[("a", rule("web", 80, 80))])));
    let effects = fleet.step(Event::Apply { ticket: 1, request }, at(0));
    for (_, generation, _) in sent(&effects) {
        say(&mut fleet, 1, "a", runs("here", generation, &[rule("web", 80, 80)]), 1);
    }
    assert_eq!(shown(&fleet), None);
}
