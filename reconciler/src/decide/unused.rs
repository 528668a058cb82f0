//! Rules and ports that nobody used for so long, and who used a rule: what edges remember, as documents. Pure.
//!
//! Keeps: what is younger than the time that was asked about is never called unused without its age beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schema::name::{EdgeName, RuleName};
use schema::net::PortRange;
use schema::proto;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::connections::UnansweredEdge;
use super::selection::Row;
use super::status::target_rows::owner;
use super::target::time_from_wire;

/// The query parameters of the list.
pub const UNUSED: &[&str] = &["edge", "label", "rule", "owner", "state", "health", "port", "limit", "for"];
/// What an edge that remembers uses says of itself.
pub const FEATURE: &str = "usage";
/// Networks that a plan names for each change.
pub const SOURCES: usize = 5;

/// A rule without a connection for so long, or some of its ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnusedRow {
    /// The edge.
    pub edge: EdgeName,
    /// The rule.
    pub rule: RuleName,
    /// Its owner.
    pub owner: String,
    /// The unused ports, as `PORT` or `LO-HI`; all ports of the rule where it is unused as a whole.
    pub ports: Vec<String>,
    /// True if no port of the rule was used.
    pub whole: bool,
    /// When the last connection of the rule came; none if there was none since the edge has the rule.
    pub last_connection_at: Option<Timestamp>,
    /// Since when the edge has the rule.
    pub since: Option<Timestamp>,
    /// How long that is.
    pub age_secs: u64,
    /// True if that is less than what was asked about: the rule had no chance to be used for so long.
    pub younger: bool,
}

/// The list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnusedDocument {
    /// See `decide::plan::FORMAT_VERSION`.
    pub format_version: String,
    /// `unused`
    pub kind: String,
    /// How long nobody may have used what is listed.
    pub for_secs: u64,
    /// How many rules are left out because the operator may not see them.
    #[serde(default, skip_serializing_if = "crate::decide::is_zero")]
    pub hidden: u64,
    /// Edges that did not answer: their rules are not in the list.
    pub unanswered: Vec<UnansweredEdge>,
    /// By edge and rule.
    pub rules: Vec<UnusedRow>,
}

/// Where connections of the last 24 hours came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImpactSource {
    /// An IPv4 network of 24 bits or an IPv6 network of 48, in CIDR form.
    pub network: String,
    /// How many connections came from it.
    pub connections: u64,
    /// When the last one came.
    pub last_seen: Option<Timestamp>,
}

/// The busiest sources of a rule that are meant, at most [`SOURCES`].
pub fn busiest(usage: &proto::RuleUsage, is_meant: impl Fn(&str) -> bool) -> Vec<ImpactSource> {
    let mut sources: Vec<&proto::SourceUsage> =
        usage.sources.iter().filter(|source| is_meant(&source.network)).collect();
    sources.sort_by_key(|source| std::cmp::Reverse(source.connections));
    let source = |source: &proto::SourceUsage| ImpactSource {
        network: source.network.clone(),
        connections: source.connections,
        last_seen: time_from_wire(source.last_ms),
    };
    sources.into_iter().take(SOURCES).map(source).collect()
}

/// What of a rule was not used for so long; `None` where all of it was.
pub fn unused(row: &Row, usage: &proto::RuleUsage, lasting: Duration, now: Timestamp) -> Option<UnusedRow> {
    let since = time_from_wire(usage.since_ms);
    let age = since.map_or(SignedDuration::ZERO, |since| now.duration_since(since));
    let lasting = SignedDuration::try_from(lasting).unwrap_or(SignedDuration::MAX);
    let used: BTreeMap<u16, Timestamp> = usage
        .ports
        .iter()
        .filter_map(|port| Some((u16::try_from(port.port).ok()?, time_from_wire(port.last_ms)?)))
        .collect();
    let is_unused = |port: &u16| used.get(port).is_none_or(|at| now.duration_since(*at) >= lasting);
    let all = listen_ports(row)?;
    let left: Vec<u16> = (all.first()..=all.last()).filter(is_unused).collect();
    if left.is_empty() {
        return None;
    }
    Some(UnusedRow {
        edge: row.edge.clone(),
        rule: row.status.rule.clone(),
        owner: owner(&row.status),
        whole: left.len() == usize::from(all.last() - all.first()) + 1,
        ports: ranges(&left),
        last_connection_at: time_from_wire(usage.last_ms),
        since,
        age_secs: u64::try_from(age.as_secs()).unwrap_or_default(),
        younger: age < lasting,
    })
}

