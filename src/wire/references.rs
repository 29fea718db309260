//! Knows the label sets of a 2.0 request again by their references.
//!
//! Neighbours in a request are neighbours in a scrape: most labels of a series are those of the series before it, at the
//! same place in the list. So the references of both are compared as bytes, and where they differ the label that was there
//! is taken out of the sum that a fingerprint is, and the label that is there put in. Which labels differ is data and no
//! branch: the processor cannot foresee it. No text is looked at but the first bytes of names, and no set is written.

use super::padded::{PADDING_BYTES, Padded, Place};
use crate::model::labels::METRIC_NAME;
use crate::model::{Fingerprint, Fingerprinter, LabelsHash, Symbol};

/// Sets of more labels go the general way.
const LABELS_MAX: usize = 32;

/// So do those that have a label of more bytes.
const LABEL_BYTES_MAX: usize = 16 << 10;

const _: () = assert!(
    LABELS_MAX * LABEL_BYTES_MAX <= crate::model::refusal::LABEL_BYTES_MAX,
    "no set is longer than a series may have"
);

/// Tags and lengths of a label of so many bytes take at most this many of them.
const LABEL_HEADER_BYTES: usize = 12;

/// Sets of more bytes of references are read label by label.
const COMPARED_BYTES: usize = 64;

/// A reference of more bytes no symbol needs.
const REFERENCE_BYTES_MAX: usize = 3;

const _: () = assert!(COMPARED_BYTES <= PADDING_BYTES && 2 * REFERENCE_BYTES_MAX < 8);

/// What references are looked up in.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) body: Padded<'a>,
    pub(super) symbols: &'a [Symbol],
    pub(super) fingerprinter: &'a Fingerprinter,
}

/// A set that is in canonical form and has a metric name.
#[derive(Clone, Copy)]
pub(super) struct Set {
    pub(super) fingerprint: Fingerprint,
    /// It takes at most so many bytes in canonical form.
    pub(super) bytes: usize,
}

/// The set before.
pub(super) struct References {
    /// Where its references lie; nowhere, without a length, if there is no such set.
    place: Place,
    sum: LabelsHash,
    bytes: usize,
    labels: Box<[Label; LABELS_MAX]>,
    count: usize,
    /// Used again for the labels of the set that comes.
    spare: Box<[Label; LABELS_MAX]>,
    /// Of each byte of the references that is compared, the label that it belongs to. Written eight at a time.
    label_of: [u8; COMPARED_BYTES + 8],
}

/// One label of the set before.
#[derive(Clone, Copy)]
struct Label {
    found: Found,
    /// Where its references start, in bytes from the start of all.
    start: usize,
    /// How many bytes both take, and the first one alone.
    len: usize,
    name_len: usize,
    /// Ones for its bytes among those that are compared.
    bits: u64,
}

/// What two references come to.
#[derive(Clone, Copy)]
struct Found {
    hash: LabelsHash,
    /// The first bytes of the name as a number that sorts as they do; zeros stand for bytes that it has not.
    key: u64,
    name: u32,
    /// The label takes at most so many bytes in canonical form.
    bytes: usize,
}

impl Label {
    const NONE: Self = Self {
        found: Found { hash: LabelsHash::NONE, key: 0, name: 0, bytes: 0 },
        start: 0,
        len: 0,
        name_len: 0,
        bits: 0,
    };
}

impl References {
    pub(super) fn new() -> Self {
        Self {
            place: Place { start: 0, end: 0 },
            sum: LabelsHash::NONE,
            bytes: 0,
            labels: Box::new([Label::NONE; LABELS_MAX]),
            spare: Box::new([Label::NONE; LABELS_MAX]),
            count: 0,
            label_of: [0; COMPARED_BYTES + 8],
        }
    }

    /// The set whose references lie at `place`; `None` if it is not in canonical form or has not the metric name in front,
    /// and for what only the general way knows.
    #[inline(always)]
    pub(super) fn set(&mut self, table: Table<'_>, place: Place) -> Option<Set> {
        if self.change(table, place).is_none() {
            // What has been changed already does not fit what has not.
            self.read(table, place)?;
        }
        Some(Set { fingerprint: self.sum.fingerprint(table.fingerprinter), bytes: self.bytes })
    }

