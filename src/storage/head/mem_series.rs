//! One series in memory: the hot state that every append touches, and what only reads and chunk cuts need.
//!
//! When a chunk ends is Prometheus's rule, so that chunks come out bit-identical: at the end of its aligned two-hour
//! range, at 240 samples, above 1,005 bytes, or, decided once at 30 samples, where chunks of about 120 samples divide
//! the range evenly. Source: `tsdb/head_append.go` (`appendPreprocessor`, `computeChunkEndTime`).

use super::pairs::PairId;
use crate::encoding::record::{self, SavedOpenChunk};
use crate::encoding::xor::{Words, XorAppender, XorReader};
use crate::model::{Fingerprint, Sample, SeriesRef, TimeRange, TimestampMs};

/// Chunks do not cross multiples of this, in milliseconds.
pub const CHUNK_RANGE_MS: i64 = 2 * 60 * 60 * 1000;
/// What the rule aims at.
const SAMPLES_PER_CHUNK: u16 = 120;
/// Where a chunk ends at the latest.
const SAMPLES_PER_CHUNK_MAX: u16 = 2 * SAMPLES_PER_CHUNK;
/// A chunk with more bytes than this takes no further sample.
const CHUNK_BYTES_MAX: usize = 1005;

/// What appending to a series touches: 88 bytes.
#[derive(Debug)]
pub struct MemSeries {
    /// What it is recognised by.
    pub fingerprint: Fingerprint,
    /// Its name in this shard's log.
    pub reference: SeriesRef,
    chunk: XorAppender,
    words: Words,
    /// A sample at or after this instant begins a new chunk.
    next_at: TimestampMs,
}

const _: () =
    assert!(size_of::<MemSeries>() == 88, "the hot state of a series is counted in bytes");

/// What appending rarely touches.
#[derive(Debug, Default)]
pub struct SeriesRest {
    /// Its labels.
    pub pairs: Box<[PairId]>,
    /// Its chunks that are full, oldest first.
    pub chunks: Vec<HeadChunk>,
}

/// A chunk that takes no further sample.
#[derive(Debug, Clone)]
pub struct HeadChunk {
    /// From its first to its last sample.
    pub range: TimeRange,
    /// Prometheus's XOR encoding.
    pub bytes: Box<[u8]>,
}

/// How a sample fits behind those that a series has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It is the newest.
    InOrder,
    /// The series has this sample already, to the bit.
    Known,
    /// The series has another value at this instant.
    Conflict,
    /// It is older than the newest one and not known.
    Late,
}

impl MemSeries {
    /// A series without samples.
    #[must_use]
    pub fn new(fingerprint: Fingerprint, reference: SeriesRef) -> Self {
        Self {
            fingerprint,
            reference,
            chunk: XorAppender::new(),
            words: Words::default(),
            next_at: TimestampMs::MIN,
        }
    }

    /// Is `t` later than every sample? The question of nearly every append.
    #[inline]
    #[must_use]
    pub fn is_behind(&self, t: TimestampMs) -> bool {
        self.chunk.last().t < t
    }

    /// Appends the open chunk, if it has a sample, to the body of a checkpoint's record.
    pub fn save_open_chunk(&self, body: &mut Vec<u8>) {
        if self.chunk.count() > 0 {
            record::push_open_chunk(body, self.reference, self.next_at, &self.chunk, &self.words);
        }
    }

    /// Takes over that there is a full chunk up to `t`, if there is no sample yet.
    pub fn restore_behind(&mut self, t: TimestampMs) {
        if self.chunk.count() == 0 && self.is_behind(t) {
            self.chunk = XorAppender::behind(t);
        }
    }

    /// Takes an open chunk over from a checkpoint, if there is no sample that it does not follow; its range.
    pub fn restore_open_chunk(&mut self, saved: SavedOpenChunk) -> Option<TimeRange> {
        let first =
            first_of(&saved).filter(|first| self.chunk.count() == 0 && self.is_behind(first.t))?;
        (self.chunk, self.words, self.next_at) = (saved.appender, saved.words, saved.next_at);
        TimeRange::new(first.t, self.chunk.last().t)
    }

    /// The newest sample; `None` if there is none in the open chunk.
    #[inline]
    #[must_use]
    pub fn last(&self) -> Option<Sample> {
        (self.chunk.count() > 0).then(|| self.chunk.last())
    }

    /// Fetches what an append may touch outside of this struct.
    #[inline]
    pub fn prefetch_tail(&self) {
        if let Some(word) = self.chunk.next_word(&self.words) {
            super::paged::prefetch(word);
        }
    }

