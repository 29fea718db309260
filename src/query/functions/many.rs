//! Functions that read every value of a window, over more values than can be read without a pause.
//!
//! Few windows are that long; those that are not go through the functions' kernels.

use crate::query::error::QueryError;
use crate::query::pace::{Pace, Pacer};
use crate::query::quantile::{between, quantile};
use crate::query::window::Window;

use super::over_time::{Best, Scan, Smoothing, Variance};
use super::regression::{Line, LineSums};

/// Windows of more values are read with pauses.
pub(in crate::query) const MANY: usize = 16_384;
/// Values that are read without a pause.
const PART: usize = 2048;
/// Of so few values one is selected at once.
const FEW: usize = 4096;
/// Bits by which values are told apart in one pass.
const DIGIT_BITS: u32 = 11;

/// The value of a long window.
pub(in crate::query) async fn scan<P: Pace>(
    scan: &mut Scan,
    window: &Window<'_>,
    pacer: Pacer<'_, P>,
) -> Result<f64, QueryError> {
    let parts = || window.values().chunks(PART);
    match scan {
        Scan::Stddev | Scan::Stdvar => {
            let mut variance = Variance::default();
            for part in parts() {
                pacer.spend(part.len() * 2).await?;
                variance.add(part);
            }
            let variance = variance.value();
            Ok(if matches!(scan, Scan::Stddev) { variance.sqrt() } else { variance })
        }
        Scan::Quantile(q, scratch, invalid) => {
            let q = Scan::asked(q, window.step, invalid);
            copy(window.values(), scratch, pacer).await?;
            quantile_of_many(q, scratch, pacer).await
        }
        Scan::Mad(scratch) => {
            if !copy(window.values(), scratch, pacer).await? {
                return Ok(f64::NAN);
            }
            let median = quantile_of_many(0.5, scratch, pacer).await?;
            for part in scratch.chunks_mut(PART) {
                pacer.spend(part.len()).await?;
                part.iter_mut().for_each(|v| *v = (*v - median).abs());
            }
            quantile_of_many(0.5, scratch, pacer).await
        }
        Scan::TimeOfMin | Scan::TimeOfMax => {
            let mut best = Best::new(matches!(scan, Scan::TimeOfMax), window.first());
            for (ts, vs) in window.times().chunks(PART).zip(parts()) {
                pacer.spend(vs.len()).await?;
                best.add(ts, vs);
            }
            Ok(best.seconds())
        }
        Scan::Smoothing(level, trend, failure) => {
            let mut smoothing = Smoothing::new(level, trend, window.step, failure);
            for part in parts() {
                pacer.spend(part.len()).await?;
                smoothing.add(part);
            }
            Ok(smoothing.value())
        }
    }
}

/// The value of a long window of a line.
pub(in crate::query) async fn line<P: Pace>(
    line: &Line,
    window: &Window<'_>,
    pacer: Pacer<'_, P>,
) -> Result<f64, QueryError> {
    let mut sums = LineSums::new(line.origin(window), window.first().1);
    for (ts, vs) in window.times().chunks(PART).zip(window.values().chunks(PART)) {
        pacer.spend(vs.len() * 2).await?;
        sums.add(ts, vs);
    }
    Ok(line.read_off(&sums, window))
}

/// Puts the values into `copy` in place of what is there; is none of them NaN?
async fn copy<P: Pace>(
    values: &[f64],
    copy: &mut Vec<f64>,
    pacer: Pacer<'_, P>,
) -> Result<bool, QueryError> {
    copy.clear();
    copy.reserve(values.len());
    let mut has_nan = false;
    for part in values.chunks(PART) {
        pacer.spend(part.len()).await?;
        has_nan |= part.iter().any(|v| v.is_nan());
        copy.extend_from_slice(part);
    }
    Ok(!has_nan)
}

/// The `q`-quantile of `values`, as [`quantile`] has it, however many they are.
pub(in crate::query) async fn quantile_of_many<P: Pace>(
    q: f64,
    values: &mut [f64],
    pacer: Pacer<'_, P>,
) -> Result<f64, QueryError> {
    if values.len() <= MANY || !(0.0..=1.0).contains(&q) {
        return Ok(quantile(q, values));
    }
    let (lower, weight) = rank(q, values.len());
    let (below, above) = neighbours(lower, values, pacer).await?;
    Ok(between(below, above, weight))
}

/// The rank of the value below the `q`-quantile of `count` values, and how far it is from there to the next one.
#[expect(clippy::cast_possible_truncation, reason = "a rank is not negative and below the count")]
fn rank(q: f64, count: usize) -> (usize, f64) {
    let rank = q * (count - 1) as f64;
    ((rank.floor() as usize).min(count - 1), rank - rank.floor())
}

