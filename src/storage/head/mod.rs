//! The series of a shard that are being written: found by fingerprint to append, by label to read.
//!
//! Owns the series, their chunks and postings. What is appended is also put into the log buffer that the caller hands
//! in, in the order of appending; making it durable is `wal`'s. Invariants: a series stands once; its in-order samples are
//! strictly ordered in time, and no late sample stands at the instant of another one that is in memory; a series' index
//! in memory only grows and is nobody's name outside of this Head.

pub mod append;
pub mod cut;
pub mod cut_plan;
#[cfg(test)]
mod cut_test;
pub mod delete;
#[cfg(test)]
mod delete_test;
pub mod doubt;
pub mod exemplars;
pub mod families;
pub mod full_chunks;
pub mod head_chunk;
pub mod histograms;
#[cfg(test)]
mod histograms_test;
pub mod late;
pub mod mem_series;
pub mod open_histogram;
pub mod paged;
pub mod pairs;
pub mod pieces;
pub mod prune;
pub mod remove;
pub mod saved;
pub mod saved_series;
pub mod select;
pub mod sorted_cut;
pub mod spill;
pub mod spill_batch;
#[cfg(test)]
mod spill_test;
pub mod spilled;
pub mod starts;
pub mod table;
#[cfg(test)]
pub mod testing;

pub use append::Bounds;
use cut::Cut;
use doubt::Doubtful;
use exemplars::Exemplars;
use families::Families;
use full_chunks::FullChunks;
use head_chunk::{Ended, HeadChunk};
use mem_series::{MemSeries, SeriesRest};
use paged::{Paged, prefetch};
use pairs::{PairId, Pairs};
use spilled::SpillTable;
use starts::Starts;
use table::HashTable;

pub use crate::encoding::chunk::FloatChunks;
use crate::model::{
    Fingerprint, Fingerprinter, Labels, LabelsRef, RecentLabels, Refusals, Sample, Samples,
    SeriesRef, Tally, TimeRange, TimestampMs, Value,
};

/// How far ahead of the clock a sample may be, in milliseconds. Source: `maxAheadTime`, `storage/remote/write_handler.go`.
pub const AHEAD_MS_MAX: i64 = 10 * 60 * 1000;

/// So many series of a request are looked up together: their cache misses overlap.
const GROUP: usize = 32;

/// The series of a shard that are being written.
#[derive(Debug)]
pub struct Head {
    fingerprinter: Fingerprinter,
    /// Of the series that was replayed last.
    replayed: RecentLabels,
    table: HashTable,
    series: Paged<MemSeries>,
    rest: Paged<SeriesRest>,
    pairs: Pairs,
    next_reference: u64,
    /// How far behind the newest sample late ones are taken, in milliseconds; 0: they are not.
    window_ms: i64,
    /// How blocks have floats.
    float_chunks: FloatChunks,
    /// Nothing is appended in order before this.
    min_valid: TimestampMs,
    /// The newest sample that there ever was.
    newest: TimestampMs,
    /// How many cuts have begun.
    generation: u32,
    /// Of the series that is being appended to, the samples that are not simply its newest.
    misplaced: Vec<Sample>,
    full: FullChunks,
    /// The files of chunks that have left memory.
    spilled: SpillTable,
    /// Samples that the log repeats or that came late, while it is replayed.
    replayed_late: Vec<(u32, TimestampMs, Value)>,
    /// The cut that has begun and not ended.
    cut: Option<Cut>,
    /// All samples, and those in order, of before the truncation that is going on.
    truncated: Option<(Option<TimeRange>, Option<TimeRange>)>,
    /// Late samples of this generation and those before were there when the last cut of in-order samples began.
    settled_generation: Option<u32>,
    /// The oldest of them that lies before the end of that cut.
    left_behind: Option<TimestampMs>,
    /// Do postings still have series that are gone?
    removing: bool,
    /// By how many seconds samples were older than the newest.
    lateness: Tally,
    /// What is said of the metric families that belong here.
    families: Families,
    exemplars: Exemplars,
    /// Since when counters count.
    starts: Starts,
    stats: HeadStats,
}

/// What a Head counts of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadStats {
    /// Series.
    pub series: u64,
    /// Chunks, the ones being written included.
    pub chunks: u64,
    /// Bytes of chunks in memory that are full.
    pub chunk_bytes: u64,
    /// Chunks that were dropped since the start, because they are in blocks.
    pub chunks_removed: u64,
    /// Chunks that have left memory.
    pub chunks_spilled: u64,
    /// Floats appended since the start, late ones included; those replayed are not counted.
    pub samples_appended: u64,
    /// Native histograms likewise.
    pub histograms_appended: u64,
    /// Late ones among the floats.
    pub samples_late: u64,
    /// Among the histograms.
    pub histograms_late: u64,
    /// Samples that were known already, to the bit.
    pub samples_known: u64,
    /// Series made since the start; those replayed are not counted.
    pub series_created: u64,
    /// Series removed since the start.
    pub series_removed: u64,
    /// Label pairs.
    pub label_pairs: u64,
    /// First and last instant of all samples.
    pub range: Option<TimeRange>,
    /// First and last instant of those that are in order.
    pub in_order: Option<TimeRange>,
}

