//! How an evaluation shares its core: it works in short slices and asks between them whether to go on.
//!
//! The engine counts what it does in points, one for each value touched and a few for each label set, and breathes when
//! `SLICE_POINTS` have come together: some tens of microseconds, up to two hundred where points are dear.

use std::cell::Cell;
use std::future::Future;

use super::error::QueryError;
use super::memory::Account;

/// Points between two breaths of folding a series: its windows are moved in memory after each.
pub const SLICE_POINTS: usize = 16_384;
/// Points between two looks at the time.
pub const LOOK_POINTS: usize = 1024;
/// What a sample that is held takes, in bytes.
const SAMPLE_BYTES: usize = size_of::<f64>();
/// What touching a label set costs, in points.
pub(super) const LABELS_POINTS: usize = 32;

/// Why an evaluation should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// Its time is up.
    Timeout,
    /// Nobody waits for its answer any more.
    Canceled,
}

/// The runtime as an evaluation sees it.
pub trait Pace {
    /// Lets others have the core for a while.
    fn breathe(&self) -> impl Future<Output = ()>;
    /// Should the evaluation stop? Asked after each breath.
    fn cancelled(&self) -> Option<Cancel>;
    /// How many points may be worked through between two breaths.
    fn slice_points(&self) -> usize {
        SLICE_POINTS
    }
}

/// Never breathes and never stops: for tests, benches and tools that have the core to themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpaced;

impl Pace for Unpaced {
    async fn breathe(&self) {}

    fn cancelled(&self) -> Option<Cancel> {
        None
    }
}

/// Counts work in points, and breathes when it is time.
pub(super) struct Pacer<'a, P> {
    pace: &'a P,
    points: &'a Cell<usize>,
}

impl<P> Clone for Pacer<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Pacer<'_, P> {}

impl<'a, P: Pace> Pacer<'a, P> {
    /// A pacer that counts on in `points`.
    pub(super) fn new(pace: &'a P, points: &'a Cell<usize>) -> Self {
        Self { pace, points }
    }

    /// How many points may be worked through between two breaths.
    pub(super) fn slice(self) -> usize {
        self.pace.slice_points()
    }

    /// Notes that `points` have been worked through, and breathes if it is time.
    pub(super) async fn spend(self, points: usize) -> Result<(), QueryError> {
        let spent = self.points.get() + points;
        if spent < self.pace.slice_points() {
            self.points.set(spent);
            return Ok(());
        }
        self.points.set(0);
        self.pace.breathe().await;
        match self.pace.cancelled() {
            None => Ok(()),
            Some(Cancel::Timeout) => Err(QueryError::Timeout),
            Some(Cancel::Canceled) => Err(QueryError::Canceled),
        }
    }
}

/// Counts an evaluation's work and the samples that it holds.
pub(super) struct Meter<'a, P> {
    pace: &'a P,
    points: Cell<usize>,
    held: Cell<usize>,
    held_max: usize,
    account: &'a Account,
}

impl<'a, P: Pace> Meter<'a, P> {
    /// A meter that lets at most `held_max` samples be held at once, and charges their memory to `account`.
    pub(super) fn new(pace: &'a P, held_max: usize, account: &'a Account) -> Self {
        Self { pace, points: Cell::new(0), held: Cell::new(0), held_max, account }
    }

    /// What the query's memory is charged to.
    pub(super) fn account(&self) -> &'a Account {
        self.account
    }

    /// What counts the work.
    pub(super) fn pacer(&self) -> Pacer<'_, P> {
        Pacer::new(self.pace, &self.points)
    }

    /// Notes that `points` have been worked through, and breathes if it is time.
    pub(super) async fn spend(&self, points: usize) -> Result<(), QueryError> {
        self.pacer().spend(points).await
    }

    /// The most samples that may be held at once.
    pub(super) fn held_max(&self) -> usize {
        self.held_max
    }

    /// How many samples are held.
    pub(super) fn held(&self) -> usize {
        self.held.get()
    }

    /// Notes that `samples` more are held from now on.
    pub(super) fn hold(&self, samples: usize) -> Result<(), QueryError> {
        let held = self.held.get().saturating_add(samples);
        self.held.set(held);
        if held > self.held_max {
            return Err(QueryError::TooManySamples);
        }
        self.account.charge(samples.saturating_mul(SAMPLE_BYTES))
    }

    /// Notes that `samples` that were held are gone.
    pub(super) fn release(&self, samples: usize) {
        self.held.set(self.held.get().saturating_sub(samples));
        self.account.release(samples.saturating_mul(SAMPLE_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::memory::Budget;

    struct Counting {
        breaths: Cell<usize>,
        cancel: Option<Cancel>,
    }

    impl Pace for Counting {
        async fn breathe(&self) {
            self.breaths.set(self.breaths.get() + 1);
        }

        fn cancelled(&self) -> Option<Cancel> {
            self.cancel
        }
    }

    #[test]
    fn work_is_cut_into_slices() {
        let pace = Counting { breaths: Cell::new(0), cancel: None };
        let account = Budget::unlimited().open();
        let meter = Meter::new(&pace, 0, &account);
        futures_lite::future::block_on(async {
            for _ in 0..10 {
                meter.spend(SLICE_POINTS / 4).await.unwrap();
            }
        });
        assert_eq!(pace.breaths.get(), 2);
    }

    #[test]
    fn a_cancelled_evaluation_stops_at_its_next_breath() {
        let pace = Counting { breaths: Cell::new(0), cancel: Some(Cancel::Timeout) };
        let account = Budget::unlimited().open();
        let meter = Meter::new(&pace, 0, &account);
        let spent = futures_lite::future::block_on(meter.spend(SLICE_POINTS));
        assert_eq!(spent, Err(QueryError::Timeout));
    }

    #[test]
    fn what_is_released_can_be_held_again() {
        let account = Budget::unlimited().open();
        let meter = Meter::new(&Unpaced, 10, &account);
        meter.hold(10).unwrap();
        meter.release(4);
        meter.hold(4).unwrap();
        assert_eq!(meter.hold(1), Err(QueryError::TooManySamples));
    }
}
