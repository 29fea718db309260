//! The beginning of a shard's life, and of the next one when its log has failed.
//!
//! ```text
//! files ─► read back ─► life ─► a write or flush of the log fails ─► its tasks end ─► files ─► read back ─► next life
//! ```
//! The flush is never tried again: what the log holds is read back and saved anew ([`files::begin_again`]), in new files,
//! and the log goes on in a new segment. Writes are refused from the failure until then, reads are not. While opening fails
//! it is tried again and again, with growing pauses; so a disk that has room again, or works again, needs no operator.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::commit::{Commits, WriteFailed};
use super::cursor::Cursors;
use super::life::{Life, Workers};
use super::replaying::Replaying;
use super::work::Workbench;
use super::{CommitLayout, OpenError, Shard};
use crate::io::{Clock, Disk};
use crate::model::{Fingerprinter, TimestampMs};
use crate::rt::clock::Stopwatch;
use crate::rt::local::Notify;
use crate::rt::pace::Slice;
use crate::rt::task;
use crate::rt::timer;
use crate::storage::block::IndexCache;
use crate::storage::blocks::{Inventory, Origin, open as open_blocks};
use crate::storage::files::{self, FileOptions};
use crate::storage::replay::{Layout, ReplayReport};
use crate::storage::served::Served;
use crate::storage::wal::{SyncMode, WalWriter};

/// How long the reading back of the log holds the core: nobody waits yet but those who ask how far it is.
const OPENING_SLICE: Duration = Duration::from_millis(5);
/// Opening is not tried again less often than this.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What is needed to open a shard's files, once and again.
pub(super) struct Opening<D: Disk> {
    pub disk: D,
    pub files: FileOptions,
    pub fingerprinter: Fingerprinter,
    pub replaying: Replaying,
    pub work: Workbench,
    pub cache: Rc<IndexCache>,
}

/// How long to wait before the files are opened after so many failures in a row: a log that fails for the first time is
/// opened at once.
fn pause_after(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => Duration::from_secs(1 << doublings.min(6)).min(PAUSE_MAX),
    }
}

impl<C: Clock, D: Disk> Shard<C, D> {
    /// Reads the files back, and begins a life.
    ///
    /// - `commit_layout`: used by shard 0 if the number of shards has changed.
    /// - `before`: the life whose log has failed; it has ended.
    pub(super) async fn begin_life(
        &self,
        opening: &Opening<D>,
        commit_layout: Option<CommitLayout>,
        before: Option<&Life<D>>,
    ) -> Result<(Rc<Life<D>>, ReplayReport), OpenError> {
        let started = Stopwatch::start();
        let (inner, id) = (&self.0, self.0.id);
        let Opening { disk, files: options, fingerprinter, replaying, .. } = opening;
        let (shards, run) = (options.shards, options.run);
        let pace = &mut Slice::of(OPENING_SLICE);
        let inventory = Inventory::take(disk, pace).await?;
        let sources = inventory.sources();
        let is_published = |ulid| sources.contains(&ulid);
        let progress = |read, total| replaying.note(id, read, total);
        let changes = before.is_none() && options.layout.shards != shards;
        let (disk_of_files, keys) = (disk.clone(), fingerprinter.clone());
        let exemplars_max = self.storage().exemplars_of_shard(shards);
        let begun = if before.is_some() {
            let layout = in_force(options);
            let options = FileOptions { layout, exemplars_max, ..options.clone() };
            // Others wait for this core now.
            let pace = &mut Slice::start();
            files::begin_again(disk_of_files, options, keys, &is_published, &progress, pace).await?
        } else {
            let options = FileOptions { exemplars_max, ..options.clone() };
            let owns = &*inner.owns;
            files::begin(disk_of_files, options, keys, owns, &is_published, &progress, pace).await?
        };
        for damage in &begun.report.damage {
            tracing::error!(shard = %id, %damage, "the log is damaged; what it covers is lost");
        }
        if changes {
            replaying.await_layout(id, commit_layout).await.map_err(OpenError::Layout)?;
        }
        let (mut head, files, writer, report) = begun.finish().await?;
        head.raise_min_valid(inventory.cut_until());
        let own = Origin { shard: options.shard, shards };
        let opened = open_blocks(disk, own, &inventory, &opening.cache, run, pace).await?;
        self.tell_unanswered(&opened.damage);
        inner.damaged.set(inner.damaged.get() + report.damage.len() as u64);
        let (served, commits) = match before {
            None => (Served::new(opened.blocks), Commits::new()),
            Some(before) => {
                head.count_on(&before.head.borrow());
                files.spill().count_on(&before.spill);
                (Served::after(&before.served, opened.blocks), Commits::after(&before.commits))
            }
        };
        files.spill().keep_chunks_in(&opening.cache.chunks);
        // As late as can be: it may have changed while the files were read.
        head.set_window(self.storage().out_of_order_window_ms);
        head.set_float_chunks(self.storage().float_chunks);
        head.set_exemplars_max(self.storage().exemplars_of_shard(shards));
        let life = Rc::new(Life {
            head: Rc::new(RefCell::new(head)),
            served,
            commits,
            refill: Notify::new(),
            spares: Rc::clone(files.spares()),
            spill: Rc::clone(files.spill()),
            disk: disk.clone(),
            cache: Rc::clone(&opening.cache),
            own,
            run,
            cursors: Cursors::new(),
            mixed: RefCell::new(opened.mixed),
            replaced: RefCell::new(opened.replaced),
            left_out: RefCell::new(opened.left_out),
            blocks_in_doubt: Cell::new(false),
            jobs: opening.work.of_its_own(),
            workers: Workers::none(),
        });
        self.start_committing(&life, writer, options.sync);
        self.start_maintaining(&life, files, report.log_bytes);
        self.start_tending_blocks(&life);
        self.start_watching_backlog(&life);
        self.start_tending_cursors(&life);
        *inner.life.borrow_mut() = Some(Rc::clone(&life));
        self.note_change(TimestampMs::MIN);
        let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        inner.replay_ms.set(Some(took));
        Ok((life, report))
    }

