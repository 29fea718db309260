//! New series: their labels, and the references by which samples name them from then on.

use super::{RecordError, SERIES, begin, end};
use crate::encoding::varint;
use crate::model::{LabelsRef, SeriesRef};

/// Appends one series' labels to the body of a series record that is being gathered.
pub fn push_labels(body: &mut Vec<u8>, labels: &[u8]) {
    varint::push_unsigned(body, labels.len() as u64);
    body.extend_from_slice(labels);
}

/// Appends a record of `count` series whose references begin at `first` and are consecutive; `body` was gathered with
/// [`push_labels`].
///
/// # Panics
/// If it would be longer than a batch may be; callers bound what they put into one record.
pub fn push_series(out: &mut Vec<u8>, first: SeriesRef, count: u32, body: &[u8]) {
    let start = begin(out, SERIES);
    out.extend_from_slice(&first.0.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(body);
    end(out, start);
}

/// New series with consecutive references.
#[derive(Clone, Debug)]
pub struct SeriesRecord<'a> {
    next: u64,
    count: u32,
    rest: &'a [u8],
}

impl<'a> SeriesRecord<'a> {
    pub(super) fn of(body: &'a [u8]) -> Option<Self> {
        let (first, body) = body.split_first_chunk::<8>()?;
        let (count, rest) = body.split_first_chunk::<4>()?;
        Some(Self { next: u64::from_le_bytes(*first), count: u32::from_le_bytes(*count), rest })
    }
}

impl<'a> Iterator for SeriesRecord<'a> {
    type Item = Result<(SeriesRef, LabelsRef<'a>), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.count == 0 {
            return None;
        }
        let Some((labels, rest)) = varint::split_unsigned(self.rest)
            .and_then(|(len, rest)| rest.split_at_checked(usize::try_from(len).ok()?))
        else {
            self.count = 0;
            return Some(Err(RecordError::Body {
                offset: 0,
                what: "a series record ends within its labels",
            }));
        };
        let series = SeriesRef(self.next);
        self.count -= 1;
        self.next = self.next.wrapping_add(1);
        self.rest = rest;
        Some(
            LabelsRef::from_canonical(labels)
                .map(|labels| (series, labels))
                .map_err(RecordError::from),
        )
    }
}
