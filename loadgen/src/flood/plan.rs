//! What a flood will do, decided before it does anything: pure functions of the options and the time of day.

use std::ops::Range;
use std::time::Duration;

use crate::body::SeriesRange;

/// How a flood is bounded; it ends at whichever bound comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Wall-clock time of the measured window.
    pub duration: Option<Duration>,
    /// Requests of the measured window.
    pub requests: Option<u64>,
    /// Samples of the measured window, rounded up to whole requests.
    pub samples: Option<u64>,
}

/// Which requests each connection sends in a round.
///
/// The series are cut into requests of nearly equal size, none larger than `per_request` and at least one a connection;
/// the requests are dealt to the connections in runs. Which series go over which connection never changes.
#[must_use]
pub fn deal(series: u32, connections: u32, per_request: u32) -> Vec<Vec<SeriesRange>> {
    let requests = series.div_ceil(per_request.max(1)).max(connections);
    let cut = |part: u32, parts: u32, whole: u32| {
        let at = u64::from(whole) * u64::from(part) / u64::from(parts.max(1));
        u32::try_from(at).unwrap_or(whole)
    };
    let request = |number| cut(number, requests, series)..cut(number + 1, requests, series);
    let lane = |lane| {
        let numbers = cut(lane, connections, requests)..cut(lane + 1, connections, requests);
        numbers.map(request).filter(|series| !series.is_empty()).collect()
    };
    (0..connections).map(lane).collect()
}

/// How many requests each connection may send, or `None` if only time bounds them.
///
/// The bound is spent in rounds: every connection gets the same number of whole rounds, and of the last round the first
/// requests are sent.
#[must_use]
pub fn quotas(lanes: &[Vec<SeriesRange>], bounds: &Bounds) -> Option<Vec<u64>> {
    let per_round: u64 = lanes.iter().map(|lane| lane.len() as u64).sum();
    let series: u64 = lanes.iter().flatten().map(|series| series.len() as u64).sum();
    let by_requests = bounds.requests;
    let by_samples = bounds.samples.map(|samples| {
        let (rounds, mut rest) = (samples / series.max(1), samples % series.max(1));
        let part_of_a_round = lanes.iter().flatten().take_while(|series| {
            let wanted = rest > 0;
            rest = rest.saturating_sub(series.len() as u64);
            wanted
        });
        rounds * per_round + part_of_a_round.count() as u64
    });
    let requests = by_requests.into_iter().chain(by_samples).min()?;
    let (rounds, mut rest) = (requests / per_round.max(1), requests % per_round.max(1));
    let quota = |lane: &Vec<SeriesRange>| {
        let extra = rest.min(lane.len() as u64);
        rest -= extra;
        rounds * lane.len() as u64 + extra
    };
    Some(lanes.iter().map(quota).collect())
}

/// Samples a second and core that a closed loop without other bounds is planned for: what the fastest of receivers aim at.
const RATE_PER_CORE_MAX: f64 = 6e6;
/// Prometheus takes what is at most an hour older than its newest sample; its own scrapes are as new as now.
const SPAN_MAX_MS: u64 = 50 * 60 * 1000;
/// Prometheus takes what is at most ten minutes ahead of its clock.
pub const AHEAD_MAX_MS: i64 = 5 * 60 * 1000;
/// The connections' clocks may drift apart by half of Prometheus' hour.
const SKEW_MAX_MS: u32 = 30 * 60 * 1000;
/// As many samples as a chunk holds: more different rounds make no flood more real, but its start longer.
const ROUNDS_DISTINCT_MAX: u64 = 120;

/// The samples a second that a closed loop is planned for on a machine of so many cores.
#[must_use]
pub fn closed_loop_rate(cores: usize) -> f64 {
    RATE_PER_CORE_MAX * f64::from(u32::try_from(cores).unwrap_or(u32::MAX))
}

/// How many rounds the measured window is expected to have at most.
#[must_use]
pub fn rounds_expected(series: u32, per_round: u64, bounds: &Bounds, rate: f64) -> u64 {
    let series = f64::from(series.max(1));
    let by_time = bounds.duration.map(|duration| duration.as_secs_f64() * rate / series);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let by_time = by_time.map(|rounds| rounds.ceil() as u64);
    let by_requests = bounds.requests.map(|requests| requests.div_ceil(per_round.max(1)));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let by_samples = bounds.samples.map(|samples| (samples as f64 / series).ceil() as u64);
    by_time.into_iter().chain(by_requests).chain(by_samples).min().unwrap_or(1).max(1)
}

