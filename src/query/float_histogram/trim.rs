//! Cutting off what is above or below a bound: the operators `</` and `>/`. Source: `TrimBuckets`.

use super::{Bucket, FloatHistogram};

/// Which observations stay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Below,
    Above,
}

impl FloatHistogram {
    /// Keeps the observations up to `bound`: `h </ bound`. If that cuts anything, count and sum are estimated anew.
    pub fn trim_upper(&mut self, bound: f64) {
        self.trim(bound, Keep::Below);
    }

    /// Keeps the observations from `bound` on: `h >/ bound`. If that cuts anything, count and sum are estimated anew.
    pub fn trim_lower(&mut self, bound: f64) {
        self.trim(bound, Keep::Above);
    }

    fn trim(&mut self, bound: f64, keep: Keep) {
        let (mut count, mut sum) = (0.0, 0.0);
        let mut is_cut = false;
        let mut has = [false; 2];
        for (negative, has) in [false, true].into_iter().zip(&mut has) {
            let shape = if negative { &self.negative } else { &self.positive };
            let mut kept = Vec::with_capacity(shape.len());
            for (index, n) in shape {
                if *n == 0.0 {
                    kept.push((*index, *n));
                    continue;
                }
                *has = true;
                let bucket = self.bucket(negative, *index, *n);
                let part = self.part(&bucket, bound, keep, negative);
                count += part.count;
                sum += part.middle * part.count;
                is_cut |= part.count != *n || part.is_cut;
                kept.push((*index, part.count));
            }
            if negative {
                self.negative = kept;
            } else {
                self.positive = kept;
            }
        }
        if self.zero_count > 0.0 && !self.has_custom_buckets() {
            let [has_positive, has_negative] = has;
            let mut zero = self.zero_bucket();
            match (has_negative, has_positive) {
                (true, false) => zero.upper = 0.0,
                (false, true) => zero.lower = 0.0,
                _ => {}
            }
            let (stays, middle) = zero_part(&zero, bound, keep);
            is_cut |= stays != self.zero_count;
            self.zero_count = stays;
            sum += middle * stays;
            count += stays;
        }
        if is_cut {
            self.count = count;
            self.sum = sum;
            self.compact();
        }
    }

    /// What stays of a bucket with observations.
    fn part(&self, bucket: &Bucket, bound: f64, keep: Keep, negative: bool) -> Part {
        let linear = self.has_custom_buckets();
        let (whole, some) = match keep {
            Keep::Below => (bucket.upper <= bound, bucket.lower < bound),
            Keep::Above => (bucket.lower >= bound, bucket.upper > bound),
        };
        if whole {
            let middle = middle(bucket.lower, bucket.upper, negative, linear);
            return Part { count: bucket.count, middle, is_cut: false };
        }
        if !some {
            return Part { count: 0.0, middle: 0.0, is_cut: true };
        }
        let (count, middle) = if bucket.lower == f64::NEG_INFINITY {
            part_from_infinity(bucket, bound, keep)
        } else if bucket.upper == f64::INFINITY {
            part_to_infinity(bucket, bound, keep)
        } else {
            let below = if bound <= bucket.lower {
                0.0
            } else if bound >= bucket.upper {
                bucket.count
            } else {
                bucket.count * bucket.fraction_below(bound, linear)
            };
            match keep {
                Keep::Below => (below, middle(bucket.lower, bound, negative, linear)),
                Keep::Above => {
                    (bucket.count - below, middle(bound, bucket.upper, negative, linear))
                }
            }
        };
        Part { count, middle, is_cut: false }
    }
}

/// What stays of a bucket.
struct Part {
    count: f64,
    /// About where the observations are.
    middle: f64,
    /// Was anything cut although the count may be the same?
    is_cut: bool,
}

/// Count and middle of what stays of a bucket without a lower bound. It is taken to begin at zero if it ends above that;
/// of any other, nothing can be said about where its observations are, and it goes or stays as a whole.
fn part_from_infinity(bucket: &Bucket, bound: f64, keep: Keep) -> (f64, f64) {
    let Bucket { lower, upper, count, .. } = *bucket;
    let ends_above_zero = upper > 0.0 && upper != f64::INFINITY;
    match keep {
        Keep::Below if bound >= upper => (count, 0.0),
        Keep::Below if bound > 0.0 && ends_above_zero => (count * bound / upper, bound / 2.0),
        Keep::Below if upper <= 0.0 => (count, bound),
        Keep::Above if bound <= lower => (count, 0.0),
        Keep::Above if bound >= 0.0 && upper > bound && ends_above_zero => {
            (count * (1.0 - bound / upper), f64::midpoint(bound, upper))
        }
        Keep::Below | Keep::Above => (0.0, 0.0),
    }
}

/// Likewise of one without an upper bound.
fn part_to_infinity(bucket: &Bucket, bound: f64, keep: Keep) -> (f64, f64) {
    match keep {
        Keep::Above if bound >= bucket.lower => (bucket.count, bound),
        Keep::Below | Keep::Above => (0.0, 0.0),
    }
}

/// Count and middle of what stays of the zero bucket.
fn zero_part(zero: &Bucket, bound: f64, keep: Keep) -> (f64, f64) {
    let Bucket { lower, upper, count, .. } = *zero;
    let whole = (count, f64::midpoint(lower, upper));
    match keep {
        Keep::Below if bound <= lower => (0.0, 0.0),
        Keep::Below if bound >= upper => whole,
        Keep::Below => (count * ((bound - lower) / (upper - lower)), f64::midpoint(lower, bound)),
        Keep::Above if bound <= lower => whole,
        Keep::Above if bound >= upper => (0.0, 0.0),
        Keep::Above => (count * ((upper - bound) / (upper - lower)), f64::midpoint(bound, upper)),
    }
}

/// About where observations between two bounds are.
fn middle(lower: f64, upper: f64, negative: bool, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) => {
            if upper > 0.0 {
                upper / 2.0
            } else {
                upper
            }
        }
        (false, true) => lower,
        (false, false) if linear => f64::midpoint(lower, upper),
        (false, false) => {
            let mean = (lower * upper).abs().sqrt();
            if negative { -mean } else { mean }
        }
    }
}
