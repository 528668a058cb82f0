//! The fleet as a state machine without I/O: `step(event, now)` gives effects. Pure.
//!
//! Keeps: a generation never goes down; the same generation never has two contents; at most one desired state is in
//! flight per edge and the newest coalesces; what is sent was recorded before, and all records of a step come before
//! anything else of it, so that a server dies with all of a decision written down or none. Level-triggered: an event
//! is a reason to look, the full current state decides, so lost, repeated and reordered events change nothing in the end.
//! Long because what the fleet holds and what is recorded of it are read side by side.

mod apply;
mod before;
mod beginning;
mod confirming;
mod cut_off;
mod decided;
mod ending_connections;
mod event;
mod forgetting;
mod freezing;
mod link;
mod moves;
mod neighbours;
mod overrides;
mod permitted;
mod refusal;
mod result;
mod rollout;
mod run;
mod session;
mod stale;
mod step;
mod targets;
mod tree;
mod unsettled;
mod wave_steps;
mod waves;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::name::{EdgeName, RuleName};

use self::freezing::Deed;
use self::link::Link;
use self::result::recorded_edge;
use self::rollout::Rollout;
use self::session::Greeting;
use self::step::Step;
use super::certificate_ends::CertificateChange;
use super::edges::Edges;
use super::ledger::{Entry, Head, LedgerAction};
use super::live::Live;
use super::record::Record;
use super::remote::RemoteView;

pub use super::applied::{Applied, RolloutTerms, StoppedRollout};
pub use super::control::{Followed, Freeze, Hold, Mode};
pub use super::outcome::{EdgeOutcome, Outcome};
pub use super::restored::Restored;
pub use confirming::FEATURE as CONFIRM_FEATURE;
pub use cut_off::Continuation;
pub use ending_connections::ConnectionsOrder;
pub use event::{
    ApplyRequest, Effect, Event, Notice, Purpose, Request, RequestAnswer, RequestRefusal, SessionId, TargetWeight,
    TreeRead,
};
pub use forgetting::ForgetRefusal;
pub use freezing::Control;
pub use overrides::{OverrideRefusal, OverrideRequest, OverrideStep};
pub(crate) use permitted::settings_of;
pub use permitted::{touched_by_reset, touches};
pub use refusal::Refusal;
pub use result::{ApplyResult, EdgeResult, RuleResult};
pub use rollout::Lock;
pub use targets::{TargetAnswer, TargetOrder, TargetRefusal};
pub use tree::{Attempt, Verdict};

/// What an edge that can prove a plan says of itself.
pub const PROVE_FEATURE: &str = "prove";

/// Finished applies that stay readable: enough for every command that may still be looking.
const KEPT_RESULTS: usize = 64;

/// The fleet.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    lineage: String,
    mode: Mode,
    allow_dirty: bool,
    allow_non_descendant: bool,
    edges: Edges,
    links: BTreeMap<EdgeName, Link>,
    applied: Option<Applied>,
    attempt: Option<Attempt>,
    followed: Option<TreeRead>,
    remote: Option<RemoteView>,
    rollout: Rollout,
    results: VecDeque<Arc<ApplyResult>>,
    head: Head,
    ledger_break: Option<u64>,
    used_plans: BTreeSet<Digest>,
    cut_off: Option<Entry>,
    /// When this process of the server took its first event.
    started_at: Option<Timestamp>,
    frozen: Option<Freeze>,
    hold: Option<Hold>,
    /// Edges that were sent another state for a reason of their own, until they have been at rest for a while.
    unsettled: BTreeMap<EdgeName, unsettled::Unsettled>,
    /// Connected edges by the host that they share.
    hosts: BTreeMap<String, BTreeSet<EdgeName>>,
    /// Edges that are sent their state once a neighbour has answered.
    held_back: BTreeSet<EdgeName>,
    /// Edges whose acknowledgement is not written down yet.
    unsaved: BTreeSet<EdgeName>,
    /// Whether any target is overridden.
    has_deviations: bool,
    /// When the next override of a target ends by itself.
    next_expiry: Option<Timestamp>,
    /// When the next break-glass rule ends.
    next_override_end: Option<Timestamp>,
}

