//! Samples of one series, or of several one behind the other: floats and histograms apart, as a query wants them.
//!
//! Of one series each list is sorted by time, and no instant stands twice, be it in one list or in both.
//! A histogram that says that no counter was reset before it says so of the histogram that stands before it: where another
//! one comes there, or that one goes which did not say so itself, it says nothing any more.

use super::histogram::{AnyHistogram, AnyHistogramRef, ResetHint};
use super::{Sample, TimestampMs};

/// What a series has at an instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(AnyHistogramRef<'a>),
}

/// What a series has at an instant, to keep.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(AnyHistogram),
}

impl Value {
    /// The same, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Float(v) => ValueRef::Float(*v),
            Self::Histogram(h) => ValueRef::Histogram(h.as_ref()),
        }
    }
}

impl ValueRef<'_> {
    /// A copy to keep.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self {
            Self::Float(v) => Value::Float(v),
            Self::Histogram(h) => Value::Histogram(h.to_histogram()),
        }
    }

    /// Is it the same sample, to the bit of everything that means something? Staleness markers are the same whatever their kind.
    #[must_use]
    pub fn is_same_sample(self, other: ValueRef<'_>) -> bool {
        match (self, other) {
            (Self::Float(one), ValueRef::Float(other)) => one.to_bits() == other.to_bits(),
            (Self::Histogram(one), ValueRef::Histogram(other)) => one.is_same_sample(other),
            _ => self.is_stale() && other.is_stale(),
        }
    }

    /// Is it the staleness marker?
    #[must_use]
    pub fn is_stale(self) -> bool {
        match self {
            Self::Float(v) => super::is_stale_nan(v),
            Self::Histogram(h) => h.is_stale(),
        }
    }
}

/// A native histogram at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// When.
    pub t: TimestampMs,
    /// What.
    pub histogram: AnyHistogram,
}

/// Since when the counter counts that a sample is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleStart {
    /// When the sample is.
    pub t: TimestampMs,
    /// Since when; never zero, which stands for what is not known.
    pub start: TimestampMs,
}

/// Floats and histograms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// The floats.
    pub floats: Vec<Sample>,
    /// The histograms.
    pub histograms: Vec<HistogramSample>,
    /// The starts of those that have one, sorted as they are: only for who asks for them.
    pub starts: Vec<SampleStart>,
}

/// How many samples there were at a moment: what comes later begins here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SamplesMark {
    /// Floats.
    pub floats: usize,
    /// Histograms.
    pub histograms: usize,
    /// Starts.
    pub starts: usize,
}

/// Some floats and some histograms that lie elsewhere, of one series.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplesRef<'a> {
    /// The floats.
    pub floats: &'a [Sample],
    /// The histograms.
    pub histograms: &'a [HistogramSample],
    /// The starts of those that have one: few series have any.
    pub starts: &'a [SampleStart],
}

impl<'a> SamplesRef<'a> {
    /// Floats alone.
    #[must_use]
    pub fn of_floats(floats: &'a [Sample]) -> Self {
        Self { floats, ..Self::default() }
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }

    /// How many.
    #[must_use]
    pub fn len(self) -> usize {
        self.floats.len() + self.histograms.len()
    }

    /// All of them in the order of time.
    pub fn iter(self) -> impl Iterator<Item = (TimestampMs, ValueRef<'a>)> {
        let (mut floats, mut histograms) =
            (self.floats.iter().peekable(), self.histograms.iter().peekable());
        std::iter::from_fn(move || {
            let histogram_at = histograms.peek().map(|sample| sample.t);
            let is_before = |sample: &&Sample| histogram_at.is_none_or(|t| sample.t < t);
            if let Some(sample) = floats.next_if(is_before) {
                return Some((sample.t, ValueRef::Float(sample.v)));
            }
            let sample = histograms.next()?;
            Some((sample.t, ValueRef::Histogram(sample.histogram.as_ref())))
        })
    }
}

