//! The summary of a flood: as a table for people, as JSON for programs.
//!
//! The JSON is this module's [`Report`], field by field. Its keys are stable: later versions may add some, but neither
//! rename nor remove any. Units are in the names (`_us`, `_ms`, `_bytes`, `_seconds`); what was not asked for or cannot
//! be said is `null`.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::control::Stop;
use crate::body::Protocol;
use crate::body::compress::Compression;
use crate::body::magazine::{BytesPerSample, Refill};
use crate::quantity::utc_text;

/// Everything a flood has to say.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of the generator.
    pub version: &'static str,
    /// Was everything sent acknowledged? Decides the exit code.
    pub ok: bool,
    /// Why the flood ended: `duration`, `count`, or what went wrong.
    pub ended_by: String,
    /// What was asked for, defaults filled in.
    pub flood: Flood,
    /// Bodies encoded before the clock started.
    pub preencoded: Preencoded,
    /// The warm-up, which created the series.
    pub warmup: Warmup,
    /// The measured window.
    pub measured: Measured,
    /// From the first byte sent, or in an open loop from when the request was due, to the acknowledgement.
    pub latency_us: Option<Quantiles>,
    /// Open loop: from when a request was due to when it was sent, where only the generator was in the way.
    pub lateness_us: Option<Quantiles>,
    /// The generator's own part.
    pub generator: Generator,
    /// The server's part, with `--pid`.
    pub server: Option<Server>,
    /// The first different messages of refusals and errors, of warm-up and window.
    pub messages: Vec<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Flood {
    /// Where to.
    pub url: String,
    /// `1.0` or `2.0`.
    pub protocol: Protocol,
    /// `snappy` or `zstd`.
    pub compression: Compression,
    /// Series at any moment.
    pub series: u32,
    /// Share replaced per minute of the synthetic clock.
    pub churn_per_minute: f64,
    /// Share of the series that are native histograms.
    pub histograms: f64,
    /// Are those float histograms?
    pub float_histograms: bool,
    /// One sample in so many brings an exemplar; `null` for none.
    pub exemplars_every: Option<u32>,
    /// The seed.
    pub seed: u64,
    /// Step of the synthetic clock.
    pub interval_ms: u32,
    /// Its start, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Samples of the largest request.
    pub samples_per_request: usize,
    /// Connections.
    pub connections: usize,
    /// Samples a second asked for; `null` in a closed loop.
    pub rate: Option<u64>,
    /// What follows the pre-encoded bodies.
    pub refill: Refill,
    /// After so many rounds values repeat; `null` if never.
    pub value_period_rounds: Option<u32>,
}

/// Bodies encoded before the clock started.
#[derive(Debug, Clone, Serialize)]
pub struct Preencoded {
    /// Rounds over all series.
    pub rounds: u32,
    /// Bytes of the bodies.
    pub bytes: usize,
    /// How long that took, on all cores.
    pub seconds: f64,
    /// CPU time that it took.
    pub cpu_seconds: f64,
    /// What a sample costs.
    pub bytes_per_sample: BytesPerSample,
}

/// The warm-up.
#[derive(Debug, Clone, Serialize)]
pub struct Warmup {
    /// Rounds over all series.
    pub rounds: u32,
    /// Samples acknowledged.
    pub samples_acknowledged: u64,
    /// Wall-clock time.
    pub seconds: f64,
    /// The server's CPU time, with `--pid`.
    pub server_cpu_seconds: Option<f64>,
    /// The same for each series, which the first round of the warm-up creates.
    pub server_cpu_us_per_series: Option<f64>,
}

/// The measured window.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// From its start to the last answer.
    pub seconds: f64,
    /// Requests sent at least once.
    pub requests_sent: u64,
    /// Requests acknowledged.
    pub requests_acknowledged: u64,
    /// Samples acknowledged: floats and native histograms.
    pub samples_acknowledged: u64,
    /// Those of them that are floats.
    pub floats_acknowledged: u64,
    /// Those that are native histograms.
    pub histograms_acknowledged: u64,
    /// Exemplars acknowledged: in remote write 2.0 as many as the receiver says, in 1.0 those of acknowledged requests.
    pub exemplars_acknowledged: u64,
    /// The same a second.
    pub samples_per_second: f64,
    /// Bytes of acknowledged bodies.
    pub bytes_acknowledged: u64,
    /// Requests answered by a 2xx that does not confirm every sample (remote write 2.0).
    pub requests_unconfirmed: u64,
    /// Requests answered for good by anything else.
    pub requests_refused: u64,
    /// Their samples.
    pub samples_refused: u64,
    /// Requests without a final answer at the end.
    pub requests_abandoned: u64,
    /// Open loop: requests due within the window and not sent. If any, latencies are better than the truth.
    pub requests_due_unsent: u64,
    /// Answers of 503 or 429.
    pub answers_throttled: u64,
    /// Other answers of 5xx.
    pub answers_server_error: u64,
    /// Connections that could not be opened or broke.
    pub connection_errors: u64,
    /// Times a body was sent again.
    pub retries: u64,
    /// Times a connection was opened, warm-up included.
    pub connects: u64,
    /// Time all connections together waited before sending again.
    pub backed_off_seconds: f64,
    /// Time all connections together waited for others that were too far behind on the synthetic clock.
    pub waited_for_others_seconds: f64,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Quantiles {
    /// How many.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90 of 100 are at most this.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1000.
    pub p999: u64,
    /// The worst.
    pub max: u64,
}

