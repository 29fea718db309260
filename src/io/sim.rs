//! A disk in memory that tests crash, and a clock that tests hold.
//!
//! It keeps, for every file, what is durable and, in order, what was written since the last sync; for every directory,
//! the names that are durable and the changes since. A crash keeps of the writes what an unlucky disk would: each
//! 512-byte sector of each unsynced write may be there or not; of a directory's changes, the first few. The seed decides.
//! Everything happens at once, so every future is ready when first polled: see [`run`].
//!
//! A directory that got another name is moved at once and kept in mind: a crash gives it the former one back or not.
//!
//! Harsher than a real file system on purpose: syncing a file does not make its name durable, and a sync that failed
//! leaves what it should have written readable but lost, as Linux does.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::{BLOCK_BYTES, Clock, DirEntry, Disk, File};
use crate::model::TimestampMs;

/// What a torn write tears along, in bytes.
const SECTOR_BYTES: usize = 512;

/// What is to go wrong. Calls that change something are counted from 1, across all files.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The machine stops in the middle of this call; it and all later ones fail.
    pub crash_at: Option<u64>,
    /// This call fails with this error, later ones do not.
    pub fail_at: Option<(u64, io::ErrorKind)>,
    /// More bytes than this do not fit all files together.
    pub capacity_bytes: Option<u64>,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Rc<RefCell<State>>);

struct State {
    inodes: Vec<Inode>,
    /// Directory to its names.
    dirs: BTreeMap<String, Dir>,
    /// Files that went from one directory to another: from where, to where, and which.
    moved: Vec<(String, String, usize)>,
    /// Directories that got another name, oldest first, until that is durable.
    renamed: Vec<RenamedDir>,
    calls: u64,
    crashed: bool,
    faults: Faults,
    rng: Rng,
}

#[derive(Clone, Default)]
struct Dir {
    durable: BTreeMap<String, usize>,
    names: BTreeMap<String, usize>,
    /// The states of `names` since the last sync, oldest first.
    changes: Vec<BTreeMap<String, usize>>,
    /// Removed; that becomes durable when the directory above it is synced.
    removed: bool,
}

/// A directory's former and new name. Each goes with the directories above it when those are renamed.
#[derive(Clone)]
struct RenamedDir {
    from: String,
    to: String,
    /// Is the directory that had the former name synced since?
    from_synced: bool,
    /// And that which has the new one?
    to_synced: bool,
}

#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    content: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Len(usize),
}

