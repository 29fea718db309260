//! A disk in memory that tests crash, and a clock that tests hold.
//!
//! It keeps, for every file, what is durable and, in order, what was written since the last sync; for every directory,
//! the names that are durable and the changes since. A crash keeps of the writes what an unlucky disk would: each
//! 512-byte sector of each unsynced write may be there or not; of a directory's changes, the first few. The seed decides.
//! Everything happens at once, so every future is ready when first polled: see [`run`].
//!
//! A directory that got another name is moved at once and kept in mind: a crash gives it the former one back or not.
//!
//! A file may have places that cannot be read, a read may fail, be short or bring another bit, and a call that changes
//! something may fail once or from some time on; all that is counted, so that a number names the fault.
//!
//! Harsher than a real file system on purpose: syncing a file does not make its name durable, and a sync that failed
//! leaves what it should have written readable but lost, as Linux does.

mod clock;
mod disk;
mod file;
mod inode;
mod rng;
mod state;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

pub use clock::{NoPace, SimClock};
pub use file::SimFile;
use inode::Inode;
pub use rng::Rng;
use state::{Dir, State};

/// What is to go wrong. Calls that change something are counted from 1, across all files; so are reads.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The machine stops in the middle of this call; it and all later ones fail.
    pub crash_at: Option<u64>,
    /// This call fails with this error, later ones do not.
    pub fail_at: Option<(u64, io::ErrorKind)>,
    /// From this call on all fail with this error, until other faults are set.
    pub fail_from: Option<(u64, io::ErrorKind)>,
    /// More bytes than this do not fit all files together.
    pub capacity_bytes: Option<u64>,
    /// This read goes wrong, later ones do not.
    pub read_at: Option<(u64, ReadFault)>,
}

/// How a read goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// With EIO.
    Fails,
    /// It ends before all is read that the file has.
    Short,
    /// One bit is another one than on the disk.
    Flips,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Rc<RefCell<State>>);

