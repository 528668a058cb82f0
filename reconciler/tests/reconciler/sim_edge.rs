//! An edge without sockets: takes desired states as a real one does, and says what it runs. Pure.
//!
//! Keeps what the protocol asks of an edge: an older generation is refused, one generation has one content, a rule
//! that fails leaves its previous version serving.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reconciler::decide::fleet::CONFIRM_FEATURE;
use reconciler::decide::target::{TargetResult, TargetView};
use reconciler::decide::view::{Basis, Confirmation, Hello, Report, RuleView};
use schema::canonical::{Digest, rules_digest};
use schema::capability::{Capability, Limits, rejection};
use schema::diff::Rules;
use schema::health::{RuleHealth, TargetState};
use schema::name::RuleName;
use schema::rule::Rule;
use schema::state::RuleState;

/// A desired state on its way.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) lineage: String,
    pub(crate) generation: u64,
    pub(crate) digest: Digest,
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) basis: Option<Basis>,
    pub(crate) is_on_trial: bool,
}

/// Why a rule does not run as desired.
#[derive(Debug, Clone)]
struct Fault {
    state: RuleState,
    code: String,
    message: String,
}

/// The edge.
#[derive(Debug, Clone)]
pub(crate) struct SimEdge {
    hello: Hello,
    lineage: String,
    generation: u64,
    digest: Digest,
    desired: Rules,
    running: Rules,
    faults: BTreeMap<RuleName, Fault>,
    /// Ports that another process has.
    taken: BTreeSet<u16>,
    /// Rules that the edge's own policy forbids, with the code.
    forbidden: BTreeMap<RuleName, String>,
    /// What its probes found: state, attempts and result code, by rule and target.
    found: BTreeMap<(RuleName, String), (TargetState, u32, Option<String>)>,
    /// Refuses the next state as a whole.
    pub(crate) refuses_next: bool,
    /// What it returns to unless it is confirmed.
    previous: Option<Rules>,
    has_returned: bool,
}

impl SimEdge {
    pub(crate) fn new() -> Self {
        let hello = Hello {
            version: "test".to_owned(),
            capabilities: Capability::ALL.iter().copied().collect(),
            limits: Limits::default(),
            own_listeners: Vec::new(),
            features: [CONFIRM_FEATURE.to_owned()].into(),
            ephemeral_ports: schema::net::PortSet::default(),
            host: String::new(),
            policy: None,
        };
        Self {
            hello,
            lineage: String::new(),
            generation: 0,
            digest: Digest::default(),
            desired: Rules::new(),
            running: Rules::new(),
            faults: BTreeMap::new(),
            taken: BTreeSet::new(),
            forbidden: BTreeMap::new(),
            found: BTreeMap::new(),
            refuses_next: false,
            previous: None,
            has_returned: false,
        }
    }

