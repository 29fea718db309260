//! One request that touches many cores: route, fan out, merge.
//!
//! Runs on the core that took the request, holds no data, and asks the shards by messages. Who speaks HTTP sees
//! [`api::Store`] and nothing behind it.

mod answering;
pub mod api;
pub mod cardinality;
pub mod evaluation;
pub mod gate;
mod gather;
mod in_order;
pub mod life;
mod merged_read;
pub mod reading_texts;
pub mod results;
pub mod route;
pub mod snapshot;
pub mod store;

pub use store::Coordinator;
