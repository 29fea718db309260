//! The flags of `floodplain test`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

/// What to test.
#[derive(Debug, clap::Subcommand)]
pub enum TestCommand {
    /// Run test scripts of the query language: load samples, ask queries, compare the answers
    Promql(TestPromqlFlags),
}

/// Flags of `floodplain test promql`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Scripts are written as for Prometheus (promql/promqltest): load, eval, expect, clear. Every instant query is asked
again with @ at its selectors at other instants, and all of those as range queries, and must answer the same.
Each failure is a line that begins with file:line; the last line is \"N passed, N failed\". Exit code 1 on any failure.

Examples:
  floodplain test promql tests/promql
  floodplain test promql --shards 3 aggregators.test operators.test
  floodplain test promql --json tests/promql"
)]
pub struct TestPromqlFlags {
    /// Scripts, and directories whose files *.test are
    #[arg(value_name = "FILE OR DIRECTORY", required = true)]
    pub paths: Vec<PathBuf>,
    /// Over how many shards the series are spread
    #[arg(long, value_name = "N", default_value = "1")]
    pub shards: NonZeroUsize,
    /// Keep metric names until the answer is made, as Prometheus's own scripts expect it; `false` is what a server does by
    /// default
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub delayed_name_removal: bool,
    /// Print one JSON object instead of lines for people
    #[arg(long)]
    pub json: bool,
}
