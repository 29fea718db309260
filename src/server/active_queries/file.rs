//! `queries.active` in the data directory: what runs, for whoever asks after a kill what ran.
//!
//! ```text
//! {"query":"up","started":"2026-01-01T00:00:00Z","client":"127.0.0.1:4711"}      a line a query
//! ```
//! A thread of its own keeps it: no query waits for it, and however many begin and end, it is written a hundred times a second
//! at most. The page cache has it as soon as it is written, which a kill of the process does not take away; it is not flushed.
//! At the end of a server in good order it is removed: a start that finds it tells what it says.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ActiveQueries, ActiveQuery};
use crate::server::rfc3339;

const NAME: &str = "queries.active";

/// The file may say this much at the next start. It has fewer lines than queries may run at once.
const BYTES_MAX: u64 = 4 << 20;

/// Between two writings.
const PAUSE: Duration = Duration::from_millis(10);

/// A query that ran when its server was killed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// Its text, or the start of a long one.
    pub query: String,
    /// When it began, as RFC 3339 has it.
    pub started: String,
    /// Who asked; empty if that was not known.
    pub client: String,
}

impl Unfinished {
    fn of(query: &ActiveQuery) -> Self {
        Self {
            query: query.text.clone(),
            started: rfc3339::format(query.started),
            client: query.client.map(|client| client.to_string()).unwrap_or_default(),
        }
    }
}

/// The thread that keeps the file.
#[derive(Debug)]
pub struct Keeper {
    thread: JoinHandle<()>,
    ends: Arc<AtomicBool>,
}

/// What the server that ran here before was asked and has not answered. Lines that cannot be understood are left out.
#[must_use]
pub fn left_over(data: &Path) -> Vec<Unfinished> {
    let mut text = Vec::new();
    let read = File::open(data.join(NAME)).and_then(|f| f.take(BYTES_MAX).read_to_end(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// From now on the file in the directory `data` says which of `queries` run.
///
/// # Errors
/// The system gives no thread, or the file cannot be made.
pub fn keep(queries: &ActiveQueries, data: &Path) -> io::Result<Keeper> {
    let path = data.join(NAME);
    let mut options = OpenOptions::new();
    // Queries name what their senders have; they are not for everybody on the host.
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    let ends = Arc::new(AtomicBool::new(false));
    let (of_thread, until) = (queries.clone(), Arc::clone(&ends));
    let thread = thread::Builder::new()
        .name("queries".to_owned())
        .spawn(move || write_down(&of_thread, &file, &path, &until))?;
    // Nobody keeps the same queries twice; if so, the first thread hears of them.
    let _ = queries.0.nudge.thread.set(thread.thread().clone());
    Ok(Keeper { thread, ends })
}

impl Keeper {
    /// Ends the thread and removes the file: no query runs any more. Not to be called on a shard.
    pub fn end(self) {
        self.ends.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // A panic of it has been told on standard error, and has cost the file only.
        let _ = self.thread.join();
    }
}

#[expect(clippy::disallowed_methods, reason = "the thread is there to wait")]
fn write_down(queries: &ActiveQueries, file: &File, path: &PathBuf, ends: &AtomicBool) {
    let (mut written, mut failed) = (0, false);
    while !ends.load(Ordering::Acquire) {
        if !queries.0.nudge.is_told.swap(false, Ordering::AcqRel) {
            thread::park();
            continue;
        }
        match write(queries, file, written) {
            Ok(bytes) => written = bytes,
            Err(error) if !failed => {
                failed = true;
                tracing::warn!(%error, file = %path.display(), "cannot write down which queries run");
            }
            Err(_) => {}
        }
        thread::sleep(PAUSE);
    }
    // What cannot be removed tells of queries that have ended, at the next start, and no more.
    let _ = std::fs::remove_file(path);
}

/// Writes the file anew, over `before` bytes; gives how long it is.
fn write(queries: &ActiveQueries, file: &File, before: usize) -> io::Result<usize> {
    let mut text = Vec::new();
    for query in queries.list() {
        serde_json::to_writer(&mut text, &Unfinished::of(&query))?;
        text.push(b'\n');
    }
    file.write_all_at(&text, 0)?;
    if text.len() < before {
        file.set_len(text.len() as u64)?;
    }
    Ok(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;
    use crate::server::route::Endpoint;

    /// Waits until the file says this.
    #[expect(clippy::disallowed_methods, reason = "a test has no shard to stop")]
    fn until(data: &Path, texts: &[&str]) {
        for _ in 0..1000 {
            let said = left_over(data);
            if said.iter().map(|one| one.query.as_str()).eq(texts.iter().copied()) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it says {:?}, not {texts:?}", left_over(data));
    }

    #[test]
    fn the_file_says_what_runs_and_goes_in_good_order() {
        let dir = tempfile::tempdir().unwrap();
        let queries = ActiveQueries::default();
        let core = queries.of_core();
        let keeper = keep(&queries, dir.path()).unwrap();
        let client = Some("127.0.0.1:4711".parse().unwrap());
        let long = core.begin("sum(\n\"long\")", Endpoint::Query, client, TimestampMs(1000));
        let short = core.begin("up", Endpoint::Query, None, TimestampMs(2000));
        until(dir.path(), &["sum(\n\"long\")", "up"]);
        let first = left_over(dir.path()).remove(0);
        assert_eq!(first.started, "1970-01-01T00:00:01Z");
        assert_eq!(first.client, "127.0.0.1:4711");
        drop(long);
        until(dir.path(), &["up"]);
        drop(short);
        until(dir.path(), &[]);
        keeper.end();
        assert!(!dir.path().join(NAME).exists());
    }

    #[test]
    fn a_file_that_says_nothing_that_can_be_understood_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(left_over(dir.path()).is_empty());
        std::fs::write(dir.path().join(NAME), b"\xff{\n{\"query\":\n[]\n").unwrap();
        assert!(left_over(dir.path()).is_empty());
    }
}
