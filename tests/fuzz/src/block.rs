//! The files of a block, whoever wrote it. Checksums are put right.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use floodplain::encoding::block::chunks::{self, ChunkRef};
use floodplain::encoding::block::meta::{BlockMeta, Ulid};
use floodplain::encoding::block::tombstones::Tombstones;
use floodplain::io::sim::{NoPace, SimDisk, run};
use floodplain::io::{BLOCK_BYTES, Disk, File};
use floodplain::model::matcher::MatchOp;
use floodplain::model::{Matcher, SeriesId, TimeRange, TimestampMs};
use floodplain::storage::block::writer::{BlockWriter, ChunkToWrite, WriterOptions};
use floodplain::storage::block::{self, Block, IndexCache};

use crate::{golden, mend};

const DIR: &str = "shard-000/block";

fn put(disk: &SimDisk, path: &str, bytes: &[u8]) {
    run(async {
        let (dir, _) = path.rsplit_once('/').unwrap();
        disk.create_dir(dir).await.unwrap();
        let mut file = disk.create(path, 0).await.unwrap();
        let mut blocks = bytes.to_vec();
        blocks.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        file.write_at(&blocks, 0).await.unwrap();
        file.set_len(bytes.len() as u64).await.unwrap();
    });
}

/// A segment with the chunks that the golden index names, and some behind them.
fn a_segment() -> Vec<u8> {
    let mut segment = chunks::header().to_vec();
    for _ in 0..20 {
        chunks::push_chunk(&mut segment, 1, &golden(include_str!("../../golden/xor_chunk.hex")));
    }
    segment
}

/// An index: everything that a block answers can be asked for, and ends; and if nothing is wrong with the block, all answers
/// agree with what going through its series comes to.
pub fn index(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    mend::index(&mut bytes);
    let disk = SimDisk::new(1);
    put(&disk, &format!("{DIR}/meta.json"), &BlockMeta::new(Ulid(7), i64::MIN, i64::MAX).to_json());
    put(&disk, &format!("{DIR}/index"), &bytes);
    put(&disk, &format!("{DIR}/chunks/000001"), &a_segment());
    run(async {
        let cache = Rc::new(IndexCache::new(1 << 20));
        if let Ok(block) = Block::open(&disk, DIR, cache, &mut NoPace).await {
            ask(&block, bytes.len()).await;
        }
    });
}

/// How each series is labelled.
type Series = BTreeMap<SeriesId, Vec<(String, String)>>;

async fn ask(block: &Block<SimDisk>, len: usize) {
    let wrong = block.verify(&mut NoPace).await;
    let _: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    // The one thing that the meta here does not know, and chunks that are not in the segment.
    let is_whole = wrong.iter().all(|error| {
        let text = error.to_string();
        text.contains("meta.json") || text.contains("/chunks")
    });

    let mut symbols = BTreeMap::new();
    let mut cursor = block.symbols();
    while let Ok(Some((reference, text))) = cursor.next(&mut NoPace).await {
        symbols.insert(reference, text.to_owned());
    }
    assert!(symbols.len() <= len);
    let mut series = Series::new();
    let (mut cursor, mut ids) = (block.all_series(), Vec::new());
    while let Ok(Some(next)) = cursor.next(&mut NoPace).await {
        ids.push(next.id);
        let text = |reference: &u32| symbols.get(reference).cloned().unwrap_or_default();
        series.insert(next.id, next.labels.iter().map(|(n, v)| (text(n), text(v))).collect());
    }
    assert!(ids.len() <= len);

    let names = block.label_names(&[], &mut NoPace).await;
    let all = block.select(&[], &mut NoPace).await;
    let told: Vec<String> = names.as_ref().cloned().unwrap_or_default();
    let mut values = BTreeMap::new();
    for name in told.iter().chain([&"job".to_owned()]).take(20) {
        values.insert(name.clone(), block.label_values(name, &[], &mut NoPace).await);
    }
    let matchers = [
        ("__name__", MatchOp::Regex, ".+"),
        ("job", MatchOp::Equal, "b"),
        ("job", MatchOp::NotEqual, "b"),
        ("instance", MatchOp::NotRegex, "a.*|b"),
        ("job", MatchOp::Regex, "a|b|"),
        ("nobody", MatchOp::Equal, ""),
    ];
    let matchers = matchers.map(|(name, op, value)| Matcher::new(name, op, value).unwrap());
    for matcher in &matchers {
        let found = block.select(std::slice::from_ref(matcher), &mut NoPace).await;
        let _ = block.label_names(std::slice::from_ref(matcher), &mut NoPace).await;
        if is_whole {
            let holds = |labels: &Vec<(String, String)>| {
                let value = labels.iter().find(|(name, _)| name == matcher.name());
                matcher.matches(value.map_or("", |(_, value)| value))
            };
            let want: BTreeSet<_> =
                series.iter().filter(|(_, labels)| holds(labels)).map(|(id, _)| *id).collect();
            let found: BTreeSet<_> = found.unwrap().into_iter().collect();
            assert_eq!(found, want, "{matcher:?}");
        }
    }
    let entries = block.series(&ids, &mut NoPace).await;
    let places: Vec<ChunkRef> = match &entries {
        Ok(entries) => {
            entries.iter().flat_map(|e| &e.chunks).map(|chunk| chunk.reference).collect()
        }
        Err(_) => Vec::new(),
    };
    assert_eq!(block.read_chunks(&places, &mut NoPace).await.len(), places.len());

    if is_whole {
        assert_eq!(all.unwrap(), ids);
        assert_eq!(entries.unwrap().len(), ids.len());
        let mut want: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, value) in series.values().flatten() {
            want.entry(name).or_default().insert(value);
        }
        assert_eq!(told, want.keys().copied().collect::<Vec<_>>());
        for (name, values) in &values {
            let want = want.get(name.as_str()).map(|set| set.iter().copied().collect());
            assert_eq!(values.as_ref().unwrap(), &want.unwrap_or(Vec::<&str>::new()), "{name}");
        }
    }
}

