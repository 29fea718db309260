//! Numbers as people type them: `100k` series, `1GiB`, `1h30m`, `now-2h`.

use std::time::Duration;

/// Why a text is not the number it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {what}")]
pub struct QuantityError {
    text: String,
    what: &'static str,
}

fn not<'a>(text: &'a str, what: &'static str) -> impl Fn() -> QuantityError + 'a {
    move || QuantityError { text: text.to_owned(), what }
}

/// Splits `text` behind its number: digits with `_` between them and at most one point.
fn number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'));
    let (digits, unit) = text.split_at(end.unwrap_or(text.len()));
    Some((digits.replace('_', "").parse().ok()?, unit))
}

/// `value` times `unit` as a whole number of at most 2^53.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in range by the check"
)]
fn whole(value: f64, unit: f64) -> Option<u64> {
    let value = (value * unit).round();
    (0.0..=9_007_199_254_740_992.0).contains(&value).then_some(value as u64)
}

/// A count: `100000`, `100_000`, `100k`, `2.5M`.
///
/// # Errors
/// Anything else.
pub fn parse_count(text: &str) -> Result<u64, QuantityError> {
    let refuse = not(text, "a count such as 100000, 100k or 2.5M");
    let (value, unit) = number(text).ok_or_else(&refuse)?;
    let unit = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "m" | "M" => 1e6,
        "g" | "G" => 1e9,
        _ => return Err(refuse()),
    };
    whole(value, unit).ok_or_else(refuse)
}

/// As [`parse_count`], for what is counted in 32 bits.
///
/// # Errors
/// Anything else, and numbers of more than 32 bits.
pub fn parse_count_u32(text: &str) -> Result<u32, QuantityError> {
    u32::try_from(parse_count(text)?).map_err(|_| not(text, "a count below 4294967296")())
}

/// A size in bytes: `1048576`, `64MiB`, `1GiB`, `500MB`.
///
/// # Errors
/// Anything else.
pub fn parse_bytes(text: &str) -> Result<u64, QuantityError> {
    let refuse = not(text, "a size such as 64MiB, 1GiB or 500MB");
    let (value, unit) = number(text).ok_or_else(&refuse)?;
    let unit = match unit {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        _ => return Err(refuse()),
    };
    whole(value, unit).ok_or_else(refuse)
}

/// A duration: `30s`, `500ms`, `1h30m`, `2d`.
///
/// # Errors
/// Anything else; a number without a unit, too.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let refuse = not(text, "a duration such as 30s, 500ms or 1h30m");
    let (mut rest, mut total) = (text, 0u64);
    while !rest.is_empty() {
        let (value, tail) = number(rest).ok_or_else(&refuse)?;
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit_us = match unit {
            "us" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            "m" => 60e6,
            "h" => 3_600e6,
            "d" => 86_400e6,
            _ => return Err(refuse()),
        };
        total = whole(value, unit_us).and_then(|us| total.checked_add(us)).ok_or_else(&refuse)?;
        rest = tail;
    }
    match text {
        "" => Err(refuse()),
        _ => Ok(Duration::from_micros(total)),
    }
}

/// Where a synthetic clock starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTime {
    /// So many milliseconds from now; negative is in the past.
    FromNow(i64),
    /// Milliseconds since the epoch.
    At(i64),
}

impl StartTime {
    /// Milliseconds since the epoch, when it is `now_ms`.
    #[must_use]
    pub fn resolve(self, now_ms: i64) -> i64 {
        match self {
            Self::FromNow(ms) => now_ms.saturating_add(ms),
            Self::At(ms) => ms,
        }
    }
}

