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

    /// How many bits are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.rest.len() as u64 * 8 + u64::from(self.buffered)
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

    /// Takes ones up to and with the next zero, but `max` ones at most (below 57) and then no zero; how many ones. `None`
    /// if the bits end before.
    #[inline]
    pub fn ones(&mut self, max: u32) -> Option<u32> {
        if self.buffered <= max {
            self.fill();
        }
        let ones = self.buffer.leading_ones().min(max);
        let taken = ones + u32::from(ones < max);
        if taken > self.buffered {
            return None;
        }
        self.buffer = self.buffer.checked_shl(taken).unwrap_or(0);
        self.buffered -= taken;
        Some(ones)
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

/// Appends bits to bytes. The last 64 of them or fewer wait in a register.
///
/// `super::xor` has a writer of its own, whose state lies in the hot part of a series.
#[derive(Clone, Debug, Default)]
pub struct BitWriter {
    /// Whole words of eight bytes.
    bytes: Vec<u8>,
    /// Bits that do not fill a word yet, at the top; the others are zero.
    tail: u64,
    /// How many bits of `tail` are used; below 64.
    tail_bits: u32,
}

impl BitWriter {
    /// A writer that goes on behind the first `len_bits` bits of `bytes`; behind all of them if there are not so many.
    #[must_use]
    pub fn behind(bytes: &[u8], len_bits: u64) -> Self {
        let mut reader = BitReader::new(bytes);
        let mut writer = Self::default();
        let mut left = len_bits.min(reader.left());
        while let Ok(count @ 1..) = u32::try_from(left.min(64)) {
            let Some(bits) = reader.bits(count) else { break };
            writer.push(bits, count);
            left -= u64::from(count);
        }
        writer
    }

    /// Appends the low `count` bits of `bits`; the others are zero. `count <= 64`.
    #[inline]
    pub fn push(&mut self, bits: u64, count: u32) {
        debug_assert!(count == 64 || count < 64 && bits >> count == 0, "bits above the count");
        let after = self.tail_bits + count;
        if after < 64 {
            // One shift could be by 64 if there is nothing to shift.
            self.tail |= (bits << 1) << (63 - after);
            self.tail_bits = after;
        } else {
            let over = after - 64;
            self.bytes.extend_from_slice(&(self.tail | bits >> over).to_be_bytes());
            self.tail = bits.checked_shl(64 - over).unwrap_or(0);
            self.tail_bits = over;
        }
    }

    /// How many bits there are.
    #[must_use]
    pub fn len_bits(&self) -> u64 {
        self.bytes.len() as u64 * 8 + u64::from(self.tail_bits)
    }

    /// How many bytes they take.
    #[inline]
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len() + self.tail_bits.div_ceil(8) as usize
    }

    /// Bytes of memory that it holds beside its own.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends all bits to `out`; zeros fill the last byte.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        let tail = self.tail.to_be_bytes();
        out.extend_from_slice(tail.get(..self.tail_bits.div_ceil(8) as usize).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn written_bits_come_back_and_writing_can_go_on_anywhere(
            numbers in proptest::collection::vec((any::<u64>(), 0u32..=64), 0..30), at in any::<prop::sample::Index>(),
        ) {
            let numbers: Vec<_> = numbers.into_iter().map(|(n, width)| (n.checked_shr(64 - width).unwrap_or(0), width)).collect();
            let (mut whole, mut out) = (BitWriter::default(), Vec::new());
            for (n, width) in &numbers {
                whole.push(*n, *width);
            }
            whole.write_to(&mut out);
            prop_assert_eq!(out.len(), whole.len_bytes());
            let mut reader = BitReader::new(&out);
            for (n, width) in &numbers {
                prop_assert_eq!(reader.bits(*width), Some(*n));
            }
            prop_assert_eq!(reader.left(), out.len() as u64 * 8 - whole.len_bits());

            let at = at.index(numbers.len() + 1);
            let before = numbers[..at].iter().map(|(_, width)| u64::from(*width)).sum();
            let (mut again, mut anew) = (BitWriter::behind(&out, before), Vec::new());
            for (n, width) in &numbers[at..] {
                again.push(*n, *width);
            }
            again.write_to(&mut anew);
            prop_assert_eq!(anew, out);
        }

        #[test]
        fn ones_are_counted_like_one_bit_at_a_time(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0xff)], 0..20), max in 0u32..57,
        ) {
            let (mut reader, mut model) = (BitReader::new(&bytes), BitReader::new(&bytes));
            loop {
                let mut want = Some(0);
                while want.is_some_and(|ones| ones < max) {
                    match model.bit() {
                        Some(true) => want = want.map(|ones| ones + 1),
                        Some(false) => break,
                        None => want = None,
                    }
                }
                prop_assert_eq!(reader.ones(max), want);
                if want.is_none() || max == 0 {
                    break;
                }
                prop_assert_eq!(reader.left(), model.left());
            }
        }

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
