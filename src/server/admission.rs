//! Who may come in: bytes of writes in flight, bounded for each core and for the server.
//!
//! A write is weighed before its body is read: what it declares, and what that will probably unpack to. If a bound
//! would be passed it is refused there and then, which costs next to nothing. A body whose length is not declared pays
//! as it arrives, and each pays the difference when its true size is known. What is held is given back when the
//! [`Reservation`] is dropped, on whichever path that happens.
//!
//! Invariant: what is reserved on a core never exceeds the core's bound, nor all cores' together the server's.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a compressed byte of remote write usually unpacks to: 7 bytes with snappy, 9 with zstd.
const UNPACKED_RATIO: usize = 8;

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
#[derive(Debug)]
pub struct Admission {
    server: Arc<ServerBudget>,
    held: Cell<usize>,
    max: usize,
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
        Rc::new(Self { server, held: Cell::new(0), max })
    }

    /// What this core holds now, in bytes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.get()
    }

    /// Takes `bytes` from both budgets.
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
    use proptest::prelude::*;

    use super::*;

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
