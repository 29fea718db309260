//! The field's nouns: labels, matchers, samples, time, ids. Uses no other room, does no I/O and asks no clock.

pub mod allowance;
pub mod batch;
pub mod exemplar;
pub mod fingerprint;
pub mod histogram;
pub mod id;
pub mod labels;
pub mod matcher;
pub mod metadata;
pub mod refusal;
pub mod regexp;
pub mod sample;
pub mod samples;
pub mod tally;
pub mod time;
pub mod told;

pub use batch::{
    ExemplarAt, HistogramEntry, LabelText, LabelsAt, MetadataAt, Part, PartEntry, REFUSALS_MAX,
    Span, StartAt, Symbol, WriteBatch,
};
pub use exemplar::{Exemplar, ExemplarRef, SeriesExemplars};
pub use fingerprint::{Fingerprint, Fingerprinter, LabelsHash, RecentLabels, TextHash, route_hash};
pub use histogram::{
    AnyHistogram, AnyHistogramRef, Count, FloatHistogram, Histogram, HistogramError, HistogramList,
    HistogramRef, IntHistogram, ResetHint,
};
pub use id::{SeriesId, SeriesRef, ShardId};
pub use labels::{Label, Labels, LabelsBuilder, LabelsError, LabelsRef};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use metadata::{Family, Metadata, MetadataRef, MetricType};
pub use refusal::{Refusal, RefusalReason, Refusals, RefusedSamples};
pub use regexp::{Anchored, GoRegex, RegexpError};
pub use sample::{STALE_NAN_BITS, Sample, is_stale_nan};
pub use samples::{
    HistogramSample, SampleStart, Samples, SamplesMark, SamplesRef, Value, ValueRef,
};
pub use tally::{ChunkTally, Tally};
pub use time::{BlockRange, TimeRange, TimestampMs};
pub use told::Told;
