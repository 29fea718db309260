//! Chunks that have left memory: what is read of them, after a restart too, and what damage costs.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;

use super::doubt::resolve;

use super::spill::{SpillCounts, SpillFiles, list};
use super::testing::{index_of, keys, request, restore, sample, saved, send};
use super::*;
use crate::encoding::record::SpillPlace;
use crate::io::Disk as _;
use crate::io::sim::{Faults, NoPace, SimDisk, run};
use crate::model::{RefusalReason, SeriesRef};
use crate::storage::chunk_cache::ChunkCache;
use crate::storage::quarantine::{Marked, mark_cut};
use crate::storage::reads::Reads;
use crate::storage::replay::Damage;
use crate::storage::wal::LogBuffer;

const DIR: &str = "head";
const HOUR: i64 = 3_600_000;
const SERIES: u32 = 7;

/// Series with samples every 15 s for five hours, from an hour that lies within its two hours, and a few late ones.
fn filled() -> (Head, LogBuffer) {
    let (mut head, mut log) = (Head::with_window(keys(), 3 * HOUR), LogBuffer::new());
    for hundred in 0..12 {
        for series in 0..SERIES {
            let at = hundred * 100..(hundred + 1) * 100;
            let samples: Vec<_> =
                at.map(|i| sample(HOUR + i * 15_000, f64::from(series) + i as f64)).collect();
            assert_eq!(send(&mut head, &mut log, series, &samples).written, 100);
        }
    }
    for i in 0..40 {
        send(&mut head, &mut log, 3, &[sample(4 * HOUR + 7_000 + i * 15_000, 0.5)]);
    }
    (head, log)
}

fn files(disk: &SimDisk) -> SpillFiles<SimDisk> {
    run(async {
        disk.create_dir(DIR).await.unwrap();
        SpillFiles::open(disk.clone(), DIR.to_owned()).await.unwrap()
    })
}

/// All samples of all series, and how many chunks could not be read.
fn read_all(
    head: &Head,
    files: &SpillFiles<SimDisk>,
    range: TimeRange,
) -> (Vec<Vec<Sample>>, usize) {
    let mut errors = 0;
    let all = (0..SERIES).map(|series| {
        let mut out = Samples::default();
        let pieces = head.pieces(index_of(head, series).unwrap(), range);
        errors += run(files.read_series(&pieces, range, &mut out, &mut NoPace)).len();
        out.floats
    });
    (all.collect(), errors)
}

fn spilled(disk: &SimDisk) -> (RefCell<Head>, SpillFiles<SimDisk>) {
    let (head, files) = (RefCell::new(filled().0), files(disk));
    run(files.spill(&head, 0, &mut NoPace)).unwrap();
    (head, files)
}

fn restored(head: &Head) -> Head {
    let mut back = Head::new(keys());
    restore(&mut back, &saved(head, 500));
    back
}

#[test]
fn chunks_that_have_left_memory_read_as_before() {
    let ranges = [
        TimeRange::ALL,
        TimeRange::new(TimestampMs(3 * HOUR), TimestampMs(4 * HOUR + 100_000)).unwrap(),
    ];
    let (disk, before) = (SimDisk::new(1), filled().0);
    let (head, files) = spilled(&disk);
    let head = head.into_inner();
    let stats = head.stats();
    assert_eq!((stats.chunk_bytes, stats.chunks), (0, before.stats().chunks));
    assert!(stats.chunks_spilled > 60, "{}", stats.chunks_spilled);
    let back = restored(&head);
    assert_eq!(
        HeadStats { samples_appended: 0, ..back.stats() }.chunks_spilled,
        stats.chunks_spilled
    );
    for range in ranges {
        let want = read_all(&before, &files, range);
        assert_eq!(want.1, 0);
        assert_eq!(read_all(&head, &files, range), want);
        assert_eq!(read_all(&back, &files, range), want, "after a restart");
        for series in 0..SERIES {
            let index = index_of(&head, series).unwrap();
            assert_eq!(head.overlaps(index, range), before.overlaps(index, range));
        }
    }
}

