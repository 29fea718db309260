//! Appending a request's samples: which are taken in order, which late, and which are refused.
//!
//! ```text
//! newer than all of its series   and not behind the floor: in order. Behind it: late if the window reaches it, or refused
//! not newer                      known to the bit: nothing to do. Another value at this instant: refused. Else late if the
//!                                window reaches it, or refused
//! ```
//! What a chunk that has left memory covers is doubtful until that is read (`doubt`).
//! The floor is one hour, or the out-of-order window if that is longer, behind the newest sample of the Head, and never
//! lies within what was cut into blocks; the window is counted from that newest sample, too. Source: `appendable` and
//! `appendableMinValidTime`, `tsdb/head_append.go`.
//! A sample that is newer than all of its series and not behind the floor is the common case and costs one comparison
//! for each of the two; whatever else there is to know of a sample is asked on a cold path, after the others of its
//! series.

use std::borrow::Cow;
use std::ops::Range;

use super::doubt::Doubtful;
use super::full_chunks::FullChunks;
use super::late::{Late, Sealed};
use super::mem_series::{CHUNK_RANGE_MS, MemSeries, SeriesRest};
use super::paged::{Paged, prefetch};
use super::{AHEAD_MS_MAX, Appended, GROUP, Head, HeadStats};
use crate::encoding::record::LoggedStart;
use crate::model::refusal::LABEL_BYTES_MAX;
use crate::model::{
    Fingerprint, LabelText, LabelsAt, LabelsError, LabelsRef, Part, PartEntry, Refusal,
    RefusalReason, Refusals, Sample, SeriesRef, StartAt, TimestampMs, Value, ValueRef,
    is_stale_nan,
};
use crate::storage::wal::LogBuffer;

/// How far behind the newest sample of the Head a sample may be that is in order. Source: half a chunk range.
const BEHIND_MS_MAX: i64 = CHUNK_RANGE_MS / 2;

/// Which samples are taken, by their time. Asked once for a request, so that its own samples do not change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In-order samples are not older than this.
    floor: TimestampMs,
    /// Late samples are not older than this; `None`: there is no window for them.
    late_from: Option<TimestampMs>,
    /// No sample is newer than this.
    latest: TimestampMs,
}

impl Bounds {
    /// Not below `floor` in order.
    pub(super) fn raised_to(self, floor: TimestampMs) -> Self {
        Self { floor: self.floor.max(floor), ..self }
    }

    /// Is this instant too far ahead of the clock?
    pub(super) fn is_from_the_future(self, t: TimestampMs) -> bool {
        t > self.latest
    }

    fn takes_late(self, t: TimestampMs) -> bool {
        // Nothing is later than nothing: no sample is as old as the first instant.
        self.late_from.is_some_and(|from| from <= t) && t > TimestampMs::MIN
    }

    /// Why a sample that is neither in order nor to be taken late is refused.
    fn too_late(self, t: TimestampMs) -> RefusalReason {
        match self.late_from {
            Some(_) => RefusalReason::TooOld,
            None if t < self.floor => RefusalReason::OutOfBounds,
            None => RefusalReason::OutOfOrder,
        }
    }
}

/// The same question as [`Bounds::floor`] and [`Bounds::latest`] put, in one comparison.
#[derive(Clone, Copy)]
struct InOrder {
    floor: i64,
    span: u64,
}

impl InOrder {
    fn of(bounds: Bounds) -> Self {
        let (floor, latest) = (bounds.floor.0, bounds.latest.0);
        if floor > latest {
            // The clock lies behind all that was ever taken: nothing gets through, no sample is as old as the first instant.
            return Self { floor: i64::MIN, span: 0 };
        }
        Self { floor, span: latest.wrapping_sub(floor).cast_unsigned() }
    }

    #[inline]
    fn contains(self, t: TimestampMs) -> bool {
        t.0.wrapping_sub(self.floor).cast_unsigned() <= self.span
    }
}

/// From the oldest to the newest sample that was appended; the wrong way round if there was none.
struct Span {
    oldest: TimestampMs,
    newest: TimestampMs,
}

