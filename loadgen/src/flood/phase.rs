//! Runs one phase over all connections, each on a thread of its own, with a progress line every second.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::control::{Control, Stop};
use super::lane::{Lane, Phase};
use super::report::{Quantiles, rounded, thousands};
use super::tally::Tally;
use crate::process::Process;
use crate::quantity::utc_text;

/// What a phase came to.
#[derive(Debug)]
pub struct Result {
    /// The counts of all connections.
    pub tally: Tally,
    /// Why it ended, if not because it was over.
    pub stop: Option<Stop>,
    /// From its start to the last answer, in seconds.
    pub seconds: f64,
}

/// Runs `phase_of(number)` on each lane until all are over. Ends all of them if `server` ends.
pub fn run(
    lanes: &mut [Lane<'_>],
    server: Option<&Process>,
    quiet: bool,
    phase_of: impl Fn(usize) -> Phase,
) -> Result {
    let step = lanes.iter().map(|lane| lane.next.0).min().unwrap_or(0);
    let control = Control::new(lanes.len(), step);
    let begins = Instant::now();
    let timeline = lanes.first().map(|lane| lane.common.encoding.timeline);
    let mut tally = Tally::default();
    thread::scope(|scope| {
        // Each thread holds a sender; when the last one is done, receiving fails and the loop below ends.
        let (alive, all_done) = channel::<()>();
        let running: Vec<_> = lanes
            .iter_mut()
            .enumerate()
            .map(|(number, lane)| {
                let (phase, control, alive) = (phase_of(number), &control, alive.clone());
                scope.spawn(move || {
                    let tally = lane.run(&phase, control);
                    drop(alive);
                    tally
                })
            })
            .collect();
        drop(alive);
        let mut progress = Progress { begins, at: begins, samples: 0 };
        while all_done.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
            if let Some(Err(error)) = server.map(Process::usage) {
                control.stop(Stop::ServerGone(error.to_string()));
            }
            if !quiet {
                let time = timeline.map_or(0, |timeline| timeline.time(control.slowest_step()));
                eprintln!("{}", progress.line(&control, time));
            }
        }
        for lane in running {
            match lane.join() {
                Ok(counted) => tally.add(&counted),
                Err(_) => control.stop(Stop::Failed("a connection's thread panicked".to_owned())),
            }
        }
    });
    let seconds = tally.last_answer.map_or(begins.elapsed(), |last| last - begins).as_secs_f64();
    Result { tally, stop: control.reason(), seconds }
}

/// The numbers of the last progress line.
struct Progress {
    begins: Instant,
    at: Instant,
    samples: u64,
}

impl Progress {
    fn line(&mut self, control: &Control, time: i64) -> String {
        let (now, pulse) = (Instant::now(), control.pulse());
        let samples = pulse.samples.load(Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let rate = (samples - self.samples) as f64 / (now - self.at).as_secs_f64();
        (self.at, self.samples) = (now, samples);
        let latency = Quantiles::of(&control.take_recent()).map_or(String::new(), |of| {
            #[expect(clippy::cast_precision_loss, reason = "microseconds of at most an hour")]
            let ms = |us: u64| us as f64 / 1000.0;
            format!(", p50 {:.2} ms, p99 {:.2} ms", ms(of.p50), ms(of.p99))
        });
        format!(
            "{:>4.0} s: {} samples/s{latency}, {} in all, {} busy, {} failed, clock at {}",
            self.begins.elapsed().as_secs_f64(),
            rounded(rate),
            thousands(samples),
            pulse.throttled.load(Ordering::Relaxed),
            pulse.failed.load(Ordering::Relaxed),
            utc_text(time),
        )
    }
}
