//! Remote write 2.0: one walk over a decompressed `io.prometheus.write.v2.Request` into a write batch.
//!
//! ```text
//! Request     4 symbol*, 5 TimeSeries*                   a symbol is bytes; the first one is empty
//! TimeSeries  1 labels_refs uint32*, 2 Sample*, 3 Histogram*, 4 Exemplar*, 5 Metadata
//! Sample      1 value double, 2 timestamp int64, 3 start_timestamp int64
//! ```
//! `labels_refs` are places in the symbols: name, value, name, value, ... Label sets in canonical order (see
//! [`crate::model::labels`]) are fingerprinted symbol by symbol and never written, others are written in canonical form behind
//! the body; so a series has the fingerprint that 1.0 gives it.
//! That the first symbol is empty is not insisted on, as upstream does not. Source: Prometheus remote write 2.0
//! specification.

use std::ops::Range;

use super::batch_writer::{BatchWriter, Behind, Series, Taken, fill, index, span};
use super::exemplars::{self, EXEMPLAR_BYTES_MAX};
use super::fields::{Field, Fields, Value};
use super::label_set::check_labels;
use super::metadata_refs::Met;
use super::padded::{PADDING_BYTES, Padded, Place};
use super::plain_sample::{MetadataRefs, Version};
use super::references::{References, Table};
use super::{Counts, DECODED_BYTES_MAX, WireError, symbols};
use crate::model::labels::METRIC_NAME;
use crate::model::refusal::LABEL_BYTES_MAX;
use crate::model::{
    Fingerprint, Fingerprinter, LabelsAt, RefusalReason, Sample, StartAt, TimestampMs, WriteBatch,
};

/// The label sets of one request would take at most this many bytes if all were written, and one more set. A reference of
/// two bytes can stand for a symbol of megabytes: without a limit, a hostile body would grow beyond any memory, or any log.
const SETS_BYTES_MAX: usize = 128 << 20;

const _: () = assert!(
    DECODED_BYTES_MAX + PADDING_BYTES + SETS_BYTES_MAX + LABEL_BYTES_MAX + 2 * EXEMPLAR_BYTES_MAX
        <= u32::MAX as usize,
    "32 bits name any place in a body and in the sets behind it"
);

/// Decodes a request into `batch`, which keeps `body`. Adds what was in it to `counts`.
///
/// Parameters and refusals are those of [`decode_v1`](super::decode_v1); refused, too, are series whose references are
/// not pairs or point outside of the symbols, and series that hold nothing at all. One with exemplars alone is taken: Prometheus
/// itself sends exemplars so, although its receiver refuses them.
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

/// The tag of field 5 of a request.
const SERIES_TAG: u8 = 0x2a;
/// Of field 1 of a series.
const REFERENCES_TAG: u8 = 0x0a;

/// A request on whatever CPU there is.
fn request<P: Fn(u64) -> usize>(
    body: Padded<'_>,
    behind: &mut Behind,
    writer: &mut BatchWriter<'_, P>,
) -> Result<(), WireError> {
    #[cfg(target_arch = "x86_64")]
    if super::cpu::is_v3() {
        // SAFETY: the CPU has what the function is compiled for.
        return unsafe { request_v3(body, behind, writer) };
    }
    walk(body, behind, writer)
}

/// [`walk`] compiled for x86-64-v3.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,movbe")]
fn request_v3<P: Fn(u64) -> usize>(
    body: Padded<'_>,
    behind: &mut Behind,
    writer: &mut BatchWriter<'_, P>,
) -> Result<(), WireError> {
    walk(body, behind, writer)
}

