//! The load generator: series, request bodies, the flood, its ledger, and the check of what was acknowledged.

pub mod body;
pub mod population;
pub mod timeline;
