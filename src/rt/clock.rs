//! What time it is, and how long something took.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::io::Clock;
use crate::model::TimestampMs;

/// The host's wall clock. It may jump when the host's time is set; for durations there is [`Stopwatch`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> TimestampMs {
        timestamp_ms(SystemTime::now())
    }
}

/// The whole milliseconds from the epoch to `time`, rounded down; the ends of time for what is beyond them.
fn timestamp_ms(time: SystemTime) -> TimestampMs {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).map_or(TimestampMs::MAX, TimestampMs),
        Err(error) => {
            let before_ms = error.duration().as_nanos().div_ceil(1_000_000);
            i64::try_from(before_ms).map_or(TimestampMs::MIN, |ms| TimestampMs(-ms))
        }
    }
}

/// The time since this was first asked, in any thread; never runs backwards. For who can only be given a function.
#[must_use]
pub fn since_first_asked() -> Duration {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed()
}

/// Measures from when it was started; never runs backwards.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    started: Instant,
}

impl Stopwatch {
    /// Starts measuring.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_round_down_on_both_sides_of_the_epoch() {
        let micros = Duration::from_micros;
        assert_eq!(timestamp_ms(UNIX_EPOCH + micros(1999)), TimestampMs(1));
        assert_eq!(timestamp_ms(UNIX_EPOCH - micros(1)), TimestampMs(-1));
        assert_eq!(timestamp_ms(UNIX_EPOCH - micros(2000)), TimestampMs(-2));
    }

    #[test]
    fn the_system_clock_is_past_2020() {
        assert!(SystemClock.now() > TimestampMs(1_577_836_800_000));
    }
}