/// The interval of the synthetic clock if none was asked for: 15 s, or shorter so that `rounds` fit in 50 minutes.
#[must_use]
pub fn interval_default_ms(rounds: u64) -> u32 {
    const LADDER: [u32; 14] =
        [15_000, 10_000, 5_000, 2_000, 1_000, 500, 250, 200, 100, 50, 20, 10, 5, 2];
    let fits = |interval: &u32| rounds.saturating_mul(u64::from(*interval)) <= SPAN_MAX_MS;
    LADDER.into_iter().find(fits).unwrap_or(1)
}

/// The start of the synthetic clock if none was asked for: so early that `rounds` end now.
#[must_use]
pub fn start_default_ms(now_ms: i64, rounds: u64, interval_ms: u32) -> i64 {
    let span = rounds.saturating_mul(u64::from(interval_ms));
    now_ms.saturating_sub(i64::try_from(span).unwrap_or(i64::MAX)).max(0)
}

/// How many rounds a connection may be ahead of the slowest.
#[must_use]
pub fn skew_rounds_max(interval_ms: u32) -> u32 {
    (SKEW_MAX_MS / interval_ms.max(1)).max(2)
}

/// How many rounds to encode before the clock starts.
///
/// As many as the flood is expected to need, but no more than the budget holds; of bodies that can be sent again, no
/// more than make a difference. Never fewer than the warm-up, and always one.
#[must_use]
pub fn rounds_ahead(
    budget: u64,
    round_bytes: f64,
    expected: u64,
    warmup: u32,
    replays: bool,
) -> u32 {
    #[expect(clippy::cast_precision_loss, reason = "a budget of more than 2^53 bytes is unlimited")]
    let holds = budget as f64 / (round_bytes * 1.05).max(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let holds = holds as u64;
    let needed = expected.saturating_add(u64::from(warmup));
    let useful = if replays { needed.min(ROUNDS_DISTINCT_MAX) } else { needed };
    u32::try_from(holds.min(useful)).unwrap_or(u32::MAX).max(warmup).max(1)
}

/// When the requests of one connection are due in an open loop.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Samples of a round before each of its requests.
    before: Vec<u64>,
    round_samples: u64,
    nanos_per_sample: f64,
    phase: Duration,
}

impl Schedule {
    /// The schedule of connection `lane` of `lanes` at `rate` samples a second over all of them.
    #[must_use]
    pub fn new(lanes: &[Vec<SeriesRange>], lane: usize, rate: f64) -> Self {
        let len = |series: &Range<u32>| series.len() as u64;
        let series: u64 = lanes.iter().flatten().map(len).sum();
        let own: &[SeriesRange] = lanes.get(lane).map_or(&[], Vec::as_slice);
        let round_samples: u64 = own.iter().map(len).sum();
        let before = own.iter().scan(0, |sum, series| {
            let before = *sum;
            *sum += len(series);
            Some(before)
        });
        #[expect(clippy::cast_precision_loss, reason = "series are counted in 32 bits")]
        let nanos_per_sample = 1e9 / rate * series as f64 / round_samples.max(1) as f64;
        #[expect(clippy::cast_precision_loss, reason = "a few connections")]
        let turn = lane as f64 / lanes.len().max(1) as f64;
        let first = own.first().map_or(0, len);
        let phase = nanos(turn * nanos_per_sample * exact(first));
        Self { before: before.collect(), round_samples, nanos_per_sample, phase }
    }

