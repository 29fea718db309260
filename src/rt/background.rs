//! Long work, such as compaction, on a second executor of each core, in a thread of nice 19.
//!
//! Measured with a thread that burns CPU on the same core: a message to the shard takes 31 us (p99 59) beside a thread of
//! nice 19, and 100 to 200 ms beside a task of the shard's own executor that yields.
//!
//! A background thread lives as long as the server: glommio keeps a descriptor for every executor ever made.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;

use super::executor::{self, Executors, Options};
use super::mesh::{CallError, Peers, Seat, mesh};
use super::preflight::StartError;
use crate::model::ShardId;

/// How many jobs of a shard may run at a time, taking turns where they wait.
const JOBS_MAX: u16 = 4;
/// As nice as it gets: any shard that has work goes first.
const NICENESS: i32 = 19;
/// The two seats of the mesh between a shard and its background.
const BACK: ShardId = ShardId(1);

/// Work to be done elsewhere, and what comes of it.
type Job = Box<dyn FnOnce() -> Working + Send>;
type Working = Pin<Box<dyn Future<Output = Outcome>>>;
type Outcome = Box<dyn Any + Send>;

/// What makes a [`Background`] on the shard that it is moved to.
pub struct BackgroundSeat {
    seat: Seat<Job, Outcome>,
}

/// A shard's line to its background executor. Clones are the same line.
#[derive(Clone)]
pub struct Background {
    peers: Peers<Job, Outcome>,
}

/// Starts the background executors of `shard_count` shards, on the same cores, before the shards themselves. They end
/// when their shards have let go of them.
///
/// Fails, with nothing running, if an executor cannot be made: see [`StartError`].
pub fn start(
    options: &Options,
    shard_count: u16,
) -> Result<(Executors, Vec<BackgroundSeat>), StartError> {
    let options = Options { niceness: NICENESS, name: "background", ..options.clone() };
    let (mut seats, mut mains) = (Vec::new(), Vec::new());
    for _ in 0..shard_count {
        let mut pair = mesh(2, JOBS_MAX).into_iter();
        let Some((front, back)) = pair.next().zip(pair.next()) else { continue };
        seats.push(BackgroundSeat { seat: front });
        mains.push(move |_| async move { back.join(|_, job: Job| job()).await.leave().await });
    }
    Ok((executor::start(&options, mains)?, seats))
}

impl BackgroundSeat {
    /// Connects this shard with its background.
    pub async fn join(self) -> Background {
        Background { peers: self.seat.join(|_, job: Job| job()).await }
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

    #[test]
    fn a_job_runs_on_another_thread_that_is_nice() {
        with_background(|background| async move {
            let here = thread::current().id();
            let there = background.run(|| async {
                // SAFETY: getpriority(2) takes integers.
                let niceness = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
                (thread::current().id(), niceness)
            });
            let (there, niceness) = there.await.unwrap();
            assert_ne!(here, there);
            assert_eq!(niceness, 19);
            background.leave().await;
        });
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
