//! A selection over a Head and blocks that overlap, against a map of maps.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::encoding::block::meta::{BlockMeta, Ulid};
use crate::encoding::chunk_encoder::{ChunkEncoder, EncodedChunk};
use crate::io::sim::{NoPace, SimDisk, run};
use crate::model::matcher::MatchOp;
use crate::model::{Fingerprinter, Sample, TimestampMs, ValueRef, route_hash};
use crate::storage::block::IndexCache;
use crate::storage::block::reader::Block;
use crate::storage::block::writer::{BlockWriter, ChunkToWrite, WriterOptions};
use crate::storage::chunk_cache::ChunkCache;
use crate::storage::served::{Served, ServedBlock};

/// Series to time to value.
type Model = BTreeMap<u8, BTreeMap<i64, f64>>;

fn labels(series: u8) -> Labels {
    let number = format!("{series:03}");
    Labels::from_pairs([("__name__", "m"), ("series", number.as_str())]).unwrap()
}

fn chunk(samples: &[(i64, f64)]) -> EncodedChunk {
    let (mut encoder, mut out) = (ChunkEncoder::default(), Vec::new());
    for (t, v) in samples {
        encoder.push(TimestampMs(0), TimestampMs(*t), ValueRef::Float(*v), &mut out);
    }
    encoder.end(&mut out);
    assert_eq!(out.len(), 1, "they go into one chunk");
    out.remove(0)
}

async fn block(
    disk: &SimDisk,
    number: u64,
    series: &Model,
    samples_a_chunk: usize,
) -> ServedBlock<SimDisk> {
    let chunks = |samples: &BTreeMap<i64, f64>| -> Vec<EncodedChunk> {
        let samples: Vec<(i64, f64)> = samples.iter().map(|(t, v)| (*t, *v)).collect();
        samples.chunks(samples_a_chunk).map(chunk).collect()
    };
    block_of(disk, number, &series.iter().map(|(n, s)| (*n, chunks(s))).collect()).await
}

/// A block of these chunks, which need not be what they say.
pub async fn block_of(
    disk: &SimDisk,
    number: u64,
    series: &BTreeMap<u8, Vec<EncodedChunk>>,
) -> ServedBlock<SimDisk> {
    let texts: Vec<Labels> = series.keys().map(|series| labels(*series)).collect();
    let symbols: BTreeSet<&str> =
        texts.iter().flat_map(Labels::iter).flat_map(|label| [label.name, label.value]).collect();
    let symbols: Vec<&str> = symbols.into_iter().collect();
    let of = |text: &str| u32::try_from(symbols.binary_search(&text).unwrap()).unwrap();
    let ulid = Ulid(u128::from(number));
    let options = WriterOptions::default();
    let mut each = symbols.iter().copied();
    let mut writer =
        BlockWriter::create(disk, "", ulid, &mut each, options, &mut NoPace).await.unwrap();
    for (labels, chunks) in texts.iter().zip(series.values()) {
        let mut to_write = Vec::new();
        for EncodedChunk { range, encoding, bytes } in chunks {
            to_write.push(ChunkToWrite { range: *range, encoding: *encoding, bytes });
        }
        let symbols: Vec<_> =
            labels.iter().map(|label| (of(label.name), of(label.value))).collect();
        writer.add_series(&symbols, &to_write, &mut NoPace).await.unwrap();
    }
    let ranges = || series.values().flatten().map(|chunk| chunk.range);
    let (min, max) = (ranges().map(|r| r.min().0).min(), ranges().map(|r| r.max().0).max());
    let meta = BlockMeta::new(ulid, min.unwrap(), max.unwrap() + 1);
    writer.finish(meta, &mut NoPace).await.unwrap();
    let chunks = Rc::new(ChunkCache::new(2048));
    let cache = Rc::new(IndexCache::with_chunks(1 << 20, chunks));
    let dir = crate::storage::block::dir("", ulid);
    let block = Block::open(disk, &dir, cache, &mut NoPace).await.unwrap();
    ServedBlock { block, is_mixed: true }
}

