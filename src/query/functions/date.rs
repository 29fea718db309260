//! Days and hours of instants, in UTC and the Gregorian calendar.
//!
//! Source of the day arithmetic: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".

/// A part of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::query) enum DatePart {
    /// `minute`
    Minute,
    /// `hour`
    Hour,
    /// `day_of_week`, Sunday 0
    DayOfWeek,
    /// `day_of_month`
    DayOfMonth,
    /// `day_of_year`
    DayOfYear,
    /// `days_in_month`
    DaysInMonth,
    /// `month`
    Month,
    /// `year`
    Year,
}

const DAY_SECONDS: i128 = 86_400;
/// The first second that Go has a date for, the first of March of the year -292,277,022,400: what lies before it wraps, and
/// is as far before the end of 64 bits.
const GO_FIRST_SECOND: i128 = -9_223_372_028_741_760_000;

/// A date of the Gregorian calendar, proleptic.
struct Date {
    year: i128,
    /// 1 to 12.
    month: i128,
    /// From 1.
    day: i128,
}

impl Date {
    /// The date of the day `days` after 1970-01-01.
    fn of_day(days: i128) -> Self {
        // Years are counted from March, so that the leap day is a year's last.
        let days = days + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i128::from(month <= 2);
        Self { year, month, day }
    }

    fn is_leap_year(&self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }

    fn days_in_month(&self) -> i128 {
        match self.month {
            2 => 28 + i128::from(self.is_leap_year()),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn day_of_year(&self) -> i128 {
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let month = usize::try_from(self.month - 1).unwrap_or(0);
        let leap_day = i128::from(self.month > 2 && self.is_leap_year());
        before.get(month).copied().unwrap_or(0) + leap_day + self.day
    }
}

/// `part` of the instant `seconds` after the epoch; a fraction of a second is cut off towards zero.
#[expect(
    clippy::cast_possible_truncation,
    reason = "whole seconds are meant, and seconds beyond 2^63 take the last"
)]
pub(in crate::query) fn part_of(part: DatePart, seconds: f64) -> f64 {
    // What Go makes of a number that no integer holds, on the machines that Prometheus runs on.
    let fits = seconds >= i64::MIN as f64 && seconds < i64::MAX as f64;
    part_of_seconds(part, if fits { seconds as i64 } else { i64::MIN })
}

/// `part` of the instant `seconds` after the epoch.
pub(in crate::query) fn part_of_seconds(part: DatePart, seconds: i64) -> f64 {
    let mut seconds = i128::from(seconds);
    if seconds < GO_FIRST_SECOND {
        seconds += 1 << 64;
    }
    let (days, of_day) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    let value = match part {
        DatePart::Minute => of_day % 3600 / 60,
        DatePart::Hour => of_day / 3600,
        DatePart::DayOfWeek => (days + 4).rem_euclid(7),
        DatePart::DayOfMonth => Date::of_day(days).day,
        DatePart::DayOfYear => Date::of_day(days).day_of_year(),
        DatePart::DaysInMonth => Date::of_day(days).days_in_month(),
        DatePart::Month => Date::of_day(days).month,
        DatePart::Year => Date::of_day(days).year,
    };
    value as f64
}

/// The instant `ms` after the epoch as `2006-01-02T15:04:05Z`, milliseconds cut off towards zero.
pub(in crate::query) fn rfc3339_utc(ms: i64) -> String {
    let seconds = i128::from(ms / 1000);
    let (days, of_day) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    let Date { year, month, day } = Date::of_day(days);
    let (hour, minute, second) = (of_day / 3600, of_day % 3600 / 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_before_and_after_the_epoch_are_those_of_the_calendar() {
        assert_eq!(rfc3339_utc(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339_utc(-1000), "1969-12-31T23:59:59Z");
        assert_eq!(rfc3339_utc(1_767_225_599_999), "2025-12-31T23:59:59Z");
    }

    #[test]
    fn every_part_of_a_leap_day() {
        let leap = 1_709_251_199.9; // 2024-02-29 23:59:59.9, a Thursday
        let of = |part| part_of(part, leap);
        assert_eq!(
            [DatePart::Minute, DatePart::Hour, DatePart::DayOfWeek, DatePart::DayOfMonth].map(of),
            [59.0, 23.0, 4.0, 29.0]
        );
        assert_eq!(
            [DatePart::DayOfYear, DatePart::DaysInMonth, DatePart::Month, DatePart::Year].map(of),
            [60.0, 29.0, 2.0, 2024.0]
        );
    }

    #[test] // as Prometheus answers year(vector(Inf)), day_of_year(vector(NaN)) and so on
    fn numbers_that_are_no_instant_have_the_date_that_go_wraps_them_to() {
        for v in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
            let of = |part| part_of(part, v);
            assert_eq!(
                [DatePart::Year, DatePart::DayOfYear, DatePart::Month, DatePart::DayOfMonth]
                    .map(of),
                [292_277_026_596.0, 339.0, 12.0, 4.0]
            );
            let of_day = [DatePart::Hour, DatePart::Minute, DatePart::DayOfWeek].map(of);
            assert_eq!(of_day, [15.0, 30.0, 0.0]);
        }
    }

    #[test]
    fn the_first_second_that_go_has_is_not_wrapped() {
        #[expect(clippy::cast_possible_truncation, reason = "it is one of an i64")]
        let year = |seconds: i128| part_of_seconds(DatePart::Year, seconds as i64);
        assert_eq!(year(GO_FIRST_SECOND), -292_277_022_400.0);
        assert_eq!(year(GO_FIRST_SECOND - 1), 292_277_026_854.0);
    }
}
