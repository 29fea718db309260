//! One series in several blocks: which of its chunks can stay as they are, and the samples of the others.
//!
//! A chunk that overlaps no other in time and no deleted range passes byte for byte, whatever its encoding; so do chunks
//! that are the same in each block, once. The rest is decoded, merged and encoded anew, as Prometheus's compaction does it
//! (`encoding::chunk_encoder`), floats and histograms alike. At an instant that several chunks have, the block that was first
//! wins, whatever it has there.
//! Floats become XOR chunks, and XOR2 chunks if all that they come from are; those with a start always, so that no start is
//! lost. Upstream has a setting in place of that "all".
//! Invariants: what comes out is in the order of time and does not overlap; a sample comes out once if and only if a chunk
//! has it and no range deletes it from the block of that chunk.
//! Source: Prometheus `storage/merge.go` (`NewCompactingChunkSeriesMerger`, `seriesToChunkEncoder`).

use std::ops::Range;

use crate::encoding::block::chunks::ChunkRef;
use crate::encoding::block::tombstones::Intervals;
use crate::encoding::chunk::FloatChunks;
use crate::encoding::chunk::{ChunkError, ChunkReader};
use crate::encoding::chunk_encoder::{ChunkEncoder, EncodedChunk};
use crate::encoding::xor;
use crate::model::{TimeRange, TimestampMs};

/// Where a chunk of a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// From its first sample to its last.
    pub range: TimeRange,
    /// In which of the blocks, by its place in the list of them: the lower one wins.
    pub source: usize,
    /// Where in that block.
    pub reference: ChunkRef,
}

/// Takes out the chunks of which all is deleted, sorts the others by time, and parts them into runs that overlap no other
/// run. A run of one chunk that is not to be changed can be copied.
///
/// - `deleted`: what is deleted of the series in each block; nothing in those behind the last.
pub fn runs(chunks: &mut Vec<Placed>, deleted: &[Intervals]) -> Vec<Range<usize>> {
    let is_deleted =
        |chunk: &Placed| deleted.get(chunk.source).is_some_and(|own| own.covers(chunk.range));
    chunks.retain(|chunk| !is_deleted(chunk));
    chunks.sort_by_key(|chunk| (chunk.range.min(), chunk.source));
    let (mut runs, mut end): (Vec<Range<usize>>, _) = (Vec::new(), TimestampMs::MIN);
    for (index, chunk) in chunks.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if chunk.range.min() <= end => run.end = index + 1,
            _ => runs.push(index..index + 1),
        }
        end = end.max(chunk.range.max());
    }
    runs
}

/// A chunk that has been read.
#[derive(Clone, Copy, Debug)]
pub struct ReadChunk<'a> {
    /// From its first sample to its last.
    pub range: TimeRange,
    /// In which of the blocks it is.
    pub source: usize,
    /// The number of its encoding.
    pub encoding: u8,
    /// The encoded samples.
    pub bytes: &'a [u8],
    /// What is deleted of the series in its block.
    pub deleted: Option<&'a Intervals>,
}

/// Which of some chunks is in the way of merging them, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// The place of the chunk among those that were given.
    pub index: usize,
    /// What is wrong with it.
    pub why: SamplesError,
}

/// Why a chunk cannot be merged with others.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SamplesError {
    /// It is damaged, although its checksum is right, or of an encoding that is not known.
    #[error("a chunk that overlaps others, or of which a part is deleted, cannot be read: {0}")]
    Chunk(#[from] ChunkError),
    /// A sample that is not later than the one before it, or outside of what the index says.
    #[error("a chunk from {} to {} has a sample at {t}", .range.min().0, .range.max().0)]
    Time {
        /// What the index says.
        range: TimeRange,
        /// When the sample is.
        t: i64,
    },
}

