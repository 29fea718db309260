//! The records of a shard's log: what a batch's payload is made of.
//!
//! ```text
//! record     kind u8 │ length of the body u32 │ body                         integers little-endian
//! 1 series   first reference u64 │ count u32 │ count times: length varint, canonical label bytes (`model::labels`)
//!            the references are consecutive
//! 2 samples  base reference u64 │ count u32 │ form u8 │ first t i64 │ references │ times │ values
//!            references  count times u32, to be added to the base
//!            times       form 0: nothing, all are `first t`; 1: count times i32, to be added to `first t`;
//!                        2: count times i64
//!            values      count times f64
//! 8 tombstones  first t i64 │ last t i64, both included │ references, to the end of the body, each a varint: less the one
//!             before, signed. Of these series every sample of that time that stands before this record is deleted
//! 9 cut       ULID of a block, 16 bytes │ first t i64 │ t behind the last i64: everything before this record that lies in
//!             between goes into that block
//! 16 checkpoint  first segment u64 │ next sequence u64: the log from there on is not in the checkpoint that this begins
//! 17 chunks      any number of: reference u64 │ encoding u8 │ first t i64 │ last t i64 │ length u32 │ the chunk's bytes
//! 18 open chunks any number of: reference u64 │ next chunk at t i64 │ the state of an `xor::XorAppender`
//! 19 late chunks as 17: samples that came when their series had newer ones
//! 20 spilled chunks  any number of: reference varint, less that of the one before, signed │ file varint, doubled, and one
//!                    more if its samples came late │ offset varint │ length of the frame varint │ first t varint, less the
//!                    last t of the one before, signed │ last t varint, less the first t; see `spilled`
//! ```
//! Kinds 1 and 17 to 20 make up a checkpoint, which a record of kind 16 begins; the log itself has only 1, 2, 8 and 9.
//! Kinds kept for what comes next: 3 samples with start timestamps, 4 and 5 integer and float histograms, 6 exemplars,
//! 7 metadata. A reader that meets a kind it does not know stops there and says so: skipping it would
//! lose acknowledged data without a word. Samples refer to series by reference only; a reference's series record stands
//! before its first use. Golden bytes: `tests/golden/wal_records.hex`.

use ulid::Ulid;

use super::varint;
use super::xor::{Words, XorAppender};
use crate::model::{BlockRange, LabelsError, LabelsRef, Sample, SeriesRef, TimeRange, TimestampMs};

const SERIES: u8 = 1;
const SAMPLES: u8 = 2;

const TOMBSTONES: u8 = 8;
const CUT: u8 = 9;
const CHECKPOINT: u8 = 16;
const CHUNKS: u8 = 17;
const OPEN_CHUNKS: u8 = 18;
const LATE_CHUNKS: u8 = 19;
const SPILLED_CHUNKS: u8 = 20;

const FORM_SAME: u8 = 0;
const FORM_I32: u8 = 1;
const FORM_I64: u8 = 2;

/// Bytes before a record's body.
const FRAME_BYTES: usize = 5;

/// One sample on its way to the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoggedSample {
    /// Whose.
    pub series: SeriesRef,
    /// What.
    pub sample: Sample,
}

