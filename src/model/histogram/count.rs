//! The two kinds of histogram: of whole observations, and of what arithmetic makes of them.

use super::error::{HistogramError, Observed};
use super::{BucketIndexes, HistogramRef, Span};

/// What a histogram counts observations in: `u64` as a client does, or `f64`.
///
/// The two write their buckets in different ways: an integer histogram each bucket's count less that of the bucket
/// before, a float histogram the count. So it is on the wire, in the log and in chunks. A *running* computation goes from
/// one to the other: [`bucket_count`](Self::bucket_count) and [`written`](Self::written) take the count of the bucket
/// before, zero for the first one. Counts of integer buckets wrap where they leave 64 bits, as upstream's do.
pub trait Count:
    Copy + PartialEq + PartialOrd + Default + std::fmt::Debug + Send + Sync + sealed::Sealed + 'static
{
    /// A bucket, as it is written and as its count.
    type Bucket: Copy
        + PartialEq
        + PartialOrd
        + Default
        + std::fmt::Debug
        + Into<Observed>
        + Send
        + Sync
        + 'static;

    /// The same bits?
    fn same_bits(self, other: Self) -> bool;

    /// The same bits?
    fn same_bucket_bits(one: Self::Bucket, other: Self::Bucket) -> bool;

    /// How many observations a bucket has.
    fn bucket_count(before: Self::Bucket, written: Self::Bucket) -> Self::Bucket;

    /// How a bucket with `count` observations is written.
    fn written(before: Self::Bucket, count: Self::Bucket) -> Self::Bucket;

    /// The observations of both buckets.
    fn together(one: Self::Bucket, other: Self::Bucket) -> Self::Bucket;

    /// The number, if it is less than nothing: no histogram counts so.
    fn if_negative(self) -> Option<f64>;

    /// Checks the count of all observations against what the buckets have.
    ///
    /// # Errors
    /// Not that many, or fewer than there are.
    fn check_total(histogram: HistogramRef<'_, Self>) -> Result<(), HistogramError>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u64 {}
    impl Sealed for f64 {}
}

impl Count for u64 {
    type Bucket = i64;

    #[inline]
    fn same_bits(self, other: Self) -> bool {
        self == other
    }

    #[inline]
    fn same_bucket_bits(one: i64, other: i64) -> bool {
        one == other
    }

    #[inline]
    fn bucket_count(before: i64, written: i64) -> i64 {
        before.wrapping_add(written)
    }

    #[inline]
    fn written(before: i64, count: i64) -> i64 {
        count.wrapping_sub(before)
    }

    #[inline]
    fn together(one: i64, other: i64) -> i64 {
        one.wrapping_add(other)
    }

    fn if_negative(self) -> Option<f64> {
        None
    }

    fn check_total(histogram: HistogramRef<'_, Self>) -> Result<(), HistogramError> {
        let sides = [histogram.positive_buckets, histogram.negative_buckets];
        let in_buckets = sides
            .into_iter()
            .flat_map(counts::<Self>)
            .fold(histogram.zero_count, |sum, count| sum.wrapping_add(count.cast_unsigned()));
        let count = histogram.count;
        // An observation of NaN is in no bucket, but in the count; and in the sum.
        if histogram.sum.is_nan() {
            if in_buckets > count {
                return Err(HistogramError::CountTooSmall { in_buckets, count });
            }
        } else if in_buckets != count {
            return Err(HistogramError::CountMismatch { in_buckets, count });
        }
        Ok(())
    }
}

impl Count for f64 {
    type Bucket = f64;

    #[inline]
    fn same_bits(self, other: Self) -> bool {
        self.to_bits() == other.to_bits()
    }

    #[inline]
    fn same_bucket_bits(one: f64, other: f64) -> bool {
        one.to_bits() == other.to_bits()
    }

    #[inline]
    fn bucket_count(_before: f64, written: f64) -> f64 {
        written
    }

    #[inline]
    fn written(_before: f64, count: f64) -> f64 {
        count
    }

    #[inline]
    fn together(one: f64, other: f64) -> f64 {
        one + other
    }

    fn if_negative(self) -> Option<f64> {
        (self < 0.0).then_some(self)
    }

    /// Arithmetic may have left a sum of the buckets that is a little off.
    fn check_total(_histogram: HistogramRef<'_, Self>) -> Result<(), HistogramError> {
        Ok(())
    }
}

/// The counts of buckets.
pub fn counts<C: Count>(buckets: &[C::Bucket]) -> impl Iterator<Item = C::Bucket> {
    buckets.iter().scan(C::Bucket::default(), |before, written| {
        *before = C::bucket_count(*before, *written);
        Some(*before)
    })
}

/// The buckets of one side that have observations: index and count.
pub fn populated<'a, C: Count>(
    spans: &'a [Span],
    buckets: &'a [C::Bucket],
) -> impl Iterator<Item = (i64, C::Bucket)> + 'a {
    let empty = C::Bucket::default();
    BucketIndexes::new(spans).zip(counts::<C>(buckets)).filter(move |(_, count)| *count != empty)
}
