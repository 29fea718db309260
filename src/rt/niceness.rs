//! How much a thread gives way to others: its nice level, from 0, as threads are made, to 19.
//!
//! Any thread may become nicer. Taking that back needs `CAP_SYS_NICE`, or a limit on nice levels (`RLIMIT_NICE`) that
//! allows the level; so does leaving `SCHED_IDLE`. Source: setpriority(2), sched(7), and tried as root and as an ordinary
//! user on Linux 6.18.

use std::io;
use std::thread;

/// A thread of this process. It must be alive when something is done to it: numbers are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadId(libc::id_t);

impl ThreadId {
    /// The thread that calls.
    #[must_use]
    pub fn current() -> Self {
        // SAFETY: gettid(2) takes nothing and never fails.
        let id = unsafe { libc::gettid() };
        Self(id.unsigned_abs())
    }

    /// Its nice level.
    #[must_use]
    pub fn niceness(self) -> i32 {
        // SAFETY: getpriority(2) takes integers; on Linux a process's number is that of one thread.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, self.0) }
    }

    /// Gives it a nice level.
    ///
    /// # Errors
    /// It has a higher one, and this process may not lower it.
    pub fn set_niceness(self, niceness: i32) -> io::Result<()> {
        // SAFETY: setpriority(2) takes integers; likewise.
        let outcome = unsafe { libc::setpriority(libc::PRIO_PROCESS, self.0, niceness) };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// May a thread of this process come back from a higher nice level to the one that the calling thread has? Tried on a
/// thread that is made for it.
#[must_use]
pub fn can_come_back() -> bool {
    let level = ThreadId::current().niceness();
    let there_and_back = move || {
        let own = ThreadId::current();
        own.set_niceness(level + 1).and_then(|()| own.set_niceness(level)).is_ok()
    };
    thread::spawn(there_and_back).join().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_becomes_nicer_alone_and_without_being_asked_where_it_runs() {
        let before = ThreadId::current().niceness();
        let (told, hears) = std::sync::mpsc::channel();
        let (ends, ended) = std::sync::mpsc::channel::<()>();
        let other = thread::spawn(move || {
            told.send(ThreadId::current()).unwrap();
            ended.recv().unwrap();
            ThreadId::current().niceness()
        });
        let id = hears.recv().unwrap();
        id.set_niceness(19).unwrap();
        assert_eq!((id.niceness(), ThreadId::current().niceness()), (19, before));
        ends.send(()).unwrap();
        assert_eq!(other.join().unwrap(), 19);
    }

    #[test]
    fn what_is_said_of_coming_back_is_what_happens() {
        let before = ThreadId::current().niceness();
        let allowed = can_come_back();
        let tried = thread::spawn(move || {
            let own = ThreadId::current();
            own.set_niceness(19).unwrap();
            own.set_niceness(before).is_ok()
        });
        assert_eq!(tried.join().unwrap(), allowed);
        assert_eq!(ThreadId::current().niceness(), before, "who asks is left alone");
    }
}
