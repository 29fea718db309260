//! Log lines on standard error, written by a thread of their own.
//!
//! A shard must not wait for whoever reads the log: a line is put into a bounded queue, and when the queue is full it is
//! dropped and counted. Owns the queue and the thread; what a line looks like is `tracing`'s layers' to say.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use tracing::Dispatch;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use super::cli::LogFormat;
use crate::rt;

/// So many lines may wait.
const QUEUE_LINES: usize = 4096;

/// What is put into the queue.
enum Entry {
    Line(Vec<u8>),
    /// Everything before it is to be written; then answer.
    Flush(SyncSender<()>),
}

/// The way into the queue. Clones lead into the same one.
#[derive(Debug, Clone)]
pub struct Log {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

impl Log {
    /// Starts the thread that writes to `to`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(to: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, entries) = sync_channel(QUEUE_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(&entries, &counted, to))?;
        Ok(Self { queue, dropped })
    }

    /// From now on, events of this process go here.
    ///
    /// # Errors
    /// They go somewhere else already.
    pub fn install(&self, level: LevelFilter, format: LogFormat) -> Result<(), LogError> {
        tracing::dispatcher::set_global_default(self.dispatch(level, format)).map_err(|_| LogError)
    }

    /// Whoever events are dispatched to, to be written here.
    fn dispatch(&self, level: LevelFilter, format: LogFormat) -> Dispatch {
        // The runtime warns of what this project knows and lives with.
        let runtime = level.min(LevelFilter::ERROR);
        let filter = Targets::new().with_default(level).with_target(rt::LOG_TARGET, runtime);
        let registry = tracing_subscriber::registry().with(filter);
        match format {
            LogFormat::Logfmt => {
                let layer = tracing_logfmt::builder().with_target(false).layer();
                Dispatch::new(registry.with(layer.with_writer(self.clone())))
            }
            LogFormat::Json => {
                let layer = tracing_subscriber::fmt::layer().json().flatten_event(true);
                Dispatch::new(registry.with(layer.with_target(false).with_writer(self.clone())))
            }
        }
    }

    /// Waits until everything logged so far is written. Not to be called on a shard.
    pub fn flush(&self) {
        let (written, wait) = sync_channel(1);
        if self.queue.send(Entry::Flush(written)).is_ok() {
            // An error means that the thread is gone, and nothing is left to be written.
            let _ = wait.recv();
        }
    }
}

/// Events go somewhere else already.
#[derive(Debug, thiserror::Error)]
#[error("this process already has a log")]
pub struct LogError;

/// The thread: writes what comes, and says how much did not. A reader that has gone is no reason to end.
fn write(entries: &Receiver<Entry>, dropped: &AtomicU64, mut to: impl Write) {
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                let _ = to.write_all(&line);
            }
            Entry::Flush(written) => {
                let _ = to.flush();
                let _ = written.send(());
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(to, "level=warn message=\"log lines were dropped\" lines={lost}");
        }
    }
}

/// One line on its way into the queue.
#[derive(Debug)]
pub struct Line {
    log: Log,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let line = std::mem::take(&mut self.bytes);
        if line.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(_)) = self.log.queue.try_send(Entry::Line(line)) {
            self.log.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { log: self.clone(), bytes: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A reader of the log that can be made to wait.
    #[derive(Clone, Default)]
    struct Reader(Arc<Mutex<Vec<u8>>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn say(log: &Log, line: &str) {
        log.make_writer().write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn lines_arrive_in_order() {
        let reader = Reader::default();
        let log = Log::start(reader.clone()).unwrap();
        say(&log, "a\n");
        say(&log, "b\n");
        log.flush();
        assert_eq!(*reader.0.lock().unwrap(), b"a\nb\n");
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_nobody_waits_for_it() {
        let reader = Reader::default();
        let log = Log::start(reader.clone()).unwrap();
        let stall = reader.0.lock().unwrap();
        // One line is with the thread, which waits; the queue takes so many; the rest is dropped.
        for _ in 0..QUEUE_LINES + 100 {
            say(&log, "x\n");
        }
        assert!(log.dropped.load(Ordering::Relaxed) >= 99);
        drop(stall);
        log.flush();
        let text = String::from_utf8(reader.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("log lines were dropped"), "{}", text.len());
    }

    #[test]
    fn a_line_is_logfmt_or_json() {
        fn is_logfmt(line: &str) -> bool {
            line.starts_with("ts=")
                && [" level=warn ", "message=\"it is so\"", "n=7"]
                    .iter()
                    .all(|part| line.contains(part))
        }
        fn is_json(line: &str) -> bool {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            json["level"] == "WARN" && json["message"] == "it is so" && json["n"] == 7
        }
        let formats =
            [(LogFormat::Logfmt, is_logfmt as fn(&str) -> bool), (LogFormat::Json, is_json)];
        for (format, fits) in formats {
            let reader = Reader::default();
            let log = Log::start(reader.clone()).unwrap();
            let dispatch = log.dispatch(LevelFilter::INFO, format);
            tracing::dispatcher::with_default(&dispatch, || {
                tracing::debug!("too much");
                tracing::warn!(n = 7, "it is so");
            });
            log.flush();
            let line = String::from_utf8(reader.0.lock().unwrap().clone()).unwrap();
            assert!(fits(line.trim_end()), "{line}");
        }
    }
}
