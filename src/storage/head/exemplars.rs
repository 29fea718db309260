//! The exemplars of a shard: a ring of the newest ones, whatever series they are of.
//!
//! ```text
//! ring     numbered upward as they came; when it is full the one that came first goes
//! series   fingerprint ─► labels, and the numbers of its exemplars in order of their time
//! ```
//! An exemplar has to follow the newest one of its series: in time, of the same time in value, of the same value in its
//! labels' bytes. One that is older is taken within the out-of-order window, unless the series has another one at its instant.
//! The same as the newest is known, and no error. Exemplars stay when their series go, and are not deleted with samples.
//! Source: `tsdb/exemplar.go`, Prometheus 3.14, which compares hashes of labels where this compares labels.

use std::collections::{HashMap, VecDeque};

use super::{Bounds, Head};
use crate::encoding::batch::PAYLOAD_BYTES_MAX;
use crate::encoding::record::{SavedExemplar, push_exemplar, push_exemplars};
use crate::model::refusal::LABEL_BYTES_MAX;
use crate::model::{
    Exemplar, ExemplarAt, ExemplarRef, Fingerprint, LabelText, Labels, LabelsRef, Matcher, Refusal,
    RefusalReason, Refusals, SeriesExemplars, TimeRange, TimestampMs,
};
use crate::storage::wal::LogBuffer;

/// A series whose labels take more bytes has no exemplars: each of them would be held and logged again, by series.
const SERIES_BYTES_MAX: usize = 8 << 10;

/// A record takes no further exemplar when it has so many bytes.
const RECORD_BYTES: usize = 256 << 10;

const _: () = assert!(
    RECORD_BYTES + 2 * LABEL_BYTES_MAX < PAYLOAD_BYTES_MAX / 2,
    "a log takes a record in any state"
);

/// The exemplars of a shard.
#[derive(Debug, Default)]
pub struct Exemplars {
    /// How many are kept.
    max: usize,
    /// How much older than the newest one of its series one may be, in milliseconds.
    window_ms: i64,
    ring: VecDeque<Kept>,
    /// The number of the one in front.
    first: u64,
    series: HashMap<Fingerprint, OfSeries, foldhash::fast::FixedState>,
    appended: u64,
    out_of_order: u64,
    refused: u64,
}

#[derive(Debug)]
struct Kept {
    series: Fingerprint,
    exemplar: Exemplar,
}

#[derive(Debug)]
struct OfSeries {
    labels: Labels,
    /// Numbers in the ring, in order of time.
    numbers: VecDeque<u64>,
}

/// What is to become of an exemplar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is stored, behind so many others of its series.
    New(usize),
    /// It is there, or another one takes its place.
    Known,
    /// It is too old.
    OutOfOrder,
    /// None are kept.
    Off,
}

/// What became of the exemplars of one part of a request.
#[derive(Debug, Default, PartialEq)]
pub struct AppendedExemplars {
    /// How many are taken, those included that are known, and all if none are kept.
    pub written: u64,
    /// Those that are out of order. The others are only counted, as in Prometheus.
    pub refused: Refusals,
}

/// What a shard's exemplars come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExemplarStats {
    /// How many there are.
    pub exemplars: u64,
    /// How many there may be.
    pub max: u64,
    /// Series that have some.
    pub series: u64,
    /// The time of the one that came first.
    pub oldest: Option<TimestampMs>,
    /// Taken since the start.
    pub appended: u64,
    /// Refused since the start because they were out of order.
    pub out_of_order: u64,
    /// Refused since the start because they were from the future, their labels are none, or nothing is known of their series or
    /// its labels are too long.
    pub refused: u64,
}

