//! One query's hold on the cores: how long it may still run, and that the shards stop when nobody waits any more.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::query::memory::{Account, Budget};
use crate::query::pace::SLICE_POINTS;
use crate::query::{Cancel, Leaf, Pace};
use crate::rt::clock::Stopwatch;
use crate::rt::pace::{Sharer, Slice};
use crate::shard::FoldRequest;

/// A query that is being evaluated. Dropping it tells the shards to stop.
pub struct Evaluation {
    running: Stopwatch,
    timeout: Duration,
    account: Account,
    asked: RefCell<Option<Arc<FoldRequest>>>,
}

impl Evaluation {
    /// A query that begins now and may take `timeout`, and memory of `budget`.
    #[must_use]
    pub fn begin(timeout: Duration, budget: &Budget) -> Self {
        let (account, asked) = (budget.open(), RefCell::new(None));
        Self { running: Stopwatch::start(), timeout, account, asked }
    }

    /// What the query's memory is charged to.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// What to ask the shards.
    #[must_use]
    pub fn request(&self, leaves: &[Leaf]) -> Arc<FoldRequest> {
        let request = Arc::new(FoldRequest {
            leaves: leaves.to_vec(),
            account: self.account.clone(),
            cancelled: AtomicBool::new(false),
        });
        *self.asked.borrow_mut() = Some(Arc::clone(&request));
        request
    }
}

impl Drop for Evaluation {
    fn drop(&mut self) {
        if let Some(request) = self.asked.get_mut() {
            request.cancelled.store(true, Ordering::Relaxed);
        }
    }
}

impl Pace for Evaluation {
    async fn breathe(&self) {
        // The engine asks every few ten microseconds of work and cannot hold a slice across its own calls: a short wait
        // each time lets everybody else run.
        Slice::pause().await;
    }

    fn slice_points(&self) -> usize {
        Sharer::part_of(SLICE_POINTS)
    }

    fn cancelled(&self) -> Option<Cancel> {
        (self.running.elapsed() > self.timeout).then_some(Cancel::Timeout)
    }
}
