//! The start timestamps on a script's `@st` lines.
//!
//! ```text
//! item   _ | _xN                      no start; N of none
//!        offset | offsetxN            an offset; N+1 times the same
//!        offset+stepxN, offset-stepxN N+1 offsets, each further than the one before
//! offset [+-] duration                of one unit, from the sample's own time
//! ```
//! Source: Prometheus, `promql/promqltest/test.go`, `parseSTSequence`.

use super::parse::VALUES_MAX;
use crate::query::durations::parse_duration;

/// The offsets that a line stands for, in milliseconds; `None` where a sample has no start.
///
/// # Errors
/// What is wrong with the line.
pub(super) fn offsets(line: &str) -> Result<Vec<Option<i64>>, String> {
    let mut offsets = Vec::new();
    for item in line.split_whitespace() {
        let (first, step, count) = of_item(item).map_err(|why| format!("start {item:?}: {why}"))?;
        if (offsets.len() as u64).saturating_add(count) > VALUES_MAX {
            return Err(format!("the line stands for more than {VALUES_MAX} starts"));
        }
        let mut at = first;
        for _ in 0..count {
            offsets.push(at);
            at = at.map(|at| at.saturating_add(step));
        }
    }
    Ok(offsets)
}

/// The first offset of an item, what is added from one to the next, and how many there are.
fn of_item(item: &str) -> Result<(Option<i64>, i64, u64), String> {
    let times = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    if item == "_" {
        return Ok((None, 0, 1));
    }
    if let Some(count) = item.strip_prefix("_x") {
        return match times(count)? {
            0 => Err("none of none".to_owned()),
            count => Ok((None, 0, count)),
        };
    }
    let (first, rest) = offset(item)?;
    if rest.is_empty() {
        return Ok((Some(first), 0, 1));
    }
    let (step, rest) = if rest.starts_with(['+', '-']) { offset(rest)? } else { (0, rest) };
    match rest.strip_prefix('x') {
        Some(count) => Ok((Some(first), step, times(count)?.saturating_add(1))),
        None => Err("it lacks how often it is repeated".to_owned()),
    }
}

/// The offset at the front of `text`, and what comes behind it.
fn offset(text: &str) -> Result<(i64, &str), String> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let unit = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = unit.trim_start_matches(|c: char| c.is_ascii_alphabetic() && c != 'x');
    let duration = digits.strip_suffix(rest).unwrap_or(digits);
    let ms = parse_duration(duration).map_err(|error| error.to_string())? / 1_000_000;
    Ok((if is_negative { -ms } else { ms }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stand_for_offsets() {
        let check = |line: &str, want: &[Option<i64>]| {
            assert_eq!(offsets(line).as_deref(), Ok(want), "{line}");
        };
        check("", &[]);
        check("_ -1m 0 +1ms", &[None, Some(-60_000), Some(0), Some(1)]);
        check("_x2 -1sx1", &[None, None, Some(-1000), Some(-1000)]);
        check("-30s-1mx2", &[Some(-30_000), Some(-90_000), Some(-150_000)]);
        check("1ms+1sx1", &[Some(1), Some(1001)]);
    }

    #[test]
    fn what_stands_for_nothing_or_for_too_much_is_refused() {
        for line in ["_x0", "_x", "1", "-", "5mx", "5m-1m", "1h5m", "1mx9999999", "x", "5q", "1m_"]
        {
            assert!(offsets(line).is_err(), "{line}");
        }
    }
}
