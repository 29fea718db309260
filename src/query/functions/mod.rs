//! What the language's functions compute.
//!
//! Functions over windows of samples are [`Kernel`](super::window::Kernel)s, run where the samples are; functions over
//! instant vectors change columns on the coordinator. Each is exactly Prometheus's (`promql/functions.go`).

pub(super) mod date;
pub(super) mod extended;
pub(super) mod histograms;
pub(super) mod many;
pub(super) mod maths;
pub(super) mod over_time;
pub(super) mod rate;
pub(super) mod regression;
pub(super) mod sliding_sum;
pub(super) mod starts;