/// A record, borrowed from a payload.
#[derive(Clone, Debug)]
pub enum Record<'a> {
    /// New series with consecutive references.
    Series(SeriesRecord<'a>),
    /// Float samples.
    Samples(SamplesRecord<'a>),
    /// Samples are deleted.
    Tombstones(TombstonesRecord<'a>),
    /// A cut of a block begins.
    Cut(CutRecord),
    /// The first record of a checkpoint.
    Checkpoint(CheckpointRecord),
    /// Chunks that are full.
    Chunks(ChunksRecord<'a>),
    /// Chunks that are being written.
    OpenChunks(OpenChunksRecord<'a>),
    /// Chunks of late samples.
    LateChunks(ChunksRecord<'a>),
    /// Chunks that lie in spill files.
    SpilledChunks(SpilledChunksRecord<'a>),
}

/// Where the log goes on behind a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointRecord {
    /// The first segment that the checkpoint does not cover.
    pub first_segment: u64,
    /// The sequence of the first batch there.
    pub next_sequence: u64,
}

/// What goes into a block: everything in the log before it, within its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutRecord {
    /// The block. Whether it came into being, the blocks tell.
    pub ulid: Ulid,
    /// Its time.
    pub range: BlockRange,
}

/// Why a payload is not a sequence of records. Offsets count from the payload's start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The payload ends within a record.
    #[error("record at byte {offset}: {left} bytes are left, it needs {needed}")]
    Cut {
        /// Where the record begins.
        offset: usize,
        /// What is left there.
        left: usize,
        /// What it promises.
        needed: usize,
    },
    /// A record of a kind that this version does not know.
    #[error(
        "record at byte {offset}: kind {kind} is not known; a newer version wrote it, start that one"
    )]
    UnknownKind {
        /// Where the record begins.
        offset: usize,
        /// The kind.
        kind: u8,
    },
    /// A body that is not what its kind says.
    #[error("record at byte {offset}: {what}")]
    Body {
        /// Where the record begins.
        offset: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Labels that are not canonical.
    #[error("series record: {0}")]
    Labels(#[from] LabelsError),
}

/// Appends one series' labels to the body of a series record that is being gathered.
pub fn push_labels(body: &mut Vec<u8>, labels: &[u8]) {
    varint::push_unsigned(body, labels.len() as u64);
    body.extend_from_slice(labels);
}

/// Appends a record of `count` series whose references begin at `first` and are consecutive; `body` was gathered with
/// [`push_labels`].
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_series(out: &mut Vec<u8>, first: SeriesRef, count: u32, body: &[u8]) {
    let start = begin(out, SERIES);
    out.extend_from_slice(&first.0.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(body);
    end(out, start);
}

/// Appends records that hold `samples`; none if there are none. More than one only where references lie too far apart.
///
/// # Panics
/// If a record would be longer than a batch may be; callers bound what they put in.
pub fn push_samples(out: &mut Vec<u8>, samples: &[LoggedSample]) {
    let mut rest = samples;
    while let Some(first) = rest.first() {
        let (mut low, mut high) = (first.series.0, first.series.0);
        let mut len = 0;
        for sample in rest {
            let (lower, higher) = (low.min(sample.series.0), high.max(sample.series.0));
            if higher - lower > u64::from(u32::MAX) {
                break;
            }
            (low, high) = (lower, higher);
            len += 1;
        }
        let (now, later) = rest.split_at(len);
        push_samples_near(out, low, now);
        rest = later;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the caller bounds the distance of the references"
)]
fn push_samples_near(out: &mut Vec<u8>, base: u64, samples: &[LoggedSample]) {
    let Some(first_t) = samples.first().map(|s| s.sample.t.0) else { return };
    let mut form = FORM_SAME;
    for s in samples {
        let delta = s.sample.t.0.wrapping_sub(first_t);
        if delta != 0 {
            let small = i32::try_from(delta).is_ok() && s.sample.t.0.checked_sub(first_t).is_some();
            form = form.max(if small { FORM_I32 } else { FORM_I64 });
        }
    }
    let start = begin(out, SAMPLES);
    out.reserve(samples.len() * 20 + 21);
    out.extend_from_slice(&base.to_le_bytes());
    out.extend_from_slice(
        &u32::try_from(samples.len()).expect("bounded by the caller").to_le_bytes(),
    );
    out.push(form);
    out.extend_from_slice(&first_t.to_le_bytes());
    out.extend(samples.iter().flat_map(|s| ((s.series.0 - base) as u32).to_le_bytes()));
    match form {
        FORM_SAME => {}
        FORM_I32 => {
            out.extend(samples.iter().flat_map(|s| ((s.sample.t.0 - first_t) as i32).to_le_bytes()))
        }
        _ => out.extend(samples.iter().flat_map(|s| s.sample.t.0.to_le_bytes())),
    }
    out.extend(samples.iter().flat_map(|s| s.sample.v.to_bits().to_le_bytes()));
    end(out, start);
}

/// Appends a record that deletes samples; none if there are no series.
///
/// # Panics
/// If it would be longer than a batch may be; callers bound how many series they put into one record.
pub fn push_tombstones(out: &mut Vec<u8>, series: &[SeriesRef], range: TimeRange) {
    if series.is_empty() {
        return;
    }
    let start = begin(out, TOMBSTONES);
    out.extend_from_slice(&range.min().0.to_le_bytes());
    out.extend_from_slice(&range.max().0.to_le_bytes());
    let mut before = 0u64;
    for reference in series {
        varint::push_signed(out, reference.0.wrapping_sub(before).cast_signed());
        before = reference.0;
    }
    end(out, start);
}

/// Appends the record of a cut.
pub fn push_cut(out: &mut Vec<u8>, record: CutRecord) {
    let start = begin(out, CUT);
    out.extend_from_slice(&record.ulid.to_bytes());
    out.extend_from_slice(&record.range.start().0.to_le_bytes());
    out.extend_from_slice(&record.range.end().0.to_le_bytes());
    end(out, start);
}

/// Appends the record that begins a checkpoint.
pub fn push_checkpoint(out: &mut Vec<u8>, record: CheckpointRecord) {
    let start = begin(out, CHECKPOINT);
    out.extend_from_slice(&record.first_segment.to_le_bytes());
    out.extend_from_slice(&record.next_sequence.to_le_bytes());
    end(out, start);
}

/// Appends one full chunk to the body of a chunks record that is being gathered.
pub fn push_chunk(
    body: &mut Vec<u8>,
    series: SeriesRef,
    encoding: u8,
    range: TimeRange,
    chunk: &[u8],
) {
    body.extend_from_slice(&series.0.to_le_bytes());
    body.push(encoding);
    body.extend_from_slice(&range.min().0.to_le_bytes());
    body.extend_from_slice(&range.max().0.to_le_bytes());
    body.extend_from_slice(
        &u32::try_from(chunk.len()).expect("a chunk has about a thousand bytes").to_le_bytes(),
    );
    body.extend_from_slice(chunk);
}

/// Appends a record of full chunks; `body` was gathered with [`push_chunk`].
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_chunks(out: &mut Vec<u8>, body: &[u8]) {
    let start = begin(out, CHUNKS);
    out.extend_from_slice(body);
    end(out, start);
}

/// Appends a record of late chunks; `body` was gathered with [`push_chunk`].
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_late_chunks(out: &mut Vec<u8>, body: &[u8]) {
    let start = begin(out, LATE_CHUNKS);
    out.extend_from_slice(body);
    end(out, start);
}

/// Appends one open chunk to the body of an open-chunks record that is being gathered.
pub fn push_open_chunk(
    body: &mut Vec<u8>,
    series: SeriesRef,
    next_at: TimestampMs,
    appender: &XorAppender,
    words: &Words,
) {
    body.extend_from_slice(&series.0.to_le_bytes());
    body.extend_from_slice(&next_at.0.to_le_bytes());
    appender.save(words, body);
}

/// Appends a record of open chunks; `body` was gathered with [`push_open_chunk`].
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_open_chunks(out: &mut Vec<u8>, body: &[u8]) {
    let start = begin(out, OPEN_CHUNKS);
    out.extend_from_slice(body);
    end(out, start);
}

/// Where a chunk lies that has left memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpillPlace {
    /// Whose it is.
    pub series: SeriesRef,
    /// Number of the spill file.
    pub file: u32,
    /// Where its frame begins there, in bytes.
    pub offset: u32,
    /// Length of its frame in bytes.
    pub len: u32,
    /// From its first to its last sample.
    pub range: TimeRange,
    /// Did its samples come late?
    pub late: bool,
}

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
        varint::push_unsigned(out, u64::from(place.file) << 1 | u64::from(place.late));
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

fn begin(out: &mut Vec<u8>, kind: u8) -> usize {
    let start = out.len();
    out.push(kind);
    out.extend_from_slice(&[0; 4]);
    start
}

fn end(out: &mut [u8], start: usize) {
    let len = u32::try_from(out.len() - start - FRAME_BYTES).expect("bounded by the caller");
    if let Some(field) = out.get_mut(start + 1..start + FRAME_BYTES) {
        field.copy_from_slice(&len.to_le_bytes());
    }
}

/// The records of a payload, in order; ends after the first error. Takes any bytes.
pub fn records(payload: &[u8]) -> Records<'_> {
    Records { rest: payload, offset: 0 }
}

/// The records of a payload.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Records<'a> {
    fn split(&mut self) -> Result<Record<'a>, RecordError> {
        let (offset, left) = (self.offset, self.rest.len());
        let cut = |needed| RecordError::Cut { offset, left, needed };
        let Some((&[kind, l0, l1, l2, l3], rest)) = self.rest.split_first_chunk::<FRAME_BYTES>()
        else {
            return Err(cut(FRAME_BYTES));
        };
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let Some((body, rest)) = rest.split_at_checked(len) else {
            return Err(cut(FRAME_BYTES + len));
        };
        self.rest = rest;
        self.offset += FRAME_BYTES + len;
        match kind {
            SERIES => SeriesRecord::of(body).map(Record::Series),
            SAMPLES => SamplesRecord::of(body).map(Record::Samples),
            TOMBSTONES => TombstonesRecord::of(body).map(Record::Tombstones),
            CUT => CutRecord::of(body).map(Record::Cut),
            CHECKPOINT => CheckpointRecord::of(body).map(Record::Checkpoint),
            CHUNKS => Some(Record::Chunks(ChunksRecord { rest: body })),
            OPEN_CHUNKS => Some(Record::OpenChunks(OpenChunksRecord { rest: body })),
            LATE_CHUNKS => Some(Record::LateChunks(ChunksRecord { rest: body })),
            SPILLED_CHUNKS => Some(Record::SpilledChunks(SpilledChunksRecord {
                rest: body,
                before: SpillPlace::BEFORE_THE_FIRST,
            })),
            kind => return Err(RecordError::UnknownKind { offset, kind }),
        }
        .ok_or(RecordError::Body { offset, what: "its lengths do not add up" })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.split();
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}

/// New series with consecutive references.
#[derive(Clone, Debug)]
pub struct SeriesRecord<'a> {
    next: u64,
    count: u32,
    rest: &'a [u8],
}

