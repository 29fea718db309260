//! Warnings and infos that come with an answer: what was odd about the data or the query without making it fail.
//!
//! Two notes with the same text are one, whatever their places; the later place is shown. Texts, and which notes merge
//! how, are Prometheus's (`util/annotations/annotations.go`); people search for them and rules match on them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::ast::TextRange;
use super::functions::date::rfc3339_utc;
use super::number::format_g;
use super::parse_error::position;
use crate::model::labels::write_quoted;

/// How loud a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The answer may be wrong or incomplete.
    Warning,
    /// The answer is right; whoever asked may have meant something else.
    Info,
}

/// One note before its text is written out.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// A quantile outside of 0 to 1.
    InvalidQuantile(f64),
    /// A ratio outside of -1 to 1, and what it was cut to.
    InvalidRatio(f64, f64),
    /// A bucket without a usable `le`; the metric's name, if it is known, and the label's value.
    BadBucketLabel(String, String),
    /// `sort` and its like where the order is lost anyway.
    SortInRangeQuery,
    /// The metric's name does not end as a counter's does.
    PossibleNonCounter(String),
    /// The metric's type, by its label, is not one that has counters; the metric's name and the type.
    NonCounterType(String, String),
    /// Buckets of a classic histogram that count less than smaller ones.
    ForcedMonotonicity(ForcedMonotonicity),
    /// Operand types that an operator is not made for: left, operator, right.
    IncompatibleTypes(&'static str, &'static str, &'static str),
    /// A window has floats and histograms, and the function wants one kind; the metric's name.
    MixedFloatsHistograms(String),
    /// A group has floats and histograms.
    MixedInAggregation,
    /// Classic and native histograms of the same labels; the metric's name, if it is known.
    MixedClassicNative(String),
    /// A gauge histogram where counters are computed with; the metric's name.
    NotCounter(String),
    /// A counter histogram where gauges are computed with; the metric's name.
    NotGauge(String),
    /// Histograms with exponential and with custom buckets; the metric's name.
    MixedExponentialCustom(String),
    /// Histograms whose buckets an operator cannot bring together.
    IncompatibleBuckets(&'static str),
    /// Histograms that an aggregation does not look at.
    IgnoredInAggregation(&'static str),
    /// Histograms beside floats that a function does not look at; the metric's name.
    IgnoredInMixedRange(String),
    /// The quantile of a histogram is NaN because observations are; the metric's name, if it is known.
    QuantileNaN(String),
    /// The quantile of a histogram is too high because observations are NaN; the metric's name, if it is known.
    QuantileNaNSkew(String),
    /// A histogram has NaN observations, which are in no fraction; the metric's name, if it is known.
    FractionNaN(String),
    /// Histograms after a reset and histograms after none were put together.
    ResetCollision(HistogramOperation),
    /// Custom buckets of different bounds were put together.
    MismatchedBuckets(HistogramOperation),
    /// A counter's sample began to count before the one before it was taken, and not when that one began; the metric's name,
    /// and in how many windows.
    StartTimeOverlap(String, u64),
    /// Some of what is stored in the query's range cannot be read: where, and what is wrong with it.
    Damaged(String),
}

/// What histograms were put together by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistogramOperation {
    /// `+`, and what adds inside of a function.
    Addition,
    /// `-`, and what subtracts inside of a function.
    Subtraction,
    /// An aggregation, over series or over time.
    Aggregation,
}

impl HistogramOperation {
    fn name(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// What was done to make classic histograms' buckets rise.
#[derive(Clone, Debug, PartialEq)]
pub struct ForcedMonotonicity {
    /// The metric's name, if it is known.
    pub metric: String,
    /// The first and last instant at which it was done, in milliseconds.
    pub times: (i64, i64),
    /// The smallest and largest bound of a bucket that was raised.
    pub bounds: (f64, f64),
    /// By how much at most.
    pub diff_max: f64,
    /// How often.
    pub count: u64,
}

impl Note {
    fn severity(&self) -> Severity {
        match self {
            Self::InvalidQuantile(_)
            | Self::InvalidRatio(..)
            | Self::BadBucketLabel(..)
            | Self::SortInRangeQuery
            | Self::MixedFloatsHistograms(_)
            | Self::MixedInAggregation
            | Self::MixedClassicNative(_)
            | Self::NotCounter(_)
            | Self::NotGauge(_)
            | Self::MixedExponentialCustom(_)
            | Self::IncompatibleBuckets(_)
            | Self::ResetCollision(_)
            | Self::StartTimeOverlap(..)
            | Self::Damaged(_) => Severity::Warning,
            Self::PossibleNonCounter(_)
            | Self::NonCounterType(..)
            | Self::ForcedMonotonicity(_)
            | Self::IgnoredInAggregation(_)
            | Self::IgnoredInMixedRange(_)
            | Self::QuantileNaN(_)
            | Self::QuantileNaNSkew(_)
            | Self::FractionNaN(_)
            | Self::MismatchedBuckets(_)
            | Self::IncompatibleTypes(..) => Severity::Info,
        }
    }

    /// The text that makes two notes one, without place and numbers.
    fn text(&self) -> String {
        let quoted = |text: &str| {
            let mut out = String::new();
            let _ = write_quoted(&mut out, text);
            out
        };
        let for_metric = |name: &str| {
            if name.is_empty() {
                String::new()
            } else {
                format!(" for metric name {}", quoted(name))
            }
        };
        match self {
            Self::InvalidQuantile(q) => {
                format!(
                    "PromQL warning: quantile value should be between 0 and 1, got {}",
                    format_g(*q)
                )
            }
            Self::InvalidRatio(ratio, to) => format!(
                "PromQL warning: ratio value should be between -1 and 1, got {}, capping to {}",
                format_g(*ratio),
                format_g(*to)
            ),
            Self::BadBucketLabel(metric, le) => format!(
                "PromQL warning: bucket label \"le\" is missing or has a malformed value of {}{}",
                quoted(le),
                for_metric(metric)
            ),
            Self::SortInRangeQuery => {
                "PromQL warning: sort is ineffective for range queries since results are always \
                 ordered by labels"
                    .to_owned()
            }
            Self::PossibleNonCounter(metric) => format!(
                "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                quoted(metric)
            ),
            Self::NonCounterType(metric, kind) => format!(
                "PromQL info: metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {}: {}",
                quoted(kind),
                quoted(metric)
            ),
            Self::ForcedMonotonicity(forced) => format!(
                "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
                for_metric(&forced.metric)
            ),
            Self::IncompatibleTypes(left, op, right) => format!(
                "PromQL info: incompatible sample types encountered for binary operator {}: {left} {op} {right}",
                quoted(op)
            ),
            Self::MixedFloatsHistograms(metric) => format!(
                "PromQL warning: encountered a mix of histograms and floats for metric name {}",
                quoted(metric)
            ),
            Self::MixedInAggregation => {
                "PromQL warning: encountered a mix of histograms and floats for aggregation"
                    .to_owned()
            }
            Self::MixedClassicNative(metric) => format!(
                "PromQL warning: vector contains a mix of classic and native histograms{}",
                for_metric(metric)
            ),
            Self::NotCounter(metric) => format!(
                "PromQL warning: this native histogram metric is not a counter: {}",
                quoted(metric)
            ),
            Self::NotGauge(metric) => format!(
                "PromQL warning: this native histogram metric is not a gauge: {}",
                quoted(metric)
            ),
            Self::MixedExponentialCustom(metric) => format!(
                "PromQL warning: vector contains a mix of histograms with exponential and custom buckets schemas for \
                 metric name {}",
                quoted(metric)
            ),
            Self::IncompatibleBuckets(op) => format!(
                "PromQL warning: incompatible bucket layout encountered for binary operator {op}"
            ),
            Self::IgnoredInAggregation(op) => {
                format!("PromQL info: ignored histogram in {op} aggregation")
            }
            Self::IgnoredInMixedRange(metric) => format!(
                "PromQL info: ignored histograms in a range containing both floats and histograms for metric name {}",
                quoted(metric)
            ),
            Self::QuantileNaN(metric) => format!(
                "PromQL info: input to histogram_quantile has NaN observations, result is NaN{}",
                for_metric(metric)
            ),
            Self::QuantileNaNSkew(metric) => format!(
                "PromQL info: input to histogram_quantile has NaN observations, result is skewed higher{}",
                for_metric(metric)
            ),
            Self::FractionNaN(metric) => format!(
                "PromQL info: input to histogram_fraction has NaN observations, which are excluded from all \
                 fractions{}",
                for_metric(metric)
            ),
            Self::ResetCollision(operation) => format!(
                "PromQL warning: conflicting counter resets during histogram {}",
                operation.name()
            ),
            Self::MismatchedBuckets(operation) => format!(
                "PromQL info: mismatched custom buckets were reconciled during {}",
                operation.name()
            ),
            Self::StartTimeOverlap(metric, _) => format!(
                "PromQL warning: sample has start time that overlaps with previous sample timestamp for metric {}",
                quoted(metric)
            ),
            Self::Damaged(what) => {
                format!(
                    "storage warning: data in the range of this query is damaged and left out: {what}"
                )
            }
        }
    }
}

impl ForcedMonotonicity {
    /// Adds what was done elsewhere.
    pub(super) fn merge(&mut self, other: &Self) {
        self.times = (self.times.0.min(other.times.0), self.times.1.max(other.times.1));
        self.bounds = (self.bounds.0.min(other.bounds.0), self.bounds.1.max(other.bounds.1));
        self.diff_max = self.diff_max.max(other.diff_max);
        self.count += other.count;
    }

    /// What stands between text and place: `, from buckets 0.1 to 10, with a max diff of 2.5, over 3 samples from …`.
    fn detail(&self) -> String {
        format!(
            ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            format_g(self.bounds.0),
            format_g(self.bounds.1),
            super::number::format_g_digits(self.diff_max, 2),
            self.count,
            rfc3339_utc(self.times.0),
            rfc3339_utc(self.times.1),
        )
    }
}

/// The notes of one answer, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    notes: BTreeMap<(Severity, String), (Note, TextRange)>,
}

impl Annotations {
    /// Adds a note about what stands at `span`.
    pub fn add(&mut self, note: Note, span: TextRange) {
        match self.notes.entry((note.severity(), note.text())) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert((note, span));
            }
            std::collections::btree_map::Entry::Occupied(mut held) => {
                match (&mut held.get_mut().0, &note) {
                    (Note::ForcedMonotonicity(have), Note::ForcedMonotonicity(more)) => {
                        have.merge(more)
                    }
                    (Note::StartTimeOverlap(_, have), Note::StartTimeOverlap(_, more)) => {
                        *have += more;
                    }
                    _ => held.get_mut().1 = span,
                }
            }
        }
    }

    /// Adds all notes of `other`.
    pub fn merge(&mut self, other: Self) {
        for (note, span) in other.notes.into_values() {
            self.add(note, span);
        }
    }

    /// No notes at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// The warnings about the query `text`, places included, sorted.
    #[must_use]
    pub fn warnings(&self, text: &str) -> Vec<String> {
        self.lines(Severity::Warning, text)
    }

    /// The infos about the query `text`, places included, sorted.
    #[must_use]
    pub fn infos(&self, text: &str) -> Vec<String> {
        self.lines(Severity::Info, text)
    }

    /// Warnings and infos as an API shows them: at most `max` of each, and then how many more there are.
    #[must_use]
    pub fn shown(&self, text: &str, max: usize) -> (Vec<String>, Vec<String>) {
        let cut = |mut lines: Vec<String>, kind: &str| {
            let more = lines.len().saturating_sub(max);
            lines.truncate(max);
            if more > 0 {
                lines.push(format!("{more} more {kind} annotations omitted"));
            }
            lines
        };
        (cut(self.warnings(text), "warning"), cut(self.infos(text), "info"))
    }

    fn lines(&self, severity: Severity, text: &str) -> Vec<String> {
        let of_severity = self.notes.iter().filter(|((have, _), _)| *have == severity);
        of_severity
            .map(|((_, line), (note, span))| {
                let mut line = line.clone();
                if let Note::ForcedMonotonicity(forced) = note {
                    line.push_str(&forced.detail());
                }
                if let Note::StartTimeOverlap(_, count @ 2..) = note {
                    let _ = write!(line, " ({count} occurrences)");
                }
                if !matches!(note, Note::Damaged(_)) {
                    let _ = write!(line, " ({})", position(text.as_bytes(), *span));
                }
                line
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: u32) -> TextRange {
        TextRange { start, end: start + 1 }
    }

    #[test]
    fn the_same_note_twice_is_one_with_the_later_place() {
        let mut notes = Annotations::default();
        notes.add(Note::InvalidQuantile(1.5), at(0));
        notes.add(Note::InvalidQuantile(1.5), at(2));
        let want = "PromQL warning: quantile value should be between 0 and 1, got 1.5 (1:3)";
        assert_eq!(notes.warnings("1 + 2"), [want]);
        assert!(notes.infos("1 + 2").is_empty());
    }

    #[test]
    fn a_mix_of_kinds_is_told_once_a_metric() {
        let mut notes = Annotations::default();
        for metric in ["x", "x", "y"] {
            notes.add(Note::MixedFloatsHistograms(metric.to_owned()), at(0));
        }
        let want = "PromQL warning: encountered a mix of histograms and floats for metric name";
        let of = |metric: &str| format!("{want} \"{metric}\" (1:1)");
        assert_eq!(notes.warnings("x"), [of("x"), of("y")]);
    }

    #[test]
    fn overlaps_of_starts_are_counted() {
        let mut notes = Annotations::default();
        notes.add(Note::StartTimeOverlap("x".to_owned(), 1), at(0));
        let want = "PromQL warning: sample has start time that overlaps with previous sample timestamp for metric \"x\"";
        assert_eq!(notes.warnings("x"), [format!("{want} (1:1)")]);
        let mut more = Annotations::default();
        more.add(Note::StartTimeOverlap("x".to_owned(), 3), at(0));
        notes.merge(more);
        assert_eq!(notes.warnings("x"), [format!("{want} (4 occurrences) (1:1)")]);
    }

    #[test]
    fn damage_has_no_place_in_the_query() {
        let mut notes = Annotations::default();
        notes.add(Note::Damaged("chunks/000001, byte 8: a checksum".to_owned()), at(0));
        let want = "storage warning: data in the range of this query is damaged and left out: chunks/000001, byte 8: a checksum";
        assert_eq!(notes.warnings("x"), [want]);
    }

    #[test]
    fn an_api_shows_no_more_than_it_is_asked_to() {
        let mut notes = Annotations::default();
        (2..5u8).for_each(|q| notes.add(Note::InvalidQuantile(f64::from(q)), at(0)));
        let (warnings, infos) = notes.shown("x", 2);
        assert_eq!((warnings.len(), infos.len()), (3, 0));
        assert_eq!(warnings[2], "1 more warning annotations omitted");
    }

    #[test]
    fn repairs_of_buckets_add_up() {
        let forced = |time, bound, diff_max| {
            Note::ForcedMonotonicity(ForcedMonotonicity {
                metric: "x".to_owned(),
                times: (time, time),
                bounds: (bound, bound),
                diff_max,
                count: 1,
            })
        };
        let mut notes = Annotations::default();
        notes.add(forced(60_000, 0.5, 1.0), at(0));
        notes.add(forced(0, 10.0, 2.345), at(0));
        let line = notes.infos("x").pop().unwrap();
        assert!(
            line.ends_with(
                " for metric name \"x\", from buckets 0.5 to 10, with a max diff of 2.3, over 2 samples from \
                 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z (1:1)"
            ),
            "{line}"
        );
    }
}
