//! The task that owns the verdicts of an edge: results in, choices, orders and views out. I/O.
//!
//! Keeps: it waits for nothing but its inputs, so that no target, worker or report holds up another; a change is shown
//! at once, or together with others where there are many. Long because every input ends in the same few fields.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use schema::health::{Outcome, PortChange, ResultCode, RuleEvent, TargetKey, TargetState};
use schema::name::RuleName;
use schema::net::Protocol;
use schema::proto;
use schema::rule::{OnTargetDown, Rule};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::check::{self, Round};
use super::clock::Clock;
use super::lines;
use super::probe::{ProbeContext, ProbeSpec, Probed};
use super::probe_set::{Ended, ProbeTally, Probes};
use super::view::RuleView;
use super::watched::{Watched, meter_key};
use super::{Choices, HealthCommand, Parting, PartingOrder, ServingRule, View};
use crate::act::steady::Steady;
use crate::act::workers::{ConnectionOutcome, FEEDBACK, Feedback, Scope};
use crate::decide::faults::ConnectCause;
use crate::decide::overrides::Overrides;
use crate::decide::probe_schedule::{self, ProbeId};

/// Between two views: what a person still calls at once.
const VIEW_GAP: Duration = Duration::from_millis(50);
/// More for each rule, for every view and its report name them all: 10,000 rules are shown once a second at most.
const VIEW_GAP_PER_RULE: Duration = Duration::from_micros(100);
/// Timers stand still while the host is suspended; the clock of ends does not.
const LOOK_FOR_ENDS: Duration = Duration::from_mins(1);

/// A rule with what the owner knows about it besides.
struct Member {
    watched: Watched,
    /// The probes of its targets, where there are any.
    probes: Vec<(TargetKey, ProbeId)>,
    /// As it is in the list of trials.
    trial: Option<Duration>,
}

pub(super) struct Owner {
    clock: Clock,
    /// By which overrides end.
    steady: Steady,
    rules: HashMap<u64, Member>,
    names: BTreeMap<RuleName, u64>,
    next_group: u64,
    probes: Probes,
    /// When probes may start again.
    next_batch: Duration,
    trials: BTreeSet<(Duration, u64)>,
    rounds: Vec<Round>,
    /// What operators ordered, as received.
    ordered: proto::TargetOverrides,
    overrides: Overrides,
    feedback: (mpsc::Sender<Feedback>, mpsc::Receiver<Feedback>),
    orders: mpsc::Sender<PartingOrder>,
    /// Not taken yet: one per change of a target's state at most, while the runtime is busy with a switch.
    pending: VecDeque<PartingOrder>,
    view: watch::Sender<Arc<View>>,
    /// Rules that are not shown as they are.
    stale: BTreeSet<RuleName>,
    shown: Instant,
}

impl Owner {
    /// One that watches nothing yet.
    pub(super) fn new(
        view: watch::Sender<Arc<View>>,
        orders: mpsc::Sender<PartingOrder>,
        tools: ProbeContext,
        steady: Steady,
    ) -> Self {
        Self {
            clock: Clock::new(),
            steady,
            rules: HashMap::new(),
            names: BTreeMap::new(),
            next_group: 0,
            // Without chance edges only probe in step.
            probes: Probes::new(getrandom::u32().unwrap_or_default(), tools),
            next_batch: Duration::ZERO,
            trials: BTreeSet::new(),
            rounds: Vec::new(),
            ordered: proto::TargetOverrides::default(),
            overrides: Overrides::default(),
            feedback: mpsc::channel(FEEDBACK),
            orders,
            pending: VecDeque::new(),
            view,
            stale: BTreeSet::new(),
            shown: Instant::now(),
        }
    }

    /// The counters of its probes.
    pub(super) fn tally(&self) -> Arc<ProbeTally> {
        self.probes.tally()
    }

