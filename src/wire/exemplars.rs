//! The exemplars of a series: read when the labels of the series are known, and put into canonical form behind the body.
//!
//! One whose labels are too long, stand twice or have no name is left out and counted; in 2.0 one that refers to no symbol is
//! told of. Neither costs the series anything. Source: `tsdb/exemplar.go`, `storage/remote/write_handler.go`, Prometheus 3.14.

use std::ops::Range;

use super::batch_writer::{BatchWriter, span};
use super::fields::Fields;
use super::padded::{Padded, Place};
use super::write_v1::label;
use super::write_v2::labels_refs;
use super::{WireError, label_set::check_labels};
use crate::model::exemplar::LABEL_CHARS_MAX;
use crate::model::labels::push_canonical;
use crate::model::{ExemplarAt, Fingerprint, LabelsAt, TimestampMs};

/// One request has at most this many exemplars: two bytes can encode one, and 56 hold it. Prometheus sends 2,000 of samples and
/// exemplars together.
pub(super) const EXEMPLARS_MAX: usize = 1 << 18;

/// Their labels take at most so many bytes in canonical form, and one more exemplar: in 2.0 a few bytes can stand for many.
pub(super) const EXEMPLAR_BYTES_MAX: usize = 16 << 20;

/// No character takes more bytes.
const CHAR_BYTES_MAX: usize = 4;

/// What is in an exemplar, but for its labels.
#[derive(Clone, Copy)]
pub(super) struct Measured {
    value: f64,
    t: TimestampMs,
}

/// A name and a value.
pub(super) type Pair<'b> = (&'b [u8], &'b [u8]);

/// Reads an exemplar of 1.0; its labels go to `labels`.
pub(super) fn read_v1<'b>(
    body: &'b [u8],
    place: Range<usize>,
    labels: &mut Vec<Pair<'b>>,
) -> Result<Measured, WireError> {
    labels.clear();
    let mut measured = Measured { value: 0.0, t: TimestampMs(0) };
    let mut fields = Fields::new(body, place);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => {
                check_labels(labels.len(), field.offset)?;
                labels.push(label(body, field.bytes("Exemplar")?)?);
            }
            2 => measured.value = field.double("Exemplar")?,
            3 => measured.t = TimestampMs(field.varint("Exemplar")?.cast_signed()),
            _ => {}
        }
    }
    Ok(measured)
}

/// Reads an exemplar of 2.0; its references go to `references`.
pub(super) fn read_v2(
    body: &[u8],
    place: Range<usize>,
    references: &mut Vec<u32>,
) -> Result<Measured, WireError> {
    references.clear();
    let mut measured = Measured { value: 0.0, t: TimestampMs(0) };
    let mut fields = Fields::new(body, place);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => labels_refs(body, &field, references)?,
            2 => measured.value = field.double("Exemplar")?,
            3 => measured.t = TimestampMs(field.varint("Exemplar")?.cast_signed()),
            _ => {}
        }
    }
    Ok(measured)
}

impl<P: Fn(u64) -> usize> BatchWriter<'_, P> {
    /// Counts one more exemplar, the one at `offset`.
    pub(super) fn count_exemplar(&mut self, offset: usize) -> Result<(), WireError> {
        if self.counts.exemplars >= EXEMPLARS_MAX as u64 {
            return Err(WireError::TooManyExemplars { offset, max: EXEMPLARS_MAX });
        }
        self.counts.exemplars += 1;
        Ok(())
    }

    /// Takes an exemplar of a series, the one at `place`; its labels are written behind the body.
    pub(super) fn put_exemplar(
        &mut self,
        (fingerprint, series): (Fingerprint, LabelsAt),
        measured: Measured,
        labels: &mut Vec<Pair<'_>>,
        place: Place,
        (body, rewritten): (Padded<'_>, &mut Vec<u8>),
    ) -> Result<(), WireError> {
        let start = rewritten.len();
        if !canonicalise(labels, rewritten) {
            self.counts.refused_exemplars += 1;
            return Ok(());
        }
        self.exemplar_bytes += rewritten.len() - start;
        if self.exemplar_bytes > EXEMPLAR_BYTES_MAX {
            let max = EXEMPLAR_BYTES_MAX;
            return Err(WireError::ExemplarsTooLarge { offset: place.start, max });
        }
        let labels = span(body.bytes().len() + start, rewritten.len() - start);
        let Measured { value, t } = measured;
        let exemplar = ExemplarAt { fingerprint, series, labels, value, t };
        self.part(fingerprint).exemplars.push(exemplar);
        Ok(())
    }
}

/// Sorts the labels of an exemplar and appends their canonical bytes to `out`, those without a value left out. `false`, with
/// `out` as it was: they are too long, or no set.
fn canonicalise(labels: &mut Vec<Pair<'_>>, out: &mut Vec<u8>) -> bool {
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort_unstable();
    let is_set = labels.iter().zip(labels.iter().skip(1)).all(|(a, b)| a.0 != b.0);
    let is_named = labels.first().is_none_or(|(name, _)| !name.is_empty());
    let mut chars = 0;
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        // A long text is not read to its end: a request may refer to it again and again.
        if text.len() > LABEL_CHARS_MAX * CHAR_BYTES_MAX || chars > LABEL_CHARS_MAX {
            return false;
        }
        chars += std::str::from_utf8(text).map_or(text.len(), |text| text.chars().count());
    }
    let fits = is_set && is_named && chars <= LABEL_CHARS_MAX;
    if fits {
        labels.iter().for_each(|(name, value)| push_canonical(out, name, value));
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn check(labels: &[(&str, &str)], expected: Option<&[(&str, &str)]>) {
        let mut labels: Vec<_> =
            labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let mut out = b"before".to_vec();
        let fits = canonicalise(&mut labels, &mut out);
        let expected = expected.map(|pairs| Labels::from_pairs(pairs.iter().copied()).unwrap());
        let bytes = expected.as_ref().map_or(&[][..], Labels::as_bytes);
        assert_eq!((fits, &out[6..]), (expected.is_some(), bytes), "{labels:?}");
    }

    #[test]
    fn labels_are_sorted_and_those_without_a_value_left_out() {
        check(&[("b", "2"), ("c", ""), ("a", "1"), ("", "")], Some(&[("a", "1"), ("b", "2")]));
        check(&[], Some(&[]));
        check(&[("a", "1"), ("a", "2")], None);
        check(&[("", "1")], None);
    }

    #[test] // characters, not bytes; of names and of values
    fn labels_of_128_characters_fit_and_of_one_more_do_not() {
        for c in ["x", "é", "€", "🦀"] {
            check(&[("ab", &c.repeat(126))], Some(&[("ab", &c.repeat(126))]));
            check(&[("ab", &c.repeat(127))], None);
            check(&[("ab", &c.repeat(63)), ("bc", &c.repeat(62))], None);
        }
        check(&[("a", &"x".repeat(1 << 20))], None);
    }
}
