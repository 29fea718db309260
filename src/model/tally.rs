//! Observations counted by upper bounds, as a classic histogram has them: of compactions, chunks, late samples.
//!
//! Plain data that one owner counts in and hands out as a copy; two of the same bounds add up. The bounds are Prometheus's,
//! so that dashboards for it fit. Source of the bounds: `tsdb/compact.go`, `tsdb/db.go`, `tsdb/head.go`, Prometheus 3.14.

use super::TimeRange;

/// Seconds of a compaction: doubled from one second on.
const COMPACTION_SECONDS: [f64; 14] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0];
/// Seconds of a cleanup.
const CLEANUP_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Seconds by which a sample is late: from ten minutes to half a day.
const LATE_SECONDS: [f64; 7] = [600.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0, 43_200.0];
/// Samples of a chunk: half as many again from four on.
const CHUNK_SAMPLES: [f64; 12] = [
    4.0,
    6.0,
    9.0,
    13.5,
    20.25,
    30.375,
    45.5625,
    68.343_75,
    102.515_625,
    153.773_437_5,
    230.660_156_25,
    345.990_234_375,
];
/// Bytes of a chunk: half as many again from 32 on.
const CHUNK_BYTES: [f64; 12] = [
    32.0,
    48.0,
    72.0,
    108.0,
    162.0,
    243.0,
    364.5,
    546.75,
    820.125,
    1_230.187_5,
    1_845.281_25,
    2_767.921_875,
];
/// Seconds that a chunk spans: four times as many from 100 on.
const CHUNK_SECONDS: [f64; 10] = [
    100.0,
    400.0,
    1_600.0,
    6_400.0,
    25_600.0,
    102_400.0,
    409_600.0,
    1_638_400.0,
    6_553_600.0,
    26_214_400.0,
];

/// Observations counted by upper bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    bounds: &'static [f64],
    counts: Vec<u64>,
    above: u64,
    sum: f64,
}

impl Tally {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len()], above: 0, sum: 0.0 }
    }

    /// None yet, of compactions; in seconds.
    #[must_use]
    pub fn of_compactions() -> Self {
        Self::new(&COMPACTION_SECONDS)
    }

    /// None yet, of cleanups of tombstones; in seconds.
    #[must_use]
    pub fn of_cleanups() -> Self {
        Self::new(&CLEANUP_SECONDS)
    }

    /// None yet, of late samples; in seconds.
    #[must_use]
    pub fn of_lateness() -> Self {
        Self::new(&LATE_SECONDS)
    }

    /// Counts one observation. What is on a bound is below it.
    pub fn observe(&mut self, value: f64) {
        let place = self.bounds.iter().position(|bound| value <= *bound);
        *place.and_then(|place| self.counts.get_mut(place)).unwrap_or(&mut self.above) += 1;
        self.sum += value;
    }

    /// Adds what another counted.
    ///
    /// # Panics
    /// If it has other bounds: then it is of something else.
    pub fn add(&mut self, other: &Self) {
        assert_eq!(self.bounds, other.bounds, "only tallies of the same add up");
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.above += other.above;
        self.sum += other.sum;
    }

    /// Each bound with the number of observations up to it and above the one before.
    pub fn counts(&self) -> impl Iterator<Item = (f64, u64)> {
        self.bounds.iter().copied().zip(self.counts.iter().copied())
    }

    /// Observations above the last bound.
    #[must_use]
    pub fn above(&self) -> u64 {
        self.above
    }

    /// The sum of all observations.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

/// The chunks of blocks that were cut from a Head.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunkTally {
    /// Their samples.
    pub samples: Tally,
    /// Their bytes.
    pub bytes: Tally,
    /// The seconds that they span.
    pub seconds: Tally,
}

impl Default for ChunkTally {
    fn default() -> Self {
        Self {
            samples: Tally::new(&CHUNK_SAMPLES),
            bytes: Tally::new(&CHUNK_BYTES),
            seconds: Tally::new(&CHUNK_SECONDS),
        }
    }
}

impl ChunkTally {
    /// Counts one chunk.
    pub fn observe(&mut self, samples: u32, bytes: usize, range: TimeRange) {
        self.samples.observe(f64::from(samples));
        self.bytes.observe(bytes as f64);
        self.seconds.observe((range.max().0 as f64 - range.min().0 as f64) / 1000.0);
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        self.samples.add(&other.samples);
        self.bytes.add(&other.bytes);
        self.seconds.add(&other.seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;

    #[test]
    fn an_observation_counts_below_the_first_bound_that_it_does_not_pass() {
        let mut tally = Tally::of_compactions();
        for seconds in [0.5, 1.0, 1.5, 10_000.0] {
            tally.observe(seconds);
        }
        assert_eq!(tally.counts().take(3).collect::<Vec<_>>(), [(1.0, 2), (2.0, 1), (4.0, 0)]);
        assert_eq!((tally.above(), tally.sum()), (1, 10_003.0));
    }

    #[test]
    fn two_chunk_tallies_add_up() {
        let range = TimeRange::new(TimestampMs(0), TimestampMs(7_199_999)).unwrap();
        let mut all = ChunkTally::default();
        all.observe(120, 200, range);
        let mut both = all.clone();
        both.add(&all);
        all.observe(120, 200, range);
        assert_eq!(both, all);
        assert_eq!(all.seconds.counts().find(|(_, n)| *n > 0), Some((25_600.0, 2)));
        let longest = TimeRange::ALL;
        all.observe(1, 1, longest);
        assert_eq!(all.seconds.above(), 1);
    }

    #[test]
    #[should_panic(expected = "only tallies of the same add up")]
    fn tallies_of_different_things_do_not_add_up() {
        Tally::of_compactions().add(&Tally::of_cleanups());
    }

    #[test]
    fn bounds_rise_by_their_factor() {
        for (bounds, factor) in [
            (&COMPACTION_SECONDS[..], 2.0),
            (&CHUNK_SAMPLES[..], 1.5),
            (&CHUNK_BYTES[..], 1.5),
            (&CHUNK_SECONDS[..], 4.0),
        ] {
            assert!(bounds.windows(2).all(|pair| pair[1] == pair[0] * factor), "{bounds:?}");
        }
    }
}
