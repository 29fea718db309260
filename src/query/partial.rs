//! Aggregations that can be begun anywhere and finished elsewhere: one cell for each group and step, merged cell by cell.
//!
//! Shards fold their own series into cells and send those; the coordinator merges them in order of the shards, so that
//! the same query gives the same bits. It folds series of its own the same way.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Debug;
use std::sync::Arc;

use super::annotation::{Annotations, HistogramOperation, Note};
use super::ast::{AggregateOp, TextRange};
use super::error::QueryError;
use super::float_histogram::{FloatHistogram, HistogramMean, HistogramSum};
use super::grouping::Grouping;
use super::kahan::{Kahan, Mean, two_sum};
use super::key_map::KeyMap;
use super::pace::{LABELS_POINTS, Meter, Pace};
use super::pages::Pages;
use super::step_run::StepRun;
use super::value::{ABSENT, Column, HistogramColumn, HistogramPoint, Series, is_absent};
use crate::model::histogram::ResetHint;
use crate::model::labels::METRIC_NAME;
use crate::model::{Labels, LabelsRef};

/// Cells that are looked at together for anything but numbers.
const BLOCK: usize = 64;

/// What one aggregation knows of one group at one step.
trait Cell: Copy + Debug {
    /// Of no series.
    const EMPTY: Self;
    /// What becomes of native histograms.
    const HISTOGRAMS: OfHistograms = OfHistograms::Ignored;

    /// Takes one series' value in.
    fn add(&mut self, v: f64);

    /// Takes one series' values in, those that are there, each into the cell at its place.
    #[inline(always)]
    fn add_all(cells: &mut [Self], values: &[f64]) {
        add_each(cells, values);
    }

    /// Takes in what another cell of the same group and step knows.
    fn merge(&mut self, other: &Self);

    /// The aggregate, or [`ABSENT`] of no series.
    fn value(&self) -> f64;
}

/// Takes values in one by one.
#[inline(always)]
fn add_each<C: Cell>(cells: &mut [C], values: &[f64]) {
    for (cell, v) in cells.iter_mut().zip(values) {
        if !is_absent(*v) {
            cell.add(*v);
        }
    }
}

/// What an aggregation makes of native histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfHistograms {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// It is enough that they are there.
    Counted,
    /// Nothing, and that is said.
    Ignored,
}

#[derive(Clone, Copy, Debug)]
struct Sum(Kahan);

impl Cell for Sum {
    const EMPTY: Self = Self(Kahan { sum: ABSENT, lost: 0.0 });
    const HISTOGRAMS: OfHistograms = OfHistograms::Sum;

    #[inline(always)]
    fn add(&mut self, v: f64) {
        self.0 = if is_absent(self.0.sum) { Kahan::of(v) } else { self.0.plus(v) };
    }

    /// Where all sums of a block are finite, no value is absent and no cell empty: what they lose is then known without a
    /// branch, the same as [`Kahan::plus`] finds, and several are added at a time.
    #[inline(always)]
    fn add_all(cells: &mut [Self], values: &[f64]) {
        for (cells, values) in cells.chunks_mut(BLOCK).zip(values.chunks(BLOCK)) {
            let sums = cells.iter().zip(values).map(|(Self(cell), v)| cell.sum + v);
            #[expect(
                clippy::eq_op,
                reason = "NaN of what is infinite or NaN, and zero of all else"
            )]
            let any_odd = sums.fold(0, |any, sum| any | (sum - sum).to_bits());
            if any_odd != 0 {
                add_each(cells, values);
                continue;
            }
            for (Self(cell), v) in cells.iter_mut().zip(values) {
                let (sum, lost) = two_sum(cell.sum, *v);
                *cell = Kahan { sum, lost: cell.lost + lost };
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        if is_absent(self.0.sum) {
            *self = *other;
        } else if !is_absent(other.0.sum) {
            self.0 = self.0.plus_sum(other.0);
        }
    }

