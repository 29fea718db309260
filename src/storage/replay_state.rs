//! What is known while one log is read back: which names stand for which series, and what could not be taken over.
//!
//! Applies one record after the other to a Head. What needs the disk, chunks in a former shard's spill files, and what is
//! long work, the dropping of what a cut has put into a block, it hands back to `replay`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::head::Head;
use super::head::delete;
use super::head::spill::{SpillError, SpillFiles};
use crate::encoding::record::{
    CutRecord, HistogramsRecord, LoggedCount, LoggedStart, Record, RecordError, SamplesRecord,
    SavedChunk, SeriesRecord, SpillPlace, SpilledChunksRecord, TombstonesRecord,
};
use crate::io::{Disk, Pace};
use crate::model::metadata::family_route;
use crate::model::{SeriesRef, TimeRange, route_hash};

/// What is known while one log is read.
#[derive(Default)]
pub(super) struct LogState {
    /// Number of the last batch of the log.
    pub(super) sequence: Option<u64>,
    pub(super) references: ReferenceMap,
    /// Samples whose series the log has not named, because what named it is damaged.
    orphans: u64,
    /// Chunks likewise.
    orphan_chunks: u64,
    /// Chunks of this shard that cannot be read.
    unreadable_chunks: u64,
    /// What is wrong with the first of those that are in spill files.
    spill_error: Option<String>,
    /// The spill files that have them.
    pub(super) spill_keep: BTreeSet<String>,
    /// The spill files there are: number to length in bytes.
    pub(super) spill_files: BTreeMap<u32, u64>,
    /// Those that the checkpoint refers to.
    pub(super) spill_files_named: BTreeSet<u32>,
}

/// What a record held for this shard.
pub(super) enum Applied {
    /// So many samples of the log.
    Samples(u64),
    /// Chunks that are to be read from another shard's spill files, and the indexes of their series.
    Elsewhere(Vec<(u32, SpillPlace)>),
    /// What lies in this time is deleted of the series at these indexes.
    Deleted(Vec<u32>, TimeRange),
    /// The beginning of a cut.
    Cut(CutRecord),
}

/// With more than this in memory, chunks that come from former shards leave it again, in bytes.
const CHUNK_BYTES_MAX: u64 = 64 << 20;

impl LogState {
    /// Notes that the batch `number` is the next one of the log; how many are missing before it.
    pub(super) fn follow(&mut self, number: u64) -> Option<u64> {
        let last = self.sequence.replace(number);
        last.and_then(|last| number.checked_sub(last + 1)).filter(|lost| *lost > 0)
    }

    /// What could not be taken over, in words.
    ///
    /// - `tells`: does this shard tell of what all that read the log have seen?
    pub(super) fn lost(&self, tells: bool) -> impl Iterator<Item = String> {
        let samples = if tells { self.orphans } else { 0 };
        let chunks = self.unreadable_chunks + if tells { self.orphan_chunks } else { 0 };
        let samples = (samples > 0)
            .then(|| format!("{samples} samples are lost: what named their series is damaged"));
        let chunks = (chunks > 0).then(|| {
            let first = self.spill_error.as_deref().map(|error| format!("; {error}"));
            let first = first.unwrap_or_default();
            format!(
                "{chunks} chunks are lost: they, or what named their series, are damaged{first}"
            )
        });
        samples.into_iter().chain(chunks)
    }

    /// Applies one record.
    pub(super) fn apply(
        &mut self,
        record: Record<'_>,
        owns: Option<&dyn Fn(u64) -> bool>,
        head: &mut Head,
    ) -> Result<Applied, RecordError> {
        match record {
            Record::Series(series) => self.apply_series(series, owns, head)?,
            Record::Samples(samples) => {
                return Ok(Applied::Samples(self.apply_samples(samples, head)));
            }
            Record::Histograms(histograms) => {
                return self.apply_histograms(histograms, head).map(Applied::Samples);
            }
            Record::FloatHistograms(histograms) => {
                return self.apply_histograms(histograms, head).map(Applied::Samples);
            }
            Record::Starts(starts) => {
                for logged in starts {
                    let LoggedStart { series, from, start } = logged?;
                    // Of a series that is not named the samples are lost, and told of.
                    if let Some(index) = self.index_of(series, &mut 0) {
                        head.replay_start(index, from, start);
                    }
                }
            }
            Record::OpenHistograms(chunks) => {
                let take = |index, chunk| head.replay_open_histogram(index, chunk);
                self.apply_chunks(chunks, |chunk| chunk.series, take)?;
            }
            Record::SpilledChunks(places) if owns.is_some() => {
                return self.elsewhere(places).map(Applied::Elsewhere);
            }
            Record::SpilledChunks(places) => self.apply_spilled_chunks(places, head)?,
            Record::Chunks(chunks) => {
                let take = |index, chunk: SavedChunk<'_>| head.replay_chunk(index, chunk);
                self.apply_chunks(chunks, |chunk| chunk.series, take)?;
            }
            Record::LateChunks(chunks) => {
                let take = |index, chunk: SavedChunk<'_>| head.replay_late_chunk(index, chunk);
                self.apply_chunks(chunks, |chunk| chunk.series, take)?;
            }
            Record::OpenChunks(chunks) => {
                let take = |index, chunk| head.replay_open_chunk(index, chunk);
                self.apply_chunks(chunks, |chunk| chunk.series, take)?;
            }
            Record::Tombstones(record) => return self.deleted(record),
            Record::Cut(cut) => return Ok(Applied::Cut(cut)),
            Record::SavedSeries(saved) => {
                let references = &mut self.references;
                head.replay_saved_series(saved, owns, |reference, index| {
                    references.insert(reference, index.unwrap_or(ReferenceMap::ELSEWHERE));
                })?;
            }
            Record::Exemplars(exemplars) => {
                for saved in exemplars {
                    let saved = saved?;
                    if owns.is_none_or(|owns| owns(route_hash(saved.series))) {
                        head.replay_exemplar(saved);
                    }
                }
            }
            Record::Metadata(families) => {
                for family in families {
                    let family = family?;
                    if owns.is_none_or(|owns| owns(family_route(family.name.as_bytes()))) {
                        head.families_mut().replay(&family);
                    }
                }
            }
            Record::Checkpoint(_) => {} // the survey has read it
        }
        Ok(Applied::Samples(0))
    }

