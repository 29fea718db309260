//! Which lists of postings an index has, without holding all: of every name's values each 32nd, the first and the last.
//!
//! Where the list of a value begins is found by reading the table from the held entry before it. Version 1 does not sort
//! the table, so of that all is held. Built while the table is read once, from its first entry to its last; that pass
//! also sees to it that names and values are sorted.
//! Source: `NewFileReader` and `postingOffset` in Prometheus `tsdb/index/index.go`.

use std::collections::BTreeMap;
use std::ops::Range;

use super::read::{IndexError, PostingsEntry, Version};

/// Of how many values of a name one is held.
const HELD_EVERY: u32 = 32;

/// What is held of the table.
#[derive(Clone, Debug)]
pub struct PostingsTable {
    /// The list of all series.
    all: Option<u64>,
    names: Names,
}

#[derive(Clone, Debug)]
enum Names {
    /// Every value and its list.
    Whole(BTreeMap<Box<str>, BTreeMap<Box<str>, u64>>),
    /// Sorted by name.
    Sampled(Vec<SampledName>),
}

#[derive(Clone, Debug)]
struct SampledName {
    name: Box<str>,
    value_count: u32,
    /// Sorted by value; the first and the last value are among them.
    held: Vec<HeldValue>,
    /// Behind the last entry, counted from the table's first.
    end: u32,
}

#[derive(Clone, Debug)]
struct HeldValue {
    value: Box<str>,
    /// Where its entry begins, counted from the table's first.
    at: u32,
}

/// Where the values of a name are to be found.
#[derive(Debug)]
pub enum Values<'a> {
    /// Here, each with its list.
    Held(std::collections::btree_map::Range<'a, Box<str>, u64>),
    /// In these bytes of the table, counted from its first entry; entries of others may be among them.
    Read(Range<u32>),
}

impl PostingsTable {
    /// A table of which nothing has been read.
    #[must_use]
    pub fn new(version: Version) -> Self {
        let names = match version {
            Version::V1 => Names::Whole(BTreeMap::new()),
            Version::V2 => Names::Sampled(Vec::new()),
        };
        Self { all: None, names }
    }

    /// Adds the next entry.
    ///
    /// - `at`: the bytes it takes, counted from the table's first entry.
    ///
    /// # Errors
    /// An entry that does not sort behind those before it.
    pub fn push(&mut self, entry: PostingsEntry<'_>, at: Range<u32>) -> Result<(), IndexError> {
        let PostingsEntry { name, value, offset } = entry;
        if name.is_empty() {
            if value.is_empty() {
                self.all = Some(offset);
            }
            return Ok(());
        }
        match &mut self.names {
            Names::Whole(names) => {
                names.entry(name.into()).or_default().insert(value.into(), offset);
            }
            Names::Sampled(names) => push_sampled(names, name, value, at)?,
        }
        Ok(())
    }

    /// Where the list of all series begins.
    #[must_use]
    pub fn all(&self) -> Option<u64> {
        self.all
    }

    /// All label names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let (whole, sampled) = match &self.names {
            Names::Whole(names) => (Some(names.keys().map(|name| &**name)), None),
            Names::Sampled(names) => (None, Some(names.iter().map(|name| &*name.name))),
        };
        whole.into_iter().flatten().chain(sampled.into_iter().flatten())
    }

    /// How many values a name has.
    #[must_use]
    pub fn value_count(&self, name: &str) -> usize {
        match &self.names {
            Names::Whole(names) => names.get(name).map_or(0, BTreeMap::len),
            Names::Sampled(names) => {
                find(names, name).map_or(0, |name| usize::try_from(name.value_count).unwrap_or(0))
            }
        }
    }

    /// Where the values of `name` are that begin with `prefix`, be it empty; `None` if there is no such name.
    #[must_use]
    pub fn with_prefix(&self, name: &str, prefix: &str) -> Option<Values<'_>> {
        match &self.names {
            Names::Whole(names) => {
                let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
                Some(Values::Held(names.get(name)?.range::<str, _>(from)))
            }
            Names::Sampled(names) => {
                let name = find(names, name)?;
                let end = name.held.partition_point(|held| {
                    *held.value <= *prefix || held.value.starts_with(prefix)
                });
                Some(Values::Read(name.from(prefix)?..name.to(end)))
            }
        }
    }

    /// Where the value `value` of `name` is; `None` if there is no such value.
    #[must_use]
    pub fn find(&self, name: &str, value: &str) -> Option<Values<'_>> {
        match &self.names {
            Names::Whole(names) => {
                let exactly = (std::ops::Bound::Included(value), std::ops::Bound::Included(value));
                Some(Values::Held(names.get(name)?.range::<str, _>(exactly)))
            }
            Names::Sampled(names) => {
                let name = find(names, name)?;
                let is_inside =
                    *name.held.first()?.value <= *value && *value <= *name.held.last()?.value;
                let next = name.held.partition_point(|held| *held.value <= *value);
                is_inside.then_some(Values::Read(name.from(value)?..name.to(next)))
            }
        }
    }

    /// How many bytes of memory it takes, about.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.names {
            Names::Whole(names) => {
                let values = names.values().flatten();
                values.map(|(value, _)| value.len() + 3 * size_of::<u64>()).sum()
            }
            Names::Sampled(names) => {
                let held = names.iter().flat_map(|name| &name.held);
                held.map(|held| held.value.len() + size_of::<HeldValue>()).sum()
            }
        }
    }
}

