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

use super::batch_writer::{BatchWriter, Series, fill, span};
use super::fields::{Field, Fields, Value};
use super::label_set::check_labels;
use super::padded::{PADDING_BYTES, Padded, Place};
use super::plain_sample::Version;
use super::set_builder::{ROOM_BYTES, SetBuilder};
use super::symbols::Symbols;
use super::write_v1::nested;
use super::{Counts, DECODED_BYTES_MAX, WireError, proto};
use crate::model::refusal::LABEL_BYTES_MAX;
use crate::model::{Fingerprinter, LabelsRef, RefusalReason, Sample, TimestampMs, WriteBatch};

/// The label sets of one request, written out, take at most this many bytes, and one more set. A reference of two bytes
/// can stand for a symbol of megabytes: without a limit, a hostile body would grow beyond any memory.
const SETS_BYTES_MAX: usize = 128 << 20;

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

/// The tag of field 5 of a request.
const SERIES_TAG: u8 = 0x2a;
/// Of field 1 of a series.
const REFERENCES_TAG: u8 = 0x0a;

/// So many sets are written before the first is hashed: what was just written cannot be read at once in larger pieces.
const BLOCK: usize = 16;
/// Room for a block of sets of the size that does not go the general way.
const BLOCK_BYTES: usize = BLOCK * ROOM_BYTES;
/// There is never more room than this.
const ROOM_BYTES_MAX: usize = SETS_BYTES_MAX + LABEL_BYTES_MAX + BLOCK_BYTES;

const _: () = assert!(
    DECODED_BYTES_MAX + PADDING_BYTES + ROOM_BYTES_MAX <= u32::MAX as usize,
    "32 bits name any place in a body and in the sets behind it"
);

