//! What connections met at the single ports of a target row, kept only for ports that have something to say. Pure,
//! `now` is an argument.
//!
//! Keeps: a port is judged by its own connections alone; a port that has recovered, or that nobody has asked for a
//! while, is forgotten; the memory is bounded, whoever scans a range.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::passive::{PASSIVE_WINDOW, PassiveWindow};
use super::target::TRIAL_AFTER;

/// Ports of one row that are remembered at once: four times the widest range that a server takes by default.
pub const PORTS_REMEMBERED: usize = 4096;
/// How long a failed port is remembered after its last connection: long past the trial that asks it again.
pub const PORT_MEMORY: Duration = Duration::from_mins(10);

/// What one result made of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortChange {
    /// Its third failure in a row, within the window.
    Failed,
    /// Its second success in a row.
    Recovered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PortHealth {
    window: PassiveWindow,
    is_failing: bool,
    /// The next connection is its trial.
    wants_trial: bool,
    /// When a connection met something here last.
    heard: Duration,
    /// When time alone changes something about it.
    due: Duration,
}

/// The ports of one row that connections met something at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PortVerdicts {
    ports: BTreeMap<u16, PortHealth>,
    agenda: BTreeSet<(Duration, u16)>,
    failing: usize,
}

impl PortVerdicts {
    /// Notes what a connection met at a port.
    pub fn met(&mut self, port: u16, is_pass: bool, now: Duration) -> Option<PortChange> {
        if is_pass { self.succeeded(port, now) } else { self.failed(port, now) }
    }

    fn failed(&mut self, port: u16, now: Duration) -> Option<PortChange> {
        if !self.ports.contains_key(&port) && !self.make_room() {
            return None;
        }
        let mut one = self.take(port).unwrap_or(PortHealth {
            window: PassiveWindow::default(),
            is_failing: false,
            wants_trial: false,
            heard: now,
            due: now,
        });
        one.heard = now;
        let fails = one.window.failed(now) && !one.is_failing;
        if fails {
            one.window.clear();
            one.is_failing = true;
        }
        one.wants_trial = false;
        one.due = now + if one.is_failing { TRIAL_AFTER } else { PASSIVE_WINDOW };
        self.put(port, one);
        fails.then_some(PortChange::Failed)
    }

    fn succeeded(&mut self, port: u16, now: Duration) -> Option<PortChange> {
        let mut one = self.take(port)?;
        let is_recovered = one.window.succeeded();
        if !one.is_failing {
            return None;
        }
        if is_recovered {
            return Some(PortChange::Recovered);
        }
        // One more success recovers it: the next connection is sent there.
        (one.heard, one.due, one.wants_trial) = (now, now, false);
        self.put(port, one);
        None
    }

    /// Takes in that time has passed. `is_kept` says that failed ports are not forgotten, for nothing else would ask
    /// them again. True if another port is failing, or another one wants a trial, than before.
    pub fn turn(&mut self, now: Duration, is_kept: bool) -> bool {
        let mut has_changed = false;
        while let Some((at, port)) = self.agenda.first().copied().filter(|(at, _)| *at <= now) {
            let Some(mut one) = self.take(port) else { break };
            if one.is_failing && !one.wants_trial {
                one.wants_trial = true;
                one.due = at.max(one.heard + PORT_MEMORY);
                self.put(port, one);
                has_changed = true;
            } else if one.is_failing && is_kept {
                one.due = now + PORT_MEMORY;
                self.put(port, one);
            } else {
                has_changed |= one.is_failing;
            }
        }
        has_changed
    }

    /// When to call [`Self::turn`].
    pub fn next(&self) -> Option<Duration> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// A connection is the trial of this port: for the next 30 s there is no other, unless this one succeeds.
    pub fn trial_begun(&mut self, port: u16, now: Duration) {
        let Some(mut one) = self.take(port) else { return };
        if one.is_failing {
            (one.wants_trial, one.due) = (false, now + TRIAL_AFTER);
        }
        self.put(port, one);
    }

