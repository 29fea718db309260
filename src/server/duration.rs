//! Lengths of time as Prometheus's flags and parameters spell them: `5m`, `1h30m`, `250ms`.
//!
//! Units from large to small, each at most once: `y` (365 days), `w`, `d`, `h`, `m`, `s`, `ms`. `0` needs no unit.
//! Source: `model.ParseDuration` in `prometheus/common`.

use std::time::Duration;

/// The units in the order in which they must stand, with their length in milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The longest duration, as in Prometheus: 2^63 - 1 nanoseconds, about 292 years.
const LONGEST_MS: u64 = i64::MAX.unsigned_abs() / 1_000_000;

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No text at all.
    #[error("empty duration string")]
    Empty,
    /// Not numbers with units, or units out of order.
    #[error("not a valid duration string: {0:?}; write it like 5m, 1h30m or 250ms")]
    Malformed(String),
    /// Longer than about 292 years.
    #[error("duration out of range")]
    OutOfRange,
}

/// Reads a duration.
///
/// # Errors
/// A text that is empty, not of the form above, or longer than 292 years.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    match text {
        "" => return Err(DurationError::Empty),
        "0" => return Ok(Duration::ZERO),
        _ => {}
    }
    let malformed = || DurationError::Malformed(text.to_owned());
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut total_ms = 0u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        if number.is_empty() {
            return Err(malformed());
        }
        // The iterator only moves on, so that a unit can neither repeat nor follow a smaller one.
        let (_, unit_ms) = units.find(|(name, _)| *name == unit).ok_or_else(malformed)?;
        let number: u64 = number.parse().map_err(|_| DurationError::OutOfRange)?;
        total_ms = number
            .checked_mul(*unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .filter(|ms| *ms <= LONGEST_MS)
            .ok_or(DurationError::OutOfRange)?;
        rest = after;
    }
    Ok(Duration::from_millis(total_ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_prometheus_reads_them() {
        let ms = |text: &str| parse(text).unwrap().as_millis();
        assert_eq!(ms("0"), 0);
        assert_eq!(ms("0s"), 0);
        assert_eq!(ms("324ms"), 324);
        assert_eq!(ms("5m"), 300_000);
        assert_eq!(ms("1h30m"), 5_400_000);
        assert_eq!(ms("3w2d1h"), 1_990_800_000);
        assert_eq!(ms("10y"), 315_360_000_000);
        assert_eq!(ms("4s1ms"), 4_001);
    }

    #[test]
    fn units_out_of_order_repeated_or_unknown_are_refused() {
        for text in ["1", "1y1m1d", "-1w", "1.5d", "d", "1s1s", "5 m", "1mm", "1h 30m", "٣m"] {
            assert_eq!(parse(text), Err(DurationError::Malformed(text.to_owned())), "{text}");
        }
        assert_eq!(parse(""), Err(DurationError::Empty));
    }

    #[test]
    fn three_centuries_are_out_of_range() {
        assert_eq!(parse("294y"), Err(DurationError::OutOfRange));
        assert_eq!(parse("99999999999999999999s"), Err(DurationError::OutOfRange));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = parse(&text);
        }
    }
}