/// A request on whatever CPU there is.
fn request<P: Fn(u64) -> usize>(
    body: Padded<'_>,
    rewritten: &mut Vec<u8>,
    writer: &mut BatchWriter<'_, P>,
) -> Result<(), WireError> {
    let (symbols, symbols_end) = Symbols::in_front(body)?;
    let mut walk = Walk {
        body,
        symbols,
        has_all_symbols: false,
        rewritten,
        written: 0,
        series: Series::default(),
        references: Vec::new(),
        canonical: Vec::new(),
    };
    if walk.fields(symbols_end, writer)? == Found::LateSymbols {
        // Protobuf allows it: start over, knowing them all.
        writer.restart();
        walk.symbols = Symbols::anywhere(body)?;
        walk.has_all_symbols = true;
        walk.fields(0, writer)?;
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
    body: Padded<'b>,
    symbols: Symbols,
    /// Or only those that the body starts with?
    has_all_symbols: bool,
    /// The sets: `written` bytes of them, and room.
    rewritten: &'r mut Vec<u8>,
    written: usize,
    /// Used again by each series that goes the general way.
    series: Series<'b>,
    references: Vec<u32>,
    canonical: Vec<u8>,
}

/// A series whose set has been written.
#[derive(Clone, Copy, Default)]
struct Labelled {
    place: Place,
    /// What follows its references.
    rest: Place,
    set: (usize, usize),
}

impl<'b> Walk<'b, '_> {
    /// Takes all fields from `start` on, on whatever CPU there is.
    fn fields<P: Fn(u64) -> usize>(
        &mut self,
        start: usize,
        writer: &mut BatchWriter<'_, P>,
    ) -> Result<Found, WireError> {
        #[cfg(target_arch = "x86_64")]
        if super::cpu::is_v3() {
            // SAFETY: the CPU has what the function is compiled for.
            return unsafe { self.fields_v3(start, writer) };
        }
        self.fields_any(start, writer)
    }

    /// [`Self::fields_any`] compiled for x86-64-v3.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,movbe")]
    fn fields_v3<P: Fn(u64) -> usize>(
        &mut self,
        start: usize,
        writer: &mut BatchWriter<'_, P>,
    ) -> Result<Found, WireError> {
        self.fields_any(start, writer)
    }

    #[inline(always)]
    fn fields_any<P: Fn(u64) -> usize>(
        &mut self,
        start: usize,
        writer: &mut BatchWriter<'_, P>,
    ) -> Result<Found, WireError> {
        let mut builder = SetBuilder::new();
        let mut block = [Labelled::default(); BLOCK];
        let mut at = start;
        while at < self.body.len() {
            writer.check_samples(at)?;
            self.make_room(BLOCK_BYTES, at)?;
            let mut labelled = 0;
            let mut other = None;
            for slot in &mut block {
                let Some(place) = self.body.message_at(at, SERIES_TAG) else { break };
                at = place.end;
                let Some(found) = self.labels(place, &mut builder) else {
                    other = Some(place);
                    break;
                };
                *slot = found;
                labelled += 1;
            }
            let (pairs, last) = block.get(..labelled).unwrap_or_default().as_chunks::<2>();
            for pair in pairs {
                self.take(*pair, writer)?;
            }
            if let [one] = last {
                self.take([*one], writer)?;
            }
            if let Some(place) = other {
                self.any_series(place, writer)?;
            } else if labelled == 0 {
                match self.any_field(at, writer)? {
                    Some(end) => at = end,
                    None => return Ok(Found::LateSymbols),
                }
            }
        }
        Ok(Found::End)
    }

    /// Sees to it that there is room for `bytes` more of sets, which are a block's or a set's.
    ///
    /// The buffer doubles and is never cut: what one request has filled with zeros, the next one finds.
    #[inline(always)]
    fn make_room(&mut self, bytes: usize, offset: usize) -> Result<(), WireError> {
        if self.written > SETS_BYTES_MAX {
            return Err(WireError::LabelsTooLarge { offset, max: SETS_BYTES_MAX });
        }
        let needed = self.written + bytes;
        if self.rewritten.len() < needed {
            self.rewritten.resize(needed.next_power_of_two().min(ROOM_BYTES_MAX), 0);
        }
        Ok(())
    }

    /// Writes the labels of a series that starts with packed references.
    #[inline(always)]
    fn labels(&mut self, place: Place, builder: &mut SetBuilder) -> Option<Labelled> {
        let references = self.body.message_at(place.start, REFERENCES_TAG)?;
        let start = self.written;
        self.written =
            builder.build(self.body, references, &self.symbols, self.rewritten, start)?;
        let set = (start, self.written - start);
        let rest = Place { start: references.end, end: place.end };
        (references.end <= place.end).then_some(Labelled { place, rest, set })
    }

    /// Takes series whose sets have been written.
    #[inline(always)]
    fn take<const N: usize, P: Fn(u64) -> usize>(
        &mut self,
        labelled: [Labelled; N],
        writer: &mut BatchWriter<'_, P>,
    ) -> Result<(), WireError> {
        let sets = labelled.map(|series| series.set);
        let fingerprints = sets.map(|(start, len)| {
            let set = self.rewritten.get(start..start + len).unwrap_or_default();
            writer.fingerprinter.of(LabelsRef::trusted(set))
        });
        for (series, fingerprint) in labelled.iter().zip(fingerprints) {
            let (offset, len) = series.set;
            let labels = span(self.body.bytes().len() + offset, len);
            let plain = writer.take_plain(fingerprint, labels, self.body, series.rest, Version::V2);
            if plain.is_none() {
                self.any_series(series.place, writer)?;
            }
        }
        Ok(())
    }

    /// Takes the field at `at`, whatever it is, and says where it ends; `None` if it is a symbol that comes late.
    #[cold]
    #[inline(never)]
    fn any_field<P: Fn(u64) -> usize>(
        &mut self,
        at: usize,
        writer: &mut BatchWriter<'_, P>,
    ) -> Result<Option<usize>, WireError> {
        let mut fields = Fields::new(self.body.body(), at..self.body.len());
        let Some(field) = fields.next()? else { return Ok(Some(self.body.len())) };
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
        let Self { body, series, references, symbols, canonical, .. } = self;
        references.clear();
        time_series(body.body(), place, series, references, writer)?;
        let all = u32::try_from(series.samples.len()).unwrap_or(u32::MAX);
        let all = all.saturating_add(series.histograms);
        if let Err(reason) = resolve(*body, references, symbols, series) {
            writer.refuse(|| spell_references(references), all, reason);
            return Ok(());
        }
        if all == 0 {
            writer.refuse(|| series.labels.spell(), 0, RefusalReason::NoSamples);
            return Ok(());
        }
        canonical.clear();
        if !writer.canonicalise(series, canonical) {
            return Ok(());
        }
        let fingerprint = writer.fingerprinter.of(LabelsRef::trusted(canonical));
        let len = canonical.len();
        // A block that is being taken goes on reading behind its sets, which are written: its room stays as it is.
        self.make_room(len, place.start)?;
        let room = self.rewritten.get_mut(self.written..).and_then(|room| room.get_mut(..len));
        let Some(room) = room else { unreachable!("there is room for the set") };
        room.copy_from_slice(&self.canonical);
        let labels = span(self.body.bytes().len() + self.written, len);
        self.written += len;
        writer.store(fingerprint, labels, &self.series.samples);
        Ok(())
    }
}

/// Reads any spelling of a series that protobuf allows; its references go to `references`.
fn time_series<P: Fn(u64) -> usize>(
    body: &[u8],
    place: Place,
    series: &mut Series<'_>,
    references: &mut Vec<u32>,
    writer: &mut BatchWriter<'_, P>,
) -> Result<(), WireError> {
    series.clear();
    let mut has_metadata = false;
    let mut fields = Fields::new(body, place.start..place.end);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => labels_refs(body, &field, references)?,
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
    body: Padded<'b>,
    references: &[u32],
    symbols: &Symbols,
    series: &mut Series<'b>,
) -> Result<(), RefusalReason> {
    let (pairs, odd) = references.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(RefusalReason::OddLabelRefs(references.len()));
    }
    let text = |reference: u32| match symbols.get(reference) {
        Some(symbol) => Ok(symbol.text(body)),
        None => Err(RefusalReason::SymbolRef { reference, symbols: symbols.len() }),
    };
    for [name, value] in pairs {
        series.labels.push(text(*name)?, text(*value)?);
    }
    Ok(())
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
        assert_eq!(batch.text.get(entry.labels), Some(up.as_bytes()));
        assert_eq!(samples, [Sample { t: TimestampMs(5), v: 0.0 }]);
        assert_eq!(counts, Counts { series: 1, samples: 1, ..Counts::default() });
    }
}
