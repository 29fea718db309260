//! What each core counts about the requests it serves.
//!
//! Every core has counters of its own and is the only one that writes them, so that counting is a load and a store
//! without a lock or a locked instruction; a scrape, on whichever core, reads all cores' and adds them up. Reads may
//! see a request half counted: its status, but not yet its duration.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

use super::exposition::Buckets;
use crate::model::{Refusal, RefusalReason};
use crate::server::route::Endpoint;

/// A number that one core writes and any may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the core that owns the counter may: two writers would lose counts.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes `n` off again, for numbers that fall. Only the core that owns the counter may.
    pub fn subtract(&self, n: u64) {
        self.add(n.wrapping_neg());
    }

    /// What it stands at.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations counted by upper bounds in seconds.
#[derive(Debug)]
pub struct Durations<const N: usize> {
    bounds: [f64; N],
    counts: [Counter; N],
    above: Counter,
    sum_ns: Counter,
}

impl<const N: usize> Durations<N> {
    fn new(bounds: [f64; N]) -> Self {
        assert!(bounds.is_sorted(), "bounds of durations rise");
        Self {
            bounds,
            counts: [const { Counter(AtomicU64::new(0)) }; N],
            above: Counter::default(),
            sum_ns: Counter::default(),
        }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let place = self.bounds.iter().position(|bound| seconds <= *bound);
        place.and_then(|place| self.counts.get(place)).unwrap_or(&self.above).add(1);
        self.sum_ns.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Has any been counted?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.above.get() == 0 && self.counts.iter().all(|count| count.get() == 0)
    }
}

/// The bounds of Prometheus's request durations.
const REQUEST_BOUNDS: [f64; 9] = [0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0];
/// Writes are expected within some milliseconds, so that theirs are finer.
const WRITE_BOUNDS: [f64; 16] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 5.0,
];
/// The bounds of Prometheus's query durations.
const QUERY_BOUNDS: [f64; 9] = [0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0];

/// The status codes that this server answers with, ascending; others count under the last place, as 0.
pub const STATUSES: [u16; 19] =
    [200, 204, 302, 400, 403, 404, 405, 408, 413, 415, 422, 431, 499, 500, 501, 503, 505, 507, 0];

/// Why samples were refused while their request was decoded, in the order of the counters. The last one is for the
/// series that a request with very many bad ones does not name.
pub const REFUSALS: [&str; 6] =
    ["no_metric_name", "labels", "label_refs", "no_samples", "histogram", "unnamed"];

/// What one core counts.
#[derive(Debug)]
pub struct CoreCounters {
    requests: [[Counter; STATUSES.len()]; Endpoint::ALL.len()],
    durations: [Durations<9>; Endpoint::ALL.len()],
    refused: [Counter; REFUSALS.len()],
    /// How long writes took that reached the store.
    pub write_durations: Durations<16>,
    /// How long queries ran, without the time they waited for their turn.
    pub query_durations: Durations<9>,
    /// How long they waited.
    pub query_waits: Durations<9>,
    /// Connections that are open.
    pub connections: Counter,
    /// Connections that were accepted.
    pub connections_accepted: Counter,
    /// Connections that were turned away because all places were taken.
    pub connections_turned_away: Counter,
    /// Requests whose handler panicked.
    pub panics: Counter,
    /// Samples that were written by remote write 1.0.
    pub written_v1: Counter,
    /// Samples that were written by remote write 2.0.
    pub written_v2: Counter,
    /// Native histograms of 1.0 that were acknowledged.
    pub histograms_v1: Counter,
    /// Of 2.0.
    pub histograms_v2: Counter,
    /// Bytes of bodies of writes, as sent.
    pub body_bytes: Counter,
    /// Bytes that they unpacked to.
    pub unpacked_bytes: Counter,
    /// Exemplars that were left out while their request was decoded.
    pub refused_exemplars: Counter,
    /// Writes that were answered 503 because too many bytes were in flight.
    pub overloaded: Counter,
    /// Queries that run.
    pub queries: Counter,
    /// Samples that were read for those that were answered.
    pub query_samples: Counter,
}

