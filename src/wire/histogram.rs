//! A native histogram of remote write, 1.0 or 2.0: the numbers of all fields that are read are the same in both.
//!
//! ```text
//! Histogram   1 count uint64 │ 2 count double: the last of both counts, and says which kind it is │ 3 sum double │ 4 schema sint32 │
//!             5 zero threshold double │ 6 zero count uint64, 7 double: the last of both counts │ 8 negative spans │
//!             9 negative deltas sint64* │ 10 negative counts double* │ 11 positive spans │ 12 positive deltas │
//!             13 positive counts │ 14 reset hint │ 15 timestamp int64 │ 16 custom bounds double*
//! BucketSpan  1 offset sint32 │ 2 length uint32
//! ```
//! 2.0's 17, a start timestamp, has no room yet. Source: Prometheus, `prompb/types.proto`,
//! `prompb/io/prometheus/write/v2/types.proto`; which kind it is: `IsFloatHistogram`, `prompb/codec.go`.

use std::ops::Range;

use super::WireError;
use super::fields::{Field, Fields, Value};
use super::write_v1::low_32_bits;
use crate::model::histogram::{Span, schema};
use crate::model::refusal::HISTOGRAM_PARTS_MAX;
use crate::model::{
    AnyHistogramRef, Count, HistogramList, HistogramRef, RefusalReason, ResetHint, TimestampMs,
};

/// The lists of one histogram, to be used again for the next.
#[derive(Default)]
pub(super) struct Lists {
    negative_spans: Vec<Span>,
    positive_spans: Vec<Span>,
    negative_deltas: Vec<i64>,
    positive_deltas: Vec<i64>,
    negative_counts: Vec<f64>,
    positive_counts: Vec<f64>,
    custom_values: Vec<f64>,
    /// How many elements there were, those included that were too many to be kept.
    parts: usize,
}

impl Lists {
    fn clear(&mut self) {
        self.negative_spans.clear();
        self.positive_spans.clear();
        self.negative_deltas.clear();
        self.positive_deltas.clear();
        self.negative_counts.clear();
        self.positive_counts.clear();
        self.custom_values.clear();
        self.parts = 0;
    }
}

/// Keeps an element, unless no histogram may have so many. A byte can encode one, and eight hold it.
fn keep<T>(list: &mut Vec<T>, parts: &mut usize, element: T) {
    *parts += 1;
    if *parts <= HISTOGRAM_PARTS_MAX {
        list.push(element);
    }
}

/// A count as it is sent.
#[derive(Clone, Copy)]
enum Counted {
    Int(u64),
    Float(f64),
}

impl Counted {
    fn int(self) -> u64 {
        match self {
            Self::Int(n) => n,
            Self::Float(_) => 0,
        }
    }

    fn float(self) -> f64 {
        match self {
            Self::Int(_) => 0.0,
            Self::Float(n) => n,
        }
    }
}

/// Reads the histogram at `place` and appends it to `out`, valid, and in no finer a resolution than is stored; or says why it is none
/// that is.
///
/// # Errors
/// Bytes that are not such a message.
pub(super) fn read(
    body: &[u8],
    place: Range<usize>,
    lists: &mut Lists,
    out: &mut HistogramList,
) -> Result<Result<(), RefusalReason>, WireError> {
    const MESSAGE: &str = "Histogram";
    lists.clear();
    let (mut count, mut zero_count) = (Counted::Int(0), Counted::Int(0));
    let (mut t, mut hint) = (TimestampMs(0), ResetHint::Unknown);
    let mut fixed = HistogramRef::<u64>::empty();
    let Lists {
        negative_spans,
        positive_spans,
        negative_deltas,
        positive_deltas,
        negative_counts,
        positive_counts,
        custom_values,
        parts,
    } = lists;
    let mut fields = Fields::new(body, place);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => count = Counted::Int(field.varint(MESSAGE)?),
            2 => count = Counted::Float(field.double(MESSAGE)?),
            3 => fixed.sum = field.double(MESSAGE)?,
            4 => fixed.schema = signed_32_bits(field.varint(MESSAGE)?),
            5 => fixed.zero_threshold = field.double(MESSAGE)?,
            6 => zero_count = Counted::Int(field.varint(MESSAGE)?),
            7 => zero_count = Counted::Float(field.double(MESSAGE)?),
            8 => keep(negative_spans, parts, span(body, field.bytes(MESSAGE)?)?),
            9 => deltas(body, &field, negative_deltas, parts)?,
            10 => doubles(body, &field, negative_counts, parts)?,
            11 => keep(positive_spans, parts, span(body, field.bytes(MESSAGE)?)?),
            12 => deltas(body, &field, positive_deltas, parts)?,
            13 => doubles(body, &field, positive_counts, parts)?,
            14 => {
                let number = low_32_bits(field.varint(MESSAGE)?);
                // Upstream's conversion takes what it does not know for nothing known.
                let known = u8::try_from(number).ok().and_then(ResetHint::of_number);
                hint = known.unwrap_or_default();
            }
            15 => t = TimestampMs(field.varint(MESSAGE)?.cast_signed()),
            16 => doubles(body, &field, custom_values, parts)?,
            _ => {}
        }
    }
    if *parts > HISTOGRAM_PARTS_MAX {
        return Ok(Err(RefusalReason::HistogramTooLarge { parts: *parts }));
    }
    let HistogramRef { sum, schema, zero_threshold, .. } = fixed;
    Ok(match count {
        Counted::Int(count) => {
            let h = HistogramRef::<u64> {
                reset_hint: hint,
                schema,
                zero_threshold,
                count,
                zero_count: zero_count.int(),
                sum,
                positive_spans,
                negative_spans,
                positive_buckets: positive_deltas,
                negative_buckets: negative_deltas,
                custom_values,
            };
            take(h, |h| out.push(t, AnyHistogramRef::Int(h)))
        }
        Counted::Float(count) => {
            let h = HistogramRef::<f64> {
                reset_hint: hint,
                schema,
                zero_threshold,
                count,
                zero_count: zero_count.float(),
                sum,
                positive_spans,
                negative_spans,
                positive_buckets: positive_counts,
                negative_buckets: negative_counts,
                custom_values,
            };
            take(h, |h| out.push(t, AnyHistogramRef::Float(h)))
        }
    })
}

