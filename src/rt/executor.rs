//! One executor a core: made in a thread of its own, pinned, and watched until it ends.
//!
//! A shard's life is one future, its main. When that is done, whatever else runs on the executor is dropped with it.
//! Rules R1, R11 and R12 are kept here.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use futures_lite::FutureExt;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};

use super::local::Event;
use super::niceness::ThreadId;
use super::preflight::{StartError, membarrier};
use super::signal::{self, StopFlag};
use super::timer::Interval;
use super::{task, timer};
use crate::model::ShardId;

/// Rule R1. A preemption timer that has fired when glommio begins a round makes it sleep over runnable tasks.
const PREEMPT_TIMER: Duration = Duration::from_secs(10);
/// Rule R1 again: whatever wakeup is lost all the same is late by no more than half of this. Two hearts beat in turn, so
/// that when the lost wakeup is that of a heart the other's timer still runs. Together they cost 0.5 % of a core.
const HEARTBEAT: Duration = Duration::from_millis(40);
/// How often and at what intervals an executor is tried again for lack of memory: 5 seconds (rule R11).
const MAKE_ATTEMPTS_MAX: u32 = 500;
const MAKE_PAUSE: Duration = Duration::from_millis(10);
/// As much as a program's first thread usually has.
const STACK_BYTES: usize = 8 << 20;

/// What the executors are made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cores to pin to, in turn: with more shards than cores some share one. Empty: not pinned.
    pub cores: Vec<usize>,
    /// Buffer memory that each executor registers with the kernel; beyond it the heap serves, no slower.
    pub io_memory_bytes: usize,
    /// Entries of each ring.
    pub ring_depth: usize,
    /// When raised, every shard's [`ShardContext::stop`] is set within 20 ms.
    pub stop: StopFlag,
    /// How much the threads give way to others: 0, as threads are made, to 19.
    pub niceness: i32,
    /// What the threads' names begin with.
    pub name: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cores: super::preflight::cores(),
            io_memory_bytes: 256 << 10,
            ring_depth: 256,
            stop: StopFlag::new(),
            niceness: 0,
            name: "shard",
        }
    }
}

/// What a shard's main is told.
#[derive(Clone)]
pub struct ShardContext {
    /// Which shard this is.
    pub shard: ShardId,
    /// How many there are.
    pub shard_count: u16,
    /// Set when the server is to stop.
    pub stop: Event,
}

/// How a shard's main ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It returned.
    Finished,
    /// It panicked, or the executor under it did; the message of the panic.
    Panicked(String),
}

/// The end of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Which shard.
    pub shard: ShardId,
    /// How it ended.
    pub end: End,
}

/// The running shards.
pub struct Executors {
    threads: Vec<thread::JoinHandle<()>>,
    exits: Receiver<Exit>,
}

impl Executors {
    /// Waits for the next shard to end; `None` when all have. A shard that panicked takes its data out of service, so
    /// whoever gets to know should log it and end the process.
    #[must_use]
    pub fn next_exit(&self) -> Option<Exit> {
        self.exits.recv().ok()
    }

    /// Waits for all shards to end and gives the ends not yet told, in the order in which they came.
    #[must_use]
    pub fn join(self) -> Vec<Exit> {
        let exits = self.exits.iter().collect();
        for thread in self.threads {
            // A shard's thread catches its own panics; there is nothing in this result.
            let _ = thread.join();
        }
        exits
    }
}

/// Starts one executor for each of `mains`, in the order of their [`ShardId`]s; no main runs before all executors are
/// made.
///
/// Fails, with nothing running, if an executor cannot be made: see [`StartError`].
pub fn start<M, F>(options: &Options, mains: Vec<M>) -> Result<Executors, StartError>
where
    M: FnOnce(ShardContext) -> F + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    membarrier::register();
    let shard_count = u16::try_from(mains.len()).map_err(|_| StartError::TooManyShards)?;
    let (exits_in, exits) = mpsc::channel();
    let (made_in, made) = mpsc::channel();
    let mut gates = Vec::new();
    let mut threads = Vec::new();
    for (shard, main) in (0..shard_count).map(ShardId).zip(mains) {
        let (gate, opens) = mpsc::channel();
        let core = core_of(shard, &options.cores);
        let seed = Seed { shard, shard_count, core, options: options.clone() };
        let (made, exits) = (made_in.clone(), exits_in.clone());
        let run = move || seed.grow(main, &made, &opens, &exits);
        let thread = thread::Builder::new()
            .name(format!("{}-{shard}", options.name))
            .stack_size(STACK_BYTES);
        let thread = thread.spawn(run).map_err(|source| StartError::Thread { shard, source })?;
        threads.push(thread);
        gates.push(gate);
    }
    drop(made_in);
    // A thread that cannot make its executor says so; dropping the gates then ends the others.
    for outcome in made.iter().take(usize::from(shard_count)) {
        outcome?;
    }
    for gate in gates {
        let _ = gate.send(());
    }
    Ok(Executors { threads, exits })
}