    /// When the `number`th request is due, counted from the start of the window.
    #[must_use]
    pub fn due(&self, number: u64) -> Duration {
        let per_round = (self.before.len() as u64).max(1);
        let within = usize::try_from(number % per_round).unwrap_or(0);
        let before = self.before.get(within).copied().unwrap_or(0);
        let samples = number / per_round * self.round_samples + before;
        self.phase + nanos(exact(samples) * self.nanos_per_sample)
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn exact(samples: u64) -> f64 {
    samples as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn nanos(nanos: f64) -> Duration {
    Duration::from_nanos(nanos as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_series_is_dealt_to_one_connection(series in 1u32..30_000, connections in 1u32..40, per_request in 1u32..3_000) {
            prop_assume!(series >= connections);
            let lanes = deal(series, connections, per_request);
            prop_assert_eq!(lanes.len(), connections as usize);
            let mut next = 0;
            for request in lanes.iter().flatten() {
                prop_assert_eq!(request.start, next);
                prop_assert!(request.len() <= per_request as usize);
                next = request.end;
            }
            prop_assert_eq!(next, series);
            prop_assert!(lanes.iter().all(|lane| !lane.is_empty()));
        }

        #[test]
        fn quotas_add_up_to_the_bound(series in 40u32..5_000, connections in 1u32..20, per_request in 1u32..700, bound in 0u64..10_000) {
            let lanes = deal(series, connections, per_request);
            let of = |bounds| quotas(&lanes, &bounds).unwrap();
            let requests = of(Bounds { requests: Some(bound), ..Bounds::default() });
            prop_assert_eq!(requests.iter().sum::<u64>(), bound);
            let by_samples = of(Bounds { samples: Some(bound), ..Bounds::default() });
            let samples: u64 = lanes.iter().zip(&by_samples).map(|(lane, quota)| {
                lane.iter().cycle().take(usize::try_from(*quota).unwrap()).map(|series| series.len() as u64).sum::<u64>()
            }).sum();
            prop_assert!(samples >= bound && samples < bound + u64::from(per_request));
        }

        #[test]
        fn the_connections_together_keep_the_rate(connections in 1u32..20, rate in 1e3f64..1e7) {
            let lanes = deal(20_000, connections, 1_000);
            let until = Duration::from_secs(4);
            let samples: usize = (0..lanes.len()).map(|lane| {
                let schedule = Schedule::new(&lanes, lane, rate);
                (0u64..).take_while(|n| schedule.due(*n) < until).zip(lanes[lane].iter().cycle()).map(|(_, series)| series.len()).sum::<usize>()
            }).sum();
            let asked = rate * 4.0;
            prop_assert!((samples as f64 - asked).abs() <= 1_001.0 * f64::from(connections), "{samples} of {asked}");
        }
    }

    #[test]
    fn a_hundred_thousand_series_make_full_requests() {
        let lanes = deal(100_000, 8, 2_000);
        assert!(lanes.iter().flatten().all(|series| series.len() == 2_000));
        assert!(lanes.iter().all(|lane| (6..=7).contains(&lane.len())));
    }

    #[test]
    fn without_a_count_there_is_no_quota() {
        let bounds = Bounds { duration: Some(Duration::from_secs(1)), ..Bounds::default() };
        assert_eq!(quotas(&deal(100, 2, 10), &bounds), None);
    }

    #[test]
    fn a_scrape_interval_shrinks_until_the_flood_fits_before_now() {
        let ten_seconds = Bounds { duration: Some(Duration::from_secs(10)), ..Bounds::default() };
        let rounds = rounds_expected(100_000, 50, &ten_seconds, closed_loop_rate(2));
        assert_eq!((rounds, interval_default_ms(rounds)), (1_200, 2_000));
        assert_eq!(start_default_ms(10_000_000, 1_200, 2_000), 7_600_000);
        let slow = rounds_expected(100_000, 50, &ten_seconds, 20_000.0);
        assert_eq!((slow, interval_default_ms(slow)), (2, 15_000));
        assert_eq!(interval_default_ms(u64::MAX), 1);
    }

    #[test]
    fn counted_floods_need_as_many_rounds_as_they_count() {
        let bounds = Bounds { samples: Some(250), requests: Some(7), ..Bounds::default() };
        assert_eq!(rounds_expected(100, 3, &bounds, 1e6), 3);
    }

    #[test]
    fn rounds_are_encoded_ahead_within_the_budget() {
        assert_eq!(rounds_ahead(1 << 30, 2.5e6, 10_000, 1, true), 120);
        assert_eq!(rounds_ahead(1 << 30, 2.5e6, 10_000, 1, false), 409);
        assert_eq!(rounds_ahead(1 << 30, 2.5e6, 20, 1, false), 21);
        assert_eq!(rounds_ahead(0, 2.5e6, 20, 2, true), 2);
    }

    #[test]
    fn connections_take_turns_from_the_first_request_on() {
        let lanes = deal(400, 4, 100);
        let due = |lane, number| Schedule::new(&lanes, lane, 1000.0).due(number);
        assert_eq!(due(0, 0), Duration::ZERO);
        assert_eq!(due(1, 0), Duration::from_millis(100));
        assert_eq!(due(3, 0), Duration::from_millis(300));
        assert_eq!(due(0, 1), Duration::from_millis(400));
    }
}
