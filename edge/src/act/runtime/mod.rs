//! Owns the sockets and rules of an edge: one task, commands in, status out. I/O.
//!
//! This file is the handle; `actor` is the task, `account` what it says and stores about itself, `parting` what it
//! and health have to do with each other, `policing` what the owner's policy ends, `trial` how it returns from a state that nobody confirms, `reserved`
//! what it holds for plans, `quiet` how changes wait for a moment without connections.

mod account;
mod actor;
mod failing;
mod parting;
mod policing;
mod quiet;
mod quota_storing;
mod quotas;
mod reserved;
mod trial;
mod yielding;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use guard::{InheritedSockets, Supervisor};
use schema::capability::Limits;
use schema::name::RuleName;
use schema::policy::Policy;
use schema::proto::{QuotaState, TargetOverrides};
use schema::rule::Rule;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::act::connection_log::ConnectionLog;
use crate::act::health::{self, HealthHandle};
use crate::act::last_good::LastGood;
use crate::act::names::Names;
use crate::act::parts::Part;
use crate::act::policy::PolicyInForce;
use crate::act::runtime::actor::{Actor, ActorTools};
use crate::act::status::Status;
use crate::act::steady::Steady;
use crate::act::usage::UsageHandle;
use crate::act::workers::{Connections, Dataplane};
use crate::decide::admission::{Base, Refused};
use crate::decide::desired::Desired;
use crate::decide::quotas::QuotaOf;
use crate::decide::transition::RuleFailure;

pub use reserved::{Proof, RuleProof};
pub use trial::Pending;

/// Commands that may wait: the session sends one at a time and awaits it, the shutdown likewise.
const COMMANDS: usize = 4;

/// The runtime is gone, and with it everything that it served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the runtime of the edge has stopped")]
pub struct Stopped;

/// On what terms a desired set is applied.
#[derive(Debug, Clone, Default)]
pub struct ApplyTerms {
    /// What must run before.
    pub base: Option<Base>,
    /// How long after the switch the edge waits to be told that it is kept, before it returns to what ran before.
    pub confirm_within: Option<Duration>,
    /// How long each change that would cost live connections waits until there are none; rules that wait are `pending` in
    /// the status.
    pub quiet_window: Duration,
    /// Rules that release their ports where their new version finds one in use: another edge of the host waits for them.
    pub yields: BTreeSet<RuleName>,
}

enum RuntimeCommand {
    Apply(Box<Desired>, ApplyTerms, oneshot::Sender<Option<Refused>>),
    Confirm { lineage: String, generation: u64, done: oneshot::Sender<()> },
    Reserve(Box<Desired>, Base, Duration, oneshot::Sender<Result<Proof, RuleFailure>>),
    GiveBack(oneshot::Sender<()>),
    Retry(oneshot::Sender<()>),
    Override(Box<TargetOverrides>, oneshot::Sender<()>),
    Policy(Policy, oneshot::Sender<()>),
    ResetQuota(QuotaOf, oneshot::Sender<Option<u64>>),
    Answer(oneshot::Sender<()>),
    StopAccepting(oneshot::Sender<()>),
    LeaveState(oneshot::Sender<()>),
}

/// Commands and views of a running runtime. It ends when the last handle is dropped.
#[derive(Clone)]
pub struct RuntimeHandle {
    commands: mpsc::Sender<RuntimeCommand>,
    status: watch::Receiver<Arc<Status>>,
    connections: Connections,
    retries: Arc<AtomicU64>,
    health: HealthHandle,
    names: Names,
    policy: PolicyInForce,
    again: Arc<Notify>,
    quotas: watch::Receiver<Arc<Vec<QuotaState>>>,
    usage: UsageHandle,
}

impl RuntimeHandle {
    /// Makes a desired set serve as far as possible, and stores it. The status then says how far.
    pub async fn apply(&self, desired: Desired) -> Result<(), Stopped> {
        self.apply_on(desired, ApplyTerms::default()).await.map(drop)
    }

    /// The same on terms; where they are not met nothing is done, and it says why.
    pub async fn apply_on(&self, desired: Desired, terms: ApplyTerms) -> Result<Option<Refused>, Stopped> {
        let (done, wait) = oneshot::channel();
        self.commands.send(RuntimeCommand::Apply(Box::new(desired), terms, done)).await.map_err(|_| Stopped)?;
        wait.await.map_err(|_| Stopped)
    }

