//! The chunk segments of a block: files `chunks/000001`, `chunks/000002`, ... with one chunk behind the other.
//!
//! ```text
//! segment  0x85bd40dd u32 │ version 1 u8 │ three zero bytes │ chunk*               integers big-endian
//! chunk    uvarint len │ encoding u8 │ data, len bytes │ crc32c u32 over encoding and data
//! ```
//! Nothing in a segment says where its chunks begin: the index does, by [`ChunkRef`]s.
//! Invariants: a segment has at most 512 MiB and no chunk spans two. A file may be longer than its last chunk needs.
//! Source: Prometheus `tsdb/docs/format/chunks.md`, `tsdb/chunks/chunks.go`. Golden bytes:
//! `tests/golden/block_chunks.hex`.

use crate::encoding::varint;

/// Bytes of a segment before its first chunk.
pub const HEADER_BYTES: usize = 8;
/// A segment is not begun to be longer than this, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 512 << 20;
/// The most bytes that a frame has beside its data.
pub const FRAME_BYTES_MAX: usize = LEN_BYTES_MAX + 1 + CHECKSUM_BYTES;

const MAGIC: [u8; 4] = [0x85, 0xbd, 0x40, 0xdd];
const VERSION: u8 = 1;
/// A length has 32 bits.
const LEN_BYTES_MAX: usize = 5;
const CHECKSUM_BYTES: usize = 4;

/// Where a chunk is: which segment, counted from 0, and at which byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkRef(pub u64);

impl ChunkRef {
    /// The chunk at byte `offset` of the segment with this index.
    #[must_use]
    pub fn new(segment_index: u32, offset: u32) -> Self {
        Self(u64::from(segment_index) << 32 | u64::from(offset))
    }

    /// Which segment: the first, `000001`, is 0.
    #[must_use]
    pub fn segment_index(self) -> usize {
        usize::try_from(self.0 >> 32).unwrap_or(usize::MAX)
    }

    /// At which byte of the segment its frame begins.
    #[must_use]
    pub fn offset(self) -> u64 {
        self.0 & u64::from(u32::MAX)
    }
}

impl std::fmt::Display for ChunkRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "chunks/{}, byte {}", file_name(self.segment_index()), self.offset())
    }
}

/// The name of the segment with this index, within `chunks/`.
#[must_use]
pub fn file_name(segment_index: usize) -> String {
    format!("{:06}", segment_index.saturating_add(1))
}

/// One chunk as it lies in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredChunk<'a> {
    /// The number of its encoding.
    pub encoding: u8,
    /// The encoded samples.
    pub data: &'a [u8],
}

/// Why some bytes are not a segment, or not a chunk of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Too short for its header.
    #[error("a chunk segment of {len} bytes is shorter than its header of {HEADER_BYTES}")]
    NoHeader {
        /// Its length.
        len: usize,
    },
    /// Something else stands where the magic number belongs.
    #[error("a chunk segment begins with {found:02x?} instead of {MAGIC:02x?}")]
    Magic {
        /// What stands there.
        found: [u8; 4],
    },
    /// A version that is not known.
    #[error("a chunk segment of version {found}, only {VERSION} is known")]
    Version {
        /// Which.
        found: u8,
    },
    /// The length is no varint of 32 bits.
    #[error("the length of a chunk is not a number of 32 bits")]
    Length,
    /// The bytes end before the chunk does.
    #[error("a chunk takes {needed} bytes, {left} are there")]
    Cut {
        /// How many bytes the frame has.
        needed: u64,
        /// How many there are.
        left: usize,
    },
    /// The checksum is not that of the data.
    #[error("a chunk's crc32c is {stored:#010x}, its bytes give {computed:#010x}")]
    Checksum {
        /// What is written.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
}

/// The bytes with which every segment begins.
#[must_use]
pub fn header() -> [u8; HEADER_BYTES] {
    let [m0, m1, m2, m3] = MAGIC;
    [m0, m1, m2, m3, VERSION, 0, 0, 0]
}

/// Looks at the bytes with which a segment begins.
///
/// # Errors
/// Bytes that no known segment begins with.
pub fn check_header(bytes: &[u8]) -> Result<(), ChunkError> {
    let Some((&[m0, m1, m2, m3, version, _, _, _], _)) = bytes.split_first_chunk::<HEADER_BYTES>()
    else {
        return Err(ChunkError::NoHeader { len: bytes.len() });
    };
    let found = [m0, m1, m2, m3];
    if found != MAGIC {
        return Err(ChunkError::Magic { found });
    }
    if version != VERSION {
        return Err(ChunkError::Version { found: version });
    }
    Ok(())
}

/// How many bytes a chunk with `data_len` bytes of data takes in a segment.
#[must_use]
pub fn frame_len(data_len: usize) -> usize {
    let len_bytes = (usize::BITS - (data_len | 1).leading_zeros()).div_ceil(7) as usize;
    len_bytes + 1 + data_len + CHECKSUM_BYTES
}