impl Quantiles {
    /// Of a histogram; `None` if it is empty.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile);
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
        })
    }
}

/// The generator's part of the measured window.
#[derive(Debug, Clone, Serialize)]
pub struct Generator {
    /// Its CPU time.
    pub cpu_seconds: f64,
    /// For a million acknowledged samples.
    pub cpu_seconds_per_million_samples: Option<f64>,
    /// CPU time for a second of the window: 1 is one core kept busy.
    pub cores: f64,
    /// Bodies that were encoded when they were due, in warm-up and window.
    pub bodies_encoded_when_due: u64,
}

/// The server's part of the measured window, from `/proc`.
#[derive(Debug, Clone, Serialize)]
pub struct Server {
    /// Its process id.
    pub pid: u32,
    /// Set if it ended during the flood: then the numbers below are missing.
    pub error: Option<String>,
    /// Its CPU time, user and system, `--settle` included.
    pub cpu_seconds: Option<f64>,
    /// For a million acknowledged samples.
    pub cpu_seconds_per_million_samples: Option<f64>,
    /// The inverse: samples, floats and native histograms, acknowledged for a second of its CPU time.
    pub samples_per_cpu_second: Option<f64>,
    /// CPU time for a second of the window: 1 is one core kept busy.
    pub cores: Option<f64>,
    /// Resident memory before the warm-up.
    pub rss_before_bytes: Option<u64>,
    /// At the end.
    pub rss_bytes: Option<u64>,
    /// The most it ever was, since the process started.
    pub rss_peak_bytes: Option<u64>,
    /// At the end, for each series of the flood.
    pub rss_bytes_per_series: Option<f64>,
    /// The growth since before the warm-up, for each series of the flood.
    pub rss_growth_bytes_per_series: Option<f64>,
}

/// What `ended_by` says.
#[must_use]
pub fn ended_by(reason: Option<&Stop>, counted_out: bool) -> String {
    match reason {
        None if counted_out => "count".to_owned(),
        None => "duration".to_owned(),
        Some(Stop::Clock) => "the synthetic clock reached 5 minutes from now; \
            use a shorter --interval, an earlier --start-time or more --series"
            .to_owned(),
        Some(Stop::BodiesUsedUp) => "the pre-encoded bodies were used up; \
            raise --preencode-bytes or use another --refill"
            .to_owned(),
        Some(Stop::GaveUp(last)) => {
            format!("a request had no final answer within --give-up-after; at last: {last}")
        }
        Some(Stop::ServerGone(error) | Stop::Failed(error)) => error.clone(),
    }
}

