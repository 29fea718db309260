//! A question that may be long: what its memory is charged to, and whether anybody waits for its answer still.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use crate::query::QueryError;
use crate::query::memory::Account;

/// A question that may be long. All shards that are asked it share one.
#[derive(Debug)]
pub struct Asking {
    account: Account,
    cancelled: AtomicBool,
}

impl Asking {
    /// A question whose memory is charged to `account`.
    #[must_use]
    pub fn new(account: &Account) -> Self {
        Self { account: account.clone(), cancelled: AtomicBool::new(false) }
    }

    /// What its memory is charged to.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Nobody waits for the answer any more.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Does nobody wait for the answer any more?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// What `work` comes to. When nobody waits for that any more, it is not gone on with after its next pause.
    ///
    /// # Errors
    /// Those of `work`, and that it was cancelled.
    pub(super) async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, QueryError>>,
    ) -> Result<T, QueryError> {
        let mut work = pin!(work);
        poll_fn(|cx| match self.is_cancelled() {
            true => Poll::Ready(Err(QueryError::Canceled)),
            false => work.as_mut().poll(cx),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::memory::Budget;

    #[test] // a selection over very many series used to go on to its end when its client had left
    fn work_that_nobody_waits_for_stops_at_its_next_pause() {
        let asking = Asking::new(&Budget::unlimited().open());
        let mut steps = 0;
        let work = async {
            for step in 0..10 {
                steps += 1;
                if step == 3 {
                    asking.cancel();
                }
                futures_lite::future::yield_now().await;
            }
            Ok(())
        };
        let done = futures_lite::future::block_on(asking.unless_cancelled(work));
        assert_eq!((done, steps), (Err(QueryError::Canceled), 4));
    }
}
