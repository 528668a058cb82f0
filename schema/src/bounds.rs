//! How much an edge may say in one message: the length of every text and of every list of the protocol. Pure.
//!
//! Keeps: a message is measured as it stands on the wire, before anything of it is decoded, for a list of a million
//! empty entries takes two bytes each there and hundreds in memory. Long because the shapes of one protocol are one
//! table.

use crate::access::MAX_NETWORKS;
use crate::policy::MAX_ENTRIES;
use crate::sni::MAX_NAMES;

/// Rules that a report may hold unless the server sent more.
pub const RULES: usize = 10_000;
/// Entries of all lists in one message, per rule that it may hold: eight targets with five changes each take 76,
/// and a rule has up to 65,535 ports with counters of their own.
const ENTRIES_PER_RULE: usize = 200;
/// A name of a rule, an edge or a lineage: names have at most 63 characters, digests 64.
const NAME: usize = 64;
/// Bytes of an owner: 128 characters.
const OWNER: usize = 512;
/// A code, a cause, a state, a capability.
const WORD: usize = 64;
/// What an edge says in words.
const SENTENCE: usize = 4096;
/// An IP address, or a host name of at most 253 characters with a port range.
const HOST: usize = 320;
/// A text of a rule: what the server sent is bounded by its file.
const RULE_TEXT: usize = 8 << 20;
/// A packed list of networks: the longest, of IPv6 networks.
const NETWORK_BYTES: usize = 17 * MAX_NETWORKS;
/// A field that this version does not know.
const UNKNOWN: usize = 64 << 10;
/// Capabilities, features, causes, the edge's own listeners.
const WORDS: usize = 64;
/// Targets of one rule: eight, and those that only drain.
const TARGETS: usize = 64;
/// Changes of one target: as many as a check may keep.
const HISTORY: usize = 50;
/// A packed list of ports: 256 of them, each in at most three bytes.
const PORTS: usize = 3 * 256;
/// What may be counted of a rule, a port or a target.
const COUNTS: usize = 256;
/// As many numbers of a packed list take as much memory as a small entry of another list.
const NUMBERS_PER_ENTRY: usize = 8;
/// Ranges of ports that a host gives to outgoing connections: reserved ports cut holes into one range.
const PORT_RANGES: usize = 1024;
/// Connections that one answer may list.
pub const MAX_LISTED: usize = 10_000;
/// Rows by port or by target of one rule.
const ROWS: usize = 1 << 19;

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverBound {
    /// A text is too long.
    #[error("{message}.{field} has {length} bytes; at most {most} are allowed")]
    Text {
        /// The message that holds it.
        message: &'static str,
        /// The field.
        field: &'static str,
        /// Its length.
        length: usize,
        /// The bound.
        most: usize,
    },
    /// A list is too long.
    #[error("{message}.{field} has more than {most} entries")]
    List {
        /// The message that holds it.
        message: &'static str,
        /// The field.
        field: &'static str,
        /// The bound.
        most: usize,
    },
    /// All lists together are too long.
    #[error("the message has more than {0} entries in all of its lists")]
    Entries(usize),
    /// It is not a message.
    #[error("the message cannot be read")]
    Malformed,
}

