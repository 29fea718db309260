//! Takes an index apart: its frames, entries and lists, from any bytes. The format is described in [`super`].
//!
//! What is only partly there is told by [`IndexError::Cut`], with how many bytes it takes: whoever reads a section piece
//! by piece then brings more. Version 1 and 2 differ in what a reference means, not in how it is written:
//! ```text
//!            series in a list of postings    symbol in a series
//! version 1  byte offset in the file         byte offset in the file
//! 2 and 3    byte offset / 16                number of the symbol, from 0
//! ```
//! Source: Prometheus `tsdb/docs/format/index.md`, `tsdb/index/index.go`. Golden bytes of version 1:
//! `tests/golden/index_v1.hex`.

use super::MAGIC;
use crate::encoding::block::chunks::ChunkRef;
use crate::encoding::varint;
use crate::model::{SeriesId, TimeRange, TimestampMs};

/// Bytes of an index before its first section.
pub const HEADER_BYTES: usize = 5;
/// Bytes of the table of contents, with which an index ends.
pub const TOC_BYTES: usize = 52;
/// Bytes of a section's or a list's length and count.
pub const HEAD_BYTES: usize = 8;
/// Bytes of every checksum.
pub const CHECKSUM_BYTES: usize = 4;
/// Of a series entry in version 2, its offset is a multiple of this.
pub const SERIES_ALIGNMENT: u64 = 16;

/// How references are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// By byte offset.
    V1,
    /// By number, series by a sixteenth of their offset. Version 3 is read as this.
    V2,
}

/// Why some bytes are not what an index has there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Something else stands where the magic number belongs.
    #[error("an index begins with {found:02x?} instead of {MAGIC:02x?}")]
    Magic {
        /// What stands there.
        found: [u8; 4],
    },
    /// A version that is not known.
    #[error("an index of version {found}, only 1 to 3 are known")]
    Version {
        /// Which.
        found: u8,
    },
    /// The bytes end too early.
    #[error("{what} takes {needed} bytes, {left} are there")]
    Cut {
        /// Of what.
        what: &'static str,
        /// How many bytes it has at least.
        needed: u64,
        /// How many are there.
        left: usize,
    },
    /// The checksum is not that of the bytes.
    #[error("the crc32c of {what} is {stored:#010x}, its bytes give {computed:#010x}")]
    Checksum {
        /// Of what.
        what: &'static str,
        /// What is written.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The table of contents points behind the end.
    #[error("the section of {section} begins at byte {offset}, sections end at byte {end}")]
    Section {
        /// Which.
        section: &'static str,
        /// Where it is said to begin.
        offset: u64,
        /// Where the table of contents begins.
        end: u64,
    },
    /// Something that no writer writes.
    #[error("{what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
}

fn malformed(what: &'static str) -> IndexError {
    IndexError::Malformed { what }
}

/// The version that the first bytes of an index name.
///
/// # Errors
/// Bytes that no known index begins with.
pub fn version(bytes: &[u8]) -> Result<Version, IndexError> {
    let Some((&[m0, m1, m2, m3, version], _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        let needed = HEADER_BYTES as u64;
        return Err(IndexError::Cut { what: "the header of an index", needed, left: bytes.len() });
    };
    let found = [m0, m1, m2, m3];
    if found != MAGIC {
        return Err(IndexError::Magic { found });
    }
    match version {
        1 => Ok(Version::V1),
        2 | 3 => Ok(Version::V2),
        found => Err(IndexError::Version { found }),
    }
}

/// Where the sections of an index begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toc {
    /// All names and values.
    pub symbols: u64,
    /// The series entries.
    pub series: u64,
    /// Where older writers put an index of values; nobody reads it.
    pub label_indices: u64,
    /// The table of that.
    pub label_indices_table: u64,
    /// The lists of postings.
    pub postings: u64,
    /// Their table.
    pub postings_table: u64,
    /// Where sections end and the table of contents begins.
    pub end: u64,
}

