//! What happens to the fleet, and what it answers. Pure.
//!
//! Long because events, effects, refusals and notices are one protocol, and each item says what it means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::diagnostic::DiagnosticJson;
use schema::health::{RuleHealth, TargetState};
use schema::name::{EdgeName, RuleName};
use schema::policy::Policy;
use schema::rule::Rule;
use schema::ruleset::RuleSet;
use schema::state::RuleState;
use serde::{Deserialize, Serialize};

use super::freezing::Control;
use super::{
    ApplyResult, ConnectionsOrder, ForgetRefusal, OverrideRefusal, OverrideRequest, OverrideStep, Refusal,
    TargetAnswer, TargetOrder, TargetRefusal, Verdict,
};
use crate::decide::break_glass::Override;
use crate::decide::certificate_ends::{CertificateChange, CertificateStage};
use crate::decide::control::{Freeze, Hold};
use crate::decide::deviations::DeviationChange;
use crate::decide::live::Live;
use crate::decide::notices::Posted;
use crate::decide::operators::{Denied, Mandate};
use crate::decide::plan::{Allowances, FileDocument, Plan, Source};
use crate::decide::quota::{QuotaLevel, QuotaOf};
use crate::decide::record::Record;
use crate::decide::remote::RemoteView;
use crate::decide::succession::Ancestry;
use crate::decide::target_override::TargetOverride;
use crate::decide::view::{Basis, Hello, Report};

/// Names one session of one edge for as long as the server runs.
pub type SessionId = u64;

/// A tree as it was read.
#[derive(Debug, Clone)]
pub struct TreeRead {
    /// Where it comes from.
    pub source: Source,
    /// The valid tree, `None` where it has errors.
    pub ruleset: Option<Arc<RuleSet>>,
    /// Its findings.
    pub diagnostics: Vec<DiagnosticJson>,
    /// Its files, kept with the revision.
    pub files: Arc<[FileDocument]>,
    /// How its commit stands to one that was in force when it was read.
    pub ancestry: Option<Ancestry>,
}

/// What an apply is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Purpose {
    /// To put a tree in force.
    #[default]
    Apply,
    /// To put an old revision in force again.
    Rollback {
        /// Why; may be empty.
        why: String,
        /// Hold it, so that the followed tree does not undo it until it moves.
        hold: bool,
    },
    /// To end a hold, or to complete what was cut off.
    Resume {
        /// Why; may be empty.
        why: String,
    },
    /// The server goes on with a rollout that its restart cut off.
    Continue {
        /// The apply that began it.
        apply: String,
    },
}

/// What an operator asks for.
#[derive(Debug, Clone)]
pub struct ApplyRequest {
    /// What it is for.
    pub purpose: Purpose,
    /// The valid tree.
    pub tree: TreeRead,
    /// The plan that the person saw.
    pub plan: Option<Plan>,
    /// The seal of the plan file, if it came from one.
    pub seal: Option<Digest>,
    /// What the person allows.
    pub allowances: Allowances,
    /// Who asks.
    pub actor: String,
    /// What the operator may; `None` where the server asks itself.
    pub authority: Option<Mandate>,
    /// Who or which CI run the client says it acts for.
    pub applied_by: Option<String>,
    /// How long to wait for edges.
    pub timeout: Duration,
    /// Offline edges do not make the outcome partial.
    pub allow_offline: bool,
    /// A failed edge reverts all of them to what they ran before.
    pub rollback: bool,
    /// Also wait until the rules with an active check that it touches are up.
    pub wait_healthy: bool,
    /// Edges return to what they ran before unless they hear so soon that what they run is good.
    pub confirm_within: Option<Duration>,
    /// How long edges let changes that cost live connections wait for a moment without them; zero: not at all.
    pub quiet_window: Duration,
}