fn any_series(times: std::ops::Range<i64>) -> impl Strategy<Value = Model> {
    let samples = proptest::collection::btree_map(times, (0i32..5).prop_map(f64::from), 1..60);
    proptest::collection::btree_map(0u8..8, samples, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_read_is_what_the_first_source_said(
        blocks in proptest::collection::vec(any_series(0..300), 0..4),
        in_head in any_series(200..400),
        range in (0i64..400, 0i64..400), samples_a_chunk in 1usize..30,
        odd_only: bool, in_order: bool, newest_only: bool, through_cache: bool,
    ) {
        let range = TimeRange::new(TimestampMs(range.0), TimestampMs(range.0 + range.1)).unwrap();
        let owns = move |route: u64| !odd_only || route % 2 == 1;
        let (mut model, disk) = (Model::new(), SimDisk::new(1));
        let mut head = Head::new(Fingerprinter::new(1));
        // Blocks are asked in the order of their first instants.
        let mut numbered: Vec<_> = (1u64..).zip(blocks).filter(|(_, series)| !series.is_empty()).collect();
        numbered.sort_by_key(|(number, series)| (series.values().flat_map(BTreeMap::keys).min().copied(), *number));
        let mut add = |series: &Model, owned: &dyn Fn(u8) -> bool| {
            for (series, samples) in series.iter().filter(|(series, _)| owned(**series)) {
                for (t, v) in samples.iter().filter(|(t, _)| range.contains(TimestampMs(**t))) {
                    model.entry(*series).or_default().entry(*t).or_insert(*v);
                }
            }
        };
        for (_, series) in &numbered {
            add(series, &|series| owns(route_hash(labels(series).as_ref())));
        }
        add(&in_head, &|_| true);
        for (series, samples) in &in_head {
            let index = head.replay_unnamed_series(labels(*series).as_ref()).unwrap();
            for (t, v) in samples {
                head.replay_sample(index, Sample { t: TimestampMs(*t), v: *v });
            }
        }
        let mut read = run(async {
            let mut opened = Vec::new();
            for (number, series) in &numbered {
                opened.push(Rc::new(block(&disk, *number, series, samples_a_chunk).await));
            }
            let (served, head) = (Served::new(opened), Rc::new(RefCell::new(head)));
            let matcher = Matcher::new("__name__", MatchOp::Equal, "m").unwrap();
            let owns: Rc<dyn Fn(u64) -> bool> = Rc::new(owns);
            let mut answers = Vec::new();
            // The second time chunks come from memory if they may.
            for _ in 0..2 {
                let mut selected =
                    Selected::find(Rc::clone(&head), Rc::new(SpillFiles::of(disk.clone(), "head".to_owned())), served.view(), std::slice::from_ref(&matcher), range, &owns, &mut NoPace).await.unwrap();
                if through_cache {
                    selected = selected.through_cache();
                }
                if in_order {
                    selected = selected.in_order(&mut NoPace).await;
                }
                if newest_only {
                    selected = selected.newest_only();
                }
                let (mut batch, mut read, mut last) = (Batch::default(), Model::new(), None);
                while selected.read(&mut batch, &mut NoPace).await.unwrap() {
                    for (run, samples) in batch.take_runs() {
                        assert!(run.is_first && run.is_last, "there are few chunks");
                        let name = run.series.labels(&head).unwrap();
                        assert!(!in_order || last.replace(name.clone()).is_none_or(|last| last < name));
                        let series: u8 = name.get("series").unwrap().parse().unwrap();
                        let map: BTreeMap<_, _> = samples.floats.iter().map(|s| (s.t.0, s.v)).collect();
                        assert_eq!(map.len(), samples.len(), "a sample stands twice");
                        if !map.is_empty() {
                            assert!(read.insert(series, map).is_none(), "a series comes twice");
                        }
                    }
                }
                assert_eq!(selected.take_damage(), [""; 0]);
                answers.push(read);
            }
            let read = answers.pop().unwrap();
            assert_eq!(answers, std::slice::from_ref(&read));
            read
        });
        if newest_only {
            for samples in read.values_mut().chain(model.values_mut()) {
                *samples = samples.pop_last().into_iter().collect();
            }
        }
        prop_assert_eq!(read, model);
    }
}
