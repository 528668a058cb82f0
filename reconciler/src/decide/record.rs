//! What the server must not forget, as keys and JSON values of the store. Pure.
//!
//! Keys are paths, values are self-describing; both are what an embedded store and an etcd cluster do equally well.

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schema::canonical::{self, Digest};
use schema::capability::Rejection;
use schema::codes::RuleCode;
use schema::name::{EdgeName, RuleName};
use schema::rule::Rule;
use schema::ruleset::{EdgeRules, Origin, Placed, rules_only};
use schema::spec;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::applied::Applied;
use super::break_glass::{Override, Overrides};
use super::control::{Freeze, Hold};
use super::generation;
use super::ledger::{self, Entry};
use super::notices::{Posted, TOLD_PREFIX, ToldMark, letter_key};
use super::plan::{FileDocument, PlannedChange, PlannedWave, Summary};
use super::restored::Restored;
use super::target_override::TargetOverride;
use super::view::DesiredEdge;

pub use tree::{Revision, file_key, files_of, revision, revision_key};

/// Key of the line of generations.
pub const LINEAGE_KEY: &str = "meta/lineage";
/// Prefix of what was decided for each edge.
pub const EDGE_PREFIX: &str = "edge/";
/// Prefix of the ledger.
pub const LEDGER_PREFIX: &str = "ledger/";
/// Prefix of the trees that were applied.
pub const REVISION_PREFIX: &str = "revision/";
/// Prefix of the files of those trees: each file is a value of its own, so that a tree of any size is written and read
/// without a copy of the whole.
pub const REVISION_FILE_PREFIX: &str = "revision-file/";
/// Prefix of the overrides of each edge's targets: the whole list, so that nothing has to be deleted.
const DEVIATIONS_PREFIX: &str = "target-overrides/";
/// Prefix of what each apply was to change.
pub const PLAN_PREFIX: &str = "plan/";
/// Prefix of the seals of plan files that were used.
pub const USED_PLAN_PREFIX: &str = "used-plan/";
/// Prefix of the break-glass rules of each edge.
const OVERRIDES_PREFIX: &str = "overrides/";
/// Prefix of the edges that an operator had the server forget, and that a tree still names.
const FORGOTTEN_PREFIX: &str = "forgotten/";
const APPLIED_KEY: &str = "meta/applied";
const FREEZE_KEY: &str = "meta/freeze";
const HOLD_KEY: &str = "meta/hold";

/// One value to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where.
    pub key: String,
    /// What, as JSON; nothing where the key is deleted.
    pub value: Vec<u8>,
    /// Files that belong to it, each stored under its [`file_key`].
    pub files: Arc<[FileDocument]>,
}

/// Why a stored value cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the record `{key}` cannot be read: {reason}")]
pub struct InvalidRecord {
    /// Which.
    pub key: String,
    /// Why.
    pub reason: String,
}

#[derive(Serialize, Deserialize)]
struct StoredRule {
    spec: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
}

#[derive(Serialize, Deserialize)]
struct StoredRejection {
    code: RuleCode,
    message: String,
}

#[derive(Serialize, Deserialize)]
struct StoredOverride {
    spec: Map<String, Value>,
    actor: String,
    why: String,
    since: Timestamp,
    until: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct StoredEdge {
    generation: u64,
    rules: Vec<StoredRule>,
    /// The rules of the tree, where they are not what is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wanted: Option<Vec<StoredRule>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    rejected: BTreeMap<RuleName, StoredRejection>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    disabled: Vec<StoredRule>,
    #[serde(default)]
    acknowledged: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    before: Vec<StoredRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    leaving: Vec<StoredRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confirm_within_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    ends: BTreeMap<RuleName, Timestamp>,
}

/// What an apply was to change: its plan without the state that it started from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedPlan {
    /// Its figures.
    pub summary: Summary,
    /// By edge and rule.
    pub changes: Vec<PlannedChange>,
    /// Which edges were to change in which wave; empty where the tree has no waves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<PlannedWave>,
}

/// What an apply was to change, from its record.
pub fn recorded_plan(key: &str, value: &[u8]) -> Result<RecordedPlan, InvalidRecord> {
    read(key, value)
}

impl Record {
    fn json(key: String, value: &impl Serialize) -> Self {
        let value = serde_json::to_vec(value).expect("records hold only maps with text keys");
        Self { key, value, files: Arc::default() }
    }

    /// The end of a record.
    fn end(key: String) -> Self {
        Self { key, value: Vec::new(), files: Arc::default() }
    }

    /// The end of all that is known of an edge.
    pub fn of_edge(edge: &EdgeName) -> [Self; 3] {
        [EDGE_PREFIX, OVERRIDES_PREFIX, DEVIATIONS_PREFIX].map(|prefix| Self::end(format!("{prefix}{edge}")))
    }

    /// That an edge is forgotten, or is no more.
    pub fn forgotten(edge: &EdgeName, is_forgotten: bool) -> Self {
        let key = format!("{FORGOTTEN_PREFIX}{edge}");
        if is_forgotten { Self::json(key, &true) } else { Self::end(key) }
    }