/// What happens to the fleet.
#[derive(Debug, Clone)]
pub enum Event {
    /// The followed tree was read.
    Tree(TreeRead),
    /// The followed remote was asked, or is about to be.
    Remote(Box<RemoteView>),
    /// An edge opened a session.
    Hello {
        /// The session.
        session: SessionId,
        /// Its name.
        edge: EdgeName,
        /// What it said of itself.
        hello: Hello,
        /// What it runs.
        report: Report,
    },
    /// An edge reported.
    Report {
        /// The session.
        session: SessionId,
        /// Its name.
        edge: EdgeName,
        /// What it runs.
        report: Report,
    },
    /// The owner of an edge changed what it allows.
    Policy {
        /// The session.
        session: SessionId,
        /// Its edge.
        edge: EdgeName,
        /// What is allowed from now on.
        policy: Box<Policy>,
    },
    /// An edge counted live connections, between its reports.
    Counted {
        /// The session.
        session: SessionId,
        /// Its edge.
        edge: EdgeName,
        /// Live connections by rule, and where they are where that has changed.
        connections: Vec<(RuleName, u64, Option<Live>)>,
    },
    /// A certificate nears its end, has ended, or was renewed.
    Certificate(CertificateChange),
    /// A session ended.
    Gone {
        /// The session.
        session: SessionId,
        /// Its edge.
        edge: EdgeName,
    },
    /// An operator applies a tree.
    Apply {
        /// Comes back in [`Effect::Answered`].
        ticket: u64,
        /// What is asked.
        request: Box<ApplyRequest>,
    },
    /// An operator asks for something that is no apply.
    Request {
        /// Comes back in [`Effect::Answered`].
        ticket: u64,
        /// What the operator may; `None` where the server asks itself.
        authority: Option<Mandate>,
        /// What is asked.
        request: Box<Request>,
    },
    /// An operator decides about the fleet as a whole.
    Control {
        /// Comes back in [`Effect::Controlled`].
        ticket: u64,
        /// Who.
        actor: String,
        /// What.
        control: Control,
    },
    /// The operator of an apply is still there.
    Heartbeat {
        /// The apply.
        apply: String,
    },
    /// Time passed.
    Tick,
}

impl Event {
    /// The edge that was heard, where it is the word of one.
    pub fn edge(&self) -> Option<&EdgeName> {
        match self {
            Self::Hello { edge, .. }
            | Self::Report { edge, .. }
            | Self::Policy { edge, .. }
            | Self::Counted { edge, .. }
            | Self::Gone { edge, .. } => Some(edge),
            Self::Tree(_)
            | Self::Certificate(_)
            | Self::Remote(_)
            | Self::Apply { .. }
            | Self::Request { .. }
            | Self::Control { .. }
            | Self::Heartbeat { .. }
            | Self::Tick => None,
        }
    }
}

/// What an operator can ask for besides an apply.
#[derive(Debug, Clone)]
pub enum Request {
    /// A break-glass rule, or the end of one.
    Override(OverrideRequest),
    /// An order for a target.
    Target(TargetOrder),
    /// To write down that live connections are ended.
    EndConnections(ConnectionsOrder),
    /// To forget an edge that is gone for good.
    Forget {
        /// The edge.
        edge: EdgeName,
        /// Who asks.
        actor: String,
    },
    /// To write down that the period of a quota was begun anew, which its edge has done.
    QuotaReset {
        /// The edge.
        edge: EdgeName,
        /// Whose quota.
        of: QuotaOf,
        /// Who asked.
        actor: String,
        /// Why.
        why: String,
        /// Bytes that had been used.
        used: u64,
    },
}

/// What an operator is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum RequestAnswer {
    /// The override as it is now, or as it was when it ended.
    Override(Override),
    /// The result of an order for a target.
    Target(TargetAnswer),
    /// It is written down.
    Noted,
    /// The edge is forgotten.
    Forgotten,
    /// The reset is written down.
    QuotaReset,
}