impl Samples {
    /// All of them.
    #[must_use]
    pub fn as_ref(&self) -> SamplesRef<'_> {
        let Self { floats, histograms, starts } = self;
        SamplesRef { floats, histograms, starts }
    }

    /// Those behind `from` and before `to`; none if these are marks of something else.
    #[must_use]
    pub fn between(&self, from: SamplesMark, to: SamplesMark) -> SamplesRef<'_> {
        SamplesRef {
            floats: self.floats.get(from.floats..to.floats).unwrap_or_default(),
            histograms: self.histograms.get(from.histograms..to.histograms).unwrap_or_default(),
            starts: self.starts.get(from.starts..to.starts).unwrap_or_default(),
        }
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.floats.len() + self.histograms.len()
    }

    /// Is there one at `t`? They are of one series.
    #[must_use]
    pub fn has(&self, t: TimestampMs) -> bool {
        has(&self.floats, t) || has(&self.histograms, t)
    }

    /// Forgets all, keeps the room.
    pub fn clear(&mut self) {
        self.floats.clear();
        self.histograms.clear();
        self.starts.clear();
    }

    /// Where what is appended from now on begins.
    #[must_use]
    pub fn mark(&self) -> SamplesMark {
        SamplesMark {
            floats: self.floats.len(),
            histograms: self.histograms.len(),
            starts: self.starts.len(),
        }
    }

    /// Appends one.
    pub fn push(&mut self, t: TimestampMs, value: ValueRef<'_>) {
        match value {
            ValueRef::Float(v) => self.floats.push(Sample { t, v }),
            ValueRef::Histogram(h) => {
                self.histograms.push(HistogramSample { t, histogram: h.to_histogram() });
            }
        }
    }

    /// Keeps those at instants for which `wanted` holds.
    pub fn retain(&mut self, wanted: impl Fn(TimestampMs) -> bool) {
        self.floats.retain(|sample| wanted(sample.t));
        retain(&mut self.histograms, |sample| wanted(sample.t));
        self.starts.retain(|start| wanted(start.t));
    }

    /// Brings those behind `mark` into order, each instant once: of several at one instant that one stands that came first, a
    /// float before a histogram.
    pub fn sort_from(&mut self, mark: SamplesMark) {
        let mut more = self.split_off(mark);
        sort(&mut more.floats);
        sort(&mut more.histograms);
        sort(&mut more.starts);
        self.merge(mark, &mut more);
    }

    fn split_off(&mut self, mark: SamplesMark) -> Self {
        Self {
            floats: self.floats.split_off(mark.floats.min(self.floats.len())),
            histograms: self.histograms.split_off(mark.histograms.min(self.histograms.len())),
            starts: self.starts.split_off(mark.starts.min(self.starts.len())),
        }
    }

    /// Merges what stands behind `from` into what stands between `mark` and that, as [`merge`](Self::merge) does. Costs nothing
    /// where floats follow floats.
    pub fn merge_from(&mut self, mark: SamplesMark, from: SamplesMark) {
        let there = self.floats.get(mark.floats..from.floats).unwrap_or_default();
        let more = self.floats.get(from.floats..).unwrap_or_default();
        let follows = there.last().zip(more.first()).is_none_or(|(last, first)| last.t < first.t);
        if follows && self.histograms.len() == mark.histograms {
            return;
        }
        let mut more = self.split_off(from);
        self.merge(mark, &mut more);
    }

    /// Merges `more`, which is left empty, into what stands behind `mark`. Both are sorted lists of one series; of two samples
    /// at one instant the one that is there stands, and of `more`'s the float. Which of two equal ones knew its start is no
    /// matter.
    pub fn merge(&mut self, mark: SamplesMark, more: &mut Self) {
        let there = self.histograms.get(mark.histograms..).unwrap_or_default();
        if !there.is_empty() || !more.histograms.is_empty() {
            // Rare: most series have floats alone, and others histograms alone.
            more.floats.retain(|sample| !has(there, sample.t));
            more.starts.retain(|start| !has(there, start.t));
            let there = self.floats.get(mark.floats..).unwrap_or_default();
            let floats = &more.floats;
            retain(&mut more.histograms, |sample| !has(there, sample.t) && !has(floats, sample.t));
        }
        merge(&mut self.floats, mark.floats, &mut more.floats);
        merge(&mut self.histograms, mark.histograms, &mut more.histograms);
        merge(&mut self.starts, mark.starts, &mut more.starts);
    }

    /// All samples of one series in the order of time.
    pub fn iter(&self) -> impl Iterator<Item = (TimestampMs, ValueRef<'_>)> {
        self.as_ref().iter()
    }
}

