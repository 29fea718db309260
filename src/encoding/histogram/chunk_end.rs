//! When a chunk of histograms is long enough: by its size, for histograms have very different ones.
//!
//! A chunk ends with its aligned two hours at the latest. When it has a quarter of 1 KiB its end is predicted, so that
//! chunks of equal length and of about 1 KiB fill the rest of these hours. If that turns out wrong it ends at 2 KiB. But
//! it has ten samples at least, or the hours end: a histogram alone may be larger than 1 KiB, and its chunk would save
//! nothing. Where a reset of the counter or another layout begins a chunk, upstream leaves its end unpredicted; here every
//! chunk's is predicted. Source: `histogramsAppendPreprocessor` in Prometheus's `tsdb/head_append.go`.

use crate::encoding::chunk_range::{predicted_end, range_end};
use crate::model::{TimeRange, TimestampMs};

/// What the rule aims at.
const TARGET_BYTES: usize = 1024;
/// A chunk of fewer samples goes on.
const SAMPLES_MIN: u16 = 10;

/// Where a chunk is going to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkEnd {
    /// A sample at or after this instant begins a new chunk.
    next_at: TimestampMs,
    /// Has `next_at` been predicted from the samples?
    predicted: bool,
}

/// What the rule looks at in a chunk that is being written.
#[derive(Clone, Copy, Debug)]
pub struct OpenChunk {
    /// From its first to its last sample.
    pub range: TimeRange,
    /// How many samples it has.
    pub samples: u16,
    /// Its length.
    pub bytes: usize,
}

impl ChunkEnd {
    /// Of a chunk whose first sample is at `first`.
    #[must_use]
    pub fn of(first: TimestampMs) -> Self {
        Self { next_at: range_end(first), predicted: false }
    }

    /// Where the chunk is predicted to end, if it is.
    #[must_use]
    pub fn predicted(&self) -> Option<TimestampMs> {
        self.predicted.then_some(self.next_at)
    }

    /// Of a chunk whose first sample is at `first` and whose end may have been [predicted](Self::predicted).
    #[must_use]
    pub fn restored(first: TimestampMs, predicted: Option<TimestampMs>) -> Self {
        let next_at = predicted.unwrap_or_else(|| range_end(first));
        Self { next_at, predicted: predicted.is_some() }
    }

    /// Does `chunk` end before a sample at `t`? To be asked for each.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "upstream computes in float64 as well")]
    pub fn is_before(&mut self, t: TimestampMs, chunk: OpenChunk) -> bool {
        if !self.predicted && chunk.bytes >= TARGET_BYTES / 4 {
            self.predicted = true;
            let times = TARGET_BYTES as f64 / chunk.bytes as f64;
            self.next_at = predicted_end(chunk.range, self.next_at, times);
        }
        let long = t >= self.next_at || chunk.bytes >= 2 * TARGET_BYTES;
        long && (chunk.samples >= SAMPLES_MIN || t >= range_end(chunk.range.min()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::chunk_range::CHUNK_RANGE_MS;

    fn chunk(last: i64, samples: u16, bytes: usize) -> OpenChunk {
        let range = TimeRange::new(TimestampMs(0), TimestampMs(last)).unwrap();
        OpenChunk { range, samples, bytes }
    }

    fn end() -> ChunkEnd {
        ChunkEnd::of(TimestampMs(0))
    }

    #[test]
    fn a_chunk_ends_with_its_two_hours_however_few_samples_it_has() {
        assert!(!end().is_before(TimestampMs(CHUNK_RANGE_MS - 1), chunk(0, 1, 100)));
        assert!(end().is_before(TimestampMs(CHUNK_RANGE_MS), chunk(0, 1, 100)));
    }

    #[test]
    fn the_end_is_predicted_at_a_quarter_so_that_chunks_of_a_kibibyte_fill_the_time() {
        // 256 bytes in 10 minutes: a chunk is full in 40, and three of them fill two hours.
        let mut end = end();
        assert!(!end.is_before(TimestampMs(660_000), chunk(599_999, 11, 256)));
        assert!(!end.is_before(TimestampMs(2_399_999), chunk(2_340_000, 40, 1020)));
        assert!(end.is_before(TimestampMs(2_400_000), chunk(2_340_000, 40, 1020)));
    }

    #[test]
    fn a_wrong_prediction_ends_a_chunk_at_two_kibibytes() {
        let mut end = end();
        assert!(!end.is_before(TimestampMs(660_000), chunk(599_999, 11, 256)));
        assert!(end.is_before(TimestampMs(700_000), chunk(690_000, 12, 2048)));
    }

    #[test]
    fn a_chunk_of_large_histograms_has_ten_samples() {
        let mut end = end();
        assert!(!end.is_before(TimestampMs(80_000), chunk(72_000, 9, 90_000)));
        assert!(end.is_before(TimestampMs(90_000), chunk(80_000, 10, 100_000)));
    }
}
