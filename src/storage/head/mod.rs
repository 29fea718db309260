//! The series of a shard that are being written: found by fingerprint to append, by label to read.
//!
//! Owns the series, their chunks and postings. What is appended is also put into the log buffer that the caller hands
//! in, in the order of appending; making it durable is `wal`'s. Invariants: a series stands once; its samples are
//! strictly ordered in time; a series' index in memory only grows and is nobody's name outside of this Head.

pub mod mem_series;
pub mod paged;
pub mod pairs;
pub mod saved;
pub mod select;
pub mod table;

use std::borrow::Cow;
use std::ops::Range;

use mem_series::{Fit, MemSeries, SeriesRest};
use paged::{Paged, prefetch};
use pairs::Pairs;
use table::HashTable;

use crate::model::refusal::LABEL_BYTES_MAX;
use crate::model::{
    Fingerprint, Fingerprinter, LabelText, Labels, LabelsError, LabelsRef, Part, PartEntry,
    RecentLabels, Refusal, RefusalReason, Refusals, Sample, SeriesRef, TimeRange, TimestampMs,
};
use crate::storage::wal::LogBuffer;

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
    stats: HeadStats,
}

/// What a Head counts of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadStats {
    /// Series.
    pub series: u64,
    /// Chunks, the ones being written included.
    pub chunks: u64,
    /// Bytes of chunks that are full.
    pub chunk_bytes: u64,
    /// Samples appended since the start; those replayed are not counted.
    pub samples_appended: u64,
    /// Samples that were known already, to the bit.
    pub samples_known: u64,
    /// Series made since the start; those replayed are not counted.
    pub series_created: u64,
    /// Label pairs.
    pub label_pairs: u64,
    /// First and last instant of all samples.
    pub range: Option<TimeRange>,
}

/// What became of one part of a request.
#[derive(Debug, Default, PartialEq)]
pub struct Appended {
    /// Samples that the store now has because or before of this request.
    pub written: u64,
    /// What was refused, and why.
    pub refused: Refusals,
}

impl Head {
    /// A Head without series.
    #[must_use]
    pub fn new(fingerprinter: Fingerprinter) -> Self {
        Self {
            pairs: Pairs::new(fingerprinter.clone()),
            fingerprinter,
            replayed: RecentLabels::default(),
            table: HashTable::new(),
            series: Paged::new(),
            rest: Paged::new(),
            next_reference: 1,
            stats: HeadStats::default(),
        }
    }

    /// How many series there are: their indexes are the numbers below.
    #[must_use]
    pub fn series_count(&self) -> u32 {
        self.series.len()
    }

    /// What it counts of itself.
    #[must_use]
    pub fn stats(&self) -> HeadStats {
        HeadStats {
            series: u64::from(self.series.len()),
            label_pairs: u64::from(self.pairs.len()),
            ..self.stats
        }
    }

    /// Appends the samples of some of the part's entries and puts what is new into `log`. Good samples are stored whatever
    /// the others are.
    ///
    /// - `entries`: so many at a time that others need not wait for long.
    /// - `now`: samples more than [`AHEAD_MS_MAX`] later are refused.
    pub fn append(
        &mut self,
        part: &Part,
        entries: Range<usize>,
        text: &LabelText,
        now: TimestampMs,
        log: &mut LogBuffer,
    ) -> Appended {
        let latest = now.saturating_add(AHEAD_MS_MAX);
        let mut appended = Appended::default();
        let mut each = part.iter_within(entries.clone());
        for group in part.entries.get(entries).unwrap_or_default().chunks(GROUP) {
            let found = self.find_group(group);
            for (hint, (entry, samples)) in found.into_iter().zip(each.by_ref().take(group.len())) {
                self.append_entry(entry, hint, samples, text, latest, log, &mut appended);
            }
        }
        log.finish_part();
        self.stats.samples_appended += log.take_sample_count();
        appended
    }

