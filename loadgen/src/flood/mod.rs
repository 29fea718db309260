//! A flood from beginning to end: set up, pre-encode, warm up, measure, report.

pub mod control;
pub mod lane;
pub mod meter;
pub mod phase;
pub mod plan;
pub mod report;
pub mod sender;
pub mod setup;
mod summary;
pub mod tally;

use std::thread;
use std::time::Instant;

use crate::body::compress::CompressError;
use crate::body::magazine::Magazine;
use crate::cli::FloodArgs;
use crate::http::{Client, ClientError, UrlError};
use crate::ledger::{LedgerError, Writer};
use crate::process::ProcessError;
use control::Control;
use lane::{Common, Lane, Phase, now_ms};
use meter::Meter;
use plan::Schedule;
use report::{Report, thousands};
use sender::Sender;
use setup::Setup;

/// Why a flood could not be run as asked.
#[derive(Debug, thiserror::Error)]
pub enum FloodError {
    /// Options that contradict each other or make no sense.
    #[error("{0}")]
    Options(String),
    /// The receiver's address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The receiver does not let anybody in.
    #[error("{0}; is the receiver running?")]
    Unreachable(ClientError),
    /// A body.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The server's process, or this one's.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A defect of the generator.
    #[error("a thread that encodes panicked")]
    Panicked,
}

/// Answers to writes are short; what is longer is cut off by closing the connection.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Runs the flood that `args` ask for.
///
/// # Errors
/// See [`FloodError`]. A flood that ran and went badly is not an error but a report that says so.
pub fn run(args: &FloodArgs) -> Result<Report, FloodError> {
    let meter = Meter::new(args.pid)?;
    let addresses = args.url.resolve(args.allow_remote)?;
    let client = || Client::new(addresses.clone(), args.timeout, ANSWER_BYTES_MAX);
    client().connect().map_err(FloodError::Unreachable)?;
    let say = |text: String| {
        if !args.quiet {
            eprintln!("{text}");
        }
    };

    let cores = thread::available_parallelism().map_or(1, usize::from);
    let setup = Setup::new(args, now_ms(), cores)?;
    let (rounds, series) = (setup.encoding.rounds, thousands(u64::from(args.series)));
    say(format!("encoding {rounds} rounds of {series} series"));
    let started = meter.read()?;
    let magazines = encode(&setup, cores)?;
    let encoded = meter.read()?;

    let ledger = args.ledger.as_deref().map(|path| Writer::create(path, &setup.header(args)));
    let common = Common {
        encoding: &setup.encoding,
        ledger: ledger.transpose()?,
        skew_rounds_max: plan::skew_rounds_max(setup.encoding.timeline.interval_ms),
    };
    let head = request_head(args);
    let lane = |(number, magazine)| {
        let sender = Sender::new(client(), args.protocol, &head, args.give_up_after);
        Lane { number, magazine, sender, common: &common, next: (0, 0) }
    };
    let mut lanes: Vec<Lane<'_>> = magazines.into_iter().enumerate().map(lane).collect();

    say(format!("warming up with {} round(s)", args.warmup));
    let begins = Instant::now();
    let warmup = phase::run(&mut lanes, meter.server(), args.quiet, |_| Phase {
        begins,
        ends: None,
        step_end: Some(args.warmup),
        schedule: None,
        quota: None,
    });
    let warm = meter.read()?;
    let window = match warmup.stop {
        Some(_) => None,
        None => {
            say("measuring".to_owned());
            let begins = Instant::now();
            Some(phase::run(&mut lanes, meter.server(), args.quiet, |number| Phase {
                begins,
                ends: setup.bounds.duration.map(|duration| begins + duration),
                step_end: None,
                #[expect(clippy::cast_precision_loss, reason = "no rate reaches 2^53")]
                schedule: args.rate.map(|rate| Schedule::new(&setup.lanes, number, rate as f64)),
                quota: setup.quotas.as_ref().and_then(|quotas| quotas.get(number).copied()),
            }))
        }
    };
    let done = meter.read()?;
    if !args.settle.is_zero() {
        say(format!("watching the server for another {:?}", args.settle));
        let _nobody_interrupts = Control::new(0, 0).wait_until(Instant::now() + args.settle);
    }
    let settled = meter.read()?;
    let readings = summary::Readings { started, encoded, warm, done, settled };
    Ok(summary::report(args, &setup, &lanes, &readings, &warmup, window.as_ref()))
}

/// Encodes the bodies of all connections, on so many threads at a time.
fn encode(setup: &Setup, threads: usize) -> Result<Vec<Magazine<'_>>, FloodError> {
    let mut magazines = Vec::with_capacity(setup.lanes.len());
    for lanes in setup.lanes.chunks(threads) {
        thread::scope(|scope| {
            let encoding: Vec<_> = lanes
                .iter()
                .map(|lane| scope.spawn(|| Magazine::encode(&setup.encoding, lane.clone())))
                .collect();
            for magazine in encoding {
                magazines.push(magazine.join().map_err(|_| FloodError::Panicked)??);
            }
            Ok::<(), FloodError>(())
        })?;
    }
    Ok(magazines)
}

/// The lines of a request's head that are the same for all requests.
fn request_head(args: &FloodArgs) -> String {
    let mut head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: floodplain-loadgen/{}\r\n\
         Content-Type: {}\r\nContent-Encoding: {}\r\nX-Prometheus-Remote-Write-Version: {}\r\n",
        args.url.path(),
        args.url.authority(),
        env!("CARGO_PKG_VERSION"),
        args.protocol.content_type(),
        args.compression.content_encoding(),
        args.protocol.version(),
    );
    for line in &args.headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head
}
