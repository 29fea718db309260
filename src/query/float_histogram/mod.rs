//! Native histograms as PromQL computes with them: counts that may be fractions or negative, in buckets by their index.
//!
//! Owns arithmetic, comparison, estimates and text of one histogram, and sums and means of many. How histograms lie in
//! chunks and messages is `model::histogram`'s, and what an operator does with what it gets is the engine's.
//!
//! Spans say nothing to arithmetic: each side is a list of buckets with rising indexes. Buckets without observations are
//! kept until [`Counted::compact`] drops them, because a side with such buckets only is not an empty side to
//! [`FloatHistogram::quantile`]. Takes any numbers, valid or not: nothing here panics, loops without end, or allocates
//! more than its arguments have.
//! Source: Prometheus, `model/histogram/float_histogram.go` and `promql/quantile.go`.

mod amount;
mod bounds;
mod buckets;
mod combine;
mod display;
mod mean;
mod quantile;
mod reset;
mod side;
mod sum;
#[cfg(test)]
mod tests;
mod trim;
mod zero;

use std::sync::Arc;

pub use amount::Amount;
pub use buckets::Bucket;
pub use combine::{Combined, Incompatible};
pub use mean::HistogramMean;
pub use quantile::QuantileNotes;
pub use sum::HistogramSum;

use crate::model::histogram::span::SpanBuilder;
use crate::model::histogram::{
    AnyHistogram, AnyHistogramRef, BucketIndexes, HistogramRef, ResetHint, Span, schema,
};
use crate::model::is_stale_nan;

/// A histogram that counts in `N`.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted<N> {
    /// How wide its buckets are: see [`crate::model::histogram::schema`].
    pub schema: i32,
    /// What is known about a reset before it.
    pub reset_hint: ResetHint,
    /// Up to where the zero bucket reaches, on both sides.
    pub zero_threshold: f64,
    /// The zero bucket's observations.
    pub zero_count: N,
    /// All observations.
    pub count: N,
    /// Their sum, or the staleness marker.
    pub sum: N,
    /// The buckets above zero, or those between custom bounds; indexes rise.
    pub positive: Vec<(i32, N)>,
    /// The buckets below zero; indexes rise, so that the first one is the nearest to zero.
    pub negative: Vec<(i32, N)>,
    /// The upper bounds of custom buckets, but for the last.
    pub custom: Arc<[f64]>,
}

/// The histogram that PromQL's values are.
pub type FloatHistogram = Counted<f64>;

impl<N: Amount> Counted<N> {
    /// A histogram without observations.
    #[must_use]
    pub fn empty(schema: i32) -> Self {
        Self {
            schema,
            reset_hint: ResetHint::Unknown,
            zero_threshold: 0.0,
            zero_count: N::NOTHING,
            count: N::NOTHING,
            sum: N::NOTHING,
            positive: Vec::new(),
            negative: Vec::new(),
            custom: Arc::default(),
        }
    }

