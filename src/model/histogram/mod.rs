//! Native histograms: how many observations fell into which buckets, as one value of a series.
//!
//! A bucket of an exponential schema ends at a bound that its index names: above zero bucket i ends at 2^(i / 2^schema),
//! which belongs to it; below zero it is the same with the sign turned. What is no further from zero than the zero
//! threshold is in the zero bucket. A histogram of schema -53 brings the bounds of its buckets itself, has no zero
//! bucket, and a last bucket up to infinity. Only the buckets that the [spans](span) name are there.
//!
//! A histogram is borrowed as [`HistogramRef`], of slices that may lie in a message, a record or a chunk's state; whoever
//! keeps one has a [`Histogram`], which shares its layout with others of its series. [`Count`] says what both count in.
//! Neither promises to be valid: [`HistogramRef::validate`] tells.
//!
//! A staleness marker is a histogram whose sum is the stale NaN; nothing else of it means anything.
//! Source: Prometheus, `model/histogram`.

mod any;
mod count;
pub mod error;
mod layout;
mod list;
mod reduce;
mod reset_hint;
pub mod schema;
pub mod span;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::Arc;

pub use any::{AnyHistogram, AnyHistogramRef};
pub use count::{Count, counts, populated};
pub use error::HistogramError;
pub use layout::Layout;
pub use list::HistogramList;
pub use reset_hint::ResetHint;
pub use span::{BucketIndexes, Span};

use super::{STALE_NAN_BITS, is_stale_nan};

/// A histogram whose parts lie elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct HistogramRef<'a, C: Count> {
    /// What is known about a reset before it.
    pub reset_hint: ResetHint,
    /// How wide its buckets are.
    pub schema: i32,
    /// Up to where the zero bucket reaches, on both sides.
    pub zero_threshold: f64,
    /// How many observations there are.
    pub count: C,
    /// How many of them are in the zero bucket.
    pub zero_count: C,
    /// Their sum, or the staleness marker.
    pub sum: f64,
    /// Which positive buckets there are.
    pub positive_spans: &'a [Span],
    /// Which negative buckets there are.
    pub negative_spans: &'a [Span],
    /// The positive buckets, as they are written.
    pub positive_buckets: &'a [C::Bucket],
    /// The negative buckets, as they are written.
    pub negative_buckets: &'a [C::Bucket],
    /// The upper bounds of custom buckets, but for the last.
    pub custom_values: &'a [f64],
}

impl<'a, C: Count> HistogramRef<'a, C> {
    /// A histogram without any observation.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            reset_hint: ResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            count: C::default(),
            zero_count: C::default(),
            sum: 0.0,
            positive_spans: &[],
            negative_spans: &[],
            positive_buckets: &[],
            negative_buckets: &[],
            custom_values: &[],
        }
    }

    /// The staleness marker.
    #[must_use]
    pub fn stale() -> Self {
        Self { sum: f64::from_bits(STALE_NAN_BITS), ..Self::empty() }
    }

    /// The same but for what it counts in, and how many.
    ///
    /// - `positive_buckets`, `negative_buckets`: as they are written.
    #[must_use]
    pub fn counting<D: Count>(
        self,
        count: D,
        zero_count: D,
        positive_buckets: &'a [D::Bucket],
        negative_buckets: &'a [D::Bucket],
    ) -> HistogramRef<'a, D> {
        HistogramRef {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            count,
            zero_count,
            sum: self.sum,
            positive_spans: self.positive_spans,
            negative_spans: self.negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: self.custom_values,
        }
    }

    /// Is it the staleness marker?
    #[must_use]
    pub fn is_stale(self) -> bool {
        is_stale_nan(self.sum)
    }

    /// Does it bring the bounds of its buckets itself?
    #[must_use]
    pub fn has_custom_buckets(self) -> bool {
        self.schema == schema::CUSTOM_BUCKETS
    }

    /// Is a sample of the one a repetition of a sample of the other? Everything that means something is the same to the
    /// bit: not the hint, nor how spans are written, nor buckets without observations, which a chunk may add.
    #[must_use]
    pub fn is_same_sample(self, other: HistogramRef<'_, C>) -> bool {
        if self.is_stale() || other.is_stale() {
            return self.is_stale() && other.is_stale();
        }
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && self.count.same_bits(other.count)
            && self.zero_count.same_bits(other.zero_count)
            && self.sum.to_bits() == other.sum.to_bits()
            && self.custom_values == other.custom_values
            && same_side::<C>(
                (self.positive_spans, self.positive_buckets),
                (other.positive_spans, other.positive_buckets),
            )
            && same_side::<C>(
                (self.negative_spans, self.negative_buckets),
                (other.negative_spans, other.negative_buckets),
            )
    }

    /// A copy to keep.
    #[must_use]
    pub fn to_histogram(self) -> Histogram<C> {
        self.to_histogram_of(Arc::new(Layout::of(self)))
    }

    /// A copy to keep, which shares its layout with `like` if it has the same.
    #[must_use]
    pub fn to_histogram_like<D: Count>(self, like: &Histogram<D>) -> Histogram<C> {
        if like.layout.is_of(self) {
            self.to_histogram_of(Arc::clone(&like.layout))
        } else {
            self.to_histogram()
        }
    }

    /// A copy to keep, of a layout that it is known to have.
    #[must_use]
    pub fn to_histogram_in(self, layout: &Arc<Layout>) -> Histogram<C> {
        if self.is_stale() {
            return self.to_histogram();
        }
        debug_assert!(layout.is_of(self), "the layout is the histogram's");
        self.to_histogram_of(Arc::clone(layout))
    }

    fn to_histogram_of(self, layout: Arc<Layout>) -> Histogram<C> {
        Histogram {
            layout,
            buckets: [self.positive_buckets, self.negative_buckets].concat().into_boxed_slice(),
            count: self.count,
            zero_count: self.zero_count,
            sum: self.sum,
            reset_hint: self.reset_hint,
        }
    }
}