/// What a sample that is not simply the newest of its series is.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// The newest after all.
    InOrder,
    /// The series has it, to the bit.
    Known,
    /// Late, and to be stored.
    Late,
    /// Late, and to be stored unless a chunk that has left memory has it.
    Doubtful,
    /// Not to be stored.
    Refused(RefusalReason),
}

impl Verdict {
    /// Is it one that came late, whether it is taken or not? A repetition or a conflict is not.
    pub(super) fn is_late(&self) -> bool {
        use RefusalReason::{OutOfBounds, OutOfOrder, TooOld};
        matches!(
            self,
            Self::Late | Self::Doubtful | Self::Refused(OutOfBounds | OutOfOrder | TooOld)
        )
    }

    /// The series has another value at this instant.
    fn conflict(t: TimestampMs, known: ValueRef<'_>, new: ValueRef<'_>) -> Self {
        Self::Refused(match (known, new) {
            (ValueRef::Float(existing), ValueRef::Float(new)) => {
                RefusalReason::Duplicate { t, existing, new }
            }
            (_, ValueRef::Float(new)) => RefusalReason::DuplicateOfHistogram { t, new },
            (_, ValueRef::Histogram(_)) => RefusalReason::DuplicateHistogram(t),
        })
    }
}

impl Head {
    /// Which samples are taken now.
    #[must_use]
    pub fn bounds(&self, now: TimestampMs) -> Bounds {
        let window = Some(self.window_ms).filter(|window| *window > 0);
        let behind = |ms| self.newest.saturating_sub(ms);
        Bounds {
            floor: behind(BEHIND_MS_MAX.max(self.window_ms)).max(self.min_valid),
            late_from: window.map(behind),
            latest: now.saturating_add(AHEAD_MS_MAX),
        }
    }

    /// Appends the samples of some of the part's entries and puts what is new into `log`. Good samples are stored whatever
    /// the others are.
    ///
    /// - `entries`: so many at a time that others need not wait for long.
    /// - `bounds`: those that hold for the request that the part is of.
    pub fn append(
        &mut self,
        part: &Part,
        entries: Range<usize>,
        text: &LabelText,
        bounds: Bounds,
        log: &mut LogBuffer,
    ) -> Appended {
        let bounds = bounds.raised_to(self.min_valid);
        let in_order = InOrder::of(bounds);
        let mut appended = Appended::default();
        let mut span = Span { oldest: TimestampMs::MAX, newest: TimestampMs::MIN };
        let (mut each, mut at) = (part.iter_within(entries.clone()), entries.start);
        let mut starts = part.starts_within(entries.clone());
        for group in part.entries.get(entries).unwrap_or_default().chunks(GROUP) {
            let found = self.find_group(group);
            for (hint, (entry, samples)) in found.into_iter().zip(each.by_ref().take(group.len())) {
                let index = match self.find(entry.fingerprint, hint) {
                    Some(index) => index,
                    None => {
                        let times = samples.iter().map(|sample| sample.t);
                        let who = (entry.fingerprint, entry.labels);
                        match self.create(who, times, text, bounds, log) {
                            Ok(index) => index,
                            Err(reason) => {
                                let refusal = refusal(entry.labels, text, samples.len(), reason);
                                appended.refused.push(refusal);
                                at += 1;
                                continue;
                            }
                        }
                    }
                };
                if !starts.is_empty() || !self.starts.is_empty() {
                    self.note_starts(index, part, at, &mut starts, in_order, log);
                }
                let misplaced = self.append_in_order(index, samples, in_order, &mut span, log);
                appended.written += (samples.len() - misplaced) as u64;
                if misplaced > 0 {
                    self.append_misplaced(index, at, entry, text, bounds, log, &mut appended);
                }
                at += 1;
            }
        }
        self.widen(span.oldest, span.newest);
        log.finish_part();
        self.count_appended(log);
        appended
    }

