//! Range functions on the coordinator: over a subquery's steps, or over samples that a leaf sent as they are.

use super::engine::{Evaluation, Value, misfit};
use super::error::QueryError;
use super::fold::SeriesFold;
use super::grouping::without_metric;
use super::leaf::{Fold, NameRule};
use super::pace::{LABELS_POINTS, Pace};
use super::plan::RangeCall;
use super::series_set::{Same, merge_same};
use super::value::{Column, RawSeries, Series};
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
            for RawSeries { labels, samples } in series {
                let points = samples.len() + call.shape.grid.count;
                evaluation.meter.spend(LABELS_POINTS + points).await?;
                fold.begin();
                fold.feed(samples)?;
                folded.extend(end(&mut fold, labels, false, call.name)?);
            }
        }
        (Value::Vector(series), Some(inner)) => {
            for Series { labels, drop_name, column } in series {
                let points = column.len() + call.shape.grid.count;
                evaluation.meter.spend(LABELS_POINTS + points).await?;
                fold.begin();
                let sample = |(step, v)| Sample { t: TimestampMs(inner.time(step)), v };
                fold.feed(column.points().map(sample))?;
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
    let (first, values) = fold.end()?;
    let Some(column) = Column::from_step(first, values) else {
        return Ok(None);
    };
    fold.note_metric(labels.get(METRIC_NAME).unwrap_or_default());
    let labels = if name == NameRule::Drop { without_metric(labels.as_ref()) } else { labels };
    Ok(Some(Series { labels, drop_name: drop_name || name == NameRule::Mark, column }))
}