/// SplitMix64: small, seeded, good enough to choose what breaks.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The sequence that `seed` begins.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, any 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }
}

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
            calls: 0,
            crashed: false,
            faults,
            rng,
        };
        let mut rng_of_renamed = Rng::new(seed.rotate_left(32));
        Self(Rc::new(RefCell::new(after.with_renamed(&mut rng_of_renamed).with_moved())))
    }

    /// What a new start finds after the process was killed now: all that was written, durable or not. Power may still
    /// be lost later.
    #[must_use]
    pub fn image_after_kill(&self, faults: Faults) -> Self {
        let state = self.0.borrow();
        Self(Rc::new(RefCell::new(State {
            inodes: state.inodes.clone(),
            dirs: state.dirs.clone(),
            moved: state.moved.clone(),
            renamed: state.renamed.clone(),
            calls: 0,
            crashed: false,
            faults,
            rng: state.rng.clone(),
        })))
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
            if let Some(byte) = bytes.get_mut(at) {
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
        state.calls += 1;
        if let Some((at, kind)) = state.faults.fail_at
            && at == state.calls
        {
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

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn not_found(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{path}: no such file"))
}

impl State {
    fn lookup(&self, path: &str) -> Option<usize> {
        let (dir, name) = split(path);
        self.dirs.get(dir)?.names.get(name).copied()
    }

    /// A file that was on its way from one directory to another is not lost on it: file systems journal that.
    fn with_moved(mut self) -> Self {
        for (from, to, inode) in std::mem::take(&mut self.moved) {
            let is_there = |path: &str| self.lookup(path) == Some(inode);
            if is_there(&from) || is_there(&to) {
                continue;
            }
            let back = self.dirs.contains_key(split(&from).0);
            let (dir, name) = split(if back { &from } else { &to });
            let dir = self.dirs.entry(dir.to_owned()).or_default();
            dir.names.insert(name.to_owned(), inode);
            dir.durable.insert(name.to_owned(), inode);
        }
        self
    }

    /// Of the directories that were renamed and not synced, some have their former names: of those in one directory, the
    /// last few.
    fn with_renamed(mut self, rng: &mut Rng) -> Self {
        let mut undone: BTreeMap<String, u64> = BTreeMap::new();
        for renamed in &self.renamed {
            *undone.entry(split(&renamed.to).0.to_owned()).or_default() += 1;
        }
        undone.values_mut().for_each(|count| *count = rng.below(*count + 1));
        while let Some(RenamedDir { from, to, .. }) = self.renamed.pop() {
            let Some(left) = undone.get_mut(split(&to).0).filter(|left| **left > 0) else {
                continue;
            };
            *left -= 1;
            // One that was made under the former name in the meantime keeps it.
            if !self.dirs.contains_key(&from) {
                self.move_paths(&to, &from);
            }
        }
        self
    }

    /// Moves the directory `from`, all that is below it and all that is said about it to `to`.
    fn move_paths(&mut self, from: &str, to: &str) {
        let below = format!("{from}/");
        let moved = |path: &str| {
            let rest = if path == from { "" } else { path.strip_prefix(&below)? };
            Some(if rest.is_empty() { to.to_owned() } else { format!("{to}/{rest}") })
        };
        let new_path = |path: String| moved(&path).unwrap_or(path);
        self.dirs = std::mem::take(&mut self.dirs)
            .into_iter()
            .map(|(path, dir)| (new_path(path), dir))
            .collect();
        let files = self.moved.iter_mut().flat_map(|(from, to, _)| [from, to]);
        let dirs = self.renamed.iter_mut().flat_map(|renamed| [&mut renamed.from, &mut renamed.to]);
        for path in files.chain(dirs) {
            *path = new_path(std::mem::take(path));
        }
    }

    /// Is there anything, file or directory, below the directory `path`?
    fn holds_anything(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let is_below = |(dir, entry): (&String, &Dir)| !entry.removed && dir.starts_with(&below);
        self.dirs.iter().any(is_below) || self.dirs.get(path).is_some_and(|d| !d.names.is_empty())
    }

    fn is_dir(&self, path: &str) -> bool {
        self.dirs.get(path).is_some_and(|dir| !dir.removed)
    }

    fn has_room_for(&self, more: usize) -> io::Result<()> {
        let linked: BTreeSet<_> = self.dirs.values().flat_map(|d| d.names.values()).collect();
        let used: usize =
            linked.into_iter().filter_map(|i| self.inodes.get(*i)).map(|i| i.content.len()).sum();
        match self.faults.capacity_bytes {
            Some(capacity) if (used + more) as u64 > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }
}

impl Inode {
    fn apply(content: &mut Vec<u8>, change: &Change, mut keep_sector: impl FnMut() -> bool) {
        match change {
            Change::Len(len) => content.resize(*len, 0),
            Change::Write { offset, data } => {
                if content.len() < offset + data.len() {
                    content.resize(offset + data.len(), 0);
                }
                let target = content.get_mut(*offset..).unwrap_or_default();
                for (to, from) in target.chunks_mut(SECTOR_BYTES).zip(data.chunks(SECTOR_BYTES)) {
                    if keep_sector() {
                        for (to, from) in to.iter_mut().zip(from) {
                            *to = *from;
                        }
                    }
                }
            }
        }
    }

    fn change(&mut self, change: Change) {
        Self::apply(&mut self.content, &change, || true);
        self.pending.push(change);
    }

    fn after_crash(&self, rng: &mut Rng) -> Self {
        let mut content = self.durable.clone();
        for change in &self.pending {
            match rng.below(4) {
                0 => {}                                                       // dropped
                1 => Self::apply(&mut content, change, || true),              // written whole
                _ => Self::apply(&mut content, change, || rng.below(2) == 0), // torn
            }
        }
        Self { durable: content.clone(), content, pending: Vec::new() }
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    async fn create(&self, path: &str, len: u64) -> io::Result<SimFile> {
        let (dir, name) = split(path);
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let inode = self.change_names(dir, |state| {
            if state.lookup(path).is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.has_room_for(len)?;
            state.inodes.push(Inode {
                durable: vec![0; len],
                content: vec![0; len],
                pending: Vec::new(),
            });
            let inode = state.inodes.len() - 1;
            state.dirs.entry(dir.to_owned()).or_default().names.insert(name.to_owned(), inode);
            Ok(inode)
        })?;
        Ok(SimFile { disk: self.clone(), inode, writable: true })
    }

    async fn open(&self, path: &str) -> io::Result<SimFile> {
        self.alive()?;
        let inode = self.0.borrow().lookup(path).ok_or_else(|| not_found(path))?;
        Ok(SimFile { disk: self.clone(), inode, writable: true })
    }

    async fn open_read(&self, path: &str) -> io::Result<SimFile> {
        Ok(SimFile { writable: false, ..self.open(path).await? })
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let ((from_dir, from_name), (to_dir, to_name)) = (split(from), split(to));
        self.change_names(to_dir, |state| {
            let inode = state.lookup(from).ok_or_else(|| not_found(from))?;
            if let Some(dir) = state.dirs.get_mut(from_dir) {
                dir.names.remove(from_name);
                if from_dir != to_dir {
                    dir.changes.push(dir.names.clone());
                }
            }
            if from_dir != to_dir {
                state.moved.push((from.to_owned(), to.to_owned(), inode));
            }
            let dir = state.dirs.entry(to_dir.to_owned()).or_default();
            dir.names.insert(to_name.to_owned(), inode);
            Ok(())
        })
    }

    async fn rename_dir(&self, from: &str, to: &str) -> io::Result<()> {
        let crash = self.call()?;
        let mut state = self.0.borrow_mut();
        if crash && state.rng.below(2) == 0 {
            return Err(stopped());
        }
        if !state.is_dir(from) {
            return Err(not_found(from));
        }
        if to == from || to.starts_with(&format!("{from}/")) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if state.lookup(to).is_some() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if state.holds_anything(to) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let above = split(to).0;
        if !above.is_empty() && !state.is_dir(above) {
            return Err(not_found(above));
        }
        // What is left there has been removed, and does not come back.
        let below = format!("{to}/");
        state.dirs.retain(|dir, _| dir != to && !dir.starts_with(&below));
        state.move_paths(from, to);
        let (from, to) = (from.to_owned(), to.to_owned());
        state.renamed.push(RenamedDir { from, to, from_synced: false, to_synced: false });
        if crash { Err(stopped()) } else { Ok(()) }
    }

    async fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let (dir, name) = split(to);
        self.change_names(dir, |state| {
            let inode = state.lookup(from).ok_or_else(|| not_found(from))?;
            if state.lookup(to).is_some() || state.is_dir(to) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let dir = state.dirs.get_mut(dir).ok_or_else(|| not_found(dir))?;
            dir.names.insert(name.to_owned(), inode);
            Ok(())
        })
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        let (dir, name) = split(path);
        self.change_names(dir, |state| {
            let removed = state.dirs.get_mut(dir).and_then(|dir| dir.names.remove(name));
            removed.map(|_| ()).ok_or_else(|| not_found(path))
        })
    }

    async fn create_dir(&self, path: &str) -> io::Result<()> {
        self.alive()?;
        // Durable at once: what is created below it is not.
        let mut state = self.0.borrow_mut();
        let mut dir = path;
        while !dir.is_empty() {
            state.dirs.entry(dir.to_owned()).or_default().removed = false;
            (dir, _) = split(dir);
        }
        Ok(())
    }

    async fn remove_dir(&self, path: &str) -> io::Result<()> {
        let crash = self.call()?;
        let mut state = self.0.borrow_mut();
        if crash && state.rng.below(2) == 0 {
            return Err(stopped());
        }
        let holds_anything = state.holds_anything(path);
        let dir = state.dirs.get_mut(path).filter(|dir| !dir.removed);
        let dir = dir.ok_or_else(|| not_found(path))?;
        if holds_anything {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        dir.removed = true;
        if crash { Err(stopped()) } else { Ok(()) }
    }

    async fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.alive()?;
        let state = self.0.borrow();
        let below = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut entries: Vec<DirEntry> = state
            .dirs
            .iter()
            .filter(|(_, dir)| !dir.removed)
            .filter_map(|(path, _)| path.strip_prefix(&below))
            .filter(|rest| !rest.is_empty())
            .map(|rest| rest.split('/').next().unwrap_or(rest).to_owned())
            .map(|name| DirEntry { name, is_dir: true, len: 0 })
            .collect();
        entries.dedup();
        let files = state.dirs.get(path).into_iter().flat_map(|dir| &dir.names);
        entries.extend(files.map(|(name, inode)| DirEntry {
            name: name.clone(),
            is_dir: false,
            len: state.inodes.get(*inode).map_or(0, |inode| inode.content.len() as u64),
        }));
        entries.sort();
        Ok(entries)
    }

    async fn sync_dir(&self, path: &str) -> io::Result<()> {
        let crash = self.call()?;
        let mut state = self.0.borrow_mut();
        if !crash || state.rng.below(2) == 0 {
            let dir = state.dirs.get_mut(path).ok_or_else(|| not_found(path))?;
            dir.durable = dir.names.clone();
            dir.changes.clear();
            state.dirs.retain(|below, dir| !dir.removed || split(below).0 != path);
            for renamed in &mut state.renamed {
                renamed.from_synced |= split(&renamed.from).0 == path;
                renamed.to_synced |= split(&renamed.to).0 == path;
            }
            state.renamed.retain(|renamed| !renamed.from_synced || !renamed.to_synced);
        }
        if crash { Err(stopped()) } else { Ok(()) }
    }
}

/// A file of a [`SimDisk`].
pub struct SimFile {
    disk: SimDisk,
    inode: usize,
    writable: bool,
}

impl SimFile {
    fn change(&self, change: Change) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let crash = self.disk.call()?;
        let mut state = self.disk.0.borrow_mut();
        let inode = state.inodes.get(self.inode).expect("an open file has an inode");
        let end = match &change {
            Change::Len(len) => *len,
            Change::Write { offset, data } => offset + data.len(),
        };
        state.has_room_for(end.saturating_sub(inode.content.len()))?;
        state.inodes.get_mut(self.inode).expect("an open file has an inode").change(change);
        if crash { Err(stopped()) } else { Ok(()) }
    }
}

impl File for SimFile {
    type Read = Vec<u8>;

    fn len(&self) -> u64 {
        let state = self.disk.0.borrow();
        state.inodes.get(self.inode).map_or(0, |inode| inode.content.len() as u64)
    }

    async fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.disk.alive()?;
        let state = self.disk.0.borrow();
        let content = &state.inodes.get(self.inode).expect("an open file has an inode").content;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(len).ok_or(io::ErrorKind::UnexpectedEof)?;
        content
            .get(start..end)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    async fn read_many(&self, ranges: &[(u64, usize)]) -> io::Result<Vec<Vec<u8>>> {
        let mut read = Vec::with_capacity(ranges.len());
        for (offset, len) in ranges {
            read.push(self.read_at(*offset, *len).await?);
        }
        Ok(read)
    }

    async fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        assert!(
            data.len().is_multiple_of(BLOCK_BYTES) && offset.is_multiple_of(BLOCK_BYTES),
            "direct I/O is aligned"
        );
        self.change(Change::Write { offset, data: data.to_vec() })
    }

    async fn sync(&self) -> io::Result<()> {
        let crash = match self.disk.call() {
            Ok(crash) => crash,
            Err(error) => {
                // What was to be written is lost, though reads still show it: a second sync would lie.
                let mut state = self.disk.0.borrow_mut();
                if let Some(inode) = state.inodes.get_mut(self.inode) {
                    inode.pending.clear();
                }
                return Err(error);
            }
        };
        let mut state = self.disk.0.borrow_mut();
        if !crash || state.rng.below(2) == 0 {
            let inode = state.inodes.get_mut(self.inode).expect("an open file has an inode");
            for change in std::mem::take(&mut inode.pending) {
                Inode::apply(&mut inode.durable, &change, || true);
            }
        }
        if crash { Err(stopped()) } else { Ok(()) }
    }

    async fn set_len(&mut self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.change(Change::Len(len))
    }
}

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct SimClock(Rc<Cell<TimestampMs>>);

impl SimClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: TimestampMs) -> Self {
        Self(Rc::new(Cell::new(now)))
    }

    /// Moves the clock on by `ms` milliseconds.
    pub fn advance(&self, ms: i64) {
        self.0.set(self.0.get().saturating_add(ms));
    }
}