impl Toc {
    /// Reads the last [`TOC_BYTES`] of an index.
    ///
    /// - `file_len`: how long the index is. Every section begins within it.
    ///
    /// # Errors
    /// Bytes that are not a table of contents, or not of an index this long.
    pub fn parse(bytes: &[u8], file_len: u64) -> Result<Self, IndexError> {
        let what = "the table of contents";
        let cut = || IndexError::Cut { what, needed: TOC_BYTES as u64, left: bytes.len() };
        let (toc, _) = bytes.split_first_chunk::<TOC_BYTES>().ok_or_else(cut)?;
        let body = checked(toc, what)?;
        let end = file_len.checked_sub(TOC_BYTES as u64).ok_or_else(cut)?;
        let mut offsets = body.as_chunks::<8>().0.iter().map(|bytes| u64::from_be_bytes(*bytes));
        let mut next = |section| {
            let offset = offsets.next().unwrap_or(u64::MAX);
            let is_inside = offset <= end;
            is_inside.then_some(offset).ok_or(IndexError::Section { section, offset, end })
        };
        Ok(Self {
            symbols: next("symbols")?,
            series: next("series")?,
            label_indices: next("label indices")?,
            label_indices_table: next("label indices' table")?,
            postings: next("postings")?,
            postings_table: next("postings' table")?,
            end,
        })
    }

    /// Where the series entries end: where whatever follows them begins.
    #[must_use]
    pub fn series_end(&self) -> u64 {
        let others = [
            self.symbols,
            self.label_indices,
            self.label_indices_table,
            self.postings,
            self.postings_table,
        ];
        others.into_iter().filter(|offset| *offset > self.series).min().unwrap_or(self.end)
    }

    /// At which byte the entry of a series begins; `None` if that is not where series are.
    #[must_use]
    pub fn offset_of(&self, series: SeriesId, version: Version) -> Option<u64> {
        let offset = match version {
            Version::V1 => u64::from(series.0),
            Version::V2 => u64::from(series.0) * SERIES_ALIGNMENT,
        };
        (self.series..self.series_end()).contains(&offset).then_some(offset)
    }
}

/// Splits the checksum off the end of `bytes` and holds it to what it covers.
fn checked<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a [u8], IndexError> {
    let cut = || IndexError::Cut { what, needed: CHECKSUM_BYTES as u64, left: bytes.len() };
    let (body, stored) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(cut)?;
    check(what, *stored, crc32c::crc32c(body))?;
    Ok(body)
}

/// Holds a stored checksum to a computed one.
///
/// # Errors
/// They differ.
pub fn check(
    what: &'static str,
    stored: [u8; CHECKSUM_BYTES],
    computed: u32,
) -> Result<(), IndexError> {
    let stored = u32::from_be_bytes(stored);
    if stored == computed {
        return Ok(());
    }
    Err(IndexError::Checksum { what, stored, computed })
}

/// What a section, or a list of postings, begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes from behind the length to before the checksum; the count is among them.
    pub len: u32,
    /// How many entries there are.
    pub count: u32,
}

impl Head {
    /// Reads length and count.
    ///
    /// # Errors
    /// Too few bytes, or a length in which the count has no room.
    pub fn parse(bytes: &[u8], what: &'static str) -> Result<Self, IndexError> {
        let Some((&[l0, l1, l2, l3, c0, c1, c2, c3], _)) = bytes.split_first_chunk::<HEAD_BYTES>()
        else {
            return Err(IndexError::Cut { what, needed: HEAD_BYTES as u64, left: bytes.len() });
        };
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        if len < 4 {
            return Err(malformed("a section has no room for its count"));
        }
        Ok(Self { len, count: u32::from_be_bytes([c0, c1, c2, c3]) })
    }

    /// Bytes from the length to behind the checksum.
    #[must_use]
    pub fn frame_len(self) -> u64 {
        4 + u64::from(self.len) + CHECKSUM_BYTES as u64
    }
}

/// Splits a varint off the front.
fn number<'a>(bytes: &'a [u8], what: &'static str) -> Result<(u64, &'a [u8]), IndexError> {
    match varint::split_unsigned(bytes) {
        Some(split) => Ok(split),
        None if bytes.len() < varint::BYTES_MAX => {
            Err(IndexError::Cut { what, needed: bytes.len() as u64 + 1, left: bytes.len() })
        }
        None => Err(malformed("a number of more than 64 bits")),
    }
}

