//! A plan in the order in which a block has its series, and their chunks with late samples merged in.
//!
//! Runs on the thread that writes the block. Series are sorted without their texts: the pairs are, and then the numbers that
//! they have in that order. A chunk goes into the block as it is unless late samples lie between its own, or it lies across
//! an end of the block: then it is encoded anew, by the rule by which the Head ends chunks.
//! A copy of all that a Head has goes into several blocks: it is looked at one piece of time after the other.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use bytes::Bytes;

use super::cut::Cut;
use super::cut_plan::{CutPlan, PlanPart, Planned, SeriesPlan};
use super::late;
use super::mem_series::{HeadChunk, MemSeries, read_chunk};
use super::spill::{ReadChunk, SpillError};
use crate::encoding::record::SpillPlace;
use crate::encoding::xor::{self, XorReader};
use crate::model::{BlockRange, LabelsRef, Sample, TimeRange};

/// A plan in a block's order.
#[derive(Debug)]
pub struct SortedCut {
    cut: Cut,
    /// What is looked at of it.
    range: BlockRange,
    parts: Vec<PlanPart>,
    /// Names and values, sorted, each once.
    symbols: Vec<Box<str>>,
    /// Name and value of each pair, as indexes of symbols, in order of the pairs.
    pairs: Vec<(u32, u32)>,
    /// Part and index of each series, in order of their labels.
    order: Vec<(u32, u32)>,
}

/// A series of a block.
#[derive(Debug)]
pub struct CutSeries {
    /// Names and values, as indexes of symbols.
    pub labels: Vec<(u32, u32)>,
    /// Its chunks: they follow each other in time. None if all of them were lost.
    pub chunks: Vec<CutChunk>,
    /// Chunks that could not be read, and are missing.
    pub lost: Vec<SpillError>,
}

/// A chunk of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutChunk {
    /// From its first to its last sample.
    pub range: TimeRange,
    /// Which of Prometheus's encodings.
    pub encoding: u8,
    /// Its bytes.
    pub bytes: Bytes,
}

impl CutChunk {
    /// How many samples it says it has.
    #[must_use]
    pub fn sample_count(&self) -> u32 {
        XorReader::new(&self.bytes).map_or(0, |samples| u32::from(samples.promised()))
    }
}

impl CutPlan {
    /// Sorts: long work, for a thread of its own.
    #[must_use]
    pub fn into_sorted(self) -> SortedCut {
        let Self { cut, mut parts } = self;
        let texts = parts.iter().flat_map(PlanPart::labels);
        let mut numbers: HashMap<&str, u32, foldhash::fast::RandomState> = HashMap::default();
        let mut distinct: Vec<&str> = Vec::new();
        let mut number = |text| {
            *numbers.entry(text).or_insert_with(|| {
                distinct.push(text);
                length(distinct.len() - 1)
            })
        };
        let found: Vec<(u32, u32)> =
            texts.map(|(name, value)| (number(name), number(value))).collect();
        let sorted = sorted_indexes(distinct.len(), |at| distinct.get(at).copied());
        let symbols = sorted
            .iter()
            .filter_map(|at| distinct.get(*at as usize))
            .map(|text| Box::from(*text))
            .collect();
        let symbol_of = inverse(&sorted);
        let symbol = |at: u32| symbol_of.get(at as usize).copied().unwrap_or_default();
        let found: Vec<(u32, u32)> =
            found.into_iter().map(|(name, value)| (symbol(name), symbol(value))).collect();
        let sorted = sorted_indexes(found.len(), |at| found.get(at).copied());
        let pairs = sorted.iter().filter_map(|at| found.get(*at as usize).copied()).collect();
        let rank_of = inverse(&sorted);
        for pair in parts.iter_mut().flat_map(|part| &mut part.pairs) {
            *pair = rank_of.get(*pair as usize).copied().unwrap_or_default();
        }
        let mut order: Vec<(u32, u32)> = (0u32..)
            .zip(&parts)
            .flat_map(|(part, of)| (0..length(of.series.len())).map(move |at| (part, at)))
            .collect();
        let pairs_of =
            |(part, at): (u32, u32)| Some(parts.get(part as usize)?.of(at as usize)?.pairs);
        order.sort_unstable_by(|a, b| pairs_of(*a).cmp(&pairs_of(*b)));
        SortedCut { cut, range: cut.range, symbols, pairs, order, parts }
    }
}

impl PlanPart {
    /// Name and value of its pairs.
    fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        self.text_ends.iter().map(move |end| {
            let text = self.texts.get(start..*end as usize).unwrap_or_default();
            start = *end as usize;
            let label = LabelsRef::trusted(text).iter().next();
            label.map_or(("", ""), |label| (label.name, label.value))
        })
    }
}

