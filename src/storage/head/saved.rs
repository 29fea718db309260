//! What of a Head lies on disk: its way into a checkpoint, and back from checkpoint and log.
//!
//! The log does not say which samples came late: a sample that is not newer than its series is late, or known already
//! because the checkpoint, which is written while the shard goes on, has it. Such samples are gathered and sorted out many
//! at a time, so that a chunk is decoded once for all of them. The out-of-order window is not asked: what is in the log was
//! taken.

use std::collections::HashMap;

use super::Head;
use super::head_chunk::{HeadChunk, decoded, encoded};
use super::late::{self, LateSource};
use super::mem_series::{MemSeries, SeriesRest, range_end};
use super::open_histogram::OpenHistogram;
use super::pairs::{PairId, Pairs};
use crate::encoding::chunk::ChunkReader;
use crate::encoding::record::{
    self, LoggedStart, START_BYTES_MAX, SavedChunk, SavedOpenChunk, SavedOpenHistogram,
    SavedSeriesBody, SpillPlace, SpilledBody,
};
use crate::model::{
    AnyHistogramRef, Fingerprint, LabelsRef, Sample, Samples, SeriesRef, TimeRange, TimestampMs,
    Value, ValueRef,
};

/// So many samples that are late or known are gathered before they are sorted out.
const REPLAYED_LATE_MAX: usize = 1 << 16;

impl Head {
    /// Takes a series over that this shard's log tells of under the name `reference`; the index it has from now on.
    pub fn replay_series(&mut self, labels: LabelsRef<'_>, reference: SeriesRef) -> Option<u32> {
        let fingerprint = self.replayed.fingerprint(&self.fingerprinter, labels);
        let add = |pairs: &mut Pairs, index| pairs.add_series(index, labels);
        self.replay_as(fingerprint, Some(reference), add)
    }

    /// Takes a series over that another shard's log tells of: it gets a new name, in this shard's log, which must be a new
    /// one.
    pub fn replay_unnamed_series(&mut self, labels: LabelsRef<'_>) -> Option<u32> {
        let fingerprint = self.replayed.fingerprint(&self.fingerprinter, labels);
        self.replay_as(fingerprint, None, |pairs, index| pairs.add_series(index, labels))
    }

    /// Takes a series over by its fingerprint; the index it has from now on.
    ///
    /// - `reference`: its name in this shard's log; without one it gets a new name.
    /// - `add`: gives the pairs of one that is new, by the index that it will have.
    pub(super) fn replay_as(
        &mut self,
        fingerprint: Fingerprint,
        reference: Option<SeriesRef>,
        add: impl FnOnce(&mut Pairs, u32) -> Option<Box<[PairId]>>,
    ) -> Option<u32> {
        let known = self.find(fingerprint, None);
        let named = match reference {
            Some(named) if named == SeriesRef::default() => return None, // no log of ours names a series so
            Some(named) => named,
            None if known.is_some() => return known,
            None => SeriesRef(self.next_reference),
        };
        self.next_reference = self.next_reference.max(named.0.saturating_add(1));
        if let Some(known) = known {
            self.series.get_mut(known)?.reference = named;
            return Some(known);
        }
        let index = self.next_index()?;
        let pairs = add(&mut self.pairs, index)?;
        self.add_at(index, fingerprint, pairs, named)
    }

    /// Takes a float over that the log tells of; one that the series has already is passed over. What is late may not be
    /// seen before [`finish_replay`](Self::finish_replay).
    pub fn replay_sample(&mut self, index: u32, sample: Sample) {
        let Some(series) = self.series.get_mut(index) else { return };
        if !series.is_behind(sample.t) {
            // Nearly all that a log repeats is the newest sample that the checkpoint had.
            if series.last() != Some(sample) {
                self.put_aside(index, sample.t, Value::Float(sample.v));
            }
            return;
        }
        let ended = match self.rest.get_mut(index).filter(|_| series.has_no_floats()) {
            Some(rest) => series.begin_floats(&mut rest.histogram).or(series.append(sample)),
            None => series.append(sample),
        };
        if let Some(ended) = ended {
            Self::keep_ended(&mut self.rest, &mut self.stats, &mut self.full, index, ended);
        }
        self.widen(sample.t, sample.t);
    }

