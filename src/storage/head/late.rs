//! The late samples of a series: those that came when it had newer ones already.
//!
//! Owns a small sorted buffer and the chunks that it was sealed into when it was full. Late samples are in the same log
//! as all others; cutting a block takes them along, reading merges them in.
//! Invariants: no instant stands twice in what is in memory, nor in what an in-order chunk in memory covers; a sealed
//! chunk holds sorted samples of one aligned two-hour range; buffer and chunks carry the generation in which their
//! samples came, which grows with every cut, so that what came after a cut began is told from what belongs to it.

use bytes::Bytes;

use super::mem_series::{HeadChunk, range_end, read_chunk, sample_at};
use super::spilled::SpilledChunk;
use crate::encoding::xor::{Words, XorAppender, XorReader};
use crate::model::{BlockRange, Sample, TimeRange, TimestampMs};

/// A buffer with this many samples is sealed. Source: `DefaultOutOfOrderCapMax`, `tsdb/head.go`.
pub const SAMPLES_MAX: usize = 32;

/// The late samples of one series.
#[derive(Debug, Default)]
pub struct Late {
    /// Sorted, each instant once.
    buffer: Vec<Sample>,
    /// In which generation those in the buffer came.
    generation: u32,
    /// What was sealed, oldest first.
    pub chunks: Vec<LateChunk>,
}

/// Late samples that were sealed.
#[derive(Debug, Clone)]
pub struct LateChunk {
    /// In which generation they came.
    pub generation: u32,
    /// From the first to the last.
    pub range: TimeRange,
    /// Where they are.
    pub source: LateSource,
}

/// Where sealed late samples are.
#[derive(Debug, Clone)]
pub enum LateSource {
    /// In memory: Prometheus's XOR encoding.
    Memory(Bytes),
    /// In a spill file.
    Spilled(SpilledChunk),
}

impl LateChunk {
    fn of(generation: u32, chunk: HeadChunk) -> Self {
        Self { generation, range: chunk.range, source: LateSource::Memory(chunk.bytes) }
    }

    /// Its bytes, if it is in memory.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.source {
            LateSource::Memory(bytes) => Some(bytes),
            LateSource::Spilled(_) => None,
        }
    }

    /// Where it lies, if it has left memory.
    #[must_use]
    pub fn spilled(&self) -> Option<SpilledChunk> {
        match &self.source {
            LateSource::Memory(_) => None,
            LateSource::Spilled(chunk) => Some(*chunk),
        }
    }
}

impl Late {
    /// Takes a sample over that the series does not have; the number and bytes of chunks that were sealed because of it.
    ///
    /// - `generation`: the current one.
    pub fn insert(&mut self, sample: Sample, generation: u32) -> Sealed {
        let mut sealed = Sealed::default();
        if self.generation != generation {
            sealed = self.seal();
            self.generation = generation;
        }
        let at = self.buffer.partition_point(|other| other.t < sample.t);
        self.buffer.insert(at, sample);
        if self.buffer.len() >= SAMPLES_MAX {
            sealed += self.seal();
        }
        sealed
    }

    /// Turns the buffer into chunks.
    fn seal(&mut self) -> Sealed {
        let mut sealed = Sealed::default();
        for chunk in chunks_of(&std::mem::take(&mut self.buffer)) {
            sealed += Sealed { chunks: 1, bytes: chunk.bytes.len() as u64 };
            self.chunks.push(LateChunk::of(self.generation, chunk));
        }
        sealed
    }

    /// Takes sealed samples over that the series does not have.
    pub fn push(&mut self, generation: u32, chunk: HeadChunk) {
        self.chunks.push(LateChunk::of(generation, chunk));
    }

    /// Takes over where sealed samples lie.
    pub fn push_spilled(&mut self, generation: u32, range: TimeRange, chunk: SpilledChunk) {
        self.chunks.push(LateChunk { generation, range, source: LateSource::Spilled(chunk) });
    }

    /// The chunks that lie in `range`, of this generation and those before.
    pub fn of(&self, range: BlockRange, generation: u32) -> impl Iterator<Item = &LateChunk> {
        let belongs =
            move |chunk: &&LateChunk| chunk.generation <= generation && range.holds(chunk.range);
        self.chunks.iter().filter(belongs)
    }

    /// The samples that are not sealed and lie in `range`, if they are of this generation or one before.
    #[must_use]
    pub fn buffered_of(&self, range: BlockRange, generation: u32) -> &[Sample] {
        let (start, end) = self.part_of(range, generation);
        self.buffer.get(start..end).unwrap_or_default()
    }

