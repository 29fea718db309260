//! Asks one server or two the same queries in turn, and tells what each cost and whether the answers agree.
//!
//! A round asks every server once, one after the other: what disturbs the machine for longer than a query disturbs both.

pub mod answer;
pub mod asked;
pub mod question;
pub mod report;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::QueryArgs;
use crate::http::{ClientError, Url, UrlError};
use crate::process::ProcessError;
use crate::verify::answer::AnswerError;
use answer::Answer;
use asked::{Asked, Cost};
use question::{Question, Times};
pub use report::Report;
use report::{Row, Server};

/// Why it cannot be told what queries cost.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// A server's address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A server's process.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The file of queries.
    #[error("cannot read the queries: {0}")]
    File(std::io::Error),
    /// Nothing to ask.
    #[error("there is no query to ask")]
    None,
    /// Times that make no range.
    #[error("--start is not before --end, or --step is none")]
    Times,
    /// No answer.
    #[error("{url}: {source}")]
    Client {
        /// What was asked.
        url: Box<Url>,
        /// What happened.
        source: ClientError,
    },
}

const DEFAULT_RANGE_MS: i64 = 6 * 3_600_000;

/// Asks as `args` say.
///
/// # Errors
/// See [`QueryError`]. A query that a server refuses is no error: the report says so.
pub fn run(args: &QueryArgs) -> Result<Report, QueryError> {
    let questions =
        question::list(&args.query, args.queries.as_deref()).map_err(QueryError::File)?;
    if questions.is_empty() {
        return Err(QueryError::None);
    }
    let times = times(args)?;
    let mut servers = vec![Asked::new(args, &args.url, args.pid)?];
    if let Some(url) = &args.against {
        servers.push(Asked::new(args, url, args.against_pid)?);
    }
    let mut rows = Vec::new();
    for question in &questions {
        if !args.quiet {
            eprintln!("{}", question.query);
        }
        rows.push(ask(args, question, times, &mut servers)?);
    }
    Ok(Report::new(times, args.runs, servers.len(), rows))
}

fn times(args: &QueryArgs) -> Result<Times, QueryError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let end = args.end.resolve(now);
    if args.instant {
        return Ok(Times::Instant(end));
    }
    let start = args.start.map_or(end.saturating_sub(DEFAULT_RANGE_MS), |time| time.resolve(now));
    let step = i64::try_from(args.step.as_millis()).unwrap_or(i64::MAX);
    match start <= end && step > 0 && end.checked_sub(start).is_some() {
        true => Ok(Times::Range { start, end, step }),
        false => Err(QueryError::Times),
    }
}

fn ask(
    args: &QueryArgs,
    question: &Question,
    times: Times,
    servers: &mut [Asked],
) -> Result<Row, QueryError> {
    let mut row = Row {
        query: question.query.clone(),
        points: 0,
        points_of_selector: question.selector.is_some(),
        agree: None,
        difference: None,
        ratio: None,
        servers: Vec::new(),
    };
    for _ in 1..args.warmup {
        for server in &mut *servers {
            let _refusals_come_again = server.measured(&question.query, times)?;
        }
    }
    match compared(args, question, times, servers)? {
        Ok((points, difference)) => {
            row.points = points;
            row.agree = (servers.len() > 1).then_some(difference.is_none());
            row.difference = difference;
        }
        Err(refusal) => {
            row.agree = (servers.len() > 1).then_some(false);
            row.difference = Some(refusal);
            return Ok(row);
        }
    }
    if let Some(count) = question.count()
        && let Some(first) = servers.first_mut()
    {
        let (status, body) = first.whole(&count, times)?;
        match Answer::read(status, &body) {
            Ok(counted) => row.points = whole(counted.sum()),
            Err(refusal) => row.difference = Some(format!("{count}: {refusal}")),
        }
    }
    measure(args, question, times, servers, &mut row)?;
    Ok(row)
}

/// The last warm-up: how many points the answer has, and where the answers differ; or why one is none.
fn compared(
    args: &QueryArgs,
    question: &Question,
    times: Times,
    servers: &mut [Asked],
) -> Result<Result<(u64, Option<String>), String>, QueryError> {
    let mut bodies = Vec::new();
    for server in servers {
        let (status, body) = server.whole(&question.query, times)?;
        bodies.push((server.url().to_string(), status, body));
    }
    let refused = |url: &str, error: AnswerError| format!("{url}: {error}");
    let mut answers = Vec::new();
    for (url, status, body) in &bodies {
        match Answer::read(*status, body) {
            Ok(answer) => answers.push(answer),
            Err(error) => return Ok(Err(refused(url, error))),
        }
    }
    let points = answers.first().map_or(0, Answer::points);
    let difference = match &*answers {
        [one, other] => one.difference(other, args.tolerance),
        _ => None,
    };
    Ok(Ok((points, difference)))
}

fn measure(
    args: &QueryArgs,
    question: &Question,
    times: Times,
    servers: &mut [Asked],
    row: &mut Row,
) -> Result<(), QueryError> {
    let mut before = Vec::new();
    for server in &*servers {
        let process = server.process();
        process.map(|process| process.reset_peak()).transpose()?;
        before.push(process.map(|process| process.usage()).transpose()?);
    }
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); servers.len()];
    for _ in 0..args.runs.max(1) {
        for (server, costs) in servers.iter_mut().zip(&mut costs) {
            match server.measured(&question.query, times)? {
                Ok(cost) => costs.push(cost),
                Err(refusal) => {
                    row.agree = row.agree.map(|_| false);
                    row.difference = Some(format!("{}: {refusal}", server.url()));
                    return Ok(());
                }
            }
        }
    }
    for ((server, costs), before) in servers.iter().zip(&costs).zip(before) {
        let after = server.process().map(|process| process.usage()).transpose()?;
        let memory = (before.map(|usage| usage.rss_bytes), after.map(|usage| usage.rss_peak_bytes));
        row.servers.extend(Server::new(server.url().to_string(), costs, row.points, memory));
    }
    if let [ours, theirs] = &*row.servers {
        row.ratio = Some(ours.median_seconds / theirs.median_seconds.max(1e-9));
    }
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count that is no count is 0"
)]
fn whole(count: f64) -> u64 {
    count as u64
}