    /// Takes a native histogram over that the log tells of, likewise. `false`: it is none.
    pub fn replay_histogram(&mut self, index: u32, t: TimestampMs, h: AnyHistogramRef<'_>) -> bool {
        let is_whole = h.is_stale()
            || match h {
                AnyHistogramRef::Int(h) => h.validate().is_ok(),
                AnyHistogramRef::Float(h) => h.validate().is_ok(),
            };
        let Some((series, rest)) = self.series.get_mut(index).zip(self.rest.get_mut(index)) else {
            return true;
        };
        if !is_whole {
            return false;
        }
        if !series.is_behind(t) {
            let newest = rest.histogram.as_ref().and_then(|open| open.last());
            if newest.is_none_or(|(at, newest)| at != t || !newest.is_same_sample(h)) {
                self.put_aside(index, t, ValueRef::Histogram(h).to_value());
            }
            return true;
        }
        if let Some(ended) = series.append_histogram(&mut rest.histogram, t, h) {
            Self::keep_ended(&mut self.rest, &mut self.stats, &mut self.full, index, ended);
        }
        self.widen(t, t);
        true
    }

    /// Takes over since when the counter of a series counts, as the log or a checkpoint tells.
    pub fn replay_start(&mut self, index: u32, from: TimestampMs, start: TimestampMs) {
        self.starts.note(index, from, start);
    }

    /// Gathers what is late, or known. No server takes a sample of the first instant, of which none is older.
    fn put_aside(&mut self, index: u32, t: TimestampMs, value: Value) {
        if t == TimestampMs::MIN {
            return;
        }
        self.replayed_late.push((index, t, value));
        if self.replayed_late.len() >= REPLAYED_LATE_MAX {
            self.finish_replay();
        }
    }

    /// Sorts out what of the samples that were replayed so far is late and what the series had already.
    pub fn finish_replay(&mut self) {
        let mut replayed = std::mem::take(&mut self.replayed_late);
        replayed.sort_by_key(|(index, t, _)| (*index, *t));
        replayed.dedup_by_key(|(index, t, _)| (*index, *t));
        let mut known = Samples::default();
        for of_one in replayed.chunk_by(|(a, ..), (b, ..)| a == b) {
            let (Some((index, first, _)), Some((_, last, _))) = (of_one.first(), of_one.last())
            else {
                continue;
            };
            known.clear();
            if let Some(range) = TimeRange::new(*first, *last) {
                self.read(*index, range, &mut known);
            }
            for (index, t, value) in of_one {
                if !known.has(*t) {
                    self.store_late(*index, *t, value.as_ref());
                }
            }
        }
        replayed.clear();
        self.replayed_late = replayed;
    }

    /// Takes a full chunk over that a checkpoint tells of. `false`: it cannot be read, or does not follow the samples
    /// that the series has.
    pub fn replay_chunk(&mut self, index: u32, saved: SavedChunk<'_>) -> bool {
        let Some((series, rest)) = self.series.get_mut(index).zip(self.rest.get(index)) else {
            return false;
        };
        let is_open = !series.has_no_floats() || rest.histogram.is_some();
        let follows = !is_open && series.is_behind(saved.range.min());
        if ChunkReader::new(saved.encoding, saved.bytes).is_err() || !follows {
            return false;
        }
        series.restore_behind(saved.range.max());
        let bytes = self.full.gather_bytes(saved.bytes);
        let chunk = HeadChunk { range: saved.range, encoding: saved.encoding, bytes };
        self.keep_full_chunk(index, chunk);
        self.widen(saved.range.min(), saved.range.max());
        true
    }

