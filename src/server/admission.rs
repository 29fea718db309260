//! Who may come in: bytes of writes in flight, bounded for each core and for the server.
//!
//! A write is weighed before its body is read: what it declares, and what that will probably unpack to. If a bound
//! would be passed it waits for a moment, in order of coming, while its body stays with the sender; if too many wait
//! already it is refused there and then, which costs next to nothing. Without the order, senders that come back a second
//! after they were refused would find the room taken by those that never waited, again and again. A body whose length
//! is not declared pays as it arrives, and each pays the difference when its true size is known. What is held is given
//! back when the [`Reservation`] is dropped, on whichever path that happens.
//!
//! Invariants: what is reserved on a core never exceeds the core's bound, nor all cores' together the server's; nor
//! does what waits on a core exceed the core's bound.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::rt::local::{Notify, Semaphore};
use crate::rt::timer;

/// What a compressed byte of remote write usually unpacks to: 7 bytes with snappy, 9 with zstd.
const UNPACKED_RATIO: usize = 8;

/// How long a request may wait for room. A sender that hears nothing for longer may rather come back.
const WAITING_MAX: Duration = Duration::from_millis(500);
/// How often the first in line looks whether another core has left room in the server's budget.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// No room for a request now; there will be when those before it are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overloaded {
    /// This core holds all it may.
    #[error("this core holds {held} bytes of writes in flight and may hold {max}")]
    Core {
        /// What it holds.
        held: usize,
        /// What it may hold.
        max: usize,
    },
    /// As much waits for room on this core as it may hold.
    #[error("writes of {waiting} bytes wait for room on this core already, which may hold {max}")]
    Line {
        /// What waits.
        waiting: usize,
        /// What it may hold.
        max: usize,
    },
    /// The server holds all it may.
    #[error("the server holds {held} bytes of writes in flight and may hold {max}")]
    Server {
        /// What it holds.
        held: usize,
        /// What it may hold.
        max: usize,
    },
}

/// The server's budget: all cores count on it.
#[derive(Debug)]
pub struct ServerBudget {
    held: AtomicUsize,
    max: usize,
}

/// One core's budget.
pub struct Admission {
    server: Arc<ServerBudget>,
    held: Cell<usize>,
    max: usize,
    /// What those in line want, in bytes.
    wanted: Cell<usize>,
    /// One permit: the first in line has it.
    line: Semaphore,
    /// Told when something is given back.
    freed: Notify,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { held, max, wanted, .. } = self;
        f.debug_struct("Admission")
            .field("held", held)
            .field("max", max)
            .field("wanted", wanted)
            .finish_non_exhaustive()
    }
}

/// Bytes that were admitted; gives them back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    admission: Rc<Admission>,
    bytes: usize,
}

impl ServerBudget {
    /// A budget of `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), max })
    }

    /// What all cores hold now, in bytes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> Result<(), Overloaded> {
        let take = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.max);
        match self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(held) => Err(Overloaded::Server { held, max: self.max }),
        }
    }

    fn give_back(&self, bytes: usize) {
        let before = self.held.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "gave back {bytes} bytes of {before} that were held");
    }
}

impl Admission {
    /// This core's budget of `max` bytes, within the server's.
    #[must_use]
    pub fn new(server: Arc<ServerBudget>, max: usize) -> Rc<Self> {
        let (held, wanted) = (Cell::new(0), Cell::new(0));
        Rc::new(Self { server, held, max, wanted, line: Semaphore::new(1), freed: Notify::new() })
    }

