//! The fields of `[rule.health]`. Pure data.

use super::table;
use crate::health::HealthKind;

table! {
    /// `[rule.health]`.
    health, "rule.health", "[rule.health]", "The active health check of a rule's targets.";
    KIND = Field::new("kind", Kind::Word(HealthKind::WORDS), "\"tcp\"", "\"http\"",
        "The protocol of the probes; `none` disables the check.");
    INTERVAL_SECS = Field::new("interval_secs", Kind::Int { min: 1, max: 3600 }, "15", "5",
        "The time between probes of a settled target.");
    TIMEOUT_MS = Field::new("timeout_ms", Kind::Int { min: 1, max: 3_600_000 }, "5000", "2000",
        "The time limit of a probe, at most the interval. If the interval is shorter than 5 s, it is the default.");
    FAST_INTERVAL_SECS = Field::new("fast_interval_secs", Kind::Int { min: 1, max: 3600 }, "", "1",
        "The time between probes while the state is unknown or between up and down. Default: the interval.");
    DOWN_INTERVAL_SECS = Field::new("down_interval_secs", Kind::Int { min: 1, max: 3600 }, "", "30",
        "The time between probes of a target that is fully down. Default: the interval.");
    RISE = Field::new("rise", Kind::Int { min: 1, max: 255 }, "2", "3",
        "The number of consecutive passes that take a target up.");
    FALL = Field::new("fall", Kind::Int { min: 1, max: 255 }, "3", "5",
        "The number of consecutive failures that take a target down.");
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
        "The statuses that pass, as comma-separated numbers and ranges; http and https only.");
    EXPECT_BODY = Field::new("expect_body", Kind::Regex, "\"\"", "\"^ok\"",
        "A regular expression that the body must match; http and https only.");
    SERVER_NAME = Field::new("server_name", Kind::Text { max: 253, lines: false }, "\"\"", "\"www.example.org\"",
        "The server name to send in the TLS handshake; tls and https only. Default: the target's host.");
    VERIFY = Field::new("verify", Kind::Bool, "true", "false",
        "With `false`, any certificate passes; tls and https only.");
    SEND = Field::new("send", Kind::Payload { max: 1024 }, "\"\"", "\"PING\\r\\n\"",
        "The data to send after connecting; tcp only.");
    EXPECT = Field::new("expect", Kind::Payload { max: 1024 }, "\"\"", "\"+PONG\"",
        "The text that the answer must contain; tcp only.");
    INITIAL = Field::new("initial", Kind::Word(&["probe", "optimistic"]), "\"probe\"", "\"optimistic\"",
        "`probe`: a new target has no verdict until its first results. `optimistic`: a new target counts as up until a \
         probe fails.");
    MODE = Field::new("mode", Kind::Word(&["snap", "leaky"]), "\"snap\"", "\"leaky\"",
        "`snap`: each new verdict starts with full hysteresis. `leaky`: the counter moves by one per result.");
    JITTER_PERCENT = Field::new("jitter_percent", Kind::Int { min: 0, max: 100 }, "10", "20",
        "The random spread of the intervals.");
    HISTORY = Field::new("history", Kind::Int { min: 1, max: 50 }, "5", "20",
        "The number of changes of a target's state that are kept and shown.");
    RETRY = Field::new("retry", Kind::Table(&crate::fields::retry::TABLE), "", "{ max = 5, initial_ms = 500, max_ms = 8000 }",
        "How often a new or resumed target is probed before a failure is a verdict.");
}

table! {
    /// `[rule.health] retry`.
    retry, "rule.health.retry", "[rule.health.retry]",
    "The retries for a target that is new, resumed or enabled again: it has no verdict before a pass or the last \
     retry.";
    MAX = Field::new("max", Kind::Int { min: 0, max: 255 }, "5", "3",
        "The number of retries after the first probe; with 0, the first result decides.");
    INITIAL_MS = Field::new("initial_ms", Kind::Int { min: 1, max: 3_600_000 }, "500", "1000",
        "The delay before the first retry; it doubles with each further one.");
    MAX_MS = Field::new("max_ms", Kind::Int { min: 1, max: 3_600_000 }, "8000", "4000",
        "The longest delay between two probes. If `initial_ms` is longer than 8000, it is the default.");
}