    /// Takes over where a chunk lies that a checkpoint tells of. `false`: as for [`replay_chunk`](Self::replay_chunk).
    pub fn replay_spilled(&mut self, index: u32, place: SpillPlace) -> bool {
        let (Some(series), Some(rest)) = (self.series.get_mut(index), self.rest.get_mut(index))
        else {
            return false;
        };
        let is_open = !series.has_no_floats() || rest.histogram.is_some();
        let is_behind = !is_open && series.is_behind(place.range.min());
        let follows = is_behind && rest.chunks.is_empty();
        if !follows && !place.late {
            return false;
        }
        let Some(chunk) = self.spilled.add(&place) else { return false };
        self.stats.chunks += 1;
        let (min, max) = (place.range.min(), place.range.max());
        if place.late {
            let late = rest.late.get_or_insert_default();
            late.push_spilled(self.generation, place.range, chunk);
            self.widen_late(min, max);
        } else {
            series.restore_behind(max);
            rest.push_spilled(chunk);
            self.widen(min, max);
        }
        true
    }

    /// Takes late samples over that a checkpoint tells of; those that are no full chunk may not be seen before
    /// [`finish_replay`](Self::finish_replay). `false`: they cannot be read.
    pub fn replay_late_chunk(&mut self, index: u32, saved: SavedChunk<'_>) -> bool {
        let samples = decoded(saved.encoding, saved.bytes);
        let (Some(samples), Some(rest)) = (samples, self.rest.get_mut(index)) else { return false };
        let mut times = samples.iter().map(|(t, _)| t);
        let Some(first) = times.next() else { return false };
        let last = times.last().unwrap_or(first);
        let is_full = samples.len() == late::SAMPLES_MAX && first > TimestampMs::MIN;
        if is_full && range_end(first) == range_end(last) {
            let Some(range) = TimeRange::new(first, last) else { return false };
            let bytes = self.full.gather_bytes(saved.bytes);
            let chunk = HeadChunk { range, encoding: saved.encoding, bytes };
            rest.late.get_or_insert_default().push(self.generation, chunk);
            self.full.note(index);
            self.stats.chunks += 1;
            self.stats.chunk_bytes += saved.bytes.len() as u64;
            self.widen_late(first, last);
        } else {
            samples.iter().for_each(|(t, value)| self.put_aside(index, t, value.to_value()));
        }
        true
    }

    /// Takes an open chunk over that a checkpoint tells of. `false`: as for [`replay_chunk`](Self::replay_chunk).
    pub fn replay_open_chunk(&mut self, index: u32, saved: SavedOpenChunk) -> bool {
        let Some(range) =
            self.series.get_mut(index).and_then(|series| series.restore_open_chunk(saved))
        else {
            return false;
        };
        self.widen(range.min(), range.max());
        true
    }

    /// Takes an open chunk of histograms over that a checkpoint tells of. `false`: as for [`replay_chunk`](Self::replay_chunk).
    pub fn replay_open_histogram(&mut self, index: u32, saved: SavedOpenHistogram<'_>) -> bool {
        let Some((series, rest)) = self.series.get_mut(index).zip(self.rest.get_mut(index)) else {
            return false;
        };
        let restored = OpenHistogram::restored(saved);
        let range =
            restored.and_then(|open| series.restore_open_histogram(&mut rest.histogram, open));
        let Some(range) = range else { return false };
        self.widen(range.min(), range.max());
        true
    }