    /// What this core holds now, in bytes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.get()
    }

    /// Takes `bytes` from both budgets when those who came before have theirs, and there is room.
    ///
    /// - `patience`: how long to wait for that; no longer than half a second in any case.
    ///
    /// # Errors
    /// The budget that has had no room for so long; at once if as much is waited for as this core may hold. Dropping the
    /// future gives up the place in line.
    pub async fn admit(
        self: &Rc<Self>,
        bytes: usize,
        patience: Duration,
    ) -> Result<Reservation, Overloaded> {
        let full = match self.wanted.get() {
            0 => match self.reserve(bytes) {
                Ok(reservation) => return Ok(reservation),
                Err(full) => full,
            },
            waiting => Overloaded::Line { waiting, max: self.max },
        };
        let wanted = self.wanted.get().checked_add(bytes).filter(|wanted| *wanted <= self.max);
        self.wanted.set(wanted.ok_or(full)?);
        let _in_line = InLine { admission: self, bytes };
        let admitted = async {
            let _first = self.line.acquire(1).await;
            loop {
                match self.reserve(bytes) {
                    Ok(reservation) => return reservation,
                    // Whether something was freed or time has passed: look again.
                    Err(_) => drop(timer::timeout(LOOK_AGAIN, self.freed.wait()).await),
                }
            }
        };
        timer::timeout(patience.min(WAITING_MAX), admitted).await.map_err(|_| full)
    }

    /// Takes `bytes` from both budgets, whoever waits.
    ///
    /// # Errors
    /// The budget that has no room.
    pub fn reserve(self: &Rc<Self>, bytes: usize) -> Result<Reservation, Overloaded> {
        let mut reservation = Reservation { admission: Rc::clone(self), bytes: 0 };
        reservation.resize(bytes)?;
        Ok(reservation)
    }

    fn take(&self, bytes: usize) -> Result<(), Overloaded> {
        let held = self.held.get();
        let after = held.checked_add(bytes).filter(|after| *after <= self.max);
        let after = after.ok_or(Overloaded::Core { held, max: self.max })?;
        self.server.take(bytes)?;
        self.held.set(after);
        Ok(())
    }

    fn give_back(&self, bytes: usize) {
        self.held.set(self.held.get() - bytes);
        self.server.give_back(bytes);
        // A reservation that was not granted gives nothing back: whoever looks again must not wake himself by it.
        if bytes > 0 {
            self.freed.notify();
        }
    }
}

/// A wish, for as long as it waits.
struct InLine<'a> {
    admission: &'a Admission,
    bytes: usize,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.admission.wanted.set(self.admission.wanted.get() - self.bytes);
    }
}

impl Reservation {
    /// Holds `bytes` from now on, more or fewer than before.
    ///
    /// # Errors
    /// More, and there is no room: it then holds what it held.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Overloaded> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.admission.take(more)?,
            None => self.admission.give_back(self.bytes - bytes),
        }
        self.bytes = bytes;
        Ok(())
    }

    /// What it holds, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.admission.give_back(self.bytes);
    }
}

