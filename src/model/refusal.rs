//! Why a part of a write was not stored. The rest of its request is.

use super::{LabelsError, TimestampMs};

/// One series of a request that was refused, whole or in some of its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The series as the sender spelled it, for people: `{__name__="up", job="api"}`.
    pub series: String,
    /// How many samples this refusal covers.
    pub samples: u32,
    /// Why, for the first of them.
    pub reason: RefusalReason,
}

/// Why samples were refused. The texts are Prometheus's where it has one (`storage/interface.go`).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RefusalReason {
    /// Older than the newest sample of its series.
    #[error("out of order sample")]
    OutOfOrder,
    /// Outside of what the store takes at all: too far ahead of the clock, or older than its blocks.
    #[error("out of bounds")]
    OutOfBounds,
    /// Older than the out-of-order window.
    #[error("too old sample")]
    TooOld,
    /// The series has another value at this instant.
    #[error("duplicate sample for timestamp {}; overrides not allowed: existing {existing}, new value {new}", .t.0)]
    Duplicate {
        /// The instant.
        t: TimestampMs,
        /// What the series has there.
        existing: f64,
        /// What the sender wants there.
        new: f64,
    },
    /// No metric name.
    #[error("missing metric name")]
    NoMetricName,
    /// Names and values that are not a label set.
    #[error("{0}")]
    Labels(LabelsError),
    /// A reference to a symbol that the request does not carry (remote write 2.0).
    #[error("symbol reference {reference} is outside of the {symbols} symbols of the request")]
    SymbolRef {
        /// The reference.
        reference: u32,
        /// How many symbols there are.
        symbols: usize,
    },
    /// References to names and values that are not pairs (remote write 2.0).
    #[error("{0} label references are not pairs of name and value")]
    OddLabelRefs(usize),
    /// A series without any sample (remote write 2.0 forbids it).
    #[error("TimeSeries must contain at least one sample or histogram")]
    NoSamples,
    /// The shard has as many series as it can number.
    #[error("the shard holds as many series as it can number; start with more shards")]
    TooManySeries,
    /// Something this version does not store yet; says what.
    #[error("{0} are not supported yet")]
    Unsupported(&'static str),
}
