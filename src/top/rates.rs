//! How fast the bytes of the selected rule move, over the last minutes. Pure.

use std::collections::VecDeque;

use jiff::Timestamp;
use reconciler::decide::statistics::StatsDocument;

pub(crate) use reconciler::decide::statistics::RatesDocument as Sample;
use schema::name::RuleAddress;

/// Ten minutes of one sample every five seconds.
const KEPT: usize = 120;

/// The rates of one rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RuleRates {
    /// The rule.
    pub(crate) rule: RuleAddress,
    /// The oldest first.
    samples: VecDeque<Sample>,
    /// When the last one was taken.
    pub(crate) at: Option<Timestamp>,
    /// Why there is none at the moment.
    pub(crate) problem: Option<String>,
}

impl RuleRates {
    /// Of a rule that has just been selected.
    pub(crate) fn of(rule: RuleAddress) -> Self {
        Self { rule, samples: VecDeque::new(), at: None, problem: None }
    }

    /// Takes in a sample. One that the server sent again is not a second one.
    pub(crate) fn take(&mut self, stats: &StatsDocument) {
        self.problem = None;
        if self.at.replace(stats.at) == Some(stats.at) {
            return;
        }
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(stats.rates);
    }

    /// The newest sample.
    pub(crate) fn last(&self) -> Option<&Sample> {
        self.samples.back()
    }

    /// One of the rates as numbers, the oldest first, and at most so many.
    pub(crate) fn line(&self, of: impl Fn(&Sample) -> f64, most: usize) -> Vec<u64> {
        let skipped = self.samples.len().saturating_sub(most);
        self.samples.iter().skip(skipped).map(|rates| of(rates).max(0.0).round() as u64).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A sample of a rule, taken so many seconds after the first.
    pub(crate) fn sample(secs: u32, bytes_in: f64, bytes_out: f64) -> StatsDocument {
        let at = format!("2026-01-02T08:{:02}:{:02}Z", secs / 60, secs % 60);
        let rates = json!({"bytes_in_per_sec": bytes_in, "bytes_out_per_sec": bytes_out, "connections_per_sec": 1.5,
            "over_secs": 5.0});
        let figures = serde_json::to_value(schema::counters::Figures::default()).expect("figures");
        let mut document = json!({"edge": "fra-1", "rule": "web", "at": at, "rates": rates});
        for (name, value) in figures.as_object().into_iter().flatten() {
            document[name.as_str()] = value.clone();
        }
        serde_json::from_value(document).expect("a sample")
    }

    #[test]
    fn the_newest_samples_are_kept() {
        let mut rates = RuleRates::of(RuleAddress::parse("fra-1/web").expect("an address"));
        for number in 0..KEPT as u32 + 5 {
            rates.take(&sample(number * 5, f64::from(number), 0.0));
            rates.take(&sample(number * 5, 999.0, 0.0));
        }
        let line = rates.line(|rates| rates.bytes_in_per_sec, usize::MAX);
        assert_eq!((line.len(), line.first(), line.last()), (KEPT, Some(&5), Some(&124)));
        assert_eq!(rates.line(|rates| rates.bytes_in_per_sec, 2), [123, 124]);
    }
}
