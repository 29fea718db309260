//! A bounded number of permits: what keeps a queue, the bytes in flight or the calls to a peer within bounds.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Hands out permits, first come first served: a large wish is not overtaken by small ones for ever. Clones are the
/// same semaphore.
#[derive(Clone)]
pub struct Semaphore {
    inner: Rc<Inner>,
}

struct Inner {
    permits_max: u64,
    free: Cell<u64>,
    closed: Cell<bool>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
}

struct Waiter {
    permits: u64,
    /// The permits are this waiter's: taken from `free` on its behalf.
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Semaphore {
    /// A semaphore with `permits_max` permits, all free.
    #[must_use]
    pub fn new(permits_max: u64) -> Self {
        let inner = Inner {
            permits_max,
            free: Cell::new(permits_max),
            closed: Cell::new(false),
            waiting: RefCell::default(),
        };
        Self { inner: Rc::new(inner) }
    }

    /// How many permits nobody holds.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.inner.free.get()
    }

    /// Takes `permits` now, or `None` if they are not free, somebody waits before us, or the semaphore is closed. A
    /// wish for more than there are counts as one for all of them: what is larger than the bound passes alone.
    #[must_use]
    pub fn try_acquire(&self, permits: u64) -> Option<Permit> {
        let permits = permits.min(self.inner.permits_max);
        if self.inner.closed.get() || !self.inner.waiting.borrow().is_empty() {
            return None;
        }
        self.inner.free.set(self.inner.free.get().checked_sub(permits)?);
        Some(Permit { inner: Rc::clone(&self.inner), permits })
    }

    /// Waits for `permits`, counted as in [`Semaphore::try_acquire`]; `None` once the semaphore is closed. Dropping
    /// the future gives up the place in the queue, or the permits if they were just granted.
    #[must_use]
    pub fn acquire(&self, permits: u64) -> Acquire {
        let permits = permits.min(self.inner.permits_max);
        Acquire { inner: Rc::clone(&self.inner), permits, waiter: None }
    }

    /// Nobody gets a permit any more; who waits for one gets `None`. Permits that are out stay valid.
    pub fn close(&self) {
        self.inner.closed.set(true);
        let waiting = std::mem::take(&mut *self.inner.waiting.borrow_mut());
        waiting.iter().for_each(|waiter| waiter.wake());
    }
}

impl Waiter {
    fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Inner {
    fn give_back(&self, permits: u64) {
        self.free.set(self.free.get() + permits);
        self.grant();
    }

    /// Serves the queue from its front for as long as there is enough.
    fn grant(&self) {
        loop {
            let next = {
                let mut waiting = self.waiting.borrow_mut();
                let enough = |waiter: &&Rc<Waiter>| waiter.permits <= self.free.get();
                if waiting.front().filter(enough).is_none() {
                    return;
                }
                waiting.pop_front()
            };
            let Some(next) = next else { return };
            self.free.set(self.free.get() - next.permits);
            next.granted.set(true);
            next.wake();
        }
    }
}

/// The right to `permits` of the bound, given back when dropped.
pub struct Permit {
    inner: Rc<Inner>,
    permits: u64,
}

impl Permit {
    /// How many permits these are.
    #[must_use]
    pub fn permits(&self) -> u64 {
        self.permits
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inner.give_back(self.permits);
    }
}

/// The future of [`Semaphore::acquire`].
pub struct Acquire {
    inner: Rc<Inner>,
    permits: u64,
    waiter: Option<Rc<Waiter>>,
}

impl Future for Acquire {
    type Output = Option<Permit>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(waiter) = &self.waiter {
            if waiter.granted.take() {
                self.waiter = None;
                let permit = Permit { inner: Rc::clone(&self.inner), permits: self.permits };
                return Poll::Ready(Some(permit));
            }
            if self.inner.closed.get() {
                return Poll::Ready(None);
            }
            *waiter.waker.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.inner.closed.get() {
            return Poll::Ready(None);
        }
        let semaphore = Semaphore { inner: Rc::clone(&self.inner) };
        if let Some(permit) = semaphore.try_acquire(self.permits) {
            return Poll::Ready(Some(permit));
        }
        let waiter = Rc::new(Waiter {
            permits: self.permits,
            granted: Cell::new(false),
            waker: RefCell::new(Some(cx.waker().clone())),
        });
        self.inner.waiting.borrow_mut().push_back(Rc::clone(&waiter));
        self.waiter = Some(waiter);
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        if waiter.granted.get() {
            self.inner.give_back(waiter.permits);
        } else {
            self.inner.waiting.borrow_mut().retain(|other| !Rc::ptr_eq(other, &waiter));
            // The one behind may want less than we did.
            self.inner.grant();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn permits_come_back_when_dropped() {
        let semaphore = Semaphore::new(3);
        let two = semaphore.try_acquire(2).unwrap();
        assert!(semaphore.try_acquire(2).is_none());
        assert_eq!((semaphore.free(), two.permits()), (1, 2));
        drop(two);
        assert_eq!(semaphore.free(), 3);
    }

    #[test]
    fn a_large_wish_is_not_overtaken_by_a_small_one() {
        let semaphore = Semaphore::new(2);
        let one = semaphore.try_acquire(1).unwrap();
        let mut large = semaphore.acquire(2);
        assert!(block_on(poll_once(&mut large)).is_none());
        assert!(semaphore.try_acquire(1).is_none(), "one is free, but somebody waits");
        drop(one);
        assert_eq!(block_on(large).unwrap().permits(), 2);
    }

    #[test]
    fn a_wish_beyond_the_bound_passes_alone() {
        let semaphore = Semaphore::new(2);
        let one = semaphore.try_acquire(1).unwrap();
        assert!(semaphore.try_acquire(100).is_none());
        drop(one);
        assert_eq!(semaphore.try_acquire(100).unwrap().permits(), 2);
    }

    #[test]
    fn a_waiter_that_leaves_lets_the_next_one_pass() {
        let semaphore = Semaphore::new(2);
        let _one = semaphore.try_acquire(1).unwrap();
        let (mut large, mut small) = (semaphore.acquire(2), semaphore.acquire(1));
        assert!(block_on(poll_once(&mut large)).is_none());
        assert!(block_on(poll_once(&mut small)).is_none());
        drop(large);
        assert!(block_on(small).is_some());
    }

    #[test]
    fn a_waiter_that_leaves_after_the_grant_returns_it() {
        let semaphore = Semaphore::new(1);
        let held = semaphore.try_acquire(1).unwrap();
        let mut wait = semaphore.acquire(1);
        assert!(block_on(poll_once(&mut wait)).is_none());
        drop(held);
        assert_eq!(semaphore.free(), 0, "granted");
        drop(wait);
        assert_eq!(semaphore.free(), 1);
    }

    #[test]
    fn closing_releases_who_waits_with_nothing() {
        let semaphore = Semaphore::new(1);
        let _held = semaphore.try_acquire(1).unwrap();
        let mut wait = semaphore.acquire(1);
        assert!(block_on(poll_once(&mut wait)).is_none());
        semaphore.close();
        assert!(block_on(wait).is_none());
        assert!(block_on(semaphore.acquire(1)).is_none());
    }
}