/// What became of one part of a request.
#[derive(Debug, Default, PartialEq)]
pub struct Appended {
    /// Floats that the store now has because or before of this request.
    pub written: u64,
    /// Native histograms likewise.
    pub histograms_written: u64,
    /// What was refused, and why.
    pub refused: Refusals,
    /// Late samples of which only the disk knows what they are: to be given to [`doubt::resolve`]. Neither written nor
    /// refused yet.
    pub doubtful: Vec<Doubtful>,
}

impl Head {
    /// A Head without series, which takes no late samples.
    #[must_use]
    pub fn new(fingerprinter: Fingerprinter) -> Self {
        Self::with_window(fingerprinter, 0)
    }

    /// A Head without series.
    ///
    /// - `window_ms`: late samples that are at most so much older than the newest one are stored.
    #[must_use]
    pub fn with_window(fingerprinter: Fingerprinter, window_ms: i64) -> Self {
        Self {
            pairs: Pairs::new(fingerprinter.clone()),
            fingerprinter,
            replayed: RecentLabels::default(),
            table: HashTable::new(),
            series: Paged::new(),
            rest: Paged::new(),
            next_reference: 1,
            window_ms,
            float_chunks: FloatChunks::default(),
            min_valid: TimestampMs::MIN,
            newest: TimestampMs::MIN,
            generation: 0,
            misplaced: Vec::new(),
            full: FullChunks::default(),
            spilled: SpillTable::default(),
            replayed_late: Vec::new(),
            cut: None,
            truncated: None,
            settled_generation: None,
            left_behind: None,
            removing: false,
            lateness: Tally::of_lateness(),
            families: Families::default(),
            exemplars: Exemplars::default(),
            starts: Starts::default(),
            stats: HeadStats::default(),
        }
    }

    /// From now on late samples that are at most so much older than the newest one are stored. Those that were taken
    /// before stay.
    pub fn set_window(&mut self, window_ms: i64) {
        self.window_ms = window_ms;
        self.exemplars.set_window(window_ms);
    }

    /// From now on blocks are cut that have floats so.
    pub fn set_float_chunks(&mut self, float_chunks: FloatChunks) {
        self.float_chunks = float_chunks;
    }

    /// How many series there ever were: their indexes are numbers below.
    #[must_use]
    pub fn series_count(&self) -> u32 {
        self.series.len()
    }

    /// What it counts of itself.
    #[must_use]
    pub fn stats(&self) -> HeadStats {
        // A truncation goes over everything; until it is done what it has not met yet counts.
        let (range, in_order) = self.truncated.unwrap_or_default();
        let cover = |now, before: Option<TimeRange>| match before {
            Some(before) => cover(now, before.min(), before.max()),
            None => now,
        };
        HeadStats {
            range: cover(self.stats.range, range),
            in_order: cover(self.stats.in_order, in_order),
            series: u64::from(self.series.live()),
            chunks: self.stats.chunks + u64::from(self.series.live()),
            chunks_spilled: self.spilled.chunks(),
            label_pairs: u64::from(self.pairs.len()),
            ..self.stats
        }
    }

    /// By how many seconds samples were older than the newest one when they came behind another of their series, whether
    /// they were taken or not.
    #[must_use]
    pub fn lateness(&self) -> &Tally {
        &self.lateness
    }

    /// Counts on from where another Head of the same shard has ended, whose data this one has read back.
    pub fn count_on(&mut self, before: &Self) {
        let (stats, before_stats) = (&mut self.stats, before.stats);
        self.lateness = before.lateness.clone();
        self.families.count_on(&before.families);
        self.exemplars.count_on(&before.exemplars);
        stats.chunks_removed += before_stats.chunks_removed;
        stats.samples_appended += before_stats.samples_appended;
        stats.histograms_appended += before_stats.histograms_appended;
        stats.samples_late += before_stats.samples_late;
        stats.histograms_late += before_stats.histograms_late;
        stats.samples_known += before_stats.samples_known;
        stats.series_created += before_stats.series_created;
        stats.series_removed += before_stats.series_removed;
    }

    /// The index of the series with this fingerprint; `hint` is looked at first.
    #[inline]
    fn find(&self, fingerprint: Fingerprint, hint: Option<u32>) -> Option<u32> {
        let is_it =
            |index| self.series.get(index).is_some_and(|series| series.fingerprint == fingerprint);
        match hint {
            Some(index) if is_it(index) => hint,
            _ => self.table.find(fingerprint.check, is_it),
        }
    }