    /// Looks a group of series up so that their cache misses overlap: first the table's, then the series' own.
    #[inline]
    fn find_group(&self, group: &[PartEntry]) -> [Option<u32>; GROUP] {
        for entry in group {
            self.table.prefetch(entry.fingerprint.check);
        }
        let mut found = [None; GROUP];
        for (hint, entry) in found.iter_mut().zip(group) {
            // The first candidate is nearly always the one; whether it is, is asked when the series has arrived.
            *hint = self.table.find(entry.fingerprint.check, |_| true);
            if let Some(series) = hint.and_then(|index| self.series.get(index)) {
                prefetch(series);
            }
        }
        for index in found.iter().take(group.len()).flatten() {
            if let Some(series) = self.series.get(*index) {
                series.prefetch_tail();
            }
        }
        found
    }

    #[inline]
    #[expect(clippy::too_many_arguments, reason = "one step of `append`, split off for its length")]
    fn append_entry(
        &mut self,
        entry: &PartEntry,
        hint: Option<u32>,
        samples: &[Sample],
        text: &LabelText,
        latest: TimestampMs,
        log: &mut LogBuffer,
        appended: &mut Appended,
    ) {
        let index = match self.find(entry.fingerprint, hint) {
            Some(index) => index,
            None => match self.create(entry, samples, text, latest, log) {
                Ok(index) => index,
                Err(reason) => {
                    return appended.refused.push(refusal(entry, text, samples.len(), reason));
                }
            },
        };
        let Some(series) = self.series.get_mut(index) else { return };
        let mut refused = 0u32;
        let mut first = None;
        for sample in samples {
            if series.is_behind(sample.t) && sample.t <= latest {
                log.sample(series.reference, *sample);
                if let Some(chunk) = series.append(*sample) {
                    self.stats.chunks += 1;
                    self.stats.chunk_bytes += chunk.bytes.len() as u64;
                    if let Some(rest) = self.rest.get_mut(index) {
                        rest.chunks.push(chunk);
                    }
                }
                continue;
            }
            match self.rest.get(index).and_then(|rest| misfit(series, rest, *sample, latest)) {
                None => self.stats.samples_known += 1,
                Some(reason) => {
                    refused += 1;
                    first.get_or_insert(reason);
                }
            }
        }
        appended.written += samples.len() as u64 - u64::from(refused);
        if let Some(reason) = first {
            appended.refused.push(refusal(entry, text, refused as usize, reason));
        }
        let last = series.last();
        if let (Some(first), Some(last)) = (samples.first(), last) {
            self.widen(first.t.min(last.t), last.t);
        }
    }

