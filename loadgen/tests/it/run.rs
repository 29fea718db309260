//! Runs the binary and reads what it prints.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The binary's exit code and the two texts it printed.
pub struct Ran {
    /// Exit code; a signal counts as -1.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// The JSON of a report.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    /// A number of the report, by its path: `measured.samples_acknowledged`.
    pub fn number(&self, path: &str) -> u64 {
        let json = self.json();
        let value = path.split('.').fold(&json, |value, key| &value[key]);
        value.as_u64().unwrap_or_else(|| panic!("{path} is {value}"))
    }
}

/// `command` with `args`, and those of `defaults` whose option is not among them.
pub fn with_defaults<'a>(
    command: &'a str,
    args: &[&'a str],
    defaults: &[(&'a str, &'a str)],
) -> Vec<&'a str> {
    let missing = defaults.iter().filter(|(option, _)| !args.contains(option));
    let missing = missing.flat_map(|(option, value)| [*option, *value]);
    [command].into_iter().chain(missing).chain(args.iter().copied()).collect()
}

/// The command, not yet run.
pub fn loadgen(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floodplain-loadgen"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub fn run(args: &[&str]) -> Ran {
    ran(loadgen(args).output().unwrap())
}

/// What a finished process left.
pub fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A directory for a ledger, removed at the end, and the ledger's path in it.
pub fn ledger() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("ledger");
    (dir, path.to_str().unwrap().to_owned())
}
