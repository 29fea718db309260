//! A plan in the order in which a block has its series, and their chunks with late samples merged in.
//!
//! Runs on the thread that writes the block. Series are sorted without their texts: the pairs are, and then the numbers that
//! they have in that order. A chunk goes into the block as it is unless late samples lie between its own, or it lies across
//! an end of the block: then it is encoded anew, by the rule by which the Head ends chunks.
//! Floats are in the encoding that the Head was told, whatever they had in memory.
//! A copy of all that a Head has goes into several blocks: it is looked at one piece of time after the other.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use bytes::Bytes;

use super::FloatChunks;
use super::cut::Cut;
use super::cut_plan::{CutPlan, PlanPart, Planned, SeriesPlan};
use super::head_chunk::{HeadChunk, encoded, read_chunk};
use super::spill::{ReadChunk, SpillError};
use super::starts::start_at;
use crate::encoding::record::SpillPlace;
use crate::model::{BlockRange, LabelsRef, Samples, SamplesMark};

/// A plan in a block's order.
#[derive(Debug)]
pub struct SortedCut {
    cut: Cut,
    floats: FloatChunks,
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
    pub chunks: Vec<HeadChunk>,
    /// Chunks that could not be read, and are missing.
    pub lost: Vec<SpillError>,
}

impl CutPlan {
    /// Sorts: long work, for a thread of its own.
    #[must_use]
    pub fn into_sorted(self) -> SortedCut {
        let Self { cut, floats, mut parts } = self;
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
        SortedCut { cut, floats, range: cut.range, symbols, pairs, order, parts }
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
                if let Some((place, Planned::There)) = of.chunk(*chunk)
                    && self.range.overlaps(place.range)
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
        let (mut in_order, mut late, mut lost) = (Vec::new(), Samples::default(), Vec::new());
        for chunk in of.chunks {
            let planned = of.chunk(*chunk).filter(|(place, _)| self.range.overlaps(place.range));
            let Some((SpillPlace { range, encoding, late: is_late, .. }, planned)) = planned else {
                continue;
            };
            let bytes = match planned {
                Planned::Here(bytes) => Bytes::copy_from_slice(bytes),
                Planned::There => match read.next() {
                    Some(Ok(bytes)) => bytes,
                    Some(Err(error)) => {
                        lost.push(error);
                        continue;
                    }
                    None => continue,
                },
            };
            if is_late {
                read_chunk(encoding, &bytes, self.range.inclusive(), &mut late);
            } else {
                in_order.push(HeadChunk { range, encoding, bytes });
            }
        }
        let mut chunks = merge(in_order, late, self.range);
        for chunk in &mut chunks {
            let start = |t| start_at(of.starts, t);
            if let Some((encoding, bytes)) =
                self.floats.written(chunk.encoding, &chunk.bytes, start)
            {
                (chunk.encoding, chunk.bytes) = (encoding, bytes.into());
            }
        }
        Some(CutSeries { labels, chunks, lost })
    }
}

/// The chunks of a block: those that are in order, with the late samples, which are in any order.
fn merge(in_order: Vec<HeadChunk>, mut late: Samples, block: BlockRange) -> Vec<HeadChunk> {
    late.sort_from(SamplesMark::default());
    let mut late = late.iter().peekable();
    let (mut chunks, mut run) = (Vec::new(), Samples::default());
    for chunk in in_order {
        while let Some((t, value)) = late.next_if(|(t, _)| *t < chunk.range.min()) {
            run.push(t, value);
        }
        let mut between = Samples::default();
        while let Some((t, value)) = late.next_if(|(t, _)| *t <= chunk.range.max()) {
            between.push(t, value);
        }
        if between.is_empty() && block.holds(chunk.range) {
            chunks.extend(encoded(&std::mem::take(&mut run)));
            chunks.push(chunk);
        } else {
            let mark = run.mark();
            chunk.read(block.inclusive(), &mut run);
            run.merge(mark, &mut between);
        }
    }
    late.for_each(|(t, value)| run.push(t, value));
    chunks.extend(encoded(&run));
    chunks
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::testing::sample;
    use super::*;
    use crate::model::{Sample, TimeRange, TimestampMs};

    const MINUTE: i64 = 60_000;

    fn floats(samples: &[Sample]) -> Samples {
        Samples { floats: samples.to_vec(), ..Samples::default() }
    }

    fn read(chunks: &[HeadChunk]) -> Vec<Sample> {
        let mut samples = Samples::default();
        chunks.iter().for_each(|chunk| chunk.read(TimeRange::ALL, &mut samples));
        samples.floats
    }

    #[test]
    fn only_the_chunk_that_a_late_sample_lies_in_is_encoded_anew() {
        let in_order: Vec<_> = (0..480).map(|i| sample(i * 15_000, i as f64)).collect();
        let chunks = encoded(&floats(&in_order));
        let late = floats(&[sample(40 * MINUTE + 1, -1.0)]);
        let block = BlockRange::new(TimestampMs(0), TimestampMs(120 * MINUTE)).unwrap();
        let merged = merge(chunks.clone(), late, block);
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
            let chunks = encoded(&floats(&in_order.into_values().collect::<Vec<_>>()));
            let overlapping = chunks.into_iter().filter(|chunk| block.overlaps(chunk.range)).collect();
            let merged = merge(overlapping, floats(&late), block);
            prop_assert_eq!(read(&merged), model.into_values().collect::<Vec<_>>());
            prop_assert!(merged.iter().all(|chunk| block.holds(chunk.range)));
            prop_assert!(merged.is_sorted_by(|a, b| a.range.max() < b.range.min()));
            for chunk in &merged {
                let times: Vec<_> = read(std::slice::from_ref(chunk)).iter().map(|s| s.t).collect();
                prop_assert_eq!((times.first(), times.last()), (Some(&chunk.range.min()), Some(&chunk.range.max())));
            }
        }
    }
}
