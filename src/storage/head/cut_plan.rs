//! What goes into a block, as plain data: label pairs once, and for each series its pairs and where its chunks lie.
//!
//! It is put together in small steps on the shard and leaves it for the thread that writes the block. In parts, so that
//! nothing that grows is ever copied whole: a part has some thousand series, the texts of pairs that no part before has, and
//! the bytes of chunks that are still in memory.
//! It may also be of all that a Head has, to be copied: then nothing is cut, and the Head goes on as if nobody had looked.

use std::collections::BTreeSet;

use ulid::Ulid;

use super::cut::Cut;
use super::head_chunk::encoded;
use super::late::LateSource;
use super::spilled::{FILES_MAX, SpilledChunk, bytes_there};
use super::starts::Run;
use super::{FloatChunks, Head};
use crate::encoding::record::SpillPlace;
use crate::encoding::spilled::{self, FRAME_BYTES, SpilledHeader};
use crate::model::{SeriesRef, TimestampMs};

/// Series of a part.
const PART_SERIES: usize = 4096;
/// Bytes of texts and chunks with which a part takes no further series.
const PART_BYTES: usize = 16 << 20;
/// No spill file has this number: the chunk is in the part, as a file would have it.
const HERE: u32 = FILES_MAX - 1;

/// What goes into a block.
#[derive(Debug)]
pub struct CutPlan {
    pub(super) cut: Cut,
    /// How the block has floats.
    pub(super) floats: FloatChunks,
    pub(super) parts: Vec<PlanPart>,
}

/// Some series of a plan.
#[derive(Debug, Default)]
pub(super) struct PlanPart {
    /// Canonical bytes of label pairs, and where each ends.
    pub(super) texts: Vec<u8>,
    pub(super) text_ends: Vec<u32>,
    pub(super) series: Vec<PlannedSeries>,
    /// Label pairs of each series, as numbers over all parts.
    pub(super) pairs: Vec<u32>,
    pub(super) chunks: Vec<PlannedChunk>,
    /// Since when each series' counter counts, if the block has room for that.
    starts: Vec<Run>,
    bytes: Vec<u8>,
}

/// One series of a part.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlannedSeries {
    pub(super) reference: SeriesRef,
    /// Where its pairs, its chunks and its starts end; they begin where those of the one before end.
    pub(super) pairs_end: u32,
    pub(super) chunks_end: u32,
    starts_end: u32,
}

/// What a plan says of a series.
pub(super) struct SeriesPlan<'a> {
    part: &'a PlanPart,
    reference: SeriesRef,
    pub(super) pairs: &'a [u32],
    /// In-order chunks, oldest first, then late ones.
    pub(super) chunks: &'a [PlannedChunk],
    /// Since when its counter counts.
    pub(super) starts: &'a [Run],
}

impl<'a> SeriesPlan<'a> {
    /// Where a chunk is, or would be.
    pub(super) fn chunk(&self, chunk: PlannedChunk) -> Option<(SpillPlace, Planned<'a>)> {
        let place = chunk.chunk.place(self.reference, chunk.end)?;
        if place.file != HERE {
            return Some((place, Planned::There));
        }
        let frame = self.part.bytes.get(place.offset as usize..)?.get(..place.len as usize)?;
        let SpillPlace { series, range, encoding, late, .. } = place;
        let header = SpilledHeader { series, range, encoding, late };
        Some((place, Planned::Here(spilled::open(frame, header).ok()?)))
    }
}

/// One chunk of a series.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlannedChunk {
    /// Where its aligned range ends.
    pub(super) end: TimestampMs,
    chunk: SpilledChunk,
}

const _: () = assert!(size_of::<PlannedChunk>() == 24, "a plan has several for every series");

/// Where a planned chunk is.
pub(super) enum Planned<'a> {
    /// In the part.
    Here(&'a [u8]),
    /// In a spill file.
    There,
}

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<CutPlan>();
};