/// The numbers below `len` in order of their keys.
fn sorted_indexes<K: Ord>(len: usize, key: impl Fn(usize) -> K) -> Vec<u32> {
    let mut indexes: Vec<u32> = (0..length(len)).collect();
    indexes.sort_unstable_by_key(|at| key(*at as usize));
    indexes
}

/// Where each number stands in a permutation.
fn inverse(permutation: &[u32]) -> Vec<u32> {
    let mut places = vec![0; permutation.len()];
    for (place, at) in (0..).zip(permutation) {
        if let Some(slot) = places.get_mut(*at as usize) {
            *slot = place;
        }
    }
    places
}

fn length(len: usize) -> u32 {
    u32::try_from(len).expect("a Head has fewer than 2^32 pairs and series")
}

impl SortedCut {
    /// The cut that it is of.
    #[must_use]
    pub fn cut(&self) -> Cut {
        self.cut
    }

    /// The time of the cut in pieces: it is divided where the aligned ranges end in which chunks begin.
    #[must_use]
    pub fn pieces(&self) -> Vec<BlockRange> {
        let chunks = self.parts.iter().flat_map(|part| &part.chunks);
        let ends: BTreeSet<_> = chunks.map(|chunk| chunk.end).collect();
        let (mut pieces, mut start) = (Vec::new(), self.cut.range.start());
        // The last piece goes on to the end of the cut.
        for end in ends.into_iter().rev().skip(1).rev() {
            pieces.extend(BlockRange::new(start, end));
            start = end;
        }
        pieces.extend(BlockRange::new(start, self.cut.range.end()));
        pieces
    }

    /// From now on only what lies in `piece` is looked at.
    pub fn narrow(&mut self, piece: BlockRange) {
        self.range = piece;
    }

    /// How many series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Names and values, sorted, each once.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        self.symbols.iter().map(AsRef::as_ref)
    }

    /// Which chunks have to be read for some of the series, in the order in which [`series`](Self::series) takes them.
    #[must_use]
    pub fn places(&self, series: Range<usize>) -> Vec<SpillPlace> {
        let mut places = Vec::new();
        for (part, at) in self.order.get(series).unwrap_or_default() {
            let Some(of) = self.planned(*part, *at) else { continue };
            for chunk in of.chunks {
                if let Some((range, _, Planned::There(place))) = of.chunk(*chunk)
                    && self.range.overlaps(range)
                {
                    places.push(place);
                }
            }
        }
        places
    }

    fn planned(&self, part: u32, at: u32) -> Option<SeriesPlan<'_>> {
        self.parts.get(part as usize)?.of(at as usize)
    }

    /// The series at this place in the block's order.
    ///
    /// - `read`: the chunks of [`places`](Self::places), of this series and those behind it; its own are taken off.
    #[must_use]
    pub fn series(
        &self,
        at: usize,
        read: &mut impl Iterator<Item = ReadChunk>,
    ) -> Option<CutSeries> {
        let (part, at) = *self.order.get(at)?;
        let of = self.planned(part, at)?;
        let labels =
            of.pairs.iter().filter_map(|rank| self.pairs.get(*rank as usize).copied()).collect();
        let (mut in_order, mut late, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for chunk in of.chunks {
            let planned = of.chunk(*chunk).filter(|(range, ..)| self.range.overlaps(*range));
            let Some((range, is_late, planned)) = planned else { continue };
            let bytes = match planned {
                Planned::Here(bytes) => Bytes::copy_from_slice(bytes),
                Planned::There(_) => match read.next() {
                    Some(Ok(bytes)) => bytes,
                    Some(Err(error)) => {
                        lost.push(error);
                        continue;
                    }
                    None => continue,
                },
            };
            if is_late {
                read_chunk(&bytes, self.range.inclusive(), &mut late);
            } else {
                in_order.push(HeadChunk { range, bytes });
            }
        }
        Some(CutSeries { labels, chunks: merge(in_order, &mut late, self.range), lost })
    }
}