    /// Makes the set before the one whose references lie at `place`. `None` if their bytes are not divided alike, or if it is
    /// not in canonical form.
    #[inline(always)]
    fn change(&mut self, table: Table<'_>, place: Place) -> Option<()> {
        let (before, len) = (self.place, place.len());
        if len != before.len() || !(1..=COMPARED_BYTES).contains(&len) {
            return None;
        }
        self.place = Place::default();
        let body = table.body;
        let all = u64::MAX >> (COMPARED_BYTES - len);
        let mut differ = body.differing::<COMPARED_BYTES>(before.start, place.start)? & all;
        let (mut sum, mut bytes) = (self.sum, self.bytes);
        while differ != 0 {
            let i = usize::from(*self.label_of.get(differ.trailing_zeros() as usize)?);
            let label = self.labels.get_mut(i)?;
            let old = u64::from_le_bytes(body.read(before.start + label.start)?);
            let new = u64::from_le_bytes(body.read(place.start + label.start)?);
            // The top bits of all bytes divide them into numbers.
            const TOP_BITS: u64 = 0x8080_8080_8080_8080;
            if (old ^ new) & TOP_BITS & low_bytes(label.len) != 0 {
                return None;
            }
            let name = number(new & low_bytes(label.name_len));
            let value = number((new & low_bytes(label.len)) >> (8 * label.name_len));
            let found = table.find(name, value)?;
            sum -= label.found.hash;
            sum += found.hash;
            bytes = bytes - label.found.bytes + found.bytes;
            differ &= !label.bits;
            let is_renamed = label.found.name != found.name;
            label.found = found;
            if is_renamed && !self.is_in_place(i, table) {
                return None;
            }
        }
        (self.sum, self.bytes, self.place) = (sum, bytes, place);
        Some(())
    }

    /// Reads a set label by label. Where a label came in, fell out or has longer references than the one before, most others
    /// are those of the set before still.
    #[inline(never)]
    fn read(&mut self, table: Table<'_>, place: Place) -> Option<()> {
        let before = std::mem::take(&mut self.place);
        let old = if before.len() > 0 { self.count } else { 0 };
        std::mem::swap(&mut self.labels, &mut self.spare);
        let (mut at, mut sum, mut bytes) = (place.start, LabelsHash::NONE, 0);
        self.count = 0;
        let mut next = 0;
        while at < place.end {
            let here = u64::from_le_bytes(table.body.read(at)?);
            let is_here = |i: usize| {
                let label = self.spare.get(..old)?.get(i)?;
                let there = u64::from_le_bytes(table.body.read(before.start + label.start)?);
                ((here ^ there) & low_bytes(label.len) == 0).then_some((i, label))
            };
            let (found, name_len, len) = match is_here(next).or_else(|| is_here(next + 1)) {
                Some((i, label)) => {
                    next = i + 1;
                    (label.found, label.name_len, label.len)
                }
                None => {
                    let (name, name_len) = reference(table.body, at)?;
                    let (value, value_len) = reference(table.body, at + name_len)?;
                    (table.find(name, value)?, name_len, name_len + value_len)
                }
            };
            sum += found.hash;
            bytes += found.bytes;
            let start = at - place.start;
            let i = u8::try_from(self.count).ok()?;
            if let Some(label_of) = self.label_of.get_mut(start..start + 8) {
                label_of.copy_from_slice(&[i; 8]);
            }
            let bits = if start < COMPARED_BYTES { !(u64::MAX << len) << start } else { 0 };
            *self.labels.get_mut(self.count)? = Label { found, start, len, name_len, bits };
            self.count += 1;
            if !self.is_in_place(self.count - 1, table) {
                return None;
            }
            at += len;
        }
        if at != place.end || self.count == 0 {
            return None;
        }
        (self.sum, self.bytes, self.place) = (sum, bytes, place);
        Some(())
    }

    /// Does the name of label `i` sort between those beside it? The first has to be the metric name.
    #[inline(always)]
    fn is_in_place(&self, i: usize, table: Table<'_>) -> bool {
        const KEY: u64 = u64::from_be_bytes(*b"__name__");
        const _: () = assert!(METRIC_NAME.len() == 8);
        let key = |i: usize| self.labels.get(i).map_or(0, |label| label.found.key);
        let is_behind = if i == 0 {
            let [first, ..] = &*self.labels;
            let name = table.symbols.get(first.found.name as usize);
            first.found.key == KEY && name.is_some_and(|name| name.text.len == 8)
        } else {
            key(i - 1) < key(i) || self.is_sorted(i, table)
        };
        is_behind && (i + 1 >= self.count || key(i) < key(i + 1) || self.is_sorted(i + 1, table))
    }

    /// Does the name of label `i` sort behind that of the label before it?
    #[cold]
    #[inline(never)]
    fn is_sorted(&self, i: usize, table: Table<'_>) -> bool {
        let text = |i: usize| table.text(self.labels.get(i)?.found.name);
        text(i - 1) < text(i)
    }
}

