//! The instants at which an expression is evaluated: evenly spaced, from the first to the last.

use crate::model::TimestampMs;

/// Evenly spaced instants. The grid of an instant query has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The first instant, in milliseconds.
    pub start: i64,
    /// From one instant to the next, in milliseconds; not negative.
    pub step: i64,
    /// How many instants; may be none.
    pub count: usize,
    /// Does the range that the grid covers end where it starts? With a longer one, a single instant is still a range.
    pub is_instant: bool,
}

impl Grid {
    /// The instants `start`, `start + step`, … up to `end`; none if `end` lies before `start`.
    #[must_use]
    pub fn new(start: i64, end: i64, step: i64) -> Self {
        let step = step.max(1);
        let span = end.saturating_sub(start);
        let count = if span < 0 {
            0
        } else {
            usize::try_from(span / step).unwrap_or(usize::MAX).saturating_add(1)
        };
        Self { start, step, count, is_instant: start == end }
    }

    /// The first instant only, evaluated as an instant.
    #[must_use]
    pub fn first(self) -> Self {
        Self { count: self.count.min(1), is_instant: true, ..self }
    }

    /// Some of the instants.
    #[must_use]
    pub fn part(self, steps: std::ops::Range<usize>) -> Self {
        let count = steps.end.min(self.count).saturating_sub(steps.start);
        Self { start: self.time(steps.start), count, is_instant: count == 1, ..self }
    }

    /// One instant.
    #[must_use]
    pub fn instant(at: i64) -> Self {
        Self { start: at, step: 1, count: 1, is_instant: true }
    }

    /// The instant of step `index`, in milliseconds.
    #[inline]
    #[must_use]
    pub fn time(&self, index: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(index as i64))
    }

    /// The last instant; the first one's if there is none.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }

    /// The instants in order.
    pub fn times(&self) -> impl Iterator<Item = TimestampMs> {
        let grid = *self;
        (0..grid.count).map(move |index| TimestampMs(grid.time(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_instant_is_the_last_whole_step_before_the_end() {
        let grid = Grid::new(10, 35, 10);
        assert_eq!((grid.count, grid.end()), (3, 30));
    }

    #[test]
    fn an_end_before_the_start_leaves_nothing() {
        assert_eq!(Grid::new(10, 9, 10).count, 0);
    }

    #[test]
    fn extreme_ends_do_not_overflow() {
        assert!(Grid::new(i64::MIN, i64::MAX, 1).count > 0);
    }
}
