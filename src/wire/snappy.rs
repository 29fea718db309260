//! Snappy's block format, decoded.
//!
//! ```text
//! block    varint(decoded length) element*
//! element  tag u8, its low two bits the kind; then by kind                          integers little-endian
//!          0 literal   tag >> 2 is len - 1, or from 60 on len - 1 follows in 1 to 4 bytes; then len bytes
//!          1 copy      len = (tag >> 2 & 7) + 4, distance = (tag >> 5) << 8 | u8
//!          2 copy      len = (tag >> 2) + 1, distance u16
//!          3 copy      len = (tag >> 2) + 1, distance u32
//! ```
//! A copy repeats `len` bytes from `distance` bytes back; it may overlap itself, and then repeats a pattern. Source:
//! google/snappy, `format_description.txt`.
//!
//! A remote-write body has 7 elements a sample, of kinds and lengths that no branch predictor guesses. So the fast loop
//! has no branch on them: it copies 64 bytes for every element, whichever its length and wherever from, and the next
//! element overwrites what was too much. It runs while both buffers have room for so many elements of the largest size,
//! and leaves what it does not do to the careful path: long literals, overlapping copies, distances of four bytes, both
//! ends. 31 ns a sample of 206 bytes where the crate snap takes 46 (`benches/wire.rs`); a property test holds it to snap.

use std::hint::select_unpredictable;
use std::ptr;

/// Why bytes are not a block. Offsets count from the start of the compressed bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnappyError {
    /// The decoded length in front is missing or too large.
    #[error("no length in front: {0}")]
    Header(snap::Error),
    /// An element that ends behind the block.
    #[error("byte {offset}: an element of {len} bytes, {left} are left")]
    Cut {
        /// Where its content starts.
        offset: usize,
        /// How long that is.
        len: usize,
        /// How many bytes there are.
        left: usize,
    },
    /// A copy from before the start, or from nowhere.
    #[error("byte {offset}: a copy from {distance} bytes back, where {decoded} are decoded")]
    Distance {
        /// Where the element starts.
        offset: usize,
        /// From how far back.
        distance: usize,
        /// How many bytes there are by then.
        decoded: usize,
    },
    /// An element that leads beyond the stated length.
    #[error("byte {offset}: {len} more bytes, where {decoded} of {stated} are decoded")]
    Overrun {
        /// Where the element starts.
        offset: usize,
        /// How many bytes it decodes to.
        len: usize,
        /// How many bytes there are by then.
        decoded: usize,
        /// How many there should be in all.
        stated: usize,
    },
    /// Fewer bytes than stated.
    #[error("{decoded} bytes decoded, {stated} were stated")]
    Short {
        /// How many bytes there are.
        decoded: usize,
        /// How many there should be.
        stated: usize,
    },
}

/// The decoded length that stands in front of `wire`.
pub(super) fn stated_len(wire: &[u8]) -> Result<usize, SnappyError> {
    if wire.is_empty() {
        return Err(SnappyError::Header(snap::Error::Empty));
    }
    snap::raw::decompress_len(wire).map_err(SnappyError::Header)
}

/// Replaces what is in `out` by what `wire` holds. Allocates as much as `wire` states and `spare` bytes: the caller has
/// looked at that.
pub(super) fn decompress(wire: &[u8], out: &mut Vec<u8>, spare: usize) -> Result<(), SnappyError> {
    let stated = stated_len(wire)?;
    out.clear();
    out.reserve(stated + spare);
    let mut at = 1 + wire.iter().take_while(|byte| **byte >= 0x80).count();
    while at < wire.len() {
        at = plain_elements(wire, at, out, stated);
        if at < wire.len() {
            at = element(wire, at, out, stated)?;
        }
    }
    if out.len() < stated {
        return Err(SnappyError::Short { decoded: out.len(), stated });
    }
    Ok(())
}

