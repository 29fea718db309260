//! Federation in the text format, version 0.0.4.
//!
//! ```text
//! # TYPE up untyped
//! up{instance="a:1",job="a"} 1 1700000000000      the sample's own time; external labels behind the series' own
//! # TYPE h histogram
//! h_bucket{instance="",le="1"} 2 1700000000000
//! ```
//! Source: `expfmt/text_create.go` of Prometheus's common library.

use super::exposition::{Exposed, External, Value, classic_buckets};
use super::format::{Escaping, is_legacy_metric_name};
use crate::model::TimestampMs;
use crate::server::json::number;
use crate::server::json::slices::Slices;
use crate::wire::metric_family::MetricType;

/// The text, series by series.
pub struct Text {
    exposed: std::vec::IntoIter<Exposed>,
    external: External,
    escaping: Escaping,
    /// The family whose lines are being written.
    family: Option<(String, MetricType)>,
}

impl Text {
    /// The text of these series, which are in order of their names.
    pub fn new(
        exposed: std::vec::IntoIter<Exposed>,
        external: External,
        escaping: Escaping,
    ) -> Self {
        Self { exposed, external, escaping, family: None }
    }

    fn series(&mut self, out: &mut Vec<u8>, exposed: &Exposed) {
        let (name, kind) = (exposed.name(), exposed.kind());
        let escaped = self.escaping.escape(name);
        if self.family.as_ref().is_none_or(|family| (family.0.as_str(), family.1) != (name, kind)) {
            out.extend_from_slice(b"# TYPE ");
            push_name(out, &escaped);
            // The format does not know of histograms of gauges.
            let kind_text: &[u8] = match kind {
                MetricType::Untyped => b" untyped\n",
                _ => b" histogram\n",
            };
            out.extend_from_slice(kind_text);
            self.family = Some((name.to_owned(), kind));
        }
        match &exposed.value {
            Value::Float(v) => self.line(out, exposed, &escaped, None, *v),
            Value::Histogram(h) => {
                let name = |suffix: &str| format!("{escaped}{suffix}");
                let (bucket, h_ref) = (name("_bucket"), h.as_ref());
                for (bound, count) in classic_buckets(h) {
                    self.line(out, exposed, &bucket, Some(bound), count);
                }
                self.line(out, exposed, &bucket, Some(f64::INFINITY), h_ref.count);
                self.line(out, exposed, &name("_sum"), None, h_ref.sum);
                self.line(out, exposed, &name("_count"), None, h_ref.count);
            }
        }
    }

    /// A line; of a bucket it has its upper bound.
    fn line(&self, out: &mut Vec<u8>, exposed: &Exposed, name: &str, bound: Option<f64>, v: f64) {
        let mut before = b'{';
        if is_legacy_metric_name(name) {
            out.extend_from_slice(name.as_bytes());
        } else {
            out.push(before);
            push_name(out, name);
            before = b',';
        }
        for (name, value) in self.external.beside(&exposed.labels) {
            out.push(before);
            before = b',';
            push_name(out, &self.escaping.escape(name));
            out.push(b'=');
            push_quoted(out, value);
        }
        if let Some(bound) = bound {
            out.push(before);
            before = b',';
            out.extend_from_slice(b"le=\"");
            number::general(out, bound);
            out.push(b'"');
        }
        if before == b',' {
            out.push(b'}');
        }
        out.push(b' ');
        number::general(out, v);
        out.push(b' ');
        let TimestampMs(t) = exposed.t;
        number::signed(out, t);
        out.push(b'\n');
    }
}

impl Slices for Text {
    fn fill(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        let full_at = out.len().saturating_add(enough);
        while let Some(exposed) = self.exposed.next() {
            self.series(out, &exposed);
            if out.len() >= full_at {
                return true;
            }
        }
        false
    }
}

/// Appends a name, in quotes if it has to have some.
fn push_name(out: &mut Vec<u8>, name: &str) {
    if is_legacy_metric_name(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        push_quoted(out, name);
    }
}

fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}
