//! The life of names, on a clock that the test moves.

use super::*;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn found(last: u8, ttl: u64) -> Found {
    Found { addresses: addresses(last), ttl: secs(ttl) }
}

fn addresses(last: u8) -> Arc<[IpAddr]> {
    Arc::from([IpAddr::from([10, 0, 0, last])])
}

fn name() -> Arc<str> {
    "db.test".into()
}

/// A cache whose only name has an answer since time 0.
fn with_answer(ttl: u64) -> Cache {
    let mut cache = Cache::new(Limits::default());
    assert_eq!(cache.ask(&name(), secs(0)), NameState::Wait);
    assert_eq!(cache.begin(), Some(name()));
    assert_eq!(cache.settle(&name(), Ok(found(1, ttl)), secs(0)), Ok(addresses(1)));
    cache
}

/// Lets time pass up to there; true for each time that somebody used the name.
fn advance(cache: &mut Cache, to: u64, is_used: bool) -> Vec<NameChange> {
    let mut turns = Vec::new();
    while let Some(due) = cache.next().filter(|due| *due <= secs(to)) {
        turns.extend(cache.advance(due, |_| is_used).into_iter().map(|(_, turn)| turn));
    }
    turns
}

#[test]
fn a_ttl_counts_between_5_seconds_and_5_minutes() {
    for (ttl, refresh) in [(0, 4), (4, 4), (5, 4), (100, 80), (300, 240), (86_400, 240)] {
        assert_eq!(with_answer(ttl).next(), Some(secs(refresh)), "{ttl}");
    }
}

#[test]
fn an_answer_in_use_is_fetched_before_it_expires_and_served_meanwhile() {
    let mut cache = with_answer(100);
    assert_eq!(advance(&mut cache, 79, true), []);
    assert_eq!(cache.begin(), None);
    assert_eq!(advance(&mut cache, 80, true), []);
    assert_eq!(cache.begin(), Some(name()));
    assert_eq!(cache.ask(&name(), secs(90)), NameState::Known(addresses(1)));
    // The lookup takes longer than what is left: still nobody waits.
    assert_eq!(advance(&mut cache, 105, true), []);
    assert_eq!(cache.ask(&name(), secs(105)), NameState::Known(addresses(1)));
    assert_eq!(cache.settle(&name(), Ok(found(2, 100)), secs(106)), Ok(addresses(2)));
    assert_eq!(cache.ask(&name(), secs(106)), NameState::Known(addresses(2)));
    assert_eq!(cache.next(), Some(secs(186)));
}

#[test]
fn an_answer_that_nobody_used_expires_and_is_forgotten() {
    let mut cache = with_answer(100);
    assert_eq!(advance(&mut cache, 99, false), []);
    assert_eq!(advance(&mut cache, 100, false), [NameChange::Expired]);
    assert_eq!(cache.begin(), None);
    let kept = 100 + Limits::default().keep.as_secs();
    assert_eq!(advance(&mut cache, kept - 1, false), []);
    assert_eq!(advance(&mut cache, kept, false), [NameChange::Forgotten]);
    assert!(cache.is_empty());
    assert_eq!(cache.next(), None);
}

#[test]
fn an_expired_answer_is_not_given_before_a_lookup_failed() {
    let mut cache = with_answer(100);
    advance(&mut cache, 100, false);
    assert_eq!(cache.ask(&name(), secs(110)), NameState::Wait);
    assert_eq!(cache.begin(), Some(name()));
    assert_eq!(cache.settle(&name(), Err(NameError::Timeout), secs(118)), Ok(addresses(1)));
    assert_eq!(cache.ask(&name(), secs(118)), NameState::Known(addresses(1)));
}

#[test]
fn the_last_good_answer_is_kept_for_30_seconds_of_errors() {
    let mut cache = with_answer(100);
    let mut turns = Vec::new();
    for now in 80..=130 {
        turns.extend(advance(&mut cache, now, true).into_iter().map(|turn| (now, turn)));
        if now == 129 {
            assert_eq!(cache.ask(&name(), secs(now)), NameState::Known(addresses(1)));
        }
        while cache.begin().is_some() {
            // It fails however often it is tried.
            let kept = cache.settle(&name(), Err(NameError::NotFound), secs(now));
            assert_eq!(kept, if now < 130 { Ok(addresses(1)) } else { Err(NameError::NotFound) }, "{now}");
        }
    }
    assert_eq!(turns, [(130, NameChange::Expired)]);
    assert!(matches!(cache.ask(&name(), secs(130)), NameState::Failed(_) | NameState::Wait));
}

#[test]
fn the_last_known_address_serves_for_as_long_as_the_name_servers_are_away() {
    for is_used in [true, false] {
        let mut cache = with_answer(100);
        advance(&mut cache, 81, true);
        for now in 81..=7200 {
            while cache.begin().is_some() {
                assert_eq!(cache.settle(&name(), Err(NameError::Timeout), secs(now)), Ok(addresses(1)), "{now}");
            }
            assert_eq!(advance(&mut cache, now, is_used), [], "{now}");
        }
        assert_eq!(cache.ask(&name(), secs(7200)), NameState::Known(addresses(1)));
        // Somebody uses it, and they are back.
        advance(&mut cache, 7210, true);
        assert_eq!(cache.begin(), Some(name()));
        assert_eq!(cache.settle(&name(), Ok(found(2, 100)), secs(7211)), Ok(addresses(2)));
        assert_eq!(cache.ask(&name(), secs(7211)), NameState::Known(addresses(2)));
    }
}

