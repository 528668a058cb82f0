//! The fields of `[rule.access]`, `[rule.rate_limit]`, `[rule.quota]` and `[[owner]]`. Pure data.

use super::{Field, Kind, table};
use crate::access::{Enforcement, LiveConnections};
use crate::quota::{MAX_QUOTA_BYTES, OnExhausted, Period};
use crate::rate::{MAX_BYTES_PER_SEC, MAX_CONNECTIONS_PER_SEC};

const BYTES_PER_SEC: Kind = Kind::Int { min: 1, max: MAX_BYTES_PER_SEC.cast_signed() };
const PER_SEC: Kind = Kind::Int { min: 1, max: MAX_CONNECTIONS_PER_SEC as i64 };
const COUNT: Kind = Kind::Int { min: 1, max: u32::MAX as i64 };

const BANDWIDTH_IN: Field = Field::new(
    "bandwidth_in_bytes_per_sec",
    BYTES_PER_SEC,
    "",
    "10485760",
    "The bandwidth from clients to targets. Above it reading waits; no connection ends.",
);
const BANDWIDTH_OUT: Field = Field::new(
    "bandwidth_out_bytes_per_sec",
    BYTES_PER_SEC,
    "",
    "125000000",
    "The bandwidth from targets to clients. Above it reading waits; no connection ends.",
);
const BANDWIDTH_BURST: Field = Field::new(
    "bandwidth_burst_bytes",
    BYTES_PER_SEC,
    "",
    "1048576",
    "The bytes that may pass at once after a pause, in each direction. Default: what passes in 0.4 s, which keeps ten seconds within 5 %.",
);
const NEW_CONNECTIONS: Field = Field::new(
    "new_connections_per_sec",
    PER_SEC,
    "",
    "200",
    "The rate of new connections and UDP flows; further ones are refused.",
);
const NEW_CONNECTIONS_BURST: Field = Field::new(
    "new_connections_burst",
    PER_SEC,
    "",
    "400",
    "The new connections that may come at once after a pause. Default: one second's worth.",
);
const MODE: Field = Field::new(
    "mode",
    Kind::Word(Enforcement::WORDS),
    "\"enforce\"",
    "\"observe\"",
    "`observe` refuses nobody and delays nothing, and counts what `enforce` would refuse.",
);

table! {
    /// `[rule.access]`.
    access, "rule.access", "[rule.access]", "Which sources may connect to a rule.";
    ALLOW = Field::new("allow", Kind::Networks, "", "[\"10.0.0.0/8\", \"2001:db8::/32\"]",
        "The networks that may connect, at most 10,000. Default: all.");
    DENY = Field::new("deny", Kind::Networks, "[]", "[\"10.9.0.0/16\"]",
        "The networks that may not connect, at most 10,000; it takes precedence over `allow`.");
    ALLOW_FILE = Field::new("allow_file", Kind::Text { max: 4096, lines: false }, "", "\"lists/office.txt\"",
        "A file of the tree with more networks that may connect: one network a line, `#` begins a comment, at most \
         1,000,000 networks and 32 MiB. The path begins at the root of the tree.");
    DENY_FILE = Field::new("deny_file", Kind::Text { max: 4096, lines: false }, "", "\"lists/abuse.txt\"",
        "A file of the tree with more networks that may not connect, as `allow_file`; it takes precedence over `allow` \
         and `allow_file`.");
    MODE = Field::new("mode", Kind::Word(Enforcement::WORDS), "\"enforce\"", "\"observe\"",
        "`observe` refuses nobody, and counts whom `enforce` would refuse.");
    LIVE = Field::new("live", Kind::Word(LiveConnections::WORDS), "\"keep\"", "\"drain\"",
        "The fate of live connections that a changed list refuses: they continue (`keep`), or drain.");
}

table! {
    /// `[rule.rate_limit]`.
    rate_limit, "rule.rate_limit", "[rule.rate_limit]", "Limits of bandwidth and of new connections of a rule.";
    BANDWIDTH_IN_BYTES_PER_SEC = super::BANDWIDTH_IN;
    BANDWIDTH_OUT_BYTES_PER_SEC = super::BANDWIDTH_OUT;
    BANDWIDTH_BURST_BYTES = super::BANDWIDTH_BURST;
    NEW_CONNECTIONS_PER_SEC = super::NEW_CONNECTIONS;
    NEW_CONNECTIONS_BURST = super::NEW_CONNECTIONS_BURST;
    PER_SOURCE = Field::new("per_source", Kind::Table(&crate::fields::per_source::TABLE), "", "{ connections = 20 }",
        "Limits for each source. At most 65,536 sources of a rule are remembered.");
    MODE = super::MODE;
}

