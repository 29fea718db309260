//! A chunk of any encoding that this store reads: Prometheus's 1 to 4.
//!
//! ```text
//! 1 floats (`xor`)   2 integer histograms   3 float histograms (`histogram`)   4 floats (`xor2`)
//! ```
//! What a series has in several chunks may be of several encodings. Takes any bytes, as the readers of the encodings do.

use super::histogram::{Coded, HistogramChunkError, HistogramReader};
use super::xor::{self, Words, XorAppender, XorError, XorReader};
use super::xor2::{self, StartedSample, Xor2Appender, Xor2Error, Xor2Reader};
use crate::model::{
    AnyHistogram, AnyHistogramRef, HistogramSample, Sample, SampleStart, Samples, TimestampMs,
    ValueRef,
};

/// The number of integer histograms.
pub const HISTOGRAM: u8 = <u64 as Coded>::ENCODING;
/// The number of float histograms.
pub const FLOAT_HISTOGRAM: u8 = <f64 as Coded>::ENCODING;

/// Why a chunk cannot be read, or not to its end.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ChunkError {
    /// Floats.
    #[error(transparent)]
    Xor(#[from] XorError),
    /// Floats.
    #[error(transparent)]
    Xor2(#[from] Xor2Error),
    /// Histograms.
    #[error(transparent)]
    Histogram(#[from] HistogramChunkError),
    /// A sample that is not later than the one before it.
    #[error("the chunk's sample at {t} is not later than the one before it")]
    Order {
        /// When the sample is.
        t: i64,
    },
    /// An encoding that no reader here is for.
    #[error("chunk encoding {0} is not one of those that this version reads: 1 to 4")]
    Encoding(u8),
}

/// Goes from sample to sample of a chunk. Ends with an error where the bytes are not what they promise.
#[derive(Clone, Debug)]
pub enum ChunkReader<'a> {
    /// Encoding 1, and the sample where it stands.
    Xor(XorReader<'a>, f64),
    /// Encoding 4, and the sample where it stands, with its start.
    Xor2(Xor2Reader<'a>, StartedSample),
    /// Encoding 2.
    Histogram(Box<HistogramReader<'a, u64>>),
    /// Encoding 3.
    FloatHistogram(Box<HistogramReader<'a, f64>>),
}

impl<'a> ChunkReader<'a> {
    /// Reads the chunk that `bytes` are.
    ///
    /// # Errors
    /// An encoding that is not known, or bytes too short for its header.
    pub fn new(encoding: u8, bytes: &'a [u8]) -> Result<Self, ChunkError> {
        Ok(match encoding {
            xor::ENCODING => Self::Xor(XorReader::new(bytes)?, 0.0),
            xor2::ENCODING => {
                let nothing = Sample { t: TimestampMs(0), v: 0.0 };
                let start = TimestampMs(0);
                Self::Xor2(Xor2Reader::new(bytes)?, StartedSample { start, sample: nothing })
            }
            HISTOGRAM => Self::Histogram(Box::new(HistogramReader::new(bytes)?)),
            FLOAT_HISTOGRAM => Self::FloatHistogram(Box::new(HistogramReader::new(bytes)?)),
            encoding => return Err(ChunkError::Encoding(encoding)),
        })
    }

    /// How many samples the header promises.
    #[must_use]
    pub fn promised(&self) -> u16 {
        match self {
            Self::Xor(reader, _) => reader.promised(),
            Self::Xor2(reader, _) => reader.promised(),
            Self::Histogram(reader) => reader.promised(),
            Self::FloatHistogram(reader) => reader.promised(),
        }
    }

    /// Goes to the next sample; its time. `None` behind the last one.
    ///
    /// # Errors
    /// The bytes are not what they promise. After an error there is no further sample.
    #[inline]
    pub fn advance(&mut self) -> Option<Result<TimestampMs, ChunkError>> {
        match self {
            Self::Xor(reader, v) => Some(match reader.next()? {
                Ok(sample) => {
                    *v = sample.v;
                    Ok(sample.t)
                }
                Err(error) => Err(error.into()),
            }),
            Self::Xor2(reader, at) => Some(match reader.next()? {
                Ok(started) => {
                    *at = started;
                    Ok(started.sample.t)
                }
                Err(error) => Err(error.into()),
            }),
            Self::Histogram(reader) => Some(reader.advance()?.map_err(ChunkError::from)),
            Self::FloatHistogram(reader) => Some(reader.advance()?.map_err(ChunkError::from)),
        }
    }

    /// What [`advance`](Self::advance) went to.
    #[inline]
    #[must_use]
    pub fn value(&self) -> ValueRef<'_> {
        match self {
            Self::Xor(_, v) => ValueRef::Float(*v),
            Self::Xor2(_, at) => ValueRef::Float(at.sample.v),
            Self::Histogram(reader) => {
                ValueRef::Histogram(AnyHistogramRef::Int(reader.histogram()))
            }
            Self::FloatHistogram(reader) => {
                ValueRef::Histogram(AnyHistogramRef::Float(reader.histogram()))
            }
        }
    }

    /// Since when the counter counts that [`advance`](Self::advance) went to; zero if the chunk does not say.
    #[inline]
    #[must_use]
    pub fn start(&self) -> TimestampMs {
        match self {
            Self::Xor2(_, at) => at.start,
            Self::Xor(..) | Self::Histogram(_) | Self::FloatHistogram(_) => TimestampMs(0),
        }
    }
}

/// Appends the samples of a chunk for whose times `wanted` holds to `out`; those before a place that cannot be read are there.
/// The first histogram of them says nothing about a reset. What is appended is in the order of time, whatever the bytes are.
///
/// # Errors
/// A chunk that cannot be read, or not to its end.
pub fn read(
    encoding: u8,
    bytes: &[u8],
    wanted: impl Fn(TimestampMs) -> bool,
    out: &mut Samples,
) -> Result<(), ChunkError> {
    let before = out.histograms.len();
    let read = read_hinted(encoding, bytes, wanted, out);
    if let Some(first) = out.histograms.get_mut(before) {
        first.histogram.forget_reset();
    }
    read
}

/// The same, but the first histogram says about a reset what the chunk does, also where the one before it in the chunk is not
/// wanted: for who appends what nothing stands before, or says of it that something does. Source: a querier of Prometheus
/// leaves hints as they are where a query's range begins within a chunk.
///
/// # Errors
/// As [`read`].
pub fn read_hinted(
    encoding: u8,
    bytes: &[u8],
    wanted: impl Fn(TimestampMs) -> bool,
    out: &mut Samples,
) -> Result<(), ChunkError> {
    let before = out.mark();
    let read = match encoding {
        xor::ENCODING => xor::read(bytes, wanted, &mut out.floats).map_err(ChunkError::from),
        _ => read_all(&mut ChunkReader::new(encoding, bytes)?, wanted, out),
    };
    let unordered = cut_unordered(&mut out.floats, before.floats, |sample| sample.t)
        .or_else(|| cut_unordered(&mut out.histograms, before.histograms, |sample| sample.t));
    match unordered {
        Some(t) => Err(ChunkError::Order { t: t.0 }),
        None => read,
    }
}

/// Appends the starts that a chunk's samples have, of those for whose times `wanted` holds, in the order of time. Only XOR2 has
/// room for them, and most of its chunks have none. What cannot be read, [`read`] tells.
pub fn read_starts(
    encoding: u8,
    bytes: &[u8],
    wanted: impl Fn(TimestampMs) -> bool,
    out: &mut Vec<SampleStart>,
) {
    if encoding != xor2::ENCODING {
        return;
    }
    let Some(reader) = Xor2Reader::new(bytes).ok().filter(Xor2Reader::has_starts) else {
        return;
    };
    let mut before = None;
    for StartedSample { start, sample } in reader.map_while(Result::ok) {
        if before.replace(sample.t).is_some_and(|before| before >= sample.t) {
            break; // as the samples are cut
        }
        if start.0 != 0 && wanted(sample.t) {
            out.push(SampleStart { t: sample.t, start });
        }
    }
}

/// Takes away what stands behind `from` and is not in the order of time, with all behind that; the time of the first of these.
fn cut_unordered<S>(
    samples: &mut Vec<S>,
    from: usize,
    t: impl Fn(&S) -> TimestampMs,
) -> Option<TimestampMs> {
    let new = samples.get(from..)?;
    if new.is_sorted_by(|one, next| t(one) < t(next)) {
        return None;
    }
    let at = new.iter().zip(new.iter().skip(1)).position(|(one, next)| t(one) >= t(next))?;
    let unordered = new.get(at + 1).map(t);
    samples.truncate(from + at + 1);
    unordered
}

fn read_all(
    reader: &mut ChunkReader<'_>,
    wanted: impl Fn(TimestampMs) -> bool,
    out: &mut Samples,
) -> Result<(), ChunkError> {
    match reader {
        ChunkReader::Xor(reader, _) => {
            for sample in reader {
                let sample = sample?;
                if wanted(sample.t) {
                    out.floats.push(sample);
                }
            }
        }
        ChunkReader::Xor2(reader, _) => {
            for started in reader {
                let Sample { t, v } = started?.sample;
                if wanted(t) {
                    out.floats.push(Sample { t, v });
                }
            }
        }
        ChunkReader::Histogram(reader) => {
            while let Some(t) = reader.advance() {
                let t = t?;
                if wanted(t) {
                    let histogram = AnyHistogram::Int(reader.kept());
                    out.histograms.push(HistogramSample { t, histogram });
                }
            }
        }
        ChunkReader::FloatHistogram(reader) => {
            while let Some(t) = reader.advance() {
                let t = t?;
                if wanted(t) {
                    let histogram = AnyHistogram::Float(reader.kept());
                    out.histograms.push(HistogramSample { t, histogram });
                }
            }
        }
    }
    Ok(())
}

/// How chunks of floats are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FloatChunks {
    /// Encoding 1, which every reader of blocks knows.
    #[default]
    Xor,
    /// Encoding 4, which is smaller where values repeat and times are regular.
    Xor2,
}

impl FloatChunks {
    /// A chunk of floats as it is to be written: its encoding and its bytes; `None`: as it is. So is one of histograms, or one
    /// that cannot be read.
    ///
    /// - `start`: since when the counter of a sample counts; zero if that is not known.
    #[must_use]
    pub fn written(
        self,
        encoding: u8,
        bytes: &[u8],
        start: impl Fn(TimestampMs) -> TimestampMs,
    ) -> Option<(u8, Vec<u8>)> {
        let mut out = Vec::new();
        match (self, encoding) {
            (Self::Xor2, xor::ENCODING) => {
                let mut appender = Xor2Appender::new();
                for sample in XorReader::new(bytes).ok()? {
                    let Sample { t, v } = sample.ok()?;
                    appender.append(start(t), t, v);
                }
                appender.write_to(&mut out);
                Some((xor2::ENCODING, out))
            }
            (Self::Xor, xor2::ENCODING) => {
                let (mut appender, mut words) = (XorAppender::new(), Words::default());
                for started in Xor2Reader::new(bytes).ok()? {
                    let Sample { t, v } = started.ok()?.sample;
                    appender.append(&mut words, t, v);
                }
                appender.write_to(&words, &mut out);
                Some((xor::ENCODING, out))
            }
            _ => None,
        }
    }
}

/// How many samples a chunk of any encoding says it has.
#[must_use]
pub fn promised(bytes: &[u8]) -> u16 {
    bytes.first_chunk().map_or(0, |count| u16::from_be_bytes(*count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::histogram::HistogramAppender;
    use crate::model::HistogramRef;

    const TIMES: [i64; 3] = [5, 7, 1000];

    /// The same three instants in every encoding.
    fn chunks() -> Vec<(u8, Vec<u8>)> {
        let mut chunks: Vec<(u8, Vec<u8>)> =
            (1..5).map(|encoding| (encoding, Vec::new())).collect();
        let (mut xor, mut words, mut xor2) =
            (XorAppender::new(), Words::default(), Xor2Appender::new());
        let (mut int, mut float) = (HistogramAppender::new(), HistogramAppender::new());
        for t in TIMES.map(TimestampMs) {
            xor.append(&mut words, t, 1.5);
            xor2.append(TimestampMs(0), t, 1.5);
            int.append(t, HistogramRef::<u64> { count: 3, zero_count: 3, ..HistogramRef::empty() });
            float.append(
                t,
                HistogramRef::<f64> { count: 3.5, zero_count: 3.5, ..HistogramRef::empty() },
            );
        }
        xor.write_to(&words, &mut chunks[0].1);
        int.write_to(&mut chunks[1].1);
        float.write_to(&mut chunks[2].1);
        xor2.write_to(&mut chunks[3].1);
        chunks
    }

    #[test]
    fn every_encoding_reads_to_its_samples_one_by_one_and_at_once() {
        for (encoding, bytes) in chunks() {
            let mut reader = ChunkReader::new(encoding, &bytes).unwrap();
            assert_eq!((reader.promised(), promised(&bytes)), (3, 3));
            let mut one_by_one = Samples::default();
            while let Some(t) = reader.advance() {
                one_by_one.push(t.unwrap(), reader.value());
            }
            let mut at_once = Samples::default();
            read(encoding, &bytes, |t| t.0 != 7, &mut at_once).unwrap();
            assert_eq!(one_by_one.iter().map(|(t, _)| t.0).collect::<Vec<_>>(), TIMES);
            one_by_one.retain(|t| t.0 != 7);
            assert_eq!(at_once, one_by_one, "encoding {encoding}");
            assert_eq!(at_once.floats.is_empty(), [2, 3].contains(&encoding));
        }
    }

    #[test]
    fn chunks_of_floats_are_written_as_they_are_to_be_and_others_stay() {
        let all = chunks();
        let written =
            |to: FloatChunks, at: usize| to.written(all[at].0, &all[at].1, |_| TimestampMs(0));
        assert_eq!(written(FloatChunks::Xor2, 0), Some(all[3].clone()));
        assert_eq!(written(FloatChunks::Xor, 3), Some(all[0].clone()));
        for (to, at) in [(FloatChunks::Xor, 0), (FloatChunks::Xor2, 3), (FloatChunks::Xor2, 1)] {
            assert_eq!(written(to, at), None);
        }
        let cut = &all[0].1[..all[0].1.len() - 1];
        assert_eq!(FloatChunks::Xor2.written(xor::ENCODING, cut, |t| t), None);
    }

    #[test]
    fn starts_are_read_of_those_that_have_one() {
        for (encoding, bytes) in chunks() {
            let mut none = Vec::new();
            read_starts(encoding, &bytes, |_| true, &mut none);
            assert_eq!(none, []);
        }
        let (mut appender, mut bytes) = (Xor2Appender::new(), Vec::new());
        for (t, start) in [(5, 0), (7, 6), (9, 6), (11, 10), (13, 0)] {
            appender.append(TimestampMs(start), TimestampMs(t), 1.5);
        }
        appender.write_to(&mut bytes);
        let read = |wanted: fn(TimestampMs) -> bool| {
            let mut starts = Vec::new();
            read_starts(xor2::ENCODING, &bytes, wanted, &mut starts);
            starts.iter().map(|at| (at.t.0, at.start.0)).collect::<Vec<_>>()
        };
        assert_eq!(read(|_| true), [(7, 6), (9, 6), (11, 10)]);
        assert_eq!(read(|t| t.0 > 9), [(11, 10)]);
    }

    #[test]
    fn samples_that_go_back_in_time_are_not_read() {
        let (mut appender, mut words, mut bytes) =
            (XorAppender::new(), Words::default(), Vec::new());
        for t in [5, 7, 6, 9] {
            appender.append(&mut words, TimestampMs(t), 1.5);
        }
        appender.write_to(&words, &mut bytes);
        let mut out = Samples::default();
        let error = read(xor::ENCODING, &bytes, |_| true, &mut out).unwrap_err();
        assert_eq!(error, ChunkError::Order { t: 6 });
        assert_eq!(out.floats.iter().map(|sample| sample.t.0).collect::<Vec<_>>(), [5, 7]);
    }

    #[test]
    fn an_encoding_that_is_not_known_is_said_to_be_so() {
        assert_eq!(ChunkReader::new(5, &[0; 9]).unwrap_err(), ChunkError::Encoding(5));
        for (encoding, bytes) in chunks() {
            assert!(ChunkReader::new(encoding, &bytes[..1]).is_err());
            let cut = read(encoding, &bytes[..bytes.len() - 1], |_| true, &mut Samples::default());
            assert!(cut.is_err(), "encoding {encoding}");
        }
    }
}
