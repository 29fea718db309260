//! Puts the label sets of a 2.0 request together in canonical form.
//!
//! Neighbours in a request are neighbours in a scrape: most labels of a series are those of the series before it, at the
//! same place in the list. So each place remembers the bytes of its references and where its label was last written. The
//! same bytes are the same label, which is copied whole, without decoding a reference or looking at a symbol. With it a
//! sample of `benches/wire.rs` takes 98 ns, hashes and all, where the general walk took 435.

use super::batch_writer::index;
use super::padded::{PADDING_BYTES, Padded, Place};
use super::symbols::Symbols;

/// Sets of more labels go the general way.
const LABELS_MAX: usize = 32;

/// A set is built if there is so much room for it; one that needs more goes the general way.
pub(super) const ROOM_BYTES: usize = 4096;

/// Copies are made in pieces of this size; what is too much is overwritten by what follows.
const PIECE_BYTES: usize = 64;

const LABEL_TAG: u8 = 0x0a;
const NAME_TAG: u8 = 0x0a;
const VALUE_TAG: u8 = 0x12;

/// Builds sets one after the other into one buffer.
pub(super) struct SetBuilder {
    last: [Last; LABELS_MAX],
    /// Where the last set ended, before which all that `last` points to lies.
    end: usize,
}

/// What a place in the list of labels had last.
#[derive(Clone, Copy)]
struct Last {
    /// The bytes of its two references, as far as `mask` has ones.
    references: u64,
    mask: u64,
    /// The first bytes of its name, and the name's symbol.
    key: u64,
    name: u32,
    references_len: u32,
    /// Where the label was written, and how many bytes it takes.
    at: u32,
    len: u32,
}

/// Equals no four bytes.
const NO_REFERENCES: u64 = 1 << 32;

impl Last {
    const NOTHING: Self = Self {
        references: NO_REFERENCES,
        mask: NO_REFERENCES,
        key: 0,
        name: 0,
        references_len: 0,
        at: 0,
        len: 0,
    };
}

impl SetBuilder {
    pub(super) fn new() -> Self {
        Self { last: [Last::NOTHING; LABELS_MAX], end: 0 }
    }

    /// Writes the set whose references lie at `references` to `out`, from `start` on, and says where it ends. `None` if it
    /// has another spelling than canonical form, or not the metric name in front, or no room; what is behind `start` is
    /// then of no use.
    ///
    /// Everything in `out` before such an end has to stay as it is.
    #[inline(always)]
    pub(super) fn build(
        &mut self,
        body: Padded<'_>,
        references: Place,
        symbols: &Symbols,
        out: &mut [u8],
        start: usize,
    ) -> Option<usize> {
        let room =
            out.get_mut(..start.checked_add(ROOM_BYTES)?).filter(|_| symbols.are_pieces())?;
        if self.end > start {
            self.forget();
        }
        match self.labels(body, references, symbols, room, start) {
            Some(end) => {
                self.end = end;
                Some(end)
            }
            None => {
                self.forget();
                None
            }
        }
    }

    /// What was written last may be overwritten.
    #[cold]
    #[inline(never)]
    fn forget(&mut self) {
        *self = Self::new();
    }

    /// `room` ends [`ROOM_BYTES`] behind `start`, and what `self.last` points to is before `start`.
    #[inline(always)]
    fn labels(
        &mut self,
        body: Padded<'_>,
        references: Place,
        symbols: &Symbols,
        room: &mut [u8],
        start: usize,
    ) -> Option<usize> {
        let (mut at, mut end) = (references.start, start);
        let mut key_before = 0;
        for i in 0..LABELS_MAX {
            if at >= references.end {
                break;
            }
            let last = self.last.get_mut(i)?;
            let bytes = u64::from(u32::from_le_bytes(body.read(at)?));
            if (bytes ^ last.references) & last.mask == 0 {
                let (from, len) = (last.at as usize, last.len as usize);
                last.at = index(end);
                if end + len + PIECE_BYTES > room.len() {
                    return None;
                }
                let room = room.as_mut_ptr();
                // SAFETY: `from` is where a label of this length was written before `start`, and `end` is not before
                // `start`; so the label is before `end`, and there is room for the pieces of a copy, as just asked.
                unsafe { copy(room.add(from), room.add(end), len) };
            } else if !new_label(body, at, symbols, room, end, last) {
                return None;
            }
            if last.key <= key_before && !self.is_sorted(i, body, symbols) {
                return None;
            }
            let last = self.last.get(i)?;
            key_before = last.key;
            at += last.references_len as usize;
            end += last.len as usize;
        }
        let first = self.last.first()?;
        let has_name = end > start && symbols.get(first.name)?.is_metric_name();
        (at == references.end && has_name).then_some(end)
    }

