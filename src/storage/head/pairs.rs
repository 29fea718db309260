//! The label pairs of a shard and, for each, which series carry it: postings.
//!
//! A pair's text is kept once, as the canonical bytes of that one label (`model::labels`): a series is a list of pair
//! ids, and its canonical bytes are their texts one after the other.
//! Invariants: a postings list is sorted and holds a series once; series indexes only grow, so a new one goes last; a pair
//! that nobody carries goes with its text (`prune`), and its id is not used again.

use std::collections::BTreeMap;

use super::paged::Paged;
use super::table::HashTable;
use crate::model::{Fingerprinter, Label, LabelsRef};

/// Names a label pair within one Head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairId(pub u32);

/// Bytes of text a page.
const TEXT_PAGE_BYTES: usize = 64 << 10;

/// The label pairs of a shard.
#[derive(Debug)]
pub struct Pairs {
    pub(super) fingerprinter: Fingerprinter,
    pub(super) table: HashTable,
    pub(super) pairs: Paged<Pair>,
    pub(super) text: Vec<TextPage>,
    /// For every name the pairs that have it, nearly in order of their making.
    pub(super) names: BTreeMap<Box<str>, Vec<PairId>>,
    /// The pairs of the series that came last: the next one's neighbour, which shares most of them at the same place.
    last: Vec<PairId>,
}

#[derive(Debug, Default)]
pub(super) struct Pair {
    pub(super) page: u32,
    offset: u32,
    pub(super) len: u32,
    pub(super) listing: Listing,
    /// A series that had it is gone, and its postings still have it.
    pub(super) to_prune: bool,
    pub(super) postings: Postings,
}

const _: () = assert!(size_of::<Pair>() == 40, "there may be as many pairs as series");

/// Does a pair stand in the list of its name?
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// It does.
    #[default]
    Listed,
    /// It does, and not in the copy that is being made.
    Leaves,
    /// It is not in the copy; if a series brings it back, it is listed again, at the end.
    Left,
}

/// Text of pairs, and how much of it is still some pair's.
#[derive(Debug)]
pub(super) struct TextPage {
    pub(super) bytes: Vec<u8>,
    pub(super) used: usize,
}

/// The series that carry a pair. Most pairs are carried by few: those need no allocation.
#[derive(Debug)]
pub(super) enum Postings {
    Few { len: u8, series: [u32; 3] },
    Many(Vec<u32>),
}

impl Default for Postings {
    fn default() -> Self {
        Self::Few { len: 0, series: [0; 3] }
    }
}

const _: () = assert!(size_of::<Postings>() == 24, "three series lie where a Vec's pointers would");

impl Postings {
    fn push(&mut self, new: u32) {
        match self {
            Self::Few { len, series } => {
                let filled = usize::from(*len);
                if let Some(slot) = series.get_mut(filled) {
                    *slot = new;
                    *len += 1;
                } else {
                    let mut many = Vec::with_capacity(8);
                    many.extend_from_slice(series);
                    many.push(new);
                    *self = Self::Many(many);
                }
            }
            Self::Many(many) => many.push(new),
        }
    }

    /// Sorted series as postings; takes no more room than they need.
    pub(super) fn of(series: Vec<u32>) -> Self {
        let mut few = Self::default();
        if series.len() <= 3 {
            series.into_iter().for_each(|series| few.push(series));
            return few;
        }
        let mut many = series;
        if many.capacity() > 2 * many.len() {
            many.shrink_to_fit();
        }
        Self::Many(many)
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Self::Few { len, series } => series.get(..usize::from(*len)).unwrap_or_default(),
            Self::Many(many) => many,
        }
    }
}

impl Pairs {
    /// No pairs yet.
    #[must_use]
    pub fn new(fingerprinter: Fingerprinter) -> Self {
        Self {
            fingerprinter,
            table: HashTable::new(),
            pairs: Paged::new(),
            text: Vec::new(),
            names: BTreeMap::new(),
            last: Vec::new(),
        }
    }

    /// How many pairs.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.pairs.live()
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every id is below this.
    #[must_use]
    pub fn ids_end(&self) -> u32 {
        self.pairs.len()
    }

    /// Notes that the series with this index, larger than all before, carries these labels; their pairs in order of
    /// the names. `None` if there is no id left for a new pair.
    pub fn add_series(&mut self, series: u32, labels: LabelsRef<'_>) -> Option<Box<[PairId]>> {
        let mut pairs = std::mem::take(&mut self.last);
        let mut count = 0;
        for bytes in labels.iter_bytes() {
            let pair = match pairs.get(count) {
                Some(last) if self.text_of(*last) == bytes => *last,
                _ => self.intern(bytes)?,
            };
            self.carry(series, pair)?;
            match pairs.get_mut(count) {
                Some(last) => *last = pair,
                None => pairs.push(pair),
            }
            count += 1;
        }
        pairs.truncate(count);
        let own = pairs.as_slice().into();
        self.last = pairs;
        Some(own)
    }

    /// Notes that the series with this index, larger than all before, carries these pairs, in order of their names.
    pub(super) fn add_paired_series(
        &mut self,
        series: u32,
        pairs: &[PairId],
    ) -> Option<Box<[PairId]>> {
        pairs.iter().try_for_each(|pair| self.carry(series, *pair))?;
        Some(pairs.into())
    }

    fn carry(&mut self, series: u32, id: PairId) -> Option<()> {
        let pair = self.pairs.get_mut(id.0)?;
        pair.postings.push(series);
        if pair.listing != Listing::Listed {
            self.list_again(id);
        }
        Some(())
    }

