//! Waiting for time to pass.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_lite::future::{poll_once, yield_now};
use glommio::timer::Timer;

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

/// Tasks that one event of a socket, a disk or another core wakes one after the other, each by the one before it.
const HOPS: usize = 8;

/// Resolves when the executor has looked at sockets, disks, timers and other cores, and whoever was woken by that has run.
/// Unlike [`sleep`] it does not put the thread to sleep in between, which costs a barrier on all cores and a timer's interrupt.
pub async fn look_around() {
    // While any task is runnable the executor looks at nothing, so this one must wait, for a timer: one that is not due
    // when it is polled, or it would not wait, and that is due before the executor looks, or the thread would sleep.
    let mut timer = Timer::new(Duration::from_secs(3600));
    if poll_once(&mut timer).await.is_none() {
        timer.reset(Duration::ZERO);
        // Polled by now, the timer would be done.
        let mut has_waited = false;
        let woken = poll_fn(|_| match std::mem::replace(&mut has_waited, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        woken.await;
    }
    for _ in 0..HOPS {
        yield_now().await;
    }
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
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::rt::executor::testing::on_one_shard;
    use crate::rt::task;

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

    /// It once did not wait at all: whoever else had something to do waited for the preemption timer, 10 s.
    #[test]
    fn looking_around_wakes_whoever_is_due_at_once() {
        on_one_shard(|_| async {
            let woken = Rc::new(Cell::new(false));
            let seen = Rc::clone(&woken);
            let waiter = task::spawn("waiter", async move {
                sleep(Duration::from_millis(1)).await;
                seen.set(true);
            });
            yield_now().await;
            let due = Instant::now() + Duration::from_millis(2);
            while Instant::now() < due {}
            look_around().await;
            assert!(woken.get());
            waiter.await.unwrap();
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
