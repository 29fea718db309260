//! Which symbols an index has, without holding them: where every 32nd begins.
//!
//! A symbol is found by reading the few bytes from the held one before it. Built while the section is read once, from
//! its first symbol to its last; that pass also sees to it that they are sorted.
//! Source: `Symbols` in Prometheus `tsdb/index/index.go`.

use std::ops::Range;

use super::read::{IndexError, Version, split_symbol};

/// Of how many symbols one is held.
const HELD_EVERY: u32 = 32;

/// Where every 32nd symbol begins.
#[derive(Clone, Debug)]
pub struct SymbolOffsets {
    version: Version,
    /// At which byte of the file the first symbol begins.
    first: u64,
    /// At which byte of the file the last one ends.
    end: u64,
    count: u32,
    /// Counted from `first`.
    held: Vec<u32>,
}

impl SymbolOffsets {
    /// No symbols yet; the first will begin at byte `first` of the file.
    #[must_use]
    pub fn new(version: Version, first: u64) -> Self {
        Self { version, first, end: first, count: 0, held: Vec::new() }
    }

    /// Adds the next symbol, which takes `len` bytes with its length; gives the reference by which series name it.
    ///
    /// # Errors
    /// A symbol that no reference of 32 bits can name.
    pub fn push(&mut self, len: usize) -> Result<u32, IndexError> {
        let far = |_| IndexError::Malformed { what: "a symbol behind the first 4 GiB" };
        let reference = match self.version {
            Version::V1 => u32::try_from(self.end).map_err(far)?,
            Version::V2 => self.count,
        };
        if self.count.is_multiple_of(HELD_EVERY) {
            self.held.push(u32::try_from(self.end - self.first).map_err(far)?);
        }
        self.count += 1;
        self.end += len as u64;
        Ok(reference)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The bytes of the file in which all symbols lie.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.first..self.end
    }

    /// How many bytes of memory it takes, about.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.capacity() * size_of::<u32>()
    }

    /// In which group of 32 a symbol is, and where that lies in the file; `None` if there is no such symbol.
    #[must_use]
    pub fn group_of(&self, reference: u32) -> Option<(usize, Range<u64>)> {
        let group = match self.version {
            Version::V1 => {
                let place = u64::from(reference).checked_sub(self.first)?;
                self.held.partition_point(|held| u64::from(*held) <= place).checked_sub(1)?
            }
            Version::V2 => usize::try_from(reference / HELD_EVERY).ok()?,
        };
        let held = |group: usize| self.held.get(group).map(|held| self.first + u64::from(*held));
        Some((group, held(group)?..held(group + 1).unwrap_or(self.end)))
    }

    /// The symbols of a group with their references, from the bytes in which it lies. Ends with an error where the bytes
    /// are not symbols.
    pub fn symbols_in<'a>(
        &self,
        group: usize,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = Result<(u32, &'a str), IndexError>> + use<'a> {
        let at_byte = self.held.get(group).map(|held| self.first + u64::from(*held));
        let first = match self.version {
            Version::V1 => at_byte.and_then(|at| u32::try_from(at).ok()),
            Version::V2 => u32::try_from(group).ok().and_then(|g| g.checked_mul(HELD_EVERY)),
        };
        let version = self.version;
        let (mut next, mut rest) = (first, bytes);
        std::iter::from_fn(move || {
            let reference = next?;
            if rest.is_empty() {
                return None;
            }
            let (symbol, behind) = match split_symbol(rest) {
                Ok(split) => split,
                Err(error) => {
                    rest = &[];
                    return Some(Err(error));
                }
            };
            let step = match version {
                Version::V1 => u32::try_from(rest.len() - behind.len()).ok(),
                Version::V2 => Some(1),
            };
            next = step.and_then(|step| reference.checked_add(step));
            rest = behind;
            Some(Ok((reference, symbol)))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::varint;

    /// Behind `first` other bytes, all symbols of `texts`; what is held of them, and their references.
    fn section(
        version: Version,
        first: u64,
        texts: &[String],
    ) -> (Vec<u8>, SymbolOffsets, Vec<u32>) {
        let mut bytes = vec![0; usize::try_from(first).unwrap()];
        let mut offsets = SymbolOffsets::new(version, first);
        let mut references = Vec::new();
        for text in texts {
            let before = bytes.len();
            varint::push_unsigned(&mut bytes, text.len() as u64);
            bytes.extend_from_slice(text.as_bytes());
            references.push(offsets.push(bytes.len() - before).unwrap());
        }
        (bytes, offsets, references)
    }

    proptest! {
        #[test]
        fn every_symbol_is_in_its_group(count in 0usize..100, first in 0u64..50, is_v1: bool) {
            let texts: Vec<String> = (0..count).map(|i| "x".repeat(i * 7 % 150)).collect();
            let version = if is_v1 { Version::V1 } else { Version::V2 };
            let (bytes, offsets, references) = section(version, first, &texts);
            for (reference, text) in references.iter().zip(&texts) {
                let (group, range) = offsets.group_of(*reference).unwrap();
                let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                prop_assert!(range.len() <= 32 * 152);
                let mut symbols = offsets.symbols_in(group, &bytes[range]).map(Result::unwrap);
                let found = symbols.find(|(own, _)| own == reference);
                prop_assert_eq!(found, Some((*reference, text.as_str())));
            }
            if !is_v1 {
                prop_assert!(offsets.group_of(offsets.count().next_multiple_of(32)).is_none());
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let (_, offsets, _) = section(Version::V1, 5, &["a".to_owned()]);
            prop_assert!(offsets.symbols_in(0, &bytes).count() <= bytes.len());
        }
    }
}
