//! Walks over the fields of a protobuf message, knowing nothing of what they mean.
//!
//! Takes any bytes: where they are no message, the walk ends with a field that says so. Source: protobuf.dev,
//! "Encoding".

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Its number.
    pub number: u64,
    /// Its value, if it is a varint or has eight bytes.
    pub varint: u64,
    /// Its value, if it has a length.
    pub bytes: Option<&'a [u8]>,
    /// Here the message is none.
    pub damaged: bool,
}

impl<'a> Field<'a> {
    /// Its bytes, if it has this number.
    #[must_use]
    pub fn of(&self, number: u64) -> Option<&'a [u8]> {
        self.bytes.filter(|_| self.number == number)
    }
}

/// The fields of a message; the last one may be damaged.
pub fn fields(mut rest: &[u8]) -> impl Iterator<Item = Field<'_>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field.unwrap_or(Field { number: 0, varint: 0, bytes: None, damaged: true }))
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<Field<'a>> {
    let (tag, behind) = varint(rest)?;
    let number = tag >> 3;
    let plain = Field { number, varint: 0, bytes: None, damaged: false };
    let (field, behind) = match tag & 7 {
        0 => {
            let (n, behind) = varint(behind)?;
            (Field { varint: n, ..plain }, behind)
        }
        1 => {
            let (eight, behind) = behind.split_first_chunk()?;
            (Field { varint: u64::from_le_bytes(*eight), ..plain }, behind)
        }
        2 => {
            let (len, behind) = varint(behind)?;
            let (bytes, behind) = behind.split_at_checked(usize::try_from(len).ok()?)?;
            (Field { bytes: Some(bytes), ..plain }, behind)
        }
        5 => (plain, behind.get(4..)?),
        _ => return None,
    };
    *rest = behind;
    Some(field)
}

/// A varint in front; `None` if it is not all there.
#[must_use]
pub fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut n = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        n |= u64::from(byte & 0x7f).checked_shl(u32::try_from(7 * i).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((n, bytes.get(i + 1..)?));
        }
    }
    None
}

/// The signed number of a zigzag varint.
#[must_use]
pub fn zigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -((n & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_of_all_kinds_are_told_apart() {
        let bytes = b"\x08\xac\x02\x12\x02ab\x19\x01\0\0\0\0\0\0\0\x25\0\0\0\0\x28\x03";
        let found: Vec<_> = fields(bytes).map(|f| (f.number, f.varint, f.bytes)).collect();
        let ab = &b"ab"[..];
        assert_eq!(
            found,
            [(1, 300, None), (2, 0, Some(ab)), (3, 1, None), (4, 0, None), (5, 3, None)]
        );
        assert!(fields(b"\x12\x05ab").last().unwrap().damaged);
    }

    #[test]
    fn zigzag_alternates() {
        assert_eq!([0, 1, 2, 3, u64::MAX].map(zigzag), [0, -1, 1, -2, i64::MIN]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(fields(&bytes).count() <= bytes.len());
        }
    }
}
