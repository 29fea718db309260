//! Asks the query API and remote read over one connection, and asks again while the server is busy or restarting.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::answer::{AnswerError, Metric, Series, data, matrix};
use super::compare::Found;
use super::native;
use crate::cli::{Match, VerifyArgs};
use crate::flood::control::Control;
use crate::http::form::{post, seconds};
use crate::http::{Client, ClientError, Url};
use crate::read::request;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No answer at all.
    #[error("{url}: {source}")]
    Client {
        /// What was asked.
        url: Box<Url>,
        /// What happened.
        source: ClientError,
    },
    /// An answer of no use.
    #[error("{url}: {source} (asked for {asked})")]
    Answer {
        /// What was asked.
        url: Box<Url>,
        /// The query or selector.
        asked: String,
        /// What came.
        source: AnswerError,
    },
    /// A defect of the generator.
    #[error("a thread that asks panicked")]
    Panicked,
}

/// A connection to a query API.
#[derive(Debug)]
pub struct Asker {
    client: Client,
    url: Url,
    /// Header lines to add.
    headers: Vec<String>,
    /// The body of the last answer, which what was parsed from it borrows.
    body: Vec<u8>,
}

const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes of JSON that a sample takes at most: `[1780000000.000,"1.7976931348623157e+308"],`.
const SAMPLE_BYTES: u64 = 48;
const BODY_BYTES_MIN: u64 = 256 << 20;

impl Asker {
    /// Asks the server at `addresses` as `args` say.
    #[must_use]
    pub fn new(args: &VerifyArgs, addresses: Vec<SocketAddr>) -> Self {
        let bytes_max = BODY_BYTES_MIN.max(args.samples_per_query.saturating_mul(SAMPLE_BYTES));
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let headers = args.headers.clone();
        let client = Client::new(addresses, args.timeout, bytes_max);
        Self { client, url: args.url.clone(), headers, body: Vec::new() }
    }

    /// Waits until the server answers queries.
    ///
    /// # Errors
    /// It does not within `wait`.
    pub fn wait_until_ready(&mut self, wait: Duration) -> Result<(), AskError> {
        let until = Instant::now() + wait;
        loop {
            let answered = self.post("/api/v1/query", &[("query", "1")]).and_then(|status| {
                data::<serde_json::Value>(status, &self.body)
                    .map_err(|source| self.no_use("1", source))
            });
            match answered {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => pause(),
            }
        }
    }

    /// The raw samples of `selector`, a range selector, at `time_ms`.
    ///
    /// # Errors
    /// No answer of any use after some tries.
    pub fn samples(&mut self, selector: &str, time_ms: i64) -> Result<Vec<Series<'_>>, AskError> {
        let time = seconds(time_ms);
        let status = self.ask("/api/v1/query", &[("query", selector), ("time", &time)])?;
        matrix(status, &self.body).map_err(|source| self.no_use(selector, source))
    }

    /// The label sets of the series that match `selector` and have samples between the two times.
    ///
    /// # Errors
    /// No answer of any use after some tries.
    pub fn series(
        &mut self,
        selector: &str,
        times_ms: (i64, i64),
    ) -> Result<Vec<Metric>, AskError> {
        let [start, end] = [times_ms.0, times_ms.1].map(seconds);
        let form = [("match[]", selector), ("start", &start), ("end", &end)];
        let status = self.ask("/api/v1/series", &form)?;
        data(status, &self.body).map_err(|source| self.no_use(selector, source))
    }

    fn no_use(&self, asked: &str, source: AnswerError) -> AskError {
        AskError::Answer { url: Box::new(self.url.clone()), asked: asked.to_owned(), source }
    }

    /// Reads back the native histograms of a question, and whatever floats their series have.
    ///
    /// - `range`: from the first to the last millisecond, both included.
    ///
    /// # Errors
    /// No answer of any use after some tries.
    pub fn native(
        &mut self,
        matchers: &[Match],
        range: (i64, i64),
    ) -> Result<Vec<Found<'static>>, AskError> {
        let body = request::body(range, matchers, true);
        let url = self.url.join("/api/v1/read");
        let head = request::head(&url, &self.headers, body.len());
        let status = self.again(|asker| asker.exchange(url.clone(), &head, &body))?;
        native::series(status, &self.body).map_err(|source| AskError::Answer {
            url: Box::new(url),
            asked: format!("{matchers:?}"),
            source,
        })
    }

    /// Posts a form until the answer is neither a broken connection nor a 5xx or 429.
    fn ask(&mut self, path: &str, form: &[(&str, &str)]) -> Result<u16, AskError> {
        self.again(|asker| asker.post(path, form))
    }

    fn again(
        &mut self,
        mut post: impl FnMut(&mut Self) -> Result<u16, AskError>,
    ) -> Result<u16, AskError> {
        for _ in 1..TRIES {
            match post(self) {
                Ok(status) if !matches!(status, 429 | 500..) => return Ok(status),
                Ok(_) | Err(_) => pause(),
            }
        }
        post(self)
    }

    fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Result<u16, AskError> {
        let url = self.url.join(path);
        let (head, body) = post(&url, &self.headers, form);
        self.exchange(url, head.as_bytes(), body.as_bytes())
    }

    /// Sends a request and keeps the body of its answer; returns the status.
    fn exchange(&mut self, url: Url, head: &[u8], body: &[u8]) -> Result<u16, AskError> {
        let response = self
            .client
            .exchange(head, body)
            .map_err(|source| AskError::Client { url: Box::new(url), source })?;
        self.body = response.body;
        Ok(response.status)
    }
}

fn pause() {
    let _nobody_interrupts = Control::new(0, 0).wait_until(Instant::now() + PAUSE);
}
