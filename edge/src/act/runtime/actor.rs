//! The task that owns the sockets and rules of an edge. I/O.
//!
//! Everything that changes what serves goes through `Actor::switch`: prepare, switch, release (DESIGN §4).
//!
//! Keeps: what serves changes only as a transition decides; a rule that fails is tried again until it serves or
//! is no longer wanted, and so is a store; counters and connections follow their rule through updates, moves and
//! rebinds.
//!
//! Long because the commands and timers of one task, and the one road that all of them take, are read together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use guard::InheritedSockets;
use schema::capability::Limits;
use schema::diff::Rules;
use schema::name::RuleName;
use schema::net::Listener;
use schema::proto::TargetOverrides;
use schema::rule::Rule;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::failing::FailingFlows;
use super::parting::Meters;
use super::quiet::QuietWindow;
use super::quotas::Quotas;
use super::reserved::Reserved;
use super::trial::Trial;
use super::{ApplyTerms, Before, Restarted, RuntimeCommand};
use crate::act::drain::Drains;
use crate::act::health::{self, Choices, HealthHandle, ServingRule, View};
use crate::act::last_good::{LastGood, Stored};
use crate::act::policy::PolicyInForce;
use crate::act::prepare::{self, BindOrder, BindOrders, Prepared};
use crate::act::sockets;
use crate::act::status::Status;
use crate::act::workers::{Choice, Dataplane, Gate, Meter, Route, Routing};
use crate::decide::admission::Refused;
use crate::decide::backoff;
use crate::decide::desired::{Desired, DesiredRule};
use crate::decide::transition::{self, RuleFailure, Settled, WaitingRules, Wanted};

pub(super) struct ServedRule {
    pub(super) rule: Arc<Rule>,
    pub(super) meter: Arc<Meter>,
    choice: Arc<Choice>,
    gate: Option<Arc<Gate>>,
}

impl ServedRule {
    fn route(&self) -> Route {
        let (meter, choice, gate) = (self.meter.clone(), self.choice.clone(), self.gate.clone());
        Route { rule: self.rule.clone(), meter, choice, gate }
    }
}

pub(super) struct FailedRule {
    pub(super) failure: RuleFailure,
    /// In a row.
    pub(super) times: u32,
    due: Instant,
}

/// A state that the disk does not hold.
pub(super) struct Unstored {
    /// Why not, for people.
    pub(super) reason: String,
    /// Attempts in a row.
    pub(super) times: u32,
    pub(super) due: Instant,
}

/// Timers stand still while the host is suspended; the clock of ends does not.
const LOOK_FOR_ENDS: Duration = Duration::from_mins(1);

/// Which of the failed rules to try.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trying {
    All,
    Due,
}

/// What an actor works with.
pub(super) struct ActorTools {
    pub(super) dataplane: Dataplane,
    pub(super) limits: Limits,
    pub(super) policy: PolicyInForce,
    pub(super) inherited: InheritedSockets,
    pub(super) health: HealthHandle,
    /// What health asks for.
    pub(super) orders: mpsc::Receiver<health::PartingOrder>,
    pub(super) store: Option<LastGood>,
    pub(super) status: watch::Sender<Arc<Status>>,
    pub(super) retries: Arc<AtomicU64>,
}

pub(super) struct Actor {
    pub(super) dataplane: Dataplane,
    pub(super) limits: Limits,
    pub(super) policy: PolicyInForce,
    /// Sockets of the service manager, until it is known which of them rules need.
    pub(super) inherited: InheritedSockets,
    pub(super) desired: Desired,
    pub(super) serving: BTreeMap<RuleName, ServedRule>,
    pub(super) failed: BTreeMap<RuleName, FailedRule>,
    /// Until when changes wait for a moment without the connections that they would cost.
    pub(super) quiet: Option<QuietWindow>,
    /// The rules that wait.
    pub(super) waiting: WaitingRules,
    /// Rules that release their ports where their new version finds one in use.
    pub(super) yields: BTreeSet<RuleName>,
    /// What served before a restart and may be served again where the newest version fails.
    pub(super) fallback: BTreeMap<RuleName, Arc<Rule>>,
    /// What operators ordered about targets.
    pub(super) overrides: TargetOverrides,
    pub(super) drains: Drains,
    /// Flows of targets that have failed.
    pub(super) failing: FailingFlows,
    pub(super) health: HealthHandle,
    view: watch::Receiver<Arc<View>>,
    /// What health asks for; taken by the task.
    orders: Option<mpsc::Receiver<health::PartingOrder>>,
    /// Told by every meter whose last connection ended.
    emptied: Arc<Notify>,
    /// Told when failed rules are to be tried before their time.
    pub(super) again: Arc<Notify>,
    pub(super) store: Option<Arc<LastGood>>,
    /// What the store holds, where that is known.
    pub(super) stored: Option<Stored>,
    /// Set while it does not hold what it should.
    pub(super) unstored: Option<Unstored>,
    pub(super) status: watch::Sender<Arc<Status>>,
    retries: Arc<AtomicU64>,
    pub(super) has_stopped: bool,
    /// Whether what runs waits for a confirmation.
    pub(super) trial: Trial,
    /// Sockets that are held for plans.
    pub(super) reserved: Reserved,
    pub(super) quotas: Quotas,
}

