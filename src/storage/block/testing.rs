//! Blocks for tests: put together in memory in the plainest way, in both versions of the index.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::cache::IndexCache;
use super::{Block, BlockError};
use crate::encoding::block::chunks::{self, ChunkRef};
use crate::encoding::block::index::read::Version;
use crate::encoding::block::meta::{BlockMeta, Ulid};
use crate::encoding::varint;
use crate::encoding::xor::{ENCODING, Words, XorAppender};
use crate::io::sim::{NoPace, SimDisk, run};
use crate::io::{BLOCK_BYTES, Disk, File};
use crate::model::{Labels, Sample, TimestampMs};

pub const DIR: &str = "shard-000/block";

/// Series to their samples, chunk by chunk.
pub type Series = BTreeMap<Labels, Vec<Vec<Sample>>>;

/// `count` samples that begin at `from`.
pub fn samples(from: i64, count: i64) -> Vec<Sample> {
    (0..count)
        .map(|i| Sample { t: TimestampMs(from + i * 1000), v: (from + i * i) as f64 })
        .collect()
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).unwrap()
}

pub fn chunk(samples: &[Sample]) -> Vec<u8> {
    let (mut appender, mut words, mut out) = (XorAppender::new(), Words::default(), Vec::new());
    for sample in samples {
        appender.append(&mut words, sample.t, sample.v);
    }
    appender.write_to(&words, &mut out);
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    varint::push_unsigned(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn u32_of(n: usize) -> u32 {
    u32::try_from(n).unwrap()
}

fn section(out: &mut Vec<u8>, count: usize, body: &[u8]) {
    let counted = [&u32_of(count).to_be_bytes()[..], body].concat();
    out.extend_from_slice(&u32_of(counted.len()).to_be_bytes());
    out.extend_from_slice(&counted);
    out.extend_from_slice(&crc32c::crc32c(&counted).to_be_bytes());
}

/// The files of a block with these series.
pub struct Files {
    pub index: Vec<u8>,
    pub segment: Vec<u8>,
    pub meta: BlockMeta,
    /// Where each chunk is, in the order of the series.
    pub chunks: Vec<ChunkRef>,
}

pub fn files(series: &Series, version: Version) -> Files {
    let mut out = vec![0xba, 0xaa, 0xd7, 0, if version == Version::V1 { 1 } else { 2 }];
    let mut segment = chunks::header().to_vec();
    let all_labels = || series.keys().flat_map(Labels::iter);
    let symbols: BTreeSet<&str> =
        all_labels().flat_map(|label| [label.name, label.value]).collect();
    let mut toc = vec![out.len()];
    let (mut references, mut body) = (BTreeMap::new(), Vec::new());
    for (i, symbol) in symbols.iter().enumerate() {
        references.insert(*symbol, if version == Version::V1 { 13 + body.len() } else { i });
        text(&mut body, symbol);
    }
    section(&mut out, symbols.len(), &body);
    toc.push(out.len());
    let mut postings: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
    postings.insert(("", ""), Vec::new());
    let mut refs = Vec::new();
    for (labels, series_chunks) in series {
        if version == Version::V2 {
            out.resize(out.len().next_multiple_of(16), 0);
        }
        let id = u32_of(if version == Version::V1 { out.len() } else { out.len() / 16 });
        postings.get_mut(&("", "")).unwrap().push(id);
        let mut entry = Vec::new();
        varint::push_unsigned(&mut entry, labels.iter().count() as u64);
        for label in labels.iter() {
            postings.entry((label.name, label.value)).or_default().push(id);
            varint::push_unsigned(&mut entry, references[label.name] as u64);
            varint::push_unsigned(&mut entry, references[label.value] as u64);
        }
        varint::push_unsigned(&mut entry, series_chunks.len() as u64);
        let mut before: Option<(i64, i64)> = None;
        for samples in series_chunks {
            let (min, max) = (samples.first().unwrap().t.0, samples.last().unwrap().t.0);
            let at = i64::try_from(segment.len()).unwrap();
            refs.push(ChunkRef(at.cast_unsigned()));
            chunks::push_chunk(&mut segment, ENCODING, &chunk(samples));
            match before {
                None => varint::push_signed(&mut entry, min),
                Some((last, _)) => varint::push_unsigned(&mut entry, (min - last).cast_unsigned()),
            }
            varint::push_unsigned(&mut entry, (max - min).cast_unsigned());
            match before {
                None => varint::push_unsigned(&mut entry, at.cast_unsigned()),
                Some((_, last)) => varint::push_signed(&mut entry, at - last),
            }
            before = Some((max, at));
        }
        varint::push_unsigned(&mut out, entry.len() as u64);
        out.extend_from_slice(&entry);
        out.extend_from_slice(&crc32c::crc32c(&entry).to_be_bytes());
    }
    out.resize(out.len().next_multiple_of(4), 0);
    let lists = out.len();
    let mut table = Vec::new();
    for ((name, value), ids) in &postings {
        varint::push_unsigned(&mut table, 2);
        text(&mut table, name);
        text(&mut table, value);
        varint::push_unsigned(&mut table, out.len() as u64);
        let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_be_bytes()).collect();
        section(&mut out, ids.len() / 4, &ids);
    }
    toc.extend([lists, out.len(), lists, out.len()]);
    section(&mut out, postings.len(), &table);
    let toc: Vec<u8> = toc.iter().flat_map(|at| (*at as u64).to_be_bytes()).collect();
    out.extend_from_slice(&toc);
    out.extend_from_slice(&crc32c::crc32c(&toc).to_be_bytes());
    let all = || series.values().flatten().flatten();
    let min = all().map(|sample| sample.t.0).min().unwrap_or_default();
    let max = all().map(|sample| sample.t.0).max().unwrap_or_default();
    let mut meta = BlockMeta::new(Ulid(7), min, max + 1);
    meta.stats.num_series = series.len() as u64;
    Files { index: out, segment, meta, chunks: refs }
}

/// Makes a file with these bytes.
pub fn put(disk: &SimDisk, path: &str, bytes: &[u8]) {
    run(async {
        let _ = disk.remove(path).await;
        let mut file = disk.create(path, 0).await.unwrap();
        let mut blocks = bytes.to_vec();
        blocks.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        file.write_at(&blocks, 0).await.unwrap();
        file.set_len(bytes.len() as u64).await.unwrap();
    });
}

/// A disk on which the block is.
pub fn disk(files: &Files) -> SimDisk {
    let disk = SimDisk::new(1);
    put(&disk, &format!("{DIR}/meta.json"), &files.meta.to_json());
    put(&disk, &format!("{DIR}/index"), &files.index);
    put(&disk, &format!("{DIR}/chunks/000001"), &files.segment);
    disk
}

/// The block on a disk, open.
pub fn open(disk: &SimDisk) -> Result<Block<SimDisk>, BlockError> {
    open_with(disk, Rc::new(IndexCache::new(1 << 20)))
}

/// Likewise, with a cache that others have, too.
pub fn open_with(disk: &SimDisk, cache: Rc<IndexCache>) -> Result<Block<SimDisk>, BlockError> {
    run(Block::open(disk, DIR, cache, &mut NoPace))
}
