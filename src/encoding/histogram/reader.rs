//! The samples of a histogram chunk, oldest first.

use std::sync::Arc;

use super::coded::Coded;
use super::state::State;
use super::{HEADER_BYTES, HistogramChunkError, Stop, reset_of_flags};
use crate::encoding::bits::BitReader;
use crate::model::histogram::{Layout, schema};
use crate::model::{Histogram, HistogramRef, ResetHint, TimestampMs};

/// Reads a chunk. [`advance`](Self::advance) goes from sample to sample without an allocation, and
/// [`histogram`](Self::histogram) shows where it stands; as an iterator it gives histograms to keep, which share their
/// layout. Ends with an error where the bytes are not what they promise.
#[derive(Clone, Debug)]
pub struct HistogramReader<'a, C: Coded> {
    bits: BitReader<'a>,
    len: usize,
    header: ResetHint,
    count: u16,
    read: u16,
    state: State<C>,
    /// The sample in a resolution that is not too fine.
    reduced: Option<Histogram<C>>,
}

impl<'a, C: Coded> HistogramReader<'a, C> {
    /// Reads the chunk that `bytes` are.
    ///
    /// # Errors
    /// Bytes too short for a header.
    pub fn new(bytes: &'a [u8]) -> Result<Self, HistogramChunkError> {
        let Some((&[c0, c1, flags], rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(HistogramChunkError::NoHeader { len: bytes.len() });
        };
        Ok(Self {
            bits: BitReader::new(rest),
            len: bytes.len(),
            header: reset_of_flags(flags),
            count: u16::from_be_bytes([c0, c1]),
            read: 0,
            state: State::new(),
            reduced: None,
        })
    }

    /// How many samples the header promises.
    #[must_use]
    pub fn promised(&self) -> u16 {
        self.count
    }

    /// What the header says about a reset before the chunk. No sample repeats it: the chunk before may be gone, or
    /// another one may have come between.
    #[must_use]
    pub fn header(&self) -> ResetHint {
        self.header
    }

    /// Goes to the next sample; its time. `None` behind the last one.
    ///
    /// # Errors
    /// The bytes are not what they promise. After an error there is no further sample.
    #[inline]
    pub fn advance(&mut self) -> Option<Result<TimestampMs, HistogramChunkError>> {
        if self.read == self.count {
            return None;
        }
        let at = self.read;
        Some(match self.step() {
            Ok(()) => {
                self.read += 1;
                Ok(self.state.t())
            }
            Err(stop) => {
                let count = std::mem::replace(&mut self.count, at);
                Err(self.error(stop, at, count))
            }
        })
    }

    #[inline]
    fn step(&mut self) -> Result<(), Stop> {
        if self.read == 0 {
            self.state.read_first(&mut self.bits)?;
        } else {
            self.state.read(&mut self.bits)?;
        }
        if schema::is_too_fine(self.state.layout.schema()) {
            self.reduced = Some(self.whole_resolution().reduced(schema::MAX).map_err(Stop::Spans)?);
        }
        Ok(())
    }

    #[cold]
    fn error(&self, stop: Stop, at: u16, count: u16) -> HistogramChunkError {
        match stop {
            Stop::Cut => HistogramChunkError::Cut { len: self.len, at, count },
            Stop::TooWide(what) => {
                HistogramChunkError::Window { at, leading: what.leading, width: what.width }
            }
            Stop::Span { offset, length } => HistogramChunkError::Span { offset, length },
            Stop::Layout(error) => HistogramChunkError::Layout(error),
            Stop::Spans(fault) => HistogramChunkError::Spans(fault),
        }
    }

    /// The sample that [`advance`](Self::advance) went to; an empty histogram before the first. A resolution that is too
    /// fine has been reduced.
    #[must_use]
    pub fn histogram(&self) -> HistogramRef<'_, C> {
        match &self.reduced {
            Some(reduced) => reduced.as_ref(),
            None => self.whole_resolution(),
        }
    }

    /// The same, in the resolution of the chunk.
    pub(super) fn whole_resolution(&self) -> HistogramRef<'_, C> {
        let hint = match self.header {
            ResetHint::Gauge => ResetHint::Gauge,
            _ if self.read > 1 => ResetHint::NotReset,
            _ => ResetHint::Unknown,
        };
        self.state.histogram(hint)
    }

    /// A copy of [`histogram`](Self::histogram) to keep, which shares its layout with those of other samples.
    #[must_use]
    pub fn kept(&self) -> Histogram<C> {
        match &self.reduced {
            Some(reduced) => reduced.clone(),
            None => self.whole_resolution().to_histogram_in(&self.state.layout),
        }
    }

    /// What the samples share, if the resolution is not too fine.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        match &self.reduced {
            Some(reduced) => reduced.layout(),
            None => &self.state.layout,
        }
    }

    /// The state behind the samples read so far, and how many bits behind the header these take.
    pub(super) fn into_state(self) -> (State<C>, u64) {
        let bits = (self.len - HEADER_BYTES) as u64 * 8 - self.bits.left();
        (self.state, bits)
    }
}

impl<C: Coded> Iterator for HistogramReader<'_, C> {
    type Item = Result<(TimestampMs, Histogram<C>), HistogramChunkError>;

    fn next(&mut self) -> Option<Self::Item> {
        let t = match self.advance()? {
            Ok(t) => t,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok((t, self.kept())))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(usize::from(self.count - self.read)))
    }
}
