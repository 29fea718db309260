//! One request that touches many cores: route, fan out, merge.

pub mod api;