/// Something at an instant.
trait At {
    fn t(&self) -> TimestampMs;

    /// Does it go on from the one before, so that it does not matter to those behind whether it is there?
    fn goes_on(&self) -> bool {
        true
    }

    /// Something else stands before it now.
    fn follow_another(&mut self) {}
}

impl At for Sample {
    fn t(&self) -> TimestampMs {
        self.t
    }
}

impl At for SampleStart {
    fn t(&self) -> TimestampMs {
        self.t
    }
}

impl At for HistogramSample {
    fn t(&self) -> TimestampMs {
        self.t
    }

    fn goes_on(&self) -> bool {
        self.histogram.as_ref().reset_hint() == ResetHint::NotReset
    }

    fn follow_another(&mut self) {
        self.histogram.forget_reset();
    }
}

fn has(sorted: &[impl At], t: TimestampMs) -> bool {
    sorted.binary_search_by_key(&t, At::t).is_ok()
}

fn retain<S: At>(samples: &mut Vec<S>, wanted: impl Fn(&S) -> bool) {
    let mut has_gone = false;
    samples.retain_mut(|sample| {
        if !wanted(sample) {
            has_gone |= !sample.goes_on();
            return false;
        }
        if std::mem::take(&mut has_gone) {
            sample.follow_another();
        }
        true
    });
}

fn sort<S: At>(samples: &mut Vec<S>) {
    if samples.is_sorted_by(|one, other| one.t() < other.t()) {
        return;
    }
    samples.sort_by_key(At::t); // stable, and quick for sorted runs
    samples.dedup_by_key(|sample| sample.t());
    samples.iter_mut().for_each(At::follow_another);
}

fn merge<S: At>(samples: &mut Vec<S>, start: usize, more: &mut Vec<S>) {
    let is_behind = |first: &S| {
        samples.len() == start || samples.last().is_none_or(|last| last.t() < first.t())
    };
    if more.first().is_none_or(is_behind) {
        if samples.len() > start
            && let Some(first) = more.first_mut()
        {
            first.follow_another();
        }
        samples.append(more);
        return;
    }
    let first = more.first().map_or(TimestampMs::MAX, At::t);
    let there = samples.get(start..).unwrap_or_default();
    let kept = start + there.partition_point(|sample| sample.t() < first);
    let rest = samples.split_off(kept);
    let (mut left, mut right) = (rest.into_iter().peekable(), more.drain(..).peekable());
    let mut from_left = true;
    loop {
        let takes_left = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) if a.t() == b.t() => {
                right.next();
                true
            }
            (Some(a), Some(b)) => a.t() < b.t(),
            _ => break,
        };
        let next = if takes_left { left.next() } else { right.next() };
        samples.extend(next.map(|sample| behind(sample, takes_left == from_left)));
        from_left = takes_left;
    }
    // One of them is at its end.
    let next = left.next().map(|sample| behind(sample, from_left));
    samples.extend(next);
    samples.extend(left);
    let next = right.next().map(|sample| behind(sample, !from_left));
    samples.extend(next);
    samples.extend(right);
}

