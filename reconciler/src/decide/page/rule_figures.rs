//! What a rule, its ports and its targets carry. Pure.

use jiff::Timestamp;
use schema::counters::Figures;

use super::words::{Moment, bytes, count, grouped};
use crate::decide::statistics::{PortStatsDocument, RatesDocument, StatsDocument};

/// Ports that are shown: those with the most bytes.
const SHOWN_PORTS: usize = 50;

/// Bytes and connections, as people read them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes from clients.
    pub bytes_in: String,
    /// Bytes to clients.
    pub bytes_out: String,
    /// Bytes from clients a second; empty where it is not known.
    pub rate_in: String,
    /// Bytes to clients a second.
    pub rate_out: String,
    /// Live connections.
    pub active: String,
    /// Connections so far.
    pub total: String,
}

impl Traffic {
    /// What was counted, and how fast it grows.
    pub fn new(figures: &Figures, rates: Option<&RatesDocument>) -> Self {
        let rate = |rate: Option<f64>| rate.map(per_second).unwrap_or_default();
        Self {
            bytes_in: bytes(figures.bytes_in),
            bytes_out: bytes(figures.bytes_out),
            rate_in: rate(rates.map(|rates| rates.bytes_in_per_sec)),
            rate_out: rate(rates.map(|rates| rates.bytes_out_per_sec)),
            active: grouped(figures.active_connections),
            total: grouped(figures.connections_total),
        }
    }
}

/// `1.5 KiB/s`
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive, and a cast saturates")]
fn per_second(rate: f64) -> String {
    format!("{}/s", bytes(rate.round() as u64))
}

/// The counters of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFigures {
    /// All of it.
    pub traffic: Traffic,
    /// New connections a second.
    pub connections_rate: String,
    /// When the edge was asked.
    pub at: Moment,
    /// What went wrong, as far as anything did.
    pub troubles: Vec<String>,
}

impl RuleFigures {
    /// Of these counters.
    pub fn new(stats: &StatsDocument, now: Timestamp) -> Self {
        Self {
            traffic: Traffic::new(&stats.counters, Some(&stats.rates)),
            connections_rate: format!("{:.1}/s", stats.rates.connections_per_sec),
            at: Moment::new(stats.at, now),
            troubles: troubles(&stats.counters),
        }
    }
}

/// `access 3`, `quota 1`: how many of each cause.
fn by(all: impl Iterator<Item = (&'static str, u64)>) -> Vec<String> {
    // What is enforced needs no word for that.
    let name = |word: &'static str| word.strip_prefix("enforce_").unwrap_or(word).replace('_', " ");
    all.map(|(word, number)| format!("{} {}", name(word), grouped(number))).collect()
}

fn troubles(figures: &Figures) -> Vec<String> {
    let named = |number: u64, one: &str, causes: Vec<String>| {
        let causes = if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) };
        (number > 0).then(|| format!("{}{causes}", count(number, one)))
    };
    [
        named(figures.connections_refused, "refused connection", by(figures.refused.iter())),
        named(figures.connect_errors.sum(), "failed connection attempt", by(figures.connect_errors.iter())),
        named(figures.dns_failures, "failed name lookup", Vec::new()),
        named(figures.broken.sum(), "broken connection", by(figures.broken.iter())),
        named(figures.flows_dropped_overflow, "refused flow", Vec::new()),
        named(figures.datagrams_dropped.sum(), "dropped datagram", by(figures.datagrams_dropped.iter())),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortLine {
    /// The port.
    pub port: u16,
    /// What it carries.
    pub traffic: Traffic,
}

impl PortLine {
    /// The ports with the most bytes in the order of their numbers, and how many others have traffic.
    pub fn all(stats: &StatsDocument) -> (Vec<Self>, String) {
        let mut ports: Vec<&PortStatsDocument> = stats.ports.iter().flatten().collect();
        let left_out = ports.len().saturating_sub(SHOWN_PORTS);
        ports.sort_by_key(|port| std::cmp::Reverse(port.counters.bytes_in.saturating_add(port.counters.bytes_out)));
        ports.truncate(SHOWN_PORTS);
        ports.sort_by_key(|port| port.port);
        let line = |port: &&PortStatsDocument| Self {
            port: port.port,
            traffic: Traffic::new(&port.counters, port.rates.as_ref()),
        };
        let more = match left_out {
            0 => String::new(),
            more => format!("and {} with less traffic", count(more as u64, "port")),
        };
        (ports.iter().map(line).collect(), more)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stats(ports: &[Value]) -> StatsDocument {
        serde_json::from_value(json!({"edge": "fra-1", "rule": "web", "at": "2026-01-02T08:00:00Z", "bytes_in": 2048,
            "bytes_out": 10, "active_connections": 1200, "connections_refused": 3,
            "rates": {"bytes_in_per_sec": 1536.0, "bytes_out_per_sec": 0.2, "connections_per_sec": 2.5, "over_secs": 5.0},
            "ports": ports}))
        .expect("counters")
    }

    #[test]
    fn figures_have_units_and_name_what_went_wrong() {
        let figures = RuleFigures::new(&stats(&[]), "2026-01-02T08:00:05Z".parse().expect("a time"));
        let traffic = &figures.traffic;
        assert_eq!(
            (traffic.bytes_in.as_str(), traffic.rate_in.as_str(), traffic.rate_out.as_str()),
            ("2.0 KiB", "1.5 KiB/s", "0 B/s")
        );
        assert_eq!((traffic.active.as_str(), figures.connections_rate.as_str()), ("1,200", "2.5/s"));
        assert_eq!(
            (figures.at.relative.as_str(), figures.troubles.as_slice()),
            ("5 s ago", ["3 refused connections".to_owned()].as_slice())
        );
    }

    #[test]
    fn of_a_wide_range_the_busiest_ports_are_shown() {
        let ports: Vec<Value> = (0..60).map(|port| json!({"port": 1000 + port, "bytes_in": port})).collect();
        let (lines, more) = PortLine::all(&stats(&ports));
        assert_eq!((lines.len(), lines[0].port, lines[49].port), (50, 1010, 1059));
        assert_eq!(more, "and 10 ports with less traffic");
    }
}