/// Why nothing was done of what an operator asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefusal {
    /// An override.
    #[error(transparent)]
    Override(#[from] OverrideRefusal),
    /// A target.
    #[error(transparent)]
    Target(#[from] TargetRefusal),
    /// An edge.
    #[error(transparent)]
    Forget(#[from] ForgetRefusal),
    /// The operator may not.
    #[error("nothing was changed: {0}")]
    Denied(Denied),
    /// What was decided could not be written down; everything is as it was before.
    #[error("nothing was changed: the server cannot write its state: {0}")]
    StateNotWritable(String),
}

/// What the shell must do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Make durable before anything that follows.
    Persist(Record),
    /// Accept a session.
    Welcome {
        /// The session.
        session: SessionId,
    },
    /// Refuse a session and end it.
    Refuse {
        /// The session.
        session: SessionId,
        /// Why, as a code.
        code: &'static str,
        /// Why, in words.
        message: String,
    },
    /// Send a desired state.
    Send {
        /// The session.
        session: SessionId,
        /// Its edge.
        edge: EdgeName,
        /// The generation.
        generation: u64,
        /// Digest of the rules.
        digest: Digest,
        /// The whole set, in name order.
        rules: Vec<Arc<Rule>>,
        /// What it was decided from.
        basis: Option<Basis>,
        /// How long the edge waits for a confirmation before it returns.
        confirm_within: Option<Duration>,
        /// How long changes that cost live connections may wait there.
        quiet_window: Duration,
        /// When rules of it end without a newer state.
        ends: BTreeMap<RuleName, Timestamp>,
        /// Rules that release their ports first, for another edge of the same host.
        yields: Vec<RuleName>,
    },
    /// Tell an edge that what it runs is kept.
    Confirm {
        /// The session.
        session: SessionId,
        /// Its edge.
        edge: EdgeName,
        /// What was found good.
        generation: u64,
    },
    /// Send all overrides of an edge; those that it has besides have ended.
    SendOverrides {
        /// The session.
        session: SessionId,
        /// Its edge.
        edge: EdgeName,
        /// The whole list.
        overrides: Vec<TargetOverride>,
    },
    /// Tell those who listen to events, and the log.
    Emit(Notice),
    /// Tell those who listen to events; the log has another line that says as much.
    EmitUnlogged(Notice),
    /// Hand letters over that were written beside the step, and are durable by now.
    Deliver(Vec<Posted>),
    /// Answer an [`Event::Apply`].
    Answer {
        /// Whose.
        ticket: u64,
        /// The id of the apply that began, or why none did.
        answer: Box<Result<ApplyResult, Refusal>>,
    },
    /// Answer an [`Event::Request`].
    Answered {
        /// Whose.
        ticket: u64,
        /// The result.
        answer: Box<Result<RequestAnswer, RequestRefusal>>,
    },
    /// Answer an [`Event::Control`].
    Controlled {
        /// Whose.
        ticket: u64,
        /// Done, or why not.
        outcome: Box<Result<(), Refusal>>,
    },
}

/// One target in a notice about weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetWeight {
    /// The target.
    pub target: String,
    /// Its state.
    pub state: TargetState,
    /// As the rule or an override has it.
    pub weight: u32,
    /// What it carries now.
    pub effective_weight: u32,
}