#[inline(always)]
fn walk<P: Fn(u64) -> usize>(
    body: Padded<'_>,
    Behind { rewritten, symbols }: &mut Behind,
    writer: &mut BatchWriter<'_, P>,
) -> Result<(), WireError> {
    let fingerprinter = writer.fingerprinter;
    let symbols_end = symbols::in_front(body, fingerprinter, symbols)?;
    let mut walk = Walk {
        table: Table { body, symbols, fingerprinter },
        has_all_symbols: false,
        sets_bytes: 0,
        rewritten,
        series: Series::default(),
        references: Vec::new(),
        met: Met::new(),
    };
    if walk.fields(symbols_end, writer)? == Found::LateSymbols {
        // Protobuf allows it: start over, knowing them all.
        writer.restart();
        rewritten.clear();
        symbols::anywhere(body, fingerprinter, symbols)?;
        let mut walk = Walk {
            table: Table { body, symbols, fingerprinter },
            has_all_symbols: true,
            sets_bytes: 0,
            rewritten,
            series: Series::default(),
            references: Vec::new(),
            met: Met::new(),
        };
        walk.late_fields(writer)?;
    }
    Ok(())
}

/// What a walk has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// The end of the request.
    End,
    /// Symbols behind what is not a symbol: what has been taken may have missed them.
    LateSymbols,
}

/// One request on its way.
struct Walk<'b, 'r> {
    table: Table<'b>,
    /// Or only those that the body starts with?
    has_all_symbols: bool,
    /// How many bytes all sets take in canonical form, written or not.
    sets_bytes: usize,
    rewritten: &'r mut Vec<u8>,
    /// Used again by each series that goes the general way.
    series: Series<'b>,
    references: Vec<u32>,
    /// What it has said of metric families.
    met: Met,
}

impl<'b> Walk<'b, '_> {
    /// Takes all fields from `start` on.
    #[inline(always)]
    fn fields<P: Fn(u64) -> usize>(
        &mut self,
        start: usize,
        writer: &mut BatchWriter<'_, P>,
    ) -> Result<Found, WireError> {
        let body = self.table.body;
        let mut known = References::new();
        let mut at = start;
        while at < body.len() {
            writer.check_samples(at)?;
            if self.sets_bytes > SETS_BYTES_MAX {
                return Err(WireError::LabelsTooLarge { offset: at, max: SETS_BYTES_MAX });
            }
            if let Some(place) = body.message_at(at, SERIES_TAG) {
                at = place.end;
                match self.plain_series(place, &mut known, writer) {
                    Some(None) => {}
                    Some(Some((references, refs))) => {
                        self.met.take_plain(self.table, references, refs, writer)?;
                    }
                    None => self.any_series(place, writer)?,
                }
            } else {
                match self.any_field(at, writer)? {
                    Some(end) => at = end,
                    None => return Ok(Found::LateSymbols),
                }
            }
        }
        Ok(Found::End)
    }

    /// Takes all fields, knowing all symbols.
    #[cold]
    #[inline(never)]
    fn late_fields<P: Fn(u64) -> usize>(
        &mut self,
        writer: &mut BatchWriter<'_, P>,
    ) -> Result<(), WireError> {
        self.fields(0, writer).map(|_| ())
    }

    /// Takes a series of packed references in canonical order and plain samples, and hands out its references and its metadata
    /// if it has some. `None`, with nothing taken, if it is another.
    #[inline(always)]
    fn plain_series<P: Fn(u64) -> usize>(
        &mut self,
        place: Place,
        known: &mut References,
        writer: &mut BatchWriter<'_, P>,
    ) -> Option<Option<(Place, MetadataRefs)>> {
        let body = self.table.body;
        let references = body.message_at(place.start, REFERENCES_TAG)?;
        if references.end > place.end {
            return None;
        }
        let set = known.set(self.table, references)?;
        let labels = LabelsAt::References(span(references.start, references.len()));
        let rest = Place { start: references.end, end: place.end };
        let version = (Version::V2, self.table.symbols.len());
        let metadata = writer.take_plain(set.fingerprint, labels, body, rest, version)?;
        self.sets_bytes += set.bytes;
        Some(metadata.map(|refs| (references, refs)))
    }

    /// Takes the field at `at`, whatever it is, and says where it ends; `None` if it is a symbol that comes late.
    #[cold]
    #[inline(never)]
    fn any_field<P: Fn(u64) -> usize>(
        &mut self,
        at: usize,
        writer: &mut BatchWriter<'_, P>,
    ) -> Result<Option<usize>, WireError> {
        let body = self.table.body;
        let mut fields = Fields::new(body.body(), at..body.len());
        let Some(field) = fields.next()? else { return Ok(Some(body.len())) };
        match field.number {
            4 if !self.has_all_symbols => return Ok(None),
            5 => self.any_series(field.bytes("Request")?.into(), writer)?,
            _ => {}
        }
        Ok(Some(fields.at()))
    }

    /// Takes a series in any spelling that protobuf allows.
    #[cold]
    #[inline(never)]
    fn any_series<P: Fn(u64) -> usize>(
        &mut self,
        place: Place,
        writer: &mut BatchWriter<'_, P>,
    ) -> Result<(), WireError> {
        let Self { table, series, references, rewritten, .. } = self;
        references.clear();
        let metadata = time_series(table.body.body(), place, series, references, writer)?;
        let all = series.value_count();
        let is_empty = all == 0 && series.exemplars.is_empty();
        let resolved = pairs(*table, references, |name, value| series.labels.push(name, value));
        let resolved = resolved.and_then(|()| find(*table, metadata));
        if let Err(reason) = resolved {
            writer.put_histograms(table.body.body(), series, None)?;
            writer.refuse(|| spell_references(references), all, reason);
        } else if is_empty {
            writer.refuse(|| series.labels.spell(), 0, RefusalReason::NoSamples);
        } else {
            let before = rewritten.len();
            let Taken { is_set, series: taken } = writer.take(series, rewritten, table.body);
            writer.put_histograms(table.body.body(), series, taken)?;
            let name = metric_name_of(*table, references).filter(|_| is_set);
            if let Some(taken) = taken {
                put_exemplars(*table, series, taken, references, rewritten, writer)?;
            }
            self.sets_bytes += rewritten.len() - before;
            if let (Some(refs), Some(name)) = (metadata, name) {
                self.met.take(*table, name, refs, writer)?;
            }
        }
        Ok(())
    }
}