    /// Notes since when the counter of an entry's samples counts that are about to be appended in order.
    ///
    /// - `starts`: those of this entry and the ones behind it; its own are taken off.
    #[cold]
    #[inline(never)]
    fn note_starts(
        &mut self,
        index: u32,
        part: &Part,
        entry: usize,
        starts: &mut &[StartAt],
        in_order: InOrder,
        log: &mut LogBuffer,
    ) {
        let end = part.entries.get(entry).map_or(0, |entry| entry.samples_end);
        let begin = part.samples_begin(entry);
        // Those of an entry before it that was refused are passed over.
        let passed = starts.partition_point(|at| at.sample < begin);
        let own = starts.get(passed..).unwrap_or_default();
        let (own, rest) = own.split_at(own.partition_point(|at| at.sample < end));
        *starts = rest;
        let Some(series) = self.series.get(index) else { return };
        let (reference, mut newest) = (series.reference, series.newest());
        let mut own = own.iter().peekable();
        for place in begin..end {
            let start = own.next_if(|at| at.sample == place).map(|at| at.start);
            let Some(sample) = part.samples.get(place as usize) else { return };
            let (from, start) = (sample.t, start.unwrap_or(TimestampMs(0)));
            if from <= newest || !in_order.contains(from) {
                continue; // it is late, or refused
            }
            newest = from;
            if self.starts.note(index, from, start) {
                log.start(LoggedStart { series: reference, from, start });
            }
        }
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

    /// Appends the samples that are newer than all others of their series, and puts the rest aside: how many.
    #[inline]
    fn append_in_order(
        &mut self,
        index: u32,
        samples: &[Sample],
        in_order: InOrder,
        span: &mut Span,
        log: &mut LogBuffer,
    ) -> usize {
        let Some(series) = self.series.get_mut(index) else { return 0 };
        let mut misplaced = 0;
        for sample in samples {
            if series.is_behind(sample.t) && in_order.contains(sample.t) {
                if series.has_no_floats()
                    && Self::begin_floats(
                        series,
                        (&mut self.rest, &mut self.stats, &mut self.full),
                        index,
                        *sample,
                        log,
                    )
                {
                    span.oldest = span.oldest.min(sample.t);
                    span.newest = span.newest.max(sample.t);
                    continue;
                }
                log.sample(series.reference, *sample);
                span.oldest = span.oldest.min(sample.t);
                span.newest = span.newest.max(sample.t);
                if let Some(ended) = series.append(*sample) {
                    let (rest, stats) = (&mut self.rest, &mut self.stats);
                    Self::keep_ended(rest, stats, &mut self.full, index, ended);
                }
                continue;
            }
            misplaced += 1;
            self.misplaced.push(*sample);
        }
        misplaced
    }

    /// Makes way for a float where none are being written: ends the chunk of histograms, if there is one. `true`: the float says
    /// that the series has ended, and has become a histogram that says so. Source: `headAppender.Append`, `tsdb/head_append.go`.
    #[cold]
    #[inline(never)]
    fn begin_floats(
        series: &mut MemSeries,
        (rest, stats, full): (&mut Paged<SeriesRest>, &mut HeadStats, &mut FullChunks),
        index: u32,
        sample: Sample,
        log: &mut LogBuffer,
    ) -> bool {
        let Some(open) = rest.get_mut(index).map(|rest| &mut rest.histogram) else { return false };
        let Some(histogram) = open else { return false };
        let is_stale = is_stale_nan(sample.v);
        let ended = if is_stale {
            let stale = histogram.stale();
            log.histogram(series.reference, sample.t, stale);
            series.append_histogram(open, sample.t, stale)
        } else {
            // Replay meets what comes now behind the histograms before it.
            log.finish_part();
            series.begin_floats(open)
        };
        if let Some(ended) = ended {
            Self::keep_ended(rest, stats, full, index, ended);
        }
        is_stale
    }

    #[cold]
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "one step of `append`, split off for its rarity")]
    fn append_misplaced(
        &mut self,
        index: u32,
        at: usize,
        entry: &PartEntry,
        text: &LabelText,
        bounds: Bounds,
        log: &mut LogBuffer,
        appended: &mut Appended,
    ) {
        let (mut refused, mut first) = (0u32, None);
        let mut misplaced = std::mem::take(&mut self.misplaced);
        for sample in misplaced.drain(..) {
            let value = ValueRef::Float(sample.v);
            let verdict = self.judge(index, sample.t, value, bounds, None);
            if verdict.is_late() {
                self.note_lateness(sample.t);
            }
            match verdict {
                Verdict::Doubtful => appended.doubtful.push(Doubtful::Float { entry: at, sample }),
                verdict => match self.carry_out(verdict, index, sample.t, value, log) {
                    Ok(()) => appended.written += 1,
                    Err(reason) => {
                        refused += 1;
                        first.get_or_insert(reason);
                    }
                },
            }
        }
        self.misplaced = misplaced;
        if let Some(reason) = first {
            appended.refused.push(refusal(entry.labels, text, refused as usize, reason));
        }
    }

    /// Counts a sample that came late; one from the future did not.
    pub(super) fn note_lateness(&mut self, t: TimestampMs) {
        if t < self.newest {
            self.lateness.observe((self.newest.0 as f64 - t.0 as f64) / 1000.0);
        }
    }

    /// Does with one sample what was found right.
    pub(super) fn carry_out(
        &mut self,
        verdict: Verdict,
        index: u32,
        t: TimestampMs,
        value: ValueRef<'_>,
        log: &mut LogBuffer,
    ) -> Result<(), RefusalReason> {
        match verdict {
            Verdict::InOrder => self.append_value(index, t, value, log),
            Verdict::Late => self.append_late(index, t, value, log),
            Verdict::Refused(reason) => return Err(reason),
            Verdict::Known | Verdict::Doubtful => self.stats.samples_known += 1,
        }
        Ok(())
    }

    /// Appends a sample that is later than all others of its series.
    pub(super) fn append_value(
        &mut self,
        index: u32,
        t: TimestampMs,
        value: ValueRef<'_>,
        log: &mut LogBuffer,
    ) {
        let Some(series) = self.series.get_mut(index) else { return };
        let parts = (&mut self.rest, &mut self.stats, &mut self.full);
        let (rest, stats, full) = parts;
        let ended = match value {
            ValueRef::Float(v) => {
                let sample = Sample { t, v };
                if series.has_no_floats()
                    && Self::begin_floats(series, (rest, stats, full), index, sample, log)
                {
                    self.widen(t, t);
                    return;
                }
                log.sample(series.reference, sample);
                series.append(sample)
            }
            ValueRef::Histogram(h) => {
                let Some(rest) = rest.get_mut(index) else { return };
                let is_other = rest.histogram.as_ref().is_some_and(|open| !open.is_of_kind(h));
                if !series.has_no_floats() || is_other {
                    // Replay meets what comes now behind what is of another kind and came before it.
                    log.finish_part();
                }
                log.histogram(series.reference, t, h);
                series.append_histogram(&mut rest.histogram, t, h)
            }
        };
        if let Some(ended) = ended {
            Self::keep_ended(&mut self.rest, &mut self.stats, &mut self.full, index, ended);
        }
        self.widen(t, t);
    }

    /// What is to become of a sample of the series at `index`.
    ///
    /// - `spilled`: what chunks that have left memory hold at its instant, if they were asked.
    pub(super) fn judge(
        &self,
        index: u32,
        t: TimestampMs,
        value: ValueRef<'_>,
        bounds: Bounds,
        spilled: Option<Option<Value>>,
    ) -> Verdict {
        if t > bounds.latest || t == TimestampMs::MIN {
            return Verdict::Refused(RefusalReason::OutOfBounds);
        }
        let Some((series, rest)) = self.series.get(index).zip(self.rest.get(index)) else {
            return Verdict::Refused(RefusalReason::OutOfBounds); // no series has this index
        };
        if series.is_behind(t) && t >= bounds.floor {
            return Verdict::InOrder;
        }
        let was_asked = spilled.is_some();
        match series.value_at(rest, t).or(spilled.flatten()) {
            Some(known) if known.as_ref().is_same_sample(value) => Verdict::Known,
            Some(known) => Verdict::conflict(t, known.as_ref(), value),
            None if !bounds.takes_late(t) => Verdict::Refused(bounds.too_late(t)),
            None if !was_asked && !self.places_at(index, t).is_empty() => Verdict::Doubtful,
            None => Verdict::Late,
        }
    }

    fn append_late(
        &mut self,
        index: u32,
        t: TimestampMs,
        value: ValueRef<'_>,
        log: &mut LogBuffer,
    ) {
        let Some(series) = self.series.get(index) else { return };
        match value {
            ValueRef::Float(v) => {
                log.sample(series.reference, Sample { t, v });
                self.stats.samples_late += 1;
            }
            ValueRef::Histogram(h) => {
                log.histogram(series.reference, t, h);
                self.stats.histograms_late += 1;
            }
        }
        self.store_late(index, t, value);
    }

    /// Puts a late sample that the series does not have to its others.
    pub(super) fn store_late(&mut self, index: u32, t: TimestampMs, value: ValueRef<'_>) {
        let Some(rest) = self.rest.get_mut(index) else { return };
        let late = rest.late.get_or_insert_with(Box::<Late>::default);
        let Sealed { chunks, bytes } = late.insert(t, value, self.generation);
        if chunks > 0 {
            self.full.note(index);
        }
        self.stats.chunks += chunks;
        self.stats.chunk_bytes += bytes;
        self.widen_late(t, t);
    }

    /// What of the part would be refused if it were appended now. Changes nothing.
    #[must_use]
    pub fn check(&self, part: &Part, text: &LabelText, bounds: Bounds) -> Refusals {
        let mut refused = Refusals::default();
        for (entry, samples) in part.iter() {
            let values = samples.iter().map(|sample| (sample.t, ValueRef::Float(sample.v)));
            let who = (entry.fingerprint, entry.labels);
            if let Some(reason) = self.check_series(who, values, text, bounds) {
                refused.push(refusal(entry.labels, text, samples.len(), reason));
            }
        }
        for (entry, histograms) in part.histogram_series() {
            let count = histograms.len();
            let within = part.histograms.within(histograms);
            let values = within.map(|(t, h)| (t, ValueRef::Histogram(h)));
            let who = (entry.fingerprint, entry.labels);
            if let Some(reason) = self.check_series(who, values, text, bounds) {
                refused.push(refusal(entry.labels, text, count, reason));
            }
        }
        refused
    }

    /// The first reason for which something of a series would be refused.
    fn check_series<'a>(
        &self,
        (fingerprint, labels): (Fingerprint, LabelsAt),
        values: impl Iterator<Item = (TimestampMs, ValueRef<'a>)>,
        text: &LabelText,
        bounds: Bounds,
    ) -> Option<RefusalReason> {
        let index = self.find(fingerprint, None);
        if index.is_none()
            && let Err(reason) = checked_labels(labels, text)
        {
            return Some(reason);
        }
        let (mut last, mut unordered) = (TimestampMs::MIN, false);
        let mut refused = None;
        for (t, value) in values {
            let verdict = match index {
                Some(index) => self.judge(index, t, value, bounds, None),
                None if t > bounds.latest => Verdict::Refused(RefusalReason::OutOfBounds),
                None => Verdict::InOrder,
            };
            if let Verdict::Refused(reason) = verdict {
                refused.get_or_insert(reason);
            }
            unordered |= t < last;
            last = t;
        }
        let out_of_order = unordered && bounds.late_from.is_none();
        refused.or(out_of_order.then_some(RefusalReason::OutOfOrder))
    }

    /// Makes a series that is about to have samples at these `times`.
    #[cold]
    #[inline(never)]
    pub(super) fn create(
        &mut self,
        (fingerprint, labels): (Fingerprint, LabelsAt),
        times: impl Iterator<Item = TimestampMs>,
        text: &LabelText,
        bounds: Bounds,
        log: &mut LogBuffer,
    ) -> Result<u32, RefusalReason> {
        let labels = checked_labels(labels, text)?;
        let labels = LabelsRef::trusted(&labels);
        // A series that would have no sample is not made.
        let takes = |t| bounds.takes_late(t) || t >= bounds.floor;
        let mut in_time =
            times.filter(|t| *t <= bounds.latest && *t != TimestampMs::MIN).peekable();
        let Some(first) = in_time.peek().copied() else {
            return Err(RefusalReason::OutOfBounds);
        };
        if !in_time.any(takes) {
            return Err(bounds.too_late(first));
        }
        let reference = SeriesRef(self.next_reference);
        let index = self.add(fingerprint, labels, reference).ok_or(RefusalReason::TooManySeries)?;
        self.next_reference += 1;
        self.stats.series_created += 1;
        log.series(reference, labels.as_bytes());
        Ok(index)
    }
}

