//! What a block says of how it came to be, and which blocks are not needed any more because of what others say.
//!
//! A block takes the place of its parents; until they are removed both are there, and after a crash for good, if nobody
//! looked. So who opens a shard's blocks asks [`replaced`] first.
//!
//! A block that would be too large is written as several, each with some of the series. All but the last have the hint
//! `floodplain-part` and, for each block of which they hold a part, a hint `floodplain-part-of-<ulid>`, but no parents; the
//! last has the parents, and is published when the others are. So the parents are replaced when all parts are there, and a
//! part whose last one never came, for which the parents still stand in, is replaced by these.
//! Source of levels, sources and parents: Prometheus `tsdb/compact.go` (`CompactBlockMetas`).

use std::collections::BTreeSet;

use super::plan::PART_HINT;
use crate::encoding::block::meta::{BlockMeta, Origin, Parent, Ulid};

/// What marks a part, before the name of a block of which it holds a part.
const PART_OF: &str = "floodplain-part-of-";

/// How a new block comes to be, whatever its name will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// No sample is before this instant.
    pub min_time: i64,
    /// All samples are before this one.
    pub max_time: i64,
    /// How often it has been compacted, counted from 1.
    pub level: u32,
    /// The blocks cut from a Head that are in it; if none, itself.
    pub sources: Vec<Ulid>,
    /// The blocks whose place it takes.
    pub parents: Vec<Parent>,
    /// What else is of interest.
    pub hints: Vec<String>,
    /// Whose series it holds.
    pub origin: Option<Origin>,
}

impl History {
    /// Of the block that these become together; `None` if there are none.
    #[must_use]
    pub fn of_merged(parents: &[&BlockMeta]) -> Option<Self> {
        let first = parents.first()?;
        let sources: BTreeSet<Ulid> =
            parents.iter().flat_map(|meta| meta.compaction.sources.iter().copied()).collect();
        let in_all = |hint: &&String| {
            let has = |meta: &&BlockMeta| meta.compaction.hints.contains(hint);
            parents.iter().all(has) && (parents.len() == 1 || !is_of_part(hint))
        };
        let level = parents.iter().map(|meta| meta.compaction.level).max().unwrap_or_default();
        // What a single block takes the place of, its successor does.
        let before: &[Parent] = if parents.len() == 1 { &first.compaction.parents } else { &[] };
        let is_same = |meta: &&BlockMeta| meta.floodplain == first.floodplain;
        Some(Self {
            min_time: parents.iter().map(|meta| meta.min_time).min()?,
            max_time: parents.iter().map(|meta| meta.max_time).max()?,
            level: level.saturating_add(1),
            sources: sources.into_iter().collect(),
            parents: parents
                .iter()
                .map(|meta| parent(meta))
                .chain(before.iter().copied())
                .collect(),
            hints: first.compaction.hints.iter().filter(in_all).cloned().collect(),
            origin: first.floodplain.filter(|_| parents.iter().all(is_same)),
        })
    }

    /// Of the block that `meta`'s becomes without what is deleted.
    #[must_use]
    pub fn of_cleaned(meta: &BlockMeta) -> Self {
        Self { level: meta.compaction.level, ..Self::of_one(meta) }
    }

    /// Of the block that has those series of `meta`'s which are `own`.
    #[must_use]
    pub fn of_own_part(meta: &BlockMeta, own: Origin) -> Self {
        let (level, parents) = (meta.compaction.level, vec![parent(meta)]);
        Self { level, parents, hints: Vec::new(), origin: Some(own), ..Self::of_one(meta) }
    }

    fn of_one(meta: &BlockMeta) -> Self {
        let none = Self::of_copy(meta.min_time, meta.max_time);
        Self::of_merged(&[meta]).unwrap_or(none)
    }

    /// Of a block that stands for itself, with samples of this time.
    #[must_use]
    pub fn of_copy(min_time: i64, max_time: i64) -> Self {
        let (sources, parents, hints) = (Vec::new(), Vec::new(), Vec::new());
        Self { min_time, max_time, level: 1, sources, parents, hints, origin: None }
    }

    /// The meta of the block; how much there is of what is not known yet.
    #[must_use]
    pub fn meta(&self, ulid: Ulid) -> BlockMeta {
        let mut meta = BlockMeta::new(ulid, self.min_time, self.max_time);
        meta.compaction.level = self.level;
        if !self.sources.is_empty() {
            meta.compaction.sources.clone_from(&self.sources);
        }
        meta.compaction.parents.clone_from(&self.parents);
        meta.compaction.hints.clone_from(&self.hints);
        meta.floodplain = self.origin;
        meta
    }

