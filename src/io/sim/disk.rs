//! The calls that name a file or a directory.

use std::io;

use super::inode::Inode;
use super::state::{RenamedDir, split};
use super::{SimDisk, SimFile, not_found, stopped};
use crate::io::{DirEntry, Disk};

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
            state.inodes.push(Inode::of_zeros(len));
            let inode = state.inodes.len() - 1;
            state.dirs.entry(dir.to_owned()).or_default().names.insert(name.to_owned(), inode);
            Ok(inode)
        })?;
        Ok(SimFile { disk: self.clone(), inode, is_durable: false, writable: true })
    }

    async fn open(&self, path: &str) -> io::Result<SimFile> {
        self.alive()?;
        let inode = self.0.borrow().lookup(path).ok_or_else(|| not_found(path))?;
        Ok(SimFile { disk: self.clone(), inode, is_durable: false, writable: true })
    }

    async fn open_durable(&self, path: &str) -> io::Result<SimFile> {
        Ok(SimFile { is_durable: true, ..self.open(path).await? })
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
        // What is below a directory need not follow it: `a.b` sorts between `a` and `a/b`.
        entries.sort();
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
