//! What the results of a check mean: thresholds, the pace of probes, and where a target starts. Pure.

use std::num::NonZeroU8;
use std::time::Duration;

use super::check::{DEFAULT_FALL, DEFAULT_RISE, HealthCheck};
use super::counter::{Counter, Mode, Thresholds};
use super::history::DEFAULT_HISTORY;
use super::state::Verdict;

/// The times between probes; jitter is added where they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pace {
    /// Of a settled target.
    pub interval: Duration,
    /// While there is no verdict, or between up and down.
    pub fast: Duration,
    /// While fully down.
    pub down: Duration,
}

impl Pace {
    /// From one probe to the next.
    pub fn next(&self, verdict: Verdict, counter: Counter) -> Duration {
        match verdict {
            Verdict::Unknown => self.fast,
            _ if counter.is_full() => self.interval,
            _ if counter.is_empty() => self.down,
            _ => self.fast,
        }
    }
}

/// Where a target starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Initial {
    /// Unknown until a probe has ended.
    #[default]
    Probe,
    /// Up until probes fail.
    Optimistic,
}

impl Initial {
    /// Every word of the key.
    pub const WORDS: &'static [&'static str] = &["probe", "optimistic"];

    /// As in a rule file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Optimistic => "optimistic",
        }
    }

    /// The value that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Probe, Self::Optimistic].into_iter().find(|initial| initial.as_str() == text)
    }
}

/// What the results of a check mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Terms {
    /// How many results a change takes.
    pub thresholds: Thresholds,
    /// When to probe; none: there is no active check, and connections are the only results.
    pub pace: Option<Pace>,
    /// Where a target starts.
    pub initial: Initial,
    /// Changes of its state that are kept.
    pub history: u8,
}

impl Terms {
    /// Those of a rule's check, if it has one.
    pub fn of(check: Option<&HealthCheck>) -> Self {
        let Some(check) = check else {
            let thresholds = Thresholds { rise: count(DEFAULT_RISE), fall: count(DEFAULT_FALL), mode: Mode::Snap };
            return Self { thresholds, pace: None, initial: Initial::Probe, history: DEFAULT_HISTORY };
        };
        let secs = |secs: u32| Duration::from_secs(u64::from(secs));
        let mode = if check.is_leaky { Mode::Leaky } else { Mode::Snap };
        Self {
            thresholds: Thresholds { rise: count(check.rise), fall: count(check.fall), mode },
            pace: Some(Pace {
                interval: secs(check.interval_secs),
                fast: secs(check.fast_interval_secs),
                down: secs(check.down_interval_secs),
            }),
            initial: if check.is_optimistic { Initial::Optimistic } else { Initial::Probe },
            history: check.history,
        }
    }

    /// Verdict and counter of a target that starts, or starts over.
    pub(super) fn start(&self) -> (Verdict, Counter) {
        match self.initial {
            Initial::Probe => (Verdict::Unknown, Counter::undecided(self.thresholds)),
            Initial::Optimistic => (Verdict::Up, Counter::full(self.thresholds)),
        }
    }
}

/// A valid check has no zero; a check that was never validated counts at least one.
fn count(number: u8) -> NonZeroU8 {
    NonZeroU8::new(number).unwrap_or(NonZeroU8::MIN)
}
