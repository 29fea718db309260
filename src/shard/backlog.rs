//! How far a shard's long work is behind, and what is done about it: it is made more urgent step by step, and when that
//! does not help, writes are held back, so that the Head's memory stays bounded, and what a start has to read.
//!
//! ```text
//! full chunks in memory     they cannot leave it if the disk is full, or too slow                ─┐
//! bytes of the log          no checkpoint is written while a cut goes on                          │
//! overdue ranges            two hours each, of full chunks that ought to be in a block          ─┤ a quarter, a half, three
//! age of the oldest job     of a cut, of any other                                              ─┘ quarters of what may be
//!                                                                                                 └─► Late, Pressing, Equal
//! all of what may be, but for the age ─► a write waits for a moment, then it is refused and comes back
//! ```
//! Deciding is pure; a task of the shard looks and acts. A write that is held back frees the core for the work that it waits
//! for: also where nice levels cannot be lowered, the work gets done.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use super::life::Life;
use super::status::BacklogStatus;
use crate::io::{Clock, Disk};
use crate::rt::background::Urgency;
use crate::rt::local::Event;
use crate::rt::task;
use crate::rt::timer;

/// How often is asked how far the work is behind.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long a write waits before it is refused. Its sender comes back.
const PATIENCE: Duration = Duration::from_millis(500);
/// So many writes wait at once, and others are refused there and then: what waits holds memory.
const WAITING_MAX: u32 = 64;

/// How far the work is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Series in the Head.
    pub series: u64,
    /// Bytes of chunks in memory that are full.
    pub full_chunk_bytes: u64,
    /// Bytes of the log that a start would have to read.
    pub log_bytes: u64,
    /// How many ranges of two hours have full chunks that ought to be in blocks.
    pub overdue_ranges: u64,
    /// How long the oldest job is under way, and whether it is a cut.
    pub job: Option<(JobKind, Duration)>,
}

/// Which deadline a job has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// The block of a cut is written: meanwhile the log grows.
    Cut,
    /// Blocks are merged, cleaned or re-partitioned: nothing waits but the disk.
    Other,
}

/// How far it may be behind before writes are held back; a quarter of each is what is usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of chunks in memory that are full; or more, with many series.
    pub full_chunk_bytes: u64,
    /// So many for each series: they fill their chunks at about the same time.
    pub full_chunk_bytes_a_series: u64,
    /// Bytes of the log; or more, with many series: their checkpoint is longer, and is written less often.
    pub log_bytes: u64,
    /// So many for each series.
    pub log_bytes_a_series: u64,
    /// Ranges that are overdue.
    pub overdue_ranges: u64,
    /// How long a cut may take. Past it nothing is held back: only time has been lost.
    pub cut: Duration,
    /// How long another job may take, likewise.
    pub other: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            full_chunk_bytes: 256 << 20,
            full_chunk_bytes_a_series: 512,
            log_bytes: 2 << 30,
            log_bytes_a_series: 4096,
            overdue_ranges: 6,
            cut: Duration::from_secs(10 * 60),
            other: Duration::from_secs(2 * 3600),
        }
    }
}

impl Limits {
    /// How long the log of a shard with so many series may be, in bytes, before writes are held back.
    #[must_use]
    pub fn log_max(&self, series: u64) -> u64 {
        self.log_bytes.max(series.saturating_mul(self.log_bytes_a_series))
    }
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// How urgent the work is.
    pub urgency: Urgency,
    /// Why writes are held back, if they are.
    pub hold: Option<Hold>,
}

/// Why writes are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Hold {
    /// Memory for chunks is full.
    #[error(
        "blocks are cut more slowly than samples come in, or the disk takes nothing: full chunks hold {bytes} bytes of \
         memory, and {max} may be; try again later"
    )]
    Memory {
        /// What they hold.
        bytes: u64,
        /// What they may.
        max: u64,
    },
    /// A start would take too long.
    #[error(
        "blocks are cut more slowly than samples come in, or no checkpoint can be written: the log that a start has to read is \
         {bytes} bytes long, and {max} it may be; try again later"
    )]
    Log {
        /// What is not.
        bytes: u64,
        /// What may be.
        max: u64,
    },
    /// Too much waits to be cut.
    #[error(
        "blocks are cut more slowly than samples come in: {ranges} ranges of two hours wait to be cut, and {max} may; try \
         again later"
    )]
    Ranges {
        /// How many wait.
        ranges: u64,
        /// How many may.
        max: u64,
    },
}

