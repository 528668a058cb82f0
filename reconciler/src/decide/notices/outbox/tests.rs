//! The laws of an outbox: nothing is lost, nothing comes too often, and letters keep their order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::{CommitState, CommitStatus};
use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).expect("a time")
}

fn news(id: u64, millis: i64, event: Topic) -> Letter {
    let content = LetterContent::news(vec![News::new(event, at(millis), format!("{id}"))], 0);
    Letter { id, at: at(millis), content }
}

fn commit(id: u64, sha: &str, state: CommitState) -> Letter {
    let status = CommitStatus { sha: sha.to_owned(), state, description: String::new() };
    Letter { id, at: at(0), content: LetterContent::Commit(status) }
}

fn down(retry_after: Option<Duration>) -> DeliveryFailure {
    DeliveryFailure { message: "no answer".to_owned(), is_refusal: false, retry_after }
}

fn refused() -> DeliveryFailure {
    DeliveryFailure { message: "400".to_owned(), is_refusal: true, retry_after: None }
}

/// What happens to an outbox.
#[derive(Debug, Clone)]
enum Happening {
    Letter(Topic),
    Answer(Result<(), bool>),
    Pass(i64),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        prop_oneof![Just(Topic::Apply), Just(Topic::Health), Just(Topic::Edge)].prop_map(Happening::Letter),
        prop_oneof![Just(Ok(())), any::<bool>().prop_map(Err)].prop_map(Happening::Answer),
        (1_i64..20_000).prop_map(Happening::Pass),
        Just(Happening::Restart),
    ]
}

/// The texts of a message.
fn texts(content: &LetterContent) -> Vec<u64> {
    let LetterContent::News { items, more } = content else { panic!("news") };
    assert_eq!(*more, 0);
    items.iter().map(|news| news.text.parse().expect("a number")).collect()
}

proptest! {
    #[test]
    fn nothing_is_lost_nothing_comes_too_often_and_the_order_is_kept(
        happenings in prop::collection::vec(happening(), 1..120),
        interval in prop_oneof![Just(0_u64), 1_u64..30],
    ) {
        let interval = Duration::from_secs(interval);
        let new = || Outbox::new(interval, Duration::from_secs(1));
        let (mut outbox, mut now, mut id) = (new(), 0_i64, 0_u64);
        // What the store has, and what the receiver got.
        let mut stored: Vec<Letter> = Vec::new();
        let mut received: Vec<u64> = Vec::new();
        let mut accepted: Vec<i64> = Vec::new();
        let mut has_refused = false;
        let end = vec![Happening::Pass(600_000); 2000];
        for happening in happenings.into_iter().chain(end) {
            let is_end = matches!(happening, Happening::Pass(600_000));
            match happening {
                Happening::Letter(topic) => {
                    id += 1;
                    let letter = news(id, now, topic);
                    stored.push(letter.clone());
                    prop_assert!(outbox.add(letter).is_empty());
                }
                Happening::Pass(millis) => now += millis,
                Happening::Restart => {
                    outbox = new();
                    outbox.restore(stored.clone(), at(now));
                    accepted.clear();
                }
                Happening::Answer(_) => {}
            }
            let answer = match happening {
                Happening::Answer(answer) => Some(answer),
                _ => is_end.then_some(Ok(())),
            };
            let Some(answer) = answer else { continue };
            let Some(delivery) = outbox.take(at(now)) else { continue };
            prop_assert!(outbox.take(at(now)).is_none(), "one message at a time");
            match answer {
                Ok(()) => {
                    if let Some(last) = accepted.last() {
                        prop_assert!(now - last >= interval.as_millis().max(1000) as i64);
                    }
                    accepted.push(now);
                    received.extend(texts(&delivery.content));
                    for change in outbox.delivered(at(now)) {
                        prop_assert!(matches!(change, StoreChange::Delete(_)));
                        stored.retain(|letter| letter.id != change.id());
                    }
                }
                Err(is_refusal) => {
                    has_refused |= is_refusal;
                    let failure = if is_refusal { refused() } else { down(None) };
                    prop_assert!(outbox.not_delivered(failure, at(now)).is_empty());
                }
            }
            if is_end && stored.is_empty() {
                break;
            }
        }
        prop_assert!(stored.is_empty(), "{} wait", stored.len());
        prop_assert_eq!(received.len() as u64, id, "each is delivered once");
        prop_assert_eq!(received.iter().collect::<BTreeSet<_>>().len() as u64, id);
        if !has_refused {
            prop_assert!(received.is_sorted(), "{received:?}");
        }
    }
}

#[test]
fn a_letter_is_first_tried_within_two_seconds_and_then_at_growing_distances_up_to_ten_minutes() {
    for topic in Topic::ALL {
        let mut outbox = Outbox::new(Duration::ZERO, Duration::ZERO);
        outbox.add(news(1, 0, topic));
        assert!(outbox.next_due().is_some_and(|due| due < at(2000)), "{topic}");
    }
    let mut outbox = Outbox::new(Duration::ZERO, Duration::ZERO);
    outbox.add(news(1, 0, Topic::Apply));
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..12 {
        outbox.take(now).expect("due");
        outbox.not_delivered(down(None), now);
        let due = outbox.next_due().expect("it waits");
        waits.push(due.duration_since(now).as_secs());
        now = due;
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]);
    outbox.take(now).expect("due");
    outbox.not_delivered(down(Some(Duration::from_mins(20))), now);
    assert_eq!(outbox.next_due().map(|due| due.duration_since(now).as_secs()), Some(1200), "as the receiver asked");
}

