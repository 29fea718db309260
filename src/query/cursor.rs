//! Finding the bounds of windows among one series' samples, one window after the other.
//!
//! Series are scraped regularly, so a window is first looked for as far on as the one before it was.

use super::leaf::Shape;
use super::window::Kernel;

/// The bounds of a window among the buffered samples.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    /// The first sample.
    pub lo: usize,
    /// The one behind the last.
    pub hi: usize,
    /// By how much the bounds moved last time: with regular samples, by how much they will move next.
    lo_stride: usize,
    hi_stride: usize,
}

impl Cursor {
    /// Moves on by as much as last time, once and again, for as long as that leads to windows of `shape`, the first of which
    /// ends at `end`. Puts their bounds into `places` and says how many they are; the one after them may be found by
    /// [`move_to`](Self::move_to).
    #[inline(always)]
    pub(super) fn stride<K: Kernel>(
        &mut self,
        ts: &[i64],
        mut end: i64,
        shape: &Shape,
        places: &mut [(usize, usize)],
    ) -> usize {
        let Self { mut lo, mut hi, lo_stride, hi_stride } = *self;
        let reach = shape.end_step.saturating_mul(places.len() as i64);
        let (Some(mut start), Some(_)) = (end.checked_sub(shape.length), end.checked_add(reach))
        else {
            return 0; // at the end of all time
        };
        let mut found = 0;
        for place in places {
            hi += hi_stride;
            if K::NEWEST_ONLY {
                lo = hi.saturating_sub(1);
            } else {
                lo += lo_stride;
            }
            let fits = if K::NEWEST_ONLY {
                ts.get(lo).is_some_and(|t| *t > start)
            } else {
                is_first_after(ts, lo, start) && lo < hi
            };
            if !fits || !is_first_after(ts, hi, end) {
                break;
            }
            *place = (lo, hi);
            (self.lo, self.hi) = (lo, hi);
            found += 1;
            (start, end) = (start + shape.end_step, end + shape.end_step);
        }
        found
    }

    /// Moves to the window `(start, end]`, which lies not before the last one; says whether it holds any sample.
    #[inline(always)]
    pub(super) fn move_to<K: Kernel>(&mut self, ts: &[i64], start: i64, end: i64) -> bool {
        self.hi = first_after(ts, self.hi, end, &mut self.hi_stride);
        if !K::NEWEST_ONLY {
            self.lo = first_after(ts, self.lo, start, &mut self.lo_stride);
            return self.lo < self.hi;
        }
        self.lo = self.hi.saturating_sub(1);
        self.hi > 0 && ts.get(self.lo).is_some_and(|t| *t > start)
    }
}

/// Is `ts[at]` the first after `bound`? Only said of times that are there, and not of the very first one.
#[inline(always)]
fn is_first_after(ts: &[i64], at: usize, bound: i64) -> bool {
    let around = at.checked_sub(1).and_then(|before| ts.get(before..=at));
    matches!(around, Some([before, after]) if *before <= bound && *after > bound)
}

/// The index of the first of `ts` after `bound`, searched from index `from` on; tries `stride` further first.
#[inline(always)]
fn first_after(ts: &[i64], from: usize, bound: i64, stride: &mut usize) -> usize {
    let guess = from + *stride;
    let reached = guess == from || ts.get(guess - 1).is_some_and(|t| *t <= bound);
    if reached && guess <= ts.len() && ts.get(guess).is_none_or(|t| *t > bound) {
        return guess;
    }
    let found = match ts.get(from) {
        Some(t) if *t <= bound => search_after(ts, from, bound),
        _ => from,
    };
    *stride = found - from;
    found
}

/// Like [`first_after`], by doubling steps: `ts[from]` is known not to lie after `bound`.
fn search_after(ts: &[i64], from: usize, bound: i64) -> usize {
    let mut width = 1;
    let mut at = from;
    while ts.get(at + width).is_some_and(|t| *t <= bound) {
        at += width;
        width *= 2;
    }
    let rest = ts.get(at + 1..ts.len().min(at + width)).unwrap_or_default();
    at + 1 + rest.partition_point(|t| *t <= bound)
}
