//! A cut from its beginning to its end, while samples go on coming: what is in the block, what stays, and that nothing is
//! in both or in none.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use ulid::Ulid;

use super::cut::{Cut, Truncation};
use super::cut_plan::Extraction;
use super::remove::Removal;

use super::FloatChunks;
use super::sorted_cut::{CutSeries, SortedCut};
use super::spill::SpillFiles;
use super::testing::{index_of, keys, labels, number_of, saved, send_numbered};
use super::*;
use crate::encoding::xor2::Xor2Reader;
use crate::io::Disk as _;
use crate::io::sim::{NoPace, SimDisk, run};
use crate::model::{BlockRange, Labels, StartAt};
use crate::storage::wal::LogBuffer;

const MINUTE: i64 = 60_000;
const SERIES: u32 = 5;

/// The number of each value.
type Model = BTreeMap<(u32, i64), u32>;

struct Store {
    head: RefCell<Head>,
    log: LogBuffer,
    files: SpillFiles<SimDisk>,
    /// Everything that was taken.
    model: Model,
    next: u32,
}

impl Store {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        let files = run(async {
            disk.create_dir("head").await.unwrap();
            SpillFiles::open(disk, "head".to_owned()).await.unwrap()
        });
        let head = RefCell::new(Head::with_window(keys(), 10 * 60 * MINUTE));
        Self { head, log: LogBuffer::new(), files, model: Model::new(), next: 0 }
    }

    fn send(&mut self, series: u32, t: i64) {
        let n = self.next;
        self.next += 1;
        let mut head = self.head.borrow_mut();
        let (appended, part, text) = send_numbered(&mut head, &mut self.log, series, t, n);
        // What is doubtful is asked in other tests; here no instant is sent twice.
        for doubtful in &appended.doubtful {
            let bounds = head.bounds(TimestampMs(1 << 60));
            let log = &mut self.log;
            let known = head.append_doubtful(&part, &text, *doubtful, None, bounds, log);
            assert_eq!(known.written + known.histograms_written, 1);
        }
        if appended.refused.is_empty() {
            self.model.insert((series, t), n);
        }
    }

    fn spill(&self) {
        run(self.files.spill(&self.head, 0, &mut NoPace)).unwrap();
    }

    fn read(&self) -> Model {
        let mut all = Model::new();
        for series in 0..SERIES {
            let Some(index) = index_of(&self.head.borrow(), series) else { continue };
            let pieces = self.head.borrow().pieces(index, TimeRange::ALL);
            let (mut samples, mut pace) = (Samples::default(), NoPace);
            let read = self.files.read_series(&pieces, TimeRange::ALL, &mut samples, &mut pace);
            assert!(run(read).is_empty());
            all.extend(samples.iter().map(|(t, value)| ((series, t.0), number_of(value))));
        }
        all
    }

    fn freeze(&mut self, range: BlockRange) -> (Cut, Extraction) {
        let head = &mut self.head.borrow_mut();
        let cut = head.freeze(Ulid::from(7u128), range, &mut self.log);
        (cut, Extraction::of(head, cut))
    }

    /// What the block has, which is written in the right order.
    fn block(&self, sorted: &SortedCut) -> Model {
        let symbols: Vec<&str> = sorted.symbols().collect();
        assert!(symbols.is_sorted_by(|a, b| a < b), "{symbols:?}");
        let numbers: BTreeMap<String, u32> =
            (0..SERIES).map(|series| (labels(series).to_string(), series)).collect();
        let (mut all, mut before) = (Model::new(), None);
        for start in (0..sorted.len()).step_by(2) {
            let batch = start..(start + 2).min(sorted.len());
            let places = sorted.places(batch.clone());
            let mut read = run(self.files.read(&places, &mut NoPace)).into_iter();
            for at in batch {
                let series = sorted.series(at, &mut read).unwrap();
                assert!(series.lost.is_empty());
                let text = |at: &u32| symbols[*at as usize];
                let labels: Vec<_> =
                    series.labels.iter().map(|(name, value)| (text(name), text(value))).collect();
                let labels = Some(labels);
                assert!(before < labels, "{before:?} {labels:?}");
                let set = Labels::from_pairs(labels.iter().flatten().copied()).unwrap();
                before = labels;
                let number = numbers[&set.to_string()];
                assert!(series.chunks.is_sorted_by(|a, b| a.range.max() < b.range.min()));
                for chunk in &series.chunks {
                    let mut samples = Samples::default();
                    chunk.read(TimeRange::ALL, &mut samples);
                    assert_eq!(samples.len(), chunk.sample_count() as usize);
                    all.extend(samples.iter().map(|(t, v)| ((number, t.0), number_of(v))));
                }
            }
            assert_eq!(read.count(), 0, "all that was read was asked for");
        }
        all
    }
}

