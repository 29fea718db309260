//! Aligned ranges of time that no chunk of a Head reaches over, and where to end a chunk within one.

use crate::model::{TimeRange, TimestampMs};

/// Length of an aligned range in milliseconds.
pub const CHUNK_RANGE_MS: i64 = 2 * 60 * 60 * 1000;

/// The first instant of the next aligned range. Divides as Go does: toward zero.
#[must_use]
pub fn range_end(t: TimestampMs) -> TimestampMs {
    TimestampMs(
        (t.0 / CHUNK_RANGE_MS).saturating_mul(CHUNK_RANGE_MS).saturating_add(CHUNK_RANGE_MS),
    )
}

/// Where a chunk over `range` should end that would be full at `times` its size, so that chunks of the same size fill the
/// time up to `max`. Source: Prometheus, `computeChunkEndTime`.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "upstream computes in float64 as well"
)]
pub fn predicted_end(range: TimeRange, max: TimestampMs, times: f64) -> TimestampMs {
    let (start, cur) = (range.min().0, range.max().0);
    let left = max.0.saturating_sub(start) as f64;
    let n = left / (cur.saturating_sub(start).saturating_add(1) as f64 * times);
    if n <= 1.0 { max } else { TimestampMs((start as f64 + left / n.floor()) as i64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_before_the_epoch_end_as_upstreams_do() {
        assert_eq!(range_end(TimestampMs(-1)), TimestampMs(CHUNK_RANGE_MS));
        assert_eq!(range_end(TimestampMs(-CHUNK_RANGE_MS)), TimestampMs(0));
    }
}
