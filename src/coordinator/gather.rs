//! Waits for all of several answers at once.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// What the futures give, in their order. All are begun before the first is awaited.
pub async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    enum Slot<F: Future> {
        Waiting(Pin<Box<F>>),
        Done(F::Output),
    }
    let mut slots: Vec<Slot<F>> =
        futures.into_iter().map(|future| Slot::Waiting(Box::pin(future))).collect();
    // The outputs are only moved, and only when nothing borrows them; boxed futures may move as well.
    let slots = &mut slots;
    let mut slots_done = poll_fn(move |cx| {
        let mut pending = false;
        for slot in slots.iter_mut() {
            if let Slot::Waiting(future) = slot {
                match future.as_mut().poll(cx) {
                    Poll::Ready(output) => *slot = Slot::Done(output),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(std::mem::take(slots)) }
    })
    .await;
    let outputs = slots_done.drain(..).filter_map(|slot| match slot {
        Slot::Done(output) => Some(output),
        Slot::Waiting(_) => None,
    });
    outputs.collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::rt::local::oneshot;

    #[test]
    fn answers_keep_their_order_whoever_is_first() {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::<u32>()).unzip();
        let gathered = Cell::new(None);
        futures_lite::future::block_on(futures_lite::future::zip(
            async { gathered.set(Some(all(receivers).await)) },
            async {
                for (i, sender) in (0..3).zip(senders).rev() {
                    sender.send(i).unwrap();
                    futures_lite::future::yield_now().await;
                }
            },
        ));
        assert_eq!(gathered.take().unwrap(), [Ok(0), Ok(1), Ok(2)]);
    }

    #[test]
    fn nothing_to_wait_for_is_no_wait() {
        assert!(
            futures_lite::future::block_on(all(Vec::<std::future::Ready<()>>::new())).is_empty()
        );
    }
}
