//! The health of one target: what each result and operation makes of it. Pure, `now` is an argument.
//!
//! `now` is the time since any fixed start, the same for all calls; shifting all of them changes nothing.
//! Keeps: up exactly while the counter has reached `rise`; results of a paused or disabled target are dropped.

use std::time::Duration;

use super::counter::Counter;
use super::history::{ChangeCause, History, StateChange};
use super::passive::PassiveWindow;
use super::result::Outcome;
use super::state::{Admin, Operation, TargetState, Verdict};
use super::terms::Terms;

/// How long a failed target without an active check is left alone before one connection may try it.
pub const TRIAL_AFTER: Duration = Duration::from_secs(30);

/// What happens to a target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// A probe ended.
    Active(Outcome),
    /// A probe of a target that is waited for failed, and another try follows: that is not a verdict yet.
    Tried(Outcome),
    /// A probe ended without a result, by no fault of the target.
    Missed,
    /// The dialling of a connection ended.
    Passive(Outcome),
    /// The dialling of a connection to one port of several ended, and says nothing about the others.
    Port {
        /// What it met.
        outcome: Outcome,
        /// Every port of the target is failing now.
        are_all_failing: bool,
        /// That port was failing before: no probe is hurried for it again.
        is_known: bool,
    },
    /// An operator, or the rule's `enabled`.
    Operation(Operation),
    /// Time passed, and nothing else: by itself that changes no verdict.
    Tick,
}

/// Which results took a target down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Witness {
    Probes,
    Connections,
}

/// The health of one target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetHealth {
    terms: Terms,
    admin: Admin,
    verdict: Verdict,
    counter: Counter,
    passive: PassiveWindow,
    down_by: Option<Witness>,
    since: Duration,
    last: Option<(Duration, Outcome)>,
    history: History,
    next_probe: Option<Duration>,
    next_trial: Option<Duration>,
}

impl TargetHealth {
    /// A target that joins a rule. Its first probe is due now; who sends many spreads them.
    pub fn new(terms: Terms, now: Duration) -> Self {
        let (verdict, counter) = terms.start();
        let to = TargetState::of(Admin::Enabled, verdict);
        let mut history = History::default();
        history
            .add(StateChange { from: TargetState::Unknown, to, time: now, cause: ChangeCause::Start }, terms.history);
        Self {
            terms,
            admin: Admin::Enabled,
            verdict,
            counter,
            passive: PassiveWindow::default(),
            down_by: None,
            since: now,
            last: None,
            history,
            next_probe: terms.pace.map(|_| now),
            next_trial: None,
        }
    }

    /// The one name of its state.
    pub fn state(&self) -> TargetState {
        TargetState::of(self.admin, self.verdict)
    }

    /// What operators say.
    pub fn admin(&self) -> Admin {
        self.admin
    }

    /// The counter.
    pub fn counter(&self) -> Counter {
        self.counter
    }

    /// When it came into its state.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// The last result that counted, and when.
    pub fn last_result(&self) -> Option<(Duration, &Outcome)> {
        self.last.as_ref().map(|(time, outcome)| (*time, outcome))
    }

    /// The last changes of its state.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What its results mean.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// When the next probe is due; none without an active check, and while paused or disabled. A time in the past
    /// is a probe that is late, not one that failed.
    pub fn next_probe(&self) -> Option<Duration> {
        self.next_probe
    }

    /// When its next trial is due; none while it is not one that only a connection can ask.
    pub fn next_trial(&self) -> Option<Duration> {
        self.next_trial
    }

    /// True if one connection may try this failed target, which nothing else would ask.
    pub fn is_trial_due(&self, now: Duration) -> bool {
        self.next_trial.is_some_and(|at| at <= now)
    }

    /// True if the success of a connection would change anything: only then it needs to be told.
    pub fn awaits_success(&self) -> bool {
        let is_enabled = self.admin == Admin::Enabled;
        self.awaits_first() || is_enabled && (self.is_down_by_connections() || self.passive.has_failures())
    }

    /// True if what connections meet at one of its ports counts: it is in use, and no probe has failed it.
    pub fn hears_ports(&self) -> bool {
        self.admin == Admin::Enabled && self.down_by != Some(Witness::Probes)
    }

    /// True if connections failed it, one port after the other.
    pub fn is_down_by_connections(&self) -> bool {
        self.down_by == Some(Witness::Connections)
    }

    /// True if nothing has given it a verdict, and nobody but connections ever will.
    pub fn awaits_first(&self) -> bool {
        self.admin == Admin::Enabled && self.verdict == Verdict::Unknown && self.terms.pace.is_none()
    }

    /// Takes the trial, if it is due: for the next 30 s there is no other, unless this one succeeds.
    pub fn take_trial(&mut self, now: Duration) -> bool {
        let is_due = self.is_trial_due(now);
        if is_due {
            self.next_trial = Some(now + TRIAL_AFTER);
        }
        is_due
    }

    /// Takes in what happened; the change of state, if it is one.
    pub fn apply(&mut self, input: Input, now: Duration) -> Option<StateChange> {
        let from = self.state();
        let cause = match input {
            Input::Active(outcome) => self.probed(outcome, now)?,
            Input::Passive(outcome) => self.connected(outcome, now)?,
            Input::Port { outcome, are_all_failing, is_known } => {
                self.met(outcome, (are_all_failing, is_known), now)?
            }
            Input::Operation(operation) => self.operate(operation, now)?,
            Input::Tried(outcome) => {
                if self.admin == Admin::Enabled {
                    self.last = Some((now, outcome));
                }
                self.missed(now);
                return None;
            }
            Input::Missed => {
                self.missed(now);
                return None;
            }
            Input::Tick => return None,
        };
        self.note(from, cause, now)
    }

