//! The layout at the beginning of a histogram chunk.
//!
//! ```text
//! layout     zero threshold │ schema signed │ positive spans │ negative spans │ bounds, if the schema is -53
//! threshold  one byte: 0 is zero, n is 2^(n - 244), 255 is followed by 64 bits
//! spans      count unsigned │ count times: length unsigned, offset signed
//! bounds     count unsigned │ count times: unsigned n is (n - 1) / 1000, but 0 is followed by 64 bits
//! ```
//! `signed` and `unsigned` are `super::varbit`'s. A threshold or bound of negative zero becomes zero, which is the same
//! to everybody. Source: Prometheus, `tsdb/chunkenc/histogram_meta.go`.

use super::Stop;
use crate::encoding::bits::{BitReader, BitWriter};
use crate::encoding::varbit;
use crate::model::histogram::span::{SpanBuilder, bucket_total};
use crate::model::histogram::{BucketIndexes, HistogramError, Layout, Span, schema};

/// The threshold of 64 bits follows.
const THRESHOLD_WHOLE: u64 = 255;
/// A byte n is the power of two whose exponent, as a float has it, is n and this.
const THRESHOLD_EXPONENT: u64 = 779;
/// The largest bound, in thousandths, that is not written whole: one more has 25 bits.
const BOUND_MAX: f64 = 33_554_430.0;

/// Bits that a span takes at least, and a bound.
const SPAN_BITS: u64 = 2;
const BOUND_BITS: u64 = 5;
/// So many empty spans are read as they are, and one for each bucket.
const EMPTY_SPANS_MAX: u64 = 64;

/// Appends `layout`.
pub(super) fn push(bits: &mut BitWriter, layout: &Layout) {
    push_threshold(bits, layout.zero_threshold());
    varbit::push_signed(bits, layout.schema().into());
    for spans in [layout.positive_spans(), layout.negative_spans()] {
        varbit::push_unsigned(bits, spans.len() as u64);
        for span in spans {
            varbit::push_unsigned(bits, span.length.into());
            varbit::push_signed(bits, span.offset.into());
        }
    }
    if layout.schema() == schema::CUSTOM_BUCKETS {
        varbit::push_unsigned(bits, layout.custom_values().len() as u64);
        for bound in layout.custom_values() {
            push_bound(bits, *bound);
        }
    }
}

/// The layout that comes next. Takes no more memory than a small multiple of the bits that describe it.
pub(super) fn read(bits: &mut BitReader<'_>) -> Result<Layout, Stop> {
    let threshold = read_threshold(bits).ok_or(Stop::Cut)?;
    let schema = varbit::signed(bits).ok_or(Stop::Cut)?;
    let schema = i32::try_from(schema).unwrap_or(if schema < 0 { i32::MIN } else { i32::MAX });
    if !schema::is_known(schema) {
        return Err(Stop::Layout(HistogramError::UnknownSchema(schema)));
    }
    let positive = read_spans(bits)?;
    let negative = read_spans(bits)?;
    let mut bounds = Vec::new();
    if schema == schema::CUSTOM_BUCKETS {
        let count = varbit::unsigned(bits).ok_or(Stop::Cut)?;
        bounds.reserve(room(count, BOUND_BITS, bits)?);
        for _ in 0..count {
            bounds.push(read_bound(bits).ok_or(Stop::Cut)?);
        }
    }
    Ok(Layout::new(schema, threshold, &positive, &negative, &bounds))
}

/// For how many elements to make room, if there can be `count` of at least `each` bits.
pub(super) fn room(count: u64, each: u64, bits: &BitReader<'_>) -> Result<usize, Stop> {
    if count > bits.left() / each {
        return Err(Stop::Cut);
    }
    usize::try_from(count).map_err(|_| Stop::Cut)
}

fn read_spans(bits: &mut BitReader<'_>) -> Result<Vec<Span>, Stop> {
    let count = varbit::unsigned(bits).ok_or(Stop::Cut)?;
    let mut spans = Vec::with_capacity(room(count, SPAN_BITS, bits)?);
    for _ in 0..count {
        let length = varbit::unsigned(bits).ok_or(Stop::Cut)?;
        let offset = varbit::signed(bits).ok_or(Stop::Cut)?;
        let (Ok(length), Ok(offset)) = (u32::try_from(length), i32::try_from(offset)) else {
            return Err(Stop::Span { offset, length });
        };
        spans.push(Span { offset, length });
    }
    if spans.len() as u64 > 2 * bucket_total(&spans) + EMPTY_SPANS_MAX {
        return plain(&spans);
    }
    Ok(spans)
}

/// The same buckets without empty spans. Who goes over the spans of every sample would otherwise do so for nothing, and
/// for as long as the writer of hostile bytes likes: a sample takes few bits if there are few buckets.
fn plain(spans: &[Span]) -> Result<Vec<Span>, Stop> {
    let mut builder = SpanBuilder::default();
    for index in BucketIndexes::new(spans) {
        if !builder.push(index) {
            return Err(Stop::Span { offset: index, length: 1 });
        }
    }
    Ok(builder.build())
}

fn push_threshold(bits: &mut BitWriter, threshold: f64) {
    let whole = threshold.to_bits();
    let exponent = (whole >> 52).wrapping_sub(THRESHOLD_EXPONENT);
    if threshold == 0.0 {
        bits.push(0, 8);
    } else if whole.trailing_zeros() >= 52 && (1..THRESHOLD_WHOLE).contains(&exponent) {
        bits.push(exponent, 8);
    } else {
        bits.push(THRESHOLD_WHOLE, 8);
        bits.push(whole, 64);
    }
}

