//! Remote write 2.0: one walk over a decompressed `io.prometheus.write.v2.Request` into a write batch.
//!
//! ```text
//! Request     4 symbol*, 5 TimeSeries*                   a symbol is bytes; the first one is empty
//! TimeSeries  1 labels_refs uint32*, 2 Sample*, 3 Histogram*, 4 Exemplar*, 5 Metadata
//! Sample      1 value double, 2 timestamp int64, 3 start_timestamp int64
//! ```
//! `labels_refs` are places in the symbols: name, value, name, value, ... Label sets are written in canonical form (see
//! [`crate::model::labels`]) behind the body and fingerprinted there, so a series has the fingerprint that 1.0 gives it.
//! That the first symbol is empty is not insisted on, as upstream does not. Source: Prometheus remote write 2.0
//! specification.

use std::ops::Range;

use super::batch_writer::{BatchWriter, Series, fill};
use super::fields::{Field, Fields, Value};
use super::padded::Padded;
use super::write_v1::nested;
use super::{Counts, WireError, proto};
use crate::model::{Fingerprinter, RefusalReason, Sample, TimestampMs, WriteBatch};

/// The label sets of one request, written out, take at most this many bytes. A reference of two bytes can stand for a
/// symbol of megabytes: without a limit, a hostile body would grow beyond any memory.
const LABEL_BYTES_MAX: usize = 128 << 20;

/// Decodes a request into `batch`, which keeps `body`. Adds what was in it to `counts`.
///
/// Parameters and refusals are those of [`decode_v1`](super::decode_v1); refused, too, are series whose references are
/// not pairs or point outside of the symbols, and series that hold neither samples nor histograms.
///
/// # Errors
/// Bytes that are not such a request, with the place; the batch then holds nothing and `counts` is as it was.
pub fn decode_v2(
    body: Vec<u8>,
    fingerprinter: &Fingerprinter,
    shards: usize,
    part_of: impl Fn(u64) -> usize,
    batch: &mut WriteBatch,
    counts: &mut Counts,
) -> Result<(), WireError> {
    fill(body, fingerprinter, (shards, part_of), batch, counts, request)
}

fn request<P: Fn(u64) -> usize>(
    padded: Padded<'_>,
    rewritten: &mut Vec<u8>,
    writer: &mut BatchWriter<'_, P>,
) -> Result<(), WireError> {
    let body = padded.body();
    let symbols = symbols(body)?;
    let mut series = Series::default();
    let mut refs = Vec::new();
    let mut fields = Fields::new(body, 0..body.len());
    while let Some(field) = fields.next()? {
        if field.number == 5 {
            let place = field.bytes("Request")?;
            refs.clear();
            time_series(body, place.clone(), &mut series, &mut refs, writer)?;
            let all = u32::try_from(series.samples.len()).unwrap_or(u32::MAX);
            let all = all.saturating_add(series.histograms);
            if let Err(reason) = resolve(&refs, &symbols, &mut series) {
                writer.refuse(|| spell_refs(&refs), all, reason);
                continue;
            }
            if all == 0 {
                writer.refuse(|| series.labels.spell(), 0, RefusalReason::NoSamples);
                continue;
            }
            writer.take(&mut series, rewritten, padded);
            if rewritten.len() > LABEL_BYTES_MAX {
                let offset = place.start;
                return Err(WireError::LabelsTooLarge { offset, max: LABEL_BYTES_MAX });
            }
        }
    }
    Ok(())
}

/// The request's symbols, wherever in it they stand.
fn symbols(body: &[u8]) -> Result<Vec<&[u8]>, WireError> {
    let mut symbols = Vec::new();
    let mut fields = Fields::new(body, 0..body.len());
    while let Some(field) = fields.next()? {
        if field.number == 4 {
            symbols.push(body.get(field.bytes("Request")?).unwrap_or_default());
        }
    }
    Ok(symbols)
}

