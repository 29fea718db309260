//! `floodplain verify`, `export` and `import`: what they print, and their exit codes.
//!
//! What was found goes to standard output, as lines or as one JSON object; how far it is, to standard error if that is a
//! terminal; why it could not be done, to standard error in one sentence. Exit code 0, or 1 if anything is damaged, missing
//! or could not be done.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::cli::{ExportFlags, ImportFlags, VerifyFlags};
use super::rfc3339;
use crate::coordinator::api::RETENTION_MS;
use crate::model::{TimeRange, TimestampMs};
use crate::offline::OfflineError;
use crate::offline::export::{self, Exported};
use crate::offline::import::{self, Imported};
use crate::offline::verify::{self, Damage, Verified};
use crate::rt::Stopwatch;

/// How far it is, is told no more often than this.
const TOLD_EVERY: Duration = Duration::from_millis(200);

/// Reads everything, and tells what is damaged.
#[must_use]
pub fn verify(flags: &VerifyFlags) -> ExitCode {
    let outcome = with_progress(|progress| verify::verify(&flags.dir, progress));
    finish(flags.json, "verify", outcome, verified_lines, |verified| verified.damage.is_empty())
}

/// Writes plain blocks.
#[must_use]
pub fn export(flags: &ExportFlags) -> ExitCode {
    let (start, end) =
        (flags.start.unwrap_or(TimestampMs::MIN), flags.end.unwrap_or(TimestampMs::MAX));
    let Some(time) = TimeRange::new(start, end) else {
        eprintln!("floodplain cannot export: --end is before --start");
        return ExitCode::FAILURE;
    };
    let selectors = flags.selectors.iter().map(|selector| selector.0.clone()).collect();
    let wanted = export::Wanted { time, selectors };
    let outcome =
        with_progress(|progress| export::export(&flags.path, &flags.out, &wanted, progress));
    finish(flags.json, "export", outcome, exported_lines, |exported| exported.missing.is_empty())
}

/// Takes blocks in.
#[must_use]
pub fn import(flags: &ImportFlags) -> ExitCode {
    let outcome = with_progress(|progress| import::import(&flags.dir, &flags.path, progress));
    let outcome = outcome.map(|mut imported| {
        imported.notes.extend(retention_note(&imported, now()));
        imported
    });
    finish(flags.json, "import", outcome, imported_lines, |imported| imported.damaged.is_empty())
}

/// Calls `work` with something that tells on a terminal how far it is.
fn with_progress<T>(work: impl FnOnce(crate::offline::Progress<'_>) -> T) -> T {
    if !stderr().is_terminal() {
        return work(&|_, _, _| {});
    }
    let told: Mutex<Option<Stopwatch>> = Mutex::new(None);
    let outcome = work(&|what, done, total| {
        let Ok(mut told) = told.lock() else { return };
        if told.as_ref().is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            *told = Some(Stopwatch::start());
            // A terminal that cannot be written to cannot be told so.
            let _ = write!(stderr(), "\r\x1b[K{what}: {done} of {total}");
        }
    });
    let _ = write!(stderr(), "\r\x1b[K");
    outcome
}

fn finish<T: Serialize>(
    json: bool,
    command: &str,
    outcome: Result<T, OfflineError>,
    lines: impl Fn(&T) -> String,
    is_good: impl Fn(&T) -> bool,
) -> ExitCode {
    match outcome {
        Ok(report) => {
            let text = if json {
                // Numbers and texts always have a JSON form.
                serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
            } else {
                lines(&report)
            };
            // Who has closed the pipe does not want to read it; the exit code tells all the same.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::from(u8::from(!is_good(&report)))
        }
        Err(error) => {
            eprintln!("floodplain cannot {command}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn verified_lines(verified: &Verified) -> String {
    let mut text = String::new();
    // Writing to a `String` does not fail.
    for Damage { file, offset, what } in &verified.damage {
        let _ = match offset {
            Some(offset) => writeln!(text, "damaged: {file}, byte {offset}: {what}"),
            None => writeln!(text, "damaged: {file}: {what}"),
        };
    }
    for note in &verified.notes {
        let _ = writeln!(text, "note: {note}");
    }
    let Verified { blocks, block_bytes, block_samples, .. } = verified;
    let Verified { log_files, log_bytes, log_samples, head_chunks, .. } = verified;
    let _ = writeln!(text, "{blocks} blocks read: {block_samples} samples, {block_bytes} bytes");
    if *log_files > 0 {
        let _ = writeln!(
            text,
            "{log_files} checkpoints and log segments read: {log_samples} samples, {head_chunks} chunks, {log_bytes} bytes"
        );
    }
    match verified.damage.len() {
        0 => text.push_str("nothing is damaged\n"),
        count => {
            let _ = writeln!(text, "{count} places are damaged");
        }
    }
    text
}

fn exported_lines(exported: &Exported) -> String {
    let mut text = String::new();
    for missing in &exported.missing {
        let _ = writeln!(text, "missing: {missing}");
    }
    let (blocks, samples) = (exported.blocks.len(), exported.samples);
    let _ = writeln!(text, "{blocks} blocks written: {samples} samples");
    text
}

fn imported_lines(imported: &Imported) -> String {
    let mut text = String::new();
    for import::Passed { block, why } in &imported.damaged {
        let _ = writeln!(text, "damaged, not imported: {block}: {why}");
    }
    for import::Passed { block, why } in &imported.skipped {
        let _ = writeln!(text, "skipped: {block}: {why}");
    }
    for note in &imported.notes {
        let _ = writeln!(text, "note: {note}");
    }
    let Imported { samples, bytes, .. } = imported;
    let blocks = imported.imported.len();
    let _ = writeln!(text, "{blocks} blocks imported: {samples} samples, {bytes} bytes");
    text
}

/// What is to be known of blocks that a server would delete.
fn retention_note(imported: &Imported, now: TimestampMs) -> Option<String> {
    let oldest = imported.min_time.filter(|oldest| now.0.saturating_sub(*oldest) > RETENTION_MS)?;
    Some(format!(
        "the oldest samples are of {}, and a server deletes blocks that are older than its --storage.tsdb.retention.time \
         (15d by default): start it with one that is long enough, or with 0",
        rfc3339::format(TimestampMs(oldest))
    ))
}

fn now() -> TimestampMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).map_or(TimestampMs::MAX, TimestampMs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_damage_has_a_line_with_file_and_offset() {
        let damage = |file: &str, offset| {
            let (file, what) = (file.to_owned(), "torn".to_owned());
            Damage { file, offset, what }
        };
        let damage = vec![damage("/a/index", Some(7)), damage("/a/meta.json", None)];
        let verified = Verified { blocks: 1, damage, ..Verified::default() };
        assert_eq!(
            verified_lines(&verified),
            "damaged: /a/index, byte 7: torn\ndamaged: /a/meta.json: torn\n\
             1 blocks read: 0 samples, 0 bytes\n2 places are damaged\n"
        );
    }

    #[test]
    fn samples_that_a_server_would_delete_are_told_of() {
        let of = |min_time| Imported { min_time: Some(min_time), ..Imported::default() };
        let now = TimestampMs(1_767_225_600_000);
        assert_eq!(retention_note(&of(now.0 - RETENTION_MS), now), None);
        let note = retention_note(&of(0), now).unwrap();
        assert!(note.contains("1970-01-01T00:00:00Z"), "{note}");
        assert_eq!(retention_note(&Imported::default(), now), None);
    }
}