    /// Works until the last handle is dropped.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<HealthCommand>) {
        let orders = self.orders.clone();
        loop {
            self.turn_probes();
            // Between two batches nobody listens for answers: the next batch takes them in.
            let is_between = self.clock.now() < self.next_batch;
            let awaits = self.probes.awaits_answers();
            let next = (awaits && is_between).then_some(self.next_batch);
            let wakes = next.or_else(|| self.probes.wakes_at());
            let probe = wakes.map(|at| self.clock.instant(at.max(self.next_batch)));
            let trial = self.trials.first().map(|(at, _)| self.clock.instant(*at));
            let show = (!self.stale.is_empty()).then(|| self.next_view());
            let ends = self.overrides.ends().map(|ends| Instant::now() + self.steady.rest(ends).min(LOOK_FOR_ENDS));
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                ended = self.probes.ended(awaits && !is_between) => if let Some(ended) = ended {
                    self.probes.note(&ended, self.clock.now());
                    self.probed(ended);
                },
                Some(feedback) = self.feedback.1.recv() => self.connected(&feedback),
                () = until(probe) => {}
                () = until(trial) => self.try_again(),
                () = until(show) => self.show(),
                () = until(ends) => self.reread_overrides(),
                Ok(permit) = orders.reserve(), if !self.pending.is_empty() => {
                    if let Some(order) = self.pending.pop_front() {
                        permit.send(order);
                    }
                }
            }
        }
    }

    /// Starts the probes that are due, and takes in the answers that are there.
    fn turn_probes(&mut self) {
        let now = self.clock.now();
        if now < self.next_batch {
            return;
        }
        let mut ended = Vec::new();
        if self.probes.start_due(now, &mut ended) {
            self.next_batch = now + self.probes.batch();
        }
        ended.extend(self.probes.look(now));
        for ended in ended {
            self.probed(ended);
        }
    }

    fn obey(&mut self, command: HealthCommand) {
        // Who asked may have gone; what was asked for holds all the same.
        match command {
            HealthCommand::Serve(rules, reply) => _ = reply.send(self.serve(rules)),
            HealthCommand::Override(list, reply) => {
                self.ordered = list;
                self.reread_overrides();
                _ = reply.send(());
            }
            HealthCommand::Check(request, reply) => self.check(&request, reply),
            HealthCommand::View(rule, reply) => {
                self.clock.follow();
                let is_meant = |name: &RuleName| rule.as_ref().is_none_or(|rule| rule == name.as_str());
                let names = self.names.keys().filter(|name| is_meant(name));
                let views = names.filter_map(|name| Some((name.clone(), Arc::new(self.look(name)?))));
                _ = reply.send(views.collect());
            }
        }
    }

    fn serve(&mut self, serving: Vec<ServingRule>) -> Choices {
        let now = self.clock.now();
        self.probes.set_listeners(serving.iter().map(|serving| serving.rule.listen));
        let mut former = std::mem::take(&mut self.names);
        let mut first = Vec::new();
        for ServingRule { previous, rule } in serving {
            let name = rule.name.clone();
            let group = previous.and_then(|previous| former.remove(&previous));
            let group = group.unwrap_or_else(|| {
                self.next_group += 1;
                self.next_group
            });
            self.names.insert(name.clone(), group);
            let feedback = self.feedback.0.clone();
            let events = match self.rules.get_mut(&group) {
                Some(member) if *member.watched.rule == *rule => continue,
                Some(member) => member.watched.reload(group, rule, now, feedback),
                None => {
                    let watched = Watched::new(group, rule, now, feedback);
                    self.rules.insert(group, Member { watched, probes: Vec::new(), trial: None });
                    Vec::new()
                }
            };
            self.stale.insert(name);
            self.subscribe(group, &mut first);
            let mut all = events;
            if let Some(member) = self.rules.get_mut(&group) {
                all.extend(member.watched.obey(&self.overrides, now));
            }
            self.settle(group, &all);
            let probes = self.rules.get(&group).map(|member| member.probes.clone()).unwrap_or_default();
            for (_, id) in probes {
                self.reschedule(id);
            }
        }
        for group in former.into_values() {
            self.forget(group);
        }
        // Not of before: with thousands of rules that was a while ago, and the first probes would come in a burst.
        self.spread(first, self.clock.now());
        self.stale.extend(self.view.borrow().keys().filter(|name| !self.names.contains_key(*name)).cloned());
        // The report of the switch shows them already.
        self.show();
        let choice =
            |(name, group): (&RuleName, &u64)| Some((name.clone(), self.rules.get(group)?.watched.choice.clone()));
        self.names.iter().filter_map(choice).collect()
    }

    /// Subscribes to the probes of a rule as it is now. Those that are new are added to `first`.
    fn subscribe(&mut self, group: u64, first: &mut Vec<(u8, ProbeId)>) {
        let Some(member) = self.rules.get_mut(&group) else { return };
        let rule = member.watched.rule.clone();
        let mut before = std::mem::take(&mut member.probes);
        for target in &rule.targets {
            let Some(question) = rule.health.as_ref().map(|check| ProbeSpec::new(check, target, &rule)) else { break };
            let key = TargetKey::of(target);
            let subscriber = (group, key.clone());
            let id = self.probes.subscribe(question, subscriber);
            match before.iter().position(|(other, former)| *other == key && *former == id) {
                Some(index) => _ = before.swap_remove(index),
                None => first.push((target.priority, id)),
            }
            member.probes.push((key, id));
        }
        for (key, id) in before {
            self.probes.unsubscribe(id, &(group, key));
        }
    }

    /// Gives new probes their first turns: preferred targets first, and evenly.
    fn spread(&mut self, mut first: Vec<(u8, ProbeId)>, now: Duration) {
        first.sort_by_key(|(priority, _)| *priority);
        let gap = first.iter().filter_map(|(_, id)| self.probes.interval(*id)).min();
        let gap = probe_schedule::first_gap(first.len(), gap.unwrap_or_default());
        for (index, (_, id)) in first.into_iter().enumerate() {
            let due = now + gap * index as u32;
            match self.wishes(id) {
                // Nothing but a retry of another rule's target.
                (None, retry) => self.probes.set(id, None, retry, now),
                (wished, _) => self.probes.set_first(id, wished, due),
            }
        }
    }

    fn forget(&mut self, group: u64) {
        let Some(member) = self.rules.remove(&group) else { return };
        for (key, id) in member.probes {
            self.probes.unsubscribe(id, &(group, key));
        }
        if let Some(at) = member.trial {
            self.trials.remove(&(at, group));
        }
        let name = &member.watched.rule.name;
        let (names, probes) = (&self.names, &self.probes);
        for round in &mut self.rounds {
            round.awaited.retain(|id| probes.is_known(*id));
        }
        for round in self.rounds.extract_if(.., |round| round.rule == *name && !names.contains_key(name)) {
            let message = format!("rule `{name}` no longer serves");
            _ = round.reply.send(check::refusal(round.request_id, "unknown_rule", message));
        }
    }

    /// What the targets of a probe wish for: the next turn by their verdicts, and that of a retry.
    fn wishes(&self, id: ProbeId) -> (Option<Duration>, Option<Duration>) {
        let targets = self.probes.subscribers(id).iter().filter_map(|(group, key)| {
            let watched = &self.rules.get(group)?.watched;
            // One that is waited for is asked as its retries say.
            match watched.waiting.due(key) {
                Some(due) => Some((None, Some(due))),
                None => Some((watched.group.target(key)?.next_probe(), None)),
            }
        });
        let earlier = |one: Option<Duration>, other: Option<Duration>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        targets.fold((None, None), |sum, next| (earlier(sum.0, next.0), earlier(sum.1, next.1)))
    }

    fn reschedule(&mut self, id: ProbeId) {
        let (wished, retry) = self.wishes(id);
        self.probes.set(id, wished, retry, self.clock.now());
    }

    fn probed(&mut self, Ended { id, started, probed }: Ended) {
        let now = self.clock.now();
        let outcome = match probed {
            Probed::Found(outcome) | Probed::Nameless(outcome) => Some(outcome),
            Probed::Missed(_) => None,
        };
        for (group, key) in self.probes.subscribers(id).to_vec() {
            let Some(member) = self.rules.get_mut(&group) else { continue };
            let Some(outcome) = &outcome else {
                member.watched.missed(&key, now);
                continue;
            };
            let is_other = member.watched.last_code(&key) != Some(outcome.code());
            let (events, is_attempt) = member.watched.probed(&key, outcome.clone(), now);
            let name = &member.watched.rule.name;
            // A target that is down for another reason than before is shown with it.
            if is_other {
                self.stale.insert(name.clone());
            }
            if is_attempt {
                tracing::debug!(rule = %name, target = %key, code = %outcome.code(), detail = outcome.detail(), "a new \
                    target was probed");
                self.stale.insert(name.clone());
            }
            // A success that changes no state changes nothing that follows from states: most probes end so.
            if is_attempt || !events.is_empty() || !outcome.is_pass() {
                self.settle(group, &events);
            }
        }
        self.reschedule(id);
        let ended: Vec<Round> = self.rounds.extract_if(.., |round| round.note(id, started)).collect();
        for round in ended {
            self.answer(round);
        }
    }

    fn connected(&mut self, feedback: &Feedback) {
        let now = self.clock.now();
        let Feedback { group, target, port, met } = feedback;
        let Some(member) = self.rules.get_mut(group) else { return };
        let events = match outcome(*met) {
            Some(outcome) => member.watched.met(target, *port, outcome, now),
            None if *met == ConnectionOutcome::Trial => {
                member.watched.trial_begun(target, *port, now);
                Vec::new()
            }
            None => return,
        };
        let probe = member.probes.iter().find(|(key, _)| key == target).map(|(_, id)| *id);
        self.settle(*group, &events);
        if let Some(id) = probe {
            self.reschedule(id);
        }
    }

    /// Publishes what follows for a rule, and notes what is to be shown and done.
    fn settle(&mut self, group: u64, events: &[RuleEvent]) {
        let now = self.clock.now();
        let Some(member) = self.rules.get_mut(&group) else { return };
        let watched = &mut member.watched;
        let left = watched.settle(now);
        let has_failed_over = watched.take_failover();
        let trial = watched.next_trial();
        if trial != member.trial {
            self.trials.extend(trial.map(|at| (at, group)));
            if let Some(at) = std::mem::replace(&mut member.trial, trial) {
                self.trials.remove(&(at, group));
            }
        }
        let rule = &watched.rule;
        let order = |scope, parting| PartingOrder { rule: rule.name.clone(), scope, parting };
        if !left.is_empty() {
            self.pending.push_back(order(Scope::Targets(left), Parting::Drain));
        }
        for event in events {
            match event {
                RuleEvent::Changed { key, change } => {
                    lines::target(&rule.name, key, change);
                    let parting = parting(rule, change.to == TargetState::Down, change.from == TargetState::Down);
                    let target = rule.targets.iter().find(|target| TargetKey::of(target) == *key);
                    // What the tree disables drains, as what it removes; an operator's word is obeyed at once.
                    let is_ordered = target.is_some_and(|target| target.enabled);
                    let parting = match change.to {
                        TargetState::Disabled => is_ordered.then_some(Parting::Reset),
                        _ => parting,
                    };
                    if let (Some(target), Some(parting)) = (target, parting) {
                        self.pending.push_back(order(Scope::Targets(vec![meter_key(target)]), parting));
                    }
                }
                RuleEvent::Port { key, port, change, outcome } => {
                    let (code, detail) = (outcome.code().as_str(), outcome.detail());
                    let has_failed = *change == PortChange::Failed;
                    tracing::info!(rule = %rule.name, target = %key, port, has_failed, code, detail, "a port of a \
                        target changed");
                    let target = rule.targets.iter().find(|target| TargetKey::of(target) == *key);
                    if let (Some(target), Some(parting)) = (target, parting(rule, has_failed, !has_failed)) {
                        self.pending.push_back(order(Scope::Place(meter_key(target), *port), parting));
                    }
                }
                RuleEvent::Health { from, to } => lines::health(&rule.name, *from, *to),
                RuleEvent::Membership { .. } | RuleEvent::Weights { .. } => (),
            }
        }
        if has_failed_over {
            self.pending.push_back(order(Scope::Targets(Vec::new()), Parting::Failover));
        }
        if !events.is_empty() {
            self.stale.insert(rule.name.clone());
        }
    }

    /// Offers the trials that are due.
    fn try_again(&mut self) {
        let now = self.clock.now();
        while let Some((at, group)) = self.trials.first().copied().filter(|(at, _)| *at <= now) {
            self.trials.remove(&(at, group));
            let Some(member) = self.rules.get_mut(&group) else { continue };
            member.trial = None;
            let (has_changed, events) = member.watched.turn(now);
            if has_changed {
                self.stale.insert(member.watched.rule.name.clone());
            }
            self.settle(group, &events);
        }
    }

    fn reread_overrides(&mut self) {
        let now = self.clock.now();
        self.overrides = Overrides::read(&self.ordered, self.steady.now_ms());
        let groups: Vec<u64> = self.names.values().copied().collect();
        for group in groups {
            let Some(member) = self.rules.get_mut(&group) else { continue };
            let events = member.watched.obey(&self.overrides, now);
            if events.is_empty() {
                continue;
            }
            let probes: Vec<ProbeId> = member.probes.iter().map(|(_, id)| *id).collect();
            self.settle(group, &events);
            for id in probes {
                self.reschedule(id);
            }
        }
    }

    fn check(&mut self, request: &proto::CheckTargets, reply: oneshot::Sender<proto::TargetsChecked>) {
        let refuse = |code, message| check::refusal(request.request_id, code, message);
        let found = self.names.iter().find(|(name, _)| name.as_str() == request.rule);
        let Some((name, member)) = found.and_then(|(name, group)| Some((name, self.rules.get(group)?))) else {
            _ = reply.send(refuse("unknown_rule", format!("this edge does not serve a rule `{}`", request.rule)));
            return;
        };
        let targets = member.watched.group.targets();
        let target = targets.map(|(key, _)| key).find(|key| key.as_str() == request.target).cloned();
        if target.is_none() && !request.target.is_empty() {
            let message = format!("rule `{name}` has no target `{}`", request.target);
            _ = reply.send(refuse("unknown_target", message));
            return;
        }
        if member.watched.rule.health.is_none() {
            _ = reply.send(refuse("no_check", format!("rule `{name}` has no health check")));
            return;
        }
        let is_asked = |key: &TargetKey| {
            target.as_ref().is_none_or(|target| target == key)
                && member.watched.group.target(key).is_some_and(|health| health.state().is_in_use())
        };
        let awaited: BTreeSet<ProbeId> =
            member.probes.iter().filter(|(key, _)| is_asked(key)).map(|(_, id)| *id).collect();
        let asked = self.clock.now();
        let round = Round { rule: name.clone(), target, request_id: request.request_id, asked, awaited, reply };
        if round.awaited.is_empty() {
            return self.answer(round);
        }
        round.awaited.iter().for_each(|id| self.probes.hurry(*id));
        self.rounds.push(round);
    }

    fn answer(&mut self, round: Round) {
        self.clock.follow();
        let Some(view) = self.look(&round.rule) else { return };
        let targets = view.selected(round.target.as_ref());
        // Who asked may have gone.
        _ = round.reply.send(proto::TargetsChecked { request_id: round.request_id, refused: None, targets });
    }

    fn look(&self, name: &RuleName) -> Option<RuleView> {
        let member = self.rules.get(self.names.get(name)?)?;
        Some(RuleView::of(&member.watched, &self.clock))
    }

    fn next_view(&self) -> Instant {
        self.shown + VIEW_GAP + VIEW_GAP_PER_RULE * self.names.len() as u32
    }

    /// Shows what has changed.
    fn show(&mut self) {
        self.clock.follow();
        let mut view = View::clone(&self.view.borrow());
        for name in std::mem::take(&mut self.stale) {
            match self.look(&name) {
                Some(rule) => _ = view.insert(name, Arc::new(rule)),
                None => _ = view.remove(&name),
            }
        }
        self.view.send_replace(Arc::new(view));
        self.shown = Instant::now();
    }
}

