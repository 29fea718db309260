//! Until when a peer has to have sent or taken something.
//!
//! glommio's own timeouts of a stream leave an entry behind for every stream that is dropped while it waits, so a
//! deadline here has a timer of its own, which goes with it.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use glommio::timer::Timer;

/// Until when the peer of a [`super::Stream`] has to have sent what is read next: for whoever serves the stream, as
/// the stream itself does not know where a request ends. There is none at first. Clones are the same deadline.
#[derive(Clone, Debug, Default)]
pub struct ReadDeadline {
    at: Rc<Cell<Option<Instant>>>,
}

impl ReadDeadline {
    /// From now on, reads fail with `TimedOut` once `limit` has passed. Bytes that arrive do not move it, so that a
    /// peer cannot hold a connection by sending one byte at a time.
    pub fn within(&self, limit: Duration) {
        self.at.set(Instant::now().checked_add(limit));
    }

    /// There is no deadline any more: while a request is worked on, say.
    pub fn lift(&self) {
        self.at.set(None);
    }

    pub(super) fn get(&self) -> Option<Instant> {
        self.at.get()
    }
}

/// Wakes a task when a deadline has passed. A deadline that moves away costs nothing: the timer that is set fires, and
/// is set again for what is left.
#[derive(Default)]
pub(super) struct Alarm {
    set: Option<Set>,
}

struct Set {
    at: Instant,
    waker: Waker,
    /// Held for its drop, which takes it out of the executor's list.
    _timer: Timer,
}

impl Alarm {
    /// Ready if `deadline` has passed; otherwise the task of `cx` will be woken then, or before.
    pub(super) fn poll(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline else {
            self.set = None;
            return Poll::Pending;
        };
        let now = Instant::now();
        let Some(left) = deadline.checked_duration_since(now).filter(|left| !left.is_zero()) else {
            return Poll::Ready(());
        };
        let serves =
            |set: &Set| now < set.at && set.at <= deadline && set.waker.will_wake(cx.waker());
        if !self.set.as_ref().is_some_and(serves) {
            let mut timer = Timer::new(left);
            if Pin::new(&mut timer).poll(cx).is_ready() {
                return Poll::Ready(());
            }
            self.set = Some(Set { at: deadline, waker: cx.waker().clone(), _timer: timer });
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::rt::executor::testing::on_one_shard;

    #[test]
    fn an_alarm_goes_off_although_its_deadline_was_moved_away_once() {
        on_one_shard(|_| async {
            let mut alarm = Alarm::default();
            let deadline = ReadDeadline::default();
            deadline.within(Duration::from_millis(1));
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                let polled = alarm.poll(deadline.get(), cx);
                if polls == 1 {
                    deadline.within(Duration::from_millis(3));
                }
                polled
            })
            .await;
            assert!(polls >= 2);
        });
    }

    #[test]
    fn a_lifted_deadline_never_passes() {
        on_one_shard(|_| async {
            let deadline = ReadDeadline::default();
            deadline.within(Duration::ZERO);
            let mut alarm = Alarm::default();
            let passed =
                futures_lite::future::poll_once(poll_fn(|cx| alarm.poll(deadline.get(), cx)));
            assert!(passed.await.is_some());
            deadline.lift();
            let passed =
                futures_lite::future::poll_once(poll_fn(|cx| alarm.poll(deadline.get(), cx)));
            assert!(passed.await.is_none());
        });
    }
}
