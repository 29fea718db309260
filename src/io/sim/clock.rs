//! Time that only a test moves.

use std::cell::Cell;
use std::rc::Rc;

use crate::io::{Clock, Pace};
use crate::model::TimestampMs;

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct SimClock(Rc<Cell<TimestampMs>>);

impl SimClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: TimestampMs) -> Self {
        Self(Rc::new(Cell::new(now)))
    }

    /// Moves the clock on by `ms` milliseconds.
    pub fn advance(&self, ms: i64) {
        self.0.set(self.0.get().saturating_add(ms));
    }
}

impl Clock for SimClock {
    fn now(&self) -> TimestampMs {
        self.0.get()
    }
}

/// Nobody else waits for the core of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct NoPace;

impl Pace for NoPace {
    async fn breathe(&mut self) {}
}