/// What a body of `body_bytes` will hold while it is worked on: itself and what it probably unpacks to, of which there
/// are at most `unpacked_bytes_max`.
#[must_use]
pub fn weight(body_bytes: usize, unpacked_bytes_max: usize) -> usize {
    let unpacked = body_bytes.saturating_mul(UNPACKED_RATIO).min(unpacked_bytes_max);
    body_bytes.saturating_add(unpacked)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;
    use crate::rt::executor::testing::on_one_shard;
    use crate::rt::task::{self, JoinHandle};

    #[test]
    fn a_core_at_its_bound_refuses_until_something_is_given_back() {
        let core = Admission::new(ServerBudget::new(1000), 100);
        let held = core.reserve(60).unwrap();
        assert_eq!(core.reserve(41).unwrap_err(), Overloaded::Core { held: 60, max: 100 });
        drop(held);
        assert_eq!(core.reserve(100).unwrap().bytes(), 100);
        assert_eq!(core.held(), 0);
    }

    #[test]
    fn cores_share_the_servers_budget() {
        let server = ServerBudget::new(100);
        let cores =
            [Admission::new(Arc::clone(&server), 80), Admission::new(Arc::clone(&server), 80)];
        let _held = cores[0].reserve(70).unwrap();
        assert_eq!(cores[1].reserve(40).unwrap_err(), Overloaded::Server { held: 70, max: 100 });
        assert_eq!(cores[1].held(), 0, "what the server refused is not held on the core");
        assert!(cores[1].reserve(30).is_ok());
    }

    #[test]
    fn a_reservation_that_cannot_grow_keeps_what_it_has() {
        let core = Admission::new(ServerBudget::new(100), 100);
        let mut held = core.reserve(50).unwrap();
        assert!(held.resize(101).is_err());
        assert_eq!((held.bytes(), core.held()), (50, 50));
        held.resize(20).unwrap();
        assert_eq!(core.held(), 20);
    }

    const PATIENT: Duration = Duration::from_secs(60);

    /// Waits for room in a task of its own and writes down who came in.
    fn come(
        core: &Rc<Admission>,
        who: usize,
        bytes: usize,
        came_in: &Rc<RefCell<Vec<usize>>>,
    ) -> JoinHandle<Result<Reservation, Overloaded>> {
        let (core, came_in) = (Rc::clone(core), Rc::clone(came_in));
        task::spawn("come", async move {
            let admitted = core.admit(bytes, PATIENT).await;
            came_in.borrow_mut().push(who);
            admitted
        })
    }

    #[test] // who came back after a refusal found the room taken by others, until it had waited for seconds
    fn who_waits_is_let_in_in_order_of_coming_small_or_large() {
        on_one_shard(|_| async {
            let core = Admission::new(ServerBudget::new(1000), 100);
            let (held, came_in) = (core.reserve(95).unwrap(), Rc::default());
            let waiting =
                [(0, 50), (1, 10), (2, 40)].map(|(who, bytes)| come(&core, who, bytes, &came_in));
            assert_eq!(core.wanted.get(), 100, "all three are in line");
            let refused = core.admit(1, PATIENT).await.unwrap_err();
            assert_eq!(refused, Overloaded::Line { waiting: 100, max: 100 });
            drop(held);
            let mut let_in = Vec::new();
            for waiting in waiting {
                let_in.push(waiting.await.unwrap().unwrap());
            }
            assert_eq!(*came_in.borrow(), [0, 1, 2]);
            assert_eq!((core.held(), core.wanted.get()), (100, 0));
        });
    }

    #[test]
    fn who_gives_up_leaves_the_line_to_those_behind() {
        on_one_shard(|_| async {
            let core = Admission::new(ServerBudget::new(1000), 100);
            let (_held, came_in) = (core.reserve(50).unwrap(), Rc::default());
            let large = come(&core, 0, 60, &came_in);
            let small = come(&core, 1, 40, &came_in);
            large.cancel();
            assert_eq!(small.await.unwrap().unwrap().bytes(), 40);
            assert_eq!(core.wanted.get(), 0);
        });
    }

    #[test]
    fn who_finds_no_room_in_time_is_refused_with_what_is_held() {
        on_one_shard(|_| async {
            let core = Admission::new(ServerBudget::new(70), 100);
            let _held = core.reserve(60).unwrap();
            let refused = core.admit(20, Duration::from_millis(5)).await.unwrap_err();
            assert_eq!(refused, Overloaded::Server { held: 60, max: 70 });
            assert_eq!((core.held(), core.wanted.get()), (60, 0));
        });
    }

    #[test]
    fn room_that_another_core_leaves_in_the_servers_budget_is_found() {
        on_one_shard(|_| async {
            let server = ServerBudget::new(100);
            let [this, other] = [(); 2].map(|()| Admission::new(Arc::clone(&server), 100));
            let (held, came_in) = (other.reserve(100).unwrap(), Rc::default());
            let waiting = come(&this, 0, 10, &came_in);
            assert_eq!(this.wanted.get(), 10);
            drop(held);
            assert_eq!(waiting.await.unwrap().unwrap().bytes(), 10);
        });
    }

    #[test]
    fn a_body_weighs_itself_and_what_it_may_unpack_to() {
        assert_eq!(weight(10, 1000), 90);
        assert_eq!(weight(500, 1000), 1500);
        assert_eq!(weight(usize::MAX, 1000), usize::MAX);
    }

    proptest! {
        #[test]
        fn no_order_of_taking_and_giving_passes_a_bound(steps in proptest::collection::vec((0usize..3, 0usize..60), 0..40)) {
            let server = ServerBudget::new(150);
            let cores = [(); 3].map(|()| Admission::new(Arc::clone(&server), 100));
            let mut held: Vec<Reservation> = Vec::new();
            for (core, bytes) in steps {
                match cores[core].reserve(bytes) {
                    Ok(reservation) => held.push(reservation),
                    Err(_) => drop(held.pop()),
                }
                prop_assert!(cores.iter().all(|core| core.held() <= 100) && server.held() <= 150);
                prop_assert_eq!(server.held(), held.iter().map(Reservation::bytes).sum::<usize>());
            }
            drop(held);
            prop_assert_eq!(server.held(), 0);
        }
    }
}
