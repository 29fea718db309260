//! Makes chunks of the samples of a series that come in the order of time, whatever their kind.
//!
//! A chunk has at most 120 samples, all of one kind. Floats are written as XOR or, if that is wanted, as XOR2; one that says
//! since when its counter counts always as XOR2, for XOR has no room for that, and an open XOR2 chunk takes what follows
//! without. Of histograms a chunk also ends where the next one does not fit ([`HistogramAppender`]): its header then says
//! whether the counter was reset. Where it ends because it is full, the header of the next says nothing, for it is not told
//! of the one before.
//! Source: Prometheus 3.14, `storage/series.go` (`seriesToChunkEncoder`). The bound in bytes is the Head's, not upstream's.

use super::chunk::{FLOAT_HISTOGRAM, FloatChunks, HISTOGRAM};
use super::histogram::{Coded, HistogramAppender};
use super::xor::{self, Words, XorAppender};
use super::xor2::{self, Xor2Appender};
use crate::model::{AnyHistogramRef, HistogramRef, TimeRange, TimestampMs, ValueRef};

/// A chunk has at most this many samples.
pub const CHUNK_SAMPLES_MAX: u16 = 120;
/// And a chunk of floats is ended when it has reached this many bytes, as in the Head.
pub const FLOAT_CHUNK_BYTES_MAX: usize = 1005;

/// A chunk as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedChunk {
    /// From its first sample to its last.
    pub range: TimeRange,
    /// The number of its encoding.
    pub encoding: u8,
    /// The encoded samples.
    pub bytes: Vec<u8>,
}

/// Makes chunks. What is pushed last is in none before [`end`](Self::end).
#[derive(Debug, Default)]
pub struct ChunkEncoder {
    /// How floats are written that have no start.
    floats: FloatChunks,
    open: Open,
}

/// The chunk that is being written.
#[derive(Debug, Default)]
enum Open {
    #[default]
    None,
    Xor(Box<OpenXor>),
    Xor2(Box<Xor2Appender>),
    Histogram(Box<HistogramAppender<u64>>),
    FloatHistogram(Box<HistogramAppender<f64>>),
}

#[derive(Debug, Default)]
struct OpenXor {
    first: Option<TimestampMs>,
    appender: XorAppender,
    words: Words,
}

impl ChunkEncoder {
    /// Without an open chunk.
    #[must_use]
    pub fn new(floats: FloatChunks) -> Self {
        Self { floats, open: Open::None }
    }

    /// Adds a sample; chunks that it ends are appended to `out`.
    ///
    /// - `start`: since when its counter counts; zero if that is not known. Of histograms it is not kept.
    /// - `t`: later than the last one's.
    /// - `value`: a histogram is [valid](HistogramRef::validate), as a chunk's reader gives it, or the staleness marker.
    pub fn push(
        &mut self,
        start: TimestampMs,
        t: TimestampMs,
        value: ValueRef<'_>,
        out: &mut Vec<EncodedChunk>,
    ) {
        match value {
            ValueRef::Float(v) => self.push_float(start, t, v, out),
            ValueRef::Histogram(AnyHistogramRef::Int(h)) => {
                if !matches!(&self.open, Open::Histogram(open) if !is_full(open)) {
                    self.end(out);
                    self.open = Open::Histogram(Box::default());
                }
                if let Open::Histogram(open) = &mut self.open {
                    push_histogram(open, t, h, out);
                }
            }
            ValueRef::Histogram(AnyHistogramRef::Float(h)) => {
                if !matches!(&self.open, Open::FloatHistogram(open) if !is_full(open)) {
                    self.end(out);
                    self.open = Open::FloatHistogram(Box::default());
                }
                if let Open::FloatHistogram(open) = &mut self.open {
                    push_histogram(open, t, h, out);
                }
            }
        }
    }

    fn push_float(
        &mut self,
        start: TimestampMs,
        t: TimestampMs,
        v: f64,
        out: &mut Vec<EncodedChunk>,
    ) {
        let is_long = |count, bytes| count >= CHUNK_SAMPLES_MAX || bytes >= FLOAT_CHUNK_BYTES_MAX;
        let has_start = start.0 != 0;
        let goes_in = match &self.open {
            Open::Xor(open) => {
                !has_start && !is_long(open.appender.count(), open.appender.len_bytes())
            }
            Open::Xor2(open) => !is_long(open.count(), open.len_bytes()),
            _ => false,
        };
        if !goes_in {
            self.end(out);
            self.open = match self.floats {
                FloatChunks::Xor if !has_start => Open::Xor(Box::default()),
                _ => Open::Xor2(Box::default()),
            };
        }
        match &mut self.open {
            Open::Xor(open) => {
                open.first.get_or_insert(t);
                open.appender.append(&mut open.words, t, v);
            }
            Open::Xor2(open) => open.append(start, t, v),
            _ => {}
        }
    }

