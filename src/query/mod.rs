//! PromQL: text and samples in, value out. No runtime, no file, no clock.

pub mod ast;
