//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction` over classic histograms: series that count the
//! observations up to the bound in their label `le`.

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::annotation::{ForcedMonotonicity, Note};
use super::ast::TextRange;
use super::engine::Evaluation;
use super::error::QueryError;
use super::grid::Grid;
use super::leaf::Param;
use super::number::format_open_metrics;
use super::pace::{LABELS_POINTS, Pace};
use super::plan::{VectorCall, VectorFunction};
use super::quantile::{Bucket, Raised, bucket_fraction, bucket_quantile};
use super::series_set::Same;
use super::value::{ABSENT, Column, Series, is_absent};
use crate::model::Labels;
use crate::model::labels::METRIC_NAME;

/// The label that holds a bucket's upper bound.
const BOUND: &str = "le";

/// The buckets of one histogram.
struct Histogram {
    /// The labels that its buckets share.
    labels: Labels,
    buckets: Vec<(f64, Column)>,
}

/// What is computed of each histogram at each step.
enum Compute<'a> {
    Quantile(&'a Param),
    /// The quantile `q` where it is the one that `at` asks for, and the label that then says so.
    Labelled {
        q: f64,
        at: &'a Param,
        label: &'a str,
    },
    Fraction {
        lower: &'a Param,
        upper: &'a Param,
    },
}

/// Evaluates a function of histograms.
pub(super) async fn evaluate<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    call: &VectorCall,
    grid: Grid,
) -> Result<Vec<Series>, QueryError> {
    let (mut quantiles, mut bounds) = (Vec::new(), None);
    let mut label = None;
    match &call.function {
        VectorFunction::HistogramQuantile { q } => quantiles.push((evaluation.scalar(q.0)?, q.1)),
        VectorFunction::HistogramQuantiles { label: name, qs } => {
            label = Some(name.as_str());
            for (q, span) in qs {
                quantiles.push((evaluation.scalar(*q)?, *span));
            }
        }
        VectorFunction::HistogramFraction { lower, upper } => {
            bounds = Some((evaluation.scalar(*lower)?, evaluation.scalar(*upper)?));
        }
        _ => return Err(QueryError::Internal("not a function of histograms".to_owned())),
    }
    for (q, span) in &quantiles {
        note_invalid(evaluation, q, *span, grid);
    }
    let series = evaluation.vector(call.input)?;
    let histograms = gather(evaluation, series, call.input_span).await?;
    let mut out = Vec::new();
    let mut computed = Vec::new();
    for (at, _) in &quantiles {
        match label {
            None => computed.push(Compute::Quantile(at)),
            Some(label) => {
                let each = distinct(at, grid).into_iter();
                computed.extend(each.map(|q| Compute::Labelled { q, at, label }));
            }
        }
    }
    computed.extend(bounds.iter().map(|(lower, upper)| Compute::Fraction { lower, upper }));
    for compute in computed {
        for histogram in &histograms {
            let points = grid.count.saturating_mul(histogram.buckets.len() * 4);
            evaluation.meter.spend(LABELS_POINTS + points).await?;
            out.extend(each_step(evaluation, histogram, &compute, grid, call.input_span));
        }
    }
    let out = evaluation.without_names(out, Same::Merge).await?;
    evaluation.together(out, grid).await
}

/// Notes the quantiles outside of 0 to 1.
fn note_invalid<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    q: &Param,
    span: TextRange,
    grid: Grid,
) {
    for q in distinct(q, grid).into_iter().filter(|q| !(0.0..=1.0).contains(q)) {
        evaluation.annotations.add(Note::InvalidQuantile(q), span);
    }
}

/// Puts the buckets of each histogram together, in the order in which histograms come up.
async fn gather<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    series: Vec<Series>,
    span: TextRange,
) -> Result<Vec<Histogram>, QueryError> {
    let mut places: HashMap<Labels, usize, RandomState> = HashMap::default();
    let mut histograms: Vec<Histogram> = Vec::new();
    for Series { labels, column, .. } in series {
        evaluation.meter.spend(LABELS_POINTS * 2).await?;
        let le = labels.get(BOUND).unwrap_or_default();
        let Some(bound) = parse_bound(le) else {
            let metric = if evaluation.delayed { labels.get(METRIC_NAME) } else { None };
            let note = Note::BadBucketLabel(metric.unwrap_or_default().to_owned(), le.to_owned());
            evaluation.annotations.add(note, span);
            continue;
        };
        let shared = labels.without(&[BOUND]);
        let place = *places.entry(shared.clone()).or_insert_with(|| {
            histograms.push(Histogram { labels: shared, buckets: Vec::new() });
            histograms.len() - 1
        });
        if let Some(histogram) = histograms.get_mut(place) {
            histogram.buckets.push((bound, column));
        }
    }
    Ok(histograms)
}

