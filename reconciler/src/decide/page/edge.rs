//! The view `/ui/edges/EDGE`: one edge, what it can do, and its rules. Pure.

use jiff::Timestamp;
use schema::name::EdgeName;
use serde_json::Value;

use super::edges::{generation, has_joined, labels, state};
use super::filter::Pager;
use super::query::ViewQuery;
use super::rule::{NamedValue, RuleNotice};
use super::rule_line::{RuleLine, rule_href};
use super::words::{Badge, Moment, grouped};
use crate::decide::drift::{Drift, DriftKind};
use crate::decide::status::{EdgeStatus, RuleStatus};
use crate::decide::view::Confirmation;

/// A deviation that an operator ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviationLine {
    /// The rule.
    pub rule: String,
    /// Its view.
    pub href: String,
    /// The target.
    pub target: String,
    /// What.
    pub what: String,
    /// Who.
    pub actor: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: Moment,
    /// Until when, if it ends.
    pub until: Option<Moment>,
}

/// The view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeSheet {
    /// Its name.
    pub name: String,
    /// Connected or not.
    pub state: Badge,
    /// Since when.
    pub since: Option<Moment>,
    /// When it was heard last.
    pub last_seen: Option<Moment>,
    /// When its certificate ends.
    pub certificate: Option<Moment>,
    /// What to know first.
    pub notices: Vec<RuleNotice>,
    /// What it is.
    pub facts: Vec<NamedValue>,
    /// Its labels.
    pub labels: Vec<String>,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// True where it was never heard, so that its capabilities are not known.
    pub is_unheard: bool,
    /// What it reported of its bounds.
    pub limits: Vec<NamedValue>,
    /// What its owner allows.
    pub policy: Vec<NamedValue>,
    /// A page of its rules.
    pub rules: Vec<RuleLine>,
    /// The other pages.
    pub pager: Pager,
    /// Targets that operators steered.
    pub deviations: Vec<DeviationLine>,
    /// True if the operator may end its membership.
    pub may_revoke: bool,
    /// True if it can be forgotten: it is offline.
    pub may_forget: bool,
}

/// What the view is made of.
#[derive(Debug, Clone, Copy)]
pub struct EdgeDocuments<'a> {
    /// The edge, with its deviations.
    pub edge: &'a EdgeStatus,
    /// A page of its rules.
    pub rules: &'a [(EdgeName, RuleStatus)],
    /// How many rules it has.
    pub total: u64,
    /// Its drift.
    pub drift: &'a [Drift],
    /// True if the operator manages edges.
    pub is_admin: bool,
}

impl EdgeSheet {
    /// The view of these documents.
    pub fn new(query: &ViewQuery, documents: EdgeDocuments<'_>, now: Timestamp) -> Self {
        let EdgeDocuments { edge, rules, total, drift, is_admin } = documents;
        let moment = |at: Option<Timestamp>| at.map(|at| Moment::new(at, now));
        let path = super::rule_line::edge_href(edge.name.as_str());
        Self {
            name: edge.name.to_string(),
            state: state(edge),
            since: moment(edge.since),
            last_seen: moment(edge.last_seen),
            certificate: moment(edge.certificate_expires_at),
            notices: notices(edge, drift),
            facts: facts(edge),
            labels: labels(edge),
            capabilities: edge.capabilities.clone().unwrap_or_default(),
            is_unheard: edge.capabilities.is_none(),
            limits: limits(edge),
            policy: policy(edge),
            rules: rules.iter().map(|(name, rule)| RuleLine::new(name, rule, now)).collect(),
            pager: Pager::new(&path, query, (rules.len() as u64, total), "rule"),
            deviations: deviations(edge, now),
            may_revoke: is_admin && !edge.revoked,
            may_forget: is_admin && !edge.connected,
        }
    }
}

fn notices(edge: &EdgeStatus, drift: &[Drift]) -> Vec<RuleNotice> {
    let mut notices = Vec::new();
    let mut add = |class, title: &str, text: &str| {
        notices.push(RuleNotice { class, title: title.to_owned(), text: text.to_owned(), at: None, lines: Vec::new() });
    };
    if edge.revoked {
        add("note-bad", "Revoked", "the edge keeps forwarding its last state and can rejoin only with a new URI");
    } else if !edge.connected && has_joined(edge) {
        add(
            "note-warn",
            "Offline",
            "the edge keeps forwarding its last state, unless it has stopped; what is shown is the last that was reported",
        );
    }
    let trial = match edge.confirmation {
        Confirmation::None => None,
        Confirmation::Awaited => {
            Some(("Unconfirmed", "the edge reverts its last change unless it is confirmed in time"))
        }
        Confirmation::Missed => {
            Some(("Reverted", "the change was not confirmed in time, so the edge runs its previous state"))
        }
    };
    if let Some((title, text)) = trial {
        add("note-warn", title, text);
    }
    let of_edge = drift.iter().filter(|one| one.rule.is_none() && one.kind != DriftKind::EdgeOffline);
    for one in of_edge {
        add("note-warn", &super::drift::title(one.kind), &super::drift::message(one));
    }
    notices
}

fn facts(edge: &EdgeStatus) -> Vec<NamedValue> {
    let or_dash = |text: &str| if text.is_empty() { "–".to_owned() } else { text.to_owned() };
    let mut facts =
        vec![NamedValue::new("Generation", generation(edge)), NamedValue::new("Version", or_dash(&edge.version))];
    facts.push(NamedValue::new("Address", or_dash(&edge.address)));
    if !edge.own_listeners.is_empty() {
        facts.push(NamedValue::new("Own listeners", edge.own_listeners.join(", ")));
    }
    if !edge.ephemeral_ports.is_empty() {
        facts.push(NamedValue::new("Ephemeral ports", edge.ephemeral_ports.join(", ")));
    }
    if let Some(digest) = edge.digest {
        facts.push(NamedValue::new("Running digest", digest.short()));
    }
    facts
}

fn limits(edge: &EdgeStatus) -> Vec<NamedValue> {
    let limits = edge.limits;
    [
        ("Rules", u64::from(limits.rules)),
        ("Ports of a range", limits.ports_per_range.into()),
        ("Listener descriptors", limits.file_descriptors),
    ]
    .into_iter()
    .filter(|(_, number)| *number > 0)
    .map(|(name, number)| NamedValue::new(name, format!("at most {}", grouped(number))))
    .collect()
}

/// The keys of its policy as its file has them.
fn policy(edge: &EdgeStatus) -> Vec<NamedValue> {
    let Some(policy) = &edge.policy else { return Vec::new() };
    let document = serde_json::to_value(policy).unwrap_or_default();
    let text = |value: &Value| match value {
        Value::Array(all) if all.is_empty() => "nothing".to_owned(),
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let all = document.as_object().into_iter().flatten();
    let all = all.filter(|(_, value)| **value != Value::Bool(false));
    all.map(|(key, value)| NamedValue::new(key.as_str(), text(value))).collect()
}

fn deviations(edge: &EdgeStatus, now: Timestamp) -> Vec<DeviationLine> {
    let line = |each: &crate::decide::target_override::TargetOverride| DeviationLine {
        rule: each.rule.to_string(),
        href: rule_href(edge.name.as_str(), each.rule.as_str()),
        target: each.target.clone(),
        what: each.deviation.in_words(),
        actor: each.actor.clone(),
        why: each.why.clone(),
        since: Moment::new(each.since, now),
        until: each.until.map(|at| Moment::new(at, now)),
    };
    edge.target_overrides.iter().map(line).collect()
}
