//! Less resolution: neighbouring buckets of an exponential histogram put together.
//!
//! A schema that is smaller by one has buckets twice as wide, and every bound of it is a bound of the finer one: buckets
//! are added, none is split.

use super::count::counts;
use super::error::Fault;
use super::span::{BucketIndexes, Span, SpanBuilder};
use super::{Count, Histogram, HistogramRef, schema};

impl<C: Count> HistogramRef<'_, C> {
    /// The same observations in buckets of `target`, or a copy of the histogram if its own are as wide or it brings its
    /// own bounds. Spans come out plain (see [`super::span`]), unless empty ones said a distance that one cannot.
    ///
    /// # Errors
    /// Spans that are not in order, or not of as many buckets as there are.
    pub fn reduced(self, target: i32) -> Result<Histogram<C>, Fault> {
        if self.schema == schema::CUSTOM_BUCKETS || self.schema <= target {
            return Ok(self.to_histogram());
        }
        // A shift by 63 leaves nothing but the sign, and so does any larger one.
        let shift = self.schema.abs_diff(target).min(63);
        let positive = side::<C>(self.positive_spans, self.positive_buckets, shift)?;
        let negative = side::<C>(self.negative_spans, self.negative_buckets, shift)?;
        let reduced = HistogramRef {
            schema: target,
            positive_spans: &positive.0,
            positive_buckets: &positive.1,
            negative_spans: &negative.0,
            negative_buckets: &negative.1,
            ..self
        };
        Ok(reduced.to_histogram())
    }
}

fn side<C: Count>(
    spans: &[Span],
    buckets: &[C::Bucket],
    shift: u32,
) -> Result<(Vec<Span>, Vec<C::Bucket>), Fault> {
    check(spans, buckets.len())?;
    let mut reduced: Vec<(i64, C::Bucket)> = Vec::new();
    for (index, count) in BucketIndexes::new(spans).zip(counts::<C>(buckets)) {
        // Bucket i ends at bound i: those up to a bound of the coarser schema go into the bucket that ends there.
        let index = ((index - 1) >> shift) + 1;
        match reduced.last_mut() {
            Some((last, together)) if *last == index => *together = C::together(*together, count),
            _ => reduced.push((index, count)),
        }
    }
    let mut builder = SpanBuilder::default();
    let mut before = C::Bucket::default();
    let mut written = Vec::with_capacity(reduced.len());
    for (index, count) in reduced {
        let fits = builder.push_far(index);
        debug_assert!(fits, "only the first index can be negative, and it had 32 bits");
        written.push(C::written(before, count));
        before = count;
    }
    Ok((builder.build(), written))
}

/// Checks that spans follow each other and have as many buckets as there are, in upstream's order and words.
fn check(spans: &[Span], have: usize) -> Result<(), Fault> {
    let there = u64::try_from(have).unwrap_or(u64::MAX);
    let mut needed = 0;
    for (i, span) in spans.iter().enumerate() {
        if i > 0 && span.offset < 0 {
            return Err(Fault::NegativeOffset { number: i + 1, offset: span.offset });
        }
        needed += u64::from(span.length);
        if needed > there {
            return Err(Fault::TooFewBuckets { have });
        }
    }
    if needed == there { Ok(()) } else { Err(Fault::BucketTotal { needed, have }) }
}
