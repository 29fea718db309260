//! How many different labels there are among many, about, in little memory.
//!
//! Each label is hashed to a number; of the different numbers the smallest 4,096 are kept. The greatest of these says how
//! densely the numbers lie. Up to as many labels the count is exact, and then off by a few hundredths.
//! Source: Bar-Yossef et al., "Counting distinct elements in a data stream" (RANDOM 2002).

use std::collections::BTreeSet;

const KEPT_MAX: usize = 4096;

/// The labels so far.
#[derive(Debug, Default)]
pub struct LabelPairs {
    smallest: BTreeSet<u64>,
    /// A number from this on is not among the smallest.
    bound: Option<u64>,
}

impl LabelPairs {
    /// Adds a label: the numbers of its name and its value.
    pub fn add(&mut self, name: u32, value: u32) {
        let hash = mix(u64::from(name) << 32 | u64::from(value));
        if self.bound.is_some_and(|bound| hash >= bound) || !self.smallest.insert(hash) {
            return;
        }
        if self.smallest.len() > KEPT_MAX {
            self.smallest.pop_last();
        }
        if self.smallest.len() == KEPT_MAX {
            self.bound = self.smallest.last().copied();
        }
    }

    /// How many different ones there are, about.
    pub fn count(&self) -> u64 {
        let kept = self.smallest.len() as u64;
        match self.bound {
            None => kept,
            Some(bound) => {
                let count = u128::from(kept - 1) * (1 << 64) / (u128::from(bound) + 1);
                u64::try_from(count).unwrap_or(u64::MAX)
            }
        }
    }
}

/// Spreads numbers that lie close together over all 64 bits, no two to the same one.
fn mix(mut n: u64) -> u64 {
    n ^= n >> 32;
    n = n.wrapping_mul(0xd6e8_feb8_6659_fd93);
    n ^= n >> 32;
    n = n.wrapping_mul(0xd6e8_feb8_6659_fd93);
    n ^ (n >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_counted_exactly_and_many_nearly() {
        let mut pairs = LabelPairs::default();
        for round in 0..3 {
            for value in 0..4000 {
                pairs.add(value % 7, value);
            }
            assert_eq!(pairs.count(), 4000, "round {round}");
        }
        for value in 0..1_000_000 {
            pairs.add(9, value);
        }
        let off = pairs.count().abs_diff(1_004_000);
        assert!(off < 1_004_000 / 20, "{}", pairs.count());
    }
}
