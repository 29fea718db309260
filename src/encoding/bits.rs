//! Bits in the order of Prometheus's chunks: the first bit is the highest of the first byte.

/// Reads bits from the front of a byte slice; never past its end.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    rest: &'a [u8],
    /// Bits taken from `rest` and not yet handed out, at the top.
    buffer: u64,
    buffered: u32,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, buffer: 0, buffered: 0 }
    }

    #[inline]
    fn fill(&mut self) {
        if let Some((eight, _)) = self.rest.split_first_chunk::<8>() {
            // Take as many whole bytes as fit behind what is there.
            let bytes = (64 - self.buffered) / 8;
            self.buffer |= u64::from_be_bytes(*eight).checked_shr(self.buffered).unwrap_or(0);
            self.rest = self.rest.get(bytes as usize..).unwrap_or_default();
            self.buffered += bytes * 8;
            // The shift above also brought in a part of the next byte; drop it, it will come again.
            self.buffer &= u64::MAX.checked_shl(64 - self.buffered).unwrap_or(0);
        } else {
            while self.buffered <= 56 {
                let Some((byte, rest)) = self.rest.split_first() else { return };
                self.buffer |= u64::from(*byte) << (56 - self.buffered);
                self.buffered += 8;
                self.rest = rest;
            }
        }
    }

    /// The next bit; `None` at the end.
    #[inline]
    pub fn bit(&mut self) -> Option<bool> {
        if self.buffered == 0 {
            self.fill();
            if self.buffered == 0 {
                return None;
            }
        }
        let bit = self.buffer >> 63 == 1;
        self.buffer <<= 1;
        self.buffered -= 1;
        Some(bit)
    }

    /// The next `count` bits (at most 64) as the low bits of a number; `None` if fewer are left.
    #[inline]
    pub fn bits(&mut self, count: u32) -> Option<u64> {
        debug_assert!(count <= 64, "a number has 64 bits");
        if count == 0 {
            return Some(0);
        }
        if self.buffered < count {
            self.fill();
        }
        if self.buffered >= count {
            let value = self.buffer >> (64 - count);
            self.buffer = self.buffer.checked_shl(count).unwrap_or(0);
            self.buffered -= count;
            return Some(value);
        }
        if self.rest.is_empty() {
            return None;
        }
        // More than 56 bits across a byte boundary: two halves.
        let high = count - self.buffered;
        let top = self.bits(count - high)?;
        Some(top << high | self.bits(high)?)
    }

    /// A varint whose bytes begin at the next bit; `None` if it is cut off or too long.
    pub fn unsigned_varint(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for i in 0..super::varint::BYTES_MAX {
            let byte = self.bits(8)?;
            if i == super::varint::BYTES_MAX - 1 && byte > 1 {
                return None;
            }
            n |= (byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_split_of_the_bits_reads_like_one_bit_at_a_time(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            widths in proptest::collection::vec(0u32..=64, 0..30),
        ) {
            let model: Vec<bool> = bytes.iter().flat_map(|b| (0..8).rev().map(move |i| b >> i & 1 == 1)).collect();
            let mut reader = BitReader::new(&bytes);
            let mut at = 0usize;
            for width in widths {
                let got = if width == 1 { reader.bit().map(u64::from) } else { reader.bits(width) };
                let want = model.get(at..at + width as usize).map(|bits| bits.iter().fold(0u64, |n, b| n << 1 | u64::from(*b)));
                prop_assert_eq!(got, want);
                if want.is_none() {
                    break;
                }
                at += width as usize;
            }
        }
    }
}
