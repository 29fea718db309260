//! Fingerprints label sets that lie in a 1.0 body in canonical form, looking at every label of them.
//!
//! The form is `model::labels`'s: names sorted, none twice, no name or value empty, minimal varints, one way to spell
//! it. A set in this form, with a metric name in front, is fingerprinted where it lies.
//!
//! This is the innermost loop of ingestion: 8 labels a sample. Neighbours in a request are neighbours in a scrape, and most
//! labels of a series are those of the series before it, at the same place in the list. So each place remembers where its
//! label was last read and what it comes to in a fingerprint. The same bytes are the same label: where it ends is known, that
//! it is in canonical form too, and nothing of it is hashed. Of others the name is mostly the same.
//!
//! A label shorter than 128 bytes has this plain shape:
//! ```text
//! at      0x0a  L  0x0a  N  name, N bytes  0x12  V  value, V bytes          L = N + V + 4, all below 128
//! ```
//! Names are compared by their first eight bytes as one number; only equal ones are looked at again.

use super::padded::{PADDING_BYTES, Padded};
use crate::model::fingerprint::PADDING_BYTES as HASH_PADDING_BYTES;
use crate::model::labels::METRIC_NAME;
use crate::model::{Fingerprint, Fingerprinter, LabelsHash, TextHash};

const LABEL_TAG: u8 = 0x0a;
const NAME_TAG: u8 = 0x0a;
const VALUE_TAG: u8 = 0x12;
/// Of the field that follows the labels.
const SAMPLE_TAG: u8 = 0x12;

/// Sets of more labels go the general way.
const LABELS_MAX: usize = 32;

/// So many bytes of a label are compared at once.
const COMPARED_BYTES: usize = 32;

/// What stands in front of the name of a plain label, and between its name and its value.
const HEAD_BYTES: usize = 4;
const MIDDLE_BYTES: usize = 2;

const _: () = assert!(COMPARED_BYTES <= PADDING_BYTES && HASH_PADDING_BYTES <= PADDING_BYTES);

/// The labels that were read last at each place of the list.
pub(super) struct Neighbours {
    labels: Box<[Label; LABELS_MAX]>,
}

/// One of them.
#[derive(Clone, Copy)]
struct Label {
    /// Where it lies, and how many bytes it takes.
    at: usize,
    len: usize,
    /// Ones for its bytes among those that are compared at once; another one, which is always found to differ, if there is no
    /// such label.
    bits: u64,
    /// Ones for its name, its length and its tag; that other one, if they are not all compared.
    name_bits: u64,
    /// The first bytes of its name as a number that sorts as they do.
    key: u64,
    name_len: usize,
    name: TextHash,
    hash: LabelsHash,
}

const NO_LABEL: u64 = 1 << COMPARED_BYTES;

impl Neighbours {
    pub(super) fn new() -> Self {
        let none = Label {
            at: 0,
            len: 0,
            bits: NO_LABEL,
            name_bits: NO_LABEL,
            key: 0,
            name_len: 0,
            name: TextHash::default(),
            hash: LabelsHash::NONE,
        };
        Self { labels: Box::new([none; LABELS_MAX]) }
    }

    /// The fingerprint of the set that starts at `start` and is followed by a sample, and where the set ends; `None` unless it
    /// is in canonical form and has a metric name in front, and for what only the general way knows.
    #[inline(always)]
    pub(super) fn set(
        &mut self,
        body: Padded<'_>,
        start: usize,
        fingerprinter: &Fingerprinter,
    ) -> Option<(Fingerprint, usize)> {
        let (mut at, mut sum, mut key_before) = (start, LabelsHash::NONE, 0);
        for i in 0..LABELS_MAX {
            let label = self.labels.get_mut(i)?;
            let differ = body.differing::<COMPARED_BYTES>(label.at, at)? | NO_LABEL;
            if differ & label.bits == 0 && label.has_same_rest(body, at) {
                sum += label.hash;
            } else {
                let [tag] = body.read(at)?;
                if tag == SAMPLE_TAG {
                    return (i > 0).then(|| (sum.fingerprint(fingerprinter), at));
                }
                sum += label.change(body, at, differ, i == 0, fingerprinter)?;
            }
            at += label.len;
            let key = label.key;
            if key <= key_before && !self.is_sorted(i, body) {
                return None;
            }
            key_before = key;
        }
        let [tag] = body.read(at)?;
        (tag == SAMPLE_TAG).then(|| (sum.fingerprint(fingerprinter), at))
    }

    /// Does the name of label `i` sort behind that of the label before it, if there is one?
    #[cold]
    #[inline(never)]
    fn is_sorted(&self, i: usize, body: Padded<'_>) -> bool {
        let name = |i: usize| label_at(body.body(), self.labels.get(i)?.at).map(|label| label.name);
        i == 0 || name(i - 1) < name(i)
    }
}

impl Label {
    /// Has the label at `at` the same bytes as this one behind those that are compared at once?
    #[inline(always)]
    fn has_same_rest(&self, body: Padded<'_>, at: usize) -> bool {
        let rest = |at| body.bytes().get(at + COMPARED_BYTES..at + self.len);
        self.len <= COMPARED_BYTES || rest(at) == rest(self.at)
    }

