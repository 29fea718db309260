//! What happened to the requests of one connection, or of all of them together.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::body::magazine::Contents;

/// A histogram of microseconds, from 1 to an hour, exact to three digits.
#[must_use]
pub fn microseconds() -> Histogram<u64> {
    // The bounds are constants within what the library takes, which the test below shows.
    Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap_or_else(|_| {
        unreachable!("a histogram of 1 us to 1 h with three digits can always be made")
    })
}

/// Adds a duration to such a histogram; more than an hour counts as an hour.
pub fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(micros.max(1));
}

/// How many different messages of refusals and errors are kept.
const MESSAGES_MAX: usize = 5;

/// Counts, durations and the first messages.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Requests that were sent at least once.
    pub requests_sent: u64,
    /// Requests answered by a 2xx that confirms every sample.
    pub requests_acknowledged: u64,
    /// What they had.
    pub acknowledged: Contents,
    /// Bytes of their bodies.
    pub bytes_acknowledged: u64,
    /// Requests answered by a 2xx that does not confirm every sample, as remote write 2.0 demands.
    pub requests_unconfirmed: u64,
    /// Requests answered for good by anything else.
    pub requests_refused: u64,
    /// Their samples.
    pub samples_refused: u64,
    /// Requests without a final answer when the flood ended or gave up.
    pub requests_abandoned: u64,
    /// Answers of 503 or 429.
    pub answers_throttled: u64,
    /// Other answers of 5xx.
    pub answers_server_error: u64,
    /// Connections that could not be opened or broke.
    pub connection_errors: u64,
    /// Times a body was sent again.
    pub retries: u64,
    /// Time spent waiting before sending again.
    pub backed_off: Duration,
    /// Time spent waiting for connections that had fallen too far behind on the synthetic clock.
    pub waited_for_others: Duration,
    /// Open loop: requests that were due before the end and not sent.
    pub requests_due_unsent: u64,
    /// From when a request was sent first, or was due, until it was acknowledged.
    pub latency: Histogram<u64>,
    /// Open loop: from when a request was due until it was sent, where nothing but the generator was in the way.
    pub lateness: Histogram<u64>,
    /// When the last final answer came.
    pub last_answer: Option<Instant>,
    /// The first different messages of refusals and errors.
    pub messages: Vec<String>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            requests_sent: 0,
            requests_acknowledged: 0,
            acknowledged: Contents::default(),
            bytes_acknowledged: 0,
            requests_unconfirmed: 0,
            requests_refused: 0,
            samples_refused: 0,
            requests_abandoned: 0,
            answers_throttled: 0,
            answers_server_error: 0,
            connection_errors: 0,
            retries: 0,
            backed_off: Duration::ZERO,
            waited_for_others: Duration::ZERO,
            requests_due_unsent: 0,
            latency: microseconds(),
            lateness: microseconds(),
            last_answer: None,
            messages: Vec::new(),
        }
    }
}

impl Tally {
    /// Keeps `message` if it is among the first different ones.
    pub fn note(&mut self, message: &str) {
        if self.messages.len() < MESSAGES_MAX && !self.messages.iter().any(|old| old == message) {
            self.messages.push(message.to_owned());
        }
    }

    /// Adds what another connection counted.
    pub fn add(&mut self, other: &Self) {
        self.requests_sent += other.requests_sent;
        self.requests_acknowledged += other.requests_acknowledged;
        self.acknowledged += other.acknowledged;
        self.bytes_acknowledged += other.bytes_acknowledged;
        self.requests_unconfirmed += other.requests_unconfirmed;
        self.requests_refused += other.requests_refused;
        self.samples_refused += other.samples_refused;
        self.requests_abandoned += other.requests_abandoned;
        self.answers_throttled += other.answers_throttled;
        self.answers_server_error += other.answers_server_error;
        self.connection_errors += other.connection_errors;
        self.retries += other.retries;
        self.backed_off += other.backed_off;
        self.waited_for_others += other.waited_for_others;
        self.requests_due_unsent += other.requests_due_unsent;
        // Both have the bounds of `microseconds`, the only reason for which adding could fail.
        let _same_bounds = self.latency.add(&other.latency);
        let _same_bounds = self.lateness.add(&other.lateness);
        self.last_answer = self.last_answer.max(other.last_answer);
        for message in &other.messages {
            self.note(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_tallies_has_the_requests_of_all() {
        let mut one = Tally { requests_sent: 2, ..Tally::default() };
        record(&mut one.latency, Duration::from_millis(1));
        let mut other = Tally { requests_sent: 3, ..Tally::default() };
        record(&mut other.latency, Duration::from_secs(90_000));
        other.note("no");
        one.note("no");
        one.add(&other);
        assert_eq!((one.requests_sent, one.latency.len()), (5, 2));
        assert!(one.latency.max() >= 3_599_000_000, "more than an hour counts as an hour");
        assert_eq!(one.messages, ["no"]);
    }

    #[test]
    fn only_the_first_different_messages_are_kept() {
        let mut tally = Tally::default();
        for number in 0..20 {
            tally.note(&format!("message {}", number / 2));
        }
        assert_eq!(tally.messages.len(), MESSAGES_MAX);
        assert_eq!(tally.messages[1], "message 1");
    }
}