    /// Keeps so many changes of its state from now on.
    pub fn keep_history(&mut self, most: u8) {
        self.terms.history = most;
        self.history.keep(most);
    }

    /// Takes a changed check: a fresh start, while what an operator said stays in force.
    pub fn change_terms(&mut self, terms: Terms, now: Duration) -> Option<StateChange> {
        let from = self.state();
        self.terms = terms;
        match self.admin {
            Admin::Enabled => self.start_over(terms.pace.map(|_| now)),
            Admin::Paused => self.counter = Counter::empty(terms.thresholds),
            Admin::Disabled | Admin::Removed => (self.verdict, self.counter) = terms.start(),
        }
        self.note(from, ChangeCause::CheckChanged, now)
    }

    fn note(&mut self, from: TargetState, cause: ChangeCause, now: Duration) -> Option<StateChange> {
        let to = self.state();
        if from == to {
            return None;
        }
        self.since = now;
        let change = StateChange { from, to, time: now, cause };
        self.history.add(change.clone(), self.terms.history);
        Some(change)
    }

    fn probed(&mut self, outcome: Outcome, now: Duration) -> Option<ChangeCause> {
        let pace = self.terms.pace.filter(|_| self.admin == Admin::Enabled)?;
        let counter = if outcome.is_pass() { self.counter.passed() } else { self.counter.failed() };
        self.judge(if counter.is_up() { Verdict::Up } else { Verdict::Down }, counter);
        if !outcome.is_pass() && self.verdict == Verdict::Down {
            // From here on connections alone cannot recover it, whoever took it down.
            self.down_by = Some(Witness::Probes);
        }
        self.next_probe = Some(now + pace.next(self.verdict, self.counter));
        self.last = Some((now, outcome.clone()));
        Some(ChangeCause::Active(outcome))
    }

    fn missed(&mut self, now: Duration) {
        if let Some(pace) = self.terms.pace.filter(|_| self.admin == Admin::Enabled) {
            self.next_probe = Some(now + pace.next(self.verdict, self.counter));
        }
    }

    fn connected(&mut self, outcome: Outcome, now: Duration) -> Option<ChangeCause> {
        if self.admin != Admin::Enabled {
            return None;
        }
        let is_checked = self.terms.pace.is_some();
        if outcome.is_pass() {
            let is_recovered = self.passive.succeeded();
            let recovers = self.down_by == Some(Witness::Connections) && is_recovered;
            let decides = self.verdict == Verdict::Unknown && !is_checked;
            if recovers || decides {
                self.judge(Verdict::Up, Counter::full(self.terms.thresholds));
            } else if self.next_trial.is_some() {
                self.next_trial = Some(now);
            }
        } else {
            let fails = self.passive.failed(now);
            if self.verdict != Verdict::Down {
                if fails {
                    self.judge(Verdict::Down, Counter::empty(self.terms.thresholds));
                    self.down_by = Some(Witness::Connections);
                }
                self.next_probe = self.terms.pace.map(|_| now);
            }
            if self.verdict == Verdict::Down && !is_checked {
                self.next_trial = Some(now + TRIAL_AFTER);
            }
        }
        self.last = Some((now, outcome.clone()));
        Some(ChangeCause::Passive(outcome))
    }

    /// Of a target of several ports: it is as well as its best one.
    fn met(
        &mut self,
        outcome: Outcome,
        (are_all_failing, is_known): (bool, bool),
        now: Duration,
    ) -> Option<ChangeCause> {
        if !self.hears_ports() {
            return None;
        }
        match self.verdict {
            Verdict::Down if !are_all_failing => self.judge(Verdict::Up, Counter::full(self.terms.thresholds)),
            Verdict::Unknown if outcome.is_pass() && self.awaits_first() => {
                self.judge(Verdict::Up, Counter::full(self.terms.thresholds));
            }
            Verdict::Unknown | Verdict::Up if are_all_failing => {
                self.judge(Verdict::Down, Counter::empty(self.terms.thresholds));
                self.down_by = Some(Witness::Connections);
            }
            _ => {}
        }
        if !outcome.is_pass() && !is_known {
            self.next_probe = self.terms.pace.map(|_| now);
        }
        self.last = Some((now, outcome.clone()));
        Some(ChangeCause::Passive(outcome))
    }

    fn operate(&mut self, operation: Operation, now: Duration) -> Option<ChangeCause> {
        let after = self.admin.after(operation);
        if after == self.admin {
            return None;
        }
        self.admin = after;
        match after {
            Admin::Enabled => {
                let (verdict, counter) = self.terms.start();
                let first = self.terms.pace.map(|pace| now + pace.next(verdict, counter));
                self.start_over(first);
            }
            Admin::Paused => {
                self.judge(Verdict::Unknown, Counter::empty(self.terms.thresholds));
                self.silence();
            }
            Admin::Disabled | Admin::Removed => self.silence(),
        }
        Some(ChangeCause::Operation(operation))
    }

    fn start_over(&mut self, next_probe: Option<Duration>) {
        let (verdict, counter) = self.terms.start();
        self.judge(verdict, counter);
        self.silence();
        self.next_probe = next_probe;
    }

    fn silence(&mut self) {
        self.passive.clear();
        self.next_probe = None;
        self.next_trial = None;
    }

    /// Sets the verdict; a new one starts with an empty window, so that it too takes full rows to change.
    fn judge(&mut self, verdict: Verdict, counter: Counter) {
        if verdict != self.verdict {
            self.passive.clear();
            self.down_by = None;
            self.next_trial = None;
        }
        (self.verdict, self.counter) = (verdict, counter);
    }
}