    /// The failing ports, in order.
    pub fn failing(&self) -> impl Iterator<Item = u16> + '_ {
        self.ports.iter().filter(|(_, one)| one.is_failing).map(|(port, _)| *port)
    }

    /// How many ports are failing.
    pub fn count(&self) -> usize {
        self.failing
    }

    /// True if connections failed this port.
    pub fn is_failing(&self, port: u16) -> bool {
        self.ports.get(&port).is_some_and(|one| one.is_failing)
    }

    /// True if the next connection to this port is its trial.
    pub fn wants_trial(&self, port: u16) -> bool {
        self.ports.get(&port).is_some_and(|one| one.wants_trial)
    }

    /// The ports at which a success would change something, as [`port_bit`]s.
    pub fn awaited(&self) -> u64 {
        self.ports.keys().fold(0, |bits, port| bits | port_bit(*port))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// What is known of those ports that another row of the same host has as well.
    #[must_use]
    pub fn of_ports(&self, is_in: impl Fn(u16) -> bool) -> Self {
        let mut some = Self::default();
        for (port, one) in self.ports.iter().filter(|(port, _)| is_in(**port)) {
            some.put(*port, *one);
        }
        some
    }

    /// Room for one more port: what was noted of one without a verdict gives way, a verdict does not.
    fn make_room(&mut self) -> bool {
        if self.ports.len() < PORTS_REMEMBERED {
            return true;
        }
        if self.failing == self.ports.len() {
            return false;
        }
        // Of ports without a verdict, the one that is due first was heard of first.
        let oldest = self.agenda.iter().map(|(_, port)| *port).find(|port| !self.is_failing(*port));
        oldest.is_some_and(|port| self.take(port).is_some())
    }

    fn take(&mut self, port: u16) -> Option<PortHealth> {
        let one = self.ports.remove(&port)?;
        self.agenda.remove(&(one.due, port));
        self.failing -= usize::from(one.is_failing);
        Some(one)
    }

    fn put(&mut self, port: u16, one: PortHealth) {
        self.agenda.insert((one.due, port));
        self.failing += usize::from(one.is_failing);
        self.ports.insert(port, one);
    }
}

/// The bit that stands for a port where 64 of them are enough: few ports share one by chance.
pub const fn port_bit(port: u16) -> u64 {
    1 << (port % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn fail(ports: &mut PortVerdicts, port: u16, now: Duration) {
        for _ in 0..3 {
            ports.met(port, false, now);
        }
    }

    #[test]
    fn three_failures_fail_a_port_and_two_successes_recover_it() {
        let mut ports = PortVerdicts::default();
        assert_eq!([(); 3].map(|()| ports.met(80, false, secs(1))), [None, None, Some(PortChange::Failed)]);
        assert_eq!((ports.failing().collect::<Vec<_>>(), ports.awaited()), (vec![80], port_bit(80)));
        assert_eq!(ports.met(81, true, secs(1)), None);
        assert_eq!([(); 2].map(|()| ports.met(80, true, secs(2))), [None, Some(PortChange::Recovered)]);
        assert_eq!(ports, PortVerdicts::default());
    }

    #[test]
    fn a_failed_port_wants_a_trial_after_thirty_seconds_and_another_at_once_when_it_succeeds() {
        let mut ports = PortVerdicts::default();
        fail(&mut ports, 80, secs(1));
        assert_eq!(ports.next(), Some(secs(31)));
        assert!(!ports.turn(secs(30), false) && ports.turn(secs(31), false) && ports.wants_trial(80));
        ports.trial_begun(80, secs(40));
        assert!(!ports.wants_trial(80));
        assert_eq!(ports.next(), Some(secs(70)));
        ports.met(80, true, secs(41));
        assert!(ports.turn(secs(41), false) && ports.wants_trial(80));
    }

    #[test]
    fn a_port_that_nobody_asks_is_forgotten_unless_nothing_else_would_ask_it() {
        let mut ports = PortVerdicts::default();
        fail(&mut ports, 80, secs(0));
        ports.met(81, false, secs(0));
        ports.turn(secs(31), true);
        assert_eq!((ports.count(), ports.awaited()), (1, port_bit(80)), "one failure is forgotten with its window");
        assert!(!ports.turn(PORT_MEMORY, true));
        assert_eq!((ports.count(), ports.wants_trial(80)), (1, true));
        assert!(ports.turn(PORT_MEMORY + PORT_MEMORY, false));
        assert_eq!(ports, PortVerdicts::default());
    }

    #[test]
    fn a_scan_of_every_port_fills_a_bounded_memory_and_throws_out_no_verdict() {
        let mut ports = PortVerdicts::default();
        fail(&mut ports, 1, secs(0));
        for port in 2..=u16::MAX {
            ports.met(port, false, secs(1));
        }
        assert_eq!((ports.ports.len(), ports.agenda.len(), ports.count()), (PORTS_REMEMBERED, PORTS_REMEMBERED, 1));
        for port in 2..=u16::MAX {
            fail(&mut ports, port, secs(2));
        }
        assert_eq!((ports.ports.len(), ports.count()), (PORTS_REMEMBERED, PORTS_REMEMBERED));
    }
}