    /// Ends the open chunk and appends it to `out`, if there is one.
    pub fn end(&mut self, out: &mut Vec<EncodedChunk>) {
        let mut bytes = Vec::new();
        let (range, encoding) = match std::mem::take(&mut self.open) {
            Open::None => return,
            Open::Xor(open) => {
                open.appender.write_to(&open.words, &mut bytes);
                let last = open.appender.last().t;
                (open.first.and_then(|first| TimeRange::new(first, last)), xor::ENCODING)
            }
            Open::Xor2(open) => {
                open.write_to(&mut bytes);
                let ends = open.first_t().zip(open.last());
                let range = ends.and_then(|(first, last)| TimeRange::new(first, last.sample.t));
                (range, xor2::ENCODING)
            }
            Open::Histogram(open) => {
                open.write_to(&mut bytes);
                (open.range(), HISTOGRAM)
            }
            Open::FloatHistogram(open) => {
                open.write_to(&mut bytes);
                (open.range(), FLOAT_HISTOGRAM)
            }
        };
        out.extend(range.map(|range| EncodedChunk { range, encoding, bytes }));
    }
}

fn is_full<C: Coded>(open: &HistogramAppender<C>) -> bool {
    open.count() >= CHUNK_SAMPLES_MAX
}

fn push_histogram<C: Coded>(
    open: &mut HistogramAppender<C>,
    t: TimestampMs,
    h: HistogramRef<'_, C>,
    out: &mut Vec<EncodedChunk>,
) {
    if let Some(ended) = open.append(t, h) {
        let (range, bytes) = (ended.range, ended.bytes.into_vec());
        out.push(EncodedChunk { range, encoding: C::ENCODING, bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::chunk::{self, promised};
    use crate::encoding::histogram::HistogramReader;
    use crate::encoding::xor2::Xor2Reader;
    use crate::model::{ResetHint, Samples};

    fn int(count: u64, reset_hint: ResetHint) -> ValueRef<'static> {
        let h =
            HistogramRef { count, zero_count: count, reset_hint, ..HistogramRef::<u64>::empty() };
        ValueRef::Histogram(AnyHistogramRef::Int(h))
    }

    fn float_histogram() -> ValueRef<'static> {
        ValueRef::Histogram(AnyHistogramRef::Float(HistogramRef::<f64>::empty()))
    }

    /// The chunks of samples with these starts and values, a second from each to the next.
    fn encoded(
        floats: FloatChunks,
        samples: impl IntoIterator<Item = (i64, ValueRef<'static>)>,
    ) -> Vec<EncodedChunk> {
        let (mut encoder, mut out) = (ChunkEncoder::new(floats), Vec::new());
        for ((start, value), t) in samples.into_iter().zip((1000..).step_by(1000)) {
            encoder.push(TimestampMs(start), TimestampMs(t), value, &mut out);
        }
        encoder.end(&mut out);
        out
    }

    fn shape(chunks: &[EncodedChunk]) -> Vec<(u8, u16)> {
        chunks.iter().map(|chunk| (chunk.encoding, promised(&chunk.bytes))).collect()
    }

    #[test]
    fn a_chunk_has_samples_of_one_kind_and_no_more_than_120() {
        let float = |n: usize| std::iter::repeat_n((0, ValueRef::Float(1.0)), n);
        let ints = std::iter::repeat_n((0, int(3, ResetHint::Unknown)), 121);
        let histograms = std::iter::repeat_n((0, float_histogram()), 2);
        let all = float(121).chain(ints).chain(histograms).chain(float(1));
        let chunks = encoded(FloatChunks::Xor, all);
        assert_eq!(shape(&chunks), [(1, 120), (1, 1), (2, 120), (2, 1), (3, 2), (1, 1)]);
        assert!(chunks.windows(2).all(|pair| pair[0].range.max() < pair[1].range.min()));
        let mut samples = Samples::default();
        for chunk in &chunks {
            chunk::read(chunk.encoding, &chunk.bytes, |_| true, &mut samples).unwrap();
        }
        assert_eq!((samples.floats.len(), samples.histograms.len()), (122, 123));
    }

    #[test]
    fn a_float_with_a_start_begins_an_xor2_chunk_which_takes_those_behind_it() {
        let float = |start| (start, ValueRef::Float(1.0));
        let chunks = encoded(FloatChunks::Xor, [0, 0, 500, 500, 0].map(float));
        assert_eq!(shape(&chunks), [(1, 2), (4, 3)]);
        let starts = Xor2Reader::new(&chunks[1].bytes).unwrap().map(|s| s.unwrap().start.0);
        assert_eq!(starts.collect::<Vec<_>>(), [500, 500, 0]);
        assert_eq!(shape(&encoded(FloatChunks::Xor2, [0, 0].map(float))), [(4, 2)]);
    }

    #[test]
    fn the_header_says_of_a_reset_what_the_samples_before_in_the_chunk_tell() {
        let header =
            |chunk: &EncodedChunk| HistogramReader::<u64>::new(&chunk.bytes).unwrap().header();
        let counts = |counts: &[u64], hint| -> Vec<ResetHint> {
            let samples: Vec<_> = counts.iter().map(|count| (0, int(*count, hint))).collect();
            encoded(FloatChunks::Xor, samples).iter().map(header).collect()
        };
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        assert_eq!(counts(&[1, 2, 1, 2], Unknown), [Unknown, Reset]);
        assert_eq!(counts(&[1; 121], NotReset), [Unknown, Unknown], "full, and not told of it");
        assert_eq!(counts(&[1, 2, 1, 2], Gauge), [Gauge]);
    }
}
