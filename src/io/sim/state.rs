//! The files and directories of a disk, and what becomes of their names when power is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

use super::inode::Inode;
use super::{Faults, ReadFault, Rng};

pub(super) struct State {
    pub inodes: Vec<Inode>,
    /// Directory to its names.
    pub dirs: BTreeMap<String, Dir>,
    /// Files that went from one directory to another: from where, to where, and which.
    pub moved: Vec<(String, String, usize)>,
    /// Directories that got another name, oldest first, until that is durable.
    pub renamed: Vec<RenamedDir>,
    pub calls: u64,
    pub reads: u64,
    /// The file of which a read went wrong.
    pub hit: Option<String>,
    /// Places that cannot be read.
    pub spoiled: Vec<(usize, Range<u64>)>,
    /// What the disk was before each call, if that is kept.
    pub moments: Option<Vec<State>>,
    pub crashed: bool,
    pub faults: Faults,
    pub rng: Rng,
}

#[derive(Clone, Default)]
pub(super) struct Dir {
    pub durable: BTreeMap<String, usize>,
    pub names: BTreeMap<String, usize>,
    /// The states of `names` since the last sync, oldest first.
    pub changes: Vec<BTreeMap<String, usize>>,
    /// Removed; that becomes durable when the directory above it is synced.
    pub removed: bool,
}

/// A directory's former and new name. Each goes with the directories above it when those are renamed.
#[derive(Clone)]
pub(super) struct RenamedDir {
    pub from: String,
    pub to: String,
    /// Is the directory that had the former name synced since?
    pub from_synced: bool,
    /// And that which has the new one?
    pub to_synced: bool,
}

impl State {
    /// A copy that does not hold all copies before.
    pub fn without_moments(&self) -> Self {
        Self {
            inodes: self.inodes.clone(),
            dirs: self.dirs.clone(),
            moved: self.moved.clone(),
            renamed: self.renamed.clone(),
            spoiled: self.spoiled.clone(),
            faults: self.faults.clone(),
            rng: self.rng.clone(),
            moments: None,
            hit: self.hit.clone(),
            ..*self
        }
    }

    pub fn lookup(&self, path: &str) -> Option<usize> {
        let (dir, name) = split(path);
        self.dirs.get(dir)?.names.get(name).copied()
    }

    /// A file that was on its way from one directory to another is not lost on it: file systems journal that.
    pub fn with_moved(mut self) -> Self {
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
    pub fn with_renamed(mut self, rng: &mut Rng) -> Self {
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
    pub fn move_paths(&mut self, from: &str, to: &str) {
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
    pub fn holds_anything(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let is_below = |(dir, entry): (&String, &Dir)| !entry.removed && dir.starts_with(&below);
        self.dirs.iter().any(is_below) || self.dirs.get(path).is_some_and(|d| !d.names.is_empty())
    }

    pub fn is_dir(&self, path: &str) -> bool {
        self.dirs.get(path).is_some_and(|dir| !dir.removed)
    }

    /// Length of all files that have a name, in bytes.
    pub fn used_bytes(&self) -> u64 {
        let linked: BTreeSet<_> = self.dirs.values().flat_map(|d| d.names.values()).collect();
        linked.into_iter().filter_map(|i| self.inodes.get(*i)).map(|i| i.content.len() as u64).sum()
    }

    pub fn has_room_for(&self, more: usize) -> io::Result<()> {
        match self.faults.capacity_bytes {
            Some(capacity) if self.used_bytes() + more as u64 > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    /// Counts a read; how it is to go wrong, if it is.
    pub fn fault_of_read(&mut self, inode: usize, offset: u64, len: usize) -> Option<ReadFault> {
        self.reads += 1;
        let end = offset.saturating_add(len as u64);
        let is_spoiled = |(file, bytes): &(usize, Range<u64>)| {
            *file == inode && bytes.start < end && offset < bytes.end
        };
        if self.spoiled.iter().any(is_spoiled) {
            return Some(ReadFault::Fails);
        }
        let (_, fault) = self.faults.read_at.filter(|(at, _)| *at == self.reads)?;
        let path = |(dir, entry): (&String, &Dir)| {
            let (name, _) = entry.names.iter().find(|(_, file)| **file == inode)?;
            Some(format!("{dir}/{name}"))
        };
        self.hit = self.dirs.iter().find_map(path);
        Some(fault)
    }

    /// The same disk for a process that begins now: files that nobody can open any more are forgotten.
    pub fn begin(mut self, faults: Faults) -> Self {
        let named = |dir: &Dir| -> Vec<usize> {
            let maps = dir.changes.iter().chain([&dir.names, &dir.durable]);
            maps.flat_map(BTreeMap::values).copied().collect()
        };
        let mut kept: BTreeSet<usize> = self.dirs.values().flat_map(named).collect();
        kept.extend(self.moved.iter().map(|(_, _, inode)| *inode));
        for (inode, file) in self.inodes.iter_mut().enumerate() {
            if !kept.contains(&inode) {
                *file = Inode::default();
            }
        }
        Self { faults, calls: 0, reads: 0, crashed: false, moments: None, hit: None, ..self }
    }
}

pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
