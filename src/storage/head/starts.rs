//! Since when the counters of series count, of samples that are in the Head: what XOR2 chunks of blocks have room for.
//!
//! A counter counts since its process began, and keeps that start for as long: so it is kept once, with the instant from
//! which samples have it, and not with every sample. Of a sample the newest run that begins before it or at it tells. A late sample
//! has the start that others of its time have.
//! Invariants: runs of a series are sorted, and neighbours differ; a run is logged when it begins.

use std::collections::HashMap;

use crate::encoding::batch::PAYLOAD_BYTES_MAX;
use crate::encoding::record::START_BYTES_MAX;
use crate::model::{Sample, SampleStart, TimestampMs};

/// From an instant on, samples have this start; zero: none that is known.
pub type Run = (TimestampMs, TimestampMs);

/// A series has so many runs at most: hours of one that has another start with every sample, a second apart. Of more, the older
/// half is forgotten. A checkpoint has all of them in one record.
pub const RUNS_MAX: usize = 1 << 14;

const _: () = assert!(
    RUNS_MAX * START_BYTES_MAX < PAYLOAD_BYTES_MAX / 8,
    "the runs of a series fit into a batch, with much else"
);

/// The runs of all series that have one.
#[derive(Debug, Default)]
pub struct Starts {
    runs: HashMap<u32, Vec<Run>, foldhash::fast::FixedState>,
}

impl Starts {
    /// Of no series any?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The runs of the series at `index`, oldest first.
    #[must_use]
    pub fn of(&self, index: u32) -> &[Run] {
        self.runs.get(&index).map(Vec::as_slice).unwrap_or_default()
    }

    /// Notes that the sample at `t`, which is later than all others of its series, has this start. Does a new run begin with it?
    pub fn note(&mut self, index: u32, t: TimestampMs, start: TimestampMs) -> bool {
        let last = self.of(index).last();
        let is_known = last.map_or(start.0 == 0, |(from, last)| *last == start || *from >= t);
        if is_known {
            return false;
        }
        let runs = self.runs.entry(index).or_insert_with(|| Vec::with_capacity(1)); // most have one
        if runs.len() == RUNS_MAX {
            runs.drain(..RUNS_MAX / 2);
        }
        runs.push((t, start));
        true
    }

    /// Drops runs of a series of which no sample from `t` on has the start.
    pub fn truncate(&mut self, index: u32, t: TimestampMs) {
        let Some(runs) = self.runs.get_mut(&index) else { return };
        let gone = runs.partition_point(|(from, _)| *from <= t).saturating_sub(1);
        runs.drain(..gone);
        match runs.as_slice() {
            [(_, TimestampMs(0))] => drop(self.runs.remove(&index)),
            _ => runs.shrink_to(2 * runs.len()),
        }
    }

    /// Forgets a series.
    pub fn remove(&mut self, index: u32) {
        self.runs.remove(&index);
    }
}

/// The start that a sample at `t` has; zero if that is not known.
#[must_use]
pub fn start_at(runs: &[Run], t: TimestampMs) -> TimestampMs {
    let behind = runs.partition_point(|(from, _)| *from <= t);
    let run = behind.checked_sub(1).and_then(|at| runs.get(at));
    run.map_or(TimestampMs(0), |(_, start)| *start)
}

/// Appends the starts of those of some floats, sorted by time, that have one.
pub fn starts_of(floats: &[Sample], runs: &[Run], out: &mut Vec<SampleStart>) {
    let (mut runs, mut start) = (runs.iter().peekable(), TimestampMs(0));
    for Sample { t, .. } in floats {
        while let Some((_, next)) = runs.next_if(|(from, _)| from <= t) {
            start = *next;
        }
        if start.0 != 0 {
            out.push(SampleStart { t: *t, start });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_more_runs_than_a_series_may_have_the_newer_half_stays() {
        let mut starts = Starts::default();
        for t in 1..=i64::try_from(RUNS_MAX).unwrap() + 1 {
            assert!(starts.note(1, TimestampMs(t), TimestampMs(-t)));
        }
        assert_eq!(starts.of(1).len(), RUNS_MAX / 2 + 1);
        let newest = TimestampMs(i64::try_from(RUNS_MAX).unwrap() + 1);
        assert_eq!(start_at(starts.of(1), newest), TimestampMs(-newest.0));
        assert_eq!(start_at(starts.of(1), TimestampMs(1)), TimestampMs(0));
    }

    proptest! {
        #[test]
        fn every_sample_has_the_start_that_it_came_with(
            steps in prop::collection::vec((1i64..5, 0i64..4), 0..60), truncated in 0i64..200,
        ) {
            let (mut starts, mut model, mut t) = (Starts::default(), BTreeMap::new(), 0);
            for (step, start) in steps {
                t += step;
                let (at, start) = (TimestampMs(t), TimestampMs(start));
                let before = starts.of(1).len();
                let begins = starts.note(1, at, start);
                prop_assert_eq!(starts.of(1).len(), before + usize::from(begins));
                model.insert(at, start);
            }
            starts.truncate(1, TimestampMs(truncated));
            for (t, start) in model.range(TimestampMs(truncated)..) {
                prop_assert_eq!(start_at(starts.of(1), *t), *start);
            }
            let floats: Vec<_> = (truncated..200).map(|t| Sample { t: TimestampMs(t), v: 0.0 }).collect();
            let mut found = Vec::new();
            starts_of(&floats, starts.of(1), &mut found);
            let one_by_one = floats.iter().map(|float| (float.t, start_at(starts.of(1), float.t)));
            let known: Vec<_> = one_by_one.filter(|(_, start)| start.0 != 0).collect();
            prop_assert_eq!(found.iter().map(|at| (at.t, at.start)).collect::<Vec<_>>(), known);
            prop_assert!(starts.of(1).windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1));
            prop_assert!(starts.of(1).iter().skip(1).all(|run| run.0.0 > truncated));
            starts.remove(1);
            prop_assert_eq!(starts.of(1), &[][..]);
        }
    }
}
