//! Status as JSON: everything that people, `plan --live` and dashboards need to know of the fleet. Pure.
//!
//! Long because a status is written and read back with the same types, so that neither half can forget a field.

mod saved;
pub mod summaries;
pub mod target_rows;

use std::sync::Arc;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::capability::Limits;
use schema::diagnostic::{DiagnosticJson, Severity};
use schema::health::RuleHealth;
use schema::name::{EdgeName, Labels, RuleName};
use schema::policy::Policy;
use schema::rule::Rule;
use schema::ruleset::{Origin, Rails};
use schema::spec;
use schema::state::RuleState;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::break_glass::OverrideStatus;
use super::drift::{self, Drift};
use super::fleet::{ApplyResult, Fleet, Freeze, Hold, Lock, Mode, Verdict};
use super::held::held;
use super::live::{DrainStatus, PlaceCount};
use super::plan::{FORMAT_VERSION, Source, Summary};
use super::remote::RemoteView;
use super::target::TargetView;
use super::target_override::TargetOverride;
use super::target_totals::TargetTotals;
use super::view::{Confirmation, EdgeView, FlowLimit, RuleView};
pub use saved::{InvalidStatus, edges_of};
use summaries::EdgeSummary;

/// The status of a fleet. Everything but `edges` may be left out of a file for `plan --live`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusDocument {
    /// See [`FORMAT_VERSION`].
    pub format_version: String,
    /// `status`
    pub kind: String,
    /// The line of generations.
    pub lineage: String,
    /// What the server does by itself.
    pub mode: Option<Mode>,
    /// What is in force, and the result of reading the followed tree.
    pub revision: RevisionStatus,
    /// By name.
    pub edges: Vec<EdgeStatus>,
    /// By edge and rule.
    #[serde(deserialize_with = "drift::of_any_version")]
    pub drift: Vec<Drift>,
    /// How many targets of all rules are in which state.
    pub targets: TargetTotals,
    /// The apply that runs, or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply: Option<ApplyResult>,
    /// Who applies at the moment, and until when others wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// The freeze that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Freeze>,
    /// How much is left out because the operator may not see it.
    #[serde(skip_serializing_if = "crate::decide::is_zero")]
    pub hidden: u64,
    /// The first line of the ledger that did not fit its chain when the server started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger_broken: Option<u64>,
    /// The notifiers, with what waits for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notifiers: Vec<super::notices::NotifierDocument>,
}

/// The tree in force and the followed tree.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RevisionStatus {
    /// Commit of the tree in force.
    pub commit: Option<String>,
    /// The commit that was applied last before it, where the tree in force has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earlier_commit: Option<String>,
    /// Digest of the tree in force, `None` before the first apply.
    pub digest: Option<Digest>,
    /// True if the tree in force is held although the followed one is another: it was rolled back, or the followed one
    /// is invalid, dirty, over a rail or kept out by a freeze.
    pub held: bool,
    /// The rollback that is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Why it is held, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Errors of the followed tree.
    pub errors: Vec<DiagnosticJson>,
    /// Warnings of the followed tree.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<DiagnosticJson>,
    /// What applying the followed tree would change, where it is valid and not in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PendingPlan>,
    /// Provenance of the tree in force.
    pub applied: Option<Source>,
    /// When it was put in force.
    pub applied_at: Option<Timestamp>,
    /// Which operator put it in force, or `watch` where the server follows the tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Who or which CI run its client says it acted for; where it does not say, the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_by: Option<String>,
    /// By which apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply_id: Option<String>,
    /// Provenance of the followed tree as it was read last.
    pub attempted: Option<Source>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempted_at: Option<Timestamp>,
    /// The result.
    pub verdict: Option<Verdict>,
    /// The remote repository that is followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteView>,
    /// The rails that guard the next tree.
    pub rails: Option<Rails>,
}

/// A recorded plan that waits for an operator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PendingPlan {
    /// Its identity.
    pub plan_id: Digest,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its figures.
    pub summary: Summary,
}

