//! A decoded body with zeros behind it, so that reads of a fixed size may start anywhere in it.

use std::ops::Range;

/// How many zeros stand behind a body.
pub(super) const PADDING_BYTES: usize = 256;

/// Where a message or a text lies in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Place {
    #[inline(always)]
    pub(super) fn len(self) -> usize {
        self.end - self.start
    }
}

impl From<Range<usize>> for Place {
    fn from(Range { start, end }: Range<usize>) -> Self {
        Self { start, end }
    }
}

/// A body and the zeros behind it.
#[derive(Clone, Copy)]
pub(super) struct Padded<'b> {
    /// Private: the last [`PADDING_BYTES`] are zero, which unsafe code relies on.
    bytes: &'b [u8],
}

impl<'b> Padded<'b> {
    /// Appends the zeros to a body.
    pub(super) fn pad(body: &'b mut Vec<u8>) -> Self {
        body.extend_from_slice(&[0; PADDING_BYTES]);
        Self { bytes: body }
    }

    /// The body without the zeros.
    #[inline(always)]
    pub(super) fn body(self) -> &'b [u8] {
        self.bytes.get(..self.len()).unwrap_or_default()
    }

    /// The body with the zeros.
    #[inline(always)]
    pub(super) fn bytes(self) -> &'b [u8] {
        self.bytes
    }

    /// The length of the body.
    #[inline(always)]
    pub(super) fn len(self) -> usize {
        self.bytes.len() - PADDING_BYTES
    }

    /// `N` bytes from `at`; `None` if that is behind the body.
    #[inline(always)]
    pub(super) fn read<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        const {
            assert!(
                N <= PADDING_BYTES,
                "a read that starts in the body ends in the zeros behind it"
            )
        };
        // SAFETY: `at` is at most the body's length, and behind that are at least N zeros; bytes have no alignment.
        (at <= self.len()).then(|| unsafe { *self.bytes.as_ptr().add(at).cast() })
    }

    /// A one for each of the `N` bytes from `a` that is not the one as far from `b`, the first byte's lowest; at most 64, and
    /// a multiple of 16. `None` if one is behind the body.
    #[inline(always)]
    pub(super) fn differing<const N: usize>(self, a: usize, b: usize) -> Option<u64> {
        const { assert!(N <= 64 && N.is_multiple_of(16)) };
        let (a, b): (&[u8; N], &[u8; N]) =
            (self.bytes.get(a..)?.first_chunk()?, self.bytes.get(b..)?.first_chunk()?);
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8};
            let mut differ = 0;
            let pieces = a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0);
            for (i, (a, b)) in pieces.enumerate() {
                // SAFETY: every x86-64 has SSE2, and each load is of one array of 16 bytes.
                let equal = unsafe {
                    let a = _mm_loadu_si128(a.as_ptr().cast());
                    let b = _mm_loadu_si128(b.as_ptr().cast());
                    _mm_movemask_epi8(_mm_cmpeq_epi8(a, b))
                };
                differ |= u64::from(equal.cast_unsigned() ^ 0xffff) << (16 * i);
            }
            Some(differ)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let bytes = a.iter().zip(b).rev();
            Some(bytes.fold(0, |bits, (a, b)| bits << 1 | u64::from(a != b)))
        }
    }

    /// The content of the field that starts at `at`, if it has this tag and its length takes at most three bytes.
    #[inline(always)]
    pub(super) fn message_at(self, at: usize, tag: u8) -> Option<Place> {
        let [found, b0, b1, b2] = self.read(at)?;
        let (b0, b1, b2) = (usize::from(b0), usize::from(b1), usize::from(b2));
        let (len, header) = match (b0 < 0x80, b1 < 0x80, b2 < 0x80) {
            (true, _, _) => (b0, 2),
            (_, true, _) => (b0 & 0x7f | b1 << 7, 3),
            (_, _, true) => (b0 & 0x7f | (b1 & 0x7f) << 7 | b2 << 14, 4),
            _ => return None,
        };
        let (start, end) = (at + header, at + header + len);
        (found == tag && end <= self.len()).then_some(Place { start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_that_differs_is_found() {
        for i in 0..64 {
            let mut body = vec![7; 128];
            body[64 + i] ^= 0x80;
            let padded = Padded::pad(&mut body);
            assert_eq!(padded.differing::<64>(0, 64), Some(1 << i));
            assert_eq!(padded.differing::<64>(64, 0), Some(1 << i));
            assert_eq!(padded.differing::<32>(64, 64), Some(0));
            assert_eq!(padded.differing::<16>(0, 129 + PADDING_BYTES), None);
        }
    }
}
