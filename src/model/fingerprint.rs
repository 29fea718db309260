//! What a label set is recognised by on the hot path: 128 bits, of which one half also routes.
//!
//! The store does not compare label text for every sample; two label sets are one series if and only if their
//! fingerprints agree. The routing half is seahash, the same on every machine and for ever; the other is keyed by a
//! seed drawn at start, so that no sender can prepare two label sets that agree in both. By chance, 10^8 series hold
//! an agreeing pair with probability 10^16 / 2 / 2^128, which is below 10^-22.
//!
//! The keyed half multiplies and folds, as wyhash and foldhash do, over the words that seahash reads anyway:
//! ```text
//! fold(x, y)   the low half of the 128-bit product xor its high half
//! start        s0 = k0, s1 = k1
//! 32 bytes     words w0 w1 w2 w3, little-endian, the last block filled up with zeros (and there even if all zeros)
//!              s0 = fold(s0 ^ w0, w1 ^ k2), s1 = fold(s1 ^ w2, w3 ^ k3)
//! end          fold(s0 ^ k1, s1 ^ k0 ^ len)
//! ```
//! Known series are fingerprinted by [`Fingerprinter::of_padded`], which does both halves in one pass over bytes that
//! have room behind them: 29 ns for 188 bytes where the crates seahash and foldhash take 47, one after the other
//! (`benches/wire.rs`).

/// How many bytes [`Fingerprinter::of_padded`] may read behind a label set.
pub const PADDING_BYTES: usize = BLOCK_BYTES;

const BLOCK_BYTES: usize = 32;

/// 128 bits that stand for one canonical label set within this run of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Seahash of the canonical label bytes. Names the shard; the same in every run and on every machine.
    pub route: u64,
    /// A keyed hash of the same bytes. Differs from run to run: never goes to disk.
    pub check: u64,
}

/// Makes fingerprints under one seed. Clones agree with each other; one per process, handed to every shard.
#[derive(Clone)]
pub struct Fingerprinter {
    keys: [u64; 4],
}

impl Fingerprinter {
    /// Fingerprints under `seed`, which should be unpredictable outside tests.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Splitmix64 spreads the seed over four keys.
        let mut state = seed;
        let keys = std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { keys }
    }

    /// The fingerprint of a label set in canonical bytes (see [`super::labels`]); does not look whether they are.
    #[must_use]
    pub fn of(&self, canonical: &[u8]) -> Fingerprint {
        Fingerprint { route: seahash::hash(canonical), check: self.keyed(canonical) }
    }

    /// The keyed half alone, for tables within one process.
    #[must_use]
    pub fn keyed(&self, bytes: &[u8]) -> u64 {
        let (blocks, rest) = bytes.as_chunks();
        let mut last = [0; BLOCK_BYTES];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let mut state = State::new(&self.keys);
        blocks.iter().for_each(|block| state.mix(&self.keys, words(block)));
        state.finish(&self.keys, words(&last), bytes.len()).check
    }

    /// The fingerprints of `N` label sets that lie in `bytes`, each as offset and length; `None` unless
    /// [`PADDING_BYTES`] stand behind every one. What they are does not matter.
    ///
    /// Several at once, because each step of seahash waits for the one before it: one set alone leaves the core half idle.
    #[inline(always)]
    #[must_use]
    pub fn of_padded<const N: usize>(
        &self,
        bytes: &[u8],
        sets: [(usize, usize); N],
    ) -> Option<[Fingerprint; N]> {
        let mut blocks: [(&[[u8; BLOCK_BYTES]], &[u8; BLOCK_BYTES]); N] =
            [(&[], &[0; BLOCK_BYTES]); N];
        let mut shortest = usize::MAX;
        for ((whole, last), (offset, len)) in blocks.iter_mut().zip(sets) {
            let (before, rest) = bytes.get(offset..)?.split_at_checked(len & !(BLOCK_BYTES - 1))?;
            (*whole, *last) = (before.as_chunks().0, rest.first_chunk()?);
            shortest = shortest.min(whole.len());
        }
        let mut states = [State::new(&self.keys); N];
        for i in 0..shortest {
            for (state, (whole, _)) in states.iter_mut().zip(&blocks) {
                state.mix(&self.keys, words(whole.get(i)?));
            }
        }
        for (state, (whole, _)) in states.iter_mut().zip(&blocks) {
            for block in whole.get(shortest..)? {
                state.mix(&self.keys, words(block));
            }
        }
        let mut all = [Fingerprint::default(); N];
        for (((one, state), (_, last)), (_, len)) in
            all.iter_mut().zip(states).zip(blocks).zip(sets)
        {
            *one = state.finish(&self.keys, words(last), len);
        }
        Some(all)
    }
}

/// Both halves of a fingerprint on their way.
#[derive(Clone, Copy)]
struct State {
    route: [u64; 4],
    check: [u64; 2],
}

impl State {
    #[inline(always)]
    fn new([k0, k1, ..]: &[u64; 4]) -> Self {
        Self { route: ROUTE_START, check: [*k0, *k1] }
    }