    /// Does the name of label `i` sort behind that of the label before it, if there is one?
    #[cold]
    #[inline(never)]
    fn is_sorted(&self, i: usize, body: Padded<'_>, symbols: &Symbols) -> bool {
        let text = |i: usize| Some(symbols.get(self.last.get(i)?.name)?.text(body));
        i == 0 || text(i - 1) < text(i)
    }
}

/// Writes the label of the two references at `at` to `end` of `room`, and keeps it in `last`. Not part of the loop, whose
/// few variables would no longer fit the registers.
#[inline(never)]
fn new_label(
    body: Padded<'_>,
    at: usize,
    symbols: &Symbols,
    room: &mut [u8],
    end: usize,
    last: &mut Last,
) -> bool {
    let Some((name, name_bytes)) = reference(body, at) else { return false };
    let Some((value, value_bytes)) = reference(body, at + name_bytes as usize) else {
        return false;
    };
    let (Some(name_symbol), Some(value_symbol)) = (symbols.get(name), symbols.get(value)) else {
        return false;
    };
    let (name_place, value_place) = (name_symbol.place(), value_symbol.place());
    let inner_len = 2 + name_place.len() + value_place.len();
    let (head, head_len) = if inner_len < 1 << 7 {
        (u32::from_le_bytes([LABEL_TAG, 0, NAME_TAG, 0]) | index(inner_len) << 8, 3)
    } else {
        let len = index(inner_len & 0x7f | 0x80 | inner_len >> 7 << 8);
        (u32::from_le_bytes([LABEL_TAG, 0, 0, NAME_TAG]) | len << 8, 4)
    };
    let len = head_len - 1 + inner_len;
    let is_empty = name_symbol.is_empty() | value_symbol.is_empty();
    let is_long = (inner_len >= 1 << 14) | (end + len + PIECE_BYTES > room.len());
    let (Some(name_text), Some(value_text)) =
        (body.bytes().get(name_place.start..), body.bytes().get(value_place.start..))
    else {
        return false;
    };
    if is_empty | is_long | (name_place.end > body.len()) | (value_place.end > body.len()) {
        return false;
    }
    // SAFETY: head, name, tag and value are written within `len` bytes of `end`, behind which there is room for a piece, as
    // just asked; and both texts end in the body, behind which there are more zeros than a piece has bytes.
    unsafe {
        let to = room.as_mut_ptr().add(end);
        to.cast::<[u8; 4]>().write(head.to_le_bytes());
        let to = to.add(head_len);
        copy(name_text.as_ptr(), to, name_place.len());
        let to = to.add(name_place.len());
        to.write(VALUE_TAG);
        copy(value_text.as_ptr(), to.add(1), value_place.len());
    }
    let references_len = name_bytes + value_bytes;
    let (references, mask) = if references_len <= 4 {
        let mask = u64::from(u32::MAX >> (8 * (4 - references_len)));
        let bytes = body.read(at).map(u32::from_le_bytes).unwrap_or_default();
        (u64::from(bytes) & mask, mask)
    } else {
        (NO_REFERENCES, NO_REFERENCES)
    };
    let (key, at, len) = (name_symbol.key(), index(end), index(len));
    *last = Last { references, mask, key, name, references_len, at, len };
    true
}

/// The reference at `at` and how many bytes it takes; `None` for more than three, which no symbol needs.
#[inline(always)]
fn reference(body: Padded<'_>, at: usize) -> Option<(u32, u32)> {
    let [b0, b1, b2] = body.read(at)?.map(u32::from);
    if b0 < 0x80 {
        Some((b0, 1))
    } else if b1 < 0x80 {
        Some((b0 & 0x7f | b1 << 7, 2))
    } else if b2 < 0x80 {
        Some((b0 & 0x7f | (b1 & 0x7f) << 7 | b2 << 14, 3))
    } else {
        None
    }
}

const _: () =
    assert!(PIECE_BYTES <= PADDING_BYTES, "a text at the body's end is read in whole pieces");

/// Copies `len` bytes in whole pieces.
///
/// # Safety
/// At `from` and at `to` there are `len` bytes and another piece, of one allocation each. They may overlap if `from` is
/// lower.
#[inline(always)]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the first piece ends at most a piece behind `len`, as the caller promises.
    unsafe { copy_piece(from, to) };
    if len > PIECE_BYTES {
        // SAFETY: as the caller promises.
        unsafe { copy_more(from, to, len) };
    }
}