    /// The history of one of several blocks.
    #[must_use]
    pub fn part(&self, is_last: bool) -> Self {
        let mut part = self.clone();
        if !part.hints.iter().any(|hint| hint == PART_HINT) {
            part.hints.push(PART_HINT.to_owned());
        }
        if !is_last {
            let parents = std::mem::take(&mut part.parents);
            part.hints.extend(parents.iter().map(|parent| format!("{PART_OF}{}", parent.ulid)));
        }
        part
    }
}

fn parent(meta: &BlockMeta) -> Parent {
    Parent { ulid: meta.ulid, min_time: meta.min_time, max_time: meta.max_time }
}

fn is_of_part(hint: &str) -> bool {
    hint == PART_HINT || hint.starts_with(PART_OF)
}

/// The blocks of which `meta`'s, a part, holds a part.
fn part_of(meta: &BlockMeta) -> impl Iterator<Item = Ulid> {
    let name = |hint: &String| Ulid::from_string(hint.strip_prefix(PART_OF)?).ok();
    meta.compaction.hints.iter().filter_map(name)
}

/// Is the share of `origin` in the block `ulid` in another of these?
#[must_use]
pub fn is_taken(blocks: &[&BlockMeta], ulid: Ulid, origin: Origin) -> bool {
    let of_origin = |meta: &&&BlockMeta| meta.floodplain == Some(origin) && meta.ulid != ulid;
    blocks.iter().filter(of_origin).any(|meta| is_parent(ulid, meta))
}

/// Is the block `ulid` among these, or has one of them taken its place or a part of it? Then its name is not free.
#[must_use]
pub fn is_known(blocks: &[&BlockMeta], ulid: Ulid) -> bool {
    let is_part_of = |meta: &&&BlockMeta| part_of(meta).any(|whole| whole == ulid);
    blocks.iter().any(|meta| meta.ulid == ulid || is_parent(ulid, meta) || is_part_of(&meta))
}

fn is_parent(ulid: Ulid, of: &BlockMeta) -> bool {
    of.compaction.parents.iter().any(|parent| parent.ulid == ulid)
}

