//! The blocks of a few shards as a server has them, without a server: opened, read, and put in order as every start does it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use floodplain::encoding::block::meta::{BlockMeta, Origin, Ulid};
use floodplain::encoding::xor::{ENCODING, Words, XorAppender, XorReader};
use floodplain::io::sim::{NoPace, SimDisk};
use floodplain::model::{Labels, TimeRange, TimestampMs, route_hash};
use floodplain::storage::block::writer::{BlockWriter, ChunkToWrite, WriterOptions};
use floodplain::storage::block::{self, Block, BlockError, IndexCache};
use floodplain::storage::compaction::history::{is_taken, replaced};
use floodplain::storage::compaction::{repartition, rewrite};

/// Series to time to value bits.
pub type Samples = BTreeMap<Labels, BTreeMap<i64, u64>>;

pub fn labels(series: u64) -> Labels {
    let (name, text) = (format!("m{}", series % 3), format!("{series:03}"));
    Labels::from_pairs([("__name__", name.as_str()), ("series", &text)]).unwrap()
}

pub fn add(to: &mut Samples, more: &Samples) {
    for (series, values) in more {
        to.entry(series.clone()).or_default().extend(values);
    }
}

/// Which of so many shards owns a series.
pub fn shard_of(labels: &Labels, shards: u16) -> u16 {
    u16::try_from(route_hash(labels.as_ref()) % u64::from(shards)).unwrap()
}

fn chunk(samples: &[(i64, u64)]) -> Vec<u8> {
    let (mut appender, mut words, mut out) = (XorAppender::new(), Words::default(), Vec::new());
    for (t, v) in samples {
        appender.append(&mut words, TimestampMs(*t), f64::from_bits(*v));
    }
    appender.write_to(&words, &mut out);
    out
}

/// Publishes a block with these samples, in chunks of so many.
pub async fn write(
    disk: &SimDisk,
    dir: &str,
    meta: BlockMeta,
    samples: &Samples,
    chunk_samples: usize,
) -> Result<BlockMeta, BlockError> {
    let all = samples.keys().flat_map(Labels::iter);
    let symbols: BTreeSet<&str> = all.flat_map(|label| [label.name, label.value]).collect();
    let symbols: Vec<&str> = symbols.into_iter().collect();
    let number = |text: &str| u32::try_from(symbols.binary_search(&text).unwrap()).unwrap();
    let (mut iter, options) = (symbols.iter().copied(), WriterOptions::default());
    let mut pace = NoPace;
    let created = BlockWriter::create(disk, dir, meta.ulid, &mut iter, options, &mut pace);
    let mut writer = created.await?;
    for (labels, values) in samples {
        let labels: Vec<_> = labels.iter().map(|l| (number(l.name), number(l.value))).collect();
        let values: Vec<(i64, u64)> = values.iter().map(|(t, v)| (*t, *v)).collect();
        let of = |part: &[(i64, u64)]| {
            let (first, last) = (part.first().unwrap().0, part.last().unwrap().0);
            (TimeRange::new(TimestampMs(first), TimestampMs(last)).unwrap(), chunk(part))
        };
        let chunks: Vec<_> = values.chunks(chunk_samples).map(of).collect();
        let chunks: Vec<_> = chunks
            .iter()
            .map(|(range, bytes)| ChunkToWrite { range: *range, encoding: ENCODING, bytes })
            .collect();
        writer.add_series(&labels, &chunks, &mut NoPace).await?;
    }
    writer.finish(meta, &mut NoPace).await
}

/// All samples of a block that are not deleted; where a chunk cannot be read, without it.
pub async fn read(block: &Block<SimDisk>) -> Result<(Samples, Vec<BlockError>), BlockError> {
    let (mut samples, mut lost) = (Samples::new(), Vec::new());
    let tombstones = block.tombstones();
    let ids = block.select(&[], &mut NoPace).await?;
    for series in block.series(&ids, &mut NoPace).await? {
        let references: Vec<_> = series.chunks.iter().map(|chunk| chunk.reference).collect();
        let own = samples.entry(series.labels).or_default();
        for chunk in block.read_chunks(&references, &mut NoPace).await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    lost.push(error);
                    continue;
                }
            };
            for sample in XorReader::new(&chunk.bytes).unwrap() {
                let sample = sample.unwrap();
                if tombstones.get(series.id).is_some_and(|own| own.is_deleted(sample.t)) {
                    continue;
                }
                let v = sample.v.to_bits();
                assert!(own.insert(sample.t.0, v).is_none_or(|other| other == v));
            }
        }
    }
    samples.retain(|_, values| !values.is_empty());
    Ok((samples, lost))
}

/// One shard.
pub struct Shard {
    pub own: Origin,
    pub dir: String,
    pub blocks: Vec<Block<SimDisk>>,
}

