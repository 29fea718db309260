//! Deleting samples of the Head: they are taken out at once, so that nothing has to be remembered of it.
//!
//! ```text
//! read      of chunks that have left memory and lie across an end of the deleted time, what is in them
//! log       one record for some series, behind everything that was appended so far
//! delete    in the same step, what these series have in that time: chunks that lie within it are dropped, others written
//!           anew. What is left of one that had left memory is from now on in memory, as late samples
//! ```
//! Replay does the same at the same place of the log, so that what was appended before is deleted and what came later is
//! not. Invariants: the newest instant that a series ever had stays, while the process runs, the one that in-order samples
//! follow, so that a deleted sample that is sent again is late, and taken if the out-of-order window reaches it; no spill, no
//! cut and no checkpoint goes on meanwhile, which is the caller's to see to. Series that have nothing left are removed with
//! the next cut, and until then found by nobody who looks for samples.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::Head;
use super::head_chunk::{decoded, encoded};
use super::mem_series::SeriesRest;
use super::spill::{SpillError, SpillFiles};
use super::spilled::SpillTable;
use crate::encoding::record::SpillPlace;
use crate::io::{Disk, Pace};
use crate::model::{Matcher, Samples, SamplesMark, SeriesRef, TimeRange};
use crate::storage::wal::LogBuffer;

/// Series whose chunks are read together.
const READ_SERIES: usize = 256;
/// Series that are deleted from without a pause: some 100 us.
const DELETE_SERIES: usize = 16;

/// What was read of chunks that have left memory: their samples, by file and offset.
type Read = BTreeMap<(u32, u32), Samples>;

/// Deletes the samples within `range`, both ends included, of all series for which all `matchers` hold. What says so stands
/// in `log` afterwards; making that durable is the caller's. How many series had samples there, and what could not be read:
/// a damaged chunk that lies across an end of `range` is given up.
///
/// # Errors
/// The disk does not give a chunk. Some series may be deleted from already, others not.
pub async fn delete<D: Disk>(
    head: &RefCell<Head>,
    log: &RefCell<LogBuffer>,
    spill: &SpillFiles<D>,
    matchers: &[Matcher],
    range: TimeRange,
    pace: &mut impl Pace,
) -> Result<(usize, Vec<SpillError>), SpillError> {
    let indexes = Head::select(head, matchers, pace).await;
    let (mut series, mut lost) = (0, Vec::new());
    for some in indexes.chunks(READ_SERIES) {
        let (read, errors) = read_across(head, spill, some, range, pace).await;
        for error in errors {
            match error {
                SpillError::Io { .. } => return Err(error),
                SpillError::Damaged { .. } => lost.push(error),
            }
        }
        for few in some.chunks(DELETE_SERIES) {
            series += head.borrow_mut().delete(few, range, &read, Some(&mut log.borrow_mut()));
            pace.breathe().await;
        }
    }
    Ok((series, lost))
}

/// Deletes what a record of the log says; which chunks could not be read and are given up.
pub async fn replayed<D: Disk>(
    head: &RefCell<Head>,
    spill: &SpillFiles<D>,
    indexes: &[u32],
    range: TimeRange,
    pace: &mut impl Pace,
) -> Vec<SpillError> {
    // What came late before the record is among that which it deletes.
    head.borrow_mut().finish_replay();
    let mut lost = Vec::new();
    for some in indexes.chunks(READ_SERIES) {
        let (read, errors) = read_across(head, spill, some, range, pace).await;
        lost.extend(errors);
        for few in some.chunks(DELETE_SERIES) {
            head.borrow_mut().delete(few, range, &read, None);
            pace.breathe().await;
        }
    }
    lost
}

/// Reads the chunks of these series that have left memory and lie across an end of `range`.
async fn read_across<D: Disk>(
    head: &RefCell<Head>,
    spill: &SpillFiles<D>,
    indexes: &[u32],
    range: TimeRange,
    pace: &mut impl Pace,
) -> (Read, Vec<SpillError>) {
    let mut places = Vec::new();
    for index in indexes {
        places.extend(head.borrow().places_across(*index, range));
        pace.breathe().await;
    }
    let (mut samples, mut errors) = (Read::new(), Vec::new());
    if places.is_empty() {
        return (samples, errors);
    }
    for (place, read) in places.iter().zip(spill.read(&places, pace).await) {
        match read {
            Ok(bytes) => {
                let read = decoded(place.encoding, &bytes).unwrap_or_default();
                samples.insert((place.file, place.offset), read);
            }
            Err(error) => errors.push(error),
        }
        pace.breathe().await;
    }
    (samples, errors)
}

