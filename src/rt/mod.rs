//! Room rt.