/// Reads any spelling of a series that protobuf allows; its references go to `refs`.
fn time_series<P: Fn(u64) -> usize>(
    body: &[u8],
    place: Range<usize>,
    series: &mut Series<'_>,
    refs: &mut Vec<u32>,
    writer: &mut BatchWriter<'_, P>,
) -> Result<(), WireError> {
    series.clear();
    let mut has_metadata = false;
    let mut fields = Fields::new(body, place);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => labels_refs(body, &field, refs)?,
            2 => {
                let sample = sample(body, field.bytes("TimeSeries")?)?;
                series.push(sample, writer.counts.samples, field.offset)?;
            }
            3 => {
                nested::<proto::v2::Histogram>(body, field.bytes("TimeSeries")?, "Histogram")?;
                series.histograms += 1;
            }
            4 => {
                nested::<proto::v2::Exemplar>(body, field.bytes("TimeSeries")?, "Exemplar")?;
                writer.counts.exemplars += 1;
            }
            5 => {
                nested::<proto::v2::Metadata>(body, field.bytes("TimeSeries")?, "Metadata")?;
                has_metadata = true;
            }
            _ => {}
        }
    }
    writer.counts.series += 1;
    writer.counts.samples += series.samples.len() as u64;
    writer.counts.histograms += u64::from(series.histograms);
    writer.counts.metadata += u64::from(has_metadata);
    Ok(())
}

/// References, packed into one field as senders do, or one by one.
#[expect(
    clippy::cast_possible_truncation,
    reason = "protobuf takes the low 32 bits of a uint32 field's varint"
)]
fn labels_refs(body: &[u8], field: &Field, refs: &mut Vec<u32>) -> Result<(), WireError> {
    match &field.value {
        Value::Varint(n) => refs.push(*n as u32),
        Value::Bytes(place) => {
            let mut packed = Fields::new(body, place.clone());
            while let Some(n) = packed.next_packed()? {
                refs.push(n as u32);
            }
        }
        _ => return Err(field.unexpected("TimeSeries", "varints")),
    }
    Ok(())
}

fn sample(body: &[u8], place: Range<usize>) -> Result<Sample, WireError> {
    let mut sample = Sample { t: TimestampMs(0), v: 0.0 };
    let mut fields = Fields::new(body, place);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => sample.v = field.double("Sample")?,
            2 => sample.t = TimestampMs(field.varint("Sample")?.cast_signed()),
            3 => {
                // The start timestamp: a sample has no room for it yet.
                field.varint("Sample")?;
            }
            _ => {}
        }
    }
    Ok(sample)
}

/// Looks the series' labels up.
fn resolve<'b>(
    refs: &[u32],
    symbols: &[&'b [u8]],
    series: &mut Series<'b>,
) -> Result<(), RefusalReason> {
    let (pairs, odd) = refs.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(RefusalReason::OddLabelRefs(refs.len()));
    }
    let symbol = |reference: u32| {
        symbols
            .get(reference as usize)
            .copied()
            .ok_or(RefusalReason::SymbolRef { reference, symbols: symbols.len() })
    };
    for [name, value] in pairs {
        series.labels.push(symbol(*name)?, symbol(*value)?);
    }
    Ok(())
}

/// A series for people whose labels cannot be looked up.
fn spell_refs(refs: &[u32]) -> String {
    let shown = refs.get(..32).unwrap_or(refs);
    let more = if shown.len() < refs.len() { ", ..." } else { "" };
    let shown: Vec<String> = shown.iter().map(u32::to_string).collect();
    format!("{{labels_refs [{}{more}]}}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    #[test] // golden bytes
    fn a_request_reads_as_the_labels_its_symbols_spell() {
        let body = b"\
            \x22\0\x22\x08__name__\x22\x02up\
            \x2a\x0d\x0a\x02\x01\x02\x12\x07\x10\x05\x18\x04\x20\x80\x01";
        let (fingerprinter, mut batch) = (Fingerprinter::new(1), WriteBatch::default());
        let mut counts = Counts::default();
        decode_v2(body.to_vec(), &fingerprinter, 1, |_| 0, &mut batch, &mut counts).unwrap();
        let (entry, samples) = batch.parts[0].iter().next().unwrap();
        let up = Labels::from_pairs([("__name__", "up")]).unwrap();
        assert_eq!(batch.text.get(entry.labels), Some(up.as_bytes()));
        assert_eq!(samples, [Sample { t: TimestampMs(5), v: 0.0 }]);
        assert_eq!(counts, Counts { series: 1, samples: 1, ..Counts::default() });
    }
}
