//! The late samples of a series: those that came when it had newer ones already.
//!
//! Owns a small sorted buffer and the chunks that it was sealed into when it was full. Late samples are in the same log
//! as all others; cutting a block takes them along, reading merges them in.
//! Invariants: no instant stands twice in what is in memory, nor in what an in-order chunk in memory covers; a sealed
//! chunk holds sorted samples of one aligned two-hour range; buffer and chunks carry the generation in which their
//! samples came, which grows with every cut, so that what came after a cut began is told from what belongs to it.

use bytes::Bytes;

use super::head_chunk::{self, HeadChunk, decoded, encoded, read_chunk};
use super::spilled::SpilledChunk;
use crate::model::{
    BlockRange, HistogramSample, Sample, Samples, TimeRange, TimestampMs, Value, ValueRef,
};

/// A buffer with this many samples is sealed. Source: `DefaultOutOfOrderCapMax`, `tsdb/head.go`.
pub const SAMPLES_MAX: usize = 32;

/// The late samples of one series.
#[derive(Debug, Default)]
pub struct Late {
    /// Sorted, each instant once.
    buffer: Samples,
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
    /// In memory: which of Prometheus's encodings, and its bytes.
    Memory(u8, Bytes),
    /// In a spill file.
    Spilled(SpilledChunk),
}

impl LateChunk {
    fn of(generation: u32, chunk: HeadChunk) -> Self {
        let source = LateSource::Memory(chunk.encoding, chunk.bytes);
        Self { generation, range: chunk.range, source }
    }

    /// Its encoding and bytes, if it is in memory.
    #[must_use]
    pub fn bytes(&self) -> Option<(u8, &[u8])> {
        match &self.source {
            LateSource::Memory(encoding, bytes) => Some((*encoding, bytes)),
            LateSource::Spilled(_) => None,
        }
    }

    /// Where it lies, if it has left memory.
    #[must_use]
    pub fn spilled(&self) -> Option<SpilledChunk> {
        match &self.source {
            LateSource::Memory(..) => None,
            LateSource::Spilled(chunk) => Some(*chunk),
        }
    }
}

impl Late {
    /// Takes a sample over that the series does not have; the number and bytes of chunks that were sealed because of it.
    ///
    /// - `generation`: the current one.
    pub fn insert(&mut self, t: TimestampMs, value: ValueRef<'_>, generation: u32) -> Sealed {
        let mut sealed = Sealed::default();
        if self.generation != generation {
            sealed = self.seal();
            self.generation = generation;
        }
        match value {
            ValueRef::Float(v) => {
                let at = self.buffer.floats.partition_point(|other| other.t < t);
                self.buffer.floats.insert(at, Sample { t, v });
            }
            ValueRef::Histogram(h) => {
                let at = self.buffer.histograms.partition_point(|other| other.t < t);
                let histogram = h.to_histogram();
                self.buffer.histograms.insert(at, HistogramSample { t, histogram });
            }
        }
        if self.buffer.len() >= SAMPLES_MAX {
            sealed += self.seal();
        }
        sealed
    }

