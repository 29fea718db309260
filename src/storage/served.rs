//! The blocks that a shard answers from: what a query sees does not change while it runs.
//!
//! A query holds a [`View`]. When a block is published or removed the shard gets a new view; who holds an old one goes on
//! with that. What only old views need (samples of the Head that a block has now, the files of blocks that were merged)
//! may go when nobody holds one: [`Served::has_old_readers`].

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use ulid::Ulid;

use super::block::reader::Block;
use crate::io::Disk;
use crate::model::{TimeRange, TimestampMs};

/// One open block.
pub struct ServedBlock<D: Disk> {
    /// The block.
    pub block: Block<D>,
    /// May it hold series of other shards, which are to be left to them?
    pub is_mixed: bool,
}

impl<D: Disk> ServedBlock<D> {
    /// From the first instant of the block to its last; `None` for one that covers no time.
    #[must_use]
    pub fn range(&self) -> Option<TimeRange> {
        let meta = self.block.meta();
        TimeRange::new(TimestampMs(meta.min_time), TimestampMs(meta.max_time.saturating_sub(1)))
    }
}

/// The blocks of one moment, oldest first.
pub struct View<D: Disk> {
    blocks: Vec<Rc<ServedBlock<D>>>,
}

impl<D: Disk> View<D> {
    /// All of them.
    #[must_use]
    pub fn blocks(&self) -> &[Rc<ServedBlock<D>>] {
        &self.blocks
    }

    /// Those that may have samples in `range`.
    pub fn overlapping(&self, range: TimeRange) -> impl Iterator<Item = &Rc<ServedBlock<D>>> {
        self.blocks.iter().filter(move |block| block.range().is_some_and(|own| own.overlaps(range)))
    }
}

/// The blocks that a shard answers from.
pub struct Served<D: Disk> {
    current: RefCell<Rc<View<D>>>,
    old: RefCell<Vec<Weak<View<D>>>>,
    changes: Cell<u64>,
}

impl<D: Disk> Served<D> {
    /// These blocks, and no others yet.
    #[must_use]
    pub fn new(blocks: Vec<Rc<ServedBlock<D>>>) -> Self {
        let current = RefCell::new(Rc::new(View::of(blocks)));
        Self { current, old: RefCell::new(Vec::new()), changes: Cell::new(0) }
    }

    /// These blocks, of which others were served by `before`: who still reads from that is an old reader here.
    #[must_use]
    pub fn after(before: &Self, blocks: Vec<Rc<ServedBlock<D>>>) -> Self {
        let served = Self::new(blocks);
        let mut old = before.old.borrow().clone();
        old.push(Rc::downgrade(&before.view()));
        served.old.replace(old);
        served.changes.set(before.changes.get() + 1);
        served
    }

    /// What a query that begins now sees, for as long as it holds it.
    #[must_use]
    pub fn view(&self) -> Rc<View<D>> {
        Rc::clone(&self.current.borrow())
    }

    /// From now on there are these and no others: in one step.
    pub fn replace(&self, blocks: Vec<Rc<ServedBlock<D>>>) {
        let removed: Vec<Ulid> =
            self.view().blocks.iter().map(|block| block.block.meta().ulid).collect();
        self.change(blocks, &removed);
    }

    /// From now on there are `added`, and `removed` no more: in one step.
    pub fn change(&self, added: Vec<Rc<ServedBlock<D>>>, removed: &[Ulid]) {
        let before = self.view();
        let is_kept = |block: &&Rc<ServedBlock<D>>| !removed.contains(&block.block.meta().ulid);
        let mut blocks: Vec<_> = before.blocks.iter().filter(is_kept).cloned().collect();
        blocks.extend(added);
        self.changes.set(self.changes.get() + 1);
        self.old.borrow_mut().push(Rc::downgrade(&before));
        *self.current.borrow_mut() = Rc::new(View::of(blocks));
    }

    /// How often that happened.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// Does a query still hold a view from before the last change?
    #[must_use]
    pub fn has_old_readers(&self) -> bool {
        let mut old = self.old.borrow_mut();
        old.retain(|view| view.strong_count() > 0);
        !old.is_empty()
    }
}

impl<D: Disk> View<D> {
    fn of(mut blocks: Vec<Rc<ServedBlock<D>>>) -> Self {
        // Of two that overlap, the one that was written first comes first: what it says of an instant stands.
        blocks.sort_by_key(|block| (block.block.meta().min_time, block.block.meta().ulid));
        Self { blocks }
    }
}