impl<'a> SeriesRecord<'a> {
    fn of(body: &'a [u8]) -> Option<Self> {
        let (first, body) = body.split_first_chunk::<8>()?;
        let (count, rest) = body.split_first_chunk::<4>()?;
        Some(Self { next: u64::from_le_bytes(*first), count: u32::from_le_bytes(*count), rest })
    }
}

impl<'a> Iterator for SeriesRecord<'a> {
    type Item = Result<(SeriesRef, LabelsRef<'a>), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.count == 0 {
            return None;
        }
        let Some((labels, rest)) = varint::split_unsigned(self.rest)
            .and_then(|(len, rest)| rest.split_at_checked(usize::try_from(len).ok()?))
        else {
            self.count = 0;
            return Some(Err(RecordError::Body {
                offset: 0,
                what: "a series record ends within its labels",
            }));
        };
        let series = SeriesRef(self.next);
        self.count -= 1;
        self.next = self.next.wrapping_add(1);
        self.rest = rest;
        Some(
            LabelsRef::from_canonical(labels)
                .map(|labels| (series, labels))
                .map_err(RecordError::from),
        )
    }
}

/// Samples of some series that are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TombstonesRecord<'a> {
    /// Of which time; both ends are.
    pub range: TimeRange,
    before: u64,
    rest: &'a [u8],
}

