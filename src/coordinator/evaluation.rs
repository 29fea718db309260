//! One query's hold on the cores: how long it may still run, and that the shards stop when nobody waits any more.

use std::sync::Arc;
use std::time::Duration;

use crate::query::memory::Account;
use crate::query::pace::LOOK_POINTS;
use crate::query::{Cancel, Leaf, Pace};
use crate::rt::clock::Stopwatch;
use crate::rt::pace::Slice;
use crate::shard::{Asking, FoldRequest};

/// A query that is being evaluated. Dropping it tells the shards to stop.
pub struct Evaluation {
    running: Stopwatch,
    timeout: Duration,
    asked: Asked,
    slice: Slice,
}

/// What shards are asked. Dropping it tells them to stop.
#[derive(Debug)]
pub struct Asked(Arc<Asking>);

impl Asked {
    /// A question whose memory is charged to `account`.
    #[must_use]
    pub fn new(account: &Account) -> Self {
        Self(Arc::new(Asking::new(account)))
    }

    /// What the shards look at.
    #[must_use]
    pub fn asking(&self) -> Arc<Asking> {
        Arc::clone(&self.0)
    }

    /// What its memory is charged to.
    #[must_use]
    pub fn account(&self) -> &Account {
        self.0.account()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Evaluation {
    /// A query that begins now and may take `timeout`, and whose memory is charged to `account`.
    #[must_use]
    pub fn begin(timeout: Duration, account: &Account) -> Self {
        let slice = Slice::shared();
        Self { running: Stopwatch::start(), timeout, asked: Asked::new(account), slice }
    }

    /// What the query's memory is charged to.
    #[must_use]
    pub fn account(&self) -> &Account {
        self.asked.account()
    }

    /// What to ask the shards.
    #[must_use]
    pub fn request(&self, leaves: &[Leaf]) -> Arc<FoldRequest> {
        Arc::new(FoldRequest { leaves: leaves.to_vec(), asking: self.asked.asking() })
    }
}

impl Pace for Evaluation {
    async fn breathe(&self) {
        self.slice.breathe_between().await;
    }

    fn slice_points(&self) -> usize {
        LOOK_POINTS
    }

    fn cancelled(&self) -> Option<Cancel> {
        (self.running.elapsed() > self.timeout).then_some(Cancel::Timeout)
    }
}
