//! Which socket operations turn what serves into what is wanted. Pure.
//!
//! Works over sockets (protocol, address, port), not over rules: a port that changes hands is never touched. Two
//! steps: [`transition`] says what to bind, [`settle`] takes what could not be bound and says what serves then.
//!
//! Keeps: a port that serves before and after is never released in between; a rule gets all of its sockets or
//! none; a failed rule leaves exactly the sockets that it had; no socket has two owners, unless they are chosen by name.

mod quiet;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use schema::codes::RuleCode;
use schema::diff::{self, ChangeKind, Rules};
use schema::name::RuleName;
use schema::net::{ListenAddress, Listener, Protocol};
use schema::rule::Rule;
use schema::shared_port::{self, Clash, claims_alike};

pub use quiet::{WaitingRules, hold_busy};

/// What is wanted of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This version should serve.
    Try(Arc<Rule>),
    /// What serves goes on: the newest version is rejected, or waits to be tried again. It is given where it is
    /// valid, so that a renamed rule is found.
    Hold(Option<Arc<Rule>>),
}

/// Why a rule does not serve as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFailure {
    /// The code of CONTRACT §6.
    pub code: RuleCode,
    /// One sentence.
    pub message: String,
    /// The rule that keeps a socket which this one needs.
    pub blocked_by: Option<RuleName>,
}

/// One socket to bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The socket.
    pub listener: Listener,
    /// Open sockets on the same port that overlap it and are released in the same switch. They and the new one
    /// must share the port for a moment (`SO_REUSEPORT`), so that it is never closed.
    pub replaces: Vec<Listener>,
}

/// The version that serves before the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Previous {
    /// Its name before, another one where the rule is renamed.
    name: RuleName,
    /// Under its new name.
    rule: Arc<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RuleStep {
    previous: Option<Previous>,
    /// `None` where the rule is held.
    next: Option<Arc<Rule>>,
    bind: Vec<Bind>,
}

impl RuleStep {
    /// True if every rule that can serve beside the version before can serve beside the next one.
    fn keeps_its_claims(&self) -> bool {
        match (&self.next, &self.previous) {
            (Some(next), Some(previous)) => claims_alike(next, &previous.rule),
            (None, _) => true,
            (Some(_), None) => false,
        }
    }
}

/// The way from what serves to what is wanted.
#[derive(Debug, Clone)]
pub struct Transition {
    steps: BTreeMap<RuleName, RuleStep>,
    /// Rules that serve now and that nobody wants.
    removed: BTreeMap<RuleName, Arc<Rule>>,
    /// Rules that cannot serve whatever is bound.
    hopeless: BTreeMap<RuleName, RuleFailure>,
}

/// A rule that serves after the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// The version, under the name that the rule has from now on.
    pub rule: Arc<Rule>,
    /// The name under which it served before, if it did: connections and counters go with it.
    pub previous: Option<RuleName>,
}

/// What the switch comes to, once it is known what could be bound.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    /// What serves.
    pub serving: BTreeMap<RuleName, Serving>,
    /// Why others do not, or serve in their previous version.
    pub failed: BTreeMap<RuleName, RuleFailure>,
    /// Sockets that were bound for nothing.
    pub discard: Vec<Listener>,
    /// Sockets that nobody owns any more.
    pub release: Vec<Listener>,
    /// Rules, by their former names, that serve no longer; their connections drain.
    pub removed: BTreeMap<RuleName, Arc<Rule>>,
}

/// Plans the way from the rules that serve to those that are wanted.
pub fn transition(current: &Rules, wanted: &BTreeMap<RuleName, Wanted>) -> Transition {
    let moves = moves(current, wanted);
    let mut steps = BTreeMap::new();
    let mut removed = current.clone();
    for (name, wish) in wanted {
        let former = if current.contains_key(name) { Some(name) } else { moves.get(name) };
        let previous = former.and_then(|former| {
            let rule = removed.remove(former)?;
            Some(Previous { name: former.clone(), rule: renamed(rule, name) })
        });
        let next = match wish {
            Wanted::Try(rule) => Some(rule.clone()),
            Wanted::Hold(_) => None,
        };
        steps.insert(name.clone(), RuleStep { previous, next, bind: Vec::new() });
    }
    let mut plan = Transition { steps, removed, hopeless: BTreeMap::new() };
    plan.hopeless = claims_that_clash(&plan.steps);
    let settled = settle(&plan, &BTreeMap::new());
    plan.hopeless = settled.failed;
    plan.find_binds(current);
    plan
}