/// The labels of a series that is new to the shard: here they are looked at in full, once.
fn checked_labels(labels: LabelsAt, text: &LabelText) -> Result<Cow<'_, [u8]>, RefusalReason> {
    let outside =
        LabelsError::NotCanonical { offset: 0, len: 0, what: "a span outside of the request" };
    let bytes = text.canonical(labels).ok_or(RefusalReason::Labels(outside))?;
    if bytes.len() > LABEL_BYTES_MAX {
        return Err(RefusalReason::LabelsTooLong { bytes: bytes.len() });
    }
    LabelsRef::from_canonical(&bytes).map_err(RefusalReason::Labels)?;
    Ok(bytes)
}

#[cold]
pub(super) fn refusal(
    labels: LabelsAt,
    text: &LabelText,
    samples: usize,
    reason: RefusalReason,
) -> Refusal {
    Refusal {
        series: LabelsRef::trusted(&text.canonical(labels).unwrap_or_default()).to_string(),
        samples: u32::try_from(samples).unwrap_or(u32::MAX),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::testing::{keys, read, sample, send};
    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;

    /// A Head whose newest sample, of series 0, is of ten hours; series 1 has one of nine and a half.
    fn head(window_ms: i64) -> (Head, LogBuffer) {
        let (mut head, mut log) = (Head::with_window(keys(), window_ms), LogBuffer::new());
        let half_past = 9 * HOUR + 30 * MINUTE;
        assert!(send(&mut head, &mut log, 1, &[sample(half_past, 1.0)]).refused.is_empty());
        assert!(send(&mut head, &mut log, 0, &[sample(10 * HOUR, 0.0)]).refused.is_empty());
        (head, log)
    }

    /// What becomes of one sample of series 1, which has one at half past nine.
    fn sent(window_ms: i64, minutes: i64, v: f64) -> Option<RefusalReason> {
        let (mut head, mut log) = head(window_ms);
        let appended = send(&mut head, &mut log, 1, &[sample(minutes * MINUTE, v)]);
        assert_eq!(appended.written, u64::from(appended.refused.is_empty()));
        appended.refused.named.into_iter().next().map(|refusal| refusal.reason)
    }

    #[test]
    fn without_a_window_a_late_sample_is_out_of_order_or_out_of_bounds() {
        assert_eq!(sent(0, 9 * 60 + 31, 0.0), None);
        assert_eq!(sent(0, 9 * 60 + 30, 1.0), None, "known");
        assert_eq!(sent(0, 9 * 60 + 29, 0.0), Some(RefusalReason::OutOfOrder));
        assert_eq!(sent(0, 9 * 60 - 1, 0.0), Some(RefusalReason::OutOfBounds));
    }

    #[test]
    fn within_the_window_a_late_sample_is_stored_and_before_it_too_old() {
        assert_eq!(sent(HOUR, 9 * 60, 0.0), None);
        assert_eq!(sent(HOUR, 9 * 60 - 1, 0.0), Some(RefusalReason::TooOld));
        assert_eq!(sent(2 * HOUR, 8 * 60, 0.0), None);
        assert_eq!(sent(10 * MINUTE, 9 * 60 + 29, 0.0), Some(RefusalReason::TooOld));
    }

    #[test]
    fn by_how_much_a_sample_is_late_counts_whether_it_is_taken_or_not() {
        let (mut head, mut log) = head(HOUR);
        for (minutes, v) in
            [(9 * 60 + 20, 0.0), (8 * 60, 0.0), (9 * 60 + 20, 0.0), (9 * 60 + 31, 0.0)]
        {
            send(&mut head, &mut log, 1, &[sample(minutes * MINUTE, v)]);
        }
        let lateness = head.lateness();
        let counts: Vec<_> = lateness.counts().filter(|(_, n)| *n > 0).collect();
        assert_eq!(
            counts,
            [(3600.0, 1), (7200.0, 1)],
            "a repetition is not late, nor is the newest"
        );
        assert!((lateness.sum() - 9_600.0).abs() < 1e-9, "{}", lateness.sum());
    }

    #[test]
    fn another_value_at_an_instant_is_refused_with_both() {
        let t = TimestampMs(9 * HOUR + 30 * MINUTE);
        for window in [0, HOUR] {
            let reason = RefusalReason::Duplicate { t, existing: 1.0, new: 2.0 };
            assert_eq!(sent(window, 9 * 60 + 30, 2.0), Some(reason));
        }
    }

    #[test]
    fn a_late_sample_is_known_when_it_comes_again() {
        let (mut head, mut log) = head(HOUR);
        let late = sample(9 * HOUR + MINUTE, 7.0);
        for _ in 0..2 {
            assert_eq!(send(&mut head, &mut log, 1, &[late]).written, 1);
        }
        let stats = head.stats();
        assert_eq!((stats.samples_late, stats.samples_known, stats.samples_appended), (1, 1, 3));
        assert_eq!(read(&head, 1), [late, sample(9 * HOUR + 30 * MINUTE, 1.0)]);
        let other = send(&mut head, &mut log, 1, &[sample(late.t.0, 8.0)]).refused;
        let reason = RefusalReason::Duplicate { t: late.t, existing: 7.0, new: 8.0 };
        assert_eq!(other.named[0].reason, reason);
    }

    #[test] // a refused sample, years old, once counted as the Head's first
    fn what_is_refused_does_not_widen_the_range() {
        let (mut head, mut log) = head(HOUR);
        send(&mut head, &mut log, 1, &[sample(1, 0.0), sample(9 * HOUR + 45 * MINUTE, 0.0)]);
        assert_eq!(head.stats().range.unwrap().min().0, 9 * HOUR + 30 * MINUTE);
    }

    #[test]
    fn a_clock_far_behind_the_samples_lets_none_through() {
        let (mut head, mut log) = head(HOUR);
        let (part, text) = super::super::testing::request(&[(0, vec![sample(11 * HOUR, 0.0)])]);
        let bounds = head.bounds(TimestampMs(0));
        let appended = head.append(&part, 0..1, &text, bounds, &mut log);
        assert_eq!(appended.refused.samples.out_of_bounds, 1);
    }

    proptest! {
        #[test]
        fn a_series_holds_what_a_map_would(
            requests in proptest::collection::vec(
                proptest::collection::vec((0i64..3 * HOUR, 0u8..3), 1..40), 1..20),
        ) {
            let (mut head, mut log) = (Head::with_window(keys(), HOUR), LogBuffer::new());
            let mut model: BTreeMap<TimestampMs, Sample> = BTreeMap::new();
            for request in requests {
                let samples: Vec<_> =
                    request.into_iter().map(|(t, v)| sample(t / 15_000 * 15_000, f64::from(v))).collect();
                let newest = model.keys().next_back().copied();
                let from = newest.map_or(TimestampMs::MIN, |newest| newest.saturating_sub(HOUR));
                // Those in order are taken first, the others then in their own order.
                let mut last = newest;
                let (in_order, others): (Vec<_>, Vec<_>) = samples.iter().copied().partition(|sample| {
                    let is_newer = last.is_none_or(|last| last < sample.t);
                    if is_newer {
                        last = Some(sample.t);
                    }
                    is_newer
                });
                let mut written = in_order.len();
                model.extend(in_order.into_iter().map(|sample| (sample.t, sample)));
                for sample in others {
                    match model.get(&sample.t) {
                        Some(known) => written += usize::from(*known == sample),
                        None if sample.t < from => {}
                        None => {
                            model.insert(sample.t, sample);
                            written += 1;
                        }
                    }
                }
                let appended = send(&mut head, &mut log, 0, &samples);
                prop_assert_eq!(appended.written, written as u64);
                prop_assert_eq!(appended.refused.samples.total(), (samples.len() - written) as u64);
            }
            prop_assert_eq!(read(&head, 0), model.into_values().collect::<Vec<_>>());
        }
    }
}