impl Fleet {
    /// A fleet from its records.
    pub fn new(lineage: String, mode: Mode, allow_dirty: bool, restored: Restored) -> Self {
        let mut fleet = Self {
            lineage,
            mode,
            allow_dirty,
            results: restored.cut_off.iter().map(|entry| ApplyResult::cut_off(entry).into()).collect(),
            frozen: restored.frozen,
            hold: restored.hold,
            edges: restored.edges,
            applied: restored.applied,
            head: restored.head,
            ledger_break: restored.ledger_break,
            used_plans: restored.used_plans,
            cut_off: restored.cut_off,
            ..Self::default()
        };
        fleet.find_next_expiry();
        fleet.find_next_override_end();
        fleet
    }

    /// The same, following trees also where their commits do not descend from the one in force.
    #[must_use]
    pub fn allowing_non_descendants(self, allow_non_descendant: bool) -> Self {
        Self { allow_non_descendant, ..self }
    }

    /// Takes one event; the effects must be carried out in their order, and the records in front of them together.
    pub fn step(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        let mut step = Step::at(now);
        self.started_at.get_or_insert(now);
        if let Some(started) = self.cut_off.take() {
            self.end_cut_off(&started, &mut step);
        }
        self.end_overrides(&mut step);
        self.expire_deviations(&mut step);
        self.thaw(&mut step);
        let about = event.edge().cloned();
        self.take(event, &mut step);
        self.continue_followed(&mut step);
        if !step.effects.is_empty() {
            self.drop_deviations(&[], &mut step);
        }
        self.advance_run(about.as_ref(), &mut step);
        step.into_effects()
    }

    /// The apply that ended with the server before: its desired state is recorded and goes on healing; only the outcome
    /// was never written down.
    fn end_cut_off(&mut self, started: &Entry, step: &mut Step) {
        let edges = self.cut_off_edges(started);
        let entry = Entry { edges, ..started.clone().with_outcome("interrupted", step.now) };
        let entry = entry.chained(&mut self.head);
        step.persist(Record::ledger(&entry));
        for result in self.results.iter_mut().filter(|result| result.id == entry.apply_id) {
            let edges = entry.edges.iter().map(|(edge, ended)| recorded_edge(&entry, edge, ended));
            Arc::make_mut(result).edges = edges.collect();
        }
        self.note_cut_off(started, step);
    }

    fn take(&mut self, event: Event, step: &mut Step) {
        match event {
            Event::Tree(tree) => self.tree_read(tree, step),
            Event::Remote(view) => self.remote_seen(*view, step),
            Event::Hello { session, edge, hello, report } => {
                self.hello(session, &edge, Greeting { hello, report }, step);
            }
            Event::Report { session, edge, report } => self.report(session, &edge, report, step),
            Event::Policy { session, edge, policy } => self.policy(session, &edge, *policy, step),
            Event::Counted { session, edge, connections } => self.counted(session, &edge, connections),
            Event::Gone { session, edge } => self.gone(session, &edge, step),
            Event::Certificate(CertificateChange { certificate, stage }) => {
                step.emit(Notice::Certificate { edge: certificate.edge, stage, expires_at: certificate.expires_at });
            }
            Event::Apply { ticket, request } => {
                let answer = Box::new(self.apply(&request, step));
                step.push(Effect::Answer { ticket, answer });
            }
            Event::Request { ticket, authority, request } => {
                let permitted = authority.map_or(Ok(()), |authority| self.permits(&authority, &request));
                let answer = permitted.map_err(RequestRefusal::Denied).and_then(|()| self.request(&request, step));
                step.push(Effect::Answered { ticket, answer: Box::new(answer) });
            }
            Event::Control { ticket, actor, control } => {
                let outcome = Box::new(self.control(&actor, control, step));
                step.push(Effect::Controlled { ticket, outcome });
            }
            Event::Heartbeat { apply } => self.rollout.renew_lease(&apply, step.now),
            Event::Tick => {
                self.save_acknowledgements(step);
                self.follow_after_lapse(step);
                self.look_at_unsettled(step);
                self.send_held_back(step);
            }
        }
    }

