//! A break-glass rule, as an operator put it on an edge without git. Values, below the view of an edge.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use schema::name::RuleName;
use schema::rule::Rule;
use serde::{Deserialize, Serialize};

/// One break-glass rule on one edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// What it forwards.
    pub rule: Arc<Rule>,
    /// Who put it there.
    pub actor: String,
    /// Why, in the words of that person.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// Who put a break-glass rule there, why and for how long, as a status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideStatus {
    /// Who.
    pub actor: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl From<&Override> for OverrideStatus {
    fn from(held: &Override) -> Self {
        Self { actor: held.actor.clone(), why: held.why.clone(), since: held.since, until: held.until }
    }
}

/// The overrides of one edge, by rule.
pub type Overrides = BTreeMap<RuleName, Override>;
