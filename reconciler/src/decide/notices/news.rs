//! One thing that happened, for people elsewhere. Values.

use jiff::Timestamp;
use schema::name::{EdgeName, RuleName};
use serde::{Deserialize, Serialize};

use super::Topic;

/// What alike news have in common, so that many of them become one sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewsKind {
    /// A sentence of its own.
    #[default]
    Single,
    /// A rule went down.
    RuleDown,
    /// A rule is up again.
    RuleUp,
    /// A target went down.
    TargetDown,
    /// A target is up again.
    TargetUp,
    /// An edge went offline.
    EdgeOffline,
    /// An edge is connected again.
    EdgeBack,
    /// A rule differs from what was applied.
    DriftBegan,
    /// It no longer does.
    DriftEnded,
}

/// One thing that happened. What is not known, or does not apply, is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// What it is about.
    pub event: Topic,
    /// When it happened.
    pub at: Timestamp,
    /// The edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<EdgeName>,
    /// The rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// The owner of the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The commit, in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The person or program that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The target, of news about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What it has in common with others.
    #[serde(default)]
    pub kind: NewsKind,
    /// The sentence; lines after the first are details.
    pub text: String,
}

impl News {
    /// News of the whole fleet.
    pub fn new(event: Topic, at: Timestamp, text: String) -> Self {
        Self {
            event,
            at,
            edge: None,
            rule: None,
            owner: None,
            commit: None,
            actor: None,
            why: None,
            target: None,
            kind: NewsKind::Single,
            text,
        }
    }

    /// The same about an edge.
    #[must_use]
    pub fn on(self, edge: &EdgeName) -> Self {
        Self { edge: Some(edge.clone()), ..self }
    }

    /// The same about a rule of that owner.
    #[must_use]
    pub fn of(self, edge: &EdgeName, rule: &RuleName, owner: &str) -> Self {
        let owner = (!owner.is_empty()).then(|| owner.to_owned());
        Self { rule: Some(rule.clone()), owner, ..self.on(edge) }
    }

    /// The same of a kind.
    #[must_use]
    pub fn like(self, kind: NewsKind) -> Self {
        Self { kind, ..self }
    }

    /// The same with the reason, if there is one.
    #[must_use]
    pub fn because(self, why: &str) -> Self {
        Self { why: (!why.is_empty()).then(|| why.to_owned()), ..self }
    }

    /// The same with the one who did it.
    #[must_use]
    pub fn by(self, actor: &str) -> Self {
        Self { actor: (!actor.is_empty()).then(|| actor.to_owned()), ..self }
    }

    /// `EDGE/RULE`, or the edge, or nothing.
    pub fn place(&self) -> String {
        match (&self.edge, &self.rule) {
            (Some(edge), Some(rule)) => format!("{edge}/{rule}"),
            (Some(edge), None) => edge.to_string(),
            (None, _) => String::new(),
        }
    }
}
