//! `floodplain test promql`: what it prints, and its exit code.
//!
//! Failures go to standard output, a line each, as they come up; or all as one JSON object. Exit code 0, or 1 if anything
//! failed or a file cannot be read.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::cli::TestPromqlFlags;
use crate::query::script::{CONFORMANCE, Outcome, Script, Settings};
use crate::query::{Options, Unpaced};

/// Runs scripts.
#[must_use]
pub fn promql(flags: &TestPromqlFlags) -> ExitCode {
    let options = Options { delayed_name_removal: flags.delayed_name_removal, ..CONFORMANCE };
    let settings = Settings { shards: flags.shards.get(), options };
    let mut report = Report::default();
    let mut out = std::io::stdout().lock();
    for path in &flags.paths {
        let before = report.failures.len();
        report.run_all(path, &settings);
        if !flags.json {
            for failure in report.failures.iter().skip(before) {
                // Who has closed the pipe does not want to read it; the exit code tells all the same.
                let _ = writeln!(out, "{}", failure.line());
            }
        }
    }
    let last = if flags.json {
        // Numbers and texts always have a JSON form.
        serde_json::to_string_pretty(&report).unwrap_or_default()
    } else {
        format!("{} passed, {} failed", report.passed, report.failed)
    };
    let _ = writeln!(out, "{last}");
    ExitCode::from(u8::from(report.failed > 0))
}

/// How the scripts went.
#[derive(Debug, Default, Serialize)]
struct Report {
    passed: usize,
    failed: usize,
    failures: Vec<Failure>,
}

/// One that went wrong.
#[derive(Debug, Serialize)]
struct Failure {
    file: PathBuf,
    /// Absent if the file cannot be read at all.
    line: Option<usize>,
    /// The query as the script has it; absent likewise.
    query: Option<String>,
    what: String,
}

impl Failure {
    fn line(&self) -> String {
        let file = self.file.display();
        match self.line {
            Some(line) => format!("{file}:{line}: {}", self.what),
            None => format!("{file}: {}", self.what),
        }
    }
}

impl Report {
    /// Runs a script, or those in a directory in order of their names.
    fn run_all(&mut self, path: &Path, settings: &Settings) {
        match scripts(path) {
            Ok(paths) if paths.is_empty() => {
                self.broken(path, None, "there is no *.test in this directory".to_owned());
            }
            Ok(paths) => paths.iter().for_each(|path| self.run(path, settings)),
            Err(error) => self.broken(path, None, error.to_string()),
        }
    }

    fn run(&mut self, path: &Path, settings: &Settings) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.broken(path, None, error.to_string()),
        };
        let script = match Script::parse(&text) {
            Ok(script) => script,
            Err(error) => return self.broken(path, Some(error.line), error.what),
        };
        for verdict in futures_lite::future::block_on(script.run(settings, &Unpaced)) {
            let what = match verdict.outcome {
                Outcome::Passed => {
                    self.passed += 1;
                    continue;
                }
                Outcome::Refused(what) => format!("{}: {what}", verdict.query),
                Outcome::Failed(what) => what,
            };
            self.failed += 1;
            let (line, query) = (Some(verdict.line), Some(verdict.query));
            self.failures.push(Failure { file: path.to_owned(), line, query, what });
        }
    }

    fn broken(&mut self, path: &Path, line: Option<usize>, what: String) {
        self.failed += 1;
        self.failures.push(Failure { file: path.to_owned(), line, query: None, what });
    }
}

/// The script at `path`, or the files `*.test` of the directory there.
fn scripts(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(script: &str) -> Report {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.test"), script).unwrap();
        std::fs::write(dir.path().join("b.txt"), "no script").unwrap();
        let mut report = Report::default();
        report.run_all(dir.path(), &Settings { shards: 2, options: CONFORMANCE });
        report
    }

    #[test]
    fn what_went_wrong_has_file_line_and_both_sides() {
        let report = report(
            "load 1m\n  x 1+1x9\n\neval instant at 5m x\n  x 6.1\n\neval instant at 5m x\n  x 6\n",
        );
        assert_eq!((report.passed, report.failed), (1, 1));
        let line = report.failures[0].line();
        let want = "a.test:4: x: expected {__name__=\"x\"} to be 6.1, got 6";
        assert!(line.ends_with(want), "{line}");
    }

    #[test]
    fn a_script_that_cannot_be_read_has_failed() {
        let report = report("load 1m\n  x 1\n\nevil\n");
        assert_eq!((report.passed, report.failed), (0, 1));
        assert!(report.failures[0].line().contains("a.test:4: "), "{:?}", report.failures);
    }
}