/// One edge.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EdgeStatus {
    /// Its name.
    pub name: EdgeName,
    /// True if it has a session.
    #[serde(default)]
    pub connected: bool,
    /// The generation that it accepted.
    #[serde(default)]
    pub generation: u64,
    /// The generation that is wanted there.
    #[serde(default)]
    pub desired_generation: u64,
    /// Its labels, from the inventory of the tree.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Since when it has a session, or has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it was heard last.
    #[serde(default)]
    pub last_seen: Option<Timestamp>,
    /// Where it spoke from last, as `IP:PORT`, in the list of edges; empty for one in the server's process.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Version of its program.
    #[serde(default)]
    pub version: String,
    /// When its newest certificate ends, in the list of edges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires_at: Option<Timestamp>,
    /// True if an operator revoked it, in the list of edges.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
    /// Names of what it can do; `None` where it was never heard.
    #[serde(default)]
    pub capabilities: Option<Vec<String>>,
    /// Its limits.
    #[serde(default)]
    pub limits: Limits,
    /// Whether the accepted generation is on trial, or was given up without a confirmation.
    #[serde(default, skip_serializing_if = "Confirmation::is_none")]
    pub confirmation: Confirmation,
    /// Digest of what runs.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// Listeners of the edge's own process, as `ADDRESS:PORT`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_listeners: Vec<String>,
    /// Ports that its host gives to outgoing connections, and that a rule may find taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ephemeral_ports: Vec<String>,
    /// Names the network of its host: edges that share it bind the same ports. Empty where that is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// What its owner allows on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// What its rules come to, in a list of edges that leaves them out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<EdgeSummary>,
    /// Deviations of its targets that operators ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_overrides: Vec<TargetOverride>,
    /// Its rules.
    #[serde(default)]
    pub rules: Vec<RuleStatus>,
}

/// One rule on one edge.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuleStatus {
    /// Its name.
    pub rule: RuleName,
    /// Its state; a file written by hand may leave it out.
    #[serde(default = "active")]
    pub state: RuleState,
    /// The last known state, where `state` is `unknown` because the edge is offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_state: Option<RuleState>,
    /// When the edge was heard last, beside `last_state`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_state_at: Option<Timestamp>,
    /// Why it is not active.
    #[serde(default)]
    pub code: String,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// Where the tree has it.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// The version that serves; where none does, the version that should.
    pub spec: Map<String, Value>,
    /// How that version shares new connections among its targets.
    #[serde(default)]
    pub balance: String,
    /// True if a client keeps its target for as long as that is eligible.
    #[serde(default)]
    pub sticky: bool,
    /// The version that should serve, where another one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Map<String, Value>>,
    /// Live connections that go on; of a rule in state `draining`, those that drain.
    #[serde(default)]
    pub connections: u64,
    /// The same by place, as far as its edge says it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<PlaceCount>,
    /// Live connections that a change has left without their listener or their target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<DrainStatus>,
    /// `up`, `unknown` or `down`; left out where the rule does not serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<RuleHealth>,
    /// Its targets as the edge sees them, in file order; left out where the rule does not serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetView>,
    /// Set where new UDP flows found no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_limit: Option<FlowLimit>,
    /// Set for a break-glass rule.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub over: Option<OverrideStatus>,
}

impl RuleStatus {
    /// Its state, or where its edge is offline, the last known one.
    pub fn last_known(&self) -> RuleState {
        match self.state {
            RuleState::Unknown => self.last_state.unwrap_or_else(active),
            state => state,
        }
    }
}

fn active() -> RuleState {
    RuleState::Active
}

/// The status of the fleet at a time.
pub fn status(fleet: &Fleet, now: Timestamp) -> StatusDocument {
    status_with(fleet, now, edges(fleet, now))
}

/// The status of the fleet with these edges.
pub fn status_with(fleet: &Fleet, now: Timestamp, edges: Vec<EdgeStatus>) -> StatusDocument {
    StatusDocument {
        format_version: FORMAT_VERSION.to_owned(),
        kind: "status".to_owned(),
        lineage: fleet.lineage().to_owned(),
        mode: Some(fleet.mode()),
        revision: revision(fleet),
        targets: TargetTotals::of(&target_rows::all_rows(&edges)),
        edges,
        drift: fleet.drift(),
        apply: fleet.latest_apply().cloned(),
        lock: fleet.lock(now),
        frozen: fleet.frozen().cloned(),
        ledger_broken: fleet.ledger_break(),
        ..StatusDocument::default()
    }
}

