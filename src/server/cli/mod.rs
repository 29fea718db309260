//! The command line: which command, with which flags.
//!
//! Flags are spelled as Prometheus spells them, so that a unit file or a Helm chart keeps working. Three things are done
//! to the arguments before `clap` sees them:
//! - No command means `serve`: `floodplain --storage.tsdb.path=/data` runs the server.
//! - `--no-x` means `--x=false` for every flag that is on or off, as Prometheus's parser has it.
//! - Prometheus's flags that have no meaning here are taken out, each with a warning that says so (table in [`ignored`]).

pub mod check;
pub mod features;
pub mod ignored;
pub mod offline;
pub mod serve;
pub mod test;

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use check::{CheckCommand, CheckConfigFlags};
pub use features::Features;
pub use offline::{ExportFlags, ImportFlags, VerifyFlags};
pub use serve::{BadSample, LogFormat, ServeFlags, WalSync};
pub use test::{TestCommand, TestPromqlFlags};

/// Stores Prometheus time series on one Linux host: remote_write floods in, durable, PromQL out.
#[derive(Debug, Parser)]
#[command(name = "floodplain", version, about, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  floodplain                                        serve on 127.0.0.1:9090, data in ./data
  floodplain --storage.tsdb.path=/var/lib/floodplain --web.listen-address=0.0.0.0:9090
  floodplain serve --help                           all flags of the server
  floodplain doctor --storage.tsdb.path=/var/lib/floodplain   can this host run it, and how fast?
  floodplain check config prometheus.yml            is the configuration file right, and what of it has no effect?
  floodplain test promql tests/promql               run test scripts of the query language
  floodplain verify /var/lib/floodplain             read everything: is anything damaged?
  floodplain import /var/lib/prometheus --storage.tsdb.path=/var/lib/floodplain
  floodplain export out --storage.tsdb.path=/var/lib/floodplain";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take remote writes, answer PromQL (the default command)
    Serve(Box<ServeFlags>),
    /// Check this host and print what was measured, with a verdict on each line
    Doctor(DoctorFlags),
    /// Check a file before it is used
    #[command(subcommand)]
    Check(CheckCommand),
    /// Run tests of what people write
    #[command(subcommand)]
    Test(TestCommand),
    /// Read all of a data directory, a directory of blocks or one block, and tell what is damaged
    Verify(VerifyFlags),
    /// Write what a data directory holds as plain blocks of Prometheus; its server must not run
    Export(ExportFlags),
    /// Take blocks of Prometheus, Thanos or Mimir into a data directory; its server must not run
    Import(ImportFlags),
}

/// Flags of `floodplain doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorFlags {
    /// The data directory whose file system is tried with direct writes and flushes
    #[arg(long = "storage.tsdb.path", value_name = "DIR", default_value = "./data")]
    pub path: std::path::PathBuf,
    /// Print one JSON object instead of lines for people
    #[arg(long)]
    pub json: bool,
}

/// A command line that was understood.
#[derive(Debug)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// Sentences to log once logging works: flags that have no effect.
    pub warnings: Vec<String>,
    /// Every flag of the command with its value as text, for `/api/v1/status/flags`.
    pub flags: BTreeMap<String, String>,
}

/// Reads a command line; the first argument is the program's name.
///
/// # Errors
/// What `clap` says: a wrong flag or value, or the text of `--help` and `--version`. Print it and exit with its code.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let mut definition = Cli::command();
    let prepared = prepare(args, &definition);
    if let Some(sentence) = prepared.refused {
        let kind = clap::error::ErrorKind::ArgumentConflict;
        return Err(serve_error(&mut definition, kind, sentence));
    }
    let matches = definition.clone().try_get_matches_from(prepared.args)?;
    let mut texts = match matches.subcommand() {
        Some((name, matches)) => {
            definition.find_subcommand(name).map(|sub| flag_texts(sub, matches)).unwrap_or_default()
        }
        None => BTreeMap::new(),
    };
    let mut warnings = prepared.warnings;
    let Cli { command } =
        Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))?;
    if let Command::Serve(flags) = &command {
        flags.check().map_err(|text| {
            serve_error(&mut definition, clap::error::ErrorKind::ValueValidation, text)
        })?;
        warnings.extend(flags.warnings());
        for (name, text) in flags.dependent_defaults() {
            texts.entry(name.to_owned()).and_modify(|given| {
                if given.is_empty() {
                    *given = text;
                }
            });
        }
    }
    Ok(Invocation { command, warnings, flags: texts })
}

