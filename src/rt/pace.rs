//! The pace of CPU work that must stay on a shard's executor, such as a query (rule R2).
//!
//! glommio looks at sockets, disks and other cores only when nothing is runnable. A task that merely yields is
//! runnable, so while it works a request waits for the preemption timer. A task that waits for a timer is not.

use std::time::{Duration, Instant};

use super::timer;

/// The longest stretch of work that others wait for.
const SLICE: Duration = Duration::from_micros(200);
/// What nobody waits for takes two fifths of the core at most.
const LONG_BREATH: Duration = Duration::from_micros(300);

/// A stretch of uninterrupted work. Hold one for the length of a job and call [`Slice::breathe`] in its loop.
#[derive(Debug)]
pub struct Slice {
    started: Instant,
    length: Duration,
    /// How long others have the core for themselves; `None`: for as long as they have something to do.
    breath: Option<Duration>,
}

impl Slice {
    /// The work begins now.
    #[must_use]
    pub fn start() -> Self {
        Self::of(SLICE)
    }

    /// The work begins now, and may hold the core for `length` at a time: for a shard that does not serve yet.
    #[must_use]
    pub fn of(length: Duration) -> Self {
        Self { started: Instant::now(), length, breath: None }
    }

    /// The work begins now, and can wait: what it takes of the core is bounded, so that requests do not queue behind it.
    #[must_use]
    pub fn gentle() -> Self {
        Self { breath: Some(LONG_BREATH), ..Self::start() }
    }

    /// The work begins anew: for after a wait, which was no work.
    pub fn restart(&mut self) {
        self.started = Instant::now();
    }

    /// Lets the rest of the shard go on if the stretch has lasted its length, 200 us unless said otherwise. Costs a look
    /// at the clock (about 25 ns), so call it once a series, not once a sample. Hold no borrow over it.
    pub async fn breathe(&mut self) {
        if self.started.elapsed() > self.length {
            match self.breath {
                Some(breath) => timer::sleep(breath).await,
                None => Self::pause().await,
            }
            self.restart();
        }
    }

    /// Lets the rest of the shard go on, for work that measures its slices by itself.
    pub async fn pause() {
        timer::look_around().await;
    }
}

impl crate::io::Pace for Slice {
    async fn breathe(&mut self) {
        Self::breathe(self).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::rt::executor::testing::on_one_shard;
    use crate::rt::task;

    #[test]
    fn r2_a_timer_fires_while_a_busy_task_breathes() {
        on_one_shard(|_| async {
            let fired = Rc::new(Cell::new(false));
            let seen = Rc::clone(&fired);
            let waiter = task::spawn("waiter", async move {
                timer::sleep(Duration::from_millis(1)).await;
                seen.set(true);
            });
            let mut slice = Slice::start();
            while !fired.get() {
                slice.breathe().await;
            }
            waiter.await.unwrap();
        });
    }
}
