//! "Look again": one task waits, others tell it that there may be something to do.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Remembers that somebody called [`Notify::notify`] until the one waiter has seen it; many calls make one wake-up.
#[derive(Default)]
pub struct Notify {
    told: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Notify {
    /// Nothing to do yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Releases the waiter, or the next one to come.
    pub fn notify(&self) {
        self.told.set(true);
        let waiter = self.waiter.borrow_mut().take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// Resolves once [`Notify::notify`] was called after the last time this resolved. There is one waiter at a time:
    /// of two, only the one polled last is woken.
    pub fn wait(&self) -> Notified<'_> {
        Notified { notify: self }
    }
}

/// The future of [`Notify::wait`].
pub struct Notified<'a> {
    notify: &'a Notify,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.notify.told.take() {
            return Poll::Ready(());
        }
        *self.notify.waiter.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn a_call_before_the_wait_is_not_lost() {
        let notify = Notify::new();
        notify.notify();
        notify.notify();
        block_on(notify.wait());
        assert!(block_on(poll_once(notify.wait())).is_none(), "two calls are one");
    }

    #[test]
    fn a_call_during_the_wait_ends_it() {
        let notify = Notify::new();
        let mut wait = notify.wait();
        assert!(block_on(poll_once(&mut wait)).is_none());
        notify.notify();
        block_on(wait);
    }
}
