//! Classic histograms as native ones with custom buckets, as `load_with_nhcb` stores them beside.
//!
//! Source: `util/convertnhcb` of Prometheus, and how `promql/promqltest` uses it.

use std::collections::BTreeMap;

use super::command::{LoadSeries, ScriptValue};
use crate::model::histogram::schema;
use crate::model::labels::METRIC_NAME;
use crate::model::{Labels, TimestampMs};
use crate::query::float_histogram::FloatHistogram;

/// What the series of one classic histogram say about it at one instant.
#[derive(Debug, Default)]
struct Classic {
    /// Bounds and counts, in order of the bounds; counts are of all observations up to the bound.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The native histograms of the classic ones among `series`, whose samples are `step` milliseconds apart.
pub(super) fn natives(
    series: &[LoadSeries],
    step: i64,
) -> BTreeMap<Labels, BTreeMap<TimestampMs, FloatHistogram>> {
    let mut classics: BTreeMap<Labels, BTreeMap<TimestampMs, Classic>> = BTreeMap::new();
    for LoadSeries { labels, values, .. } in series {
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        let Some((base, part)) = Part::of(name, labels) else {
            continue;
        };
        let base = labels.to_builder().remove("le").set(METRIC_NAME, base).build();
        let instants = classics.entry(base).or_default();
        for (index, value) in values.iter().enumerate() {
            if let Some(ScriptValue::Float(v)) = value {
                let t = TimestampMs(step.saturating_mul(index as i64));
                part.put(instants.entry(t).or_default(), *v);
            }
        }
    }
    let native = |(t, classic): (TimestampMs, Classic)| Some((t, classic.into_native()?));
    classics
        .into_iter()
        .map(|(labels, instants)| (labels, instants.into_iter().filter_map(native).collect()))
        .collect()
}

/// Which part of a classic histogram a series is.
#[derive(Clone, Copy)]
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

impl Part {
    /// The part that a series called `name` is, and the histogram's name.
    fn of<'n>(name: &'n str, labels: &Labels) -> Option<(&'n str, Self)> {
        if let Some(base) = name.strip_suffix("_bucket") {
            let bound: f64 = labels.get("le")?.parse().ok()?;
            return (!bound.is_nan()).then_some((base, Self::Bucket(bound)));
        }
        if let Some(base) = name.strip_suffix("_count") {
            return Some((base, Self::Count));
        }
        Some((name.strip_suffix("_sum")?, Self::Sum))
    }

    fn put(self, classic: &mut Classic, v: f64) {
        match self {
            Self::Bucket(bound) => {
                let at = classic.buckets.partition_point(|(have, _)| *have < bound);
                if classic.buckets.get(at).is_none_or(|(have, _)| *have != bound) {
                    classic.buckets.insert(at, (bound, v));
                }
            }
            Self::Count => classic.count = Some(v),
            Self::Sum => classic.sum = v,
        }
    }
}

impl Classic {
    /// The native histogram; `None` if the counts make none: negative, falling, or not adding up.
    fn into_native(mut self) -> Option<FloatHistogram> {
        let count = self.count.or(self.buckets.last().map(|(_, count)| *count)).unwrap_or(0.0);
        if self.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let is_rising = self.buckets.is_sorted_by(|a, b| a.1 <= b.1);
        let adds_up = self.buckets.last().is_some_and(|(_, last)| *last == count);
        if !is_rising || !adds_up || self.buckets.iter().any(|(_, count)| *count < 0.0) {
            return None;
        }
        let (mut positive, mut below) = (Vec::new(), 0.0);
        for (index, (_, upto)) in (0..).zip(&self.buckets) {
            positive.push((index, upto - below));
            below = *upto;
        }
        let bounds =
            self.buckets.iter().map(|(bound, _)| *bound).filter(|bound| *bound != f64::INFINITY);
        let mut native = FloatHistogram {
            count,
            sum: self.sum,
            positive,
            custom: bounds.collect(),
            ..FloatHistogram::empty(schema::CUSTOM_BUCKETS)
        };
        native.compact();
        Some(native)
    }
}
