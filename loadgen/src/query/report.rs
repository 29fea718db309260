//! What queries cost: as a table for people, as JSON for programs.
//!
//! The JSON is this module's [`Report`], field by field. Its keys are stable: later versions may add some, but neither
//! rename nor remove any. What was not asked for or cannot be said is `null`.

use std::fmt::Write as _;

use serde::Serialize;

use super::asked::Cost;
use super::question::Times;
use crate::flood::report::thousands;
use crate::quantity::utc_text;

/// All queries.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of the generator.
    pub version: &'static str,
    /// Was every query answered, and alike? Decides the exit code.
    pub ok: bool,
    /// `instant` or `range`.
    pub kind: &'static str,
    /// The first step, in milliseconds since the epoch.
    pub start_ms: i64,
    /// The last.
    pub end_ms: i64,
    /// From one step to the next; `null` for an instant.
    pub step_ms: Option<i64>,
    /// How often each query was measured.
    pub runs: u32,
    /// One for each query.
    pub queries: Vec<Row>,
}

/// One query.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// As it was asked.
    pub query: String,
    /// The (series x step) points that it goes through, or without a selector those of the answer.
    pub points: u64,
    /// Are these points those of a selector?
    pub points_of_selector: bool,
    /// Do both servers answer the same? `null` with one server.
    pub agree: Option<bool>,
    /// Where they do not, or why one did not answer.
    pub difference: Option<String>,
    /// The first server's median by the second's.
    pub ratio: Option<f64>,
    /// One for each server.
    pub servers: Vec<Server>,
}

/// What a query cost one server.
#[derive(Debug, Clone, Serialize)]
pub struct Server {
    /// Its address.
    pub url: String,
    /// The middle time.
    pub median_seconds: f64,
    /// The shortest.
    pub min_seconds: f64,
    /// The longest.
    pub max_seconds: f64,
    /// CPU seconds of all runs.
    pub cpu_seconds: Option<f64>,
    /// CPU nanoseconds of a run for each point.
    pub cpu_ns_per_point: Option<f64>,
    /// Resident bytes before the runs.
    pub rss_before_bytes: Option<u64>,
    /// The most resident bytes during the runs.
    pub rss_peak_bytes: Option<u64>,
    /// Bytes of an answer.
    pub answer_bytes: u64,
}

impl Server {
    /// Sums up what the runs cost; `None` if there was none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "numbers for people")]
    pub fn new(
        url: String,
        costs: &[Cost],
        points: u64,
        (rss_before_bytes, rss_peak_bytes): (Option<u64>, Option<u64>),
    ) -> Option<Self> {
        let mut seconds: Vec<f64> = costs.iter().map(|cost| cost.took.as_secs_f64()).collect();
        seconds.sort_by(f64::total_cmp);
        let cpu = costs.iter().map(|cost| Some(cost.cpu?.as_secs_f64())).sum::<Option<f64>>();
        let all_points = points as f64 * costs.len() as f64;
        Some(Self {
            url,
            median_seconds: median(&seconds)?,
            min_seconds: *seconds.first()?,
            max_seconds: *seconds.last()?,
            cpu_seconds: cpu,
            cpu_ns_per_point: cpu.filter(|_| points > 0).map(|cpu| cpu * 1e9 / all_points),
            rss_before_bytes,
            rss_peak_bytes,
            answer_bytes: costs.last()?.bytes,
        })
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle)?;
    match sorted.len() % 2 {
        0 => Some(f64::midpoint(*sorted.get(middle.checked_sub(1)?)?, *upper)),
        _ => Some(*upper),
    }
}

impl Report {
    /// The report of `queries`, asked at `times`.
    #[must_use]
    pub fn new(times: Times, runs: u32, servers: usize, queries: Vec<Row>) -> Self {
        let (kind, start_ms, end_ms, step_ms) = match times {
            Times::Instant(time) => ("instant", time, time, None),
            Times::Range { start, end, step } => ("range", start, end, Some(step)),
        };
        let good = |row: &Row| row.servers.len() == servers && row.agree != Some(false);
        let ok = queries.iter().all(good);
        let version = env!("CARGO_PKG_VERSION");
        Self { version, ok, kind, start_ms, end_ms, step_ms, runs, queries }
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let times = match self.step_ms {
            None => format!("at {}", utc_text(self.end_ms)),
            Some(step) => format!(
                "from {} to {} in steps of {} s",
                utc_text(self.start_ms),
                utc_text(self.end_ms),
                step as f64 / 1e3
            ),
        };
        // Writing to a `String` does not fail.
        let _ = writeln!(text, "{} queries {times}, each {} times", self.queries.len(), self.runs);
        for row in &self.queries {
            row.table(&mut text);
        }
        text.truncate(text.trim_end().len());
        text
    }
}

impl Row {
    fn table(&self, text: &mut String) {
        let whose = if self.points_of_selector { "" } else { " in the answer" };
        let _ = writeln!(text, "\n{}", self.query);
        let _ = write!(text, "  {} points{whose}", thousands(self.points));
        if let Some(ratio) = self.ratio {
            let _ = write!(text, ", {ratio:.2} of the other's time");
        }
        let _ = match (self.agree, &self.difference) {
            (Some(true), _) => writeln!(text, ", answers agree"),
            (_, Some(difference)) => writeln!(text, "\n  DIFFERENT: {difference}"),
            _ => writeln!(text),
        };
        for server in &self.servers {
            server.table(text);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers for people")]
impl Server {
    fn table(&self, text: &mut String) {
        let _ = write!(
            text,
            "  {:<24} median {:>9.2} ms ({:.2} to {:.2})",
            self.url,
            self.median_seconds * 1e3,
            self.min_seconds * 1e3,
            self.max_seconds * 1e3
        );
        if let Some(ns) = self.cpu_ns_per_point {
            let _ = write!(text, "  {ns:>8.1} ns CPU/point");
        }
        if let (Some(before), Some(peak)) = (self.rss_before_bytes, self.rss_peak_bytes) {
            let (before, peak) = (before as f64 / 1e6, peak as f64 / 1e6);
            let _ = write!(text, "  {peak:>7.1} MB at most ({:+.1})", peak - before);
        }
        let _ = writeln!(text, "  {} bytes", thousands(self.answer_bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn figures_are_of_all_runs() {
        let cost = |ms, cpu| Cost {
            took: Duration::from_millis(ms),
            cpu: Some(Duration::from_millis(cpu)),
            bytes: 7,
        };
        let costs = [cost(30, 10), cost(10, 0), cost(20, 20)];
        let server = Server::new("u".to_owned(), &costs, 1000, (None, None)).unwrap();
        assert_eq!((server.median_seconds, server.min_seconds), (0.02, 0.01));
        assert_eq!(server.cpu_ns_per_point, Some(10_000.0));
        assert_eq!(median(&[1.0, 3.0]), Some(2.0));
        assert!(Server::new("u".to_owned(), &[], 1000, (None, None)).is_none());
    }
}
