//! What a shard has from one opening of its files to the next.
//!
//! A shard has one life after the other if its log fails: the files are opened anew, as at a start, and what is read back
//! takes the place of what was there. Until then, and for as long as somebody reads from it, the former life answers.
//! Invariants: the tasks of a life, and what others do for its Head and blocks, have ended before the next one opens the
//! files; a life that has ended changes no file any more.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ulid::Ulid;

use super::NotDone;
use super::commit::{Commits, WriteFailed};
use super::cursor::Cursors;
use super::work::{Done, Job, JobError, Workbench};
use crate::io::{Disk, Pace};
use crate::rt::local::{Event, Notify, Permit, Semaphore};
use crate::rt::task::JoinHandle;
use crate::rt::timer;
use crate::storage::block::reader::Block;
use crate::storage::block::{self, BlockError, IndexCache};
use crate::storage::blocks::{Listed, Origin};
use crate::storage::files;
use crate::storage::head::Head;
use crate::storage::head::spill::SpillFiles;
use crate::storage::served::{Served, ServedBlock};
use crate::storage::wal::Spares;

/// How often is asked whether queries still read what is to be dropped.
const READERS_LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a shard has from one opening of its files to the next.
pub(super) struct Life<D: Disk> {
    pub head: Rc<RefCell<Head>>,
    pub served: Served<D>,
    pub commits: Commits,
    /// Told when a spare segment may be wanted.
    pub refill: Notify,
    pub spares: Rc<Spares<D>>,
    /// Where the Head's chunks are that have left memory.
    pub spill: Rc<SpillFiles<D>>,
    pub disk: D,
    pub cache: Rc<IndexCache>,
    pub own: Origin,
    /// The start that this is; names what is put aside.
    pub run: u64,
    /// What is read part by part. It ends with this life, so that nobody keeps the former Head.
    pub cursors: Cursors<D>,
    /// Blocks that may hold others' series, and where they lie.
    pub mixed: RefCell<Vec<Listed>>,
    /// Own blocks that others have taken the place of, and that are there still.
    pub replaced: RefCell<Vec<Listed>>,
    /// Those that the disk did not read: nothing can be deleted of them.
    pub left_out: RefCell<Vec<Ulid>>,
    /// Is it not known which blocks there are, because something about them failed halfway?
    pub blocks_in_doubt: Cell<bool>,
    /// Where its jobs are done; [`Life::work`] asks for one.
    pub jobs: Workbench,
    pub workers: Workers,
}

/// Who works for a life, and who has to wait for whom.
pub(super) struct Workers {
    /// Held by whoever changes where samples of the Head are: lets them leave memory, saves, cuts or deletes them.
    head: Semaphore,
    /// Held by whoever makes, changes or removes blocks, but for a cut.
    blocks: Semaphore,
    ended: Event,
    tasks: RefCell<Vec<JoinHandle<()>>>,
    committing: RefCell<Option<JoinHandle<Result<(), WriteFailed>>>>,
}

impl Workers {
    /// Nobody yet.
    pub fn none() -> Self {
        Self {
            head: Semaphore::new(1),
            blocks: Semaphore::new(1),
            ended: Event::new(),
            tasks: RefCell::default(),
            committing: RefCell::default(),
        }
    }
}

impl<D: Disk> Life<D> {
    /// A task of this life, which ends by itself when [`rest`](Self::rest) says so.
    pub fn add_task(&self, task: JoinHandle<()>) {
        self.workers.tasks.borrow_mut().push(task);
    }

    /// The task that commits.
    pub fn set_committing(&self, task: JoinHandle<Result<(), WriteFailed>>) {
        *self.workers.committing.borrow_mut() = Some(task);
    }

    /// Resolves when nothing is committed any more: all is durable.
    ///
    /// # Errors
    /// Not all of it is.
    pub async fn committed(&self) -> Result<(), WriteFailed> {
        let committing = self.workers.committing.borrow_mut().take();
        let Some(committing) = committing else { return Ok(()) };
        committing.await.unwrap_or_else(|error| {
            self.commits.fail(&error.to_string());
            Err(WriteFailed::from(error.to_string()))
        })
    }

    /// Waits for so long, or until this life ends; does it go on?
    pub async fn rest(&self, duration: Duration) -> bool {
        timer::timeout(duration, self.workers.ended.wait()).await.is_err()
    }

    /// Has it ended?
    pub fn has_ended(&self) -> bool {
        self.workers.ended.is_set()
    }

    /// Ends what goes on for this life, and resolves when it has. Reading goes on.
    ///
    /// What reads may still need is opened, because the next life may remove its files.
    pub async fn end(&self) {
        self.workers.ended.set();
        self.jobs.give_up();
        self.refill.notify();
        // Always in this order: whoever has the Head waits for no block.
        let _blocks = self.workers.blocks.acquire(1).await;
        let _head = self.workers.head.acquire(1).await;
        self.workers.blocks.close();
        self.workers.head.close();
        let tasks = std::mem::take(&mut *self.workers.tasks.borrow_mut());
        for task in tasks {
            // One that has panicked has ended, too.
            let _ = task.await;
        }
        let spill_files = self.head.borrow().spill_files();
        if let Err(error) = self.spill.hold(&spill_files).await {
            // It may be the same disk that has failed. Queries say what they do not find.
            tracing::warn!(%error, "cannot open a file of chunks that have left memory");
        }
    }

    /// Keeps all others away from the chunks of the Head.
    pub async fn head_permit(&self) -> Result<Permit, NotDone> {
        self.workers.head.acquire(1).await.ok_or(NotDone::Busy(ENDED))
    }

    /// Keeps all others away from the blocks, of which it may not be known which there are.
    pub async fn unchecked_blocks_permit(&self) -> Result<Permit, NotDone> {
        self.workers.blocks.acquire(1).await.ok_or(NotDone::Busy(ENDED))
    }

    /// Waits until nobody reads what was there before the last change of the blocks; fails if this life ends before.
    pub async fn no_old_readers(&self) -> Result<(), String> {
        while self.served.has_old_readers() {
            if !self.rest(READERS_LOOK_AGAIN).await {
                return Err(ENDED.to_owned());
            }
        }
        Ok(())
    }

    /// Has a job done.
    ///
    /// # Errors
    /// It is not done: why. If a block may have come of it all the same, the blocks are in doubt.
    pub async fn work(&self, job: Job) -> Result<Done, String> {
        self.jobs.run(job).await.map_err(|error| {
            if let JobError::InDoubt(_) = error {
                self.blocks_in_doubt.set(true);
            }
            error.to_string()
        })
    }

    /// Opens a block of this shard.
    pub async fn open_block(
        &self,
        ulid: Ulid,
        pace: &mut impl Pace,
    ) -> Result<Rc<ServedBlock<D>>, BlockError> {
        let dir = block::dir(&files::shard_dir(self.own.shard), ulid);
        let block = Block::open(&self.disk, &dir, Rc::clone(&self.cache), pace).await?;
        Ok(Rc::new(ServedBlock { block, is_mixed: false }))
    }
}

const ENDED: &str = "the shard stops, or is opened anew from its log";
