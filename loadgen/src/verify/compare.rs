//! Compares what a question should bring with what it brought: pure, sample by sample.
//!
//! No value that a flood sends is a NaN, so a value's text stands for its bits.

use std::collections::HashMap;

use super::answer::{Metric, Series, milliseconds};
use super::plan::Question;
use crate::ledger::{Fate, Ledger};
use crate::population::Population;
use crate::quantity::utc_text;

/// How many examples of each kind are kept.
const EXAMPLES_MAX: usize = 5;

/// What comparing found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Acknowledged samples that were looked for.
    pub acknowledged: u64,
    /// Samples that were there, sent, and not acknowledged.
    pub unknown_found: u64,
    /// Acknowledged samples that were not there.
    pub lost: u64,
    /// Samples that were there with another value.
    pub altered: u64,
    /// Samples that were there and never sent.
    pub invented: u64,
    /// Some of the bad ones, for people.
    pub examples: Vec<String>,
    lost_examples: usize,
    altered_examples: usize,
    invented_examples: usize,
}

impl Findings {
    /// Adds the findings of another question.
    pub fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.unknown_found += other.unknown_found;
        self.lost += other.lost;
        self.altered += other.altered;
        self.invented += other.invented;
        for example in other.examples {
            let seen = match example.split(' ').next() {
                Some("lost") => &mut self.lost_examples,
                Some("altered") => &mut self.altered_examples,
                _ => &mut self.invented_examples,
            };
            *seen += 1;
            if *seen <= EXAMPLES_MAX {
                self.examples.push(example);
            }
        }
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < 3 * EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

/// A flood, as its ledger knows it.
#[derive(Debug, Clone, Copy)]
pub struct Flood<'a> {
    /// What was sent, and what was acknowledged.
    pub ledger: &'a Ledger,
    /// The series.
    pub population: &'a Population,
    /// Labels that the server adds and that do not count.
    pub ignored: &'a [String],
}

impl Flood<'_> {
    /// Compares the `answer` to `question`.
    #[must_use]
    pub fn compare(&self, question: &Question, answer: Vec<Series<'_>>) -> Findings {
        let mut findings = Findings::default();
        let all = self.population.series_of(question.target);
        let numbers: HashMap<Metric, u32> =
            all.clone().map(|number| (self.labels(number, question), number)).collect();
        // For each series of the target, which of the question's steps have been found.
        let mut found = vec![vec![false; question.steps.len()]; all.len()];
        for mut series in answer {
            series.metric.retain(|name, _| !self.ignored.contains(name));
            // Prometheus before 3.0 closes its windows on both sides.
            series.values.retain(|(seconds, _)| milliseconds(*seconds) > question.after_ms);
            let number = numbers.get(&series.metric).copied();
            let place = number.and_then(|number| found.get_mut((number - all.start) as usize));
            match (number, place) {
                (Some(number), Some(found)) => {
                    self.walk(question, number, &series, found, &mut findings);
                }
                _ => {
                    findings.invented += series.values.len() as u64;
                    let count = series.values.len();
                    findings.example(|| format!("invented {count} samples of {:?}", series.metric));
                }
            }
        }
        for (number, found) in all.zip(&found) {
            self.count_lost(question, number, found, &mut findings);
        }
        findings
    }

    fn labels(&self, number: u32, question: &Question) -> Metric {
        let life = self.population.life(question.target, question.generation);
        let labels = self.population.labels(number, &life);
        labels.map(|(name, value)| (name.to_owned(), value.into_owned())).collect()
    }

    /// Compares the samples of one series, and marks in `found` the steps that are there.
    fn walk(
        &self,
        question: &Question,
        number: u32,
        series: &Series<'_>,
        found: &mut [bool],
        findings: &mut Findings,
    ) {
        let timeline = &self.ledger.header.timeline;
        let shape = self.population.shape(number, question.generation);
        for &(seconds, text) in &series.values {
            let time = milliseconds(seconds);
            let step = timeline.step_at(time).filter(|step| question.steps.contains(step));
            let fate = step.map_or(Fate::Unsent, |step| self.ledger.fate(number, step));
            let place = step.and_then(|step| found.get_mut((step - question.steps.start) as usize));
            // Once only: a second sample of the same time was not sent either.
            let (Some(step), Some(place @ false), true) = (step, place, fate != Fate::Unsent)
            else {
                findings.invented += 1;
                let time = utc_text(time);
                findings.example(|| format!("invented {text} at {time}: {:?}", series.metric));
                continue;
            };
            *place = true;
            findings.unknown_found += u64::from(fate == Fate::Unknown);
            let sent = shape.value(timeline.value_step(step));
            // Equal bits, not equal numbers: -0 is not 0.
            let same = text.parse::<f64>().is_ok_and(|value| value.to_bits() == sent.to_bits());
            if !same {
                findings.altered += 1;
                let time = utc_text(time);
                findings.example(|| {
                    format!("altered from {sent} to {text} at {time}: {:?}", series.metric)
                });
            }
        }
    }

    fn count_lost(
        &self,
        question: &Question,
        number: u32,
        found: &[bool],
        findings: &mut Findings,
    ) {
        for (step, found) in question.steps.clone().zip(found) {
            if self.ledger.fate(number, step) != Fate::Acknowledged {
                continue;
            }
            findings.acknowledged += 1;
            if !found {
                findings.lost += 1;
                let time = utc_text(self.ledger.header.timeline.time(step));
                let labels = || self.labels(number, question);
                findings.example(|| format!("lost at {time} (step {step}): {:?}", labels()));
            }
        }
    }
}
