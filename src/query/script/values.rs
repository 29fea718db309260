//! From the items of a series in a script to its values, one a step.

use std::sync::Arc;

use super::command::ScriptValue;
use crate::query::float_histogram::FloatHistogram;
use crate::query::parser::{HistogramLiteral, HistogramStep, SeriesItem};

/// The values that `items` stand for, `None` for missing ones. The caller has seen to it that they are not too many.
///
/// # Errors
/// A histogram that cannot be added to the one before it.
pub(super) fn values(items: &[SeriesItem]) -> Result<Vec<Option<ScriptValue>>, String> {
    let mut values = Vec::new();
    for item in items {
        match item {
            SeriesItem::Missing { count } => values.extend((0..*count).map(|_| None)),
            SeriesItem::Floats { first, step, repeats } => {
                let mut v = *first;
                for i in 0..=*repeats {
                    // The staleness marker stays what it is to the bit.
                    if i > 0 {
                        v += step;
                    }
                    values.push(Some(ScriptValue::Float(v)));
                }
            }
            SeriesItem::Histograms { first, step, repeats } => {
                histograms(first, step.as_ref(), *repeats, &mut values)?;
            }
        }
    }
    Ok(values)
}

fn histograms(
    first: &HistogramLiteral,
    step: Option<&HistogramStep>,
    repeats: u64,
    values: &mut Vec<Option<ScriptValue>>,
) -> Result<(), String> {
    // With a step, it is the step that says whether hints are to be compared.
    let hints = step.map_or(first, |step| &step.histogram).counter_reset_hint.is_some();
    let mut now = Arc::new(histogram(first));
    let step = step.map(|step| (step.subtract, histogram(&step.histogram)));
    for i in 0..=repeats {
        if let Some((subtract, step)) = step.as_ref().filter(|_| i > 0) {
            if now.schema > step.schema {
                let (from, to) = (step.schema, now.schema);
                return Err(format!(
                    "error combining histograms: cannot merge from schema {from} to {to}"
                ));
            }
            let mut next = FloatHistogram::clone(&now);
            let done = if *subtract { next.sub(step) } else { next.add(step) };
            done.map_err(|error| error.to_string())?;
            now = Arc::new(next);
        }
        values.push(Some(ScriptValue::Histogram { histogram: Arc::clone(&now), hints }));
    }
    Ok(())
}

/// The histogram that a literal spells.
fn histogram(literal: &HistogramLiteral) -> FloatHistogram {
    let side = |offset: i32, counts: &[f64]| {
        (offset..).zip(counts).map(|(index, count)| (index, *count)).collect()
    };
    FloatHistogram {
        reset_hint: literal.counter_reset_hint.unwrap_or_default(),
        zero_threshold: literal.zero_threshold,
        zero_count: literal.zero_count,
        count: literal.count,
        sum: literal.sum,
        positive: side(literal.offset, &literal.buckets),
        negative: side(literal.negative_offset, &literal.negative_buckets),
        custom: literal.custom_values.as_slice().into(),
        ..FloatHistogram::empty(literal.schema)
    }
}