    fn request(&mut self, request: &Request, step: &mut Step) -> Result<RequestAnswer, RequestRefusal> {
        Ok(match request {
            Request::Override(request) => RequestAnswer::Override(self.request_override(request, step)?),
            Request::Target(order) => RequestAnswer::Target(self.order(order, step)?),
            Request::EndConnections(order) => {
                self.note_ending(order, step);
                RequestAnswer::Noted
            }
            Request::Forget { edge, actor } => {
                self.forget(edge, actor, step)?;
                RequestAnswer::Forgotten
            }
            Request::QuotaReset { edge, of, actor, why, used } => {
                let line = self.line(
                    Deed { action: LedgerAction::Quota, actor, why: why.clone(), outcome: "quota_reset" },
                    step.now,
                );
                let line = Entry { note: format!("{}, {used} bytes used", of.on(edge)), ..line };
                step.persist(Record::ledger(&line.chained(&mut self.head)));
                RequestAnswer::QuotaReset
            }
        })
    }

    /// Keeps the figures of plans and rails as new as the counters are; nothing follows from them by itself.
    fn counted(&mut self, session: SessionId, edge: &EdgeName, connections: Vec<(RuleName, u64, Option<Live>)>) {
        if self.session(edge) != Some(session) {
            return;
        }
        let Some(report) = self.edges.get_mut(edge).and_then(|view| view.report.as_mut()) else { return };
        for (rule, connections, live) in connections {
            if let Some(view) = report.rules.get_mut(&rule) {
                view.connections = connections;
                view.live = live.or(view.live.take());
            }
        }
    }

    /// The line of generations.
    pub fn lineage(&self) -> &str {
        &self.lineage
    }

    /// What the server does by itself.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// All edges.
    pub fn edges(&self) -> &Edges {
        &self.edges
    }

    /// The session of an edge, if it has one.
    pub fn session(&self, edge: &EdgeName) -> Option<SessionId> {
        self.links.get(edge).map(Link::session)
    }

    /// The end of the ledger.
    pub fn ledger_head(&self) -> Head {
        self.head
    }

    /// The first line of the ledger that did not fit its chain when the server started.
    pub fn ledger_break(&self) -> Option<u64> {
        self.ledger_break
    }

    /// The tree in force.
    pub fn applied(&self) -> Option<&Applied> {
        self.applied.as_ref()
    }

    /// What came of the followed tree, read last.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    /// In mode apply the digest of the followed tree, if that is another one than this; `Some(None)` before any was read.
    pub fn follows_other_than(&self, digest: Digest) -> Option<Option<Digest>> {
        let followed = self.attempt.as_ref().map(|attempt| attempt.source.digest);
        (self.mode == Mode::Apply && followed != Some(digest)).then_some(followed)
    }

    /// The followed tree, if it is valid.
    pub fn followed(&self) -> Option<&TreeRead> {
        self.followed.as_ref()
    }

    /// The remote repository that is followed, if one is.
    pub fn remote(&self) -> Option<&RemoteView> {
        self.remote.as_ref()
    }

    /// The state of an apply, running or finished not long ago.
    pub fn apply_result(&self, id: &str) -> Option<&ApplyResult> {
        self.rollout
            .result()
            .into_iter()
            .chain(self.results.iter().map(|result| &**result))
            .find(|result| result.id == id)
    }

    /// The apply that runs, or the last one.
    pub fn latest_apply(&self) -> Option<&ApplyResult> {
        self.rollout.result().or_else(|| self.results.front().map(|result| &**result))
    }

    /// When the next [`Event::Tick`] matters.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let freeze = self.frozen.as_ref().and_then(|freeze| freeze.until);
        let ends = self.next_override_end.into_iter().chain(self.next_expiry).chain(self.next_look_at_unsettled());
        self.rollout.next_deadline().into_iter().chain(freeze).chain(ends).min()
    }
}

#[cfg(test)]
mod tests;