impl Exemplars {
    /// From now on so many are kept; those that came first go.
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
        self.make_room(0);
        // Room for what is gone is not kept.
        self.ring.shrink_to(max.min(self.ring.len()));
    }

    pub(super) fn set_window(&mut self, window_ms: i64) {
        self.window_ms = window_ms;
    }

    /// What they come to.
    #[must_use]
    pub fn stats(&self) -> ExemplarStats {
        ExemplarStats {
            exemplars: self.ring.len() as u64,
            max: self.max as u64,
            series: self.series.len() as u64,
            oldest: self.ring.front().map(|kept| kept.exemplar.t),
            appended: self.appended,
            out_of_order: self.out_of_order,
            refused: self.refused,
        }
    }

    /// Counts on from where others have ended.
    pub(super) fn count_on(&mut self, before: &Self) {
        self.appended += before.appended;
        self.out_of_order += before.out_of_order;
        self.refused += before.refused;
    }

    fn at(&self, number: u64) -> Option<&Kept> {
        self.ring.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// How many of the series' exemplars are not newer than `t`.
    fn not_newer(&self, of_series: &OfSeries, t: TimestampMs) -> usize {
        let numbers = &of_series.numbers;
        let newer = numbers
            .iter()
            .rev()
            .take_while(|number| self.at(**number).is_some_and(|kept| t < kept.exemplar.t));
        numbers.len() - newer.count()
    }

    fn judge(&self, series: Fingerprint, exemplar: ExemplarRef<'_>) -> Verdict {
        if self.max == 0 {
            return Verdict::Off;
        }
        let of_series = self.series.get(&series);
        let newest = of_series.and_then(|of_series| self.at(*of_series.numbers.back()?));
        let (Some(of_series), Some(newest)) = (of_series, newest) else { return Verdict::New(0) };
        let newest = newest.exemplar.as_ref();
        if newest.is(&exemplar) {
            return Verdict::Known;
        }
        if exemplar.t < newest.t {
            if exemplar.t <= newest.t.saturating_sub(self.window_ms) {
                return Verdict::OutOfOrder;
            }
            let place = self.not_newer(of_series, exemplar.t);
            let before = place.checked_sub(1).and_then(|at| of_series.numbers.get(at));
            let before = before.and_then(|number| self.at(*number));
            return match before {
                Some(before) if before.exemplar.t == exemplar.t => Verdict::Known,
                _ => Verdict::New(place),
            };
        }
        let (value, labels) = (exemplar.value, exemplar.labels.as_bytes());
        let is_before =
            value < newest.value || value == newest.value && labels < newest.labels.as_bytes();
        if exemplar.t == newest.t && is_before {
            return Verdict::OutOfOrder;
        }
        Verdict::New(of_series.numbers.len())
    }

    /// Puts an exemplar behind `place` others of its series.
    fn put(
        &mut self,
        series: Fingerprint,
        labels: LabelsRef<'_>,
        exemplar: ExemplarRef<'_>,
        place: usize,
    ) {
        let number = self.first + self.ring.len() as u64;
        self.ring.push_back(Kept { series, exemplar: exemplar.to_owned() });
        let of_series = self.series.entry(series);
        let of_series = of_series
            .or_insert_with(|| OfSeries { labels: labels.to_owned(), numbers: VecDeque::new() });
        of_series.numbers.insert(place.min(of_series.numbers.len()), number);
    }

    /// Lets those go that came first, until there is room for so many more.
    fn make_room(&mut self, more: usize) {
        while self.ring.len() + more > self.max
            && let Some(gone) = self.ring.pop_front()
        {
            let number = self.first;
            self.first += 1;
            let Some(of_series) = self.series.get_mut(&gone.series) else { continue };
            // Nearly always it is the oldest of its series, too.
            if of_series.numbers.front() == Some(&number) {
                of_series.numbers.pop_front();
            } else {
                of_series.numbers.retain(|one| *one != number);
            }
            if of_series.numbers.is_empty() {
                self.series.remove(&gone.series);
            }
        }
    }

    /// Takes over what the log or a checkpoint tells of. What is there already, because the checkpoint was written while the log
    /// went on, is passed over; the window is not asked, since what is in the log was taken.
    pub fn replay(&mut self, series: Fingerprint, saved: SavedExemplar<'_>) {
        if self.max == 0 {
            return;
        }
        let mut place = 0;
        if let Some(of_series) = self.series.get(&series) {
            place = self.not_newer(of_series, saved.exemplar.t);
            let earlier = of_series.numbers.iter().take(place).rev();
            let same_time = earlier
                .filter_map(|number| self.at(*number))
                .take_while(|kept| kept.exemplar.t == saved.exemplar.t);
            if same_time.into_iter().any(|kept| kept.exemplar.as_ref().is(&saved.exemplar)) {
                return;
            }
        }
        // The room is made behind it: its own series may go, and come anew.
        self.put(series, saved.series, saved.exemplar, place);
        self.make_room(0);
    }

    /// The numbers in the ring: of the first, and behind the last.
    pub(super) fn numbers(&self) -> (u64, u64) {
        (self.first, self.first + self.ring.len() as u64)
    }

    /// Appends a record of the exemplars of these numbers that are still there to a checkpoint's payload, as many as fit into
    /// some `bytes`; where to go on.
    pub(super) fn save(&self, from: u64, end: u64, bytes: usize, payload: &mut Vec<u8>) -> u64 {
        let (mut body, mut at) = (Vec::new(), from.max(self.first));
        let mut before = None;
        while at < end && body.len() < bytes {
            if let Some(kept) = self.at(at)
                && let Some(of_series) = self.series.get(&kept.series)
            {
                let is_same = before.replace(kept.series) == Some(kept.series);
                let series = (!is_same).then_some(of_series.labels.as_ref());
                push_exemplar(&mut body, series, kept.exemplar.as_ref());
            }
            at += 1;
        }
        if !body.is_empty() {
            push_exemplars(payload, &body);
        }
        at
    }

    /// All series that have exemplars, in no order.
    #[must_use]
    pub fn all_series(&self) -> Vec<Fingerprint> {
        self.series.keys().copied().collect()
    }

    /// The exemplars of a series in `range`; `None` if there are none, or the series does not pass any of the selectors.
    #[must_use]
    pub fn of(
        &self,
        series: Fingerprint,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Option<SeriesExemplars> {
        let of_series = self.series.get(&series)?;
        let all = of_series.numbers.iter().filter_map(|number| self.at(*number));
        let within = all.filter(|kept| range.contains(kept.exemplar.t));
        let mut exemplars = within.map(|kept| kept.exemplar.clone()).peekable();
        exemplars.peek()?;
        let value = |name: &str| of_series.labels.get(name).unwrap_or_default();
        let passes = |selector: &Vec<Matcher>| selector.iter().all(|m| m.matches(value(m.name())));
        selectors.iter().any(passes).then(|| SeriesExemplars {
            series: of_series.labels.clone(),
            exemplars: exemplars.collect(),
        })
    }
}

/// The body of a record that is being gathered.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    /// The series of the last exemplar in it.
    before: Option<Fingerprint>,
}

