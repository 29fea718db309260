//! Durations as text: `1h30m`, `5m`, `1500ms`.
//!
//! ```text
//! duration   (digits unit)+        units from the largest to the smallest, each at most once
//! unit       y w d h m s ms        a year is 365 days, a week 7 days, a day 24 hours
//! ```
//! Source: `prometheus/common`, `model/time.go`.

use std::fmt::Write;

use super::quote::quoted;

const NS_PER_MS: u64 = 1_000_000;
const MS_PER_SECOND: u64 = 1_000;
const MS_PER_MINUTE: u64 = 60 * MS_PER_SECOND;
const MS_PER_HOUR: u64 = 60 * MS_PER_MINUTE;
const MS_PER_DAY: u64 = 24 * MS_PER_HOUR;
const MS_PER_WEEK: u64 = 7 * MS_PER_DAY;
const MS_PER_YEAR: u64 = 365 * MS_PER_DAY;

/// Units from the largest to the smallest, in milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", MS_PER_YEAR),
    ("w", MS_PER_WEEK),
    ("d", MS_PER_DAY),
    ("h", MS_PER_HOUR),
    ("m", MS_PER_MINUTE),
    ("s", MS_PER_SECOND),
    ("ms", 1),
];

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing at all.
    #[error("empty duration string")]
    Empty,
    /// No digits where they should be, or units out of order; shows the text.
    #[error("not a valid duration string: {}", quoted(.0.as_bytes()))]
    Invalid(String),
    /// A unit that does not exist.
    #[error("unknown unit {} in duration {}", quoted(.unit.as_bytes()), quoted(.text.as_bytes()))]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// More than 2^63 - 1 nanoseconds, some 292 years.
    #[error("duration out of range")]
    OutOfRange,
}

/// Reads a duration; returns nanoseconds, never negative.
///
/// # Errors
/// A text that is not a duration, or one of more than some 292 years.
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    match text {
        "0" => return Ok(0),
        "" => return Err(DurationError::Empty),
        _ => {}
    }
    let invalid = || DurationError::Invalid(text.to_owned());
    let (mut rest, mut units_left, mut sum_ns) = (text, &UNITS[..], 0_u64);
    while !rest.is_empty() {
        let (digits, behind) = split_at_first(rest, |c| !c.is_ascii_digit());
        let (unit, behind) = split_at_first(behind, |c| c.is_ascii_digit());
        let count: u64 = digits.parse().map_err(|_| invalid())?;
        if unit.is_empty() {
            return Err(invalid());
        }
        let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::UnknownUnit {
                unit: unit.to_owned(),
                text: text.to_owned(),
            });
        };
        let place = units_left.iter().position(|(name, _)| *name == unit).ok_or_else(invalid)?;
        units_left = units_left.get(place + 1..).unwrap_or_default();
        let part_ns = count.checked_mul(unit_ms * NS_PER_MS).ok_or(DurationError::OutOfRange)?;
        sum_ns = sum_ns.checked_add(part_ns).ok_or(DurationError::OutOfRange)?;
        if sum_ns > i64::MAX.unsigned_abs() {
            return Err(DurationError::OutOfRange);
        }
        rest = behind;
    }
    i64::try_from(sum_ns).map_err(|_| DurationError::OutOfRange)
}

fn split_at_first(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at_checked(text.find(ends).unwrap_or(text.len())).unwrap_or((text, ""))
}

/// Writes milliseconds as Prometheus does: years and weeks only where nothing is left over, `0s` for none.
#[must_use]
pub fn format_duration_ms(ms: i64) -> String {
    let mut out = String::new();
    if ms == 0 {
        return "0s".to_owned();
    }
    if ms < 0 {
        out.push('-');
    }
    let mut left = ms.unsigned_abs();
    for (unit, unit_ms) in UNITS {
        let exact_only = unit_ms >= MS_PER_WEEK;
        let count = left / unit_ms;
        if count > 0 && (!exact_only || left.is_multiple_of(unit_ms)) {
            // Writing to a `String` cannot fail.
            let _ = write!(out, "{count}{unit}");
            left -= count * unit_ms;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        parse_duration(text).unwrap() / 1_000_000
    }

    #[test]
    fn units_add_up() {
        assert_eq!(ms("1y2w3d4h5m6s7ms"), 33_019_506_007);
        assert_eq!((ms("0"), ms("0s"), ms("1500ms")), (0, 0, 1500));
        assert_eq!(ms("292y"), 292 * 365 * 86_400_000);
    }

    #[test]
    fn a_text_that_is_no_duration_is_refused_with_its_reason() {
        let message = |text| parse_duration(text).unwrap_err().to_string();
        assert_eq!(message(""), "empty duration string");
        assert_eq!(message("5"), "not a valid duration string: \"5\"");
        assert_eq!(message("m"), "not a valid duration string: \"m\"");
        assert_eq!(message("-5m"), "not a valid duration string: \"-5m\"");
        assert_eq!(message("5m1m"), "not a valid duration string: \"5m1m\"");
        assert_eq!(message("5s1m"), "not a valid duration string: \"5s1m\"");
        assert_eq!(
            message("99999999999999999999m"),
            "not a valid duration string: \"99999999999999999999m\""
        );
        assert_eq!(message("5y1hs"), "unknown unit \"hs\" in duration \"5y1hs\"");
        assert_eq!(message("1.5h"), "unknown unit \".\" in duration \"1.5h\"");
        assert_eq!(message("293y"), "duration out of range");
        assert_eq!(message("292y300d"), "duration out of range");
    }

    #[test]
    fn years_and_weeks_are_written_only_where_nothing_is_left_over() {
        assert_eq!(format_duration_ms(ms("2y")), "2y");
        assert_eq!(format_duration_ms(ms("1y1w")), "372d");
        assert_eq!(format_duration_ms(ms("2w")), "2w");
        assert_eq!(format_duration_ms(ms("90d")), "90d");
        assert_eq!(format_duration_ms(ms("90m")), "1h30m");
        assert_eq!(format_duration_ms(-1001), "-1s1ms");
        assert_eq!(format_duration_ms(0), "0s");
        assert_eq!(format_duration_ms(i64::MIN), "-106751991167d7h12m55s808ms");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_back(ms in 0..i64::MAX / 1_000_000) {
            proptest::prop_assert_eq!(parse_duration(&format_duration_ms(ms)), Ok(ms * 1_000_000));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-zä.]{0,12}|([0-9]{1,20}(ms|[smhdwy])){0,4}") {
            let _ = parse_duration(&text);
        }
    }
}