    fn value(&self) -> f64 {
        if is_absent(self.0.sum) { ABSENT } else { self.0.total() }
    }
}

impl Cell for Mean {
    const EMPTY: Self = Self::EMPTY;
    const HISTOGRAMS: OfHistograms = OfHistograms::Mean;

    #[inline(always)]
    fn add(&mut self, v: f64) {
        Self::add(self, v);
    }

    fn merge(&mut self, other: &Self) {
        Self::merge(self, other);
    }

    fn value(&self) -> f64 {
        if self.is_empty() { ABSENT } else { self.total() }
    }
}

#[derive(Clone, Copy, Debug)]
struct Count(f64);

impl Cell for Count {
    const EMPTY: Self = Self(0.0);
    const HISTOGRAMS: OfHistograms = OfHistograms::Counted;

    #[inline(always)]
    fn add(&mut self, _: f64) {
        self.0 += 1.0;
    }

    #[inline(always)]
    fn add_all(cells: &mut [Self], values: &[f64]) {
        for (cell, v) in cells.iter_mut().zip(values) {
            cell.0 += if is_absent(*v) { 0.0 } else { 1.0 };
        }
    }

    fn merge(&mut self, other: &Self) {
        self.0 += other.0;
    }

    fn value(&self) -> f64 {
        if self.0 == 0.0 { ABSENT } else { self.0 }
    }
}

/// The smallest value, or the largest; NaN only if nothing else is there. [`ABSENT`] is a NaN, so anything replaces it.
#[derive(Clone, Copy, Debug)]
struct Extreme<const LARGEST: bool>(f64);

impl<const LARGEST: bool> Cell for Extreme<LARGEST> {
    const EMPTY: Self = Self(ABSENT);

    #[inline(always)]
    fn add(&mut self, v: f64) {
        let beats = if LARGEST { self.0 < v } else { self.0 > v };
        if beats || self.0.is_nan() {
            self.0 = v;
        }
    }

    fn merge(&mut self, other: &Self) {
        if !is_absent(other.0) {
            self.add(other.0);
        }
    }

    fn value(&self) -> f64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug)]
struct Present(bool);

impl Cell for Present {
    const EMPTY: Self = Self(false);
    const HISTOGRAMS: OfHistograms = OfHistograms::Counted;

    #[inline(always)]
    fn add(&mut self, _: f64) {
        self.0 = true;
    }

    fn merge(&mut self, other: &Self) {
        self.0 |= other.0;
    }

    fn value(&self) -> f64 {
        if self.0 { 1.0 } else { ABSENT }
    }
}

/// Count, mean, and sum of the squared distances from the mean (Welford; Chan et al. for merging). With `ROOT`, the
/// standard deviation, else the variance; both of the population.
#[derive(Clone, Copy, Debug)]
struct Moments<const ROOT: bool> {
    count: f64,
    mean: f64,
    squares: f64,
}

impl<const ROOT: bool> Cell for Moments<ROOT> {
    const EMPTY: Self = Self { count: 0.0, mean: 0.0, squares: 0.0 };

    #[inline(always)]
    fn add(&mut self, v: f64) {
        if self.count == 0.0 {
            *self =
                Self { count: 1.0, mean: v, squares: if v.is_finite() { 0.0 } else { f64::NAN } };
            return;
        }
        self.count += 1.0;
        let delta = v - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (v - self.mean);
    }

    fn merge(&mut self, other: &Self) {
        if self.count == 0.0 {
            *self = *other;
        } else if other.count != 0.0 {
            let count = self.count + other.count;
            let delta = other.mean - self.mean;
            let mean = self.mean + delta * (other.count / count);
            let between = delta * delta * (self.count * other.count / count);
            *self = Self { count, mean, squares: self.squares + other.squares + between };
        }
    }

    fn value(&self) -> f64 {
        if self.count == 0.0 {
            return ABSENT;
        }
        let variance = self.squares / self.count;
        if ROOT { variance.sqrt() } else { variance }
    }
}