impl<'a> TombstonesRecord<'a> {
    fn of(body: &'a [u8]) -> Option<Self> {
        let (first, body) = body.split_first_chunk::<8>()?;
        let (last, rest) = body.split_first_chunk::<8>()?;
        let time = |bytes| TimestampMs(i64::from_le_bytes(bytes));
        Some(Self { range: TimeRange::new(time(*first), time(*last))?, before: 0, rest })
    }
}

/// The series.
impl Iterator for TombstonesRecord<'_> {
    type Item = Result<SeriesRef, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((more, rest)) = varint::split_signed(self.rest) else {
            self.rest = &[];
            let what = "a tombstones record ends within a reference";
            return Some(Err(RecordError::Body { offset: 0, what }));
        };
        self.rest = rest;
        self.before = self.before.wrapping_add(more.cast_unsigned());
        Some(Ok(SeriesRef(self.before)))
    }
}

impl CutRecord {
    fn of(body: &[u8]) -> Option<Self> {
        let (ulid, body) = body.split_first_chunk::<16>()?;
        let (start, body) = body.split_first_chunk::<8>()?;
        let (end, rest) = body.split_first_chunk::<8>()?;
        let time = |bytes| TimestampMs(i64::from_le_bytes(bytes));
        let range = BlockRange::new(time(*start), time(*end))?;
        rest.is_empty().then_some(Self { ulid: Ulid::from_bytes(*ulid), range })
    }
}

