//! The view `/ui/connections`: who is connected now, and what ending them would end. Pure.

use jiff::{SignedDuration, Timestamp};

use super::filter::FilterForm;
use super::query::ViewQuery;
use super::rule_line::rule_href;
use super::rules::hidden_in_words;
use super::words::{Moment, bytes, count, grouped, lasting};
use crate::decide::connections::{ConnectionRow, RuleConnections, UnansweredEdge};

/// The path of the view.
pub const PATH: &str = "/ui/connections";
/// The path of the question before connections are ended.
pub const END_PATH: &str = "/ui/connections/end";
/// Parameters that leave every connection in the list.
pub const ORDER: &[&str] = &["sort", "limit"];
/// Connections that are shown where nobody says how many.
pub const ROWS: &str = "100";

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLine {
    /// Its rule, as `EDGE/RULE`.
    pub rule: String,
    /// The view of the rule.
    pub rule_href: String,
    /// The client.
    pub source: String,
    /// Where it came in.
    pub listener: String,
    /// Its target.
    pub target: String,
    /// Since when.
    pub since: Moment,
    /// Bytes from the client.
    pub bytes_in: String,
    /// Bytes to the client.
    pub bytes_out: String,
    /// How long nothing has moved.
    pub idle: String,
    /// True if it ends with its drain.
    pub is_draining: bool,
    /// The question before it is ended.
    pub end_href: String,
}

impl ConnectionLine {
    fn new(row: &ConnectionRow, now: Timestamp) -> Self {
        let protocol = if row.protocol == "udp" { "/udp" } else { "" };
        let query = ViewQuery::default().with("edge", row.edge.as_str()).with("rule", row.rule.as_str());
        Self {
            rule: format!("{}/{}", row.edge, row.rule),
            rule_href: rule_href(row.edge.as_str(), row.rule.as_str()),
            source: row.source.clone(),
            listener: format!("{}{protocol}", row.listener),
            target: row.target.clone(),
            since: Moment::new(row.since, now),
            bytes_in: bytes(row.bytes_in),
            bytes_out: bytes(row.bytes_out),
            idle: lasting(SignedDuration::from_secs(i64::try_from(row.idle_secs).unwrap_or(i64::MAX))),
            is_draining: row.draining,
            end_href: query.with("id", &row.id).on(END_PATH),
        }
    }
}

/// What edges answered.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionAnswers<'a> {
    /// Those that come first.
    pub rows: &'a [ConnectionRow],
    /// How many match.
    pub total: u64,
    /// How many rules the operator does not see.
    pub hidden: u64,
    /// Edges that did not answer.
    pub unanswered: &'a [UnansweredEdge],
}

/// The view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionsView {
    /// What is asked for.
    pub filter: FilterForm,
    /// Those that come first.
    pub rows: Vec<ConnectionLine>,
    /// How many there are, and how many are shown.
    pub text: String,
    /// How much the operator does not see; empty where it sees all.
    pub hidden: String,
    /// Edges that did not answer, each with why.
    pub unanswered: Vec<String>,
    /// What stands in the place of rows, where there are none.
    pub empty: String,
    /// The question before everything that is shown is ended; empty where nothing says which connections are meant.
    pub end_all: Option<String>,
}

impl ConnectionsView {
    /// The view of what edges answered; `may_end` if the operator may end connections.
    pub fn new(query: &ViewQuery, answers: ConnectionAnswers<'_>, may_end: bool, now: Timestamp) -> Self {
        let filter = filter(query);
        let rows: Vec<ConnectionLine> = answers.rows.iter().map(|row| ConnectionLine::new(row, now)).collect();
        let shown = rows.len() as u64;
        let text = if shown == answers.total {
            count(answers.total, "connection")
        } else {
            format!("{}, of which {} are shown", count(answers.total, "connection"), grouped(shown))
        };
        let empty = match (rows.is_empty(), filter.is_used, answers.unanswered.is_empty()) {
            (false, ..) => "",
            (true, _, false) => "No edge that answered has a matching connection.",
            (true, true, true) => "No live connection matches. Remove a filter to see more.",
            (true, false, true) => "There are no live connections.",
        };
        let of_all = query.without(ORDER);
        let end_all = (may_end && filter.is_used && answers.total > 0).then(|| of_all.on(END_PATH));
        Self {
            rows,
            text,
            hidden: hidden_in_words(answers.hidden),
            unanswered: unanswered(answers.unanswered),
            empty: empty.to_owned(),
            end_all,
            filter,
        }
    }
}

fn unanswered(edges: &[UnansweredEdge]) -> Vec<String> {
    edges.iter().map(|edge| format!("{}: {} ({})", edge.edge, edge.message, edge.code)).collect()
}

fn filter(query: &ViewQuery) -> FilterForm {
    FilterForm::new(PATH, query, ORDER)
        .text(query, ("edge", "Edge", "fra-*"))
        .text(query, ("rule", "Rule", "web-*"))
        .text(query, ("owner", "Owner", "team-web"))
        .text(query, ("source", "From network", "10.0.0.0/8"))
        .text(query, ("target", "Target", "10.0.0.5:443"))
        .text(query, ("port", "Listens on port", "443"))
        .text(query, ("older", "At least as old as", "10m"))
        .select(query, ("sort", "Order"), &[("", "most bytes first"), ("age", "oldest first"), ("name", "by rule")])
        .select(query, ("limit", "Rows"), &[("", ROWS), ("500", "500"), ("1000", "1,000")])
}

/// What is asked before connections are ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndingView {
    /// What would be ended.
    pub text: String,
    /// The same by rule: the rule with how many.
    pub rules: Vec<(String, String)>,
    /// Rules that are not named; empty where all are.
    pub more: String,
    /// The connections themselves, as far as they are few.
    pub rows: Vec<ConnectionLine>,
    /// Edges that did not answer.
    pub unanswered: Vec<String>,
    /// What the form carries on.
    pub fields: Vec<(String, String)>,
    /// The list that it leads back to.
    pub back: String,
}

/// Rules that the question names.
const NAMED_RULES: usize = 20;
/// Connections that the question lists.
const LISTED: usize = 10;

impl EndingView {
    /// The question about these connections.
    pub fn new(query: &ViewQuery, answers: ConnectionAnswers<'_>, rules: &[RuleConnections], now: Timestamp) -> Self {
        let named = rules.iter().take(NAMED_RULES);
        let more = rules.len().saturating_sub(NAMED_RULES);
        let fields = query.without(ORDER);
        Self {
            text: count(answers.total, "connection"),
            rules: named
                .map(|row| (format!("{}/{}", row.edge, row.rule), count(row.connections, "connection")))
                .collect(),
            more: if more == 0 { String::new() } else { format!("and {}", count(more as u64, "more rule")) },
            rows: answers.rows.iter().take(LISTED).map(|row| ConnectionLine::new(row, now)).collect(),
            unanswered: unanswered(answers.unanswered),
            back: fields.without(&["id"]).on(PATH),
            fields: fields.pairs().to_vec(),
        }
    }
}