#[test]
fn an_address_that_nobody_used_for_hours_serves_where_the_name_servers_are_away_by_then() {
    let mut cache = with_answer(100);
    assert_eq!(advance(&mut cache, 7200, false), [NameChange::Expired]);
    assert_eq!(cache.ask(&name(), secs(7200)), NameState::Wait, "they are asked first");
    assert_eq!(cache.begin(), Some(name()));
    assert_eq!(cache.settle(&name(), Err(NameError::Timeout), secs(7208)), Ok(addresses(1)));
    // What they take back is not served by its age.
    let mut cache = with_answer(100);
    advance(&mut cache, 7200, false);
    cache.ask(&name(), secs(7200));
    cache.begin();
    assert_eq!(cache.settle(&name(), Err(NameError::NotFound), secs(7201)), Err(NameError::NotFound));
}

#[test]
fn a_name_that_nobody_uses_makes_room_for_another() {
    let mut cache = Cache::new(Limits { names: 1, ..Limits::default() });
    cache.ask(&name(), secs(0));
    cache.begin();
    assert_eq!(cache.settle(&name(), Ok(found(1, 100)), secs(0)), Ok(addresses(1)));
    let other: Arc<str> = "other.test".into();
    assert_eq!(cache.ask(&other, secs(1)), NameState::Failed(NameError::TooMany), "it is served");
    advance(&mut cache, 200, false);
    assert_eq!((cache.ask(&other, secs(200)), cache.take_evicted()), (NameState::Wait, vec![name()]));
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_lookup_that_never_ends_keeps_an_answer_no_longer_either() {
    let mut cache = with_answer(100);
    advance(&mut cache, 80, true);
    assert_eq!(cache.begin(), Some(name()));
    assert_eq!(advance(&mut cache, 129, true), []);
    assert_eq!(advance(&mut cache, 130, true), [NameChange::Expired]);
    assert_eq!(cache.ask(&name(), secs(131)), NameState::Wait);
    assert_eq!(cache.settle(&name(), Err(NameError::Timeout), secs(140)), Err(NameError::Timeout));
}

#[test]
fn a_name_that_fails_is_looked_up_again_after_pauses_that_double_to_5_seconds() {
    let mut cache = Cache::new(Limits::default());
    let mut lookups = Vec::new();
    for tenth in 0..300 {
        let now = Duration::from_millis(tenth * 100);
        let asked = cache.ask(&name(), now);
        if cache.begin().is_some() {
            assert_eq!(asked, NameState::Wait);
            lookups.push(now.as_secs());
            assert_eq!(cache.settle(&name(), Err(NameError::NotFound), now), Err(NameError::NotFound));
        } else {
            assert_eq!(asked, NameState::Failed(NameError::NotFound));
        }
    }
    assert_eq!(lookups, [0, 1, 3, 7, 12, 17, 22, 27]);
    assert!(cache.is_failing("db.test"));
    assert_eq!(advance(&mut cache, 90, false), [NameChange::Forgotten]);
    assert!(!cache.is_failing("db.test"));
}

#[test]
fn a_name_is_looked_up_once_at_a_time() {
    let mut cache = Cache::new(Limits::default());
    for _ in 0..3 {
        assert_eq!(cache.ask(&name(), secs(0)), NameState::Wait);
    }
    assert_eq!((cache.begin(), cache.begin()), (Some(name()), None));
    assert_eq!(cache.ask(&name(), secs(1)), NameState::Wait);
    assert_eq!(cache.begin(), None);
    // What was asked before the answer is answered by it: no reason to fetch it again.
    assert_eq!(cache.settle(&name(), Ok(found(1, 10)), secs(1)), Ok(addresses(1)));
    assert_eq!(advance(&mut cache, 9, false), []);
    assert_eq!(cache.begin(), None);
}

#[test]
fn lookups_and_names_are_bounded() {
    let mut cache = Cache::new(Limits { lookups: 2, names: 3, ..Limits::default() });
    let names: Vec<Arc<str>> = ["a", "b", "c", "d"].map(Arc::from).into();
    for name in &names[..3] {
        assert_eq!(cache.ask(name, secs(0)), NameState::Wait);
    }
    assert_eq!(cache.ask(&names[3], secs(0)), NameState::Failed(NameError::TooMany));
    assert_eq!(
        (cache.len(), cache.begin(), cache.begin(), cache.begin()),
        (3, Some(names[0].clone()), Some(names[1].clone()), None)
    );
    assert_eq!(cache.settle(&names[1], Ok(found(1, 5)), secs(0)), Ok(addresses(1)));
    assert_eq!((cache.begin(), cache.begin()), (Some(names[2].clone()), None));
    // Room again once a name is forgotten.
    advance(&mut cache, 60, false);
    assert_eq!(cache.ask(&names[3], secs(60)), NameState::Wait);
}