/// Splits a zigzag varint off the front.
fn signed<'a>(bytes: &'a [u8], what: &'static str) -> Result<(i64, &'a [u8]), IndexError> {
    let (n, rest) = number(bytes, what)?;
    Ok((varint::unzigzag(n), rest))
}

/// Splits bytes with their length before them off the front.
fn sized<'a>(bytes: &'a [u8], what: &'static str) -> Result<(&'a [u8], &'a [u8]), IndexError> {
    let (len, rest) = number(bytes, what)?;
    let head = (bytes.len() - rest.len()) as u64;
    let split = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len));
    let needed = head.saturating_add(len);
    split.ok_or(IndexError::Cut { what, needed, left: bytes.len() })
}

fn utf8(bytes: &[u8]) -> Result<&str, IndexError> {
    std::str::from_utf8(bytes).map_err(|_| malformed("a label name or value that is not UTF-8"))
}

/// Splits a symbol off the front.
///
/// # Errors
/// Bytes that are not a whole symbol, or not UTF-8.
pub fn split_symbol(bytes: &[u8]) -> Result<(&str, &[u8]), IndexError> {
    let (symbol, rest) = sized(bytes, "a symbol")?;
    Ok((utf8(symbol)?, rest))
}

/// An entry of the postings' table: which list holds the series with this label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostingsEntry<'a> {
    /// Empty, with the value, for the list of all series.
    pub name: &'a str,
    /// The label's value.
    pub value: &'a str,
    /// At which byte of the file the list begins.
    pub offset: u64,
}

/// Splits an entry of the postings' table off the front.
///
/// # Errors
/// Bytes that are not a whole entry of a name and a value.
pub fn split_postings_entry(bytes: &[u8]) -> Result<(PostingsEntry<'_>, &[u8]), IndexError> {
    let what = "an entry of the postings' table";
    // How much is missing is counted from the front of the entry.
    let from_front = |rest: &[u8]| {
        let used = (bytes.len() - rest.len()) as u64;
        move |error| match error {
            IndexError::Cut { what, needed, left } => {
                let left = left.saturating_add(usize::try_from(used).unwrap_or(usize::MAX));
                IndexError::Cut { what, needed: needed.saturating_add(used), left }
            }
            other => other,
        }
    };
    let (texts, rest) = number(bytes, what)?;
    if texts != 2 {
        return Err(malformed("an entry of the postings' table is not of a name and a value"));
    }
    let (name, rest) = sized(rest, what).map_err(from_front(rest))?;
    let (value, rest) = sized(rest, what).map_err(from_front(rest))?;
    let (offset, rest) = number(rest, what).map_err(from_front(rest))?;
    Ok((PostingsEntry { name: utf8(name)?, value: utf8(value)?, offset }, rest))
}

/// The numbers of a list of postings: four bytes each, big-endian.
///
/// - `bytes`: from the list's length to behind its checksum, which is looked at.
///
/// # Errors
/// Bytes that are not a whole list, or not with this checksum.
pub fn postings(bytes: &[u8]) -> Result<&[u8], IndexError> {
    let what = "a list of postings";
    let head = Head::parse(bytes, what)?;
    let cut = || IndexError::Cut { what, needed: head.frame_len(), left: bytes.len() };
    let frame_len = usize::try_from(head.frame_len()).ok();
    let frame = frame_len.and_then(|len| bytes.get(4..len)).ok_or_else(cut)?;
    let body = checked(frame, what)?;
    let numbers = body.get(4..).ok_or_else(cut)?;
    if numbers.len() as u64 != u64::from(head.count) * 4 {
        return Err(malformed("a list of postings is not as long as its count says"));
    }
    Ok(numbers)
}

/// Where a chunk of a series is, and which time it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkMeta {
    /// From its first sample to its last.
    pub range: TimeRange,
    /// Where.
    pub reference: ChunkRef,
}

