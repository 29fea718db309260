//! The synthetic clock of a flood: which step has which timestamp, and which values.
//!
//! Step 0 lies at `start_ms`; every step is `interval_ms` later. Values repeat every `value_period` steps if bodies are
//! sent again with new timestamps, and never otherwise.

use serde::{Deserialize, Serialize};

/// Steps to timestamps and to the steps whose values they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Milliseconds since the epoch of step 0.
    pub start_ms: i64,
    /// Milliseconds from one step to the next, at least 1.
    pub interval_ms: u32,
    /// After so many steps the values begin again.
    pub value_period: Option<u32>,
}

/// The first millisecond whose varint has six bytes, and the first that has more: bodies keep six for a timestamp.
const SIX_BYTES: std::ops::Range<i64> = 1 << 35..1 << 42;

impl Timeline {
    /// The timestamp of `step`, in milliseconds since the epoch.
    #[must_use]
    pub fn time(&self, step: u32) -> i64 {
        self.start_ms.saturating_add(i64::from(step) * i64::from(self.interval_ms))
    }

    /// The step to ask a shape for the value at `step`.
    #[must_use]
    pub fn value_step(&self, step: u32) -> u64 {
        u64::from(step.checked_rem(self.value_period.unwrap_or(0)).unwrap_or(step))
    }

    /// The step at `time`, if one lies exactly there.
    #[must_use]
    pub fn step_at(&self, time: i64) -> Option<u32> {
        let since = time.checked_sub(self.start_ms)?;
        let interval = i64::from(self.interval_ms);
        (since.checked_rem(interval)? == 0).then(|| u32::try_from(since / interval).ok())?
    }

    /// May a sample have this timestamp? True from February 1971 until May 2109.
    #[must_use]
    pub fn holds(time: i64) -> bool {
        SIX_BYTES.contains(&time)
    }
}

/// `time` as a varint of six bytes; see [`Timeline::holds`].
#[must_use]
pub fn time_varint(time: i64) -> [u8; 6] {
    let byte = |at: u32| ((time >> (7 * at)) & 0x7f) as u8 | 0x80;
    [byte(0), byte(1), byte(2), byte(3), byte(4), byte(5) & 0x7f]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_timestamp_has_six_varint_bytes(time in SIX_BYTES) {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(time.cast_unsigned(), &mut bytes);
            prop_assert_eq!(time_varint(time).to_vec(), bytes);
        }

        #[test]
        fn a_step_is_found_at_its_own_time_only(start in SIX_BYTES, interval_ms in 2u32..100_000, step in 0u32..1_000_000) {
            let timeline = Timeline { start_ms: start, interval_ms, value_period: None };
            prop_assert_eq!(timeline.step_at(timeline.time(step)), Some(step));
            prop_assert_eq!(timeline.step_at(timeline.time(step) + 1), None);
            prop_assert_eq!(timeline.step_at(start - i64::from(interval_ms)), None);
        }
    }

    #[test]
    fn values_repeat_only_with_a_period() {
        let timeline = |value_period| Timeline { start_ms: 1 << 40, interval_ms: 1, value_period };
        assert_eq!(timeline(Some(10)).value_step(25), 5);
        assert_eq!(timeline(None).value_step(25), 25);
    }
}
