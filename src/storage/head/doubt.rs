//! Late samples of which only the disk knows whether they are new: a chunk that has left memory covers their instant.
//!
//! Appending puts them aside; whoever appends has the chunks read and asks again. Meanwhile nothing is held: what has
//! changed by then is looked at anew. A chunk that cannot be read does not stand in the way: the sample is stored, and
//! where the chunk can be read after all, reading takes the in-order one of two.

use std::cell::RefCell;

use super::append::refusal;
use super::head_chunk::value_at;
use super::spill::SpillFiles;
use super::{Appended, Bounds, Head};
use crate::encoding::record::SpillPlace;
use crate::io::{Disk, Pace};
use crate::model::{Fingerprint, LabelText, LabelsAt, Part, Sample, TimestampMs, Value, ValueRef};
use crate::storage::wal::LogBuffer;

/// A late sample that may be known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Doubtful {
    /// A float.
    Float {
        /// Which entry of the part it is of.
        entry: usize,
        /// The sample.
        sample: Sample,
    },
    /// A native histogram.
    Histogram {
        /// What its series is recognised by.
        fingerprint: Fingerprint,
        /// The labels of its series.
        labels: LabelsAt,
        /// Its place among the part's.
        at: usize,
    },
}

/// A doubtful sample and its series.
struct Late<'a> {
    series: (Fingerprint, LabelsAt),
    t: TimestampMs,
    value: ValueRef<'a>,
}

impl Doubtful {
    fn of(self, part: &Part) -> Option<Late<'_>> {
        Some(match self {
            Self::Float { entry, sample } => {
                let entry = part.entries.get(entry)?;
                let series = (entry.fingerprint, entry.labels);
                Late { series, t: sample.t, value: ValueRef::Float(sample.v) }
            }
            Self::Histogram { fingerprint, labels, at } => {
                let (t, histogram) = part.histograms.get(at)?;
                let value = ValueRef::Histogram(histogram);
                Late { series: (fingerprint, labels), t, value }
            }
        })
    }
}

impl Head {
    /// Appends a sample that was doubtful, now that it is known what chunks which have left memory hold at its instant.
    ///
    /// - `known`: that value, if there is one.
    pub fn append_doubtful(
        &mut self,
        part: &Part,
        text: &LabelText,
        doubtful: Doubtful,
        known: Option<Value>,
        bounds: Bounds,
        log: &mut LogBuffer,
    ) -> Appended {
        let mut appended = Appended::default();
        let Some(Late { series, t, value }) = doubtful.of(part) else { return appended };
        let bounds = bounds.raised_to(self.min_valid);
        let is_known = known.as_ref().is_some_and(|known| known.as_ref().is_same_sample(value));
        let outcome = match self.find(series.0, None) {
            // The series is gone with its chunks, which are in a block now.
            None if is_known => Ok(()),
            found => {
                let index = found
                    .map_or_else(|| self.create(series, [t].into_iter(), text, bounds, log), Ok);
                index.and_then(|index| {
                    let verdict = self.judge(index, t, value, bounds, Some(known));
                    self.carry_out(verdict, index, t, value, log)
                })
            }
        };
        match (outcome, value) {
            (Ok(()), ValueRef::Float(_)) => appended.written = 1,
            (Ok(()), ValueRef::Histogram(_)) => appended.histograms_written = 1,
            (Err(reason), _) => appended.refused.push(refusal(series.1, text, 1, reason)),
        }
        log.finish_part();
        self.count_appended(log);
        appended
    }

    /// The chunks that decide what a doubtful sample is.
    fn places_of(&self, late: &Late<'_>) -> Vec<SpillPlace> {
        let index = self.find(late.series.0, None);
        index.map(|index| self.places_at(index, late.t)).unwrap_or_default()
    }
}

/// Has the chunks read that decide what doubtful samples are, and appends those that are new.
///
/// - `bounds`: those of the request that `part` is of.
#[expect(clippy::too_many_arguments, reason = "a request, where it goes, and what it is asked of")]
pub async fn resolve<D: Disk>(
    head: &RefCell<Head>,
    log: &RefCell<LogBuffer>,
    spill: &SpillFiles<D>,
    part: &Part,
    text: &LabelText,
    doubtful: &[Doubtful],
    bounds: Bounds,
    pace: &mut impl Pace,
) -> Appended {
    /// Samples whose chunks are read at once.
    const AT_ONCE: usize = 512;
    let mut appended = Appended::default();
    for some in doubtful.chunks(AT_ONCE) {
        let mut places = Vec::new();
        let mut ends = Vec::with_capacity(some.len());
        for doubtful in some {
            if let Some(late) = doubtful.of(part) {
                places.extend(head.borrow().places_of(&late));
            }
            ends.push(places.len());
        }
        let mut read = spill.read(&places, pace).await.into_iter();
        let mut start = 0;
        for (doubtful, end) in some.iter().zip(ends) {
            let there = places.get(start..end).unwrap_or_default();
            let chunks = there.iter().zip(read.by_ref());
            let chunks: Vec<_> =
                chunks.filter_map(|(place, read)| Some((place.encoding, read.ok()?))).collect();
            let known = doubtful.of(part).and_then(|late| {
                chunks.iter().find_map(|(encoding, chunk)| value_at(*encoding, chunk, late.t))
            });
            start = end;
            let more = {
                let (mut head, mut log) = (head.borrow_mut(), log.borrow_mut());
                head.append_doubtful(part, text, *doubtful, known, bounds, &mut log)
            };
            appended.written += more.written;
            appended.histograms_written += more.histograms_written;
            appended.refused.append(more.refused);
            pace.breathe().await;
        }
    }
    appended
}
