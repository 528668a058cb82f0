//! The documents of the API as rows of a screen. Pure.
//!
//! Keeps: only the rows that are visible become text.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reconciler::act::operator::documents::RuleRow;
use reconciler::decide::connections::ConnectionRow;
use reconciler::decide::statistics::RatesDocument;
use reconciler::decide::status::EdgeStatus;
use reconciler::decide::status::target_rows::spec_targets;
use reconciler::decide::target_totals::TargetRow;
use schema::health::TargetState;
use schema::name::{EdgeName, RuleAddress};

use super::marks;
use super::table::{Cell, Column, Tone, number, text};
use super::view::View;
use crate::render::words::{ago, bytes, joined, lasting};
use crate::render::{rule_words, target_list};

/// What a row is, so that it is found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Edge(EdgeName),
    Rule(RuleAddress),
    Target(RuleAddress, String),
    Connection(RuleAddress, String),
    Event(u64),
}

impl Key {
    /// The rule that the row is about.
    pub(crate) const fn rule(&self) -> Option<&RuleAddress> {
        match self {
            Self::Rule(rule) | Self::Target(rule, _) | Self::Connection(rule, _) => Some(rule),
            Self::Edge(_) | Self::Event(_) => None,
        }
    }
}

/// An event as a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventLine {
    /// Its number on the server.
    pub(crate) id: u64,
    /// When the server noticed it.
    pub(crate) at: Timestamp,
    /// Its kind and what happened.
    pub(crate) words: String,
    /// How bad it is.
    pub(crate) tone: Tone,
}

/// The rows of a view, as documents.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    Edges(Vec<EdgeStatus>),
    /// With the rates of those rules whose edges said something.
    Rules(Vec<RuleRow>, BTreeMap<RuleAddress, RatesDocument>),
    Targets(Vec<TargetRow>),
    Connections(Vec<ConnectionRow>),
    /// A text.
    Lines(Vec<Vec<Cell>>),
    /// The newest first.
    Events(Vec<EventLine>),
}

impl Default for Rows {
    fn default() -> Self {
        Self::Lines(Vec::new())
    }
}

/// The columns of a view.
pub(crate) const fn columns(view: View) -> &'static [Column] {
    const EDGES: [Column; 9] = [
        text("EDGE", 0),
        text("STATE", 1),
        number("RULES", 1),
        text("TROUBLE", 2),
        number("CONNS", 3),
        text("GENERATION", 6),
        text("LAST SEEN", 4),
        text("VERSION", 8),
        text("ADDRESS", 9),
    ];
    const RULES: [Column; 9] = [
        text("RULE", 0),
        text("STATE", 2),
        text("HEALTH", 1),
        text("LISTENS", 4),
        text("TARGET", 7),
        number("CONNS", 3),
        number("IN/S", 3),
        number("OUT/S", 3),
        text("REASON", 6),
    ];
    const TARGETS: [Column; 6] = [
        text("RULE", 0),
        text("TARGET", 1),
        text("STATE", 1),
        text("SINCE", 3),
        number("WEIGHT", 4),
        text("LAST RESULT", 5),
    ];
    const CONNECTIONS: [Column; 8] = [
        text("RULE", 0),
        text("SOURCE", 1),
        text("TARGET", 3),
        text("SINCE", 2),
        number("IN", 2),
        number("OUT", 2),
        text("IDLE", 4),
        text("LISTENER", 6),
    ];
    match view {
        View::Edges => &EDGES,
        View::Rules => &RULES,
        View::Targets => &TARGETS,
        View::Connections => &CONNECTIONS,
        View::Plan | View::Events => &[],
    }
}

impl Rows {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Edges(rows) => rows.len(),
            Self::Rules(rows, _) => rows.len(),
            Self::Targets(rows) => rows.len(),
            Self::Connections(rows) => rows.len(),
            Self::Lines(rows) => rows.len(),
            Self::Events(rows) => rows.len(),
        }
    }

    /// What a row is.
    pub(crate) fn key(&self, index: usize) -> Option<Key> {
        let address = |edge: &EdgeName, rule| RuleAddress { edge: edge.clone(), rule };
        Some(match self {
            Self::Edges(rows) => Key::Edge(rows.get(index)?.name.clone()),
            Self::Rules(rows, _) => {
                let row = rows.get(index)?;
                Key::Rule(address(&row.edge, row.status.rule.clone()))
            }
            Self::Targets(rows) => {
                let row = rows.get(index)?;
                Key::Target(address(&row.edge, row.rule.clone()), row.target.target.clone())
            }
            Self::Connections(rows) => {
                let row = rows.get(index)?;
                Key::Connection(address(&row.edge, row.rule.clone()), row.id.clone())
            }
            Self::Events(rows) => Key::Event(rows.get(index)?.id),
            Self::Lines(_) => return None,
        })
    }

    /// Where a row is.
    pub(crate) fn position(&self, key: &Key) -> Option<usize> {
        (0..self.len()).find(|index| self.key(*index).as_ref() == Some(key))
    }

    /// The cells of a row.
    pub(crate) fn cells(&self, index: usize, now: Timestamp) -> Vec<Cell> {
        let cells = match self {
            Self::Edges(rows) => rows.get(index).map(|row| edge(row, now)),
            Self::Rules(rows, rates) => rows.get(index).map(|row| {
                let address = RuleAddress { edge: row.edge.clone(), rule: row.status.rule.clone() };
                rule(row, rates.get(&address), now)
            }),
            Self::Targets(rows) => rows.get(index).map(|row| target(row, now)),
            Self::Connections(rows) => rows.get(index).map(|row| connection(row, now)),
            Self::Lines(rows) => rows.get(index).cloned(),
            Self::Events(rows) => rows.get(index).map(event),
        };
        cells.unwrap_or_default()
    }
}

