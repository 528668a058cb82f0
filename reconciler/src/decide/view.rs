//! What the server knows of one edge: what it should run, what it reported, whether it is there. Pure.
//!
//! The planner, drift and status all read this one type, whether it comes from live sessions or from a saved
//! `status -o json`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::capability::{Capabilities, Limits, Rejection};
use schema::diff::Rules;
use schema::ending::Part;
use schema::health::RuleHealth;
use schema::name::RuleName;
use schema::net::{Listener, PortSet};
use schema::policy::Policy;
use schema::rule::Rule;
use schema::ruleset::{EdgeRules, Placed};
use schema::state::RuleState;
use serde::{Deserialize, Serialize};

use super::break_glass::Overrides;
use super::live::Live;
use super::target::TargetView;
use super::target_override::TargetOverride;

/// New UDP flows that a rule had no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLimit {
    /// How many so far.
    pub refused: u64,
    /// When the last one was refused.
    #[serde(default)]
    pub last_at: Option<Timestamp>,
}

/// One rule as its edge reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleView {
    /// Its state.
    pub state: RuleState,
    /// Why, where it is not active.
    pub code: String,
    /// In words.
    pub message: String,
    /// The version that serves.
    pub running: Option<Arc<Rule>>,
    /// The version that should serve, where it is not the running one.
    pub wanted: Option<Arc<Rule>>,
    /// Live connections, draining ones too.
    pub connections: u64,
    /// Where they are; `None` where the edge does not say it.
    pub live: Option<Live>,
    /// How it is; `None` where it does not serve.
    pub health: Option<RuleHealth>,
    /// In file order; empty where it does not serve.
    pub targets: Vec<TargetView>,
    /// Set where new flows found no room.
    pub flow_limit: Option<FlowLimit>,
}

impl RuleView {
    /// A rule that serves, as tests have it.
    #[cfg(test)]
    pub(crate) fn serving(rule: &Arc<Rule>) -> Self {
        Self {
            state: RuleState::Active,
            code: String::new(),
            message: String::new(),
            running: Some(rule.clone()),
            wanted: None,
            connections: 0,
            live: None,
            health: None,
            targets: Vec::new(),
            flow_limit: None,
        }
    }

    /// Live connections that go on. Of a rule that is gone all drain, and all of them are counted.
    pub fn going_on(&self) -> u64 {
        let draining = self.live.as_ref().filter(|_| self.state != RuleState::Draining).map_or(0, Live::draining);
        self.connections.saturating_sub(draining)
    }

    /// Live connections that these parts of the rule's endings end; all of them where their places are not known.
    pub fn ended_by(&self, parts: &[&Part]) -> u64 {
        match &self.live {
            Some(live) => live.ended_by(parts),
            None if parts.is_empty() => 0,
            None => self.connections,
        }
    }

    /// The version that the edge was told, running or not.
    pub fn told(&self) -> Option<&Arc<Rule>> {
        self.wanted.as_ref().or(self.running.as_ref())
    }
}

/// What an edge said of itself in its hello.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// Version of the edge's program.
    pub version: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Its limits.
    pub limits: Limits,
    /// Listeners of its own process.
    pub own_listeners: Vec<Listener>,
    /// What it understands beyond the first version of the protocol.
    pub features: BTreeSet<String>,
    /// Ports that its host gives to outgoing connections.
    pub ephemeral_ports: PortSet,
    /// Names the network of its host; edges with the same name bind the same ports. Empty: not known.
    pub host: String,
    /// What its owner allows; `None` of an edge that does not say.
    pub policy: Option<Policy>,
}

/// Whether what an edge runs waits for a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// It does not.
    #[default]
    None,
    /// It is kept only if one comes in time.
    Awaited,
    /// None came for the accepted generation: what ran before runs again.
    Missed,
}

impl Confirmation {
    /// True for a state that nobody need confirm.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// The whole state that an edge reported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The lineage of the server that sent the generation.
    pub lineage: String,
    /// The newest accepted generation, 0 before the first.
    pub generation: u64,
    /// Digest of the accepted desired set.
    pub desired_digest: Digest,
    /// Digest of what runs.
    pub running_digest: Digest,
    /// Every rule, draining ones included.
    pub rules: BTreeMap<RuleName, RuleView>,
    /// Code and message, where the edge refused a desired state as a whole.
    pub refused: Option<(String, String)>,
    /// The generation that this report answers; 0 for one of its own accord.
    pub answers: u64,
    /// Whether the accepted state waits for a confirmation.
    pub confirmation: Confirmation,
    /// Rules of the accepted state whose time was over, so that the edge ended them by itself, and the end it was sent.
    pub ended: BTreeMap<RuleName, Timestamp>,
}

