//! Health of targets on this edge: probes, verdicts, and what connections try because of them. I/O.
//!
//! One task owns all of it, [`owner`]; this file is the handle. The model is `schema::health`, the turns of probes are
//! `decide::probe_schedule`; what follows from both goes to the workers through each rule's [`Choice`].
//!
//! Keeps: verdicts follow their rule through updates, moves and rebinds; a target that is slow, silent or hostile costs
//! a place among the probes until its timeout, and nothing else.

mod check;
mod clock;
mod lines;
mod owner;
mod probe;
mod probe_set;
#[cfg(test)]
mod tests;
mod view;
mod watched;

use std::collections::BTreeMap;
use std::sync::Arc;

use guard::Supervisor;
use schema::name::RuleName;
use schema::proto;
use schema::rule::Rule;
use tokio::sync::{mpsc, oneshot, watch};

use crate::act::names::Names;
use crate::act::parts::Part;
use crate::act::policy::PolicyInForce;
use crate::act::runtime::Stopped;
use crate::act::steady::Steady;
use crate::act::workers::{Choice, Scope};

use probe::ProbeContext;
pub(crate) use probe::icmp::is_allowed as may_send_echoes;
pub(crate) use probe_set::ProbeTally;
pub use view::RuleView;

/// Commands that may wait: the runtime sends one at a time and awaits it; sessions ask now and then.
const COMMANDS: usize = 16;
/// Orders to the runtime that it has not taken yet; more of them wait with the owner, one per target at most.
const ORDERS: usize = 64;

/// A rule that serves from now on.
pub(crate) struct ServingRule {
    /// Its name in the version before, if there was one.
    pub(crate) previous: Option<RuleName>,
    /// The version that serves.
    pub(crate) rule: Arc<Rule>,
}

/// The choices of rules, by name.
pub(crate) type Choices = BTreeMap<RuleName, Arc<Choice>>;
/// The targets of rules as health sees them, by name.
pub(crate) type View = BTreeMap<RuleName, Arc<RuleView>>;

/// What is to happen to live connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    /// They are reset.
    Reset,
    /// They have the rule's drain timeout.
    Drain,
    /// Flows of a target that has failed: they move with their next datagram, and what is left of them after the rule's
    /// drain timeout is ended.
    Failing,
    /// It has recovered before: they stay.
    Recovered,
    /// Nothing: other targets take the next ones, which is only counted.
    Failover,
}

/// What health asks of the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartingOrder {
    pub(crate) rule: RuleName,
    pub(crate) scope: Scope,
    pub(crate) parting: Parting,
}

enum HealthCommand {
    Serve(Vec<ServingRule>, oneshot::Sender<Choices>),
    Override(proto::TargetOverrides, oneshot::Sender<()>),
    Check(proto::CheckTargets, oneshot::Sender<proto::TargetsChecked>),
    /// Of one rule, or of all.
    View(Option<String>, oneshot::Sender<View>),
}

/// Commands to health, and what it shows. Health ends when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct HealthHandle {
    commands: mpsc::Sender<HealthCommand>,
    view: watch::Receiver<Arc<View>>,
    tally: Arc<ProbeTally>,
    steady: Steady,
}

impl HealthHandle {
    /// The clock by which overrides end.
    pub(crate) fn steady(&self) -> &Steady {
        &self.steady
    }

    /// Watches these rules and no others from now on. Returns what their connections are to be chosen by.
    pub(crate) async fn serve(&self, rules: Vec<ServingRule>) -> Result<Choices, Stopped> {
        self.ask(|reply| HealthCommand::Serve(rules, reply)).await
    }

    /// Replaces the list of what operators ordered.
    pub(crate) async fn set_overrides(&self, overrides: proto::TargetOverrides) -> Result<(), Stopped> {
        self.ask(|reply| HealthCommand::Override(overrides, reply)).await
    }

    /// Probes now, and answers when all have ended.
    pub(crate) async fn check(&self, request: proto::CheckTargets) -> Result<proto::TargetsChecked, Stopped> {
        self.ask(|reply| HealthCommand::Check(request, reply)).await
    }

    /// The targets of one rule, or of all, with their very last results.
    pub(crate) async fn newest(&self, rule: Option<String>) -> Result<View, Stopped> {
        self.ask(|reply| HealthCommand::View(rule, reply)).await
    }

    /// The targets of all rules as of the last change of a state, a weight or a rule's health.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Every change of the view from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// The probes so far.
    pub(crate) fn probes(&self) -> Vec<proto::CauseCount> {
        self.tally.totals()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> HealthCommand) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

/// Starts health for an edge that serves nothing yet.
pub(crate) fn start(
    names: Names,
    policy: PolicyInForce,
    steady: Steady,
    supervisor: &Supervisor,
) -> (HealthHandle, mpsc::Receiver<PartingOrder>) {
    let (commands, receiver) = mpsc::channel(COMMANDS);
    let (sender, orders) = mpsc::channel(ORDERS);
    let (publisher, view) = watch::channel(Arc::default());
    let owner = owner::Owner::new(publisher, sender, ProbeContext::new(names, policy), steady.clone());
    let tally = owner.tally();
    // It is owned by its handles: it ends with the last of them, and its probes with it.
    tokio::spawn(supervisor.lasting(Part::Health, owner.run(receiver)));
    (HealthHandle { commands, view, tally, steady }, orders)
}
