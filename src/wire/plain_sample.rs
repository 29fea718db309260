//! One sample in the layout that nearly all samples have.
//!
//! A timestamp in milliseconds takes six bytes from 2004 to 2109, and a value of zero is not sent, so there are two
//! lengths, which take turns at random: one way through for both. 2.0 may append a start timestamp.
//! ```text
//! 0x12  16 or 23   0x09 value, 8 bytes  0x10 timestamp, 6 bytes  [0x18 start timestamp, 6 bytes]
//! 0x12   7 or 14                        0x10 timestamp, 6 bytes  [0x18 start timestamp, 6 bytes]
//! ```

use std::hint::select_unpredictable;

use super::padded::Padded;
use crate::model::{Sample, TimestampMs};

const SAMPLE_TAG: u8 = 0x12;
const VALUE_TAG: u8 = 0x09;
const TIME_TAG: u8 = 0x10;
const START_TAG: u8 = 0x18;
/// A tag and six bytes.
const TIME_BYTES: u8 = 7;
/// A tag and eight bytes.
const VALUE_BYTES: u8 = 9;

/// The sample whose field starts at `at`, its start timestamp, 0 if it has none, and where the field ends; `None` if it has
/// another layout, or if `at` is behind the body. It may end behind the body.
#[inline(always)]
pub(super) fn plain_sample(
    body: Padded<'_>,
    at: usize,
    version: Version,
) -> Option<(Sample, TimestampMs, usize)> {
    let [tag, len, first] = body.read(at)?;
    let has_value = first == VALUE_TAG;
    let value = u64::from_le_bytes(body.read(at + 3)?);
    let value = select_unpredictable(has_value, value, 0);
    let value_bytes = select_unpredictable(has_value, VALUE_BYTES, 0);
    let time_at = at + 2 + usize::from(value_bytes);
    let (t, is_time) = six_bytes(body.read(time_at)?, TIME_TAG);
    let mut is_plain = (tag == SAMPLE_TAG) & is_time;
    let mut start = 0;
    if version == Version::V2 && len == value_bytes + 2 * TIME_BYTES {
        let is_start;
        (start, is_start) = six_bytes(body.read(time_at + usize::from(TIME_BYTES))?, START_TAG);
        is_plain &= is_start;
    } else {
        is_plain &= len == value_bytes + TIME_BYTES;
    }
    let sample = Sample { t: TimestampMs(t.cast_signed()), v: f64::from_bits(value) };
    is_plain.then_some((sample, TimestampMs(start.cast_signed()), at + 2 + usize::from(len)))
}

/// Which protocol's sample.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// The number that a varint of six bytes behind `tag` stands for, and whether it is one.
#[inline(always)]
fn six_bytes(bytes: [u8; 8], tag: u8) -> (u64, bool) {
    const FIXED_BITS: u64 = 0x0080_8080_8080_80ff;
    const MORE_BITS: u64 = 0x0000_8080_8080_8000;
    let bytes = u64::from_le_bytes(bytes);
    // Six groups of seven bits move together: pairs, then all.
    let groups = (bytes >> 8) & 0x7f7f_7f7f_7f7f;
    let pairs = (groups & 0x007f_007f_007f) | (groups & 0x7f00_7f00_7f00) >> 1;
    let n = (pairs & 0x3fff) | (pairs >> 2 & 0x3fff << 14) | (pairs >> 4 & 0x3fff << 28);
    (n, bytes & FIXED_BITS == MORE_BITS | u64::from(tag))
}

/// Of field 5 of a series.
const METADATA_TAG: u8 = 0x2a;

/// The numbers of a 2.0 series' metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MetadataRefs {
    pub(super) kind: u32,
    /// Places in the symbols.
    pub(super) help: u32,
    pub(super) unit: u32,
}

/// The metadata in the field at `at`, and where that ends, if it holds the three numbers of 2.0's `Metadata` and nothing else.
#[inline(always)]
pub(super) fn plain_metadata(body: Padded<'_>, at: usize) -> Option<(MetadataRefs, usize)> {
    let [tag, len] = body.read(at)?;
    let (mut at, end) = (at + 2, at + 2 + usize::from(len));
    if tag != METADATA_TAG || len >= 0x80 || end > body.len() {
        return None;
    }
    let mut refs = MetadataRefs::default();
    while at < end {
        let [tag, b0, b1, b2] = body.read(at)?;
        let number = match tag {
            0x08 => &mut refs.kind,
            0x18 => &mut refs.help,
            0x20 => &mut refs.unit,
            _ => return None,
        };
        let (low, middle, high) = (u32::from(b0 & 0x7f), u32::from(b1 & 0x7f), u32::from(b2));
        (*number, at) = match (b0 < 0x80, b1 < 0x80, b2 < 0x80) {
            (true, _, _) => (low, at + 2),
            (_, true, _) => (low | middle << 7, at + 3),
            (_, _, true) => (low | middle << 7 | high << 14, at + 4),
            _ => return None,
        };
    }
    (at == end).then_some((refs, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], version: Version) -> Option<(i64, u64, usize)> {
        let mut body = bytes.to_vec();
        let (sample, start, end) = plain_sample(Padded::pad(&mut body), 0, version)?;
        let has_start = version == Version::V2 && bytes.contains(&START_TAG);
        assert_eq!(start.0, if has_start { 1_700_000_000_000 } else { 0 });
        Some((sample.t.0, sample.v.to_bits(), end))
    }

    #[test] // 1,700,000,000,000 ms
    fn a_sample_is_read_with_and_without_a_value() {
        let value = b"\x12\x10\x09\x01\x02\x03\x04\x05\x06\x07\x08\x10\x80\xd0\x95\xff\xbc\x31";
        let none = b"\x12\x07\x10\x80\xd0\x95\xff\xbc\x31";
        for version in [Version::V1, Version::V2] {
            let bits = 0x0807_0605_0403_0201;
            assert_eq!(read(value, version), Some((1_700_000_000_000, bits, 18)));
            assert_eq!(read(none, version), Some((1_700_000_000_000, 0, 9)));
        }
    }

    #[test]
    fn a_start_timestamp_is_read_in_2_0_only() {
        let start = b"\x12\x0e\x10\x80\xd0\x95\xff\xbc\x31\x18\x80\xd0\x95\xff\xbc\x31";
        assert_eq!(read(start, Version::V2), Some((1_700_000_000_000, 0, 16)));
        assert_eq!(read(start, Version::V1), None);
    }

    #[test]
    fn any_other_layout_is_none() {
        for bytes in [
            &b"\x12\x06\x10\xd0\x95\xff\xbc\x31"[..],    // five bytes
            b"\x12\x08\x10\x80\xd0\x95\xff\xbc\xb1\x01", // seven bytes
            b"\x12\x09\x09\x01\x02\x03\x04\x05\x06\x07\x08", // no timestamp
            b"\x12\x10\x10\x80\xd0\x95\xff\xbc\x31\x09\x01\x02\x03\x04\x05\x06\x07\x08",
            b"\x12\x0e\x10\x80\xd0\x95\xff\xbc\x31\x10\x80\xd0\x95\xff\xbc\x31",
            b"\x12\x00",
            b"\x1a\x07\x10\x80\xd0\x95\xff\xbc\x31",
            b"\x12",
            b"",
        ] {
            assert_eq!(read(bytes, Version::V2), None, "{bytes:x?}");
        }
    }
}