    /// Keeps what runs under this generation, if that waits for it.
    pub async fn confirm(&self, lineage: String, generation: u64) -> Result<(), Stopped> {
        let (done, wait) = oneshot::channel();
        self.commands.send(RuntimeCommand::Confirm { lineage, generation, done }).await.map_err(|_| Stopped)?;
        wait.await.map_err(|_| Stopped)
    }

    /// Binds and holds what a set would need where the edge runs what that was decided from. Nothing that serves changes.
    /// The error says why nothing was tried.
    pub async fn reserve(
        &self,
        desired: Desired,
        base: Base,
        lasts: Duration,
    ) -> Result<Result<Proof, RuleFailure>, Stopped> {
        let (done, wait) = oneshot::channel();
        let command = RuntimeCommand::Reserve(Box::new(desired), base, lasts, done);
        self.commands.send(command).await.map_err(|_| Stopped)?;
        wait.await.map_err(|_| Stopped)
    }

    /// Closes all sockets that are held for plans.
    pub async fn give_back(&self) -> Result<(), Stopped> {
        let (done, wait) = oneshot::channel();
        self.commands.send(RuntimeCommand::GiveBack(done)).await.map_err(|_| Stopped)?;
        wait.await.map_err(|_| Stopped)
    }

    /// When rules were used last, and by whom.
    pub(crate) fn usage(&self) -> &UsageHandle {
        &self.usage
    }

    /// The names of targets.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Tries failed rules now, whatever their backoff says.
    pub async fn retry(&self) -> Result<(), Stopped> {
        let (done, wait) = oneshot::channel();
        self.commands.send(RuntimeCommand::Retry(done)).await.map_err(|_| Stopped)?;
        wait.await.map_err(|_| Stopped)
    }

    /// Has failed rules tried at once, without waiting for what comes of it; any number of calls meanwhile are one.
    pub fn look_again(&self) {
        self.again.notify_one();
    }

    /// Takes the whole list of what operators ordered about targets, and stores it.
    pub async fn set_overrides(&self, overrides: TargetOverrides) -> Result<(), Stopped> {
        let (done, wait) = oneshot::channel();
        self.commands.send(RuntimeCommand::Override(Box::new(overrides), done)).await.map_err(|_| Stopped)?;
        wait.await.map_err(|_| Stopped)
    }

    /// Takes another policy: what it forbids stops accepting and drains, what it allows again is tried.
    pub async fn set_policy(&self, policy: Policy) -> Result<(), Stopped> {
        let (done, wait) = oneshot::channel();
        self.commands.send(RuntimeCommand::Policy(policy, done)).await.map_err(|_| Stopped)?;
        wait.await.map_err(|_| Stopped)
    }

    /// Begins the period of a quota anew. Returns what was used in it, or nothing where there is no such quota.
    pub async fn reset_quota(&self, of: QuotaOf) -> Result<Option<u64>, Stopped> {
        let (done, wait) = oneshot::channel();
        self.commands.send(RuntimeCommand::ResetQuota(of, done)).await.map_err(|_| Stopped)?;
        wait.await.map_err(|_| Stopped)
    }

    /// What was used of quotas, now and whenever others are to learn of it.
    pub fn quotas(&self) -> watch::Receiver<Arc<Vec<QuotaState>>> {
        self.quotas.clone()
    }

    /// Returns once the owner of the sockets, every worker and health have answered: each of them works.
    pub async fn answers(&self) -> Result<(), Stopped> {
        let (done, wait) = oneshot::channel();
        self.commands.send(RuntimeCommand::Answer(done)).await.map_err(|_| Stopped)?;
        wait.await.map_err(|_| Stopped)?;
        // Of no rule: only the answer counts.
        self.health.newest(Some(String::new())).await.map(drop)
    }

    /// What the owner of the edge allows.
    pub(crate) fn policy(&self) -> &PolicyInForce {
        &self.policy
    }

    /// Closes every listening socket; live connections go on.
    pub async fn stop_accepting(&self) -> Result<(), Stopped> {
        let (done, wait) = oneshot::channel();
        self.commands.send(RuntimeCommand::StopAccepting(done)).await.map_err(|_| Stopped)?;
        wait.await.map_err(|_| Stopped)
    }

