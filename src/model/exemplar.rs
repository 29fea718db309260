//! An example of what was counted: one observation, with labels that lead to it, a trace id as a rule.

use super::{Labels, LabelsRef, TimestampMs};

/// The names and values of an exemplar's labels have so many characters at most, all together. Source: OpenMetrics, and
/// `ExemplarMaxLabelSetLength` of Prometheus.
pub const LABEL_CHARS_MAX: usize = 128;

/// An exemplar.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// What identifies it. May be empty.
    pub labels: Labels,
    /// What it measured.
    pub value: f64,
    /// When.
    pub t: TimestampMs,
}

/// An exemplar, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct ExemplarRef<'a> {
    /// What identifies it.
    pub labels: LabelsRef<'a>,
    /// What it measured.
    pub value: f64,
    /// When.
    pub t: TimestampMs,
}

impl Exemplar {
    /// The same, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> ExemplarRef<'_> {
        ExemplarRef { labels: self.labels.as_ref(), value: self.value, t: self.t }
    }
}

impl ExemplarRef<'_> {
    /// A copy that owns its labels.
    #[must_use]
    pub fn to_owned(self) -> Exemplar {
        Exemplar { labels: self.labels.to_owned(), value: self.value, t: self.t }
    }

    /// Are both the same observation? A value that is no number is the same as itself, unlike in Prometheus, where a sender
    /// that repeats it stores it twice.
    #[must_use]
    pub fn is(&self, other: &ExemplarRef<'_>) -> bool {
        let is_value = self.value == other.value || self.value.to_bits() == other.value.to_bits();
        self.t == other.t && is_value && self.labels.as_bytes() == other.labels.as_bytes()
    }
}

/// The exemplars of one series, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesExemplars {
    /// The series.
    pub series: Labels,
    /// At least one.
    pub exemplars: Vec<Exemplar>,
}

impl SeriesExemplars {
    /// How many bytes it takes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let of_exemplars = self.exemplars.iter().map(|one| one.labels.as_bytes().len());
        size_of::<Self>()
            + self.series.as_bytes().len()
            + size_of_val(self.exemplars.as_slice())
            + of_exemplars.sum::<usize>()
    }
}
