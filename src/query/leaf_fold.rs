//! One shard's work for one leaf: each selected series is read once and folded at once, and what leaves the shard is a
//! column a series, or a cell for each group and step.
//!
//! The order in which series come is the order in which sums are formed: a shard that keeps it gives the same bits again.

use std::cell::Cell;
use std::sync::Arc;

use super::annotation::Annotations;
use super::ast::AggregateOp;
use super::error::QueryError;
use super::float_histogram::FloatHistogram;
use super::fold::{Folded, SeriesFold};
use super::functions::extended;
use super::leaf::{Fold, Leaf, NameRule, Reduce, Shape};
use super::limit_ratio::RatioSampler;
use super::memory::Account;
use super::pace::{Pace, Pacer};
use super::pages::Pages;
use super::partial::Partial;
use super::reads::Reads;
use super::top::{Choice, Top};
use super::value::{Column, HistogramAt, HistogramColumn, RawSeries, Series, present};
use crate::model::labels::METRIC_NAME;
use crate::model::{Fingerprint, Fingerprinter, LabelsRef, Sample, SamplesRef, is_stale_nan};

/// Memory is charged when so many more bytes are held: all cores charge to one account.
const CHARGE_AT_ONCE: usize = 64 << 10;

/// Folds one shard's series for one leaf.
#[derive(Debug)]
pub struct LeafFold {
    leaf: Leaf,
    fold: SeriesFold,
    sink: Sink,
    /// Which series have been aggregated, where that matters.
    identities: Option<Identities>,
    samples_read: u64,
    /// Samples, or cells of their size, that are held beside the fold's own.
    held: usize,
    /// Bytes of labels that are held.
    label_bytes: usize,
    /// Work since the last breath, in points.
    points: Cell<usize>,
    /// What memory is charged to, and how many bytes have been.
    account: Option<Account>,
    charged: usize,
}

/// Where folded series go.
#[derive(Debug)]
enum Sink {
    /// As they are.
    Series(Pages<Series>),
    /// Samples as they are; the last series' stand apart until its labels come.
    Samples(Pages<RawSeries>, Raw),
    /// Into groups.
    Groups(Partial),
    /// Those that may be among the best.
    Top(Top),
    /// A share of them.
    Share(Pages<Series>, RatioSampler),
}

/// The samples of a series whose labels are still to come.
#[derive(Debug, Default)]
struct Raw {
    floats: Vec<Sample>,
    histograms: Vec<HistogramAt>,
    /// How many samples these are; a histogram is as many as it is large.
    held: usize,
}

/// Which series went into an aggregation after losing their metric names, so that two that became the same are found
/// even if they live on two shards.
#[derive(Debug)]
pub(super) struct Identities {
    dropped: &'static [&'static str],
    fingerprinter: Fingerprinter,
    /// Of each series without what it loses.
    pub seen: Vec<Fingerprint>,
    /// Has any series lost more than its name?
    pub typed: bool,
}

/// What one shard answers for one leaf.
#[derive(Debug)]
pub struct LeafPart {
    pub(super) data: PartData,
    /// Of an aggregation whose series have lost their metric names, which they were.
    pub(super) identities: Option<Identities>,
    pub(super) annotations: Annotations,
    pub(super) samples_read: u64,
    /// What each step has looked at, if that is counted.
    pub(super) reads: Option<Reads>,
    /// Bytes that have been charged for it.
    pub(super) charged: usize,
}

/// The folded series of one shard.
#[derive(Debug)]
pub(super) enum PartData {
    /// One column a series.
    Series(Pages<Series>),
    /// The samples as they are.
    Samples(Pages<RawSeries>),
    /// An aggregation in progress.
    Groups(Box<Partial>),
}

impl LeafFold {
    /// A fold for `leaf`, before any series.
    #[must_use]
    pub fn new(leaf: &Leaf) -> Self {
        let samples_max = leaf.samples_max;
        let fold = SeriesFold::new(leaf.shape, &leaf.fold, samples_max, leaf.span)
            .with_maps(leaf.maps.clone())
            .for_stats_only(leaf.stats_only)
            .counting_reads(leaf.counts_reads)
            .looking_at_types(leaf.looks_at_types);
        let merges = leaf.reduce.is_some() && leaf.name.drops();
        let identities = merges.then(|| Identities::of_those_without(leaf.name.dropped()));
        Self {
            leaf: leaf.clone(),
            fold,
            sink: Sink::of(leaf),
            identities,
            samples_read: 0,
            held: 0,
            label_bytes: 0,
            points: Cell::new(0),
            account: None,
            charged: 0,
        }
    }