/// Appends one chunk to the bytes of a segment.
pub fn push_chunk(out: &mut Vec<u8>, encoding: u8, data: &[u8]) {
    varint::push_unsigned(out, data.len() as u64);
    out.push(encoding);
    out.extend_from_slice(data);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&[encoding]), data);
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// Splits the chunk at the front of `bytes` from what follows it. Takes any bytes.
///
/// # Errors
/// Bytes that are not a whole chunk, or not with this checksum.
pub fn split_chunk(bytes: &[u8]) -> Result<(StoredChunk<'_>, &[u8]), ChunkError> {
    let (data_len, rest) = match varint::split_unsigned(bytes) {
        Some((len, rest)) if len <= u64::from(u32::MAX) => (len, rest),
        None if bytes.len() < LEN_BYTES_MAX => {
            let needed = bytes.len() as u64 + 1;
            return Err(ChunkError::Cut { needed, left: bytes.len() });
        }
        _ => return Err(ChunkError::Length),
    };
    let len_bytes = bytes.len() - rest.len();
    let cut = || {
        let needed = len_bytes as u64 + 1 + data_len + CHECKSUM_BYTES as u64;
        ChunkError::Cut { needed, left: bytes.len() }
    };
    let body_len = usize::try_from(data_len).ok().and_then(|len| len.checked_add(1));
    let (body, rest) = body_len.and_then(|len| rest.split_at_checked(len)).ok_or_else(cut)?;
    let (stored, rest) = rest.split_first_chunk::<CHECKSUM_BYTES>().ok_or_else(cut)?;
    let (stored, computed) = (u32::from_be_bytes(*stored), crc32c::crc32c(body));
    if stored != computed {
        return Err(ChunkError::Checksum { stored, computed });
    }
    let (encoding, data) = body.split_first().ok_or_else(cut)?;
    Ok((StoredChunk { encoding: *encoding, data }, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(chunks: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = header().to_vec();
        for (encoding, data) in chunks {
            push_chunk(&mut out, *encoding, data);
        }
        out
    }

    #[test] // golden bytes: Prometheus reads these
    fn a_segment_has_these_bytes() {
        let bytes = segment(&[(1, b"\x00\x01abc"), (2, b""), (1, &[7; 200])]);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let golden: String =
            include_str!("../../../tests/golden/block_chunks.hex").split_whitespace().collect();
        assert_eq!(hex, golden);
    }

    #[test]
    fn a_reference_is_a_segment_and_an_offset() {
        let reference = ChunkRef::new(2, 8);
        assert_eq!((reference.segment_index(), reference.offset()), (2, 8));
        assert_eq!(reference.to_string(), "chunks/000003, byte 8");
    }

    #[test]
    fn a_chunk_that_is_not_whole_says_how_long_it_is() {
        let mut bytes = Vec::new();
        push_chunk(&mut bytes, 1, &[7; 200]);
        let cut = |len: usize| split_chunk(&bytes[..len]).unwrap_err();
        assert_eq!(cut(0), ChunkError::Cut { needed: 1, left: 0 });
        assert_eq!(cut(1), ChunkError::Cut { needed: 2, left: 1 });
        assert_eq!(cut(2), ChunkError::Cut { needed: 207, left: 2 });
        assert_eq!(cut(206), ChunkError::Cut { needed: 207, left: 206 });
    }

    #[test]
    fn a_header_of_something_else_is_refused() {
        assert_eq!(check_header(&header()), Ok(()));
        assert_eq!(check_header(&header()[..7]), Err(ChunkError::NoHeader { len: 7 }));
        assert_eq!(check_header(&[0; 8]), Err(ChunkError::Magic { found: [0; 4] }));
        let mut newer = header();
        newer[4] = 2;
        assert_eq!(check_header(&newer), Err(ChunkError::Version { found: 2 }));
    }

    proptest! {
        #[test]
        fn chunks_come_back_one_by_one(
            chunks in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..9),
        ) {
            let all: Vec<(u8, &[u8])> = chunks.iter().map(|(e, d)| (*e, d.as_slice())).collect();
            let bytes = segment(&all);
            let mut rest = &bytes[HEADER_BYTES..];
            for (encoding, data) in all {
                let before = rest.len();
                let (chunk, behind) = split_chunk(rest).unwrap();
                prop_assert_eq!(chunk, StoredChunk { encoding, data });
                prop_assert_eq!(before - behind.len(), frame_len(data.len()));
                rest = behind;
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn a_flipped_bit_is_never_taken_for_data(data in proptest::collection::vec(any::<u8>(), 0..100), bit: usize) {
            let mut bytes = Vec::new();
            push_chunk(&mut bytes, 1, &data);
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(split_chunk(&bytes).is_err());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (split_chunk(&bytes), check_header(&bytes));
        }
    }
}