    /// What was decided for an edge.
    pub fn edge(edge: &EdgeName, desired: &DesiredEdge) -> Self {
        let stored = StoredEdge {
            generation: desired.generation,
            rules: store_rules(&desired.rules),
            wanted: (desired.wanted != desired.rules).then(|| store_rules(&desired.wanted)),
            rejected: desired
                .rejected
                .iter()
                .map(|(name, why)| (name.clone(), StoredRejection { code: why.code, message: why.message.clone() }))
                .collect(),
            disabled: store_rules(&desired.disabled),
            acknowledged: desired.acknowledged,
            before: desired.before.values().map(|rule| store_rule(rule, None)).collect(),
            leaving: desired.leaving.values().map(|rule| store_rule(rule, None)).collect(),
            confirm_within_ms: desired.confirm_within.and_then(|within| u64::try_from(within.as_millis()).ok()),
            ends: desired.ends.clone(),
        };
        Self::json(format!("{EDGE_PREFIX}{edge}"), &stored)
    }

    /// All break-glass rules of an edge; none is a list too, so that a restart ends it as well.
    pub fn overrides(edge: &EdgeName, overrides: &Overrides) -> Self {
        let stored: Vec<StoredOverride> = overrides
            .values()
            .map(|held| StoredOverride {
                spec: spec::to_json(&held.rule),
                actor: held.actor.clone(),
                why: held.why.clone(),
                since: held.since,
                until: held.until,
            })
            .collect();
        Self::json(format!("{OVERRIDES_PREFIX}{edge}"), &stored)
    }

    /// The tree in force.
    pub fn applied(applied: &Applied) -> Self {
        Self::json(APPLIED_KEY.to_owned(), applied)
    }

    /// The freeze that stands, or that none does.
    pub fn freeze(freeze: Option<&Freeze>) -> Self {
        Self::json(FREEZE_KEY.to_owned(), &freeze)
    }

    /// The rollback that is held, or that none is.
    pub fn hold(hold: Option<&Hold>) -> Self {
        Self::json(HOLD_KEY.to_owned(), &hold)
    }

    /// What an apply was to change, as its plan said.
    pub fn plan(apply_id: &str, plan: &RecordedPlan) -> Self {
        Self::json(format!("{PLAN_PREFIX}{apply_id}"), plan)
    }

    /// One line of the ledger.
    pub fn ledger(entry: &Entry) -> Self {
        Self::json(ledger_key(entry.id), entry)
    }

    /// All overrides of an edge's targets.
    pub fn deviations(edge: &EdgeName, overrides: &[TargetOverride]) -> Self {
        Self::json(format!("{DEVIATIONS_PREFIX}{edge}"), &overrides)
    }

    /// A letter that waits for a notifier.
    pub fn letter(posted: &Posted) -> Self {
        Self::json(letter_key(&posted.to, posted.letter.id), &posted.letter)
    }

    /// That something was reported as wrong, or is over.
    pub fn told(key: &str, mark: Option<&ToldMark>) -> Self {
        let key = format!("{TOLD_PREFIX}{key}");
        mark.map_or_else(|| Self::end(key.clone()), |mark| Self::json(key.clone(), mark))
    }

    /// A plan file that was used.
    pub fn used_plan(seal: Digest, at: Timestamp) -> Self {
        Self::json(format!("{USED_PLAN_PREFIX}{seal}"), &at)
    }
}

fn store_rules(rules: &EdgeRules) -> Vec<StoredRule> {
    rules.values().map(|placed| store_rule(&placed.rule, placed.origin.clone())).collect()
}

fn store_rule(rule: &Rule, origin: Option<Origin>) -> StoredRule {
    StoredRule { spec: spec::to_json(rule), origin }
}

fn restore_rules(key: &str, stored: Vec<StoredRule>) -> Result<EdgeRules, InvalidRecord> {
    stored
        .into_iter()
        .map(|stored| {
            let rule = spec::from_json(&Value::Object(stored.spec))
                .map_err(|reason| InvalidRecord { key: key.to_owned(), reason })?;
            Ok((rule.name.clone(), Placed { rule: rule.into(), origin: stored.origin }))
        })
        .collect()
}

fn read<T: for<'de> Deserialize<'de>>(key: &str, value: &[u8]) -> Result<T, InvalidRecord> {
    serde_json::from_slice(value).map_err(|error| InvalidRecord { key: key.to_owned(), reason: error.to_string() })
}

/// When a plan file was used, from its record.
pub fn used_at(key: &str, value: &[u8]) -> Result<Timestamp, InvalidRecord> {
    read(key, value)
}

/// A line of the ledger, where a record is one.
pub fn ledger_line(record: &Record) -> Option<Entry> {
    record.key.starts_with(LEDGER_PREFIX).then(|| serde_json::from_slice(&record.value).ok()).flatten()
}

/// The key of a line of the ledger.
pub fn ledger_key(line: u64) -> String {
    format!("{LEDGER_PREFIX}{line:012}")
}

