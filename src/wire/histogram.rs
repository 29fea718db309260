//! A native histogram of remote write, 1.0 or 2.0: the numbers of all fields that are read are the same in both.
//!
//! ```text
//! Histogram   1 count uint64 │ 2 count double: the last of both counts, and says which kind it is │ 3 sum double │ 4 schema sint32 │
//!             5 zero threshold double │ 6 zero count uint64, 7 double: the last of both counts │ 8 negative spans │
//!             9 negative deltas sint64* │ 10 negative counts double* │ 11 positive spans │ 12 positive deltas │
//!             13 positive counts │ 14 reset hint │ 15 timestamp int64 │ 16 custom bounds double*
//! BucketSpan  1 offset sint32 │ 2 length uint32
//! ```
//! 2.0's 17, a start timestamp, is passed over: no chunk that is written has room for it. Source: Prometheus, `prompb/types.proto`,
//! `prompb/io/prometheus/write/v2/types.proto`; which kind it is: `IsFloatHistogram`, `prompb/codec.go`.

use std::ops::Range;

use super::WireError;
use super::batch_writer::{BatchWriter, SAMPLES_MAX, Series, index};
use super::fields::{Field, Fields, Value};
use super::padded::Place;
use super::write_v1::low_32_bits;
use crate::model::histogram::{Span, schema};
use crate::model::refusal::HISTOGRAM_PARTS_MAX;
use crate::model::{
    AnyHistogramRef, Count, Fingerprint, HistogramEntry, HistogramRef, LabelsAt, RefusalReason,
    ResetHint, TimestampMs,
};

/// The histograms of one request take at most this many bytes, and one more. A byte can encode a bucket, and eight hold it; an empty
/// histogram takes two on its way and a hundred here.
const HISTOGRAM_BYTES_MAX: usize = 64 << 20;

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

