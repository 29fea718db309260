//! What a label set is recognised by on the hot path: 128 bits, of which one half also routes.
//!
//! The store does not compare label text for every sample; two label sets are one series if and only if their
//! fingerprints agree. The routing half is seahash, the same on every machine and for ever; the other is keyed by a
//! seed drawn at start, so that no sender can prepare two label sets that agree in both. By chance, 10^8 series hold
//! an agreeing pair with probability 10^16 / 2 / 2^128, which is below 10^-22.

use std::hash::{BuildHasher, Hasher};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

/// 128 bits that stand for one canonical label set within this run of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Seahash of the canonical label bytes. Names the shard; the same in every run and on every machine.
    pub route: u64,
    /// A keyed hash of the same bytes. Differs from run to run: never goes to disk.
    pub check: u64,
}

/// Makes fingerprints under one seed. Clones agree with each other; one per process, handed to every shard.
#[derive(Clone)]
pub struct Fingerprinter {
    keyed: SeedableRandomState,
}

impl Fingerprinter {
    /// Fingerprints under `seed`, which should be unpredictable outside tests.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { keyed: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()) }
    }

    /// The fingerprint of a label set in canonical bytes (see [`super::labels`]); does not look whether they are.
    #[inline]
    #[must_use]
    pub fn of(&self, canonical: &[u8]) -> Fingerprint {
        Fingerprint { route: seahash::hash(canonical), check: self.keyed(canonical) }
    }

    /// The keyed half alone, for tables within one process.
    #[inline]
    #[must_use]
    pub fn keyed(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.keyed.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprinter") // the seed stays out of logs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // golden: where series live may never move
    fn the_routing_half_is_seahash_of_the_canonical_bytes() {
        assert_eq!(
            Fingerprinter::new(1).of(b"to be or not to be").route,
            1_988_685_042_348_123_509
        );
    }

    #[test]
    fn the_checking_half_depends_on_the_seed_and_the_routing_half_does_not() {
        let (a, b) = (Fingerprinter::new(1).of(b"x"), Fingerprinter::new(2).of(b"x"));
        assert_eq!(a.route, b.route);
        assert_ne!(a.check, b.check);
    }
}
