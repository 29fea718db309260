//! The flags of `floodplain check`.

use std::path::PathBuf;

/// What to check.
#[derive(Debug, clap::Subcommand)]
pub enum CheckCommand {
    /// Check a configuration file: what is wrong, and what of it has no effect
    Config(CheckConfigFlags),
}

/// Flags of `floodplain check config`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every line begins with file:line:column. Variables in external labels are those of this shell.
Exit code 1 if anything is wrong; what has no effect is not wrong.

Examples:
  floodplain check config /etc/floodplain/prometheus.yml
  floodplain check config --json /etc/floodplain/prometheus.yml
  floodplain check config /etc/floodplain/prometheus.yml && systemctl reload floodplain"
)]
pub struct CheckConfigFlags {
    /// The configuration file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print one JSON object instead of lines for people
    #[arg(long)]
    pub json: bool,
}
