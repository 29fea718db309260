//! Variable-length integers as protobuf and Go's `encoding/binary` have them: seven bits a byte, low ones first.

/// The most bytes a 64-bit varint takes.
pub const BYTES_MAX: usize = 10;

/// Appends `n`.
#[expect(clippy::cast_possible_truncation, reason = "each byte takes seven bits on purpose")]
pub fn push_unsigned(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends `n`, zigzag: 0, -1, 1, -2 become 0, 1, 2, 3.
pub fn push_signed(out: &mut Vec<u8>, n: i64) {
    push_unsigned(out, zigzag(n));
}

/// Splits a varint off the front of `bytes`; `None` if it is cut off or does not fit 64 bits.
#[must_use]
pub fn split_unsigned(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut n = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(BYTES_MAX) {
        let low = u64::from(byte & 0x7f);
        if i == BYTES_MAX - 1 && low > 1 {
            return None;
        }
        n |= low << (7 * i);
        if byte & 0x80 == 0 {
            return Some((n, bytes.get(i + 1..)?));
        }
    }
    None
}

/// Splits a zigzag varint off the front of `bytes`; `None` if it is cut off or does not fit 64 bits.
#[must_use]
pub fn split_signed(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (n, rest) = split_unsigned(bytes)?;
    Some((unzigzag(n), rest))
}

/// 0, -1, 1, -2 become 0, 1, 2, 3.
#[must_use]
pub fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

/// 0, 1, 2, 3 become 0, -1, 1, -2.
#[must_use]
pub fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn eleven_bytes_or_more_than_64_bits_are_no_varint() {
        assert_eq!(split_unsigned(&[0xff; 11]), None);
        let mut ten = [0xff; 10];
        ten[9] = 1;
        assert_eq!(split_unsigned(&ten), Some((u64::MAX, &[][..])));
        ten[9] = 2;
        assert_eq!(split_unsigned(&ten), None);
    }

    proptest! {
        #[test]
        fn any_number_comes_back(n: i64, u: u64) {
            let mut out = Vec::new();
            push_signed(&mut out, n);
            push_unsigned(&mut out, u);
            let (back, rest) = split_signed(&out).unwrap();
            prop_assert_eq!(back, n);
            prop_assert_eq!(split_unsigned(rest), Some((u, &[][..])));
        }
    }
}