impl Report {
    /// Lets rules that run as they were decided be the same in memory: they are kept once, and the next comparison of
    /// the two is one of pointers.
    pub fn share(&mut self, decided: &EdgeRules) {
        for (name, view) in &mut self.rules {
            let Some(decided) = decided.get(name).map(|placed| &placed.rule) else { continue };
            for told in [&mut view.running, &mut view.wanted].into_iter().flatten().filter(|told| *told == decided) {
                told.clone_from(decided);
            }
        }
    }
}

/// What an edge ran when something was decided for it; an edge that runs something else refuses that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Basis {
    /// The generation that it had accepted.
    pub generation: u64,
    /// Digest of the rules that ran.
    pub digest: Digest,
}

/// What an edge should run, as the server decided it last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DesiredEdge {
    /// Goes up only when `rules` change.
    pub generation: u64,
    /// All that the tree wants there, the rejected ones too.
    pub wanted: EdgeRules,
    /// What the edge is sent.
    pub rules: EdgeRules,
    /// Digest of `rules`.
    pub digest: Digest,
    /// Why rules of the tree are not among `rules`, or are there in an older version.
    pub rejected: BTreeMap<RuleName, Rejection>,
    /// Rules with `enabled = false`, for status only.
    pub disabled: EdgeRules,
    /// True once the edge reported that it accepted this generation.
    pub acknowledged: bool,
    /// What was known to run there when this was decided; empty once it is acknowledged.
    pub before: Rules,
    /// Rules of earlier states that the edge may run although no report names them: what may have been sent and was not
    /// answered, and what it may return to from a state on trial. Empty once a report settles it.
    pub leaving: Rules,
    /// How long the edge waits to be told that it is kept; `None` where it is kept anyway, and once it was told.
    pub confirm_within: Option<Duration>,
    /// When rules of it end by themselves: those of overrides.
    pub ends: BTreeMap<RuleName, Timestamp>,
}

/// Everything the server knows of one edge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EdgeView {
    /// What was decided for it, `None` before the first apply that concerns it.
    pub desired: Option<DesiredEdge>,
    /// The highest generation of what was decided and given up again: never to be used for anything else.
    pub given_up: u64,
    /// The highest generation that may have been sent: of what an earlier server decided, all of it.
    pub sent: u64,
    /// True while it has a session.
    pub connected: bool,
    /// Since when it has a session, or has none.
    pub since: Option<Timestamp>,
    /// When it was heard last.
    pub last_seen: Option<Timestamp>,
    /// `None` while it was never heard since the server lost or began its state.
    pub hello: Option<Hello>,
    /// Its last report.
    pub report: Option<Report>,
    /// Break-glass rules that operators put there.
    pub overrides: Overrides,
    /// Deviations of its targets that operators ordered, by rule and target.
    pub deviations: Vec<TargetOverride>,
    /// It came after a tree was applied, and none names it.
    pub is_stranger: bool,
    /// An operator said that it is gone for good, and it was not heard since: nothing is known to run there.
    pub forgotten: bool,
}

impl EdgeView {
    /// Lets rules that were decided, and that run, be the same in memory as the equal ones of a tree.
    pub fn share(&mut self, wanted: &EdgeRules) {
        let Some(desired) = &mut self.desired else { return };
        for (name, placed) in desired.wanted.iter_mut().chain(&mut desired.rules) {
            if let Some(own) = wanted.get(name).filter(|own| *own == placed) {
                placed.clone_from(own);
            }
        }
        if let Some(report) = &mut self.report {
            report.share(&desired.rules);
        }
    }

    /// The generation that the server wants there.
    pub fn desired_generation(&self) -> u64 {
        self.desired.as_ref().map_or(0, |desired| desired.generation)
    }

    /// The generation that the edge accepted last.
    pub fn observed_generation(&self) -> u64 {
        match (&self.report, &self.desired) {
            (Some(report), _) => report.generation,
            (None, Some(desired)) if desired.acknowledged => desired.generation,
            (None, _) => 0,
        }
    }

    /// The version of a rule that is known to serve, if any.
    pub fn serving(&self, name: &RuleName) -> Option<&Arc<Rule>> {
        match (&self.report, &self.desired) {
            (Some(report), _) => report.rules.get(name)?.running.as_ref(),
            (None, Some(desired)) if desired.acknowledged => Some(&desired.rules.get(name)?.rule),
            (None, Some(desired)) => desired.before.get(name),
            (None, None) => None,
        }
    }

