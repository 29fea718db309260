//! The chunk of a series' native histograms that is being written.
//!
//! A series has one only while its newest in-order sample is a histogram: a float ends it, and a histogram of the other kind
//! begins another one.

use super::head_chunk::{Ended, HeadChunk};
use crate::encoding::chunk::{FLOAT_HISTOGRAM, HISTOGRAM};
use crate::encoding::histogram::{ChunkEnd, EndedChunk, HistogramAppender, OpenChunk};
use crate::encoding::record::{self, SavedOpenHistogram};
use crate::model::{AnyHistogramRef, HistogramRef, SeriesRef, TimeRange, TimestampMs};

/// A chunk of histograms that is being written.
#[derive(Debug)]
pub struct OpenHistogram {
    appender: Appender,
    end: ChunkEnd,
}

#[derive(Debug)]
enum Appender {
    Int(HistogramAppender<u64>),
    Float(HistogramAppender<f64>),
}

impl Appender {
    fn of(h: AnyHistogramRef<'_>) -> Self {
        match h {
            AnyHistogramRef::Int(_) => Self::Int(HistogramAppender::new()),
            AnyHistogramRef::Float(_) => Self::Float(HistogramAppender::new()),
        }
    }

    fn encoding(&self) -> u8 {
        match self {
            Self::Int(_) => HISTOGRAM,
            Self::Float(_) => FLOAT_HISTOGRAM,
        }
    }

    /// What the rule that ends chunks looks at; `None` if there is no sample.
    fn open(&self) -> Option<OpenChunk> {
        let (range, samples, bytes) = match self {
            Self::Int(chunk) => (chunk.range(), chunk.count(), chunk.len_bytes()),
            Self::Float(chunk) => (chunk.range(), chunk.count(), chunk.len_bytes()),
        };
        Some(OpenChunk { range: range?, samples, bytes })
    }
}

impl OpenHistogram {
    /// A chunk of one histogram.
    #[must_use]
    pub fn begin(t: TimestampMs, h: AnyHistogramRef<'_>) -> Self {
        let mut appender = Appender::of(h);
        match (&mut appender, h) {
            (Appender::Int(chunk), AnyHistogramRef::Int(h)) => drop(chunk.append(t, h)),
            (Appender::Float(chunk), AnyHistogramRef::Float(h)) => drop(chunk.append(t, h)),
            _ => {} // it is of the same kind
        }
        Self { appender, end: ChunkEnd::of(t) }
    }

    /// Appends a histogram that is later than all others; the chunk that it ended, if it did.
    pub fn append(&mut self, t: TimestampMs, h: AnyHistogramRef<'_>) -> Option<Ended> {
        let is_full = self.appender.open().is_some_and(|open| self.end.is_before(t, open));
        let ended = match (&mut self.appender, h) {
            (Appender::Int(chunk), AnyHistogramRef::Int(h)) => append(chunk, t, h, is_full),
            (Appender::Float(chunk), AnyHistogramRef::Float(h)) => append(chunk, t, h, is_full),
            _ => {
                let ended = self.chunk();
                *self = Self::begin(t, h);
                return ended.map(Ended::Histograms);
            }
        }?;
        self.end = ChunkEnd::of(t);
        let EndedChunk { range, bytes } = ended;
        let encoding = self.appender.encoding();
        Some(Ended::Histograms(HeadChunk { range, encoding, bytes: bytes.into_vec().into() }))
    }

    /// Does it have histograms of the kind of `h`?
    #[must_use]
    pub fn is_of_kind(&self, h: AnyHistogramRef<'_>) -> bool {
        matches!(
            (&self.appender, h),
            (Appender::Int(_), AnyHistogramRef::Int(_))
                | (Appender::Float(_), AnyHistogramRef::Float(_))
        )
    }

    /// A histogram that says that the series has ended, of the kind that this chunk has.
    #[must_use]
    pub fn stale(&self) -> AnyHistogramRef<'static> {
        match &self.appender {
            Appender::Int(_) => AnyHistogramRef::Int(HistogramRef::stale()),
            Appender::Float(_) => AnyHistogramRef::Float(HistogramRef::stale()),
        }
    }

    /// From its first to its last sample.
    #[must_use]
    pub fn range(&self) -> Option<TimeRange> {
        self.appender.open().map(|open| open.range)
    }

    /// The newest sample, with buckets that the chunk has put in.
    #[must_use]
    pub fn last(&self) -> Option<(TimestampMs, AnyHistogramRef<'_>)> {
        match &self.appender {
            Appender::Int(chunk) => chunk.last().map(|(t, h)| (t, AnyHistogramRef::Int(h))),
            Appender::Float(chunk) => chunk.last().map(|(t, h)| (t, AnyHistogramRef::Float(h))),
        }
    }

    /// A copy as it stands.
    #[must_use]
    pub fn chunk(&self) -> Option<HeadChunk> {
        let (range, mut bytes) = (self.range()?, Vec::new());
        self.write_to(&mut bytes);
        Some(HeadChunk { range, encoding: self.appender.encoding(), bytes: bytes.into() })
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        match &self.appender {
            Appender::Int(chunk) => chunk.write_to(out),
            Appender::Float(chunk) => chunk.write_to(out),
        }
    }

    /// Appends it to the body of a checkpoint's record.
    pub fn save(&self, series: SeriesRef, body: &mut Vec<u8>) {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes);
        let encoding = self.appender.encoding();
        let next_at = self.end.predicted();
        let saved = SavedOpenHistogram { series, encoding, next_at, bytes: &bytes };
        record::push_open_histogram(body, saved);
    }

    /// Goes on with one that a checkpoint has; `None` if it cannot be read.
    #[must_use]
    pub fn restored(saved: SavedOpenHistogram<'_>) -> Option<Self> {
        let appender = match saved.encoding {
            HISTOGRAM => Appender::Int(HistogramAppender::resume(saved.bytes).ok()?),
            FLOAT_HISTOGRAM => Appender::Float(HistogramAppender::resume(saved.bytes).ok()?),
            _ => return None,
        };
        let range = appender.open()?.range;
        Some(Self { appender, end: ChunkEnd::restored(range.min(), saved.next_at) })
    }
}

fn append<C: crate::encoding::histogram::Coded>(
    chunk: &mut HistogramAppender<C>,
    t: TimestampMs,
    h: HistogramRef<'_, C>,
    is_full: bool,
) -> Option<EndedChunk> {
    if is_full { chunk.cut(t, h) } else { chunk.append(t, h) }
}