/// The core that a shard is pinned to: one each, starting over when they run out.
fn core_of(shard: ShardId, cores: &[usize]) -> Option<usize> {
    cores.iter().cycle().nth(shard.index()).copied()
}

/// What a shard's thread starts from.
struct Seed {
    shard: ShardId,
    shard_count: u16,
    core: Option<usize>,
    options: Options,
}

impl Seed {
    /// The whole life of a shard's thread.
    fn grow<M, F>(
        self,
        main: M,
        made: &Sender<Result<(), StartError>>,
        opens: &Receiver<()>,
        exits: &Sender<Exit>,
    ) where
        M: FnOnce(ShardContext) -> F + 'static,
        F: Future<Output = ()> + 'static,
    {
        signal::block_on_this_thread();
        let shard = self.shard;
        let executor = match make(&self.options) {
            Ok(executor) => executor,
            Err(source) => {
                let _ = made.send(Err(StartError::Executor { shard, source }));
                return;
            }
        };
        // After it is made: its helper thread is to have the other cores too, and works little whoever it works for.
        pin(shard, self.core);
        give_way(self.options.niceness);
        let _ = made.send(Ok(()));
        if opens.recv().is_err() {
            return;
        }
        let context = ShardContext { shard, shard_count: self.shard_count, stop: Event::new() };
        let end = live(&executor, self.options.stop, context, main);
        drop(executor);
        let _ = exits.send(Exit { shard, end });
    }
}

/// Runs a shard's main on its executor until it ends.
fn live<M, F>(executor: &LocalExecutor, flag: StopFlag, context: ShardContext, main: M) -> End
where
    M: FnOnce(ShardContext) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let life = async move {
        for delay in [Duration::ZERO, HEARTBEAT / 2] {
            let heart = heartbeat(delay, flag.clone(), context.stop.clone());
            drop(task::spawn("heartbeat", heart));
        }
        AssertUnwindSafe(async move { main(context).await }).catch_unwind().await
    };
    // The outer one is for panics of the executor itself.
    let end = catch_unwind(AssertUnwindSafe(|| {
        let end = executor.run(life);
        // What main dropped last is closed and cancelled in the ring's next round.
        executor.run(timer::sleep(Duration::from_millis(1)));
        end
    }));
    match end {
        Ok(Ok(())) => End::Finished,
        Ok(Err(payload)) | Err(payload) => End::Panicked(task::panic_message(payload.as_ref())),
    }
}

/// Wakes the executor for whatever it has overlooked, and looks after the stop flag. `delay` keeps two of them apart.
async fn heartbeat(delay: Duration, flag: StopFlag, stop: Event) {
    timer::sleep(delay).await;
    let mut beat = Interval::new(HEARTBEAT);
    loop {
        if flag.is_raised() && !stop.is_set() {
            stop.set();
        }
        beat.tick().await;
    }
}

/// Makes an executor on this thread. The kernel frees a ring's locked memory late, so that a restart may have to wait
/// for what the last process held.
fn make(options: &Options) -> io::Result<LocalExecutor> {
    let make = || builder(options).make().map_err(io::Error::from);
    retrying_for_memory(make, || {
        #[expect(clippy::disallowed_methods, reason = "this thread is no shard's yet")]
        thread::sleep(MAKE_PAUSE);
    })
}

fn builder(options: &Options) -> LocalExecutorBuilder {
    // No `spin_before_park` (rule R12), and not glommio's own pinning: it reads a CPU topology that sandboxes hide.
    LocalExecutorBuilder::new(Placement::Unbound)
        .preempt_timer(PREEMPT_TIMER)
        .io_memory(options.io_memory_bytes)
        .ring_depth(options.ring_depth)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
}

/// Calls `make` until it gives something else than "no memory", pausing in between, but not for ever.
fn retrying_for_memory<T>(
    mut make: impl FnMut() -> io::Result<T>,
    mut pause: impl FnMut(),
) -> io::Result<T> {
    for _ in 1..MAKE_ATTEMPTS_MAX {
        match make() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => pause(),
            outcome => return outcome,
        }
    }
    make()
}

/// Pins the thread that calls. A core that cannot be had is no reason not to run.
fn pin(shard: ShardId, core: Option<usize>) {
    if let Some(id) = core
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        tracing::warn!(%shard, core = id, "cannot pin to this core; the kernel will place the shard");
    }
}

/// Makes the thread that calls as nice as asked for.
fn give_way(niceness: i32) {
    if niceness != 0
        && let Err(error) = ThreadId::current().set_niceness(niceness)
    {
        tracing::warn!(niceness, %error, "cannot lower the priority of a background thread");
    }
}

