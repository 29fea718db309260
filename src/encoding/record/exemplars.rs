//! Exemplars, each with the labels of its series.
//!
//! Not by reference, as samples: an exemplar may outlive its series, which goes when a block has its samples. There are few,
//! and each has a text of its own anyway.

use super::{EXEMPLARS, RecordError, begin, end};
use crate::encoding::varint;
use crate::model::{ExemplarRef, LabelsRef, TimestampMs};

/// Appends an exemplar of a series to the body of a record that is being gathered.
pub fn push_exemplar(body: &mut Vec<u8>, series: LabelsRef<'_>, exemplar: ExemplarRef<'_>) {
    push_labels(body, series);
    body.extend_from_slice(&exemplar.t.0.to_le_bytes());
    body.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
    push_labels(body, exemplar.labels);
}

fn push_labels(body: &mut Vec<u8>, labels: LabelsRef<'_>) {
    varint::push_unsigned(body, labels.as_bytes().len() as u64);
    body.extend_from_slice(labels.as_bytes());
}

/// Appends a record of exemplars; `body` was gathered with [`push_exemplar`].
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_exemplars(out: &mut Vec<u8>, body: &[u8]) {
    let start = begin(out, EXEMPLARS);
    out.extend_from_slice(body);
    end(out, start);
}

/// Exemplars in the order in which they came.
#[derive(Clone, Copy, Debug)]
pub struct ExemplarsRecord<'a> {
    rest: &'a [u8],
}

/// An exemplar and its series.
#[derive(Clone, Copy, Debug)]
pub struct SavedExemplar<'a> {
    /// The labels of the series.
    pub series: LabelsRef<'a>,
    /// The exemplar.
    pub exemplar: ExemplarRef<'a>,
}

impl<'a> ExemplarsRecord<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    fn exemplar(&mut self) -> Result<SavedExemplar<'a>, RecordError> {
        let what = "an exemplars record ends within an exemplar";
        let cut = RecordError::Body { offset: 0, what };
        let (series, rest) = labels(self.rest).ok_or(cut.clone())?;
        let (t, rest) = rest.split_first_chunk::<8>().ok_or(cut.clone())?;
        let (value, rest) = rest.split_first_chunk::<8>().ok_or(cut.clone())?;
        let (own, rest) = labels(rest).ok_or(cut)?;
        let exemplar = ExemplarRef {
            labels: LabelsRef::from_canonical(own)?,
            value: f64::from_bits(u64::from_le_bytes(*value)),
            t: TimestampMs(i64::from_le_bytes(*t)),
        };
        let series = LabelsRef::from_canonical(series)?;
        self.rest = rest;
        Ok(SavedExemplar { series, exemplar })
    }
}

fn labels(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = varint::split_unsigned(bytes)?;
    rest.split_at_checked(usize::try_from(len).ok()?)
}

impl<'a> Iterator for ExemplarsRecord<'a> {
    type Item = Result<SavedExemplar<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let exemplar = self.exemplar();
        if exemplar.is_err() {
            self.rest = &[];
        }
        Some(exemplar)
    }
}