impl CutPlan {
    /// Nothing to be written?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series_count() == 0
    }

    /// How many series.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.parts.iter().map(|part| part.series.len()).sum()
    }

    /// The cut that it is of.
    #[must_use]
    pub fn cut(&self) -> Cut {
        self.cut
    }

    /// The numbers of the spill files in which some of the chunks lie.
    #[must_use]
    pub fn spill_files(&self) -> BTreeSet<u32> {
        let chunks = self.parts.iter().flat_map(|part| &part.chunks);
        chunks.map(|planned| planned.chunk.file()).filter(|file| *file != HERE).collect()
    }
}

impl PlanPart {
    /// What the plan says of one of its series.
    pub(super) fn of(&self, at: usize) -> Option<SeriesPlan<'_>> {
        let series = self.series.get(at)?;
        let before = at.checked_sub(1).and_then(|before| self.series.get(before));
        let ends = |s: &PlannedSeries| [s.pairs_end, s.chunks_end, s.starts_end];
        let [pairs, chunks, starts] = before.map_or([0; 3], ends).map(|end| end as usize);
        Some(SeriesPlan {
            part: self,
            reference: series.reference,
            pairs: self.pairs.get(pairs..series.pairs_end as usize)?,
            chunks: self.chunks.get(chunks..series.chunks_end as usize)?,
            starts: self.starts.get(starts..series.starts_end as usize)?,
        })
    }

    /// Gives up room that was left for more.
    fn fit(&mut self) {
        let Self { texts, text_ends, series, pairs, chunks, starts, bytes } = self;
        texts.shrink_to_fit();
        text_ends.shrink_to_fit();
        series.shrink_to_fit();
        pairs.shrink_to_fit();
        chunks.shrink_to_fit();
        starts.shrink_to_fit();
        bytes.shrink_to_fit();
    }

    /// Takes a chunk of the series in. `false`: it is none of ours, and has no room.
    fn push(&mut self, header: SpilledHeader, bytes: &[u8]) -> bool {
        let SpilledHeader { series, range, encoding, late } = header;
        let end = super::mem_series::range_end(range.min());
        let start = self.bytes.len();
        let place = || {
            let len = u32::try_from(bytes_there(bytes.len())? + FRAME_BYTES).ok()?;
            let offset = u32::try_from(start).ok()?;
            Some(SpillPlace { series, file: HERE, offset, len, encoding, range, late })
        };
        let chunk = place().and_then(|place| Some((place, SpilledChunk::of(&place, end)?)));
        if let Some((place, chunk)) = chunk {
            self.chunks.push(PlannedChunk { end, chunk });
            spilled::push(&mut self.bytes, header, bytes);
            self.bytes.resize(start + place.len as usize, 0);
        }
        chunk.is_some()
    }
}

/// A plan that is being put together.
#[derive(Debug)]
pub struct Extraction {
    plan: CutPlan,
    next: u32,
    /// Of each of the Head's pairs its number in the plan, plus one; 0: it has none yet.
    numbers: Vec<u32>,
    pairs: u32,
    /// Is it a copy, after which the Head goes on as it was?
    copies: bool,
}

impl Extraction {
    /// Nothing extracted yet of a cut that has begun.
    #[must_use]
    pub fn of(head: &Head, cut: Cut) -> Self {
        let numbers = vec![0; head.pairs.ids_end() as usize];
        let plan = CutPlan { cut, floats: head.float_chunks, parts: Vec::new() };
        Self { plan, next: 0, numbers, pairs: 0, copies: false }
    }

    /// Nothing extracted yet of all that the Head has now, which keeps it. What it gets meanwhile may be among it or not;
    /// until the extraction is done nothing may be cut or deleted, and no chunk leave memory.
    #[must_use]
    pub fn of_all(head: &Head) -> Self {
        Self { copies: true, ..Self::of(head, Cut::of_all(head, Ulid::nil())) }
    }