table! {
    /// `[rule.rate_limit] per_source`.
    per_source, "rule.rate_limit.per_source", "[rule.rate_limit.per_source]", "Limits for each source of a rule.";
    CONNECTIONS = Field::new("connections", COUNT, "", "20",
        "The maximum number of concurrent connections of a source.");
    NEW_CONNECTIONS_PER_SEC = Field::new("new_connections_per_sec", PER_SEC, "", "5",
        "The rate of new connections of a source.");
    NEW_CONNECTIONS_BURST = super::NEW_CONNECTIONS_BURST;
    PREFIX_V4 = Field::new("prefix_v4", Kind::Int { min: 1, max: 32 }, "32", "24",
        "The prefix length of the IPv4 networks that count as one source.");
    PREFIX_V6 = Field::new("prefix_v6", Kind::Int { min: 1, max: 128 }, "64", "56",
        "The prefix length of the IPv6 networks that count as one source.");
}

table! {
    /// `[rule.quota]`.
    quota, "rule.quota", "[rule.quota]", "How many bytes a rule may forward in a period, both directions together.";
    BYTES = Field::new("bytes", Kind::Int { min: 1, max: MAX_QUOTA_BYTES.cast_signed() }, "", "1000000000000",
        "The bytes of one period, both directions together. Required, unless the table is empty.");
    PERIOD = Field::new("period", Kind::Word(Period::WORDS), "\"month\"", "\"week\"",
        "The period after which the quota starts anew; weeks begin on Monday, and `total` never ends.");
    ANCHOR_DAY = Field::new("anchor_day", Kind::Int { min: 1, max: 31 }, "1", "15",
        "The day of the month on which a month of the quota begins, or the last day of a shorter month.");
    TIME_ZONE = Field::new("time_zone", Kind::TimeZone, "\"UTC\"", "\"Europe/Berlin\"",
        "The IANA name of the time zone in which periods begin.");
    WARN_PERCENT = Field::new("warn_percent", Kind::Int { min: 1, max: 100 }, "80", "90",
        "The percentage of the quota at which a warning is given.");
    ON_EXHAUSTED = Field::new("on_exhausted", Kind::Word(OnExhausted::WORDS), "\"stop\"", "\"throttle\"",
        "What happens when the quota is used up: connections are reset and refused until the period ends (`stop`), \
         limited in bandwidth (`throttle`), or only counted (`observe`).");
    THROTTLE_BYTES_PER_SEC = Field::new("throttle_bytes_per_sec", BYTES_PER_SEC, "", "125000",
        "The bandwidth that is left in each direction once the quota is used up. Required with \
         `on_exhausted = \"throttle\"`.");
}

table! {
    /// `[[owner]]`.
    owner, "owner", "[[owner]]",
    "Limits of all rules of an owner together, on each edge. They apply before the limits of a rule.";
    NAME = Field::new("name", Kind::Text { max: 128, lines: false }, "", "\"team-web\"",
        "The owner, as the key `owner` of its rules names it.").required();
    RATE_LIMIT = Field::new("rate_limit", Kind::Table(&crate::fields::owner_rate_limit::TABLE), "",
        "{ bandwidth_out_bytes_per_sec = 125000000 }", "Limits of bandwidth and of new connections of the owner.");
    QUOTA = Field::new("quota", Kind::Table(&crate::fields::quota::TABLE), "",
        "{ bytes = 5000000000000, period = \"month\" }", "How many bytes the rules of the owner may forward in a period.");
}

table! {
    /// `[owner.rate_limit]`.
    owner_rate_limit, "owner.rate_limit", "[owner.rate_limit]",
    "Limits of bandwidth and of new connections of an owner.", without PER_SOURCE;
    BANDWIDTH_IN_BYTES_PER_SEC = super::BANDWIDTH_IN;
    BANDWIDTH_OUT_BYTES_PER_SEC = super::BANDWIDTH_OUT;
    BANDWIDTH_BURST_BYTES = super::BANDWIDTH_BURST;
    NEW_CONNECTIONS_PER_SEC = super::NEW_CONNECTIONS;
    NEW_CONNECTIONS_BURST = super::NEW_CONNECTIONS_BURST;
    PER_SOURCE = Field::new("per_source", Kind::Table(&crate::fields::per_source::TABLE), "", "{ connections = 20 }",
        "Limits for each source.");
    MODE = super::MODE;
}

table! {
    /// The limits of an owner, as a rule of it carries them.
    owner_limits, "rule.owner_limits", "owner_limits", "The limits of the owner of a rule.";
    RATE_LIMIT = Field::new("rate_limit", Kind::Table(&crate::fields::owner_rate_limit::TABLE), "", "{}",
        "Limits of bandwidth and of new connections of the owner.");
    QUOTA = Field::new("quota", Kind::Table(&crate::fields::quota::TABLE), "", "{}", "The quota of the owner.");
}