    /// Becomes the label at `at`, whose first bytes differ from those of this one as `differ` says. `None`, unchanged, if that
    /// is not in canonical form, or has to be the metric name and is not.
    #[inline(always)]
    fn change(
        &mut self,
        body: Padded<'_>,
        at: usize,
        differ: u64,
        has_to_be_metric: bool,
        fingerprinter: &Fingerprinter,
    ) -> Option<LabelsHash> {
        let [label_tag, inner_len, name_tag, name_len] = body.read(at)?;
        let name_at = at + HEAD_BYTES;
        let middle_at = name_at + usize::from(name_len);
        let [value_tag, value_len] = body.read(middle_at)?;
        let is_plain = (label_tag == LABEL_TAG)
            & (name_tag == NAME_TAG)
            & (value_tag == VALUE_TAG)
            & (inner_len | name_len | value_len < 0x80)
            & (name_len != 0)
            & (value_len != 0);
        if !is_plain || inner_len != name_len + value_len + 4 {
            let wide = Self::wide(body, at, fingerprinter)?;
            if has_to_be_metric && !is_metric_name(wide.key, wide.name_len) {
                return None;
            }
            *self = wide;
            return Some(wide.hash);
        }
        let (name_len, value_len) = (usize::from(name_len), usize::from(value_len));
        let value_at = middle_at + MIDDLE_BYTES;
        let end = value_at + value_len;
        if end > body.len() {
            return None;
        }
        let value = hash(body, value_at, value_len, fingerprinter)?;
        if differ & self.name_bits != 0 {
            let kept = !u64::MAX.checked_shr(8 * u32::try_from(name_len).ok()?).unwrap_or(0);
            let key = u64::from_be_bytes(body.read(name_at)?) & kept;
            if has_to_be_metric && !is_metric_name(key, name_len) {
                return None;
            }
            self.name = hash(body, name_at, name_len, fingerprinter)?;
            (self.key, self.name_len) = (key, name_len);
            let name_bytes = middle_at - at;
            let is_compared = name_bytes <= COMPARED_BYTES;
            self.name_bits = if is_compared { ones(name_bytes) & !0b11 } else { NO_LABEL };
        }
        let hash = fingerprinter.label(self.name, value);
        (self.at, self.len, self.bits) = (at, end - at, ones(end - at));
        self.hash = hash;
        Some(hash)
    }

    /// The label at `at`, whatever lengths it has, as a file's path or a container's id has them. `None` if it is not in
    /// canonical form.
    #[cold]
    #[inline(never)]
    fn wide(body: Padded<'_>, at: usize, fingerprinter: &Fingerprinter) -> Option<Self> {
        let RawLabel { name, value, end } = label_at(body.body(), at)?;
        let mut key = [0; 8];
        key.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        let (name_len, name) = (name.len(), fingerprinter.text(name));
        let hash = fingerprinter.label(name, fingerprinter.text(value));
        let (len, key) = (end - at, u64::from_be_bytes(key));
        Some(Self { at, len, bits: ones(len), name_bits: NO_LABEL, key, name_len, name, hash })
    }
}

/// The hash of the text of `len` bytes at `at`.
#[inline(always)]
fn hash(
    body: Padded<'_>,
    at: usize,
    len: usize,
    fingerprinter: &Fingerprinter,
) -> Option<TextHash> {
    fingerprinter.padded_text(body.bytes().get(at..)?, len)
}

/// The first `n` bits, of those for bytes that are compared.
#[inline(always)]
fn ones(n: usize) -> u64 {
    !(u64::MAX << n.min(COMPARED_BYTES))
}

fn is_metric_name(key: u64, len: usize) -> bool {
    const _: () = assert!(METRIC_NAME.len() == 8);
    key == u64::from_be_bytes(*b"__name__") && len == METRIC_NAME.len()
}

/// A label field.
struct RawLabel<'b> {
    name: &'b [u8],
    value: &'b [u8],
    end: usize,
}

/// The label field at `at`; `None` unless it is spelled as canonical form has it.
fn label_at(body: &[u8], at: usize) -> Option<RawLabel<'_>> {
    let rest = body.get(at..)?;
    let (inner, behind) = bytes_field(rest, LABEL_TAG)?;
    let (name, inner) = bytes_field(inner, NAME_TAG)?;
    let (value, inner) = bytes_field(inner, VALUE_TAG)?;
    let is_canonical = inner.is_empty() && !name.is_empty() && !value.is_empty();
    is_canonical.then_some(RawLabel { name, value, end: body.len() - behind.len() })
}