    /// The rules that serve, as far as known: reported ones, else what was decided.
    pub fn running(&self) -> Rules {
        match (&self.report, &self.desired) {
            (Some(report), _) => report
                .rules
                .iter()
                .filter_map(|(name, view)| Some((name.clone(), view.running.clone()?)))
                .filter(|(name, _)| report.rules[name].state != RuleState::Draining)
                .collect(),
            // Not heard since the server started: what it accepted last, as far as that was written down.
            (None, Some(desired)) if desired.acknowledged => schema::ruleset::rules_only(&desired.rules),
            (None, Some(desired)) => desired.before.clone(),
            (None, None) => Rules::new(),
        }
    }

    /// Rules that the edge was told, or is to be told, and that do not run.
    pub fn waiting(&self) -> Rules {
        let desired = self.desired.iter().flat_map(|desired| &desired.rules);
        let desired = desired.map(|(name, placed)| (name.clone(), placed.rule.clone()));
        let reported = self.report.iter().flat_map(|report| &report.rules);
        let reported = reported
            .filter(|(_, view)| view.state != RuleState::Draining)
            .filter_map(|(name, view)| Some((name.clone(), view.told()?.clone())));
        let running = self.running();
        reported.chain(desired).filter(|(name, _)| !running.contains_key(name)).collect()
    }

    /// Digest of what serves, as far as known.
    pub fn running_digest(&self) -> Digest {
        match &self.report {
            Some(report) => report.running_digest,
            None => schema::canonical::rules_digest(self.running().values().map(|rule| &**rule)),
        }
    }

    /// The rules that were applied last, for rails: decided ones, else what the edge was told by whoever told it.
    pub fn applied(&self) -> Rules {
        match (&self.desired, &self.report) {
            (Some(desired), _) => schema::ruleset::rules_only(&desired.wanted),
            (None, Some(report)) => report
                .rules
                .iter()
                .filter(|(_, view)| view.state != RuleState::Draining)
                .filter_map(|(name, view)| Some((name.clone(), view.told()?.clone())))
                .collect(),
            (None, None) => Rules::new(),
        }
    }

    /// What it ran as far as its last report says; `None` before the first.
    pub fn basis(&self) -> Option<Basis> {
        self.report.as_ref().map(|report| Basis { generation: report.generation, digest: report.running_digest })
    }

    /// The reported rule of that name.
    pub fn rule(&self, name: &RuleName) -> Option<&RuleView> {
        self.report.as_ref()?.rules.get(name)
    }

    /// Live connections of a rule, draining ones too; 0 where unknown.
    pub fn connections(&self, name: &RuleName) -> u64 {
        self.rule(name).map_or(0, |view| view.connections)
    }

    /// True if the edge runs what was decided, as far as its last report says.
    pub fn is_settled(&self) -> bool {
        match (&self.desired, &self.report) {
            (Some(desired), Some(report)) => {
                report.generation == desired.generation && report.desired_digest == desired.digest
            }
            (None, _) => true,
            (Some(_), None) => false,
        }
    }

    /// What may run there beside what was reported or decided, from now on that something else is decided.
    pub fn leaving(&self) -> Rules {
        let Some(desired) = &self.desired else { return Rules::new() };
        let is_known = desired.acknowledged && self.observed_generation() >= desired.generation;
        let mut leaving = desired.leaving.clone();
        if !is_known && self.sent >= desired.generation {
            leaving.extend(schema::ruleset::rules_only(&desired.rules));
        }
        leaving
    }

    /// The version of a rule that may run there although nothing else is known of it.
    pub fn unconfirmed(&self, name: &RuleName) -> Option<&Arc<Rule>> {
        let desired = self.desired.as_ref()?;
        desired.leaving.get(name).or_else(|| desired.before.get(name))
    }

    /// Every rule name that status shows for the edge.
    pub fn rule_names(&self) -> BTreeSet<&RuleName> {
        let desired = self.desired.iter().flat_map(|desired| {
            // A report may be older than what was decided; empty once that is acknowledged.
            let known = desired.before.keys();
            let decided = desired.wanted.keys().chain(desired.rules.keys()).chain(desired.disabled.keys());
            decided.chain(known).chain(desired.leaving.keys())
        });
        let reported = self.report.iter().flat_map(|report| report.rules.keys());
        desired.chain(reported).collect()
    }

    /// True if no rule is known there, wanted or running, and operators put nothing on it.
    pub fn is_bare(&self) -> bool {
        self.overrides.is_empty() && self.deviations.is_empty() && self.rule_names().is_empty()
    }

    /// Where the tree has the rule, as far as the server knows.
    pub fn placed(&self, name: &RuleName) -> Option<&Placed> {
        let desired = self.desired.as_ref()?;
        desired.wanted.get(name).or_else(|| desired.rules.get(name)).or_else(|| desired.disabled.get(name))
    }
}
