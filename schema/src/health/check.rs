//! The active health check of a rule, validated: what a probe sends and expects. Pure.

use std::net::IpAddr;

use super::history::{DEFAULT_HISTORY, MAX_HISTORY};
use super::retry::Retry;
use crate::codes::TreeCode;
use crate::rule::RuleProblem;

/// What a probe speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HealthKind {
    /// Connect, and perhaps send and expect.
    Tcp,
    /// A TLS handshake.
    Tls,
    /// A request in the clear.
    Http,
    /// A request over TLS.
    Https,
    /// An echo request.
    Icmp,
}

impl HealthKind {
    /// Every word of the key; `none` stands for no check at all.
    pub const WORDS: &'static [&'static str] = &["tcp", "tls", "http", "https", "icmp", "none"];

    /// As in a rule file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Https => "https",
            Self::Icmp => "icmp",
        }
    }

    /// The kind that is written so; `none` is `None` too, look at [`Self::WORDS`] first.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Tcp, Self::Tls, Self::Http, Self::Https, Self::Icmp].into_iter().find(|kind| kind.as_str() == text)
    }

    /// True for kinds that send an HTTP request.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// True for kinds that make a TLS handshake.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }
}

/// Inclusive ranges of HTTP status codes, ascending and apart: however they were written, one set is one value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StatusRanges(Vec<(u16, u16)>);

impl StatusRanges {
    /// Parses `200-399`, `204` or a list of them with commas.
    pub fn parse(text: &str) -> Option<Self> {
        let code = |part: &str| {
            let is_code = part.len() == 3 && part.bytes().all(|byte| byte.is_ascii_digit());
            let code = if is_code { part.parse::<u16>().ok()? } else { return None };
            (100..=599).contains(&code).then_some(code)
        };
        let ranges: Option<Vec<_>> = text
            .split(',')
            .map(|part| {
                let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
                let (first, last) = (code(first)?, code(last)?);
                (first <= last).then_some((first, last))
            })
            .collect();
        let mut ranges = ranges?;
        ranges.sort_unstable();
        ranges.dedup_by(|next, last| {
            let is_joined = next.0 <= last.1 + 1;
            if is_joined {
                last.1 = last.1.max(next.1);
            }
            is_joined
        });
        Some(Self(ranges))
    }

    /// True if the status is in one of the ranges.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl std::fmt::Display for StatusRanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if first == last { write!(f, "{first}")? } else { write!(f, "{first}-{last}")? }
        }
        Ok(())
    }
}

/// What a probe sends and expects, and what its results mean.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// What it speaks.
    pub kind: HealthKind,
    /// Between probes of a settled target, 1..=3600.
    pub interval_secs: u32,
    /// Of one probe, not above the interval.
    pub timeout_ms: u32,
    /// While unknown or between up and down.
    pub fast_interval_secs: u32,
    /// While fully down.
    pub down_interval_secs: u32,
    /// Passes to go up, 1..=255.
    pub rise: u8,
    /// Fails to go down, 1..=255.
    pub fall: u8,
    /// Another port than the target's.
    pub port: Option<u16>,
    /// Another address than the target's.
    pub address: Option<IpAddr>,
    /// Request path.
    pub path: String,
    /// Host header; empty: the target's.
    pub host: String,
    /// Request method.
    pub method: String,
    /// Statuses that pass.
    pub expect_status: StatusRanges,
    /// A regular expression that the body must match; empty: any body.
    pub expect_body: String,
    /// The name to ask for in the handshake; empty: the target's host.
    pub server_name: String,
    /// False: any certificate passes.
    pub verify: bool,
    /// What to send after connecting; empty: nothing.
    pub send: String,
    /// What the answer must contain; empty: nothing is awaited.
    pub expect: String,
    /// True: a new target counts as up until a probe fails.
    pub is_optimistic: bool,
    /// True: the counter moves by one only.
    pub is_leaky: bool,
    /// Spread of the intervals, 0..=100.
    pub jitter_percent: u8,
    /// Changes of a target's state that are kept, 1..=50.
    pub history: u8,
    /// How often a target that is waited for is asked before a failure is a verdict.
    pub retry: Retry,
}

/// `interval_secs` where it is not given.
pub const DEFAULT_INTERVAL_SECS: u32 = 15;
/// `timeout_ms` where it is not given, or the interval if that is shorter.
pub const DEFAULT_TIMEOUT_MS: u32 = 5000;
/// `rise` where it is not given.
pub const DEFAULT_RISE: u8 = 2;
/// `fall` where it is not given.
pub const DEFAULT_FALL: u8 = 3;
/// `jitter_percent` where it is not given.
pub const DEFAULT_JITTER_PERCENT: u8 = 10;

