//! What a label set is recognised by on the hot path: 128 bits, of which one half also routes.
//!
//! The store does not compare label text for every sample; two label sets are one series if and only if their
//! fingerprints agree. The routing half is the same on every machine and for ever; the other is keyed by a seed drawn at
//! start, so that no sender can prepare two label sets that agree in both.
//!
//! Both halves are one function under four keys `k0 k1 k2 k3`. It takes a set apart, so that a label which neighbouring
//! series share is hashed once, and a name or value that many labels share, too:
//! ```text
//! fold(x, y)   the low half of the 128-bit product xor its high half
//! text         s0 = k0, s1 = k1
//!              for each 32 bytes: words w0 w1 w2 w3, little-endian, the last block filled up with zeros (and there even if
//!              it is all zeros):  s0 = fold(s0 ^ w0, w1 ^ k2), s1 = fold(s1 ^ w2, w3 ^ k3)
//!              text = fold(s0 ^ k1, s1 ^ k0 ^ length in bytes)
//! label        fold(text(name) ^ k2, text(value) ^ k3)
//! set          fold(the sum of its labels modulo 2^64 ^ k0, k1)
//! ```
//! The routing half's keys are the first 256 bits of pi behind the point: `243f6a8885a308d3 13198a2e03707344
//! a4093822299f31d0 082efa98ec4e6c89`. It is a format: where a series lives follows from it, and it can never change.
//!
//! Why a sum is enough: two different sets differ in a label, and the number of that label is in one of the sums and not in
//! the other. To whoever does not know the keys, which never leave the process, it is as good as any of 2^64 whatever the
//! other numbers are, so the sums agree about as often as chance has it. Labels that share a name or a value are no
//! exception: two unknown factors of a product, folded, stand between what they share and their numbers. (No more is known of
//! hashes of this kind, wyhash and foldhash among them, than that nobody has found better.) A label that stands twice counts
//! twice. The order does not matter: a canonical set has only one, and who takes a set in another order for the same set is
//! right. By chance, 10^8 series hold a pair that agrees in both halves with a probability of 10^16 / 2 / 2^128, which is
//! below 10^-22; of series whose routing halves a sender made equal, 10^6 hold one with 10^12 / 2 / 2^64, which is below
//! 10^-7.

use super::LabelsRef;

/// How many bytes [`Fingerprinter::padded_text`] may read behind a text.
pub const PADDING_BYTES: usize = BLOCK_BYTES;

const BLOCK_BYTES: usize = 32;

/// 128 bits that stand for one canonical label set within this run of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// The half without a secret. Names the shard; the same in every run and on every machine.
    pub route: u64,
    /// The half under the process's keys. Differs from run to run: never goes to disk.
    pub check: u64,
}

/// Both halves of the hash of a name or a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextHash {
    route: u64,
    check: u64,
}

/// Both halves of the hash of a label, or the sum of those of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelsHash {
    route: u64,
    check: u64,
}

impl LabelsHash {
    /// Of no labels.
    pub const NONE: Self = Self { route: 0, check: 0 };

    /// The fingerprint of the set whose labels have been summed up.
    #[inline(always)]
    #[must_use]
    pub fn fingerprint(self, fingerprinter: &Fingerprinter) -> Fingerprint {
        Fingerprint { route: ROUTE_KEYS.set(self.route), check: fingerprinter.keys.set(self.check) }
    }
}

impl std::ops::AddAssign for LabelsHash {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        self.route = self.route.wrapping_add(other.route);
        self.check = self.check.wrapping_add(other.check);
    }
}

impl std::ops::SubAssign for LabelsHash {
    #[inline(always)]
    fn sub_assign(&mut self, other: Self) {
        self.route = self.route.wrapping_sub(other.route);
        self.check = self.check.wrapping_sub(other.check);
    }
}