    /// The same fold, whose memory is charged to `account`.
    #[must_use]
    pub fn charging(self, account: &Account) -> Self {
        Self { account: Some(account.clone()), ..self }
    }

    /// Charges what has come to be held since the last time.
    fn charge(&mut self) -> Result<(), QueryError> {
        let Some(account) = &self.account else {
            return Ok(());
        };
        let held = self.held * size_of::<f64>() + self.label_bytes;
        if held > self.charged + CHARGE_AT_ONCE || held < self.charged {
            account.release(self.charged);
            self.charged = held;
            account.charge(held)?;
        }
        Ok(())
    }

    /// Folds one series of floats: its labels, and its samples in order of time. Samples outside of [`Leaf::range`] do not
    /// matter and may be there or not.
    ///
    /// # Errors
    /// More samples than a query may hold, or data that the function refuses to compute with.
    pub async fn push<P: Pace>(
        &mut self,
        labels: LabelsRef<'_>,
        floats: &[Sample],
        pace: &P,
    ) -> Result<(), QueryError> {
        self.begin();
        self.feed(SamplesRef::of_floats(floats), pace).await?;
        self.end(labels, pace).await
    }

    /// Begins a series whose samples come in several pieces: then [`feed`](Self::feed) each, then [`end`](Self::end).
    /// Between the pieces the caller may do anything else, such as read the next one.
    pub fn begin(&mut self) {
        match &mut self.sink {
            Sink::Samples(_, raw) => *raw = Raw::default(),
            _ => self.fold.begin(),
        }
    }

    /// The series' next samples.
    ///
    /// # Errors
    /// More samples than a query may hold, or an evaluation that should stop.
    pub async fn feed<P: Pace>(
        &mut self,
        mut samples: SamplesRef<'_>,
        pace: &P,
    ) -> Result<(), QueryError> {
        if !self.leaf.wants_starts {
            samples.starts = &[];
        }
        let Sink::Samples(_, raw) = &mut self.sink else {
            return self.fold.feed_any(samples, Pacer::new(pace, &self.points)).await;
        };
        let range = self.leaf.range();
        let (held, samples_max) = (self.held, self.leaf.samples_max);
        let fits = |raw: &Raw| held + raw.held <= samples_max;
        for Sample { t, v } in samples.floats {
            if range.contains(*t) && !is_stale_nan(*v) {
                raw.floats.push(Sample { t: *t, v: present(*v) });
                raw.held += 1;
                if !fits(raw) {
                    return Err(QueryError::TooManySamples);
                }
            }
        }
        let reach = self.leaf.reach_of_samples();
        for sample in samples.histograms {
            if range.contains(sample.t)
                && let Some(reach) = reach
            {
                let name = if reach.is_smoothed() { "smoothed" } else { "anchored" };
                return Err(QueryError::Execution(format!(
                    "{name} modifier is not supported with histograms"
                )));
            }
            if range.contains(sample.t) && !sample.histogram.as_ref().is_stale() {
                let histogram = FloatHistogram::of(sample.histogram.as_ref());
                raw.held += histogram.points();
                raw.histograms.push((sample.t.0, Arc::new(histogram)));
                if !fits(raw) {
                    return Err(QueryError::TooManySamples);
                }
            }
        }
        Ok(())
    }

    /// Ends the series, which has the labels `labels`.
    ///
    /// # Errors
    /// More samples than a query may hold, data that the function refuses to compute with, or an evaluation that should stop.
    pub async fn end<P: Pace>(
        &mut self,
        labels: LabelsRef<'_>,
        pace: &P,
    ) -> Result<(), QueryError> {
        if let Sink::Samples(series, raw) = &mut self.sink {
            let Raw { floats: mut samples, histograms, mut held } = std::mem::take(raw);
            if let Some(reach) = self.leaf.reach_of_samples() {
                let Shape { first_end, length, .. } = self.leaf.shape;
                samples = extended::samples(reach, (first_end, length), &samples);
                held = samples.len();
            }
            if held > 0 {
                self.held += held;
                self.samples_read += held as u64;
                if let Some(reads) = self.fold.reads_mut() {
                    reads.note(0, held, held);
                }
                series.push(RawSeries { labels: labels.to_owned(), samples, histograms });
                self.label_bytes += size_of::<RawSeries>() + labels.as_bytes().len();
            }
            return self.charge();
        }
        let folded = self.fold.end(Pacer::new(pace, &self.points)).await?;
        let (name, drop_name) = (self.leaf.name, self.leaf.name == NameRule::Mark);
        match &mut self.sink {
            _ if folded.is_empty() => {}
            Sink::Series(series) => {
                self.held += folded.held();
                self.label_bytes += size_of::<Series>() + labels.as_bytes().len();
                series.push(series_of(labels, name, folded));
            }
            Sink::Groups(partial) => {
                if let Some(Reduce { grouping, .. }) = &self.leaf.reduce {
                    let run = (folded.first, folded.values);
                    let histograms = folded.histograms;
                    let added = partial.add(grouping, labels, drop_name, run, histograms);
                    self.held += added.points;
                    self.label_bytes += added.bytes;
                }
            }
            Sink::Top(top) => {
                top.push(series_of(labels, name, folded));
                top.sweep_if_due(Pacer::new(pace, &self.points)).await?;
                self.held = top.held();
            }
            Sink::Share(series, sampler) => {
                let offset = sampler.offset(labels, name.dropped());
                if sampler.may_take(offset) {
                    let mut one = series_of(labels, name, folded);
                    sampler.limit(&mut one, offset);
                    if !one.is_empty() {
                        self.label_bytes += size_of::<Series>() + labels.as_bytes().len();
                        self.held += one.column.len() + one.histograms.held();
                        series.push(one);
                    }
                }
            }
            Sink::Samples(..) => {}
        }
        if self.fold.had_values()
            && let Some(identities) = &mut self.identities
        {
            identities.note(labels);
        }
        if self.fold.asks_for_metric() {
            self.fold.note_metric(labels);
        }
        if self.held > self.leaf.samples_max {
            return Err(QueryError::TooManySamples);
        }
        self.charge()
    }

