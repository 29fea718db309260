//! Exemplars, each with the labels of its series.
//!
//! Not by reference, as samples: an exemplar may outlive its series, which goes when a block has its samples. There are few,
//! and each has a text of its own anyway.

use super::{EXEMPLARS, RecordError, begin, end};
use crate::encoding::varint;
use crate::model::{ExemplarRef, LabelsRef, TimestampMs};

/// In place of the length of a series' labels.
const SAME_SERIES: u8 = 0;

/// Appends an exemplar to the body of a record that is being gathered.
///
/// - `series`: the labels of its series; `None`: those of the one before in this record. Of a series with long labels a request
///   may bring many.
pub fn push_exemplar(body: &mut Vec<u8>, series: Option<LabelsRef<'_>>, exemplar: ExemplarRef<'_>) {
    match series {
        None => body.push(SAME_SERIES),
        Some(series) => {
            varint::push_unsigned(body, series.as_bytes().len() as u64 + 1);
            body.extend_from_slice(series.as_bytes());
        }
    }
    body.extend_from_slice(&exemplar.t.0.to_le_bytes());
    body.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
    varint::push_unsigned(body, exemplar.labels.as_bytes().len() as u64);
    body.extend_from_slice(exemplar.labels.as_bytes());
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
    /// The series of the one before.
    series: Option<LabelsRef<'a>>,
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
        Self { rest: body, series: None }
    }

    fn exemplar(&mut self) -> Result<SavedExemplar<'a>, RecordError> {
        let what = "an exemplars record ends within an exemplar";
        let cut = RecordError::Body { offset: 0, what };
        let (len, rest) = varint::split_unsigned(self.rest).ok_or(cut.clone())?;
        let (series, rest) = match (len.checked_sub(1), self.series) {
            (None, Some(series)) => (series, rest),
            (len, _) => {
                let len = len.and_then(|len| usize::try_from(len).ok());
                let split = len.and_then(|len| rest.split_at_checked(len));
                let (series, rest) = split.ok_or(cut.clone())?;
                (LabelsRef::from_canonical(series)?, rest)
            }
        };
        let (t, rest) = rest.split_first_chunk::<8>().ok_or(cut.clone())?;
        let (value, rest) = rest.split_first_chunk::<8>().ok_or(cut.clone())?;
        let (own, rest) = labels(rest).ok_or(cut)?;
        let exemplar = ExemplarRef {
            labels: LabelsRef::from_canonical(own)?,
            value: f64::from_bits(u64::from_le_bytes(*value)),
            t: TimestampMs(i64::from_le_bytes(*t)),
        };
        (self.rest, self.series) = (rest, Some(series));
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
