//! Since when the counters of series count, of samples that are in the Head: what XOR2 chunks of blocks have room for.
//!
//! A counter counts since its process began, and keeps that start for as long: so it is kept once, with the instant from
//! which samples have it, and not with every sample. Of a sample the newest run that begins before it or at it tells. A late sample
//! has the start that others of its time have.
//! Invariants: runs of a series are sorted, and neighbours differ; a run is logged when it begins.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::model::TimestampMs;

/// From an instant on, samples have this start; zero: none that is known.
pub type Run = (TimestampMs, TimestampMs);

/// The runs of all series that have one.
#[derive(Debug, Default)]
pub struct Starts {
    runs: HashMap<u32, Runs, foldhash::fast::FixedState>,
}

/// Nearly every series has one.
#[derive(Debug)]
enum Runs {
    One([Run; 1]),
    Several(Vec<Run>),
}

impl Runs {
    fn as_slice(&self) -> &[Run] {
        match self {
            Self::One(run) => run,
            Self::Several(runs) => runs,
        }
    }
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
        self.runs.get(&index).map(Runs::as_slice).unwrap_or_default()
    }

    /// Notes that the sample at `t`, which is later than all others of its series, has this start. Does a new run begin with it?
    pub fn note(&mut self, index: u32, t: TimestampMs, start: TimestampMs) -> bool {
        let last = self.of(index).last();
        let is_known = last.map_or(start.0 == 0, |(from, last)| *last == start || *from >= t);
        if !is_known {
            self.push(index, (t, start));
        }
        !is_known
    }

    fn push(&mut self, index: u32, run: Run) {
        match self.runs.entry(index) {
            Entry::Vacant(place) => drop(place.insert(Runs::One([run]))),
            Entry::Occupied(place) => match place.into_mut() {
                Runs::Several(runs) => runs.push(run),
                one => *one = Runs::Several([one.as_slice(), &[run]].concat()),
            },
        }
    }

    /// Drops runs of a series of which no sample from `t` on has the start.
    pub fn truncate(&mut self, index: u32, t: TimestampMs) {
        let runs = self.of(index);
        let gone = runs.partition_point(|(from, _)| *from <= t).saturating_sub(1);
        match runs.get(gone..).unwrap_or_default() {
            [] | [(_, TimestampMs(0))] => drop(self.runs.remove(&index)),
            [run] => drop(self.runs.insert(index, Runs::One([*run]))),
            left if gone > 0 => {
                let left = left.to_vec();
                self.runs.insert(index, Runs::Several(left));
            }
            _ => {}
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

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
            prop_assert!(starts.of(1).windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1));
            prop_assert!(starts.of(1).iter().skip(1).all(|run| run.0.0 > truncated));
            starts.remove(1);
            prop_assert_eq!(starts.of(1), &[][..]);
        }
    }
}
