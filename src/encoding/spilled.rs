//! A full chunk of the Head that has left memory, as a spill file has it.
//!
//! ```text
//! chunk  reference u64 │ first t i64 │ last t i64 │ encoding u8 │ length u32 │ the chunk's bytes │ crc32 u32
//!        integers little-endian; crc32 (IEEE) of everything before it
//!        encoding: Prometheus's number; its top bit says that the samples came late
//! ```
//! A spill file is chunks one after the other; where writing was interrupted for the file to be flushed the next one begins
//! on a multiple of 4 KiB, and a long chunk has zeros behind it. Nothing in it says where a chunk begins: checkpoints do (`record`, kind 22).
//! Golden bytes: `tests/golden/spilled_chunk.hex`.

use crate::model::{SeriesRef, TimeRange, TimestampMs};

/// Bytes before the chunk's.
const HEADER_BYTES: usize = 29;
/// Bytes that a chunk takes beside its own.
pub const FRAME_BYTES: usize = HEADER_BYTES + 4;
/// In the encoding: the samples came late.
const LATE: u8 = 0x80;

/// Whose chunk it is, and from when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpilledHeader {
    /// The series' name in the log of the shard that wrote the file.
    pub series: SeriesRef,
    /// From its first to its last sample.
    pub range: TimeRange,
    /// Which of Prometheus's encodings.
    pub encoding: u8,
    /// Did its samples come late?
    pub late: bool,
}

/// Why bytes are not the chunk that should be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpilledError {
    /// The bytes end before the chunk does.
    #[error("{left} bytes, the chunk needs {needed}")]
    Cut {
        /// How many there are.
        left: usize,
        /// How many it promises.
        needed: usize,
    },
    /// They are not what was written.
    #[error("crc32 {stored:#010x} is stored, the bytes give {computed:#010x}")]
    Checksum {
        /// What is stored.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// It is whole, and another one.
    #[error("a chunk of series {found} where one of series {wanted} should be")]
    Another {
        /// Whose chunk is there.
        found: u64,
        /// Whose should be there.
        wanted: u64,
    },
}

/// Appends a chunk to `out`.
///
/// # Panics
/// If it has more than 4 GiB.
pub fn push(out: &mut Vec<u8>, header: SpilledHeader, bytes: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&header.series.0.to_le_bytes());
    out.extend_from_slice(&header.range.min().0.to_le_bytes());
    out.extend_from_slice(&header.range.max().0.to_le_bytes());
    out.push(header.encoding | if header.late { LATE } else { 0 });
    let len = u32::try_from(bytes.len()).expect("a chunk has about a thousand bytes");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
    let crc = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
}

/// The chunk that `frame` is, if it is the one of `wanted`. Takes any bytes.
///
/// # Errors
/// Bytes that are not a whole chunk, or another one.
pub fn open(frame: &[u8], wanted: SpilledHeader) -> Result<&[u8], SpilledError> {
    let cut = |needed| SpilledError::Cut { left: frame.len(), needed };
    let Some((header, _)) = frame.split_first_chunk::<HEADER_BYTES>() else {
        return Err(cut(FRAME_BYTES));
    };
    let (found, len) = parsed(header);
    let needed = len.saturating_add(FRAME_BYTES);
    let Some((checked, crc)) = frame.get(..needed).and_then(<[u8]>::split_last_chunk::<4>) else {
        return Err(cut(needed));
    };
    let (stored, computed) = (u32::from_le_bytes(*crc), crc32fast::hash(checked));
    if stored != computed {
        return Err(SpilledError::Checksum { stored, computed });
    }
    if found != Some(wanted) {
        let found = found.map_or(0, |found| found.series.0);
        return Err(SpilledError::Another { found, wanted: wanted.series.0 });
    }
    Ok(checked.get(HEADER_BYTES..).unwrap_or_default())
}

/// What a header says, and the length of the chunk; `None` if its range is none.
fn parsed(bytes: &[u8; HEADER_BYTES]) -> (Option<SpilledHeader>, usize) {
    let mut rest = &bytes[..];
    let series = SeriesRef(u64::from_le_bytes(take(&mut rest)));
    let min = TimestampMs(i64::from_le_bytes(take(&mut rest)));
    let max = TimestampMs(i64::from_le_bytes(take(&mut rest)));
    let [encoding] = take(&mut rest);
    let len = u32::from_le_bytes(take(&mut rest)) as usize;
    let header = TimeRange::new(min, max).map(|range| SpilledHeader {
        series,
        range,
        encoding: encoding & !LATE,
        late: encoding & LATE != 0,
    });
    (header, len)
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (field, after) = rest.split_first_chunk::<N>().expect("the fields add up to the header");
    *rest = after;
    *field
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(late: bool) -> SpilledHeader {
        let range = TimeRange::new(TimestampMs(1000), TimestampMs(2000)).unwrap();
        SpilledHeader { series: SeriesRef(7), range, encoding: 1, late }
    }

    fn framed(late: bool) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out, header(late), b"chunk");
        out
    }

    #[test] // golden bytes: the format cannot drift unseen
    fn a_spilled_chunk_has_these_bytes() {
        let hex: String =
            [framed(false), framed(true)].concat().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            include_str!("../../tests/golden/spilled_chunk.hex")
                .split_whitespace()
                .collect::<String>()
        );
    }

    #[test]
    fn a_chunk_opens_to_what_was_pushed_and_to_no_other() {
        assert_eq!(open(&framed(true), header(true)), Ok(&b"chunk"[..]));
        let another = SpilledHeader { series: SeriesRef(8), ..header(true) };
        let error = SpilledError::Another { found: 7, wanted: 8 };
        assert_eq!(open(&framed(true), another), Err(error));
        assert!(open(&framed(true), header(false)).is_err());
    }

    proptest! {
        #[test]
        fn cut_flipped_and_random_bytes_are_noticed(
            cut in 0usize..38, bit in 0usize..38 * 8, random in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut frame = framed(false);
            prop_assert!(open(&frame[..cut], header(false)).is_err());
            frame[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open(&frame, header(false)).is_err());
            prop_assert!(open(&random, header(false)).is_err());
        }
    }
}