    pub(crate) fn hello(&self) -> Hello {
        self.hello.clone()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// What it accepted last, running or not.
    pub(crate) fn desired(&self) -> &Rules {
        &self.desired
    }

    pub(crate) fn running(&self) -> &Rules {
        &self.running
    }

    pub(crate) fn set_capability(&mut self, capability: Capability, has: bool) {
        if has {
            self.hello.capabilities.insert(capability);
        } else {
            self.hello.capabilities.remove(&capability);
        }
    }

    /// Another process takes a port, or gives it back and the edge tries again what failed.
    pub(crate) fn set_taken(&mut self, port: u16, is_taken: bool) {
        if is_taken {
            self.taken.insert(port);
        } else {
            self.taken.remove(&port);
            self.settle();
        }
    }

    /// From now on a target is so; `down*3` has been tried three times for a version that waits.
    pub(crate) fn set_target(&mut self, rule: &RuleName, target: &str, state: &str, code: Option<&str>) {
        let (state, attempts) =
            state.split_once('*').map_or((state, 0), |(state, attempts)| (state, attempts.parse().expect("a number")));
        let found = (TargetState::parse(state).expect("a state"), attempts, code.map(str::to_owned));
        self.found.insert((rule.clone(), target.to_owned()), found);
    }

    /// The targets of a rule that runs, once something was found out about any of them.
    fn targets(&self, rule: &Rule) -> Vec<TargetView> {
        if !self.found.keys().any(|(name, _)| *name == rule.name) {
            return Vec::new();
        }
        let view = |target: &schema::rule::Target| {
            let found = self.found.get(&(rule.name.clone(), target.to_string()));
            let (state, attempts, code) = found.cloned().unwrap_or((TargetState::Unknown, 0, None));
            TargetView {
                target: target.to_string(),
                state,
                priority: target.priority.into(),
                weight: target.weight.into(),
                effective_weight: if state == TargetState::Up { target.weight.into() } else { 0 },
                since: None,
                last: code.map(|code| TargetResult { code, detail: "refused".to_owned(), at: None }),
                history: Vec::new(),
                attempts,
                failing_ports: Vec::new(),
                failing_ports_total: 0,
            }
        };
        rule.targets.iter().map(view).collect()
    }

    pub(crate) fn forbid(&mut self, rule: RuleName, code: &str) {
        self.forbidden.insert(rule, code.to_owned());
    }

    /// Comes up again from its disk; what it was told is tried again.
    pub(crate) fn restart(&mut self) {
        self.running.clear();
        self.settle();
    }

    /// Takes a desired state. The report answers it; false where it was refused as a whole.
    pub(crate) fn receive(&mut self, sent: &Sent) -> (Report, bool) {
        let is_repeat = (sent.generation, sent.digest, &sent.lineage) == (self.generation, self.digest, &self.lineage);
        let refused = if std::mem::take(&mut self.refuses_next) {
            Some(("invalid_rule", "the state cannot be read".to_owned()))
        } else if sent.generation <= self.generation && !is_repeat {
            Some(("stale_generation", format!("{} is not newer than {}", sent.generation, self.generation)))
        } else if !is_repeat && !self.is_at(sent) {
            Some(("stale_base", "it was decided from another state".to_owned()))
        } else {
            None
        };
        if refused.is_none() && !is_repeat {
            self.lineage.clone_from(&sent.lineage);
            self.generation = sent.generation;
            self.digest = sent.digest;
            // What was never confirmed is nothing to return to.
            let former = self.previous.take().unwrap_or_else(|| self.desired.clone());
            self.previous = sent.is_on_trial.then_some(former);
            self.has_returned = false;
            self.desired = sent.rules.iter().map(|rule| (rule.name.clone(), rule.clone())).collect();
            self.settle();
        }
        let is_taken = refused.is_none();
        let mut report = self.report();
        report.refused = refused.map(|(code, message)| (code.to_owned(), message));
        report.answers = sent.generation;
        (report, is_taken)
    }

    /// True if it runs what the state was decided from, or the state changes nothing here.
    pub(crate) fn is_at(&self, sent: &Sent) -> bool {
        let running = rules_digest(self.running.values().map(|rule| &**rule));
        let here = Basis { generation: self.generation, digest: running };
        sent.basis.is_none_or(|basis| basis == here) || (self.generation > 0 && sent.digest == self.digest)
    }

    /// True if it returns unless it hears something.
    pub(crate) fn is_on_trial(&self) -> bool {
        self.previous.is_some()
    }

    /// It hears that this generation is good.
    pub(crate) fn confirm(&mut self, generation: u64) {
        if generation == self.generation {
            self.previous = None;
        }
    }

    /// Its time is over: it returns unless it was confirmed.
    pub(crate) fn window_ends(&mut self) {
        if let Some(previous) = self.previous.take() {
            self.desired = previous;
            self.has_returned = true;
            self.settle();
        }
    }

    /// What it says of its own accord.
    pub(crate) fn report(&self) -> Report {
        let view = |name: &RuleName| {
            let running = self.running.get(name).cloned();
            let wanted = self.desired.get(name).filter(|wanted| running.as_ref() != Some(wanted)).cloned();
            let fault = self.faults.get(name);
            RuleView {
                state: fault.map_or(RuleState::Active, |fault| fault.state),
                code: fault.map(|fault| fault.code.clone()).unwrap_or_default(),
                message: fault.map(|fault| fault.message.clone()).unwrap_or_default(),
                health: running.as_ref().and_then(|rule| health(&self.targets(rule))),
                targets: running.as_ref().map(|rule| self.targets(rule)).unwrap_or_default(),
                running,
                wanted,
                connections: 0,
                flow_limit: None,
                live: None,
            }
        };
        Report {
            lineage: self.lineage.clone(),
            generation: self.generation,
            desired_digest: self.digest,
            running_digest: rules_digest(self.running.values().map(|rule| &**rule)),
            rules: self.desired.keys().chain(self.running.keys()).map(|name| (name.clone(), view(name))).collect(),
            refused: None,
            answers: 0,
            confirmation: match (&self.previous, self.has_returned) {
                (Some(_), _) => Confirmation::Awaited,
                (None, true) => Confirmation::Missed,
                (None, false) => Confirmation::None,
            },
            ended: BTreeMap::new(),
        }
    }

    /// Runs what can be run of what is desired. Rules that keep their old sockets may fail others: to a fixed point.
    fn settle(&mut self) {
        let mut faults: BTreeMap<RuleName, Fault> =
            self.desired.iter().filter_map(|(name, rule)| Some((name.clone(), self.fault(name, rule)?))).collect();
        loop {
            let held: Vec<&Arc<Rule>> = faults.keys().filter_map(|name| self.running.get(name)).collect();
            let blocked = self.desired.iter().find_map(|(name, rule)| {
                let owner = held.iter().find(|held| held.name != *name && held.listen.conflicts_with(&rule.listen))?;
                let message = format!("port {} is held by rule {}", rule.listen.ports.first(), owner.name);
                let fault = Fault { state: RuleState::Failed, code: "port_in_use".to_owned(), message };
                (!faults.contains_key(name)).then(|| (name.clone(), fault))
            });
            let Some((name, fault)) = blocked else { break };
            faults.insert(name, fault);
        }
        let serving = |(name, rule): (&RuleName, &Arc<Rule>)| {
            let version = if faults.contains_key(name) { self.running.get(name)? } else { rule };
            Some((name.clone(), version.clone()))
        };
        self.running = self.desired.iter().filter_map(serving).collect();
        self.faults = faults;
    }

    fn fault(&self, name: &RuleName, rule: &Rule) -> Option<Fault> {
        if let Some(code) = self.forbidden.get(name) {
            let message = "the edge's own policy forbids it".to_owned();
            return Some(Fault { state: RuleState::Rejected, code: code.clone(), message });
        }
        if let Some(rejection) = rejection(rule, &self.hello.capabilities, &self.hello.limits) {
            let code = rejection.code.as_str().to_owned();
            return Some(Fault { state: RuleState::Rejected, code, message: rejection.message });
        }
        let has = |port: u16| self.running.values().any(|running| running.listen.ports.contains(port));
        let port = rule.listen.ports.ports().find(|port| self.taken.contains(port) && !has(*port))?;
        let message = format!("port {port} already bound");
        Some(Fault { state: RuleState::Failed, code: "port_in_use".to_owned(), message })
    }
}

fn health(targets: &[TargetView]) -> Option<RuleHealth> {
    let has = |state| targets.iter().any(|target| target.state == state);
    match targets {
        [] => None,
        _ if has(TargetState::Up) => Some(RuleHealth::Up),
        _ if has(TargetState::Down) => Some(RuleHealth::Down),
        _ => Some(RuleHealth::Unknown),
    }
}
