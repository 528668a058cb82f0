//! The one task that owns the fleet: events in, effects out, in order. I/O.
//!
//! Keeps: what is sent was recorded before, for effects are carried out in their order and a record is durable before
//! the next one begins. While the disk takes nothing, applies and trees are refused and taken
//! back, and everything else waits in the backlog; edges forward on.
//!
//! Long because the handle, its commands and the task that serves them are one protocol.

mod asking;
mod certificates;
mod channel;
mod quotas;
mod telling;
mod writing;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schema::counters::Figures;
use schema::name::{EdgeName, RuleName};
use schema::proto;
use schema::proto::server_message::Body;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use self::asking::OpenQuestions;
pub use self::channel::SessionChannel;
use self::quotas::QuotaCommand;
use self::telling::heard;
use super::backlog::Backlog;
use super::codec;
use super::counters::{Counters, Reading};
use super::notice_log;
use super::notify::Mailbag;
use super::outgoing::{self, OutgoingState};
use super::questions::Reply;
pub use super::recent::Numbered;
use super::recent::Recent;
use super::store::Store;
use super::timings::Timings;
use crate::decide::enrolment::NotAdmitted;
use crate::decide::fleet::{
    ApplyRequest, ApplyResult, Control, Effect, Event, Fleet, Outcome, Refusal, Request, RequestAnswer, RequestRefusal,
    SessionId,
};
use crate::decide::kept::Kept;
use crate::decide::live::Live;
use crate::decide::notices::Desk;
use crate::decide::operators::Mandate;

/// Commands that wait for the driver: one per edge of a large fleet that reconnects at once, more wait at their sender.
const COMMANDS: usize = 4096;
/// Notices that a slow listener may be behind before it is told that it missed some and gets a new snapshot.
const NOTICES: usize = 4096;
/// How often a disk that took nothing is tried again, at least.
const RETRY: Duration = Duration::from_secs(1);
/// Longest sleep without a deadline: a cheap second look, for timers can be missed.
const IDLE_TICK: Duration = Duration::from_secs(5);

/// Where edges speak from, or spoke from last.
pub type Addresses = BTreeMap<EdgeName, Option<SocketAddr>>;

type Read = Box<dyn FnOnce(&View<'_>) + Send>;

/// What a reader of the fleet may look at.
pub struct View<'a> {
    /// The fleet.
    pub fleet: &'a Fleet,
    /// Where edges speak from.
    pub addresses: &'a Addresses,
    /// The newest counters that edges reported of their own accord.
    pub counters: &'a Counters,
    /// Number of the newest notice.
    pub last_notice: u64,
    /// The newest notices.
    pub recent: &'a Recent,
    /// Applies by outcome, since the start.
    pub applies: &'a BTreeMap<Outcome, u64>,
    /// Durations, since the start.
    pub timings: &'a Timings,
    /// True if all that was decided is on disk.
    pub is_saved: bool,
    /// Where it is.
    pub(super) store: &'a Store,
}

pub(super) enum Command {
    Event(Box<Event>),
    Connect {
        session: SessionId,
        channel: SessionChannel,
        hello: Box<Event>,
    },
    Apply {
        request: Box<ApplyRequest>,
        reply: oneshot::Sender<Result<ApplyResult, Refusal>>,
    },
    Request {
        authority: Option<Mandate>,
        request: Box<Request>,
        reply: RequestReply,
    },
    Control {
        actor: String,
        control: Control,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Read(Read),
    Counters {
        edge: EdgeName,
        session: SessionId,
        report: proto::StatsReport,
    },
    Ask {
        edge: EdgeName,
        request: proto::StatsRequest,
        reply: Reply<Reading>,
    },
    Check {
        edge: EdgeName,
        request: proto::CheckTargets,
        reply: Reply<proto::TargetsChecked>,
    },
    Checked {
        session: SessionId,
        answer: proto::TargetsChecked,
    },
    Prove {
        edge: EdgeName,
        request: proto::Prove,
        reply: Reply<proto::Proven>,
    },
    Proven {
        session: SessionId,
        answer: proto::Proven,
    },
    List {
        edge: EdgeName,
        request: proto::ConnectionsRequest,
        reply: Reply<proto::ConnectionsReport>,
    },
    Listed {
        session: SessionId,
        answer: proto::ConnectionsReport,
    },
    Quota(QuotaCommand),
    Usage {
        edge: EdgeName,
        request: proto::UsageRequest,
        reply: Reply<proto::UsageReport>,
    },
    Used {
        session: SessionId,
        answer: proto::UsageReport,
    },
    /// Ends the session of an edge, or only this one.
    Cut {
        edge: EdgeName,
        session: Option<SessionId>,
        reason: NotAdmitted,
    },
    /// Has an edge renew its certificate; all that are connected where none is named.
    Renew(Option<SessionId>),
}

type RequestReply = oneshot::Sender<Result<RequestAnswer, RequestRefusal>>;

/// Who waits for what was decided.
#[derive(Debug)]
enum Waiter {
    Apply(oneshot::Sender<Result<ApplyResult, Refusal>>),
    Request(oneshot::Sender<Result<RequestAnswer, RequestRefusal>>),
    Control(oneshot::Sender<Result<(), Refusal>>),
}

/// The driver is gone: the server is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server is stopping")]
pub struct Stopped;

/// A cheap handle to the fleet for everybody else.
#[derive(Debug, Clone)]
pub struct FleetHandle {
    commands: mpsc::Sender<Command>,
    notices: broadcast::Sender<Numbered>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

impl FleetHandle {
    pub(super) async fn command(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }

