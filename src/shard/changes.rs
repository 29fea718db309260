//! From which instant on a shard's data has changed since a moment: what makes kept answers go stale.
//!
//! A moment is a number that every change raises. A change concerns everything from some instant on: a batch of samples from
//! its oldest, a deletion from where its range begins. What is remembered is a staircase: later changes that reach back
//! further take the steps above them away, so that both moments and instants rise along it.

use std::collections::VecDeque;

use crate::model::TimestampMs;

/// Instants are told apart to this, in milliseconds: writes of one second are one step.
const STEP_MS: i64 = 1000;
/// So many steps are remembered; the oldest two become one that reaches as far back as both.
const STEPS_MAX: usize = 4096;

/// What has changed of a shard.
#[derive(Debug, Default)]
pub struct Changes {
    moment: u64,
    /// Moments and the first instants that changed at them; both rise.
    steps: VecDeque<(u64, i64)>,
}

/// What has changed since a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// The moment that it is now.
    pub moment: u64,
    /// The first instant whose samples may be others than they were then.
    pub from: Option<TimestampMs>,
}

impl Changes {
    /// Notes that samples from `from` on may be others now. To be called when they are, and before anybody is told so.
    pub fn note(&mut self, from: TimestampMs) {
        let from = from.0.saturating_sub(from.0.rem_euclid(STEP_MS));
        self.moment += 1;
        while self.steps.back().is_some_and(|(_, last)| *last >= from) {
            self.steps.pop_back();
        }
        self.steps.push_back((self.moment, from));
        if self.steps.len() > STEPS_MAX
            && let (Some((_, oldest)), Some(next)) =
                (self.steps.pop_front(), self.steps.front_mut())
        {
            next.1 = oldest;
        }
    }

    /// What has changed since `moment`; without one, only which moment it is.
    #[must_use]
    pub fn since(&self, moment: Option<u64>) -> Changed {
        let from = moment.and_then(|then| {
            let at = self.steps.partition_point(|(moment, _)| *moment <= then);
            self.steps.get(at).map(|(_, from)| TimestampMs(*from))
        });
        Changed { moment: self.moment, from }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_oldest_change_since_a_moment_is_remembered(
            changes in proptest::collection::vec(-50i64..50, 0..60), then in 0u64..60,
        ) {
            let mut have = Changes::default();
            changes.iter().for_each(|from| have.note(TimestampMs(from * STEP_MS + 7)));
            let later = changes.iter().skip(usize::try_from(then).unwrap());
            let want = later.min().map(|from| TimestampMs(from * STEP_MS));
            let moment = changes.len() as u64;
            prop_assert_eq!(have.since(Some(then)), Changed { moment, from: want });
            prop_assert_eq!(have.since(None), Changed { moment, from: None });
        }
    }

    #[test]
    fn what_is_forgotten_is_taken_to_reach_back_further() {
        let mut changes = Changes::default();
        (0..10_000).for_each(|second| changes.note(TimestampMs(second * STEP_MS)));
        assert!(changes.steps.len() <= STEPS_MAX);
        assert_eq!(changes.since(Some(9_000)).from, Some(TimestampMs(9_000 * STEP_MS)));
        assert!(changes.since(Some(100)).from.unwrap() <= TimestampMs(100 * STEP_MS));
        changes.note(TimestampMs(i64::MIN));
        assert!(changes.since(Some(9_999)).from.unwrap() <= TimestampMs(i64::MIN + STEP_MS));
        assert_eq!(changes.steps.len(), 1);
    }
}