/// Merges the chunks of one run.
///
/// - `chunks`: in the order in which [`runs`] puts them.
/// - `out`: what comes out is appended here; after an error, some of it.
///
/// # Errors
/// A chunk that is not what it should be, or of which no part can be told from the others.
pub fn merge(chunks: &[ReadChunk<'_>], out: &mut Vec<EncodedChunk>) -> Result<(), Refused> {
    let Some((first, others)) = chunks.split_first() else { return Ok(()) };
    let is_whole =
        |chunk: &ReadChunk<'_>| chunk.deleted.is_none_or(|own| !own.overlaps(chunk.range));
    let is_same = |chunk: &ReadChunk<'_>| {
        (chunk.range, chunk.encoding, chunk.bytes) == (first.range, first.encoding, first.bytes)
    };
    if is_whole(first) && others.iter().all(|chunk| is_whole(chunk) && is_same(chunk)) {
        let ReadChunk { range, encoding, bytes, .. } = *first;
        out.push(EncodedChunk { range, encoding, bytes: bytes.to_vec() });
        return Ok(());
    }
    let mut waiting = chunks.iter().enumerate().peekable();
    let mut open = Vec::<OpenChunk<'_>>::new();
    let mut encoder = ChunkEncoder::new(float_encoding(chunks));
    loop {
        // A chunk is opened when its first instant has come, so that only those that overlap there are open together.
        let next = open.iter().map(|chunk| chunk.t).min();
        let is_due = |chunk: &ReadChunk<'_>| next.is_none_or(|t| chunk.range.min() <= t);
        if let Some((index, chunk)) = waiting.next_if(|(_, chunk)| is_due(chunk)) {
            open.extend(OpenChunk::open(index, chunk).map_err(|why| Refused { index, why })?);
            continue;
        }
        let Some(t) = next else { break };
        let winner = open.iter().filter(|chunk| chunk.t == t).min_by_key(|chunk| chunk.source);
        if let Some(winner) = winner {
            encoder.push(winner.reader.start(), winner.t, winner.reader.value(), out);
        }
        let mut failed = None;
        open.retain_mut(|chunk| {
            chunk.t != t
                || chunk.advance().unwrap_or_else(|error| {
                    failed = Some(Refused { index: chunk.index, why: error });
                    false
                })
        });
        if let Some(refused) = failed {
            return Err(refused);
        }
    }
    encoder.end(out);
    Ok(())
}

/// How floats are written that come from these chunks.
fn float_encoding(chunks: &[ReadChunk<'_>]) -> FloatChunks {
    match chunks.iter().any(|chunk| chunk.encoding == xor::ENCODING) {
        true => FloatChunks::Xor,
        false => FloatChunks::Xor2,
    }
}

/// A chunk that is being read, without what is deleted of it.
struct OpenChunk<'a> {
    index: usize,
    source: usize,
    range: TimeRange,
    reader: ChunkReader<'a>,
    /// What is deleted from here on.
    deleted: &'a [TimeRange],
    /// When the sample is where the reader stands.
    t: TimestampMs,
}

impl<'a> OpenChunk<'a> {
    /// Reads up to the first sample; `None` if there is none.
    fn open(index: usize, chunk: &ReadChunk<'a>) -> Result<Option<Self>, SamplesError> {
        let mut reader = ChunkReader::new(chunk.encoding, chunk.bytes)?;
        let Some(t) = reader.advance() else { return Ok(None) };
        let deleted = chunk.deleted.map_or(&[][..], Intervals::as_slice);
        let (source, range) = (chunk.source, chunk.range);
        let mut open = Self { index, source, range, reader, deleted, t: t? };
        open.check()?;
        Ok((!open.is_deleted() || open.advance()?).then_some(open))
    }

    /// Goes to the next sample that is not deleted. Is there one?
    fn advance(&mut self) -> Result<bool, SamplesError> {
        loop {
            let before = self.t;
            let Some(t) = self.reader.advance() else { return Ok(false) };
            self.t = t?;
            if self.t <= before {
                return Err(SamplesError::Time { range: self.range, t: self.t.0 });
            }
            self.check()?;
            if !self.is_deleted() {
                return Ok(true);
            }
        }
    }

