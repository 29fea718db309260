//! Whole numbers of few bits if they are small, as Prometheus's histogram and XOR2 chunks have them.
//!
//! ```text
//! signed    0              zero
//!           10 3 bits, 110 6, 1110 9, 11110 12, 111110 18, 1111110 25, 11111110 56, 11111111 64
//!           n bits hold -(2^(n-1) - 1) ..= 2^(n-1)
//! unsigned  the same; n bits hold 0 ..= 2^n - 1
//! ```
//! Source: Prometheus, `tsdb/chunkenc/varbit.go`.

use super::bits::{BitReader, BitWriter};

/// How many bits a number has, by how many ones stand before it.
const WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

/// Appends `n`.
#[inline]
pub fn push_signed(bits: &mut BitWriter, n: i64) {
    if n == 0 {
        bits.push(0, 1);
        return;
    }
    // The smallest width w with -2^(w-1) < n <= 2^(w-1), which is that n - 1 fits the two's complement of w bits.
    let m = n.wrapping_sub(1);
    let needed = 65 - (m ^ (m >> 63)).leading_zeros();
    // The smallest number of all wraps to the largest, which needs them all.
    push(bits, n.cast_unsigned(), needed);
}

/// Appends `n`.
#[inline]
pub fn push_unsigned(bits: &mut BitWriter, n: u64) {
    if n == 0 {
        bits.push(0, 1);
    } else {
        push(bits, n, 64 - n.leading_zeros());
    }
}

/// Appends a number in the first width that has `needed` bits.
#[inline]
fn push(bits: &mut BitWriter, n: u64, needed: u32) {
    match FIRST_WIDTH.get(needed as usize) {
        Some(&ones @ 1..8) => {
            let width = WIDTHS.get(usize::from(ones)).copied().unwrap_or_default();
            let prefix = (1u64 << (ones + 1)) - 2;
            bits.push(prefix << width | n & ((1 << width) - 1), u32::from(ones) + 1 + width);
        }
        _ => {
            bits.push(0xff, 8);
            bits.push(n, 64);
        }
    }
}

/// How many ones stand before a number that needs so many bits.
const FIRST_WIDTH: [u8; 65] = first_widths();

#[expect(clippy::indexing_slicing, reason = "when compiling, where `get` cannot be used")]
const fn first_widths() -> [u8; 65] {
    let (mut first, mut needed, mut ones) = ([1; 65], 1, 1);
    while needed < first.len() {
        if needed > WIDTHS[ones as usize] as usize {
            ones += 1;
        }
        first[needed] = ones;
        needed += 1;
    }
    first
}

/// The signed number that comes next; `None` if it is cut off.
#[inline]
pub fn signed(bits: &mut BitReader<'_>) -> Option<i64> {
    let (n, width) = read(bits)?;
    let n = n.cast_signed();
    Some(if width < 64 && n > (1i64 << width) >> 1 { n - (1 << width) } else { n })
}

/// The unsigned number that comes next; `None` if it is cut off.
#[inline]
pub fn unsigned(bits: &mut BitReader<'_>) -> Option<u64> {
    Some(read(bits)?.0)
}

/// A number and in how many bits it is written.
#[inline]
fn read(bits: &mut BitReader<'_>) -> Option<(u64, u32)> {
    let width = *WIDTHS.get(bits.ones(8)? as usize)?;
    Some((bits.bits(width)?, width))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Upstream's table, as it stands there.
    fn bits_of_signed(n: i64) -> u64 {
        match n {
            0 => 1,
            -3..=4 => 5,
            -31..=32 => 9,
            -255..=256 => 13,
            -2047..=2048 => 17,
            -131_071..=131_072 => 24,
            -16_777_215..=16_777_216 => 32,
            -36_028_797_018_963_967..=36_028_797_018_963_968 => 64,
            _ => 72,
        }
    }

    fn written(n: i64) -> (u64, i64) {
        let (mut bits, mut out) = (BitWriter::default(), Vec::new());
        push_signed(&mut bits, n);
        bits.write_to(&mut out);
        (bits.len_bits(), signed(&mut BitReader::new(&out)).unwrap())
    }

    #[test]
    fn signed_numbers_change_their_width_where_upstreams_do() {
        for width in 0..64 {
            for near in -2i64..=2 {
                for n in [
                    (1i64 << width).wrapping_add(near),
                    (1i64 << width).wrapping_neg().wrapping_add(near),
                ] {
                    assert_eq!(written(n), (bits_of_signed(n), n));
                }
            }
        }
    }

    #[test]
    fn numbers_have_these_bits() {
        let (mut bits, mut out) = (BitWriter::default(), Vec::new());
        push_signed(&mut bits, 4); // 10 100
        push_signed(&mut bits, -3); // 10 101
        push_unsigned(&mut bits, 8); // 110 001000
        push_unsigned(&mut bits, 7); // 10 111
        bits.write_to(&mut out);
        assert_eq!(out, [0b1010_0101, 0b0111_0001, 0b0001_0111]);
    }

    proptest! {
        #[test]
        fn any_number_comes_back(n: i64, u: u64, shift in 0u32..64, before in 0u32..64) {
            let (n, u) = (n >> shift, u >> shift);
            let (mut bits, mut out) = (BitWriter::default(), Vec::new());
            bits.push(0, before);
            push_signed(&mut bits, n);
            push_unsigned(&mut bits, u);
            bits.write_to(&mut out);
            let unsigned_bits = match u {
                0 => 1,
                1..=7 => 5,
                8..=63 => 9,
                64..=511 => 13,
                512..=4095 => 17,
                4096..=262_143 => 24,
                262_144..=33_554_431 => 32,
                33_554_432..=72_057_594_037_927_935 => 64,
                _ => 72,
            };
            prop_assert_eq!(bits.len_bits(), u64::from(before) + bits_of_signed(n) + unsigned_bits);
            let mut reader = BitReader::new(&out);
            prop_assert_eq!(reader.bits(before), Some(0));
            prop_assert_eq!(signed(&mut reader), Some(n));
            prop_assert_eq!(unsigned(&mut reader), Some(u));
        }

        #[test]
        fn cut_numbers_are_none(n: i64, shift in 0u32..64) {
            let (mut bits, mut out) = (BitWriter::default(), Vec::new());
            push_signed(&mut bits, n >> shift);
            bits.write_to(&mut out);
            prop_assert_eq!(signed(&mut BitReader::new(&out[..out.len() - 1])), None);
        }
    }
}
