//! Answers of range queries that are kept, so that a dashboard that asks again has only what is new evaluated.
//!
//! One for all cores, behind a lock that is held for as long as a look-up takes: a core takes it twice a range query, and no
//! write ever. What is kept is the answer over the range that was asked for last, with the moment of each shard before it was
//! evaluated. Whoever finds it asks the shards from where on their data has changed since, and uses what lies before that.
//! The one that was used longest ago goes when there are more bytes than allowed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::query::Options;
use crate::query::splice::Piece;

/// An answer larger than this part of all that may be kept is not.
const PART_MAX: usize = 4;

/// What an answer depends on besides the data and the range.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The query.
    pub text: Arc<str>,
    /// From one step to the next, in milliseconds.
    pub step_ms: i64,
    /// When steps are, modulo their distance.
    pub phase_ms: i64,
    /// How it is evaluated.
    pub options: Options,
}

/// An answer, and when each shard's data was what it was made of.
#[derive(Debug)]
pub struct Kept {
    /// The answer.
    pub piece: Piece,
    /// The shards' moments, in order of the shards.
    pub moments: Vec<u64>,
}

/// The answers that are kept. Clones are the same.
#[derive(Clone)]
pub struct Results(Arc<Shared>);

struct Shared {
    bytes_max: usize,
    kept: Mutex<All>,
    counts: Counts,
}

#[derive(Default)]
struct All {
    answers: HashMap<Question, (Arc<Kept>, usize, u64)>,
    bytes: usize,
    /// Raised by each use.
    now: u64,
}

/// How often queries found what they asked for.
#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    partial_hits: AtomicU64,
    misses: AtomicU64,
    evicted: AtomicU64,
    steps_kept: AtomicU64,
    steps_evaluated: AtomicU64,
}

/// What the kept answers have come to, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResultsStatus {
    /// Answers that are kept.
    pub answers: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Bytes that they may take.
    pub bytes_max: u64,
    /// Queries of which nothing was evaluated.
    pub hits: u64,
    /// Queries of which a part was evaluated.
    pub partial_hits: u64,
    /// Queries of which everything was.
    pub misses: u64,
    /// Answers that went for want of room.
    pub evicted: u64,
    /// Steps that were not evaluated.
    pub steps_kept: u64,
    /// Steps that were.
    pub steps_evaluated: u64,
}

impl Results {
    /// Answers of at most so many bytes in all; none of 0.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Shared { bytes_max, kept: Mutex::default(), counts: Counts::default() }))
    }

    /// Is anything kept?
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.0.bytes_max > 0
    }

    /// A larger answer is not kept.
    #[must_use]
    pub fn bytes_of_one_max(&self) -> usize {
        self.0.bytes_max / PART_MAX
    }

    fn all(&self) -> MutexGuard<'_, All> {
        // Who panicked held it for a few fields that fit together in between.
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer that is kept for a question.
    #[must_use]
    pub fn get(&self, question: &Question) -> Option<Arc<Kept>> {
        let mut all = self.all();
        all.now += 1;
        let now = all.now;
        let (kept, _, used) = all.answers.get_mut(question)?;
        *used = now;
        Some(Arc::clone(kept))
    }

    /// Keeps an answer in place of the one before.
    pub fn keep(&self, question: Question, kept: Kept) {
        let bytes = kept.piece.bytes() + question.text.len() + size_of::<Question>();
        let mut all = self.all();
        if let Some((_, bytes, _)) = all.answers.remove(&question) {
            all.bytes -= bytes;
        }
        if bytes > self.bytes_of_one_max() {
            return;
        }
        all.now += 1;
        all.bytes += bytes;
        let now = all.now;
        all.answers.insert(question, (Arc::new(kept), bytes, now));
        while all.bytes > self.0.bytes_max {
            let oldest = all.answers.iter().min_by_key(|(_, (_, _, used))| *used);
            let Some(oldest) = oldest.map(|(question, _)| question.clone()) else {
                break;
            };
            if let Some((_, bytes, _)) = all.answers.remove(&oldest) {
                all.bytes -= bytes;
            }
            self.0.counts.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a query of which so many steps were found and so many evaluated.
    pub fn count(&self, kept: usize, evaluated: usize) {
        let counts = &self.0.counts;
        let which = match (kept, evaluated) {
            (0, _) => &counts.misses,
            (_, 0) => &counts.hits,
            _ => &counts.partial_hits,
        };
        which.fetch_add(1, Ordering::Relaxed);
        counts.steps_kept.fetch_add(kept as u64, Ordering::Relaxed);
        counts.steps_evaluated.fetch_add(evaluated as u64, Ordering::Relaxed);
    }

    /// What they have come to.
    #[must_use]
    pub fn status(&self) -> ResultsStatus {
        let (answers, bytes) = {
            let all = self.all();
            (all.answers.len() as u64, all.bytes as u64)
        };
        let counts = &self.0.counts;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ResultsStatus {
            answers,
            bytes,
            bytes_max: self.0.bytes_max as u64,
            hits: of(&counts.hits),
            partial_hits: of(&counts.partial_hits),
            misses: of(&counts.misses),
            evicted: of(&counts.evicted),
            steps_kept: of(&counts.steps_kept),
            steps_evaluated: of(&counts.steps_evaluated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;
    use crate::query::grid::Grid;
    use crate::query::value::{Column, Series};

    fn question(text: &str) -> Question {
        Question { text: text.into(), step_ms: 1, phase_ms: 0, options: Options::default() }
    }

    fn kept(points: usize) -> Kept {
        let grid = Grid { start: 0, step: 1, count: points, is_instant: false };
        let column = Column::repeated(1.0, points).unwrap();
        let series = vec![Series::of_floats(Labels::empty(), false, column)];
        Kept { piece: Piece { grid, series }, moments: vec![1] }
    }

    #[test]
    fn the_one_used_longest_ago_goes_first() {
        let results = Results::new(5 * 10_000);
        for text in ["a", "b", "c", "d"] {
            results.keep(question(text), kept(1200));
        }
        assert!(results.get(&question("a")).is_some());
        results.keep(question("e"), kept(1200));
        results.keep(question("f"), kept(1200));
        assert!(results.get(&question("a")).is_some() && results.get(&question("b")).is_none());
        let status = results.status();
        assert!(status.bytes <= 50_000 && status.evicted >= 1, "{status:?}");
    }

    #[test]
    fn a_question_with_anything_else_in_it_is_another() {
        let results = Results::new(1 << 20);
        results.keep(question("a"), kept(10));
        let lookback = Options { lookback_ms: 1, ..Options::default() };
        for other in [
            Question { step_ms: 2, ..question("a") },
            Question { phase_ms: 1, ..question("a") },
            Question { options: lookback, ..question("a") },
        ] {
            assert!(results.get(&other).is_none());
        }
    }

    #[test]
    fn what_is_too_large_takes_the_place_of_nothing() {
        let results = Results::new(20_000);
        results.keep(question("a"), kept(10));
        results.keep(question("a"), kept(1000));
        assert!(results.get(&question("a")).is_none(), "an older answer is not right either");
        assert_eq!(results.status().bytes, 0);
        assert!(!Results::new(0).is_enabled());
    }
}
