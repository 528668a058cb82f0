//! What the driver hands out: messages to edges, events to listeners, and letters to notifiers. I/O by channels only.

use std::sync::Arc;

use jiff::Timestamp;
use schema::name::EdgeName;
use schema::proto;
use schema::proto::server_message::Body;
use tracing::{debug, warn};

use super::Driver;
use crate::act::notify::Mailbag;
use crate::act::outgoing;
use crate::decide::fleet::{Effect, Event, Notice, Outcome, SessionId};
use crate::decide::notices::{Desk, Posted};
use crate::decide::target_override::TargetOverride;

/// The edge whose state an event may have changed; counters change none.
pub(super) fn heard(event: &Event) -> Option<EdgeName> {
    if matches!(event, Event::Counted { .. }) { None } else { event.edge().cloned() }
}

impl Driver {
    /// Greets an edge whose session begins.
    pub(super) fn welcome(&mut self, session: SessionId) {
        let welcome = proto::Welcome {
            lineage: self.fleet.lineage().to_owned(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.send(session, Body::Welcome(welcome));
    }

    /// Sends an edge all overrides of its targets.
    pub(super) fn send_overrides(&mut self, session: SessionId, edge: &EdgeName, overrides: &[TargetOverride]) {
        debug!(edge = %edge, overrides = overrides.len(), "overrides sent");
        let now = Timestamp::now();
        let to_wire = |order: &TargetOverride| proto::TargetOverride {
            rest_ms: order.until.map_or(0, |until| outgoing::rest(until, now)),
            ..order.to_wire()
        };
        let overrides = overrides.iter().map(to_wire).collect();
        self.send(session, Body::Overrides(proto::TargetOverrides { overrides }));
    }

    /// The same with notifiers: letters are written at the desk, and handed over once they are durable.
    #[must_use]
    pub fn notifying(self, desk: Desk, mailbag: Mailbag) -> Self {
        Self { desk: Box::new(desk), mailbag: Some(mailbag), ..self }
    }

    /// The effects of a step with the letters that report them: in the same transaction, and handed over after it.
    pub(super) fn with_letters(
        &mut self,
        effects: Vec<Effect>,
        about: Option<&EdgeName>,
        now: Timestamp,
    ) -> Vec<Effect> {
        if self.desk.is_idle() {
            return effects;
        }
        let written = self.desk.write(&effects, about, &self.fleet, now);
        let letters = (!written.letters.is_empty()).then_some(Effect::Deliver(written.letters));
        written.records.into_iter().map(Effect::Persist).chain(effects).chain(letters).collect()
    }

    pub(super) fn hand_over(&self, letters: Vec<Posted>) {
        if let Some(mailbag) = &self.mailbag {
            mailbag.hand_over(letters);
        }
    }

    pub(super) fn emit(&mut self, notice: Notice) {
        self.last_notice += 1;
        if let Notice::Apply { result } = &notice
            && let Some(finished) = result.finished_at.filter(|_| result.outcome != Outcome::Running)
        {
            let seconds = finished.duration_since(result.started_at).as_secs_f64();
            *self.applies.entry(result.outcome).or_default() += 1;
            self.timings.apply.observe(seconds);
        }
        let numbered = (self.last_notice, Timestamp::now(), Arc::new(notice));
        self.recent.add(numbered.clone());
        // Without a listener there is nobody to tell.
        drop(self.notices.send(numbered));
    }

    pub(super) fn send(&mut self, session: SessionId, body: Body) {
        let Some(channel) = self.sessions.get(&session) else { return };
        if channel.outgoing.try_send(proto::ServerMessage { body: Some(body) }).is_err() {
            self.drop_session(session);
        }
    }

    /// A session that takes nothing is cut: the edge comes back and says what it runs.
    fn drop_session(&mut self, session: SessionId) {
        warn!(session, "session accepts no messages and is ended");
        if let Some(channel) = self.sessions.remove(&session) {
            channel.close();
        }
    }
}