/// How many bytes the entry of a series takes with its length and checksum, by its first bytes.
///
/// # Errors
/// Bytes that no length begins with.
pub fn series_frame_len(bytes: &[u8]) -> Result<u64, IndexError> {
    let (len, rest) = number(bytes, "a series")?;
    let head = (bytes.len() - rest.len()) as u64;
    Ok(head.saturating_add(len).saturating_add(CHECKSUM_BYTES as u64))
}

/// Splits the entry of a series off the front, checksum seen to.
///
/// # Errors
/// Bytes that are not a whole entry, or not with this checksum.
pub fn split_series(bytes: &[u8]) -> Result<(&[u8], &[u8]), IndexError> {
    let what = "a series";
    let needed = series_frame_len(bytes)?;
    let cut = || IndexError::Cut { what, needed, left: bytes.len() };
    let (body, _) = sized(bytes, what).map_err(|_| cut())?;
    let len = usize::try_from(needed).map_err(|_| cut())?;
    let (frame, rest) = bytes.split_at_checked(len).ok_or_else(cut)?;
    let stored = frame.last_chunk::<CHECKSUM_BYTES>().ok_or_else(cut)?;
    check(what, *stored, crc32c::crc32c(body))?;
    Ok((body, rest))
}

/// Reads the body of a series entry: appends its labels, as references to symbols of name and value, and its chunks.
///
/// # Errors
/// Bytes that are not such a body. What was appended until then stays.
pub fn series(
    body: &[u8],
    labels: &mut Vec<(u32, u32)>,
    chunks: &mut Vec<ChunkMeta>,
) -> Result<(), IndexError> {
    let symbol = |n: u64| u32::try_from(n).map_err(|_| malformed("a symbol above 32 bits"));
    let (label_count, mut rest) = number(body, "the labels of a series")?;
    for _ in 0..label_count {
        let (name, behind) = number(rest, "the labels of a series")?;
        let (value, behind) = number(behind, "the labels of a series")?;
        labels.push((symbol(name)?, symbol(value)?));
        rest = behind;
    }
    let (chunk_count, mut rest) = number(rest, "the chunks of a series")?;
    let mut previous: Option<ChunkMeta> = None;
    for _ in 0..chunk_count {
        let (chunk, behind) = chunk_meta(rest, previous)?;
        chunks.push(chunk);
        (previous, rest) = (Some(chunk), behind);
    }
    if rest.is_empty() { Ok(()) } else { Err(malformed("a series is longer than its chunks")) }
}

