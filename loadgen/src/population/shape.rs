//! The values of one series as a function of the step: any step can be computed without those before it.
//!
//! That is what lets `verify` recompute what a flood sent, and what makes filling in a request cheap. All arithmetic is
//! on integers up to one last conversion, so a value is the same on every machine and has a short decimal text.
//!
//! Counters never fall within one run of steps; buckets of one histogram never fall from one bound to the next.

use super::catalog::Course;

/// Spreads 64 bits over 64 bits. Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators"
/// (OOPSLA 2014), the finalizer of SplitMix64.
#[inline]
#[must_use]
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// How the values of one series run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// The same value for ever.
    Constant(f64),
    /// Grows by about `rate` a step: `(base + step * rate + noise below rate) / divisor`.
    Counter {
        /// Value at step 0, before the division.
        base: u64,
        /// Growth of a step, at least 1.
        rate: u64,
        /// Seed of the noise.
        key: u64,
        /// 1, or 100 for two decimals.
        divisor: f64,
    },
    /// Grows by 1 every `period` steps.
    Rare {
        /// Value at step 0.
        base: u64,
        /// Steps from one event to the next.
        period: u64,
        /// Steps since the last event at step 0.
        phase: u64,
    },
    /// Goes up and down: `(floor + wave below swing + noise) * unit / divisor`.
    Gauge {
        /// The least value, in units.
        floor: u64,
        /// How far the slow wave rises above it, in units.
        swing: u64,
        /// Steps from one crest to the next.
        period: u64,
        /// Seed of the noise and of the wave's phase.
        key: u64,
        /// What the value is a multiple of.
        unit: u64,
        /// 1, or 100 for two decimals.
        divisor: f64,
    },
    /// One bucket of a histogram: the share of its events that lies below the bound.
    Bucket {
        /// All events of the histogram at step 0.
        base: u64,
        /// New events a step; 0 for a histogram that nobody touches.
        rate: u64,
        /// Seed of the noise, one for all buckets of the histogram.
        key: u64,
        /// Below the bound lie `share` in [`SHARES`] of the events.
        share: u64,
    },
}

/// The denominator of [`Shape::Bucket`]'s share.
pub const SHARES: u64 = 1024;

impl Shape {
    /// The shape of a series on `course`, as `key` decides; the same key gives the same shape.
    #[must_use]
    pub fn new(course: Course, key: u64) -> Self {
        let draw = Draw(key);
        // From a few to many digits, as counters on hosts of any age have them.
        let base = || draw.below(2, draw.one_of(1, [1_000, 50_000, 2_000_000, 90_000_000]));
        let counter = |rates, divisor| {
            let rate = draw.one_of(8, rates);
            Self::Counter { base: base(), rate, key, divisor }
        };
        let rare = |base, period| Self::Rare { base, period, phase: draw.below(7, 64) };
        let gauge = |floor, swing, period, unit, divisor| Self::Gauge {
            floor: draw.below(9, floor),
            swing: swing / 10 + draw.below(10, swing),
            period: period / 10 + draw.below(11, period),
            key,
            unit,
            divisor,
        };
        match course {
            Course::Zero => Self::Constant(0.0),
            Course::One => Self::Constant(1.0),
            Course::Constant => {
                let time = 1_700_000_000 + draw.below(3, 50_000_000);
                Self::Constant(decimal(draw.one_of(4, [1024, 65_536, 1_048_576, time]), 1.0))
            }
            // Half of all event counters stand still from one scrape to the next.
            Course::Events if draw.below(5, 2) == 0 => rare(base(), 4 + draw.below(6, 60)),
            Course::Events => counter([3, 40, 600, 9_000], 1.0),
            Course::Rare => rare(draw.below(2, 500), 20 + draw.below(6, 400)),
            Course::Seconds => counter([2, 15, 110, 1_400], 100.0),
            Course::Bytes => counter([900, 40_000, 1_500_000, 1], 1.0),
            Course::Pages => gauge(400_000, 20_000, 400, 4096, 1.0),
            Course::Level => gauge(40, 20, 200, 1, 1.0),
            Course::Measure => gauge(300, 400, 200, 1, 100.0),
        }
    }

    /// Bucket `index` of `count`, the last being `+Inf`, of the histogram that `key` names.
    #[must_use]
    pub fn bucket(key: u64, index: usize, count: usize) -> Self {
        let draw = Draw(key);
        let (index, count) = (index as u64, count as u64);
        let share = if index + 1 >= count {
            SHARES
        } else {
            // Most events lie around one of the bounds; a share never exceeds that of the next bound.
            let (below, above) = (index + 1, draw.below(12, count) + 1);
            SHARES * below * below / (below * below + above * above)
        };
        let rate = draw.one_of(13, [0, 0, 7, 90, 1_300]);
        Self::Bucket { base: draw.below(14, 3_000_000), rate, key, share }
    }