    /// Does it bring the bounds of its buckets itself?
    #[must_use]
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == schema::CUSTOM_BUCKETS
    }

    /// Times `factor`, observations and their sum. A negative one makes a gauge of it. Source: `Mul`.
    pub fn scale(&mut self, factor: f64) {
        self.for_each(|n| *n = n.scaled(factor));
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divided by `divisor`; by zero, it loses its buckets. A negative one makes a gauge of it. Source: `Div`.
    pub fn divide(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
        self.for_each(|n| *n = n.divided(divisor));
        if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Turns all signs, and makes a gauge of it.
    pub fn negate(&mut self) {
        self.scale(-1.0);
    }

    /// Puts neighbouring buckets together until they are as wide as those of `schema`; does nothing if they already are,
    /// or if it brings its own bounds.
    pub fn reduce_to(&mut self, schema: i32) {
        if self.has_custom_buckets() || schema == schema::CUSTOM_BUCKETS || self.schema <= schema {
            return;
        }
        let shift = self.schema.abs_diff(schema);
        for side in [&mut self.positive, &mut self.negative] {
            *side = side::reduced(std::mem::take(side).into_iter(), shift).collect();
        }
        self.schema = schema;
    }

    /// Drops the buckets without observations. Source: `Compact(0)`.
    pub fn compact(&mut self) {
        self.positive.retain(|(_, n)| !n.is_nothing());
        self.negative.retain(|(_, n)| !n.is_nothing());
    }

    fn for_each(&mut self, mut change: impl FnMut(&mut N)) {
        change(&mut self.zero_count);
        change(&mut self.count);
        change(&mut self.sum);
        self.positive.iter_mut().chain(&mut self.negative).for_each(|(_, n)| change(n));
    }

    /// The same histogram with each number changed into one of another kind.
    fn map<M>(&self, change: impl Fn(N) -> M) -> Counted<M> {
        let side = |side: &[(i32, N)]| side.iter().map(|(i, n)| (*i, change(*n))).collect();
        Counted {
            schema: self.schema,
            reset_hint: self.reset_hint,
            zero_threshold: self.zero_threshold,
            zero_count: change(self.zero_count),
            count: change(self.count),
            sum: change(self.sum),
            positive: side(&self.positive),
            negative: side(&self.negative),
            custom: Arc::clone(&self.custom),
        }
    }
}

impl FloatHistogram {
    /// The histogram of a sample. One whose resolution is finer than what is stored is reduced, as upstream does when it
    /// reads one; of custom buckets, only what they have is taken.
    #[must_use]
    pub fn of(h: AnyHistogramRef<'_>) -> Self {
        match h {
            AnyHistogramRef::Int(h) => {
                // Each difference becomes a float before it is added, as upstream has it.
                let absolute = |deltas: &[i64]| {
                    let counts = deltas.iter().scan(0.0, |count, delta| {
                        *count += whole(*delta);
                        Some(*count)
                    });
                    counts.collect::<Vec<f64>>()
                };
                let (positive, negative) =
                    (absolute(h.positive_buckets), absolute(h.negative_buckets));
                Self::of_float(h.counting(
                    whole_unsigned(h.count),
                    whole_unsigned(h.zero_count),
                    &positive,
                    &negative,
                ))
            }
            AnyHistogramRef::Float(h) => Self::of_float(h),
        }
    }

    fn of_float(h: HistogramRef<'_, f64>) -> Self {
        let mut histogram = Self {
            reset_hint: h.reset_hint,
            count: h.count,
            sum: h.sum,
            positive: list(h.positive_spans, h.positive_buckets),
            ..Self::empty(h.schema)
        };
        if h.has_custom_buckets() {
            if !h.custom_values.is_empty() {
                histogram.custom = h.custom_values.into();
            }
            return histogram;
        }
        histogram.zero_threshold = h.zero_threshold;
        histogram.zero_count = h.zero_count;
        histogram.negative = list(h.negative_spans, h.negative_buckets);
        if h.schema > schema::MAX {
            histogram.reduce_to(schema::MAX);
        }
        histogram
    }

    /// The same as a float histogram of the model, its spans in the plain way.
    #[must_use]
    pub fn to_any(&self) -> AnyHistogram {
        let spans = |side: &[(i32, f64)]| {
            let mut spans = SpanBuilder::default();
            let written = side.iter().filter(|(index, _)| spans.push_far((*index).into()));
            let counts: Vec<f64> = written.map(|(_, count)| *count).collect();
            (spans.build(), counts)
        };
        let (positive, negative) = (spans(&self.positive), spans(&self.negative));
        let histogram = HistogramRef::<f64> {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            count: self.count,
            zero_count: self.zero_count,
            sum: self.sum,
            positive_spans: &positive.0,
            negative_spans: &negative.0,
            positive_buckets: &positive.1,
            negative_buckets: &negative.1,
            custom_values: &self.custom,
        };
        AnyHistogram::Float(histogram.to_histogram())
    }

    /// Is it the staleness marker?
    #[must_use]
    pub fn is_stale(&self) -> bool {
        is_stale_nan(self.sum)
    }

    /// The same to the bit, but for what is known about a reset: what `==` finds between histograms without empty buckets.
    /// Source: `Equals`.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let bits = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let sides = |a: &[(i32, f64)], b: &[(i32, f64)]| {
            a.len() == b.len() && a.iter().zip(b).all(|((i, a), (j, b))| i == j && bits(*a, *b))
        };
        self.schema == other.schema
            && bits(self.count, other.count)
            && bits(self.sum, other.sum)
            && (!self.has_custom_buckets() || bounds::same(&self.custom, &other.custom))
            && self.zero_threshold == other.zero_threshold
            && bits(self.zero_count, other.zero_count)
            && sides(&self.negative, &other.negative)
            && sides(&self.positive, &other.positive)
    }

    /// The mean of the observations, as `histogram_avg` has it.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum / self.count
    }

    /// As how many samples it counts against the limit of a query: upstream's bytes of it, in 16s. Source: `Size`, and
    /// `HPoint.size` in `promql/value.go`.
    #[must_use]
    pub fn points(&self) -> usize {
        /// What upstream's histogram takes without its lists.
        const FIXED_BYTES: usize = 168;
        let listed = self.positive.len() + self.negative.len() + self.custom.len();
        let spans = side::runs(&self.positive) + side::runs(&self.negative);
        (FIXED_BYTES + 8 * (listed + spans) + 8) / 16
    }
}

/// The buckets of one side. Indexes past the last one that has 32 bits are that one, and indexes that do not rise are the
/// one before: both lie where no bucket of a valid histogram is.
fn list(spans: &[Span], buckets: &[f64]) -> Vec<(i32, f64)> {
    let mut list: Vec<(i32, f64)> = Vec::with_capacity(buckets.len());
    for (index, count) in BucketIndexes::new(spans).zip(buckets) {
        let clamped = index.clamp(i32::MIN.into(), i32::MAX.into());
        let index = i32::try_from(clamped).unwrap_or(i32::MAX);
        match list.last_mut() {
            Some((last, sum)) if index <= *last => *sum += count,
            _ => list.push((index, *count)),
        }
    }
    list
}

#[expect(clippy::cast_precision_loss, reason = "upstream computes with float64 as well")]
fn whole(n: i64) -> f64 {
    n as f64
}

#[expect(clippy::cast_precision_loss, reason = "upstream computes with float64 as well")]
fn whole_unsigned(n: u64) -> f64 {
    n as f64
}