/// All shards.
pub struct Store {
    pub disk: SimDisk,
    pub shards: Vec<Shard>,
    /// What did not open.
    pub damaged: Vec<BlockError>,
}

impl Shard {
    /// May this block hold other shards' series?
    pub fn is_mixed(&self, meta: &BlockMeta) -> bool {
        meta.floodplain != Some(self.own)
    }
}

pub async fn open_block(disk: &SimDisk, dir: &str) -> Result<Block<SimDisk>, BlockError> {
    Block::open(disk, dir, Rc::new(IndexCache::new(1 << 20)), &mut NoPace).await
}

impl Store {
    /// Opens what is there, and does what every start does first.
    pub async fn open(disk: &SimDisk, shards: u16) -> Result<Self, BlockError> {
        let mut store = Self { disk: disk.clone(), shards: Vec::new(), damaged: Vec::new() };
        for shard in 0..shards {
            let (dir, own) = (format!("shard-{shard:03}"), Origin { shard, shards });
            block::tidy(disk, &dir).await?;
            let mut blocks = Vec::new();
            for ulid in block::list(disk, &dir).await? {
                let path = block::dir(&dir, ulid);
                rewrite::tidy(disk, &path).await?;
                match open_block(disk, &path).await {
                    Ok(block) if block.meta().ulid == ulid => blocks.push(block),
                    Ok(_) => store.damaged.push(BlockError::Damaged {
                        path,
                        offset: 0,
                        what: "has another block's name".to_owned(),
                    }),
                    Err(error) if disk.crashed() => return Err(error),
                    Err(error) => store.damaged.push(error),
                }
            }
            store.shards.push(Shard { own, dir, blocks });
        }
        let gone: BTreeSet<Ulid> = replaced(&store.metas());
        store.drop_blocks(&gone).await?;
        store.finish_repartition().await?;
        Ok(store)
    }

    pub fn metas(&self) -> Vec<&BlockMeta> {
        self.shards.iter().flat_map(|shard| &shard.blocks).map(Block::meta).collect()
    }

    /// Removes blocks.
    pub async fn drop_blocks(&mut self, gone: &BTreeSet<Ulid>) -> Result<(), BlockError> {
        for shard in &mut self.shards {
            let is_gone = |block: &Block<SimDisk>| gone.contains(&block.meta().ulid);
            for block in shard.blocks.extract_if(.., |block| is_gone(block)) {
                block::delete(&self.disk, &shard.dir, block.meta().ulid).await?;
            }
        }
        Ok(())
    }

    /// Marks what has been taken of mixed blocks, and removes those of which all is.
    async fn finish_repartition(&mut self) -> Result<(), BlockError> {
        let mut gone = BTreeSet::new();
        let count = u16::try_from(self.shards.len()).unwrap();
        for shard in &self.shards {
            for block in shard.blocks.iter().filter(|block| shard.is_mixed(block.meta())) {
                let ulid = block.meta().ulid;
                let owns: Vec<Origin> = self.shards.iter().map(|shard| shard.own).collect();
                for own in owns.into_iter().filter(|own| is_taken(&self.metas(), ulid, *own)) {
                    repartition::mark_taken(&self.disk, block.dir(), own).await?;
                }
                let taken = repartition::taken(&self.disk, block.dir()).await?;
                gone.extend(repartition::is_done(&taken, count).then_some(ulid));
            }
        }
        self.drop_blocks(&gone).await
    }

    /// What each block shows: of a mixed one, what the shards still take from it.
    pub async fn read(&self) -> Result<(BTreeMap<Ulid, Samples>, Vec<BlockError>), BlockError> {
        let (mut all, mut lost) = (BTreeMap::new(), Vec::new());
        let count = u16::try_from(self.shards.len()).unwrap();
        for shard in &self.shards {
            for block in &shard.blocks {
                let (mut samples, broken) = match read(block).await {
                    Ok(read) => read,
                    Err(error) => {
                        lost.push(error);
                        continue;
                    }
                };
                lost.extend(broken);
                if shard.is_mixed(block.meta()) {
                    let taken = repartition::taken(&self.disk, block.dir()).await?;
                    samples.retain(|labels, _| !taken.contains(&(count, shard_of(labels, count))));
                } else {
                    let strange = samples.keys().find(|l| shard_of(l, count) != shard.own.shard);
                    assert_eq!(strange, None, "another shard's series");
                }
                all.insert(block.meta().ulid, samples);
            }
        }
        Ok((all, lost))
    }
}

/// The samples of all blocks together. At an instant, all have the same.
pub fn together(blocks: &BTreeMap<Ulid, Samples>) -> Samples {
    let mut all = Samples::new();
    blocks.values().for_each(|samples| add(&mut all, samples));
    all
}