impl CheckpointRecord {
    fn of(body: &[u8]) -> Option<Self> {
        let (first_segment, body) = body.split_first_chunk::<8>()?;
        let (next_sequence, rest) = body.split_first_chunk::<8>()?;
        rest.is_empty().then_some(Self {
            first_segment: u64::from_le_bytes(*first_segment),
            next_sequence: u64::from_le_bytes(*next_sequence),
        })
    }
}

/// A full chunk, as a checkpoint has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedChunk<'a> {
    /// Whose.
    pub series: SeriesRef,
    /// Which of Prometheus's encodings.
    pub encoding: u8,
    /// From its first to its last sample.
    pub range: TimeRange,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Chunks that are full.
#[derive(Clone, Debug)]
pub struct ChunksRecord<'a> {
    rest: &'a [u8],
}

impl<'a> ChunksRecord<'a> {
    fn split(&mut self) -> Option<SavedChunk<'a>> {
        let (series, rest) = self.rest.split_first_chunk::<8>()?;
        let (&[encoding], rest) = rest.split_first_chunk::<1>()?;
        let (min, rest) = rest.split_first_chunk::<8>()?;
        let (max, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        self.rest = rest;
        let time = |bytes| TimestampMs(i64::from_le_bytes(bytes));
        let range = TimeRange::new(time(*min), time(*max))?;
        Some(SavedChunk { series: SeriesRef(u64::from_le_bytes(*series)), encoding, range, bytes })
    }
}

impl<'a> Iterator for ChunksRecord<'a> {
    type Item = Result<SavedChunk<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let chunk = self.split();
        if chunk.is_none() {
            self.rest = &[];
        }
        Some(
            chunk.ok_or(RecordError::Body {
                offset: 0,
                what: "a chunks record ends within a chunk",
            }),
        )
    }
}

/// Chunks that lie in spill files.
#[derive(Clone, Debug)]
pub struct SpilledChunksRecord<'a> {
    rest: &'a [u8],
    before: (SeriesRef, TimestampMs),
}

impl SpilledChunksRecord<'_> {
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
        Some(SpillPlace {
            series,
            file: u32::try_from(file >> 1).ok()?,
            offset: u32::try_from(offset).ok()?,
            len: u32::try_from(len).ok()?,
            range: TimeRange::new(TimestampMs(min), TimestampMs(max))?,
            late: file & 1 == 1,
        })
    }
}

impl Iterator for SpilledChunksRecord<'_> {
    type Item = Result<SpillPlace, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let place = self.split();
        if place.is_none() {
            self.rest = &[];
        }
        Some(place.ok_or(RecordError::Body {
            offset: 0,
            what: "a spilled-chunks record does not add up",
        }))
    }
}

/// A chunk that is being written, as a checkpoint has it.
#[derive(Clone, Debug)]
pub struct SavedOpenChunk {
    /// Whose.
    pub series: SeriesRef,
    /// When the next chunk begins.
    pub next_at: TimestampMs,
    /// Where its writing stands.
    pub appender: XorAppender,
    /// Its finished words.
    pub words: Words,
}

/// Chunks that are being written.
#[derive(Clone, Debug)]
pub struct OpenChunksRecord<'a> {
    rest: &'a [u8],
}

impl OpenChunksRecord<'_> {
    fn split(&mut self) -> Option<SavedOpenChunk> {
        let (series, rest) = self.rest.split_first_chunk::<8>()?;
        let (next_at, rest) = rest.split_first_chunk::<8>()?;
        let (appender, words, rest) = XorAppender::restore(rest)?;
        self.rest = rest;
        let (series, next_at) = (u64::from_le_bytes(*series), i64::from_le_bytes(*next_at));
        Some(SavedOpenChunk {
            series: SeriesRef(series),
            next_at: TimestampMs(next_at),
            appender,
            words,
        })
    }
}

