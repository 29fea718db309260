//! What a file holds: what is durable, what reads show, and what was written since the last sync.

use super::Rng;

/// What a torn write tears along, in bytes.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Default)]
pub(super) struct Inode {
    pub durable: Vec<u8>,
    pub content: Vec<u8>,
    pub pending: Vec<Change>,
}

#[derive(Clone)]
pub(super) enum Change {
    Write { offset: usize, data: Vec<u8> },
    Len(usize),
}

impl Inode {
    pub fn apply(content: &mut Vec<u8>, change: &Change, mut keep_sector: impl FnMut() -> bool) {
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

    pub fn change(&mut self, change: Change) {
        Self::apply(&mut self.content, &change, || true);
        self.pending.push(change);
    }

    pub fn after_crash(&self, rng: &mut Rng) -> Self {
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