impl SimDisk {
    /// An empty disk on which nothing goes wrong.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_faults(seed, Faults::default())
    }

    /// An empty disk on which `faults` go wrong.
    #[must_use]
    pub fn with_faults(seed: u64, faults: Faults) -> Self {
        let dirs = BTreeMap::from([(String::new(), Dir::default())]);
        Self(Rc::new(RefCell::new(State {
            inodes: Vec::new(),
            dirs,
            moved: Vec::new(),
            renamed: Vec::new(),
            calls: 0,
            reads: 0,
            hit: None,
            spoiled: Vec::new(),
            moments: None,
            crashed: false,
            faults,
            rng: Rng::new(seed),
        })))
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    /// How many calls that change something there have been.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.borrow().calls
    }

    /// Has the machine stopped?
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.0.borrow().crashed
    }

    /// What a new start finds after power was lost now: what is durable, and of the rest what luck (`seed`) leaves.
    #[must_use]
    pub fn image_after_crash(&self, seed: u64, faults: Faults) -> Self {
        let (mut rng, mut rng_of_removed) = (Rng::new(seed), Rng::new(!seed));
        let state = self.0.borrow();
        let inodes: Vec<Inode> =
            state.inodes.iter().map(|inode| inode.after_crash(&mut rng)).collect();
        let dirs = state
            .dirs
            .iter()
            // A directory whose removal was not synced comes back, with what is durable in it, or does not.
            .filter(|(_, dir)| !dir.removed || rng_of_removed.below(2) == 0)
            .map(|(path, dir)| {
                let kept = rng.below(dir.changes.len() as u64 + 1);
                let survivor =
                    kept.checked_sub(1).and_then(|at| dir.changes.get(usize::try_from(at).ok()?));
                let names = survivor.unwrap_or(&dir.durable).clone();
                let durable = names.clone();
                (path.clone(), Dir { durable, names, ..Dir::default() })
            })
            .collect();
        let after = State {
            inodes,
            dirs,
            moved: state.moved.clone(),
            renamed: state.renamed.clone(),
            hit: None,
            spoiled: state.spoiled.clone(),
            moments: None,
            calls: 0,
            reads: 0,
            crashed: false,
            faults: Faults::default(),
            rng,
        };
        let mut rng_of_renamed = Rng::new(seed.rotate_left(32));
        let after = after.with_renamed(&mut rng_of_renamed).with_moved();
        Self(Rc::new(RefCell::new(after.begin(faults))))
    }

    /// What a new start finds after the process was killed now: all that was written, durable or not. Power may still
    /// be lost later.
    #[must_use]
    pub fn image_after_kill(&self, faults: Faults) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().without_moments().begin(faults))))
    }

    /// From now on what the disk is before each call that changes something is kept, for [`SimDisk::take_moments`].
    pub fn keep_moments(&self) {
        self.0.borrow_mut().moments = Some(Vec::new());
    }

    /// What the disk was before each call since this was last asked. In the middle of a call it is one of the two beside
    /// it, with what luck leaves of what is not durable: so the images of these after a crash are those of all crashes.
    #[must_use]
    pub fn take_moments(&self) -> Vec<Self> {
        let moments = self.0.borrow_mut().moments.as_mut().map(std::mem::take);
        moments.into_iter().flatten().map(|state| Self(Rc::new(RefCell::new(state)))).collect()
    }

    /// How many reads there have been.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.0.borrow().reads
    }

    /// The file of which [`Faults::read_at`] made a read go wrong, as it was called then.
    #[must_use]
    pub fn hit(&self) -> Option<String> {
        self.0.borrow().hit.clone()
    }

    /// Length of all files in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.0.borrow().used_bytes()
    }

    /// These bytes of a file cannot be read any more, whatever it is called later, until [`SimDisk::heal`].
    ///
    /// # Panics
    /// If there is no such file: the test is wrong.
    pub fn spoil(&self, path: &str, bytes: Range<u64>) {
        let mut state = self.0.borrow_mut();
        let inode = state.lookup(path).expect("the file to spoil exists");
        state.spoiled.push((inode, bytes));
    }

    /// Everything can be read again.
    pub fn heal(&self) {
        self.0.borrow_mut().spoiled.clear();
    }

    /// Flips one bit of a file behind everybody's back.
    ///
    /// # Panics
    /// If there is no such byte: the test is wrong.
    pub fn flip_bit(&self, path: &str, bit: u64) {
        let mut state = self.0.borrow_mut();
        let inode = state.lookup(path).expect("the file to damage exists");
        let at = usize::try_from(bit / 8).expect("fits memory");
        let inode = state.inodes.get_mut(inode).expect("names point to inodes");
        for bytes in [&mut inode.durable, &mut inode.content] {
            if let Some(byte) = Rc::make_mut(bytes).get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// The paths of all files there are now, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let state = self.0.borrow();
        let path = |dir: &String, name: &String| {
            if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") }
        };
        state
            .dirs
            .iter()
            .flat_map(|(dir, entry)| entry.names.keys().map(move |name| path(dir, name)))
            .collect()
    }

    /// Counts one changing call. `Ok(true)`: it is the one in whose middle the machine stops.
    fn call(&self) -> io::Result<bool> {
        let mut state = self.0.borrow_mut();
        if state.crashed {
            return Err(io::Error::other("the simulated machine has stopped"));
        }
        if state.moments.is_some() {
            let moment = state.without_moments();
            state.moments.get_or_insert_default().push(moment);
        }
        state.calls += 1;
        let (calls, faults) = (state.calls, &state.faults);
        let once = faults.fail_at.filter(|(at, _)| *at == calls);
        if let Some((_, kind)) = once.or(faults.fail_from.filter(|(from, _)| *from <= calls)) {
            return Err(io::Error::new(kind, "simulated failure"));
        }
        if state.faults.crash_at == Some(state.calls) {
            state.crashed = true;
            return Ok(true);
        }
        Ok(false)
    }

    fn alive(&self) -> io::Result<()> {
        if self.0.borrow().crashed { Err(stopped()) } else { Ok(()) }
    }

    /// Changes the names of one directory; whether a crash in the middle saw the change is for luck to say.
    fn change_names<T>(
        &self,
        dir: &str,
        change: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let crash = self.call()?;
        let mut state = self.0.borrow_mut();
        if crash && state.rng.below(2) == 0 {
            return Err(stopped());
        }
        let result = change(&mut state)?;
        let entry = state.dirs.entry(dir.to_owned()).or_default();
        entry.changes.push(entry.names.clone());
        if crash { Err(stopped()) } else { Ok(result) }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}

fn not_found(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{path}: no such file"))
}

/// Runs a future that only waits for a [`SimDisk`].
///
/// # Panics
/// If it waits for anything else.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => {
            panic!("a future on the simulated disk waits for something that is not the disk")
        }
    }
}