/// Reads the histogram at `place` and gives it to `push`: valid, and in no finer a resolution than is stored; or says why it is none
/// that is.
///
/// # Errors
/// Bytes that are not such a message.
fn read(
    body: &[u8],
    place: Range<usize>,
    lists: &mut Lists,
    push: impl FnOnce(TimestampMs, AnyHistogramRef<'_>),
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
                // What is not known says nothing.
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
    let plain =
        HistogramRef { reset_hint: hint, positive_spans, negative_spans, custom_values, ..fixed };
    Ok(match count {
        Counted::Int(count) => {
            let h = plain.counting(count, zero_count.int(), positive_deltas, negative_deltas);
            take(h, |h| push(t, AnyHistogramRef::Int(h)))
        }
        Counted::Float(count) => {
            let h = plain.counting(count, zero_count.float(), positive_counts, negative_counts);
            take(h, |h| push(t, AnyHistogramRef::Float(h)))
        }
    })
}

impl<P: Fn(u64) -> usize> BatchWriter<'_, P> {
    /// Counts a histogram of the request, the one at `offset`.
    pub(super) fn count_histogram(&mut self, offset: usize) -> Result<(), WireError> {
        if self.counts.samples + self.counts.histograms >= SAMPLES_MAX as u64 {
            return Err(WireError::TooManySamples { offset, max: SAMPLES_MAX });
        }
        self.counts.histograms += 1;
        Ok(())
    }

    /// Takes the histograms of a series, or refuses those that are none.
    ///
    /// - `taken`: the series; `None`: it is refused, and they are only looked at.
    pub(super) fn put_histograms(
        &mut self,
        body: &[u8],
        series: &Series<'_>,
        taken: Option<(Fingerprint, LabelsAt)>,
    ) -> Result<(), WireError> {
        let mut lists = std::mem::take(&mut self.lists);
        let (mut faulty, mut fault) = (0, None);
        for Place { start, end } in &series.histograms {
            let read = match taken {
                None => {
                    let _ = read(body, *start..*end, &mut lists, |_, _| {})?; // it is refused in any case
                    continue;
                }
                Some((fingerprint, _)) => {
                    let histograms = &mut self.part(fingerprint).histograms;
                    let before = histograms.bytes();
                    let read = read(body, *start..*end, &mut lists, |t, h| histograms.push(t, h))?;
                    let more = histograms.bytes() - before;
                    self.histogram_bytes += more;
                    read
                }
            };
            if self.histogram_bytes > HISTOGRAM_BYTES_MAX {
                let max = HISTOGRAM_BYTES_MAX;
                return Err(WireError::HistogramsTooLarge { offset: *start, max });
            }
            if let Err(reason) = read {
                faulty += 1;
                fault.get_or_insert(reason);
            }
        }
        self.lists = lists;
        if let Some((fingerprint, labels)) = taken
            && series.histograms.len() > faulty as usize
        {
            let part = self.part(fingerprint);
            let end = index(part.histograms.len());
            part.histogram_entries.push(HistogramEntry { fingerprint, labels, end });
        }
        if let Some(reason) = fault {
            self.refuse(|| series.labels.spell(), faulty, reason);
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::BucketIndexes;
    use crate::model::{Fingerprinter, WriteBatch};
    use crate::wire::{Counts, decode_v1, decode_v2};

    /// An integer histogram of schema 3: buckets 1 and 4, of which the second is one behind the first and two left out; 2 and 3
    /// observations, one more in the zero bucket, a sum of 2.5, at 7; a gauge.
    const MESSAGE: &[u8] =
        b"\x08\x06\x19\0\0\0\0\0\0\x04\x40\x20\x06\x29\0\0\0\0\0\0\xe0\x3f\x30\x01\
        \x5a\x04\x08\x02\x10\x01\x5a\x04\x08\x04\x10\x01\x62\x02\x04\x02\x70\x03\x78\x07";

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let len = bytes.len();
        assert!(len < 1 << 14);
        let len = [u8::try_from(len % 128).unwrap() | 128, u8::try_from(len / 128).unwrap()];
        [&[number << 3 | 2][..], &len, bytes].concat()
    }

    fn request_v1(histograms: &[u8]) -> Vec<u8> {
        let label = field(1, &[field(1, b"__name__"), field(2, b"up")].concat());
        field(1, &[&label[..], histograms].concat())
    }

    fn decoded(body: Vec<u8>, is_v2: bool) -> (Result<(), WireError>, WriteBatch, Counts) {
        let (keys, mut batch, mut counts) =
            (Fingerprinter::new(1), WriteBatch::default(), Counts::default());
        let decode = if is_v2 {
            decode_v2(body, &keys, 1, |_| 0, &mut batch, &mut counts)
        } else {
            decode_v1(body, &keys, 1, |_| 0, &mut batch, &mut counts)
        };
        (decode, batch, counts)
    }

    #[test] // golden bytes: protoc's of the messages, field by field
    fn a_histogram_of_either_protocol_reads_as_its_fields_say() {
        let symbols = [&field(4, b"")[..], &field(4, b"__name__"), &field(4, b"up")].concat();
        let series = [&b"\x0a\x02\x01\x02"[..], &field(3, MESSAGE)].concat();
        let v2 = [symbols, field(5, &series)].concat();
        for (body, is_v2) in [(request_v1(&field(4, MESSAGE)), false), (v2, true)] {
            let (result, batch, counts) = decoded(body, is_v2);
            result.unwrap();
            assert_eq!((counts.histograms, counts.samples, batch.refused.len()), (1, 0, 0));
            let Some((t, AnyHistogramRef::Int(h))) = batch.parts[0].histograms.get(0) else {
                panic!("an integer histogram")
            };
            assert_eq!((t.0, h.count, h.zero_count, h.schema), (7, 6, 1, 3));
            assert_eq!((h.sum.to_bits(), h.zero_threshold), (2.5f64.to_bits(), 0.5));
            assert_eq!((h.positive_buckets, h.reset_hint), (&[2, 1][..], ResetHint::Gauge));
            assert_eq!(BucketIndexes::new(h.positive_spans).collect::<Vec<_>>(), [1, 4]);
        }
    }

    #[test] // two bytes can be an empty histogram, which takes a hundred in memory
    fn a_request_of_very_many_histograms_is_refused_whole() {
        let empty = b"\x22\0".repeat(1_000_000);
        let len = [&[0x0a][..], &varint(20 + empty.len()), &[0x0a, 18], &label(), &empty].concat();
        let (result, batch, counts) = decoded(len, false);
        let Err(error @ WireError::HistogramsTooLarge { .. }) = result else {
            panic!("{result:?}")
        };
        assert!(error.to_string().contains("send smaller requests"), "{error}");
        assert!(batch.parts[0].is_empty() && counts == Counts::default());
    }

    #[test]
    fn a_histogram_with_more_parts_than_are_taken_is_refused_and_the_next_one_is_not() {
        let huge =
            [&[0x62][..], &varint(HISTOGRAM_PARTS_MAX + 1), &vec![0; HISTOGRAM_PARTS_MAX + 1]]
                .concat();
        let huge = [&[0x22][..], &varint(huge.len()), &huge].concat();
        let all = [&[0x0a, 18][..], &label(), &huge, &field(4, MESSAGE)].concat();
        let body = [&[0x0a][..], &varint(all.len()), &all].concat();
        let (result, batch, counts) = decoded(body, false);
        result.unwrap();
        let reason = RefusalReason::HistogramTooLarge { parts: HISTOGRAM_PARTS_MAX + 1 };
        assert_eq!((batch.refused[0].samples, &batch.refused[0].reason), (1, &reason));
        assert_eq!((counts.histograms, counts.refused_samples), (2, 1));
        assert_eq!(batch.parts[0].histograms.len(), 1);
    }

    /// A metric's name, in 18 bytes.
    fn label() -> Vec<u8> {
        [&b"\x0a\x08__name__"[..], b"\x12\x06metric"].concat()
    }

    fn varint(mut n: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while n >= 128 {
            bytes.push(u8::try_from(n % 128).unwrap() | 128);
            n /= 128;
        }
        bytes.push(u8::try_from(n).unwrap());
        bytes
    }
}