    /// Lives, one life after the other, until the shard closes.
    ///
    /// # Errors
    /// It closes, and not all of what it took last is durable.
    pub(super) async fn live(
        self,
        opening: Opening<D>,
        mut life: Rc<Life<D>>,
    ) -> Result<(), WriteFailed> {
        let mut failures = 0;
        while let Err(why) = life.committed().await {
            if self.0.closing.is_set() {
                return Err(why);
            }
            tracing::error!(
                shard = %self.0.id,
                %why,
                "the log has failed: writes are refused until the shard is opened anew from its log"
            );
            if life.commits.have_written() {
                failures = 0;
            }
            life.end().await;
            match self.live_again(&opening, &life, &mut failures).await {
                Some(next) => life = next,
                None => return Err(why),
            }
        }
        Ok(())
    }

    /// Opens the files until that succeeds; nothing if the shard closes before.
    async fn live_again(
        &self,
        opening: &Opening<D>,
        before: &Life<D>,
        failures: &mut u32,
    ) -> Option<Rc<Life<D>>> {
        let (inner, replaying) = (&self.0, &opening.replaying);
        loop {
            let pause = pause_after(*failures);
            *failures += 1;
            if inner.closing.is_set() || timer::timeout(pause, inner.closing.wait()).await.is_ok() {
                return None;
            }
            replaying.begin_again(inner.id);
            let opened = async { Some(self.begin_life(opening, None, Some(before)).await) };
            let closes = async {
                inner.closing.wait().await;
                None
            };
            let opened = futures_lite::future::or(opened, closes).await;
            replaying.finish(inner.id);
            match opened? {
                Ok((life, ReplayReport { samples, bytes, damage, .. })) => {
                    inner.restarts.set(inner.restarts.get() + 1);
                    let (shard, damaged) = (inner.id, damage.len());
                    tracing::warn!(%shard, samples, bytes, damaged, "the shard is opened anew from its log and takes writes");
                    return Some(life);
                }
                Err(error) => {
                    let again = pause_after(*failures);
                    before.commits.fail(&format!(
                        "the log has failed, and the shard cannot be opened anew from it: {error}; it is tried again in {again:?}"
                    ));
                    tracing::error!(shard = %inner.id, %error, ?again, "the shard cannot be opened anew; it is tried again");
                }
            }
        }
    }

    fn start_committing(&self, life: &Rc<Life<D>>, writer: WalWriter<D>, sync: SyncMode) {
        let (id, filled) = (self.0.id, Rc::clone(life));
        life.add_task(task::spawn("spare segments", async move {
            while !filled.has_ended() {
                if let Err(error) = filled.spares.fill().await {
                    // The commit that needs the file will try again, and say so if it must.
                    tracing::warn!(shard = %id, %error, "cannot prepare the next log segment");
                }
                filled.refill.wait().await;
            }
        }));
        let committed = Rc::clone(life);
        life.set_committing(task::spawn("commits", async move {
            let Life { commits, spares, refill, .. } = &*committed;
            commits.run(writer, spares, sync, refill).await
        }));
    }
}

/// Which files hold the data once the number of shards is that of this run.
fn in_force(options: &FileOptions) -> Layout {
    let changed = options.layout.shards != options.shards;
    if changed { Layout { shards: options.shards, since_run: options.run } } else { options.layout }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_met_at_once_and_later_ones_ever_more_slowly() {
        let seconds = |failures| pause_after(failures).as_secs();
        assert_eq!([0, 1, 2, 3, 6, 7, 8, u32::MAX].map(seconds), [0, 1, 2, 4, 32, 60, 60, 60]);
    }
}
