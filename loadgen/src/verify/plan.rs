//! Which questions read a whole flood back: pure functions of the ledger.
//!
//! Each question asks for the raw samples of one target in one generation, in one window of time: by a query for the
//! floats, and by a remote read for the native histograms if there are any. The windows of a target follow each other
//! without gap or overlap, from one interval before the first step of the ledger to one after the last, so that a
//! sample where none was sent falls into one of them, too.

use std::ops::Range;

use crate::cli::{Comparison, Match};
use crate::ledger::{Fate, Ledger};
use crate::population::Population;
use crate::population::mixture::NATIVE_SUFFIX;
use crate::timeline::Timeline;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The target, and how often it had been replaced.
    pub target: u32,
    /// How often it had been replaced.
    pub generation: u32,
    /// The steps whose samples are expected.
    pub steps: Range<u32>,
    /// The window is later than this,
    pub after_ms: i64,
    /// and not later than this.
    pub until_ms: i64,
}

impl Question {
    /// The matchers of a remote read of its native histograms.
    #[must_use]
    pub fn native_matchers(&self, population: &Population) -> [Match; 3] {
        let life = population.life(self.target, self.generation);
        let of = |name: &str, comparison, value: String| Match {
            name: name.to_owned(),
            comparison,
            value,
        };
        [
            of("cluster", Comparison::Equal, life.cluster().to_owned()),
            of("instance", Comparison::Equal, life.instance().to_owned()),
            of("__name__", Comparison::Regex, format!(".+{NATIVE_SUFFIX}")),
        ]
    }

    /// The PromQL selector of its floats, to be evaluated at [`Self::until_ms`].
    #[must_use]
    pub fn selector(&self, population: &Population) -> String {
        let life = population.life(self.target, self.generation);
        let range = self.until_ms.saturating_sub(self.after_ms);
        let (cluster, instance) = (life.cluster(), life.instance());
        // The names are made of characters that need no escape.
        match population.mixture().has_histograms() {
            true => format!(
                r#"{{cluster="{cluster}",instance="{instance}",__name__!~".+{NATIVE_SUFFIX}"}}[{range}ms]"#
            ),
            false => format!(r#"{{cluster="{cluster}",instance="{instance}"}}[{range}ms]"#),
        }
    }
}

/// The questions that read back everything `ledger` knows of, each answered by about `samples_max` samples at most.
#[must_use]
pub fn questions(ledger: &Ledger, population: &Population, samples_max: u64) -> Vec<Question> {
    let steps = ledger.steps();
    let mut questions = Vec::new();
    for target in 0..population.target_count() {
        let series = population.series_of(target);
        let per_window = samples_max / (series.len() as u64).max(1);
        let per_window = u32::try_from(per_window).unwrap_or(u32::MAX).max(1);
        for (generation, life) in lives(population, target, &steps) {
            windows(&mut questions, &ledger.header.timeline, &steps, &life, per_window, |window| {
                Question { target, generation, ..window }
            });
        }
    }
    questions
}

/// The generations of a target within `steps`, each with its part of them.
pub fn lives<'a>(
    population: &'a Population,
    target: u32,
    steps: &Range<u32>,
) -> impl Iterator<Item = (u32, Range<u32>)> + 'a {
    let (mut next, end) = (steps.start, steps.end);
    std::iter::from_fn(move || {
        let (generation, life) = population.generation(target, next);
        let part = next..life.end.min(end);
        let more = next < end;
        next = part.end;
        more.then_some((generation, part))
    })
}

fn windows(
    questions: &mut Vec<Question>,
    timeline: &Timeline,
    all: &Range<u32>,
    life: &Range<u32>,
    per_window: u32,
    question: impl Fn(Question) -> Question,
) {
    let interval = i64::from(timeline.interval_ms);
    let mut start = life.start;
    while start < life.end {
        let end = start.saturating_add(per_window).min(life.end);
        let first = start == life.start;
        let last = end == life.end;
        let step_before = if first { all.start } else { start };
        let step_last = if last { all.end } else { end };
        questions.push(question(Question {
            target: 0,
            generation: 0,
            steps: start..end,
            after_ms: timeline.time(step_before).saturating_sub(interval),
            until_ms: timeline.time(step_last).saturating_sub(if last { 0 } else { interval }),
        }));
        start = end;
    }
}

/// Was any sample of `series` sent in `steps`?
#[must_use]
pub fn was_sent(ledger: &Ledger, series: u32, steps: &Range<u32>) -> bool {
    let fates = ledger.fates(series);
    let end = fates.len().min(steps.end as usize);
    let sent = fates.get(steps.start as usize..end).unwrap_or_default();
    sent.iter().any(|fate| *fate != Fate::Unsent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMELINE: Timeline =
        Timeline { start_ms: 1_780_000_000_000, interval_ms: 1_000, value_period: None };

    fn windows_of(
        population: &Population,
        target: u32,
        end: u32,
        per_window: u32,
    ) -> Vec<Question> {
        let mut found = Vec::new();
        for (generation, life) in lives(population, target, &(0..end)) {
            windows(&mut found, &TIMELINE, &(0..end), &life, per_window, |window| Question {
                target,
                generation,
                ..window
            });
        }
        found
    }

    proptest! {
        #[test]
        fn the_windows_of_a_generation_cover_all_of_time_and_its_steps_once(churn in proptest::option::of(1u32..50), end in 1u32..200, per_window in 1u32..60) {
            let population = Population::new(1, 5_000, churn);
            let questions = windows_of(&population, 7, end, per_window);
            let mut next_step = 0;
            for life in questions.chunk_by(|a, b| a.generation == b.generation) {
                prop_assert_eq!(life[0].after_ms, TIMELINE.time(0) - 1_000);
                prop_assert_eq!(life[life.len() - 1].until_ms, TIMELINE.time(end));
                prop_assert!(life.windows(2).all(|pair| pair[0].until_ms == pair[1].after_ms));
                for question in life {
                    prop_assert_eq!(question.steps.start, next_step);
                    prop_assert!(question.steps.len() <= per_window as usize);
                    prop_assert!(question.after_ms < TIMELINE.time(question.steps.start));
                    prop_assert!(question.until_ms >= TIMELINE.time(question.steps.end - 1));
                    prop_assert_eq!(population.generation(7, question.steps.start).0, question.generation);
                    next_step = question.steps.end;
                }
            }
            prop_assert_eq!(next_step, end);
        }
    }

    #[test]
    fn a_question_is_a_range_selector() {
        let population = Population::new(3, 5_000, None);
        let question =
            Question { target: 1, generation: 0, steps: 0..1, after_ms: 1_000, until_ms: 3_500 };
        let selector = r#"{cluster="flood-3",instance="node-00000.eu1:9100"}[2500ms]"#;
        assert_eq!(question.selector(&population), selector);
    }
}