/// Minutes, so that some lie in each of the two-hour ranges.
fn sends() -> impl Strategy<Value = Vec<(u32, i64)>> {
    proptest::collection::vec((0..SERIES, 0i64..300), 0..120)
}

proptest! {
    #[test]
    fn a_cut_has_what_came_before_it_and_the_head_keeps_the_rest(
        before in sends(), meanwhile in sends(), after in sends(), range in 0i64..3,
        spills in any::<[bool; 3]>(), slice in 1usize..4,
    ) {
        let mut store = Store::new();
        // No instant twice: each sample has its own second.
        let mut at = 0i64;
        let mut send = |store: &mut Store, sends: &[(u32, i64)]| {
            for (series, minute) in sends {
                at += 1;
                store.send(*series, minute * MINUTE + at);
            }
        };
        send(&mut store, &before);
        if spills[0] { store.spill() }
        let range = BlockRange::new(TimestampMs(range * 120 * MINUTE), TimestampMs((range + 1) * 120 * MINUTE)).unwrap();
        let (cut, mut extraction) = store.freeze(range);
        let in_block: Model = store.model.clone().into_iter().filter(|((_, t), _)| range.contains(TimestampMs(*t))).collect();
        let mut sends = meanwhile.chunks(7);
        while !store.head.borrow_mut().extract_some(&mut extraction, slice) {
            send(&mut store, sends.next().unwrap_or_default());
        }
        if spills[1] { store.spill() }
        prop_assert_eq!(&store.read(), &store.model);
        let sorted = extraction.into_plan().into_sorted();
        prop_assert_eq!(store.block(&sorted), in_block.clone());
        let mut truncation = Truncation::of(cut);
        let mut sends = after.chunks(7);
        loop {
            let range = store.head.borrow().stats().range;
            let all = store.model.keys().map(|(_, t)| TimestampMs(*t));
            prop_assert!(all.filter(|t| !cut.range.contains(*t)).all(|t| range.unwrap().contains(t)));
            if store.head.borrow_mut().truncate_some(&mut truncation, slice) { break }
            if spills[2] { store.spill() }
            send(&mut store, sends.next().unwrap_or_default());
        }
        let left: Model = store.model.clone().into_iter().filter(|(at, _)| !in_block.contains_key(at)).collect();
        prop_assert_eq!(store.read(), left.clone());
        // Its own account of what is left is right.
        let stats = store.head.borrow().stats();
        let times: Vec<i64> = left.keys().map(|(_, t)| *t).collect();
        prop_assert_eq!(stats.range.map(|r| r.min().0), times.iter().min().copied());
        let mut removal = Removal::of(truncation.into_empty());
        while !store.head.borrow_mut().remove_some(&mut removal, 100) {}
        let with_samples: std::collections::BTreeSet<u32> = left.keys().map(|(series, _)| *series).collect();
        let head = store.head.borrow();
        prop_assert_eq!(head.indexes().count(), with_samples.len());
        prop_assert_eq!(head.stats().series, with_samples.len() as u64);
        drop(head);
        // And a checkpoint may be written again.
        let head = store.head.borrow();
        saved(&head, 1 << 20);
    }
}

proptest! {
    #[test]
    fn a_copy_in_pieces_has_everything_once_and_the_head_goes_on_as_it_was(
        sends in sends(), more in sends(), spill_at in 0usize..40,
    ) {
        let mut store = Store::new();
        // No instant twice: each sample has its own second.
        let mut sent = 0i64;
        let mut send = |store: &mut Store, (series, minute): (u32, i64)| {
            sent += 1;
            store.send(series, minute * MINUTE + sent);
        };
        for (at, one) in sends.into_iter().enumerate() {
            if at == spill_at {
                store.spill();
            }
            send(&mut store, one);
        }
        let (stats, mut extraction) = {
            let head = store.head.borrow();
            (head.stats(), Extraction::of_all(&head))
        };
        while !store.head.borrow_mut().extract_some(&mut extraction, 2) {}
        let plan = extraction.into_plan();
        let spilled = store.head.borrow().spill_files();
        prop_assert!(plan.spill_files().is_subset(&spilled));
        prop_assert_eq!(store.head.borrow().stats(), stats);
        let mut sorted = plan.into_sorted();
        let pieces = sorted.pieces();
        prop_assert!(pieces.windows(2).all(|pair| pair[0].end() == pair[1].start()));
        let mut copied = Model::new();
        for piece in pieces {
            sorted.narrow(piece);
            for (key, n) in store.block(&sorted) {
                prop_assert!(piece.contains(TimestampMs(key.1)));
                prop_assert_eq!(copied.insert(key, n), None, "twice");
            }
        }
        prop_assert_eq!(&copied, &store.model);
        // In order or late: what comes is taken as if nobody had looked.
        more.into_iter().for_each(|one| send(&mut store, one));
        prop_assert_eq!(store.read(), store.model.clone());
    }
}

