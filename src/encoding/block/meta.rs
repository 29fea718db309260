//! A block's `meta.json`: which stretch of time it holds, how much of what, and what it was made from.
//!
//! ```json
//! {
//!     "ulid": "01BKGV7JBM69T2G1BGBGM6KB12",
//!     "minTime": 1700000000000,
//!     "maxTime": 1700007200000,
//!     "stats": {"numSamples": 1440, "numFloatSamples": 1440, "numSeries": 6, "numChunks": 12},
//!     "compaction": {"level": 1, "sources": ["01BKGV7JBM69T2G1BGBGM6KB12"]},
//!     "version": 1,
//!     "floodplain": {"shard": 0, "shards": 2}
//! }
//! ```
//! One field a line, tabs before it; numbers that are 0, flags that are false and lists that are empty are left out, other
//! than `minTime`, `maxTime` and `level`. The last section is our own: the block holds exactly series that belong to that
//! shard of so many. Without it the block may hold anybody's. Prometheus passes over it, as we pass over what others add.
//! Invariants: `minTime <= maxTime`, `maxTime` is outside; the version is 1; a shard is one of its shards.
//! Source: Prometheus `tsdb/block.go` (`BlockMeta`). Golden bytes: `tests/golden/block_meta.json`.

use serde::{Deserialize, Deserializer, Serialize};
pub use ulid::Ulid;

use crate::model::ShardId;

/// The version that is written and read.
pub const VERSION: u32 = 1;

/// What is known of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockMeta {
    /// Names it; sorts by the time at which it was made.
    #[serde(with = "text")]
    pub ulid: Ulid,
    /// No sample is before this instant, in milliseconds since the epoch.
    pub min_time: i64,
    /// All samples are before this one.
    pub max_time: i64,
    /// How much there is of what.
    #[serde(default)]
    pub stats: BlockStats,
    /// How it came to be.
    #[serde(default)]
    pub compaction: Compaction,
    /// [`VERSION`].
    pub version: u32,
    /// Whose series it holds; of a block that may hold any series, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floodplain: Option<Origin>,
}

/// How much there is in a block of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockStats {
    /// All samples.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_samples: u64,
    /// Of them, floats. Writers before Prometheus 2.48 do not say.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_float_samples: u64,
    /// Of them, histograms. Writers before Prometheus 2.48 do not say.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_histogram_samples: u64,
    /// Series.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_series: u64,
    /// Chunks.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_chunks: u64,
    /// Deleted stretches.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_tombstones: u64,
}

/// How a block came to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Compaction {
    /// 1 for a block that was cut from a Head, else one more than the highest it was made from.
    pub level: u32,
    /// The blocks cut from a Head that are in it.
    #[serde(with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Ulid>,
    /// Nothing in it is wanted any more: it was compacted, and nothing was left.
    #[serde(skip_serializing_if = "is_false")]
    pub deletable: bool,
    /// The blocks it was made from.
    #[serde(deserialize_with = "null_is_none", skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Parent>,
    /// It could not be compacted, and is not to be tried again.
    #[serde(skip_serializing_if = "is_false")]
    pub failed: bool,
    /// What else is of interest, such as `from-out-of-order`.
    #[serde(deserialize_with = "null_is_none", skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// A block from which another was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parent {
    /// Its name.
    #[serde(with = "text")]
    pub ulid: Ulid,
    /// Its first instant.
    pub min_time: i64,
    /// The instant behind its last.
    pub max_time: i64,
}

/// Whose series a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Which shard's; below `shards`.
    pub shard: u16,
    /// Of how many.
    pub shards: u16,
}

impl Origin {
    /// The shard whose series these are.
    #[must_use]
    pub fn shard_id(self) -> ShardId {
        ShardId(self.shard)
    }
}

/// Why some bytes are not a `meta.json`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// They are not JSON, or not of this form. What is wrong says line and column.
    #[error("not a block's meta.json: {0}")]
    Json(String),
    /// A version that is not known.
    #[error("meta.json of version {found}, only {VERSION} is known")]
    Version {
        /// Which.
        found: u32,
    },
    /// It ends before it begins.
    #[error("meta.json has minTime {min} behind maxTime {max}")]
    Times {
        /// Where it begins.
        min: i64,
        /// Where it ends.
        max: i64,
    },
    /// A shard that there is not.
    #[error("meta.json names shard {} of {}", .0.shard, .0.shards)]
    NoSuchShard(Origin),
}

impl BlockMeta {
    /// What is to be said of a block that was cut from a Head: level 1, its only source is itself.
    #[must_use]
    pub fn new(ulid: Ulid, min_time: i64, max_time: i64) -> Self {
        let compaction = Compaction { level: 1, sources: vec![ulid], ..Compaction::default() };
        let (stats, version) = (BlockStats::default(), VERSION);
        Self { ulid, min_time, max_time, stats, compaction, version, floodplain: None }
    }

    /// The file's bytes, as Prometheus writes them for the same content.
    ///
    /// # Panics
    /// Never: every value there is has a form in JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, tabs);
        self.serialize(&mut serializer).expect("a meta is plain numbers and texts");
        out
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// Bytes that are no `meta.json`, or one that contradicts itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetaError> {
        let meta: Self =
            serde_json::from_slice(bytes).map_err(|error| MetaError::Json(error.to_string()))?;
        if meta.version != VERSION {
            return Err(MetaError::Version { found: meta.version });
        }
        if meta.min_time > meta.max_time {
            return Err(MetaError::Times { min: meta.min_time, max: meta.max_time });
        }
        match meta.floodplain {
            Some(origin) if origin.shard >= origin.shards => Err(MetaError::NoSuchShard(origin)),
            _ => Ok(meta),
        }
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Go writes a list that was never made as `null`.
fn null_is_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A ULID is its 26 characters.
mod text {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use ulid::Ulid;