impl<'a> Table<'a> {
    /// The text of a symbol.
    pub(super) fn text(self, reference: u32) -> Option<&'a [u8]> {
        let text = self.symbols.get(reference as usize)?.text;
        let start = text.offset as usize;
        self.body.body().get(start..start + text.len as usize)
    }

    /// The label of two symbols; `None` if one of them is empty, missing or long.
    #[inline(always)]
    fn find(self, name: u32, value: u32) -> Option<Found> {
        let name_symbol = self.symbols.get(name as usize)?;
        let value_symbol = self.symbols.get(value as usize)?;
        let (name_len, value_len) = (name_symbol.text.len, value_symbol.text.len);
        let bytes = name_len as usize + value_len as usize + LABEL_HEADER_BYTES;
        if name_len == 0 || value_len == 0 || bytes > LABEL_BYTES_MAX {
            return None;
        }
        let first = u64::from_be_bytes(self.body.read(name_symbol.text.offset as usize)?);
        let key = first & !(u64::MAX.checked_shr(8 * name_len.min(8)).unwrap_or(0));
        let hash = self.fingerprinter.label(name_symbol.hash, value_symbol.hash);
        Some(Found { hash, key, name, bytes })
    }
}

/// Ones for the first `n` of eight bytes, which are the bytes of one label's references at most.
#[inline(always)]
fn low_bytes(n: usize) -> u64 {
    !(u64::MAX << (8 * n))
}

/// The number of a varint of at most three bytes, zeros behind it.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "21 bits")]
fn number(bytes: u64) -> u32 {
    (bytes & 0x7f | bytes >> 1 & 0x7f << 7 | bytes >> 2 & 0x7f << 14) as u32
}

/// The reference at `at` and how many bytes it takes; `None` for more than [`REFERENCE_BYTES_MAX`].
#[inline(always)]
fn reference(body: Padded<'_>, at: usize) -> Option<(u32, usize)> {
    let bytes = u32::from_le_bytes(body.read(at)?);
    let last = !bytes & 0x0080_8080;
    let len = last.trailing_zeros() as usize / 8 + 1;
    (last != 0).then(|| (number(u64::from(bytes) & low_bytes(len)), len))
}