/// Makes fingerprints under one seed. Clones agree with each other; one per process, handed to every shard.
#[derive(Clone)]
pub struct Fingerprinter {
    keys: Keys,
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
        Self { keys: Keys(keys) }
    }

    /// The fingerprint of a label set.
    #[must_use]
    pub fn of(&self, labels: LabelsRef<'_>) -> Fingerprint {
        self.of_those(labels, |_| true)
    }

    /// The fingerprint of the set of those labels whose names are `kept`.
    #[must_use]
    #[inline(always)]
    pub fn of_those(
        &self,
        labels: LabelsRef<'_>,
        mut kept: impl FnMut(&[u8]) -> bool,
    ) -> Fingerprint {
        let set = labels.as_bytes();
        // Most texts of a set have enough of it behind them.
        let text = |text: &[u8]| {
            let offset = text.as_ptr().addr() - set.as_ptr().addr();
            let padded = set.get(offset..).and_then(|from| self.padded_text(from, text.len()));
            padded.unwrap_or_else(|| self.text(text))
        };
        let mut sum = LabelsHash::NONE;
        for (name, value) in labels.iter_raw().filter(|(name, _)| kept(name)) {
            sum += self.label(text(name), text(value));
        }
        sum.fingerprint(self)
    }

    /// The hash of some labels of a set: those of all of it, summed up, make its fingerprint.
    #[must_use]
    pub fn sum(&self, labels: LabelsRef<'_>) -> LabelsHash {
        let mut sum = LabelsHash::NONE;
        for (name, value) in labels.iter_raw() {
            sum += self.label(self.text(name), self.text(value));
        }
        sum
    }

    /// The hash of a name or a value.
    #[must_use]
    pub fn text(&self, text: &[u8]) -> TextHash {
        let (blocks, rest) = text.as_chunks();
        self.blocks(blocks, last_words(rest), text.len())
    }

    /// The hash of the `len` bytes of a name or a value that starts with `text`; `None` unless [`PADDING_BYTES`] stand
    /// behind it. What they are does not matter.
    #[inline(always)]
    #[must_use]
    pub fn padded_text(&self, text: &[u8], len: usize) -> Option<TextHash> {
        let (whole, rest) = text.split_at_checked(len & !(BLOCK_BYTES - 1))?;
        let last = words(rest.first_chunk()?);
        let kept = const { &KEPT }.get(len % BLOCK_BYTES)?;
        let last = std::array::from_fn(|i| last.get(i).unwrap_or(&0) & kept.get(i).unwrap_or(&0));
        Some(self.blocks(whole.as_chunks().0, last, len))
    }

    #[inline(always)]
    fn blocks(&self, whole: &[[u8; BLOCK_BYTES]], last: [u64; 4], len: usize) -> TextHash {
        let (mut route, mut check) = (ROUTE_KEYS.start(), self.keys.start());
        for block in whole {
            route = ROUTE_KEYS.mix(route, words(block));
            check = self.keys.mix(check, words(block));
        }
        TextHash {
            route: ROUTE_KEYS.finish(ROUTE_KEYS.mix(route, last), len),
            check: self.keys.finish(self.keys.mix(check, last), len),
        }
    }

    /// The hash of a label.
    #[inline(always)]
    #[must_use]
    pub fn label(&self, name: TextHash, value: TextHash) -> LabelsHash {
        LabelsHash {
            route: ROUTE_KEYS.label(name.route, value.route),
            check: self.keys.label(name.check, value.check),
        }
    }

    /// A keyed hash of any bytes, for tables within one process.
    #[must_use]
    pub fn keyed(&self, bytes: &[u8]) -> u64 {
        self.keys.text(bytes)
    }
}

/// The labels of the set that was fingerprinted last, for sets that come in an order in which neighbours share most labels,
/// as those of a log do: 90 ns a set of 8 instead of 160.
#[derive(Debug, Default)]
pub struct RecentLabels {
    /// The canonical bytes of each, and what they come to.
    labels: Vec<(Vec<u8>, LabelsHash)>,
}

impl RecentLabels {
    /// Labels behind this many are not kept.
    const MAX: usize = 64;

