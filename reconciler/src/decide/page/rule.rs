//! The view `/ui/rules/EDGE/RULE`: one rule with its listeners, its targets and what they carry. Pure.

use jiff::Timestamp;
use schema::name::EdgeName;
use schema::state::RuleState;
use serde_json::Value;

use super::rule_figures::{PortLine, RuleFigures};
use super::rule_line::{cause, edge_href, health, last_known, rule_href, spec_text, state};
use super::rule_targets::TargetLine;
use super::words::{Badge, Moment, count, grouped, lasting};
use crate::decide::drift::Drift;
use crate::decide::render::rule_words::listens;
use crate::decide::statistics::StatsDocument;
use crate::decide::status::target_rows::is_checked;
use crate::decide::status::{EdgeStatus, RuleStatus};

/// Keys of a rule that the view shows in places of their own.
const SHOWN: &[&str] =
    &["name", "description", "owner", "targets", "target", "listen_port", "listen_ports", "listen_address", "balance"];
/// Letters of a setting that are shown; a longer one is in the rule file.
const LONGEST: usize = 200;

/// What the view is made of.
#[derive(Debug, Clone, Copy)]
pub struct RuleDocuments<'a> {
    /// The edge.
    pub edge: &'a EdgeName,
    /// The rule.
    pub rule: &'a RuleStatus,
    /// Its counters, or why there are none.
    pub stats: Result<&'a StatsDocument, &'a str>,
    /// The edge with what deviates on it, where it could be read.
    pub around: Option<&'a EdgeStatus>,
    /// The drift of the rule and of its edge.
    pub drift: &'a [Drift],
}

/// A name with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedValue {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

impl NamedValue {
    /// A name with its value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// Something that a person should know before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleNotice {
    /// `note`, `note-warn` or `note-bad`.
    pub class: &'static str,
    /// In a few words.
    pub title: String,
    /// In a sentence.
    pub text: String,
    /// When it began or ends.
    pub at: Option<Moment>,
    /// Further lines: what differs.
    pub lines: Vec<String>,
}

/// Connections that drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainLine {
    /// Where they came in.
    pub ports: String,
    /// How many.
    pub connections: String,
    /// How long they have at most.
    pub left: String,
    /// When what is left is reset.
    pub ends: Moment,
}

/// The view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSheet {
    /// The edge.
    pub edge: String,
    /// Its view.
    pub edge_href: String,
    /// The rule.
    pub rule: String,
    /// Its view.
    pub href: String,
    /// What it is for.
    pub description: String,
    /// Its state.
    pub state: Badge,
    /// What was known of it last, where its edge is offline; else empty.
    pub last_known: String,
    /// Its health, where it serves.
    pub health: Option<Badge>,
    /// What to know first.
    pub notices: Vec<RuleNotice>,
    /// What it is.
    pub facts: Vec<NamedValue>,
    /// Keys that are not at their defaults.
    pub settings: Vec<NamedValue>,
    /// Its targets.
    pub targets: Vec<TargetLine>,
    /// Connections that drain.
    pub drains: Vec<DrainLine>,
    /// Its counters.
    pub figures: Option<RuleFigures>,
    /// Why there are no counters; empty where there are.
    pub stale: String,
    /// Ports with traffic.
    pub ports: Vec<PortLine>,
    /// How many ports are not shown; empty where none is.
    pub more_ports: String,
    /// Its connections.
    pub connections_href: String,
    /// True if a round of probes can be asked for.
    pub can_check: bool,
    /// True if the tree has it, so that a change of it can be proposed.
    pub is_in_tree: bool,
    /// True if an operator added it for a while.
    pub is_override: bool,
    /// True if its ports are few enough to be part of the stream.
    pub has_live_ports: bool,
}

impl RuleSheet {
    /// The view of these documents.
    pub fn new(documents: RuleDocuments<'_>, now: Timestamp) -> Self {
        let RuleDocuments { edge, rule, stats, around, drift } = documents;
        let figures = stats.ok().map(|stats| RuleFigures::new(stats, now));
        let (ports, more_ports) = stats.map_or_else(|_| (Vec::new(), String::new()), PortLine::all);
        let overrides = around.map(|edge| edge.target_overrides.as_slice()).unwrap_or_default();
        Self {
            edge: edge.to_string(),
            edge_href: edge_href(edge.as_str()),
            rule: rule.rule.to_string(),
            href: rule_href(edge.as_str(), rule.rule.as_str()),
            description: spec_text(rule, "description"),
            state: state(rule),
            last_known: last_known(rule, now).unwrap_or_default(),
            health: health(rule),
            notices: notices(rule, drift, now),
            facts: facts(rule),
            settings: settings(rule),
            targets: TargetLine::all(rule, stats.ok(), overrides, now),
            drains: drains(rule, now),
            figures,
            stale: stats.err().unwrap_or_default().to_owned(),
            ports,
            connections_href: format!("/ui/connections?edge={edge}&rule={}", rule.rule),
            has_live_ports: more_ports.is_empty(),
            can_check: is_checked(&rule.spec) && rule.state == RuleState::Active,
            is_in_tree: rule.origin.is_some() && rule.over.is_none(),
            is_override: rule.over.is_some(),
            more_ports,
        }
    }
}