    fn part_of(&self, range: BlockRange, generation: u32) -> (usize, usize) {
        if self.generation > generation {
            return (0, 0);
        }
        let before = |t| self.buffer.partition_point(|sample| sample.t < t);
        (before(range.start()), before(range.end()))
    }

    /// Drops what [`of`](Self::of) and [`buffered_of`](Self::buffered_of) give.
    ///
    /// - `dropped`: is told of each chunk.
    pub fn truncate(
        &mut self,
        range: BlockRange,
        generation: u32,
        mut dropped: impl FnMut(&LateSource),
    ) {
        self.chunks.retain(|chunk| {
            let goes = chunk.generation <= generation && range.holds(chunk.range);
            if goes {
                dropped(&chunk.source);
            }
            !goes
        });
        let (start, end) = self.part_of(range, generation);
        self.buffer.drain(start..end);
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
    }

    /// Deletes the samples within `range`. What is left of a chunk is in memory from now on.
    ///
    /// - `read`: is told of each chunk that has left memory and has samples there, and gives all that it has.
    pub fn delete(
        &mut self,
        range: TimeRange,
        mut read: impl FnMut(SpilledChunk) -> Option<Vec<Sample>>,
    ) {
        self.buffer.retain(|sample| !range.contains(sample.t));
        if !self.overlaps(range) {
            return;
        }
        for chunk in std::mem::take(&mut self.chunks) {
            if !chunk.range.overlaps(range) {
                self.chunks.push(chunk);
                continue;
            }
            let samples = match &chunk.source {
                LateSource::Memory(bytes) => decoded(bytes),
                LateSource::Spilled(place) => read(*place),
            };
            let mut left = samples.unwrap_or_default();
            left.retain(|sample| !range.contains(sample.t));
            self.chunks.extend(encoded(&left).map(|left| LateChunk::of(chunk.generation, left)));
        }
    }

    /// The oldest sample, of this generation and those before.
    #[must_use]
    pub fn oldest(&self, generation: u32) -> Option<TimestampMs> {
        let chunks = self.chunks.iter().filter(|chunk| chunk.generation <= generation);
        let buffered = self.buffer.first().filter(|_| self.generation <= generation);
        let oldest = chunks.map(|chunk| chunk.range.min()).min();
        oldest.into_iter().chain(buffered.map(|sample| sample.t)).min()
    }

    /// Not one?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.chunks.is_empty()
    }

    /// The samples that are not sealed, sorted, and their generation.
    #[must_use]
    pub fn buffer(&self) -> (&[Sample], u32) {
        (&self.buffer, self.generation)
    }

    /// The late sample at `t`, if it is in memory.
    #[must_use]
    pub fn sample_at(&self, t: TimestampMs) -> Option<Sample> {
        let at = self.buffer.partition_point(|sample| sample.t < t);
        let buffered = self.buffer.get(at).filter(|sample| sample.t == t);
        buffered.copied().or_else(|| {
            let there = self.chunks.iter().filter(|late| late.range.contains(t));
            there.filter_map(LateChunk::bytes).find_map(|bytes| sample_at(bytes, t))
        })
    }

    /// Appends the late samples within `range` that are in memory to `out`, in no order.
    pub fn read(&self, range: TimeRange, out: &mut Vec<Sample>) {
        let overlapping = self.chunks.iter().filter(|late| late.range.overlaps(range));
        for bytes in overlapping.filter_map(LateChunk::bytes) {
            read_chunk(bytes, range, out);
        }
        out.extend(self.buffer.iter().filter(|sample| range.contains(sample.t)));
    }

    /// Is there a late sample within `range`, or a chunk that overlaps it?
    #[must_use]
    pub fn overlaps(&self, range: TimeRange) -> bool {
        self.chunks.iter().any(|late| late.range.overlaps(range))
            || self.buffer.iter().any(|sample| range.contains(sample.t))
    }
}

/// What sealing made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// Chunks.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl std::ops::AddAssign for Sealed {
    fn add_assign(&mut self, other: Self) {
        self.chunks += other.chunks;
        self.bytes += other.bytes;
    }
}

/// Sorted samples as chunks, one for each aligned two-hour range that they lie in. At most [`SAMPLES_MAX`] of them.
pub fn chunks_of(samples: &[Sample]) -> impl Iterator<Item = HeadChunk> {
    let runs = samples.chunk_by(|a, b| range_end(a.t) == range_end(b.t));
    runs.flat_map(|run| run.chunks(SAMPLES_MAX)).filter_map(encoded)
}