    /// Hands an event in; waits while the driver is busy.
    pub async fn event(&self, event: Event) -> Result<(), Stopped> {
        self.command(Command::Event(Box::new(event))).await
    }

    /// Opens a session: its hello, and where its messages go. Welcome or refusal is the first of them.
    pub async fn connect(&self, session: SessionId, channel: SessionChannel, hello: Event) -> Result<(), Stopped> {
        self.command(Command::Connect { session, channel, hello: Box::new(hello) }).await
    }

    /// Applies a tree.
    pub async fn apply(&self, request: ApplyRequest) -> Result<Result<ApplyResult, Refusal>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Apply { request: Box::new(request), reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Asks for something that is no apply.
    pub async fn request(
        &self,
        authority: Mandate,
        request: Request,
    ) -> Result<Result<RequestAnswer, RequestRefusal>, Stopped> {
        let (reply, answer) = oneshot::channel();
        let (authority, request) = (Some(authority), Box::new(request));
        self.command(Command::Request { authority, request, reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Decides about the fleet as a whole.
    pub async fn control(&self, actor: String, control: Control) -> Result<Result<(), Refusal>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Control { actor, control, reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Looks at the fleet. The closure runs on the driver's task: take what is needed, work on it elsewhere.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let read = Box::new(move |view: &View<'_>| {
            // A reader that went away in the meantime needs no answer.
            drop(reply.send(look(view)));
        });
        self.command(Command::Read(read)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Everything that happens from now on.
    pub fn notices(&self) -> broadcast::Receiver<Numbered> {
        self.notices.subscribe()
    }
}

/// Owns the fleet.
#[derive(Debug)]
pub struct Driver {
    pub(super) fleet: Fleet,
    store: Arc<Store>,
    kept: Kept,
    commands: mpsc::Receiver<Command>,
    notices: broadcast::Sender<Numbered>,
    last_notice: u64,
    recent: Recent,
    sessions: HashMap<SessionId, SessionChannel>,
    addresses: Addresses,
    counters: Counters,
    asked: OpenQuestions,
    applies: BTreeMap<Outcome, u64>,
    timings: Timings,
    backlog: Backlog,
    /// Where letters are written.
    desk: Box<Desk>,
    /// Where they are handed over.
    mailbag: Option<Mailbag>,
    /// What the disk said, while it takes nothing.
    disk_error: Option<String>,
    waiting: HashMap<u64, Waiter>,
    next_ticket: u64,
}

impl Driver {
    /// A driver and the handle to it.
    pub fn new(fleet: Fleet, store: Arc<Store>, timings: Timings) -> (Self, FleetHandle) {
        let (commands_tx, commands) = mpsc::channel(COMMANDS);
        let decided = fleet.edges().values().filter_map(|view| view.desired.as_ref());
        for desired in decided {
            codec::allow_rules(desired.rules.len());
        }
        let (notices, _) = broadcast::channel(NOTICES);
        let handle = FleetHandle { commands: commands_tx, notices: notices.clone() };
        let driver = Self {
            fleet,
            store,
            kept: Kept::default(),
            commands,
            notices,
            // Numbers go on over a restart, so that no listener takes the notice of another life for its own.
            last_notice: Timestamp::now().as_microsecond().unsigned_abs(),
            recent: Recent::default(),
            sessions: HashMap::new(),
            addresses: Addresses::new(),
            counters: Counters::default(),
            asked: OpenQuestions::default(),
            applies: BTreeMap::new(),
            timings,
            backlog: Backlog::default(),
            desk: Box::default(),
            mailbag: None,
            disk_error: None,
            waiting: HashMap::new(),
            next_ticket: 0,
        };
        (driver, handle)
    }

    /// The same with what the store keeps of earlier applies.
    #[must_use]
    pub fn keeping(self, kept: Kept) -> Self {
        Self { kept, ..self }
    }

    /// True if a tree was applied.
    pub fn has_revision(&self) -> bool {
        self.fleet.applied().is_some()
    }

    /// Runs until it is cancelled.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let wait = self.fleet.next_deadline().map_or(IDLE_TICK, |deadline| {
                Duration::try_from(Timestamp::now().until(deadline).unwrap_or_default())
                    .unwrap_or_default()
                    .min(IDLE_TICK)
            });
            let wait = if self.backlog.is_empty() { wait } else { wait.min(RETRY) };
            tokio::select! {
                () = shutdown.cancelled() => return,
                command = self.commands.recv() => match command {
                    Some(command) => self.take(command).await,
                    None => return,
                },
                () = tokio::time::sleep(wait) => self.step(Event::Tick).await,
            }
        }
    }

    async fn take(&mut self, command: Command) {
        match command {
            Command::Event(event) => {
                self.note(&event);
                self.step(*event).await;
            }
            // Dropping its channel ends the session; the edge comes back.
            Command::Connect { session, .. } if self.backlog.is_full() => {
                debug!(session, "sessions are refused while the state cannot be written");
            }
            Command::Connect { session, channel, hello } => {
                let address = channel.address;
                self.sessions.insert(session, channel);
                let edge = hello.edge().cloned();
                self.step(*hello).await;
                if let Some(edge) = edge.filter(|edge| self.fleet.session(edge) == Some(session)) {
                    self.addresses.insert(edge, address);
                }
            }
            Command::Apply { request, reply } => {
                let ticket = self.ticket(Waiter::Apply(reply));
                self.step(Event::Apply { ticket, request }).await;
            }
            Command::Request { authority, request, reply } => {
                let ticket = self.ticket(Waiter::Request(reply));
                self.step(Event::Request { ticket, authority, request }).await;
            }
            Command::Control { actor, control, reply } => {
                let ticket = self.ticket(Waiter::Control(reply));
                self.step(Event::Control { ticket, actor, control }).await;
            }
            Command::Read(look) => self.look(look),
            Command::Counters { edge, session, .. } if self.fleet.session(&edge) != Some(session) => {
                debug!(edge = %edge, session, "counters of an ended session are dropped");
            }
            Command::Counters { edge, session, report } => {
                let connections = self.take_counters(&edge, session, report);
                self.step(Event::Counted { session, edge, connections }).await;
            }
            Command::Ask { edge, request, reply } => {
                let body = |request_id| Body::StatsRequest(proto::StatsRequest { request_id, ..request });
                self.put(&edge, reply, |asked| &mut asked.readings, body);
            }
            Command::Check { edge, request, reply } => {
                let body = |request_id| Body::Check(proto::CheckTargets { request_id, ..request });
                self.put(&edge, reply, |asked| &mut asked.checks, body);
            }
            Command::Quota(command) => self.take_quota(command).await,
            Command::Prove { edge, request, reply } => self.put_proof(&edge, request, reply),
            Command::Checked { session, answer } => self.asked.checks.answer(session, answer.request_id, answer),
            Command::List { edge, request, reply } => self.put_list(&edge, request, reply),
            Command::Usage { edge, request, reply } => self.put_usage(&edge, request, reply),
            Command::Used { session, answer } => self.asked.uses.answer(session, answer.request_id, answer),
            Command::Listed { session, answer } => self.asked.lists.answer(session, answer.request_id, answer),
            Command::Proven { session, answer } => self.asked.proofs.answer(session, answer.request_id, answer),
            Command::Cut { edge, session, reason } => self.cut(edge, session, reason).await,
            Command::Renew(session) => self.ask_for_renewal(session),
        }
    }

    /// What an event means for what is kept of its session.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Gone { session, .. } => {
                self.sessions.remove(session);
                self.asked.session_ended(*session);
            }
            Event::Report { edge, report, session } if self.fleet.session(edge) == Some(*session) => {
                self.counters.retain(edge, |rule| report.rules.contains_key(rule));
            }
            _ => {}
        }
    }

