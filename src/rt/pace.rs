//! The pace of CPU work that must stay on a shard's executor, such as a query (rule R2).
//!
//! glommio looks at sockets, disks and other cores only when nothing is runnable. A task that merely yields is
//! runnable, so while it works a request waits for the preemption timer. A task that waits for a timer is not.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::{task, timer};

/// The longest stretch of work that others wait for.
const SLICE: Duration = Duration::from_micros(200);
/// What nobody waits for takes two fifths of the core at most.
const LONG_BREATH: Duration = Duration::from_micros(300);

/// However many share a core, nobody's stretch is shorter.
const SLICE_MIN: Duration = Duration::from_micros(25);
const PARTS_MAX: usize = 8;
/// So many pieces of work of a microsecond or two are done between two looks at the clock.
const TICKS: u32 = 8;
/// A pause in which nobody else works is shorter.
const IDLE_PAUSE: Duration = Duration::from_micros(20);
/// After a write another one is likely for so long.
const WRITES_GO_ON: Duration = Duration::from_millis(50);
/// A part of a slice that is worked on at a time while others have much to do: what a write waits for has half a dozen parts, each
/// of which waits for a pause.
const CROWDED_PART: u32 = 4;

thread_local! {
    /// How many share this core.
    static SHARERS: Cell<u32> = const { Cell::new(0) };
    /// Was anybody else at work in the last pause, or is a write likely?
    static IS_CROWDED: Cell<bool> = const { Cell::new(false) };
    /// How many writes this core has given to the kernel that are not done.
    static WRITES: Cell<u32> = const { Cell::new(0) };
    /// When it gave it the last one.
    static LAST_WRITE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A write or a flush that the kernel is at: its own threads end it, on this core as likely as on another, and they have to wait
/// for a time slice of the scheduler (some milliseconds) unless this thread gives way. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct KernelWrite(());

impl KernelWrite {
    /// The kernel is given one more.
    pub(super) fn begin() -> Self {
        WRITES.set(WRITES.get() + 1);
        LAST_WRITE.set(Some(Instant::now()));
        Self(())
    }
}

impl Drop for KernelWrite {
    fn drop(&mut self) {
        WRITES.set(WRITES.get().saturating_sub(1));
    }
}

/// One of those who share a core's time for work such as queries: what they do without a pause, one after the other, takes no
/// longer together than one of them alone would take. Ends when it is dropped.
#[derive(Debug)]
pub struct Sharer(());

impl Sharer {
    /// One more begins on this core.
    #[must_use]
    pub fn begin() -> Self {
        SHARERS.set(SHARERS.get() + 1);
        Self(())
    }

    /// How many there are on this core.
    #[must_use]
    pub fn count() -> u32 {
        SHARERS.get()
    }

    /// Into how many parts a slice is divided.
    fn parts() -> u32 {
        match Self::count() {
            0 | 1 if IS_CROWDED.get() => CROWDED_PART,
            count => count.max(1),
        }
    }

    /// One's share of an amount of work that takes about as long as a slice.
    #[must_use]
    pub fn part_of(work: usize) -> usize {
        (work / Self::parts() as usize).max(work / PARTS_MAX)
    }
}

impl Drop for Sharer {
    fn drop(&mut self) {
        SHARERS.set(SHARERS.get().saturating_sub(1));
    }
}

/// A stretch of uninterrupted work. Hold one for the length of a job and call [`Slice::breathe`] in its loop.
#[derive(Debug)]
pub struct Slice {
    started: Cell<Instant>,
    length: Duration,
    /// How long others have the core for themselves; `None`: for as long as they have something to do.
    breath: Option<Duration>,
    /// Is the length shared with the other [`Sharer`]s of the core?
    is_shared: bool,
    /// Pieces of work of a microsecond or two since it was asked last whether the stretch is over.
    ticks: u32,
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
        let started = Cell::new(Instant::now());
        Self { started, length, breath: None, is_shared: false, ticks: 0 }
    }

    /// The work begins now, that of a [`Sharer`].
    #[must_use]
    pub fn shared() -> Self {
        Self { is_shared: true, ..Self::start() }
    }

    /// The work begins now, and can wait: what it takes of the core is bounded, so that requests do not queue behind it.
    #[must_use]
    pub fn gentle() -> Self {
        Self { breath: Some(LONG_BREATH), ..Self::start() }
    }

    /// The work begins anew: for after a wait, which was no work.
    pub fn restart(&self) {
        self.started.set(Instant::now());
    }

    /// Lets the rest of the shard go on if the stretch has lasted its length, 200 us unless said otherwise. Costs a look
    /// at the clock (about 25 ns), so call it once a series, not once a sample. Hold no borrow over it.
    pub async fn breathe(&mut self) {
        self.breathe_between().await;
    }

    /// The same, for work whose parts share it.
    pub async fn breathe_between(&self) {
        let length = match self.is_shared {
            true => (self.length / Sharer::parts()).max(SLICE_MIN),
            false => self.length,
        };
        if self.started.get().elapsed() > length {
            match self.breath {
                Some(breath) => timer::sleep(breath).await,
                None => Self::pause().await,
            }
            self.restart();
        }
    }

    /// Lets the rest of the shard go on, and the kernel with the shard's writes: for work that measures its slices by itself.
    pub async fn pause() {
        if WRITES.get() > 0 {
            std::thread::yield_now();
        }
        let begun = Instant::now();
        timer::look_around().await;
        let since_write = LAST_WRITE.get().map(|last| begun.saturating_duration_since(last));
        let writes_go_on = since_write.is_some_and(|time| time < WRITES_GO_ON);
        IS_CROWDED.set(writes_go_on || begun.elapsed() > IDLE_PAUSE);
    }
}

