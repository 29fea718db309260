//! One remote-read request, and what it cost: when the first byte came, how fast the others, and what the server needed.
//!
//! The answer is counted as it comes and thrown away: the reader's memory does not grow with it.

mod answer;
pub(crate) mod request;

pub use request::Comparison;

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::cli::ReadArgs;
use crate::http::{Client, ClientError, UrlError};
use crate::process::{Process, ProcessError, Usage};
use answer::{Answer, AnswerError};

/// How often the server's memory is looked at while it answers.
const LOOK: Duration = Duration::from_millis(5);

/// Why it cannot be told what the request cost.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The server's address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The server's process.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// No answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An answer that says no.
    #[error("the server answers {status}: {text}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it says.
        text: String,
    },
    /// An answer that is none.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// What a request brought and cost.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Was there anything to read?
    pub ok: bool,
    /// `chunks` or `samples`.
    pub kind: &'static str,
    /// Series; one that comes in several frames once.
    pub series: u64,
    /// Frames of a streamed answer.
    pub frames: u64,
    /// Chunks of a streamed answer.
    pub chunks: u64,
    /// Floats.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Bytes of the body as it came.
    pub bytes: u64,
    /// Seconds from the request's last byte to the first piece of the body.
    pub first_seconds: f64,
    /// Seconds to the body's end.
    pub seconds: f64,
    /// CPU seconds of the server meanwhile.
    pub server_cpu_seconds: Option<f64>,
    /// Resident bytes of the server before the request.
    pub rss_before_bytes: Option<u64>,
    /// The most resident bytes of the server that were seen meanwhile.
    pub rss_most_bytes: Option<u64>,
}

/// Asks once.
///
/// # Errors
/// See [`ReadError`].
pub fn run(args: &ReadArgs) -> Result<Report, ReadError> {
    let addresses = args.url.resolve(args.allow_remote)?;
    let process = args.pid.map(Process::watch).transpose()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let range = (args.from.resolve(now_ms), args.to.resolve(now_ms));
    let body = request::body(range, &args.matchers, args.samples);
    let head = request::head(&args.url, &args.headers, body.len());
    let mut client = Client::new(addresses, args.timeout, usize::MAX);
    client.connect()?;
    let before = process.as_ref().map(Process::usage).transpose()?;
    let done = AtomicBool::new(false);
    let (most, measured) = thread::scope(|scope| {
        let watching = process.as_ref().map(|process| scope.spawn(|| most_rss(process, &done)));
        let measured = measure(&mut client, &head, &body, args.samples);
        done.store(true, Ordering::Relaxed);
        (watching.and_then(|watching| watching.join().ok()), measured)
    });
    let after = process.as_ref().map(Process::usage).transpose()?;
    let cpu = |(before, after): (Usage, Usage)| after.cpu.saturating_sub(before.cpu).as_secs_f64();
    Ok(Report {
        server_cpu_seconds: before.zip(after).map(cpu),
        rss_before_bytes: before.map(|usage| usage.rss_bytes),
        rss_most_bytes: most.max(after.map(|usage| usage.rss_bytes)),
        ..measured?
    })
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own, which has nothing else to do")]
fn most_rss(process: &Process, done: &AtomicBool) -> u64 {
    let mut most = 0;
    while !done.load(Ordering::Relaxed) {
        most = most.max(process.usage().map_or(0, |usage| usage.rss_bytes));
        thread::sleep(LOOK);
    }
    most
}

fn measure(
    client: &mut Client,
    head: &[u8],
    body: &[u8],
    samples: bool,
) -> Result<Report, ReadError> {
    let began = Instant::now();
    let (mut first, mut answer) = (None, Answer::new(samples));
    let mut refusal = Vec::new();
    let response = client.exchange_in_pieces(head, body, &mut |status, piece| {
        first.get_or_insert_with(|| began.elapsed());
        if status == 200 {
            answer.take(piece);
        } else if refusal.len() < 1000 {
            refusal.extend_from_slice(piece);
        }
    })?;
    let took = began.elapsed();
    if response.status != 200 {
        let text = String::from_utf8_lossy(&refusal).trim().to_owned();
        return Err(ReadError::Refused { status: response.status, text });
    }
    let counts = answer.finish()?;
    Ok(Report {
        ok: counts.series > 0,
        kind: if samples { "samples" } else { "chunks" },
        series: counts.series,
        frames: counts.frames,
        chunks: counts.chunks,
        samples: counts.samples,
        histograms: counts.histograms,
        bytes: counts.bytes,
        first_seconds: first.unwrap_or(took).as_secs_f64(),
        seconds: took.as_secs_f64(),
        server_cpu_seconds: None,
        rss_before_bytes: None,
        rss_most_bytes: None,
    })
}

impl Report {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// For people.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "numbers for people")]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let (all, mb) = ((self.samples + self.histograms) as f64, self.bytes as f64 / 1e6);
        let rate = |n: f64, seconds: f64| n / seconds.max(1e-9);
        // Writing to a `String` does not fail.
        let _ = writeln!(
            text,
            "read       {} series, {} samples, {} histograms as {}: {} chunks in {} frames, {mb:.1} MB",
            self.series, self.samples, self.histograms, self.kind, self.chunks, self.frames
        );
        let _ = writeln!(
            text,
            "time       first byte after {:.1} ms, all after {:.2} s: {:.1} million samples/s, {:.1} MB/s",
            self.first_seconds * 1e3,
            self.seconds,
            rate(all, self.seconds) / 1e6,
            rate(mb, self.seconds)
        );
        if let Some(cpu) = self.server_cpu_seconds {
            let _ = writeln!(
                text,
                "server     {cpu:.2} CPU s, {:.1} million samples per CPU s",
                rate(all, cpu) / 1e6
            );
        }
        if let (Some(before), Some(most)) = (self.rss_before_bytes, self.rss_most_bytes) {
            let (before, most) = (before as f64 / 1e6, most as f64 / 1e6);
            let _ = writeln!(
                text,
                "memory     {before:.1} MB before, {most:.1} MB at most: {:.1} MB for the answer",
                most - before
            );
        }
        text.truncate(text.trim_end().len());
        text
    }
}