    pub fn serialize<S: Serializer>(ulid: &Ulid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(ulid)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ulid, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ulid::from_string(&text).map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
    }
}

/// Many ULIDs.
mod texts {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use ulid::Ulid;

    #[derive(Serialize, Deserialize)]
    struct Text(#[serde(with = "super::text")] Ulid);

    pub fn serialize<S: Serializer>(ulids: &[Ulid], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ulids.iter().map(|ulid| Text(*ulid)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Ulid>, D::Error> {
        let texts: Vec<Text> = super::null_is_none(deserializer)?;
        Ok(texts.into_iter().map(|text| text.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ULID: &str = "01BKGV7JBM69T2G1BGBGM6KB12";

    fn full() -> BlockMeta {
        let ulid = Ulid::from_string(ULID).unwrap();
        let stats = BlockStats {
            num_samples: 20,
            num_float_samples: 15,
            num_histogram_samples: 5,
            num_series: 3,
            num_chunks: 4,
            num_tombstones: 1,
        };
        let compaction = Compaction {
            level: 2,
            sources: vec![ulid, Ulid(ulid.0 + 1)],
            deletable: true,
            parents: vec![Parent { ulid: Ulid(ulid.0 + 2), min_time: -5, max_time: 7 }],
            failed: true,
            hints: vec!["from-out-of-order".to_owned()],
        };
        let floodplain = Some(Origin { shard: 0, shards: 2 });
        let meta = BlockMeta::new(ulid, -5, 1_700_007_200_000);
        BlockMeta { stats, compaction, floodplain, ..meta }
    }

    #[test] // golden bytes: the format cannot drift unseen
    fn a_meta_has_these_bytes() {
        let golden = include_str!("../../../tests/golden/block_meta.json");
        let json = String::from_utf8(full().to_json()).unwrap();
        assert_eq!(json, golden.trim_end());
        assert_eq!(BlockMeta::parse(golden.as_bytes()), Ok(full()));
    }

    #[test]
    fn what_is_zero_or_empty_is_left_out() {
        let meta = BlockMeta::new(Ulid(0), 0, 0);
        let lines = [
            "{",
            "\t\"ulid\": \"00000000000000000000000000\",",
            "\t\"minTime\": 0,",
            "\t\"maxTime\": 0,",
            "\t\"stats\": {},",
            "\t\"compaction\": {",
            "\t\t\"level\": 1,",
            "\t\t\"sources\": [",
            "\t\t\t\"00000000000000000000000000\"",
            "\t\t]",
            "\t},",
            "\t\"version\": 1",
            "}",
        ];
        assert_eq!(String::from_utf8(meta.to_json()).unwrap(), lines.join("\n"));
    }

    #[test]
    fn what_others_add_is_passed_over_and_null_is_nothing() {
        let thanos = format!(
            r#"{{"ulid":"{ULID}","minTime":1,"maxTime":2,"stats":{{"numSeries":3}},"compaction":{{"level":1,"sources":null,
            "parents":null}},"version":1,"thanos":{{"labels":{{"a":"b"}},"downsample":{{"resolution":0}}}}}}"#
        );
        let meta = BlockMeta::parse(thanos.as_bytes()).unwrap();
        assert_eq!((meta.stats.num_series, meta.compaction.sources.len()), (3, 0));
        assert_eq!(meta.floodplain, None);
    }

    #[test]
    fn a_meta_that_contradicts_itself_is_refused() {
        let check = |change: fn(&mut BlockMeta)| {
            let mut meta = full();
            change(&mut meta);
            BlockMeta::parse(&meta.to_json()).unwrap_err()
        };
        assert_eq!(check(|meta| meta.version = 2), MetaError::Version { found: 2 });
        assert_eq!(
            check(|meta| meta.min_time = i64::MAX),
            MetaError::Times { min: i64::MAX, max: 1_700_007_200_000 }
        );
        let nobody = Origin { shard: 2, shards: 2 };
        assert_eq!(
            check(|meta| meta.floodplain = Some(Origin { shard: 2, shards: 2 })),
            MetaError::NoSuchShard(nobody)
        );
    }

    proptest! {
        #[test]
        fn any_meta_comes_back(ulids in proptest::collection::vec(any::<u128>(), 1..5), a: i64, b: i64, counts: [u64; 6], level: u32, flags: [bool; 2], hints in proptest::collection::vec(".*", 0..3), shards in proptest::option::of(1u16..)) {
            let ulids: Vec<_> = ulids.into_iter().map(Ulid).collect();
            let [num_samples, num_float_samples, num_histogram_samples, num_series, num_chunks, num_tombstones] = counts;
            let [deletable, failed] = flags;
            let parents = ulids.iter().map(|ulid| Parent { ulid: *ulid, min_time: a, max_time: b }).collect();
            let meta = BlockMeta {
                stats: BlockStats { num_samples, num_float_samples, num_histogram_samples, num_series, num_chunks, num_tombstones },
                compaction: Compaction { level, sources: ulids.clone(), deletable, parents, failed, hints },
                floodplain: shards.map(|shards| Origin { shard: shards - 1, shards }),
                ..BlockMeta::new(ulids[0], a.min(b), a.max(b))
            };
            prop_assert_eq!(BlockMeta::parse(&meta.to_json()), Ok(meta));
        }

        #[test]
        fn cut_and_changed_bytes_do_not_panic(at in any::<prop::sample::Index>(), byte: u8) {
            let mut json = full().to_json();
            let at = at.index(json.len());
            prop_assert!(BlockMeta::parse(&json[..at]).is_err());
            json[at] = byte;
            let _ = BlockMeta::parse(&json);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(BlockMeta::parse(&bytes).is_err());
        }
    }
}