    /// The plan, once everything is extracted.
    #[must_use]
    pub fn into_plan(self) -> CutPlan {
        self.plan
    }
}

impl Head {
    /// Goes on with an extraction for about so many series; `true`: it is done.
    pub fn extract_some(&mut self, extraction: &mut Extraction, series: usize) -> bool {
        let Cut { range, series_end, .. } = extraction.plan.cut;
        for _ in 0..series {
            if extraction.next >= series_end {
                return true;
            }
            if !extraction.copies {
                self.close_within(extraction.next, range);
            }
            self.extract(extraction);
            extraction.next += 1;
        }
        false
    }

    fn extract(&self, extraction: &mut Extraction) {
        let index = extraction.next;
        let Some((series, rest)) = self.series.get(index).zip(self.rest.get(index)) else { return };
        let Cut { range, generation, .. } = extraction.plan.cut;
        let has_starts = extraction.plan.floats == FloatChunks::Xor2;
        let parts = &mut extraction.plan.parts;
        let is_full = |part: &PlanPart| {
            part.series.len() >= PART_SERIES || part.texts.len() + part.bytes.len() >= PART_BYTES
        };
        if parts.last().is_none_or(is_full) {
            parts.last_mut().into_iter().for_each(PlanPart::fit);
            parts.push(PlanPart::default());
        }
        let Some(part) = parts.last_mut() else { return };
        let before = part.chunks.len();
        let series_ref = series.reference;
        let header =
            |range, encoding, late| SpilledHeader { series: series_ref, range, encoding, late };
        for chunk in rest.spilled.iter() {
            let overlaps = self.spilled.range(*chunk).is_some_and(|r| range.overlaps(r));
            if let Some(end) = self.spilled.end(*chunk).filter(|_| overlaps) {
                part.chunks.push(PlannedChunk { end, chunk: *chunk });
            }
        }
        for chunk in rest.chunks.iter().filter(|chunk| range.overlaps(chunk.range)) {
            part.push(header(chunk.range, chunk.encoding, false), &chunk.bytes);
        }
        // One that lies across an end of the range is still open.
        if series.open_range(rest).is_some_and(|open| range.overlaps(open))
            && let Some(chunk) = series.open_chunk(rest)
        {
            part.push(header(chunk.range, chunk.encoding, false), &chunk.bytes);
        }
        if let Some(late) = &rest.late {
            for chunk in late.of(range, generation) {
                match &chunk.source {
                    LateSource::Memory(encoding, bytes) => {
                        part.push(header(chunk.range, *encoding, true), bytes);
                    }
                    LateSource::Spilled(spilled) => {
                        let end = self.spilled.end(*spilled);
                        let planned = end.map(|end| PlannedChunk { end, chunk: *spilled });
                        part.chunks.extend(planned);
                    }
                }
            }
            for chunk in encoded(&late.buffered_of(range, generation)) {
                part.push(header(chunk.range, chunk.encoding, true), &chunk.bytes);
            }
        }
        if part.chunks.len() == before {
            return;
        }
        for pair in &rest.pairs {
            let Some(number) = extraction.numbers.get_mut(pair.0 as usize) else { continue };
            if *number == 0 {
                extraction.pairs += 1;
                *number = extraction.pairs;
                part.texts.extend_from_slice(self.pairs.text_of(*pair));
                part.text_ends.push(length(part.texts.len()));
            }
            part.pairs.push(*number - 1);
        }
        if has_starts {
            part.starts.extend_from_slice(self.starts.of(index));
        }
        part.series.push(PlannedSeries {
            reference: series.reference,
            pairs_end: length(part.pairs.len()),
            chunks_end: length(part.chunks.len()),
            starts_end: length(part.starts.len()),
        });
    }
}

/// A part's lengths fit 32 bits: [`PART_BYTES`], and one series with all of its labels and chunks.
fn length(len: usize) -> u32 {
    u32::try_from(len).expect("a part of a plan is far smaller than 4 GiB")
}