/// The content of the field with `tag` at the front of `bytes`, and what stands behind it.
fn bytes_field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let mut len = 0usize;
    for (i, byte) in rest.iter().take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let is_minimal = i == 0 || *byte != 0;
            return rest
                .get(i + 1..)?
                .split_at_checked(len)
                .filter(|_| *first == tag && is_minimal);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::labels::push_canonical;
    use crate::model::{Labels, LabelsRef};

    /// Where the walk says that `set` ends, alone and as neighbour of a good set of other labels, and twice.
    fn end_of(set: &[u8]) -> Option<usize> {
        let mut body = [set, b"\x12\x00"].concat();
        let other = body.len();
        let good = canonical(&[("__name__", "up"), ("job", "node")]);
        body.extend(&good);
        body.extend(b"\x12\x00");
        let padded = Padded::pad(&mut body);
        let fingerprinter = Fingerprinter::new(5);
        let of = |labels| fingerprinter.of(LabelsRef::trusted(labels));
        let alone = Neighbours::new().set(padded, 0, &fingerprinter);
        let mut neighbours = Neighbours::new();
        for _ in 0..2 {
            let found = neighbours.set(padded, other, &fingerprinter);
            assert_eq!(found, Some((of(&good), other + good.len())));
            assert_eq!(neighbours.set(padded, 0, &fingerprinter), alone);
        }
        let (fingerprint, end) = alone?;
        assert_eq!(fingerprint, of(&set[..end]));
        Some(end)
    }

    fn canonical(pairs: &[(&str, &str)]) -> Vec<u8> {
        Labels::from_pairs(pairs.iter().copied()).unwrap().as_bytes().to_vec()
    }

    fn spelled(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut set = Vec::new();
        pairs.iter().for_each(|(n, v)| push_canonical(&mut set, n.as_bytes(), v.as_bytes()));
        set
    }

    #[test]
    fn a_canonical_set_with_a_metric_name_in_front_ends_where_its_samples_start() {
        let long = "v".repeat(1000);
        for pairs in [
            &[("__name__", "up")][..],
            &[("__name__", "up"), ("a", "1"), ("ab", "1"), ("b", "1")],
            &[("__name__", "up"), ("__name__x", "1"), ("instance", "1"), ("instance_id", "1")],
            &[
                ("__name__", "up"),
                ("a", &long),
                ("b", "1"),
                ("instance_id", &long),
                ("instance_ie", "1"),
            ],
            &[("__name__", "up"), (&"n".repeat(127), "1"), (&"n".repeat(128), "1")],
            &[("__name__", "up"), ("é", "1"), ("\u{10ffff}", "1")],
        ] {
            let set = canonical(pairs);
            assert_eq!(end_of(&set), Some(set.len()), "{pairs:?}");
        }
    }

    #[test]
    fn a_set_in_any_other_form_has_no_end() {
        for pairs in [
            &[("__name__", "up"), ("b", "1"), ("a", "1")][..],
            &[("__name__", "up"), ("a", "1"), ("a", "1")],
            &[("__name__", "up"), ("instance_id", "1"), ("instance_id", "1")],
            &[("__name__", "up"), ("instance_id", "1"), ("instance_ic", "1")],
            &[("__name__", "up"), ("instance_id", "1"), ("instance", "1")],
            &[("__name__", "up"), ("a", "")],
            &[("__name__", "up"), ("", "1")],
            &[("__name__", "")],
            &[("a", "1")],
            &[("A", "1"), ("__name__", "up")],
            &[("__name__", "up"), ("a", &"v".repeat(200)), ("a", &"v".repeat(200))],
            &[("a", &"v".repeat(200)), ("b", "1")],
        ] {
            assert_eq!(end_of(&spelled(pairs)), None, "{pairs:?}");
        }
    }

    #[test]
    fn a_label_that_is_spelled_otherwise_has_no_end() {
        let up = spelled(&[("__name__", "up")]);
        for label in [
            &b"\x0a\x86\x00\x0a\x01a\x12\x011"[..], // a length in more bytes than it needs
            b"\x0a\x07\x0a\x81\x00a\x12\x011",
            b"\x0a\x06\x12\x011\x0a\x01a",         // value before name
            b"\x0a\x08\x0a\x01a\x12\x011\x18\x01", // another field
            b"\x0a\x03\x0a\x01a",                  // no value
            b"\x0a\x07\x0a\x01a\x12\x011",         // lengths that do not fit each other
            b"\x0a\x06\x0a\x01a\x12\x021",
            b"\x0a\x06\x0a\x7fa\x12\x011",
            b"\x0a\x7f\x0a\x01a\x12\x7a1", // a value that ends behind the body
            b"\x0a\xff\x7f\x0a\x01a\x12\xfa\x7f1",
            b"\x1a\x00",
        ] {
            assert_eq!(end_of(&[&up, label].concat()), None, "{label:x?}");
        }
    }

    #[test]
    fn a_body_may_end_anywhere() {
        let set =
            canonical(&[("__name__", "up"), ("a", &"v".repeat(119)), ("b", &"v".repeat(300))]);
        for end in 0..set.len() {
            let mut body = set[..end].to_vec();
            let padded = Padded::pad(&mut body);
            for start in 0..=end {
                let found = Neighbours::new().set(padded, start, &Fingerprinter::new(5));
                assert_eq!(found, None);
            }
        }
    }
}
