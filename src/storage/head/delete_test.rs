//! Deleted samples: gone wherever they were, after a replay too, and nothing else is.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::delete::{delete, replayed};

use super::spill::SpillFiles;
use super::testing::{Replay, index_of, keys, labels, number_of, saved, send_numbered};
use super::*;
use crate::encoding::record::{Record, records};
use crate::io::Disk as _;
use crate::io::sim::{NoPace, SimDisk, run};
use crate::model::Matcher;
use crate::model::matcher::MatchOp;
use crate::storage::wal::LogBuffer;

const DIR: &str = "head";
const MINUTE: i64 = 60_000;

/// What the tests compare with: series to time to the number of the value.
type Model = BTreeMap<u32, BTreeMap<i64, u32>>;

/// A Head, its log since a checkpoint, and that checkpoint.
struct World {
    head: RefCell<Head>,
    log: RefCell<LogBuffer>,
    spill: SpillFiles<SimDisk>,
    checkpoint: Vec<u8>,
    model: Model,
}

impl World {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        let spill = run(async {
            disk.create_dir(DIR).await.unwrap();
            SpillFiles::open(disk.clone(), DIR.to_owned()).await.unwrap()
        });
        Self {
            head: RefCell::new(Head::with_window(keys(), 1 << 50)),
            log: RefCell::new(LogBuffer::new()),
            spill,
            checkpoint: Vec::new(),
            model: Model::new(),
        }
    }

    fn send(&mut self, series: u32, t: i64, n: i64) {
        let (mut head, mut log) = (self.head.borrow_mut(), self.log.borrow_mut());
        let n = u32::try_from(n).unwrap();
        let (appended, ..) = send_numbered(&mut head, &mut log, series, t, n);
        if appended.written == 1 && appended.doubtful.is_empty() {
            self.model.entry(series).or_default().entry(t).or_insert(n);
        }
    }

    fn fill(&mut self, series: u32, minutes: std::ops::Range<i64>) {
        minutes.for_each(|minute| self.send(series, minute * MINUTE, minute));
    }

    fn spill(&self) {
        run(self.spill.spill(&self.head, 0, &mut NoPace)).unwrap();
    }

    fn delete(&mut self, series: u32, minutes: (i64, i64)) {
        let matchers = [Matcher::new("series", MatchOp::Equal, &series.to_string()).unwrap()];
        let (min, max) = (minutes.0 * MINUTE, minutes.1 * MINUTE);
        let range = TimeRange::new(TimestampMs(min), TimestampMs(max)).unwrap();
        let pace = &mut NoPace;
        let deleting = delete(&self.head, &self.log, &self.spill, &matchers, range, pace);
        assert!(run(deleting).unwrap().1.is_empty());
        if let Some(samples) = self.model.get_mut(&series) {
            samples.retain(|t, _| *t < min || *t > max);
        }
    }

    /// Saves the Head; its log begins anew.
    fn save(&mut self) {
        self.spill();
        self.checkpoint = saved(&self.head.borrow(), 500);
        self.log.borrow_mut().take();
    }

    fn read(&self, head: &RefCell<Head>) -> Model {
        let mut all = Model::new();
        for series in 0..4 {
            let Some(index) = index_of(&head.borrow(), series) else { continue };
            let (mut out, pieces) =
                (Samples::default(), head.borrow().pieces(index, TimeRange::ALL));
            let pace = &mut NoPace;
            let reading = self.spill.read_series(&pieces, TimeRange::ALL, &mut out, pace);
            assert!(run(reading).is_empty());
            assert_eq!(head.borrow().overlaps(index, TimeRange::ALL), !out.is_empty());
            all.insert(series, out.iter().map(|(t, value)| (t.0, number_of(value))).collect());
        }
        all
    }

    /// What is there after the checkpoint and the log are read back.
    fn restarted(&self) -> Model {
        let head = RefCell::new(Head::new(keys()));
        let mut payload = self.checkpoint.clone();
        for logged in self.log.borrow_mut().take() {
            payload.extend_from_slice(&logged[crate::encoding::batch::HEADER_BYTES..]);
        }
        let mut replay = Replay::default();
        for record in records(&payload) {
            match record.unwrap() {
                Record::Tombstones(record) => {
                    let range = record.range;
                    let series: Vec<u32> = record.map(|r| replay.indexes[&r.unwrap()]).collect();
                    let pace = &mut NoPace;
                    let deleting = replayed(&head, &self.spill, &series, range, pace);
                    assert!(run(deleting).is_empty());
                }
                record => replay.take(&mut head.borrow_mut(), record),
            }
        }
        head.borrow_mut().finish_replay();
        self.read(&head)
    }

    fn check(&self) {
        let mut want = self.model.clone();
        let read = self.read(&self.head);
        for series in read.keys() {
            want.entry(*series).or_default();
        }
        assert_eq!(read, want);
    }
}

