//! Waiting for time to pass.

use std::future::Future;
use std::time::{Duration, Instant};

/// The time given was up before the future was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not done within {limit:?}")]
pub struct Elapsed {
    /// The time that was given.
    pub limit: Duration,
}

/// Resolves after `duration`. Wakes late by 10 to 200 us, and by as long as another task works without a pause.
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// What `future` gives, or [`Elapsed`] after `limit`, when the future is dropped. A future that is done at once needs
/// no timer. Not to be put around a receive from a glommio channel (rule R7).
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let done = async { Ok(future.await) };
    let late = async {
        sleep(limit).await;
        Err(Elapsed { limit })
    };
    futures_lite::future::or(done, late).await
}

/// Ticks at a fixed period. A tick that comes late does not move the ones after it; ticks that were missed are left out.
#[derive(Debug)]
pub struct Interval {
    period: Duration,
    next: Instant,
}

impl Interval {
    /// Ticks every `period`, which is not zero, first one period from now.
    #[must_use]
    pub fn new(period: Duration) -> Self {
        assert!(!period.is_zero(), "an interval takes time");
        Self { period, next: Instant::now() + period }
    }

    /// Resolves at the next tick.
    pub async fn tick(&mut self) {
        let now = Instant::now();
        if let Some(wait) = self.next.checked_duration_since(now) {
            sleep(wait).await;
        }
        self.next = following(self.next, self.period, Instant::now());
    }
}

/// The first instant after `now` that is a whole number of periods after `last`.
fn following(last: Instant, period: Duration, now: Instant) -> Instant {
    let late = now.saturating_duration_since(last);
    let missed = late.as_nanos() / period.as_nanos();
    last + period.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX - 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::executor::testing::on_one_shard;

    #[test]
    fn a_future_that_is_never_done_runs_out_of_time() {
        on_one_shard(|_| async {
            let limit = Duration::from_millis(1);
            let outcome = timeout(limit, std::future::pending::<()>()).await;
            assert_eq!(outcome, Err(Elapsed { limit }));
        });
    }

    #[test]
    fn a_future_that_is_done_gives_its_value() {
        on_one_shard(|_| async {
            assert_eq!(timeout(Duration::from_secs(3600), async { 7 }).await, Ok(7));
        });
    }

    #[test]
    fn missed_ticks_are_left_out() {
        let (start, period) = (Instant::now(), Duration::from_secs(10));
        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!(following(start, period, at(0)), at(10));
        assert_eq!(following(start, period, at(9)), at(10));
        assert_eq!(following(start, period, at(10)), at(20));
        assert_eq!(following(start, period, at(35)), at(40));
    }
}