#[test]
fn what_is_left_behind_is_cut_after_the_next_cut_of_what_is_in_order() {
    let mut store = Store::new();
    let minute = |m: i64| m * MINUTE;
    for m in 0..=600 {
        store.send(0, minute(m));
    }
    let mut cuts = Vec::new();
    let cut_next = |store: &mut Store, cuts: &mut Vec<(i64, i64)>| {
        let Some(range) = store.head.borrow().next_cut() else { return false };
        let (cut, mut extraction) = store.freeze(range);
        while !store.head.borrow_mut().extract_some(&mut extraction, 100) {}
        let mut truncation = Truncation::of(cut);
        while !store.head.borrow_mut().truncate_some(&mut truncation, 100) {}
        cuts.push((range.start().0 / MINUTE, range.end().0 / MINUTE));
        true
    };
    while cut_next(&mut store, &mut cuts) {}
    assert_eq!(cuts, [(0, 120), (120, 240), (240, 360), (360, 480)]);
    store.send(1, minute(130));
    store.send(1, minute(10) + 1);
    assert!(!cut_next(&mut store, &mut cuts), "a late sample alone makes no block");
    for m in 601..700 {
        store.send(0, minute(m));
    }
    cuts.clear();
    while cut_next(&mut store, &mut cuts) {}
    assert_eq!(cuts, [(480, 600), (0, 120), (120, 240)]);
    let stats = store.head.borrow().stats();
    assert_eq!(stats.range, stats.in_order);
    assert_eq!(stats.range.unwrap().min().0, minute(600));
}

#[test]
fn blocks_have_floats_in_the_encoding_that_the_head_was_told() {
    let mut store = Store::new();
    (0..16).for_each(|m| store.send(0, m * MINUTE));
    store.spill();
    for (told, encoding) in [(FloatChunks::Xor2, 4), (FloatChunks::Xor, 1)] {
        store.head.borrow_mut().set_float_chunks(told);
        let head = store.head.borrow();
        let mut extraction = Extraction::of_all(&head);
        drop(head);
        while !store.head.borrow_mut().extract_some(&mut extraction, 2) {}
        let sorted = extraction.into_plan().into_sorted();
        let read = run(store.files.read(&sorted.places(0..1), &mut NoPace));
        let series = sorted.series(0, &mut read.into_iter()).unwrap();
        assert!(series.chunks.iter().all(|chunk| chunk.encoding == encoding), "{told:?}");
        assert_eq!(store.block(&sorted), store.model);
    }
}

