//! Live connections of the fleet: which are meant, how the lists of several edges become one, and the documents. Pure.
//!
//! Keeps: a list is bounded whatever the edges hold, and says how many there are in all.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use schema::bounds::MAX_LISTED;
use schema::name::{EdgeName, RuleName};
use schema::policy::Network;
use schema::proto;
use serde::{Deserialize, Serialize};

use super::selection::{Selection, Sort, Unselected, since};

/// The query parameters of the list of connections.
pub const CONNECTIONS: &[&str] = &[
    "edge", "label", "rule", "owner", "state", "health", "port", "sort", "limit", "since", "id", "source", "target",
    "older",
];
/// What an edge that lists its connections says of itself.
pub const FEATURE: &str = "connections";
/// How many are listed where nobody says how many: a person reads no more.
pub const DEFAULT_LIMIT: usize = 1000;
/// Rules that the line of the ledger names; the others are counted.
const NAMED: usize = 10;

/// Which connections are meant, beside what a [`Selection`] says of their rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionSelection {
    /// This one.
    pub id: Option<String>,
    /// Those from this network.
    pub source: Option<String>,
    /// Those to this `HOST:PORT`.
    pub target: Option<String>,
    /// Those that are at least so old.
    pub older: Option<String>,
}

impl ConnectionSelection {
    /// True if it leaves every connection.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What edges are asked, but for the rules.
    pub fn request(&self, of: &Selection, now: Timestamp) -> Result<proto::ConnectionsRequest, Unselected> {
        of.check(Sort::OF_CONNECTIONS)?;
        if let Some(text) = &self.source
            && let Err(error) = text.parse::<Network>()
        {
            return Err(Unselected::Invalid(format!("source: {error}")));
        }
        let is_target = |text: &str| text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if let Some(text) = self.target.as_deref().filter(|text| !is_target(text)) {
            return Err(Unselected::Invalid(format!("target `{text}`: expected HOST:PORT")));
        }
        let limit = of.limit.unwrap_or(DEFAULT_LIMIT);
        if limit > MAX_LISTED {
            return Err(Unselected::Invalid(format!("limit: at most {MAX_LISTED} connections are listed")));
        }
        let millis = |at: Timestamp| u64::try_from(now.duration_since(at).as_millis()).unwrap_or_default();
        let older = self.older.as_deref().map(|text| since(text, now)).transpose();
        let older = older.map_err(|error| Unselected::Invalid(error.to_string().replacen("since", "older", 1)))?;
        Ok(proto::ConnectionsRequest {
            id: self.id.clone().unwrap_or_default(),
            source: self.source.clone().unwrap_or_default(),
            target: self.target.clone().unwrap_or_default(),
            listen_port: of.port.unwrap_or_default().into(),
            older_ms: older.map(millis).unwrap_or_default(),
            younger_ms: of.from(now)?.map(millis).map_or(0, |most| most.max(1)),
            order: order(of.sort).into(),
            limit: limit as u32,
            ..proto::ConnectionsRequest::default()
        })
    }

    /// `--source 10.0.0.0/8 --older 10m`
    pub fn in_words(&self) -> String {
        let all = [("id", &self.id), ("source", &self.source), ("target", &self.target), ("older", &self.older)];
        let words = all.iter().filter_map(|(name, value)| Some(format!("--{name} {}", value.as_ref()?)));
        words.collect::<Vec<_>>().join(" ")
    }
}

const fn order(sort: Option<Sort>) -> proto::ConnectionOrder {
    match sort {
        Some(Sort::Age) => proto::ConnectionOrder::Age,
        Some(Sort::Bytes) => proto::ConnectionOrder::Bytes,
        _ => proto::ConnectionOrder::Name,
    }
}