/// A chunk segment, tombstones, or a `meta.json`; the first byte says which.
pub fn files(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 3 {
        0 => segment(bytes.to_vec()),
        1 => tombstones(bytes.to_vec()),
        _ => meta(bytes),
    }
}

fn segment(mut bytes: Vec<u8>) {
    mend::segment(&mut bytes);
    let _ = chunks::check_header(&bytes);
    let mut rest = bytes.get(chunks::HEADER_BYTES..).unwrap_or_default();
    while let Ok((chunk, behind)) = chunks::split_chunk(rest) {
        assert!(behind.len() + chunk.data.len() + 6 <= rest.len());
        let mut again = Vec::new();
        chunks::push_chunk(&mut again, chunk.encoding, chunk.data);
        assert_eq!(again.len(), chunks::frame_len(chunk.data.len()));
        assert_eq!(chunks::split_chunk(&again), Ok((chunk, &[][..])));
        rest = behind;
    }
}

fn tombstones(mut bytes: Vec<u8>) {
    mend::at_end(&mut bytes, 5);
    let Ok(read) = Tombstones::parse(&bytes) else { return };
    assert_eq!(Tombstones::parse(&read.encode()), Ok(read.clone()));
    assert!(read.range_count() <= bytes.len() as u64);
    for (series, intervals) in read.iter() {
        assert_eq!(read.get(series), Some(intervals));
        let ranges = intervals.as_slice();
        assert!(ranges.is_sorted_by(|one, other| one.max().saturating_add(1) < other.min()));
        for range in ranges {
            assert!(intervals.covers(*range) && intervals.overlaps(*range));
            assert!(intervals.is_deleted(range.min()) && intervals.is_deleted(range.max()));
            let before = range.min().saturating_sub(1);
            assert!(before == range.min() || !intervals.is_deleted(before));
        }
    }
}

fn meta(bytes: &[u8]) {
    if let Ok(meta) = BlockMeta::parse(bytes) {
        let json = meta.to_json();
        assert_eq!(BlockMeta::parse(&json), Ok(meta));
        assert!(json.len() <= 4096 + bytes.len() * 16);
    }
}

/// The index of a block with many series, as the writer of blocks makes it.
fn written_index(series_count: u32) -> Vec<u8> {
    let disk = SimDisk::new(1);
    let ulid = Ulid(7);
    run(async {
        let mut values: Vec<String> = (0..series_count).map(|i| format!("i{i:03}")).collect();
        values.extend(["__name__", "a", "b", "instance", "job", "up"].map(str::to_owned));
        values.sort();
        let number = |text: &str| {
            u32::try_from(values.binary_search_by(|v| v.as_str().cmp(text)).unwrap()).unwrap()
        };
        let mut symbols = values.iter().map(String::as_str);
        let mut writer = BlockWriter::create(
            &disk,
            "shard-000",
            ulid,
            &mut symbols,
            WriterOptions::default(),
            &mut NoPace,
        )
        .await
        .unwrap();
        let bytes = golden(include_str!("../../golden/xor_chunk.hex"));
        for i in 0..series_count {
            let range = TimeRange::new(TimestampMs(0), TimestampMs(1000 + i64::from(i))).unwrap();
            let chunk = ChunkToWrite { range, encoding: 1, bytes: &bytes };
            let mut labels = vec![
                (number("__name__"), number("up")),
                (number("instance"), number(&format!("i{i:03}"))),
            ];
            if i % 3 > 0 {
                labels.push((number("job"), number(if i % 3 == 1 { "a" } else { "b" })));
            }
            writer.add_series(&labels, &[chunk], &mut NoPace).await.unwrap();
        }
        writer.finish(BlockMeta::new(ulid, 0, 7_200_000), &mut NoPace).await.unwrap();
        let file =
            disk.open_read(&format!("{}/index", block::dir("shard-000", ulid))).await.unwrap();
        file.read_at(0, usize::try_from(file.len()).unwrap()).await.unwrap().to_vec()
    })
}

/// The golden indexes, and indexes that the writer makes.
pub fn index_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        golden(include_str!("../../golden/block_index.hex")),
        golden(include_str!("../../golden/index_v1.hex")),
    ];
    seeds.extend([0, 1, 3, 40].map(written_index));
    seeds.retain(|seed| seed.len() <= 4096);
    seeds
}

/// The golden files.
pub fn files_seeds() -> Vec<Vec<u8>> {
    let files = [
        (0, golden(include_str!("../../golden/block_chunks.hex"))),
        (0, a_segment()),
        (1, golden(include_str!("../../golden/tombstones.hex"))),
        (1, Tombstones::default().encode()),
        (2, include_bytes!("../../golden/block_meta.json").to_vec()),
        (2, BlockMeta::new(Ulid(0), 0, 0).to_json()),
    ];
    files.into_iter().map(|(which, bytes)| [&[which], &*bytes].concat()).collect()
}
