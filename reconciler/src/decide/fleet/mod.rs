//! The fleet as a state machine without I/O: `step(event, now)` gives effects. Pure.
//!
//! Keeps: a generation never goes down; the same generation never has two contents; at most one desired state is in
//! flight per edge and the newest coalesces; what is sent was recorded before. Level-triggered: an event is a reason
//! to look, the full current state decides, so lost, repeated and reordered events change nothing in the end.

mod apply;
mod follow;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::diagnostic::DiagnosticJson;
use schema::name::{EdgeName, RuleName};
use schema::rule::Rule;
use schema::ruleset::{Rails, RuleSet};
use schema::state::RuleState;
use serde::{Deserialize, Serialize};

use super::ledger::Head;
use super::plan::{Allowances, FileDocument, PlanDocument, RailVerdict, Source};
use super::record::Record;
use super::view::{Edges, Hello, Report};

pub use apply::{ApplyResult, EdgeOutcome, EdgeResult, Outcome, RuleResult};
pub use follow::{Attempt, Verdict};

/// Finished applies that stay readable: enough for every command that may still be looking.
const KEPT_RESULTS: usize = 64;

/// What the server does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing.
    Off,
    /// Plans are recorded, `apply` releases them.
    Plan,
    /// Holds what was applied last.
    Heal,
    /// Follows the tree.
    #[default]
    Apply,
}

impl Mode {
    /// As on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Plan => "plan",
            Self::Heal => "heal",
            Self::Apply => "apply",
        }
    }
}

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
}

/// What an operator asks for.
#[derive(Debug, Clone)]
pub struct ApplyRequest {
    /// The valid tree.
    pub tree: TreeRead,
    /// The plan that the person saw.
    pub plan: Option<PlanDocument>,
    /// The seal of the plan file, if it came from one.
    pub seal: Option<Digest>,
    /// What the person allows.
    pub allowances: Allowances,
    /// Who asks.
    pub actor: String,
    /// How long to wait for edges.
    pub timeout: Duration,
    /// Offline edges are no reason for a partial outcome.
    pub allow_offline: bool,
}

/// What happens to the fleet.
#[derive(Debug, Clone)]
pub enum Event {
    /// The followed tree was read.
    Tree(TreeRead),
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
    /// A session ended.
    Gone {
        /// The session.
        session: SessionId,
        /// Its edge.
        edge: EdgeName,
    },
    /// An operator applies a tree.
    Apply {
        /// Comes back in [`Effect::Answer`].
        ticket: u64,
        /// What is asked.
        request: Box<ApplyRequest>,
    },
    /// Time passed.
    Tick,
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
    },
    /// Tell those who listen to events.
    Emit(Notice),
    /// Answer an [`Event::Apply`].
    Answer {
        /// Whose.
        ticket: u64,
        /// The id of the apply that began, or why none did.
        answer: Box<Result<ApplyResult, Refusal>>,
    },
}

/// Why an apply did not begin; nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Refusal {
    /// Rails are tripped.
    Rails {
        /// All of them.
        rails: Vec<RailVerdict>,
    },
    /// The tree differs from its commit.
    Dirty {
        /// Which files.
        paths: Vec<String>,
    },
    /// The server follows another tree.
    NotFollowed {
        /// Digest of the tree that it follows.
        followed: Option<Digest>,
    },
    /// The plan does not fit the present any more.
    Stale {
        /// Why.
        reason: String,
    },
    /// Another apply runs.
    Locked {
        /// Who holds it.
        holder: String,
        /// Since when.
        since: Timestamp,
        /// Until when at most.
        until: Timestamp,
    },
    /// Every change of the plan is one that its edge rejects.
    Rejected {
        /// The first code.
        reason: String,
        /// What the edge cannot do, in words.
        message: String,
    },
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
    /// The followed tree was read, and this came of it.
    Tree {
        /// Its digest.
        digest: Digest,
        /// Its commit.
        commit: Option<String>,
        /// What came of it.
        verdict: Verdict,
    },
    /// An apply began, advanced or ended.
    Apply {
        /// Its state by now.
        result: Box<ApplyResult>,
    },
}

/// The tree that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Its provenance and digest.
    pub source: Source,
    /// Its rails, which guard against the next tree.
    pub rails: Rails,
    /// When.
    pub at: Timestamp,
    /// By which apply.
    pub apply_id: String,
}

#[derive(Debug, Clone)]
struct Session {
    id: SessionId,
    /// Generation and digest that were sent and not answered.
    in_flight: Option<(u64, Digest)>,
    /// A generation that the edge refused as a whole, not to be sent again in this session.
    refused: Option<u64>,
}

/// The fleet.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    lineage: String,
    mode: Mode,
    allow_dirty: bool,
    edges: Edges,
    sessions: BTreeMap<EdgeName, Session>,
    applied: Option<Applied>,
    attempt: Option<Attempt>,
    followed: Option<TreeRead>,
    run: Option<apply::Run>,
    results: VecDeque<ApplyResult>,
    head: Head,
    used_plans: BTreeSet<Digest>,
}

/// What a fleet starts from: what was recorded.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Edges with what was decided for them.
    pub edges: Edges,
    /// The tree in force.
    pub applied: Option<Applied>,
    /// The end of the ledger.
    pub head: Head,
    /// Plan files that were used.
    pub used_plans: BTreeSet<Digest>,
}

impl Fleet {
    /// A fleet from its records.
    pub fn new(lineage: String, mode: Mode, allow_dirty: bool, restored: Restored) -> Self {
        Self {
            lineage,
            mode,
            allow_dirty,
            edges: restored.edges,
            applied: restored.applied,
            head: restored.head,
            used_plans: restored.used_plans,
            ..Self::default()
        }
    }

    /// Takes one event; the effects must be carried out in their order.
    pub fn step(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Tree(tree) => self.tree_read(tree, now, &mut effects),
            Event::Hello { session, edge, hello, report } => {
                self.hello(session, &edge, hello, report, now, &mut effects);
            }
            Event::Report { session, edge, report } => self.report(session, &edge, report, now, &mut effects),
            Event::Gone { session, edge } => self.gone(session, &edge, now, &mut effects),
            Event::Apply { ticket, request } => {
                let answer = Box::new(self.apply(&request, now, &mut effects));
                effects.push(Effect::Answer { ticket, answer });
            }
            Event::Tick => {}
        }
        self.advance_run(now, &mut effects);
        effects
    }

    /// The line of generations.
    pub fn lineage(&self) -> &str {
        &self.lineage
    }

    /// What the server does by itself.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// All edges.
    pub fn edges(&self) -> &Edges {
        &self.edges
    }

    /// The session of an edge, if it has one.
    pub fn session(&self, edge: &EdgeName) -> Option<SessionId> {
        self.sessions.get(edge).map(|session| session.id)
    }

    /// The tree in force.
    pub fn applied(&self) -> Option<&Applied> {
        self.applied.as_ref()
    }

    /// What came of the followed tree, read last.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    /// The state of an apply, running or finished not long ago.
    pub fn apply_result(&self, id: &str) -> Option<&ApplyResult> {
        let running = self.run.as_ref().map(|run| &run.result);
        running.into_iter().chain(self.results.iter()).find(|result| result.id == id)
    }

    /// The apply that runs, or the last one.
    pub fn latest_apply(&self) -> Option<&ApplyResult> {
        self.run.as_ref().map(|run| &run.result).or_else(|| self.results.front())
    }

    /// When the next [`Event::Tick`] matters.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.run.as_ref().map(|run| run.deadline)
    }
}

#[cfg(test)]
mod tests;