impl Clock for SimClock {
    fn now(&self) -> TimestampMs {
        self.0.get()
    }
}

/// Nobody else waits for the core of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct NoPace;

impl super::Pace for NoPace {
    async fn breathe(&mut self) {}
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

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: [u8; BLOCK_BYTES] = [7; BLOCK_BYTES];

    #[test]
    fn what_was_synced_survives_every_crash() {
        for seed in 0..50 {
            let disk = SimDisk::new(seed);
            run(async {
                let file = disk.create("a", 0).await.unwrap();
                disk.sync_dir("").await.unwrap();
                file.write_at(&BLOCK, 0).await.unwrap();
                file.sync().await.unwrap();
                let after = disk.image_after_crash(seed, Faults::default());
                let file = after.open("a").await.unwrap();
                assert_eq!(file.read_at(0, BLOCK_BYTES).await.unwrap(), BLOCK);
            });
        }
    }

    #[test]
    fn what_was_not_synced_is_sometimes_lost_and_sometimes_torn() {
        let (mut lost, mut torn, mut whole) = (0, 0, 0);
        for seed in 0..200 {
            let disk = SimDisk::new(seed);
            run(async {
                let file = disk.create("a", BLOCK_BYTES as u64).await.unwrap();
                disk.sync_dir("").await.unwrap();
                file.write_at(&BLOCK, 0).await.unwrap();
                let after = disk.image_after_crash(seed, Faults::default());
                let read = after.open("a").await.unwrap().read_at(0, BLOCK_BYTES).await.unwrap();
                match read.iter().filter(|byte| **byte == 7).count() {
                    0 => lost += 1,
                    BLOCK_BYTES => whole += 1,
                    _ => torn += 1,
                }
            });
        }
        assert!(lost > 0 && torn > 0 && whole > 0, "lost {lost}, torn {torn}, whole {whole}");
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_gone() {
        let survived = (0..50).filter(|seed| {
            let disk = SimDisk::new(*seed);
            run(disk.create("a", 0)).unwrap();
            !disk.image_after_crash(*seed, Faults::default()).paths().is_empty()
        });
        let survived = survived.count();
        assert!(survived > 0 && survived < 50, "{survived} of 50");
    }

    #[test]
    fn only_an_empty_directory_is_removed_and_it_may_come_back_until_the_one_above_is_synced() {
        let mut came_back = 0;
        for seed in 0..50 {
            let disk = SimDisk::new(seed);
            run(async {
                disk.create_dir("a").await.unwrap();
                disk.create_dir("a/b").await.unwrap();
                disk.create("a/b/c", 0).await.unwrap();
                for not_empty in ["a", "a/b"] {
                    let error = disk.remove_dir(not_empty).await.unwrap_err();
                    assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty);
                }
                disk.remove("a/b/c").await.unwrap();
                disk.remove_dir("a/b").await.unwrap();
                assert_eq!(disk.list("a").await.unwrap(), []);
                let again = disk.remove_dir("a/b").await.unwrap_err();
                assert_eq!(again.kind(), io::ErrorKind::NotFound);
                let after = disk.image_after_crash(seed, Faults::default());
                came_back += after.list("a").await.unwrap().len();
                disk.sync_dir("a").await.unwrap();
                let after = disk.image_after_crash(seed, Faults::default());
                assert_eq!(after.list("a").await.unwrap(), []);
            });
        }
        assert!(came_back > 0 && came_back < 50, "{came_back} of 50");
    }

