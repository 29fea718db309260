//! The label pairs of a shard and, for each, which series carry it: postings.
//!
//! A pair's text is kept once, as the canonical bytes of that one label (`model::labels`): a series is a list of pair
//! ids, and its canonical bytes are their texts one after the other.
//! Invariants: a postings list is sorted and holds a series once; series indexes only grow, so a new one goes last.

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
    fingerprinter: Fingerprinter,
    table: HashTable,
    pairs: Paged<Pair>,
    text: Vec<Vec<u8>>,
    /// For every name the pairs that have it, in order of their making.
    names: BTreeMap<Box<str>, Vec<PairId>>,
}

#[derive(Debug)]
struct Pair {
    page: u32,
    offset: u32,
    len: u32,
    postings: Postings,
}

/// The series that carry a pair. Most pairs are carried by few: those need no allocation.
#[derive(Debug)]
enum Postings {
    Few { len: u8, series: [u32; 3] },
    Many(Vec<u32>),
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

    fn as_slice(&self) -> &[u32] {
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
        }
    }

    /// How many pairs.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.pairs.len()
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Notes that the series with this index, larger than all before, carries these labels; their pairs in order of
    /// the names. `None` if there is no id left for a new pair.
    pub fn add_series(&mut self, series: u32, labels: LabelsRef<'_>) -> Option<Box<[PairId]>> {
        let mut pairs = Vec::with_capacity(labels.iter().count());
        for (label, bytes) in labels.iter_with_bytes() {
            let pair = self.intern(label, bytes)?;
            self.pairs.get_mut(pair.0)?.postings.push(series);
            pairs.push(pair);
        }
        Some(pairs.into_boxed_slice())
    }

    fn intern(&mut self, label: Label<'_>, bytes: &[u8]) -> Option<PairId> {
        let hash = self.fingerprinter.keyed(bytes);
        if let Some(id) = self.table.find(hash, |id| self.text_of(PairId(id)) == bytes) {
            return Some(PairId(id));
        }
        if self.text.last().is_none_or(|page| page.capacity() - page.len() < bytes.len()) {
            self.text.push(Vec::with_capacity(TEXT_PAGE_BYTES.max(bytes.len())));
        }
        let page = self.text.last_mut()?;
        let offset = u32::try_from(page.len()).ok()?;
        page.extend_from_slice(bytes);
        let id = PairId(self.pairs.push(Pair {
            page: u32::try_from(self.text.len() - 1).ok()?,
            offset,
            len: u32::try_from(bytes.len()).ok()?,
            postings: Postings::Few { len: 0, series: [0; 3] },
        })?);
        self.table.insert(hash, id.0);
        match self.names.get_mut(label.name) {
            Some(pairs) => pairs.push(id),
            None => {
                self.names.insert(label.name.into(), vec![id]);
            }
        }
        Some(id)
    }

    /// The canonical bytes of one pair; empty for an id that is not this Head's.
    #[must_use]
    pub fn text_of(&self, id: PairId) -> &[u8] {
        let text = self.pairs.get(id.0).and_then(|pair| {
            let start = pair.offset as usize;
            self.text.get(pair.page as usize)?.get(start..start + pair.len as usize)
        });
        text.unwrap_or_default()
    }

    /// The pair with this name and value, if any series ever had it.
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

    /// The pairs that have this name, in order of their making.
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
        LabelsRef::trusted(self.text_of(id)).iter().next()
    }

    /// Bytes of label text that are kept.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text.iter().map(Vec::capacity).sum()
    }
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