/// What becomes of live connections of a target, or of one of its ports, that has failed or has recovered.
fn parting(rule: &Rule, has_failed: bool, has_recovered: bool) -> Option<Parting> {
    match (rule.on_target_down, rule.listen.protocol) {
        (OnTargetDown::Reset, _) if has_failed => Some(Parting::Reset),
        (OnTargetDown::Drain, Protocol::Udp) if has_failed => Some(Parting::Failing),
        (OnTargetDown::Drain, Protocol::Udp) if has_recovered => Some(Parting::Recovered),
        _ => None,
    }
}

/// What a connection tells about a target; nothing where the edge itself was at its limit.
fn outcome(met: ConnectionOutcome) -> Option<Outcome> {
    let failed = |code, detail: &str| Some(Outcome::new(code, detail));
    match met {
        ConnectionOutcome::Answer => failed(ResultCode::L4Ok, "a connection was established"),
        ConnectionOutcome::NoAddress => failed(ResultCode::L4Con, "a connection could not resolve the name"),
        ConnectionOutcome::Trial
        | ConnectionOutcome::Failure(
            ConnectCause::Descriptors
            | ConnectCause::SourcePorts
            | ConnectCause::Memory
            | ConnectCause::Firewall
            | ConnectCause::Policy
            | ConnectCause::Route,
        ) => None,
        ConnectionOutcome::Failure(ConnectCause::Timeout) => {
            failed(ResultCode::L4Tout, "a connection was not answered in time")
        }
        ConnectionOutcome::Failure(ConnectCause::Refused) => failed(ResultCode::L4Con, "a connection was refused"),
        ConnectionOutcome::Failure(ConnectCause::Unreachable) => {
            failed(ResultCode::L4Con, "a connection found the target unreachable")
        }
        ConnectionOutcome::Failure(ConnectCause::Reset) => failed(ResultCode::L4Con, "a connection was reset"),
        ConnectionOutcome::Failure(ConnectCause::Loop) => {
            failed(ResultCode::L4Con, "the target is a listener of this edge")
        }
        ConnectionOutcome::Failure(ConnectCause::Other) => failed(ResultCode::L4Con, "a connection failed"),
    }
}

/// Waits until then, or for ever.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
