//! HTTP: the only room with status codes and JSON.

pub mod active_queries;
pub mod admin;
pub mod admission;
pub mod api_error;
pub mod body;
pub mod byte_size;
pub mod check;
pub mod cli;
pub mod compression;
pub mod config;
pub mod connection;
pub mod cors;
pub mod doctor;
pub mod exemplars;
pub mod expression;
pub mod features;
pub mod federate;
pub mod form;
pub mod home;
pub mod json;
pub mod label_name;
pub mod log;
pub mod metadata;
pub mod metrics;
pub mod offline;
pub mod params;
pub mod query;
pub mod read;
pub mod refusals;
pub mod reload;
pub mod reply;
pub mod rfc3339;
pub mod route;
pub mod rules;
pub mod self_metrics;
pub mod series;
pub mod service;
pub mod settings;
pub mod start;
pub mod status;
pub mod targets;
pub mod test_promql;
#[cfg(test)]
mod testing;
pub mod unread;
pub mod version;
pub mod write;

use std::process::ExitCode;

use cli::{CheckCommand, Command, Invocation, TestCommand};

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let Invocation { command, warnings, flags: texts } = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(error) => {
            // A terminal that cannot be written to cannot be told so.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    match command {
        Command::Serve(flags) => start::serve(start::Order { flags: *flags, texts, warnings }),
        Command::Doctor(flags) => doctor::run(&flags),
        Command::Check(CheckCommand::Config(flags)) => check::config(&flags),
        Command::Test(TestCommand::Promql(flags)) => test_promql::promql(&flags),
        Command::Verify(flags) => offline::verify(&flags),
        Command::Export(flags) => offline::export(&flags),
        Command::Import(flags) => offline::import(&flags),
    }
}
