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
//! 3 starts   any number of: reference varint, less that of the one before, signed │ from t varint likewise │ start t varint
//!             likewise; 0 is not known. Of samples of the series from there on
//! 4 histograms, 5 float histograms  any number of: reference varint, less that of the one before, signed │ t varint likewise │ reset
//!             hint u8 │ schema varint, signed │ zero threshold f64 │ count │ count in the zero bucket │ sum f64 │ positive spans │
//!             negative spans │ positive buckets │ negative buckets │ custom bounds
//!             a list is its length, a varint, and so many elements; a span: offset varint, signed │ length varint; a bound: f64
//!             counts and buckets  in 4 varints, those of buckets signed; in 5 f64. Both are as `model::histogram` writes them
//! 6 exemplars  any number of: series │ t i64 │ value f64 │ length varint, canonical bytes of the exemplar's own labels
//!             series      0: that of the one before; else one more than the length, a varint, and the canonical bytes of its labels
//! 7 metadata  any number of families: name │ count varint │ count times: type u8 │ unit │ help; a text is its length, a varint,
//!             and UTF-8. From here on this is all that is said of the family; the types are those of `model::MetricType`
//! 8 tombstones  first t i64 │ last t i64, both included │ references, to the end of the body, each a varint: less the one
//!             before, signed. Of these series every sample of that time that stands before this record is deleted
//! 9 cut       ULID of a block, 16 bytes │ first t i64 │ t behind the last i64: everything before this record that lies in
//!             between goes into that block
//! 16 checkpoint  first segment u64 │ next sequence u64: the log from there on is not in the checkpoint that this begins
//! 17 chunks      any number of: reference u64 │ encoding u8 │ first t i64 │ last t i64 │ length u32 │ the chunk's bytes
//! 18 open chunks any number of: reference u64 │ next chunk at t i64 │ the state of an `xor::XorAppender`
//! 19 late chunks as 17: samples that came when their series had newer ones
//! 20 spilled floats  as 22, of an older version; file varint, doubled, and one more if its samples came late
//! 21 saved series  count of pairs u32 │ count times: length varint, canonical bytes of one label; they have numbers from 0 on
//!             │ series, to the end of the body, each: reference varint, less that of the one before, signed │ number of labels
//!             varint │ for each a varint: 0 for the pair at this place of the series before, or one more than a pair's number
//! 22 spilled chunks  any number of: reference varint, less that of the one before, signed │ file varint, times 16, and twice the
//!                    encoding, and one more if its samples came late │ offset varint │ length varint: so many bytes have the
//!                    frame │ first t varint, less the last t of the one before, signed │ last t varint, less the first t; see
//!                    `spilled`
//! 23 open histograms any number of: reference u64 │ encoding u8 │ next chunk at t i64, the highest there is if that is not
//!                    predicted │ length u32 │ the chunk's bytes so far
//! ```
//! Kinds 3, 6, 7, 17 to 19 and 21 to 23 make up a checkpoint, which a record of kind 16 begins, and kinds 1 and 20 those of older
//! versions; the log itself has only 1 to 9.
//! A reader that meets a kind it does not know stops there and says so: skipping it would
//! lose acknowledged data without a word. Samples refer to series by reference only; a reference's series record stands
//! before its first use. Golden bytes: `tests/golden/wal_records.hex`.

mod checkpoint;
mod chunks;
mod cut;
mod exemplars;
mod histograms;
mod metadata;
mod open_chunks;
mod open_histograms;
mod samples;
mod saved_series;
mod series;
mod spilled_chunks;
mod starts;
#[cfg(test)]
mod tests;
mod tombstones;

pub use checkpoint::{CheckpointRecord, push_checkpoint};
pub use chunks::{ChunksRecord, SavedChunk, push_chunk, push_chunks, push_late_chunks};
pub use cut::{CutRecord, push_cut};
pub use exemplars::{ExemplarsRecord, SavedExemplar, push_exemplar, push_exemplars};
pub use histograms::{
    HistogramsBody, HistogramsRecord, LoggedCount, LoggedHistogram, push_histograms,
};
pub use metadata::{MetadataRecord, SavedFamily, push_family, push_metadata};
pub use open_chunks::{OpenChunksRecord, SavedOpenChunk, push_open_chunk, push_open_chunks};
pub use open_histograms::{
    OpenHistogramsRecord, SavedOpenHistogram, push_open_histogram, push_open_histograms,
};
pub use samples::{LoggedSample, SamplesRecord, push_samples};
pub use saved_series::{
    SavedSeries, SavedSeriesBody, SavedSeriesList, SavedSeriesRecord, push_saved_series,
};
pub use series::{SeriesRecord, push_labels, push_series};
pub use spilled_chunks::{SpillPlace, SpilledBody, SpilledChunksRecord, push_spilled_chunks};
pub use starts::{LoggedStart, START_BYTES_MAX, StartsRecord, push_starts};
pub use tombstones::{TombstonesRecord, push_tombstones};