    /// The fingerprint of a label set, by a fingerprinter that has to be the same every time.
    #[must_use]
    pub fn fingerprint(
        &mut self,
        fingerprinter: &Fingerprinter,
        labels: LabelsRef<'_>,
    ) -> Fingerprint {
        let mut sum = LabelsHash::NONE;
        for (i, bytes) in labels.iter_bytes().enumerate() {
            if let Some((_, hash)) = self.labels.get(i).filter(|(last, _)| last == bytes) {
                sum += *hash;
                continue;
            }
            let hash = fingerprinter.sum(LabelsRef::trusted(bytes));
            sum += hash;
            if let Some((last, last_hash)) = self.labels.get_mut(i) {
                last.clear();
                last.extend_from_slice(bytes);
                *last_hash = hash;
            } else if i < Self::MAX {
                self.labels.push((bytes.to_vec(), hash));
            }
        }
        sum.fingerprint(fingerprinter)
    }
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprinter") // the keys stay out of logs
    }
}

/// The routing half of a label set's fingerprint, from which `coordinator::route` knows the shard that owns the series.
#[must_use]
pub fn route_hash(labels: LabelsRef<'_>) -> u64 {
    let label = |(name, value)| ROUTE_KEYS.label(ROUTE_KEYS.text(name), ROUTE_KEYS.text(value));
    ROUTE_KEYS.set(labels.iter_raw().map(label).fold(0, u64::wrapping_add))
}

/// What one half is made under.
#[derive(Clone)]
struct Keys([u64; 4]);

/// Of the routing half: 256 bits of pi.
const ROUTE_KEYS: Keys = Keys([
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
]);

impl Keys {
    fn text(&self, text: &[u8]) -> u64 {
        let (blocks, rest) = text.as_chunks();
        let state = blocks.iter().fold(self.start(), |state, block| self.mix(state, words(block)));
        self.finish(self.mix(state, last_words(rest)), text.len())
    }

    #[inline(always)]
    fn start(&self) -> [u64; 2] {
        let Self([k0, k1, ..]) = self;
        [*k0, *k1]
    }

    #[inline(always)]
    fn mix(&self, [s0, s1]: [u64; 2], [w0, w1, w2, w3]: [u64; 4]) -> [u64; 2] {
        let Self([_, _, k2, k3]) = self;
        [fold(s0 ^ w0, w1 ^ k2), fold(s1 ^ w2, w3 ^ k3)]
    }

    #[inline(always)]
    fn finish(&self, [s0, s1]: [u64; 2], len: usize) -> u64 {
        let Self([k0, k1, ..]) = self;
        fold(s0 ^ k1, s1 ^ k0 ^ len as u64)
    }

    #[inline(always)]
    fn label(&self, name: u64, value: u64) -> u64 {
        let Self([_, _, k2, k3]) = self;
        fold(name ^ k2, value ^ k3)
    }

    /// Sums of sets that share most labels differ by the same amounts; their upper bits, which choose shards, must not.
    #[inline(always)]
    fn set(&self, sum: u64) -> u64 {
        let Self([k0, k1, ..]) = self;
        fold(sum ^ k0, *k1)
    }
}

/// The bits to keep of a last block's words when it holds that many bytes.
const KEPT: [[u64; 4]; BLOCK_BYTES] = {
    let mut table = [[0; 4]; BLOCK_BYTES];
    let mut len = 0;
    while len < BLOCK_BYTES {
        let mut byte = 0;
        while byte < len {
            #[expect(
                clippy::indexing_slicing,
                reason = "runs while compiling, where an index out of bounds is an error"
            )]
            {
                table[len][byte / 8] |= 0xff << (8 * (byte % 8));
            }
            byte += 1;
        }
        len += 1;
    }
    table
};

