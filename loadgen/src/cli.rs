//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::body::Protocol;
use crate::body::compress::Compression;
use crate::body::magazine::Refill;
use crate::http::Url;
use crate::quantity::{
    StartTime, parse_bytes, parse_count, parse_count_u32, parse_duration, parse_start_time,
};
pub use crate::read::Comparison;

/// Floods a Prometheus remote-write receiver honestly, and checks that what it acknowledged can be read back.
#[derive(Debug, Parser)]
#[command(name = "floodplain-loadgen", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:

How much does the server take? 100,000 known series, as fast as it answers, for 30 seconds, with the \
server's CPU and memory beside it:
  floodplain-loadgen flood --series 100k --duration 30s --pid $(pidof floodplain)

How long does a write take when it is half busy? Latency counts from when a request was due:
  floodplain-loadgen flood --rate 500k --duration 60s

Is everything still there after kill -9?
  floodplain-loadgen flood --duration 20s --give-up-after 0s --ledger run.ledger &
  sleep 10; kill -9 $(pidof floodplain); wait; floodplain serve &
  floodplain-loadgen verify --ledger run.ledger

What does a query cost, and what the same query of another server?
  floodplain-loadgen query 'sum(rate(node_cpu_seconds_total[5m]))' --against http://127.0.0.1:9091

What does the generator itself cost on this machine?
  floodplain-loadgen sink &
  floodplain-loadgen flood --url http://127.0.0.1:9099/api/v1/write";

/// The things it can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send samples by remote write and measure
    Flood(Box<FloodArgs>),
    /// Read back, by PromQL and remote read, what a flood's ledger says was acknowledged
    Verify(VerifyArgs),
    /// Ask once by remote read, and measure
    Read(ReadArgs),
    /// Ask queries again and again, one server or two in turn, and measure
    Query(Box<QueryArgs>),
    /// Answer every write with success and store nothing: shows what the generator itself can do
    Sink(SinkArgs),
}

const FLOOD_HELP: &str = "\
What is sent. Series look like those of node_exporter, cAdvisor and services with histograms, about 940 \
a host with 7 labels each, all with cluster=\"flood-<seed>\". A request carries one sample of each of its \
series. Values are a function of (seed, series, step); labels of (seed, series, generation). Series \
belong to one connection for ever, so that the samples of a series arrive in order.

Native histograms (--histograms) have schema 3, 20 to 60 buckets around a log-normal latency, and names that end in _native. They count as samples in every bound, rate and total; the summary tells them apart. A message with histograms or exemplars has another length in each step, which makes encoding it dearer, but it is replayed like any other. In remote write 2.0 a request is acknowledged when all of its floats and histograms are; exemplars, which a receiver may drop, are counted as it says.

The synthetic clock. Step n of a series has the timestamp start + n * interval, however fast the flood \
runs. A flood as fast as it goes therefore needs room on the time axis: by default it starts so early \
that it ends about now, and the interval is 15s or as much shorter as makes it fit into the last 50 \
minutes, which every receiver takes, at 6 million samples a second and core. It stops rather than send \
more than 5 minutes ahead of now. For scrape-like intervals at high speed use a receiver with empty \
storage and e.g. --interval 15s --start-time now-12h.

Pre-encoding. Bodies are encoded before the clock starts, within --preencode-bytes. With snappy and no \
churn they are then sent again and again with the timestamp overwritten in place (--refill replay): the \
values repeat every so many rounds, which the summary tells, and a counter then looks as if its process \
had restarted. Otherwise bodies are encoded when due (--refill encode), in which case the generator's \
own CPU, shown in the summary, competes with the server's if both run on one machine.

What is measured. The warm-up creates all series and is not part of the window. Closed loop: latency is \
from the first byte sent until the acknowledgement, retries included. Open loop (--rate): from when the \
request was due. Server CPU is utime + stime of --pid over the window; samples are acknowledged ones.

Exit code: 0 if everything sent was acknowledged (requests that were being retried when the time was up \
do not count against it), 1 if not, 2 if the flood could not be run as asked.";

/// Options of `flood`.
#[derive(Debug, Clone, Args)]
#[command(after_help = FLOOD_HELP)]
pub struct FloodArgs {
    /// Where to write to
    #[arg(long, default_value = "http://127.0.0.1:9090/api/v1/write")]
    pub url: Url,