impl Transition {
    /// The sockets to bind, by rule; rules that cannot succeed or need none are absent.
    pub fn binds(&self) -> impl Iterator<Item = (&RuleName, &[Bind])> {
        self.steps.iter().filter(|(_, step)| !step.bind.is_empty()).map(|(name, step)| (name, step.bind.as_slice()))
    }

    /// True if every rule serves as wanted already.
    pub fn is_empty(&self) -> bool {
        let is_settled = |(name, step): (&RuleName, &RuleStep)| match (&step.next, &step.previous) {
            (None, None) => true,
            (None, Some(previous)) => previous.name == *name,
            (Some(_), None) => false,
            (Some(next), Some(previous)) => previous.name == *name && *next == previous.rule,
        };
        self.removed.is_empty() && self.hopeless.is_empty() && self.steps.iter().all(is_settled)
    }

    fn find_binds(&mut self, current: &Rules) {
        let open = ByPort::of(current.values().flat_map(|rule| rule.listen.listeners().map(|listener| (listener, ()))));
        for (name, step) in &mut self.steps {
            let Some(next) = step.next.as_ref().filter(|_| !self.hopeless.contains_key(name)) else { continue };
            if step.previous.as_ref().is_some_and(|previous| previous.rule.listen == next.listen) {
                continue;
            }
            for listener in next.listen.listeners() {
                let mut overlapping: Vec<Listener> =
                    open.conflicting(listener).map(|(listener, ())| listener).collect();
                overlapping.dedup();
                if !overlapping.contains(&listener) {
                    step.bind.push(Bind { listener, replaces: overlapping });
                }
            }
        }
    }
}

/// Says what serves, what is released and what was bound for nothing, given the rules whose sockets could not all
/// be bound. A failed rule keeps what it had, which may fail others in turn: computed to a fixed point.
pub fn settle(plan: &Transition, failures: &BTreeMap<RuleName, RuleFailure>) -> Settled {
    let mut failed = plan.hopeless.clone();
    for (name, failure) in failures {
        failed.entry(name.clone()).or_insert_with(|| failure.clone());
    }
    let stays = |name: &RuleName, step: &RuleStep, failed: &BTreeMap<RuleName, RuleFailure>| {
        step.next.is_none() || failed.contains_key(name)
    };
    let mut kept: ByPort<&Rule> = ByPort::default();
    let mut fresh: Vec<&RuleName> =
        plan.steps.iter().filter(|(name, step)| stays(name, step, &failed)).map(|(name, _)| name).collect();
    while !fresh.is_empty() {
        for name in fresh.drain(..) {
            if let Some(previous) = plan.steps.get(name).and_then(|step| step.previous.as_ref()) {
                previous.rule.listen.listeners().for_each(|listener| kept.insert(listener, &*previous.rule));
            }
        }
        for (name, step) in &plan.steps {
            // A rule whose claims stay has all that it needs: nobody else can keep any of it.
            if stays(name, step, &failed) || step.keeps_its_claims() {
                continue;
            }
            let Some(next) = &step.next else { continue };
            if let Some(failure) = kept.blocking(next) {
                failed.insert(name.clone(), failure);
                fresh.push(name);
            }
        }
    }
    let mut settled = Settled { failed, removed: plan.removed.clone(), ..Settled::default() };
    let mut owned = HashSet::new();
    for (name, step) in &plan.steps {
        let is_failed = settled.failed.contains_key(name);
        let rule = match (&step.next, &step.previous) {
            (Some(next), _) if !is_failed => next,
            (_, Some(previous)) => &previous.rule,
            (_, None) => continue,
        };
        owned.extend(rule.listen.listeners());
        let previous = step.previous.as_ref().map(|previous| previous.name.clone());
        settled.serving.insert(name.clone(), Serving { rule: rule.clone(), previous });
    }
    let bound = plan.steps.values().flat_map(|step| step.bind.iter().map(|bind| bind.listener));
    settled.discard = bound.filter(|listener| !owned.contains(listener)).collect();
    let before = plan.steps.values().filter_map(|step| step.previous.as_ref()).map(|previous| &previous.rule);
    let open = before.chain(plan.removed.values()).flat_map(|rule| rule.listen.listeners());
    // A port that several rules left is released once, and counts as owned from here on.
    settled.release = open.filter(|listener| owned.insert(*listener)).collect();
    settled
}

