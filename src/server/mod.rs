//! HTTP: the only room with status codes and JSON.

pub mod admission;
pub mod body;
pub mod byte_size;
pub mod cli;
pub mod compression;
pub mod cors;
pub mod duration;
pub mod form;
pub mod json;
pub mod metrics;
pub mod params;
pub mod refusal_text;
pub mod rfc3339;
pub mod route;
pub mod version;

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