    /// Appends records of what is said of families, of exemplars, and of the series from `from` on, their labels and all their samples, to a
    /// checkpoint's payload, until there are `bytes` of them; where to go on.
    pub fn save(&self, from: Saving, bytes: usize, payload: &mut Vec<u8>) -> Saving {
        let mut at = from;
        assert!(self.cut.is_none(), "a checkpoint waits until a cut has ended");
        if at.family < at.families {
            at.family = self.families.save(at.family, at.families, bytes, payload);
            return at;
        }
        if at.exemplar < at.exemplars {
            at.exemplar = self.exemplars.save(at.exemplar, at.exemplars, bytes, payload);
            return at;
        }
        let mut records = Records::default();
        while at.series < at.end && records.len() < bytes {
            let (Some(series), Some(rest)) = (self.series.get(at.series), self.rest.get(at.series))
            else {
                at.series += 1;
                continue;
            };
            if series.reference == SeriesRef::default() {
                at.series += 1;
                continue;
            }
            let is_saved = self.save_in_order(series, rest, &mut at, bytes, &mut records)
                && self.save_late(series.reference, rest, &mut at, bytes, &mut records);
            if !is_saved {
                break;
            }
            at = Saving { series: at.series + 1, chunk: 0, late: 0, ..at };
        }
        records.finish(payload);
        at
    }

    /// Saves labels, start timestamps and samples in order of a series; `false`: there are enough bytes before its end.
    fn save_in_order(
        &self,
        series: &MemSeries,
        rest: &SeriesRest,
        at: &mut Saving,
        bytes: usize,
        records: &mut Records,
    ) -> bool {
        if at.late > 0 {
            return true;
        }
        let reference = series.reference;
        if at.chunk == 0 {
            records.series.push(reference, rest, &self.pairs);
            for (from, start) in self.starts.of(at.series) {
                let (series, from, start) = (reference, *from, *start);
                records.starts.push(LoggedStart { series, from, start });
            }
        }
        for chunk in rest.spilled.get(at.chunk..).unwrap_or_default() {
            if let Some(place) = self.spilled.place(*chunk, reference) {
                records.spilled.push(place);
            }
            at.chunk += 1;
            if records.len() >= bytes {
                return false;
            }
        }
        let saved = at.chunk - rest.spilled.len();
        for HeadChunk { range, encoding, bytes: chunk } in
            rest.chunks.get(saved..).unwrap_or_default()
        {
            record::push_chunk(&mut records.chunks, reference, *encoding, *range, chunk);
            at.chunk += 1;
            if records.len() >= bytes {
                return false;
            }
        }
        series.save_open_chunk(&mut records.open);
        if let Some(open) = &rest.histogram {
            open.save(reference, &mut records.open_histograms);
        }
        true
    }

    /// Saves late samples of a series, likewise.
    fn save_late(
        &self,
        reference: SeriesRef,
        rest: &SeriesRest,
        at: &mut Saving,
        bytes: usize,
        records: &mut Records,
    ) -> bool {
        let Some(late) = &rest.late else { return true };
        for chunk in late.chunks.get(at.late..).unwrap_or_default() {
            match &chunk.source {
                LateSource::Memory(encoding, late) => {
                    record::push_chunk(&mut records.late, reference, *encoding, chunk.range, late);
                }
                LateSource::Spilled(place) => {
                    if let Some(place) = self.spilled.place(*place, reference) {
                        records.spilled.push(place);
                    }
                }
            }
            at.late += 1;
            if records.len() >= bytes {
                return false;
            }
        }
        for chunk in encoded(late.buffer().0) {
            record::push_chunk(
                &mut records.late,
                reference,
                chunk.encoding,
                chunk.range,
                &chunk.bytes,
            );
        }
        true
    }
}

/// How far the saving of a Head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saving {
    /// Index of the next series.
    series: u32,
    /// Index of the next full chunk of it, of those in files and then of those in memory; 0: its labels are still to be
    /// saved.
    chunk: usize,
    /// Index of its next chunk of late samples; 0: those in order, the open one included, are still to be saved. It grows only
    /// while they are saved, which a full chunk that the open one has become meanwhile could not be any more.
    late: usize,
    /// The series behind the last one.
    end: u32,
    /// Place of the next family; families come first.
    family: usize,
    /// The place behind the last one.
    families: usize,
    /// Number of the next exemplar; exemplars come behind families.
    exemplar: u64,
    /// The number behind the last one.
    exemplars: u64,
}

