//! Late samples of which only the disk knows whether they are new: a chunk that has left memory covers their instant.
//!
//! Appending puts them aside; whoever appends has the chunks read and asks again. Meanwhile nothing is held: what has
//! changed by then is looked at anew. A chunk that cannot be read does not stand in the way: the sample is stored, and
//! where the chunk can be read after all, reading takes the in-order one of two.

use std::cell::RefCell;

use super::append::refusal;
use super::mem_series::sample_at;
use super::spill::SpillFiles;
use super::{Appended, Bounds, Head};
use crate::encoding::record::SpillPlace;
use crate::io::{Disk, Pace};
use crate::model::{LabelText, Part, Sample};
use crate::storage::wal::LogBuffer;

/// A late sample that may be known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Doubtful {
    /// Which entry of the part it is of.
    pub entry: usize,
    /// The sample.
    pub sample: Sample,
}

impl Head {
    /// Appends a sample that was doubtful, now that it is known what chunks which have left memory hold at its instant.
    ///
    /// - `known`: that sample, if there is one.
    pub fn append_doubtful(
        &mut self,
        part: &Part,
        text: &LabelText,
        doubtful: Doubtful,
        known: Option<Sample>,
        bounds: Bounds,
        log: &mut LogBuffer,
    ) -> Appended {
        let mut appended = Appended::default();
        let Some(entry) = part.entries.get(doubtful.entry) else { return appended };
        let bounds = bounds.raised_to(self.min_valid);
        let sample = doubtful.sample;
        let known_series = match (self.find(entry.fingerprint, None), known) {
            (Some(index), _) => Ok(index),
            // The series is gone with its chunks, which are in a block now.
            (None, Some(known)) if known == sample => return Appended { written: 1, ..appended },
            (None, _) => self.create(entry, &[sample], text, bounds, log),
        };
        let outcome = known_series.and_then(|index| {
            let verdict = self.judge(index, sample, bounds, Some(known));
            self.carry_out(verdict, index, sample, log)
        });
        match outcome {
            Ok(()) => appended.written = 1,
            Err(reason) => appended.refused.push(refusal(entry, text, 1, reason)),
        }
        log.finish_part();
        self.stats.samples_appended += log.take_sample_count();
        appended
    }

    /// The chunks that decide what a doubtful sample is.
    fn places_of(&self, part: &Part, doubtful: Doubtful) -> Vec<SpillPlace> {
        let entry = part.entries.get(doubtful.entry);
        let index = entry.and_then(|entry| self.find(entry.fingerprint, None));
        index.map(|index| self.places_at(index, doubtful.sample.t)).unwrap_or_default()
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
            places.extend(head.borrow().places_of(part, *doubtful));
            ends.push(places.len());
        }
        let mut read = spill.read(&places, pace).await.into_iter();
        let mut start = 0;
        for (doubtful, end) in some.iter().zip(ends) {
            let chunks: Vec<_> = read.by_ref().take(end - start).flatten().collect();
            let known = chunks.iter().find_map(|chunk| sample_at(chunk, doubtful.sample.t));
            start = end;
            let more = {
                let (mut head, mut log) = (head.borrow_mut(), log.borrow_mut());
                head.append_doubtful(part, text, *doubtful, known, bounds, &mut log)
            };
            appended.written += more.written;
            appended.refused.append(more.refused);
            pace.breathe().await;
        }
    }
    appended
}