/// A bound as Go's `strconv.ParseFloat` reads it; none if it would overflow.
fn parse_bound(le: &str) -> Option<f64> {
    let bound: f64 = le.parse().ok()?;
    let letters = le.trim_start_matches(['+', '-']);
    let spelled = letters.starts_with(|c: char| c.is_ascii_alphabetic());
    let signed_nan = bound.is_nan() && letters.len() != le.len();
    let overflows = bound.is_infinite() && !spelled;
    (!signed_nan && !overflows).then_some(bound)
}

/// What a histogram computes to over all steps.
fn each_step<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    histogram: &Histogram,
    compute: &Compute<'_>,
    grid: Grid,
    span: TextRange,
) -> Option<Series> {
    let mut steps = vec![ABSENT; grid.count];
    let mut buckets = Vec::with_capacity(histogram.buckets.len());
    let mut forced: Option<ForcedMonotonicity> = None;
    for (step, slot) in steps.iter_mut().enumerate() {
        let present = histogram.buckets.iter().map(|(bound, column)| (*bound, column.at(step)));
        let present = present.filter(|(_, count)| !is_absent(*count));
        buckets.clear();
        buckets.extend(present.map(|(bound, count)| Bucket { bound, count }));
        if buckets.is_empty() {
            continue;
        }
        *slot = match compute {
            Compute::Fraction { lower, upper } => {
                bucket_fraction(lower.at(step), upper.at(step), &mut buckets)
            }
            Compute::Labelled { q, at, .. } if at.at(step).to_bits() != q.to_bits() => continue,
            Compute::Labelled { q, .. } => {
                quantile_at(*q, &mut buckets, grid.time(step), &mut forced)
            }
            Compute::Quantile(q) => {
                quantile_at(q.at(step), &mut buckets, grid.time(step), &mut forced)
            }
        };
    }
    if let Some(mut forced) = forced {
        let metric = if evaluation.delayed { histogram.labels.get(METRIC_NAME) } else { None };
        forced.metric = metric.unwrap_or_default().to_owned();
        evaluation.annotations.add(Note::ForcedMonotonicity(forced), span);
    }
    let labels = match compute {
        Compute::Labelled { q, label, .. } => {
            histogram.labels.to_builder().set(*label, format_open_metrics(*q)).build()
        }
        _ => histogram.labels.clone(),
    };
    Some(Series { labels, drop_name: false, column: Column::of(&steps)? })
}

/// The quantile at one instant; notes in `forced` what was done to the buckets for it.
fn quantile_at(
    q: f64,
    buckets: &mut Vec<Bucket>,
    t: i64,
    forced: &mut Option<ForcedMonotonicity>,
) -> f64 {
    let (quantile, raised) = bucket_quantile(q, buckets);
    if let Some(Raised { bounds, diff_max }) = raised {
        let metric = String::new();
        let now = ForcedMonotonicity { metric, times: (t, t), bounds, diff_max, count: 1 };
        match forced {
            Some(forced) => forced.merge(&now),
            None => *forced = Some(now),
        }
    }
    quantile
}

/// The values that `q` has over the grid, each once.
fn distinct(q: &Param, grid: Grid) -> Vec<f64> {
    let steps = if matches!(q, Param::Same(_)) { grid.count.min(1) } else { grid.count };
    let mut seen: HashSet<u64, RandomState> = HashSet::default();
    (0..steps).map(|step| q.at(step)).filter(|q| seen.insert(q.to_bits())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_as_go_reads_them() {
        assert_eq!(parse_bound("+Inf"), Some(f64::INFINITY));
        assert_eq!(parse_bound("-infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_bound("0.5"), Some(0.5));
        assert!(parse_bound("NaN").unwrap().is_nan());
        for bad in ["", "x", "1e999", "-NaN", "1 "] {
            assert_eq!(parse_bound(bad), None, "{bad}");
        }
    }
}