impl HealthCheck {
    /// A check of one kind at one interval, with defaults for the rest.
    pub fn new(kind: HealthKind, interval_secs: u32) -> Self {
        Self {
            kind,
            interval_secs,
            timeout_ms: DEFAULT_TIMEOUT_MS.min(interval_secs.saturating_mul(1000)),
            fast_interval_secs: interval_secs,
            down_interval_secs: interval_secs,
            rise: DEFAULT_RISE,
            fall: DEFAULT_FALL,
            port: None,
            address: None,
            path: "/".to_owned(),
            host: String::new(),
            method: "GET".to_owned(),
            expect_status: StatusRanges(vec![(200, 399)]),
            expect_body: String::new(),
            server_name: String::new(),
            verify: true,
            send: String::new(),
            expect: String::new(),
            is_optimistic: false,
            is_leaky: false,
            jitter_percent: DEFAULT_JITTER_PERCENT,
            history: DEFAULT_HISTORY,
            retry: Retry::default(),
        }
    }

    /// The same check as far as probes and verdicts depend on it: two that differ elsewhere share both.
    #[must_use]
    pub fn judging(&self) -> Self {
        Self { history: DEFAULT_HISTORY, retry: Retry::default(), ..self.clone() }
    }

    /// What is wrong between its parts, with keys relative to the rule.
    pub(crate) fn problems(&self, problems: &mut Vec<RuleProblem>) {
        let mut add = |code, key: &str, message: String| {
            problems.push(RuleProblem { code, key: format!("health.{key}"), message });
        };
        if !(1..=3600).contains(&self.interval_secs) {
            add(TreeCode::OutOfRange, "interval_secs", format!("{} is outside 1..=3600", self.interval_secs));
        }
        if self.timeout_ms == 0 || u64::from(self.timeout_ms) > u64::from(self.interval_secs) * 1000 {
            add(
                TreeCode::OutOfRange,
                "timeout_ms",
                format!("{} ms is longer than the interval of {} s", self.timeout_ms, self.interval_secs),
            );
        }
        if self.rise == 0 {
            add(TreeCode::OutOfRange, "rise", "0 is outside 1..=255".to_owned());
        }
        if self.fall == 0 {
            add(TreeCode::OutOfRange, "fall", "0 is outside 1..=255".to_owned());
        }
        if !(1..=MAX_HISTORY).contains(&self.history) {
            add(TreeCode::OutOfRange, "history", format!("{} is outside 1..={MAX_HISTORY}", self.history));
        }
        if self.retry.initial_ms == 0 {
            add(TreeCode::OutOfRange, "retry.initial_ms", "0 is outside 1..=3600000".to_owned());
        }
        if self.retry.max_ms < self.retry.initial_ms {
            let Retry { initial_ms, max_ms, .. } = self.retry;
            let message = format!("{max_ms} ms is less than `initial_ms`, which is {initial_ms} ms");
            add(TreeCode::OutOfRange, "retry.max_ms", message);
        }
        if let Err(error) = regex_lite::Regex::new(&self.expect_body) {
            add(TreeCode::InvalidValue, "expect_body", format!("not a regular expression: {error}"));
        }
        if !self.path.starts_with('/') || self.path.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            add(TreeCode::InvalidValue, "path", "a path must start with `/` and must not contain spaces".to_owned());
        }
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if self.method.is_empty() || !self.method.bytes().all(is_token) {
            add(TreeCode::InvalidValue, "method", "not an HTTP method".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_set_of_statuses_is_one_value_however_it_is_written() {
        let read = |text: &str| StatusRanges::parse(text).map(|ranges| ranges.to_string());
        for text in ["200-204,404", "404, 200-204", "404,200-202,203-204", "200-203,201-204,404,404"] {
            assert_eq!(read(text).as_deref(), Some("200-204,404"), "{text}");
        }
        assert_eq!(read("200-299,300-399"), read("200-399"));
        assert_eq!(read("204-200"), None);
    }

    #[test]
    fn status_ranges_take_lists_and_refuse_words_and_reversed_ranges() {
        let ranges = StatusRanges::parse("200-299, 404").expect("valid");
        assert!(ranges.contains(204) && ranges.contains(404) && !ranges.contains(301));
        assert_eq!(ranges.to_string(), "200-299,404");
        for bad in ["abc", "", "299-200", "99", "200-", "2000"] {
            assert_eq!(StatusRanges::parse(bad), None, "{bad}");
        }
    }
}