#[test]
fn what_waited_is_due_at_once_at_a_start_and_given_up_after_a_day() {
    let mut outbox = Outbox::new(Duration::from_mins(10), Duration::ZERO);
    let day = 24 * 3600 * 1000;
    outbox.restore(vec![news(2, 5000, Topic::Health), news(1, 0, Topic::Apply)], at(day - 1));
    assert_eq!(outbox.next_due(), Some(at(day - 1)));
    assert!(outbox.give_up(at(day - 1)).is_empty());
    let over: Vec<u64> = outbox.give_up(at(day)).into_iter().map(|letter| letter.id).collect();
    assert_eq!(over, [1]);
    assert_eq!(outbox.pending(), 1);
}

#[test]
fn what_happens_to_many_at_once_is_one_message_and_an_apply_is_its_own() {
    let mut outbox = Outbox::new(Duration::ZERO, Duration::ZERO);
    for id in 1..=3 {
        outbox.add(news(id, 0, Topic::Health));
    }
    outbox.add(news(4, 0, Topic::Apply));
    outbox.add(news(5, 0, Topic::Apply));
    let first = outbox.take(at(1000)).expect("due");
    assert_eq!(texts(&first.content), [1, 2, 3]);
    outbox.delivered(at(1000));
    assert_eq!(texts(&outbox.take(at(1000)).expect("due").content), [4]);
}

#[test]
fn an_interval_merges_all_that_came_within_it() {
    let mut outbox = Outbox::new(Duration::from_mins(1), Duration::ZERO);
    outbox.add(news(1, 0, Topic::Apply));
    outbox.take(at(0)).expect("due");
    outbox.delivered(at(0));
    for id in 2..=6 {
        outbox.add(news(id, 1000, if id % 2 == 0 { Topic::Apply } else { Topic::Health }));
    }
    assert!(outbox.take(at(59_999)).is_none());
    assert_eq!(texts(&outbox.take(at(60_000)).expect("due").content), [2, 3, 4, 5, 6]);
}

#[test]
fn a_message_that_its_receiver_refuses_does_not_hold_up_the_next_one() {
    let mut outbox = Outbox::new(Duration::ZERO, Duration::ZERO);
    outbox.add(news(1, 0, Topic::Apply));
    outbox.add(news(2, 0, Topic::Apply));
    assert_eq!(outbox.take(at(0)).map(|delivery| delivery.first), Some(1));
    outbox.not_delivered(refused(), at(0));
    assert_eq!(outbox.take(at(0)).map(|delivery| delivery.first), Some(2));
    outbox.delivered(at(0));
    assert_eq!(outbox.take(at(2000)).map(|delivery| delivery.first), Some(1));
}

#[test]
fn a_later_state_of_a_commit_replaces_the_one_that_waits() {
    let mut outbox = Outbox::new(Duration::ZERO, Duration::ZERO);
    assert!(outbox.add(commit(1, "a", CommitState::Pending)).is_empty());
    assert!(outbox.add(commit(2, "b", CommitState::Pending)).is_empty());
    assert_eq!(outbox.add(commit(3, "a", CommitState::Success)), [StoreChange::Delete(1)]);
    assert_eq!(outbox.take(at(0)).map(|delivery| delivery.first), Some(2));
    // One that is on its way is not taken back, and is not sent again if it fails.
    assert!(outbox.add(commit(4, "b", CommitState::Success)).is_empty());
    assert_eq!(outbox.not_delivered(refused(), at(0)), [StoreChange::Delete(2)]);
    assert_eq!(outbox.take(at(0)).map(|delivery| delivery.first), Some(3));
    outbox.delivered(at(0));
    assert_eq!(outbox.take(at(0)).map(|delivery| delivery.first), Some(4));
}

#[test]
fn beyond_the_bound_the_oldest_letters_are_merged_and_counted() {
    let mut outbox = Outbox::new(Duration::ZERO, Duration::ZERO);
    let many = MOST_LETTERS as u64 + 300;
    let mut stored: std::collections::BTreeMap<u64, Letter> = std::collections::BTreeMap::new();
    for id in 1..=many {
        let letter = news(id, 0, Topic::Apply);
        stored.insert(id, letter.clone());
        for change in outbox.add(letter) {
            match change {
                StoreChange::Write(letter) => drop(stored.insert(letter.id, letter)),
                StoreChange::Delete(id) => drop(stored.remove(&id)),
            }
        }
    }
    assert_eq!(outbox.pending(), MOST_LETTERS as u64);
    assert_eq!(outbox.condensed, 300);
    assert_eq!(stored.len(), MOST_LETTERS);
    assert_eq!(stored.values().map(|letter| letter.content.count()).sum::<u64>(), many, "none is lost");
    assert!(matches!(&stored[&1].content, LetterContent::News { items, more } if items.len() == 100 && *more == 201));
}