fn notices(rule: &RuleStatus, drift: &[Drift], now: Timestamp) -> Vec<RuleNotice> {
    let mut notices = Vec::new();
    let cause = cause(rule);
    if !cause.is_empty() {
        let class = if rule.state == RuleState::Active { "note" } else { "note-bad" };
        let title = format!("This rule is {}", rule.last_known());
        notices.push(RuleNotice { class, title, text: cause, at: None, lines: Vec::new() });
    }
    if let Some(held) = &rule.over {
        notices.push(RuleNotice {
            class: "note-warn",
            title: format!("Override by {}", held.actor),
            text: format!("{}. The rule is not in the tree and ends", held.why.trim_end_matches('.')),
            at: Some(Moment::new(held.until, now)),
            lines: Vec::new(),
        });
    }
    for one in drift.iter().filter(|one| one.rule.is_some() && rule.over.is_none()) {
        let line = |change: &schema::spec::FieldChange| {
            format!("{}: applied {}, running {}", change.path, value(&change.before), value(&change.after))
        };
        notices.push(RuleNotice {
            class: "note-warn",
            title: super::drift::title(one.kind),
            text: super::drift::message(one),
            at: None,
            lines: one.fields.iter().map(line).collect(),
        });
    }
    if let Some(limit) = &rule.flow_limit {
        notices.push(RuleNotice {
            class: "note-warn",
            title: "The limit of UDP flows was reached".to_owned(),
            text: format!("{} refused; udp_max_flows raises the limit", count(limit.refused, "new flow")),
            at: limit.last_at.map(|at| Moment::new(at, now)),
            lines: Vec::new(),
        });
    }
    notices
}

fn facts(rule: &RuleStatus) -> Vec<NamedValue> {
    let mut facts = vec![NamedValue::new("Listens", listens(&rule.spec))];
    let balance = if rule.sticky && rule.balance != "source-ip" {
        format!("{}, sticky", rule.balance)
    } else {
        rule.balance.clone()
    };
    facts.push(NamedValue::new("Balance", balance));
    let owner = spec_text(rule, "owner");
    facts.push(NamedValue::new("Owner", if owner.is_empty() { "–".to_owned() } else { owner }));
    let origin = rule.origin.as_ref().map(|origin| format!("{}:{}", origin.file, origin.line));
    facts.push(NamedValue::new("File", origin.unwrap_or_else(|| "–".to_owned())));
    facts.push(NamedValue::new("Health check", check(rule)));
    facts
}

fn check(rule: &RuleStatus) -> String {
    if !is_checked(&rule.spec) {
        return "none, connections decide".to_owned();
    }
    let health = rule.spec.get("health").and_then(Value::as_object);
    let kind = health.and_then(|health| health.get("kind")).and_then(Value::as_str).unwrap_or("tcp");
    let every =
        health.and_then(|health| health.get("interval_secs")).or_else(|| rule.spec.get("health_check_interval_secs"));
    match every.and_then(Value::as_u64) {
        Some(secs) => format!("{kind}, every {secs} s"),
        None => kind.to_owned(),
    }
}

/// Keys that are not at their defaults, tables key by key.
fn settings(rule: &RuleStatus) -> Vec<NamedValue> {
    let mut all = Vec::new();
    for (key, found) in rule.spec.iter().filter(|(key, _)| !SHOWN.contains(&key.as_str())) {
        nested(key, found, &mut all);
    }
    all
}

fn nested(path: &str, found: &Value, all: &mut Vec<NamedValue>) {
    match found {
        Value::Object(table) => {
            for (key, inner) in table {
                nested(&format!("{path}.{key}"), inner, all);
            }
        }
        found => all.push(NamedValue::new(path, value(found))),
    }
}

/// A value as a rule file has it, shortened.
fn value(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(self::value).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

fn drains(rule: &RuleStatus, now: Timestamp) -> Vec<DrainLine> {
    let line = |drain: &crate::decide::live::DrainStatus| DrainLine {
        ports: drain.ports.join(", "),
        connections: grouped(drain.connections),
        left: lasting(drain.ends_at.duration_since(now)),
        ends: Moment::new(drain.ends_at, now),
    };
    rule.draining.iter().map(line).collect()
}

/// The address of a rule, for titles.
pub fn address(page: &RuleSheet) -> String {
    format!("{}/{}", page.edge, page.rule)
}
