//! Room server.

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
