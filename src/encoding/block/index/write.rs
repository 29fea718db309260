//! The pieces of an index as bytes. Who puts them in order, and keeps the promises about order, is `storage::block::writer`.

use super::MAGIC;
use super::read::{ChunkMeta, HEADER_BYTES, SERIES_ALIGNMENT, TOC_BYTES, Toc};
use crate::encoding::varint;

/// The version that is written.
const VERSION: u8 = 2;
/// The lists begin at a multiple of this many bytes.
pub const POSTINGS_ALIGNMENT: u64 = 4;
/// The longest index there can be: a list has no numbers for series behind it.
pub const BYTES_MAX: u64 = SERIES_ALIGNMENT * u32::MAX as u64;
/// The longest section with a length before it: symbols, offset table, a list.
pub const SECTION_BYTES_MAX: u64 = u32::MAX as u64;

/// The bytes with which an index begins.
#[must_use]
pub fn header() -> [u8; HEADER_BYTES] {
    let [m0, m1, m2, m3] = MAGIC;
    [m0, m1, m2, m3, VERSION]
}

/// Appends one symbol, and how a name or a value stands in the offset table.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    varint::push_unsigned(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// How many bytes [`push_text`] appends.
#[must_use]
pub fn text_bytes(text: &str) -> u64 {
    let len = text.len() as u64;
    u64::from((u64::BITS - (len | 1).leading_zeros()).div_ceil(7)) + len
}

/// The two numbers before `bytes` bytes of symbols or of an offset table; `None` if the section would be too long.
#[must_use]
pub fn section_head(count: u32, bytes: u64) -> Option<[u8; 8]> {
    let len = u32::try_from(bytes.checked_add(4)?).ok()?;
    let ([l0, l1, l2, l3], [c0, c1, c2, c3]) = (len.to_be_bytes(), count.to_be_bytes());
    Some([l0, l1, l2, l3, c0, c1, c2, c3])
}

/// The checksum over what follows a section's length: its count and then bytes that come piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionSum(u32);

impl SectionSum {
    /// Begins with the count.
    #[must_use]
    pub fn begin(count: u32) -> Self {
        Self(crc32c::crc32c(&count.to_be_bytes()))
    }

