//! One series in memory: the hot state that every append touches, and what only reads and chunk cuts need.
//!
//! When a chunk ends is Prometheus's rule, so that chunks come out bit-identical: at the end of its aligned two-hour
//! range, at 240 samples, above 1,005 bytes, or, decided once at 30 samples, where chunks of about 120 samples divide
//! the range evenly. Source: `tsdb/head_append.go` (`appendPreprocessor`, `computeChunkEndTime`).

use super::head_chunk::{self, Ended, HeadChunk};
use super::late::Late;
use super::open_histogram::OpenHistogram;
use super::pairs::PairId;
use super::spilled::SpilledChunk;
use crate::encoding::chunk_range::predicted_end;
pub use crate::encoding::chunk_range::{CHUNK_RANGE_MS, range_end};
use crate::encoding::record::{self, SavedOpenChunk};
use crate::encoding::xor::{self, Words, XorAppender};
use crate::model::{
    AnyHistogramRef, Fingerprint, Sample, Samples, SamplesMark, SeriesRef, TimeRange, TimestampMs,
    Value, ValueRef,
};

/// What the rule aims at.
const SAMPLES_PER_CHUNK: u16 = 120;
/// Its end is predicted when it has a quarter of that.
const TIMES_A_QUARTER: f64 = 4.0;
/// Where a chunk ends at the latest.
const SAMPLES_PER_CHUNK_MAX: u16 = 2 * SAMPLES_PER_CHUNK;
/// A chunk with more bytes than this takes no further sample.
const CHUNK_BYTES_MAX: usize = 1005;

/// What appending to a series touches: 88 bytes. The default stands where there is no series.
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

impl Default for MemSeries {
    fn default() -> Self {
        Self::new(Fingerprint::default(), SeriesRef(0))
    }
}

/// What appending rarely touches.
#[derive(Debug, Default)]
pub struct SeriesRest {
    /// Its labels.
    pub pairs: Box<[PairId]>,
    /// Its oldest chunks: they have left memory. Its length to the byte: a million series have one each.
    pub spilled: Box<[SpilledChunk]>,
    /// Its chunks behind those that are full, oldest first.
    pub chunks: Box<[HeadChunk]>,
    /// Its late samples, if it ever had any.
    pub late: Option<Box<Late>>,
    /// The chunk of histograms that is being written, if its newest in-order sample is one. Then no floats are.
    pub histogram: Option<Box<OpenHistogram>>,
}

const _: () = assert!(size_of::<SeriesRest>() == 64, "a series is counted in bytes");

impl SeriesRest {
    /// Neither a full chunk nor a late sample nor a histogram?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spilled.is_empty()
            && self.chunks.is_empty()
            && self.histogram.is_none()
            && self.late.as_ref().is_none_or(|late| late.is_empty())
    }

    /// How many chunks there are that take no further sample.
    #[must_use]
    pub fn chunk_count(&self) -> usize {
        let late = self.late.as_ref().map_or(0, |late| late.chunks.len());
        self.spilled.len() + self.chunks.len() + late
    }

    /// Takes a full chunk over that is later than all others.
    pub fn push_chunk(&mut self, chunk: HeadChunk) {
        push(&mut self.chunks, chunk);
    }

    /// Takes over where a full chunk lies that is later than all others.
    pub fn push_spilled(&mut self, place: SpilledChunk) {
        push(&mut self.spilled, place);
    }

    /// Replaces the oldest full chunk in memory by where it lies.
    pub fn spill_oldest(&mut self, place: SpilledChunk) -> Option<HeadChunk> {
        let mut chunks = std::mem::take(&mut self.chunks).into_iter();
        let oldest = chunks.next();
        self.chunks = chunks.collect();
        push(&mut self.spilled, place);
        oldest
    }
}

