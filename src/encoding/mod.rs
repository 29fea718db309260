//! Room encoding.