impl Report {
    /// The report as indented JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The report as a table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::default();
        let (flood, measured) = (&self.flood, &self.measured);
        table.row(
            "flood",
            format_args!(
                "{} series, {} connections, remote write {}, {}, {} samples a request at most",
                thousands(u64::from(flood.series)),
                flood.connections,
                match flood.protocol {
                    Protocol::V1 => "1.0",
                    Protocol::V2 => "2.0",
                },
                flood.compression.content_encoding(),
                flood.samples_per_request,
            ),
        );
        table.row(
            "load",
            match flood.rate {
                None => "closed loop, as fast as it goes".to_owned(),
                Some(rate) => format!("open loop, {} samples/s", thousands(rate)),
            },
        );
        table.row(
            "clock",
            format_args!(
                "from {} in steps of {} ms{}{}",
                utc_text(flood.start_ms),
                flood.interval_ms,
                match flood.churn_per_minute > 0.0 {
                    true => format!(
                        ", {} % of the series replaced a minute",
                        flood.churn_per_minute * 100.0
                    ),
                    false => String::new(),
                },
                match flood.value_period_rounds {
                    Some(rounds) => format!(", values repeat every {rounds} steps"),
                    None => String::new(),
                },
            ),
        );
        table.row("bodies", format_args!(
            "{} rounds pre-encoded, {} MB in {:.1} s; a sample is {:.0} bytes, {:.1} on the wire",
            self.preencoded.rounds,
            self.preencoded.bytes / 1_000_000,
            self.preencoded.seconds,
            self.preencoded.bytes_per_sample.raw,
            self.preencoded.bytes_per_sample.wire,
        ));
        table.row(
            "warm-up",
            format_args!(
                "{} samples in {:.2} s{}",
                thousands(self.warmup.samples_acknowledged),
                self.warmup.seconds,
                match self.warmup.server_cpu_us_per_series {
                    Some(us) => format!(", {us:.1} us of server CPU a series"),
                    None => String::new(),
                },
            ),
        );
        table.row(
            "acknowledged",
            format_args!(
                "{} samples, {} requests, {:.1} MB in {:.2} s",
                thousands(measured.samples_acknowledged),
                thousands(measured.requests_acknowledged),
                measured.bytes_acknowledged as f64 / 1e6,
                measured.seconds,
            ),
        );
        if measured.histograms_acknowledged + measured.exemplars_acknowledged > 0 {
            table.row(
                "of which",
                format_args!(
                    "{} floats, {} histograms; and {} exemplars",
                    thousands(measured.floats_acknowledged),
                    thousands(measured.histograms_acknowledged),
                    thousands(measured.exemplars_acknowledged),
                ),
            );
        }
        table.row("rate", format_args!("{} samples/s", rounded(measured.samples_per_second)));
        table.quantiles("latency", self.latency_us.as_ref());
        if flood.rate.is_some() {
            table.quantiles("sent late by", self.lateness_us.as_ref());
        }
        self.troubles(&mut table);
        table.row(
            "generator",
            format_args!(
                "{:.2} CPU s ({:.2} cores){}",
                self.generator.cpu_seconds,
                self.generator.cores,
                match self.generator.cpu_seconds_per_million_samples {
                    Some(cost) => format!(", {cost:.3} CPU s per million samples"),
                    None => String::new(),
                },
            ),
        );
        self.server_rows(&mut table);
        table.row("ended by", &self.ended_by);
        table.text
    }

    fn troubles(&self, table: &mut Table) {
        let measured = &self.measured;
        for (name, count, what) in [
            ("busy", measured.answers_throttled, "answers of 503 or 429"),
            ("errors", measured.answers_server_error, "other answers of 5xx"),
            ("connections", measured.connection_errors, "connections refused or broken"),
            ("retries", measured.retries, "bodies sent again"),
            ("REFUSED", measured.requests_refused, "requests refused for good"),
            ("UNCONFIRMED", measured.requests_unconfirmed, "requests not confirmed in full"),
            ("abandoned", measured.requests_abandoned, "requests without a final answer"),
            (
                "UNSENT",
                measured.requests_due_unsent,
                "requests were due and not sent: the true latencies are worse than those above",
            ),
        ] {
            if count > 0 {
                table.row(name, format_args!("{} {what}", thousands(count)));
            }
        }
        for message in &self.messages {
            table.row("message", message);
        }
    }

    fn server_rows(&self, table: &mut Table) {
        let Some(server) = &self.server else { return };
        if let Some(error) = &server.error {
            table.row("server", error);
        }
        let cost = server.cpu_seconds_per_million_samples.zip(server.samples_per_cpu_second);
        if let Some(((cpu, cores), (cost, inverse))) =
            server.cpu_seconds.zip(server.cores).zip(cost)
        {
            table.row("server", format_args!("{cpu:.2} CPU s ({cores:.2} cores)"));
            table.row("", format_args!("{cost:.3} CPU s per million samples"));
            table.row("", format_args!("{} samples per CPU s", rounded(inverse)));
        }
        if let Some((now, peak)) = server.rss_bytes.zip(server.rss_peak_bytes) {
            table.row("memory", format_args!(
                "{:.1} MB resident, {:.1} MB at its peak, {:.0} bytes a series, {:.0} since before the warm-up",
                now as f64 / 1e6,
                peak as f64 / 1e6,
                server.rss_bytes_per_series.unwrap_or(f64::NAN),
                server.rss_growth_bytes_per_series.unwrap_or(f64::NAN),
            ));
        }
    }
}

#[derive(Default)]
struct Table {
    text: String,
}

impl Table {
    fn row(&mut self, name: &str, what: impl std::fmt::Display) {
        let _infallible = writeln!(self.text, "{name:<13} {what}");
    }

    fn quantiles(&mut self, name: &str, quantiles: Option<&Quantiles>) {
        match quantiles {
            None => self.row(name, "nothing was acknowledged"),
            Some(of) => {
                let ms = |us: u64| us as f64 / 1000.0;
                self.row(
                    name,
                    format_args!(
                        "p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
                        ms(of.p50),
                        ms(of.p90),
                        ms(of.p99),
                        ms(of.p999),
                        ms(of.max),
                    ),
                );
            }
        }
    }
}

/// `1234567` as `1,234,567`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate without its fraction.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
pub fn rounded(number: f64) -> String {
    thousands(number.round() as u64)
}
