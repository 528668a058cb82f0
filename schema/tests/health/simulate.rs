//! Event lists: how they are read and played.

use proptest::prelude::*;
use schema::health::simulate::{EventKind, InvalidEvents, Step, parse_events, simulate};
use schema::health::{Mode, TargetState};

use crate::support::{any_terms, config, secs, terms};

fn play(events: &str) -> Vec<(u64, TargetState, u16, Option<u64>)> {
    let steps = simulate(terms(2, 3, Mode::Snap), &parse_events(events).expect("valid")).expect("in order");
    let line = |step: &Step| (step.at.as_secs(), step.state, step.health, step.next.map(|next| next.as_secs()));
    steps.iter().map(line).collect()
}

#[test]
fn events_without_a_time_come_when_the_next_probe_is_due() {
    let expected = [
        (0, TargetState::Up, 4, Some(15)),
        (15, TargetState::Up, 3, Some(1)),
        (16, TargetState::Up, 2, Some(1)),
        (17, TargetState::Down, 0, Some(30)),
        (47, TargetState::Down, 1, Some(1)),
        (48, TargetState::Up, 4, Some(15)),
    ];
    assert_eq!(play("pass fail fail fail pass pass"), expected);
}

#[test]
fn a_late_probe_is_late_and_time_stands_still_while_none_is_due() {
    let expected = [
        (0, TargetState::Up, 4, Some(15)),
        (31, TargetState::Up, 4, Some(0)),
        (31, TargetState::Paused, 0, None),
        (31, TargetState::Paused, 0, None),
        (31, TargetState::Unknown, 1, Some(1)),
    ];
    assert_eq!(play("pass tick@31 pause pass resume"), expected);
}

#[test]
fn every_error_names_the_place_and_the_word() {
    let error = |text: &str| parse_events(text).expect_err("invalid").to_string();
    assert!(error("pass boom@3").starts_with("event 2, `boom@3`: unknown event `boom`; the events are pass, fail,"));
    assert!(error("").starts_with("no events are given"));
    for word in ["fail@", "fail@x", "fail@-1", "fail@1e3", "fail@1.2345", "fail@1@2", "fail@.5", "fail@5m"] {
        assert!(error(word).starts_with(&format!("event 1, `{word}`: the text after `@` is not a time")), "{word}");
    }
    assert!(error("tick@99999999999999999999999").contains("more than a year"));
    let events = parse_events("pass@10 fail@9.5").expect("well written");
    let error = simulate(terms(2, 3, Mode::Snap), &events).expect_err("the time is before that of event");
    assert_eq!(error.to_string(), "event 2, `fail@9.5`: the time is before that of event 1, which is at 10 s");
    assert!(matches!(error, InvalidEvents::Backwards { place: 2, .. }));
}

#[test]
fn a_message_shows_the_beginning_of_an_endless_word() {
    assert!(parse_events(&"x".repeat(1 << 20)).expect_err("no event").to_string().len() < 300);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        if let Err(error) = parse_events(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn words_are_read_as_they_are_written(kinds in proptest::collection::vec(0_usize..9, 1..20), terms in any_terms()) {
        let words: Vec<&str> = kinds.iter().map(|kind| EventKind::WORDS[*kind]).collect();
        let events = parse_events(&words.join(" ")).expect("all are events");
        prop_assert_eq!(events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), words);
        let steps = simulate(terms, &events).expect("without times they are in order");
        prop_assert_eq!(steps.len(), events.len());
        prop_assert!(steps.windows(2).all(|pair| pair[0].at <= pair[1].at && pair[0].state == pair[1].before));
        prop_assert!(steps.iter().all(|step| step.next.is_none_or(|next| next <= secs(60))));
    }
}