/// What is behind the first piece.
///
/// # Safety
/// That of [`copy`].
#[cold]
#[inline(never)]
unsafe fn copy_more(from: *const u8, to: *mut u8, len: usize) {
    let mut done = PIECE_BYTES;
    while done < len {
        // SAFETY: `done` is below `len`, so the piece ends at most a piece behind `len`.
        unsafe { copy_piece(from.add(done), to.add(done)) };
        done += PIECE_BYTES;
    }
}

/// # Safety
/// There is a piece at both.
#[inline(always)]
unsafe fn copy_piece(from: *const u8, to: *mut u8) {
    // SAFETY: as the caller promises; an array of bytes has no alignment.
    unsafe {
        let piece = from.cast::<[u8; PIECE_BYTES]>().read();
        to.cast::<[u8; PIECE_BYTES]>().write(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::labels::push_canonical;

    /// What the builder makes of sets of references below 128, one behind the other.
    fn build(texts: &[&str], sets: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
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
        let (symbols, _) = Symbols::in_front(body).unwrap();
        assert_eq!(symbols.len(), texts.len());
        let (mut builder, mut out, mut at) = (SetBuilder::new(), vec![0xff; 1 << 16], 0);
        let mut all = Vec::new();
        for place in places {
            let end = builder.build(body, place, &symbols, &mut out, at);
            all.push(end.map(|end| out[at..end].to_vec()));
            at = end.unwrap_or(at);
        }
        all
    }

    const TEXTS: [&str; 8] = ["", "__name__", "up", "down", "instance", "instance_id", "a", "job"];

    fn canonical(labels: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for pair in labels.chunks(2) {
            let text = |r: u8| TEXTS[usize::from(r)].as_bytes();
            push_canonical(&mut out, text(pair[0]), text(pair[1]));
        }
        Some(out)
    }

    #[test]
    fn a_set_of_pieces_is_in_canonical_form_whatever_was_built_before_it() {
        let sets: [&[u8]; 9] = [
            &[1, 2],
            &[1, 2, 4, 6],
            &[1, 3, 4, 6, 5, 6],
            &[1, 3, 5, 6],
            &[1, 3, 4, 6, 5, 6, 7, 2],
            &[1, 3, 4, 6, 5, 6, 7, 2],
            &[1, 2],
            &[1, 2, 7, 3],
            &[1, 6, 5, 2, 7, 3],
        ];
        assert_eq!(build(&TEXTS, &sets), sets.map(canonical));
    }

    #[test] // and neither those before nor those behind suffer from it
    fn a_set_that_is_not_sorted_named_and_whole_is_not_built() {
        for wrong in [
            &[][..],                         // nothing
            &[6, 2],                         // no metric name
            &[1, 0],                         // an empty one
            &[1],                            // an odd number
            &[1, 2, 7],                      // likewise
            &[1, 2, 7, 8],                   // behind the symbols
            &[1, 2, 7, 2, 6, 2],             // not sorted
            &[1, 2, 5, 2, 4, 2],             // likewise, seen only behind eight bytes
            &[1, 2, 1, 2],                   // twice
            &[1, 2, 5, 2, 5, 2],             // likewise
            &[1, 2, 0, 2],                   // an empty name
            &[1, 2, 7, 0],                   // an empty value
            &[1, 2, 7, 0x80],                // cut
            &[1, 2, 0x87, 0x80, 0x80, 0, 2], // a reference of four bytes
        ] {
            let (good, other): (&[u8], &[u8]) = (&[1, 2, 5, 6, 7, 2], &[1, 3, 5, 6, 7, 2]);
            let built = build(&TEXTS, &[good, wrong, other, wrong, good]);
            let expected = [canonical(good), None, canonical(other), None, canonical(good)];
            assert_eq!(built, expected, "{wrong:?}");
        }
    }

    #[test]
    fn an_overlong_reference_is_the_same_reference() {
        let sets: [&[u8]; 3] = [&[1, 2, 7, 3], &[0x81, 0, 2, 7, 0x83, 0x80, 0], &[1, 2, 7, 3]];
        let expected = canonical(&[1, 2, 7, 3]);
        assert_eq!(build(&TEXTS, &sets), [expected.clone(), expected.clone(), expected]);
    }

    #[test] // a copy goes on in pieces behind the first one
    fn labels_of_any_length_are_copied() {
        for len in 1..128 {
            let value = "v".repeat(len);
            let built = build(&["__name__", "up", "a", &value], &[&[0, 1, 2, 3], &[0, 1, 2, 3]]);
            let mut expected = Vec::new();
            push_canonical(&mut expected, b"__name__", b"up");
            push_canonical(&mut expected, b"a", value.as_bytes());
            assert_eq!(built, [Some(expected.clone()), Some(expected)], "{len} bytes");
        }
    }
}