/// One live connection or flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionRow {
    /// Its name, for `connections end --id`.
    pub id: String,
    /// The edge.
    pub edge: EdgeName,
    /// The rule that owns its listener.
    pub rule: RuleName,
    /// `tcp` or `udp`
    pub protocol: String,
    /// `IP:PORT` of the client.
    pub source: String,
    /// Where it came in: `IP:PORT`, or `*:PORT` on all addresses.
    pub listener: String,
    /// `HOST:PORT` of the target that serves it, or is being dialled.
    pub target: String,
    /// When it came.
    pub since: Timestamp,
    /// Bytes from the client to the target.
    pub bytes_in: u64,
    /// Bytes from the target to the client.
    pub bytes_out: u64,
    /// How long nothing has moved.
    pub idle_secs: u64,
    /// A change has taken its listener or its target: it ends with its drain.
    pub draining: bool,
}

impl ConnectionRow {
    /// As an edge told it; `None` for what is not the name of a rule.
    fn from_wire(edge: &EdgeName, live: proto::LiveConnection, now: Timestamp) -> Option<Self> {
        let protocol = if live.protocol() == proto::Protocol::Udp { "udp" } else { "tcp" };
        Some(Self {
            id: live.id,
            edge: edge.clone(),
            rule: RuleName::new(&live.rule).ok()?,
            protocol: protocol.to_owned(),
            source: live.source,
            listener: live.listener,
            target: live.target,
            since: began(live.age_ms, now),
            bytes_in: live.bytes_in,
            bytes_out: live.bytes_out,
            idle_secs: live.idle_ms / 1000,
            draining: live.drains,
        })
    }
}

/// When a connection of that age came, to the millisecond.
fn began(age_ms: u64, now: Timestamp) -> Timestamp {
    let at = i64::try_from(age_ms).ok().and_then(|age| now.as_millisecond().checked_sub(age));
    at.and_then(|at| Timestamp::from_millisecond(at).ok()).unwrap_or(now)
}

/// An edge that was asked and gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnansweredEdge {
    /// The edge.
    pub edge: EdgeName,
    /// Why, as a code.
    pub code: String,
    /// In words.
    pub message: String,
}

/// Connections of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleConnections {
    /// The edge.
    pub edge: EdgeName,
    /// The rule.
    pub rule: RuleName,
    /// How many.
    pub connections: u64,
}

/// The connections of several edges in one order.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Those that come first.
    pub connections: Vec<ConnectionRow>,
    /// How many were meant, by rule.
    pub rules: BTreeMap<(EdgeName, RuleName), u64>,
    /// Edges without an answer.
    pub unanswered: Vec<UnansweredEdge>,
}

impl Gathered {
    /// Takes in the answer of an edge.
    pub fn add(&mut self, edge: &EdgeName, report: proto::ConnectionsReport, of: &Selection, now: Timestamp) {
        for counted in report.rules {
            if let Ok(rule) = RuleName::new(&counted.rule) {
                *self.rules.entry((edge.clone(), rule)).or_default() += counted.connections;
            }
        }
        let rows = report.connections.into_iter().filter_map(|live| ConnectionRow::from_wire(edge, live, now));
        self.connections.extend(rows);
        let place = |row: &ConnectionRow| (row.edge.clone(), row.rule.clone(), row.since, row.id.clone());
        match of.sort {
            Some(Sort::Age) => self.connections.sort_by_cached_key(|row| (row.since, place(row))),
            Some(Sort::Bytes) => {
                let bytes = |row: &ConnectionRow| row.bytes_in.saturating_add(row.bytes_out);
                self.connections.sort_by_cached_key(|row| (Reverse(bytes(row)), place(row)));
            }
            _ => self.connections.sort_by_cached_key(place),
        }
        self.connections.truncate(of.limit.unwrap_or(DEFAULT_LIMIT));
    }

    /// How many there are in all.
    pub fn total(&self) -> u64 {
        self.rules.values().sum()
    }

    /// The same by rule, in the order of their names.
    pub fn by_rule(&self) -> Vec<RuleConnections> {
        let row = |((edge, rule), connections): (&(EdgeName, RuleName), &u64)| RuleConnections {
            edge: edge.clone(),
            rule: rule.clone(),
            connections: *connections,
        };
        self.rules.iter().map(row).collect()
    }
}