/// Reads any spelling of a series that protobuf allows; its references go to `references`. Gives its metadata.
fn time_series<P: Fn(u64) -> usize>(
    body: &[u8],
    place: Place,
    series: &mut Series<'_>,
    references: &mut Vec<u32>,
    writer: &mut BatchWriter<'_, P>,
) -> Result<Option<MetadataRefs>, WireError> {
    series.clear();
    let mut metadata = None;
    let mut fields = Fields::new(body, place.start..place.end);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => labels_refs(body, &field, references)?,
            2 => {
                let (sample, start) = sample(body, field.bytes("TimeSeries")?)?;
                if start.0 != 0 {
                    series.starts.push(StartAt { sample: index(series.samples.len()), start });
                }
                series.push(sample, writer.counts.samples, field.offset)?;
            }
            3 => {
                writer.count_histogram(field.offset)?;
                series.histograms.push(field.bytes("TimeSeries")?.into());
            }
            4 => {
                let place = field.bytes("TimeSeries")?;
                // What it holds is read again once the labels of the series are known.
                exemplars::read_v2(body, place.clone(), &mut Vec::new())?;
                writer.count_exemplar(field.offset)?;
                series.exemplars.push(place.into());
            }
            5 => {
                let place = field.bytes("TimeSeries")?;
                read_metadata(body, place, metadata.get_or_insert_default())?;
            }
            _ => {}
        }
    }
    writer.counts.series += 1;
    writer.counts.samples += series.samples.len() as u64;
    writer.counts.metadata += u64::from(metadata.is_some());
    Ok(metadata)
}

/// Metadata that comes in several fields is put together.
#[expect(
    clippy::cast_possible_truncation,
    reason = "protobuf takes the low 32 bits of the varint of such a field"
)]
fn read_metadata(
    body: &[u8],
    place: Range<usize>,
    refs: &mut MetadataRefs,
) -> Result<(), WireError> {
    let mut fields = Fields::new(body, place);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => refs.kind = field.varint("Metadata")? as u32,
            3 => refs.help = field.varint("Metadata")? as u32,
            4 => refs.unit = field.varint("Metadata")? as u32,
            _ => {}
        }
    }
    Ok(())
}