/// `sample`, which stands behind the one that it stood behind, or behind another.
fn behind<S: At>(mut sample: S, same: bool) -> S {
    if !same {
        sample.follow_another();
    }
    sample
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::HistogramRef;

    /// A float of this value, or a histogram of so many observations.
    type Model = BTreeMap<i64, (bool, u8)>;

    fn push(samples: &mut Samples, t: i64, (is_float, n): (bool, u8)) {
        let histogram = HistogramRef::<u64> { count: u64::from(n), ..HistogramRef::empty() };
        let value = match is_float {
            true => ValueRef::Float(f64::from(n)),
            false => ValueRef::Histogram(AnyHistogramRef::Int(histogram)),
        };
        samples.push(TimestampMs(t), value);
    }

    fn samples(of: &Model) -> Samples {
        let mut samples = Samples::default();
        of.iter().for_each(|(t, value)| push(&mut samples, *t, *value));
        samples
    }

    fn model() -> impl Strategy<Value = Model> {
        proptest::collection::btree_map(0i64..40, (any::<bool>(), 0u8..9), 0..20)
    }

    proptest! {
        #[test]
        fn merging_is_a_map_in_which_the_first_stands(
            before in model(), parts in proptest::collection::vec(model(), 0..5),
        ) {
            let mut out = samples(&before);
            let (mark, mut model) = (out.mark(), Model::new());
            for part in &parts {
                out.merge(mark, &mut samples(part));
                for (t, value) in part {
                    model.entry(*t).or_insert(*value);
                }
            }
            let (before, merged) = (samples(&before), samples(&model));
            prop_assert_eq!(&out.floats, &[&before.floats[..], &merged.floats].concat());
            prop_assert_eq!(&out.histograms, &[&before.histograms[..], &merged.histograms].concat());
        }

        #[test]
        fn sorting_keeps_the_first_of_each_instant_and_floats_before_histograms(
            before in model(), unsorted in proptest::collection::vec((0i64..40, (any::<bool>(), 0u8..9)), 0..40),
        ) {
            let (mut out, mut model) = (samples(&before), Model::new());
            let mark = out.mark();
            unsorted.iter().for_each(|(t, value)| push(&mut out, *t, *value));
            for wanted in [true, false] {
                for (t, value) in unsorted.iter().filter(|(_, value)| value.0 == wanted) {
                    model.entry(*t).or_insert(*value);
                }
            }
            out.sort_from(mark);
            let (before, sorted) = (samples(&before), samples(&model));
            prop_assert_eq!(&out.floats, &[&before.floats[..], &sorted.floats].concat());
            prop_assert_eq!(&out.histograms, &[&before.histograms[..], &sorted.histograms].concat());
        }

        #[test]
        fn who_says_that_nothing_was_reset_stands_behind_whom_it_says_it_of(
            parts in proptest::collection::vec(proptest::collection::btree_set(0i64..40, 0..20), 0..5),
        ) {
            let mut out = Samples::default();
            for (part, times) in (0u64..).zip(&parts) {
                // A part's histograms are counted by its number, and from its second one on they say that nothing was reset.
                let mut more = Samples::default();
                for (t, place) in times.iter().zip(0u32..) {
                    let reset_hint = if place > 0 { ResetHint::NotReset } else { ResetHint::Unknown };
                    let h = HistogramRef::<u64> { count: part, zero_count: part, reset_hint, ..HistogramRef::empty() };
                    more.push(TimestampMs(*t), ValueRef::Histogram(AnyHistogramRef::Int(h)));
                }
                out.merge(SamplesMark::default(), &mut more);
            }
            let said = |sample: &HistogramSample| match sample.histogram.as_ref() {
                AnyHistogramRef::Int(h) => (h.reset_hint == ResetHint::NotReset, h.count),
                AnyHistogramRef::Float(_) => unreachable!("there are none"),
            };
            for pair in out.histograms.windows(2) {
                let ((_, before), (says_so, part)) = (said(&pair[0]), said(&pair[1]));
                prop_assert!(!says_so || before == part, "{:?}", pair);
            }
        }

        #[test]
        fn all_come_in_the_order_of_time(model in model()) {
            let samples = samples(&model);
            let times: Vec<i64> = samples.iter().map(|(t, _)| t.0).collect();
            prop_assert_eq!(times, model.keys().copied().collect::<Vec<_>>());
        }
    }
}