impl Actor {
    /// An actor that serves nothing yet.
    pub(super) fn new(tools: ActorTools) -> Self {
        let ActorTools { dataplane, limits, policy, inherited, health, orders, store, status, retries } = tools;
        let quotas = Quotas::new(store.as_ref());
        Self {
            dataplane,
            limits,
            policy,
            inherited,
            desired: Desired::default(),
            serving: BTreeMap::new(),
            failed: BTreeMap::new(),
            quiet: None,
            waiting: WaitingRules::new(),
            yields: BTreeSet::new(),
            fallback: BTreeMap::new(),
            overrides: TargetOverrides::default(),
            drains: Drains::default(),
            failing: FailingFlows::default(),
            view: health.subscribe(),
            health,
            orders: Some(orders),
            emptied: Arc::default(),
            again: Arc::default(),
            store: store.map(Arc::new),
            stored: None,
            unstored: None,
            status,
            retries,
            has_stopped: false,
            trial: Trial::None,
            reserved: Reserved::default(),
            quotas,
        }
    }

    /// Works until the last handle is dropped.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<RuntimeCommand>) {
        let (emptied, again, crossed) = (self.emptied.clone(), self.again.clone(), self.quotas.keeper.clone());
        let mut orders = self.orders.take().expect("the task runs once");
        loop {
            let retry = self.failed.values().map(|failed| failed.due).min().filter(|_| !self.has_stopped);
            let store = self.unstored.as_ref().map(|unstored| unstored.due).filter(|_| self.store.is_some());
            let drain = self.drains.next_deadline();
            let failing = self.failing.next_deadline();
            let lease = self.reserved.next_end();
            let trial = self.trial_ends().filter(|_| !self.has_stopped);
            let quiet = self.next_look();
            let end = self.next_end().filter(|_| !self.has_stopped);
            let quotas = self.quotas.next_look();
            tokio::select! {
                command = commands.recv() => match command {
                    None => return self.store_quotas().await,
                    Some(command) => self.obey(command).await,
                },
                () = until(retry) => {
                    self.retries.fetch_add(1, Ordering::Relaxed);
                    self.reconcile(Trying::Due).await;
                }
                () = until(quiet) => if self.is_quieter() {
                    self.reconcile(Trying::Due).await;
                },
                () = until(store) => {
                    self.store().await;
                    self.publish();
                }
                () = until(lease) => self.reserved.expire(Instant::now()),
                () = until(end) => if self.end_overdue() {
                    self.reconcile(Trying::Due).await;
                },
                () = until(trial) => self.return_to_previous().await,
                () = until(drain) => self.cut_overdue().await,
                () = again.notified() => {
                    tracing::info!(failed = self.failed.len(), "failed rules are retried on request");
                    self.retry_all().await;
                }
                () = until(failing) => for overdue in self.failing.overdue(Instant::now()) {
                    self.dataplane.reset(overdue).await;
                },
                () = emptied.notified() => self.forget_drained(),
                () = until(quotas) => self.look_at_quotas().await,
                () = crossed.notified() => self.look_at_quotas().await,
                Ok(()) = self.view.changed() => self.publish(),
                Some(order) = orders.recv() => self.part(order).await,
            }
        }
    }

    async fn obey(&mut self, command: RuntimeCommand) {
        match command {
            RuntimeCommand::Apply(desired, terms, done) => {
                // The one who asked may have gone; what was asked for holds even so.
                _ = done.send(self.accept(*desired, terms).await);
            }
            RuntimeCommand::Confirm { lineage, generation, done } => {
                self.confirm(&lineage, generation).await;
                _ = done.send(());
            }
            RuntimeCommand::Reserve(desired, base, lasts, done) => {
                let refused = base.refusal(&self.desired.accepted, self.running_digest(), &desired.accepted);
                let proof = match refused {
                    Some(Refused { code, message }) => Err(RuleFailure { code, message, blocked_by: None }),
                    None => self.reserve(*desired, lasts).await,
                };
                // Who asked and went away has nothing held for it for longer than its lease.
                _ = done.send(proof);
            }
            RuntimeCommand::GiveBack(done) => {
                self.reserved.clear();
                _ = done.send(());
            }
            RuntimeCommand::Retry(done) => {
                self.retry_all().await;
                _ = done.send(());
            }
            RuntimeCommand::Override(overrides, done) => {
                self.set_overrides(*overrides).await;
                _ = done.send(());
            }
            RuntimeCommand::Policy(policy, done) => {
                self.set_policy(policy).await;
                _ = done.send(());
            }
            RuntimeCommand::ResetQuota(of, done) => {
                _ = done.send(self.reset_quota(&of).await);
            }
            RuntimeCommand::Answer(done) => {
                self.dataplane.settle().await;
                _ = done.send(());
            }
            RuntimeCommand::StopAccepting(done) => {
                self.has_stopped = true;
                self.reserved.clear();
                self.dataplane.release_all().await;
                self.publish();
                _ = done.send(());
            }
            RuntimeCommand::LeaveState(done) => {
                self.leave_quotas().await;
                if self.unstored.is_some() {
                    self.store().await;
                }
                // The last one to hold it: closing it unlocks the folder.
                self.store = None;
                _ = done.send(());
            }
        }
    }

    /// Applies a desired set, unless it was decided from another state than the one that runs.
    async fn accept(&mut self, desired: Desired, terms: ApplyTerms) -> Option<Refused> {
        let running = self.running_digest();
        let refused = terms.base.and_then(|base| base.refusal(&self.desired.accepted, running, &desired.accepted));
        if refused.is_none() {
            self.quiet = QuietWindow::begin(terms.quiet_window);
            self.yields = terms.yields;
            self.apply(desired, terms.confirm_within).await;
        }
        refused
    }

    /// Resets the connections whose drain timeout has expired.
    async fn cut_overdue(&mut self) {
        for drain in self.drains.overdue(Instant::now()) {
            let listen: Vec<String> = drain.listen.iter().map(ToString::to_string).collect();
            let (listen, connections) = (listen.join(", "), drain.live());
            tracing::info!(listen, connections, "drain timeout expired, connections are reset");
            self.dataplane.cut(&drain).await;
        }
        self.drains.forget_ended();
        self.publish();
    }

    /// Tries every failed rule, whatever its backoff says.
    async fn retry_all(&mut self) {
        if !self.failed.is_empty() && !self.has_stopped {
            self.retries.fetch_add(1, Ordering::Relaxed);
            self.reconcile(Trying::All).await;
        }
    }

    async fn apply(&mut self, desired: Desired, confirm_within: Option<Duration>) {
        // A desired state that arrives during the shutdown must not open sockets again.
        if self.has_stopped {
            return;
        }
        self.begin_trial(self.desired.clone(), confirm_within);
        self.change_to(desired).await;
        guard::inherited::close_unmatched(&self.inherited);
        // Plans of before are stale now: what was held for them and not needed is given back.
        self.reserved.clear();
        self.trial_has_begun();
    }

    /// Makes another set the desired one.
    pub(super) async fn change_to(&mut self, desired: Desired) {
        // A changed rule starts its backoff anew; an unchanged one goes on where it was.
        let former = std::mem::replace(&mut self.desired, desired);
        self.desired.keep_ends(&former.ends);
        self.end_overdue();
        self.judge();
        let rules = &self.desired.rules;
        self.failed.retain(|name, _| rules.get(name) == former.rules.get(name));
        self.reconcile(Trying::All).await;
    }

    /// Serves what served before the restart, then goes for what is desired: the same transition as ever.
    pub(super) async fn restore(&mut self, before: Before) {
        let Before { desired, mut exceptions, overrides, trial, .. } = before;
        self.desired = desired;
        self.end_overdue();
        exceptions.retain(|(name, _)| self.desired.rules.contains_key(name));
        self.judge_restored(&mut exceptions);
        match trial {
            Some(Restarted::Awaiting(pending)) => self.resume_trial(pending),
            Some(Restarted::Missed) => self.trial = Trial::Missed,
            None => {}
        }
        // First, so that no target that is taken out of use gets a connection.
        self.overrides.clone_from(&overrides);
        self.tell_overrides(overrides).await;
        if !exceptions.is_empty() {
            let mut wanted = self.wanted(Trying::All);
            for (name, running) in exceptions {
                let before = running.map_or(Wanted::Hold(None), |rule| {
                    self.fallback.insert(name.clone(), rule.clone());
                    Wanted::Try(rule)
                });
                wanted.insert(name, before);
            }
            self.switch(&wanted).await;
        }
        self.reconcile(Trying::All).await;
        guard::inherited::close_unmatched(&self.inherited);
    }

    fn wanted(&self, trying: Trying) -> BTreeMap<RuleName, Wanted> {
        let now = Instant::now();
        let waits =
            |failed: &FailedRule| trying == Trying::Due && failed.due > now && failed.failure.blocked_by.is_none();
        self.desired
            .rules
            .iter()
            .map(|(name, desired)| {
                let wanted = match &desired.rule {
                    Some(rule) if desired.rejection.is_none() && !self.failed.get(name).is_some_and(waits) => {
                        Wanted::Try(rule.clone())
                    }
                    rule => Wanted::Hold(rule.clone()),
                };
                (name.clone(), wanted)
            })
            .collect()
    }

    /// Brings what serves as near to what is desired as the host allows, and reports it.
    pub(super) async fn reconcile(&mut self, trying: Trying) {
        let mut wanted = self.wanted(trying);
        self.hold_busy(&mut wanted);
        let mut failures = self.switch(&wanted).await;
        if let Some(without) = self.without_yielding(&wanted, &failures) {
            self.switch(&without).await;
        }
        self.fall_back().await;
        self.stop_forbidden().await;
        let now = Instant::now();
        for (name, _) in wanted.iter().filter(|(_, wish)| matches!(wish, Wanted::Try(_))) {
            match failures.remove(name) {
                Some(failure) => self.note_failure(name, failure, now),
                None => {
                    if self.failed.remove(name).is_some() {
                        tracing::info!(rule = %name, "a failed rule serves again");
                    }
                }
            }
        }
        let rules = &self.desired.rules;
        self.failed.retain(|name, _| rules.contains_key(name));
        let serving = &self.serving;
        self.fallback.retain(|name, _| rules.contains_key(name) && !serving.contains_key(name));
        // First, so that a restart between the two finds what a renamed rule has used under either name.
        self.store_quotas().await;
        self.store().await;
        self.publish();
    }

    /// When to look for rules whose time is over.
    fn next_end(&self) -> Option<Instant> {
        let rest = self.health.steady().rest(self.desired.next_end()?);
        Some(Instant::now() + rest.min(LOOK_FOR_ENDS))
    }

    /// Takes out the rules whose time is over; true if there were any.
    fn end_overdue(&mut self) -> bool {
        let ended = self.desired.end_overdue(self.health.steady().now_ms());
        for rule in &ended {
            tracing::info!(rule = %rule, "an override expired");
        }
        !ended.is_empty()
    }

    fn note_failure(&mut self, name: &RuleName, failure: RuleFailure, now: Instant) {
        let times = self.failed.get(name).map_or(0, |failed| failed.times).saturating_add(1);
        if self.failed.get(name).is_none_or(|failed| failed.failure != failure) {
            tracing::warn!(rule = %name, code = %failure.code, reason = failure.message, "a rule failed");
        }
        self.failed.insert(name.clone(), FailedRule { failure, times, due: now + backoff::retry_delay(times) });
    }

    /// Serves what served before the restart, for rules that serve in no version.
    async fn fall_back(&mut self) {
        let serving = &self.serving;
        let policy = self.policy.load();
        let versions: Vec<(RuleName, Arc<Rule>)> = self
            .fallback
            .iter()
            .filter(|(name, _)| self.desired.rules.contains_key(*name) && !serving.contains_key(*name))
            .filter(|(_, rule)| policy.forbids(rule).is_none())
            .map(|(name, rule)| (name.clone(), rule.clone()))
            .collect();
        drop(policy);
        if versions.is_empty() {
            return;
        }
        let hold = |(name, desired): (&RuleName, &DesiredRule)| (name.clone(), Wanted::Hold(desired.rule.clone()));
        let mut wanted: BTreeMap<RuleName, Wanted> = self.desired.rules.iter().map(hold).collect();
        wanted.extend(self.held_though_removed().map(|name| (name.clone(), Wanted::Hold(None))));
        wanted.extend(versions.into_iter().map(|(name, rule)| (name, Wanted::Try(rule))));
        self.switch(&wanted).await;
    }

    /// What serves.
    pub(super) fn current(&self) -> Rules {
        self.serving.iter().map(|(name, served)| (name.clone(), served.rule.clone())).collect()
    }

    /// True once accepting has stopped for good.
    pub(super) fn is_stopping(&self) -> bool {
        self.has_stopped
    }

    /// Prepare, switch, release. Says which of the rules tried do not serve as wanted.
    pub(super) async fn switch(&mut self, wanted: &BTreeMap<RuleName, Wanted>) -> BTreeMap<RuleName, RuleFailure> {
        let current = self.current();
        let plan = transition::transition(&current, wanted);
        if plan.is_empty() {
            return BTreeMap::new();
        }
        let orders: BindOrders = plan
            .binds()
            .map(|(name, binds)| {
                let order = |bind: &transition::Bind| {
                    let (open, mut replaces) = self.dataplane.lingering(&bind.listener);
                    replaces.extend(bind.replaces.iter().filter_map(|old| self.dataplane.acceptor(old)));
                    BindOrder { listener: bind.listener, replaces, open }
                };
                (name.clone(), binds.iter().map(order).collect())
            })
            .collect();
        let needed: Vec<Listener> = orders.values().flatten().map(|order| order.listener).collect();
        let mut held = self.reserved.spend(&needed);
        let is_free = |order: &&BindOrder| order.replaces.is_empty() && order.open.is_none();
        for order in orders.values().flatten().filter(is_free) {
            held.extend(sockets::inherited(&self.inherited, &order.listener).map(|socket| (order.listener, socket)));
        }
        let budget =
            self.limits.file_descriptors.saturating_sub(self.dataplane.listeners() as u64 + self.reserved.count());
        let prepared = spawn_blocking(move || prepare::prepare(&plan, &orders, held, budget)).await;
        let Prepared { settled, acceptors, shared } = prepared.expect("binding does not panic");
        let serving = settled.serving.values();
        let serving =
            serving.map(|next| ServingRule { previous: next.previous.clone(), rule: next.rule.clone() }).collect();
        // A task that has ended by a bug leaves the targets as the tree has them.
        let choices = self.health.serve(serving).await.unwrap_or_default();
        let meters: Meters = self.serving.iter().map(|(name, served)| (name.clone(), served.meter.clone())).collect();
        self.hand_over(&settled, choices);
        self.dataplane.adopt(acceptors).await;
        self.dataplane.release(&settled.release).await;
        for acceptor in &shared {
            prepare::share(acceptor, false);
        }
        self.end_what_goes(&current, &meters).await;
        settled.failed
    }

    /// The switch itself: meters go with their rules, and the routing is published.
    fn hand_over(&mut self, settled: &Settled, mut choices: Choices) {
        let mut before = std::mem::take(&mut self.serving);
        let mut carried = BTreeMap::new();
        for (name, next) in &settled.serving {
            let former = next.previous.as_ref().and_then(|previous| before.remove(previous));
            let meter = former.as_ref().map(|former| former.meter.clone());
            let meter = meter
                .or_else(|| self.drains.revive(name))
                .unwrap_or_else(|| self.dataplane.meter(self.emptied.clone()));
            carried.extend(former.map(|former| (name.clone(), former)));
            if let Some(former) = carried.get(name) {
                log_balance(&former.rule, &next.rule);
            }
            let choice = choices.remove(name).unwrap_or_else(|| Arc::new(Choice::unwatched(&next.rule)));
            let gate = Gate::of(&next.rule);
            self.serving.insert(name.clone(), ServedRule { rule: next.rule.clone(), meter, choice, gate });
        }
        let previous = |(name, next): (&RuleName, &transition::Serving)| Some((name.clone(), next.previous.clone()?));
        self.limit(&settled.serving.iter().filter_map(previous).collect());
        let changed = |(name, former): &(&RuleName, &ServedRule)| {
            self.serving.get(*name).is_none_or(|served| served.rule.listen != former.rule.listen)
        };
        let leaving = carried.iter().filter(changed).chain(&before).map(|(_, former)| former.route());
        self.dataplane.publish(Routing::new(self.serving.values().map(ServedRule::route), leaving));
        // What is gone and what is carried on may bear the same name (an old name taken by a renamed rule).
        self.drains.removed(before.into_iter().map(|(name, gone)| (name, gone.meter)));
    }

    fn forget_drained(&mut self) {
        if self.drains.forget_ended() {
            self.publish();
        }
    }
}

/// Clients notice it at once when a rule begins or ceases to be sticky.
fn log_balance(before: &Rule, after: &Rule) {
    if before.balance != after.balance {
        let (from, to, sticky) = (before.balance.as_str(), after.balance.as_str(), after.balance.is_sticky());
        tracing::info!(rule = %after.name, from, to, sticky, "the balance of a rule changed");
    }
}

/// Waits until then, or for ever.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