#[test]
fn what_is_deleted_is_gone_from_the_middle_of_every_kind_of_chunk() {
    let mut world = World::new();
    world.fill(0, 0..300);
    world.fill(1, 0..300);
    world.spill();
    world.fill(0, 300..700);
    for late in 0..40 {
        world.send(0, (200 + late) * MINUTE + 7, late);
    }
    world.delete(0, (100, 620));
    world.check();
    assert_eq!(world.model[&1].len(), 300);
    assert_eq!(world.model[&0].len(), 700 - 521);
}

#[test]
fn a_series_that_has_nothing_left_is_not_found_by_who_looks_for_samples() {
    let mut world = World::new();
    world.fill(0, 0..300);
    world.delete(0, (-1, 1 << 30));
    let index = index_of(&world.head.borrow(), 0).unwrap();
    assert!(!world.head.borrow().overlaps(index, TimeRange::ALL));
    assert_eq!(world.head.borrow().labels(index), Some(labels(0)));
    assert_eq!(world.head.borrow().stats().chunk_bytes, 0);
}

#[test]
fn what_is_sent_again_after_it_was_deleted_is_there_again_and_after_a_restart() {
    let mut world = World::new();
    world.fill(0, 0..10);
    world.delete(0, (0, 100));
    world.send(0, 5 * MINUTE, 77);
    world.send(0, 20 * MINUTE, 78);
    world.check();
    assert_eq!(world.model[&0], BTreeMap::from([(5 * MINUTE, 77), (20 * MINUTE, 78)]));
    assert_eq!(world.restarted(), world.model);
}

#[derive(Debug, Clone)]
enum Act {
    Fill(u32, i64, i64),
    Send(u32, i64),
    Delete(u32, i64, i64),
    Spill,
    Save,
}

fn act() -> impl Strategy<Value = Act> {
    let (series, minute) = (0u32..3, 0i64..900);
    prop_oneof![
        3 => (series.clone(), minute.clone(), 1i64..300).prop_map(|(s, at, n)| Act::Fill(s, at, n)),
        3 => (series.clone(), minute.clone()).prop_map(|(s, at)| Act::Send(s, at)),
        3 => (series, minute.clone(), minute).prop_map(|(s, a, b)| Act::Delete(s, a.min(b), a.max(b))),
        1 => Just(Act::Spill),
        1 => Just(Act::Save),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn after_any_deletes_a_head_reads_as_a_map_and_so_does_what_is_replayed(
        acts in proptest::collection::vec(act(), 0..25),
    ) {
        let mut world = World::new();
        for act in acts {
            match act {
                Act::Fill(series, at, count) => world.fill(series, at..at + count),
                Act::Send(series, at) => world.send(series, at * MINUTE, at),
                Act::Delete(series, a, b) => world.delete(series, (a, b)),
                Act::Spill => world.spill(),
                Act::Save => world.save(),
            }
            world.check();
        }
        let mut want = world.model.clone();
        let back = world.restarted();
        for series in back.keys() {
            want.entry(*series).or_default();
        }
        prop_assert_eq!(back, want);
    }
}