/// How tests of this room run code on a shard.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Options that fit many executors into one process.
    pub(crate) fn options() -> Options {
        Options {
            cores: Vec::new(),
            io_memory_bytes: 64 << 10,
            ring_depth: 64,
            ..Options::default()
        }
    }

    /// Runs `main` on an executor of its own and fails if it panics.
    pub(crate) fn on_one_shard<F: Future<Output = ()> + 'static>(
        main: impl FnOnce(ShardContext) -> F + Send + 'static,
    ) {
        on_shards(vec![main]);
    }

    /// Runs each of `mains` on an executor of its own and fails if one panics.
    pub(crate) fn on_shards<M, F>(mains: Vec<M>)
    where
        M: FnOnce(ShardContext) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let executors = start(&options(), mains).unwrap();
        while let Some(exit) = executors.next_exit() {
            // Not joined: the other shards may wait for the one that panicked.
            assert_eq!(exit.end, End::Finished, "shard {}", exit.shard);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::testing::{on_one_shard, on_shards, options};
    use super::*;

    #[test]
    fn r1_the_preemption_timer_is_ten_seconds_and_r12_nothing_spins() {
        let builder = format!("{:?}", builder(&Options::default()));
        assert!(builder.contains("preempt_timer_duration: 10s"), "{builder}");
        assert!(builder.contains("spin_before_park: None"), "{builder}");
    }

    #[test]
    fn r1_the_heartbeat_passes_the_stop_flag_on_without_any_other_event() {
        let options = options();
        let wait = |context: ShardContext| async move { context.stop.wait().await };
        let executors = start(&options, vec![wait, wait]).unwrap();
        options.stop.raise();
        assert!(executors.join().iter().all(|exit| exit.end == End::Finished));
    }

    #[test]
    fn r11_an_executor_is_tried_again_when_memory_is_short() {
        let (tries, pauses) = (Cell::new(0), Cell::new(0));
        let make = || {
            tries.set(tries.get() + 1);
            if tries.get() < 3 { Err(io::Error::from_raw_os_error(libc::ENOMEM)) } else { Ok(7) }
        };
        assert_eq!(retrying_for_memory(make, || pauses.set(pauses.get() + 1)).unwrap(), 7);
        assert_eq!((tries.get(), pauses.get()), (3, 2));
    }

    #[test]
    fn r11_trying_again_has_an_end_and_other_errors_are_final() {
        let tries = Cell::new(0);
        let make = |errno: i32| {
            tries.set(tries.get() + 1);
            Err::<(), _>(io::Error::from_raw_os_error(errno))
        };
        assert!(retrying_for_memory(|| make(libc::ENOMEM), || {}).is_err());
        assert_eq!(tries.replace(0), MAKE_ATTEMPTS_MAX);
        assert!(retrying_for_memory(|| make(libc::EPERM), || {}).is_err());
        assert_eq!(tries.get(), 1);
    }

    #[test]
    fn shards_beyond_the_cores_share_them_in_turn() {
        let on = |shard: u16| core_of(ShardId(shard), &[4, 6]);
        assert_eq!((on(0), on(1), on(2)), (Some(4), Some(6), Some(4)));
        assert_eq!(core_of(ShardId(0), &[]), None);
    }

    #[test]
    fn every_shard_knows_which_one_it_is() {
        let main = |expected: u16| {
            move |context: ShardContext| async move {
                assert_eq!((context.shard, context.shard_count), (ShardId(expected), 3));
            }
        };
        on_shards(vec![main(0), main(1), main(2)]);
    }

    #[test]
    fn a_main_that_panics_is_told_apart_from_one_that_ends() {
        let main = |lucky: bool| {
            move |_: ShardContext| async move {
                assert!(lucky, "out of luck");
            }
        };
        let mut exits = start(&options(), vec![main(true), main(false)]).unwrap().join();
        exits.sort_by_key(|exit| exit.shard);
        let unlucky = Exit { shard: ShardId(1), end: End::Panicked("out of luck".to_owned()) };
        assert_eq!(exits, [Exit { shard: ShardId(0), end: End::Finished }, unlucky]);
    }

    #[test]
    fn when_an_executor_cannot_be_made_no_main_runs() {
        let too_deep = Options { ring_depth: 1 << 20, ..options() };
        let main = |_: ShardContext| async { unreachable!("this shard was not to start") };
        let error = start(&too_deep, vec![main, main]).map(drop).unwrap_err();
        assert!(matches!(error, StartError::Executor { .. }), "{error}");
    }

    #[test]
    fn many_executors_fit_into_one_process() {
        for _ in 0..10 {
            on_one_shard(|_| timer::sleep(Duration::from_micros(1)));
        }
    }
}