/// References, packed into one field as senders do, or one by one.
#[expect(
    clippy::cast_possible_truncation,
    reason = "protobuf takes the low 32 bits of a uint32 field's varint"
)]
pub(super) fn labels_refs(
    body: &[u8],
    field: &Field,
    refs: &mut Vec<u32>,
) -> Result<(), WireError> {
    match &field.value {
        Value::Varint(n) => {
            check_labels(refs.len() / 2, field.offset)?;
            refs.push(*n as u32);
        }
        Value::Bytes(place) => {
            let mut packed = Fields::new(body, place.clone());
            while let Some(n) = packed.next_packed()? {
                check_labels(refs.len() / 2, packed.at())?;
                refs.push(n as u32);
            }
        }
        _ => return Err(field.unexpected("TimeSeries", "varints")),
    }
    Ok(())
}

/// A sample and its start timestamp, 0 if it has none.
fn sample(body: &[u8], place: Range<usize>) -> Result<(Sample, TimestampMs), WireError> {
    let mut sample = Sample { t: TimestampMs(0), v: 0.0 };
    let mut start = TimestampMs(0);
    let mut fields = Fields::new(body, place);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => sample.v = field.double("Sample")?,
            2 => sample.t = TimestampMs(field.varint("Sample")?.cast_signed()),
            3 => start = TimestampMs(field.varint("Sample")?.cast_signed()),
            _ => {}
        }
    }
    Ok((sample, start))
}

/// Looks labels up.
fn pairs<'b>(
    table: Table<'b>,
    references: &[u32],
    mut push: impl FnMut(&'b [u8], &'b [u8]),
) -> Result<(), RefusalReason> {
    let (pairs, odd) = references.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(RefusalReason::OddLabelRefs(references.len()));
    }
    let text = |reference| {
        let symbols = table.symbols.len();
        table.text(reference).ok_or(RefusalReason::SymbolRef { reference, symbols })
    };
    for [name, value] in pairs {
        push(text(*name)?, text(*value)?);
    }
    Ok(())
}

/// Takes the exemplars of a series that is taken.
///
/// - `references`: used for those of one exemplar after the other.
fn put_exemplars<'b, P: Fn(u64) -> usize>(
    table: Table<'b>,
    series: &Series<'b>,
    taken: (Fingerprint, LabelsAt),
    references: &mut Vec<u32>,
    rewritten: &mut Vec<u8>,
    writer: &mut BatchWriter<'_, P>,
) -> Result<(), WireError> {
    let mut labels = Vec::new();
    for place in &series.exemplars {
        let body = table.body;
        let measured = exemplars::read_v2(body.body(), place.start..place.end, references)?;
        labels.clear();
        match pairs(table, references, |name, value| labels.push((name, value))) {
            Ok(()) => {
                writer.put_exemplar(taken, measured, &mut labels, *place, (body, rewritten))?
            }
            Err(reason) => writer.refuse(|| series.labels.spell(), 0, reason),
        }
    }
    Ok(())
}

/// Are the symbols there that metadata refers to?
fn find(table: Table<'_>, metadata: Option<MetadataRefs>) -> Result<(), RefusalReason> {
    let symbols = table.symbols.len();
    let refs = metadata.into_iter().flat_map(|refs| [refs.help, refs.unit]);
    match refs.into_iter().find(|reference| *reference as usize >= symbols) {
        Some(reference) => Err(RefusalReason::SymbolRef { reference, symbols }),
        None => Ok(()),
    }
}

/// The place of the metric name in the symbols.
fn metric_name_of(table: Table<'_>, references: &[u32]) -> Option<u32> {
    let mut pairs = references.as_chunks::<2>().0.iter();
    let is_name = |name| table.text(name) == Some(METRIC_NAME.as_bytes());
    pairs.find(|[name, _]| is_name(*name)).map(|[_, value]| *value)
}

/// A series for people whose labels cannot be looked up.
fn spell_references(refs: &[u32]) -> String {
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
        assert_eq!(batch.text.canonical(entry.labels).as_deref(), Some(up.as_bytes()));
        assert_eq!(samples, [Sample { t: TimestampMs(5), v: 0.0 }]);
        assert_eq!(counts, Counts { series: 1, samples: 1, ..Counts::default() });
    }
}