impl Default for CoreCounters {
    fn default() -> Self {
        let counter = || Counter::default();
        Self {
            requests: std::array::from_fn(|_| std::array::from_fn(|_| counter())),
            durations: std::array::from_fn(|_| Durations::new(REQUEST_BOUNDS)),
            refused: std::array::from_fn(|_| counter()),
            write_durations: Durations::new(WRITE_BOUNDS),
            query_durations: Durations::new(QUERY_BOUNDS),
            query_waits: Durations::new(QUERY_BOUNDS),
            connections: counter(),
            connections_accepted: counter(),
            connections_turned_away: counter(),
            panics: counter(),
            written_v1: counter(),
            written_v2: counter(),
            histograms_v1: counter(),
            histograms_v2: counter(),
            body_bytes: counter(),
            unpacked_bytes: counter(),
            refused_exemplars: counter(),
            overloaded: counter(),
            queries: counter(),
            query_samples: counter(),
        }
    }
}

impl CoreCounters {
    /// Counts one request that was answered.
    pub fn request(&self, endpoint: Endpoint, status: StatusCode, took: Duration) {
        let place = STATUSES.iter().position(|known| *known == status.as_u16());
        let place = place.unwrap_or(STATUSES.len() - 1);
        if let Some(count) = self.requests.get(endpoint.index()).and_then(|row| row.get(place)) {
            count.add(1);
        }
        if let Some(durations) = self.durations.get(endpoint.index()) {
            durations.observe(took);
        }
    }

    /// Counts samples that were refused while their request was decoded: `named` series, and in all `samples`.
    pub fn refused(&self, named: &[Refusal], samples: u64) {
        let mut unnamed = samples;
        for refusal in named {
            let samples = u64::from(refusal.samples);
            unnamed = unnamed.saturating_sub(samples);
            if let Some(count) = self.refused.get(refusal_class(&refusal.reason)) {
                count.add(samples);
            }
        }
        if let Some(count) = self.refused.last() {
            count.add(unnamed);
        }
    }
}

/// The place of a reason in [`REFUSALS`]. Those of the shards are the shards' to count.
fn refusal_class(reason: &RefusalReason) -> usize {
    match reason {
        RefusalReason::NoMetricName => 0,
        RefusalReason::Labels(_) => 1,
        RefusalReason::SymbolRef { .. } | RefusalReason::OddLabelRefs(_) => 2,
        RefusalReason::NoSamples => 3,
        RefusalReason::Histogram(_) | RefusalReason::HistogramTooLarge { .. } => 4,
        RefusalReason::OutOfOrder
        | RefusalReason::OutOfBounds
        | RefusalReason::TooOld
        | RefusalReason::Duplicate { .. }
        | RefusalReason::DuplicateOfHistogram { .. }
        | RefusalReason::DuplicateHistogram(_)
        | RefusalReason::OutOfOrderExemplar
        | RefusalReason::LabelsTooLong { .. }
        | RefusalReason::TooManySeries => REFUSALS.len() - 1,
    }
}

/// All cores' counters, as one core sees them: it counts in its own and reads all.
#[derive(Debug, Clone)]
pub struct Counters {
    cores: Arc<[CoreCounters]>,
    own: usize,
}

impl Counters {
    /// Counters for `cores` cores, one handle each, in order. Above zero.
    #[must_use]
    pub fn for_cores(cores: usize) -> Vec<Self> {
        assert!(cores > 0, "somebody has to count");
        let all: Arc<[CoreCounters]> = (0..cores).map(|_| CoreCounters::default()).collect();
        (0..cores).map(|own| Self { cores: Arc::clone(&all), own }).collect()
    }

    /// Requests by endpoint and status, where there were any.
    #[must_use]
    pub fn requests(&self) -> Vec<(Endpoint, u16, u64)> {
        let mut found = Vec::new();
        for endpoint in Endpoint::ALL {
            for (place, status) in STATUSES.iter().enumerate() {
                let n = self.sum(|core| {
                    core.requests
                        .get(endpoint.index())
                        .and_then(|row| row.get(place))
                        .map_or(0, Counter::get)
                });
                if n > 0 {
                    found.push((endpoint, *status, n));
                }
            }
        }
        found
    }

