//! Prometheus's chunks of native histograms: integer ones (encoding 2) and float ones (encoding 3).
//!
//! ```text
//! chunk     count u16 big-endian │ flags u8 │ layout │ sample 0 │ sample 1 ... │ zero bits to the end of the byte
//! flags     the two highest bits: 00 nothing is known about a reset before the chunk, 10 there was one, 01 there was
//!           none, 11 gauges
//! layout    `layout` has it; one for all samples of the chunk
//! sample    t │ count │ count in the zero bucket │ sum │ positive buckets │ negative buckets
//! t         of sample 0 signed; later the difference of the differences, signed
//! sum       of sample 0 64 bits; later `super::window`'s value
//! counts, buckets   `coded` has it; a stale sample has counts that mean nothing and, but in sample 0, no buckets
//! ```
//! `signed` and `unsigned` are `super::varbit`'s. A chunk holds no reset of a counter but before its first sample, so a
//! reader takes every later one for a counter that goes on. [`HistogramAppender`] writes: it ends the chunk where the next
//! histogram does not fit, and writes it anew where that brings new buckets. [`HistogramReader`] reads; it takes any bytes,
//! never panics, and needs memory only for what the bits can hold. When a chunk is long enough is [`ChunkEnd`]'s.
//!
//! Source: Prometheus 3.14, `tsdb/chunkenc/{histogram,float_histogram,histogram_meta}.go`. Golden bytes, written by its
//! code: `tests/golden/histogram_chunk.hex`, `float_histogram_chunk.hex`. Before 2.55 Prometheus left a zero byte behind a
//! chunk whose bits fill their last byte; no reader needs it.

mod appender;
mod chunk_end;
mod coded;
mod fit;
mod layout;
mod reader;
mod state;
#[cfg(test)]
mod tests;

pub use appender::{EndedChunk, HistogramAppender};
pub use chunk_end::{ChunkEnd, OpenChunk};
pub use coded::{Coded, Dod};
pub use fit::{Fit, Side, Sides};
pub use reader::HistogramReader;

use crate::encoding::window::{self, TooWide};
use crate::model::ResetHint;
use crate::model::histogram::HistogramError;
use crate::model::histogram::error::Fault;

/// Bytes before the layout.
const HEADER_BYTES: usize = 3;
/// The bits of the flags that say what is known about a reset.
const RESET_SHIFT: u32 = 6;

/// What the flags say.
fn reset_of_flags(flags: u8) -> ResetHint {
    match flags >> RESET_SHIFT {
        0b10 => ResetHint::Reset,
        0b01 => ResetHint::NotReset,
        0b11 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

/// The flags that say `hint`.
fn flags_of(hint: ResetHint) -> u8 {
    let bits = match hint {
        ResetHint::Unknown => 0b00,
        ResetHint::Reset => 0b10,
        ResetHint::NotReset => 0b01,
        ResetHint::Gauge => 0b11,
    };
    bits << RESET_SHIFT
}

/// What reading a part of a chunk stops with, if not with the part.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// The bits end.
    Cut,
    /// A float's window has more than 64 bits.
    TooWide(TooWide),
    /// A span that is none.
    Span {
        /// Its offset.
        offset: i64,
        /// Its length.
        length: u64,
    },
    /// A layout that is none.
    Layout(HistogramError),
    /// Spans of a resolution that is too fine, which cannot be reduced.
    Spans(Fault),
}

impl From<window::Stop> for Stop {
    fn from(stop: window::Stop) -> Self {
        match stop {
            window::Stop::Cut => Self::Cut,
            window::Stop::TooWide(what) => Self::TooWide(what),
        }
    }
}

/// Why a chunk cannot be read, or not to its end.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HistogramChunkError {
    /// Too short for its header.
    #[error("histogram chunk of {len} bytes is shorter than its header of {HEADER_BYTES}")]
    NoHeader {
        /// Its length.
        len: usize,
    },
    /// The bits end before the promised samples do.
    #[error("histogram chunk of {len} bytes ends within sample {at} of {count}")]
    Cut {
        /// Its length.
        len: usize,
        /// Index of the sample that is not whole.
        at: u16,
        /// How many samples the header promises.
        count: u16,
    },
    /// A float's window does not fit 64 bits.
    #[error(
        "histogram chunk: sample {at} has a window of {leading} leading and {width} significant bits, more than 64"
    )]
    Window {
        /// Index of the sample.
        at: u16,
        /// Leading zero bits.
        leading: u8,
        /// Significant bits.
        width: u8,
    },
    /// A span that is none.
    #[error(
        "histogram chunk: a span of {length} buckets at offset {offset}, which have 32 bits each"
    )]
    Span {
        /// Its offset.
        offset: i64,
        /// Its length.
        length: u64,
    },
    /// A layout that is none.
    #[error("histogram chunk: {0}")]
    Layout(HistogramError),
    /// Spans of a resolution that is too fine, which cannot be reduced.
    #[error("histogram chunk: {0}")]
    Spans(Fault),
}