/// Sorted samples as one chunk; `None` if there are none.
pub(super) fn encoded(samples: &[Sample]) -> Option<HeadChunk> {
    let range = TimeRange::new(samples.first()?.t, samples.last()?.t)?;
    let (mut appender, mut words, mut bytes) = (XorAppender::new(), Words::default(), Vec::new());
    samples.iter().for_each(|sample| appender.append(&mut words, sample.t, sample.v));
    appender.write_to(&words, &mut bytes);
    Some(HeadChunk { range, bytes: bytes.into() })
}

/// The samples of a chunk, if they are all there and sorted.
#[must_use]
pub fn decoded(bytes: &[u8]) -> Option<Vec<Sample>> {
    let reader = XorReader::new(bytes).ok()?;
    let promised = usize::from(reader.promised());
    let samples: Vec<Sample> = reader.map_while(Result::ok).collect();
    let is_sorted = samples.is_sorted_by(|a, b| a.t < b.t);
    (samples.len() == promised && is_sorted).then_some(samples)
}

/// Merges sorted in-order samples, which stand in `out` from `from` on, with late ones in any order: afterwards they are
/// sorted and each instant stands once. At the same instant the in-order sample wins, then the late one that came first.
pub fn merge(out: &mut Vec<Sample>, from: usize, late: &mut Vec<Sample>) {
    if late.is_empty() {
        return;
    }
    late.sort_by_key(|sample| sample.t);
    out.append(late);
    if let Some(all) = out.get_mut(from..) {
        all.sort_by_key(|sample| sample.t); // stable, and quick for two sorted runs
    }
    let mut kept: Option<TimestampMs> = None;
    let mut at = 0;
    out.retain(|sample| {
        at += 1;
        at <= from || kept.replace(sample.t) != Some(sample.t)
    });
}

const _: () = assert!(SAMPLES_MAX <= 120, "a sealed chunk is shorter than the Head's chunks are");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(t: i64, v: f64) -> Sample {
        Sample { t: TimestampMs(t), v }
    }

    #[test]
    fn the_buffer_is_sealed_when_it_is_full_a_chunk_for_each_two_hours() {
        let mut late = Late::default();
        let mut sealed = Sealed::default();
        for i in (0..32).rev() {
            sealed += late.insert(sample(7_190_000 + i * 1000, i as f64), 3);
        }
        assert_eq!((sealed.chunks, late.buffer().0.len()), (2, 0));
        let ranges: Vec<_> =
            late.chunks.iter().map(|c| (c.generation, c.range.min().0, c.range.max().0)).collect();
        assert_eq!(ranges, [(3, 7_190_000, 7_199_000), (3, 7_200_000, 7_221_000)]);
        assert_eq!(late.sample_at(TimestampMs(7_201_000)), Some(sample(7_201_000, 11.0)));
        assert_eq!(late.sample_at(TimestampMs(7_201_001)), None);
    }

    #[test]
    fn a_new_generation_begins_a_new_chunk() {
        let mut late = Late::default();
        late.insert(sample(5, 0.0), 1);
        late.insert(sample(4, 0.0), 2);
        assert_eq!(late.chunks.iter().map(|c| c.generation).collect::<Vec<_>>(), [1]);
        assert_eq!(late.buffer(), (&[sample(4, 0.0)][..], 2));
    }

    proptest! {
        #[test]
        fn merging_keeps_the_first_of_each_instant(
            before in proptest::collection::vec(0i64..50, 0..5),
            in_order in proptest::collection::btree_set(0i64..50, 0..30),
            late in proptest::collection::vec(0i64..50, 0..30),
        ) {
            let numbered = |from: usize, times: Vec<i64>| -> Vec<Sample> {
                times.into_iter().enumerate().map(|(i, t)| sample(t, (from + i) as f64)).collect()
            };
            let before = numbered(0, before);
            let (in_order, mut late) = (numbered(100, in_order.into_iter().collect()), numbered(200, late));
            let mut model = std::collections::BTreeMap::new();
            for sample in in_order.iter().chain(&late) {
                model.entry(sample.t).or_insert(*sample);
            }
            let mut out = [before.clone(), in_order].concat();
            merge(&mut out, before.len(), &mut late);
            let want: Vec<_> = before.into_iter().chain(model.into_values()).collect();
            prop_assert_eq!(out, want);
        }

        #[test]
        fn late_samples_read_as_they_came(times in proptest::collection::hash_set(0i64..20_000_000, 0..200)) {
            let mut late = Late::default();
            for t in &times {
                late.insert(sample(*t, *t as f64), 0);
            }
            let mut read = Vec::new();
            late.read(TimeRange::ALL, &mut read);
            read.sort_by_key(|s| s.t);
            let mut want: Vec<_> = times.iter().map(|t| sample(*t, *t as f64)).collect();
            want.sort_by_key(|s| s.t);
            prop_assert_eq!(read, want);
        }
    }
}
