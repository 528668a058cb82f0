//! How fast the counters of a rule grow, over the last seconds. Pure state; bounded by the window.
//!
//! Keeps: a rate is an average over at least [`WINDOW_SECS`], so that one report that comes late or early does not show.

use std::collections::VecDeque;

use jiff::Timestamp;
use schema::counters::Figures;

use crate::decide::statistics::RatesDocument;

/// What rates are averages over, at least.
pub(super) const WINDOW_SECS: f64 = 5.0;
/// How often an edge reports counters that moved. What is reported after a silence moved within such an interval.
const REPORT_SECS: f64 = 1.0;
/// Readings that are closer than this are kept as one, so that no edge fills the memory of the server with them.
const APART_SECS: f64 = 0.5;

/// Bytes in, bytes out, connections.
type Sums = [u64; 3];

/// What was reported of a rule within the last seconds.
#[derive(Debug)]
pub(super) struct Window {
    /// As reported last.
    counters: Sums,
    /// The newest one before the window, and those within it, by what moved since the first report.
    readings: VecDeque<RateSample>,
}

#[derive(Debug, Clone, Copy)]
struct RateSample {
    at: Timestamp,
    moved: Sums,
}

impl Window {
    /// Begins with a report. Where its counters grew from is not known.
    pub(super) fn new(counters: &Figures, at: Timestamp) -> Self {
        Self { counters: sums(counters), readings: VecDeque::from([RateSample { at, moved: [0; 3] }]) }
    }

    /// Takes one more report in.
    pub(super) fn take(&mut self, counters: &Figures, now: Timestamp) {
        let after = sums(counters);
        let before = std::mem::replace(&mut self.counters, after);
        let Some(newest) = self.readings.back().copied().filter(|_| before != after) else { return };
        // Counters that fell began anew in between.
        let grown = |index: usize| after[index].checked_sub(before[index]).unwrap_or(after[index]);
        let moved = std::array::from_fn(|index| newest.moved[index].saturating_add(grown(index)));
        let previous = self.readings.len().checked_sub(2).and_then(|index| self.readings.get(index));
        if previous.is_some_and(|previous| seconds(previous.at, now) < APART_SECS) {
            self.readings.pop_back();
        }
        self.readings.push_back(RateSample { at: now, moved });
        while self.readings.get(1).is_some_and(|next| seconds(next.at, now) >= WINDOW_SECS) {
            self.readings.pop_front();
        }
    }

    /// How fast they grow.
    pub(super) fn rates(&self, now: Timestamp) -> RatesDocument {
        let before = self.readings.iter().rposition(|reading| seconds(reading.at, now) >= WINDOW_SECS).unwrap_or(0);
        let (Some(base), Some(newest)) = (self.readings.get(before), self.readings.back()) else { return none() };
        let Some(next) = self.readings.get(before + 1) else { return none() };
        // Counters that were not reported for a while stood still.
        let still = (seconds(base.at, next.at) - REPORT_SECS).max(0.0);
        let over = (seconds(base.at, newest.at) - still).max(WINDOW_SECS);
        let grown = |index: usize| newest.moved[index] - base.moved[index];
        RatesDocument::of([grown(0), grown(1), grown(2)], over)
    }
}

/// Of a rule that does nothing.
pub(super) fn none() -> RatesDocument {
    RatesDocument { over_secs: WINDOW_SECS, ..RatesDocument::default() }
}

fn sums(counters: &Figures) -> Sums {
    [counters.bytes_in, counters.bytes_out, counters.connections_total]
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000 + millis).expect("in range")
    }

    fn counters(bytes: u64, connections: u64) -> Figures {
        Figures { bytes_in: bytes, connections_total: connections, ..Figures::default() }
    }

    /// Reports as milliseconds, bytes and connections; the rates at a time.
    fn rates(reports: &[(i64, u64, u64)], now: i64) -> (f64, f64, f64) {
        let mut reports = reports.iter();
        let (millis, bytes, connections) = reports.next().expect("a report");
        let mut window = Window::new(&counters(*bytes, *connections), at(*millis));
        for (millis, bytes, connections) in reports {
            window.take(&counters(*bytes, *connections), at(*millis));
        }
        let rates = window.rates(at(now));
        (rates.bytes_in_per_sec, rates.connections_per_sec, rates.over_secs)
    }

    #[test]
    fn steady_traffic_has_its_rate_whenever_it_is_asked_for() {
        let reports: Vec<(i64, u64, u64)> =
            (0..60_u32).map(|n| (i64::from(n) * 1000, u64::from(n) * 1000, u64::from(n) * 2)).collect();
        for now in [59_000, 59_400, 59_999] {
            assert_eq!(rates(&reports, now), (1000.0, 2.0, 5.0), "{now}");
        }
    }

    #[test]
    fn a_burst_counts_for_five_seconds_and_no_longer() {
        let burst = [(0, 0, 0), (60_000, 5000, 5)];
        for now in [60_000, 62_000, 64_900] {
            assert_eq!(rates(&burst, now), (1000.0, 1.0, 5.0), "{now}");
        }
        assert_eq!(rates(&burst, 65_000), (0.0, 0.0, 5.0));
    }

    #[test]
    fn where_the_first_report_grew_from_is_not_known() {
        assert_eq!(rates(&[(0, 5000, 5)], 0), (0.0, 0.0, 5.0));
        assert_eq!(rates(&[(0, 5000, 5), (1000, 6000, 5)], 1000), (200.0, 0.0, 5.0));
    }

    #[test]
    fn an_edge_that_began_anew_counts_from_nothing() {
        let reports = [(0, 0, 0), (1000, 1000, 1), (2000, 300, 1)];
        assert_eq!(rates(&reports, 2000), (260.0, 0.2, 5.0));
    }

    #[test]
    fn reports_without_end_take_no_more_memory() {
        let mut window = Window::new(&counters(0, 0), at(0));
        for n in 1..100_000_u32 {
            window.take(&counters(n.into(), n.into()), at(n.into()));
        }
        assert!(window.readings.len() < 16, "{}", window.readings.len());
        let rates = window.rates(at(99_999));
        assert!((900.0..=1000.0).contains(&rates.bytes_in_per_sec), "{rates:?}");
    }
}