/// A start time: `now`, `now-2h`, seconds since the epoch, or `2026-08-01T12:00:00Z`.
///
/// # Errors
/// Anything else.
pub fn parse_start_time(text: &str) -> Result<StartTime, QuantityError> {
    let refuse = not(text, "a time such as now-2h, 1785585600 or 2026-08-01T12:00:00Z");
    if let Some(shift) = text.strip_prefix("now") {
        let ms =
            |text: &str| parse_duration(text).ok().and_then(|d| i64::try_from(d.as_millis()).ok());
        return match shift.split_at_checked(1) {
            None => Ok(StartTime::FromNow(0)),
            Some(("+", shift)) => ms(shift).map(StartTime::FromNow).ok_or_else(refuse),
            Some(("-", shift)) => ms(shift).map(|ms| StartTime::FromNow(-ms)).ok_or_else(refuse),
            Some(_) => Err(refuse()),
        };
    }
    if let Some((seconds, "")) = number(text) {
        let ms = whole(seconds, 1e3).and_then(|ms| i64::try_from(ms).ok());
        return ms.map(StartTime::At).ok_or_else(refuse);
    }
    utc_ms(text).map(StartTime::At).ok_or_else(refuse)
}

/// `YYYY-MM-DDTHH:MM:SSZ` in milliseconds since the epoch.
fn utc_ms(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let part = |text: &str, width: usize, range: std::ops::RangeInclusive<i64>| {
        let digits = text.len() == width && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<i64>().ok())?.filter(|n| range.contains(n))
    };
    let [year, month, day] = date.split('-').collect::<Vec<_>>().try_into().ok()?;
    let [hour, minute, second] = time.split(':').collect::<Vec<_>>().try_into().ok()?;
    let (year, month, day) =
        (part(year, 4, 1970..=9999)?, part(month, 2, 1..=12)?, part(day, 2, 1..=31)?);
    let (hour, minute, second) =
        (part(hour, 2, 0..=23)?, part(minute, 2, 0..=59)?, part(second, 2, 0..=59)?);
    // Days since 1970-03-01 of a calendar whose years begin in March, so that leap days come last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

/// Milliseconds since the epoch as `2026-08-01T12:00:00Z`, for people.
#[must_use]
pub fn utc_text(ms: i64) -> String {
    let (days, second) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 1000);
    // The same calendar as above, counted in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..=9 => (era * 400 + year, month + 3),
        _ => (era * 400 + year + 1, month - 9),
    };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_take_underscores_and_suffixes() {
        assert_eq!(parse_count("100_000"), Ok(100_000));
        assert_eq!(parse_count("2.5M"), Ok(2_500_000));
        assert_eq!(
            parse_count_u32("5G").unwrap_err().to_string(),
            "\"5G\" is not a count below 4294967296"
        );
        for wrong in ["", "k", "1x", "-1", "1e9999", "1.2.3"] {
            assert!(parse_count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_know_binary_and_decimal_units() {
        assert_eq!(parse_bytes("1GiB"), Ok(1 << 30));
        assert_eq!(parse_bytes("500MB"), Ok(500_000_000));
        assert!(parse_bytes("1gig").is_err());
    }

    #[test]
    fn durations_add_their_parts_and_need_units() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "30", "s", "5 s", "99999999999d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn start_times_are_relative_or_absolute() {
        assert_eq!(parse_start_time("now"), Ok(StartTime::FromNow(0)));
        assert_eq!(parse_start_time("now-2h").unwrap().resolve(7_200_001), 1);
        assert_eq!(parse_start_time("1785585600.5"), Ok(StartTime::At(1_785_585_600_500)));
        assert_eq!(parse_start_time("2026-08-01T12:00:00Z"), Ok(StartTime::At(1_785_585_600_000)));
        assert_eq!(parse_start_time("1970-01-01T00:00:00Z"), Ok(StartTime::At(0)));
        for wrong in ["", "now2h", "now-", "2026-13-01T12:00:00Z", "2026-8-01T12:00:00Z", "now-ä"]
        {
            assert!(parse_start_time(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_time_printed_is_read_back(seconds in 0i64..253_402_300_799) {
            let text = utc_text(seconds * 1000);
            prop_assert_eq!(parse_start_time(&text), Ok(StartTime::At(seconds * 1000)), "{}", text);
        }
    }
}