    /// Number of series at any moment (100000, 100k, 1M)
    #[arg(long, default_value = "100k", value_parser = parse_count_u32, help_heading = "Series")]
    pub series: u32,

    /// Share of the series that is replaced by new ones per minute of the synthetic clock (0.05 is 5 %)
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", help_heading = "Series")]
    pub churn: f64,

    /// Share of the series that are native histograms and send no float (0.1 is 10 %)
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", help_heading = "Series")]
    pub histograms: f64,

    /// With --histograms: float histograms and not integer ones
    #[arg(long, help_heading = "Series")]
    pub float_histograms: bool,

    /// One sample in N brings an exemplar with a trace_id [default: none does]
    #[arg(long, value_parser = parse_count_u32, value_name = "N", help_heading = "Series")]
    pub exemplars: Option<u32>,

    /// Seed of labels and values; two seeds share no series
    #[arg(long, default_value_t = 1, help_heading = "Series")]
    pub seed: u64,

    /// Step of the synthetic clock [default: 15s, or shorter so that the flood fits before now]
    #[arg(long, value_parser = parse_duration, help_heading = "Series")]
    pub interval: Option<Duration>,

    /// Timestamp of the first step: now-2h, 1785585600, 2026-08-01T12:00:00Z
    /// [default: so early that the flood ends now]
    #[arg(long, value_parser = parse_start_time, value_name = "TIME", help_heading = "Series")]
    pub start_time: Option<StartTime>,

    /// Remote write protocol: 1.0 or 2.0
    #[arg(long, default_value = "1.0", value_parser = parse_protocol, help_heading = "Requests")]
    pub protocol: Protocol,

    /// Compression of the bodies
    #[arg(long, default_value = "snappy", value_enum, help_heading = "Requests")]
    pub compression: Compression,

    /// Most samples of a request; 2000 is Prometheus' default
    #[arg(long, default_value = "2000", value_parser = parse_count_u32, value_name = "N", help_heading = "Requests")]
    pub samples_per_request: u32,

    /// Connections, each with one request under way
    #[arg(long, default_value = "8", value_parser = parse_count_u32, value_name = "N", help_heading = "Requests")]
    pub connections: u32,

    /// A header line to add, e.g. 'X-Scope-OrgID: demo'; may be given several times
    #[arg(long = "header", value_parser = parse_header, value_name = "LINE", help_heading = "Requests")]
    pub headers: Vec<String>,

    /// How long connecting, sending and answering may each take
    #[arg(long, default_value = "30s", value_parser = parse_duration, help_heading = "Requests")]
    pub timeout: Duration,

    /// End the flood when a request had no final answer for so long; 0s: at the first failure
    #[arg(long, default_value = "30s", value_parser = parse_duration, value_name = "DURATION", help_heading = "Requests")]
    pub give_up_after: Duration,

    /// Allow flooding another machine
    #[arg(long, help_heading = "Requests")]
    pub allow_remote: bool,

    /// Open loop: so many samples a second, whether or not the server keeps up [default: closed loop]
    #[arg(long, value_parser = parse_count, value_name = "SAMPLES/S", help_heading = "Load")]
    pub rate: Option<u64>,

    /// Length of the measured window [default: 10s, or unbounded with --requests or --samples]
    #[arg(long, value_parser = parse_duration, help_heading = "Load")]
    pub duration: Option<Duration>,

    /// Requests of the measured window
    #[arg(long, value_parser = parse_count, value_name = "N", help_heading = "Load")]
    pub requests: Option<u64>,

    /// Samples of the measured window, rounded up to whole requests
    #[arg(long, value_parser = parse_count, value_name = "N", help_heading = "Load")]
    pub samples: Option<u64>,

    /// Rounds over all series before the measured window; 0 measures the creation of the series, too
    #[arg(long, default_value_t = 1, value_name = "ROUNDS", help_heading = "Load")]
    pub warmup: u32,

    /// Memory for bodies encoded before the clock starts
    #[arg(long, default_value = "1GiB", value_parser = parse_bytes, value_name = "BYTES", help_heading = "Load")]
    pub preencode_bytes: u64,

    /// What follows when those are used up [default: replay where it can be done, else encode]
    #[arg(long, value_enum, help_heading = "Load")]
    pub refill: Option<Refill>,