/// Decodes the element at `at`, whatever it is, and says where it ends.
#[cold]
#[inline(never)]
fn element(wire: &[u8], at: usize, out: &mut Vec<u8>, stated: usize) -> Result<usize, SnappyError> {
    let (mut rest, decoded) = (wire.get(at..).unwrap_or_default(), out.len());
    let mut take = |len: usize| {
        let offset = wire.len() - rest.len();
        let left = rest.len();
        let (taken, behind) =
            rest.split_at_checked(len).ok_or(SnappyError::Cut { offset, len, left })?;
        rest = behind;
        Ok(taken)
    };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte));
    let tag = number(take(1)?);
    let (len, distance) = match tag & 3 {
        0 if tag >> 2 < 60 => ((tag >> 2) + 1, None),
        0 => (number(take((tag >> 2) - 59)?) + 1, None),
        1 => ((tag >> 2 & 7) + 4, Some(tag >> 5 << 8 | number(take(1)?))),
        2 => ((tag >> 2) + 1, Some(number(take(2)?))),
        _ => ((tag >> 2) + 1, Some(number(take(4)?))),
    };
    if len > stated - decoded {
        return Err(SnappyError::Overrun { offset: at, len, decoded, stated });
    }
    let Some(distance) = distance else {
        out.extend_from_slice(take(len)?);
        return Ok(wire.len() - rest.len());
    };
    if distance == 0 || distance > decoded {
        return Err(SnappyError::Distance { offset: at, distance, decoded });
    }
    let mut left = len;
    while left > 0 {
        let from = out.len() - distance;
        let some = left.min(distance);
        out.extend_from_within(from..from + some);
        left -= some;
    }
    Ok(wire.len() - rest.len())
}

/// What the fast loop copies for an element, and the longest element that it does.
const COPY_BYTES: usize = 64;
/// The longest element that it reads: a literal of 60 bytes and its tag.
const ELEMENT_BYTES: usize = 61;
/// How far it reads from the start of an element: a tag behind what could be a literal of 64 bytes.
const READ_BYTES: usize = 66;

/// What a tag says: the length in the low eight bits, the distance's high bits from the ninth on, or [`CAREFUL`].
const TAGS: [u16; 256] = tags();
const CAREFUL: u16 = 1 << 15;

#[expect(
    clippy::indexing_slicing,
    reason = "runs while compiling, where an index out of bounds is an error"
)]
const fn tags() -> [u16; 256] {
    let mut tags = [CAREFUL; 256];
    let mut tag = 0u16;
    while tag < 256 {
        if tag & 3 == 0 && tag >> 2 < 60 || tag & 3 == 2 {
            tags[tag as usize] = (tag >> 2) + 1;
        } else if tag & 3 == 1 {
            tags[tag as usize] = ((tag >> 2 & 7) + 4) | (tag >> 5 << 8);
        }
        tag += 1;
    }
    tags
}

/// Decodes elements from `at` on until one needs care, and says where that one starts. `out` has room for `stated` bytes.
#[inline]
fn plain_elements(wire: &[u8], at: usize, out: &mut Vec<u8>, stated: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    if super::cpu::is_v3() {
        // SAFETY: the CPU has what the function is compiled for.
        return unsafe { plain_elements_v3(wire, at, out, stated) };
    }
    fast_loop(wire, at, out, stated)
}

/// [`fast_loop`] compiled for x86-64-v3, where 64 bytes are two loads and two stores.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,movbe")]
fn plain_elements_v3(wire: &[u8], at: usize, out: &mut Vec<u8>, stated: usize) -> usize {
    fast_loop(wire, at, out, stated)
}