    /// Takes over where chunks lie in this shard's own spill files.
    fn apply_spilled_chunks(
        &mut self,
        places: SpilledChunksRecord<'_>,
        head: &mut Head,
    ) -> Result<(), RecordError> {
        for place in places {
            let place = place?;
            self.spill_files_named.insert(place.file);
            let mut orphans = 0;
            if let Some(index) = self.index_of(place.series, &mut orphans) {
                let there = self.spill_files.get(&place.file).copied();
                let needed = u64::from(place.offset) + u64::from(place.len);
                if there.is_none_or(|len| len < needed) {
                    self.spill_error.get_or_insert_with(|| {
                        let len = there.unwrap_or(0);
                        format!("spill file {} has {len} bytes, {needed} are needed", place.file)
                    });
                    self.unreadable_chunks += 1;
                } else {
                    self.unreadable_chunks += u64::from(!head.replay_spilled(index, place));
                }
            }
            self.orphan_chunks += orphans;
        }
        Ok(())
    }

    /// The indexes of the series here of which something is deleted. One that is not named has nothing to delete: its
    /// samples are lost, and told of.
    fn deleted(&self, record: TombstonesRecord<'_>) -> Result<Applied, RecordError> {
        let (range, mut indexes) = (record.range, Vec::new());
        for reference in record {
            indexes.extend(self.index_of(reference?, &mut 0));
        }
        Ok(Applied::Deleted(indexes, range))
    }

    /// Deletes samples, as the record says that was just applied.
    pub(super) async fn delete<D: Disk>(
        &mut self,
        indexes: &[u32],
        range: TimeRange,
        spill: &SpillFiles<D>,
        head: &RefCell<Head>,
        pace: &mut impl Pace,
    ) {
        for error in delete::replayed(head, spill, indexes, range, pace).await {
            self.note(&error);
            self.unreadable_chunks += 1;
        }
        // A disk without room for it is told of by the checkpoint that follows.
        let _ = spill.spill(head, CHUNK_BYTES_MAX, pace).await;
    }

    fn note(&mut self, error: &SpillError) {
        self.spill_error.get_or_insert_with(|| error.to_string());
        self.spill_keep.extend(error.damage().keep);
    }

    /// The chunks in a former shard's spill files that belong here.
    fn elsewhere(
        &mut self,
        places: SpilledChunksRecord<'_>,
    ) -> Result<Vec<(u32, SpillPlace)>, RecordError> {
        let mut here = Vec::new();
        for place in places {
            let place = place?;
            let mut orphans = 0;
            here.extend(self.index_of(place.series, &mut orphans).map(|index| (index, place)));
            self.orphan_chunks += orphans;
        }
        Ok(here)
    }

    /// Takes chunks over from a former shard's spill files, and lets some leave memory again if there are many.
    pub(super) async fn take_over<D: Disk>(
        &mut self,
        chunks: &[(u32, SpillPlace)],
        former: &SpillFiles<D>,
        spill: &SpillFiles<D>,
        head: &RefCell<Head>,
        pace: &mut impl Pace,
    ) {
        let places: Vec<SpillPlace> = chunks.iter().map(|(_, place)| *place).collect();
        for ((index, place), read) in chunks.iter().zip(former.read(&places, pace).await) {
            let SpillPlace { series, range, encoding, late, .. } = *place;
            let taken = match &read {
                Err(error) => {
                    self.note(error);
                    false
                }
                Ok(bytes) => {
                    let chunk = SavedChunk { series, encoding, range, bytes };
                    let mut head = head.borrow_mut();
                    if late {
                        head.replay_late_chunk(*index, chunk)
                    } else {
                        head.replay_chunk(*index, chunk)
                    }
                }
            };
            self.unreadable_chunks += u64::from(!taken);
        }
        // A disk without room for it is told of by the checkpoint that follows.
        let _ = spill.spill(head, CHUNK_BYTES_MAX, pace).await;
    }

