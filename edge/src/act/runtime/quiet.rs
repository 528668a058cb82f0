//! How changes wait for a moment without the connections that they would cost. I/O only towards counters and the clock.
//!
//! Keeps: what costs no connection never waits, and nothing waits for longer than its window; when that is over, the
//! change is made all the same.

use std::collections::BTreeMap;
use std::time::Duration;

use schema::diff::Rules;
use schema::ending::Part;
use schema::name::RuleName;
use tokio::time::Instant;

use super::actor::Actor;
use crate::act::workers::Meter;
use crate::decide::transition::{self, WaitingRules, Wanted};

/// How often counters are looked at while something waits: a pause between two connections of a client that comes back
/// at once is to be met, and reading a few counters costs microseconds.
const LOOK: Duration = Duration::from_millis(20);

/// How long changes wait for a quiet moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuietWindow {
    until: Instant,
    length: Duration,
}

impl QuietWindow {
    /// From now on; `None` where nothing is to wait.
    pub(super) fn begin(length: Duration) -> Option<Self> {
        (!length.is_zero()).then(|| Self { until: Instant::now() + length, length })
    }
}

impl Actor {
    /// Holds what would cost connections that live now.
    pub(super) fn hold_busy(&mut self, wanted: &mut BTreeMap<RuleName, Wanted>) {
        self.waiting = WaitingRules::new();
        if self.quiet.is_none_or(|quiet| Instant::now() >= quiet.until) {
            self.quiet = None;
            return;
        }
        let current: Rules = self.serving.iter().map(|(name, served)| (name.clone(), served.rule.clone())).collect();
        self.waiting = transition::hold_busy(&current, wanted, |name, loss| self.is_busy(name, loss));
    }

    /// True if connections would be lost.
    fn is_busy(&self, name: &RuleName, loss: &[Part]) -> bool {
        self.serving.get(name).is_some_and(|served| has_connections(&served.meter, loss))
    }

    /// When to look at the counters again.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let quiet = self.quiet.filter(|_| !self.waiting.is_empty() && !self.has_stopped)?;
        Some((Instant::now() + LOOK).min(quiet.until))
    }

    /// True if a rule waits no longer.
    pub(super) fn is_quieter(&self) -> bool {
        let is_quiet = |(name, loss): &(RuleName, Vec<Part>)| !self.is_busy(name, loss);
        self.quiet.is_none_or(|quiet| Instant::now() >= quiet.until) || self.waiting.values().flatten().any(is_quiet)
    }

    /// Rules that nobody wants any more, and that wait.
    pub(super) fn held_though_removed(&self) -> impl Iterator<Item = &RuleName> {
        self.waiting.keys().filter(|name| !self.desired.rules.contains_key(*name))
    }

    /// What a waiting rule says.
    pub(super) fn waiting_words(&self) -> String {
        let secs = self.quiet.map_or(0.0, |quiet| quiet.length.as_secs_f64());
        format!("waits for a moment without connections, for at most {secs} s")
    }
}

/// True if one of a rule's connections would end. Those that drain already do so whatever happens.
fn has_connections(meter: &Meter, loss: &[Part]) -> bool {
    meter.active() > 0
        && meter.per_place().iter().any(|((listen_port, host, port), _)| {
            loss.iter().any(|part| part.ends(part.listen.at(*listen_port), host, *port))
        })
}
