//! The flags of the commands that work on data while no server does: `verify`, `export` and `import`.

use std::path::PathBuf;
use std::str::FromStr;

use crate::model::{Matcher, TimestampMs};
use crate::server::{params, series};

/// Flags of `floodplain verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It writes nothing, and may run beside a server: blocks do not change, and of the log is read \
what was written when it is looked at.
Exit code 1 if anything is damaged.

Examples:
  floodplain verify /var/lib/floodplain
  floodplain verify /var/lib/floodplain/shard-000/01KB2VR8Q4E9D3VYB6P2X5T7K8 --json
  floodplain verify /var/lib/prometheus             its blocks; not its log"
)]
pub struct VerifyFlags {
    /// A data directory, a directory of blocks, or a block
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Print one JSON object instead of lines for people
    #[arg(long)]
    pub json: bool,
}

/// Flags of `floodplain export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The blocks are of aligned two hours and hold the series of all shards, also what is in no block yet. \
Prometheus and promtool open them, and so does floodplain import.
Exit code 1 if something could not be read and is missing.

Examples:
  floodplain export /mnt/out --storage.tsdb.path=/var/lib/floodplain
  floodplain export /mnt/out --storage.tsdb.path=/var/lib/floodplain --start=2026-01-01T00:00:00Z --match='{job=\"api\"}'"
)]
pub struct ExportFlags {
    /// Where the blocks are written: a new or an empty directory
    #[arg(value_name = "OUT_DIR")]
    pub out: PathBuf,
    /// The data directory; its server must not run
    #[arg(long = "storage.tsdb.path", value_name = "DIR", default_value = "./data")]
    pub path: PathBuf,
    /// The first instant: Unix seconds or RFC 3339 [default: that of the data]
    #[arg(long, value_name = "TIME", value_parser = params::parse_time, allow_hyphen_values = true)]
    pub start: Option<TimestampMs>,
    /// The last instant, likewise
    #[arg(long, value_name = "TIME", value_parser = params::parse_time, allow_hyphen_values = true)]
    pub end: Option<TimestampMs>,
    /// Only series that this selects; may be repeated, and any of them may
    #[arg(long = "match", value_name = "SELECTOR")]
    pub selectors: Vec<Selector>,
    /// Print one JSON object instead of lines for people
    #[arg(long)]
    pub json: bool,
}

/// Flags of `floodplain import`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Blocks that are there already are passed over, so that an import which was interrupted is simply begun \
again. Blocks with external labels, as Thanos and Mimir may have them, are refused.
The server answers from the blocks after its next start, and divides them among its shards by itself. What is older than its \
--storage.tsdb.retention.time it deletes.
Exit code 1 if a block is damaged; the others are imported.

Examples:
  floodplain import /var/lib/prometheus --storage.tsdb.path=/var/lib/floodplain
  floodplain import /mnt/blocks/01KB2VR8Q4E9D3VYB6P2X5T7K8 --storage.tsdb.path=/var/lib/floodplain"
)]
pub struct ImportFlags {
    /// Prometheus's data directory, a directory of blocks, or a block
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The data directory, made if it is missing; its server must not run
    #[arg(long = "storage.tsdb.path", value_name = "DIR", default_value = "./data")]
    pub path: PathBuf,
    /// Print one JSON object instead of lines for people
    #[arg(long)]
    pub json: bool,
}

/// What selects series, as in a query.
#[derive(Debug, Clone)]
pub struct Selector(pub Vec<Matcher>);

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        series::matchers(text).map(Self)
    }
}