/// What is to be done about a backlog.
#[must_use]
pub fn decide(backlog: &Backlog, limits: &Limits) -> Decision {
    let (bytes, ranges) = (backlog.full_chunk_bytes, backlog.overdue_ranges);
    let of_series = backlog.series.saturating_mul(limits.full_chunk_bytes_a_series);
    let bytes_max = limits.full_chunk_bytes.max(of_series);
    let log_max = limits.log_max(backlog.series);
    let hold = if bytes >= bytes_max {
        Some(Hold::Memory { bytes, max: bytes_max })
    } else if backlog.log_bytes >= log_max {
        Some(Hold::Log { bytes: backlog.log_bytes, max: log_max })
    } else if ranges >= limits.overdue_ranges {
        Some(Hold::Ranges { ranges, max: limits.overdue_ranges })
    } else {
        None
    };
    let by_age = backlog.job.map(|(kind, age)| {
        let limit = match kind {
            JobKind::Cut => limits.cut,
            JobKind::Other => limits.other,
        };
        urgency(age.as_millis(), limit.as_millis())
    });
    let urgency = urgency(bytes.into(), bytes_max.into())
        .max(urgency(backlog.log_bytes.into(), log_max.into()))
        .max(urgency(ranges.into(), limits.overdue_ranges.into()))
        .max(by_age.unwrap_or_default());
    Decision { urgency, hold }
}

fn urgency(is: u128, may_be: u128) -> Urgency {
    match is.saturating_mul(4).checked_div(may_be) {
        Some(0) => Urgency::Calm,
        Some(1) => Urgency::Late,
        Some(2) => Urgency::Pressing,
        Some(_) | None => Urgency::Equal,
    }
}

/// What was decided last, and the writes that it holds back.
#[derive(Default)]
pub struct Pressure {
    hold: RefCell<Option<(Hold, Event)>>,
    waiting: Cell<u32>,
    status: Cell<BacklogStatus>,
}

/// A write that waits.
struct Waiting<'a>(&'a Cell<u32>);

