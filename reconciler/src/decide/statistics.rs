//! The statistics of a rule, its ports and its targets: counters, how fast they grow, and how old connections are. Values.
//!
//! The HTTP bodies of statistics are their JSON.

use jiff::Timestamp;
use schema::counters::Figures;
use schema::name::{EdgeName, RuleName};
use serde::{Deserialize, Serialize};

use super::target::TargetView;

/// How fast counters grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RatesDocument {
    /// Bytes per second, from clients to targets.
    pub bytes_in_per_sec: f64,
    /// Bytes per second, from targets to clients.
    pub bytes_out_per_sec: f64,
    /// Connections accepted per second.
    pub connections_per_sec: f64,
    /// The seconds that these are averages over.
    pub over_secs: f64,
}

impl RatesDocument {
    /// The growth between two readings that are so many seconds apart. Counters that fell began anew in between.
    pub fn between(before: &Figures, after: &Figures, secs: f64) -> Self {
        let grown = |before: u64, after: u64| if after >= before { after - before } else { after };
        let bytes = [grown(before.bytes_in, after.bytes_in), grown(before.bytes_out, after.bytes_out)];
        Self::of([bytes[0], bytes[1], grown(before.connections_total, after.connections_total)], secs)
    }

    /// Of bytes in, bytes out and connections that came within so many seconds.
    pub(crate) fn of(grown: [u64; 3], secs: f64) -> Self {
        let rate = |grown: u64| tenths(grown as f64 / secs);
        Self {
            bytes_in_per_sec: rate(grown[0]),
            bytes_out_per_sec: rate(grown[1]),
            connections_per_sec: rate(grown[2]),
            over_secs: tenths(secs),
        }
    }
}

/// More digits would only say how exactly clocks were read.
fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// How old live connections of a rule are that a change ends, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgesDocument {
    /// Of the oldest one.
    pub oldest_secs: u64,
    /// Half of them are at most as old.
    pub median_secs: u64,
}

/// Answer to `GET /v1/rules/{edge}/{rule}/stats`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatsDocument {
    /// The edge.
    pub edge: EdgeName,
    /// The rule.
    pub rule: RuleName,
    /// When the edge was asked.
    pub at: Timestamp,
    /// Sums over the rule.
    #[serde(flatten)]
    pub counters: Figures,
    /// Over the last five seconds, or a little more.
    #[serde(default)]
    pub rates: RatesDocument,
    /// Of the live connections that were asked about, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ages: Option<AgesDocument>,
    /// Ports with traffic, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortStatsDocument>>,
    /// Targets, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<TargetStatsDocument>>,
}

/// Counters of one port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortStatsDocument {
    /// The port.
    pub port: u16,
    /// Its counters.
    #[serde(flatten)]
    pub counters: Figures,
    /// Since the event before, in a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<RatesDocument>,
}

/// Counters of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetStatsDocument {
    /// Its host.
    pub host: String,
    /// Its first port.
    pub port: u16,
    /// Its state; empty where the edge does not say.
    pub state: String,
    /// Its counters.
    #[serde(flatten)]
    pub counters: Figures,
    /// Since the event before, in a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<RatesDocument>,
    /// When a connection to it was established last.
    #[serde(default)]
    pub last_success: Option<Timestamp>,
    /// When one did not.
    #[serde(default)]
    pub last_failure: Option<Timestamp>,
    /// How its edge sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<TargetView>,
}
