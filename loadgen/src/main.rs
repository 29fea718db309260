//! The `floodplain-loadgen` binary: reads the command line, runs what it asks for, prints the result.

use std::process::ExitCode;

use clap::Parser;
use floodplain_loadgen::cli::{Cli, Command};
use floodplain_loadgen::{flood, query, read, sink, verify};

/// It could not be run as asked; 1 is for a result that is bad news.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Flood(args) => {
            flood::run(&args).map_err(|error| error.to_string()).map(|report| {
                println!("{}", if args.json { report.json() } else { report.table() });
                report.ok
            })
        }
        Command::Verify(args) => {
            verify::run(&args).map_err(|error| error.to_string()).map(|report| {
                println!("{}", if args.json { report.json() } else { report.table() });
                report.ok
            })
        }
        Command::Query(args) => {
            query::run(&args).map_err(|error| error.to_string()).map(|report| {
                println!("{}", if args.json { report.json() } else { report.table() });
                report.ok
            })
        }
        Command::Read(args) => read::run(&args).map_err(|error| error.to_string()).map(|report| {
            println!("{}", if args.json { report.json() } else { report.table() });
            report.ok
        }),
        Command::Sink(args) => sink::run(&args).map_err(|error| error.to_string()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("floodplain-loadgen: {error}");
            ExitCode::from(FAILED)
        }
    }
}
