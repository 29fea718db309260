//! The binary as its users run it: against a receiver in this process that can misbehave, and against Prometheus.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test without its world has failed"
)]

mod flood;
mod prometheus;
mod query;
mod receiver;
mod run;
mod verify;
