//! One float sample, and the NaN that says "this series has ended".

use super::TimestampMs;

/// The bit pattern of the staleness marker. Ordinary NaNs are values; this one ends a series.
/// Source: Prometheus, `model/value/value.go` (`StaleNaN`).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// A value at an instant. Compare values by bits: NaN payloads carry meaning.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When.
    pub t: TimestampMs,
    /// What; any bit pattern.
    pub v: f64,
}

impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.t == other.t && self.v.to_bits() == other.v.to_bits()
    }
}

/// Is `v` the staleness marker, to the bit?
#[must_use]
pub fn is_stale_nan(v: f64) -> bool {
    v.to_bits() == STALE_NAN_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_nan_is_the_staleness_marker() {
        assert!(is_stale_nan(f64::from_bits(STALE_NAN_BITS)));
        assert!(!is_stale_nan(f64::NAN));
    }
}
