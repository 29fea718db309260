//! Prometheus's text format 0.0.4: what a scrape of `/metrics` gets.
//!
//! ```text
//! # HELP name text         backslash and line feed escaped
//! # TYPE name counter      or gauge, histogram, summary
//! name{label="value"} 1.5  in values also the quote escaped
//! ```
//! One family's lines stand together; that each name comes once is the caller's to keep, and asserted.
//! Source: Prometheus, "Exposition formats".

use std::collections::HashSet;

use crate::server::json::number;

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of metric a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, and begins at zero when the process starts.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts of observations up to certain bounds.
    Histogram,
    /// Quantiles that were computed here.
    Summary,
}

/// An exposition being written.
#[derive(Debug, Default)]
pub struct Exposition {
    out: Vec<u8>,
    names: HashSet<&'static str>,
}

/// Labels of one line.
pub type Pairs<'a> = &'a [(&'a str, &'a str)];

/// The lines of one family.
#[derive(Debug)]
pub struct Family<'a> {
    out: &'a mut Vec<u8>,
    name: &'static str,
}

/// Observations counted by upper bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Buckets {
    /// Each bound with the number of observations up to it and above the one before.
    pub counts: Vec<(f64, u64)>,
    /// Observations above the last bound.
    pub above: u64,
    /// The sum of all observations.
    pub sum: f64,
}

impl Exposition {
    /// Begins a family. `help` is a sentence.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        assert!(self.names.insert(name), "metric family {name} is exposed twice");
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.out
            .extend_from_slice(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n").as_bytes());
        Family { out: &mut self.out, name }
    }

    /// A family of one counter without labels.
    pub fn counter(&mut self, name: &'static str, help: &str, n: u64) {
        self.family(name, Kind::Counter, help).count(&[], n);
    }

    /// A family of one gauge without labels.
    pub fn gauge(&mut self, name: &'static str, help: &str, v: f64) {
        self.family(name, Kind::Gauge, help).value(&[], v);
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

impl Family<'_> {
    /// One line.
    pub fn value(&mut self, pairs: Pairs<'_>, v: f64) {
        self.line("", pairs, None, v);
    }

    /// One line with a whole number.
    pub fn count(&mut self, pairs: Pairs<'_>, n: u64) {
        self.value(pairs, n as f64);
    }

    /// The lines of one histogram: a bucket a bound and one without, sum and count.
    pub fn histogram(&mut self, pairs: Pairs<'_>, buckets: &Buckets) {
        let mut total = 0u64;
        for (bound, count) in &buckets.counts {
            total += count;
            self.line("_bucket", pairs, Some(("le", *bound)), total as f64);
        }
        total += buckets.above;
        self.line("_bucket", pairs, Some(("le", f64::INFINITY)), total as f64);
        self.line("_sum", pairs, None, buckets.sum);
        self.line("_count", pairs, None, total as f64);
    }

    /// The lines of one summary: a line a quantile, sum and count.
    pub fn summary(&mut self, pairs: Pairs<'_>, quantiles: &[(f64, f64)], sum: f64, count: u64) {
        for (quantile, v) in quantiles {
            self.line("", pairs, Some(("quantile", *quantile)), *v);
        }
        self.line("_sum", pairs, None, sum);
        self.line("_count", pairs, None, count as f64);
    }

    fn line(&mut self, suffix: &str, pairs: Pairs<'_>, last: Option<(&str, f64)>, v: f64) {
        self.out.extend_from_slice(self.name.as_bytes());
        self.out.extend_from_slice(suffix.as_bytes());
        let mut before = b'{';
        for (name, value) in pairs {
            self.out.push(before);
            before = b',';
            self.out.extend_from_slice(format!("{name}=\"{}\"", escaped(value)).as_bytes());
        }
        if let Some((name, bound)) = last {
            self.out.push(before);
            before = b',';
            self.out.extend_from_slice(name.as_bytes());
            self.out.push(b'=');
            bound_value(self.out, bound);
        }
        if before == b',' {
            self.out.push(b'}');
        }
        self.out.push(b' ');
        number::bare_value(self.out, v);
        self.out.push(b'\n');
    }
}

/// A bound as the value of a label. It is compared as text, so it must be Go's: with an exponent from a million on.
fn bound_value(out: &mut Vec<u8>, bound: f64) {
    let text = format!("{bound:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if bound >= 1e6 && bound.is_finite() => {
            out.extend_from_slice(format!("\"{digits}e+{exponent:0>2}\"").as_bytes());
        }
        _ => number::value(out, bound),
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // golden
    fn an_exposition_has_these_lines() {
        let mut exposition = Exposition::default();
        exposition.counter("a_total", "Counts \\ a\nb.", 7);
        let mut family = exposition.family("h_seconds", Kind::Histogram, "Times.");
        let buckets = Buckets { counts: vec![(0.1, 1), (0.5, 2)], above: 1, sum: 2.25 };
        family.histogram(&[("handler", "/x\"\\\n")], &buckets);
        let mut family = exposition.family("s_seconds", Kind::Summary, "Times.");
        family.summary(&[], &[(0.5, 0.25), (0.99, f64::NAN)], 1.5, 3);
        assert_eq!(
            String::from_utf8(exposition.finish()).unwrap(),
            r##"# HELP a_total Counts \\ a\nb.
# TYPE a_total counter
a_total 7
# HELP h_seconds Times.
# TYPE h_seconds histogram
h_seconds_bucket{handler="/x\"\\\n",le="0.1"} 1
h_seconds_bucket{handler="/x\"\\\n",le="0.5"} 3
h_seconds_bucket{handler="/x\"\\\n",le="+Inf"} 4
h_seconds_sum{handler="/x\"\\\n"} 2.25
h_seconds_count{handler="/x\"\\\n"} 4
# HELP s_seconds Times.
# TYPE s_seconds summary
s_seconds{quantile="0.5"} 0.25
s_seconds{quantile="0.99"} NaN
s_seconds_sum 1.5
s_seconds_count 3
"##
        );
    }

    #[test]
    fn a_bound_is_spelled_as_go_spells_it() {
        let spelled = |bound| {
            let mut out = Vec::new();
            bound_value(&mut out, bound);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(spelled(409_600.0), "\"409600\"");
        assert_eq!(spelled(1_638_400.0), "\"1.6384e+06\"");
        assert_eq!(spelled(1e10), "\"1e+10\"");
        assert_eq!(spelled(f64::INFINITY), "\"+Inf\"");
    }

    #[test]
    #[should_panic(expected = "exposed twice")]
    fn a_family_comes_once() {
        let mut exposition = Exposition::default();
        exposition.gauge("a", "A.", 1.0);
        exposition.gauge("a", "A.", 2.0);
    }
}