    /// Leaves the state folder to the next edge, with everything stored that could be; nothing is stored any more.
    pub async fn leave_state(&self) -> Result<(), Stopped> {
        self.usage.leave().await;
        let (done, wait) = oneshot::channel();
        self.commands.send(RuntimeCommand::LeaveState(done)).await.map_err(|_| Stopped)?;
        wait.await.map_err(|_| Stopped)
    }

    /// The status as it is now.
    pub fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
    }

    /// Every change of the status from now on; changes that nobody looked at in time are one.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// The live connections.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Verdicts and probes.
    pub(crate) fn health(&self) -> &HealthHandle {
        &self.health
    }

    /// How often failed rules were tried again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}

/// What an edge may do at all.
#[derive(Clone, Default)]
pub struct RuntimeBounds {
    /// By its host.
    pub limits: Limits,
    /// By its owner.
    pub policy: Policy,
    /// Sockets that are there already.
    pub inherited: InheritedSockets,
    /// Where connections that end are written down.
    pub connection_log: Option<ConnectionLog>,
}

/// Starts a runtime without a policy. With a store, what it kept is served before this returns.
///
/// # Panics
/// Where the system has no descriptor left for it; [`try_start`] returns that error instead.
pub async fn start(
    limits: Limits,
    names: Names,
    store: Option<LastGood>,
    restored: Option<Before>,
) -> (RuntimeHandle, JoinHandle<()>) {
    let supervisor = Supervisor::new();
    let bounds = RuntimeBounds { limits, ..RuntimeBounds::default() };
    try_start(bounds, names, store, restored, &supervisor).await.expect("a process has descriptors left when it starts")
}

/// The same within bounds, where there may be too few descriptors.
pub async fn try_start(
    bounds: RuntimeBounds,
    names: Names,
    store: Option<LastGood>,
    restored: Option<Before>,
    supervisor: &Supervisor,
) -> io::Result<(RuntimeHandle, JoinHandle<()>)> {
    let (commands, receiver) = mpsc::channel(COMMANDS);
    let (sender, status) = watch::channel(Arc::default());
    let policy = PolicyInForce::new(bounds.policy);
    let steady = Steady::start(restored.as_ref().and_then(|before| before.clock.clone()));
    let (health, orders) = health::start(names.clone(), policy.clone(), steady, supervisor);
    let dataplane = Dataplane::start(names.clone(), policy.clone(), bounds.connection_log, supervisor)?;
    let connections = dataplane.connections();
    let retries = Arc::new(AtomicU64::new(0));
    let folder = store.as_ref().map(|store| store.path().to_owned());
    let mut actor = Actor::new(ActorTools {
        dataplane,
        limits: bounds.limits,
        policy: policy.clone(),
        inherited: bounds.inherited,
        health: health.clone(),
        orders,
        store,
        status: sender,
        retries: retries.clone(),
    });
    if let Some(before) = restored {
        actor.restore(before).await;
    }
    actor.publish();
    let (again, quotas) = (actor.again.clone(), actor.quotas.subscribe());
    let task = tokio::spawn(supervisor.lasting(Part::Runtime, actor.run(receiver)));
    let usage = UsageHandle::start(folder, status.clone(), supervisor);
    Ok((RuntimeHandle { commands, status, connections, retries, health, names, policy, again, quotas, usage }, task))
}

/// What an edge knew before its restart.
pub struct Before {
    /// What it was to serve.
    pub desired: Desired,
    /// Rules that did not serve so.
    pub exceptions: Vec<Restored>,
    /// What operators had ordered about targets.
    pub overrides: TargetOverrides,
    /// Whether that waited for a confirmation.
    pub trial: Option<Restarted>,
    /// The clock that their ends are of.
    pub(crate) clock: Option<Steady>,
}

/// How a restart finds a state that was to be confirmed.
pub enum Restarted {
    /// It may still be.
    Awaiting(Pending),
    /// It was not, and what ran before runs again.
    Missed,
}

/// A rule that did not serve as desired before the restart, and what did.
pub type Restored = (RuleName, Option<Arc<Rule>>);
