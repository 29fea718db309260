//! What a series is read from: the bytes of chunks in memory, and places of chunks that have left it.
//!
//! In-order chunks follow each other in time; late ones may overlap all others. Where an instant stands more than once, the
//! in-order sample wins, then the late one that came first.

use bytes::Bytes;

use super::Head;
use super::head_chunk::{HeadChunk, encoded, read_chunk};
use super::late::LateSource;
use super::spilled::SpilledChunk;
use crate::encoding::chunk;
use crate::encoding::record::SpillPlace;
use crate::model::{Samples, SamplesMark, TimeRange, TimestampMs};

/// A part of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkPiece {
    /// From its first to its last sample.
    pub range: TimeRange,
    /// Which of Prometheus's encodings.
    pub encoding: u8,
    /// Did its samples come late?
    pub late: bool,
    /// Where it is.
    pub source: PieceSource,
}

/// Where a part of a series is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PieceSource {
    /// Here.
    Bytes(Bytes),
    /// In a spill file.
    Spilled(SpillPlace),
}

impl Head {
    /// What the samples of the series at `index` within `range` are read from: in-order pieces, oldest first, then late
    /// ones in the order in which they came.
    #[must_use]
    pub fn pieces(&self, index: u32, range: TimeRange) -> Vec<ChunkPiece> {
        let Some((series, rest)) = self.series.get(index).zip(self.rest.get(index)) else {
            return Vec::new();
        };
        let here = |range, late, encoding, bytes: Bytes| ChunkPiece {
            range,
            encoding,
            late,
            source: PieceSource::Bytes(bytes),
        };
        let there = |chunk| {
            let place = self.spilled.place(chunk, series.reference)?;
            let SpillPlace { range, encoding, late, .. } = place;
            Some(ChunkPiece { range, encoding, late, source: PieceSource::Spilled(place) })
        };
        // The newest of them are asked for most.
        let is_older = |chunk: &&SpilledChunk| {
            self.spilled.range(**chunk).is_some_and(|chunk| chunk.max() < range.min())
        };
        let newer = rest.spilled.iter().rev().take_while(|chunk| !is_older(chunk)).count();
        let spilled = rest.spilled.iter().skip(rest.spilled.len() - newer).copied();
        let in_range = |piece: &ChunkPiece| piece.range.overlaps(range);
        let mut pieces: Vec<_> = spilled.filter_map(there).filter(in_range).collect();
        let full = rest.chunks.iter().filter(|chunk| chunk.range.overlaps(range));
        let of_full =
            |chunk: &HeadChunk| here(chunk.range, false, chunk.encoding, chunk.bytes.clone());
        pieces.extend(full.map(of_full));
        let open = series.open_range(rest).filter(|open| open.overlaps(range));
        let open = open.and_then(|_| series.open_chunk(rest));
        pieces.extend(open.map(|open| here(open.range, false, open.encoding, open.bytes)));
        let Some(late) = &rest.late else { return pieces };
        for chunk in late.chunks.iter().filter(|chunk| chunk.range.overlaps(range)) {
            match &chunk.source {
                LateSource::Memory(encoding, bytes) => {
                    pieces.push(here(chunk.range, true, *encoding, bytes.clone()));
                }
                LateSource::Spilled(chunk) => pieces.extend(there(*chunk)),
            }
        }
        let buffered = encoded(late.buffer().0).into_iter();
        let buffered = buffered.filter(|chunk| chunk.range.overlaps(range));
        pieces.extend(buffered.map(|chunk| here(chunk.range, true, chunk.encoding, chunk.bytes)));
        pieces
    }

    /// Where the chunks lie that have left memory and may have a sample of the series at `t`.
    pub(super) fn places_at(&self, index: u32, t: TimestampMs) -> Vec<SpillPlace> {
        let Some((series, rest)) = self.series.get(index).zip(self.rest.get(index)) else {
            return Vec::new();
        };
        let late = rest.late.iter().flat_map(|late| &late.chunks).filter_map(|late| late.spilled());
        let all = rest.spilled.iter().copied().chain(late);
        all.filter_map(|chunk| self.spilled.place(chunk, series.reference))
            .filter(|place| place.range.contains(t))
            .collect()
    }

    /// Has the series at `index` a chunk that overlaps `range`?
    #[must_use]
    pub fn overlaps(&self, index: u32, range: TimeRange) -> bool {
        let Some((series, rest)) = self.series.get(index).zip(self.rest.get(index)) else {
            return false;
        };
        let spilled = |chunk| self.spilled.range(chunk).is_some_and(|r| r.overlaps(range));
        range == TimeRange::ALL && !(rest.is_empty() && series.has_no_floats())
            || series.overlaps(rest, range)
            || rest.spilled.iter().rev().copied().any(spilled)
    }
}

/// Appends the samples within `range` to `out`, oldest first, each instant once.
///
/// - `pieces`: encoding and bytes of pieces in their order, and whether they are late.
pub fn read_pieces<'a>(
    pieces: impl IntoIterator<Item = (u8, &'a [u8], bool)>,
    range: TimeRange,
    out: &mut Samples,
) {
    let (mark, mut late) = (out.mark(), Samples::default());
    for (encoding, bytes, is_late) in pieces {
        if is_late {
            read_chunk(encoding, bytes, range, &mut late);
        } else {
            // Before the first histogram that the range has of a chunk nothing stands but what is not in the range either.
            let wanted = |t| range.contains(t);
            let _ = chunk::read_hinted(encoding, bytes, wanted, out); // what is lost is noticed where a chunk is taken over
        }
    }
    late.sort_from(SamplesMark::default());
    out.merge(mark, &mut late);
}
