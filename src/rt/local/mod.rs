//! What tasks of one shard wait for each other with. Nothing here crosses cores, and nothing here knows the executor:
//! a waiter holds at most one waker at a time however often it is polled, so a waker list cannot grow (rule R7 of
//! [`crate::rt`]).

mod event;
mod notify;
mod oneshot;
mod semaphore;

pub use event::{Event, EventWait};
pub use notify::{Notified, Notify};
pub use oneshot::{Dropped, OneshotReceiver, OneshotSender, oneshot};
pub use semaphore::{Acquire, Permit, Semaphore};
