//! The load generator: series, request bodies, the flood, its ledger, the check of what was acknowledged, and what queries cost.

pub mod body;
pub mod cli;
pub mod flood;
pub mod http;
pub mod ledger;
pub mod population;
pub mod process;
pub mod protobuf;
pub mod quantity;
pub mod query;
pub mod read;
pub mod sink;
pub mod timeline;
pub mod verify;
