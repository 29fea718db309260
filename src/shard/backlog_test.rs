//! A shard whose long work does not get on, on a disk in memory.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::backlog::Limits;
use super::commit::WriteFailed;
use super::replaying::Replaying;
use super::work::Workbench;
use super::{FileOptions, Layout, Request, Response, Shard, StorageOptions, SyncMode};
use crate::io::sim::{SimClock, SimDisk};
use crate::model::{ShardId, TimestampMs};
use crate::rt::clock::since_first_asked;
use crate::rt::executor::testing::on_one_shard;
use crate::rt::local::Event;
use crate::rt::timer;
use crate::storage::head::testing::{keys, request, sample};

const MINUTE_MS: i64 = 60_000;
/// Long enough for what happens within seconds; what does not happen at all is to fail, not to hang.
const FOR_EVER: Duration = Duration::from_secs(60);

async fn write(
    shard: &Shard<SimClock, SimDisk>,
    minutes: std::ops::Range<i64>,
) -> Result<(), WriteFailed> {
    let samples = minutes.map(|minute| sample(minute * MINUTE_MS, 1.0)).collect();
    let (part, text) = request(&[(0, samples)]);
    match shard.handle(Request::Append(Box::new(part), Arc::new(text))).await {
        Response::Appended(_, stored) => stored.map(|stored| assert!(stored.refused.is_empty())),
        _ => panic!("a shard that is open appends"),
    }
}

#[test] // under a flood the thread that cuts got no time, and memory grew until there was none
fn writes_are_refused_while_too_much_waits_to_be_cut_and_taken_again_when_it_is_cut() {
    on_one_shard(|_| async {
        let (disk, may_begin) = (SimDisk::new(1), Event::new());
        let gate = may_begin.clone();
        let work = Workbench::here(disk.clone(), |_, _| ShardId(0), move || gate.wait());
        let clock = SimClock::new(TimestampMs(1000 * MINUTE_MS));
        let shard = Shard::new(ShardId(0), Rc::new(|_| true), clock);
        let files = FileOptions {
            shard: 0,
            shards: 1,
            run: 1,
            layout: Layout { shards: 1, since_run: 1 },
            segment_bytes: 1 << 20,
            sync: SyncMode::Always,
            exemplars_max: 1000,
            stopwatch: since_first_asked,
        };
        let backlog = Limits { overdue_ranges: 4, ..Limits::default() };
        let storage = StorageOptions { backlog, retention_ms: None, ..StorageOptions::default() };
        let replaying = Replaying::new(1);
        shard.open(disk, (files, storage), keys(), None, &replaying, work).await.unwrap();

        // Ten hours: those from the first to the eighth are due.
        assert_eq!(write(&shard, 0..601).await, Ok(()));
        // What is there already is no error, so that the same may be sent again and again.
        let again = || write(&shard, 600..601);
        let refused = timer::timeout(FOR_EVER, async {
            loop {
                if let Err(why) = again().await {
                    return why;
                }
                timer::sleep(Duration::from_millis(5)).await;
            }
        });
        let why = refused.await.unwrap();
        assert!(why.contains("4 ranges of two hours wait to be cut, and 4 may"), "{why}");
        let status = shard.status().backlog;
        assert!(
            status.is_holding && status.held_writes > 0 && status.refused_writes > 0,
            "{status:?}"
        );
        assert_eq!(status.overdue_ranges, 4);

        may_begin.set();
        let taken = timer::timeout(FOR_EVER, async { while again().await.is_err() {} });
        taken.await.unwrap();
        let status = shard.status();
        assert!(!status.backlog.is_holding && status.backlog.overdue_ranges < 4, "{status:?}");
        // What it did meanwhile is told.
        assert!(status.blocks.count > 0 && status.spill.chunks >= 4 && status.spill.bytes > 0);
        let (chunks, cuts) = (&status.compactions.chunks, status.truncations.done);
        assert_eq!(chunks.samples.sum(), 120.0 * status.blocks.count as f64);
        assert_eq!(chunks.seconds.counts().map(|(_, n)| n).sum::<u64>(), status.blocks.count);
        assert!(
            cuts > 0
                && status.truncations.took > Duration::ZERO
                && status.checkpoints.begun >= cuts
        );
        assert_eq!((status.checkpoints.failed, status.checkpoints.not_freed), (0, 0));
        assert_eq!(shard.close().await, Ok(()));
    });
}