/// The line of the ledger about connections that an operator ends. It begins with the address of a rule.
pub fn note(rules: &[RuleConnections], selectors: &str) -> String {
    let count = |connections: u64| if connections == 1 { "connection" } else { "connections" };
    let named = rules.iter().take(NAMED);
    let named: Vec<String> =
        named.map(|row| format!("{}/{} {} {}", row.edge, row.rule, row.connections, count(row.connections))).collect();
    let mut note = named.join(", ");
    match rules.len().saturating_sub(NAMED) {
        0 => {}
        1 => note.push_str(" and 1 more rule"),
        more => note.extend([" and ", &more.to_string(), " more rules"]),
    }
    if !selectors.is_empty() {
        note.extend([" (", selectors, ")"]);
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(name: &str) -> EdgeName {
        EdgeName::new(name).expect("a name")
    }

    fn live(rule: &str, age_ms: u64, bytes: u64) -> proto::LiveConnection {
        let rule = rule.to_owned();
        proto::LiveConnection { id: format!("{rule}{age_ms}"), rule, age_ms, bytes_in: bytes, ..Default::default() }
    }

    fn answer(lives: &[proto::LiveConnection]) -> proto::ConnectionsReport {
        let count = |rule: &str| proto::RuleConnections { rule: rule.to_owned(), connections: 1 };
        let rules = lives.iter().map(|live| count(&live.rule)).collect();
        proto::ConnectionsReport { rules, connections: lives.to_vec(), ..proto::ConnectionsReport::default() }
    }

    #[test]
    fn the_lists_of_several_edges_are_one_in_the_order_that_was_asked_for() {
        let now = Timestamp::from_second(1_000_000).expect("a time");
        let ids = |sort: Option<Sort>, limit: Option<usize>| {
            let of = Selection { sort, limit, ..Selection::default() };
            let mut all = Gathered::default();
            all.add(&edge("b"), answer(&[live("web", 5_000, 1), live("dns", 9_000, 3)]), &of, now);
            all.add(&edge("a"), answer(&[live("web", 7_000, 2)]), &of, now);
            assert_eq!(all.total(), 3, "a limit leaves out no count");
            all.connections.into_iter().map(|row| row.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(None, None), ["web7000", "dns9000", "web5000"]);
        assert_eq!(ids(Some(Sort::Age), None), ["dns9000", "web7000", "web5000"]);
        assert_eq!(ids(Some(Sort::Bytes), Some(2)), ["dns9000", "web7000"]);
    }

    #[test]
    fn selectors_are_checked_before_an_edge_is_asked() {
        let now = Timestamp::from_second(1_000_000).expect("a time");
        let of = |source: &str, target: &str, older: &str| ConnectionSelection {
            source: Some(source.to_owned()),
            target: Some(target.to_owned()),
            older: Some(older.to_owned()),
            id: None,
        };
        let asked = of("10.0.0.0/8", "h:1", "10m").request(&Selection::default(), now).expect("a request");
        assert_eq!((asked.older_ms, asked.younger_ms, asked.limit), (600_000, 0, 1000));
        for wrong in [of("10.0.0.1/8", "h:1", "1m"), of("10.0.0.0/8", "h", "1m"), of("10.0.0.0/8", "h:1", "old")] {
            assert!(matches!(wrong.request(&Selection::default(), now), Err(Unselected::Invalid(_))), "{wrong:?}");
        }
        let many = Selection { limit: Some(MAX_LISTED + 1), ..Selection::default() };
        assert!(ConnectionSelection::default().request(&many, now).is_err());
        let since = Selection { since: Some("30s".to_owned()), ..Selection::default() };
        assert_eq!(ConnectionSelection::default().request(&since, now).expect("a request").younger_ms, 30_000);
    }

    #[test]
    fn a_line_of_the_ledger_begins_with_a_rule_and_counts_what_it_does_not_name() {
        let row = |rule: String, connections| RuleConnections {
            edge: edge("a"),
            rule: RuleName::new(&rule).expect("a name"),
            connections,
        };
        let one = [row("web".to_owned(), 1)];
        assert_eq!(note(&one, "--older 10m"), "a/web 1 connection (--older 10m)");
        let many: Vec<_> = (0..12).map(|index| row(format!("r{index}"), 2)).collect();
        assert!(note(&many, "").ends_with("a/r9 2 connections and 2 more rules"), "{}", note(&many, ""));
    }
}