/// The blocks that are not needed: others that hold the same series have taken their place, or nothing in them is left.
///
/// - `blocks`: all that there are.
#[must_use]
pub fn replaced(blocks: &[&BlockMeta]) -> BTreeSet<Ulid> {
    // A block that has only some of the series of another does not take its place: `is_taken` is about those.
    let takes_place = |ulid: Ulid, origin: Option<Origin>| {
        let same = |meta: &&&BlockMeta| meta.floodplain == origin && meta.ulid != ulid;
        blocks.iter().filter(same).any(|meta| is_parent(ulid, meta))
    };
    let is_unfinished = |meta: &BlockMeta| {
        let stands_in = |ulid: Ulid| {
            blocks.iter().any(|other| other.ulid == ulid) && !takes_place(ulid, meta.floodplain)
        };
        part_of(meta).any(stands_in)
    };
    let is_replaced = |meta: &&&BlockMeta| {
        meta.compaction.deletable || takes_place(meta.ulid, meta.floodplain) || is_unfinished(meta)
    };
    blocks.iter().filter(is_replaced).map(|meta| meta.ulid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Origin = Origin { shard: 0, shards: 2 };

    fn meta(ulid: u128, min: i64, max: i64) -> BlockMeta {
        BlockMeta { floodplain: Some(OWN), ..BlockMeta::new(Ulid(ulid), min, max) }
    }

    fn names(blocks: &[&BlockMeta]) -> Vec<u128> {
        replaced(blocks).into_iter().map(|ulid| ulid.0).collect()
    }

    #[test]
    fn a_merged_block_says_what_it_was_made_of() {
        let (mut first, second) = (meta(2, 0, 20), meta(1, 10, 40));
        first.compaction.level = 3;
        first.compaction.sources = vec![Ulid(9), Ulid(1)];
        let merged = History::of_merged(&[&first, &second]).unwrap().meta(Ulid(7));
        assert_eq!((merged.min_time, merged.max_time, merged.compaction.level), (0, 40, 4));
        assert_eq!(merged.compaction.sources, [Ulid(1), Ulid(9)]);
        assert_eq!(merged.compaction.parents, [parent(&first), parent(&second)]);
        assert_eq!((merged.ulid, merged.floodplain), (Ulid(7), Some(OWN)));
        assert_eq!(History::of_merged(&[]), None);
    }

    #[test]
    fn only_hints_that_all_have_stay() {
        let (mut first, mut second) = (meta(1, 0, 20), meta(2, 0, 20));
        first.compaction.hints = vec!["a".to_owned(), "b".to_owned(), PART_HINT.to_owned()];
        second.compaction.hints = vec![PART_HINT.to_owned(), "b".to_owned()];
        assert_eq!(History::of_merged(&[&first, &second]).unwrap().hints, ["b"]);
        assert_eq!(History::of_merged(&[&first]).unwrap().hints, first.compaction.hints);
    }

    #[test]
    fn a_cleaned_block_keeps_its_level_and_what_it_stands_for() {
        let (mut dirty, older) = (meta(2, 0, 20), meta(1, 0, 20));
        dirty.compaction.parents = vec![parent(&older)];
        dirty.compaction.sources = vec![Ulid(1)];
        let cleaned = History::of_cleaned(&dirty).meta(Ulid(3));
        assert_eq!(cleaned.compaction.level, 1);
        assert_eq!(cleaned.compaction.sources, [Ulid(1)]);
        assert_eq!(cleaned.compaction.parents, [parent(&dirty), parent(&older)]);
    }

    #[test]
    fn an_own_part_of_a_mixed_block_is_no_longer_mixed() {
        let mixed = BlockMeta { floodplain: None, ..meta(1, 0, 20) };
        let own = History::of_own_part(&mixed, OWN).meta(Ulid(2));
        assert_eq!((own.floodplain, own.compaction.level), (Some(OWN), 1));
        assert_eq!(own.compaction.parents, [parent(&mixed)]);
        assert_eq!(own.compaction.sources, [Ulid(1)]);
        assert!(is_taken(&[&mixed, &own], Ulid(1), OWN));
        assert!(!is_taken(&[&mixed, &own], Ulid(1), Origin { shard: 1, shards: 2 }));
        assert!(is_known(&[&own], Ulid(1)) && is_known(&[&own], Ulid(2)));
        assert!(!is_known(&[&own], Ulid(3)));
        assert_eq!(names(&[&mixed, &own]), [0; 0], "other shards need it");
    }

    #[test]
    fn parents_are_replaced_by_their_child_and_so_is_what_is_empty() {
        let (a, b) = (meta(1, 0, 20), meta(2, 20, 40));
        let child = History::of_merged(&[&a, &b]).unwrap().meta(Ulid(3));
        let other = meta(4, 40, 60);
        assert_eq!(names(&[&a, &b, &other]), [0; 0]);
        assert_eq!(names(&[&a, &b, &child, &other]), [1, 2]);
        let mut empty = other.clone();
        empty.compaction.deletable = true;
        assert_eq!(names(&[&a, &empty]), [4]);
        let mut itself = other;
        itself.compaction.parents = vec![parent(&itself)];
        assert_eq!(names(&[&itself]), [0; 0]);
    }

    #[test]
    fn parts_are_nothing_without_the_last_of_them() {
        let (a, b) = (meta(1, 0, 20), meta(2, 20, 40));
        let history = History::of_merged(&[&a, &b]).unwrap();
        let (part, last) = (history.part(false).meta(Ulid(3)), history.part(true).meta(Ulid(4)));
        assert_eq!(names(&[&a, &b, &part]), [3]);
        assert_eq!(names(&[&a, &b, &part, &last]), [1, 2]);
        assert_eq!(names(&[&b, &part, &last]), [2]);
        assert_eq!(names(&[&part, &last]), [0; 0]);
        let cleaned = History::of_cleaned(&last).meta(Ulid(5));
        assert_eq!(names(&[&a, &part, &last, &cleaned]), [1, 4]);
        assert_eq!(names(&[&a, &part, &cleaned]), [1]);
        let cleaned = History::of_cleaned(&part).meta(Ulid(6));
        assert_eq!(names(&[&a, &last, &part, &cleaned]), [1, 3]);
        assert_eq!(names(&[&a, &part, &cleaned]), [3, 6]);
    }
}
