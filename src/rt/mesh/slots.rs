//! The calls of one shard that have no answer yet: a table whose places are reused, so that a call allocates nothing
//! once the table has grown to the most calls ever open at a time.

use std::task::{Context, Poll, Waker};

use crate::model::ShardId;
use crate::rt::local::Permit;

/// Open calls by number. `T` is the answer.
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

enum Slot<T> {
    Free,
    /// Sent; the answer is to come. `abandoned`: the caller does not want it any more, but the peer still works on it,
    /// so its permit is not given back before.
    Sent {
        peer: ShardId,
        abandoned: bool,
        waker: Option<Waker>,
        permit: Permit,
    },
    Answered(T),
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Whether every call ever opened is over.
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Takes a place for a call to `peer` that runs under `permit`.
    pub(super) fn open(&mut self, peer: ShardId, permit: Permit) -> u32 {
        let slot = Slot::Sent { peer, abandoned: false, waker: None, permit };
        if let Some(number) = self.free.pop()
            && let Some(place) = self.place(number)
        {
            *place = slot;
            return number;
        }
        let number = u32::try_from(self.slots.len());
        let number = number.expect("permits bound the open calls far below 2^32");
        self.slots.push(slot);
        number
    }

    /// The answer has come. Gives what is to be woken and dropped once the table is no longer borrowed.
    pub(super) fn answer(&mut self, number: u32, answer: T) -> Leftover<T> {
        let Some(place @ Slot::Sent { .. }) = self.place(number) else {
            return Leftover { waker: None, permit: None, answer: Some(answer) };
        };
        match std::mem::replace(place, Slot::Free) {
            Slot::Sent { abandoned: false, waker, permit, .. } => {
                *place = Slot::Answered(answer);
                Leftover { waker, permit: Some(permit), answer: None }
            }
            Slot::Sent { permit, .. } => {
                self.free.push(number);
                Leftover { waker: None, permit: Some(permit), answer: Some(answer) }
            }
            Slot::Free | Slot::Answered(_) => unreachable!("matched above"),
        }
    }

    /// Takes the answer if it has come, and the place is free again.
    pub(super) fn poll(&mut self, number: u32, cx: &mut Context<'_>) -> Poll<T> {
        match self.place(number) {
            Some(Slot::Sent { waker, .. }) => {
                if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            Some(place @ Slot::Answered(_)) => {
                let Slot::Answered(answer) = std::mem::replace(place, Slot::Free) else {
                    unreachable!("matched above")
                };
                self.free.push(number);
                Poll::Ready(answer)
            }
            Some(Slot::Free) | None => panic!("call {number} was polled after it was over"),
        }
    }

    /// The caller has left. Gives the answer, if it had come, to be dropped outside.
    pub(super) fn abandon(&mut self, number: u32) -> Option<T> {
        let place = self.place(number)?;
        if let Slot::Sent { abandoned, waker, .. } = place {
            *abandoned = true;
            *waker = None;
            return None;
        }
        let Slot::Answered(answer) = std::mem::replace(place, Slot::Free) else { return None };
        self.free.push(number);
        Some(answer)
    }

    /// The numbers of the calls that wait for `peer`.
    pub(super) fn sent_to(&self, peer: ShardId) -> Vec<u32> {
        let waits = |slot: &Slot<T>| matches!(slot, Slot::Sent { peer: to, .. } if *to == peer);
        (0u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| waits(slot))
            .map(|(number, _)| number)
            .collect()
    }

    fn place(&mut self, number: u32) -> Option<&mut Slot<T>> {
        self.slots.get_mut(usize::try_from(number).ok()?)
    }
}

/// What an answer leaves behind. Waking, giving back a permit and dropping a value may run code of others.
pub(super) struct Leftover<T> {
    waker: Option<Waker>,
    permit: Option<Permit>,
    answer: Option<T>,
}

impl<T> Leftover<T> {
    /// To be called with no borrow held.
    pub(super) fn settle(self) {
        drop(self.permit);
        drop(self.answer);
        if let Some(waker) = self.waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_fn};

    use super::*;
    use crate::rt::local::Semaphore;

    const PEER: ShardId = ShardId(1);

    #[test]
    fn an_answer_reaches_its_call_and_frees_its_place() {
        let window = Semaphore::new(2);
        let mut slots = Slots::new();
        let a = slots.open(PEER, window.try_acquire(1).unwrap());
        let b = slots.open(PEER, window.try_acquire(1).unwrap());
        slots.answer(b, "b").settle();
        assert_eq!(window.free(), 1);
        assert_eq!(block_on(poll_fn(|cx| slots.poll(b, cx))), "b");
        assert_eq!(slots.open(PEER, window.try_acquire(1).unwrap()), b, "reused");
        assert_eq!(slots.sent_to(PEER), [a, b]);
    }

    #[test]
    fn an_abandoned_call_keeps_its_permit_until_the_answer() {
        let window = Semaphore::new(1);
        let mut slots = Slots::new();
        let call = slots.open(PEER, window.try_acquire(1).unwrap());
        assert_eq!(slots.abandon(call), None);
        assert_eq!((window.free(), slots.is_empty()), (0, false), "the peer still works on it");
        slots.answer(call, 7).settle();
        assert_eq!((window.free(), slots.is_empty()), (1, true));
    }

    #[test]
    fn abandoning_an_answered_call_gives_the_answer_back() {
        let window = Semaphore::new(1);
        let mut slots = Slots::new();
        let call = slots.open(PEER, window.try_acquire(1).unwrap());
        slots.answer(call, 7).settle();
        assert_eq!(slots.abandon(call), Some(7));
        assert!(slots.is_empty());
    }

    #[test]
    fn a_second_answer_changes_nothing() {
        let window = Semaphore::new(1);
        let mut slots = Slots::new();
        let call = slots.open(PEER, window.try_acquire(1).unwrap());
        slots.answer(call, 7).settle();
        slots.answer(call, 8).settle();
        slots.answer(99, 9).settle();
        assert_eq!(block_on(poll_fn(|cx| slots.poll(call, cx))), 7);
    }
}