/// Gives a histogram on that is valid, or the staleness marker, of which nothing else means anything.
fn take<C: Count>(
    h: HistogramRef<'_, C>,
    push: impl FnOnce(HistogramRef<'_, C>),
) -> Result<(), RefusalReason> {
    if h.is_stale() {
        push(HistogramRef { reset_hint: h.reset_hint, ..HistogramRef::stale() });
        return Ok(());
    }
    if schema::is_too_fine(h.schema)
        && let Ok(reduced) = h.reduced(schema::MAX)
    {
        let reduced = reduced.as_ref();
        reduced.validate().map_err(RefusalReason::Histogram)?;
        push(reduced);
        return Ok(());
    }
    // One that cannot be reduced has spans that are wrong, which is then what is said.
    let is_too_fine = schema::is_too_fine(h.schema);
    let stored = if is_too_fine { HistogramRef { schema: schema::MAX, ..h } } else { h };
    stored.validate().map_err(RefusalReason::Histogram)?;
    push(stored);
    Ok(())
}

/// A `sint32` takes the low 32 bits of its varint.
#[expect(clippy::cast_possible_truncation, reason = "as protobuf has it")]
fn signed_32_bits(n: u64) -> i32 {
    let n = n as u32;
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

fn signed_64_bits(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

#[expect(clippy::cast_possible_truncation, reason = "protobuf takes the low 32 bits of a uint32")]
fn span(body: &[u8], place: Range<usize>) -> Result<Span, WireError> {
    let mut span = Span::default();
    let mut fields = Fields::new(body, place);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => span.offset = signed_32_bits(field.varint("BucketSpan")?),
            2 => span.length = field.varint("BucketSpan")? as u32,
            _ => {}
        }
    }
    Ok(span)
}

/// Packed into one field, as senders do, or one by one.
fn deltas(
    body: &[u8],
    field: &Field,
    list: &mut Vec<i64>,
    parts: &mut usize,
) -> Result<(), WireError> {
    match &field.value {
        Value::Varint(n) => keep(list, parts, signed_64_bits(*n)),
        Value::Bytes(place) => {
            let mut packed = Fields::new(body, place.clone());
            while let Some(n) = packed.next_packed()? {
                keep(list, parts, signed_64_bits(n));
            }
        }
        _ => return Err(field.unexpected("Histogram", "varints")),
    }
    Ok(())
}

/// Likewise.
fn doubles(
    body: &[u8],
    field: &Field,
    list: &mut Vec<f64>,
    parts: &mut usize,
) -> Result<(), WireError> {
    match &field.value {
        Value::Fixed64(bits) => keep(list, parts, f64::from_bits(*bits)),
        Value::Bytes(place) => {
            let packed = body.get(place.clone()).unwrap_or_default();
            let (numbers, rest) = packed.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(WireError::Cut { offset: place.end - rest.len() });
            }
            for bits in numbers {
                keep(list, parts, f64::from_bits(u64::from_le_bytes(*bits)));
            }
        }
        _ => return Err(field.unexpected("Histogram", "64 bits each")),
    }
    Ok(())
}