#[test]
fn a_file_holds_the_chunks_of_one_two_hour_range_and_goes_when_it_is_not_needed() {
    let disk = SimDisk::new(1);
    let (head, files) = spilled(&disk);
    let in_use = head.borrow().spill_files();
    let there = || run(list(&disk, DIR)).unwrap();
    assert_eq!(there().into_keys().collect::<Vec<_>>(), [1, 2, 3], "hours 0, 2 and 4");
    assert_eq!(in_use.len(), 3);
    run(files.remove_unused(&[2].into(), &Marked::default())).unwrap();
    assert_eq!(there().into_keys().collect::<Vec<_>>(), [2]);
}

#[test]
fn files_are_as_long_as_is_told_and_what_is_read_of_them_is_counted() {
    let disk = SimDisk::new(1);
    let (head, files) = spilled(&disk);
    let on_disk = || run(list(&disk, DIR)).unwrap().values().sum::<u64>();
    let chunks = head.borrow().stats().chunks_spilled;
    assert_eq!(
        (files.bytes(), files.counts()),
        (on_disk(), SpillCounts { spilled: chunks, damaged: 0 })
    );
    assert_eq!(files.reads.reads(), Reads::default());
    read_all(&head.borrow(), &files, TimeRange::ALL);
    let read = files.reads.reads();
    assert!((1..chunks).contains(&read.count), "{read:?}: those of a series lie close together");
    assert!(read.bytes >= read.count * 4096);
    let opened = run(SpillFiles::open(disk.clone(), DIR.to_owned())).unwrap();
    assert_eq!(opened.bytes(), on_disk(), "after a restart");
    run(files.remove_unused(&BTreeSet::new(), &Marked::default())).unwrap();
    assert_eq!((files.bytes(), on_disk()), (0, 0));
}

/// Where all chunks lie that have left memory.
fn places(head: &Head) -> Vec<SpillPlace> {
    let all = |series| head.pieces(index_of(head, series).unwrap(), TimeRange::ALL);
    (0..SERIES).flat_map(all).filter_map(|piece| piece.place()).collect()
}

#[test]
fn chunks_that_a_query_has_read_are_not_read_again_until_their_file_goes() {
    let disk = SimDisk::new(1);
    let (head, files) = spilled(&disk);
    let places = places(&head.borrow());
    let cache = Rc::new(ChunkCache::new(1 << 20));
    let reads = |read_through: bool, places: &[SpillPlace]| -> (Vec<Bytes>, u64) {
        let before = files.reads.reads().count;
        let read = match read_through {
            true => run(files.read_through(places, &mut NoPace)),
            false => run(files.read(places, &mut NoPace)),
        };
        (read.into_iter().map(Result::unwrap).collect(), files.reads.reads().count - before)
    };
    let once = reads(false, &places);
    assert_eq!(reads(true, &places), once, "without a cache");
    files.keep_chunks_in(&cache);
    reads(false, &places);
    assert_eq!(cache.stats(), ChunkCache::new(1 << 20).stats(), "a cut reads past it");
    let half = places.len() / 2;
    assert!(reads(true, &places[half..]).1 > 0);
    assert_eq!(reads(true, &places[half..]), (once.0[half..].to_vec(), 0));
    assert!(reads(true, &places).0 == once.0 && reads(true, &places) == (once.0.clone(), 0));
    assert_eq!(cache.stats().items, places.len());

    run(files.remove_unused(&[2].into(), &Marked::default())).unwrap();
    let left: Vec<_> = places.iter().copied().filter(|place| place.file == 2).collect();
    assert_eq!((cache.stats().items, reads(true, &left).1), (left.len(), 0));
    let gone = places.iter().copied().find(|place| place.file == 1).unwrap();
    assert!(run(files.read_through(&[gone], &mut NoPace))[0].is_err());
    drop(files);
    assert_eq!((cache.stats().items, cache.stats().bytes), (0, 0));
}