type Side<'a, C> = (&'a [Span], &'a [<C as Count>::Bucket]);

fn same_side<C: Count>(one: Side<'_, C>, other: Side<'_, C>) -> bool {
    let (mut one, mut other) = (populated::<C>(one.0, one.1), populated::<C>(other.0, other.1));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some((i, a)), Some((j, b))) if i == j && C::same_bucket_bits(a, b) => {}
            _ => return false,
        }
    }
}

/// The same to the bit, in every part and in how it is written.
impl<C: Count> PartialEq for HistogramRef<'_, C> {
    fn eq(&self, other: &Self) -> bool {
        let same = |one: &[C::Bucket], other: &[C::Bucket]| {
            let mut pairs = one.iter().zip(other);
            one.len() == other.len() && pairs.all(|(one, other)| C::same_bucket_bits(*one, *other))
        };
        self.reset_hint == other.reset_hint
            && self.count.same_bits(other.count)
            && self.zero_count.same_bits(other.zero_count)
            && self.sum.to_bits() == other.sum.to_bits()
            && layout::same(*self, *other)
            && same(self.positive_buckets, other.positive_buckets)
            && same(self.negative_buckets, other.negative_buckets)
    }
}

/// A histogram to keep: 56 bytes, its buckets, and a layout that histograms of the same series share.
#[derive(Clone, Debug)]
pub struct Histogram<C: Count> {
    layout: Arc<Layout>,
    /// The positive ones, and then the negative ones, as they are written.
    buckets: Box<[C::Bucket]>,
    count: C,
    zero_count: C,
    sum: f64,
    reset_hint: ResetHint,
}

/// A histogram of whole observations.
pub type IntHistogram = Histogram<u64>;
/// A histogram of what arithmetic makes of observations.
pub type FloatHistogram = Histogram<f64>;

const _: () = assert!(size_of::<Histogram<f64>>() == 56, "a query may hold very many");

impl<C: Count> Histogram<C> {
    /// Its parts.
    #[must_use]
    pub fn as_ref(&self) -> HistogramRef<'_, C> {
        let (positive_buckets, negative_buckets) = self.layout.split(&self.buckets);
        HistogramRef {
            reset_hint: self.reset_hint,
            schema: self.layout.schema(),
            zero_threshold: self.layout.zero_threshold(),
            count: self.count,
            zero_count: self.zero_count,
            sum: self.sum,
            positive_spans: self.layout.positive_spans(),
            negative_spans: self.layout.negative_spans(),
            positive_buckets,
            negative_buckets,
            custom_values: self.layout.custom_values(),
        }
    }

    /// Forgets what is known about a reset before it, for another one has come there; a gauge stays one.
    pub fn forget_reset(&mut self) {
        if self.reset_hint != ResetHint::Gauge {
            self.reset_hint = ResetHint::Unknown;
        }
    }

    /// Bytes of memory that it holds beside its own; a layout may be shared and is not counted.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    /// What it may share with others of its series.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }
}

impl Histogram<u64> {
    /// The same observations as a float histogram, of the same layout.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "upstream computes with float64 as well")]
    pub fn to_float(&self) -> FloatHistogram {
        // Each bucket's difference becomes a float before it is added, as upstream has it: beyond 2^53 that is another
        // number than the count as a float.
        let mut float = Vec::with_capacity(self.buckets.len());
        let (positive, negative) = self.layout.split(&self.buckets);
        for side in [positive, negative] {
            float.extend(side.iter().scan(0.0, |count, delta| {
                *count += *delta as f64;
                Some(*count)
            }));
        }
        Histogram {
            layout: Arc::clone(&self.layout),
            buckets: float.into_boxed_slice(),
            count: self.count as f64,
            zero_count: self.zero_count as f64,
            sum: self.sum,
            reset_hint: self.reset_hint,
        }
    }
}

/// The same to the bit, in every part and in how it is written.
impl<C: Count> PartialEq for Histogram<C> {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}
