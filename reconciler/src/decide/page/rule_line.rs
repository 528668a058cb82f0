//! A rule as a row of a list: its state, where it listens and leads, and why it is as it is. Pure.

use jiff::Timestamp;
use schema::health::{RuleHealth, TargetState};
use schema::name::EdgeName;
use schema::state::RuleState;
use serde_json::Value;

use super::words::{Badge, grouped, relative};
use crate::decide::render::rule_words;
use crate::decide::status::RuleStatus;
use crate::decide::status::target_rows::{owner, spec_targets};

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleLine {
    /// The edge.
    pub edge: String,
    /// Its view.
    pub edge_href: String,
    /// The rule.
    pub rule: String,
    /// Its view.
    pub href: String,
    /// Its state.
    pub state: Badge,
    /// Its health, where it serves.
    pub health: Option<Badge>,
    /// Where it listens.
    pub listens: String,
    /// Its first target.
    pub targets: String,
    /// `+2`: how many more it has; empty where it has no more.
    pub more: String,
    /// All of its targets, where they are more than one.
    pub all_targets: String,
    /// Live connections.
    pub connections: String,
    /// The owner.
    pub owner: String,
    /// Why it is not active, or what else is to be known.
    pub reason: String,
}

impl RuleLine {
    /// A rule of an edge.
    pub fn new(edge: &EdgeName, rule: &RuleStatus, now: Timestamp) -> Self {
        let all = spec_targets(&rule.spec);
        let more = all.len().saturating_sub(1);
        Self {
            edge: edge.to_string(),
            edge_href: edge_href(edge.as_str()),
            rule: rule.rule.to_string(),
            href: rule_href(edge.as_str(), rule.rule.as_str()),
            state: state(rule),
            health: health(rule),
            listens: rule_words::listens(&rule.spec),
            targets: all.first().cloned().unwrap_or_default(),
            more: if more > 0 { format!("+{more}") } else { String::new() },
            all_targets: if more > 0 { all.join(", ") } else { String::new() },
            connections: grouped(rule.connections),
            owner: owner(rule),
            reason: reasons(rule, now),
        }
    }
}

/// The address of the view of a rule.
pub fn rule_href(edge: &str, rule: &str) -> String {
    format!("/ui/rules/{edge}/{rule}")
}

/// The address of the view of an edge.
pub fn edge_href(edge: &str) -> String {
    format!("/ui/edges/{edge}")
}

/// `active`; `draining 5 (12 s)`
pub fn state(rule: &RuleStatus) -> Badge {
    let badge = Badge::of_rule(rule.state);
    if rule.state != RuleState::Draining {
        return badge;
    }
    let left = rule.draining.iter().map(|drain| drain.secs_left).max();
    let left = left.map(|secs| format!(" ({secs} s)")).unwrap_or_default();
    Badge { word: format!("draining {}{left}", rule.connections), ..badge }
}

/// `active 3 min ago`: what was known of a rule whose edge is offline.
pub fn last_known(rule: &RuleStatus, now: Timestamp) -> Option<String> {
    let last = rule.last_state.filter(|_| rule.state == RuleState::Unknown)?;
    Some(match rule.last_state_at {
        Some(at) => format!("{last} {}", relative(now, at)),
        None => "edge offline".to_owned(),
    })
}

/// `up 2/3`, as `portunus rules` has it; a rule that is up without all of its targets is worth a look.
pub fn health(rule: &RuleStatus) -> Option<Badge> {
    let health = rule.health?;
    // Where nothing checks and nothing was met, there is nothing to say.
    let word = Some(rule_words::health(rule)).filter(|word| word != "–")?;
    let is_short = rule.targets.iter().any(|target| target.state == TargetState::Down);
    let badge = match health {
        RuleHealth::Up if is_short => Badge::warn(&word),
        _ if rule.state == RuleState::Unknown => Badge::off(&word),
        _ => Badge::of_health(health),
    };
    Some(Badge { word, ..badge })
}

/// Code and message of its state, what drains beside it, and who put it there without a commit.
fn reasons(rule: &RuleStatus, now: Timestamp) -> String {
    let mut parts: Vec<String> = last_known(rule, now).into_iter().collect();
    let cause = cause(rule);
    if !cause.is_empty() {
        parts.push(cause);
    }
    let drains: u64 = rule.draining.iter().map(|drain| drain.connections).sum();
    if drains > 0 && rule.state != RuleState::Draining {
        parts.push(format!("{} draining", grouped(drains)));
    }
    if let Some(held) = &rule.over {
        parts.push(format!("override by {}, ends {}", held.actor, relative(now, held.until)));
    }
    if rule.wanted.is_some() && rule.state != RuleState::Rejected {
        parts.push("a newer version is not serving yet".to_owned());
    }
    parts.join("; ")
}

/// Why it is as it is, by its edge or the planner.
pub fn cause(rule: &RuleStatus) -> String {
    let parts = [rule.code.as_str(), rule.message.as_str()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}

/// A text of its spec; empty where it is at its default.
pub fn spec_text(rule: &RuleStatus, key: &str) -> String {
    rule.spec.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
