//! What a file holds: what is durable, what reads show, and what was written since the last sync.
//!
//! Bytes are shared until they change, so that a copy of a whole disk costs next to nothing.

use std::rc::Rc;

use super::Rng;

/// What a torn write tears along, in bytes.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Default)]
pub(super) struct Inode {
    pub durable: Rc<Vec<u8>>,
    pub content: Rc<Vec<u8>>,
    pub pending: Vec<Change>,
    /// A sync has failed: what reads show is more than what is durable or on its way.
    is_lost: bool,
}

#[derive(Clone)]
pub(super) enum Change {
    Write { offset: usize, data: Rc<[u8]> },
    Len(usize),
}

impl Inode {
    /// A file of zeros, durable as such.
    pub fn of_zeros(len: usize) -> Self {
        let bytes = Rc::new(vec![0; len]);
        Self { durable: Rc::clone(&bytes), content: bytes, pending: Vec::new(), is_lost: false }
    }

    fn apply(content: &mut Vec<u8>, change: &Change, mut keep_sector: impl FnMut() -> bool) {
        match change {
            Change::Len(len) => content.resize(*len, 0),
            Change::Write { offset, data } => {
                if content.len() < offset + data.len() {
                    content.resize(offset + data.len(), 0);
                }
                let target = content.get_mut(*offset..).unwrap_or_default();
                for (to, from) in target.chunks_mut(SECTOR_BYTES).zip(data.chunks(SECTOR_BYTES)) {
                    if let Some(to) = to.get_mut(..from.len()).filter(|_| keep_sector()) {
                        to.copy_from_slice(from);
                    }
                }
            }
        }
    }

    pub fn change(&mut self, change: Change) {
        Self::apply(Rc::make_mut(&mut self.content), &change, || true);
        self.pending.push(change);
    }

    /// What was written so far is durable now.
    pub fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if !self.is_lost {
            self.durable = Rc::clone(&self.content);
            return;
        }
        for change in pending {
            Self::apply(Rc::make_mut(&mut self.durable), &change, || true);
        }
    }

    /// What was to be made durable is lost, though reads still show it: a second sync would lie.
    pub fn lose_pending(&mut self) {
        self.is_lost |= !self.pending.is_empty();
        self.pending.clear();
    }

    pub fn after_crash(&self, rng: &mut Rng) -> Self {
        let mut content = Rc::clone(&self.durable);
        for change in &self.pending {
            match rng.below(4) {
                0 => {}                                                                     // dropped
                1 => Self::apply(Rc::make_mut(&mut content), change, || true), // written whole
                _ => Self::apply(Rc::make_mut(&mut content), change, || rng.below(2) == 0), // torn
            }
        }
        Self { durable: Rc::clone(&content), content, pending: Vec::new(), is_lost: false }
    }
}