    fn add(
        &mut self,
        fingerprint: Fingerprint,
        labels: LabelsRef<'_>,
        reference: SeriesRef,
    ) -> Option<u32> {
        let index = self.next_index()?;
        let pairs = self.pairs.add_series(index, labels)?;
        self.add_at(index, fingerprint, pairs, reference)
    }

    fn next_index(&self) -> Option<u32> {
        Some(self.series.len()).filter(|index| *index < SERIES_MAX)
    }

    fn add_at(
        &mut self,
        index: u32,
        fingerprint: Fingerprint,
        pairs: Box<[PairId]>,
        reference: SeriesRef,
    ) -> Option<u32> {
        self.series.push(MemSeries::new(fingerprint, reference))?;
        self.rest.push(SeriesRest { pairs, ..SeriesRest::default() })?;
        self.table.insert(fingerprint.check, index);
        Some(index)
    }

    /// Takes a chunk of a series over that is full.
    fn keep_full_chunk(&mut self, index: u32, chunk: HeadChunk) {
        Self::keep_chunk(&mut self.rest, &mut self.stats, &mut self.full, index, chunk);
    }

    /// Takes a chunk of a series over that has just ended.
    #[cold]
    #[inline(never)]
    fn keep_ended(
        rest: &mut Paged<SeriesRest>,
        stats: &mut HeadStats,
        full: &mut FullChunks,
        index: u32,
        ended: Ended,
    ) {
        let chunk = ended.gather(full);
        Self::keep_chunk(rest, stats, full, index, chunk);
    }

    fn keep_chunk(
        rest: &mut Paged<SeriesRest>,
        stats: &mut HeadStats,
        full: &mut FullChunks,
        index: u32,
        chunk: HeadChunk,
    ) {
        let Some(rest) = rest.get_mut(index) else { return };
        stats.chunks += 1;
        stats.chunk_bytes += chunk.bytes.len() as u64;
        rest.push_chunk(chunk);
        full.note(index);
    }

    /// Notes that there are in-order samples from `min` to `max`.
    fn widen(&mut self, min: TimestampMs, max: TimestampMs) {
        if min > max {
            return; // none
        }
        self.stats.in_order = cover(self.stats.in_order, min, max);
        self.widen_late(min, max);
    }

    /// Notes that there are samples from `min` to `max`.
    fn widen_late(&mut self, min: TimestampMs, max: TimestampMs) {
        self.stats.range = cover(self.stats.range, min, max);
        self.newest = self.newest.max(max);
    }

    /// Fetches the series at `index`, which is about to be appended to.
    #[inline]
    pub fn prefetch(&self, index: u32) {
        if let Some(series) = self.series.get(index) {
            prefetch(series);
        }
    }

    /// The index of the series with these labels.
    #[must_use]
    pub fn index_of(&self, labels: LabelsRef<'_>) -> Option<u32> {
        self.find(self.fingerprinter.of(labels), None)
    }

    /// The labels of the series at `index`.
    #[must_use]
    pub fn labels(&self, index: u32) -> Option<Labels> {
        let pairs = &self.rest.get(index)?.pairs;
        let texts = pairs.iter().map(|pair| self.pairs.text_of(*pair));
        let mut bytes = Vec::with_capacity(texts.clone().map(<[u8]>::len).sum());
        texts.for_each(|text| bytes.extend_from_slice(text));
        Some(Labels::trusted(bytes))
    }

    /// The newest sample of the series at `index`, without a look into any chunk: `None` if it is not within `range`, or not
    /// known without one.
    #[must_use]
    pub fn newest(&self, index: u32, range: TimeRange) -> Option<Sample> {
        self.series.get(index)?.last().filter(|sample| range.contains(sample.t))
    }

    /// Appends the samples within `range` of the series at `index` that are in memory to `out`, oldest first, each instant
    /// once. All of them are in its [`pieces`](Self::pieces).
    pub fn read(&self, index: u32, range: TimeRange, out: &mut Samples) {
        if let (Some(series), Some(rest)) = (self.series.get(index), self.rest.get(index)) {
            series.read(rest, range, out);
        }
    }

    /// Since when the counter of the series at `index` counts, oldest first; see [`starts`].
    #[must_use]
    pub fn starts(&self, index: u32) -> &[starts::Run] {
        self.starts.of(index)
    }

    /// The label pairs and their postings.
    #[must_use]
    pub fn pairs(&self) -> &Pairs {
        &self.pairs
    }
}

/// An index leaves room for its own successor.
const SERIES_MAX: u32 = u32::MAX - 1;

fn cover(range: Option<TimeRange>, min: TimestampMs, max: TimestampMs) -> Option<TimeRange> {
    match (range, TimeRange::new(min, max)) {
        (Some(range), Some(new)) => Some(range.cover(new)),
        (range, new) => range.or(new),
    }
}
