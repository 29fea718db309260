//! A chunk of the Head that takes no further sample, and samples on their way into chunks and back.

use bytes::Bytes;

use super::full_chunks::FullChunks;
use super::mem_series::MemSeries;
use super::open_histogram::OpenHistogram;
use crate::encoding::chunk::{self, ChunkReader};
use crate::encoding::xor::{self, Words, XorAppender};
use crate::model::{Samples, TimeRange, TimestampMs, Value, ValueRef};

/// A chunk that takes no further sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadChunk {
    /// From its first to its last sample.
    pub range: TimeRange,
    /// Which of Prometheus's encodings.
    pub encoding: u8,
    /// Its bytes.
    pub bytes: Bytes,
}

impl HeadChunk {
    /// How many samples it says it has.
    #[must_use]
    pub fn sample_count(&self) -> u32 {
        u32::from(chunk::promised(&self.bytes))
    }

    /// The value at `t`.
    #[must_use]
    pub fn value_at(&self, t: TimestampMs) -> Option<Value> {
        self.range.contains(t).then(|| value_at(self.encoding, &self.bytes, t)).flatten()
    }

    /// Appends the samples within `range` to `out`, oldest first.
    pub fn read(&self, range: TimeRange, out: &mut Samples) {
        read_chunk(self.encoding, &self.bytes, range, out);
    }
}

/// The value that a chunk has at `t`.
#[must_use]
pub fn value_at(encoding: u8, chunk: &[u8], t: TimestampMs) -> Option<Value> {
    let mut reader = ChunkReader::new(encoding, chunk).ok()?;
    while let Some(Ok(at)) = reader.advance() {
        if at >= t {
            return (at == t).then(|| reader.value().to_value());
        }
    }
    None
}

/// Appends the samples of a chunk within `range` to `out`, oldest first, up to a place that cannot be read.
pub fn read_chunk(encoding: u8, chunk: &[u8], range: TimeRange, out: &mut Samples) {
    let _ = chunk::read(encoding, chunk, |t| range.contains(t), out); // what is lost is noticed where a chunk is taken over
}

/// The samples of a chunk, if they are all there and sorted.
#[must_use]
pub fn decoded(encoding: u8, chunk: &[u8]) -> Option<Samples> {
    let mut samples = Samples::default();
    chunk::read(encoding, chunk, |_| true, &mut samples).ok()?;
    let is_sorted = samples.floats.is_sorted_by(|a, b| a.t < b.t)
        && samples.histograms.is_sorted_by(|a, b| a.t < b.t);
    is_sorted.then_some(samples)
}

/// A chunk of a series that has just ended and is not written yet.
#[derive(Debug)]
pub enum Ended {
    /// Floats.
    Floats(TimeRange, XorAppender, Words),
    /// Histograms, which are written already.
    Histograms(HeadChunk),
}

impl Ended {
    /// Writes it where the others are.
    #[must_use]
    pub fn gather(self, full: &mut FullChunks) -> HeadChunk {
        match self {
            Self::Floats(range, appender, words) => {
                let bytes = full.gather(appender.len_bytes(), |out| appender.write_to(&words, out));
                HeadChunk { range, encoding: xor::ENCODING, bytes }
            }
            Self::Histograms(chunk) => {
                let bytes = full.gather_bytes(&chunk.bytes);
                HeadChunk { bytes, ..chunk }
            }
        }
    }

    /// Writes it by itself.
    #[must_use]
    pub fn into_chunk(self) -> HeadChunk {
        match self {
            Self::Floats(range, appender, words) => {
                let mut bytes = Vec::new();
                appender.write_to(&words, &mut bytes);
                HeadChunk { range, encoding: xor::ENCODING, bytes: bytes.into() }
            }
            Self::Histograms(chunk) => chunk,
        }
    }
}

/// Makes chunks of a series' samples, by the rule by which the Head ends them.
#[derive(Debug, Default)]
pub struct ChunkWriter {
    series: MemSeries,
    histogram: Option<Box<OpenHistogram>>,
}

impl ChunkWriter {
    /// Appends a sample that is later than all others; the chunk that it ended, if it did.
    #[must_use]
    pub fn push(&mut self, t: TimestampMs, value: ValueRef<'_>) -> Option<HeadChunk> {
        let Self { series, histogram } = self;
        let ended = match value {
            ValueRef::Float(v) => {
                let before = series.begin_floats(histogram);
                before.or(series.append(crate::model::Sample { t, v }))
            }
            ValueRef::Histogram(h) => series.append_histogram(histogram, t, h),
        };
        ended.map(Ended::into_chunk)
    }

    /// Ends the last chunk.
    #[must_use]
    pub fn finish(mut self) -> Option<HeadChunk> {
        self.series.close(&mut self.histogram).map(Ended::into_chunk)
    }
}

/// Makes chunks of all samples of a series, which are in the order of time.
#[must_use]
pub fn encoded(samples: &Samples) -> Vec<HeadChunk> {
    let (mut writer, mut chunks) = (ChunkWriter::default(), Vec::new());
    for (t, value) in samples.iter() {
        chunks.extend(writer.push(t, value));
    }
    chunks.extend(writer.finish());
    chunks
}