fn blocked_failure(listener: Listener, clash: &Clash, owner: &RuleName) -> RuleFailure {
    let port = listener.port;
    let message = match clash {
        Clash::Port => format!("port {port} already bound by rule `{owner}`"),
        Clash::Name(server_name) => format!("port {port} leads to rule `{owner}` for the server name {server_name}"),
        Clash::AcceptProxy => format!("port {port} is shared with rule `{owner}`, which has another `accept_proxy`"),
    };
    RuleFailure { code: RuleCode::PortInUse, message, blocked_by: Some(owner.clone()) }
}

/// Rules that claim a socket which another wanted rule has a better claim to: one whose listeners stay wins, then
/// the first by name. A checked tree holds no such pair; an edge trusts no server.
fn claims_that_clash(steps: &BTreeMap<RuleName, RuleStep>) -> BTreeMap<RuleName, RuleFailure> {
    let mut claims: ByPort<&Rule> = ByPort::default();
    let mut clashes = BTreeMap::new();
    let mut claimants: Vec<_> =
        steps.iter().filter_map(|(name, step)| Some((name, step, step.next.as_ref()?))).collect();
    claimants.sort_by_key(|(_, step, _)| !step.keeps_its_claims());
    for (name, _, next) in claimants {
        if let Some(failure) = claims.blocking(next) {
            clashes.insert(name.clone(), failure);
        } else {
            next.listen.listeners().for_each(|listener| claims.insert(listener, &**next));
        }
    }
    clashes
}

/// New name → old name, as the planner finds them.
fn moves(current: &Rules, wanted: &BTreeMap<RuleName, Wanted>) -> BTreeMap<RuleName, RuleName> {
    let target: Rules = wanted
        .iter()
        .filter_map(|(name, wish)| match wish {
            Wanted::Try(rule) | Wanted::Hold(Some(rule)) => Some((name.clone(), rule.clone())),
            Wanted::Hold(None) => current.get(name).map(|rule| (name.clone(), rule.clone())),
        })
        .collect();
    let changes = diff::diff(current, &target).changes;
    let moved = changes.into_iter().filter(|change| change.kind == ChangeKind::Move);
    moved.filter_map(|change| Some((change.rule, change.previous_rule?))).collect()
}

fn renamed(rule: Arc<Rule>, name: &RuleName) -> Arc<Rule> {
    if rule.name == *name {
        return rule;
    }
    let mut parts = Rule::clone(&rule).into_parts();
    parts.name = name.clone();
    Arc::new(Rule::new(parts).expect("a name of its own type cannot make a valid rule invalid"))
}

/// Sockets by protocol and port, to find those that overlap.
struct ByPort<T>(HashMap<(Protocol, u16), Vec<(ListenAddress, T)>>);

impl<T> Default for ByPort<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Copy> ByPort<T> {
    fn of(listeners: impl Iterator<Item = (Listener, T)>) -> Self {
        let mut all = Self::default();
        listeners.for_each(|(listener, value)| all.insert(listener, value));
        all
    }

    fn insert(&mut self, listener: Listener, value: T) {
        self.0.entry((listener.protocol, listener.port)).or_default().push((listener.address, value));
    }

    fn conflicting(&self, listener: Listener) -> impl Iterator<Item = (Listener, T)> {
        let same_port = self.0.get(&(listener.protocol, listener.port)).map_or(&[][..], Vec::as_slice);
        same_port
            .iter()
            .filter(move |(address, _)| address.overlaps(listener.address))
            .map(move |(address, value)| (Listener { address: *address, ..listener }, *value))
    }
}

impl ByPort<&Rule> {
    /// Why a rule cannot have what it claims, if one of these has it.
    fn blocking(&self, next: &Rule) -> Option<RuleFailure> {
        next.listen.listeners().find_map(|listener| {
            let owners = self.conflicting(listener).filter(|(_, owner)| owner.name != next.name);
            let mut clashes = owners.filter_map(|(_, owner)| Some((shared_port::clash(next, owner)?, &owner.name)));
            clashes.next().map(|(clash, owner)| blocked_failure(listener, &clash, owner))
        })
    }
}

#[cfg(test)]
mod tests;