impl Iterator for OpenChunksRecord<'_> {
    type Item = Result<SavedOpenChunk, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let chunk = self.split();
        if chunk.is_none() {
            self.rest = &[];
        }
        Some(chunk.ok_or(RecordError::Body {
            offset: 0,
            what: "an open-chunks record ends within a chunk",
        }))
    }
}

/// Float samples, column by column.
#[derive(Clone, Copy, Debug)]
pub struct SamplesRecord<'a> {
    base: u64,
    first_t: i64,
    form: u8,
    refs: &'a [u8],
    times: &'a [u8],
    values: &'a [u8],
}

impl<'a> SamplesRecord<'a> {
    fn of(body: &'a [u8]) -> Option<Self> {
        let (base, body) = body.split_first_chunk::<8>()?;
        let (count, body) = body.split_first_chunk::<4>()?;
        let ([form], body) = body.split_first_chunk::<1>()?;
        let (first_t, body) = body.split_first_chunk::<8>()?;
        let count = u32::from_le_bytes(*count) as usize;
        let time_bytes = match *form {
            FORM_SAME => 0,
            FORM_I32 => 4,
            FORM_I64 => 8,
            _ => return None,
        };
        let (refs, body) = body.split_at_checked(count.checked_mul(4)?)?;
        let (times, values) = body.split_at_checked(count.checked_mul(time_bytes)?)?;
        (values.len() == count.checked_mul(8)?).then_some(Self {
            base: u64::from_le_bytes(*base),
            first_t: i64::from_le_bytes(*first_t),
            form: *form,
            refs,
            times,
            values,
        })
    }