    fn apply_series(
        &mut self,
        series: SeriesRecord<'_>,
        owns: Option<&dyn Fn(u64) -> bool>,
        head: &mut Head,
    ) -> Result<(), RecordError> {
        for series in series {
            let (reference, labels) = series?;
            let index = match owns {
                None => head.replay_series(labels, reference),
                Some(owns) if owns(route_hash(labels)) => head.replay_unnamed_series(labels),
                Some(_) => Some(ReferenceMap::ELSEWHERE),
            };
            self.references.insert(reference, index.unwrap_or(ReferenceMap::ELSEWHERE));
        }
        Ok(())
    }

    /// The index that a reference has in the Head; `None` if it is another shard's. A reference that the log has not named
    /// is counted in `orphans`.
    #[inline]
    fn index_of(&self, reference: SeriesRef, orphans: &mut u64) -> Option<u32> {
        let index = self.references.get(reference);
        *orphans += u64::from(index.is_none());
        index.filter(|index| *index != ReferenceMap::ELSEWHERE)
    }

    fn apply_samples(&mut self, samples: SamplesRecord<'_>, head: &mut Head) -> u64 {
        const GROUP: usize = 32;
        let (mut applied, mut orphans) = (0, 0);
        let mut iter = samples.iter();
        let mut group = Vec::with_capacity(GROUP);
        while iter.size_hint().0 > 0 {
            // A group at a time, so that the cache misses of its series overlap.
            for logged in iter.by_ref().take(GROUP) {
                if let Some(index) = self.index_of(logged.series, &mut orphans) {
                    head.prefetch(index);
                    group.push((index, logged.sample));
                }
            }
            applied += group.len() as u64;
            for (index, sample) in group.drain(..) {
                head.replay_sample(index, sample);
            }
        }
        self.orphans += orphans;
        applied
    }

    fn apply_histograms<C: LoggedCount>(
        &mut self,
        mut histograms: HistogramsRecord<'_, C>,
        head: &mut Head,
    ) -> Result<u64, RecordError> {
        let (mut applied, mut orphans) = (0, 0);
        let mut faulty = None;
        while let Some(logged) = histograms.next_histogram() {
            let logged = logged?;
            if let Some(index) = self.index_of(logged.series, &mut orphans) {
                if head.replay_histogram(index, logged.t, C::any(logged.histogram)) {
                    applied += 1;
                } else {
                    let what = "a histogram of the log is none; it is lost";
                    faulty = Some(RecordError::Body { offset: 0, what });
                }
            }
        }
        self.orphans += orphans;
        faulty.map_or(Ok(applied), Err)
    }

    /// Takes chunks over, each by its reference.
    ///
    /// - `take_over`: `false`: it cannot be read, or does not follow what is there.
    fn apply_chunks<T>(
        &mut self,
        chunks: impl Iterator<Item = Result<T, RecordError>>,
        reference: fn(&T) -> SeriesRef,
        mut take_over: impl FnMut(u32, T) -> bool,
    ) -> Result<(), RecordError> {
        for chunk in chunks {
            let chunk = chunk?;
            let mut orphans = 0;
            if let Some(index) = self.index_of(reference(&chunk), &mut orphans) {
                self.unreadable_chunks += u64::from(!take_over(index, chunk));
            }
            self.orphan_chunks += orphans;
        }
        Ok(())
    }
}

/// From a log's references to a Head's indexes. References are nearly dense, but may begin anywhere.
#[derive(Default)]
pub(super) struct ReferenceMap {
    pages: HashMap<u64, Box<[u32; Self::PAGE]>, foldhash::fast::FixedState>,
}

impl ReferenceMap {
    const PAGE: usize = 4096;
    /// Not named by the log.
    const UNKNOWN: u32 = u32::MAX;
    /// Another shard's.
    const ELSEWHERE: u32 = u32::MAX - 1;

    fn place(reference: SeriesRef) -> (u64, usize) {
        let page = Self::PAGE as u64;
        (reference.0 / page, usize::try_from(reference.0 % page).unwrap_or(0))
    }

    pub(super) fn insert(&mut self, reference: SeriesRef, index: u32) {
        let (page, at) = Self::place(reference);
        let page = self.pages.entry(page).or_insert_with(|| Box::new([Self::UNKNOWN; Self::PAGE]));
        if let Some(slot) = page.get_mut(at) {
            *slot = index;
        }
    }

    /// The indexes of all series that the log names and that belong here, sorted.
    pub(super) fn indexes(&self) -> Vec<u32> {
        let all = self.pages.values().flat_map(|page| page.iter().copied());
        let mut indexes: Vec<u32> = all.filter(|index| *index < Self::ELSEWHERE).collect();
        indexes.sort_unstable();
        indexes.dedup();
        indexes
    }

    #[inline]
    pub(super) fn get(&self, reference: SeriesRef) -> Option<u32> {
        let (page, at) = Self::place(reference);
        let index = *self.pages.get(&page)?.get(at)?;
        (index != Self::UNKNOWN).then_some(index)
    }
}
