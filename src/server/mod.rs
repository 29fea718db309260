//! HTTP: the only room with status codes and JSON.

pub mod admission;
pub mod api_error;
pub mod body;
pub mod byte_size;
pub mod cli;
pub mod compression;
pub mod connection;
pub mod cors;
pub mod doctor;
pub mod form;
pub mod home;
pub mod json;
pub mod label_name;
pub mod metrics;
pub mod params;
pub mod query;
pub mod refusals;
pub mod reply;
pub mod rfc3339;
pub mod route;
pub mod series;
pub mod service;
pub mod settings;
pub mod status;
#[cfg(test)]
mod testing;
pub mod version;
pub mod write;

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
