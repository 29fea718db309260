//! What histograms of one series mostly share: schema, zero threshold, which buckets there are, custom bounds.

use super::span::{Span, bucket_total};
use super::{Count, HistogramRef};

/// The shape of a histogram without its numbers.
#[derive(Clone, Debug)]
pub struct Layout {
    schema: i32,
    zero_threshold: f64,
    /// The positive ones, and then the negative ones.
    spans: Box<[Span]>,
    positive_spans: usize,
    /// How many buckets the positive spans have.
    positive_buckets: usize,
    custom_values: Box<[f64]>,
}

impl Layout {
    /// The layout of `histogram`.
    #[must_use]
    pub fn of<C: Count>(histogram: HistogramRef<'_, C>) -> Self {
        Self::new(
            histogram.schema,
            histogram.zero_threshold,
            histogram.positive_spans,
            histogram.negative_spans,
            histogram.custom_values,
        )
    }

    /// A layout of these parts; the bounds are those of custom buckets.
    #[must_use]
    pub fn new(
        schema: i32,
        zero_threshold: f64,
        positive: &[Span],
        negative: &[Span],
        custom_values: &[f64],
    ) -> Self {
        Self {
            schema,
            zero_threshold,
            spans: [positive, negative].concat().into_boxed_slice(),
            positive_spans: positive.len(),
            positive_buckets: usize::try_from(bucket_total(positive)).unwrap_or(usize::MAX),
            custom_values: custom_values.into(),
        }
    }

    /// How wide the buckets are.
    #[must_use]
    pub fn schema(&self) -> i32 {
        self.schema
    }

    /// Up to where the zero bucket reaches.
    #[must_use]
    pub fn zero_threshold(&self) -> f64 {
        self.zero_threshold
    }

    /// Which positive buckets there are.
    #[must_use]
    pub fn positive_spans(&self) -> &[Span] {
        self.spans.get(..self.positive_spans).unwrap_or_default()
    }

    /// Which negative buckets there are.
    #[must_use]
    pub fn negative_spans(&self) -> &[Span] {
        self.spans.get(self.positive_spans..).unwrap_or_default()
    }

    /// The bounds of custom buckets.
    #[must_use]
    pub fn custom_values(&self) -> &[f64] {
        &self.custom_values
    }

    /// How many buckets there are, on both sides.
    #[must_use]
    pub fn bucket_total(&self) -> u64 {
        bucket_total(&self.spans)
    }

    /// The positive and the negative ones of buckets that lie behind each other.
    #[must_use]
    pub fn split<'a, B>(&self, buckets: &'a [B]) -> (&'a [B], &'a [B]) {
        buckets.split_at_checked(self.positive_buckets).unwrap_or((buckets, &[]))
    }

    /// Is it, to the bit, the layout of `histogram`?
    #[must_use]
    pub fn is_of<C: Count>(&self, histogram: HistogramRef<'_, C>) -> bool {
        same(self.as_empty::<C>(), histogram)
    }

    /// A histogram of this layout whose buckets are missing.
    fn as_empty<C: Count>(&self) -> HistogramRef<'_, C> {
        HistogramRef {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            positive_spans: self.positive_spans(),
            negative_spans: self.negative_spans(),
            custom_values: &self.custom_values,
            ..HistogramRef::empty()
        }
    }
}

/// The same layout to the bit?
pub(super) fn same<C: Count>(one: HistogramRef<'_, C>, other: HistogramRef<'_, C>) -> bool {
    one.schema == other.schema
        && one.zero_threshold.to_bits() == other.zero_threshold.to_bits()
        && one.positive_spans == other.positive_spans
        && one.negative_spans == other.negative_spans
        && bits(one.custom_values).eq(bits(other.custom_values))
}

fn bits(values: &[f64]) -> impl Iterator<Item = u64> {
    values.iter().map(|value| value.to_bits())
}
