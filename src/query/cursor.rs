//! Finding the bounds of windows among one series' samples, one window after the other.
//!
//! Series are scraped regularly, so a window is first looked for as far on as the one before it was. Where samples are evenly
//! spaced to the millisecond, as Prometheus makes those that it scrapes nearly in time, whole runs of windows are found at once,
//! and each lies in its samples as the one before it.

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
    /// The last stretch of samples that was found to be evenly spaced, by `spacing` milliseconds: from which on, and the one
    /// behind it.
    even_from: usize,
    even_to: usize,
    spacing: i64,
}

/// Neighbouring samples that are looked at together for their distance.
const STRETCH: usize = 16;

impl Cursor {
    /// Before the first sample of another series. How far windows move stays: series are scraped alike.
    pub(super) fn rewind(&mut self) {
        (self.lo, self.hi, self.even_from, self.even_to) = (0, 0, 0, 0);
    }

    /// The first `gone` samples, which no window sees any more, are not there any more.
    pub(super) fn shift(&mut self, gone: usize) {
        self.lo -= gone;
        self.hi -= gone;
        self.even_from = self.even_from.saturating_sub(gone);
        self.even_to = self.even_to.saturating_sub(gone);
    }

    /// Moves on over windows of `shape`, the first of which ends at `end`, as long as all of their samples and their neighbours
    /// are evenly spaced, and puts their bounds into `places`. Each lies in its samples as the one before it. Says how many
    /// they are, and by how many samples they lie apart.
    #[inline(always)]
    pub(super) fn stride_evenly<K: Kernel>(
        &mut self,
        ts: &[i64],
        end: i64,
        shape: &Shape,
        places: &mut [(usize, usize)],
    ) -> (usize, usize) {
        let stride = self.hi_stride;
        let first = if K::NEWEST_ONLY { self.hi } else { self.lo };
        let (Some(before), true) =
            (first.checked_sub(1), stride > 0 && (K::NEWEST_ONLY || self.lo_stride == stride))
        else {
            return (0, 0);
        };
        self.stretch(ts, before, self.hi + stride * places.len() + 1);
        let is_even = self.even_to > self.hi + stride
            && self.spacing.checked_mul(stride as i64) == Some(shape.end_step);
        let reach = shape.end_step.saturating_mul(places.len() as i64);
        let (Some(start), Some(_), true) =
            (end.checked_sub(shape.length), end.checked_add(reach), is_even)
        else {
            return (0, 0);
        };
        let hi = self.hi + stride;
        let lo = if K::NEWEST_ONLY { hi - 1 } else { self.lo + stride };
        let fits = if K::NEWEST_ONLY {
            ts.get(lo).is_some_and(|t| *t > start)
        } else {
            is_first_after(ts, lo, start) && lo < hi
        };
        if !fits || !is_first_after(ts, hi, end) {
            return (0, 0);
        }
        let ahead = self.even_to - 1 - self.hi;
        let count = (if stride == 1 { ahead } else { ahead / stride }).min(places.len());
        let Some(moved) = count.checked_sub(1) else {
            return (0, 0); // no places
        };
        for (i, place) in places.iter_mut().enumerate().take(count) {
            *place = (lo + i * stride, hi + i * stride);
        }
        (self.lo, self.hi) = (lo + moved * stride, hi + moved * stride);
        (count, stride)
    }

    /// Finds how far samples are evenly spaced from `before` on, up to `end` at most.
    #[inline(always)]
    fn stretch(&mut self, ts: &[i64], before: usize, end: usize) {
        if before < self.even_from || before + 1 >= self.even_to {
            let Some([t, next]) = ts.get(before..).and_then(<[i64]>::first_chunk) else {
                (self.even_from, self.even_to) = (0, 0);
                return;
            };
            self.spacing = next.wrapping_sub(*t);
            (self.even_from, self.even_to) = (before, before + 2);
        }
        while self.even_to < end
            && let Some(stretch) = ts.get(self.even_to - 1..ts.len().min(end))
            && stretch.len() > 1
        {
            let stretch = stretch.get(..=STRETCH).unwrap_or(stretch);
            let pairs = || stretch.iter().zip(stretch.iter().skip(1));
            let off = |(t, next): (&i64, &i64)| next.wrapping_sub(*t) ^ self.spacing;
            if pairs().fold(0, |any, pair| any | off(pair)) != 0 {
                self.even_to += pairs().take_while(|pair| off(*pair) == 0).count();
                return;
            }
            self.even_to += stretch.len() - 1;
        }
    }

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
        let Self { mut lo, mut hi, lo_stride, hi_stride, .. } = *self;
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