#[test]
fn a_chunk_that_is_damaged_or_not_given_is_not_kept() {
    let disk = SimDisk::new(1);
    let (head, files) = spilled(&disk);
    let places = places(&head.borrow());
    let cache = Rc::new(ChunkCache::new(1 << 20));
    files.keep_chunks_in(&cache);
    let errors = || {
        let read = run(files.read_through(&places, &mut NoPace));
        read.iter().filter(|chunk| chunk.is_err()).count()
    };
    disk.spoil("head/chunks-00000002", 700..701);
    disk.flip_bit("head/chunks-00000003", 8 * 700);
    for asked in 1..3 {
        assert_eq!((errors(), cache.stats().items), (2, places.len() - 2));
        assert_eq!(files.counts().damaged, 2 * asked);
    }
    disk.heal();
    disk.flip_bit("head/chunks-00000003", 8 * 700);
    assert_eq!((errors(), cache.stats().items), (0, places.len()));
}

#[test]
fn a_damaged_chunk_costs_itself() {
    let disk = SimDisk::new(1);
    let (head, files) = spilled(&disk);
    let whole = read_all(&head.borrow(), &files, TimeRange::ALL).0;
    disk.flip_bit("head/chunks-00000002", 8 * 700);
    let (read, errors) = read_all(&head.borrow(), &files, TimeRange::ALL);
    assert_eq!(errors, 1);
    let lost: Vec<_> =
        whole.iter().zip(&read).map(|(a, b)| a.len() - b.len()).filter(|n| *n > 0).collect();
    assert_eq!(lost, [120]);
}

#[test] // once, chunks that were read together with one that a disk did not give were lost with it
fn a_chunk_that_cannot_be_read_costs_itself() {
    let disk = SimDisk::new(1);
    let (head, files) = spilled(&disk);
    let whole = read_all(&head.borrow(), &files, TimeRange::ALL);
    disk.spoil("head/chunks-00000002", 700..701);
    let (read, errors) = read_all(&head.borrow(), &files, TimeRange::ALL);
    let lost = whole.0.iter().zip(&read).map(|(a, b)| a.len() - b.len()).filter(|n| *n > 0);
    assert_eq!((errors, lost.collect::<Vec<_>>()), (1, vec![120]));
    disk.heal();
    assert_eq!(read_all(&head.borrow(), &files, TimeRange::ALL), whole);
}

#[test]
fn a_file_that_is_marked_is_moved_when_nothing_needs_it() {
    let disk = SimDisk::new(1);
    run(async {
        let path = "shard-000/head/chunks-00000001".to_owned();
        disk.create_dir("shard-000/head").await.unwrap();
        disk.create(&path, 4096).await.unwrap();
        let (file, what, keep) = (path.clone(), "a hole".to_owned(), vec![path]);
        let damage = [Damage { file, offset: 0, what, keep }];
        mark_cut(&disk, &damage, ulid::Ulid(7)).await.unwrap();
        let files = SpillFiles::open(disk.clone(), "shard-000/head".to_owned()).await.unwrap();
        for (in_use, expected) in [(&[1][..], "head"), (&[], "quarantine")] {
            let marked = Marked::find(&disk, "shard-000/quarantine").await.unwrap();
            files.remove_unused(&in_use.iter().copied().collect(), &marked).await.unwrap();
            let paths = disk.paths();
            let is_it = |path: &&String| path.contains("chunks-") && !path.ends_with(".txt");
            let it = paths.iter().find(is_it).unwrap();
            assert!(it.starts_with(&format!("shard-000/{expected}/chunks-00000001")), "{it}");
        }
    });
}

