//! The fields of `[rule.health]`. Pure data.

use super::table;
use crate::health::HealthKind;

table! {
    /// `[rule.health]`.
    health, "rule.health", "[rule.health]", "The active health check of a rule's targets.";
    KIND = Field::new("kind", Kind::Word(HealthKind::WORDS), "\"tcp\"", "\"http\"",
        "What a probe speaks; `none` is no check at all.");
    INTERVAL_SECS = Field::new("interval_secs", Kind::Int { min: 1, max: 3600 }, "15", "5",
        "Between probes of a settled target.");
    TIMEOUT_MS = Field::new("timeout_ms", Kind::Int { min: 1, max: 3_600_000 }, "5000", "2000",
        "How long a probe may take, not above the interval; the default is the interval where that is shorter.");
    FAST_INTERVAL_SECS = Field::new("fast_interval_secs", Kind::Int { min: 1, max: 3600 }, "", "1",
        "Between probes while the state is unknown or between up and down. Default: the interval.");
    DOWN_INTERVAL_SECS = Field::new("down_interval_secs", Kind::Int { min: 1, max: 3600 }, "", "30",
        "Between probes of a target that is fully down. Default: the interval.");
    RISE = Field::new("rise", Kind::Int { min: 1, max: 255 }, "2", "3", "Passes in a row that bring a target up.");
    FALL = Field::new("fall", Kind::Int { min: 1, max: 255 }, "3", "5", "Fails in a row that take a target down.");
    PORT = Field::new("port", Kind::Int { min: 1, max: 65535 }, "", "8081",
        "The port to probe. Default: the target's.");
    ADDRESS = Field::new("address", Kind::Ip, "", "\"10.0.0.9\"", "The address to probe. Default: the target's.");
    PATH = Field::new("path", Kind::Text { max: 1024, lines: false }, "\"/\"", "\"/healthz\"",
        "The path to request; http and https only.");
    HOST = Field::new("host", Kind::Text { max: 253, lines: false }, "\"\"", "\"www.example.org\"",
        "The Host header; http and https only. Default: the target's host.");
    METHOD = Field::new("method", Kind::Text { max: 32, lines: false }, "\"GET\"", "\"HEAD\"",
        "The request method; http and https only.");
    EXPECT_STATUS = Field::new("expect_status", Kind::Statuses, "\"200-399\"", "\"200,204\"",
        "Statuses that pass, as numbers and ranges with commas; http and https only.");
    EXPECT_BODY = Field::new("expect_body", Kind::Regex, "\"\"", "\"^ok\"",
        "A regular expression that the body must match; http and https only.");
    SERVER_NAME = Field::new("server_name", Kind::Text { max: 253, lines: false }, "\"\"", "\"www.example.org\"",
        "The name to ask for in the TLS handshake; tls and https only. Default: the target's host.");
    VERIFY = Field::new("verify", Kind::Bool, "true", "false",
        "With false any certificate passes; tls and https only.");
    SEND = Field::new("send", Kind::Payload { max: 1024 }, "\"\"", "\"PING\\r\\n\"",
        "What to send after connecting; tcp only.");
    EXPECT = Field::new("expect", Kind::Payload { max: 1024 }, "\"\"", "\"+PONG\"",
        "What the answer must contain; tcp only.");
    INITIAL = Field::new("initial", Kind::Word(&["probe", "optimistic"]), "\"probe\"", "\"optimistic\"",
        "`optimistic`: a new target counts as up until a probe fails.");
    MODE = Field::new("mode", Kind::Word(&["snap", "leaky"]), "\"snap\"", "\"leaky\"",
        "`snap`: a fresh verdict has full hysteresis; `leaky`: the counter moves by one only.");
    JITTER_PERCENT = Field::new("jitter_percent", Kind::Int { min: 0, max: 100 }, "10", "20",
        "Spread of the intervals.");
    HISTORY = Field::new("history", Kind::Int { min: 1, max: 50 }, "5", "20",
        "Changes of a target's state that are kept and shown.");
    RETRY = Field::new("retry", Kind::Table(&crate::fields::retry::TABLE), "", "{ max = 5, initial_ms = 500, max_ms = 8000 }",
        "How often a new or resumed target is asked before a failure is a verdict.");
}

table! {
    /// `[rule.health] retry`.
    retry, "rule.health.retry", "[rule.health.retry]",
    "How a target that is new, resumed, or enabled again is waited for: no verdict before a pass or the last try.";
    MAX = Field::new("max", Kind::Int { min: 0, max: 255 }, "5", "3",
        "Tries after the first one; with 0 the first result decides.");
    INITIAL_MS = Field::new("initial_ms", Kind::Int { min: 1, max: 3_600_000 }, "500", "1000",
        "From the first try to the second; it doubles with each further one.");
    MAX_MS = Field::new("max_ms", Kind::Int { min: 1, max: 3_600_000 }, "8000", "4000",
        "The longest wait between two tries; the default is `initial_ms` where that is longer.");
}