#[test]
fn blocks_of_xor2_have_the_starts_that_samples_came_with_also_after_a_restart() {
    let mut head = Head::with_window(keys(), 60 * MINUTE);
    head.set_float_chunks(FloatChunks::Xor2);
    let (mut log, mut model) = (LogBuffer::new(), Vec::new());
    // Two lives of a counter, and then somebody who does not know since when it counts; another series knows nothing.
    for m in 0..90i64 {
        let start = [1, 40 * MINUTE, 0][usize::try_from(m / 40).unwrap()];
        let (mut part, text) = testing::request(&[
            (1, vec![testing::sample(m * MINUTE, 0.5)]),
            (0, vec![testing::sample(m * MINUTE, 1.0)]),
        ]);
        part.starts
            .extend((start != 0).then_some(StartAt { sample: 1, start: TimestampMs(start) }));
        let bounds = head.bounds(TimestampMs(1 << 60));
        assert!(head.append(&part, 0..2, &text, bounds, &mut log).refused.is_empty());
        model.push((m * MINUTE, start));
    }
    // One that came late has the start of its time.
    assert_eq!(
        testing::send(&mut head, &mut log, 0, &[testing::sample(50 * MINUTE + 1, 7.0)]).written,
        1
    );
    model.insert(51, (50 * MINUTE + 1, 40 * MINUTE));
    let mut from_log = Head::with_window(keys(), 60 * MINUTE);
    let mut replay = testing::Replay::default();
    for payload in log.take() {
        let records =
            crate::encoding::record::records(&payload[crate::encoding::batch::HEADER_BYTES..]);
        records.for_each(|record| replay.take(&mut from_log, record.unwrap()));
    }
    from_log.finish_replay();
    let mut from_checkpoint = Head::with_window(keys(), 60 * MINUTE);
    testing::restore(&mut from_checkpoint, &saved(&head, 300));
    let disk = SimDisk::new(1);
    let files = run(async {
        disk.create_dir("head").await.unwrap();
        SpillFiles::open(disk, "head".to_owned()).await.unwrap()
    });
    for mut head in [head, from_log, from_checkpoint] {
        head.set_float_chunks(FloatChunks::Xor2);
        let mut extraction = Extraction::of_all(&head);
        while !head.extract_some(&mut extraction, 2) {}
        let sorted = extraction.into_plan().into_sorted();
        let read = run(files.read(&sorted.places(0..2), &mut NoPace));
        let mut read = read.into_iter();
        let starts_of = |series: &CutSeries| -> Vec<(i64, i64)> {
            let readers = series.chunks.iter().map(|chunk| Xor2Reader::new(&chunk.bytes).unwrap());
            let samples = readers.flatten().map(Result::unwrap);
            samples.map(|started| (started.sample.t.0, started.start.0)).collect()
        };
        let all: Vec<_> =
            (0..2).map(|at| starts_of(&sorted.series(at, &mut read).unwrap())).collect();
        let knows = all.iter().position(|series| series.len() == 91).unwrap();
        assert_eq!(all[knows], model);
        assert!(all[1 - knows].iter().all(|(_, start)| *start == 0));
    }
}

#[test]
fn a_sample_that_is_late_in_its_own_request_gives_no_start_to_others() {
    let mut head = Head::with_window(keys(), 60 * MINUTE);
    head.set_float_chunks(FloatChunks::Xor2);
    let mut log = LogBuffer::new();
    let samples = [10, 20, 15].map(|m| testing::sample(m * MINUTE, 0.5));
    let (mut part, text) = testing::request(&[(0, samples.to_vec())]);
    let starts = [(0, 1), (1, 1), (2, 5)];
    part.starts.extend(starts.map(|(sample, t)| StartAt { sample, start: TimestampMs(t) }));
    let bounds = head.bounds(TimestampMs(1 << 60));
    assert_eq!(head.append(&part, 0..1, &text, bounds, &mut log).written, 3);
    assert_eq!(head.starts.of(0), [(TimestampMs(10 * MINUTE), TimestampMs(1))]);
}

#[test]
fn a_cut_that_is_given_up_changes_nothing() {
    let mut store = Store::new();
    for m in 0..400 {
        store.send(0, m * MINUTE);
    }
    let range = store.head.borrow().next_cut().unwrap();
    let (cut, mut extraction) = store.freeze(range);
    store.head.borrow_mut().extract_some(&mut extraction, 100);
    store.head.borrow_mut().give_up(cut);
    assert_eq!(store.read(), store.model);
    assert_eq!(store.head.borrow().next_cut(), Some(range));
}

#[test]
fn ranges_are_overdue_when_they_are_due_and_their_chunks_have_left_memory() {
    let mut store = Store::new();
    for m in 0..=600 {
        store.send(0, m * MINUTE);
    }
    let overdue = |store: &Store| store.head.borrow().overdue_ranges();
    assert_eq!(overdue(&store), 0, "in memory they are counted by their bytes");
    store.spill();
    assert_eq!(overdue(&store), 4, "of ten hours, the first eight");
    let range = store.head.borrow().next_cut().unwrap();
    let (cut, mut extraction) = store.freeze(range);
    while !store.head.borrow_mut().extract_some(&mut extraction, 100) {}
    assert_eq!(overdue(&store), 4, "until the cut has ended");
    let mut truncation = Truncation::of(cut);
    while !store.head.borrow_mut().truncate_some(&mut truncation, 100) {}
    assert_eq!(overdue(&store), 3);
    // Late ones wait for the next cut, however old they are.
    for m in 0..300 {
        store.send(0, m * MINUTE + 7);
    }
    store.spill();
    assert_eq!(overdue(&store), 3);
}