impl Head {
    /// The exemplars.
    #[must_use]
    pub fn exemplars(&self) -> &Exemplars {
        &self.exemplars
    }

    /// From now on so many exemplars are kept.
    pub fn set_exemplars_max(&mut self, max: usize) {
        self.exemplars.set_max(max);
    }

    /// Takes an exemplar over that the log or a checkpoint tells of.
    pub fn replay_exemplar(&mut self, saved: SavedExemplar<'_>) {
        let series = self.fingerprinter.of(saved.series);
        self.exemplars.replay(series, saved);
    }

    /// Takes the exemplars of a request whose samples are appended, and puts what is new of them into `log`.
    ///
    /// - `exemplars`: so many at a time that others need not wait for long.
    /// - `bounds`: those that hold for the request.
    pub fn append_exemplars(
        &mut self,
        exemplars: &[ExemplarAt],
        text: &LabelText,
        bounds: Bounds,
        log: &mut LogBuffer,
    ) -> AppendedExemplars {
        let (mut appended, mut body) = (AppendedExemplars::default(), Body::default());
        for at in exemplars {
            match self.append_exemplar(at, text, bounds, &mut body) {
                Some(Verdict::OutOfOrder) => {
                    self.exemplars.out_of_order += 1;
                    let reason = RefusalReason::OutOfOrderExemplar;
                    let series = text.canonical(at.series).unwrap_or_default();
                    let series = LabelsRef::trusted(&series).to_string();
                    appended.refused.push(Refusal { series, samples: 0, reason });
                }
                Some(Verdict::New(_) | Verdict::Known | Verdict::Off) => appended.written += 1,
                None => self.exemplars.refused += 1,
            }
            if body.bytes.len() >= RECORD_BYTES {
                log.exemplars(&std::mem::take(&mut body).bytes);
            }
        }
        if !body.bytes.is_empty() {
            log.exemplars(&body.bytes);
        }
        appended
    }

    /// Takes one exemplar, and appends it to the body of a record if it is new; `None` if it is none.
    fn append_exemplar(
        &mut self,
        at: &ExemplarAt,
        text: &LabelText,
        bounds: Bounds,
        body: &mut Body,
    ) -> Option<Verdict> {
        // Without its samples nothing is known of a series.
        self.find(at.fingerprint, None).filter(|_| !bounds.is_from_the_future(at.t))?;
        let labels = LabelsRef::from_canonical(text.get(at.labels)?).ok()?;
        let exemplar = ExemplarRef { labels, value: at.value, t: at.t };
        let verdict = self.exemplars.judge(at.fingerprint, exemplar);
        if let Verdict::New(place) = verdict {
            let series = text.canonical(at.series).filter(|set| set.len() <= SERIES_BYTES_MAX)?;
            let series = LabelsRef::trusted(&series);
            self.exemplars.put(at.fingerprint, series, exemplar, place);
            self.exemplars.make_room(0);
            self.exemplars.appended += 1;
            let is_same = body.before.replace(at.fingerprint) == Some(at.fingerprint);
            push_exemplar(&mut body.bytes, (!is_same).then_some(series), exemplar);
        }
        Some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, keys, restore, saved};
    use super::*;
    use crate::encoding::batch::HEADER_BYTES;
    use crate::model::{LabelsAt, Span};