/// Drops many items with pauses: to give the memory of a million of them back takes some tens of milliseconds.
pub fn let_go<T: 'static>(mut items: Vec<T>) {
    const FEW: usize = 1024;
    const AT_ONCE: usize = 64;
    if items.len() > FEW {
        drop(task::spawn("letting go", async move {
            let mut slice = Slice::start();
            while !items.is_empty() {
                items.truncate(items.len().saturating_sub(AT_ONCE));
                slice.breathe().await;
            }
        }));
    }
}

impl crate::io::Pace for Slice {
    async fn breathe(&mut self) {
        Self::breathe(self).await;
    }

    async fn tick(&mut self) {
        self.ticks += 1;
        if self.ticks >= TICKS {
            self.ticks = 0;
            Self::breathe(self).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::rt::executor::testing::on_one_shard;

    #[test]
    fn who_ends_gives_its_share_back() {
        let (one, other) = (Sharer::begin(), Sharer::begin());
        assert_eq!(Sharer::count(), 2);
        drop(one);
        assert_eq!(Sharer::count(), 1);
        drop(other);
        assert_eq!(Sharer::count(), 0);
    }

    #[test]
    fn who_works_alone_works_in_shorter_stretches_while_others_have_something_to_do() {
        on_one_shard(|_| async {
            let _sharer = Sharer::begin();
            let busy = task::spawn("busy", async {
                let until = Instant::now() + Duration::from_millis(1);
                while Instant::now() < until {}
            });
            Slice::pause().await;
            busy.await.unwrap();
            assert_eq!(Sharer::part_of(4000), 1000);
        });
    }

    #[test]
    fn stretches_are_shorter_for_some_time_after_a_write_and_nothing_is_with_the_kernel_any_more() {
        on_one_shard(|_| async {
            let _sharer = Sharer::begin();
            let (one, other) = (KernelWrite::begin(), KernelWrite::begin());
            drop(one);
            assert_eq!(WRITES.get(), 1);
            drop(other);
            assert_eq!(WRITES.get(), 0);
            Slice::pause().await;
            assert_eq!(Sharer::part_of(4000), 1000);
        });
    }

    #[test]
    fn a_timer_fires_while_a_busy_task_ticks() {
        on_one_shard(|_| async {
            let fired = Rc::new(Cell::new(false));
            let seen = Rc::clone(&fired);
            let waiter = task::spawn("waiter", async move {
                timer::sleep(Duration::from_millis(1)).await;
                seen.set(true);
            });
            let mut slice = Slice::start();
            while !fired.get() {
                crate::io::Pace::tick(&mut slice).await;
            }
            waiter.await.unwrap();
        });
    }

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
