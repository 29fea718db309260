//! One server: asks it a query, and measures how long it took, what the process needed, and how much came back.

use std::time::{Duration, Instant};

use super::QueryError;
use super::answer::success;
use super::question::Times;
use crate::cli::QueryArgs;
use crate::http::form::post;
use crate::http::{Client, Url};
use crate::process::Process;
use crate::verify::answer::AnswerError;

/// A server and its process.
#[derive(Debug)]
pub struct Asked {
    url: Url,
    headers: Vec<String>,
    client: Client,
    process: Option<Process>,
}

/// What one question cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// From the request's first byte to the answer's last.
    pub took: Duration,
    /// CPU time of the process meanwhile.
    pub cpu: Option<Duration>,
    /// Bytes of the answer's body.
    pub bytes: u64,
}

/// What a refusal or the beginning of an answer is told by.
const BEGINNING_BYTES: usize = 4096;

impl Asked {
    /// The server at `url`, asked as `args` say.
    ///
    /// # Errors
    /// There is none, or no such process.
    pub fn new(args: &QueryArgs, url: &Url, pid: Option<u32>) -> Result<Self, QueryError> {
        let addresses = url.resolve(args.allow_remote)?;
        Ok(Self {
            url: url.clone(),
            headers: args.headers.clone(),
            client: Client::new(addresses, args.timeout, usize::MAX),
            process: pid.map(Process::watch).transpose()?,
        })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Its process, if it is known.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Asks, and keeps the whole answer.
    ///
    /// # Errors
    /// No answer. A refusal is one.
    pub fn whole(&mut self, query: &str, times: Times) -> Result<(u16, Vec<u8>), QueryError> {
        let mut body = Vec::new();
        let status = self.ask(query, times, &mut |piece| body.extend_from_slice(piece))?;
        Ok((status, body))
    }

    /// Asks and measures. The answer is counted as it comes and thrown away.
    ///
    /// # Errors
    /// No answer. Within it: a refusal.
    pub fn measured(
        &mut self,
        query: &str,
        times: Times,
    ) -> Result<Result<Cost, AnswerError>, QueryError> {
        let before = self.process.as_ref().map(Process::usage).transpose()?;
        let (mut bytes, mut beginning) = (0u64, Vec::new());
        let began = Instant::now();
        let status = self.ask(query, times, &mut |piece| {
            bytes += piece.len() as u64;
            let left = BEGINNING_BYTES.saturating_sub(beginning.len()).min(piece.len());
            beginning.extend_from_slice(piece.get(..left).unwrap_or_default());
        })?;
        let took = began.elapsed();
        let after = self.process.as_ref().map(Process::usage).transpose()?;
        let cpu = before.zip(after).map(|(before, after)| after.cpu.saturating_sub(before.cpu));
        Ok(success(status, &beginning).map(|()| Cost { took, cpu, bytes }))
    }

    fn ask(
        &mut self,
        query: &str,
        times: Times,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<u16, QueryError> {
        let times_form = times.form();
        let mut form = vec![("query", query)];
        form.extend(times_form.iter().map(|(name, value)| (*name, value.as_str())));
        let url = self.url.join(times.path());
        let (head, body) = post(&url, &self.headers, &form);
        let mut each = |_, piece: &[u8]| each(piece);
        let answer = self.client.exchange_in_pieces(head.as_bytes(), body.as_bytes(), &mut each);
        let answer = answer.map_err(|source| QueryError::Client { url: Box::new(url), source })?;
        Ok(answer.status)
    }
}