impl Head {
    /// Where the chunks of the series at `index` lie that have left memory and have samples within `range` and outside.
    fn places_across(&self, index: u32, range: TimeRange) -> Vec<SpillPlace> {
        let Some((series, rest)) = self.series.get(index).zip(self.rest.get(index)) else {
            return Vec::new();
        };
        let late = rest.late.iter().flat_map(|late| &late.chunks).filter_map(|late| late.spilled());
        let all = rest.spilled.iter().copied().chain(late);
        all.filter_map(|chunk| self.spilled.place(chunk, series.reference))
            .filter(|place| place.range.overlaps(range) && !lies_within(place.range, range))
            .collect()
    }

    /// Deletes what these series have within `range`, and says so in `log`; how many had chunks there.
    fn delete(
        &mut self,
        indexes: &[u32],
        range: TimeRange,
        read: &Read,
        log: Option<&mut LogBuffer>,
    ) -> usize {
        let concerned = indexes.iter().copied().filter(|index| self.overlaps(*index, range));
        let concerned: Vec<u32> = concerned.collect();
        if let Some(log) = log {
            let reference = |index: &u32| self.series.get(*index).map(|series| series.reference);
            let references: Vec<SeriesRef> = concerned.iter().filter_map(reference).collect();
            log.tombstones(&references, range);
        }
        for index in &concerned {
            self.delete_of(*index, range, read);
        }
        concerned.len()
    }

    fn delete_of(&mut self, index: u32, range: TimeRange, read: &Read) {
        let Some((series, rest)) = self.series.get_mut(index).zip(self.rest.get_mut(index)) else {
            return;
        };
        let before = (rest.chunk_count(), bytes_in_memory(rest));
        let (reference, table) = (series.reference, &mut self.spilled);
        let take = |table: &mut SpillTable, chunk| {
            let place = table.place(chunk, reference)?;
            table.drop_one(chunk);
            read.get(&(place.file, place.offset))
        };
        if let Some(late) = &mut rest.late {
            late.delete(range, |chunk| take(table, chunk).cloned());
        }
        let (mut kept, mut left) = (Vec::with_capacity(rest.spilled.len()), Samples::default());
        for chunk in std::mem::take(&mut rest.spilled) {
            if table.range(chunk).is_some_and(|own| own.overlaps(range)) {
                let mut samples = take(table, chunk).cloned().unwrap_or_default();
                samples.retain(|t| !range.contains(t));
                left.merge(SamplesMark::default(), &mut samples);
            } else {
                kept.push(chunk);
            }
        }
        rest.spilled = kept.into_boxed_slice();
        if !left.is_empty() {
            let late = rest.late.get_or_insert_default();
            encoded(&left).into_iter().for_each(|chunk| late.push(self.generation, chunk));
        }
        if rest.late.as_ref().is_some_and(|late| late.is_empty()) {
            rest.late = None;
        }
        if rest.chunks.iter().any(|chunk| chunk.range.overlaps(range)) {
            let chunks = std::mem::take(&mut rest.chunks).into_vec();
            rest.chunks = chunks
                .into_iter()
                .flat_map(|chunk| {
                    if !chunk.range.overlaps(range) {
                        return vec![chunk];
                    }
                    let mut samples = Samples::default();
                    chunk.read(TimeRange::ALL, &mut samples);
                    samples.retain(|t| !range.contains(t));
                    encoded(&samples)
                })
                .collect();
        }
        for chunk in series.delete_open(rest, range) {
            rest.push_chunk(chunk);
        }
        let after = (rest.chunk_count(), bytes_in_memory(rest));
        if after.1 > 0 {
            self.full.note(index);
        }
        let stats = &mut self.stats;
        stats.chunks = (stats.chunks + after.0 as u64).saturating_sub(before.0 as u64);
        stats.chunks_removed += before.0.saturating_sub(after.0) as u64;
        stats.chunk_bytes = (stats.chunk_bytes + after.1).saturating_sub(before.1);
    }
}

fn lies_within(inner: TimeRange, outer: TimeRange) -> bool {
    outer.contains(inner.min()) && outer.contains(inner.max())
}

/// What the full chunks of a series take in memory.
fn bytes_in_memory(rest: &SeriesRest) -> u64 {
    let late = rest.late.iter().flat_map(|late| &late.chunks).filter_map(|late| late.bytes());
    let late = late.map(|(_, bytes)| bytes);
    let full = rest.chunks.iter().map(|chunk| &*chunk.bytes);
    full.chain(late).map(|bytes| bytes.len() as u64).sum()
}