    fn look(&self, look: Read) {
        look(&View {
            fleet: &self.fleet,
            addresses: &self.addresses,
            counters: &self.counters,
            last_notice: self.last_notice,
            recent: &self.recent,
            applies: &self.applies,
            timings: &self.timings,
            is_saved: self.backlog.is_empty(),
            store: &self.store,
        });
    }

    /// Takes the counters of an edge; the connections of its rules.
    fn take_counters(
        &mut self,
        edge: &EdgeName,
        session: SessionId,
        report: proto::StatsReport,
    ) -> Vec<(RuleName, u64, Option<Live>)> {
        let live = |rule: &proto::RuleStats| {
            let active = Figures::from_wire(rule.total.as_ref()?).ok()?.active_connections;
            Some((RuleName::new(&rule.rule).ok()?, active, rule.live.clone().map(Into::into)))
        };
        let connections = report.rules.iter().filter_map(live).collect();
        let now = Timestamp::now();
        self.counters.take(edge, &report, now);
        if report.request_id > 0 {
            let reading = self.counters.reading(edge, report.rules, now);
            self.asked.readings.answer(session, report.request_id, reading);
        }
        connections
    }

    fn ticket(&mut self, waiting: Waiter) -> u64 {
        self.next_ticket += 1;
        self.waiting.insert(self.next_ticket, waiting);
        self.next_ticket
    }

