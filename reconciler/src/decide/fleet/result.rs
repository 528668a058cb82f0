//! The state of an apply as people and programs see it. Pure.

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::health::RuleHealth;
use schema::name::{EdgeName, RuleName};
use schema::state::RuleState;
use serde::{Deserialize, Serialize};

use crate::decide::ledger::{Entry, HistoryEntry, RecordedEdge, RecordedRule};
use crate::decide::outcome::{EdgeOutcome, Outcome};
use crate::decide::plan::Action;
use crate::decide::target::TargetView;

/// How it went with one changed rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleResult {
    /// The rule.
    pub rule: RuleName,
    /// What the plan said.
    pub action: Action,
    /// The state that the edge reported; `None` for a rule that is gone.
    pub state: Option<RuleState>,
    /// Why, if it does not serve.
    pub code: String,
    /// In words.
    pub message: String,
    /// Its health, of a rule that is waited for until it is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<RuleHealth>,
    /// Its targets, with the attempts so far, of a rule that waits for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetView>,
}

impl RuleResult {
    /// True if the rule is gone, or serves, and nothing is to be said of it.
    pub fn is_as_planned(&self) -> bool {
        matches!(self.state, None | Some(RuleState::Active | RuleState::Draining)) && !self.is_unhealthy()
    }

    /// True if the rule serves and its targets were not up in time.
    pub fn is_unhealthy(&self) -> bool {
        self.state == Some(RuleState::Active) && self.health.is_some_and(|health| health != RuleHealth::Up)
    }
}

/// One edge of an apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeResult {
    /// The edge.
    pub edge: EdgeName,
    /// How it went.
    pub outcome: EdgeOutcome,
    /// The generation to reach.
    pub generation: u64,
    /// A code where it did not go well.
    pub code: String,
    /// In words.
    pub message: String,
    /// The changed rules.
    pub rules: Vec<RuleResult>,
}

impl EdgeResult {
    /// What the ledger keeps of it. Of an edge that has not answered, its rules say nothing more.
    pub(super) fn recorded(&self) -> RecordedEdge {
        let has_answered = matches!(self.outcome, EdgeOutcome::Done | EdgeOutcome::Refused | EdgeOutcome::Returned);
        let rules = self.rules.iter().filter(|rule| has_answered && !rule.is_as_planned());
        let rules = rules.map(|rule| RecordedRule {
            rule: rule.rule.clone(),
            state: rule.state,
            code: rule.code.clone(),
            message: rule.message.clone(),
        });
        RecordedEdge {
            outcome: self.outcome,
            code: self.code.clone(),
            message: self.message.clone(),
            rules: rules.collect(),
        }
    }
}

/// The state of an apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyResult {
    /// Its id.
    pub id: String,
    /// The plan.
    pub plan_id: Digest,
    /// The tree.
    pub digest: Digest,
    /// Its commit.
    pub commit: Option<String>,
    /// Who.
    pub actor: String,
    /// Who or which CI run the client says it acted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_by: Option<String>,
    /// The apply whose rollout it goes on with, after a restart of the server cut that off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
    /// How it stands.
    pub outcome: Outcome,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why its rollout was stopped, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Why its rollout stands still for the time being, if it does: the fleet is frozen, and edges wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// True if the tree was in force already, so that nothing was sent and nothing written down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// The touched edges, in the order of their names.
    pub edges: Vec<EdgeResult>,
}

impl ApplyResult {
    /// Where the result of an edge is.
    pub(super) fn place_of(&self, name: &EdgeName) -> Option<usize> {
        self.edges.binary_search_by(|result| result.edge.cmp(name)).ok()
    }

    /// How it goes on one edge.
    pub(super) fn edge(&self, name: &EdgeName) -> Option<&EdgeResult> {
        self.place_of(name).map(|place| &self.edges[place])
    }

    /// The same, to change it.
    pub(super) fn edge_mut(&mut self, name: &EdgeName) -> Option<&mut EdgeResult> {
        self.place_of(name).map(|place| &mut self.edges[place])
    }

    /// An apply that began and whose end nobody wrote down: what came of it is not known.
    pub(super) fn cut_off(started: &Entry) -> Self {
        let edge = |(edge, generation): (&EdgeName, &u64)| EdgeResult {
            edge: edge.clone(),
            outcome: EdgeOutcome::Timeout,
            generation: *generation,
            code: String::new(),
            message: "the server stopped before the edge answered".to_owned(),
            rules: Vec::new(),
        };
        Self {
            id: started.apply_id.clone(),
            plan_id: started.plan_id,
            digest: started.digest,
            commit: started.commit.clone(),
            actor: started.actor.clone(),
            applied_by: started.applied_by.clone(),
            continues: None,
            outcome: Outcome::Interrupted,
            started_at: started.at,
            finished_at: None,
            stopped: None,
            paused: None,
            repeated: false,
            edges: started.generations.iter().map(edge).collect(),
        }
    }

    /// What the ledger knows of an apply that nobody has in memory any more. Of its rules, those that were not as
    /// planned. `None` for lines about something else.
    pub fn recorded(found: &HistoryEntry) -> Option<Self> {
        let entry = Some(&found.entry).filter(|entry| entry.is_start())?;
        // Nothing runs that is not in memory: without an end it was cut off.
        let outcome = Outcome::parse(&entry.outcome).unwrap_or(Outcome::Interrupted);
        let mut result = Self::cut_off(entry);
        result.applied_by.clone_from(&found.applied_by);
        for edge in &mut result.edges {
            let (how, message) = match outcome {
                Outcome::Applied => (EdgeOutcome::Done, ""),
                _ if entry.brought_back.contains(&edge.edge) => {
                    (EdgeOutcome::Returned, "the edge runs its previous state again")
                }
                Outcome::Interrupted => continue,
                _ => (EdgeOutcome::Timeout, "the ledger does not record the result for this edge"),
            };
            edge.outcome = how;
            message.clone_into(&mut edge.message);
        }
        if !entry.edges.is_empty() {
            result.edges = entry.edges.iter().map(|(edge, ended)| recorded_edge(entry, edge, ended)).collect();
        }
        let stopped = Some(entry.note.clone()).filter(|note| !note.is_empty());
        Some(Self { outcome, finished_at: found.finished_at, stopped, ..result })
    }
}

pub(super) fn recorded_edge(entry: &Entry, edge: &EdgeName, ended: &RecordedEdge) -> EdgeResult {
    let rules = ended.rules.iter().map(|rule| RuleResult {
        rule: rule.rule.clone(),
        action: Action::Update,
        state: rule.state,
        code: rule.code.clone(),
        message: rule.message.clone(),
        health: None,
        targets: Vec::new(),
    });
    EdgeResult {
        edge: edge.clone(),
        outcome: ended.outcome,
        generation: entry.generations.get(edge).copied().unwrap_or_default(),
        code: ended.code.clone(),
        message: ended.message.clone(),
        rules: rules.collect(),
    }
}