    #[test]
    fn a_file_that_goes_to_another_directory_is_never_lost_on_the_way() {
        let mut places = BTreeSet::new();
        for seed in 0..100 {
            let disk = SimDisk::new(seed);
            run(async {
                disk.create_dir("a/b").await.unwrap();
                disk.create("a/c", 0).await.unwrap();
                disk.sync_dir("a").await.unwrap();
                disk.rename("a/c", "a/b/d").await.unwrap();
                assert_eq!(disk.paths(), ["a/b/d"]);
                places.insert(disk.image_after_crash(seed, Faults::default()).paths());
                disk.sync_dir("a/b").await.unwrap();
                disk.sync_dir("a").await.unwrap();
                assert_eq!(disk.image_after_crash(seed, Faults::default()).paths(), ["a/b/d"]);
            });
        }
        let [before, after] = ["a/c", "a/b/d"].map(str::to_owned);
        let both = vec![before.clone(), after.clone()];
        let places: Vec<_> = places.into_iter().collect();
        assert_eq!(places, [vec![after], vec![before], both]);
    }

    #[test]
    fn a_directory_that_gets_another_name_is_never_lost_and_never_there_twice() {
        let mut names = BTreeMap::new();
        for seed in 0..100 {
            let disk = SimDisk::new(seed);
            run(async {
                disk.create_dir("a/new.tmp/below").await.unwrap();
                disk.create("a/new.tmp/below/file", 0).await.unwrap();
                disk.sync_dir("a/new.tmp/below").await.unwrap();
                disk.rename_dir("a/new.tmp", "a/new").await.unwrap();
                assert_eq!(disk.paths(), ["a/new/below/file"]);
                let after = disk.image_after_crash(seed, Faults::default());
                assert_eq!(after.list("a").await.unwrap().len(), 1, "{:?}", after.paths());
                *names.entry(after.paths()).or_insert(0) += 1;
                disk.sync_dir("a").await.unwrap();
                let after = disk.image_after_crash(seed, Faults::default());
                assert_eq!(after.paths(), ["a/new/below/file"]);
            });
        }
        let found: Vec<_> = names.keys().map(|paths| paths.join(" ")).collect();
        assert_eq!(found, ["a/new.tmp/below/file", "a/new/below/file"]);
    }

