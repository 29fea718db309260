//! Range functions on the coordinator: over a subquery's steps, or over samples that a leaf sent as they are.

use std::sync::Arc;

use super::engine::{Evaluation, Value, misfit};
use super::error::QueryError;
use super::float_histogram::FloatHistogram;
use super::fold::SeriesFold;
use super::grouping::without_metric;
use super::leaf::{Fold, NameRule};
use super::pace::{LABELS_POINTS, Pace};
use super::plan::RangeCall;
use super::series_set::{Same, merge_same};
use super::value::{Column, HistogramColumn, Series};
use crate::model::histogram::ResetHint;
use crate::model::labels::METRIC_NAME;
use crate::model::{Labels, Sample, TimestampMs};

/// Evaluates a range function.
pub(super) async fn evaluate<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    call: &RangeCall,
) -> Result<Vec<Series>, QueryError> {
    let params = call.params.iter().map(|param| evaluation.scalar(*param));
    let params: Vec<_> = params.collect::<Result<_, _>>()?;
    let source = evaluation.take(call.source)?;
    if call.shape.grid.count == 0 {
        return Ok(Vec::new());
    }
    let fold = Fold::Range(call.function.clone().with_params(&params));
    let samples_max = evaluation.meter.held_max();
    let mut fold = SeriesFold::new(call.shape, &fold, samples_max, call.span);
    let mut folded = Vec::new();
    match (source, call.inner) {
        (Value::Samples(series), None) => {
            for series in series {
                let points = series.held() + call.shape.grid.count;
                evaluation.meter.spend(LABELS_POINTS + points).await?;
                fold.begin();
                fold.feed_points(series.samples, series.histograms)?;
                folded.extend(end(&mut fold, series.labels, false, call.name)?);
            }
        }
        (Value::Vector(series), Some(inner)) => {
            for Series { labels, drop_name, column, histograms } in series {
                let points = column.len() + histograms.held() + call.shape.grid.count;
                evaluation.meter.spend(LABELS_POINTS + points).await?;
                fold.begin();
                let sample = |(step, v)| Sample { t: TimestampMs(inner.time(step)), v };
                let histograms = histograms.points().iter();
                let histograms = histograms.map(|(step, h)| (inner.time(*step), hintless(h)));
                fold.feed_points(column.points().map(sample), histograms.collect())?;
                folded.extend(end(&mut fold, labels, drop_name, call.name)?);
            }
        }
        _ => return Err(misfit("the source of a range function")),
    }
    evaluation.annotations.merge(fold.into_annotations());
    if call.name == NameRule::Drop {
        folded = merge_same(folded, Same::Refuse, &evaluation.meter).await?;
    }
    Ok(folded)
}

/// Ends a series; `None` if it has no value.
fn end(
    fold: &mut SeriesFold,
    labels: Labels,
    drop_name: bool,
    name: NameRule,
) -> Result<Option<Series>, QueryError> {
    let folded = fold.end()?;
    if folded.is_empty() {
        fold.note_metric(labels.get(METRIC_NAME).unwrap_or_default());
        return Ok(None);
    }
    let column = Column::from_step(folded.first, folded.values).unwrap_or_default();
    let histograms = HistogramColumn::of(std::mem::take(folded.histograms));
    fold.note_metric(labels.get(METRIC_NAME).unwrap_or_default());
    let labels = if name == NameRule::Drop { without_metric(labels.as_ref()) } else { labels };
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
