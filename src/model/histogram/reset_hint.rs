//! What is known about a counter's reset before a histogram.

/// What a sender, a chunk or a test script says about a counter's reset before a histogram. The numbers are those of
/// remote write, of Prometheus's log, and of its code (`model/histogram`, `CounterResetHint`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum ResetHint {
    /// Nothing.
    #[default]
    Unknown = 0,
    /// It was reset.
    Reset = 1,
    /// It was not reset.
    NotReset = 2,
    /// It is a gauge, which has no resets.
    Gauge = 3,
}

impl ResetHint {
    /// The hint of this number, if there is one.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        [Self::Unknown, Self::Reset, Self::NotReset, Self::Gauge].into_iter().nth(number.into())
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_names_the_hint_that_has_it() {
        for number in 0..4 {
            assert_eq!(ResetHint::of_number(number).unwrap().number(), number);
        }
        assert_eq!(ResetHint::of_number(4), None);
    }
}