/// The place of the metric name in the symbols; the references lie at `place`, those of the metric name in front.
#[inline(always)]
pub(super) fn metric_name(body: Padded<'_>, place: Place) -> Option<u32> {
    let (_, name_len) = reference(body, place.start)?;
    reference(body, place.start + name_len).map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::labels::push_canonical;
    use crate::model::{LabelsRef, Span};
    use crate::wire::symbols;

    /// What is made of sets of references, one behind the other.
    fn read(texts: &[&str], sets: &[&[u8]]) -> Vec<Option<Fingerprint>> {
        let mut body = Vec::new();
        for text in texts {
            body.extend([0x22, u8::try_from(text.len()).unwrap()]);
            body.extend(text.as_bytes());
        }
        let places: Vec<_> = sets
            .iter()
            .map(|set| {
                let start = body.len();
                body.extend(*set);
                Place::from(start..body.len())
            })
            .collect();
        let body = Padded::pad(&mut body);
        let (fingerprinter, mut symbols) = (Fingerprinter::new(3), Vec::new());
        symbols::in_front(body, &fingerprinter, &mut symbols).unwrap();
        assert_eq!(symbols.len(), texts.len());
        let table = Table { body, symbols: &symbols, fingerprinter: &fingerprinter };
        let mut references = References::new();
        let mut one = |place| references.set(table, place).map(|set| set.fingerprint);
        places.into_iter().map(&mut one).collect()
    }

    const TEXTS: [&str; 8] = ["", "__name__", "up", "down", "instance", "instance_id", "a", "job"];

    /// The fingerprint of the labels that references below 128 refer to.
    fn of(texts: &[&str], references: &[u8]) -> Option<Fingerprint> {
        let mut canonical = Vec::new();
        for pair in references.chunks(2) {
            let text = |r: u8| texts[usize::from(r)].as_bytes();
            push_canonical(&mut canonical, text(pair[0]), text(pair[1]));
        }
        Some(Fingerprinter::new(3).of(LabelsRef::from_canonical(&canonical).unwrap()))
    }

    #[test]
    fn a_set_has_its_fingerprint_whatever_was_read_before_it() {
        let sets: [&[u8]; 11] = [
            &[1, 2],
            &[1, 2, 4, 6],
            &[1, 3, 4, 6, 5, 6],
            &[1, 3, 5, 6],
            &[1, 3, 4, 6, 5, 6, 7, 2],
            &[1, 3, 4, 6, 5, 6, 7, 2],
            &[1, 2],
            &[1, 2, 7, 3],
            &[1, 6, 5, 2, 7, 3],
            &[1, 3, 6, 3, 7, 2],
            &[1, 3, 5, 2, 7, 2],
        ];
        assert_eq!(read(&TEXTS, &sets), sets.map(|set| of(&TEXTS, set)));
    }

    #[test] // and neither those before nor those behind suffer from it
    fn a_set_that_is_not_sorted_named_and_whole_is_none() {
        for wrong in [
            &[][..],                         // nothing
            &[6, 2],                         // no metric name
            &[6, 2, 7, 2],                   // likewise
            &[1, 0],                         // an empty one
            &[1],                            // an odd number
            &[1, 2, 7],                      // likewise
            &[1, 2, 7, 8],                   // behind the symbols
            &[1, 2, 7, 2, 6, 2],             // not sorted
            &[1, 2, 5, 2, 4, 2],             // likewise, seen only behind eight bytes
            &[1, 2, 1, 2],                   // twice
            &[1, 2, 5, 2, 5, 2],             // likewise
            &[1, 2, 7, 6, 7, 6],             // likewise, of the length of those before
            &[1, 2, 7, 6, 5, 6],             // not sorted, likewise
            &[5, 6, 1, 2, 7, 2],             // no metric name in front, likewise
            &[1, 2, 0, 2],                   // an empty name
            &[1, 2, 7, 0],                   // an empty value
            &[1, 2, 7, 0x80],                // cut
            &[1, 2, 5, 6, 7, 0x80],          // likewise
            &[1, 2, 5, 6, 0x80, 2],          // likewise
            &[1, 2, 5, 6, 7, 8],             // behind the symbols
            &[1, 2, 0x87, 0x80, 0x80, 0, 2], // a reference of four bytes
        ] {
            let (good, other): (&[u8], &[u8]) = (&[1, 2, 5, 6, 7, 2], &[1, 3, 5, 6, 7, 2]);
            let [good_one, other_one] = [good, other].map(|set| of(&TEXTS, set));
            let found = read(&TEXTS, &[good, wrong, other, wrong, wrong, good]);
            assert_eq!(found, [good_one, None, other_one, None, None, good_one], "{wrong:?}");
        }
    }

    #[test]
    fn an_overlong_reference_is_the_same_reference() {
        let sets: [&[u8]; 4] = [
            &[1, 2, 7, 3],
            &[0x81, 0, 2, 7, 0x83, 0x80, 0],
            &[0x81, 0, 3, 7, 0x82, 0x80, 0],
            &[1, 2, 7, 3],
        ];
        let (a, b) = (of(&TEXTS, &[1, 2, 7, 3]), of(&TEXTS, &[1, 3, 7, 2]));
        assert_eq!(read(&TEXTS, &sets), [a, a, b, a]);
    }

    #[test] // those of more bytes than are compared at once, and those of more labels than are kept
    fn sets_of_many_labels_are_read_up_to_a_number() {
        let names: Vec<String> = (0..100).map(|i| format!("name{i:03}")).collect();
        let mut texts = vec!["", "__name__", "up"];
        texts.extend(names.iter().map(String::as_str));
        for count in [30, 31, 32, 33] {
            let set = |last| -> Vec<u8> {
                let names = (3..2 + count).flat_map(|name| [name, 2]);
                [1, 2].into_iter().chain(names).chain([99, last]).collect()
            };
            let (a, b) = (set(2), set(3));
            let found = read(&texts, &[&a, &b, &a]);
            if usize::from(count) < LABELS_MAX {
                let [a, b] = [a, b].map(|set| of(&texts, &set));
                assert_eq!(found, [a, b, a], "{count} labels and one more");
            } else {
                assert_eq!(found, [None; 3]);
            }
        }
    }

    #[test]
    fn long_labels_and_those_at_the_end_of_the_body_are_looked_up() {
        let long = "v".repeat(LABEL_BYTES_MAX);
        let mut body = [b"__name__up", long.as_bytes()].concat();
        let body = Padded::pad(&mut body);
        let symbol = |offset, len| Symbol {
            text: Span { offset, len },
            hash: crate::model::TextHash::default(),
        };
        let len = u32::try_from(LABEL_BYTES_MAX).unwrap();
        let symbols = [symbol(0, 8), symbol(8, 2), symbol(10, len - 20), symbol(10, len - 19)];
        let table = Table { body, symbols: &symbols, fingerprinter: &Fingerprinter::new(1) };
        assert_eq!(table.find(0, 1).unwrap().bytes, 8 + 2 + LABEL_HEADER_BYTES);
        assert_eq!(table.find(0, 2).unwrap().bytes, LABEL_BYTES_MAX);
        assert!(table.find(0, 3).is_none());
    }
}