    /// Tells with the answer that some of what the leaf asks for cannot be read: where, and what is wrong with it.
    pub fn note_damage(&mut self, what: String) {
        self.fold.note_damage(what);
    }

    /// What this shard answers. All series have been pushed.
    ///
    /// # Errors
    /// An evaluation that should stop.
    pub async fn finish<P: Pace>(self, pace: &P) -> Result<LeafPart, QueryError> {
        let mut ignored = Annotations::default();
        let data = match self.sink {
            Sink::Series(series) | Sink::Share(series, _) => PartData::Series(series),
            Sink::Samples(series, _) => PartData::Samples(series),
            Sink::Groups(partial) => PartData::Groups(Box::new(partial)),
            Sink::Top(mut top) => {
                ignored = top.take_annotations();
                let best = top.into_series(Pacer::new(pace, &self.points)).await?;
                PartData::Series(best.into_iter().collect())
            }
        };
        let samples_read = self.samples_read + self.fold.samples_read();
        let mut fold = self.fold;
        let reads = fold.reads_mut().map(std::mem::take);
        let (identities, mut annotations) = (self.identities, fold.into_annotations());
        annotations.merge(ignored);
        let charged = self.charged;
        Ok(LeafPart { data, identities, annotations, samples_read, reads, charged })
    }
}

/// The series that a fold's values make.
fn series_of(labels: LabelsRef<'_>, name: NameRule, folded: Folded<'_>) -> Series {
    let column = Column::from_step(folded.first, folded.values).unwrap_or_default();
    let histograms = HistogramColumn::of(std::mem::take(folded.histograms));
    let labels = name.left_of(labels.to_owned());
    Series { labels, drop_name: name == NameRule::Mark, column, histograms }
}

impl Sink {
    fn of(leaf: &Leaf) -> Self {
        if matches!(leaf.fold, Fold::Samples(_)) {
            return Self::Samples(Pages::default(), Raw::default());
        }
        let Some(Reduce { op, k, grouping, span }) = &leaf.reduce else {
            return Self::Series(Pages::default());
        };
        if let Some(partial) = Partial::new(*op, *span) {
            return Self::Groups(partial);
        }
        match Choice::of(*op) {
            Some(choice) => Self::Top(Top::new(choice, k.clone(), grouping.clone(), *span)),
            None if *op == AggregateOp::LimitRatio => {
                Self::Share(Pages::default(), RatioSampler::new(k.clone()))
            }
            None => Self::Series(Pages::default()), // the coordinator aggregates
        }
    }
}

impl Identities {
    fn of_those_without(dropped: &'static [&'static str]) -> Self {
        Self { dropped, fingerprinter: Fingerprinter::new(0), seen: Vec::new(), typed: false }
    }

    fn note(&mut self, labels: LabelsRef<'_>) {
        let (dropped, typed) = (self.dropped, &mut self.typed);
        let kept = |name: &[u8]| {
            let goes = dropped.iter().any(|dropped| dropped.as_bytes() == name);
            *typed |= goes && name != METRIC_NAME.as_bytes();
            !goes
        };
        self.seen.push(self.fingerprinter.of_those(labels, kept));
    }
}

impl LeafPart {
    /// How many samples the shard has read for it.
    #[must_use]
    pub fn samples_read(&self) -> u64 {
        self.samples_read
    }
}
