//! Remote write 1.0: one walk over a decompressed `prometheus.WriteRequest` into a write batch.
//!
//! ```text
//! WriteRequest  1 TimeSeries*, 3 MetricMetadata*
//! TimeSeries    1 Label*, 2 Sample*, 3 Exemplar*, 4 Histogram*
//! Label         1 name, 2 value          bytes
//! Sample        1 value double, 2 timestamp int64
//! ```
//! A label set that lies in the body in canonical form (see [`crate::model::labels`]) is fingerprinted where it lies;
//! any other is written in that form behind the body. Source: Prometheus remote write 1.0 specification.

use std::ops::Range;

use super::batch_writer::{BatchWriter, Behind, Series, fill, span};
use super::exemplars::{self, Pair};
use super::fields::Fields;
use super::label_set::check_labels;
use super::label_walk::Neighbours;
use super::padded::{Padded, Place};
use super::plain_sample::Version;
use super::{Counts, WireError};
use crate::model::told::FORGOTTEN;
use crate::model::{
    Fingerprinter, LabelsAt, MetadataAt, MetricType, Sample, Span, TimestampMs, WriteBatch,
};

/// Decodes a request into `batch`, which keeps `body`: the label sets lie in it. Adds what was in it to `counts`.
///
/// - `shards`: how many parts the batch gets.
/// - `part_of`: which part owns a series, from the routing half of its fingerprint; less than `shards` (asserted).
///
/// Series that cannot be stored are refused one by one: without a metric name, with an empty or repeated label name,
/// and native histograms that are none. Series without samples, histograms and exemplars are passed over. Not looked at: whether labels are
/// UTF-8, which the shard does when it makes a series.
///
/// # Errors
/// Bytes that are not such a request, with the place; the batch then holds nothing and `counts` is as it was.
pub fn decode_v1(
    body: Vec<u8>,
    fingerprinter: &Fingerprinter,
    shards: usize,
    part_of: impl Fn(u64) -> usize,
    batch: &mut WriteBatch,
    counts: &mut Counts,
) -> Result<(), WireError> {
    fill(body, fingerprinter, (shards, part_of), batch, counts, request)
}

/// The tag of field 1 of a request.
const SERIES_TAG: u8 = 0x0a;

/// A request on whatever CPU there is.
fn request<P: Fn(u64) -> usize>(
    body: Padded<'_>,
    Behind { rewritten, .. }: &mut Behind,
    writer: &mut BatchWriter<'_, P>,
) -> Result<(), WireError> {
    #[cfg(target_arch = "x86_64")]
    if super::cpu::is_v3() {
        // SAFETY: the CPU has what the function is compiled for.
        return unsafe { request_v3(body, rewritten, writer) };
    }
    walk(body, rewritten, writer)
}

/// [`walk`] compiled for x86-64-v3: shifts that take any count, and loads that swap bytes, in one instruction.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,movbe")]
fn request_v3<P: Fn(u64) -> usize>(
    body: Padded<'_>,
    rewritten: &mut Vec<u8>,
    writer: &mut BatchWriter<'_, P>,
) -> Result<(), WireError> {
    walk(body, rewritten, writer)
}

#[inline(always)]
fn walk<P: Fn(u64) -> usize>(
    body: Padded<'_>,
    rewritten: &mut Vec<u8>,
    writer: &mut BatchWriter<'_, P>,
) -> Result<(), WireError> {
    let (mut series, mut neighbours) = (Series::default(), Neighbours::new());
    let mut at = 0;
    while at < body.len() {
        writer.check_samples(at)?;
        let Some(place) = body.message_at(at, SERIES_TAG) else {
            at = any_field(body, at, &mut series, rewritten, writer)?;
            continue;
        };
        at = place.end;
        if plain_series(body, place, &mut neighbours, writer).is_none() {
            any_series(body, place, &mut series, rewritten, writer)?;
        }
    }
    Ok(())
}

/// Takes a series whose labels are in canonical form if plain samples follow and nothing else. `None`, with nothing taken,
/// if not.
#[inline(always)]
fn plain_series<P: Fn(u64) -> usize>(
    body: Padded<'_>,
    place: Place,
    neighbours: &mut Neighbours,
    writer: &mut BatchWriter<'_, P>,
) -> Option<()> {
    let (fingerprint, end) = neighbours.set(body, place.start, writer.fingerprinter)?;
    if end >= place.end {
        return None;
    }
    let labels = LabelsAt::Canonical(span(place.start, end - place.start));
    let rest = Place { start: end, end: place.end };
    writer.take_plain(fingerprint, labels, body, rest, (Version::V1, 0)).map(|_| ())
}

/// Takes the field at `at`, whatever it is, and says where it ends.
#[cold]
#[inline(never)]
fn any_field<'b, P: Fn(u64) -> usize>(
    body: Padded<'b>,
    at: usize,
    series: &mut Series<'b>,
    rewritten: &mut Vec<u8>,
    writer: &mut BatchWriter<'_, P>,
) -> Result<usize, WireError> {
    let mut fields = Fields::new(body.body(), at..body.len());
    let Some(field) = fields.next()? else { return Ok(body.len()) };
    match field.number {
        1 => {
            let place = field.bytes("WriteRequest")?.into();
            any_series(body, place, series, rewritten, writer)?;
        }
        3 => {
            writer.counts.metadata += 1;
            let metadata = metadata(body.body(), field.bytes("WriteRequest")?)?;
            writer.put_metadata(body, metadata, field.offset)?;
        }
        _ => {}
    }
    Ok(fields.at())
}

