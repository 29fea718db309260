//! Something that happens once: many tasks may wait for it, and who comes late does not wait at all.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Unset until [`Event::set`], set ever after. Clones are the same event.
#[derive(Clone, Default)]
pub struct Event {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    set: Cell<bool>,
    /// One place a waiter; a place left empty is reused.
    waiters: RefCell<Vec<Option<Waker>>>,
}

impl Event {
    /// An event that has not happened.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// It has happened: wakes who waits. Again is the same as once.
    pub fn set(&self) {
        self.inner.set.set(true);
        let waiters = std::mem::take(&mut *self.inner.waiters.borrow_mut());
        waiters.into_iter().flatten().for_each(Waker::wake);
    }

    /// Has it happened?
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.inner.set.get()
    }

    /// Resolves when it has happened. May be dropped at any time, and polled beside other futures.
    #[must_use]
    pub fn wait(&self) -> EventWait {
        EventWait { inner: Rc::clone(&self.inner), place: None }
    }
}

/// The future of [`Event::wait`].
pub struct EventWait {
    inner: Rc<Inner>,
    place: Option<usize>,
}

impl Future for EventWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.inner.set.get() {
            return Poll::Ready(());
        }
        let inner = Rc::clone(&self.inner);
        let mut waiters = inner.waiters.borrow_mut();
        let place = self.place.or_else(|| waiters.iter().position(Option::is_none));
        match place.and_then(|place| waiters.get_mut(place)) {
            Some(waiter) => *waiter = Some(cx.waker().clone()),
            None => waiters.push(Some(cx.waker().clone())),
        }
        self.place = Some(place.unwrap_or(waiters.len() - 1));
        Poll::Pending
    }
}

impl Drop for EventWait {
    fn drop(&mut self) {
        if let Some(place) = self.place
            && let Some(waiter) = self.inner.waiters.borrow_mut().get_mut(place)
        {
            *waiter = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn everybody_who_waits_is_released() {
        let event = Event::new();
        let (mut a, mut b) = (event.wait(), event.wait());
        assert!(block_on(poll_once(&mut a)).is_none() && block_on(poll_once(&mut b)).is_none());
        event.set();
        block_on(a);
        block_on(b);
    }

    #[test]
    fn who_comes_late_does_not_wait() {
        let event = Event::new();
        event.set();
        assert!(event.is_set());
        block_on(event.wait());
    }

    #[test]
    fn waiting_again_and_again_takes_no_more_room() {
        let event = Event::new();
        let mut patient = event.wait();
        for _ in 0..1000 {
            assert!(block_on(poll_once(&mut patient)).is_none());
            assert!(block_on(poll_once(event.wait())).is_none());
        }
        assert_eq!(event.inner.waiters.borrow().len(), 2);
    }
}
