//! Protobuf's encoding, field by field, over any bytes: the walk that takes everything protobuf allows.
//!
//! ```text
//! message  field*
//! field    varint(number << 3 | wire type) content
//! content  0 varint │ 1 eight bytes │ 2 varint(len), len bytes │ 5 four bytes        integers little-endian
//! ```
//! Wire types 3 and 4 (groups) are refused: no version of remote write has them. Source: protobuf.dev, "Encoding".

use std::ops::Range;

use super::WireError;

/// One field: its number and what it holds.
pub(super) struct Field {
    pub(super) number: u32,
    /// Where the content starts, for error texts.
    pub(super) offset: usize,
    pub(super) value: Value,
}

/// What a field holds.
#[derive(Clone)]
pub(super) enum Value {
    Varint(u64),
    Fixed64(u64),
    /// A place in the body.
    Bytes(Range<usize>),
    Fixed32,
}

impl Value {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Varint(_) => "a varint",
            Self::Fixed64(_) => "64 bits",
            Self::Bytes(_) => "bytes",
            Self::Fixed32 => "32 bits",
        }
    }
}

/// The fields of the message that lies at a place in the body.
pub(super) struct Fields<'a> {
    body: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Fields<'a> {
    /// The message at `place`, which is cut to what the body has.
    pub(super) fn new(body: &'a [u8], place: Range<usize>) -> Self {
        Self { body, at: place.start, end: place.end.min(body.len()) }
    }

    /// The next field, or `None` at the message's end.
    pub(super) fn next(&mut self) -> Result<Option<Field>, WireError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let start = self.at;
        let key = self.varint()?;
        let number = match u32::try_from(key >> 3) {
            Ok(number) if number != 0 && number < 1 << 29 => number,
            _ => return Err(WireError::FieldNumber { offset: start, number: key >> 3 }),
        };
        let offset = self.at;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.bytes(len)?)
            }
            5 => {
                self.fixed::<4>()?;
                Value::Fixed32
            }
            other => {
                let wire_type = u8::try_from(other).unwrap_or_default();
                return Err(WireError::WireType { offset: start, field: number, wire_type });
            }
        };
        Ok(Some(Field { number, offset, value }))
    }

    /// Where the next field starts.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next varint of a packed field, or `None` at its end.
    pub(super) fn next_packed(&mut self) -> Result<Option<u64>, WireError> {
        if self.at >= self.end { Ok(None) } else { self.varint().map(Some) }
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let offset = self.at;
        let bytes = self.body.get(offset..self.end).unwrap_or_default();
        let mut n = 0u64;
        for (i, byte) in bytes.iter().take(10).enumerate() {
            if i == 9 && *byte > 1 {
                return Err(WireError::Varint { offset });
            }
            n |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.at = offset + i + 1;
                return Ok(n);
            }
        }
        Err(WireError::Cut { offset })
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let bytes = self.body.get(self.at..self.end).and_then(|rest| rest.first_chunk::<N>());
        let bytes = *bytes.ok_or(WireError::Cut { offset: self.at })?;
        self.at += N;
        Ok(bytes)
    }

    fn bytes(&mut self, len: u64) -> Result<Range<usize>, WireError> {
        let (start, left) = (self.at, self.end - self.at);
        match usize::try_from(len) {
            Ok(len) if len <= left => {
                self.at += len;
                Ok(start..self.at)
            }
            _ => Err(WireError::Beyond { offset: start, len, left }),
        }
    }
}

impl Field {
    /// The place of a field that holds bytes, a text or a message.
    pub(super) fn bytes(&self, message: &'static str) -> Result<Range<usize>, WireError> {
        match &self.value {
            Value::Bytes(place) => Ok(place.clone()),
            _ => Err(self.unexpected(message, "bytes")),
        }
    }

    /// The number in a field that holds a varint.
    pub(super) fn varint(&self, message: &'static str) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(n) => Ok(n),
            _ => Err(self.unexpected(message, "a varint")),
        }
    }

    /// The number in a field that holds a `double`.
    pub(super) fn double(&self, message: &'static str) -> Result<f64, WireError> {
        match self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(self.unexpected(message, "64 bits")),
        }
    }

    /// The error of a field that is not of the protocol's type.
    pub(super) fn unexpected(&self, message: &'static str, expected: &'static str) -> WireError {
        WireError::FieldType {
            offset: self.offset,
            message,
            field: self.number,
            expected,
            found: self.value.type_name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Result<Option<Field>, WireError> {
        Fields::new(bytes, 0..bytes.len()).next()
    }

    #[test]
    fn every_wire_type_is_read() {
        let bytes = b"\x08\x96\x01\x11\x01\0\0\0\0\0\0\0\x1a\x02ab\x25\x01\0\0\0";
        let mut fields = Fields::new(bytes, 0..bytes.len());
        assert_eq!(fields.next().unwrap().unwrap().varint("").unwrap(), 150);
        assert_eq!(fields.next().unwrap().unwrap().double("").unwrap().to_bits(), 1);
        assert_eq!(fields.next().unwrap().unwrap().bytes("").unwrap(), 14..16);
        assert_eq!(fields.next().unwrap().unwrap().number, 4);
        assert!(fields.next().unwrap().is_none());
    }

    #[test]
    fn a_field_that_cannot_be_is_refused_with_its_place() {
        for (bytes, error) in [
            (&b"\x0a\x02a"[..], WireError::Beyond { offset: 2, len: 2, left: 1 }),
            (b"\x08\x80", WireError::Cut { offset: 1 }),
            (b"\x09\0\0\0\0\0\0\0", WireError::Cut { offset: 1 }),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", WireError::Varint { offset: 1 }),
            (b"\x00\x00", WireError::FieldNumber { offset: 0, number: 0 }),
            (b"\x0b", WireError::WireType { offset: 0, field: 1, wire_type: 3 }),
            (b"\x0f", WireError::WireType { offset: 0, field: 1, wire_type: 7 }),
        ] {
            assert_eq!(first(bytes).err(), Some(error), "{bytes:x?}");
        }
    }

    #[test]
    fn a_field_of_another_type_is_named() {
        let field = first(b"\x08\x01").unwrap().unwrap();
        assert_eq!(
            field.bytes("TimeSeries").unwrap_err().to_string(),
            "byte 1: field 1 of TimeSeries is sent as a varint, the protocol has bytes"
        );
    }
}
