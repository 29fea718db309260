//! What holds now, the same on every core: read often, exchanged rarely and as a whole.
//!
//! A core looks at one number to see whether what it knows is still current, and takes the lock only when it is not: once a
//! core and reload. Who changes it holds the [`Turn`], of which there is one.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Config, ConfigError, InForce, Loaded, Notice, load};
use crate::model::TimestampMs;
use crate::server::cli::ServeFlags;

/// What holds now. Clones are the same, on any thread.
#[derive(Debug, Clone)]
pub struct Current(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    flags: ServeFlags,
    in_force: Mutex<Arc<InForce>>,
    /// How often it was exchanged.
    generation: AtomicU64,
    /// Was the last file that was read taken?
    succeeded: AtomicBool,
    changing: AtomicBool,
}

impl Current {
    /// What holds at a start, and what of the file has no effect. Reads the file, if there is one; blocks.
    ///
    /// # Errors
    /// The file cannot be read, or is wrong.
    pub fn at_start(
        flags: &ServeFlags,
        now: TimestampMs,
    ) -> Result<(Self, Vec<Notice>), ConfigError> {
        let (config, notices) = match &flags.config_file {
            Some(file) => {
                let Loaded { config, notices } = load(file)?;
                (config, notices)
            }
            None => (Config::default(), Vec::new()),
        };
        let in_force = InForce::at_start(flags, config, now);
        let shared = Shared {
            flags: flags.clone(),
            in_force: Mutex::new(Arc::new(in_force)),
            generation: AtomicU64::new(0),
            succeeded: AtomicBool::new(true),
            changing: AtomicBool::new(false),
        };
        Ok((Self(Arc::new(shared)), notices))
    }

    /// The file that is read at a start and a reload, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.0.flags.config_file.as_deref()
    }

    /// What holds now.
    #[must_use]
    pub fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.0.in_force.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Was the last file that was read taken?
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.0.succeeded.load(Ordering::Relaxed)
    }

    /// Takes the turn to change it; nothing if somebody has it.
    #[must_use]
    pub fn turn(&self) -> Option<Turn> {
        (!self.0.changing.swap(true, Ordering::Acquire)).then(|| Turn(self.clone()))
    }
}

/// The right to change what holds, for as long as this lives.
#[derive(Debug)]
pub struct Turn(Current);

impl Turn {
    /// What would hold if the file said `config`.
    #[must_use]
    pub fn decide(&self, config: Config, now: TimestampMs) -> InForce {
        self.0.in_force().after(&self.0.0.flags, config, now)
    }

    /// From now on this holds.
    pub fn exchange(&self, in_force: InForce) {
        let shared = &self.0.0;
        *shared.in_force.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(in_force);
        shared.generation.fetch_add(1, Ordering::Release);
        shared.succeeded.store(true, Ordering::Relaxed);
    }

    /// What held goes on to hold.
    pub fn give_up(&self) {
        self.0.0.succeeded.store(false, Ordering::Relaxed);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.changing.store(false, Ordering::Release);
    }
}

/// What holds now, as one core knows it.
#[derive(Debug)]
pub struct View {
    current: Current,
    seen: RefCell<(u64, Arc<InForce>)>,
}

impl View {
    /// A core's view.
    #[must_use]
    pub fn of(current: Current) -> Self {
        // The number first: if it is exchanged in between, the next look finds that out.
        let generation = current.0.generation.load(Ordering::Acquire);
        let seen = RefCell::new((generation, current.in_force()));
        Self { current, seen }
    }

    /// What holds now, for all cores.
    #[must_use]
    pub fn current(&self) -> &Current {
        &self.current
    }

    /// What holds now.
    #[must_use]
    pub fn in_force(&self) -> Arc<InForce> {
        let mut seen = self.seen.borrow_mut();
        let generation = self.current.0.generation.load(Ordering::Acquire);
        if generation != seen.0 {
            *seen = (generation, self.current.in_force());
        }
        Arc::clone(&seen.1)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::server::cli::{self, Command};

    fn current() -> Current {
        let args = ["floodplain", "serve"].map(OsString::from);
        let Command::Serve(flags) = cli::parse(args).unwrap().command else { panic!("not serve") };
        Current::at_start(&flags, TimestampMs(1)).unwrap().0
    }

    #[test]
    fn what_is_exchanged_is_seen_by_every_core_at_its_next_look() {
        let current = current();
        let views = [View::of(current.clone()), View::of(current.clone())];
        let turn = current.turn().unwrap();
        let config = Config { out_of_order_window_ms: Some(7), ..Config::default() };
        turn.exchange(turn.decide(config, TimestampMs(2)));
        for view in &views {
            assert_eq!(view.in_force().storage.out_of_order_window_ms, 7);
            assert_eq!(view.in_force().since, TimestampMs(2));
        }
    }

    #[test]
    fn only_one_has_the_turn_and_gives_it_back_when_it_is_gone() {
        let current = current();
        let turn = current.turn();
        assert!(turn.is_some() && current.turn().is_none());
        drop(turn);
        assert!(current.turn().is_some());
    }

    #[test]
    fn a_failure_is_remembered_until_something_is_taken() {
        let current = current();
        let turn = current.turn().unwrap();
        turn.give_up();
        assert!(!current.succeeded());
        turn.exchange(turn.decide(Config::default(), TimestampMs(2)));
        assert!(current.succeeded());
    }
}
