//! Is a histogram one? The checks are upstream's, in its order, so that the same message names the same fault.

use super::count::counts;
use super::error::{Fault, HistogramError, Part};
use super::span::{Span, bucket_total};
use super::{Count, HistogramRef, schema};

impl<C: Count> HistogramRef<'_, C> {
    /// Checks that schema, spans, buckets and counts go together. A histogram whose resolution is too fine does not pass:
    /// [reduce](HistogramRef::reduced) it first. Source: `Validate` in Prometheus's `model/histogram`.
    ///
    /// # Errors
    /// The first of what is wrong.
    pub fn validate(self) -> Result<(), HistogramError> {
        let of = |part| move |fault| HistogramError::Part { part, fault };
        if self.schema == schema::CUSTOM_BUCKETS {
            check_bounds(self.custom_values).map_err(of(Part::Custom))?;
            check_custom_spans(self).map_err(of(Part::Custom))?;
            if self.zero_count != C::default() {
                return Err(HistogramError::CustomZeroCount);
            }
            if self.zero_threshold != 0.0 {
                return Err(HistogramError::CustomZeroThreshold);
            }
            if !self.negative_spans.is_empty() {
                return Err(HistogramError::CustomNegativeSpans);
            }
            if !self.negative_buckets.is_empty() {
                return Err(HistogramError::CustomNegativeBuckets);
            }
        } else if schema::is_exponential(self.schema) {
            check_spans(self.positive_spans, self.positive_buckets.len())
                .map_err(of(Part::Positive))?;
            check_spans(self.negative_spans, self.negative_buckets.len())
                .map_err(of(Part::Negative))?;
            check_buckets::<C>(self.negative_buckets).map_err(of(Part::Negative))?;
            if let Some(count) = self.zero_count.if_negative() {
                return Err(HistogramError::NegativeZeroCount(count));
            }
            if !self.custom_values.is_empty() {
                return Err(HistogramError::ExponentialBounds);
            }
        } else {
            return Err(HistogramError::InvalidSchema(self.schema));
        }
        if let Some(count) = self.count.if_negative() {
            return Err(HistogramError::NegativeCount(count));
        }
        check_buckets::<C>(self.positive_buckets).map_err(of(Part::Positive))?;
        C::check_total(self)
    }
}

/// Checks that spans follow each other, and have as many buckets as there are.
fn check_spans(spans: &[Span], have: usize) -> Result<(), Fault> {
    check_offsets(spans.iter().enumerate().skip(1))?;
    check_bucket_total(spans, have)
}

fn check_offsets<'a>(mut spans: impl Iterator<Item = (usize, &'a Span)>) -> Result<(), Fault> {
    match spans.find(|(_, span)| span.offset < 0) {
        Some((i, Span { offset, .. })) => {
            Err(Fault::NegativeOffset { number: i + 1, offset: *offset })
        }
        None => Ok(()),
    }
}

fn check_bucket_total(spans: &[Span], have: usize) -> Result<(), Fault> {
    let needed = bucket_total(spans);
    if usize::try_from(needed) == Ok(have) {
        Ok(())
    } else {
        Err(Fault::BucketTotal { needed, have })
    }
}

fn check_buckets<C: Count>(buckets: &[C::Bucket]) -> Result<(), Fault> {
    let nothing = C::Bucket::default();
    match counts::<C>(buckets).enumerate().find(|(_, count)| *count < nothing) {
        Some((i, count)) => Err(Fault::NegativeBucket { number: i + 1, count: count.into() }),
        None => Ok(()),
    }
}

fn check_bounds(bounds: &[f64]) -> Result<(), Fault> {
    let mut before = None;
    for bound in bounds {
        if bound.is_nan() {
            return Err(Fault::BoundNan);
        }
        if let Some(before) = before.filter(|before| bound <= before) {
            return Err(Fault::BoundOrder { before, bound: *bound });
        }
        before = Some(*bound);
    }
    if before == Some(f64::INFINITY) { Err(Fault::BoundInfinite) } else { Ok(()) }
}

fn check_custom_spans<C: Count>(histogram: HistogramRef<'_, C>) -> Result<(), Fault> {
    let spans = histogram.positive_spans;
    check_offsets(spans.iter().enumerate())?;
    check_bucket_total(spans, histogram.positive_buckets.len())?;
    let bounds = histogram.custom_values.len();
    let left_out: u64 = spans.iter().map(|span| u64::from(span.offset.unsigned_abs())).sum();
    let covered = bucket_total(spans) + left_out;
    // The last bucket goes up to infinity without a bound.
    if u64::try_from(bounds).is_ok_and(|bounds| bounds + 1 < covered) {
        return Err(Fault::TooFewBounds { bounds, covered });
    }
    Ok(())
}