/// Takes a series in any spelling that protobuf allows.
#[cold]
#[inline(never)]
fn any_series<'b, P: Fn(u64) -> usize>(
    body: Padded<'b>,
    place: Place,
    series: &mut Series<'b>,
    rewritten: &mut Vec<u8>,
    writer: &mut BatchWriter<'_, P>,
) -> Result<(), WireError> {
    let labels = &mut Vec::new();
    time_series(body.body(), place, (series, labels), writer)?;
    if series.value_count() == 0 && series.exemplars.is_empty() {
        return Ok(());
    }
    let taken = writer.take(series, rewritten, body).series;
    writer.put_histograms(body.body(), series, taken)?;
    if let Some(taken) = taken {
        for place in &series.exemplars {
            let measured = exemplars::read_v1(body.body(), place.start..place.end, labels)?;
            writer.put_exemplar(taken, measured, labels, *place, (body, rewritten))?;
        }
    }
    Ok(())
}

/// Reads any spelling of a series that protobuf allows.
///
/// - `exemplar_labels`: used for those of one exemplar after the other.
fn time_series<'b, P: Fn(u64) -> usize>(
    body: &'b [u8],
    place: Place,
    (series, exemplar_labels): (&mut Series<'b>, &mut Vec<Pair<'b>>),
    writer: &mut BatchWriter<'_, P>,
) -> Result<(), WireError> {
    series.clear();
    let mut fields = Fields::new(body, place.start..place.end);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => {
                let (name, value) = label(body, field.bytes("TimeSeries")?)?;
                check_labels(series.labels.len(), field.offset)?;
                series.labels.push(name, value);
            }
            2 => {
                let sample = sample(body, field.bytes("TimeSeries")?)?;
                series.push(sample, writer.counts.samples, field.offset)?;
            }
            3 => {
                let place = field.bytes("TimeSeries")?;
                exemplars::read_v1(body, place.clone(), exemplar_labels)?;
                writer.count_exemplar(field.offset)?;
                series.exemplars.push(place.into());
            }
            4 => {
                writer.count_histogram(field.offset)?;
                series.histograms.push(field.bytes("TimeSeries")?.into());
            }
            _ => {}
        }
    }
    writer.counts.series += 1;
    writer.counts.samples += series.samples.len() as u64;
    Ok(())
}

/// What is said of a metric family. Its name may be missing: that is the shard's to refuse.
fn metadata(body: &[u8], place: Range<usize>) -> Result<MetadataAt, WireError> {
    let (nowhere, kind) = (Span { offset: 0, len: 0 }, MetricType::Unknown);
    let mut metadata = MetadataAt {
        family: nowhere,
        kind,
        help: nowhere,
        unit: nowhere,
        key: FORGOTTEN, // it comes once a minute
    };
    let mut fields = Fields::new(body, place);
    while let Some(field) = fields.next()? {
        let text = || field.bytes("MetricMetadata").map(|text| span(text.start, text.len()));
        match field.number {
            1 => metadata.kind = MetricType::of(low_32_bits(field.varint("MetricMetadata")?)),
            2 => metadata.family = text()?,
            4 => metadata.help = text()?,
            5 => metadata.unit = text()?,
            _ => {}
        }
    }
    Ok(metadata)
}

/// Protobuf takes the low 32 bits of the varint of an enumeration, and of a number of 32 bits.
pub(super) fn low_32_bits(n: u64) -> u64 {
    n & u64::from(u32::MAX)
}

/// A label; the last of several fields of the same number counts.
pub(super) fn label(body: &[u8], place: Range<usize>) -> Result<(&[u8], &[u8]), WireError> {
    let (mut name, mut value) = (&b""[..], &b""[..]);
    let mut fields = Fields::new(body, place);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => name = body.get(field.bytes("Label")?).unwrap_or_default(),
            2 => value = body.get(field.bytes("Label")?).unwrap_or_default(),
            _ => {}
        }
    }
    Ok((name, value))
}

fn sample(body: &[u8], place: Range<usize>) -> Result<Sample, WireError> {
    let mut sample = Sample { t: TimestampMs(0), v: 0.0 };
    let mut fields = Fields::new(body, place);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => sample.v = field.double("Sample")?,
            2 => sample.t = TimestampMs(field.varint("Sample")?.cast_signed()),
            _ => {}
        }
    }
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    #[test] // golden bytes
    fn a_request_of_two_series_is_routed_and_read() {
        let body = b"\
            \x0a\x1b\x0a\x0e\x0a\x08__name__\x12\x02up\x12\x09\x09\0\0\0\0\0\0\xf0\x3f\
            \x0a\x22\x0a\x06\x0a\x01a\x12\x011\x0a\x0e\x0a\x08__name__\x12\x02up\x12\x02\x10\x05\x12\x04\x10\x06\x20\x01";
        let (fingerprinter, mut batch) = (Fingerprinter::new(1), WriteBatch::default());
        let mut counts = Counts::default();
        decode_v1(body.to_vec(), &fingerprinter, 1, |_| 0, &mut batch, &mut counts).unwrap();
        let read: Vec<_> = batch.parts[0]
            .iter()
            .map(|(entry, samples)| (batch.text.canonical(entry.labels).unwrap(), samples))
            .collect();
        let sample = |t, v| Sample { t: TimestampMs(t), v };
        let up = Labels::from_pairs([("__name__", "up")]).unwrap();
        let up_1 = Labels::from_pairs([("__name__", "up"), ("a", "1")]).unwrap();
        assert_eq!(
            read,
            [
                (up.as_bytes().into(), &[sample(0, 1.0)][..]),
                (up_1.as_bytes().into(), &[sample(5, 0.0), sample(6, 0.0)][..])
            ]
        );
        assert_eq!(counts, Counts { series: 2, samples: 3, ..Counts::default() });
    }
}