    /// How many samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / 8
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The samples in the order in which they were logged.
    pub fn iter(self) -> impl Iterator<Item = LoggedSample> + use<'a> {
        let (refs, _) = self.refs.as_chunks::<4>();
        let (values, _) = self.values.as_chunks::<8>();
        refs.iter().zip(values).enumerate().map(move |(i, (reference, value))| LoggedSample {
            series: SeriesRef(self.base.wrapping_add(u64::from(u32::from_le_bytes(*reference)))),
            sample: Sample {
                t: TimestampMs(self.time(i)),
                v: f64::from_bits(u64::from_le_bytes(*value)),
            },
        })
    }

    #[inline]
    fn time(&self, i: usize) -> i64 {
        match self.form {
            FORM_SAME => self.first_t,
            FORM_I32 => {
                let delta =
                    self.times.as_chunks::<4>().0.get(i).map_or(0, |b| i32::from_le_bytes(*b));
                self.first_t.wrapping_add(i64::from(delta))
            }
            _ => self.times.as_chunks::<8>().0.get(i).map_or(0, |b| i64::from_le_bytes(*b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Labels;

    fn logged(series: u64, t: i64, v: f64) -> LoggedSample {
        LoggedSample { series: SeriesRef(series), sample: Sample { t: TimestampMs(t), v } }
    }

    fn body_of<'a>(sets: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut body = Vec::new();
        sets.into_iter().for_each(|labels| push_labels(&mut body, labels));
        body
    }

    fn read(payload: &[u8]) -> (Vec<(SeriesRef, String)>, Vec<LoggedSample>) {
        let (mut series, mut samples) = (Vec::new(), Vec::new());
        for record in records(payload) {
            match record.unwrap() {
                Record::Series(record) => {
                    series.extend(record.map(|s| s.map(|(r, l)| (r, l.to_string())).unwrap()))
                }
                Record::Samples(record) => samples.extend(record.iter()),
                other => panic!("not a record of the log: {other:?}"),
            }
        }
        (series, samples)
    }

    #[test] // golden bytes: the format cannot drift unseen
    fn records_have_these_bytes() {
        let mut out = Vec::new();
        let (a, b) =
            (Labels::from_pairs([("a", "1")]).unwrap(), Labels::from_pairs([("b", "2")]).unwrap());
        push_series(&mut out, SeriesRef(7), 2, &body_of([a.as_bytes(), b.as_bytes()]));
        push_samples(&mut out, &[logged(7, 1000, 1.5), logged(8, 1000, 2.0)]);
        push_samples(&mut out, &[logged(8, 1000, 1.5), logged(7, 999, 2.0)]);
        push_samples(&mut out, &[logged(8, 0, 1.5), logged(7, i64::MAX, 2.0)]);
        push_cut(&mut out, a_cut());
        push_tombstones(&mut out, &REFERENCES, deleted());
        let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            include_str!("../../tests/golden/wal_records.hex")
                .split_whitespace()
                .collect::<String>()
        );
    }

    const REFERENCES: [SeriesRef; 4] =
        [SeriesRef(7), SeriesRef(8), SeriesRef(u64::MAX), SeriesRef(1)];

    fn deleted() -> TimeRange {
        TimeRange::new(TimestampMs(-1), TimestampMs(1000)).unwrap()
    }

    #[test]
    fn tombstones_come_back_and_of_no_series_there_are_none() {
        let mut out = Vec::new();
        push_tombstones(&mut out, &[], deleted());
        assert!(out.is_empty());
        push_tombstones(&mut out, &REFERENCES, deleted());
        let Some(Ok(Record::Tombstones(record))) = records(&out).next() else {
            panic!("one record")
        };
        assert_eq!(record.range, deleted());
        assert_eq!(record.map(Result::unwrap).collect::<Vec<_>>(), REFERENCES);
    }

    fn a_cut() -> CutRecord {
        let range = BlockRange::new(TimestampMs(7_200_000), TimestampMs(14_400_000)).unwrap();
        CutRecord { ulid: Ulid::from_string("01BKGV7JBM69T2G1BGBGM6KB12").unwrap(), range }
    }

    #[test]
    fn a_cut_comes_back() {
        let mut out = Vec::new();
        push_cut(&mut out, a_cut());
        let Some(Ok(Record::Cut(record))) = records(&out).next() else { panic!("one record") };
        assert_eq!(record, a_cut());
    }

    fn push_checkpoint_records(out: &mut Vec<u8>) {
        push_checkpoint(out, CheckpointRecord { first_segment: 5, next_sequence: 77 });
        let mut body = Vec::new();
        let range = TimeRange::new(TimestampMs(1), TimestampMs(2)).unwrap();
        push_chunk(&mut body, SeriesRef(7), 1, range, b"chunk");
        push_chunks(out, &body);
        let (mut words, mut appender, mut body) =
            (Words::default(), XorAppender::new(), Vec::new());
        appender.append(&mut words, TimestampMs(1000), 1.5);
        push_open_chunk(&mut body, SeriesRef(8), TimestampMs(7_200_000), &appender, &words);
        push_open_chunks(out, &body);
        let mut body = Vec::new();
        push_chunk(&mut body, SeriesRef(9), 1, range, b"late");
        push_late_chunks(out, &body);
        let mut body = SpilledBody::default();
        places().into_iter().for_each(|place| body.push(place));
        push_spilled_chunks(out, &body);
    }

    fn places() -> [SpillPlace; 3] {
        let range = |min, max| TimeRange::new(TimestampMs(min), TimestampMs(max)).unwrap();
        let place = |series, file, offset, range, late| SpillPlace {
            series: SeriesRef(series),
            file,
            offset,
            len: 200,
            range,
            late,
        };
        [
            place(9, 1, 4096, range(1000, 2000), false),
            place(9, 2, 0, range(2500, 2500), false),
            place(7, 1, 70_000, range(-5, 1500), true),
        ]
    }

    #[test] // golden bytes: the format cannot drift unseen
    fn checkpoint_records_have_these_bytes() {
        let mut out = Vec::new();
        push_checkpoint_records(&mut out);
        let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            include_str!("../../tests/golden/checkpoint_records.hex")
                .split_whitespace()
                .collect::<String>()
        );
    }

    #[test]
    fn checkpoint_records_come_back() {
        let mut out = Vec::new();
        push_checkpoint_records(&mut out);
        let mut records = records(&out).map(Result::unwrap);
        let Some(Record::Checkpoint(begin)) = records.next() else { panic!("the first record") };
        assert_eq!(begin, CheckpointRecord { first_segment: 5, next_sequence: 77 });
        let Some(Record::Chunks(mut chunks)) = records.next() else { panic!("the second record") };
        let chunk = chunks.next().unwrap().unwrap();
        assert_eq!((chunk.series, chunk.encoding, chunk.bytes), (SeriesRef(7), 1, &b"chunk"[..]));
        let Some(Record::OpenChunks(mut open)) = records.next() else { panic!("the third record") };
        let open = open.next().unwrap().unwrap();
        assert_eq!(
            (open.series, open.next_at, open.appender.count()),
            (SeriesRef(8), TimestampMs(7_200_000), 1)
        );
        let Some(Record::LateChunks(mut late)) = records.next() else {
            panic!("the fourth record")
        };
        assert_eq!(late.next().unwrap().unwrap().bytes, b"late");
        let Some(Record::SpilledChunks(spilled)) = records.next() else {
            panic!("the fifth record")
        };
        assert_eq!(spilled.map(Result::unwrap).collect::<Vec<_>>(), places());
    }

    #[test]
    fn an_unknown_kind_stops_the_reader_and_names_itself() {
        let mut out = Vec::new();
        push_samples(&mut out, &[logged(1, 2, 3.0)]);
        let offset = out.len();
        out.extend_from_slice(&[99, 0, 0, 0, 0]);
        let last = records(&out).last().unwrap();
        assert_eq!(last.unwrap_err(), RecordError::UnknownKind { offset, kind: 99 });
    }

    #[test]
    fn references_that_lie_far_apart_take_two_records() {
        let far = [logged(1, 5, 1.0), logged(u64::from(u32::MAX) + 2, 5, 2.0), logged(3, 5, 3.0)];
        let mut out = Vec::new();
        push_samples(&mut out, &far);
        assert_eq!(records(&out).count(), 2);
        assert_eq!(read(&out).1, far);
    }

    proptest! {
        #[test]
        fn any_samples_come_back(samples in proptest::collection::vec((0u64..1000, any::<i64>(), any::<u64>()), 0..50)) {
            let samples: Vec<_> = samples.into_iter().map(|(r, t, v)| logged(r, t, f64::from_bits(v))).collect();
            let mut out = Vec::new();
            push_samples(&mut out, &samples);
            prop_assert_eq!(read(&out).1, samples);
        }

        #[test]
        fn any_series_come_back(first in 0u64..1 << 60, names in proptest::collection::vec("[a-z]{1,9}", 1..9)) {
            let sets: Vec<_> = names.iter().map(|n| Labels::from_pairs([("n", n.as_str())]).unwrap()).collect();
            let mut out = Vec::new();
            push_series(&mut out, SeriesRef(first), u32::try_from(sets.len()).unwrap(), &body_of(sets.iter().map(Labels::as_bytes)));
            let want: Vec<_> = (first..).map(SeriesRef).zip(sets.iter().map(ToString::to_string)).collect();
            prop_assert_eq!(read(&out).0, want);
        }

        #[test]
        fn cut_flipped_and_random_bytes_never_panic(
            samples in proptest::collection::vec((0u64..1000, any::<i64>()), 1..20),
            noise in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 0..5),
            cut in any::<prop::sample::Index>(),
            random in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut out = Vec::new();
            push_series(&mut out, SeriesRef(1), 1, &body_of([&b"\x0a\x06\x0a\x01a\x12\x011"[..]]));
            push_samples(&mut out, &samples.iter().map(|(r, t)| logged(*r, *t, 0.0)).collect::<Vec<_>>());
            push_checkpoint_records(&mut out);
            push_cut(&mut out, a_cut());
            for (at, byte) in noise {
                let at = at.index(out.len());
                out[at] = byte;
            }
            out.truncate(cut.index(out.len() + 1));
            for bytes in [out, random] {
                for record in records(&bytes).flatten() {
                    match record {
                        Record::Series(record) => { let _ = record.count(); }
                        Record::Samples(record) => prop_assert_eq!(record.iter().count(), record.len()),
                        Record::Chunks(record) | Record::LateChunks(record) => { let _ = record.count(); }
                        Record::OpenChunks(record) => { let _ = record.count(); }
                        Record::SpilledChunks(record) => { let _ = record.count(); }
                        Record::Checkpoint(_) | Record::Cut(_) => {}
                        Record::Tombstones(record) => record.for_each(drop),
                    }
                }
            }
        }
    }
}