#[inline(always)]
fn words(block: &[u8; BLOCK_BYTES]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// The words of a last block that begins with `bytes`, less than a block of them, and goes on with zeros.
#[inline(always)]
fn last_words(bytes: &[u8]) -> [u64; 4] {
    let (whole, rest) = bytes.as_chunks();
    let mut words = [0; 4];
    words.iter_mut().zip(whole).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
    if let Some(word) = words.get_mut(whole.len()) {
        *word = match (rest.first_chunk(), rest.last_chunk()) {
            // Both halves, which may overlap.
            (Some(low), Some(high)) => {
                let high = u64::from(u32::from_le_bytes(*high)) << (8 * (rest.len() - 4));
                u64::from(u32::from_le_bytes(*low)) | high
            }
            _ => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
    }
    words
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
    use crate::model::Labels;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test] // golden: where series live may never move
    fn a_label_set_has_this_routing_half() {
        let long = "v".repeat(100);
        for (set, route) in [
            (labels(&[]), 0xbc13_060e_2d1a_ac79),
            (labels(&[("__name__", "up")]), 0x9382_cdce_48cf_d4d9),
            (
                labels(&[("__name__", "up"), ("instance", "10.0.0.1:9100"), ("job", "node")]),
                0x10f3_e1a5_3bac_c30d,
            ),
            (
                labels(&[("a", &"v".repeat(32)), ("b", &long), ("é", "\u{10ffff}")]),
                0x8599_8412_69d9_7930,
            ),
        ] {
            assert_eq!(route_hash(set.as_ref()), route, "{set}");
            assert_eq!(Fingerprinter::new(1).of(set.as_ref()).route, route, "{set}");
        }
    }

    /// The definition, as one would write it down.
    fn by_definition(k: [u128; 4], labels: &Labels) -> u64 {
        let low = |x: u128| x & u128::from(u64::MAX);
        let fold = |x: u128, y: u128| low(x * y) ^ (x * y) >> 64;
        let text = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize((text.len() / 32 + 1) * 32, 0);
            let words: Vec<u128> = bytes
                .chunks(8)
                .map(|word| u64::from_le_bytes(word.try_into().unwrap()).into())
                .collect();
            let (mut s0, mut s1) = (k[0], k[1]);
            for w in words.chunks(4) {
                (s0, s1) = (fold(s0 ^ w[0], w[1] ^ k[2]), fold(s1 ^ w[2], w[3] ^ k[3]));
            }
            fold(s0 ^ k[1], s1 ^ k[0] ^ text.len() as u128)
        };
        let sum = labels
            .iter()
            .map(|label| fold(text(label.name) ^ k[2], text(label.value) ^ k[3]))
            .sum::<u128>();
        u64::try_from(fold(low(sum) ^ k[0], k[1])).unwrap()
    }

    #[test]
    fn the_checking_half_depends_on_the_seed_and_the_routing_half_does_not() {
        let up = labels(&[("__name__", "up")]);
        let (a, b) = (Fingerprinter::new(1).of(up.as_ref()), Fingerprinter::new(2).of(up.as_ref()));
        assert_eq!(a.route, b.route);
        assert_ne!(a.check, b.check);
    }

    #[test]
    fn both_halves_see_every_byte_and_the_length_of_a_text() {
        let fingerprinter = Fingerprinter::new(1);
        let (mut routes, mut checks) =
            (std::collections::HashSet::new(), std::collections::HashSet::new());
        for len in 0..100 {
            let mut bytes = vec![0u8; len];
            let hash = fingerprinter.text(&bytes);
            assert!(routes.insert(hash.route) && checks.insert(hash.check), "{len} zeros");
            for i in 0..len {
                bytes[i] = 1;
                let hash = fingerprinter.text(&bytes);
                let is_new = routes.insert(hash.route) && checks.insert(hash.check);
                assert!(is_new, "byte {i} of {len}");
                bytes[i] = 0;
            }
        }
    }

    #[test] // neither where a name ends, nor which is the name, nor which value belongs to which name
    fn sets_of_the_same_texts_differ_in_both_halves() {
        let sets = [
            labels(&[("a", "b"), ("c", "d")]),
            labels(&[("a", "d"), ("c", "b")]),
            labels(&[("a", "c"), ("b", "d")]),
            labels(&[("b", "a"), ("d", "c")]),
            labels(&[("ab", "cd")]),
            labels(&[("abc", "d")]),
            labels(&[("a", "bcd")]),
            labels(&[("a", "b")]),
            labels(&[("b", "a")]),
            labels(&[("a", "b"), ("c", "d"), ("d", "c")]),
        ];
        let of = |set: &Labels| Fingerprinter::new(1).of(set.as_ref());
        for (i, a) in sets.iter().enumerate() {
            for b in &sets[i + 1..] {
                assert!(of(a).route != of(b).route && of(a).check != of(b).check, "{a} and {b}");
            }
        }
    }

    #[test] // what one label adds to a sum it adds to all of them, and the upper bits must not tell
    fn series_of_a_grid_spread_evenly_by_both_halves() {
        let fingerprinter = Fingerprinter::new(1);
        let (mut routes, mut checks) = ([0u32; 64], [0u32; 64]);
        for (a, b) in (0..64).flat_map(|a| (0..64).map(move |b| (a, b))) {
            let set = labels(&[("a", &a.to_string()), ("b", &b.to_string())]);
            let Fingerprint { route, check } = fingerprinter.of(set.as_ref());
            routes[usize::try_from(route >> 58).unwrap()] += 1;
            checks[usize::try_from(check >> 58).unwrap()] += 1;
        }
        for counts in [routes, checks] {
            // 64 are expected, and the standard deviation is 8.
            assert!(counts.iter().all(|n| n.abs_diff(64) < 40), "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn a_set_is_hashed_as_defined(
            pairs in proptest::collection::btree_map("\\PC{1,40}", "\\PC{0,80}", 0..6),
            seed in any::<u64>(),
        ) {
            let set = Labels::from_pairs(pairs.iter().map(|(n, v)| (&**n, &**v))).unwrap();
            let fingerprinter = Fingerprinter::new(seed);
            let fingerprint = fingerprinter.of(set.as_ref());
            let of = |keys: &Keys| by_definition(keys.0.map(u128::from), &set);
            prop_assert_eq!(fingerprint.route, of(&ROUTE_KEYS));
            prop_assert_eq!(fingerprint.check, of(&fingerprinter.keys));
            prop_assert_eq!(fingerprint.route, route_hash(set.as_ref()));
        }

        #[test]
        fn labels_of_neighbours_come_to_the_same(
            sets in proptest::collection::vec(proptest::collection::btree_map("[a-c]", "[a-c]{1,40}", 0..4), 0..9),
        ) {
            let (fingerprinter, mut recent) = (Fingerprinter::new(7), RecentLabels::default());
            for pairs in sets {
                let set = Labels::from_pairs(pairs.iter().map(|(n, v)| (&**n, &**v))).unwrap();
                let found = recent.fingerprint(&fingerprinter, set.as_ref());
                prop_assert_eq!(found, fingerprinter.of(set.as_ref()));
            }
        }

        #[test]
        fn a_text_with_room_behind_it_has_the_same_hash(
            text in proptest::collection::vec(any::<u8>(), 0..300),
            behind in proptest::collection::vec(any::<u8>(), PADDING_BYTES..40),
        ) {
            let fingerprinter = Fingerprinter::new(7);
            let padded = [&text[..], &behind].concat();
            let hash = fingerprinter.padded_text(&padded, text.len());
            prop_assert_eq!(hash, Some(fingerprinter.text(&text)));
            prop_assert_eq!(fingerprinter.padded_text(&text, text.len() + 1), None);
        }

        #[test]
        fn a_label_taken_out_of_a_sum_is_as_if_it_had_not_been_put_in(a in any::<[u64; 2]>(), b in any::<[u64; 2]>()) {
            let of = |[route, check]: [u64; 2]| LabelsHash { route, check };
            let mut sum = of(a);
            sum += of(b);
            sum -= of(a);
            prop_assert_eq!(sum, of(b));
        }
    }
}