    /// The sum of that histogram's observations, with three decimals.
    #[must_use]
    pub fn bucket_sum(key: u64) -> Self {
        match Self::bucket(key, 0, 1) {
            Self::Bucket { base, rate: 0, .. } => Self::Constant(decimal(base * 37, 1000.0)),
            Self::Bucket { base, rate, key, .. } => {
                Self::Counter { base: base * 37, rate: rate * 37, key, divisor: 1000.0 }
            }
            other => other,
        }
    }

    /// The value at `step`.
    #[inline]
    #[must_use]
    pub fn value(&self, step: u64) -> f64 {
        match *self {
            Self::Constant(value) => value,
            Self::Counter { base, rate, key, divisor } => {
                decimal(base + step * rate + mix(key ^ step) % rate, divisor)
            }
            Self::Rare { base, period, phase } => decimal(base + (step + phase) / period, 1.0),
            Self::Gauge { floor, swing, period, key, unit, divisor } => {
                let phase = (step + key % period) % period;
                let rise = 2 * phase.min(period - phase); // 0 up to period and back
                let noise = mix(key ^ step) % (swing / 8 + 2);
                decimal((floor + swing * rise / period + noise) * unit, divisor)
            }
            Self::Bucket { base, rate, key, share } => {
                let noise = if rate == 0 { 0 } else { mix(key ^ step) % rate };
                decimal((base + step * rate + noise) * share / SHARES, 1.0)
            }
        }
    }
}

/// What a key decides; each decision has a salt of its own.
struct Draw(u64);

impl Draw {
    /// A number below `end`, which is not 0.
    fn below(&self, salt: u64, end: u64) -> u64 {
        mix(self.0 ^ mix(salt)) % end
    }

    fn one_of<const N: usize>(&self, salt: u64, choices: [u64; N]) -> u64 {
        let chosen = usize::try_from(self.below(salt, N as u64)).unwrap_or(0);
        choices.get(chosen).copied().unwrap_or(1)
    }
}

/// `units` of which `divisor` make one; the quotient nearest to the decimal, whose shortest text is that decimal.
#[inline]
#[expect(
    clippy::cast_precision_loss,
    reason = "units stay far below 2^53, see the test on long floods"
)]
fn decimal(units: u64, divisor: f64) -> f64 {
    units as f64 / divisor
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COURSES: [Course; 10] = [
        Course::Zero,
        Course::One,
        Course::Constant,
        Course::Events,
        Course::Rare,
        Course::Seconds,
        Course::Bytes,
        Course::Pages,
        Course::Level,
        Course::Measure,
    ];

    proptest! {
        #[test]
        fn counters_never_fall(key: u64, step in 0u64..1_000_000) {
            for course in [Course::Events, Course::Rare, Course::Seconds, Course::Bytes] {
                let shape = Shape::new(course, key);
                prop_assert!(shape.value(step) <= shape.value(step + 1), "{shape:?} at {step}");
            }
            let sum = Shape::bucket_sum(key);
            prop_assert!(sum.value(step) <= sum.value(step + 1), "{sum:?} at {step}");
        }

        #[test]
        fn buckets_never_fall_from_bound_to_bound_nor_from_step_to_step(key: u64, step in 0u64..1_000_000) {
            let at = |index, step| Shape::bucket(key, index, 12).value(step);
            for index in 0..12 {
                prop_assert!(at(index, step) <= at(index, step + 1));
                prop_assert!(index == 11 || at(index, step) <= at(index + 1, step));
            }
        }

        #[test]
        fn values_have_short_texts_however_long_the_flood(key: u64, step in 0u64..100_000_000) {
            for course in COURSES {
                let value = Shape::new(course, key).value(step);
                let text = value.to_string();
                let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
                prop_assert!(decimals <= 2 && value >= 0.0 && value < 2f64.powi(53), "{course:?} {text}");
            }
        }
    }

    #[test] // golden: a ledger written by one release is checked by the next
    fn the_values_of_a_key_are_these() {
        let at = |course, step| Shape::new(course, 42).value(step);
        let values = [
            at(Course::Seconds, 0),
            at(Course::Seconds, 1000),
            at(Course::Pages, 1000),
            at(Course::Measure, 1000),
            at(Course::Rare, 1000),
            Shape::bucket(42, 5, 12).value(1000),
            Shape::bucket_sum(42).value(1000),
        ];
        assert_eq!(
            format!("{values:?}"),
            "[385.92, 535.87, 337817600.0, 1.85, 89.0, 2206326.0, 102066.849]"
        );
    }
}