/// What a field holds.
#[derive(Clone, Copy)]
enum Holds {
    /// A number, or a truth value.
    Number,
    /// One text, digest or short packed list of numbers.
    Text(usize),
    /// A packed list of so many numbers.
    Packed(usize),
    /// A list of texts, by their length and number.
    Texts(usize, usize),
    /// One message.
    One(&'static Shape),
    /// A list of messages.
    List(&'static Shape, usize),
    /// A list with an entry for each rule.
    Rules(&'static Shape),
}

use Holds::{List, Number, One, Packed, Rules, Text, Texts};

/// A message of the protocol; its fields stand in the order of their numbers, from 1 and without gaps.
struct Shape {
    name: &'static str,
    fields: &'static [(&'static str, Holds)],
}

macro_rules! shapes {
    ($($id:ident = $name:literal { $($field:ident: $holds:expr),* $(,)? })*) => {
        $(static $id: Shape = Shape { name: $name, fields: &[$((stringify!($field), $holds)),*] };)*

        #[cfg(test)]
        static ALL: &[&Shape] = &[$(&$id),*];
    };
}

shapes! {
    EDGE_MESSAGE = "EdgeMessage" {
        hello: One(&HELLO), report: One(&REPORT), stats: One(&STATS), checked: One(&CHECKED), proven: One(&PROVEN),
        policy: One(&POLICY), connections: One(&CONNECTIONS), usage: One(&USAGE), quotas: One(&QUOTAS),
        quota_reset: One(&QUOTA_RESET),
    }
    QUOTAS = "QuotaReport" { quotas: List(&QUOTA, ROWS) }
    QUOTA = "QuotaState" {
        rule: Text(NAME), owner: Text(OWNER), used_bytes: Number, limit_bytes: Number, warn_percent: Number,
        starts_at: Number, ends_at: Number, period: Text(WORD), on_exhausted: Text(WORD),
    }
    QUOTA_RESET = "QuotaReset" { request_id: Number, is_known: Number, used_bytes: Number }
    CONNECTIONS = "ConnectionsReport" {
        request_id: Number, refused: One(&REFUSAL), rules: Rules(&RULE_CONNECTIONS),
        connections: List(&LIVE_CONNECTION, MAX_LISTED),
    }
    RULE_CONNECTIONS = "RuleConnections" { rule: Text(NAME), connections: Number }
    LIVE_CONNECTION = "LiveConnection" {
        id: Text(WORD), rule: Text(NAME), protocol: Number, source: Text(HOST), listener: Text(HOST),
        target: Text(HOST), age_ms: Number, idle_ms: Number, bytes_in: Number, bytes_out: Number, drains: Number,
    }
    USAGE = "UsageReport" { request_id: Number, rules: Rules(&RULE_USAGE) }
    RULE_USAGE = "RuleUsage" {
        rule: Text(NAME), since_ms: Number, last_ms: Number, ports: List(&PORT_USAGE, ROWS),
        sources: List(&SOURCE_USAGE, WORDS),
    }
    PORT_USAGE = "PortUsage" { port: Number, last_ms: Number }
    SOURCE_USAGE = "SourceUsage" { network: Text(HOST), connections: Number, last_ms: Number }
    HELLO = "Hello" {
        edge: Text(NAME), version: Text(WORD), capabilities: Texts(WORD, WORDS), limits: One(&LIMITS),
        own_listeners: List(&LISTENER, WORDS), report: One(&REPORT), features: Texts(WORD, WORDS),
        ephemeral_ports: List(&PORT_RANGE, PORT_RANGES), host: Text(HOST), policy: One(&POLICY),
    }
    POLICY = "Policy" {
        listen_ports: One(&PORT_LIST), listen_addresses: One(&NETWORKS), target_networks: One(&NETWORKS),
        target_ports: One(&PORT_LIST), max_rules: Number, max_connections: Number, allow_metadata_targets: Number,
    }
    PORT_LIST = "PortRanges" { ranges: List(&PORT_RANGE, MAX_ENTRIES) }
    NETWORKS = "Networks" { networks: Texts(WORD, MAX_ENTRIES) }
    PORT_RANGE = "Ports" { first: Number, last: Number }
    LIMITS = "Limits" { ports_per_range: Number, file_descriptors: Number, rules: Number }
    LISTENER = "Listener" { protocol: Number, address: Text(HOST), port: Number }
    REFUSAL = "Refusal" { code: Text(WORD), message: Text(SENTENCE) }
    REPORT = "Report" {
        lineage: Text(NAME), generation: Number, desired_digest: Text(NAME), running_digest: Text(NAME),
        rules: Rules(&RULE_REPORT), refused: One(&REFUSAL), answers: Number, confirmation: Number,
        ended: List(&RULE_END, ROWS),
    }
    RULE_END = "RuleEnd" { rule: Text(NAME), rest_ms: Number, until_ms: Number, at_ms: Number }
    RULE_REPORT = "RuleReport" {
        rule: Text(NAME), state: Number, code: Text(WORD), message: Text(SENTENCE), running: One(&RULE_SPEC),
        wanted: One(&RULE_SPEC), connections: Number, health: Text(WORD), targets: List(&TARGET_REPORT, TARGETS),
        flows_refused: Number, flows_refused_at_ms: Number, live: One(&LIVE),
    }
    LIVE = "Live" { places: List(&PLACE_COUNT, ROWS), drains: List(&DRAIN_COUNT, ROWS), left_out: Number }
    PLACE_COUNT = "PlaceCount" { listen_port: Number, host: Text(HOST), port: Number, connections: Number }
    DRAIN_COUNT = "DrainCount" { listen: Texts(HOST, ROWS), connections: Number, ends_at_ms: Number }
    TARGET_REPORT = "TargetReport" {
        target: Text(HOST), state: Text(WORD), priority: Number, weight: Number, effective_weight: Number,
        since_ms: Number, last: One(&TARGET_RESULT), history: List(&TARGET_CHANGE, HISTORY), attempts: Number,
        failing_ports: Text(PORTS), failing_ports_total: Number,
    }
    TARGET_RESULT = "TargetResult" { code: Text(WORD), detail: Text(SENTENCE), at_ms: Number }
    TARGET_CHANGE = "TargetChange" {
        from: Text(WORD), to: Text(WORD), at_ms: Number, layer: Text(WORD), code: Text(WORD), detail: Text(SENTENCE),
    }
    CHECKED = "TargetsChecked" { request_id: Number, refused: One(&REFUSAL), targets: List(&TARGET_REPORT, TARGETS) }
    PROVEN = "Proven" {
        request_id: Number, refused: One(&REFUSAL), lease: Number, lease_ms: Number, rules: Rules(&RULE_PROOF),
    }
    RULE_PROOF = "RuleProof" { rule: Text(NAME), proven: Number, code: Text(WORD), message: Text(SENTENCE) }
    STATS = "StatsReport" { request_id: Number, rules: Rules(&RULE_STATS), probes: List(&CAUSE_COUNT, WORDS), sni_missed: List(&CAUSE_COUNT, WORDS) }
    RULE_STATS = "RuleStats" {
        rule: Text(NAME), total: One(&COUNTERS), ports: List(&PORT_STATS, ROWS), targets: List(&TARGET_STATS, ROWS),
        ages: One(&AGES), live: One(&LIVE),
    }
    AGES = "Ages" { oldest_ms: Number, median_ms: Number }
    PORT_STATS = "PortStats" { port: Number, counters: One(&COUNTERS) }
    TARGET_STATS = "TargetStats" {
        host: Text(HOST), port: Number, state: Text(WORD), counters: One(&COUNTERS), report: One(&TARGET_REPORT),
        last_success_ms: Number, last_failure_ms: Number,
    }
    COUNTERS = "Counters" { ids: Packed(COUNTS), counts: Packed(COUNTS) }
    CAUSE_COUNT = "CauseCount" { cause: Text(WORD), count: Number }
    RULE_SPEC = "RuleSpec" {
        name: Text(NAME), description: Text(RULE_TEXT), owner: Text(RULE_TEXT), protected: Number, protocol: Number,
        listen_address: Text(HOST), first_port: Number, last_port: Number, targets: List(&TARGET_SPEC, TARGETS),
        prefer_ipv6: Number, balance: Number, health: One(&HEALTH_SPEC), last_resort: Number,
        connect_timeout_ms: Number, idle_timeout_secs: Number, max_connections: Number, drain_timeout_secs: Number,
        on_target_down: Number, udp_max_flows: Number, udp_flow_idle_secs: Number,
        half_closed_timeout_secs: Number, stalled_timeout_secs: Number, sni: Texts(HOST, MAX_NAMES),
        sni_timeout_ms: Number, accept_proxy: Text(NETWORK_BYTES), access: One(&ACCESS_SPEC),
        rate_limit: One(&RATE_LIMIT_SPEC), quota: One(&QUOTA_SPEC), owner_limits: One(&OWNER_LIMITS_SPEC),
    }
    ACCESS_SPEC = "AccessSpec" {
        allow: Text(NETWORK_BYTES), deny: Text(NETWORK_BYTES), observe: Number, drain: Number,
        allow_file: One(&LIST_REFERENCE), deny_file: One(&LIST_REFERENCE),
    }
    LIST_REFERENCE = "ListReference" { path: Text(SENTENCE), digest: Text(NAME), networks: Number }
    RATE_LIMIT_SPEC = "RateLimitSpec" {
        bandwidth_in_bytes_per_sec: Number, bandwidth_out_bytes_per_sec: Number, bandwidth_burst_bytes: Number,
        new_connections_per_sec: Number, new_connections_burst: Number, per_source: One(&PER_SOURCE_SPEC),
        observe: Number,
    }
    PER_SOURCE_SPEC = "PerSourceSpec" {
        connections: Number, new_connections_per_sec: Number, new_connections_burst: Number, prefix_v4: Number,
        prefix_v6: Number,
    }
    QUOTA_SPEC = "QuotaSpec" {
        bytes: Number, period: Text(WORD), anchor_day: Number, time_zone: Text(WORD), warn_percent: Number,
        on_exhausted: Text(WORD), throttle_bytes_per_sec: Number,
    }
    OWNER_LIMITS_SPEC = "OwnerLimitsSpec" { rate_limit: One(&RATE_LIMIT_SPEC), quota: One(&QUOTA_SPEC) }
    TARGET_SPEC = "TargetSpec" {
        host: Text(HOST), first_port: Number, last_port: Number, priority: Number, weight: Number, enabled: Number,
        proxy_protocol: Number,
    }
    RETRY_SPEC = "RetrySpec" { max: Number, initial_ms: Number, max_ms: Number }
    HEALTH_SPEC = "HealthSpec" {
        kind: Text(WORD), interval_secs: Number, timeout_ms: Number, fast_interval_secs: Number,
        down_interval_secs: Number, rise: Number, fall: Number, port: Number, address: Text(HOST),
        path: Text(RULE_TEXT), host: Text(RULE_TEXT), method: Text(RULE_TEXT), expect_status: Text(RULE_TEXT),
        expect_body: Text(RULE_TEXT), server_name: Text(RULE_TEXT), verify: Number, send: Text(RULE_TEXT),
        expect: Text(RULE_TEXT), optimistic: Number, leaky: Number, jitter_percent: Number, history: Number,
        retry: One(&RETRY_SPEC),
    }
}

/// Checks an encoded message of an edge. `rules` is the most that it may list: [`RULES`], or as many as it was sent.
pub fn check(message: &[u8], rules: usize) -> Result<(), OverBound> {
    let most = rules.max(1).saturating_mul(ENTRIES_PER_RULE);
    let mut walk = Walk { rules, entries: 0, most };
    walk.message(message, &EDGE_MESSAGE)
}

/// A field of a message as it was found.
struct BoundedField {
    message: &'static str,
    name: &'static str,
    holds: Holds,
    /// How often the message has had it so far.
    count: usize,
}

struct Walk {
    rules: usize,
    entries: usize,
    most: usize,
}

impl Walk {
    fn message(&mut self, mut rest: &[u8], shape: &'static Shape) -> Result<(), OverBound> {
        // No message of the protocol has more fields.
        let mut counts = [0_usize; 64];
        while !rest.is_empty() {
            let key = varint(&mut rest)?;
            let number = usize::try_from(key >> 3).map_err(|_| OverBound::Malformed)?;
            let value = match key & 7 {
                0 => {
                    varint(&mut rest)?;
                    continue;
                }
                1 => {
                    take(&mut rest, 8)?;
                    continue;
                }
                5 => {
                    take(&mut rest, 4)?;
                    continue;
                }
                2 => {
                    let length = usize::try_from(varint(&mut rest)?).map_err(|_| OverBound::Malformed)?;
                    take(&mut rest, length)?
                }
                _ => return Err(OverBound::Malformed),
            };
            let field = number.checked_sub(1).and_then(|place| shape.fields.get(place));
            let (name, holds) = field.copied().unwrap_or(("a field of another version", Texts(UNKNOWN, usize::MAX)));
            let count = counts.get_mut(number).map_or(1, |count| {
                *count += 1;
                *count
            });
            self.field(&BoundedField { message: shape.name, name, holds, count }, value)?;
        }
        Ok(())
    }