#[inline(always)]
fn fast_loop(wire: &[u8], mut at: usize, out: &mut Vec<u8>, stated: usize) -> usize {
    assert!(stated <= out.capacity() && at <= wire.len(), "there is room for what is stated");
    loop {
        // So many elements fit both buffers whatever they are.
        let by_input = (wire.len() - at).saturating_sub(READ_BYTES - ELEMENT_BYTES) / ELEMENT_BYTES;
        let by_output = stated.saturating_sub(out.len()) / COPY_BYTES;
        let count = by_input.min(by_output);
        // A copy's bounds are checked by one comparison that holds from 64 decoded bytes on.
        if count == 0 || out.len() < COPY_BYTES {
            return at;
        }
        let (input, start) = (wire.as_ptr(), out.as_mut_ptr());
        // SAFETY: `at` is inside of `wire` (by `count` above there are bytes behind it), and the vector's length inside
        // of its allocation.
        let (mut from, mut to) = unsafe { (input.add(at), start.add(out.len())) };
        let mut careful = false;
        // SAFETY: in this block, by induction over the elements done. The i-th of at most `count` elements starts at most
        // i * ELEMENT_BYTES behind `at`, so READ_BYTES from `from` on are in `wire`; it is decoded to at most
        // i * COPY_BYTES behind the old length, so COPY_BYTES from `to` on are within the first `stated` bytes of the
        // allocation, and all bytes before `to` are written. What is read for one: the tag, four bytes behind it, one
        // byte at most READ_BYTES - 1 behind it; and COPY_BYTES from `source`, which is either directly behind the tag,
        // or `distance` before `to`, no less than `len` and no more than there are bytes before `to`. From there
        // COPY_BYTES may reach up to COPY_BYTES behind `to`, to bytes of the allocation that are not written yet: they
        // are copied untyped, and land behind the next `to`, where nothing counts. The first `len` bytes are all written.
        unsafe {
            let mut tag = usize::from(from.read());
            for _ in 0..count {
                let entry = const { &TAGS }.get_unchecked(tag);
                let (kind, len) = (tag & 3, usize::from(entry & 0xff));
                let behind = u32::from_le_bytes(from.add(1).cast::<[u8; 4]>().read());
                let is_literal = kind == 0;
                // Of the two bytes behind the tag, kind 1 has one for its distance, kind 2 both, a literal none.
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "32 bits are all that is wanted"
                )]
                let mask = (0xffff_00ff_0000u64 >> (16 * kind)) as u32 & 0xffff;
                let distance = usize::from(entry & 0x0700) | (behind & mask) as usize;
                let decoded = to.offset_from_unsigned(start);
                let distance = select_unpredictable(is_literal, decoded, distance);
                // `len <= distance <= decoded` in one comparison: below `len` the left side wraps around.
                let is_out_of_bounds = distance.wrapping_sub(len) > decoded - len;
                if entry & CAREFUL != 0 || is_out_of_bounds {
                    careful = true;
                    break;
                }
                let source =
                    select_unpredictable(is_literal, from.add(1), to.sub(distance).cast_const());
                // The next tag, without waiting for `from`: behind a literal, or among the bytes at hand.
                let behind_literal = usize::from(from.add((tag >> 2) + 2).read());
                let behind_copy = (behind >> (8 * kind)) as usize & 0xff;
                let used = select_unpredictable(is_literal, (tag >> 2) + 2, kind + 1);
                tag = select_unpredictable(is_literal, behind_literal, behind_copy);
                ptr::copy(source, to, COPY_BYTES);
                from = from.add(used);
                to = to.add(len);
            }
            at = from.offset_from_unsigned(input);
            let decoded = to.offset_from_unsigned(start);
            out.set_len(decoded);
        }
        if careful {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn decoded(wire: &[u8]) -> Result<Vec<u8>, SnappyError> {
        let mut out = b"what the last block left".to_vec();
        decompress(wire, &mut out, 0).map(|()| out)
    }

    /// What the crate snap makes of the same bytes.
    fn reference(wire: &[u8]) -> Option<Vec<u8>> {
        snap::raw::Decoder::new().decompress_vec(wire).ok()
    }

    fn block(stated: usize, elements: &[&[u8]]) -> Vec<u8> {
        let mut wire = Vec::new();
        let mut n = stated;
        while n >= 0x80 {
            wire.push(u8::try_from(n & 0x7f).unwrap() | 0x80);
            n >>= 7;
        }
        wire.push(u8::try_from(n).unwrap());
        elements.iter().for_each(|element| wire.extend_from_slice(element));
        wire
    }

    #[test] // golden bytes
    fn every_kind_of_element_is_decoded() {
        let wire = block(
            17,
            &[b"\x08abc", b"\x01\x03", b"\x06\x01\x00", b"\x0b\x06\x00\x00\x00", b"\xf0\x04rest."],
        );
        assert_eq!(decoded(&wire).unwrap(), b"abcabcaaaabcrest.");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (wire, error) in [
            (block(4, &[b"\x0cabc"]), SnappyError::Cut { offset: 2, len: 4, left: 3 }),
            (block(4, &[b"\xf8\x01"]), SnappyError::Cut { offset: 2, len: 3, left: 1 }),
            (
                block(9, &[b"\x00a", b"\x01\x02"]),
                SnappyError::Distance { offset: 3, distance: 2, decoded: 1 },
            ),
            (
                block(9, &[b"\x00a", b"\x01\x00"]),
                SnappyError::Distance { offset: 3, distance: 0, decoded: 1 },
            ),
            (
                block(4, &[b"\x00a", b"\x01\x01"]),
                SnappyError::Overrun { offset: 3, len: 4, decoded: 1, stated: 4 },
            ),
            (block(4, &[b"\x00a"]), SnappyError::Short { decoded: 1, stated: 4 }),
        ] {
            assert_eq!(decoded(&wire), Err(error), "{wire:x?}");
        }
        assert!(matches!(decoded(b""), Err(SnappyError::Header(_))));
    }

    /// One element, as bytes.
    fn an_element() -> impl Strategy<Value = Vec<u8>> {
        let literal = (1usize..=60).prop_flat_map(|len| vec(any::<u8>(), len)).prop_map(|bytes| {
            let tag = u8::try_from((bytes.len() - 1) << 2).unwrap();
            [&[tag][..], &bytes].concat()
        });
        let long = (1usize..300).prop_flat_map(|len| vec(any::<u8>(), len)).prop_map(|bytes| {
            let len = u16::try_from(bytes.len() - 1).unwrap().to_le_bytes();
            [&[61 << 2][..], &len, &bytes].concat()
        });
        let near = prop_oneof![3 => 1u16..600, 1 => any::<u16>()];
        prop_oneof![
            4 => literal,
            1 => long,
            6 => (0u8..8, 0u8..8, any::<u8>()).prop_map(|(len, high, low)| vec![1 | len << 2 | high << 5, low]),
            8 => (0u8..64, near).prop_map(|(len, d)| [&[2 | len << 2][..], &d.to_le_bytes()].concat()),
            1 => (0u8..64, 1u32..600).prop_map(|(len, d)| [&[3 | len << 2][..], &d.to_le_bytes()].concat()),
        ]
    }

    fn decoded_len(element: &[u8]) -> usize {
        let tag = usize::from(element[0]);
        match tag & 3 {
            0 if tag >> 2 == 61 => element.len() - 3,
            0 => element.len() - 1,
            1 => (tag >> 2 & 7) + 4,
            _ => (tag >> 2) + 1,
        }
    }

    /// Blocks of elements that mostly fit, behind enough bytes to copy from.
    fn blocks() -> impl Strategy<Value = Vec<u8>> {
        let lie = prop_oneof![9 => Just(0isize), 1 => -70isize..70];
        (vec(any::<u8>(), 200..700), vec(an_element(), 0..60), lie).prop_map(
            |(first, elements, lie)| {
                let len = u16::try_from(first.len() - 1).unwrap().to_le_bytes();
                let first = [&[61 << 2][..], &len, &first].concat();
                let all: Vec<&[u8]> =
                    std::iter::once(&first).chain(&elements).map(Vec::as_slice).collect();
                let stated = all.iter().map(|element| decoded_len(element)).sum::<usize>();
                block(stated.saturating_add_signed(lie), &all)
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_elements_decode_as_snap_decodes_them(wire in blocks()) {
            prop_assert_eq!(decoded(&wire).ok(), reference(&wire));
        }

        #[test]
        fn what_snap_encodes_comes_back(pieces in vec(("[a-c]{0,40}", 1usize..4), 0..80)) {
            let body: String = pieces.iter().map(|(piece, times)| piece.repeat(*times)).collect();
            let wire = snap::raw::Encoder::new().compress_vec(body.as_bytes()).unwrap();
            prop_assert_eq!(decoded(&wire).unwrap(), body.into_bytes());
        }

        #[test]
        fn damaged_blocks_decode_as_snap_decodes_them(
            mut wire in blocks(),
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
            is_cut in any::<bool>(),
        ) {
            for (at, byte) in damage {
                let at = 3 + at.index(wire.len() - 3); // the stated length bounds what is allocated
                wire[at] = byte;
            }
            if is_cut {
                wire.truncate(cut.index(wire.len()));
            }
            prop_assert_eq!(decoded(&wire).ok(), reference(&wire));
        }

        #[test]
        fn the_loop_for_any_cpu_agrees(wire in blocks()) {
            let stated = stated_len(&wire).unwrap();
            let start = 1 + wire.iter().take_while(|byte| **byte >= 0x80).count();
            let decode = |elements: fn(&[u8], usize, &mut Vec<u8>, usize) -> usize| {
                let mut out = Vec::with_capacity(stated);
                let at = element(&wire, start, &mut out, stated).ok()?;
                Some((elements(&wire, at, &mut out, stated), out))
            };
            prop_assert_eq!(decode(plain_elements), decode(fast_loop));
        }
    }
}