fn listen_ports(row: &Row) -> Option<PortRange> {
    if let Some(ports) = row.status.spec.get("listen_ports").and_then(Value::as_str) {
        return PortRange::parse(ports);
    }
    let port = row.status.spec.get("listen_port").and_then(Value::as_u64)?;
    PortRange::single(u16::try_from(port).ok()?)
}

/// `8000`, `8002-8009`
fn ranges(ports: &[u16]) -> Vec<String> {
    let of = |run: &[u16]| match run {
        [port] => port.to_string(),
        run => format!("{}-{}", run[0], run[run.len() - 1]),
    };
    ports.chunk_by(|one, next| one + 1 == *next).map(of).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DAY: u64 = 24 * 3600;

    fn row(ports: &str) -> Row {
        let spec = json!({"listen_ports": ports, "owner": "team-a"});
        Row {
            edge: EdgeName::new("fra-1").expect("a name"),
            connected: true,
            status: serde_json::from_value(json!({"rule": "web", "state": "active", "spec": spec})).expect("a rule"),
        }
    }

    fn usage(since_days: u64, ports: &[(u32, u64)]) -> proto::RuleUsage {
        let ago = |days: u64| (1000 - days) * DAY * 1000;
        let ports: Vec<_> =
            ports.iter().map(|(port, days)| proto::PortUsage { port: *port, last_ms: ago(*days) }).collect();
        let last_ms = ports.iter().map(|port| port.last_ms).max().unwrap_or_default();
        proto::RuleUsage { since_ms: ago(since_days), last_ms, ports, ..proto::RuleUsage::default() }
    }

    fn found(ports: &str, usage: &proto::RuleUsage) -> Option<UnusedRow> {
        let now = Timestamp::from_second((1000 * DAY).cast_signed()).expect("a time");
        unused(&row(ports), usage, Duration::from_secs(30 * DAY), now)
    }

    #[test]
    fn what_was_used_within_the_time_is_not_listed_and_what_was_used_at_its_very_end_is() {
        assert_eq!(found("80-80", &usage(100, &[(80, 29)])), None);
        let old = found("80-80", &usage(100, &[(80, 30)])).expect("it is unused");
        assert!(old.whole && !old.younger && old.last_connection_at.is_some(), "{old:?}");
        let never = found("80-80", &usage(100, &[])).expect("it is unused");
        assert_eq!((never.last_connection_at, never.age_secs), (None, 100 * DAY));
    }

    #[test]
    fn a_younger_rule_is_listed_with_its_age() {
        let young = found("80-80", &usage(3, &[])).expect("it is listed");
        assert!(young.younger && young.whole);
        assert_eq!(young.age_secs, 3 * DAY);
        assert_eq!(found("80-80", &usage(3, &[(80, 2)])), None, "it is used");
    }

    #[test]
    fn of_a_range_the_unused_ports_are_named() {
        let some = found("80-89", &usage(100, &[(80, 1), (84, 2), (85, 50)])).expect("some are unused");
        assert_eq!((some.whole, some.ports), (false, vec!["81-83".to_owned(), "85-89".to_owned()]));
    }

    #[test]
    fn the_busiest_sources_that_are_meant_come_first() {
        let source =
            |network: &str, connections| proto::SourceUsage { network: network.to_owned(), connections, last_ms: 1000 };
        let sources = (1..10).map(|index| source(&format!("10.0.{index}.0/24"), index)).collect();
        let usage = proto::RuleUsage { sources, ..proto::RuleUsage::default() };
        let networks = |is_meant: fn(&str) -> bool| {
            busiest(&usage, is_meant).into_iter().map(|source| source.network).collect::<Vec<_>>()
        };
        assert_eq!(networks(|_| true).len(), SOURCES);
        assert_eq!(networks(|network| network < "10.0.3"), ["10.0.2.0/24", "10.0.1.0/24"]);
    }
}
