//! The open chunk of a series of histograms.

use std::sync::Arc;

use super::coded::Coded;
use super::fit::{self, Fit, Sides};
use super::reader::HistogramReader;
use super::state::State;
use super::{HEADER_BYTES, HistogramChunkError, flags_of};
use crate::encoding::bits::BitWriter;
use crate::model::histogram::span::bucket_total;
use crate::model::histogram::{Layout, Span};
use crate::model::{HistogramRef, ResetHint, TimeRange, TimestampMs};

/// A chunk that takes no further sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedChunk {
    /// From its first to its last sample.
    pub range: TimeRange,
    /// Its bytes, as Prometheus has them on disk.
    pub bytes: Box<[u8]>,
}

/// A chunk that is being written, and where the writing stands.
#[derive(Clone, Debug)]
pub struct HistogramAppender<C: Coded> {
    /// Everything behind the header.
    bits: BitWriter,
    header: ResetHint,
    count: u16,
    first_t: TimestampMs,
    state: State<C>,
}

impl<C: Coded> HistogramAppender<C> {
    /// A chunk without samples.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bits: BitWriter::default(),
            header: ResetHint::Unknown,
            count: 0,
            first_t: TimestampMs::MIN,
            state: State::new(),
        }
    }

    /// Goes on with the chunk that `bytes` are, as if it had never stopped.
    ///
    /// # Errors
    /// Bytes that are no whole chunk.
    pub fn resume(bytes: &[u8]) -> Result<Self, HistogramChunkError> {
        let mut reader = HistogramReader::<C>::new(bytes)?;
        let (count, header) = (reader.promised(), reader.header());
        let mut first_t = None;
        while let Some(t) = reader.advance() {
            first_t = first_t.or(Some(t?));
        }
        let (state, len_bits) = reader.into_state();
        let behind_header = bytes.get(HEADER_BYTES..).unwrap_or_default();
        Ok(Self {
            bits: BitWriter::behind(behind_header, len_bits),
            header,
            count,
            first_t: first_t.unwrap_or(TimestampMs::MIN),
            state,
        })
    }

    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// From the first to the last sample; `None` if there is none.
    #[must_use]
    pub fn range(&self) -> Option<TimeRange> {
        TimeRange::new(self.first_t, self.state.t()).filter(|_| self.count > 0)
    }

    /// The last sample, with buckets that the chunk has put in; `None` if there is none.
    #[must_use]
    pub fn last(&self) -> Option<(TimestampMs, HistogramRef<'_, C>)> {
        (self.count > 0).then(|| (self.state.t(), self.state.histogram(ResetHint::Unknown)))
    }

    /// What the samples share.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.state.layout
    }

    /// Length of the chunk in bytes, header included.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        HEADER_BYTES + self.bits.len_bytes()
    }

    /// Bytes of memory that it holds beside its own; a layout may be shared and is not counted.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.bits.heap_bytes() + self.state.heap_bytes()
    }

    /// Appends the chunk's bytes, as Prometheus has them on disk, to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.len_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.push(flags_of(self.header));
        self.bits.write_to(out);
    }

    /// Appends one sample. If it does not fit, this chunk ends, is returned, and the sample is the first of a new one.
    /// Buckets that the chunk does not have yet cost writing it anew.
    ///
    /// - `t`: later than the last one (the Head sees to it).
    /// - `h`: [valid](HistogramRef::validate), or the staleness marker, of which only the hint is kept.
    pub fn append(&mut self, t: TimestampMs, h: HistogramRef<'_, C>) -> Option<EndedChunk> {
        assert_whole(h);
        if self.count == 0 {
            self.begin(t, h, fit::header::<C>(h.reset_hint, None, true));
            return None;
        }
        let mut fit = self.fit(h);
        if self.count == u16::MAX {
            return self.end(t, h, fit, true);
        }
        if let Fit::Fits(sides) = fit {
            if self.push_fitting(t, h, sides) {
                return None;
            }
            fit = Fit::OtherLayout;
        }
        self.end(t, h, fit, false)
    }

    /// Ends the chunk, returns it, and begins a new one with a sample as of [`append`](Self::append). `None` if there was
    /// no sample.
    pub fn cut(&mut self, t: TimestampMs, h: HistogramRef<'_, C>) -> Option<EndedChunk> {
        if self.count == 0 {
            return self.append(t, h);
        }
        assert_whole(h);
        let fit = self.fit(h);
        self.end(t, h, fit, true)
    }

    /// How `h` fits behind the last sample.
    fn fit(&self, h: HistogramRef<'_, C>) -> Fit {
        fit::fit(self.header, self.state.histogram(ResetHint::Unknown), h)
    }

    fn end(
        &mut self,
        t: TimestampMs,
        h: HistogramRef<'_, C>,
        fit: Fit,
        full: bool,
    ) -> Option<EndedChunk> {
        let range = self.range()?;
        let mut bytes = Vec::new();
        self.write_to(&mut bytes);
        self.begin(t, h, fit::header::<C>(h.reset_hint, Some(fit), full));
        Some(EndedChunk { range, bytes: bytes.into_boxed_slice() })
    }

    /// Begins a chunk with its first sample.
    fn begin(&mut self, t: TimestampMs, h: HistogramRef<'_, C>, header: ResetHint) {
        self.header = header;
        (self.bits, self.count, self.first_t) = (BitWriter::default(), 0, t);
        self.push(t, h);
    }

    /// Appends a sample that fits; false if no spans can hold the buckets of both.
    fn push_fitting(&mut self, t: TimestampMs, h: HistogramRef<'_, C>, sides: Sides) -> bool {
        if h.is_stale() {
            self.push(t, h);
            return true;
        }
        let layout = Arc::clone(&self.state.layout);
        let (old_positive, old_negative) = (layout.positive_spans(), layout.negative_spans());
        let gauge = h.reset_hint == ResetHint::Gauge;
        let common = |side, old, new| fit::common(gauge, sides, side, old, new);
        let positive = common(sides.positive, old_positive, h.positive_spans);
        let negative = common(sides.negative, old_negative, h.negative_spans);
        let (Some(positive), Some(negative)) = (positive, negative) else { return false };
        if sides.adds() {
            self.recode(&positive, &negative);
        }
        if sides.lacks() {
            let h = HistogramRef {
                positive_buckets: &fit::spread::<C>(
                    h.positive_spans,
                    h.positive_buckets,
                    &positive,
                ),
                negative_buckets: &fit::spread::<C>(
                    h.negative_spans,
                    h.negative_buckets,
                    &negative,
                ),
                positive_spans: &positive,
                negative_spans: &negative,
                ..h
            };
            self.push(t, h);
        } else {
            self.push(t, h);
        }
        true
    }

    fn push(&mut self, t: TimestampMs, h: HistogramRef<'_, C>) {
        // Of a stale sample nothing is kept but that it is one.
        let h = if h.is_stale() { HistogramRef { sum: h.sum, ..HistogramRef::empty() } } else { h };
        if self.count == 0 {
            self.state.push_first(&mut self.bits, t, h);
        } else {
            self.state.push(&mut self.bits, t, h);
        }
        self.count += 1;
    }

    /// Writes all samples anew with these spans, which have all buckets of the ones before.
    fn recode(&mut self, positive: &[Span], negative: &[Span]) {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes);
        let header = self.header;
        let mut reader = HistogramReader::<C>::new(&bytes).expect("it has a header");
        (self.bits, self.count, self.state) = (BitWriter::default(), 0, State::new());
        while let Some(t) = reader.advance() {
            let t = t.expect("what was written can be read");
            let h = reader.whole_resolution();
            let h = HistogramRef {
                positive_buckets: &fit::spread::<C>(h.positive_spans, h.positive_buckets, positive),
                negative_buckets: &fit::spread::<C>(h.negative_spans, h.negative_buckets, negative),
                positive_spans: positive,
                negative_spans: negative,
                ..h
            };
            self.push(t, h);
        }
        self.header = header;
    }
}

/// Nothing here would end as it should, or at all, if spans had more buckets than there are.
fn assert_whole<C: Coded>(h: HistogramRef<'_, C>) {
    let sides = [(h.positive_spans, h.positive_buckets), (h.negative_spans, h.negative_buckets)];
    for (spans, buckets) in sides {
        let whole = h.is_stale() || bucket_total(spans) == buckets.len() as u64;
        assert!(whole, "a histogram is validated before a chunk sees it");
    }
}

impl<C: Coded> Default for HistogramAppender<C> {
    fn default() -> Self {
        Self::new()
    }
}