    async fn step(&mut self, event: Event) {
        self.catch_up().await;
        let tree = match &event {
            Event::Tree(tree) => tree.ruleset.as_ref(),
            Event::Apply { request, .. } => request.tree.ruleset.as_ref(),
            _ => None,
        };
        for rules in tree.iter().flat_map(|tree| tree.edges.values()) {
            codec::allow_rules(rules.len());
        }
        let ticket = match &event {
            Event::Apply { ticket, .. } | Event::Request { ticket, .. } | Event::Control { ticket, .. } => {
                Some(*ticket)
            }
            _ => None,
        };
        let is_behind = !self.backlog.is_empty();
        if let Some(ticket) = ticket.filter(|_| is_behind) {
            return self.not_written(ticket);
        }
        if is_behind && matches!(event, Event::Tree(_)) {
            // Its records hold whole files; it is read again before long.
            return;
        }
        // A tree can be taken back as a whole: it was not sent yet, and it is read or asked for again.
        let can_be_undone = ticket.is_some() || matches!(event, Event::Tree(_));
        let undo = (!is_behind && can_be_undone).then(|| (self.fleet.clone(), self.desk.clone()));
        let may_forget = matches!(event, Event::Gone { .. } | Event::Request { .. });
        let (now, about) = (Timestamp::now(), heard(&event));
        let effects = self.fleet.step(event, now);
        let effects = self.with_letters(effects, about.as_ref(), now);
        if may_forget {
            let edges = self.fleet.edges();
            self.counters.retain_edges(|edge| edges.contains_key(edge));
            self.addresses.retain(|edge, _| edges.contains_key(edge));
        }
        self.backlog.extend(effects);
        if is_behind {
            if self.backlog.is_full() {
                self.sessions.clear();
            }
            return;
        }
        let has_begun = self.catch_up().await;
        if let Some(before) = undo.filter(|_| !has_begun && !self.backlog.is_empty()) {
            (self.fleet, self.desk) = before;
            self.backlog.clear();
            if let Some(ticket) = ticket {
                self.not_written(ticket);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(_) => unreachable!("written before the next effect is taken"),
            Effect::Welcome { session } => self.welcome(session),
            Effect::Refuse { session, code, message } => {
                let refusal = proto::Refusal { code: code.to_owned(), message };
                self.send(session, Body::Refusal(refusal));
                self.sessions.remove(&session);
            }
            Effect::Send {
                session,
                edge,
                generation,
                digest,
                rules,
                basis,
                confirm_within,
                quiet_window,
                ends,
                yields,
            } => {
                info!(edge = %edge, generation, rules = rules.len(), "desired state sent");
                let (lineage, rules) = (self.fleet.lineage().to_owned(), &*rules);
                let state = OutgoingState { lineage, generation, digest, rules, basis, confirm_within, quiet_window };
                let desired = outgoing::ending(outgoing::desired(state), &ends, Timestamp::now());
                let yields = yields.iter().map(ToString::to_string).collect();
                let desired = proto::DesiredState { yields, ..desired };
                self.send(session, Body::Desired(desired));
            }
            Effect::Confirm { session, edge, generation } => {
                info!(edge = %edge, generation, "state confirmed");
                let confirm = proto::Confirm { lineage: self.fleet.lineage().to_owned(), generation };
                self.send(session, Body::Confirm(confirm));
            }
            Effect::SendOverrides { session, edge, overrides } => self.send_overrides(session, &edge, &overrides),
            Effect::Emit(notice) => {
                notice_log::write(&notice, &self.fleet);
                self.emit(notice);
            }
            Effect::EmitUnlogged(notice) => self.emit(notice),
            Effect::Deliver(letters) => self.hand_over(letters),
            // An operator who went away needs no answer; what was begun goes on.
            Effect::Answer { ticket, answer } => {
                if let Some(Waiter::Apply(reply)) = self.waiting.remove(&ticket) {
                    drop(reply.send(*answer));
                }
            }
            Effect::Answered { ticket, answer } => {
                if let Some(Waiter::Request(reply)) = self.waiting.remove(&ticket) {
                    drop(reply.send(*answer));
                }
            }
            Effect::Controlled { ticket, outcome } => {
                if let Some(Waiter::Control(reply)) = self.waiting.remove(&ticket) {
                    drop(reply.send(*outcome));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