    /// A pair that was about to go is carried again.
    #[cold]
    fn list_again(&mut self, id: PairId) {
        let Some(pair) = self.pairs.get_mut(id.0) else { return };
        if std::mem::take(&mut pair.listing) == Listing::Left {
            self.list(id);
        }
    }

    fn list(&mut self, id: PairId) {
        let Some(label) = label_of(&self.pairs, &self.text, id) else { return };
        match self.names.get_mut(label.name) {
            Some(pairs) => pairs.push(id),
            None => {
                self.names.insert(label.name.into(), vec![id]);
            }
        }
    }

    /// The pair with these canonical bytes, made if need be. `None` if there is no id left for it.
    pub(super) fn intern(&mut self, bytes: &[u8]) -> Option<PairId> {
        let hash = self.fingerprinter.keyed(bytes);
        if let Some(id) = self.table.find(hash, |id| self.text_of(PairId(id)) == bytes) {
            return Some(PairId(id));
        }
        let is_full = |page: &TextPage| page.bytes.capacity() - page.bytes.len() < bytes.len();
        if self.text.last().is_none_or(is_full) {
            // One that nobody needs any more was the last until now.
            if let Some(page) = self.text.last_mut().filter(|page| page.used == 0) {
                page.bytes = Vec::new();
            }
            let bytes = Vec::with_capacity(TEXT_PAGE_BYTES.max(bytes.len()));
            self.text.push(TextPage { bytes, used: 0 });
        }
        let page = self.text.last_mut()?;
        let offset = u32::try_from(page.bytes.len()).ok()?;
        page.bytes.extend_from_slice(bytes);
        page.used += bytes.len();
        let id = PairId(self.pairs.push(Pair {
            page: u32::try_from(self.text.len() - 1).ok()?,
            offset,
            len: u32::try_from(bytes.len()).ok()?,
            ..Pair::default()
        })?);
        self.table.insert(hash, id.0);
        self.list(id);
        Some(id)
    }

    /// The canonical bytes of one pair; empty for an id that is not this Head's.
    #[must_use]
    pub fn text_of(&self, id: PairId) -> &[u8] {
        text_of(&self.pairs, &self.text, id)
    }

    /// The pair with this name and value, if any series has it.
    #[must_use]
    pub fn find(&self, name: &str, value: &str) -> Option<PairId> {
        let labels = crate::model::Labels::from_pairs([(name, value)]).ok()?;
        let bytes = labels.as_bytes();
        let found = self
            .table
            .find(self.fingerprinter.keyed(bytes), |id| self.text_of(PairId(id)) == bytes);
        found.filter(|_| !bytes.is_empty()).map(PairId)
    }

    /// The series that carry a pair, sorted.
    #[must_use]
    pub fn postings(&self, id: PairId) -> &[u32] {
        self.pairs.get(id.0).map(|pair| pair.postings.as_slice()).unwrap_or_default()
    }

    /// All label names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(AsRef::as_ref)
    }

    /// The pairs that have this name, nearly in order of their making; while series are being removed one may stand twice.
    #[must_use]
    pub fn of_name(&self, name: &str) -> &[PairId] {
        self.names.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// A pair's value; empty for an id that is not this Head's.
    #[must_use]
    pub fn value(&self, id: PairId) -> &str {
        LabelsRef::trusted(self.text_of(id)).iter().next().map_or("", |label| label.value)
    }

    /// Name and value of a pair.
    #[must_use]
    pub fn label(&self, id: PairId) -> Option<Label<'_>> {
        label_of(&self.pairs, &self.text, id)
    }

    /// Bytes of label text that are kept.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text.iter().map(|page| page.bytes.capacity()).sum()
    }
}

fn text_of<'a>(pairs: &Paged<Pair>, text: &'a [TextPage], id: PairId) -> &'a [u8] {
    let text = pairs.get(id.0).and_then(|pair| {
        let start = pair.offset as usize;
        text.get(pair.page as usize)?.bytes.get(start..start + pair.len as usize)
    });
    text.unwrap_or_default()
}

fn label_of<'a>(pairs: &Paged<Pair>, text: &'a [TextPage], id: PairId) -> Option<Label<'a>> {
    LabelsRef::trusted(text_of(pairs, text, id)).iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    #[test]
    fn a_pair_is_kept_once_and_lists_its_series_in_order() {
        let mut pairs = Pairs::new(Fingerprinter::new(1));
        for series in 0..10u32 {
            let instance = series.to_string();
            let labels = Labels::from_pairs([("job", "api"), ("instance", &instance)]).unwrap();
            let ids = pairs.add_series(series, labels.as_ref()).unwrap();
            let text: Vec<u8> = ids.iter().flat_map(|id| pairs.text_of(*id)).copied().collect();
            assert_eq!(text, labels.as_bytes());
        }
        assert_eq!(pairs.len(), 11);
        assert_eq!(pairs.postings(pairs.find("job", "api").unwrap()), (0..10).collect::<Vec<_>>());
        assert_eq!(pairs.postings(pairs.find("instance", "7").unwrap()), [7]);
        assert_eq!(pairs.find("instance", "10"), None);
        assert_eq!(pairs.names().collect::<Vec<_>>(), ["instance", "job"]);
        assert_eq!(
            pairs.of_name("instance").iter().map(|id| pairs.value(*id)).collect::<String>(),
            "0123456789"
        );
    }
}