    /// Appends a sample that is later than all others; returns the chunk that it ended, if it did.
    #[inline]
    pub fn append(&mut self, sample: Sample) -> Option<HeadChunk> {
        debug_assert!(
            self.is_behind(sample.t),
            "the Head orders samples before a series sees them"
        );
        let ended = self.end_chunk_before(sample.t);
        self.chunk.append(&mut self.words, sample.t, sample.v);
        ended
    }

    #[inline]
    fn end_chunk_before(&mut self, t: TimestampMs) -> Option<HeadChunk> {
        let count = self.chunk.count();
        if count == 0 {
            self.next_at = range_end(t);
            return None;
        }
        if count == SAMPLES_PER_CHUNK / 4 {
            self.next_at = self.predicted_end();
        }
        let full = count >= SAMPLES_PER_CHUNK_MAX || self.chunk.len_bytes() > CHUNK_BYTES_MAX;
        if full || t >= self.next_at { self.cut(t) } else { None }
    }

    #[cold]
    #[inline(never)]
    fn cut(&mut self, t: TimestampMs) -> Option<HeadChunk> {
        let chunk = self.open_chunk();
        self.chunk = XorAppender::new();
        self.next_at = range_end(t);
        chunk
    }

    #[cold]
    fn predicted_end(&self) -> TimestampMs {
        match self.open_chunk() {
            Some(chunk) => predicted_end(chunk.range, self.next_at),
            None => self.next_at,
        }
    }

    /// A copy of the chunk that is being written; `None` if it has no sample.
    #[must_use]
    pub fn open_chunk(&self) -> Option<HeadChunk> {
        let last = self.last()?;
        let mut bytes = Vec::new();
        self.chunk.write_to(&self.words, &mut bytes);
        let first = XorReader::new(&bytes).ok()?.next()?.ok()?;
        Some(HeadChunk { range: TimeRange::new(first.t, last.t)?, bytes: bytes.into_boxed_slice() })
    }

    /// Where `sample` fits, looking through the chunks if it is not the newest.
    #[must_use]
    pub fn fit(&self, rest: &SeriesRest, sample: Sample) -> (Fit, Option<Sample>) {
        if self.is_behind(sample.t) {
            return (Fit::InOrder, None);
        }
        match self.sample_at(rest, sample.t) {
            Some(known) if known == sample => (Fit::Known, Some(known)),
            Some(known) => (Fit::Conflict, Some(known)),
            None => (Fit::Late, None),
        }
    }

    fn sample_at(&self, rest: &SeriesRest, t: TimestampMs) -> Option<Sample> {
        let open = self.open_chunk();
        let chunk =
            rest.chunks.iter().rev().chain(open.as_ref()).find(|chunk| chunk.range.contains(t))?;
        XorReader::new(&chunk.bytes).ok()?.flatten().find(|sample| sample.t == t)
    }

    /// Does a chunk of the series overlap `range`?
    #[must_use]
    pub fn overlaps(&self, rest: &SeriesRest, range: TimeRange) -> bool {
        let open = || self.open_chunk().is_some_and(|chunk| chunk.range.overlaps(range));
        rest.chunks.iter().any(|chunk| chunk.range.overlaps(range)) || open()
    }

    /// Appends the samples within `range` to `out`, oldest first.
    pub fn read(&self, rest: &SeriesRest, range: TimeRange, out: &mut Vec<Sample>) {
        let full = rest.chunks.iter().filter(|chunk| chunk.range.overlaps(range));
        let open = self.last().filter(|last| last.t >= range.min()).and_then(|_| self.open_chunk());
        for chunk in full.chain(&open) {
            let Ok(samples) = XorReader::new(&chunk.bytes) else { continue };
            out.extend(samples.map_while(Result::ok).filter(|sample| range.contains(sample.t)));
        }
    }
}

fn first_of(saved: &SavedOpenChunk) -> Option<Sample> {
    let mut bytes = Vec::new();
    saved.appender.write_to(&saved.words, &mut bytes);
    XorReader::new(&bytes).ok()?.next()?.ok()
}

/// The first instant of the next aligned range. Divides as Go does: toward zero.
fn range_end(t: TimestampMs) -> TimestampMs {
    TimestampMs(
        (t.0 / CHUNK_RANGE_MS).saturating_mul(CHUNK_RANGE_MS).saturating_add(CHUNK_RANGE_MS),
    )
}

