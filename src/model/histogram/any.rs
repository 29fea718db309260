//! A histogram of either kind, as a series may have it: whole observations, or what arithmetic makes of them.

#[cfg(doc)]
use super::Histogram;
use super::{FloatHistogram, HistogramRef, IntHistogram, ResetHint};

/// A histogram whose parts lie elsewhere, of either kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AnyHistogramRef<'a> {
    /// Whole observations.
    Int(HistogramRef<'a, u64>),
    /// What arithmetic makes of observations.
    Float(HistogramRef<'a, f64>),
}

impl AnyHistogramRef<'_> {
    /// Is it the staleness marker?
    #[must_use]
    pub fn is_stale(self) -> bool {
        match self {
            Self::Int(h) => h.is_stale(),
            Self::Float(h) => h.is_stale(),
        }
    }

    /// What is known about a reset before it.
    #[must_use]
    pub fn reset_hint(self) -> ResetHint {
        match self {
            Self::Int(h) => h.reset_hint,
            Self::Float(h) => h.reset_hint,
        }
    }

    /// Is a sample of the one a repetition of a sample of the other? See [`HistogramRef::is_same_sample`]; staleness markers
    /// of both kinds are the same.
    #[must_use]
    pub fn is_same_sample(self, other: AnyHistogramRef<'_>) -> bool {
        match (self, other) {
            (Self::Int(one), AnyHistogramRef::Int(other)) => one.is_same_sample(other),
            (Self::Float(one), AnyHistogramRef::Float(other)) => one.is_same_sample(other),
            _ => self.is_stale() && other.is_stale(),
        }
    }

    /// A copy to keep.
    #[must_use]
    pub fn to_histogram(self) -> AnyHistogram {
        match self {
            Self::Int(h) => AnyHistogram::Int(h.to_histogram()),
            Self::Float(h) => AnyHistogram::Float(h.to_histogram()),
        }
    }
}

/// A histogram to keep, of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyHistogram {
    /// Whole observations.
    Int(IntHistogram),
    /// What arithmetic makes of observations.
    Float(FloatHistogram),
}

impl AnyHistogram {
    /// Its parts.
    #[must_use]
    pub fn as_ref(&self) -> AnyHistogramRef<'_> {
        match self {
            Self::Int(h) => AnyHistogramRef::Int(h.as_ref()),
            Self::Float(h) => AnyHistogramRef::Float(h.as_ref()),
        }
    }

    /// Forgets what is known about a reset before it; see [`Histogram::forget_reset`].
    pub fn forget_reset(&mut self) {
        match self {
            Self::Int(h) => h.forget_reset(),
            Self::Float(h) => h.forget_reset(),
        }
    }

    /// Bytes of memory that it holds beside its own; see [`Histogram::heap_bytes`].
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Int(h) => h.heap_bytes(),
            Self::Float(h) => h.heap_bytes(),
        }
    }
}