    /// Process id of the server: adds its CPU seconds and memory to the summary
    #[arg(long, help_heading = "Results")]
    pub pid: Option<u32>,

    /// Keep measuring the server for so long after the last answer: shows work it put off
    #[arg(long, default_value = "0s", value_parser = parse_duration, value_name = "DURATION", help_heading = "Results")]
    pub settle: Duration,

    /// Write down what was sent and acknowledged, for `verify`; the file must not exist yet
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub ledger: Option<PathBuf>,

    /// Print the summary as JSON (keys: see the docs of the module `report`)
    #[arg(long, help_heading = "Results")]
    pub json: bool,

    /// No progress lines on stderr
    #[arg(long, short, help_heading = "Results")]
    pub quiet: bool,
}

const VERIFY_HELP: &str = "\
Every series of the ledger's flood is read back with range selectors, target by target, and compared \
with what was sent, value by value (by their bits, which the shortest decimal text of the API preserves). \
Native histograms are read back by remote read (/api/v1/read), and compared by count, sum, zero bucket and \
every bucket with events; exemplars are not compared. \
Series with the flood's cluster label that were never sent are looked for, too.

  lost      acknowledged, and not there
  altered   there with another value
  invented  there, and never sent
  unknown   sent but not acknowledged (refused, or the connection died): may be there or not,
            but if it is, with its value

Run at most one flood a seed against a server, or its samples will look invented to the other's ledger.

Exit code: 0 if nothing was lost, altered or invented; 1 if anything was; 2 if it could not be told: the \
server does not answer, the ledger is damaged, or there was not a single sample to compare.";

/// Options of `verify`.
#[derive(Debug, Clone, Args)]
#[command(after_help = VERIFY_HELP)]
pub struct VerifyArgs {
    /// The ledger that `flood --ledger` wrote
    #[arg(long, value_name = "FILE")]
    pub ledger: PathBuf,

    /// The server to ask, without /api/v1
    #[arg(long, default_value = "http://127.0.0.1:9090")]
    pub url: Url,

    /// A header line to add, e.g. 'X-Scope-OrgID: demo'; may be given several times
    #[arg(long = "header", value_parser = parse_header, value_name = "LINE")]
    pub headers: Vec<String>,

    /// A label that the server adds to all series and that is not to be compared; may be given several times
    #[arg(long = "ignore-label", value_name = "NAME")]
    pub ignored_labels: Vec<String>,

    /// Most samples to ask for at once
    #[arg(long, default_value = "200k", value_parser = parse_count, value_name = "N")]
    pub samples_per_query: u64,

    /// Queries under way at once
    #[arg(long, default_value = "2", value_parser = parse_count_u32, value_name = "N")]
    pub connections: u32,

    /// How long a query may take
    #[arg(long, default_value = "2m", value_parser = parse_duration)]
    pub timeout: Duration,

    /// Wait up to so long for the server to become ready
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub wait: Duration,

    /// Allow asking another machine
    #[arg(long)]
    pub allow_remote: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    /// No progress lines on stderr
    #[arg(long, short)]
    pub quiet: bool,
}

const READ_HELP: &str = "\
The answer is counted as it comes, its frames are checked, and thrown away. First byte: from the request's last byte \
to the first piece of the body. Memory: what /proc says of --pid every 5 ms while the server answers.

Exit code: 0 if there was anything to read, 1 if not, 2 if it could not be told.";

/// Options of `read`.
#[derive(Debug, Clone, Args)]
#[command(after_help = READ_HELP)]
pub struct ReadArgs {
    /// Where to read from
    #[arg(long, default_value = "http://127.0.0.1:9090/api/v1/read")]
    pub url: Url,

    /// Which series: name=value, name!=value, name=~regex or name!~regex; may be given several times
    #[arg(long = "match", default_value = "__name__=~.+", value_parser = parse_match, value_name = "MATCHER")]
    pub matchers: Vec<Match>,

    /// From when
    #[arg(long, default_value = "now-6h", value_parser = parse_start_time, value_name = "TIME")]
    pub from: StartTime,

    /// Until when
    #[arg(long, default_value = "now-0s", value_parser = parse_start_time, value_name = "TIME")]
    pub to: StartTime,

