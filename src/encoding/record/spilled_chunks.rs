//! Where chunks lie that have left memory, as a checkpoint has it.

use super::{RecordError, SPILLED_CHUNKS, begin, end, next_entry};
use crate::encoding::{varint, xor};
use crate::model::{SeriesRef, TimeRange, TimestampMs};

/// Where a chunk lies that has left memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpillPlace {
    /// Whose it is.
    pub series: SeriesRef,
    /// Number of the spill file.
    pub file: u32,
    /// Where its frame begins there, in bytes.
    pub offset: u32,
    /// So many bytes from there on have its frame, and may have some more.
    pub len: u32,
    /// Which of Prometheus's encodings; below 8.
    pub encoding: u8,
    /// From its first to its last sample.
    pub range: TimeRange,
    /// Did its samples come late?
    pub late: bool,
}

/// Below the number of a file: one bit says whether the samples came late, the others which encoding it is.
const KIND_BITS: u32 = 4;

impl SpillPlace {
    /// What the first of a record is told by its difference from.
    const BEFORE_THE_FIRST: (SeriesRef, TimestampMs) = (SeriesRef(0), TimestampMs(0));
}

/// The body of a record of spilled chunks that is being gathered.
#[derive(Clone, Debug, Default)]
pub struct SpilledBody {
    bytes: Vec<u8>,
    before: Option<(SeriesRef, TimestampMs)>,
}

impl SpilledBody {
    /// Appends the place of one chunk.
    pub fn push(&mut self, place: SpillPlace) {
        let before = self.before.replace((place.series, place.range.max()));
        let (series, t) = before.unwrap_or(SpillPlace::BEFORE_THE_FIRST);
        let out = &mut self.bytes;
        varint::push_signed(out, place.series.0.wrapping_sub(series.0).cast_signed());
        let kind = u64::from(place.encoding) << 1 | u64::from(place.late);
        varint::push_unsigned(out, u64::from(place.file) << KIND_BITS | kind);
        varint::push_unsigned(out, u64::from(place.offset));
        varint::push_unsigned(out, u64::from(place.len));
        varint::push_signed(out, place.range.min().0.wrapping_sub(t.0));
        let span = place.range.max().0.wrapping_sub(place.range.min().0);
        varint::push_unsigned(out, span.cast_unsigned());
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// No place yet?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Appends a record of spilled chunks.
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_spilled_chunks(out: &mut Vec<u8>, body: &SpilledBody) {
    let start = begin(out, SPILLED_CHUNKS);
    out.extend_from_slice(&body.bytes);
    end(out, start);
}

/// Chunks that lie in spill files.
#[derive(Clone, Debug)]
pub struct SpilledChunksRecord<'a> {
    rest: &'a [u8],
    /// In an older record, which only tells whether samples came late, all are floats.
    kind_bits: u32,
    before: (SeriesRef, TimestampMs),
}

impl<'a> SpilledChunksRecord<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self { rest: body, kind_bits: KIND_BITS, before: SpillPlace::BEFORE_THE_FIRST }
    }

    /// One of a version that had floats alone.
    pub(super) fn of_floats(body: &'a [u8]) -> Self {
        Self { kind_bits: 1, ..Self::of(body) }
    }

    fn split(&mut self) -> Option<SpillPlace> {
        let (series, rest) = varint::split_signed(self.rest)?;
        let (file, rest) = varint::split_unsigned(rest)?;
        let (offset, rest) = varint::split_unsigned(rest)?;
        let (len, rest) = varint::split_unsigned(rest)?;
        let (t, rest) = varint::split_signed(rest)?;
        let (span, rest) = varint::split_unsigned(rest)?;
        self.rest = rest;
        let series = SeriesRef(self.before.0.0.wrapping_add(series.cast_unsigned()));
        let min = self.before.1.0.wrapping_add(t);
        let max = min.wrapping_add(span.cast_signed());
        self.before = (series, TimestampMs(max));
        let encoding = match file >> 1 & ((1 << (KIND_BITS - 1)) - 1) {
            _ if self.kind_bits == 1 => xor::ENCODING,
            encoding => u8::try_from(encoding).ok()?,
        };
        Some(SpillPlace {
            series,
            file: u32::try_from(file >> self.kind_bits).ok()?,
            offset: u32::try_from(offset).ok()?,
            len: u32::try_from(len).ok()?,
            encoding,
            range: TimeRange::new(TimestampMs(min), TimestampMs(max))?,
            late: file & 1 == 1,
        })
    }
}

impl Iterator for SpilledChunksRecord<'_> {
    type Item = Result<SpillPlace, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_entry(
            self,
            |record| &mut record.rest,
            Self::split,
            "a spilled-chunks record does not add up",
        )
    }
}