    /// Turns the buffer into chunks.
    fn seal(&mut self) -> Sealed {
        let mut sealed = Sealed::default();
        for chunk in encoded(&std::mem::take(&mut self.buffer)) {
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
    pub fn buffered_of(&self, range: BlockRange, generation: u32) -> Samples {
        let mut buffered = Samples::default();
        if self.generation <= generation {
            buffered.clone_from(&self.buffer);
            buffered.retain(|t| range.contains(t));
        }
        buffered
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
        if self.generation <= generation {
            self.buffer.retain(|t| !range.contains(t));
        }
        if self.buffer.is_empty() {
            self.buffer = Samples::default();
        }
    }

    /// Deletes the samples within `range`. What is left of a chunk is in memory from now on.
    ///
    /// - `read`: is told of each chunk that has left memory and has samples there, and gives all that it has.
    pub fn delete(
        &mut self,
        range: TimeRange,
        mut read: impl FnMut(SpilledChunk) -> Option<Samples>,
    ) {
        self.buffer.retain(|t| !range.contains(t));
        if !self.overlaps(range) {
            return;
        }
        for chunk in std::mem::take(&mut self.chunks) {
            if !chunk.range.overlaps(range) {
                self.chunks.push(chunk);
                continue;
            }
            let samples = match &chunk.source {
                LateSource::Memory(encoding, bytes) => decoded(*encoding, bytes),
                LateSource::Spilled(place) => read(*place),
            };
            let mut left = samples.unwrap_or_default();
            left.retain(|t| !range.contains(t));
            let left = encoded(&left).into_iter();
            self.chunks.extend(left.map(|left| LateChunk::of(chunk.generation, left)));
        }
    }

    /// The oldest sample, of this generation and those before.
    #[must_use]
    pub fn oldest(&self, generation: u32) -> Option<TimestampMs> {
        let chunks = self.chunks.iter().filter(|chunk| chunk.generation <= generation);
        let buffered = self.buffer.iter().next().filter(|_| self.generation <= generation);
        let oldest = chunks.map(|chunk| chunk.range.min()).min();
        oldest.into_iter().chain(buffered.map(|(t, _)| t)).min()
    }

    /// Not one?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.chunks.is_empty()
    }

    /// The samples that are not sealed, sorted, and their generation.
    #[must_use]
    pub fn buffer(&self) -> (&Samples, u32) {
        (&self.buffer, self.generation)
    }

    /// The late value at `t`, if it is in memory.
    #[must_use]
    pub fn value_at(&self, t: TimestampMs) -> Option<Value> {
        let buffered = self.buffer.iter().find(|(at, _)| *at == t);
        buffered.map(|(_, value)| value.to_value()).or_else(|| {
            let there = self.chunks.iter().filter(|late| late.range.contains(t));
            there
                .filter_map(LateChunk::bytes)
                .find_map(|(encoding, bytes)| head_chunk::value_at(encoding, bytes, t))
        })
    }

    /// Appends the late samples within `range` that are in memory to `out`, in no order.
    pub fn read(&self, range: TimeRange, out: &mut Samples) {
        let overlapping = self.chunks.iter().filter(|late| late.range.overlaps(range));
        for (encoding, bytes) in overlapping.filter_map(LateChunk::bytes) {
            read_chunk(encoding, bytes, range, out);
        }
        let Samples { floats, histograms, .. } = &self.buffer;
        out.floats.extend(floats.iter().filter(|sample| range.contains(sample.t)));
        out.histograms.extend(histograms.iter().filter(|s| range.contains(s.t)).cloned());
    }

    /// Is there a late sample within `range`, or a chunk that overlaps it?
    #[must_use]
    pub fn overlaps(&self, range: TimeRange) -> bool {
        self.chunks.iter().any(|late| late.range.overlaps(range))
            || self.buffer.iter().any(|(t, _)| range.contains(t))
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

const _: () = assert!(SAMPLES_MAX <= 120, "a sealed chunk is shorter than the Head's chunks are");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{AnyHistogramRef, HistogramRef, SamplesMark};

    fn insert(late: &mut Late, t: i64, v: f64, generation: u32) -> Sealed {
        late.insert(TimestampMs(t), ValueRef::Float(v), generation)
    }

    #[test]
    fn the_buffer_is_sealed_when_it_is_full_a_chunk_for_each_two_hours() {
        let mut late = Late::default();
        let mut sealed = Sealed::default();
        for i in (0..32).rev() {
            sealed += insert(&mut late, 7_190_000 + i * 1000, i as f64, 3);
        }
        assert_eq!((sealed.chunks, late.buffer().0.len()), (2, 0));
        let ranges: Vec<_> =
            late.chunks.iter().map(|c| (c.generation, c.range.min().0, c.range.max().0)).collect();
        assert_eq!(ranges, [(3, 7_190_000, 7_199_000), (3, 7_200_000, 7_221_000)]);
        assert_eq!(late.value_at(TimestampMs(7_201_000)), Some(Value::Float(11.0)));
        assert_eq!(late.value_at(TimestampMs(7_201_001)), None);
    }

    #[test]
    fn a_new_generation_begins_a_new_chunk() {
        let mut late = Late::default();
        insert(&mut late, 5, 0.0, 1);
        insert(&mut late, 4, 0.0, 2);
        assert_eq!(late.chunks.iter().map(|c| c.generation).collect::<Vec<_>>(), [1]);
        assert_eq!((late.buffer().0.floats[0].t.0, late.buffer().1), (4, 2));
    }

    proptest! {
        #[test]
        fn late_samples_read_as_they_came(times in proptest::collection::hash_set(0i64..20_000_000, 0..200)) {
            let mut late = Late::default();
            for t in &times {
                // Histograms among them, whose number is in the count.
                let h = HistogramRef::<u64> { count: t.cast_unsigned(), ..HistogramRef::empty() };
                match t % 3 {
                    0 => late.insert(TimestampMs(*t), ValueRef::Histogram(AnyHistogramRef::Int(h)), 0),
                    _ => insert(&mut late, *t, *t as f64, 0),
                };
            }
            let mut read = Samples::default();
            late.read(TimeRange::ALL, &mut read);
            read.sort_from(SamplesMark::default());
            let mut want: Vec<_> = times.into_iter().collect();
            want.sort_unstable();
            let read: Vec<_> = read.iter().map(|(t, value)| {
                let number = match value {
                    ValueRef::Histogram(AnyHistogramRef::Int(h)) => h.count as f64,
                    ValueRef::Float(v) => v,
                    other => panic!("nobody sent {other:?}"),
                };
                let is_histogram = matches!(value, ValueRef::Histogram(_));
                assert_eq!((number, t.0 % 3 == 0), (t.0 as f64, is_histogram));
                t.0
            }).collect();
            prop_assert_eq!(read, want);
        }
    }
}
