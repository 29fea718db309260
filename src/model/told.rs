//! What was said of metric families a moment ago and is stored: senders of 2.0 repeat it with every request.
//!
//! A write batch remembers the entries that shards have acknowledged to it, so that a repetition goes no further than the
//! decoder. It forgets: an entry may have to give its place to another, and all go now and then, so that the shards hear
//! that an entry is still said. Whoever is told again finds that he knows.

/// So many entries have a place, a power of two.
const PLACES: usize = 8192;

/// The key of an entry that is not to be remembered.
pub const FORGOTTEN: u64 = 0;

/// Entries that the shards know, by their keys: 64 bits that stand for all of an entry within this run of the process.
#[derive(Debug, Default)]
pub struct Told {
    /// By the lowest bits of the key; nothing before the first entry.
    keys: Vec<u64>,
    generation: u64,
}

impl Told {
    /// Forgets everything, unless it is still the same generation.
    pub fn forget_before(&mut self, generation: u64) {
        if self.generation != generation {
            self.generation = generation;
            self.keys.fill(FORGOTTEN);
        }
    }

    /// Do the shards know the entry with this key?
    #[inline]
    #[must_use]
    pub fn knows(&self, key: u64) -> bool {
        key != FORGOTTEN && self.keys.get(place(key)) == Some(&key)
    }

    /// Remembers the entry with this key: it is as durable as a write is when it is acknowledged.
    pub fn remember(&mut self, key: u64) {
        if self.keys.is_empty() {
            self.keys.resize(PLACES, FORGOTTEN);
        }
        if let Some(slot) = self.keys.get_mut(place(key)) {
            *slot = key;
        }
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lowest bits are what is asked for")]
fn place(key: u64) -> usize {
    key as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_known_until_another_takes_its_place_or_all_is_forgotten() {
        let mut told = Told::default();
        assert!(!told.knows(5));
        [5, 7, FORGOTTEN].into_iter().for_each(|key| told.remember(key));
        assert!(told.knows(5) && told.knows(7) && !told.knows(FORGOTTEN));
        told.remember(5 + PLACES as u64);
        assert!(!told.knows(5) && told.knows(5 + PLACES as u64));
        told.forget_before(0);
        assert!(told.knows(7));
        told.forget_before(1);
        assert!(!told.knows(7));
    }
}
