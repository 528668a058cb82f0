//! How much may pass a rule, an owner or a source at a time. Pure.

use std::num::{NonZeroU32, NonZeroU64};

use crate::access::Enforcement;
use crate::codes::TreeCode;
use crate::rule::RuleProblem;

/// The largest bandwidth, in bytes per second.
pub const MAX_BYTES_PER_SEC: u64 = 1_000_000_000_000;
/// The largest rate of new connections.
pub const MAX_CONNECTIONS_PER_SEC: u32 = 10_000_000;
/// The IPv4 networks that count as one source, where it is not given.
pub const DEFAULT_PREFIX_V4: u8 = 32;
/// The IPv6 networks that count as one source, where it is not given.
pub const DEFAULT_PREFIX_V6: u8 = 64;

/// `[rule.rate_limit]`, and that of an owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RateLimit {
    /// Bytes per second from clients to targets.
    pub bandwidth_in: Option<NonZeroU64>,
    /// Bytes per second from targets to clients.
    pub bandwidth_out: Option<NonZeroU64>,
    /// Bytes that may pass at once after a pause, in each direction. None: one second's worth.
    pub bandwidth_burst: Option<NonZeroU64>,
    /// New connections and flows per second.
    pub new_connections: Option<NonZeroU32>,
    /// New connections that may come at once after a pause. None: one second's worth.
    pub new_connections_burst: Option<NonZeroU32>,
    /// Limits for each source; of a rule only.
    pub per_source: Option<PerSource>,
    /// Whether it refuses and delays.
    pub mode: Enforcement,
}

/// Limits for each source of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PerSource {
    /// Live connections and flows.
    pub connections: Option<NonZeroU32>,
    /// New connections and flows per second.
    pub new_connections: Option<NonZeroU32>,
    /// New connections that may come at once after a pause. None: one second's worth.
    pub new_connections_burst: Option<NonZeroU32>,
    /// The IPv4 networks that count as one source.
    pub prefix_v4: u8,
    /// The IPv6 networks that count as one source.
    pub prefix_v6: u8,
}

impl Default for PerSource {
    fn default() -> Self {
        Self {
            connections: None,
            new_connections: None,
            new_connections_burst: None,
            prefix_v4: DEFAULT_PREFIX_V4,
            prefix_v6: DEFAULT_PREFIX_V6,
        }
    }
}

impl RateLimit {
    /// True if it limits nothing.
    pub fn is_empty(&self) -> bool {
        self.bandwidth_in.is_none()
            && self.bandwidth_out.is_none()
            && self.new_connections.is_none()
            && self.per_source.is_none()
    }

    /// What is wrong with it, by keys below `prefix`.
    pub(crate) fn problems(&self, prefix: &str, problems: &mut Vec<RuleProblem>) {
        let mut add = |code, key: &str, message: String| {
            problems.push(RuleProblem { code, key: format!("{prefix}.{key}"), message });
        };
        let bandwidths = [
            ("bandwidth_in_bytes_per_sec", self.bandwidth_in),
            ("bandwidth_out_bytes_per_sec", self.bandwidth_out),
            ("bandwidth_burst_bytes", self.bandwidth_burst),
        ];
        for (key, bytes) in bandwidths {
            if let Some(bytes) = bytes.filter(|bytes| bytes.get() > MAX_BYTES_PER_SEC) {
                add(TreeCode::OutOfRange, key, format!("{bytes} is outside 1..={MAX_BYTES_PER_SEC}"));
            }
        }
        let source = self.per_source.unwrap_or_default();
        let rates = [
            ("new_connections_per_sec", self.new_connections),
            ("new_connections_burst", self.new_connections_burst),
            ("per_source.new_connections_per_sec", source.new_connections),
            ("per_source.new_connections_burst", source.new_connections_burst),
        ];
        for (key, count) in rates {
            if let Some(count) = count.filter(|count| count.get() > MAX_CONNECTIONS_PER_SEC) {
                add(TreeCode::OutOfRange, key, format!("{count} is outside 1..={MAX_CONNECTIONS_PER_SEC}"));
            }
        }
        for (key, prefix, most) in [("prefix_v4", source.prefix_v4, 32), ("prefix_v6", source.prefix_v6, 128)] {
            if !(1..=most).contains(&prefix) {
                add(TreeCode::OutOfRange, &format!("per_source.{key}"), format!("{prefix} is outside 1..={most}"));
            }
        }
        let bandwidth = self.bandwidth_in.or(self.bandwidth_out);
        let bursts = [
            ("bandwidth_burst_bytes", self.bandwidth_burst.is_some(), bandwidth.is_some(), "a bandwidth"),
            (
                "new_connections_burst",
                self.new_connections_burst.is_some(),
                self.new_connections.is_some(),
                "`new_connections_per_sec`",
            ),
            (
                "per_source.new_connections_burst",
                source.new_connections_burst.is_some(),
                source.new_connections.is_some(),
                "`per_source.new_connections_per_sec`",
            ),
        ];
        for (key, _, _, what) in bursts.into_iter().filter(|(_, has_burst, has_rate, _)| *has_burst && !*has_rate) {
            add(TreeCode::NotApplicable, key, format!("a burst has no effect without {what}"));
        }
        if self.per_source.is_some() && source.connections.is_none() && source.new_connections.is_none() {
            let message = "it needs `connections` or `new_connections_per_sec`".to_owned();
            add(TreeCode::MissingKey, "per_source", message);
        }
        if self.is_empty() {
            let key = prefix.to_owned();
            let message = "it needs a limit, such as `new_connections_per_sec`".to_owned();
            problems.push(RuleProblem { code: TreeCode::MissingKey, key, message });
        }
    }
}
