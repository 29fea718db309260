//! Long work, such as compaction, on a second executor of each core, in a thread that gives way to the shard's.
//!
//! Measured with a thread that burns CPU on the same core: a message to the shard takes 31 us (p99 59) beside a thread of
//! nice 19, and 100 to 200 ms beside a task of the shard's own executor that yields.
//!
//! Beside a shard that never rests a thread of nice 19 has a seventieth of the core. So who gives it work says how urgent
//! that is, and its level follows. Where levels cannot be lowered again ([`can_come_back`]) the thread has one
//! for good, with a quarter of a busy core: more than this work is of all work.
//!
//! A background thread lives as long as the server: glommio keeps a descriptor for every executor ever made.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::executor::{self, Executors, Options};
use super::mesh::{CallError, Peers, Seat, mesh};
use super::niceness::{ThreadId, can_come_back};
use super::preflight::StartError;
use crate::model::ShardId;

/// How many jobs of a shard may run at a time, taking turns where they wait.
const JOBS_MAX: u16 = 4;
/// The two seats of the mesh between a shard and its background.
const BACK: ShardId = ShardId(1);

/// How urgent background work is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Any shard that has work goes first.
    #[default]
    Calm,
    /// It is behind: a tenth of a busy core.
    Late,
    /// It is far behind: a quarter.
    Pressing,
    /// As urgent as what the shard does: half.
    Equal,
}

/// The nice levels of a background thread, by urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Levels([i32; 4]);

impl Levels {
    /// As nice as it gets, and down to that of the shards.
    const STEPS: [i32; 4] = [19, 10, 5, 0];
    /// Where there is no way down.
    const STEADY: i32 = 5;

    /// - `own`: the level of the shards.
    /// - `can_come_back`: may a level be lowered?
    fn new(own: i32, can_come_back: bool) -> Self {
        let steps = if can_come_back { Self::STEPS } else { [Self::STEADY; 4] };
        Self(steps.map(|level| level.max(own)))
    }

    fn of(self, urgency: Urgency) -> i32 {
        let Self([calm, late, pressing, equal]) = self;
        match urgency {
            Urgency::Calm => calm,
            Urgency::Late => late,
            Urgency::Pressing => pressing,
            Urgency::Equal => equal,
        }
    }
}

/// Work to be done elsewhere, and what comes of it.
type Job = Box<dyn FnOnce() -> Working + Send>;
type Working = Pin<Box<dyn Future<Output = Outcome>>>;
type Outcome = Box<dyn Any + Send>;

/// What makes a [`Background`] on the shard that it is moved to.
pub struct BackgroundSeat {
    seat: Seat<Job, Outcome>,
    levels: Levels,
}

/// A shard's line to its background executor. Clones are the same line.
#[derive(Clone)]
pub struct Background {
    peers: Peers<Job, Outcome>,
    levels: Levels,
    /// Its thread, if it could be asked.
    thread: Option<ThreadId>,
    niceness: Rc<Cell<i32>>,
}

/// Starts the background executors of `shard_count` shards, on the same cores, before the shards themselves. They end
/// when their shards have let go of them.
///
/// Fails, with nothing running, if an executor cannot be made: see [`StartError`].
pub fn start(
    options: &Options,
    shard_count: u16,
) -> Result<(Executors, Vec<BackgroundSeat>), StartError> {
    let levels = Levels::new(ThreadId::current().niceness(), can_come_back());
    let niceness = levels.of(Urgency::Calm);
    let options = Options { niceness, name: "background", ..options.clone() };
    let (mut seats, mut mains) = (Vec::new(), Vec::new());
    for _ in 0..shard_count {
        let mut pair = mesh(2, JOBS_MAX).into_iter();
        let Some((front, back)) = pair.next().zip(pair.next()) else { continue };
        seats.push(BackgroundSeat { seat: front, levels });
        mains.push(move |_| async move { back.join(|_, job: Job| job()).await.leave().await });
    }
    Ok((executor::start(&options, mains)?, seats))
}