/// The native histograms of one group at one step.
#[derive(Debug)]
struct HistogramCell {
    value: HistogramValue,
    /// Has one come after a reset, one after none?
    resets: (bool, bool),
}

#[derive(Debug)]
enum HistogramValue {
    Sum(Box<HistogramSum>),
    Mean(Box<HistogramMean>),
    /// They do not go together.
    Incompatible,
}

impl HistogramCell {
    fn of(rule: OfHistograms, h: &FloatHistogram) -> Self {
        let value = match rule {
            OfHistograms::Mean => HistogramValue::Mean(Box::new(HistogramMean::new(h.clone()))),
            _ => HistogramValue::Sum(Box::new(HistogramSum::new(h.clone()))),
        };
        let mut cell = Self { value, resets: (false, false) };
        cell.note_resets(h);
        cell
    }

    fn note_resets(&mut self, h: &FloatHistogram) {
        self.resets.0 |= h.reset_hint == ResetHint::Reset;
        self.resets.1 |= h.reset_hint == ResetHint::NotReset;
    }

    /// Takes another histogram in; what is odd about that.
    fn add(&mut self, h: &FloatHistogram) -> Option<Odd> {
        let added = match &mut self.value {
            HistogramValue::Sum(sum) => sum.add(h),
            HistogramValue::Mean(mean) => mean.add(h),
            HistogramValue::Incompatible => return None,
        };
        self.note_resets(h);
        self.after(added.map(|combined| combined.bounds_reconciled).ok())
    }

    /// Takes in what another cell of the same group and step knows.
    fn merge(&mut self, other: Self) -> Option<Odd> {
        let added = match (&mut self.value, &other.value) {
            (HistogramValue::Sum(sum), HistogramValue::Sum(other)) => sum.merge(other),
            (HistogramValue::Mean(mean), HistogramValue::Mean(other)) => mean.merge(other),
            _ => {
                self.value = HistogramValue::Incompatible;
                return None; // who found that out has told
            }
        };
        self.resets.0 |= other.resets.0;
        self.resets.1 |= other.resets.1;
        self.after(added.map(|combined| combined.bounds_reconciled).ok())
    }

    /// After putting histograms together, if they went together: whether custom bounds were reconciled for it.
    fn after(&mut self, reconciled: Option<bool>) -> Option<Odd> {
        match reconciled {
            Some(reconciled) => reconciled.then_some(Odd::MismatchedBuckets),
            None => {
                self.value = HistogramValue::Incompatible;
                Some(Odd::MixedBuckets)
            }
        }
    }
}

/// What is odd about histograms that are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Odd {
    MixedBuckets,
    MismatchedBuckets,
}

impl Odd {
    fn note(self, metric: &str) -> Note {
        match self {
            Self::MixedBuckets => Note::MixedExponentialCustom(metric.to_owned()),
            Self::MismatchedBuckets => Note::MismatchedBuckets(HistogramOperation::Aggregation),
        }
    }
}

/// The groups of one aggregation, each with its cells from the first step that has any to the last.
#[derive(Debug)]
struct Groups<C> {
    /// Where each group is, by its key.
    by_key: KeyMap,
    groups: Pages<Group<C>>,
    key: Vec<u8>,
    /// What is said of histograms, as queries spell the aggregation and where it stands.
    name: &'static str,
    span: TextRange,
    annotations: Annotations,
}

#[derive(Debug)]
struct Group<C> {
    labels: Labels,
    drop_name: bool,
    run: StepRun<C>,
    /// The cells of histograms at the steps that have any; most groups have none.
    histograms: BTreeMap<usize, HistogramCell>,
    /// The name of a metric whose histograms are in it, for notes.
    metric: String,
}

impl<C: Cell> Group<C> {
    /// What it is; nothing is left in its place.
    fn take(&mut self) -> Self {
        let nothing = Self {
            labels: Labels::empty(),
            drop_name: false,
            run: StepRun::new(),
            histograms: BTreeMap::new(),
            metric: String::new(),
        };
        std::mem::replace(self, nothing)
    }
}

