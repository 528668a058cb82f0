//! The counter against simpler models of itself.

use proptest::collection::vec;
use proptest::prelude::*;
use schema::health::{Counter, Mode, Thresholds};

use crate::support::{any_thresholds, config, thresholds};

fn after(counter: Counter, is_pass: bool) -> Counter {
    if is_pass { counter.passed() } else { counter.failed() }
}

/// Snap, told in another way: a verdict, and how long the row of results against it is.
#[derive(Debug)]
struct TwoRuns {
    is_up: Option<bool>,
    against: u16,
}

impl TwoRuns {
    fn take(&mut self, is_pass: bool, thresholds: Thresholds) {
        let Some(is_up) = self.is_up else {
            self.is_up = Some(is_pass);
            return;
        };
        if is_pass == is_up {
            self.against = 0;
            return;
        }
        self.against += 1;
        let needed = if is_up { thresholds.fall } else { thresholds.rise };
        if self.against == u16::from(needed.get()) {
            (self.is_up, self.against) = (Some(!is_up), 0);
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_counter_stays_in_its_bounds_and_up_is_from_rise_on(
        thresholds in any_thresholds(),
        results in vec(any::<bool>(), 0..600),
    ) {
        let maximum = u16::from(thresholds.rise.get()) + u16::from(thresholds.fall.get()) - 1;
        let mut counter = Counter::undecided(thresholds);
        for is_pass in results {
            counter = after(counter, is_pass);
            prop_assert!(counter.value() <= maximum);
            prop_assert_eq!(counter.is_up(), counter.value() >= u16::from(thresholds.rise.get()));
            prop_assert_eq!(counter.is_full(), counter.value() == maximum);
        }
    }

    #[test]
    fn the_first_result_decides(thresholds in any_thresholds(), is_pass: bool) {
        prop_assert_eq!(after(Counter::undecided(thresholds), is_pass).is_up(), is_pass);
    }

    #[test]
    fn snap_is_the_model_of_two_rows(rise in 1_u8..=6, fall in 1_u8..=6, results in vec(any::<bool>(), 0..200)) {
        let thresholds = thresholds(rise, fall, Mode::Snap);
        let mut counter = Counter::undecided(thresholds);
        let mut model = TwoRuns { is_up: None, against: 0 };
        for is_pass in results {
            counter = after(counter, is_pass);
            model.take(is_pass, thresholds);
            prop_assert_eq!(Some(counter.is_up()), model.is_up);
            let distance = if counter.is_up() { thresholds.maximum() - counter.value() } else { counter.value() };
            prop_assert_eq!(distance, model.against);
        }
    }

    #[test]
    fn leaky_is_the_clamped_walk(rise in 1_u8..=6, fall in 1_u8..=6, results in vec(any::<bool>(), 0..200)) {
        let thresholds = thresholds(rise, fall, Mode::Leaky);
        let mut counter = Counter::undecided(thresholds);
        let mut walk = i32::from(rise) - 1;
        for is_pass in results {
            counter = after(counter, is_pass);
            walk = (walk + if is_pass { 1 } else { -1 }).clamp(0, i32::from(rise) + i32::from(fall) - 1);
            prop_assert_eq!(i32::from(counter.value()), walk);
        }
    }

    #[test]
    fn alternation_never_flaps_a_snap_counter(rise in 2_u8..=255, fall in 2_u8..=255, first: bool, length in 1_usize..300) {
        let mut counter = after(Counter::undecided(thresholds(rise, fall, Mode::Snap)), first);
        for number in 0..length {
            counter = after(counter, (number % 2 == 0) != first);
            prop_assert_eq!(counter.is_up(), first);
        }
    }

    #[test]
    fn a_fresh_verdict_of_a_snap_counter_takes_a_full_row_to_change(rise in 1_u8..=255, fall in 1_u8..=255) {
        let thresholds = thresholds(rise, fall, Mode::Snap);
        let mut up = Counter::undecided(thresholds).passed();
        let mut down = Counter::undecided(thresholds).failed();
        for number in 1..=255 {
            (up, down) = (if up.is_up() { up.failed() } else { up }, if down.is_up() { down } else { down.passed() });
            prop_assert_eq!(up.is_up(), number < fall);
            prop_assert_eq!(down.is_up(), number >= rise);
        }
    }
}