/// One line of the event stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Notice {
    /// An edge came or went.
    Edge {
        /// The edge.
        edge: EdgeName,
        /// True if it has a session now.
        connected: bool,
        /// The generation that it accepted.
        generation: u64,
        /// The generation that is wanted there.
        desired_generation: u64,
    },
    /// An edge does not come to rest.
    Unsettled {
        /// The edge.
        edge: EdgeName,
        /// `unsettled` or `two_servers`.
        code: String,
        /// In words.
        message: String,
    },
    /// The certificate of an edge or of the authority nears its end, has ended, or was renewed.
    Certificate {
        /// The edge; `None` for the certificate authority.
        edge: Option<EdgeName>,
        /// How near it is.
        stage: CertificateStage,
        /// When it ends.
        expires_at: Timestamp,
    },
    /// A rule has another state.
    Rule {
        /// The edge.
        edge: EdgeName,
        /// The rule.
        rule: RuleName,
        /// The state; `None` once it is gone.
        state: Option<RuleState>,
        /// Why.
        code: String,
        /// In words.
        message: String,
    },
    /// The health of a rule is another one.
    Health {
        /// The edge.
        edge: EdgeName,
        /// The rule.
        rule: RuleName,
        /// Before; `None` where it did not serve.
        from: Option<RuleHealth>,
        /// Now; `None` where it does not serve any more.
        to: Option<RuleHealth>,
    },
    /// A rule shares new connections in another way.
    Balance {
        /// The edge.
        edge: EdgeName,
        /// The rule.
        rule: RuleName,
        /// Before, as in a rule file.
        from: String,
        /// Now.
        to: String,
        /// True if a client keeps its target now for as long as that is eligible.
        sticky: bool,
    },
    /// A target has another state.
    Target {
        /// The edge.
        edge: EdgeName,
        /// The rule.
        rule: RuleName,
        /// The target.
        target: String,
        /// Before; `None` for one that was not known.
        from: Option<TargetState>,
        /// Now.
        to: TargetState,
        /// The result that caused it, or the last one.
        code: String,
        /// In words.
        detail: String,
        /// Since when.
        at: Option<Timestamp>,
    },
    /// The weights of a rule's targets are others, or its targets are.
    Weights {
        /// The edge.
        edge: EdgeName,
        /// The rule.
        rule: RuleName,
        /// All targets that carry weight now.
        eligible: Vec<String>,
        /// All targets, in file order.
        targets: Vec<TargetWeight>,
    },
    /// An override of a target came or went.
    TargetOverride {
        /// The edge.
        edge: EdgeName,
        /// What happened to it.
        turn: DeviationChange,
        /// Who did that.
        by: String,
        /// The override.
        #[serde(flatten)]
        deviation: TargetOverride,
    },
    /// A quota is nearly used up, used up, or available again.
    Quota {
        /// The edge.
        edge: EdgeName,
        /// The rule; absent where the quota is that of an owner.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<RuleName>,
        /// The owner; empty where the rule has none.
        owner: String,
        /// How much is left.
        state: QuotaLevel,
        /// Bytes of the period.
        used: u64,
        /// Bytes that a period has.
        limit: u64,
        /// When the next period begins; absent where it never does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ends: Option<Timestamp>,
    },
    /// The followed tree was read, with this result.
    Tree {
        /// Its digest.
        digest: Digest,
        /// Its commit.
        commit: Option<String>,
        /// The result.
        verdict: Verdict,
    },
    /// The followed remote answers no more, answers again, or names another commit.
    Remote {
        /// Where it is, without user and password.
        url: String,
        /// The branch or tag that is followed.
        #[serde(rename = "ref")]
        reference: String,
        /// The commit that it named last.
        commit: Option<String>,
        /// Why it could not be asked; `None` if it could.
        error: Option<String>,
    },
    /// A break-glass rule was added, or ended.
    Override {
        /// The edge.
        edge: EdgeName,
        /// The rule.
        rule: RuleName,
        /// What became of it.
        step: OverrideStep,
        /// Who added or removed it.
        actor: String,
        /// Why it was added.
        why: String,
        /// Until when it lives, or would have.
        until: Timestamp,
    },
    /// The fleet was frozen or thawed.
    Freeze {
        /// The freeze that stands now.
        frozen: Option<Freeze>,
        /// The operator who changed it; `clock` where its time was over.
        #[serde(default)]
        by: String,
        /// The reason.
        #[serde(default)]
        why: String,
    },
    /// The hold of a rollback ended.
    Hold {
        /// The hold that stands now.
        hold: Option<Hold>,
        /// The operator who ended it.
        #[serde(default)]
        by: String,
    },
    /// An apply began, advanced or ended.
    Apply {
        /// Its state by now.
        result: Box<ApplyResult>,
    },
}