    /// Ask for samples in one message and not for streamed chunks
    #[arg(long)]
    pub samples: bool,

    /// A header line to add, e.g. 'X-Scope-OrgID: demo'; may be given several times
    #[arg(long = "header", value_parser = parse_header, value_name = "LINE")]
    pub headers: Vec<String>,

    /// How long the answer may take
    #[arg(long, default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,

    /// Process id of the server: adds its CPU seconds and memory
    #[arg(long)]
    pub pid: Option<u32>,

    /// Allow asking another machine
    #[arg(long)]
    pub allow_remote: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

const QUERY_HELP: &str = "\
Each query is asked --warmup times and then --runs times, first of --url and then of --against in every round, \
one question at a time. A time is from the request's first byte to the answer's last.

Points. What stands behind the last # of a query (a comment in PromQL) is a selector; count(SELECTOR) over the same \
times tells how many (series x step) points there were to go through. Without one the points of the answer are counted.

Server. CPU is utime + stime of the process over its own runs, which the kernel counts in steps of 10 ms: ask often \
enough. Memory is the most that was resident during the runs (VmHWM, which is reset before them through \
/proc/PID/clear_refs).

Agreement. The answers of the last warm-up are compared: the same series, the same times, and values that differ by \
--tolerance of the larger at most. Prometheus before 3.0 counts a sample that lies exactly at the beginning of a range \
into it: ask for times between two samples.

Examples:

What does a rate over the last six hours cost a point?
  floodplain-loadgen query --pid $(pidof floodplain) 'sum(rate(node_cpu_seconds_total[5m])) # node_cpu_seconds_total'

The same from a Prometheus that was sent the same, in steps of a minute, from a file with a query a line:
  floodplain-loadgen query --queries dashboards.promql --step 1m --runs 10 \\
    --url http://127.0.0.1:9090 --pid $(pidof floodplain) \\
    --against http://127.0.0.1:9091 --against-pid $(pidof prometheus)

How long does an alert's question take?
  floodplain-loadgen query --instant 'max_over_time(up[1d]) == 0'

Exit code: 0 if all queries were answered, and alike; 1 if not; 2 if it could not be told.";

/// Options of `query`.
#[derive(Debug, Clone, Args)]
#[command(after_help = QUERY_HELP)]
pub struct QueryArgs {
    /// What to ask: PromQL, with `# SELECTOR` behind it to say what its points are
    #[arg(value_name = "QUERY", required_unless_present = "queries")]
    pub query: Vec<String>,

    /// More queries, one a line; lines that begin with # are none
    #[arg(long, value_name = "FILE")]
    pub queries: Option<PathBuf>,

    /// The server to ask, without /api/v1
    #[arg(long, default_value = "http://127.0.0.1:9090")]
    pub url: Url,

    /// Process id of the server: adds its CPU time and memory
    #[arg(long)]
    pub pid: Option<u32>,

    /// Another server to ask the same
    #[arg(long, value_name = "URL")]
    pub against: Option<Url>,

    /// Its process id
    #[arg(long, value_name = "PID", requires = "against")]
    pub against_pid: Option<u32>,

    /// Ask at one moment, --end, and not over a range
    #[arg(long, help_heading = "Times", conflicts_with_all = ["start", "step"])]
    pub instant: bool,

    /// First step [default: 6h before the last]
    #[arg(long, value_parser = parse_start_time, value_name = "TIME", help_heading = "Times")]
    pub start: Option<StartTime>,

    /// Last step, or the one moment
    #[arg(long, default_value = "now", value_parser = parse_start_time, value_name = "TIME", help_heading = "Times")]
    pub end: StartTime,

    /// From one step to the next
    #[arg(long, default_value = "15s", value_parser = parse_duration, help_heading = "Times")]
    pub step: Duration,

    /// How often each query is asked and measured
    #[arg(long, default_value = "5", value_parser = parse_count_u32, value_name = "N", help_heading = "Runs")]
    pub runs: u32,

    /// How often before
    #[arg(long, default_value = "1", value_parser = parse_count_u32, value_name = "N", help_heading = "Runs")]
    pub warmup: u32,

    /// By how much of the larger value two servers may differ
    #[arg(long, default_value_t = 1e-9, value_name = "SHARE", help_heading = "Runs")]
    pub tolerance: f64,

