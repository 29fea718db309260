//! glommio, and nothing else knows it: executors, mailboxes, timers, sockets, the real disk.
//!
//! One executor a core, pinned, and no memory shared: everything here is `!Send` unless it says otherwise, and runs in
//! a task of the executor it was made on. glommio 0.9.0 loses wakeups, fails every direct read, or loses a whole shard
//! to one panic unless it is used in a certain way. These are the ways; each is kept in one place and has a test that
//! names it.
//!
//! | rule | kept by |
//! |---|---|
//! | R1 preemption timer of 10 s and a heartbeat: a timer that fires early loses wakeups | [`executor`] |
//! | R2 long CPU work sleeps, as `yield_if_needed` never lets the reactor run | [`pace`] |
//! | R3 the first direct open of an executor is of a non-empty file: its probe for polled I/O reads it | [`disk`] |
//! | R4 plain positioned writes, each checked for its length: the stream writers lose errors | [`disk`] |
//! | R5 lengths are our own and no read passes the end: beyond it glommio returns garbage | [`disk`] |
//! | R6 absolute paths, and no `stat` after opening: it goes by the path, which a rename has changed | [`disk`] |
//! | R7 one task a channel, which does nothing but receive: every poll of a pending `recv` leaves a waker | [`mesh`] |
//! | R8 who receives never waits for room to send: two full channels would wait for each other | [`mesh`] |
//! | R9 every task and every blocking closure is caught when it panics: one would end the shard | [`task`] |
//! | R10 `membarrier` is registered before any thread: otherwise the first sleep takes 30 ms | [`preflight`] |
//! | R11 executors are made in their own thread, again if memory is short: rings are freed late | [`executor`] |
//! | R12 no spinning before a sleep: two executors on a core would starve each other | [`executor`] |
//! | R13 the data directory is locked and the port is ours alone: a second server would steal connections | [`preflight`], [`net`] |

pub mod background;
pub mod clock;
pub mod disk;
pub mod entropy;
pub mod executor;
pub mod local;
pub mod mesh;
pub mod net;
pub mod niceness;
pub mod pace;
pub mod preflight;
pub mod signal;
pub mod task;
pub mod timer;

pub use clock::{Stopwatch, SystemClock};
pub use disk::{RealDisk, RealFile};
pub use executor::ShardContext;
pub use mesh::{CallError, Peers};
pub use pace::Slice;
pub use preflight::{DataDir, DataPlace, StartError};
pub use signal::{HangUp, StopFlag};

/// The target of the runtime's own log events.
pub const LOG_TARGET: &str = "glommio";
