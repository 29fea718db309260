//! Points in time and closed ranges of them, in the unit of remote write and PromQL.

/// Milliseconds since the Unix epoch; negative before 1970. The unit of remote write and PromQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampMs(pub i64);

impl TimestampMs {
    /// The earliest instant there is.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest instant there is.
    pub const MAX: Self = Self(i64::MAX);

    /// This instant moved by `ms` milliseconds; stops at the ends of time instead of wrapping.
    #[must_use]
    pub fn saturating_add(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// This instant moved back by `ms` milliseconds; stops at the ends of time instead of wrapping.
    #[must_use]
    pub fn saturating_sub(self, ms: i64) -> Self {
        Self(self.0.saturating_sub(ms))
    }
}

/// Both ends included, as a chunk's range is; a block's is half-open and has its own type. Private: `min <= max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    min: TimestampMs,
    max: TimestampMs,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { min: TimestampMs::MIN, max: TimestampMs::MAX };

    /// The range from `min` to `max`, both included; `None` if it would be empty.
    #[must_use]
    pub fn new(min: TimestampMs, max: TimestampMs) -> Option<Self> {
        (min <= max).then_some(Self { min, max })
    }

    /// First instant of the range.
    #[must_use]
    pub fn min(self) -> TimestampMs {
        self.min
    }

    /// Last instant of the range.
    #[must_use]
    pub fn max(self) -> TimestampMs {
        self.max
    }

    /// Is `t` inside?
    #[must_use]
    pub fn contains(self, t: TimestampMs) -> bool {
        self.min <= t && t <= self.max
    }

    /// Do the two share an instant?
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }

    /// The smallest range that holds both.
    #[must_use]
    pub fn cover(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// The time of a block: its start is included, its end is not. Private: `start < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRange {
    start: TimestampMs,
    end: TimestampMs,
}

impl BlockRange {
    /// All of time but its very last instant.
    pub const ALL: Self = Self { start: TimestampMs::MIN, end: TimestampMs::MAX };

    /// The range from `start` to before `end`; `None` if it would be empty.
    #[must_use]
    pub fn new(start: TimestampMs, end: TimestampMs) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// Its first instant.
    #[must_use]
    pub fn start(self) -> TimestampMs {
        self.start
    }

    /// The first instant behind it.
    #[must_use]
    pub fn end(self) -> TimestampMs {
        self.end
    }

    /// The same instants, both ends included.
    #[must_use]
    pub fn inclusive(self) -> TimeRange {
        TimeRange { min: self.start, max: self.end.saturating_sub(1) }
    }

    /// Is `t` inside?
    #[must_use]
    pub fn contains(self, t: TimestampMs) -> bool {
        self.inclusive().contains(t)
    }

    /// Does all of `range` lie inside?
    #[must_use]
    pub fn holds(self, range: TimeRange) -> bool {
        self.contains(range.min) && self.contains(range.max)
    }

    /// Do the two share an instant?
    #[must_use]
    pub fn overlaps(self, range: TimeRange) -> bool {
        self.inclusive().overlaps(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_before_its_end() {
        let block = BlockRange::new(TimestampMs(1), TimestampMs(3)).unwrap();
        assert!(block.contains(TimestampMs(1)) && !block.contains(TimestampMs(3)));
        let range = |min, max| TimeRange::new(TimestampMs(min), TimestampMs(max)).unwrap();
        assert!(block.holds(range(1, 2)) && !block.holds(range(1, 3)));
        assert!(block.overlaps(range(2, 3)) && !block.overlaps(range(3, 4)));
        assert_eq!(BlockRange::new(TimestampMs(3), TimestampMs(3)), None);
    }

    #[test]
    fn a_range_holds_both_its_ends() {
        let range = TimeRange::new(TimestampMs(1), TimestampMs(3)).unwrap();
        assert!(range.contains(TimestampMs(1)) && range.contains(TimestampMs(3)));
        assert!(!range.contains(TimestampMs(0)) && !range.contains(TimestampMs(4)));
    }

    #[test]
    fn an_empty_range_cannot_be_made() {
        assert_eq!(TimeRange::new(TimestampMs(3), TimestampMs(1)), None);
    }
}