    /// How long an answer may take
    #[arg(long, default_value = "5m", value_parser = parse_duration, help_heading = "Runs")]
    pub timeout: Duration,

    /// A header line to add, e.g. 'X-Scope-OrgID: demo'; may be given several times
    #[arg(long = "header", value_parser = parse_header, value_name = "LINE", help_heading = "Runs")]
    pub headers: Vec<String>,

    /// Allow asking another machine
    #[arg(long, help_heading = "Runs")]
    pub allow_remote: bool,

    /// Print the result as JSON (keys: see the docs of the module `query::report`)
    #[arg(long)]
    pub json: bool,

    /// No progress lines on stderr
    #[arg(long, short)]
    pub quiet: bool,
}

/// A label matcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Of which label.
    pub name: String,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub value: String,
}

/// Options of `sink`.
#[derive(Debug, Clone, Args)]
pub struct SinkArgs {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:9099")]
    pub listen: std::net::SocketAddr,
}

fn parse_protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "1.0" | "1" | "v1" => Ok(Protocol::V1),
        "2.0" | "2" | "v2" => Ok(Protocol::V2),
        _ => Err("remote write has the protocols 1.0 and 2.0".to_owned()),
    }
}

fn parse_match(text: &str) -> Result<Match, String> {
    let at = text.find(['=', '!']).ok_or("a matcher has the form name=value")?;
    let (name, rest) = text.split_at(at);
    let known = [
        ("=~", Comparison::Regex),
        ("!~", Comparison::NotRegex),
        ("!=", Comparison::NotEqual),
        ("=", Comparison::Equal),
    ];
    let found = known.iter().find_map(|(sign, how)| Some((rest.strip_prefix(sign)?, *how)));
    let (value, comparison) = found.ok_or("a matcher compares with =, !=, =~ or !~")?;
    if name.is_empty() {
        return Err("a matcher begins with the name of a label".to_owned());
    }
    Ok(Match { name: name.to_owned(), comparison, value: value.to_owned() })
}

fn parse_header(text: &str) -> Result<String, String> {
    let (name, value) = text.split_once(':').ok_or("a header line has the form 'Name: value'")?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("\"{name}\" is not the name of a header"));
    }
    if value.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err("a header's value cannot have control characters".to_owned());
    }
    Ok(format!("{name}: {}", value.trim()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn flood(args: &[&str]) -> Result<FloodArgs, clap::Error> {
        let words = ["floodplain-loadgen", "flood"].iter().chain(args);
        match Cli::try_parse_from(words)?.command {
            Command::Flood(args) => Ok(*args),
            _ => unreachable!("the words say flood"),
        }
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_options_it_floods_a_server_on_this_machine() {
        let args = flood(&[]).unwrap();
        assert_eq!(args.url.to_string(), "http://127.0.0.1:9090/api/v1/write");
        assert_eq!((args.series, args.samples_per_request), (100_000, 2_000));
        assert_eq!(args.protocol, Protocol::V1);
    }

    #[test]
    fn protocols_have_their_usual_names() {
        for name in ["2.0", "2", "v2"] {
            assert_eq!(flood(&["--protocol", name]).unwrap().protocol, Protocol::V2);
        }
        assert!(flood(&["--protocol", "3.0"]).is_err());
    }

    #[test]
    fn matchers_are_written_as_in_promql_without_quotes() {
        let known = [
            ("a=b=c", Comparison::Equal, "b=c"),
            ("a!=", Comparison::NotEqual, ""),
            ("a=~b|c", Comparison::Regex, "b|c"),
            ("a!~.+", Comparison::NotRegex, ".+"),
        ];
        for (text, comparison, value) in known {
            let expected = Match { name: "a".into(), comparison, value: value.into() };
            assert_eq!(parse_match(text), Ok(expected));
        }
        for wrong in ["a", "=b", "a!b"] {
            assert!(parse_match(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn header_lines_cannot_smuggle_others_in() {
        assert_eq!(
            flood(&["--header", "X-Scope-OrgID:demo"]).unwrap().headers,
            ["X-Scope-OrgID: demo"]
        );
        for wrong in ["no colon", "a b: c", ": x", "A: b\r\nC: d"] {
            assert!(flood(&["--header", wrong]).is_err(), "{wrong}");
        }
    }
}