/// The lines of a ledger from its records, in their order.
pub fn ledger<'a>(records: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Vec<Entry>, InvalidRecord> {
    records.into_iter().map(|(key, value)| read(key, value)).collect()
}

/// A fleet from all its records; keys of other parts are passed over.
pub fn restore<'a>(records: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Restored, InvalidRecord> {
    let mut restored = Restored { used_plans: BTreeSet::new(), ..Restored::default() };
    let mut lines = Vec::new();
    for (key, value) in records {
        if value.is_empty() {
            continue;
        }
        if let Some(name) = key.strip_prefix(FORGOTTEN_PREFIX) {
            let name = EdgeName::new(name)
                .map_err(|error| InvalidRecord { key: key.to_owned(), reason: error.to_string() })?;
            restored.edges.get_or_new(&name).forgotten = true;
        } else if let Some(name) = key.strip_prefix(EDGE_PREFIX) {
            let name = EdgeName::new(name)
                .map_err(|error| InvalidRecord { key: key.to_owned(), reason: error.to_string() })?;
            let desired = restore_edge(key, read(key, value)?)?;
            let edge = restored.edges.get_or_new(&name);
            edge.sent = desired.generation;
            edge.desired = Some(desired);
        } else if let Some(name) = key.strip_prefix(OVERRIDES_PREFIX) {
            let name = EdgeName::new(name)
                .map_err(|error| InvalidRecord { key: key.to_owned(), reason: error.to_string() })?;
            let overrides = restore_overrides(key, read(key, value)?)?;
            if !overrides.is_empty() {
                restored.edges.get_or_new(&name).overrides = overrides;
            }
        } else if let Some(name) = key.strip_prefix(DEVIATIONS_PREFIX) {
            let overrides: Vec<TargetOverride> = read(key, value)?;
            let name = EdgeName::new(name)
                .map_err(|error| InvalidRecord { key: key.to_owned(), reason: error.to_string() })?;
            if !overrides.is_empty() {
                restored.edges.get_or_new(&name).deviations = overrides;
            }
        } else if let Some(seal) = key.strip_prefix(USED_PLAN_PREFIX) {
            restored.used_plans.extend(Digest::parse(seal));
        } else if key == APPLIED_KEY {
            restored.applied = Some(read(key, value)?);
        } else if key == FREEZE_KEY {
            restored.frozen = read(key, value)?;
        } else if key == HOLD_KEY {
            restored.hold = read(key, value)?;
        } else if key.starts_with(LEDGER_PREFIX) {
            let entry: Entry = read(key, value)?;
            if entry.id > restored.head.id {
                restored.head.advance(&entry);
            }
            match entry.of {
                None if entry.is_start() => restored.cut_off = Some(entry.clone()),
                Some(of) if restored.cut_off.as_ref().is_some_and(|started| started.id == of) => {
                    restored.cut_off = None;
                }
                None | Some(_) => {}
            }
            lines.push(entry);
        }
    }
    // The apply that is in force has its line, and later ones have higher numbers.
    let applied = restored.applied.as_ref().and_then(|applied| applied.apply_id.strip_prefix('a')?.parse::<u64>().ok());
    let cut = applied.filter(|applied| *applied > restored.head.last_apply).map(|_| restored.head.id + 1);
    restored.ledger_break = ledger::first_break(&lines).or(cut);
    Ok(restored)
}

fn restore_overrides(key: &str, stored: Vec<StoredOverride>) -> Result<Overrides, InvalidRecord> {
    let restore = |held: StoredOverride| {
        let rule = spec::from_json(&Value::Object(held.spec))
            .map_err(|reason| InvalidRecord { key: key.to_owned(), reason })?;
        let (actor, why, since, until) = (held.actor, held.why, held.since, held.until);
        Ok((rule.name.clone(), Override { rule: rule.into(), actor, why, since, until }))
    };
    stored.into_iter().map(restore).collect()
}

fn restore_edge(key: &str, stored: StoredEdge) -> Result<DesiredEdge, InvalidRecord> {
    generation::check(stored.generation).map_err(|reason| InvalidRecord { key: key.to_owned(), reason })?;
    let rules = restore_rules(key, stored.rules)?;
    let wanted = match stored.wanted {
        Some(wanted) => restore_rules(key, wanted)?,
        None => rules.clone(),
    };
    Ok(DesiredEdge {
        generation: stored.generation,
        digest: canonical::rules_digest(rules.values().map(|placed| &*placed.rule)),
        wanted,
        rules,
        rejected: stored
            .rejected
            .into_iter()
            .map(|(name, why)| (name, Rejection { code: why.code, message: why.message }))
            .collect(),
        disabled: restore_rules(key, stored.disabled)?,
        acknowledged: stored.acknowledged,
        before: rules_only(&restore_rules(key, stored.before)?),
        leaving: rules_only(&restore_rules(key, stored.leaving)?),
        confirm_within: stored.confirm_within_ms.map(Duration::from_millis),
        ends: stored.ends,
    })
}