    fn check(&self) -> Result<(), SamplesError> {
        match self.range.contains(self.t) {
            true => Ok(()),
            false => Err(SamplesError::Time { range: self.range, t: self.t.0 }),
        }
    }

    fn is_deleted(&mut self) -> bool {
        while let Some((first, rest)) = self.deleted.split_first()
            && first.max() < self.t
        {
            self.deleted = rest;
        }
        self.deleted.first().is_some_and(|range| range.contains(self.t))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::encoding::chunk_encoder::FLOAT_CHUNK_BYTES_MAX;
    use crate::encoding::xor::{Words, XorAppender, XorReader};

    type Samples = BTreeMap<i64, u64>;

    fn range(min: i64, max: i64) -> TimeRange {
        TimeRange::new(TimestampMs(min), TimestampMs(max)).unwrap()
    }

    fn intervals(ranges: &[(i64, i64)]) -> Intervals {
        let mut intervals = Intervals::default();
        ranges.iter().for_each(|(min, max)| intervals.add(range(*min, *max)));
        intervals
    }

    /// One chunk of all these, however many.
    fn chunk(samples: &Samples) -> EncodedChunk {
        let (mut appender, mut words, mut bytes) =
            (XorAppender::new(), Words::default(), Vec::new());
        for (t, v) in samples {
            appender.append(&mut words, TimestampMs(*t), f64::from_bits(*v));
        }
        appender.write_to(&words, &mut bytes);
        let (first, last) = (samples.keys().next().unwrap(), samples.keys().last().unwrap());
        EncodedChunk { range: range(*first, *last), encoding: xor::ENCODING, bytes }
    }

    /// One value at each of these instants.
    fn at(times: impl IntoIterator<Item = i64>, v: u64) -> Samples {
        times.into_iter().map(|t| (t, v)).collect()
    }

    fn decoded(chunks: &[EncodedChunk]) -> Vec<(i64, u64)> {
        let samples = chunks.iter().flat_map(|chunk| XorReader::new(&chunk.bytes).unwrap());
        samples
            .map(|sample| sample.unwrap())
            .map(|sample| (sample.t.0, sample.v.to_bits()))
            .collect()
    }

    /// All chunks of a series, merged: each block by its chunks and by what is deleted from it.
    fn merged(
        blocks: &[(Vec<EncodedChunk>, Intervals)],
    ) -> Result<Vec<EncodedChunk>, SamplesError> {
        let deleted: Vec<_> = blocks.iter().map(|(_, deleted)| deleted.clone()).collect();
        let mut placed = Vec::new();
        for (source, (chunks, _)) in blocks.iter().enumerate() {
            placed.extend((0..).zip(chunks).map(|(place, chunk)| Placed {
                range: chunk.range,
                source,
                reference: ChunkRef(place),
            }));
        }
        let (runs, mut out) = (runs(&mut placed, &deleted), Vec::new());
        for run in runs {
            let read: Vec<_> = placed[run]
                .iter()
                .map(|Placed { range, source, reference }| {
                    let chunk = &blocks[*source].0[usize::try_from(reference.0).unwrap()];
                    let deleted = deleted.get(*source);
                    let (encoding, bytes) = (chunk.encoding, chunk.bytes.as_slice());
                    ReadChunk { range: *range, source: *source, encoding, bytes, deleted }
                })
                .collect();
            merge(&read, &mut out).map_err(|refused| refused.why)?;
        }
        Ok(out)
    }

    fn block(chunks: &[Samples], deleted: &[(i64, i64)]) -> (Vec<EncodedChunk>, Intervals) {
        (chunks.iter().map(chunk).collect(), intervals(deleted))
    }

    #[test]
    fn chunks_that_overlap_nothing_stay_as_they_are() {
        // Bytes that nobody could decode.
        let opaque =
            |min, max| EncodedChunk { range: range(min, max), encoding: 2, bytes: vec![9] };
        let first = (vec![opaque(0, 9), opaque(30, 39)], Intervals::default());
        let second = (vec![opaque(10, 19)], intervals(&[(20, 29), (0, 9)]));
        let all = vec![opaque(0, 9), opaque(10, 19), opaque(30, 39)];
        assert_eq!(merged(&[first, second]), Ok(all));
    }

    #[test]
    fn chunks_that_are_the_same_in_all_blocks_stay_once() {
        let opaque = || EncodedChunk { range: range(0, 9), encoding: 2, bytes: vec![9] };
        let same = || (vec![opaque()], Intervals::default());
        assert_eq!(merged(&[same(), same(), same()]), Ok(vec![opaque()]));
    }

    #[test]
    fn what_cannot_be_decoded_cannot_be_merged_or_cut() {
        let opaque = |v| EncodedChunk { range: range(0, 9), encoding: 5, bytes: vec![v] };
        let cut = merged(&[(vec![opaque(1)], intervals(&[(9, 20)]))]);
        assert_eq!(cut, Err(SamplesError::Chunk(ChunkError::Encoding(5))));
        let none = Intervals::default();
        let two = merged(&[(vec![opaque(1)], none.clone()), (vec![opaque(2)], none)]);
        assert_eq!(two, Err(SamplesError::Chunk(ChunkError::Encoding(5))));
        assert_eq!(merged(&[(vec![opaque(1)], intervals(&[(0, 9)]))]), Ok(vec![]));
    }

    #[test]
    fn at_the_same_instant_the_first_block_wins() {
        let first = block(&[at([10, 20, 30], 1)], &[]);
        let second = block(&[at([5, 20, 30, 40], 2)], &[]);
        let expected = [(5, 2), (10, 1), (20, 1), (30, 1), (40, 2)];
        assert_eq!(decoded(&merged(&[first.clone(), second.clone()]).unwrap()), expected);
        let expected = [(5, 2), (10, 1), (20, 2), (30, 2), (40, 2)];
        assert_eq!(decoded(&merged(&[second, first]).unwrap()), expected);
    }

    #[test]
    fn what_one_block_has_deleted_another_may_still_have() {
        let first = block(&[at([10, 20, 30], 1)], &[(15, 30)]);
        let second = block(&[at([20], 2)], &[]);
        assert_eq!(decoded(&merged(&[first, second]).unwrap()), [(10, 1), (20, 2)]);
    }

    #[test]
    fn new_chunks_have_at_most_120_samples() {
        let first = block(&[at((0..400).step_by(2), 1)], &[]);
        let second = block(&[at((1..400).step_by(2), 1)], &[]);
        let counts = |chunks: &[EncodedChunk]| -> Vec<u16> {
            chunks.iter().map(|c| XorReader::new(&c.bytes).unwrap().promised()).collect()
        };
        assert_eq!(counts(&merged(&[first, second]).unwrap()), [120, 120, 120, 40]);
    }

    #[test]
    fn a_chunk_of_values_that_do_not_compress_ends_before_it_is_too_long() {
        let mut rng = crate::io::sim::Rng::new(1);
        let mut t = 0;
        let mut noise = || {
            t += 1 + i64::try_from(rng.below(1 << 40)).unwrap();
            (t, rng.next_u64())
        };
        let samples: Vec<Samples> = (0..20).map(|_| (0..50).map(|_| noise()).collect()).collect();
        let first = block(&samples, &[]);
        let second =
            block(&[samples[0].iter().chain(&samples[19]).map(|(t, v)| (*t, !*v)).collect()], &[]);
        let chunks = merged(&[first, second]).unwrap();
        assert_eq!(decoded(&chunks), samples.into_iter().flatten().collect::<Vec<_>>());
        assert!(chunks.iter().all(|chunk| chunk.bytes.len() < FLOAT_CHUNK_BYTES_MAX + 20));
    }

    #[test]
    fn a_chunk_with_samples_outside_of_its_range_or_order_is_refused() {
        let mut wrong = chunk(&at([10, 20], 1));
        wrong.range = range(10, 19);
        let deleted = intervals(&[(0, 10)]);
        let range_of_it = wrong.range;
        let refused = merged(&[(vec![wrong], deleted)]);
        assert_eq!(refused, Err(SamplesError::Time { range: range_of_it, t: 20 }));
    }

    /// A block's chunks, which follow each other, and what is deleted.
    type AnyBlock = (Vec<Samples>, Vec<(i64, i64)>);

    fn any_blocks() -> impl Strategy<Value = Vec<AnyBlock>> {
        let step = prop_oneof![4 => Just(10i64), 2 => 1..30i64, 1 => 100..400i64];
        let samples = proptest::collection::vec((step, 0..4u64), 1..30);
        let chunks = proptest::collection::vec(samples, 0..6);
        let deleted = proptest::collection::vec((0..1500i64, 0..300i64), 0..3);
        proptest::collection::vec((0..300i64, chunks, deleted), 0..4).prop_map(|blocks| {
            let of_block = |(start, chunks, deleted): (i64, Vec<Vec<_>>, Vec<(i64, i64)>)| {
                let mut t = start;
                let mut sample = |(step, v)| {
                    t += step;
                    (t, v)
                };
                let chunks = chunks.into_iter().map(|c| c.into_iter().map(&mut sample).collect());
                let deleted = deleted.into_iter().map(|(min, len)| (min, min + len));
                (chunks.collect(), deleted.collect())
            };
            blocks.into_iter().map(of_block).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn merging_reads_like_a_btreemap(blocks in any_blocks()) {
            let mut model = Samples::new();
            for (chunks, deleted) in blocks.iter().rev() {
                let is_left = |t: i64| !deleted.iter().any(|(min, max)| (*min..=*max).contains(&t));
                model.extend(chunks.iter().flatten().filter(|(t, _)| is_left(**t)));
            }
            let given: Vec<_> = blocks.iter().map(|(chunks, deleted)| block(chunks, deleted)).collect();
            let out = merged(&given).unwrap();
            prop_assert_eq!(decoded(&out), model.into_iter().collect::<Vec<_>>());
            for chunk in &out {
                let samples = decoded(std::slice::from_ref(chunk));
                let (first, last) = (samples.first().unwrap().0, samples.last().unwrap().0);
                prop_assert_eq!(chunk.range, range(first, last));
                prop_assert!(samples.len() <= 120);
            }
            prop_assert!(out.windows(2).all(|pair| pair[0].range.max() < pair[1].range.min()));
            // What overlaps nothing is there, to the byte.
            let all: Vec<(usize, &EncodedChunk, &Intervals)> = given.iter().enumerate()
                .flat_map(|(source, (chunks, deleted))| chunks.iter().map(move |chunk| (source, chunk, deleted))).collect();
            for (source, chunk, deleted) in &all {
                let is_alone = all.iter().all(|(other, c, _)| other == source || !c.range.overlaps(chunk.range));
                if is_alone && !deleted.overlaps(chunk.range) {
                    prop_assert!(out.contains(chunk));
                }
            }
        }

        #[test]
        fn no_bytes_panic(
            chunks in proptest::collection::vec((0..9i64, 0..9i64, 1..5u8, proptest::collection::vec(any::<u8>(), 0..60)), 1..4),
        ) {
            let of = |(min, len, encoding, bytes)| EncodedChunk { range: range(min, min + len), encoding, bytes };
            let blocks: Vec<_> = chunks.into_iter().map(|c| (vec![of(c)], Intervals::default())).collect();
            let _ = merged(&blocks);
        }
    }
}