fn edge(edge: &EdgeStatus, now: Timestamp) -> Vec<Cell> {
    let is_behind = edge.generation != edge.desired_generation;
    let (mark, word, tone) = marks::of_edge(edge.connected, edge.revoked, is_behind);
    let generation = if is_behind {
        format!("{} of {}", edge.generation, edge.desired_generation)
    } else {
        edge.generation.to_string()
    };
    let seen = match (edge.connected, edge.last_seen) {
        (true, _) => Cell::new("now", Tone::Faint),
        (false, Some(at)) => Cell::new(&ago(at, now), Tone::Warn),
        // It has joined, and not come back since the server started.
        (false, None) if edge.certificate_expires_at.is_some() => Cell::new("–", Tone::Warn),
        (false, None) => Cell::new("never", Tone::Warn),
    };
    let sums = super::details::sums(edge);
    vec![
        Cell::new(edge.name.as_str(), Tone::Strong),
        Cell::new(&format!("{mark} {word}"), tone),
        Cell::plain(&sums.rules.to_string()),
        Cell::new(&sums.trouble, Tone::Bad),
        Cell::plain(&sums.connections.to_string()),
        Cell::new(&generation, if is_behind { Tone::Warn } else { Tone::Plain }),
        seen,
        Cell::new(&edge.version, Tone::Faint),
        Cell::new(&edge.address, Tone::Faint),
    ]
}

fn rule(row: &RuleRow, rates: Option<&RatesDocument>, now: Timestamp) -> Vec<Cell> {
    let status = &row.status;
    let (mark, tone) = marks::of_rule(status.state);
    let rate = |rate: fn(&RatesDocument) -> f64| {
        let value = rates.map_or(0.0, rate);
        Cell::new(&bytes(value.max(0.0) as u64), if value > 0.0 { Tone::Plain } else { Tone::Faint })
    };
    vec![
        Cell::new(&format!("{}/{}", row.edge, status.rule), Tone::Strong),
        Cell::new(&format!("{mark} {}", rule_words::state(status, now)), tone),
        marks::of_health(&rule_words::health(status)),
        Cell::plain(&rule_words::listens(&status.spec)),
        Cell::new(&spec_targets(&status.spec).join(", "), Tone::Faint),
        Cell::plain(&status.connections.to_string()),
        rate(|rates| rates.bytes_in_per_sec),
        rate(|rates| rates.bytes_out_per_sec),
        Cell::new(&rule_words::reason(status), Tone::Warn),
    ]
}

fn target(row: &TargetRow, now: Timestamp) -> Vec<Cell> {
    let target = &row.target;
    let words = target_list::state(row);
    let (mark, tone) = if words == "–" { ("", Tone::Faint) } else { marks::of_target(target.state) };
    let last = target.last.as_ref().map(|last| joined(&[&last.code, &last.detail])).unwrap_or_default();
    let last_tone = if target.state == TargetState::Down { Tone::Bad } else { Tone::Faint };
    vec![
        Cell::new(&format!("{}/{}", row.edge, row.rule), Tone::Strong),
        Cell::plain(&target.target),
        Cell::new(format!("{mark} {words}").trim_start(), tone),
        Cell::plain(&target.since.map(|at| ago(at, now)).unwrap_or_default()),
        Cell::plain(&target.weight.to_string()),
        Cell::new(&last, last_tone),
    ]
}

fn connection(row: &ConnectionRow, now: Timestamp) -> Vec<Cell> {
    let protocol = if row.protocol == "udp" { "/udp" } else { "" };
    let (drains, tone) = if row.draining { (" ● draining", Tone::Warn) } else { ("", Tone::Plain) };
    vec![
        Cell::new(&format!("{}/{}", row.edge, row.rule), Tone::Strong),
        Cell::plain(&row.source),
        Cell::plain(&row.target),
        Cell::new(&format!("{}{drains}", ago(row.since, now)), tone),
        Cell::plain(&bytes(row.bytes_in)),
        Cell::plain(&bytes(row.bytes_out)),
        Cell::new(&lasting(row.idle_secs), Tone::Faint),
        Cell::new(&format!("{}{protocol}", row.listener), Tone::Faint),
    ]
}

fn event(event: &EventLine) -> Vec<Cell> {
    // The day matters only once it is another one; the server keeps events of hours.
    let clock = event.at.strftime("%H:%M:%SZ").to_string();
    vec![Cell::new(&format!("{clock}  "), Tone::Faint), Cell::new(&event.words, event.tone)]
}