    /// What of the part would be refused if it were appended now. Changes nothing.
    #[must_use]
    pub fn check(&self, part: &Part, text: &LabelText, now: TimestampMs) -> Refusals {
        let latest = now.saturating_add(AHEAD_MS_MAX);
        let mut refused = Refusals::default();
        for (entry, samples) in part.iter() {
            let known = self
                .find(entry.fingerprint, None)
                .and_then(|i| Some((self.series.get(i)?, self.rest.get(i)?)));
            let reason = match known {
                Some((series, rest)) => {
                    samples.iter().find_map(|sample| misfit(series, rest, *sample, latest))
                }
                None => checked_labels(entry, text).err(),
            };
            let unordered = samples.windows(2).any(|pair| matches!(pair, [a, b] if a.t > b.t));
            let ahead = samples.iter().any(|sample| sample.t > latest);
            let reason = reason
                .or(ahead.then_some(RefusalReason::OutOfBounds))
                .or(unordered.then_some(RefusalReason::OutOfOrder));
            if let Some(reason) = reason {
                refused.push(refusal(entry, text, samples.len(), reason));
            }
        }
        refused
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

    #[cold]
    #[inline(never)]
    fn create(
        &mut self,
        entry: &PartEntry,
        samples: &[Sample],
        text: &LabelText,
        latest: TimestampMs,
        log: &mut LogBuffer,
    ) -> Result<u32, RefusalReason> {
        let labels = checked_labels(entry, text)?;
        let labels = LabelsRef::trusted(&labels);
        if samples.iter().all(|sample| sample.t > latest) {
            return Err(RefusalReason::OutOfBounds); // a series that would have no sample
        }
        let reference = SeriesRef(self.next_reference);
        let index =
            self.add(entry.fingerprint, labels, reference).ok_or(RefusalReason::TooManySeries)?;
        self.next_reference += 1;
        self.stats.series_created += 1;
        log.series(reference, labels.as_bytes());
        Ok(index)
    }

    fn add(
        &mut self,
        fingerprint: Fingerprint,
        labels: LabelsRef<'_>,
        reference: SeriesRef,
    ) -> Option<u32> {
        let index = self.series.len();
        if index >= SERIES_MAX {
            return None;
        }
        let pairs = self.pairs.add_series(index, labels)?;
        self.series.push(MemSeries::new(fingerprint, reference))?;
        self.rest.push(SeriesRest { pairs, chunks: Vec::new() })?;
        self.table.insert(fingerprint.check, index);
        self.stats.chunks += 1;
        Some(index)
    }

    fn widen(&mut self, min: TimestampMs, max: TimestampMs) {
        let Some(new) = TimeRange::new(min, max) else { return };
        self.stats.range = Some(self.stats.range.map_or(new, |range| range.cover(new)));
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
        let bytes: Vec<u8> =
            pairs.iter().flat_map(|pair| self.pairs.text_of(*pair)).copied().collect();
        Some(LabelsRef::trusted(&bytes).to_owned())
    }

    /// Appends the samples within `range` of the series at `index` to `out`, oldest first.
    pub fn read(&self, index: u32, range: TimeRange, out: &mut Vec<Sample>) {
        if let (Some(series), Some(rest)) = (self.series.get(index), self.rest.get(index)) {
            series.read(rest, range, out);
        }
    }

    /// Has the series at `index` a chunk that overlaps `range`?
    #[must_use]
    pub fn overlaps(&self, index: u32, range: TimeRange) -> bool {
        let series = self.series.get(index).zip(self.rest.get(index));
        range == TimeRange::ALL || series.is_some_and(|(series, rest)| series.overlaps(rest, range))
    }

    /// The label pairs and their postings.
    #[must_use]
    pub fn pairs(&self) -> &Pairs {
        &self.pairs
    }
}

/// An index leaves room for its own successor.
const SERIES_MAX: u32 = u32::MAX - 1;

/// Why a sample that is not simply the newest cannot be stored; `None` if the series has it already.
#[cold]
#[inline(never)]
fn misfit(
    series: &MemSeries,
    rest: &SeriesRest,
    sample: Sample,
    latest: TimestampMs,
) -> Option<RefusalReason> {
    if sample.t > latest || sample.t == TimestampMs::MIN {
        return Some(RefusalReason::OutOfBounds);
    }
    match series.fit(rest, sample) {
        (Fit::InOrder | Fit::Known, _) => None,
        (Fit::Conflict, Some(known)) => {
            Some(RefusalReason::Duplicate { t: sample.t, existing: known.v, new: sample.v })
        }
        (Fit::Conflict | Fit::Late, _) => Some(RefusalReason::OutOfOrder),
    }
}

/// The labels of a series that is new to the shard: here they are looked at in full, once.
fn checked_labels<'a>(
    entry: &PartEntry,
    text: &'a LabelText,
) -> Result<Cow<'a, [u8]>, RefusalReason> {
    let outside =
        LabelsError::NotCanonical { offset: 0, len: 0, what: "a span outside of the request" };
    let bytes = text.canonical(entry.labels).ok_or(RefusalReason::Labels(outside))?;
    if bytes.len() > LABEL_BYTES_MAX {
        return Err(RefusalReason::LabelsTooLong { bytes: bytes.len() });
    }
    LabelsRef::from_canonical(&bytes).map_err(RefusalReason::Labels)?;
    Ok(bytes)
}

#[cold]
fn refusal(entry: &PartEntry, text: &LabelText, samples: usize, reason: RefusalReason) -> Refusal {
    Refusal {
        series: LabelsRef::trusted(&text.canonical(entry.labels).unwrap_or_default()).to_string(),
        samples: u32::try_from(samples).unwrap_or(u32::MAX),
        reason,
    }
}