use crate::model::LabelsError;

const SERIES: u8 = 1;
const SAMPLES: u8 = 2;
const STARTS: u8 = 3;
const HISTOGRAMS: u8 = 4;
const FLOAT_HISTOGRAMS: u8 = 5;
const EXEMPLARS: u8 = 6;
const METADATA: u8 = 7;
const TOMBSTONES: u8 = 8;
const CUT: u8 = 9;
const CHECKPOINT: u8 = 16;
const CHUNKS: u8 = 17;
const OPEN_CHUNKS: u8 = 18;
const LATE_CHUNKS: u8 = 19;
const SPILLED_FLOATS: u8 = 20;
const SAVED_SERIES: u8 = 21;
const SPILLED_CHUNKS: u8 = 22;
const OPEN_HISTOGRAMS: u8 = 23;

/// Bytes before a record's body.
const FRAME_BYTES: usize = 5;

/// A record, borrowed from a payload.
#[derive(Clone, Debug)]
pub enum Record<'a> {
    /// New series with consecutive references.
    Series(SeriesRecord<'a>),
    /// Float samples.
    Samples(SamplesRecord<'a>),
    /// Since when counters count.
    Starts(StartsRecord<'a>),
    /// Integer histograms.
    Histograms(HistogramsRecord<'a, u64>),
    /// Float histograms.
    FloatHistograms(HistogramsRecord<'a, f64>),
    /// Exemplars.
    Exemplars(ExemplarsRecord<'a>),
    /// What is said of metric families.
    Metadata(MetadataRecord<'a>),
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
    /// Chunks of histograms that are being written.
    OpenHistograms(OpenHistogramsRecord<'a>),
    /// Chunks of late samples.
    LateChunks(ChunksRecord<'a>),
    /// Chunks that lie in spill files.
    SpilledChunks(SpilledChunksRecord<'a>),
    /// Series of a checkpoint.
    SavedSeries(SavedSeriesRecord<'a>),
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
    #[error("labels of a record: {0}")]
    Labels(#[from] LabelsError),
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

/// The next entry of a record that is entries to its end; `None` behind the last one. After an error there is none.
///
/// - `rest`: what is left of it.
/// - `split`: takes an entry off; `None`: there is no whole one.
fn next_entry<'a, R, T>(
    record: &mut R,
    rest: fn(&mut R) -> &mut &'a [u8],
    split: fn(&mut R) -> Option<T>,
    what: &'static str,
) -> Option<Result<T, RecordError>> {
    if rest(record).is_empty() {
        return None;
    }
    let entry = split(record);
    if entry.is_none() {
        *rest(record) = &[];
    }
    Some(entry.ok_or(RecordError::Body { offset: 0, what }))
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
            STARTS => Some(Record::Starts(StartsRecord::of(body))),
            HISTOGRAMS => Some(Record::Histograms(HistogramsRecord::of(body))),
            FLOAT_HISTOGRAMS => Some(Record::FloatHistograms(HistogramsRecord::of(body))),
            EXEMPLARS => Some(Record::Exemplars(ExemplarsRecord::of(body))),
            METADATA => Some(Record::Metadata(MetadataRecord::of(body))),
            TOMBSTONES => TombstonesRecord::of(body).map(Record::Tombstones),
            CUT => CutRecord::of(body).map(Record::Cut),
            CHECKPOINT => CheckpointRecord::of(body).map(Record::Checkpoint),
            CHUNKS => Some(Record::Chunks(ChunksRecord::of(body))),
            OPEN_CHUNKS => Some(Record::OpenChunks(OpenChunksRecord::of(body))),
            LATE_CHUNKS => Some(Record::LateChunks(ChunksRecord::of(body))),
            OPEN_HISTOGRAMS => Some(Record::OpenHistograms(OpenHistogramsRecord::of(body))),
            SPILLED_CHUNKS => Some(Record::SpilledChunks(SpilledChunksRecord::of(body))),
            SPILLED_FLOATS => Some(Record::SpilledChunks(SpilledChunksRecord::of_floats(body))),
            SAVED_SERIES => SavedSeriesRecord::of(body).map(Record::SavedSeries),
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
