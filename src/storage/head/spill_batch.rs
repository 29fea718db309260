//! Chunks on their way out of memory: copied in the order in which they became full, and replaced by where they lie once
//! that is durable.
//!
//! A batch holds the chunks of several two-hour ranges, each on its way to a file of its own. In-order chunks of a series
//! leave in their order, so that those that have left lie before those that have not.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Head;
use super::late::LateSource;
use super::mem_series::range_end;
use super::spilled::{SpilledChunk, bytes_there};
use crate::encoding::record::SpillPlace;
use crate::encoding::spilled::{self, SpilledHeader};
use crate::model::TimestampMs;

/// A batch is written when it has reached this, in bytes.
pub const BATCH_BYTES: usize = 256 << 10;
/// Series that are looked at without a pause.
const SERIES_AT_ONCE: usize = 128;

/// Chunks on their way to files.
#[derive(Debug, Default)]
pub struct SpillBatch {
    /// By the end of their two-hour range.
    pub(super) ranges: BTreeMap<TimestampMs, RangeBatch>,
    /// Series that were looked at.
    series: HashSet<u32, foldhash::fast::FixedState>,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct RangeBatch {
    pub(super) bytes: Vec<u8>,
    pub(super) chunks: Vec<Leaving>,
}

#[derive(Debug)]
pub(super) struct Leaving {
    index: u32,
    /// Its offset is that within the batch until this is written.
    pub(super) place: SpillPlace,
    /// Of a late chunk.
    generation: Option<u32>,
}

impl SpillBatch {
    fn push(
        &mut self,
        index: u32,
        header: SpilledHeader,
        bytes: &[u8],
        generation: Option<u32>,
    ) -> bool {
        let end = range_end(header.range.min());
        let SpilledHeader { series, range, encoding, late } = header;
        let len = bytes_there(bytes.len()).map(|len| u32::try_from(len + spilled::FRAME_BYTES));
        let Some(Ok(len)) = len else { return false };
        let place = SpillPlace { series, file: 0, offset: 0, len, encoding, range, late };
        if SpilledChunk::of(&place, end).is_none() {
            return false;
        }
        let batch = self.ranges.entry(end).or_default();
        let start = batch.bytes.len();
        let Ok(offset) = u32::try_from(start) else { return false };
        spilled::push(&mut batch.bytes, header, bytes);
        batch.bytes.resize(start + len as usize, 0);
        self.bytes += len as usize;
        batch.chunks.push(Leaving { index, place: SpillPlace { offset, ..place }, generation });
        true
    }

    /// Its chunks, in the order in which they have to be [installed](Head::install).
    pub(super) fn into_chunks(self) -> impl Iterator<Item = Leaving> {
        self.ranges.into_values().flat_map(|batch| batch.chunks)
    }

    /// No chunk in it?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl Head {
    /// Copies full chunks of some series into a batch; `true`: it wants more, and there may be more.
    pub fn gather_full(&mut self, batch: &mut SpillBatch) -> bool {
        for _ in 0..SERIES_AT_ONCE {
            if batch.bytes >= BATCH_BYTES {
                return false;
            }
            let Some(index) = self.full.pop() else { return false };
            if batch.series.insert(index) {
                self.gather(index, batch);
            }
        }
        true
    }

    fn gather(&self, index: u32, batch: &mut SpillBatch) {
        let Some((series, rest)) = self.series.get(index).zip(self.rest.get(index)) else { return };
        let series = series.reference;
        let header = |range, encoding, late| SpilledHeader { series, range, encoding, late };
        for chunk in &rest.chunks {
            if !batch.push(index, header(chunk.range, chunk.encoding, false), &chunk.bytes, None) {
                break; // chunks leave memory in their order
            }
        }
        for chunk in rest.late.iter().flat_map(|late| &late.chunks) {
            if let Some((encoding, bytes)) = chunk.bytes() {
                let header = header(chunk.range, encoding, true);
                batch.push(index, header, bytes, Some(chunk.generation));
            }
        }
    }

    /// Replaces some chunks of a batch that is durable by where they lie; how many.
    pub(super) fn install(&mut self, some: impl Iterator<Item = Leaving>) -> u64 {
        let before = self.spilled.chunks();
        for leaving in some {
            let Some(rest) = self.rest.get_mut(leaving.index) else { continue };
            // It may have been cut into a block meanwhile.
            let len = match leaving.generation {
                None => {
                    let oldest = rest.chunks.first().map(|chunk| chunk.range);
                    let place = (oldest == Some(leaving.place.range))
                        .then(|| self.spilled.add(&leaving.place));
                    let Some(place) = place.flatten() else { continue };
                    rest.spill_oldest(place).map_or(0, |chunk| chunk.bytes.len())
                }
                Some(generation) => {
                    let chunks = rest.late.iter_mut().flat_map(|late| &mut late.chunks);
                    let mut in_memory = chunks.filter(|chunk| chunk.bytes().is_some());
                    let it = in_memory.find(|chunk| {
                        chunk.range == leaving.place.range && chunk.generation == generation
                    });
                    let Some(chunk) = it else { continue };
                    let Some(place) = self.spilled.add(&leaving.place) else { continue };
                    let len = chunk.bytes().map_or(0, |(_, bytes)| bytes.len());
                    chunk.source = LateSource::Spilled(place);
                    len
                }
            };
            self.stats.chunk_bytes = self.stats.chunk_bytes.saturating_sub(len as u64);
        }
        self.spilled.chunks() - before
    }

    /// Takes the chunks of a batch that could not be written back into the queue.
    pub fn keep(&mut self, batch: SpillBatch) {
        batch.series.into_iter().for_each(|series| self.full.note(series));
    }

    /// The numbers of the spill files that are needed.
    #[must_use]
    pub fn spill_files(&self) -> BTreeSet<u32> {
        self.spilled.files().collect()
    }
}
