//! One point of a matrix, put together where its parts can be copied by a known length: `,[1.5,"2"]`.
//!
//! An answer may have millions of them, and to append each part to the answer costs more than to make it.

use super::number;
use crate::model::TimestampMs;

/// As long as the longest time, with what stands around it: `[-9223372036854775.807,`.
const STAMP_BYTES: usize = 24;
/// As long as the longest point, with the comma before it.
const LINE_BYTES: usize = 64;

/// What stands before a value: `[1.5,`. It is the same for all series.
#[derive(Clone, Copy)]
pub struct Stamp {
    text: [u8; STAMP_BYTES],
    len: u8,
}

impl Stamp {
    /// That of a time.
    pub fn of(t: TimestampMs) -> Self {
        let mut written = Vec::with_capacity(STAMP_BYTES);
        written.push(b'[');
        number::timestamp(&mut written, t);
        written.push(b',');
        let mut stamp = Self { text: [0; STAMP_BYTES], len: 0 };
        for (place, byte) in stamp.text.iter_mut().zip(written) {
            *place = byte;
            stamp.len += 1;
        }
        stamp
    }
}

/// Appends a point.
#[inline]
pub fn point(out: &mut Vec<u8>, is_next: bool, stamp: &Stamp, v: f64) {
    let start = out.len();
    // Its room is taken at once, and what is left of it given back. (To put it together elsewhere and to copy it would wait for
    // each byte to be written.)
    out.extend_from_slice(&[0; LINE_BYTES]);
    let Some(bytes) = out.last_chunk_mut() else { return };
    let mut line = Line { bytes, len: 0 };
    if is_next {
        line.push(b',');
    }
    line.put_start(&stamp.text, usize::from(stamp.len));
    line.push(b'"');
    let whole = number::whole(v);
    if let Some(whole) = whole {
        if v.is_sign_negative() {
            line.push(b'-');
        }
        line.push_digits(whole);
        line.push(b'"');
        line.push(b']');
    }
    let end = start + line.len;
    out.truncate(end);
    if whole.is_none() {
        number::bare_value(out, v);
        out.extend_from_slice(b"\"]");
    }
}

/// The bytes of a point, as far as they are there.
struct Line<'a> {
    bytes: &'a mut [u8; LINE_BYTES],
    len: usize,
}

#[expect(clippy::indexing_slicing, reason = "the longest point has 53 bytes")]
impl Line<'_> {
    #[inline(always)]
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// Appends the first `len` of these bytes.
    #[inline(always)]
    fn put_start(&mut self, bytes: &[u8; STAMP_BYTES], len: usize) {
        self.bytes[self.len..self.len + STAMP_BYTES].copy_from_slice(bytes);
        self.len += len;
    }

    /// Appends a number below 10^16.
    #[inline(always)]
    fn push_digits(&mut self, n: u64) {
        let (high, low) = (n / HALF, n % HALF);
        let digits = eight_digits(if high > 0 { high } else { low });
        // Of zero, the last of the zeros.
        let zeros = (digits.trailing_zeros() / 8).min(7);
        self.put_eight((digits | ZEROS) >> (8 * zeros), 8 - zeros as usize);
        if high > 0 {
            self.put_eight(eight_digits(low) | ZEROS, 8);
        }
    }

    /// Appends the first `len` of these eight bytes, of which the first one is the lowest.
    #[inline(always)]
    fn put_eight(&mut self, bytes: u64, len: usize) {
        self.bytes[self.len..self.len + 8].copy_from_slice(&bytes.to_le_bytes());
        self.len += len;
    }
}

/// Eight times the character of zero.
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
/// Behind the numbers of eight digits.
const HALF: u64 = 100_000_000;

/// The digits of a number below 10^8, the first one lowest, with zeros before: all of them at once, in halves of the word, in
/// quarters, in eighths. What is multiplied instead of divided by 100 and by 10 is exact for numbers of so few digits.
#[inline(always)]
fn eight_digits(n: u64) -> u64 {
    let fours = (n / 10_000) | ((n % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | (fours - hundreds * 100) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (twos - tens * 10) << 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_like_its_parts(t: i64, v: f64) {
        let (mut line, mut parts) = (Vec::new(), Vec::new());
        let stamp = Stamp::of(TimestampMs(t));
        point(&mut line, false, &stamp, v);
        point(&mut line, true, &stamp, v);
        for open in ["[", ",["] {
            parts.extend_from_slice(open.as_bytes());
            number::timestamp(&mut parts, TimestampMs(t));
            parts.push(b',');
            number::value(&mut parts, v);
            parts.push(b']');
        }
        assert_eq!(String::from_utf8(line).unwrap(), String::from_utf8(parts).unwrap(), "{v:e}");
    }

    #[test]
    fn all_numbers_of_four_digits_have_them_in_either_half() {
        let of = |n: u64| eight_digits(n).to_le_bytes().map(|digit| char::from(b'0' + digit));
        for n in 0..10_000 {
            assert_eq!(String::from_iter(of(n)), format!("{n:08}"));
            assert_eq!(String::from_iter(of(n * 10_000 + 9_999)), format!("{n:04}9999"));
        }
    }

    proptest! {
        #[test]
        fn a_point_reads_like_its_parts(t: i64, bits: u64, n: u64, digits in 0u32..20) {
            is_like_its_parts(t, f64::from_bits(bits));
            let whole = (n % 10u64.pow(digits)) as f64;
            is_like_its_parts(t, whole);
            is_like_its_parts(t, -whole);
            is_like_its_parts(t, whole / 8.0);
        }
    }

    #[test]
    fn the_longest_and_the_shortest_points_have_room() {
        let values = [
            0.0,
            -0.0,
            9.0,
            10.0,
            99.0,
            100.0,
            1e15,
            1e16 - 2.0,
            1e16,
            -1e16,
            1e21,
            9007199254740993.0,
            -9.223372036854775e18,
            -1.2345678901234567e-308,
            -0.000001234567890123456,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
        ];
        for t in [i64::MIN, -1, 0, 1, 1000, i64::MAX] {
            values.iter().for_each(|v| is_like_its_parts(t, *v));
        }
    }
}
