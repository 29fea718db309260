//! The queries that run: to be listed, to be cancelled, and to be known after a server was killed.
//!
//! Each core has a list of its own, with a lock that another core takes only while somebody asks for all of them, and
//! [`mod@file`]'s thread while it writes them down. Owns the lists; how they are asked for is `api`'s.

pub mod api;
pub mod file;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use super::route::Endpoint;
use crate::model::TimestampMs;
use crate::rt::{Stopwatch, timer};

/// Of a query's text, so many bytes are kept here.
const TEXT_BYTES_MAX: usize = 1000;

/// How often a query that runs looks whether it was cancelled.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The queries that run, on all cores. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct ActiveQueries(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    cores: Mutex<Vec<Arc<CoreList>>>,
    last_id: AtomicU64,
    nudge: Nudge,
}

/// Tells the thread that writes the lists down that they have changed.
#[derive(Debug, Default)]
struct Nudge {
    /// Was it told since it last looked?
    is_told: AtomicBool,
    thread: OnceLock<Thread>,
}

/// One core's.
type CoreList = Mutex<Vec<ActiveQuery>>;

/// A query that runs.
#[derive(Debug, Clone)]
pub struct ActiveQuery {
    /// What it is called by; no other query of this process is.
    pub id: u64,
    /// Its text, or the start of a long one.
    pub text: String,
    /// Where it was asked.
    pub endpoint: Endpoint,
    /// Who asked, if that is known.
    pub client: Option<SocketAddr>,
    /// When it began.
    pub started: TimestampMs,
    running: Stopwatch,
    cancelled: Arc<AtomicBool>,
}

/// The list of one core, for that core to write to.
#[derive(Debug)]
pub struct QueriesOfCore {
    all: ActiveQueries,
    own: Arc<CoreList>,
}

/// A query, on the list for as long as this is there.
#[derive(Debug)]
pub struct Listed<'a> {
    queries: &'a QueriesOfCore,
    id: u64,
    cancelled: Arc<AtomicBool>,
}

fn locked(list: &CoreList) -> std::sync::MutexGuard<'_, Vec<ActiveQuery>> {
    // Whoever panicked has left a list that is as good as any.
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ActiveQueries {
    /// A list for one more core.
    #[must_use]
    pub fn of_core(&self) -> QueriesOfCore {
        let own = Arc::<CoreList>::default();
        let mut cores = self.0.cores.lock().unwrap_or_else(PoisonError::into_inner);
        cores.push(Arc::clone(&own));
        QueriesOfCore { all: self.clone(), own }
    }

    /// All that run, in the order in which they began.
    #[must_use]
    pub fn list(&self) -> Vec<ActiveQuery> {
        let cores = self.0.cores.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all: Vec<_> = cores.iter().flat_map(|core| locked(core).clone()).collect();
        all.sort_unstable_by_key(|query| query.id);
        all
    }

    /// Tells the query of that name to stop; is there one?
    #[must_use]
    pub fn cancel(&self, id: u64) -> Option<ActiveQuery> {
        let query = self.list().into_iter().find(|query| query.id == id)?;
        query.cancelled.store(true, Ordering::Relaxed);
        Some(query)
    }

    fn changed(&self) {
        let Nudge { is_told, thread } = &self.0.nudge;
        if let Some(thread) = thread.get()
            && !is_told.swap(true, Ordering::AcqRel)
        {
            thread.unpark();
        }
    }
}

impl ActiveQuery {
    /// How long it has run.
    #[must_use]
    pub fn running_for(&self) -> Duration {
        self.running.elapsed()
    }
}

impl QueriesOfCore {
    /// Puts a query on the list.
    pub fn begin(
        &self,
        text: &str,
        endpoint: Endpoint,
        client: Option<SocketAddr>,
        started: TimestampMs,
    ) -> Listed<'_> {
        let id = self.all.0.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let cancelled = Arc::new(AtomicBool::new(false));
        locked(&self.own).push(ActiveQuery {
            id,
            text: start_of(text).to_owned(),
            endpoint,
            client,
            started,
            running: Stopwatch::start(),
            cancelled: Arc::clone(&cancelled),
        });
        self.all.changed();
        Listed { queries: self, id, cancelled }
    }
}

impl Listed<'_> {
    /// Resolves when somebody has cancelled the query.
    pub async fn cancelled(&self) {
        // Another core sets the flag, which cannot wake this one.
        while !self.cancelled.load(Ordering::Relaxed) {
            timer::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        locked(&self.queries.own).retain(|query| query.id != self.id);
        self.queries.all.changed();
    }
}

/// As much of a text as is kept, in whole characters.
fn start_of(text: &str) -> &str {
    let mut ends = (0..=TEXT_BYTES_MAX.min(text.len())).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin<'a>(core: &'a QueriesOfCore, text: &str) -> Listed<'a> {
        core.begin(text, Endpoint::Query, None, TimestampMs(1))
    }

    #[test]
    fn queries_of_all_cores_are_listed_while_they_run() {
        let all = ActiveQueries::default();
        let (first, second) = (all.of_core(), all.of_core());
        let on_second = begin(&second, "b");
        let on_first = begin(&first, "a");
        let texts = || all.list().into_iter().map(|query| query.text).collect::<Vec<_>>();
        assert_eq!(texts(), ["b", "a"]);
        drop(on_second);
        assert_eq!(texts(), ["a"]);
        drop(on_first);
        assert!(texts().is_empty());
    }

    #[test]
    fn one_is_cancelled_by_its_name() {
        let all = ActiveQueries::default();
        let core = all.of_core();
        let (one, other) = (begin(&core, "one"), begin(&core, "other"));
        assert!(all.cancel(77).is_none());
        assert_eq!(all.cancel(one.id).map(|query| query.text).as_deref(), Some("one"));
        assert!(one.cancelled.load(Ordering::Relaxed) && !other.cancelled.load(Ordering::Relaxed));
    }

    #[test]
    fn of_a_long_text_the_start_is_kept() {
        let all = ActiveQueries::default();
        let core = all.of_core();
        let _listed = begin(&core, &"ä".repeat(TEXT_BYTES_MAX));
        assert_eq!(all.list()[0].text, "ä".repeat(TEXT_BYTES_MAX / 2));
    }
}