/// Splits the place of a chunk off the front, which is told from that of the one before.
fn chunk_meta(bytes: &[u8], previous: Option<ChunkMeta>) -> Result<(ChunkMeta, &[u8]), IndexError> {
    let what = "the chunks of a series";
    let out_of_range = || malformed("a chunk whose time or place does not fit 64 bits");
    let (min, rest) = match previous {
        None => signed(bytes, what)?,
        Some(ChunkMeta { range, .. }) => {
            let (gap, rest) = number(bytes, what)?;
            (range.max().0.checked_add_unsigned(gap).ok_or_else(out_of_range)?, rest)
        }
    };
    let (span, rest) = number(rest, what)?;
    let max = min.checked_add_unsigned(span).ok_or_else(out_of_range)?;
    let (reference, rest) = match previous {
        None => number(rest, what)?,
        Some(ChunkMeta { reference, .. }) => {
            let (step, rest) = signed(rest, what)?;
            (reference.0.checked_add_signed(step).ok_or_else(out_of_range)?, rest)
        }
    };
    let range = TimeRange::new(TimestampMs(min), TimestampMs(max)).ok_or_else(out_of_range)?;
    Ok((ChunkMeta { range, reference: ChunkRef(reference) }, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any kind of thing that is read, of any bytes.
    fn read_all(bytes: &[u8]) {
        let _ = (version(bytes), Toc::parse(bytes, 1 << 40), Head::parse(bytes, "a list"));
        let _ = (split_symbol(bytes), split_postings_entry(bytes), postings(bytes));
        let _ = (series_frame_len(bytes), split_series(bytes));
        let (mut labels, mut chunks) = (Vec::new(), Vec::new());
        let _ = series(bytes, &mut labels, &mut chunks);
        assert!(labels.len() + chunks.len() <= bytes.len());
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        varint::push_unsigned(&mut out, body.len() as u64);
        out.extend_from_slice(body);
        out.extend_from_slice(&crc32c::crc32c(body).to_be_bytes());
        out
    }

    /// Two labels, then two chunks: 1000 to 1500 at 8, and 1600 to 1650 at 108.
    const SERIES: [u8; 16] = [2, 1, 2, 3, 4, 2, 0xd0, 0x0f, 0xf4, 0x03, 8, 100, 50, 0xc8, 0x01, 0];

    #[test]
    fn a_series_is_read_with_its_chunks() {
        let (mut labels, mut chunks) = (Vec::new(), Vec::new());
        let (body, rest) = SERIES.split_at(15);
        series(body, &mut labels, &mut chunks).unwrap();
        assert_eq!(labels, [(1, 2), (3, 4)]);
        let chunk = |min, max, reference| ChunkMeta {
            range: TimeRange::new(TimestampMs(min), TimestampMs(max)).unwrap(),
            reference: ChunkRef(reference),
        };
        assert_eq!(chunks, [chunk(1000, 1500, 8), chunk(1600, 1650, 108)]);
        let longer = series(&[body, rest].concat(), &mut labels, &mut chunks);
        assert_eq!(longer, Err(malformed("a series is longer than its chunks")));
    }

    #[test]
    fn what_is_cut_says_how_much_is_missing() {
        let whole = framed(&SERIES);
        for len in 1..whole.len() {
            let cut = IndexError::Cut { what: "a series", needed: 21, left: len };
            assert_eq!(split_series(&whole[..len]), Err(cut));
        }
        assert_eq!(split_series(&whole), Ok((&SERIES[..], &[][..])));
        let entry = [2, 1, b'a', 3, b'x', b'y', b'z', 9];
        for len in 0..entry.len() {
            match split_postings_entry(&entry[..len]) {
                Err(IndexError::Cut { needed, left, .. }) => {
                    assert!(
                        left == len && (len as u64 + 1..=8).contains(&needed),
                        "{needed} at {len}"
                    );
                }
                other => panic!("{other:?} at {len}"),
            }
        }
        let (entry, _) = split_postings_entry(&entry).unwrap();
        assert_eq!((entry.name, entry.value, entry.offset), ("a", "xyz", 9));
    }

    #[test]
    fn versions_1_to_3_are_known() {
        let of = |n| version(&[0xba, 0xaa, 0xd7, 0, n]);
        assert_eq!([of(1), of(2), of(3)], [Ok(Version::V1), Ok(Version::V2), Ok(Version::V2)]);
        assert_eq!(of(4), Err(IndexError::Version { found: 4 }));
        assert_eq!(version(&[0; 5]), Err(IndexError::Magic { found: [0; 4] }));
    }

    #[test]
    fn a_table_of_contents_points_into_its_file() {
        let mut toc: Vec<u8> = [5u64, 48, 80, 90, 100, 120].map(u64::to_be_bytes).concat();
        toc.extend_from_slice(&crc32c::crc32c(&toc).to_be_bytes());
        let read = Toc::parse(&toc, 200).unwrap();
        assert_eq!((read.symbols, read.series_end(), read.end), (5, 80, 148));
        assert_eq!(read.offset_of(SeriesId(3), Version::V2), Some(48));
        assert_eq!(read.offset_of(SeriesId(5), Version::V2), None);
        assert_eq!(read.offset_of(SeriesId(79), Version::V1), Some(79));
        let section = "postings' table";
        assert_eq!(
            Toc::parse(&toc, 171),
            Err(IndexError::Section { section, offset: 120, end: 119 })
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            read_all(&bytes);
            read_all(&framed(&bytes));
        }

        #[test]
        fn a_flipped_series_is_refused(at in 0..21usize, bit in 0u8..8) {
            let mut bytes = framed(&SERIES);
            bytes[at] ^= 1 << bit;
            prop_assert!(split_series(&bytes).is_err());
        }
    }
}