/// Every edge with its labels, by name.
pub fn edges(fleet: &Fleet, now: Timestamp) -> Vec<EdgeStatus> {
    edges_where(fleet, now, |_, _| true)
}

/// The edges whose names and labels match, by name. What is known of the others is not written down.
pub fn edges_where(fleet: &Fleet, now: Timestamp, is_meant: impl Fn(&EdgeName, &Labels) -> bool) -> Vec<EdgeStatus> {
    let status = |(name, edge)| {
        let labels = fleet.labels(name);
        is_meant(name, &labels).then(|| EdgeStatus { labels, ..edge_status(name, edge, now) })
    };
    fleet.edges().iter().filter_map(status).collect()
}

/// The tree in force and the followed one.
pub fn revision(fleet: &Fleet) -> RevisionStatus {
    let applied = fleet.applied();
    let attempt = fleet.attempt();
    let (held, reason) = held(fleet);
    let findings = |severity| {
        let all = attempt.map(|attempt| attempt.diagnostics.as_slice()).unwrap_or_default();
        all.iter().filter(|finding| finding.severity == severity).cloned().collect()
    };
    RevisionStatus {
        commit: applied.and_then(|applied| applied.source.commit.clone()),
        earlier_commit: applied.and_then(|applied| applied.earlier_commit.clone()),
        digest: applied.map(|applied| applied.source.digest),
        held,
        hold: fleet.hold().cloned(),
        reason,
        errors: findings(Severity::Error),
        warnings: findings(Severity::Warning),
        plan: attempt.and_then(|attempt| attempt.plan.as_ref()).map(|plan| PendingPlan {
            plan_id: plan.plan_id,
            created_at: plan.created_at,
            summary: plan.summary,
        }),
        applied: applied.map(|applied| applied.source.clone()),
        applied_at: applied.map(|applied| applied.at),
        actor: applied.map(|applied| applied.actor.clone()).filter(|actor| !actor.is_empty()),
        applied_by: applied
            .map(|applied| applied.applied_by.clone().unwrap_or_else(|| applied.actor.clone()))
            .filter(|name| !name.is_empty()),
        apply_id: applied.map(|applied| applied.apply_id.clone()),
        attempted: attempt.map(|attempt| attempt.source.clone()),
        attempted_at: attempt.map(|attempt| attempt.at),
        verdict: attempt.map(|attempt| attempt.verdict.clone()),
        remote: fleet.remote().cloned(),
        rails: applied.map(|applied| applied.rails),
    }
}

impl RevisionStatus {
    /// The commit that was applied last.
    pub fn last_commit(&self) -> Option<&str> {
        self.commit.as_deref().or(self.earlier_commit.as_deref())
    }
}

