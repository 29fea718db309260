//! Range functions on the coordinator: over a subquery's steps, or over samples that a leaf sent as they are.

use std::sync::Arc;

use super::engine::{Evaluation, Value, misfit};
use super::error::QueryError;
use super::float_histogram::FloatHistogram;
use super::fold::SeriesFold;
use super::leaf::{Fold, NameRule};
use super::pace::{LABELS_POINTS, Pace};
use super::plan::RangeCall;
use super::series_set::{Same, merge_same};
use super::value::{Column, HistogramColumn, Series};
use crate::model::histogram::ResetHint;
use crate::model::{Labels, Sample, TimestampMs};

/// Evaluates a range function.
pub(super) async fn evaluate<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    call: &RangeCall,
) -> Result<Vec<Series>, QueryError> {
    let params = call.params.iter().map(|param| evaluation.scalar(*param));
    let params: Vec<_> = params.collect::<Result<_, _>>()?;
    let source = evaluation.take(call.source).await?;
    if call.shape.grid.count == 0 {
        return Ok(Vec::new());
    }
    let fold = Fold::Range(call.function.clone().with_params(&params));
    let samples_max = evaluation.meter.held_max();
    let mut fold = SeriesFold::new(call.shape, &fold, samples_max, call.span)
        .counting_reads(evaluation.counts_reads)
        .looking_at_types(evaluation.looks_at_types);
    let (mut folded, mut floats) = (Vec::new(), Vec::new());
    match (source, call.inner) {
        (Value::Samples(series), None) => {
            for series in series {
                evaluation.meter.spend(LABELS_POINTS + series.held()).await?;
                fold.begin();
                fold.feed_points(&series.samples, series.histograms, evaluation.meter.pacer())
                    .await?;
                folded.extend(end(evaluation, &mut fold, series.labels, false, call.name).await?);
            }
        }
        (Value::Vector(series), Some(inner)) => {
            for Series { labels, drop_name, column, histograms } in series {
                let points = column.len() + histograms.held();
                evaluation.meter.spend(LABELS_POINTS + points).await?;
                fold.begin();
                let sample = |(step, v)| Sample { t: TimestampMs(inner.time(step)), v };
                floats.clear();
                floats.extend(column.points().map(sample));
                let histograms = histograms.points().iter();
                let histograms = histograms.map(|(step, h)| (inner.time(*step), hintless(h)));
                let pacer = evaluation.meter.pacer();
                fold.feed_points(&floats, histograms.collect(), pacer).await?;
                folded.extend(end(evaluation, &mut fold, labels, drop_name, call.name).await?);
            }
        }
        _ => return Err(misfit("the source of a range function")),
    }
    evaluation.own_reads = fold.reads_mut().map(std::mem::take);
    evaluation.annotations.merge(fold.into_annotations());
    if call.name.drops() {
        folded = merge_same(folded, Same::Refuse, &evaluation.meter).await?;
    }
    Ok(folded)
}

/// Ends a series; `None` if it has no value.
async fn end<P: Pace>(
    evaluation: &Evaluation<'_, P>,
    fold: &mut SeriesFold,
    labels: Labels,
    drop_name: bool,
    name: NameRule,
) -> Result<Option<Series>, QueryError> {
    let folded = fold.end(evaluation.meter.pacer()).await?;
    if folded.is_empty() {
        fold.note_metric(labels.as_ref());
        return Ok(None);
    }
    let column = Column::from_step(folded.first, folded.values).unwrap_or_default();
    let histograms = HistogramColumn::of(std::mem::take(folded.histograms));
    fold.note_metric(labels.as_ref());
    let labels = name.left_of(labels);
    let drop_name = drop_name || name == NameRule::Mark;
    Ok(Some(Series { labels, drop_name, column, histograms }))
}

/// The histogram without what it says about a reset before it: between the steps of a subquery there may be samples that
/// are not looked at, and one that follows a reset may be looked at twice.
fn hintless(h: &Arc<FloatHistogram>) -> Arc<FloatHistogram> {
    if !matches!(h.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
        return Arc::clone(h);
    }
    let mut hintless = FloatHistogram::clone(h);
    hintless.reset_hint = ResetHint::Unknown;
    Arc::new(hintless)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_lite::future::block_on;

    use crate::model::TimestampMs;
    use crate::query::error::QueryError;
    use crate::query::memory::Budget;
    use crate::query::pace::{Cancel, Pace, SLICE_POINTS};
    use crate::query::prepare::{EvalRange, Options, prepare};

    /// Counts breaths, and stops after so many.
    struct Counting {
        breaths: Cell<usize>,
        stop_after: usize,
    }

    impl Pace for Counting {
        async fn breathe(&self) {
            self.breaths.set(self.breaths.get() + 1);
        }

        fn cancelled(&self) -> Option<Cancel> {
            (self.breaths.get() >= self.stop_after).then_some(Cancel::Timeout)
        }
    }

    /// One series whose windows of 3,600 points are looked at over 101 steps.
    fn ask(pace: &Counting) -> Result<(), QueryError> {
        let range = EvalRange::range(TimestampMs(7_200_000), TimestampMs(7_300_000), 1000);
        let query = "stddev_over_time(vector(time())[1h:1s])";
        let prepared = prepare(query, range, &Options::default()).unwrap();
        let account = Budget::unlimited().open();
        block_on(crate::query::evaluate(&prepared, Vec::new(), pace, &account)).map(|_| ())
    }

    #[test]
    fn a_single_series_breathes_between_its_windows() {
        let pace = Counting { breaths: Cell::new(0), stop_after: usize::MAX };
        ask(&pace).unwrap();
        let points = 101 * 3600;
        assert!(pace.breaths.get() > points / SLICE_POINTS / 2, "{} breaths", pace.breaths.get());
    }

    #[test]
    fn a_single_series_can_be_stopped() {
        let pace = Counting { breaths: Cell::new(0), stop_after: 5 };
        assert_eq!(ask(&pace), Err(QueryError::Timeout));
        assert_eq!(pace.breaths.get(), 5);
    }
}
