//! Histograms in messages and results.

use std::fmt;

use super::{Bucket, FloatHistogram};
use crate::query::number::format_g;

/// As upstream writes it: `{count:3, sum:5, [-1,1]:2, (1,2]:1}`, without the buckets that have no observations.
/// Source: `FloatHistogram.String`.
impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", format_g(self.count), format_g(self.sum))?;
        let negative = self.negative.iter().rev().map(|(i, n)| self.bucket(true, *i, *n));
        let zero = (!self.has_custom_buckets()).then(|| self.zero_bucket());
        let positive = self.positive.iter().map(|(i, n)| self.bucket(false, *i, *n));
        let all = negative.chain(zero).chain(positive);
        for bucket in all.filter(|bucket| bucket.count != 0.0) {
            write!(f, ", {bucket}")?;
        }
        f.write_str("}")
    }
}

/// As an interval and its count: `(1,2]:3`.
impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        let [lower, upper, count] = [self.lower, self.upper, self.count].map(format_g);
        write!(f, "{open}{lower},{upper}{close}:{count}")
    }
}
