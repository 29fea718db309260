//! Why a part of a write was not stored. The rest of its request is.

use super::{HistogramError, LabelsError, TimestampMs};

/// The refusals of one request, or of a part of it: all are counted, the first ones are kept with their texts.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Refusals {
    /// The first [`REFUSALS_MAX`](super::batch::REFUSALS_MAX) of them.
    pub named: Vec<Refusal>,
    /// How many series are refused, whole or in part.
    pub series: u64,
    /// Their samples, by reason.
    pub samples: RefusedSamples,
}

impl Refusals {
    /// Counts one more, and keeps it if there is room.
    pub fn push(&mut self, refusal: Refusal) {
        self.series += 1;
        self.samples.count(&refusal);
        if self.named.len() < super::batch::REFUSALS_MAX {
            self.named.push(refusal);
        }
    }

    /// Adds those of another part of the request.
    pub fn append(&mut self, other: Self) {
        self.series += other.series;
        self.samples += other.samples;
        let room = super::batch::REFUSALS_MAX.saturating_sub(self.named.len());
        self.named.extend(other.named.into_iter().take(room));
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series == 0
    }
}

/// The longest label set of a series in bytes, in canonical form: a log record and a checkpoint hold it whole.
pub const LABEL_BYTES_MAX: usize = 1 << 20;

/// The most buckets, spans and custom bounds of a native histogram together: a record of the log and a chunk hold it whole, and a
/// chunk ten of it. The finest resolution over all of `f64` would need half a million; senders stay below 200.
pub const HISTOGRAM_PARTS_MAX: usize = 1 << 16;

/// Samples that were refused, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusedSamples {
    /// Older than the newest sample of their series.
    pub out_of_order: u64,
    /// Too far ahead of the clock, or older than what the store takes at all.
    pub out_of_bounds: u64,
    /// Older than the out-of-order window.
    pub too_old: u64,
    /// Their series has another value at their instant.
    pub duplicate: u64,
    /// Labels that are not a label set.
    pub labels: u64,
    /// Native histograms that are too large.
    pub histograms: u64,
    /// The shard cannot number more series.
    pub too_many_series: u64,
}

impl RefusedSamples {
    fn count(&mut self, refusal: &Refusal) {
        let counter = match refusal.reason {
            RefusalReason::OutOfOrder => &mut self.out_of_order,
            RefusalReason::OutOfBounds => &mut self.out_of_bounds,
            RefusalReason::TooOld => &mut self.too_old,
            RefusalReason::Duplicate { .. }
            | RefusalReason::DuplicateOfHistogram { .. }
            | RefusalReason::DuplicateHistogram(_) => &mut self.duplicate,
            RefusalReason::HistogramTooLarge { .. } => &mut self.histograms,
            RefusalReason::TooManySeries => &mut self.too_many_series,
            // The other reasons are the decoder's, which counts by itself.
            _ => &mut self.labels,
        };
        *counter += u64::from(refusal.samples);
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { out_of_order, out_of_bounds, too_old, duplicate, labels, .. } = self;
        let other = self.histograms + self.too_many_series;
        out_of_order + out_of_bounds + too_old + duplicate + labels + other
    }
}

impl std::ops::AddAssign for RefusedSamples {
    fn add_assign(&mut self, other: Self) {
        self.out_of_order += other.out_of_order;
        self.out_of_bounds += other.out_of_bounds;
        self.too_old += other.too_old;
        self.duplicate += other.duplicate;
        self.labels += other.labels;
        self.histograms += other.histograms;
        self.too_many_series += other.too_many_series;
    }
}

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
    /// The series has a native histogram at the instant of a float.
    #[error("duplicate sample for timestamp {}; overrides not allowed: existing is a histogram, new value {new}", .t.0)]
    DuplicateOfHistogram {
        /// The instant.
        t: TimestampMs,
        /// What the sender wants there.
        new: f64,
    },
    /// The series has something else at the instant of a native histogram.
    #[error("duplicate sample for timestamp {}; overrides not allowed: new value is a histogram", .0.0)]
    DuplicateHistogram(TimestampMs),
    /// A native histogram that is none.
    #[error("{0}")]
    Histogram(HistogramError),
    /// A native histogram with more parts than a series may have at an instant.
    #[error(
        "native histogram of {parts} buckets, spans and bounds; {HISTOGRAM_PARTS_MAX} are taken: reduce its resolution"
    )]
    HistogramTooLarge {
        /// How many it has.
        parts: usize,
    },
    /// An exemplar that is older than the newest one of its series, and than the out-of-order window.
    #[error("out of order exemplar")]
    OutOfOrderExemplar,
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
    /// More label text than a series may have.
    #[error("label set of {bytes} bytes; a series may have {LABEL_BYTES_MAX}")]
    LabelsTooLong {
        /// Length of the canonical label set in bytes.
        bytes: usize,
    },
    /// The shard has as many series as it can number.
    #[error("the shard holds as many series as it can number; start with more shards")]
    TooManySeries,
}