impl Saving {
    /// Before the first of all that a Head has now; what comes later is in the log.
    #[must_use]
    pub fn begin(head: &Head) -> Self {
        let (end, families) = (head.series_count(), head.families().len());
        let (exemplar, exemplars) = head.exemplars().numbers();
        Self { series: 0, chunk: 0, late: 0, end, family: 0, families, exemplar, exemplars }
    }

    /// Is everything saved?
    #[must_use]
    pub fn is_done(self) -> bool {
        let has_rest = self.family < self.families || self.exemplar < self.exemplars;
        !has_rest && self.series >= self.end
    }
}

/// Series that are being gathered for a record.
#[derive(Default)]
struct SeriesToSave {
    body: SavedSeriesBody,
    numbers: HashMap<PairId, u32, foldhash::fast::FixedState>,
    /// The pairs of the series that came last.
    last: Vec<PairId>,
    /// Of the one that comes: the numbers of its pairs; `None` where it has the same pair as the last one.
    changed: Vec<Option<u32>>,
}

impl SeriesToSave {
    fn push(&mut self, reference: SeriesRef, series: &SeriesRest, pairs: &Pairs) {
        let Self { body, numbers, last, changed } = self;
        changed.clear();
        for (at, pair) in series.pairs.iter().enumerate() {
            let mut number =
                || *numbers.entry(*pair).or_insert_with(|| body.push_pair(pairs.text_of(*pair)));
            changed.push((last.get(at) != Some(pair)).then(&mut number));
        }
        body.push(reference, changed);
        last.clear();
        last.extend_from_slice(&series.pairs);
    }
}

/// The bodies of records that are being gathered.
#[derive(Default)]
struct Records {
    series: SeriesToSave,
    starts: Vec<LoggedStart>,
    chunks: Vec<u8>,
    open: Vec<u8>,
    open_histograms: Vec<u8>,
    late: Vec<u8>,
    spilled: SpilledBody,
}

impl Records {
    fn len(&self) -> usize {
        let open = self.open.len() + self.open_histograms.len();
        let chunks = self.chunks.len() + open + self.late.len();
        self.series.body.len() + self.starts.len() * START_BYTES_MAX + self.spilled.len() + chunks
    }