    #[test]
    fn of_several_names_that_a_directory_had_a_crash_leaves_any_one() {
        let mut names = BTreeSet::new();
        for seed in 0..100 {
            let disk = SimDisk::new(seed);
            run(async {
                disk.create_dir("a/1").await.unwrap();
                disk.rename_dir("a/1", "a/2").await.unwrap();
                disk.rename_dir("a/2", "a/3").await.unwrap();
                let after = disk.image_after_crash(seed, Faults::default());
                let left = after.list("a").await.unwrap();
                names.insert(left.into_iter().map(|entry| entry.name).collect::<String>());
            });
        }
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["1", "2", "3"]);
    }

    #[test]
    fn a_directory_does_not_replace_one_that_holds_something() {
        run(async {
            let disk = SimDisk::new(1);
            disk.create_dir("a").await.unwrap();
            disk.create_dir("b/c").await.unwrap();
            let error = disk.rename_dir("a", "b").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty);
            disk.rename_dir("b", "a").await.unwrap();
            let entries = disk.list("").await.unwrap();
            assert_eq!(entries.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["a"]);
            assert_eq!(
                disk.rename_dir("b", "c").await.unwrap_err().kind(),
                io::ErrorKind::NotFound
            );
        });
    }

    #[test]
    fn a_link_is_the_same_file_and_durable_with_its_directory() {
        let mut survived = 0;
        for seed in 0..50 {
            let disk = SimDisk::new(seed);
            run(async {
                disk.create_dir("b").await.unwrap();
                let file = disk.create("a", 0).await.unwrap();
                disk.sync_dir("").await.unwrap();
                disk.link("a", "b/c").await.unwrap();
                file.write_at(&BLOCK, 0).await.unwrap();
                file.sync().await.unwrap();
                let twice = disk.link("a", "b/c").await.unwrap_err();
                assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
                let after = disk.image_after_crash(seed, Faults::default());
                survived += after.list("b").await.unwrap().len();
                disk.sync_dir("b").await.unwrap();
                disk.remove("a").await.unwrap();
                let after = disk.image_after_crash(seed, Faults::default());
                let linked = after.open_read("b/c").await.unwrap();
                assert_eq!(linked.read_at(0, BLOCK_BYTES).await.unwrap(), BLOCK);
            });
        }
        assert!(survived > 0 && survived < 50, "{survived} of 50");
    }

    #[test]
    fn a_file_opened_for_reading_refuses_writes() {
        run(async {
            let disk = SimDisk::new(1);
            disk.create("a", BLOCK_BYTES as u64).await.unwrap();
            let mut file = disk.open_read("a").await.unwrap();
            let write = file.write_at(&BLOCK, 0).await.unwrap_err();
            let cut = file.set_len(0).await.unwrap_err();
            assert_eq!([write.kind(), cut.kind()], [io::ErrorKind::PermissionDenied; 2]);
            let read = file.read_many(&[(5, 2), (0, 1)]).await.unwrap();
            assert_eq!(read, [vec![0; 2], vec![0; 1]]);
            assert!(file.read_many(&[(0, 1), (4096, 1)]).await.is_err());
        });
    }

    #[test]
    fn a_failed_sync_loses_what_it_should_have_written() {
        let disk = SimDisk::with_faults(
            1,
            Faults { fail_at: Some((4, io::ErrorKind::Other)), ..Faults::default() },
        );
        run(async {
            let file = disk.create("a", BLOCK_BYTES as u64).await.unwrap();
            disk.sync_dir("").await.unwrap();
            file.write_at(&BLOCK, 0).await.unwrap();
            assert!(file.sync().await.is_err());
            file.sync().await.unwrap();
            assert_eq!(file.read_at(0, BLOCK_BYTES).await.unwrap(), BLOCK);
            let after = disk.image_after_crash(1, Faults::default());
            assert_eq!(
                after.open("a").await.unwrap().read_at(0, BLOCK_BYTES).await.unwrap(),
                [0; BLOCK_BYTES]
            );
        });
    }

    #[test]
    fn after_the_crash_every_call_fails() {
        let disk = SimDisk::with_faults(1, Faults { crash_at: Some(1), ..Faults::default() });
        run(async {
            assert!(disk.create("a", 0).await.is_err());
            assert!(disk.list("").await.is_err());
            assert!(disk.crashed());
        });
    }
}
