//! Native histograms in answers.
//!
//! ```text
//! {"count":"3","sum":"1.5","buckets":[[boundaries,"lower","upper","count"],…]}     no buckets if all are empty
//! boundaries   0 the upper bound belongs to the bucket, 1 the lower one, 2 neither, 3 both
//! ```
//! Source: `util/jsonutil/marshal.go`, Prometheus 3.14.

use super::number;
use crate::model::TimestampMs;
use crate::query::float_histogram::FloatHistogram;

/// Appends a histogram at an instant.
pub(super) fn point(out: &mut Vec<u8>, t: TimestampMs, h: &FloatHistogram) {
    out.push(b'[');
    number::timestamp(out, t);
    out.push(b',');
    histogram(out, h);
    out.push(b']');
}

/// Appends a histogram.
fn histogram(out: &mut Vec<u8>, h: &FloatHistogram) {
    out.extend_from_slice(b"{\"count\":");
    number::value(out, h.count);
    out.extend_from_slice(b",\"sum\":");
    number::value(out, h.sum);
    let mut any = false;
    for bucket in h.buckets().filter(|bucket| bucket.count != 0.0) {
        let opening: &[u8] = if any { b",[" } else { b",\"buckets\":[[" };
        out.extend_from_slice(opening);
        any = true;
        out.push(match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => b'0',
            (true, false) => b'1',
            (false, false) => b'2',
            (true, true) => b'3',
        });
        for v in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            number::value(out, v);
        }
        out.push(b']');
    }
    if any {
        out.push(b']');
    }
    out.push(b'}');
}