    fn finish(self, payload: &mut Vec<u8>) {
        if !self.series.body.is_empty() {
            record::push_saved_series(payload, &self.series.body);
        }
        if !self.starts.is_empty() {
            record::push_starts(payload, &self.starts);
        }
        if !self.spilled.is_empty() {
            record::push_spilled_chunks(payload, &self.spilled);
        }
        if !self.chunks.is_empty() {
            record::push_chunks(payload, &self.chunks);
        }
        if !self.open.is_empty() {
            record::push_open_chunks(payload, &self.open);
        }
        if !self.open_histograms.is_empty() {
            record::push_open_histograms(payload, &self.open_histograms);
        }
        if !self.late.is_empty() {
            record::push_late_chunks(payload, &self.late);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::head_chunk::encoded;
    use super::super::testing::{self, Replay, keys, restore, saved};
    use super::*;
    use crate::encoding::record::records;
    use crate::encoding::xor::{self, Words, XorAppender};
    use crate::model::{Fingerprinter, HistogramRef, Labels, TimestampMs};
    use crate::storage::wal::LogBuffer;

    fn samples_of(head: &Head, series: u32) -> Samples {
        let mut samples = Samples::default();
        head.read(series, TimeRange::ALL, &mut samples);
        samples
    }

    /// Fuzzing found a checkpoint with two late chunks of one instant, which no server writes: the next checkpoint had a chunk in
    /// which time stood still.
    #[test]
    fn a_late_instant_that_a_checkpoint_has_twice_is_there_once() {
        let labels = Labels::from_pairs([("series", "a")]).unwrap();
        let mut head = Head::with_window(keys(), i64::MAX);
        let index = head.replay_series(labels.as_ref(), SeriesRef(1)).unwrap();
        head.replay_sample(index, Sample { t: TimestampMs(90_000), v: 1.0 });
        let (mut late, t) = (Samples::default(), TimestampMs(1000));
        late.floats.push(Sample { t, v: 7.0 });
        let float = encoded(&late).remove(0);
        late.clear();
        late.push(t, ValueRef::Histogram(AnyHistogramRef::Int(HistogramRef::empty())));
        let histogram = encoded(&late).remove(0);
        for chunk in [&float, &histogram, &float] {
            let (series, range) = (SeriesRef(1), chunk.range);
            let (encoding, bytes) = (chunk.encoding, &*chunk.bytes);
            assert!(head.replay_late_chunk(index, SavedChunk { series, range, encoding, bytes }));
        }
        head.finish_replay();
        let mut back = Head::with_window(keys(), i64::MAX);
        restore(&mut back, &saved(&head, 1 << 20));
        for head in [head, back] {
            let samples = samples_of(&head, index);
            let times: Vec<i64> = samples.iter().map(|(t, _)| t.0).collect();
            assert_eq!((times, samples.floats[0].v), (vec![1000, 90_000], 7.0));
        }
    }

    /// Fuzzing found it: the first instant is later than no other, and the chunk that it was put into could not tell.
    #[test]
    fn nothing_that_is_replayed_is_as_old_as_the_first_instant() {
        let labels = Labels::from_pairs([("series", "a")]).unwrap();
        let mut head = Head::with_window(keys(), i64::MAX);
        let index = head.replay_series(labels.as_ref(), SeriesRef(1)).unwrap();
        head.replay_sample(index, Sample { t: TimestampMs::MIN, v: 7.0 });
        let stale = AnyHistogramRef::Int(HistogramRef::stale());
        head.replay_histogram(index, TimestampMs::MIN, stale);
        let mut chunk = XorAppender::new();
        let mut words = Words::default();
        chunk.append(&mut words, TimestampMs::MIN, 7.0);
        let mut bytes = Vec::new();
        chunk.write_to(&words, &mut bytes);
        let range = TimeRange::new(TimestampMs::MIN, TimestampMs::MIN).unwrap();
        let (series, encoding) = (SeriesRef(1), xor::ENCODING);
        let late = SavedChunk { series, range, encoding, bytes: &bytes };
        assert!(head.replay_late_chunk(index, late));
        head.finish_replay();
        assert_eq!(samples_of(&head, index), Samples::default());
        saved(&head, 300);
    }

    /// They went into one batch, which a series with many was too long for: nothing could read that checkpoint.
    #[test]
    fn late_chunks_of_one_series_go_into_as_many_batches_as_they_need() {
        const BYTES: usize = 2000;
        let (mut head, mut log) = (Head::with_window(keys(), i64::MAX), LogBuffer::new());
        let newest: i64 = 1 << 40;
        testing::send_numbered(&mut head, &mut log, 0, newest, 1);
        for n in 0..6000u32 {
            testing::send_numbered(&mut head, &mut log, 0, i64::from(n) * 1000, n);
        }
        let (mut back, mut replay) = (Head::with_window(keys(), i64::MAX), Replay::default());
        let (mut saving, mut batches) = (Saving::begin(&head), 0);
        while !saving.is_done() {
            let mut payload = Vec::new();
            saving = head.save(saving, BYTES, &mut payload);
            assert!(payload.len() < 2 * BYTES, "{}", payload.len());
            records(&payload).for_each(|record| replay.take(&mut back, record.unwrap()));
            batches += 1;
            if batches == 2 {
                // What is in order and comes meanwhile is in the log; its chunks may not come behind the open one.
                for n in 1..300 {
                    let t = newest + i64::from(n) * 1000;
                    testing::send_numbered(&mut head, &mut log, 0, t, n);
                }
            }
        }
        back.finish_replay();
        let numbers = |head: &Head| -> Vec<(i64, u32)> {
            let all = testing::read_all(head, 0);
            let numbers = all.iter().map(|(t, value)| (t.0, testing::number_of(value)));
            numbers.filter(|(t, _)| *t <= newest).collect()
        };
        assert!(batches > 10, "{batches} batches");
        assert_eq!(numbers(&head).len(), 6001);
        assert!(numbers(&back) == numbers(&head));
    }

    proptest! {
        #[test]
        fn a_saved_head_comes_back_and_goes_on(
            counts in proptest::collection::vec(0u32..400, 1..5), more in 0i64..50,
            budget in 1usize..3000,
        ) {
            let mut head = Head::new(Fingerprinter::new(1));
            let sample = |i: i64| Sample { t: TimestampMs(i * 15_000), v: f64::from(i32::try_from(i).unwrap()) };
            for (series, count) in (0u32..).zip(&counts) {
                let labels = Labels::from_pairs([("series", series.to_string().as_str())]).unwrap();
                let reference = SeriesRef(u64::from(series) * 2 + 1);
                let index = head.replay_series(labels.as_ref(), reference).unwrap();
                (0..i64::from(*count)).for_each(|i| head.replay_sample(index, sample(i)));
            }
            let payload = saved(&head, budget);
            let mut back = Head::new(Fingerprinter::new(2));
            restore(&mut back, &payload);
            for (series, count) in (0u32..).zip(&counts) {
                for i in 0..more {
                    back.replay_sample(series, sample(i64::from(*count) / 2 + i));
                    head.replay_sample(series, sample(i64::from(*count) / 2 + i));
                }
                prop_assert_eq!(samples_of(&back, series), samples_of(&head, series));
            }
        }

        #[test] // the checkpoint is written while the log goes on: what it has, the log repeats
        fn late_samples_come_back_once_from_a_checkpoint_and_the_log_around_it(
            times in proptest::collection::vec(0i64..400, 1..150), log_from in any::<prop::sample::Index>(),
            saved_at in any::<prop::sample::Index>(),
        ) {
            let (saved_at, mut logged) = (saved_at.index(times.len()), Vec::new());
            let log_from = log_from.index(saved_at + 1);
            let mut head = Head::with_window(keys(), i64::MAX);
            let mut log = LogBuffer::new();
            let mut payload = Vec::new();
            for (at, t) in times.iter().enumerate() {
                if at == saved_at {
                    payload = saved(&head, 1 << 20);
                }
                let (t, n) = (t * 100_000, u32::try_from(*t).unwrap());
                let appended = |head: &Head| {
                    head.stats().samples_appended + head.stats().histograms_appended
                };
                let before = appended(&head);
                testing::send_numbered(&mut head, &mut log, 0, t, n);
                if at >= log_from && appended(&head) > before {
                    logged.push((t, n));
                }
            }
            let mut back = Head::new(keys());
            restore(&mut back, &payload);
            let labels = testing::labels(0);
            let index = back.replay_series(labels.as_ref(), SeriesRef(1)).unwrap();
            // Without a checkpoint of it, everything is in the log.
            if payload.is_empty() {
                let all = testing::read_all(&head, 0);
                logged = all.iter().map(|(t, value)| (t.0, testing::number_of(value))).collect();
            }
            for (t, n) in logged {
                match testing::numbered(n) {
                    Value::Float(v) => back.replay_sample(index, testing::sample(t, v)),
                    Value::Histogram(h) => {
                        prop_assert!(back.replay_histogram(index, TimestampMs(t), h.as_ref()));
                    }
                }
            }
            back.finish_replay();
            let numbers = |head: &Head| -> Vec<(i64, u32)> {
                let all = testing::read_all(head, 0);
                all.iter().map(|(t, value)| (t.0, testing::number_of(value))).collect()
            };
            prop_assert_eq!(numbers(&back), numbers(&head));
            prop_assert_eq!(back.stats().range, head.stats().range);
        }
    }
}