/// The value that stands at `rank` among the sorted values, and the one behind it, or itself if it is the last.
///
/// Their bits are looked at digit by digit from the highest on: how many values have which digit says which one the wanted
/// value has, and only those that have it are looked at again.
async fn neighbours<P: Pace>(
    mut rank: usize,
    values: &[f64],
    pacer: Pacer<'_, P>,
) -> Result<(f64, f64), QueryError> {
    let mut keys = Vec::with_capacity(values.len());
    for part in values.chunks(PART) {
        pacer.spend(part.len()).await?;
        keys.extend(part.iter().map(|v| key(*v)));
    }
    // The least of those that have a larger digit than the wanted one.
    let mut next: Option<u64> = None;
    let mut shift = u64::BITS;
    while keys.len() > FEW && shift > 0 {
        shift = shift.saturating_sub(DIGIT_BITS);
        let digit = |key: u64| {
            let digit = key >> shift & ((1 << DIGIT_BITS) - 1);
            usize::try_from(digit).unwrap_or_default()
        };
        let mut counts = vec![0usize; 1 << DIGIT_BITS];
        for part in keys.chunks(PART) {
            pacer.spend(part.len()).await?;
            for key in part {
                if let Some(count) = counts.get_mut(digit(*key)) {
                    *count += 1;
                }
            }
        }
        let mut wanted = 0;
        for (at, count) in counts.into_iter().enumerate() {
            if rank < count {
                wanted = at;
                break;
            }
            rank -= count;
        }
        let mut kept = Vec::new();
        let mut least = u64::MAX;
        for part in keys.chunks(PART) {
            pacer.spend(part.len()).await?;
            for key in part {
                match digit(*key).cmp(&wanted) {
                    std::cmp::Ordering::Equal => kept.push(*key),
                    std::cmp::Ordering::Greater => least = least.min(*key),
                    std::cmp::Ordering::Less => {}
                }
            }
        }
        next = if least == u64::MAX { next } else { Some(least) };
        keys = kept;
    }
    // Many of them now are all the same.
    if shift > 0 {
        keys.sort_unstable();
    }
    let below = keys.get(rank).copied().unwrap_or_default();
    let above = keys.get(rank + 1).copied().or(next).unwrap_or(below);
    Ok((value(below), value(above)))
}

const SIGN: u64 = 1 << 63;

/// A number that sorts as the value does: NaN before everything else.
fn key(v: f64) -> u64 {
    let bits = v.to_bits();
    match bits & SIGN {
        _ if v.is_nan() => 0,
        0 => bits | SIGN,
        _ => !bits,
    }
}

/// The value of a key.
fn value(key: u64) -> f64 {
    match key & SIGN {
        _ if key == 0 => f64::NAN,
        0 => f64::from_bits(!key),
        _ => f64::from_bits(key & !SIGN),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_lite::future::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::query::pace::{Cancel, Unpaced};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn selecting_digit_by_digit_is_sorting(
            few in proptest::collection::vec(prop_oneof![
                any::<f64>(), -3.0..3.0f64, Just(f64::NAN), Just(0.0), Just(f64::INFINITY),
            ], 1..40),
            many in proptest::collection::vec(-1e3..1e3f64, 0..3000),
            copies in 1usize..4,
            q in 0.0..1.0f64,
        ) {
            let mut values: Vec<f64> = Vec::new();
            while values.len() < MANY + 100 {
                values.extend(&few);
                (0..copies).for_each(|_| values.extend(&many));
            }
            let points = Cell::new(0);
            let found = block_on(quantile_of_many(q, &mut values, Pacer::new(&Unpaced, &points))).unwrap();
            values.sort_by(crate::query::quantile::nan_first);
            let (lower, weight) = rank(q, values.len());
            let above = values.get(lower + 1).unwrap_or(&values[lower]);
            let want = between(values[lower], *above, weight);
            prop_assert!(found == want || found.is_nan() && want.is_nan(), "{} {}", found, want);
        }
    }

    struct Stops(Cell<usize>);

    impl Pace for Stops {
        async fn breathe(&self) {
            self.0.set(self.0.get() + 1);
        }

        fn cancelled(&self) -> Option<Cancel> {
            (self.0.get() > 10).then_some(Cancel::Timeout)
        }
    }

    #[test] // a quantile over a month of seconds used to hold the core for as long as it took
    fn many_values_are_looked_at_with_pauses() {
        let mut values: Vec<f64> = (0..1_000_000).map(f64::from).collect();
        let (stops, points) = (Stops(Cell::new(0)), Cell::new(0));
        let stopped = block_on(quantile_of_many(0.5, &mut values, Pacer::new(&stops, &points)));
        assert_eq!(stopped, Err(QueryError::Timeout));
    }
}
