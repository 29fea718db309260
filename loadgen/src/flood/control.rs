//! What the connections of a flood share while it runs: the reason to stop, a pulse for the progress line, and how far
//! each of them is.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::tally::{microseconds, record};

/// Why a flood ended before its bounds were reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The synthetic clock would have run further ahead than receivers take.
    Clock,
    /// The encoded bodies were used up and `--refill stop` was asked for.
    BodiesUsedUp,
    /// A request had no final answer for too long; the last thing that happened to it.
    GaveUp(String),
    /// The process being measured has ended.
    ServerGone(String),
    /// The generator itself cannot go on.
    Failed(String),
}

/// Shared by all connections, for one phase of a flood.
#[derive(Debug)]
pub struct Control {
    stopped: AtomicBool,
    reason: Mutex<Option<Stop>>,
    wake: Condvar,
    /// The step that each connection is in.
    steps: Vec<AtomicU32>,
    pulse: Pulse,
    recent: Mutex<Histogram<u64>>,
}

/// Counters that the progress line reads.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Samples acknowledged.
    pub samples: AtomicU64,
    /// Answers of 503 or 429.
    pub throttled: AtomicU64,
    /// Requests refused, not confirmed, or answered by an error.
    pub failed: AtomicU64,
}

impl Control {
    /// For so many connections, all of them at `step`.
    #[must_use]
    pub fn new(connections: usize, step: u32) -> Self {
        Self {
            stopped: AtomicBool::new(false),
            reason: Mutex::new(None),
            wake: Condvar::new(),
            steps: (0..connections).map(|_| AtomicU32::new(step)).collect(),
            pulse: Pulse::default(),
            recent: Mutex::new(microseconds()),
        }
    }

    /// Ends the flood; the first reason is kept.
    pub fn stop(&self, reason: Stop) {
        lock(&self.reason).get_or_insert(reason);
        self.stopped.store(true, Ordering::Release);
        self.wake.notify_all();
    }

    /// Has it been ended?
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Why, if it has.
    #[must_use]
    pub fn reason(&self) -> Option<Stop> {
        lock(&self.reason).clone()
    }

    /// Waits until `at`; false if the flood is ended before.
    #[must_use]
    pub fn wait_until(&self, at: Instant) -> bool {
        let mut reason = lock(&self.reason);
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if reason.is_some() || left.is_zero() {
                return reason.is_none();
            }
            let waited = self.wake.wait_timeout(reason, left);
            reason = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Says that `connection` is about to begin `step`, or that it is done (`u32::MAX`).
    pub fn set_step(&self, connection: usize, step: u32) {
        if let Some(place) = self.steps.get(connection) {
            place.store(step, Ordering::Relaxed);
        }
    }

    /// The step of the connection furthest behind.
    #[must_use]
    pub fn slowest_step(&self) -> u32 {
        self.steps.iter().map(|step| step.load(Ordering::Relaxed)).min().unwrap_or(u32::MAX)
    }

    /// The counters.
    #[must_use]
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Notes an acknowledged request for the progress line.
    pub fn acknowledged(&self, samples: u64, latency: Duration) {
        self.pulse.samples.fetch_add(samples, Ordering::Relaxed);
        record(&mut lock(&self.recent), latency);
    }

    /// The latencies since the last call.
    #[must_use]
    pub fn take_recent(&self) -> Histogram<u64> {
        std::mem::replace(&mut *lock(&self.recent), microseconds())
    }
}

/// A thread that panicked leaves plain numbers behind, which are still worth reading.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_to_stop_is_kept_and_ends_every_wait() {
        let control = Control::new(1, 0);
        assert!(control.wait_until(Instant::now()));
        std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| control.wait_until(Instant::now() + Duration::from_secs(3600)));
            control.stop(Stop::Clock);
            control.stop(Stop::BodiesUsedUp);
            assert!(!waiting.join().unwrap());
        });
        assert_eq!(control.reason(), Some(Stop::Clock));
    }

    #[test]
    fn a_connection_that_is_done_holds_nobody_back() {
        let control = Control::new(2, 3);
        control.set_step(0, 9);
        assert_eq!(control.slowest_step(), 3);
        control.set_step(1, u32::MAX);
        assert_eq!(control.slowest_step(), 9);
    }
}
