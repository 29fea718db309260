//! Schemas: how wide the buckets of a histogram are.
//!
//! An exponential schema n cuts each power of two into 2^n buckets: the larger, the finer. Prometheus stores -4 to 8 and
//! keeps -9 to 52 for what may come; what is finer than 8 can be reduced to it. -53 says that the histogram brings its
//! own bounds.

/// The coarsest exponential schema that is stored.
pub const MIN: i32 = -4;
/// The finest exponential schema that is stored.
pub const MAX: i32 = 8;
/// The coarsest exponential schema that is known.
pub const MIN_KNOWN: i32 = -9;
/// The finest exponential schema that is known.
pub const MAX_KNOWN: i32 = 52;
/// The histogram brings its own bounds.
pub const CUSTOM_BUCKETS: i32 = -53;

/// An exponential schema that is stored?
#[must_use]
pub fn is_exponential(schema: i32) -> bool {
    (MIN..=MAX).contains(&schema)
}

/// A schema that is known, whether it is stored as it is or not?
#[must_use]
pub fn is_known(schema: i32) -> bool {
    schema == CUSTOM_BUCKETS || (MIN_KNOWN..=MAX_KNOWN).contains(&schema)
}

/// An exponential schema that is finer than those that are stored, and known?
#[must_use]
pub fn is_too_fine(schema: i32) -> bool {
    (MAX + 1..=MAX_KNOWN).contains(&schema)
}