/// Where a chunk that has a quarter of its samples over `range` should end, so that chunks of the same size fill the
/// time up to `max`. Source: `computeChunkEndTime`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "upstream computes in float64 as well"
)]
fn predicted_end(range: TimeRange, max: TimestampMs) -> TimestampMs {
    const RATIO_TO_FULL: f64 = 4.0;
    let (start, cur) = (range.min().0, range.max().0);
    let left = max.0.saturating_sub(start) as f64;
    let n = left / (cur.saturating_sub(start).saturating_add(1) as f64 * RATIO_TO_FULL);
    if n <= 1.0 { max } else { TimestampMs((start as f64 + left / n.floor()) as i64) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series() -> (MemSeries, SeriesRest) {
        let fingerprint = Fingerprint::default();
        (MemSeries::new(fingerprint, SeriesRef(1)), SeriesRest::default())
    }

    fn fill(samples: impl IntoIterator<Item = Sample>) -> (MemSeries, SeriesRest) {
        let (mut series, mut rest) = series();
        for sample in samples {
            rest.chunks.extend(series.append(sample));
        }
        (series, rest)
    }

    fn every(step_ms: i64, count: i64, value: impl Fn(i64) -> f64) -> Vec<Sample> {
        (0..count)
            .map(|i| Sample { t: TimestampMs(1_600_000_000_000 + i * step_ms), v: value(i) })
            .collect()
    }

    #[test]
    fn at_15_seconds_chunks_of_about_120_samples_divide_the_range() {
        // 1,600,000,000 s lies 1,600 s into its two hours: 374 samples are left of them, which is three chunks. In the
        // next two hours there are 480 samples, four chunks.
        let (_, rest) = fill(every(15_000, 600, |_| 1.0));
        let counts: Vec<u16> =
            rest.chunks.iter().map(|c| XorReader::new(&c.bytes).unwrap().promised()).collect();
        assert_eq!(counts, [125, 125, 124, 120]);
    }

    #[test]
    fn a_chunk_ends_at_240_samples() {
        // The end was predicted from 15 s steps; then samples come every millisecond.
        let slow = every(15_000, 31, |_| 1.0);
        let fast = (1..300).map(|i| Sample { t: slow[30].t.saturating_add(i), v: 1.0 });
        let (_, rest) = fill(slow.iter().copied().chain(fast));
        assert_eq!(XorReader::new(&rest.chunks[0].bytes).unwrap().promised(), 240);
    }

    #[test]
    fn a_chunk_above_1005_bytes_takes_no_further_sample() {
        let noise = |i: i64| f64::from_bits(i.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (_, rest) = fill(every(15_000, 1000, noise));
        assert!(rest.chunks.iter().any(|c| c.bytes.len() > CHUNK_BYTES_MAX));
        assert!(rest.chunks.iter().all(|c| c.bytes.len() <= CHUNK_BYTES_MAX + 20));
    }

    #[test]
    fn a_sample_that_came_before_is_known_wherever_it_lies() {
        let samples = every(15_000, 400, |i| i as f64);
        let (series, rest) = fill(samples.clone());
        for at in [0, 1, 133, 134, 250, 399] {
            assert_eq!(series.fit(&rest, samples[at]).0, Fit::Known, "sample {at}");
            let other = Sample { v: -1.0, ..samples[at] };
            assert_eq!(series.fit(&rest, other), (Fit::Conflict, Some(samples[at])), "sample {at}");
            let late = Sample { t: samples[at].t.saturating_sub(1), v: 0.0 };
            assert_eq!(series.fit(&rest, late).0, Fit::Late, "before sample {at}");
        }
        assert_eq!(
            series.fit(&rest, Sample { t: samples[399].t.saturating_add(1), v: 0.0 }).0,
            Fit::InOrder
        );
    }

    proptest! {
        #[test]
        fn a_series_reads_like_the_list_of_its_samples(
            steps in proptest::collection::vec((1i64..400_000, any::<u64>()), 0..500),
            from in 0i64..200_000_000, len in 0i64..200_000_000,
        ) {
            let mut t = 0;
            let samples: Vec<_> = steps.into_iter()
                .map(|(step, v)| { t += step; Sample { t: TimestampMs(t), v: f64::from_bits(v) } })
                .collect();
            let (series, rest) = fill(samples.clone());
            let range = TimeRange::new(TimestampMs(from), TimestampMs(from + len)).unwrap();
            let mut read = Vec::new();
            series.read(&rest, range, &mut read);
            let want: Vec<_> = samples.into_iter().filter(|s| range.contains(s.t)).collect();
            prop_assert_eq!(read, want);
        }
    }
}
