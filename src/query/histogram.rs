//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction` over classic histograms, which are series that count
//! the observations up to the bound in their label `le`, and over native ones.

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
use super::series_set::{Same, let_go};
use super::value::{ABSENT, Column, HistogramColumn, Series, is_absent, present};
use crate::model::Labels;
use crate::model::labels::METRIC_NAME;

/// The label that holds a bucket's upper bound.
const BOUND: &str = "le";

/// The buckets of one histogram.
struct Histogram {
    /// The labels that its buckets share.
    labels: Labels,
    buckets: Vec<(f64, Column)>,
    /// The steps at which a native histogram has the same labels, in order: there both count for nothing.
    disputed: Vec<usize>,
}

/// What is there to compute with.
struct Histograms {
    classic: Vec<Histogram>,
    native: Vec<(Labels, HistogramColumn)>,
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

impl Compute<'_> {
    /// The labels of what is computed of a histogram with these.
    fn labels(&self, labels: &Labels) -> Labels {
        match self {
            Self::Labelled { q, label, .. } => {
                labels.to_builder().set(*label, format_open_metrics(*q)).build()
            }
            _ => labels.clone(),
        }
    }
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
    let series = evaluation.vector(call.input).await?;
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
        for (labels, points) in &histograms.native {
            evaluation.meter.spend(LABELS_POINTS).await?;
            let computed = each_native(evaluation, labels, points, &compute, call.input_span);
            out.extend(computed.await?);
        }
        for histogram in &histograms.classic {
            evaluation.meter.spend(LABELS_POINTS).await?;
            let computed = each_step(evaluation, histogram, &compute, grid, call.input_span);
            out.extend(computed.await?);
        }
    }
    let_go(histograms.native, evaluation.meter.pacer()).await?;
    let buckets = histograms.classic.into_iter().flat_map(|histogram| histogram.buckets);
    let_go(buckets, evaluation.meter.pacer()).await?;
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

/// Puts the buckets of each histogram together, in the order in which histograms come up; native ones are for themselves.
async fn gather<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    series: Vec<Series>,
    span: TextRange,
) -> Result<Histograms, QueryError> {
    let mut places: HashMap<Labels, usize, RandomState> = HashMap::default();
    let (mut histograms, mut native): (Vec<Histogram>, Vec<_>) = (Vec::new(), Vec::new());
    for Series { labels, column, histograms: points, .. } in series {
        evaluation.meter.spend(LABELS_POINTS * 2).await?;
        if !points.is_empty() {
            native.push((labels.clone(), points));
        }
        if column.is_empty() {
            continue;
        }
        let le = labels.get(BOUND).unwrap_or_default();
        let Some(bound) = parse_bound(le) else {
            let metric = if evaluation.delayed { labels.get(METRIC_NAME) } else { None };
            let note = Note::BadBucketLabel(metric.unwrap_or_default().to_owned(), le.to_owned());
            evaluation.annotations.add(note, span);
            continue;
        };
        let shared = labels.without(&[BOUND]);
        let place = *places.entry(shared.clone()).or_insert_with(|| {
            let (buckets, disputed) = (Vec::new(), Vec::new());
            histograms.push(Histogram { labels: shared, buckets, disputed });
            histograms.len() - 1
        });
        if let Some(histogram) = histograms.get_mut(place) {
            histogram.buckets.push((bound, column));
        }
    }
    for (labels, points) in &mut native {
        let classic = places.get(labels).and_then(|place| histograms.get_mut(*place));
        let Some(classic) = classic else {
            continue;
        };
        evaluation.meter.spend(points.points().len() * (1 + classic.buckets.len())).await?;
        let has = |step| classic.buckets.iter().any(|(_, column)| !is_absent(column.at(step)));
        let steps = points.points().iter().map(|(step, _)| *step);
        let disputed: Vec<usize> = steps.filter(|step| has(*step)).collect();
        if !disputed.is_empty() {
            let metric = if evaluation.delayed { labels.get(METRIC_NAME) } else { None };
            let note = Note::MixedClassicNative(metric.unwrap_or_default().to_owned());
            evaluation.annotations.add(note, span);
            points.retain(|step| disputed.binary_search(&step).is_err());
            classic.disputed = disputed;
        }
    }
    Ok(Histograms { classic: histograms, native })
}

/// What a native histogram computes to over all steps.
async fn each_native<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    labels: &Labels,
    points: &HistogramColumn,
    compute: &Compute<'_>,
    span: TextRange,
) -> Result<Option<Series>, QueryError> {
    let metric = if evaluation.delayed { labels.get(METRIC_NAME) } else { None };
    let metric = || metric.unwrap_or_default().to_owned();
    let mut floats = Vec::with_capacity(points.points().len());
    for (step, h) in points.points() {
        evaluation.meter.spend(h.points()).await?;
        let (v, notes) = match compute {
            Compute::Quantile(q) => h.quantile(q.at(*step)),
            Compute::Labelled { q, at, .. } if at.at(*step).to_bits() != q.to_bits() => continue,
            Compute::Labelled { q, .. } => h.quantile(*q),
            Compute::Fraction { lower, upper } => h.fraction(lower.at(*step), upper.at(*step)),
        };
        if notes.nan_result {
            evaluation.annotations.add(Note::QuantileNaN(metric()), span);
        }
        if notes.nan_skew {
            evaluation.annotations.add(Note::QuantileNaNSkew(metric()), span);
        }
        if notes.nan_left_out {
            evaluation.annotations.add(Note::FractionNaN(metric()), span);
        }
        floats.push((*step, present(v)));
    }
    let mut column = Column::default();
    column.put(&floats);
    let labels = compute.labels(labels);
    Ok((!column.is_empty()).then(|| Series::of_floats(labels, false, column)))
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
async fn each_step<P: Pace>(
    evaluation: &mut Evaluation<'_, P>,
    histogram: &Histogram,
    compute: &Compute<'_>,
    grid: Grid,
    span: TextRange,
) -> Result<Option<Series>, QueryError> {
    let mut steps = vec![ABSENT; grid.count];
    let mut buckets = Vec::with_capacity(histogram.buckets.len());
    let mut forced: Option<ForcedMonotonicity> = None;
    for (step, slot) in steps.iter_mut().enumerate() {
        evaluation.meter.spend(histogram.buckets.len() * 4).await?;
        let present = histogram.buckets.iter().map(|(bound, column)| (*bound, column.at(step)));
        let present = present.filter(|(_, count)| !is_absent(*count));
        buckets.clear();
        buckets.extend(present.map(|(bound, count)| Bucket { bound, count }));
        if buckets.is_empty() || histogram.disputed.binary_search(&step).is_ok() {
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
    let labels = compute.labels(&histogram.labels);
    Ok(Column::of(&steps).map(|column| Series::of_floats(labels, false, column)))
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