    /// Goes on with these bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, bytes);
    }

    /// Of a section whose count was known only after its `len` bytes, which by themselves have the checksum `sum`.
    #[must_use]
    pub fn of_bytes_before(count: u32, sum: u32, len: usize) -> Self {
        Self(crc32c::crc32c_combine(Self::begin(count).0, sum, len))
    }

    /// The bytes that end the section.
    #[must_use]
    pub fn end(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

/// Appends the entry of one series.
///
/// - `labels`: numbers of the symbols of name and value, in the order of the names.
/// - `chunks`: in the order of time.
pub fn push_series(
    out: &mut Vec<u8>,
    labels: &[(u32, u32)],
    chunks: impl ExactSizeIterator<Item = ChunkMeta>,
) {
    let mut entry = Vec::with_capacity(16 + 8 * labels.len() + 12 * chunks.len());
    varint::push_unsigned(&mut entry, labels.len() as u64);
    for (name, value) in labels {
        varint::push_unsigned(&mut entry, u64::from(*name));
        varint::push_unsigned(&mut entry, u64::from(*value));
    }
    varint::push_unsigned(&mut entry, chunks.len() as u64);
    let mut before = None;
    for ChunkMeta { range, reference } in chunks {
        let (min, max, reference) = (range.min().0, range.max().0, reference.0);
        // Differences are taken modulo 2^64: those of the ends of time do not fit a signed number.
        let length = max.wrapping_sub(min).cast_unsigned();
        match before {
            None => {
                varint::push_signed(&mut entry, min);
                varint::push_unsigned(&mut entry, length);
                varint::push_unsigned(&mut entry, reference);
            }
            Some((last_max, last_reference)) => {
                let gap = min.wrapping_sub(last_max).cast_unsigned();
                varint::push_unsigned(&mut entry, gap);
                varint::push_unsigned(&mut entry, length);
                varint::push_signed(
                    &mut entry,
                    reference.wrapping_sub(last_reference).cast_signed(),
                );
            }
        }
        before = Some((max, reference));
    }
    varint::push_unsigned(out, entry.len() as u64);
    out.extend_from_slice(&entry);
    out.extend_from_slice(&crc32c::crc32c(&entry).to_be_bytes());
}

/// The most bytes that the entry of a series can have, and the zeros before it.
#[must_use]
pub fn series_bytes_max(label_count: usize, chunk_count: usize) -> u64 {
    const SYMBOL: u64 = 5;
    let ends = 3 * varint::BYTES_MAX as u64 + 4 + SERIES_ALIGNMENT;
    ends + label_count as u64 * 2 * SYMBOL + chunk_count as u64 * 3 * varint::BYTES_MAX as u64
}

/// A list that is being written.
#[derive(Debug)]
pub struct PostingsList {
    sum: SectionSum,
    left: u32,
}

impl PostingsList {
    /// Appends the beginning of a list of `count` series; `None` if one of as many would be too long.
    #[must_use]
    pub fn begin(out: &mut Vec<u8>, count: u32) -> Option<Self> {
        out.extend_from_slice(&section_head(count, u64::from(count) * 4)?);
        Some(Self { sum: SectionSum::begin(count), left: count })
    }

    /// Appends the next series of the list.
    ///
    /// # Panics
    /// If they are more than were announced.
    pub fn push(&mut self, out: &mut Vec<u8>, series: impl IntoIterator<Item = u32>) {
        let start = out.len();
        for id in series {
            self.left = self.left.checked_sub(1).expect("a list has as many series as announced");
            out.extend_from_slice(&id.to_be_bytes());
        }
        self.sum.add(out.get(start..).unwrap_or_default());
    }

    /// Appends the end of the list.
    ///
    /// # Panics
    /// If fewer series came than were announced.
    pub fn end(self, out: &mut Vec<u8>) {
        assert_eq!(self.left, 0, "a list has as many series as announced");
        out.extend_from_slice(&self.sum.end());
    }
}

/// How many bytes a list of `count` series takes.
#[must_use]
pub fn list_bytes(count: u64) -> u64 {
    12 + 4 * count
}

/// The most bytes that an entry of the offset table has beside the texts.
pub const OFFSET_BYTES_MAX: u64 = 1 + 2 * 5 + 6;

/// Appends an entry of the offset table: the list of the series that have this label is at `offset`.
pub fn push_offset(out: &mut Vec<u8>, name: &str, value: &str, offset: u64) {
    out.push(2);
    push_text(out, name);
    push_text(out, value);
    varint::push_unsigned(out, offset);
}

impl Toc {
    /// The bytes that end an index.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let offsets = [
            self.symbols,
            self.series,
            self.label_indices,
            self.label_indices_table,
            self.postings,
            self.postings_table,
        ];
        let mut out = Vec::with_capacity(TOC_BYTES);
        for offset in offsets {
            out.extend_from_slice(&offset.to_be_bytes());
        }
        let sum = crc32c::crc32c(&out);
        out.extend_from_slice(&sum.to_be_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::read;
    use super::*;
    use crate::encoding::block::chunks::ChunkRef;
    use crate::model::{TimeRange, TimestampMs};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn chunk(min: i64, max: i64, reference: u64) -> ChunkMeta {
        let range = TimeRange::new(TimestampMs(min), TimestampMs(max)).unwrap();
        ChunkMeta { range, reference: ChunkRef(reference) }
    }

    #[test]
    fn an_entry_has_these_bytes() {
        let mut out = Vec::new();
        let chunk_of_two = chunk(1_700_000_000_000, 1_700_000_015_000, 8);
        push_series(&mut out, &[(1, 6), (4, 7), (5, 2)], [chunk_of_two].into_iter());
        // As in a block of Prometheus 2.42.
        assert_eq!(hex(&out), "11030106040705020180a0abfef962987508e84ececd");
        let (mut out, chunks) = (Vec::new(), [chunk(-2, 10, 8), chunk(11, 11, 300)]);
        push_series(&mut out, &[(0, 3), (130, 1)], chunks.into_iter());
        let labels = "02 0003 820101";
        let chunks = "02 03 0c 08 01 00 c804";
        let entry = format!("0e {labels} {chunks} c03bba14");
        assert_eq!(hex(&out), entry.replace(' ', ""));
    }

    #[test]
    fn a_list_has_these_bytes() {
        let mut out = Vec::new();
        let mut list = PostingsList::begin(&mut out, 2).unwrap();
        list.push(&mut out, [4]);
        list.push(&mut out, [6]);
        list.end(&mut out);
        // As in a block of Prometheus 2.42.
        assert_eq!(hex(&out), "0000000c00000002000000040000000600153664");
        assert_eq!(out.len() as u64, list_bytes(2));
    }

    #[test]
    fn what_does_not_fit_32_bits_is_no_section() {
        assert!(section_head(0, u64::from(u32::MAX) - 4).is_some());
        assert_eq!(section_head(0, u64::from(u32::MAX) - 3), None);
        assert_eq!(section_head(0, u64::MAX), None);
        assert!(PostingsList::begin(&mut Vec::new(), (1 << 30) - 2).is_some());
        assert!(PostingsList::begin(&mut Vec::new(), (1 << 30) - 1).is_none());
    }

    #[test]
    fn a_text_takes_as_many_bytes_as_are_said() {
        for len in [0, 1, 127, 128, 16_383, 16_384] {
            let (text, mut out) = ("x".repeat(len), Vec::new());
            push_text(&mut out, &text);
            assert_eq!(out.len() as u64, text_bytes(&text), "{len}");
        }
    }

    proptest! {
        #[test]
        fn a_sum_is_the_same_whether_the_count_comes_first_or_last(count: u32, bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut sum = SectionSum::begin(count);
            sum.add(&bytes);
            let late = SectionSum::of_bytes_before(count, crc32c::crc32c(&bytes), bytes.len());
            prop_assert_eq!(late, sum);
        }

        #[test]
        fn an_entry_reads_as_it_was_written_and_is_not_longer_than_the_bound(labels in proptest::collection::vec(any::<(u32, u32)>(), 0..20), mut times in proptest::collection::vec(any::<i64>(), 0..40), references: [u32; 20]) {
            times.sort_unstable();
            let chunks: Vec<_> = times.as_chunks::<2>().0.iter().zip(references).map(|([a, b], r)| chunk(*a, *b, u64::from(r) << 20)).collect();
            let mut out = Vec::new();
            push_series(&mut out, &labels, chunks.iter().copied());
            prop_assert!(out.len() as u64 <= series_bytes_max(labels.len(), chunks.len()));
            let (body, rest) = read::split_series(&out).unwrap();
            let (mut labels_read, mut chunks_read) = (Vec::new(), Vec::new());
            prop_assert!(rest.is_empty());
            prop_assert_eq!(read::series(body, &mut labels_read, &mut chunks_read), Ok(()));
            prop_assert_eq!((labels_read, chunks_read), (labels, chunks));
        }
    }
}
