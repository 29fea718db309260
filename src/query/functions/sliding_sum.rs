//! `sum_over_time` and `avg_over_time`: sums over sliding windows without reading a window's samples again.
//!
//! The buffer's prefix sums are kept in twice the precision of a number, and a window's sum is the difference of two of
//! them, exact to more than a number's last bit as long as it is not tiny beside the prefixes. Where it might be, or where
//! the window holds something infinite or NaN, the window is summed anew as Prometheus sums it.

use crate::query::kahan::{Kahan, Mean, two_sum};
use crate::query::window::{Kernel, Window};

/// A window's sum is trusted down to this part of the largest prefix sum. The prefixes' rounding errors are below
/// 2^-104 of it for each sample and a buffer has far fewer than 2^20, which leaves 54 bits of the window's sum exact.
const TRUSTED: f64 = 1.0 / (1u64 << 30) as f64;

/// The sum of each window, or its mean.
#[derive(Debug)]
pub(in crate::query) struct SlidingSum {
    mean: bool,
    /// The prefix sums up to and including each buffered sample: rounded, and what rounding lost.
    prefixes: Vec<Kahan>,
    /// The prefix sum before the first buffered sample.
    base: Kahan,
    /// The largest magnitude among the prefixes of this series. No sample is larger than twice that.
    largest: f64,
    /// Buffered samples that are infinite or NaN, in order; the prefixes leave them out.
    odd: Vec<usize>,
}

impl SlidingSum {
    /// `sum_over_time`
    pub(in crate::query) fn sum() -> Self {
        Self { mean: false, prefixes: Vec::new(), base: Kahan::ZERO, largest: 0.0, odd: Vec::new() }
    }

    /// `avg_over_time`
    pub(in crate::query) fn mean() -> Self {
        Self { mean: true, ..Self::sum() }
    }

    /// The window's sum from the prefix sums, if they can be trusted with it.
    #[inline(always)]
    fn slide(&self, window: &Window<'_>) -> Option<Kahan> {
        if self.odd.last().is_some_and(|last| *last >= window.lo)
            && self.odd.iter().any(|odd| (window.lo..window.hi).contains(odd))
        {
            return None;
        }
        let upper = self.prefixes.get(window.hi - 1)?;
        let lower = match window.lo.checked_sub(1) {
            None => &self.base,
            Some(before) => self.prefixes.get(before)?,
        };
        let (sum, lost) = two_sum(upper.sum, -lower.sum);
        let lost = lost + (upper.lost - lower.lost);
        let total = sum + lost;
        let exact = Kahan { sum: total, lost: lost - (total - sum) };
        // Written so that an overflowed prefix, which is NaN by now, is not trusted either.
        (total.abs() >= self.largest * TRUSTED).then_some(exact)
    }
}

impl Kernel for SlidingSum {
    fn reset(&mut self) {
        self.prefixes.clear();
        self.odd.clear();
        (self.base, self.largest) = (Kahan::ZERO, 0.0);
    }

    fn extend(&mut self, _ts: &[i64], vs: &[f64], from: usize) {
        let mut prefix = self.prefixes.last().copied().unwrap_or(self.base);
        let mut largest = self.largest;
        let new = vs.get(from..).unwrap_or_default();
        self.prefixes.resize(vs.len(), prefix);
        let places = self.prefixes.get_mut(from..).unwrap_or_default();
        for ((index, v), place) in (from..).zip(new).zip(places) {
            if v.is_finite() {
                let (sum, lost) = two_sum(prefix.sum, *v);
                prefix = Kahan { sum, lost: prefix.lost + lost };
                if sum.abs() > largest {
                    largest = sum.abs();
                }
            } else {
                self.odd.push(index);
            }
            *place = prefix;
        }
        self.largest = largest;
    }

    fn shrink(&mut self, count: usize) {
        if let Some(last) = count.checked_sub(1).and_then(|last| self.prefixes.get(last)) {
            self.base = *last;
        }
        self.prefixes.drain(..count.min(self.prefixes.len()));
        self.odd.retain_mut(|odd| {
            let stays = *odd >= count;
            *odd = odd.saturating_sub(count);
            stays
        });
    }

    #[inline(always)]
    fn value(&mut self, window: &Window<'_>) -> f64 {
        let count = window.len() as f64;
        match (self.slide(window), self.mean) {
            (Some(sum), false) => sum.total(),
            (Some(sum), true) => sum.divided(count).total(),
            (None, false) => sum_anew(window.values()),
            (None, true) => mean_anew(window.values()),
        }
    }
}

#[cold]
fn sum_anew(values: &[f64]) -> f64 {
    let sum = values.iter().fold(Kahan::ZERO, |sum, v| sum.plus(*v));
    if sum.sum.is_infinite() { sum.sum } else { sum.total() }
}

#[cold]
fn mean_anew(values: &[f64]) -> f64 {
    let mut mean = Mean::EMPTY;
    values.iter().for_each(|v| mean.add(*v));
    mean.total()
}
