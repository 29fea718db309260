//! One value from one task to another.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The sender went away without sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task that owed this answer ended without giving it")]
pub struct Dropped;

enum State<T> {
    Empty(Option<Waker>),
    Full(T),
    /// The sender is gone and there is nothing (more) to take.
    Over,
}

/// Gives the value, once.
pub struct OneshotSender<T> {
    state: Rc<RefCell<State<T>>>,
}

/// The future of the value.
pub struct OneshotReceiver<T> {
    state: Rc<RefCell<State<T>>>,
}

/// The two ends of a value that is to come.
#[must_use]
pub fn oneshot<T>() -> (OneshotSender<T>, OneshotReceiver<T>) {
    let state = Rc::new(RefCell::new(State::Empty(None)));
    (OneshotSender { state: Rc::clone(&state) }, OneshotReceiver { state })
}

impl<T> OneshotSender<T> {
    /// Hands the value over. If nobody waits for it any more it comes back as the error.
    pub fn send(self, value: T) -> Result<(), T> {
        if Rc::strong_count(&self.state) == 1 {
            return Err(value);
        }
        release(&self.state, State::Full(value));
        Ok(())
    }
}

impl<T> Drop for OneshotSender<T> {
    fn drop(&mut self) {
        if matches!(&*self.state.borrow(), State::Empty(_)) {
            release(&self.state, State::Over);
        }
    }
}

fn release<T>(state: &RefCell<State<T>>, to: State<T>) {
    let before = state.replace(to);
    if let State::Empty(Some(waker)) = before {
        waker.wake();
    }
}

impl<T> Future for OneshotReceiver<T> {
    type Output = Result<T, Dropped>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.state.borrow_mut();
        if let State::Empty(waker) = &mut *state {
            *waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match std::mem::replace(&mut *state, State::Over) {
            State::Full(value) => Poll::Ready(Ok(value)),
            State::Empty(_) | State::Over => Poll::Ready(Err(Dropped)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn what_is_sent_arrives() {
        let (sender, mut receiver) = oneshot();
        assert!(block_on(poll_once(&mut receiver)).is_none());
        assert_eq!(sender.send(7), Ok(()));
        assert_eq!(block_on(receiver), Ok(7));
    }

    #[test]
    fn a_sender_that_leaves_is_an_error_not_a_hang() {
        let (sender, mut receiver) = oneshot::<u8>();
        assert!(block_on(poll_once(&mut receiver)).is_none());
        drop(sender);
        assert_eq!(block_on(receiver), Err(Dropped));
    }

    #[test]
    fn a_value_nobody_waits_for_comes_back() {
        let (sender, receiver) = oneshot();
        drop(receiver);
        assert_eq!(sender.send(7), Err(7));
    }
}