    fn field(&mut self, of: &BoundedField, value: &[u8]) -> Result<(), OverBound> {
        let BoundedField { message, name: field, holds, count } = *of;
        // A text alone costs what it is long; everything else is something of its own in memory.
        self.entries += usize::from(!matches!(holds, Text(_)));
        if self.entries > self.most {
            return Err(OverBound::Entries(self.most));
        }
        let (length, number, shape) = match holds {
            Number => return Err(OverBound::Malformed),
            Packed(most) => {
                let numbers = value.iter().filter(|byte| **byte & 0x80 == 0).count();
                self.entries += numbers / NUMBERS_PER_ENTRY;
                if numbers > most || count > 1 {
                    return Err(OverBound::List { message, field, most });
                }
                return Ok(());
            }
            Text(length) => (length, usize::MAX, None),
            Texts(length, number) => (length, number, None),
            // Said twice, it would be joined, and its lists with it.
            One(shape) => (usize::MAX, 1, Some(shape)),
            List(shape, number) => (usize::MAX, number, Some(shape)),
            Rules(shape) => (usize::MAX, self.rules, Some(shape)),
        };
        if count > number {
            return Err(OverBound::List { message, field, most: number });
        }
        match shape {
            Some(shape) => self.message(value, shape),
            None if value.len() > length => Err(OverBound::Text { message, field, length: value.len(), most: length }),
            None => Ok(()),
        }
    }
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> Result<&'b [u8], OverBound> {
    let (taken, after) = rest.split_at_checked(length).ok_or(OverBound::Malformed)?;
    *rest = after;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, OverBound> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = take(rest, 1)? else { return Err(OverBound::Malformed) };
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(OverBound::Malformed)
}

#[cfg(test)]
mod tests;