fn read_threshold(bits: &mut BitReader<'_>) -> Option<f64> {
    Some(f64::from_bits(match bits.bits(8)? {
        0 => 0,
        THRESHOLD_WHOLE => bits.bits(64)?,
        n => (n + THRESHOLD_EXPONENT) << 52,
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the largest bound of 25 bits"
)]
fn push_bound(bits: &mut BitWriter, bound: f64) {
    let thousandths = bound * 1000.0;
    let whole = thousandths.round();
    if (0.0..=BOUND_MAX).contains(&thousandths) && whole / 1000.0 == bound {
        varbit::push_unsigned(bits, whole as u64 + 1);
    } else {
        bits.push(0, 1);
        bits.push(bound.to_bits(), 64);
    }
}

#[expect(clippy::cast_precision_loss, reason = "who writes has 25 bits, and upstream reads so")]
fn read_bound(bits: &mut BitReader<'_>) -> Option<f64> {
    Some(match varbit::unsigned(bits)? {
        0 => f64::from_bits(bits.bits(64)?),
        n => (n - 1) as f64 / 1000.0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(layout: &Layout) -> Vec<u8> {
        let (mut bits, mut out) = (BitWriter::default(), Vec::new());
        push(&mut bits, layout);
        bits.write_to(&mut out);
        out
    }

    fn threshold_of(threshold: f64) -> (u64, f64) {
        let (mut bits, mut out) = (BitWriter::default(), Vec::new());
        push_threshold(&mut bits, threshold);
        bits.write_to(&mut out);
        (bits.len_bits(), read_threshold(&mut BitReader::new(&out)).unwrap())
    }

    #[test]
    fn powers_of_two_within_reach_take_one_byte_as_a_threshold() {
        for (threshold, bits) in [
            (0.0, 8),
            (2f64.powi(-243), 8),
            (2f64.powi(-244), 72),
            (2f64.powi(-128), 8),
            (1.0, 8),
            (1024.0, 8),
            (2048.0, 72),
            (0.75, 72),
            (-0.5, 72),
            (f64::INFINITY, 72),
            (f64::from_bits(1), 72),
        ] {
            assert_eq!(threshold_of(threshold), (bits, threshold));
        }
        assert_eq!(threshold_of(f64::NAN).0, 72);
    }

    #[test]
    fn a_schema_that_is_not_known_is_refused() {
        for schema in [-54, -52, -10, 53, i32::MAX] {
            let bytes = written(&Layout::new(schema, 0.0, &[], &[], &[]));
            let stop = read(&mut BitReader::new(&bytes)).unwrap_err();
            assert_eq!(stop, Stop::Layout(HistogramError::UnknownSchema(schema)));
        }
    }

    #[test]
    fn no_room_is_made_for_more_than_the_bits_can_hold() {
        let (mut bits, mut out) = (BitWriter::default(), Vec::new());
        bits.push(0, 9); // threshold and schema
        varbit::push_unsigned(&mut bits, u64::MAX);
        bits.push(0, 64);
        bits.write_to(&mut out);
        assert_eq!(read(&mut BitReader::new(&out)).unwrap_err(), Stop::Cut);
    }

    #[test] // a chunk of a megabyte would have had four million spans, and hours of work in 65,535 short samples
    fn very_many_empty_spans_are_left_out() {
        let mut spans = vec![Span { offset: 1, length: 0 }; 1000];
        spans[500].length = 2;
        let bytes = written(&Layout::new(0, 0.0, &spans, &spans[..64], &[]));
        let layout = read(&mut BitReader::new(&bytes)).unwrap();
        assert_eq!(layout.positive_spans(), [Span { offset: 501, length: 2 }]);
        assert_eq!(layout.negative_spans(), &spans[..64]);
    }

    fn bound() -> impl Strategy<Value = f64> {
        prop_oneof![
            (0u32..40_000_000).prop_map(|n| f64::from(n) / 1000.0),
            (0u32..1000).prop_map(|n| f64::from(n) / 7.0),
            any::<f64>().prop_filter("its sign is lost", |bound| bound.to_bits() != 1 << 63),
        ]
    }

    proptest! {
        #[test]
        fn any_layout_comes_back(
            threshold in bound(),
            spans in prop::collection::vec((any::<i32>(), any::<u32>()), 0..9),
            negative in 0usize..9,
            bounds in prop::collection::vec(bound(), 0..9),
            schema in prop_oneof![-9i32..53, Just(-53)],
        ) {
            let spans: Vec<_> = spans.into_iter().map(|(offset, length)| Span { offset, length }).collect();
            let (negative, positive) = spans.split_at(negative.min(spans.len()));
            let bounds = if schema == schema::CUSTOM_BUCKETS { &bounds[..] } else { &[] };
            let bytes = written(&Layout::new(schema, threshold, positive, negative, bounds));
            let back = read(&mut BitReader::new(&bytes)).unwrap();
            prop_assert_eq!(back.schema(), schema);
            prop_assert_eq!(back.zero_threshold().to_bits(), threshold.to_bits());
            prop_assert_eq!((back.positive_spans(), back.negative_spans()), (positive, negative));
            let bits = |bounds: &[f64]| bounds.iter().map(|bound| bound.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(back.custom_values()), bits(bounds));
        }
    }
}