    #[inline(always)]
    fn mix(&mut self, keys: &[u64; 4], words: [u64; 4]) {
        self.route = mix_route(self.route, words);
        self.check = mix_check(self.check, keys, words);
    }

    #[inline(always)]
    fn finish(mut self, keys: &[u64; 4], last: [u64; 4], len: usize) -> Fingerprint {
        let kept = const { &KEPT }.get(len % BLOCK_BYTES).unwrap_or(&[0; 4]);
        let mixed = const { &MIXED }.get(len % BLOCK_BYTES).unwrap_or(&[0; 4]);
        let mut words = last;
        words.iter_mut().zip(kept).for_each(|(word, kept)| *word &= kept);
        let after = mix_route(self.route, words);
        for ((lane, after), mixed) in self.route.iter_mut().zip(after).zip(mixed) {
            *lane = *lane & !mixed | after & mixed;
        }
        self.check = mix_check(self.check, keys, words);
        let ([a, b, c, d], [s0, s1], [k0, k1, ..]) = (self.route, self.check, *keys);
        Fingerprint {
            route: diffuse(a ^ b ^ c ^ d ^ len as u64),
            check: fold(s0 ^ k1, s1 ^ k0 ^ len as u64),
        }
    }
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprinter") // the keys stay out of logs
    }
}

/// The bits to keep of a last block's words when it holds that many bytes.
const KEPT: [[u64; 4]; BLOCK_BYTES] = by_last_bytes(0xff);
/// All bits of the lanes that a last block of that many bytes has a byte for; seahash leaves the others as they are.
const MIXED: [[u64; 4]; BLOCK_BYTES] = by_last_bytes(u64::MAX);

#[expect(
    clippy::indexing_slicing,
    reason = "runs while compiling, where an index out of bounds is an error"
)]
const fn by_last_bytes(bits: u64) -> [[u64; 4]; BLOCK_BYTES] {
    let mut table = [[0; 4]; BLOCK_BYTES];
    let mut len = 0;
    while len < BLOCK_BYTES {
        let mut byte = 0;
        while byte < len {
            table[len][byte / 8] |= if bits == u64::MAX { bits } else { bits << (8 * (byte % 8)) };
            byte += 1;
        }
        len += 1;
    }
    table
}

#[inline(always)]
fn words(block: &[u8; BLOCK_BYTES]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

// Seahash, whose four lanes take a word each in turn. Constants and steps: the crate `seahash`, to which a property test
// holds this.

const ROUTE_START: [u64; 4] =
    [0x16f1_1fe8_9b0d_677c, 0xb480_a793_d8e6_c86c, 0x6fe2_e5aa_f078_ebc9, 0x14f9_94a4_c525_9381];

#[inline(always)]
fn mix_route(mut lanes: [u64; 4], words: [u64; 4]) -> [u64; 4] {
    lanes.iter_mut().zip(words).for_each(|(lane, word)| *lane = diffuse(*lane ^ word));
    lanes
}

#[inline(always)]
fn diffuse(x: u64) -> u64 {
    const PRIME: u64 = 0x6eed_0e9d_a4d9_4a4f;
    let x = x.wrapping_mul(PRIME);
    (x ^ ((x >> 32) >> (x >> 60))).wrapping_mul(PRIME)
}

#[inline(always)]
fn mix_check([s0, s1]: [u64; 2], keys: &[u64; 4], [w0, w1, w2, w3]: [u64; 4]) -> [u64; 2] {
    let [_, _, k2, k3] = keys;
    [fold(s0 ^ w0, w1 ^ k2), fold(s1 ^ w2, w3 ^ k3)]
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the two halves of the product")]
fn fold(x: u64, y: u64) -> u64 {
    let product = u128::from(x) * u128::from(y);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn the_checking_half_sees_every_byte_and_the_length() {
        let fingerprinter = Fingerprinter::new(1);
        let mut seen = std::collections::HashSet::new();
        for len in 0..100 {
            let mut bytes = vec![0u8; len];
            assert!(seen.insert(fingerprinter.of(&bytes).check), "{len} zeros");
            for i in 0..len {
                bytes[i] = 1;
                assert!(seen.insert(fingerprinter.of(&bytes).check), "byte {i} of {len}");
                bytes[i] = 0;
            }
        }
    }

    proptest! {
        #[test]
        fn bytes_with_room_behind_them_have_the_same_fingerprint(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            behind in proptest::collection::vec(any::<u8>(), PADDING_BYTES..40),
        ) {
            let fingerprinter = Fingerprinter::new(7);
            let padded = [&bytes[..], &behind].concat();
            let fingerprint = fingerprinter.of_padded(&padded, [(0, bytes.len())]);
            prop_assert_eq!(fingerprint, Some([fingerprinter.of(&bytes)]));
            prop_assert_eq!(fingerprint.unwrap()[0].route, seahash::hash(&bytes));
            prop_assert_eq!(fingerprinter.of_padded(&bytes, [(0, bytes.len() + 1)]), None);
        }
    }
}