/// What is held more after a series was taken in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Added {
    /// Samples.
    pub points: usize,
    /// Bytes of a group that has come up.
    pub bytes: usize,
}

impl<C: Cell> Groups<C> {
    fn new(op: AggregateOp, span: TextRange) -> Self {
        Self {
            by_key: KeyMap::default(),
            groups: Pages::default(),
            key: Vec::new(),
            name: op.name(),
            span,
            annotations: Annotations::default(),
        }
    }

    /// The group of a series, made if there is none yet.
    fn group(&mut self, grouping: &Grouping, labels: LabelsRef<'_>) -> Option<&mut Group<C>> {
        grouping.write_key(labels, &mut self.key);
        let at = match self.by_key.get(&self.key) {
            Some(at) => at,
            None => {
                self.groups.push(Group {
                    labels: grouping.group_labels(labels),
                    drop_name: false,
                    run: StepRun::new(),
                    histograms: BTreeMap::new(),
                    metric: String::new(),
                });
                self.by_key.insert(&self.key, self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        self.groups.get_mut(at)
    }

    fn add(
        &mut self,
        grouping: &Grouping,
        labels: LabelsRef<'_>,
        drop_name: bool,
        (first, values): (usize, &[f64]),
        histograms: &[HistogramPoint],
    ) -> Added {
        let groups = self.groups.len();
        let Some(group) = self.group(grouping, labels) else {
            return Added::default();
        };
        let before = group.run.cells().len();
        if !values.is_empty() {
            group.drop_name |= drop_name;
            let cells = group.run.grown_to(first, first + values.len(), &C::EMPTY);
            C::add_all(cells, values);
        }
        let mut points = group.run.cells().len() - before;
        let label_bytes = group.labels.as_bytes().len();
        if !histograms.is_empty() {
            points += self.add_histograms(labels, drop_name, histograms);
        }
        let is_new = self.groups.len() > groups;
        let of_new = size_of::<Group<C>>() + label_bytes + self.key.len() + KeyMap::ENTRY_BYTES;
        Added { points, bytes: if is_new { of_new } else { 0 } }
    }

    /// Takes the histograms of a series into the group whose key was written last.
    fn add_histograms(
        &mut self,
        labels: LabelsRef<'_>,
        drop_name: bool,
        histograms: &[HistogramPoint],
    ) -> usize {
        if C::HISTOGRAMS == OfHistograms::Ignored {
            self.annotations.add(Note::IgnoredInAggregation(self.name), self.span);
            return 0;
        }
        let group = self.by_key.get(&self.key).and_then(|at| self.groups.get_mut(at));
        let Some(group) = group else {
            return 0;
        };
        group.drop_name |= drop_name;
        let metric = labels.get(METRIC_NAME).unwrap_or_default();
        let mut held = 0;
        for (step, h) in histograms {
            if C::HISTOGRAMS == OfHistograms::Counted {
                let before = group.run.cells().len();
                let cells = group.run.grown_to(*step, *step + 1, &C::EMPTY);
                cells.iter_mut().for_each(|cell| cell.add(0.0));
                held += group.run.cells().len() - before;
                continue;
            }
            let odd = match group.histograms.entry(*step) {
                Entry::Occupied(mut cell) => cell.get_mut().add(h),
                Entry::Vacant(place) => {
                    place.insert(HistogramCell::of(C::HISTOGRAMS, h));
                    held += h.points();
                    None
                }
            };
            if group.metric.is_empty() && !metric.is_empty() {
                metric.clone_into(&mut group.metric);
            }
            if let Some(odd) = odd {
                self.annotations.add(odd.note(metric), self.span);
            }
        }
        held
    }

    async fn merge<P: Pace>(
        &mut self,
        other: Self,
        meter: &Meter<'_, P>,
    ) -> Result<(), QueryError> {
        self.annotations.merge(other.annotations);
        let mut theirs = other.groups;
        for (key, at) in other.by_key.iter() {
            let Some(group) = theirs.get_mut(at).map(Group::take) else {
                continue;
            };
            meter.spend(LABELS_POINTS + group.run.cells().len()).await?;
            match self.by_key.get(key).and_then(|at| self.groups.get_mut(at)) {
                Some(mine) => {
                    mine.drop_name |= group.drop_name;
                    let (first, theirs) = (group.run.first(), group.run.cells());
                    if !theirs.is_empty() {
                        let cells = mine.run.grown_to(first, first + theirs.len(), &C::EMPTY);
                        for (cell, their) in cells.iter_mut().zip(theirs) {
                            cell.merge(their);
                        }
                    }
                    for (step, cell) in group.histograms {
                        meter.spend(LABELS_POINTS).await?;
                        let odd = match mine.histograms.entry(step) {
                            Entry::Occupied(mut mine) => mine.get_mut().merge(cell),
                            Entry::Vacant(place) => {
                                place.insert(cell);
                                None
                            }
                        };
                        if let Some(odd) = odd {
                            self.annotations.add(odd.note(&group.metric), self.span);
                        }
                    }
                }
                None => {
                    self.by_key.insert(key, self.groups.len());
                    self.groups.push(group);
                }
            }
        }
        Ok(())
    }

    async fn into_series<P: Pace>(
        self,
        meter: &Meter<'_, P>,
        annotations: &mut Annotations,
    ) -> Result<Vec<Series>, QueryError> {
        let span = self.span;
        annotations.merge(self.annotations);
        let (mut series, mut values) = (Vec::with_capacity(self.groups.len()), Vec::new());
        for Group { labels, drop_name, run, histograms, .. } in self.groups {
            meter.spend(LABELS_POINTS + run.cells().len()).await?;
            values.clear();
            values.extend(run.cells().iter().map(Cell::value));
            let mut points = Vec::new();
            for (step, cell) in histograms {
                meter.spend(LABELS_POINTS).await?;
                let float = step.checked_sub(run.first()).and_then(|at| values.get_mut(at));
                if let Some(v) = float
                    && !is_absent(*v)
                {
                    *v = ABSENT;
                    annotations.add(Note::MixedInAggregation, span);
                    continue;
                }
                let mut total = match cell.value {
                    HistogramValue::Sum(sum) => sum.total(),
                    HistogramValue::Mean(mean) => mean.total(),
                    HistogramValue::Incompatible => continue,
                };
                total.compact();
                if cell.resets == (true, true) {
                    annotations.add(Note::ResetCollision(HistogramOperation::Aggregation), span);
                }
                points.push((step, Arc::new(total)));
            }
            let column = Column::from_step(run.first(), &values).unwrap_or_default();
            let one = Series { labels, drop_name, column, histograms: HistogramColumn::of(points) };
            if !one.is_empty() {
                series.push(one);
            }
        }
        Ok(series)
    }
}

/// One aggregation's cells.
#[derive(Debug)]
enum Cells {
    Sum(Groups<Sum>),
    Avg(Groups<Mean>),
    Count(Groups<Count>),
    Min(Groups<Extreme<false>>),
    Max(Groups<Extreme<true>>),
    Group(Groups<Present>),
    Stddev(Groups<Moments<true>>),
    Stdvar(Groups<Moments<false>>),
}

/// Runs `$body` with `$groups` bound to whichever cells they are.
macro_rules! with_groups {
    ($cells:expr, $groups:ident => $body:expr) => {
        match $cells {
            Cells::Sum($groups) => $body,
            Cells::Avg($groups) => $body,
            Cells::Count($groups) => $body,
            Cells::Min($groups) => $body,
            Cells::Max($groups) => $body,
            Cells::Group($groups) => $body,
            Cells::Stddev($groups) => $body,
            Cells::Stdvar($groups) => $body,
        }
    };
}

/// An aggregation in progress.
#[derive(Debug)]
pub(super) struct Partial(Cells);

impl Partial {
    /// An aggregation over no series yet, whose notes point to `span`; `None` if `op` cannot be merged from parts.
    pub(super) fn new(op: AggregateOp, span: TextRange) -> Option<Self> {
        Some(Self(match op {
            AggregateOp::Sum => Cells::Sum(Groups::new(op, span)),
            AggregateOp::Avg => Cells::Avg(Groups::new(op, span)),
            AggregateOp::Count => Cells::Count(Groups::new(op, span)),
            AggregateOp::Min => Cells::Min(Groups::new(op, span)),
            AggregateOp::Max => Cells::Max(Groups::new(op, span)),
            AggregateOp::Group => Cells::Group(Groups::new(op, span)),
            AggregateOp::Stddev => Cells::Stddev(Groups::new(op, span)),
            AggregateOp::Stdvar => Cells::Stdvar(Groups::new(op, span)),
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::CountValues
            | AggregateOp::Quantile
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => return None,
        }))
    }

    /// Takes a series in: its first step with a number and the numbers from there on, and its histograms. Returns how much
    /// more is held.
    pub(super) fn add(
        &mut self,
        grouping: &Grouping,
        labels: LabelsRef<'_>,
        drop_name: bool,
        run: (usize, &[f64]),
        histograms: &[HistogramPoint],
    ) -> Added {
        with_groups!(&mut self.0, groups => groups.add(grouping, labels, drop_name, run, histograms))
    }

    /// Takes in what another shard has aggregated.
    ///
    /// # Errors
    /// Another aggregation than this one, or an evaluation that should stop.
    pub(super) async fn merge<P: Pace>(
        &mut self,
        other: Self,
        meter: &Meter<'_, P>,
    ) -> Result<(), QueryError> {
        match (&mut self.0, other.0) {
            (Cells::Sum(mine), Cells::Sum(theirs)) => mine.merge(theirs, meter).await,
            (Cells::Avg(mine), Cells::Avg(theirs)) => mine.merge(theirs, meter).await,
            (Cells::Count(mine), Cells::Count(theirs)) => mine.merge(theirs, meter).await,
            (Cells::Min(mine), Cells::Min(theirs)) => mine.merge(theirs, meter).await,
            (Cells::Max(mine), Cells::Max(theirs)) => mine.merge(theirs, meter).await,
            (Cells::Group(mine), Cells::Group(theirs)) => mine.merge(theirs, meter).await,
            (Cells::Stddev(mine), Cells::Stddev(theirs)) => mine.merge(theirs, meter).await,
            (Cells::Stdvar(mine), Cells::Stdvar(theirs)) => mine.merge(theirs, meter).await,
            _ => Err(QueryError::Internal("parts of two different aggregations".to_owned())),
        }
    }

    /// The groups that have a value at some step, in the order in which they came up. What is to be noted goes to
    /// `annotations`.
    ///
    /// # Errors
    /// An evaluation that should stop.
    pub(super) async fn into_series<P: Pace>(
        self,
        meter: &Meter<'_, P>,
        annotations: &mut Annotations,
    ) -> Result<Vec<Series>, QueryError> {
        with_groups!(self.0, groups => groups.into_series(meter, annotations).await)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = f64> {
        let odd = [ABSENT, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, -0.0];
        prop_oneof![
            40 => -1e9..1e9f64,
            20 => any::<f64>(),
            2 => proptest::sample::select(odd.to_vec()),
        ]
    }

    proptest! {
        #[test]
        fn sums_of_many_have_the_bits_of_sums_one_by_one(
            series in proptest::collection::vec(proptest::collection::vec(any_value(), 130), 1..12),
        ) {
            let (mut all, mut each) = (vec![Sum::EMPTY; 130], vec![Sum::EMPTY; 130]);
            for values in &series {
                Sum::add_all(&mut all, values);
                add_each(&mut each, values);
            }
            for (all, each) in all.iter().zip(&each) {
                prop_assert_eq!(all.value().to_bits(), each.value().to_bits(), "{:?} {:?}", all, each);
            }
        }
    }
}