    const MAX: usize = 6;
    const WINDOW_MS: i64 = 100;

    /// A Head with samples of the first series, and its log.
    struct World {
        head: Head,
        log: LogBuffer,
    }

    impl World {
        fn of(max: usize, window_ms: i64) -> Self {
            let (mut head, mut log) = (Head::with_window(keys(), 0), LogBuffer::new());
            head.set_window(window_ms);
            head.set_exemplars_max(max);
            for series in 0..4 {
                testing::send(&mut head, &mut log, series, &[testing::sample(1, 1.0)]);
            }
            log.take();
            Self { head, log }
        }

        /// Sends an exemplar; how many were taken, and how many were out of order.
        fn send(&mut self, series: u32, trace: &str, value: f64, t: i64) -> (u64, u64) {
            self.send_of(&testing::labels(series), trace, value, t)
        }

        fn send_of(&mut self, labels: &Labels, trace: &str, value: f64, t: i64) -> (u64, u64) {
            let mut text = LabelText::default();
            let trace = Labels::from_pairs([("trace_id", trace)]).unwrap();
            let mut span = |bytes: &[u8]| {
                let offset = u32::try_from(text.body.len()).unwrap();
                text.body.extend(bytes);
                Span { offset, len: u32::try_from(bytes.len()).unwrap() }
            };
            let at = ExemplarAt {
                fingerprint: keys().of(labels.as_ref()),
                series: LabelsAt::Canonical(span(labels.as_bytes())),
                labels: span(trace.as_bytes()),
                value,
                t: TimestampMs(t),
            };
            let bounds = self.head.bounds(TimestampMs(10_000));
            let appended = self.head.append_exemplars(&[at], &text, bounds, &mut self.log);
            (appended.written, appended.refused.series)
        }

        fn logged(&mut self) -> Vec<u8> {
            self.log.take().iter().flat_map(|payload| payload[HEADER_BYTES..].to_vec()).collect()
        }
    }

    const TAKEN: (u64, u64) = (1, 0);
    const OUT_OF_ORDER: (u64, u64) = (0, 1);
    const DROPPED: (u64, u64) = (0, 0);

    /// What there is of a series: trace, value and time.
    fn of(head: &Head, series: u32) -> Vec<(String, f64, i64)> {
        let fingerprint = keys().of(testing::labels(series).as_ref());
        let found = head.exemplars().of(fingerprint, &[Vec::new()], TimeRange::ALL);
        let exemplars = found.map_or_else(Vec::new, |found| found.exemplars).into_iter();
        let trace = |labels: &Labels| labels.get("trace_id").unwrap().to_owned();
        exemplars.map(|e| (trace(&e.labels), e.value, e.t.0)).collect()
    }

    fn times(head: &Head, series: u32) -> Vec<i64> {
        of(head, series).into_iter().map(|(_, _, t)| t).collect()
    }

    #[test]
    fn an_exemplar_follows_the_newest_of_its_series_in_time_value_and_labels() {
        let mut world = World::of(MAX, 0);
        for (trace, value, t, told) in [
            ("b", 2.0, 1000, TAKEN),
            ("b", 2.0, 1000, TAKEN), // known
            ("a", 2.0, 1000, OUT_OF_ORDER),
            ("c", 1.0, 1000, OUT_OF_ORDER),
            ("c", 2.0, 1000, TAKEN),
            ("a", 3.0, 1000, TAKEN),
            ("a", 3.0, 999, OUT_OF_ORDER),
            ("a", f64::NAN, 1001, TAKEN),
            ("a", f64::NAN, 1001, TAKEN), // known
        ] {
            assert_eq!(world.send(0, trace, value, t), told, "{trace} {value} {t}");
        }
        assert_eq!(times(&world.head, 0), [1000, 1000, 1000, 1001]);
        let stats = world.head.exemplars().stats();
        assert_eq!((stats.exemplars, stats.appended, stats.out_of_order), (4, 4, 3));
    }

