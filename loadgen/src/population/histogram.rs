//! The native histogram of one series as a function of the step, as [`super::shape`] is for floats.
//!
//! Latencies in seconds with a bell over the logarithm: schema 3, some 20 to 60 positive buckets next to each other, of
//! which the outermost are only hit for the first time after some steps. All arithmetic is on integers up to the
//! conversion of the sum, so a histogram is the same on every machine.
//!
//! Invariant: no bucket's count falls within one run of steps, and `count` is the sum of all buckets and the zero bucket.

use super::shape::mix;

/// The schema of all histograms: eight buckets from one power of two to the next.
pub const SCHEMA: i32 = 3;
/// What lies closer to zero is counted by the zero bucket: 2^-128, as client libraries have it.
pub const ZERO_THRESHOLD: f64 = f64::from_bits((1023 - 128) << 52);

/// How the histogram of one series runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistogramShape {
    key: u64,
    /// Index of the lowest bucket that is ever hit.
    first: i32,
    /// How many buckets are ever hit.
    width: u64,
    /// New events a step in a bucket in the middle; 0 for a histogram that nobody touches.
    rate: u64,
}

/// A histogram at one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// All events.
    pub count: u64,
    /// The sum of their seconds.
    pub sum: f64,
    /// Events of no duration.
    pub zero_count: u64,
    /// Index and count of every bucket that was ever hit, in order of the index.
    pub buckets: Vec<(i32, u64)>,
}

impl HistogramShape {
    /// The shape that `key` names.
    #[must_use]
    pub fn new(key: u64) -> Self {
        let below = |salt: u64, end: u64| mix(key ^ mix(salt)) % end;
        let width = 24 + below(21, 37);
        let lowest = i32::try_from(below(22, 64)).unwrap_or(0);
        let rate = match below(23, 4) {
            0 => 0,
            1 => 7,
            2 => 90,
            _ => 1_300,
        };
        Self { key, first: lowest - 96, width, rate }
    }

    /// The histogram at `step`.
    #[must_use]
    pub fn at(&self, step: u64) -> Histogram {
        let zero_count = self.below(24, 3) + if self.rate == 0 { 0 } else { step / 50 };
        let mut all = Histogram { count: zero_count, zero_count, ..Histogram::default() };
        let mut micros = 0u64;
        for (bucket, index) in (0..self.width).zip(self.first..) {
            let count = self.bucket(bucket, step);
            if count > 0 {
                all.buckets.push((index, count));
                all.count += count;
                micros += count * bound_micros(index);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "rounded alike on every machine")]
        let micros = micros as f64;
        all.sum = micros / 1e6;
        all
    }

    /// The events of bucket number `bucket` at `step`.
    fn bucket(&self, bucket: u64, step: u64) -> u64 {
        let key = mix(self.key ^ bucket << 32);
        let rim = self.width / 12;
        let late = bucket < rim || bucket >= self.width - rim;
        let hit_first = if late { 1 + key % 200 } else { 0 };
        let Some(since) = step.checked_sub(hit_first) else { return 0 };
        // (1 - x^2)^2 in thousandths, for x from -1 to 1 over the width: near enough to a bell.
        let (off, square) = ((2 * bucket + 1).abs_diff(self.width), self.width * self.width);
        let bell = (square - off * off) * (square - off * off) * 1000 / (square * square);
        let base = if late { 0 } else { mix(key) % 20_000 * bell / 1000 };
        let rate = if self.rate == 0 { 0 } else { (self.rate * bell / 1000).max(1) };
        let noise = mix(key ^ step).checked_rem(rate).unwrap_or(0);
        1 + base + since * rate + noise
    }

    fn below(&self, salt: u64, end: u64) -> u64 {
        mix(self.key ^ mix(salt)) % end
    }
}

/// The upper bound of a bucket, 2^(index / 8) seconds, in microseconds.
fn bound_micros(index: i32) -> u64 {
    // 2^(n / 8) in units of 2^-10.
    let fine: u64 = match index.rem_euclid(8) {
        0 => 1024,
        1 => 1117,
        2 => 1218,
        3 => 1328,
        4 => 1448,
        5 => 1579,
        6 => 1722,
        _ => 1878,
    };
    let micros = fine * 1_000_000;
    let power = 10 - index.div_euclid(8);
    micros.checked_shr(u32::try_from(power).unwrap_or(0)).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bucket_ever_falls_and_all_of_them_are_the_count(key: u64, step in 0u64..1_000_000) {
            let (shape, sum) = (HistogramShape::new(key), |h: &Histogram| h.buckets.iter().map(|b| b.1).sum::<u64>());
            let (now, next) = (shape.at(step), shape.at(step + 1));
            prop_assert_eq!(now.count, now.zero_count + sum(&now));
            prop_assert!(now.sum <= next.sum && now.zero_count <= next.zero_count);
            for (index, count) in &now.buckets {
                prop_assert!(next.buckets.iter().any(|(i, n)| i == index && n >= count), "{shape:?} at {step}");
            }
        }

        #[test]
        fn a_histogram_has_20_to_60_buckets_in_order(key: u64, step in 0u64..10_000) {
            let buckets = HistogramShape::new(key).at(step).buckets;
            prop_assert!((20..=60).contains(&buckets.len()), "{}", buckets.len());
            prop_assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }

    #[test]
    fn now_and_then_a_bucket_is_new() {
        let shape = HistogramShape::new(42);
        assert!(shape.at(0).buckets.len() < shape.at(300).buckets.len());
    }

    #[test]
    fn the_zero_threshold_is_that_of_client_libraries() {
        assert_eq!(ZERO_THRESHOLD.to_bits(), 2f64.powi(-128).to_bits());
    }

    #[test]
    fn bounds_are_powers_of_the_eighth_root_of_two() {
        for index in -60..8 {
            let exact = 2f64.powf(f64::from(index) / 8.0) * 1e6;
            assert!((bound_micros(index) as f64 / exact - 1.0).abs() < 0.001, "{index}");
        }
    }
}
