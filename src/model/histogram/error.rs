//! What can be wrong with a histogram, in the words that Prometheus has for it (`model/histogram/generic.go`).

use super::schema::{CUSTOM_BUCKETS, MAX, MAX_KNOWN, MIN, MIN_KNOWN};

/// Why a histogram is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// Spans, buckets or bounds of one part are wrong.
    #[error("{part}: {fault}")]
    Part {
        /// Of which.
        part: Part,
        /// What.
        fault: Fault,
    },
    /// Custom buckets beside a zero bucket with observations.
    #[error("custom buckets: must have zero count of 0")]
    CustomZeroCount,
    /// Custom buckets beside a zero bucket.
    #[error("custom buckets: must have zero threshold of 0")]
    CustomZeroThreshold,
    /// Custom buckets are positive ones.
    #[error("custom buckets: must not have negative spans")]
    CustomNegativeSpans,
    /// Custom buckets are positive ones.
    #[error("custom buckets: must not have negative buckets")]
    CustomNegativeBuckets,
    /// Bounds where the schema gives them.
    #[error("histogram with exponential schema must not have custom bounds")]
    ExponentialBounds,
    /// Less than nothing in the zero bucket.
    #[error(
        "zero bucket has observation count of {}: histogram has a bucket whose observation count is negative",
        Observed::Float(*.0)
    )]
    NegativeZeroCount(f64),
    /// Less than nothing.
    #[error("observation count is  {}: histogram's observation count is negative", Observed::Float(*.0))]
    NegativeCount(f64),
    /// The buckets have more or fewer observations than there are.
    #[error(
        "{in_buckets} observations found in buckets, but the Count field is {count}: histogram's observation count \
         should equal the number of observations found in the buckets (in absence of NaN)"
    )]
    CountMismatch {
        /// How many the buckets have.
        in_buckets: u64,
        /// How many there are.
        count: u64,
    },
    /// The buckets have more observations than there are, NaN included.
    #[error(
        "{in_buckets} observations found in buckets, but the Count field is {count}: histogram's observation count \
         should be at least the number of observations found in the buckets"
    )]
    CountTooSmall {
        /// How many the buckets have.
        in_buckets: u64,
        /// How many there are.
        count: u64,
    },
    /// A schema that cannot be stored.
    #[error(
        "histogram has an invalid schema, which must be between {MIN} and {MAX} for exponential buckets, or \
         {CUSTOM_BUCKETS} for custom buckets, got schema {0}"
    )]
    InvalidSchema(i32),
    /// A schema that is not even kept for what may come.
    #[error(
        "histogram has an unknown schema, which must be between {MIN_KNOWN} and {MAX_KNOWN} for exponential buckets, \
         or {CUSTOM_BUCKETS} for custom buckets, got schema {0}"
    )]
    UnknownSchema(i32),
}

/// A part of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The buckets above zero.
    Positive,
    /// The buckets below zero.
    Negative,
    /// Buckets with bounds of their own.
    Custom,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Positive => "positive side",
            Self::Negative => "negative side",
            Self::Custom => "custom buckets",
        })
    }
}

/// What is wrong with a part.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A span would begin before the one before it ends.
    #[error(
        "span number {number} with offset {offset}: histogram has a span whose offset is negative"
    )]
    NegativeOffset {
        /// Which span, counted from 1.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// Not as many buckets as the spans say.
    #[error(
        "spans need {needed} buckets, have {have} buckets: histogram spans specify different number of buckets than \
         provided"
    )]
    BucketTotal {
        /// How many the spans say.
        needed: u64,
        /// How many there are.
        have: usize,
    },
    /// Fewer buckets than the spans say, where they are put together.
    #[error(
        "have {have} buckets but spans need more: histogram spans specify different number of buckets than provided"
    )]
    TooFewBuckets {
        /// How many there are.
        have: usize,
    },
    /// Less than nothing in a bucket.
    #[error(
        "bucket number {number} has observation count of {count}: histogram has a bucket whose observation count is \
         negative"
    )]
    NegativeBucket {
        /// Which bucket, counted from 1.
        number: usize,
        /// How many observations it has.
        count: Observed,
    },
    /// A bound that is no number.
    #[error("histogram custom bounds must not be NaN")]
    BoundNan,
    /// Bounds that do not rise.
    #[error(
        "previous bound is {} and current is {}: histogram custom bounds must be in strictly increasing order",
        Fixed(*.before), Fixed(*.bound)
    )]
    BoundOrder {
        /// A bound.
        before: f64,
        /// The one behind it.
        bound: f64,
    },
    /// The bucket up to infinity has no bound.
    #[error(
        "last +Inf bound must not be explicitly defined: histogram custom bounds must be finite"
    )]
    BoundInfinite,
    /// More buckets than bounds.
    #[error(
        "only {bounds} custom bounds defined which is insufficient to cover total span length of {covered}: histogram \
         custom bounds are too few"
    )]
    TooFewBounds {
        /// How many bounds there are.
        bounds: usize,
        /// How many buckets the spans reach over.
        covered: u64,
    },
}

/// A bucket's count in a message, as Go's `%v` writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observed {
    /// Of an integer histogram.
    Integer(i64),
    /// Of a float histogram.
    Float(f64),
}

impl From<i64> for Observed {
    fn from(count: i64) -> Self {
        Self::Integer(count)
    }
}

impl From<f64> for Observed {
    fn from(count: f64) -> Self {
        Self::Float(count)
    }
}

impl std::fmt::Display for Observed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Integer(count) => write!(f, "{count}"),
            Self::Float(count) if count == f64::NEG_INFINITY => f.write_str("-Inf"),
            Self::Float(count) => {
                // Exponents below -4 and from 21 are written out, with two digits at least.
                let shortest = format!("{count:e}");
                let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
                match exponent.parse::<i32>() {
                    Ok(exponent) if !(-4..21).contains(&exponent) => {
                        let sign = if exponent < 0 { '-' } else { '+' };
                        write!(f, "{digits}e{sign}{:02}", exponent.abs())
                    }
                    _ => write!(f, "{count}"),
                }
            }
        }
    }
}

/// A bound as Go's `%f` writes it.
struct Fixed(f64);

impl std::fmt::Display for Fixed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            bound => write!(f, "{bound:.6}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_as_go_writes_them() {
        let check = |count: f64, text: &str| assert_eq!(Observed::Float(count).to_string(), text);
        check(-1.5, "-1.5");
        check(-1e20, "-100000000000000000000");
        check(-1.25e21, "-1.25e+21");
        check(-1e-4, "-0.0001");
        check(-1e-5, "-1e-05");
        check(-1e-300, "-1e-300");
        check(f64::NEG_INFINITY, "-Inf");
        assert_eq!(Observed::Integer(-7).to_string(), "-7");
    }
}