#[test]
fn what_cannot_be_written_stays_in_memory_and_a_failed_file_takes_nothing_more() {
    let before = filled().0;
    let calls = {
        let disk = SimDisk::new(1);
        spilled(&disk);
        disk.calls()
    };
    for at in 1..=calls {
        let disk = SimDisk::new(1);
        let (head, files) = (RefCell::new(filled().0), files(&disk));
        let fail_at = Some((at, std::io::ErrorKind::Other));
        disk.set_faults(Faults { fail_at, ..Faults::default() });
        let failed = run(files.spill(&head, 0, &mut NoPace)).is_err();
        assert!(failed, "call {at}");
        let all = |head: &Head| read_all(head, &files, TimeRange::ALL);
        assert_eq!(all(&head.borrow()), all(&before));
        run(files.spill(&head, 0, &mut NoPace)).unwrap();
        assert_eq!(all(&head.borrow()), all(&before));
        assert_eq!(head.borrow().stats().chunk_bytes, 0);
        // Nothing of it relies on what a failed flush lost.
        let image = disk.image_after_crash(at, Faults::default());
        let files = run(SpillFiles::open(image, DIR.to_owned())).unwrap();
        assert_eq!(read_all(&head.borrow(), &files, TimeRange::ALL), all(&before), "call {at}");
    }
}

/// Sends samples of series 1 to a Head whose chunks have left memory, and lets doubt be resolved.
fn sent_after_spill(samples: &[Sample]) -> (Appended, usize, RefCell<Head>, SpillFiles<SimDisk>) {
    let (head, files) = spilled(&SimDisk::new(1));
    let (part, text) = request(&[(0, vec![]), (1, samples.to_vec())]);
    let log = RefCell::new(LogBuffer::new());
    let bounds = head.borrow().bounds(TimestampMs(1 << 60));
    let mut appended =
        { head.borrow_mut().append(&part, 0..2, &text, bounds, &mut log.borrow_mut()) };
    let doubtful = std::mem::take(&mut appended.doubtful);
    let more = run(resolve(&head, &log, &files, &part, &text, &doubtful, bounds, &mut NoPace));
    appended.written += more.written;
    appended.refused.append(more.refused);
    (appended, doubtful.len(), head, files)
}

#[test]
fn a_late_sample_is_known_if_a_chunk_that_has_left_memory_has_it() {
    let known = sample(4 * HOUR + 15_000, 1.0 + 721.0);
    let (appended, doubtful, head, _) = sent_after_spill(&[known]);
    assert_eq!((appended.written, doubtful), (1, 1));
    assert_eq!(head.borrow().stats().samples_known, 1);
}

#[test]
fn another_value_in_a_chunk_that_has_left_memory_is_a_conflict() {
    let (appended, _, _, _) = sent_after_spill(&[sample(4 * HOUR + 15_000, -1.0)]);
    let reason =
        RefusalReason::Duplicate { t: TimestampMs(4 * HOUR + 15_000), existing: 722.0, new: -1.0 };
    assert_eq!((appended.written, &appended.refused.named[0].reason), (0, &reason));
}

#[test]
fn a_late_sample_between_those_of_a_chunk_that_has_left_memory_is_stored() {
    let late = sample(4 * HOUR + 15_001, 5.0);
    let (appended, doubtful, head, files) = sent_after_spill(&[late]);
    assert_eq!((appended.written, doubtful), (1, 1));
    let (head, whole) = (head.borrow(), read_all(&filled().0, &files, TimeRange::ALL).0);
    let read = &read_all(&head, &files, TimeRange::ALL).0[1];
    assert!(read.is_sorted_by_key(|sample| sample.t));
    assert_eq!((read.len(), read.contains(&late)), (whole[1].len() + 1, true));
    let reference = head.series.get(index_of(&head, 1).unwrap()).unwrap().reference;
    assert_ne!(reference, SeriesRef(0));
}

#[test]
fn before_the_window_nothing_is_read_to_refuse_a_sample() {
    let (appended, doubtful, _, _) = sent_after_spill(&[sample(HOUR, 1.0)]);
    assert_eq!((appended.refused.samples.too_old, doubtful), (1, 0));
}
