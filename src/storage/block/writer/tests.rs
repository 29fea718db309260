//! Tests of whole blocks, on the simulated disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use proptest::prelude::*;

use super::*;
use crate::encoding::block::chunks::StoredChunk;
use crate::encoding::block::index::read::{self, Head, TOC_BYTES, Toc, Version};
use crate::io::File;
use crate::io::sim::{Faults, NoPace, SimDisk, run};
use crate::model::TimestampMs;
use crate::storage::block;

const DIR: &str = "shard-000";
const ULID: Ulid = Ulid(0x0193_7000_0000_1234_5678_9abc_def0_1234);

/// Name to value.
type Labels = BTreeMap<String, String>;
/// First instant, last instant, data of encoding 1.
type Chunk = (i64, i64, Vec<u8>);
type Series = BTreeMap<Vec<(String, String)>, Vec<Chunk>>;

fn symbols(series: &Series) -> Vec<&str> {
    let labels = series.keys().flatten();
    let texts: BTreeSet<_> = labels.flat_map(|(n, v)| [n.as_str(), v.as_str()]).collect();
    texts.into_iter().collect()
}

fn range(min: i64, max: i64) -> TimeRange {
    TimeRange::new(TimestampMs(min), TimestampMs(max)).unwrap()
}

async fn write(
    disk: &SimDisk,
    series: &Series,
    options: WriterOptions,
) -> Result<BlockMeta, BlockError> {
    let symbols = symbols(series);
    let number = |text: &str| u32::try_from(symbols.binary_search(&text).unwrap()).unwrap();
    let mut iter = symbols.iter().copied();
    let mut writer = BlockWriter::create(disk, DIR, ULID, &mut iter, options, &mut NoPace).await?;
    for (labels, chunks) in series {
        let labels: Vec<_> = labels.iter().map(|(n, v)| (number(n), number(v))).collect();
        let chunks: Vec<_> = chunks
            .iter()
            .map(|(min, max, bytes)| ChunkToWrite { range: range(*min, *max), encoding: 1, bytes })
            .collect();
        assert!(!writer.would_exceed(&labels, chunks.len()));
        writer.add_series(&labels, &chunks, &mut NoPace).await?;
    }
    writer.finish(BlockMeta::new(ULID, 0, 7_200_000), &mut NoPace).await
}

async fn content(disk: &SimDisk, name: &str) -> Vec<u8> {
    let file = disk.open_read(&format!("{}/{name}", block::dir(DIR, ULID))).await.unwrap();
    file.read_at(0, usize::try_from(file.len()).unwrap()).await.unwrap()
}

fn at(bytes: &[u8], offset: u64) -> &[u8] {
    &bytes[usize::try_from(offset).unwrap()..]
}

/// Splits a section into its count and the bytes behind that.
fn section(bytes: &[u8], offset: u64) -> (u32, &[u8]) {
    let frame = at(bytes, offset);
    let head = Head::parse(frame, "a section").unwrap();
    let len = usize::try_from(head.len).unwrap();
    let sum = frame[4 + len..].first_chunk().unwrap();
    read::check("a section", *sum, crc32c::crc32c(&frame[4..4 + len])).unwrap();
    (head.count, &frame[8..4 + len])
}

/// An index as a reader sees it: series by id, and lists by label.
type Index = (BTreeMap<u32, (Labels, Vec<ChunkMeta>)>, BTreeMap<(String, String), Vec<u32>>);

fn decode(index: &[u8]) -> Index {
    assert_eq!(read::version(index), Ok(Version::V2));
    let toc = Toc::parse(&index[index.len() - TOC_BYTES..], index.len() as u64).unwrap();
    let (count, mut rest) = section(index, toc.symbols);
    let mut symbols = Vec::new();
    while !rest.is_empty() {
        let (symbol, behind) = read::split_symbol(rest).unwrap();
        symbols.push(symbol);
        rest = behind;
    }
    assert_eq!(symbols.len(), usize::try_from(count).unwrap());
    let (mut series, mut offset) = (BTreeMap::new(), toc.series.next_multiple_of(16));
    while offset < toc.label_indices {
        let (body, behind) = read::split_series(at(index, offset)).unwrap();
        let (mut labels, mut chunks) = (Vec::new(), Vec::new());
        read::series(body, &mut labels, &mut chunks).unwrap();
        let text = |n: u32| symbols[usize::try_from(n).unwrap()].to_owned();
        let labels = labels.into_iter().map(|(n, v)| (text(n), text(v))).collect();
        series.insert(u32::try_from(offset / 16).unwrap(), (labels, chunks));
        offset = (index.len() - behind.len()) as u64;
        offset = offset.next_multiple_of(16);
    }
    let (count, mut rest) = section(index, toc.postings_table);
    let (mut lists, mut last) = (BTreeMap::new(), None);
    for _ in 0..count {
        let (entry, behind) = read::split_postings_entry(rest).unwrap();
        let key = (entry.name.to_owned(), entry.value.to_owned());
        assert!(last < Some(key.clone()), "{key:?} is in its place");
        last = Some(key.clone());
        assert!(entry.offset.is_multiple_of(4));
        let ids = read::postings(at(index, entry.offset)).unwrap();
        lists
            .insert(key, ids.as_chunks::<4>().0.iter().map(|id| u32::from_be_bytes(*id)).collect());
        rest = behind;
    }
    assert!(rest.is_empty());
    (series, lists)
}