impl<'a> Waiting<'a> {
    fn begin(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Pressure {
    /// Lets a write in: at once, or when it is not held back any more.
    ///
    /// # Errors
    /// Why it is still held back; nothing of it was appended.
    pub async fn admit(&self) -> Result<(), Hold> {
        let held = self.hold.borrow().clone();
        let Some((why, released)) = held else { return Ok(()) };
        self.count(|status| status.held_writes += 1);
        if self.waiting.get() < WAITING_MAX {
            let _waiting = Waiting::begin(&self.waiting);
            if timer::timeout(PATIENCE, released.wait()).await.is_ok() {
                return Ok(());
            }
        }
        self.count(|status| status.refused_writes += 1);
        Err(why)
    }

    /// What it has come to.
    #[must_use]
    pub fn status(&self) -> BacklogStatus {
        self.status.get()
    }

    fn count(&self, change: impl FnOnce(&mut BacklogStatus)) {
        let mut status = self.status.get();
        change(&mut status);
        self.status.set(status);
    }

    /// Takes note of what is decided; did holding begin or end?
    fn note(&self, backlog: &Backlog, hold: Option<Hold>, niceness: i32) -> bool {
        self.count(|status| {
            status.overdue_ranges = backlog.overdue_ranges;
            status.full_chunk_bytes = backlog.full_chunk_bytes;
            status.job_age = backlog.job.map_or(Duration::ZERO, |(_, age)| age);
            status.niceness = Some(niceness);
            status.is_holding = hold.is_some();
        });
        let before = self.hold.take();
        let was_held = before.is_some();
        match (before, hold) {
            (Some((_, released)), Some(why)) => *self.hold.borrow_mut() = Some((why, released)),
            (Some((_, released)), None) => released.set(),
            (None, Some(why)) => *self.hold.borrow_mut() = Some((why, Event::new())),
            (None, None) => {}
        }
        was_held != hold.is_some()
    }
}

impl<C: Clock, D: Disk> Shard<C, D> {
    /// Keeps an eye on how far the long work of a life is behind.
    pub(super) fn start_watching_backlog(&self, life: &Rc<Life<D>>) {
        let (shard, of) = (self.clone(), Rc::clone(life));
        life.add_task(task::spawn("backlog", async move {
            while of.rest(LOOK_AGAIN).await {
                shard.look_at_backlog(&of);
            }
        }));
    }

    fn look_at_backlog(&self, life: &Life<D>) {
        let inner = &self.0;
        let backlog = {
            let head = life.head.borrow();
            let stats = head.stats();
            Backlog {
                series: stats.series,
                full_chunk_bytes: stats.chunk_bytes,
                log_bytes: life.spares.segment_bytes_in_use(),
                overdue_ranges: head.overdue_ranges(),
                job: life.jobs.oldest(),
            }
        };
        let Decision { urgency, hold } = decide(&backlog, &self.storage().backlog);
        let niceness = life.jobs.urge(urgency);
        if inner.pressure.note(&backlog, hold, niceness) {
            match hold {
                Some(why) => {
                    tracing::warn!(shard = %inner.id, %why, "writes are held back");
                }
                None => tracing::info!(shard = %inner.id, "writes are not held back any more"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        full_chunk_bytes: 400,
        full_chunk_bytes_a_series: 10,
        log_bytes: 4000,
        log_bytes_a_series: 100,
        overdue_ranges: 6,
        cut: Duration::from_secs(40),
        other: Duration::from_secs(400),
    };

    fn decided(full_chunk_bytes: u64, overdue_ranges: u64) -> (Urgency, bool) {
        let backlog = Backlog { full_chunk_bytes, overdue_ranges, ..Backlog::default() };
        let decision = decide(&backlog, &LIMITS);
        (decision.urgency, decision.hold.is_some())
    }

    #[test]
    fn work_becomes_more_urgent_step_by_step_and_only_then_are_writes_held_back() {
        use Urgency::{Calm, Equal, Late, Pressing};
        let by_bytes = [0, 99, 100, 200, 300, 399, 400].map(|bytes| decided(bytes, 0));
        assert_eq!(
            by_bytes.map(|(urgency, _)| urgency),
            [Calm, Calm, Late, Pressing, Equal, Equal, Equal]
        );
        assert_eq!(
            by_bytes.map(|(_, holds)| holds),
            [false, false, false, false, false, false, true]
        );
        let by_ranges = [1, 2, 3, 4, 5, 6, 60].map(|ranges| decided(0, ranges));
        assert_eq!(
            by_ranges.map(|(urgency, _)| urgency),
            [Calm, Late, Pressing, Pressing, Equal, Equal, Equal]
        );
        assert_eq!(
            by_ranges.map(|(_, holds)| holds),
            [false, false, false, false, false, true, true]
        );
    }

    #[test] // it holds nothing in memory, so that refusing writes for it would cost more than it saves
    fn a_job_that_takes_long_is_urgent_and_holds_nothing_back() {
        let decided = |kind, seconds| {
            let job = Some((kind, Duration::from_secs(seconds)));
            decide(&Backlog { job, ..Backlog::default() }, &LIMITS)
        };
        for (kind, seconds, urgency) in [
            (JobKind::Cut, 9, Urgency::Calm),
            (JobKind::Cut, 10, Urgency::Late),
            (JobKind::Other, 10, Urgency::Calm),
            (JobKind::Other, 200, Urgency::Pressing),
            (JobKind::Cut, 1_000_000, Urgency::Equal),
        ] {
            assert_eq!(
                decided(kind, seconds),
                Decision { urgency, hold: None },
                "{kind:?} {seconds}"
            );
        }
    }

    #[test]
    fn the_most_urgent_reason_counts() {
        let job = Some((JobKind::Cut, Duration::from_secs(30)));
        let backlog =
            Backlog { full_chunk_bytes: 100, overdue_ranges: 3, job, ..Backlog::default() };
        assert_eq!(decide(&backlog, &LIMITS).urgency, Urgency::Equal);
    }

    #[test] // they all fill their chunks within one interval of scraping, and a cut may be under way just then
    fn many_series_may_have_more_in_memory() {
        let with = |series| {
            decide(&Backlog { series, full_chunk_bytes: 400, ..Backlog::default() }, &LIMITS)
        };
        assert_eq!(with(40).hold, Some(Hold::Memory { bytes: 400, max: 400 }));
        assert_eq!(with(81), Decision { urgency: Urgency::Late, hold: None });
    }

    #[test] // in a flood the log grew by gigabytes in a single cut, and a start after a kill took twenty seconds
    fn a_log_that_no_checkpoint_shortens_makes_a_cut_urgent_and_then_holds_writes_back() {
        let with = |log_bytes, series| {
            decide(&Backlog { log_bytes, series, ..Backlog::default() }, &LIMITS)
        };
        let urgencies = [999, 1000, 2000, 3000].map(|bytes| with(bytes, 0).urgency);
        let steps = [Urgency::Calm, Urgency::Late, Urgency::Pressing, Urgency::Equal];
        assert_eq!(urgencies, steps);
        assert_eq!(with(3999, 0).hold, None);
        assert_eq!(with(4000, 0).hold, Some(Hold::Log { bytes: 4000, max: 4000 }));
        assert_eq!(with(4000, 41).hold, None);
    }

    #[test] // with nothing allowed there is no division by zero
    fn limits_of_zero_hold_everything_back() {
        let none = Duration::ZERO;
        let limits = Limits {
            full_chunk_bytes: 0,
            log_bytes: 0,
            overdue_ranges: 0,
            cut: none,
            other: none,
            ..LIMITS
        };
        let hold = Some(Hold::Memory { bytes: 0, max: 0 });
        assert_eq!(
            decide(&Backlog::default(), &limits),
            Decision { urgency: Urgency::Equal, hold }
        );
    }
}