/// An error about the flags of `serve`, with the usage of that command.
fn serve_error(
    definition: &mut clap::Command,
    kind: clap::error::ErrorKind,
    text: String,
) -> clap::Error {
    // Until it is built, a command does not know what it is a command of.
    definition.build();
    definition.find_subcommand_mut("serve").map_or_else(
        || clap::Error::raw(kind, text.clone()),
        |serve| serve.error(kind, text.clone()),
    )
}

/// Arguments made ready for `clap`.
struct Prepared {
    args: Vec<OsString>,
    warnings: Vec<String>,
    refused: Option<String>,
}

fn prepare(args: impl IntoIterator<Item = OsString>, definition: &clap::Command) -> Prepared {
    let mut args = args.into_iter();
    let mut ready: Vec<OsString> = args.next().into_iter().collect();
    let mut args = args.peekable();
    let (mut warnings, mut refused) = (Vec::new(), None);

    let first = args.peek().map(|arg| arg.to_string_lossy().into_owned());
    let asks_of_all = ["-h", "--help", "-V", "--version", "help"];
    let serves = match first.as_deref() {
        None => true,
        Some(first) => first.starts_with('-') && !asks_of_all.contains(&first),
    };
    if serves {
        ready.push("serve".into());
    }
    let serve = definition.find_subcommand("serve");
    while let Some(arg) = args.next() {
        let Some(flag) = arg.to_str().and_then(|arg| arg.strip_prefix("--")) else {
            ready.push(arg);
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let negated = name.strip_prefix("no-");
        if let Some(known) = ignored::find(name).or_else(|| ignored::find_switch(negated?)) {
            let value = match value {
                Some(value) => Some(value),
                None if known.takes_value => {
                    args.next().map(|value| value.to_string_lossy().into_owned())
                }
                None => None,
            };
            let given = value.map_or_else(|| name.to_owned(), |value| format!("{name}={value}"));
            match known.effect {
                ignored::Effect::None(why) => {
                    warnings.push(format!("--{given} has no effect: {why}"));
                }
                ignored::Effect::Refused(why) => {
                    refused.get_or_insert_with(|| format!("--{given} is refused: {why}"));
                }
            }
        } else if let Some(switch) = negated.filter(|name| is_switch(serve, name)) {
            ready.push(format!("--{switch}=false").into());
        } else {
            ready.push(arg);
        }
    }
    Prepared { args: ready, warnings, refused }
}

/// Is `name` a flag that is on or off?
fn is_switch(command: Option<&clap::Command>, name: &str) -> bool {
    command.is_some_and(|command| {
        command.get_arguments().any(|arg| {
            arg.get_long() == Some(name)
                && arg.get_value_parser().type_id() == std::any::TypeId::of::<bool>()
        })
    })
}

/// Every long flag of `command` with its value as given or as the default has it; without either, the empty text.
fn flag_texts(command: &clap::Command, matches: &ArgMatches) -> BTreeMap<String, String> {
    command
        .get_arguments()
        .filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version"))
        .filter_map(|arg| Some((arg.get_long()?, arg.get_id().as_str())))
        .map(|(name, id)| {
            let values = matches.get_raw(id).map(|values| {
                values.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>()
            });
            (name.to_owned(), values.unwrap_or_default().join(","))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::coordinator::api::StorageOptions;

    fn run(line: &str) -> Invocation {
        parse(line.split_whitespace().map(OsString::from)).unwrap()
    }

    fn serve(line: &str) -> ServeFlags {
        match run(line).command {
            Command::Serve(flags) => *flags,
            other => panic!("{line} is {other:?}"),
        }
    }

    fn refusal(line: &str) -> String {
        parse(line.split_whitespace().map(OsString::from)).unwrap_err().to_string()
    }

    #[test]
    fn no_command_serves() {
        assert_eq!(serve("floodplain").path, PathBuf::from("./data"));
        let flags = serve("floodplain --storage.tsdb.path=/x");
        assert_eq!(flags.path, PathBuf::from("/x"));
        assert_eq!(serve("floodplain serve --storage.tsdb.path /x").path, PathBuf::from("/x"));
    }

    #[test]
    fn help_and_version_are_the_programs_own() {
        assert!(refusal("floodplain --version").starts_with("floodplain "));
        assert!(refusal("floodplain --help").contains("doctor"));
        assert!(refusal("floodplain serve --help").contains("--storage.wal.sync"));
        assert_eq!(refusal("floodplain help"), refusal("floodplain --help"));
        assert_eq!(refusal("floodplain help doctor"), refusal("floodplain doctor --help"));
    }

    #[test]
    fn whatever_is_wrong_with_a_flag_of_serve_the_usage_is_that_of_serve() {
        for line in [
            "floodplain --storage.tsdb.pth=/x",
            "floodplain serve --shards=many",
            "floodplain --web.config.file=web.yml",
            "floodplain serve --remote-write.max-inflight-bytes=1MB",
        ] {
            let refusal = refusal(line);
            assert!(
                refusal.contains("Usage: floodplain serve ")
                    || refusal.contains("invalid value 'many'"),
                "{line}: {refusal}"
            );
        }
    }

    #[test]
    fn doctor_takes_a_directory() {
        let Command::Doctor(flags) = run("floodplain doctor --json --storage.tsdb.path=/x").command
        else {
            panic!("not doctor");
        };
        assert!(flags.json);
        assert_eq!(flags.path, PathBuf::from("/x"));
    }

    #[test]
    fn what_is_exported_is_told_by_times_and_selectors() {
        let line = "floodplain export out --storage.tsdb.path=/x --start=1.5 \
            --end=2026-01-01T00:00:00Z --match={job=\"a\"} --match=up";
        let Command::Export(flags) = run(line).command else { panic!("not export") };
        assert_eq!((flags.out, flags.path), ("out".into(), "/x".into()));
        assert_eq!(flags.start.map(|t| t.0), Some(1500));
        assert_eq!(flags.end.map(|t| t.0), Some(1_767_225_600_000));
        assert_eq!(flags.selectors.len(), 2);
        assert!(
            refusal("floodplain export out --match={job=~\"[\"}").contains("missing closing ]")
        );
        assert!(refusal("floodplain export out --start=soon").contains("--start"));
        assert!(refusal("floodplain export").contains("<OUT_DIR>"));
    }

    #[test]
    fn the_offline_commands_have_examples() {
        for command in ["verify", "export", "import"] {
            let help = refusal(&format!("floodplain {command} --help"));
            assert!(help.contains(&format!("floodplain {command} /")), "{help}");
        }
    }

    #[test]
    fn a_switch_is_turned_off_by_its_negation() {
        assert!(serve("floodplain").receives_remote_write);
        assert!(serve("floodplain --web.enable-remote-write-receiver").receives_remote_write);
        assert!(!serve("floodplain --no-web.enable-remote-write-receiver").receives_remote_write);
    }

    #[test]
    fn prometheus_flags_without_a_meaning_here_warn_and_are_dropped() {
        let run = run("floodplain --alertmanager.timeout 10s \
             --scrape.timestamp-tolerance=2ms --no-storage.tsdb.wal-compression \
             --storage.tsdb.path=/x");
        assert_eq!(run.warnings.len(), 3, "{:?}", run.warnings);
        assert!(
            run.warnings[0].starts_with("--alertmanager.timeout=10s has no effect: "),
            "{}",
            run.warnings[0]
        );
        assert!(
            run.warnings[2].starts_with("--no-storage.tsdb.wal-compression has no effect: "),
            "{}",
            run.warnings[2]
        );
        assert_eq!(run.flags.get("storage.tsdb.path").map(String::as_str), Some("/x"));
    }

    #[test] // ignoring it would serve without the password its file asks for
    fn a_flag_that_promises_protection_is_refused_not_ignored() {
        let refusal = refusal("floodplain --web.config.file=web.yml");
        assert!(refusal.contains("--web.config.file=web.yml is refused"), "{refusal}");
    }

    #[test]
    fn an_unknown_flag_is_an_error_that_names_it() {
        assert!(refusal("floodplain --storage.tsdb.pth=/x").contains("--storage.tsdb.pth"));
    }

    #[test]
    fn all_flags_are_told_as_texts() {
        let flags =
            run("floodplain --query.timeout=90s --no-web.enable-remote-write-receiver").flags;
        let text = |name: &str| flags.get(name).map(String::as_str);
        assert_eq!(text("query.timeout"), Some("90s"));
        assert_eq!(text("query.lookback-delta"), Some("5m"));
        assert_eq!(text("web.enable-remote-write-receiver"), Some("false"));
        assert_eq!(text("shards"), Some(""));
        assert_eq!(text("help"), None);
    }

    #[test]
    fn data_is_kept_for_15_days_unless_a_time_or_a_size_is_given() {
        const DAY_MS: i64 = 86_400_000;
        let kept = |line: &str| {
            let storage = serve(line).storage();
            (storage.retention_ms, storage.retention_bytes)
        };
        assert_eq!(kept("floodplain"), (Some(15 * DAY_MS), None));
        assert_eq!(
            kept("floodplain --storage.tsdb.retention.time=1y2w"),
            (Some(379 * DAY_MS), None)
        );
        assert_eq!(kept("floodplain --storage.tsdb.retention=2d"), (Some(2 * DAY_MS), None));
        assert_eq!(kept("floodplain --storage.tsdb.retention.time=0"), (None, None));
        assert_eq!(kept("floodplain --storage.tsdb.retention.size=5GB"), (None, Some(5 << 30)));
        let both = "floodplain --storage.tsdb.retention.size=1EB --storage.tsdb.retention.time=1d";
        assert_eq!(kept(both), (Some(DAY_MS), Some(1 << 60)));
        assert!(
            refusal("floodplain --storage.tsdb.retention.time=15").contains("not a valid duration")
        );
    }

    #[test]
    fn defaults_that_depend_on_other_flags_are_told_as_they_are() {
        let told = |line: &str| {
            let flags = run(line).flags;
            ["retention.time", "retention.size", "min-block-duration", "max-block-duration"]
                .map(|name| flags.get(&format!("storage.tsdb.{name}")).cloned().unwrap())
        };
        assert_eq!(told("floodplain"), ["15d", "0B", "2h", "1d12h"]);
        assert_eq!(
            told("floodplain --storage.tsdb.retention.size=1TB"),
            ["0s", "1TB", "2h", "31d"]
        );
        assert_eq!(
            told(
                "floodplain --storage.tsdb.retention.time=90d --storage.tsdb.max-block-duration=6h"
            ),
            ["90d", "0B", "2h", "6h"]
        );
    }

    #[test]
    fn blocks_are_cut_at_two_hours_and_are_never_shorter() {
        assert!(run("floodplain --storage.tsdb.min-block-duration=120m").warnings.is_empty());
        let text = refusal("floodplain --storage.tsdb.min-block-duration=1h");
        assert!(text.contains("blocks are always cut at 2h"), "{text}");
        let text = refusal("floodplain --storage.tsdb.max-block-duration=1h");
        assert!(text.contains("none can be shorter"), "{text}");
        let flags = serve("floodplain --storage.tsdb.max-block-duration=2h");
        assert_eq!(flags.storage().max_block_ms, 7_200_000);
        let short = serve("floodplain --storage.tsdb.retention.time=1h").storage();
        assert_eq!(short.max_block_ms, 7_200_000);
    }

    #[test]
    fn late_samples_are_taken_for_an_hour_unless_it_is_told_otherwise() {
        assert_eq!(serve("floodplain").storage(), StorageOptions::default());
        let flags = serve(
            "floodplain --storage.tsdb.out-of-order-time-window=0 \
             --storage.tsdb.index-cache-bytes-per-shard=1MB --storage.chunk-cache-size=0",
        );
        assert_eq!(flags.storage().out_of_order_window_ms, 0);
        assert_eq!(flags.storage().index_cache_bytes, 1 << 20);
        assert_eq!(flags.storage().chunk_cache_bytes, 0);
    }

    #[test]
    fn a_configuration_file_is_none_unless_it_is_given() {
        assert_eq!(serve("floodplain").config_file, None);
        let flags = serve("floodplain --config.file /etc/prometheus.yml");
        assert_eq!(flags.config_file, Some(PathBuf::from("/etc/prometheus.yml")));
    }

    #[test]
    fn a_file_to_check_is_named_after_what_it_is() {
        let line = "floodplain check config --json /etc/prometheus.yml";
        let Command::Check(CheckCommand::Config(flags)) = run(line).command else {
            panic!("not check config")
        };
        assert!(flags.json);
        assert_eq!(flags.file, PathBuf::from("/etc/prometheus.yml"));
        let help = refusal("floodplain check config --help");
        assert!(help.contains("floodplain check config /"), "{help}");
        assert!(refusal("floodplain check").contains("config"));
    }

    #[test]
    fn reloading_and_stopping_by_http_is_off_unless_it_is_asked_for() {
        assert!(!serve("floodplain").lifecycle);
        assert!(serve("floodplain --web.enable-lifecycle").lifecycle);
        assert!(!serve("floodplain --no-web.enable-lifecycle").lifecycle);
    }

    #[test]
    fn the_admin_api_is_off_unless_it_is_asked_for() {
        assert!(!serve("floodplain").admin_api);
        assert!(serve("floodplain --web.enable-admin-api").admin_api);
        assert!(!serve("floodplain --no-web.enable-admin-api").admin_api);
    }

    #[test]
    fn values_have_the_units_of_their_flags() {
        let flags = serve("floodplain");
        assert_eq!(flags.wal_sync, WalSync::Always);
        assert_eq!(flags.query_timeout, Duration::from_secs(120));
        assert_eq!(flags.bad_sample, BadSample::Report);
        let flags = serve(
            "floodplain --storage.wal.sync=interval:100ms --remote-write.on-bad-sample=rollback",
        );
        assert_eq!(flags.wal_sync, WalSync::Interval(Duration::from_millis(100)));
        assert_eq!(flags.bad_sample, BadSample::Rollback);
        assert!(refusal("floodplain --storage.wal.sync=sometimes").contains("interval:<duration>"));
    }

    #[test]
    fn the_route_prefix_is_the_path_of_the_external_url_unless_it_is_given() {
        assert_eq!(serve("floodplain").prefix(), "");
        assert_eq!(serve("floodplain --web.external-url=http://a.b:1/").prefix(), "");
        assert_eq!(serve("floodplain --web.external-url=http://a.b:1/x/y/?q").prefix(), "/x/y");
        let both = "floodplain --web.external-url=http://a.b:1/x --web.route-prefix=/";
        assert_eq!(serve(both).prefix(), "");
        assert_eq!(serve("floodplain --web.route-prefix=p/").prefix(), "/p");
    }

    #[test]
    fn a_bound_below_one_request_is_refused() {
        let text = refusal("floodplain --remote-write.max-inflight-bytes-per-shard=1MB");
        assert!(text.contains("is less than 64MiB"), "{text}");
    }
}
