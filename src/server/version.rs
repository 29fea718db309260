//! Which versions this server gives itself.

/// Its own version.
pub const OWN: &str = env!("CARGO_PKG_VERSION");

/// The version that clients see which look for a Prometheus: that whose interfaces it has, and its own as build
/// metadata. Thanos reads it as a semantic version, and asks in an older way below 2.24.0.
pub const COMPATIBLE: &str = concat!("3.14.0+floodplain.", env!("CARGO_PKG_VERSION"));

/// The commit it was built from, if whoever built it said so in `FLOODPLAIN_REVISION`.
pub const REVISION: &str = match option_env!("FLOODPLAIN_REVISION") {
    Some(revision) => revision,
    None => "",
};

/// The day it was built, if whoever built it said so in `FLOODPLAIN_BUILD_DATE`.
pub const BUILD_DATE: &str = match option_env!("FLOODPLAIN_BUILD_DATE") {
    Some(date) => date,
    None => "",
};