impl SampledName {
    /// Where the last held entry begins whose value is not above `value`; the first entry if all are.
    fn from(&self, value: &str) -> Option<u32> {
        let behind = self.held.partition_point(|held| *held.value <= *value);
        self.held.get(behind.saturating_sub(1)).map(|held| held.at)
    }

    /// Where the held entry at this index begins, or the last entry ends.
    fn to(&self, index: usize) -> u32 {
        self.held.get(index).map_or(self.end, |held| held.at)
    }
}

fn find<'a>(names: &'a [SampledName], name: &str) -> Option<&'a SampledName> {
    let at = names.binary_search_by(|own| (*own.name).cmp(name)).ok()?;
    names.get(at)
}

fn push_sampled(
    names: &mut Vec<SampledName>,
    name: &str,
    value: &str,
    at: Range<u32>,
) -> Result<(), IndexError> {
    let unsorted = IndexError::Malformed { what: "the postings' table is not sorted" };
    match names.last() {
        Some(own) if *own.name == *name => {
            if own.held.last().is_some_and(|last| *last.value >= *value) {
                return Err(unsorted);
            }
        }
        Some(own) if *own.name > *name => return Err(unsorted),
        _ => {
            let (held, end) = (Vec::new(), at.start);
            names.push(SampledName { name: name.into(), value_count: 0, held, end });
        }
    }
    let Some(own) = names.last_mut() else { return Ok(()) };
    // The last value is held, too: it gives way unless it has a place of its own.
    if own.value_count % HELD_EVERY != 1 && own.value_count > 1 {
        own.held.pop();
    }
    own.held.push(HeldValue { value: value.into(), at: at.start });
    own.value_count = own.value_count.saturating_add(1);
    own.end = at.end;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry<'a>(name: &'a str, value: &'a str, offset: u64) -> PostingsEntry<'a> {
        PostingsEntry { name, value, offset }
    }

    /// A table whose entries take ten bytes each.
    fn table(version: Version, values: &[(String, String)]) -> Result<PostingsTable, IndexError> {
        let mut table = PostingsTable::new(version);
        table.push(entry("", "", 5), 0..10)?;
        for (i, (name, value)) in (1..).zip(values) {
            table.push(entry(name, value, u64::from(i)), 10 * i..10 * (i + 1))?;
        }
        Ok(table)
    }

    fn values_of(counts: &[usize]) -> Vec<(String, String)> {
        let of_name = |(i, count): (usize, &usize)| {
            (0..*count).map(move |v| (format!("name{i}"), format!("{:03}", 2 * v)))
        };
        counts.iter().enumerate().flat_map(of_name).collect()
    }

    #[test]
    fn a_table_that_is_not_sorted_is_refused_unless_it_is_old() {
        for wrong in [[("b", "1"), ("a", "1")], [("a", "2"), ("a", "1")], [("a", "1"), ("a", "1")]]
        {
            let wrong = wrong.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert!(table(Version::V2, &wrong).is_err());
            assert!(table(Version::V1, &wrong).is_ok());
        }
    }

    proptest! {
        #[test]
        fn every_value_is_where_the_table_says(counts in proptest::collection::vec(1usize..100, 1..4), asked in 0usize..200) {
            let values = values_of(&counts);
            let table = table(Version::V2, &values).unwrap();
            prop_assert_eq!(table.all(), Some(5));
            prop_assert_eq!(table.names().count(), counts.len());
            let at = |name: &str, value: &str| {
                let found = values.iter().position(|own| own.0 == name && own.1 == value)?;
                u32::try_from(10 * (found + 1)).ok()
            };
            for (i, count) in counts.iter().enumerate() {
                let (name, value) = (format!("name{i}"), format!("{asked:03}"));
                prop_assert_eq!(table.value_count(&name), *count);
                match table.find(&name, &value) {
                    Some(Values::Read(range)) => {
                        prop_assert!(range.len() <= 320);
                        prop_assert!(at(&name, &value).is_none_or(|at| range.contains(&at)));
                    }
                    _ => prop_assert_eq!(at(&name, &value), None),
                }
                let prefix = &value[..2];
                let Some(Values::Read(range)) = table.with_prefix(&name, prefix) else { panic!("{name} is there") };
                let mut beginning = values.iter().filter(|own| own.0 == name && own.1.starts_with(prefix));
                prop_assert!(beginning.all(|own| range.contains(&at(&own.0, &own.1).unwrap())));
                prop_assert!(range.len() <= 10 * (32 + 5 + 32));
                let Some(Values::Read(all)) = table.with_prefix(&name, "") else { panic!("{name} is there") };
                prop_assert_eq!(all.len(), 10 * count);
            }
            prop_assert!(table.find("nobody", "0").is_none());
        }

        #[test]
        fn an_old_table_holds_every_value(counts in proptest::collection::vec(1usize..50, 1..4)) {
            let values = values_of(&counts);
            let table = table(Version::V1, &values).unwrap();
            for (offset, (name, value)) in (1u64..).zip(&values) {
                let Some(Values::Held(mut found)) = table.find(name, value) else { panic!("{name} is there") };
                prop_assert_eq!(found.next().map(|(value, list)| (&**value, *list)), Some((value.as_str(), offset)));
                prop_assert!(found.next().is_none());
            }
        }
    }
}
