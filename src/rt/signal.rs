//! The wish to stop, from a signal or from the program itself, as a flag that every thread can read; and SIGHUP.
//!
//! A signal handler may do next to nothing, so it sets an atomic; each shard's heartbeat looks at it every 20 ms and
//! wakes who waits for it there (see [`super::executor::ShardContext::stop`]).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Down until somebody raises it; never down again. Clones are the same flag, on any thread.
#[derive(Clone, Debug, Default)]
pub struct StopFlag {
    raised: Arc<AtomicBool>,
}

/// The flag that signals raise. It is leaked on purpose: a handler may run until the process ends.
static SIGNALLED: AtomicPtr<AtomicBool> = AtomicPtr::new(std::ptr::null_mut());

impl StopFlag {
    /// A flag that is down.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises it.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::Release);
    }

    /// Is it raised?
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// From now on SIGTERM and SIGINT raise this flag, and no other. A second such signal ends the process at once,
    /// with the exit code that shells give for it: for whoever has no patience with an orderly end.
    ///
    /// Fails if the kernel refuses the handler.
    pub fn raise_on_signals(&self) -> io::Result<()> {
        let flag = Arc::into_raw(Arc::clone(&self.raised)).cast_mut();
        SIGNALLED.store(flag, Ordering::Release);
        handle(libc::SIGTERM, on_signal)?;
        handle(libc::SIGINT, on_signal)
    }
}

/// Has SIGHUP come since it was last asked? Clones are the same, on any thread.
#[derive(Clone, Debug)]
pub struct HangUp(());

/// Several SIGHUPs that come before anybody asks are one.
static HUNG_UP: AtomicBool = AtomicBool::new(false);

impl HangUp {
    /// From now on SIGHUP does not end the process, but is noted here.
    ///
    /// Fails if the kernel refuses the handler.
    pub fn note_signals() -> io::Result<Self> {
        handle(libc::SIGHUP, on_hang_up)?;
        Ok(Self(()))
    }

    /// Has it come since this was last asked?
    #[must_use]
    pub fn take(&self) -> bool {
        HUNG_UP.swap(false, Ordering::AcqRel)
    }
}

/// `handler` must do nothing that is not async-signal-safe.
fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) -> io::Result<()> {
    // SAFETY: an all-zero `sigaction` is a valid one with an empty mask; the handlers of this module only touch atomics
    // and call `_exit`, which are async-signal-safe; the kernel copies what it needs before the call returns.
    let outcome = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &action, std::ptr::null_mut())
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn on_hang_up(_: libc::c_int) {
    HUNG_UP.store(true, Ordering::Release);
}

extern "C" fn on_signal(signal: libc::c_int) {
    // SAFETY: the pointer is null or came from `Arc::into_raw` of an `Arc` that is never dropped.
    let flag = unsafe { SIGNALLED.load(Ordering::Acquire).as_ref() };
    if flag.is_some_and(|flag| flag.swap(true, Ordering::AcqRel)) {
        // SAFETY: `_exit` may be called anywhere; it runs no destructors, which is what the second signal asks for.
        unsafe { libc::_exit(128 + signal) }
    }
}

/// Leaves SIGTERM, SIGINT and SIGHUP to other threads: an executor that sleeps in the kernel is not to be interrupted there.
pub(super) fn block_on_this_thread() {
    // SAFETY: `set` is initialised by `sigemptyset` before it is used, and outlives the calls.
    let outcome = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::sigaddset(&raw mut set, libc::SIGHUP);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())
    };
    assert_eq!(outcome, 0, "pthread_sigmask only fails for an unknown `how`");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hanging_up_is_noted_until_somebody_asks_and_ends_nothing() {
        let hang_up = HangUp::note_signals().unwrap();
        assert!(!hang_up.take());
        for _ in 0..2 {
            // SAFETY: the handler is ours and only touches an atomic.
            unsafe { libc::raise(libc::SIGHUP) };
        }
        assert!(hang_up.take() && !hang_up.take());
    }

    #[test]
    fn a_signal_raises_the_flag_and_a_second_one_ends_the_process() {
        let flag = StopFlag::new();
        flag.raise_on_signals().unwrap();
        assert!(!flag.is_raised());
        // SAFETY: the handler is ours and only touches atomics.
        unsafe { libc::raise(libc::SIGTERM) };
        assert!(flag.is_raised());
        // SAFETY: the child calls nothing but async-signal-safe functions before it is gone.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as above.
            unsafe {
                libc::raise(libc::SIGTERM);
                libc::_exit(0)
            }
        }
        let mut status = 0;
        // SAFETY: `status` is written while the call lasts.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status));
        assert_eq!(libc::WEXITSTATUS(status), 128 + libc::SIGTERM);
    }
}
