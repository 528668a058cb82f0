//! What the runtime says and stores about itself. I/O only towards the state folder.
//!
//! Keeps: an unchanged status wakes nobody, an unchanged state writes nothing, and a state that is not on the disk
//! reports it until it is.

use std::sync::Arc;

use schema::canonical::{self, Digest};
use schema::name::RuleName;
use schema::state::RuleState;
use schema::wire;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::actor::{Actor, Unstored};
use crate::act::health::View;
use crate::act::last_good::{Exception, StateError, Stored};
use crate::act::status::{RuleStatus, Status};
use crate::act::wording;
use crate::decide::backoff;
use crate::decide::desired::DesiredRule;

impl Actor {
    /// Shows the status to whoever looks.
    pub(super) fn publish(&self) {
        let view = self.health.view();
        let status = |(name, desired): (&RuleName, &DesiredRule)| self.rule_status(name, desired, &view);
        let mut rules: Vec<RuleStatus> = self.desired.rules.iter().map(status).collect();
        rules.extend(self.desired.nameless.iter().map(|(spec, rejection)| RuleStatus {
            name: spec.name.clone(),
            state: RuleState::Rejected,
            code: Some(rejection.code),
            message: rejection.message.clone(),
            running: None,
            wanted: Some(spec.clone()),
            meter: None,
            health: None,
            drains: Vec::new(),
        }));
        let held = self.held_though_removed().filter_map(|name| Some((name, self.serving.get(name)?)));
        rules.extend(held.map(|(name, served)| RuleStatus {
            name: name.to_string(),
            state: RuleState::Pending,
            code: None,
            message: self.waiting_words(),
            running: Some(served.rule.clone()),
            wanted: None,
            meter: Some(served.meter.clone()),
            health: view.get(name).cloned(),
            drains: self.drains.of(&served.meter),
        }));
        let is_told = |name: &RuleName| self.desired.rules.contains_key(name) || self.waiting.contains_key(name);
        let draining = self.drains.rules().filter(|(name, _)| !is_told(name));
        rules.extend(draining.map(|(name, meter)| RuleStatus {
            name: name.to_string(),
            state: RuleState::Draining,
            code: None,
            message: String::new(),
            running: None,
            wanted: None,
            meter: Some(meter.clone()),
            health: None,
            drains: self.drains.of(meter),
        }));
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        let ends = self.desired.ends_to_wire();
        let status = Status {
            accepted: self.desired.accepted.clone(),
            running_digest: self.running_digest(),
            rules,
            listeners: self.dataplane.listeners(),
            confirmation: self.confirmation(),
            ended: ends.iter().filter(|end| !self.desired.rules.contains_key(end.rule.as_str())).cloned().collect(),
            ends,
        };
        self.status.send_if_modified(|current| {
            let is_new = **current != status;
            if is_new {
                *current = Arc::new(status);
            }
            is_new
        });
    }

    /// Digest of what serves.
    pub(super) fn running_digest(&self) -> Digest {
        canonical::rules_digest(self.serving.values().map(|served| &*served.rule))
    }

    fn rule_status(&self, name: &RuleName, desired: &DesiredRule, view: &View) -> RuleStatus {
        let served = self.serving.get(name);
        let (state, code, message) = if let Some(rejection) = &desired.rejection {
            (RuleState::Rejected, Some(rejection.code), rejection.message.clone())
        } else if self.waiting.contains_key(name) {
            (RuleState::Pending, None, self.waiting_words())
        } else if let Some(failed) = self.failed.get(name).filter(|_| self.is_yielding(name)) {
            let message = format!("{}; waits for another edge of this host to release it", failed.failure.message);
            (RuleState::Pending, Some(failed.failure.code), message)
        } else if let Some(failed) = self.failed.get(name) {
            (RuleState::Failed, Some(failed.failure.code), failed.failure.message.clone())
        } else {
            let unstored = self.unstored.as_ref().map(|unstored| unstored.reason.clone());
            (RuleState::Active, None, unstored.unwrap_or_default())
        };
        let is_as_desired = served.is_some_and(|served| desired.rule.as_ref() == Some(&served.rule));
        RuleStatus {
            name: name.to_string(),
            state,
            code,
            message,
            running: served.map(|served| served.rule.clone()),
            wanted: (!is_as_desired).then(|| desired.spec.clone()),
            meter: served.map(|served| served.meter.clone()),
            health: served.and_then(|_| view.get(name)).cloned(),
            drains: served.map(|served| self.drains.of(&served.meter)).unwrap_or_default(),
        }
    }

    /// Writes what a restart needs, if it changed. A store that fails stops nothing: it is shown, and tried again
    /// until it succeeds.
    pub(super) async fn store(&mut self) {
        let Some(store) = self.store.clone() else { return };
        let exception = |(name, desired): (&RuleName, &DesiredRule)| {
            let running = self.serving.get(name).map(|served| &served.rule);
            let known = running.or_else(|| self.fallback.get(name)).cloned();
            (running.is_none() || running != desired.rule.as_ref()).then(|| (name.clone(), known))
        };
        let exceptions: Vec<_> = self.desired.rules.iter().filter_map(exception).collect();
        let others = exceptions.iter().filter_map(|(_, known)| known.as_deref());
        let stored = Stored {
            desired: Some(self.desired.to_wire()),
            lists: wire::entry::lists_to_wire(others),
            exceptions: exceptions
                .iter()
                .map(|(name, known)| Exception::new(name.to_string(), known.as_deref()))
                .collect(),
            edge: store.name().to_string(),
            overrides: Some(self.overrides.clone()).filter(|list| !list.overrides.is_empty()),
            trial: self.stored_trial(),
            clock: Some(self.health.steady().clone()),
        };
        if self.stored.as_ref() == Some(&stored) {
            return;
        }
        let copy = stored.clone();
        match spawn_blocking(move || store.write(&copy)).await.expect("writing does not panic") {
            Ok(()) => {
                self.stored = Some(stored);
                if self.unstored.take().is_some() {
                    tracing::info!("the last good state is stored again");
                }
            }
            Err(error) => self.note_unstored(&error),
        }
    }

    fn note_unstored(&mut self, error: &StateError) {
        // The failed attempt may have come as far as the rename.
        self.stored = None;
        let reason = match error {
            StateError::Io { source, .. } => wording::system(source),
            error => error.to_string(),
        };
        let reason = format!("not stored on the edge's disk: {reason}; a restart would lose this state");
        let former = self.unstored.take();
        if former.as_ref().is_none_or(|former| former.reason != reason) {
            tracing::error!(error = error as &dyn std::error::Error, "the last good state was not stored");
        }
        let times = former.map_or(0, |former| former.times).saturating_add(1);
        self.unstored = Some(Unstored { reason, times, due: Instant::now() + backoff::retry_delay(times) });
    }
}
