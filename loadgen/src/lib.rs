//! The load generator: series, request bodies, the flood, its ledger, and the check of what was acknowledged.

pub mod body;
pub mod http;
pub mod population;
pub mod process;
pub mod quantity;
pub mod timeline;
