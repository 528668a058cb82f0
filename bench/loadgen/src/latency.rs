//! Times that single operations took, and their quantiles. Pure.

use std::time::Duration;

use crate::report::Report;

/// Every sample is kept, as nanoseconds: a measurement has a few millions of them.
pub struct Latency(Vec<u32>);

impl Latency {
    pub fn new() -> Self {
        Self(Vec::with_capacity(1 << 20))
    }

    pub fn add(&mut self, time: Duration) {
        self.0.push(u32::try_from(time.as_nanos()).unwrap_or(u32::MAX));
    }

    pub fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Adds the median, p99 and p99.9 in microseconds.
    pub fn report(mut self, report: Report) -> Report {
        self.0.sort_unstable();
        let at = |per_mille: usize| {
            let place = (self.0.len() * per_mille / 1000).min(self.0.len().saturating_sub(1));
            f64::from(self.0.get(place).copied().unwrap_or(0)) / 1000.0
        };
        report.number("p50_us", at(500)).number("p99_us", at(990)).number("p999_us", at(999))
    }
}