    #[test]
    fn an_older_one_is_taken_within_the_window_unless_there_is_one_at_its_instant() {
        let mut world = World::of(MAX, WINDOW_MS);
        for (t, told) in [
            (1000, TAKEN),
            (900, OUT_OF_ORDER),
            (950, TAKEN),
            (901, TAKEN),
            (970, TAKEN),
            (950, TAKEN), // passed over
        ] {
            assert_eq!(world.send(0, "a", 1.0, t), told, "{t}");
        }
        assert_eq!(times(&world.head, 0), [901, 950, 970, 1000]);
    }

    #[test]
    fn what_came_first_goes_whatever_series_it_is_of() {
        let mut world = World::of(3, WINDOW_MS);
        for (series, t) in [(0, 1000), (0, 990), (1, 500), (2, 1), (0, 1001)] {
            assert_eq!(world.send(series, "a", 1.0, t), TAKEN);
        }
        assert_eq!(times(&world.head, 0), [1001]);
        assert_eq!((times(&world.head, 1), times(&world.head, 2)), (vec![500], vec![1]));
        world.send(0, "a", 1.0, 1002);
        let stats = world.head.exemplars().stats();
        assert_eq!((stats.exemplars, stats.series, stats.oldest), (3, 2, Some(TimestampMs(1))));
    }

    #[test]
    fn one_of_no_known_series_or_from_the_future_is_dropped_and_counted() {
        let mut world = World::of(MAX, 0);
        assert_eq!(world.send(9, "a", 1.0, 1000), DROPPED);
        assert_eq!(world.send(0, "a", 1.0, 10_000 + super::super::AHEAD_MS_MAX + 1), DROPPED);
        assert_eq!(world.head.exemplars().stats().refused, 2);
        assert!(world.log.is_empty());
    }

    #[test] // an exemplar of twenty bytes would take a megabyte of log, and of memory
    fn one_of_a_series_with_long_labels_is_dropped_and_counted() {
        let mut world = World::of(MAX, 0);
        for (len, told) in [(SERIES_BYTES_MAX - 9, TAKEN), (SERIES_BYTES_MAX - 8, DROPPED)] {
            let labels = Labels::from_pairs([("a", "x".repeat(len).as_str())]).unwrap();
            assert_eq!(labels.as_bytes().len(), len + 9);
            world.head.replay_unnamed_series(labels.as_ref()).unwrap();
            assert_eq!(world.send_of(&labels, "a", 1.0, 1000), told, "{len}");
        }
        assert_eq!(world.head.exemplars().stats().refused, 1);
    }

    #[test]
    fn where_none_are_kept_all_are_taken_and_none_is_there() {
        let mut world = World::of(0, 0);
        assert_eq!(world.send(0, "a", 1.0, 1000), TAKEN);
        assert!(world.log.is_empty() && times(&world.head, 0).is_empty());
    }

    #[test]
    fn a_smaller_ring_keeps_the_newest_and_a_larger_one_all() {
        let mut world = World::of(4, 0);
        (0..4).for_each(|t| _ = world.send(0, "a", 1.0, t));
        world.head.set_exemplars_max(2);
        assert_eq!(times(&world.head, 0), [2, 3]);
        world.head.set_exemplars_max(3);
        (4..6).for_each(|t| _ = world.send(0, "a", 1.0, t));
        assert_eq!(times(&world.head, 0), [3, 4, 5]);
        world.head.set_exemplars_max(0);
        assert_eq!(world.head.exemplars().stats().series, 0);
    }

    #[test] // the checkpoint is written while the log goes on: what it has, the log repeats
    fn exemplars_come_back_once_from_a_checkpoint_and_the_log_around_it() {
        for (cut, saved_at) in (0..12).flat_map(|cut| (cut..12).map(move |at| (cut, at))) {
            let (mut world, mut payload, mut log) =
                (World::of(MAX, WINDOW_MS), Vec::new(), Vec::new());
            for at in 0..12 {
                if at == saved_at {
                    payload = saved(&world.head, 30);
                }
                let t = 1000 + if at % 4 == 3 { at - 2 } else { at };
                assert_eq!(world.send(u32::try_from(at % 3).unwrap(), "a", 1.0, t), TAKEN);
                let logged = world.logged();
                if at >= cut {
                    log.extend(logged);
                }
            }
            let mut back = Head::new(keys());
            back.set_exemplars_max(MAX);
            restore(&mut back, &[payload, log].concat());
            for series in 0..3 {
                let story = format!("log from {cut}, saved at {saved_at}, series {series}");
                assert_eq!(of(&back, series), of(&world.head, series), "{story}");
            }
        }
    }
}