    /// Request durations by endpoint, where there were any.
    #[must_use]
    pub fn request_durations(&self) -> Vec<(Endpoint, Buckets)> {
        let of = |core: &'_ CoreCounters, endpoint: Endpoint| -> bool {
            core.durations.get(endpoint.index()).is_some_and(|durations| !durations.is_empty())
        };
        Endpoint::ALL
            .into_iter()
            .filter(|endpoint| self.cores.iter().any(|core| of(core, *endpoint)))
            .map(|endpoint| (endpoint, self.buckets(|core| core.durations.get(endpoint.index()))))
            .collect()
    }

    /// Samples refused while decoding, by reason.
    #[must_use]
    pub fn refusals(&self) -> Vec<(&'static str, u64)> {
        let of = |core: &CoreCounters, place| core.refused.get(place).map_or(0, Counter::get);
        REFUSALS
            .iter()
            .enumerate()
            .map(|(place, class)| (*class, self.sum(|core| of(core, place))))
            .collect()
    }

    /// One number, added up over all cores.
    #[must_use]
    pub fn sum(&self, of: impl Fn(&CoreCounters) -> u64) -> u64 {
        self.cores.iter().map(of).fold(0, u64::wrapping_add)
    }

    /// One set of durations, added up over all cores.
    #[must_use]
    pub fn buckets<const N: usize>(
        &self,
        of: impl Fn(&CoreCounters) -> Option<&Durations<N>>,
    ) -> Buckets {
        let mut merged = Buckets { counts: Vec::new(), above: 0, sum: 0.0 };
        let mut sum_ns = 0u64;
        for durations in self.cores.iter().filter_map(of) {
            if merged.counts.is_empty() {
                merged.counts = durations.bounds.iter().map(|bound| (*bound, 0)).collect();
            }
            for ((_, total), count) in merged.counts.iter_mut().zip(&durations.counts) {
                *total += count.get();
            }
            merged.above += durations.above.get();
            sum_ns = sum_ns.wrapping_add(durations.sum_ns.get());
        }
        merged.sum = sum_ns as f64 / 1e9;
        merged
    }
}

impl Deref for Counters {
    type Target = CoreCounters;

    /// The counters of the core that holds this handle.
    #[expect(clippy::indexing_slicing, reason = "`own` is below the length: `for_cores` made both")]
    fn deref(&self) -> &CoreCounters {
        &self.cores[self.own]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_on_one_core_sees_what_all_counted() {
        let cores = Counters::for_cores(2);
        for core in &cores {
            core.request(Endpoint::Query, StatusCode::OK, Duration::from_millis(150));
            core.request(Endpoint::Query, StatusCode::IM_A_TEAPOT, Duration::from_secs(500));
            core.connections.add(3);
            core.connections.subtract(1);
        }
        assert_eq!(
            cores[1].requests(),
            [(Endpoint::Query, 200, 2), (Endpoint::Query, 0, 2)],
            "a status that the table does not have counts as 0"
        );
        assert_eq!(cores[0].sum(|core| core.connections.get()), 4);
        let (endpoint, buckets) = cores[0].request_durations().remove(0);
        assert_eq!(endpoint, Endpoint::Query);
        assert_eq!((buckets.counts[1], buckets.above), ((0.2, 2), 2));
        assert!((buckets.sum - 1000.3).abs() < 1e-9);
    }

    #[test]
    fn a_duration_on_a_bound_belongs_below_it() {
        let durations = Durations::new([1.0, 2.0]);
        durations.observe(Duration::from_secs(1));
        assert_eq!(durations.counts[0].get(), 1);
    }

    #[test]
    fn refusals_count_by_reason_and_those_without_a_name_apart() {
        let refusal = |reason, samples| Refusal { series: String::new(), samples, reason };
        let cores = Counters::for_cores(1);
        let named = [
            refusal(RefusalReason::NoMetricName, 5),
            refusal(RefusalReason::HistogramTooLarge { parts: 1 }, 1),
        ];
        cores[0].refused(&named, 10);
        let counted: Vec<_> = cores[0].refusals().into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counted, [("no_metric_name", 5), ("histogram", 1), ("unnamed", 4)]);
    }
}
