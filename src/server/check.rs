//! `floodplain check config`: what it prints, and its exit code.
//!
//! What is wrong, and what has no effect, goes to standard output, a line each in order of the file, or as one JSON object.
//! Exit code 0, or 1 if anything is wrong or the file cannot be read.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::cli::CheckConfigFlags;
use super::config::{self, ConfigError, Loaded, Notice};

/// Checks a configuration file.
#[must_use]
pub fn config(flags: &CheckConfigFlags) -> ExitCode {
    let report = Report::of(&flags.file, config::load(&flags.file));
    let text = if flags.json {
        // Numbers and texts always have a JSON form.
        serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
    } else {
        report.lines()
    };
    // Who has closed the pipe does not want to read it; the exit code tells all the same.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(u8::from(!report.valid))
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    valid: bool,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// Something that was found; without a place if it is about the whole file.
#[derive(Debug, Serialize)]
struct Finding {
    #[serde(flatten)]
    place: Option<config::fault::Place>,
    message: String,
}

impl Report {
    fn of(file: &Path, loaded: Result<Loaded, ConfigError>) -> Self {
        let file = file.display().to_string();
        let (errors, warnings) = match loaded {
            Ok(Loaded { notices, .. }) => {
                let warning = |Notice { place, message }| Finding { place: Some(place), message };
                (Vec::new(), notices.into_iter().map(warning).collect())
            }
            Err(ConfigError::Wrong { faults, .. }) => {
                let error = |fault: config::fault::Fault| Finding {
                    place: Some(fault.place),
                    message: fault.wrong.to_string(),
                };
                (faults.into_iter().map(error).collect(), Vec::new())
            }
            Err(error) => (vec![Finding { place: None, message: error.to_string() }], Vec::new()),
        };
        Self { file, valid: errors.is_empty(), errors, warnings }
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        let kinds = [("error", &self.errors), ("warning", &self.warnings)];
        for (kind, findings) in kinds {
            for Finding { place, message } in findings {
                // Writing to a `String` does not fail.
                let _ = match place {
                    Some(place) => writeln!(text, "{}:{place}: {kind}: {message}", self.file),
                    None => writeln!(text, "{kind}: {message}"),
                };
            }
        }
        if self.valid {
            let _ = writeln!(text, "{} is right", self.file);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        let loaded = config::read::read(text, &|_| String::new())
            .map_err(|faults| ConfigError::Wrong { file: "a.yml".into(), faults });
        Report::of(Path::new("a.yml"), loaded)
    }

    #[test]
    fn what_has_no_effect_is_told_and_is_not_wrong() {
        let report = report("rule_files: []\n");
        assert!(report.valid);
        assert_eq!(
            report.lines(),
            "a.yml:1:1: warning: rule_files has no effect: rules are not evaluated here\na.yml is right\n"
        );
    }

    #[test]
    fn everything_that_is_wrong_has_a_line() {
        let report = report("globl: 1\nstorage: 5\n");
        assert!(!report.valid);
        assert_eq!(
            report.lines(),
            "a.yml:1:1: error: unknown key \"globl\" in the configuration; did you mean \"global\"?\n\
             a.yml:2:10: error: storage is a mapping of keys to values, and here is a single value\n"
        );
    }

    #[test]
    fn json_has_a_line_and_a_column_for_each_finding() {
        let json = serde_json::to_value(report("globl: 1\n")).unwrap();
        let expected = serde_json::json!({
            "file": "a.yml",
            "valid": false,
            "errors": [{
                "line": 1,
                "column": 1,
                "message": "unknown key \"globl\" in the configuration; did you mean \"global\"?",
            }],
            "warnings": [],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_wrong() {
        let file = Path::new("/nonexistent/a.yml");
        let report = Report::of(file, config::load(file));
        assert!(!report.valid && report.lines().starts_with("error: cannot read"), "{report:?}");
    }
}
