//! What is told about samples that were refused: to their sender all that fits, to the log now and then.
//!
//! One line a series: `out of order sample for series {__name__="up"}`, as Prometheus answers remote write 2.0. Senders
//! log the answer, so that it is kept short: a few lines, long ones cut, and then how many series more.

use std::fmt::Write;
use std::time::Duration;

use crate::model::Refusal;

/// Refusals are logged once in that time.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// So many series are named.
const LINES_MAX: usize = 20;
/// A line is cut behind that many bytes.
const LINE_BYTES_MAX: usize = 1024;

/// The text for `refusals`, of `series` that were refused in all.
#[must_use]
pub fn refusal_text<'a>(refusals: impl Iterator<Item = &'a Refusal>, series: u64) -> String {
    let mut text = String::new();
    let mut named = 0;
    for refusal in refusals.take(LINES_MAX) {
        if named > 0 {
            text.push('\n');
        }
        named += 1;
        let line = format!("{} for series {}", refusal.reason, refusal.series);
        push_cut(&mut text, &line);
    }
    let more = series.saturating_sub(named);
    if more > 0 {
        // Writing to a `String` does not fail.
        let _ = write!(text, "\nand {more} more series");
    }
    text
}

/// Appends a line, or its beginning and how much is missing.
fn push_cut(text: &mut String, line: &str) {
    if line.len() <= LINE_BYTES_MAX {
        return text.push_str(line);
    }
    // A boundary of characters is at most three bytes away.
    let at = (0..=LINE_BYTES_MAX).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    text.push_str(line.get(..at).unwrap_or_default());
    let _ = write!(text, "… ({} bytes more)", line.len() - at);
}

/// Which of many refused requests are logged: a sender with a broken clock would otherwise fill the log.
#[derive(Debug, Default)]
pub struct RefusalLog {
    logged_at: Option<Duration>,
    kept_back: u64,
}

impl RefusalLog {
    /// Is a request that is refused at `now`, counted from any fixed moment, to be logged? If so, how many were not
    /// since the last one that was.
    pub fn admit(&mut self, now: Duration) -> Option<u64> {
        if self.logged_at.is_some_and(|last| now < last + LOG_EVERY) {
            self.kept_back += 1;
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RefusalReason, TimestampMs};

    fn refusal(series: &str, reason: RefusalReason) -> Refusal {
        Refusal { series: series.to_owned(), samples: 1, reason }
    }

    #[test]
    fn each_series_is_named_with_its_reason() {
        let duplicate = RefusalReason::Duplicate { t: TimestampMs(5), existing: 1.0, new: 2.5 };
        let refusals =
            [refusal("{a=\"b\"}", RefusalReason::OutOfOrder), refusal("{a=\"c\"}", duplicate)];
        assert_eq!(
            refusal_text(refusals.iter(), 2),
            "out of order sample for series {a=\"b\"}\n\
             duplicate sample for timestamp 5; overrides not allowed: existing 1, new value 2.5 for series {a=\"c\"}"
        );
    }

    #[test]
    fn the_log_hears_of_the_first_and_then_of_one_in_ten_seconds() {
        let mut log = RefusalLog::default();
        let at = Duration::from_secs;
        assert_eq!(log.admit(at(0)), Some(0));
        assert_eq!(log.admit(at(1)), None);
        assert_eq!(log.admit(at(9)), None);
        assert_eq!(log.admit(at(10)), Some(2));
        assert_eq!(log.admit(at(11)), None);
    }

    #[test]
    fn many_series_are_counted_and_long_ones_cut() {
        let refusals: Vec<_> =
            (0..30).map(|i| refusal(&format!("{{a=\"{i}\"}}"), RefusalReason::TooOld)).collect();
        let text = refusal_text(refusals.iter(), 1000);
        assert!(
            text.ends_with("too old sample for series {a=\"19\"}\nand 980 more series"),
            "{text}"
        );
        let long = [refusal(&"ä".repeat(10_000), RefusalReason::TooOld)];
        let text = refusal_text(long.iter(), 1);
        assert!(text.len() < 1100 && text.ends_with(" bytes more)"), "{text}");
    }
}