impl BackgroundSeat {
    /// Connects this shard with its background.
    pub async fn join(self) -> Background {
        let Self { seat, levels } = self;
        let peers = seat.join(|_, job: Job| job()).await;
        let niceness = Rc::new(Cell::new(levels.of(Urgency::Calm)));
        let mut background = Background { peers, levels, thread: None, niceness };
        background.thread = background.run(|| async { ThreadId::current() }).await.ok();
        background
    }
}

impl Background {
    /// Makes a future of `job` on the background executor and gives what it gives. More than four jobs wait for each
    /// other. The job may block its thread, and opens files only through a disk that it has mounted itself. Dropping
    /// the future does not end a job that has begun.
    ///
    /// Fails if the job panics, or if the background has ended.
    pub async fn run<T, F>(&self, job: impl FnOnce() -> F + Send + 'static) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let job: Job = Box::new(|| {
            let working = job();
            Box::pin(async { Box::new(working.await) as Outcome })
        });
        let outcome = self.peers.call(BACK, job).await?;
        Ok(*outcome.downcast().expect("this job gives a T"))
    }

    /// Says how urgent its work is from now on; gives the nice level that its thread has.
    pub fn urge(&self, urgency: Urgency) -> i32 {
        let wanted = self.levels.of(urgency);
        if wanted != self.niceness.get()
            && let Some(thread) = self.thread
        {
            match thread.set_niceness(wanted) {
                Ok(()) => self.niceness.set(wanted),
                Err(error) => {
                    tracing::debug!(wanted, %error, "the nice level of a background thread stays");
                }
            }
        }
        self.niceness.get()
    }

    /// Lets go of the background when the jobs that were begun are done.
    pub async fn leave(self) {
        self.peers.leave().await;
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::rt::executor::testing::{on_one_shard, options};
    use crate::rt::executor::{End, Exit};

    /// Runs `main` on a shard with a background and sees that both end.
    fn with_background<F: Future<Output = ()> + 'static>(
        main: impl FnOnce(Background) -> F + Send + 'static,
    ) {
        let (executors, mut seats) = start(&options(), 1).unwrap();
        let seat = seats.pop().unwrap();
        on_one_shard(|_| async { main(seat.join().await).await });
        assert_eq!(executors.join(), [Exit { shard: ShardId(0), end: End::Finished }]);
    }

    /// The nice level of the thread that works.
    async fn niceness_there(background: &Background) -> i32 {
        background.run(|| async { ThreadId::current().niceness() }).await.unwrap()
    }

    #[test]
    fn a_job_runs_on_another_thread_that_is_nicer() {
        with_background(|background| async move {
            let here = thread::current().id();
            let there = background.run(|| async { thread::current().id() }).await.unwrap();
            assert_ne!(here, there);
            let own = ThreadId::current().niceness();
            let calm = Levels::new(own, can_come_back()).of(Urgency::Calm);
            assert_eq!(niceness_there(&background).await, calm);
            background.leave().await;
        });
    }

    #[test]
    fn what_is_urgent_is_less_nice_where_that_is_allowed_and_calms_down_again() {
        with_background(|background| async move {
            let levels = Levels::new(ThreadId::current().niceness(), can_come_back());
            for urgency in [Urgency::Late, Urgency::Equal, Urgency::Calm, Urgency::Pressing] {
                let level = background.urge(urgency);
                assert_eq!(level, levels.of(urgency));
                assert_eq!(niceness_there(&background).await, level);
            }
            background.leave().await;
        });
    }

    #[test]
    fn levels_fall_with_urgency_but_not_below_the_shards_nor_where_there_is_no_way_back() {
        assert_eq!(Levels::new(0, true), Levels([19, 10, 5, 0]));
        assert_eq!(Levels::new(7, true), Levels([19, 10, 7, 7]));
        assert_eq!(Levels::new(0, false), Levels([5; 4]));
        assert_eq!(Levels::new(7, false), Levels([7; 4]));
    }

    #[test]
    fn a_job_that_panics_is_an_error_and_the_next_one_runs() {
        with_background(|background| async move {
            let outcome = background.run(|| async { panic!("out of luck") });
            let outcome: Result<(), _> = outcome.await;
            assert_eq!(outcome, Err(CallError::Failed { peer: BACK }));
            assert_eq!(background.run(|| async { 7 }).await, Ok(7));
        });
    }
}