fn of(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

/// Chunks of one sample each, one a minute.
fn chunks(count: usize, bytes: usize) -> Vec<Chunk> {
    let chunk = |i: usize| {
        let mut data = vec![u8::try_from(i % 251).unwrap(); bytes + 2];
        data[..2].copy_from_slice(&[0, 1]);
        let t = i64::try_from(i).unwrap() * 60_000;
        (t, t + 59_999, data)
    };
    (0..count).map(chunk).collect()
}

#[test] // golden bytes: Prometheus reads these
fn an_index_has_these_bytes() {
    run(async {
        let disk = SimDisk::new(1);
        let series = Series::from([
            (of(&[("__name__", "up"), ("instance", "x"), ("job", "a")]), chunks(2, 10)),
            (of(&[("__name__", "up"), ("job", "b")]), chunks(1, 5)),
        ]);
        write(&disk, &series, WriterOptions::default()).await.unwrap();
        let index = content(&disk, "index").await;
        let hex: String = index.iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = include_str!("../../../../tests/golden/block_index.hex");
        assert_eq!(hex, golden.split_whitespace().collect::<String>());
        let tombstones = content(&disk, "tombstones").await;
        assert_eq!(tombstones, [0x01, 0x30, 0xba, 0x30, 1, 0, 0, 0, 0]);
    });
}

#[test]
fn the_meta_counts_what_is_in_the_block() {
    run(async {
        let disk = SimDisk::new(1);
        let series = Series::from([
            (of(&[("a", "1")]), chunks(3, 10)),
            (of(&[("a", "2")]), vec![(0, 5, vec![1, 2, 0])]),
            (of(&[("a", "3")]), vec![]),
        ]);
        let meta = write(&disk, &series, WriterOptions::default()).await.unwrap();
        assert_eq!(
            meta.stats,
            BlockStats {
                num_samples: 3 + 258,
                num_float_samples: 3 + 258,
                num_series: 3,
                num_chunks: 4,
                ..BlockStats::default()
            }
        );
        assert_eq!(BlockMeta::parse(&content(&disk, "meta.json").await), Ok(meta));
    });
}

#[test]
fn a_block_without_series_is_a_block() {
    run(async {
        let disk = SimDisk::new(1);
        write(&disk, &Series::new(), WriterOptions::default()).await.unwrap();
        let (series, lists) = decode(&content(&disk, "index").await);
        assert!(series.is_empty());
        assert_eq!(lists, BTreeMap::from([((String::new(), String::new()), vec![])]));
        assert_eq!(block::list(&disk, DIR).await.unwrap(), [ULID]);
    });
}

#[test]
fn a_segment_ends_before_it_is_too_long_and_no_chunk_is_lost() {
    run(async {
        let disk = SimDisk::new(1);
        let series: Series =
            (0..7).map(|i| (of(&[("a", &i.to_string())]), chunks(i + 1, 100 * i))).collect();
        let options = WriterOptions { segment_bytes_max: 1500, ..WriterOptions::default() };
        write(&disk, &series, options).await.unwrap();
        let mut segments = Vec::new();
        let dir = format!("{}/chunks", block::dir(DIR, ULID));
        for (index, entry) in disk.list(&dir).await.unwrap().iter().enumerate() {
            assert_eq!(entry.name, chunks::file_name(index));
            assert!(entry.len <= 1500, "{entry:?}");
            segments.push(content(&disk, &format!("chunks/{}", entry.name)).await);
            chunks::check_header(segments.last().unwrap()).unwrap();
        }
        assert!(segments.len() > 5);
        let (decoded, _) = decode(&content(&disk, "index").await);
        let read = decoded.into_values().map(|(labels, metas)| {
            let chunk = |meta: &ChunkMeta| {
                let bytes = at(&segments[meta.reference.segment_index()], meta.reference.offset());
                let (StoredChunk { encoding, data }, _) = chunks::split_chunk(bytes).unwrap();
                assert_eq!(encoding, 1);
                (meta.range.min().0, meta.range.max().0, data.to_vec())
            };
            (labels.into_iter().collect(), metas.iter().map(chunk).collect())
        });
        assert_eq!(read.collect::<Series>(), series);
    });
}

#[test]
fn what_is_out_of_order_is_refused() {
    let check = |labels: &[&[(u32, u32)]], chunks: &[(i64, i64)], expected: &str| {
        run(async {
            let (disk, mut symbols) = (SimDisk::new(1), ["a", "b", "c"].into_iter());
            let options = WriterOptions::default();
            let writer =
                BlockWriter::create(&disk, DIR, ULID, &mut symbols, options, &mut NoPace).await;
            let mut writer = writer.unwrap();
            let mut outcome = Ok(());
            for labels in labels {
                let chunk = |(min, max): &(i64, i64)| ChunkToWrite {
                    range: range(*min, *max),
                    encoding: 1,
                    bytes: &[0, 1],
                };
                let chunks: Vec<_> = chunks.iter().map(chunk).collect();
                outcome = writer.add_series(labels, &chunks, &mut NoPace).await;
            }
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        });
    };
    check(&[&[]], &[], "series 0, counted from 0: its labels do not sort after");
    check(&[&[(0, 1)], &[(0, 1)]], &[], "series 1, counted from 0: its labels do not sort after");
    check(&[&[(0, 2)], &[(0, 1), (1, 1)]], &[], "its labels do not sort after");
    check(&[&[(1, 0), (0, 1)]], &[], "its label names are not sorted");
    check(&[&[(0, 0), (0, 1)]], &[], "its label names are not sorted");
    check(&[&[(0, 3)]], &[], "it has a label that is no symbol");
    check(&[&[(0, 1)]], &[(0, 5), (5, 6)], "its chunks overlap");
    check(&[&[(0, 1)]], &[(5, 6), (0, 1)], "its chunks overlap or are not sorted");
}

#[test]
fn symbols_out_of_order_and_chunks_that_are_none_are_refused() {
    run(async {
        let (disk, options) = (SimDisk::new(1), WriterOptions::default());
        let mut writer = BlockWriter::begin(&disk, DIR, ULID, options).await.unwrap();
        assert_eq!(writer.add_symbol("b").await.unwrap(), 0);
        for symbol in ["a", "b"] {
            let error = writer.add_symbol(symbol).await.unwrap_err().to_string();
            assert!(error.contains(&format!("symbol {symbol:?} does not sort")), "{error}");
        }
        assert_eq!(writer.add_symbol("c").await.unwrap(), 1);
        for (encoding, bytes) in [(7, &[0, 1, 2][..]), (0, &[0, 1, 2]), (1, &[0])] {
            let chunk = ChunkToWrite { range: range(0, 1), encoding, bytes };
            let error = writer.add_series(&[(0, 1)], &[chunk], &mut NoPace).await.unwrap_err();
            assert!(error.to_string().contains("series 0, counted from 0: a chunk"), "{error}");
        }
    });
}

/// Begins a block with 1,000 values of one name, which take 11,000 bytes of symbols.
async fn of_a_thousand_values(
    disk: &SimDisk,
    limits: IndexLimits,
) -> Result<BlockWriter<SimDisk>, BlockError> {
    let values: Vec<String> = (0..1000).map(|i| format!("value-{i:04}")).collect();
    let mut symbols = std::iter::once("name").chain(values.iter().map(String::as_str));
    let options = WriterOptions { limits, ..WriterOptions::default() };
    BlockWriter::create(disk, DIR, ULID, &mut symbols, options, &mut NoPace).await
}

#[test]
fn symbols_that_take_too_much_room_are_refused() {
    run(async {
        let (disk, room) = (SimDisk::new(1), 11_000 + 5 + 4);
        let limits =
            |section_bytes_max| IndexLimits { section_bytes_max, ..IndexLimits::default() };
        of_a_thousand_values(&disk, limits(room)).await.unwrap();
        match of_a_thousand_values(&disk, limits(room - 1)).await.map(drop) {
            Err(BlockError::TooLarge { what: "the symbols", bytes, .. }) => assert_eq!(bytes, room),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_block_that_becomes_too_large_says_so_before_and_fails_if_nobody_asks() {
    let index = IndexLimits { index_bytes_max: 40_000, ..IndexLimits::default() };
    let table = IndexLimits { section_bytes_max: 12_000, ..IndexLimits::default() };
    for (limits, fails) in [(index, "the index"), (table, "the offset table")] {
        run(async {
            let disk = SimDisk::new(1);
            for asks in [true, false] {
                let mut writer = of_a_thousand_values(&disk, limits).await.unwrap();
                let mut added = 0;
                for number in 1..=1000 {
                    if asks && writer.would_exceed(&[(0, number)], 0) {
                        break;
                    }
                    writer.add_series(&[(0, number)], &[], &mut NoPace).await.unwrap();
                    added += 1;
                }
                let outcome = writer.finish(BlockMeta::new(ULID, 0, 1), &mut NoPace).await;
                if asks {
                    assert!(added > 150, "{added}");
                    outcome.unwrap();
                    block::delete(&disk, DIR, ULID).await.unwrap();
                } else {
                    let is_too_large = matches!(&outcome, Err(BlockError::TooLarge { what, .. }) if *what == fails);
                    assert!(is_too_large, "{outcome:?}");
                    assert_eq!(block::list(&disk, DIR).await.unwrap(), []);
                    assert_eq!(block::tidy(&disk, DIR).await.unwrap().len(), 1);
                }
            }
        });
    }
}

#[test] // a disk that loses a bit of the series must not have postings made from them
fn series_that_are_read_back_damaged_make_no_block() {
    run(async {
        let (disk, mut symbols) = (SimDisk::new(1), ["a", "b"].into_iter());
        let (options, mut pace) = (WriterOptions::default(), NoPace);
        let writer = BlockWriter::create(&disk, DIR, ULID, &mut symbols, options, &mut pace);
        let mut writer = writer.await.unwrap();
        // Long enough to be on disk before the end.
        let chunk = |t| ChunkToWrite { range: range(t, t), encoding: 1, bytes: &[0, 1] };
        let chunks: Vec<_> = (0..400_000).map(chunk).collect();
        writer.add_series(&[(0, 1)], &chunks, &mut NoPace).await.unwrap();
        disk.flip_bit(&format!("{}/index", block::creation_dir(DIR, ULID)), 8 * 500_000);
        match writer.finish(BlockMeta::new(ULID, 0, 1), &mut NoPace).await {
            Err(BlockError::Damaged { offset: 32, .. }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(block::list(&disk, DIR).await.unwrap(), []);
    });
}

#[test]
fn a_writer_that_gives_up_leaves_nothing_and_one_that_is_dropped_leaves_what_tidy_removes() {
    run(async {
        let (disk, options) = (SimDisk::new(1), WriterOptions::default());
        let writer = BlockWriter::begin(&disk, DIR, ULID, options).await.unwrap();
        writer.discard().await.unwrap();
        assert_eq!(disk.list(DIR).await.unwrap(), []);
        drop(BlockWriter::begin(&disk, DIR, ULID, options).await.unwrap());
        // A second attempt under the same name begins anew.
        drop(BlockWriter::begin(&disk, DIR, ULID, options).await.unwrap());
        assert_eq!(block::tidy(&disk, DIR).await.unwrap().len(), 1);
        assert_eq!(disk.list(DIR).await.unwrap(), []);
    });
}

/// Label sets that share names and values, of few names and many values and the other way around.
fn series() -> impl Strategy<Value = Series> {
    let label = ("[a-d]|__name__", "[a-c]|[0-9]{1,3}|\\PC{1,4}");
    let labels = proptest::collection::btree_map(label.0, label.1, 1..5);
    let chunk = (0i64..1000, 0i64..1000, proptest::collection::vec(any::<u8>(), 2..40));
    let chunks = proptest::collection::vec(chunk, 0..4);
    proptest::collection::vec((labels, chunks), 0..60).prop_map(|all| {
        all.into_iter()
            .map(|(labels, chunks): (Labels, Vec<_>)| {
                let mut t = -2000;
                let chunks = chunks.into_iter().map(|(gap, len, data)| {
                    let min = t + 1 + gap;
                    t = min + len;
                    (min, t, data)
                });
                (labels.into_iter().collect(), chunks.collect())
            })
            .collect()
    })
}

proptest! {
    #[test] // property: an index is a map from labels to the series that have them
    fn an_index_reads_like_a_map_whatever_memory_it_was_written_in(series in series(), entries in 1usize..100) {
        let mut written = Vec::new();
        for postings_bytes in [1 << 20, entries * 16] {
            let disk = SimDisk::new(1);
            let options = WriterOptions { postings_bytes, ..WriterOptions::default() };
            run(write(&disk, &series, options)).unwrap();
            written.push(run(content(&disk, "index")));
        }
        prop_assert!(written[0] == written[1]);
        let (read, lists) = decode(&written[0]);
        let mut model: BTreeMap<(String, String), Vec<u32>> = BTreeMap::new();
        model.insert((String::new(), String::new()), read.keys().copied().collect());
        prop_assert_eq!(read.len(), series.len());
        for ((id, (labels, chunks)), (expected, expected_chunks)) in read.iter().zip(&series) {
            prop_assert!(labels.iter().map(|(n, v)| (n.clone(), v.clone())).eq(expected.iter().cloned()));
            let ranges = chunks.iter().map(|c| (c.range.min().0, c.range.max().0));
            prop_assert!(ranges.eq(expected_chunks.iter().map(|c| (c.0, c.1))));
            for label in expected {
                model.entry(label.clone()).or_default().push(*id);
            }
        }
        prop_assert_eq!(lists, model);
    }
}

/// A block with more than one segment, and postings in more than one pass.
fn workload() -> (Series, WriterOptions) {
    let series = (0..20).map(|i| {
        let labels = of(&[("a", &(i % 3).to_string()), ("b", &i.to_string())]);
        (labels, chunks(2, 50))
    });
    let segment_bytes_max = 1500;
    (
        series.collect(),
        WriterOptions { postings_bytes: 16 * 16, segment_bytes_max, ..WriterOptions::default() },
    )
}

/// All files of the block; none if there is no block.
async fn files(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for path in disk.paths() {
        let file = disk.open_read(&path).await.unwrap();
        let len = usize::try_from(file.len()).unwrap();
        files.insert(path, file.read_at(0, len).await.unwrap());
    }
    files
}

#[test] // crash: stop the disk in the middle of each call in turn; seed and call replay a failure
fn a_crash_leaves_the_whole_block_or_none() {
    let (series, options) = workload();
    let whole = SimDisk::new(0);
    run(whole.create_dir(DIR)).unwrap();
    run(write(&whole, &series, options)).unwrap();
    let calls = whole.calls();
    let whole = run(files(&whole));
    let (mut there, mut not_there) = (0, 0);
    for crash_at in 1..=calls + 1 {
        for seed in 0..20 {
            let faults = Faults { crash_at: Some(crash_at), ..Faults::default() };
            let disk = SimDisk::with_faults(seed, faults);
            run(async {
                disk.create_dir(DIR).await.unwrap();
                let done = write(&disk, &series, options).await.is_ok();
                assert_eq!(done, crash_at > calls);
                let after = disk.image_after_crash(seed, Faults::default());
                block::tidy(&after, DIR).await.unwrap();
                let blocks = block::list(&after, DIR).await.unwrap();
                if blocks.is_empty() {
                    assert!(!done, "a published block is there, seed {seed}");
                    assert_eq!(after.paths(), [""; 0], "call {crash_at}, seed {seed}");
                    assert_eq!(after.list(DIR).await.unwrap(), []);
                    not_there += 1;
                } else {
                    assert!(files(&after).await == whole, "call {crash_at}, seed {seed}");
                    there += 1;
                }
            });
        }
    }
    assert!(there > 20 && not_there > 20, "{there} there, {not_there} not");
}

#[test] // a disk that fails at any one call: no block, and the next attempt succeeds
fn a_disk_that_fails_once_costs_the_attempt() {
    let (series, options) = workload();
    let whole = SimDisk::new(0);
    run(whole.create_dir(DIR)).unwrap();
    run(write(&whole, &series, options)).unwrap();
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for call in 1..=whole.calls() {
            let faults = Faults { fail_at: Some((call, kind)), ..Faults::default() };
            let disk = SimDisk::with_faults(call, faults);
            run(async {
                disk.create_dir(DIR).await.unwrap();
                let error = write(&disk, &series, options).await.unwrap_err();
                assert!(matches!(&error, BlockError::Io { source, .. } if source.kind() == kind));
                let last = call == whole.calls();
                assert_eq!(!block::list(&disk, DIR).await.unwrap().is_empty(), last, "{call}");
                if last {
                    return;
                }
                write(&disk, &series, options).await.unwrap();
                assert!(files(&disk).await == files(&whole).await, "{call}");
            });
        }
    }
}