/// One edge of the status.
pub fn edge_status(name: &EdgeName, edge: &EdgeView, now: Timestamp) -> EdgeStatus {
    let hello = edge.hello.as_ref();
    EdgeStatus {
        name: name.clone(),
        connected: edge.connected,
        generation: edge.observed_generation(),
        desired_generation: edge.desired_generation(),
        labels: Labels::new(),
        since: edge.since,
        last_seen: edge.last_seen,
        address: String::new(),
        certificate_expires_at: None,
        revoked: false,
        version: hello.map(|hello| hello.version.clone()).unwrap_or_default(),
        capabilities: hello
            .map(|hello| hello.capabilities.iter().map(|capability| capability.as_str().to_owned()).collect()),
        limits: hello.map(|hello| hello.limits).unwrap_or_default(),
        confirmation: edge.report.as_ref().map(|report| report.confirmation).unwrap_or_default(),
        digest: Some(edge.running_digest()),
        own_listeners: hello
            .map(|hello| hello.own_listeners.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        ephemeral_ports: hello
            .map(|hello| hello.ephemeral_ports.ranges().iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        host: hello.map(|hello| hello.host.clone()).unwrap_or_default(),
        policy: hello.and_then(|hello| hello.policy.clone()),
        summary: None,
        target_overrides: edge.deviations.clone(),
        rules: edge.rule_names().into_iter().filter_map(|rule| rule_status(edge, rule, now)).collect(),
    }
}

/// The state of a rule without its spec, for metrics.
#[derive(Debug, Clone)]
pub struct RuleStateView<'a> {
    /// Its state.
    pub state: RuleState,
    /// Why it is not active.
    pub code: &'a str,
    /// In words.
    pub message: &'a str,
    /// The version that serves, else the version that should.
    pub rule: Option<&'a Arc<Rule>>,
    /// True if a version serves.
    pub is_live: bool,
}

/// The state of a rule; `None` for a name that the edge knows nothing of.
pub fn rule_state<'a>(edge: &'a EdgeView, name: &RuleName) -> Option<RuleStateView<'a>> {
    let view = edge.rule(name);
    let desired = edge.desired.as_ref();
    let placed = edge.placed(name);
    let rejection = desired.and_then(|desired| desired.rejected.get(name));
    let is_disabled = desired.is_some_and(|desired| desired.disabled.contains_key(name));
    let (state, code, message) = match (view, rejection) {
        (_, Some(rejection)) => (RuleState::Rejected, rejection.code.as_str(), rejection.message.as_str()),
        (Some(view), None) => (view.state, view.code.as_str(), view.message.as_str()),
        (None, None) if is_disabled => (RuleState::Disabled, "", ""),
        // Not heard since the server started: the last known state.
        (None, None) if edge.serving(name).is_some() => (RuleState::Active, "", ""),
        (None, None) if placed.is_none() => (RuleState::Draining, "", target_rows::UNCONFIRMED),
        (None, None) => (RuleState::Pending, "", ""),
    };
    let running = edge.serving(name);
    let rule = running.or_else(|| view.and_then(|view| view.wanted.as_ref())).or(placed.map(|placed| &placed.rule));
    let rule = rule.or_else(|| edge.unconfirmed(name));
    rule?;
    Some(RuleStateView { state, code, message, rule, is_live: edge.connected && running.is_some() })
}

/// One rule of the status; `None` for a name that the edge knows nothing of.
pub fn rule_status(edge: &EdgeView, name: &RuleName, now: Timestamp) -> Option<RuleStatus> {
    let RuleStateView { state, code, message, .. } = rule_state(edge, name)?;
    let (code, message) = (code.to_owned(), message.to_owned());
    let view = edge.rule(name);
    let placed = edge.placed(name);
    let rejection = edge.desired.as_ref().and_then(|desired| desired.rejected.get(name));
    let running = edge.serving(name);
    let wanted = match rejection {
        Some(_) => placed.map(|placed| &placed.rule),
        None => view.and_then(|view| view.wanted.as_ref()).or_else(|| placed.map(|placed| &placed.rule)),
    };
    let shown = running.or(wanted).or_else(|| edge.unconfirmed(name))?;
    let live = view.and_then(|view| view.live.as_ref());
    // What an edge that is offline does is not known. What the tree and the planner decided is known without it.
    let is_decided = rejection.is_some() || state == RuleState::Disabled;
    let last_state = (!edge.connected && !is_decided).then_some(state);
    let health = view.and_then(|view| view.health);
    Some(RuleStatus {
        rule: name.clone(),
        state: if last_state.is_some() { RuleState::Unknown } else { state },
        last_state,
        last_state_at: edge.last_seen.filter(|_| last_state.is_some()),
        code,
        message,
        origin: placed.and_then(|placed| placed.origin.clone()),
        spec: spec::to_json(shown),
        balance: shown.balance.as_str().to_owned(),
        sticky: shown.balance.is_sticky(),
        wanted: wanted.filter(|wanted| *wanted != shown).map(|wanted| spec::to_json(wanted)),
        connections: view.map_or(0, RuleView::going_on),
        places: live.map(|live| live.places.clone()).unwrap_or_default(),
        draining: live
            .map(|live| live.drains.iter().map(|drain| DrainStatus::of(drain, now)).collect())
            .unwrap_or_default(),
        over: edge.overrides.get(name).map(OverrideStatus::from),
        health: if edge.connected { health } else { health.map(|_| RuleHealth::Unknown) },
        targets: view.map(|view| view.targets.clone()).unwrap_or_default(),
        flow_limit: view.and_then(|view| view.flow_limit),
    })
}