/// The chunks of a block: those that are in order, with the late samples, which are in any order.
fn merge(in_order: Vec<HeadChunk>, late: &mut Vec<Sample>, block: BlockRange) -> Vec<CutChunk> {
    let mut sorted = Vec::new();
    late::merge(&mut sorted, 0, late);
    let mut late = &sorted[..];
    let (mut chunks, mut run) = (Vec::new(), Vec::new());
    for chunk in in_order {
        let before = late.partition_point(|sample| sample.t < chunk.range.min());
        let within = late.partition_point(|sample| sample.t <= chunk.range.max());
        let (first, rest) = late.split_at(before);
        let (mut between, rest) = {
            let (between, rest) = rest.split_at(within - before);
            (between.to_vec(), rest)
        };
        late = rest;
        run.extend_from_slice(first);
        if between.is_empty() && block.holds(chunk.range) {
            encode(&mut run, &mut chunks);
            let HeadChunk { range, bytes } = chunk;
            chunks.push(CutChunk { range, encoding: xor::ENCODING, bytes });
        } else {
            let from = run.len();
            chunk.read(block.inclusive(), &mut run);
            late::merge(&mut run, from, &mut between);
        }
    }
    run.extend_from_slice(late);
    encode(&mut run, &mut chunks);
    chunks
}

/// Encodes samples as the Head would, and takes them off.
fn encode(run: &mut Vec<Sample>, chunks: &mut Vec<CutChunk>) {
    let mut series = MemSeries::default();
    let mut push = |chunk: Option<HeadChunk>| {
        chunks.extend(chunk.map(|HeadChunk { range, bytes }| CutChunk {
            range,
            encoding: xor::ENCODING,
            bytes,
        }));
    };
    for sample in run.drain(..) {
        push(series.append(sample));
    }
    push(series.close());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::testing::sample;
    use super::*;
    use crate::encoding::xor::XorReader;
    use crate::model::TimestampMs;

    const MINUTE: i64 = 60_000;

    fn chunks_of(samples: &[Sample]) -> Vec<HeadChunk> {
        let mut encoded = Vec::new();
        encode(&mut samples.to_vec(), &mut encoded);
        encoded
            .into_iter()
            .map(|CutChunk { range, bytes, .. }| HeadChunk { range, bytes })
            .collect()
    }

    fn read(chunks: &[CutChunk]) -> Vec<Sample> {
        chunks
            .iter()
            .flat_map(|chunk| XorReader::new(&chunk.bytes).unwrap().map(Result::unwrap))
            .collect()
    }

    #[test]
    fn only_the_chunk_that_a_late_sample_lies_in_is_encoded_anew() {
        let in_order: Vec<_> = (0..480).map(|i| sample(i * 15_000, i as f64)).collect();
        let chunks = chunks_of(&in_order);
        let mut late = vec![sample(40 * MINUTE + 1, -1.0)];
        let block = BlockRange::new(TimestampMs(0), TimestampMs(120 * MINUTE)).unwrap();
        let merged = merge(chunks.clone(), &mut late, block);
        let same: Vec<bool> =
            chunks.iter().map(|chunk| merged.iter().any(|m| m.bytes == chunk.bytes)).collect();
        assert_eq!(same, [true, false, true, true]);
        assert_eq!(read(&merged).len(), 481);
    }

    proptest! {
        #[test]
        fn a_block_has_every_sample_of_its_range_once_and_in_order(
            in_order in proptest::collection::btree_set(-9_000_000i64..9_000_000, 0..300),
            late in proptest::collection::vec((-9_000_000i64..9_000_000, 0u8..2), 0..60),
            dense in any::<bool>(),
        ) {
            let scale = |t: i64| if dense { t / 100_000 * 100_000 } else { t };
            let in_order: BTreeMap<i64, Sample> =
                in_order.into_iter().map(|t| (scale(t), sample(scale(t), 1.0))).collect();
            let mut late: Vec<_> = late.into_iter().map(|(t, v)| sample(scale(t), f64::from(v))).collect();
            let block = BlockRange::new(TimestampMs(0), TimestampMs(120 * MINUTE)).unwrap();
            late.retain(|sample| block.contains(sample.t));
            let mut model: BTreeMap<_, _> =
                in_order.clone().into_iter().filter(|(_, s)| block.contains(s.t)).collect();
            late.iter().for_each(|s| { model.entry(s.t.0).or_insert(*s); });
            let chunks = chunks_of(&in_order.into_values().collect::<Vec<_>>());
            let overlapping = chunks.into_iter().filter(|chunk| block.overlaps(chunk.range)).collect();
            let merged = merge(overlapping, &mut late, block);
            prop_assert_eq!(read(&merged), model.into_values().collect::<Vec<_>>());
            prop_assert!(merged.iter().all(|chunk| block.holds(chunk.range)));
            prop_assert!(merged.is_sorted_by(|a, b| a.range.max() < b.range.min()));
            for chunk in &merged {
                let samples = XorReader::new(&chunk.bytes).unwrap().map(Result::unwrap);
                let times: Vec<_> = samples.map(|s| s.t).collect();
                prop_assert_eq!((times.first(), times.last()), (Some(&chunk.range.min()), Some(&chunk.range.max())));
            }
        }
    }
}