fn push<T>(to: &mut Box<[T]>, element: T) {
    let mut elements = std::mem::take(to).into_vec();
    elements.reserve_exact(1);
    elements.push(element);
    *to = elements.into_boxed_slice();
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
        let first = saved.appender.first(&saved.words);
        let first = first.filter(|first| self.chunk.count() == 0 && self.is_behind(first.t))?;
        (self.chunk, self.words, self.next_at) = (saved.appender, saved.words, saved.next_at);
        TimeRange::new(first.t, self.chunk.last().t)
    }

    /// Takes an open chunk of histograms over from a checkpoint, likewise.
    pub fn restore_open_histogram(
        &mut self,
        histogram: &mut Option<Box<OpenHistogram>>,
        saved: OpenHistogram,
    ) -> Option<TimeRange> {
        let follows = self.chunk.count() == 0 && histogram.is_none();
        let range = saved.range().filter(|range| follows && self.is_behind(range.min()))?;
        self.chunk = XorAppender::behind(range.max());
        *histogram = Some(Box::new(saved));
        Some(range)
    }

    /// An instant that every in-order sample to come is later than: that of the newest one, if there ever was one.
    #[inline]
    #[must_use]
    pub fn newest(&self) -> TimestampMs {
        self.chunk.last().t
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

    /// Is there no float chunk that is being written? Then one of histograms may be.
    #[inline]
    #[must_use]
    pub fn has_no_floats(&self) -> bool {
        self.chunk.count() == 0
    }

    /// Ends the chunk of histograms, if there is one: a float comes.
    #[must_use]
    pub fn begin_floats(&mut self, histogram: &mut Option<Box<OpenHistogram>>) -> Option<Ended> {
        histogram.take().and_then(|open| open.chunk()).map(Ended::Histograms)
    }

    /// Appends a histogram that is later than all other samples; returns the chunk that it ended, if it did.
    #[must_use]
    pub fn append_histogram(
        &mut self,
        open: &mut Option<Box<OpenHistogram>>,
        t: TimestampMs,
        h: AnyHistogramRef<'_>,
    ) -> Option<Ended> {
        debug_assert!(self.is_behind(t), "the Head orders samples before a series sees them");
        let floats = self.end_floats();
        self.chunk = XorAppender::behind(t);
        match open {
            Some(open) => open.append(t, h),
            None => {
                *open = Some(Box::new(OpenHistogram::begin(t, h)));
                floats
            }
        }
    }

    /// Appends a float that is later than all other samples; returns the chunk that it ended, if it did. There is no chunk of
    /// histograms that is being written (see [`begin_floats`](Self::begin_floats)).
    #[inline]
    pub fn append(&mut self, sample: Sample) -> Option<Ended> {
        debug_assert!(
            self.is_behind(sample.t),
            "the Head orders samples before a series sees them"
        );
        let ended = self.end_chunk_before(sample.t);
        self.chunk.append(&mut self.words, sample.t, sample.v);
        ended
    }

    #[inline]
    fn end_chunk_before(&mut self, t: TimestampMs) -> Option<Ended> {
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
    fn cut(&mut self, t: TimestampMs) -> Option<Ended> {
        let successor = self.chunk.successor();
        let ended = self.end_floats();
        // All series fill their chunks at about the same time, and would all keep the room of their longest one.
        self.chunk = successor;
        self.next_at = range_end(t);
        ended
    }

    /// Ends the float chunk; `None` if it has no sample.
    fn end_floats(&mut self) -> Option<Ended> {
        let range = TimeRange::new(self.first_float()?, self.last()?.t)?;
        let appender = std::mem::replace(&mut self.chunk, XorAppender::behind(range.max()));
        Some(Ended::Floats(range, appender, std::mem::take(&mut self.words)))
    }

    #[cold]
    fn predicted_end(&self) -> TimestampMs {
        let range = self.first_float().and_then(|first| TimeRange::new(first, self.newest()));
        range.map_or(self.next_at, |range| predicted_end(range, self.next_at, TIMES_A_QUARTER))
    }

    /// A copy of the chunk that is being written; `None` if there is none.
    #[must_use]
    pub fn open_chunk(&self, rest: &SeriesRest) -> Option<HeadChunk> {
        let range = self.open_range(rest)?;
        if let Some(open) = &rest.histogram {
            return open.chunk();
        }
        let mut bytes = Vec::with_capacity(self.chunk.len_bytes());
        self.chunk.write_to(&self.words, &mut bytes);
        Some(HeadChunk { range, encoding: xor::ENCODING, bytes: bytes.into() })
    }

    /// The value at `t`, looked for in everything that is in memory.
    #[must_use]
    pub fn value_at(&self, rest: &SeriesRest, t: TimestampMs) -> Option<Value> {
        let late = || rest.late.as_ref()?.value_at(t);
        let full = || rest.chunks.iter().rev().find(|chunk| chunk.range.contains(t))?.value_at(t);
        let open = || self.open_chunk(rest)?.value_at(t);
        let newest = self.last().filter(|last| last.t == t).map(|last| Value::Float(last.v));
        newest.or_else(late).or_else(full).or_else(open)
    }

    /// Does a chunk of the series in memory overlap `range`, or a late sample lie in it?
    #[must_use]
    pub fn overlaps(&self, rest: &SeriesRest, range: TimeRange) -> bool {
        let open = || self.open_range(rest).is_some_and(|open| open.overlaps(range));
        let late = || rest.late.as_ref().is_some_and(|late| late.overlaps(range));
        rest.chunks.iter().any(|chunk| chunk.range.overlaps(range)) || open() || late()
    }

    /// When the first float of the open chunk is; `None` if it has none.
    fn first_float(&self) -> Option<TimestampMs> {
        self.chunk.first_t(&self.words)
    }

    /// From the first to the last sample of the chunk that is being written; `None` if there is none.
    #[must_use]
    pub fn open_range(&self, rest: &SeriesRest) -> Option<TimeRange> {
        if let Some(open) = &rest.histogram {
            return open.range();
        }
        TimeRange::new(self.first_float()?, self.last()?.t)
    }

    /// Ends the open chunk, whatever it holds; every sample to come is later than it. `None` if there is none.
    #[must_use]
    pub fn close(&mut self, histogram: &mut Option<Box<OpenHistogram>>) -> Option<Ended> {
        self.begin_floats(histogram).or_else(|| self.end_floats())
    }

    /// Deletes the samples of the open chunk within `range`. What is left of it is given back as chunks that are full if its
    /// newest sample is among those deleted, so that every sample to come is still later than all that there ever were.
    #[must_use]
    pub fn delete_open(&mut self, rest: &mut SeriesRest, range: TimeRange) -> Vec<HeadChunk> {
        let open = self.open_chunk(rest).filter(|open| open.range.overlaps(range));
        let Some(open) = open else { return Vec::new() };
        let mut left = Samples::default();
        open.read(TimeRange::ALL, &mut left);
        left.retain(|t| !range.contains(t));
        (self.words, rest.histogram) = (Words::default(), None);
        if range.contains(open.range.max()) {
            self.chunk = XorAppender::behind(open.range.max());
            return head_chunk::encoded(&left);
        }
        self.chunk = XorAppender::new();
        let mut ended = Vec::new();
        for (t, value) in left.iter() {
            let chunk = match value {
                // It was one chunk, and stays one.
                ValueRef::Float(v) => {
                    self.chunk.append(&mut self.words, t, v);
                    None
                }
                ValueRef::Histogram(h) => self.append_histogram(&mut rest.histogram, t, h),
            };
            ended.extend(chunk.map(Ended::into_chunk));
        }
        ended
    }

    /// Appends the samples within `range` that are in memory to `out`, oldest first, each instant once.
    pub fn read(&self, rest: &SeriesRest, range: TimeRange, out: &mut Samples) {
        let mark = out.mark();
        let full = rest.chunks.iter().filter(|chunk| chunk.range.overlaps(range));
        let open = (self.newest() >= range.min()).then(|| self.open_chunk(rest)).flatten();
        full.chain(&open).for_each(|chunk| chunk.read(range, out));
        if let Some(late) = &rest.late {
            let mut samples = Samples::default();
            late.read(range, &mut samples);
            samples.sort_from(SamplesMark::default());
            out.merge(mark, &mut samples);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::chunk::promised;

    fn series() -> (MemSeries, SeriesRest) {
        let fingerprint = Fingerprint::default();
        (MemSeries::new(fingerprint, SeriesRef(1)), SeriesRest::default())
    }

    fn fill(samples: impl IntoIterator<Item = Sample>) -> (MemSeries, SeriesRest) {
        let (mut series, mut rest) = series();
        for sample in samples {
            if let Some(chunk) = series.append(sample) {
                rest.push_chunk(chunk.into_chunk());
            }
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
        let counts: Vec<u16> = rest.chunks.iter().map(|c| promised(&c.bytes)).collect();
        assert_eq!(counts, [125, 125, 124, 120]);
    }

    #[test]
    fn a_chunk_ends_at_240_samples() {
        // The end was predicted from 15 s steps; then samples come every millisecond.
        let slow = every(15_000, 31, |_| 1.0);
        let fast = (1..300).map(|i| Sample { t: slow[30].t.saturating_add(i), v: 1.0 });
        let (_, rest) = fill(slow.iter().copied().chain(fast));
        assert_eq!(promised(&rest.chunks[0].bytes), 240);
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
            let known = Some(Value::Float(samples[at].v));
            assert_eq!(series.value_at(&rest, samples[at].t), known, "sample {at}");
            let before = samples[at].t.saturating_sub(1);
            assert_eq!(series.value_at(&rest, before), None, "before sample {at}");
        }
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
            let mut read = Samples::default();
            series.read(&rest, range, &mut read);
            let want: Vec<_> = samples.into_iter().filter(|s| range.contains(s.t)).collect();
            prop_assert_eq!(read.floats, want);
        }
    }
}
