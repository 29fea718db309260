//! Compares what a question should bring with what it brought: pure, sample by sample.
//!
//! No value that a flood sends is a NaN, so a value's text stands for its bits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use super::answer::{Metric, Series, milliseconds};
use super::plan::Question;
use crate::ledger::{Fate, Ledger};
use crate::population::Population;
use crate::population::histogram::Histogram;
use crate::quantity::utc_text;

/// A series that was read back.
#[derive(Debug)]
pub struct Found<'a> {
    /// Its labels.
    pub metric: Metric,
    /// Its samples, with milliseconds since the epoch.
    pub samples: Vec<(i64, Value<'a>)>,
}

/// A sample that was read back, or that was sent.
#[derive(Debug, PartialEq)]
pub enum Value<'a> {
    /// A float, as text.
    Float(Cow<'a, str>),
    /// A native histogram.
    Histogram {
        /// Its counts.
        histogram: Histogram,
        /// Are they floats?
        float: bool,
    },
    /// What no flood sends.
    Foreign(String),
}

impl Value<'_> {
    /// Is this the value `sent`, bit by bit?
    fn is(&self, sent: &Value<'_>) -> bool {
        let bits = |text: &str| text.parse::<f64>().ok().map(f64::to_bits);
        match (self, sent) {
            // Equal bits, not equal numbers: -0 is not 0.
            (Self::Float(this), Value::Float(sent)) => {
                bits(this).is_some_and(|this| bits(sent) == Some(this))
            }
            (
                Self::Histogram { histogram: this, float },
                Value::Histogram { histogram: sent, float: sent_float },
            ) => float == sent_float && this == sent && this.sum.to_bits() == sent.sum.to_bits(),
            _ => false,
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(text) => out.write_str(text),
            Self::Foreign(what) => out.write_str(what),
            Self::Histogram { histogram, float } => {
                let Histogram { count, sum, zero_count, buckets } = histogram;
                let kind = if *float { "float" } else { "integer" };
                write!(
                    out,
                    "{kind} histogram(count {count} sum {sum} zero {zero_count} buckets {buckets:?})"
                )
            }
        }
    }
}

impl<'a> From<Series<'a>> for Found<'a> {
    fn from(series: Series<'a>) -> Self {
        let values = series.values.into_iter();
        let sample = |(seconds, text)| (milliseconds(seconds), Value::Float(Cow::Borrowed(text)));
        Self { metric: series.metric, samples: values.map(sample).collect() }
    }
}

/// How many examples of each kind are kept.
const EXAMPLES_MAX: usize = 5;

/// What comparing found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Acknowledged samples that were looked for.
    pub acknowledged: u64,
    /// Those of them that are native histograms.
    pub histograms_acknowledged: u64,
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
        self.histograms_acknowledged += other.histograms_acknowledged;
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
    pub fn compare(&self, question: &Question, answer: Vec<Found<'_>>) -> Findings {
        let mut findings = Findings::default();
        let all = self.population.series_of(question.target);
        let numbers: HashMap<Metric, u32> =
            all.clone().map(|number| (self.labels(number, question), number)).collect();
        // For each series of the target, which of the question's steps have been found.
        let mut found = vec![vec![false; question.steps.len()]; all.len()];
        for mut series in answer {
            series.metric.retain(|name, _| !self.ignored.contains(name));
            // Prometheus before 3.0 closes its windows on both sides.
            series.samples.retain(|(time, _)| *time > question.after_ms);
            let number = numbers.get(&series.metric).copied();
            let place = number.and_then(|number| found.get_mut((number - all.start) as usize));
            match (number, place) {
                (Some(number), Some(found)) => {
                    self.walk(question, number, &series, found, &mut findings);
                }
                _ => {
                    findings.invented += series.samples.len() as u64;
                    let count = series.samples.len();
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
        series: &Found<'_>,
        found: &mut [bool],
        findings: &mut Findings,
    ) {
        let timeline = &self.ledger.header.timeline;
        let sent_at = self.sent(question, number);
        for (time, value) in &series.samples {
            let time = *time;
            let step = timeline.step_at(time).filter(|step| question.steps.contains(step));
            let fate = step.map_or(Fate::Unsent, |step| self.ledger.fate(number, step));
            let place = step.and_then(|step| found.get_mut((step - question.steps.start) as usize));
            // Once only: a second sample of the same time was not sent either.
            let (Some(step), Some(place @ false), true) = (step, place, fate != Fate::Unsent)
            else {
                findings.invented += 1;
                let time = utc_text(time);
                findings.example(|| format!("invented {value} at {time}: {:?}", series.metric));
                continue;
            };
            *place = true;
            findings.unknown_found += u64::from(fate == Fate::Unknown);
            let sent = sent_at(timeline.value_step(step));
            if !value.is(&sent) {
                findings.altered += 1;
                let time = utc_text(time);
                findings.example(|| {
                    format!("altered from {sent} to {value} at {time}: {:?}", series.metric)
                });
            }
        }
    }

    /// What `series` was sent with, as a function of the step.
    fn sent(&self, question: &Question, series: u32) -> impl Fn(u64) -> Value<'static> {
        let native = self.population.is_histogram(series);
        let histogram = self.population.histogram(series, question.generation);
        let shape = self.population.shape(series, question.generation);
        let float = self.population.mixture().float_histograms;
        move |step| match native {
            true => Value::Histogram { histogram: histogram.at(step), float },
            false => Value::Float(Cow::Owned(shape.value(step).to_string())),
        }
    }

    fn count_lost(
        &self,
        question: &Question,
        number: u32,
        found: &[bool],
        findings: &mut Findings,
    ) {
        let native = self.population.is_histogram(number);
        for (step, found) in question.steps.clone().zip(found) {
            if self.ledger.fate(number, step) != Fate::Acknowledged {
                continue;
            }
            findings.acknowledged += 1;
            findings.histograms_acknowledged += u64::from(native);
            if !found {
                findings.lost += 1;
                let time = utc_text(self.ledger.header.timeline.time(step));
                let labels = || self.labels(number, question);
                findings.example(|| format!("lost at {time} (step {step}): {:?}", labels()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Protocol;
    use crate::ledger::{Header, Outcome, Writer};
    use crate::population::mixture::Mixture;
    use crate::timeline::Timeline;
    use crate::verify::plan::questions;

    const TIMELINE: Timeline =
        Timeline { start_ms: 1_780_000_000_000, interval_ms: 1_000, value_period: None };

    /// The ledger of ten series and four steps: the last was never answered, the others were acknowledged.
    fn ledger(mixture: Mixture) -> Ledger {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let header = Header {
            population: Population::checksum_with(mixture),
            seed: 3,
            series: 10,
            generation_steps: None,
            timeline: TIMELINE,
            protocol: Protocol::V1,
            mixture,
            url: String::new(),
        };
        let writer = Writer::create(&path, &header).unwrap();
        for step in 0..4 {
            writer.intent(&(0..10), step).unwrap();
            if step < 3 {
                writer.outcome(&(0..10), step, Outcome::Acknowledged, 204).unwrap();
            }
        }
        Ledger::open(&path).unwrap()
    }

    /// What comparing finds if the samples of series 4 are changed by `change`: pairs of milliseconds since the start of
    /// the flood and value.
    fn findings(change: impl Fn(&mut Vec<(i64, f64)>)) -> Findings {
        let ledger = ledger(Mixture::default());
        let population = ledger.header.population().unwrap();
        let question = questions(&ledger, &population, 1_000_000).remove(0);
        let flood = Flood { ledger: &ledger, population: &population, ignored: &[] };
        let texts: Vec<Vec<(f64, String)>> = (0..10)
            .map(|number| {
                let shape = population.shape(number, 0);
                let mut samples: Vec<(i64, f64)> = (0u32..4)
                    .map(|step| (i64::from(step) * 1000, shape.value(u64::from(step))))
                    .collect();
                if number == 4 {
                    change(&mut samples);
                }
                let seconds = |ms: i64| (TIMELINE.start_ms + ms) as f64 / 1000.0;
                samples.into_iter().map(|(ms, v)| (seconds(ms), v.to_string())).collect()
            })
            .collect();
        let answer = (0u32..).zip(&texts).map(|(number, texts)| Series {
            metric: flood.labels(number, &question),
            values: texts.iter().map(|(seconds, text)| (*seconds, text.as_str())).collect(),
        });
        flood.compare(&question, answer.map(Found::from).collect())
    }

    /// Takes one sample away.
    fn without(step: usize) -> impl Fn(&mut Vec<(i64, f64)>) {
        move |samples| _ = samples.remove(step)
    }

    /// Lost, altered and invented.
    fn counts(findings: &Findings) -> [u64; 3] {
        [findings.lost, findings.altered, findings.invented]
    }

    #[test]
    fn what_was_sent_and_is_there_is_clean() {
        let clean = findings(|_| {});
        assert_eq!((clean.acknowledged, clean.unknown_found, counts(&clean)), (30, 10, [0; 3]));
        assert!(clean.examples.is_empty());
    }

    #[test]
    fn a_single_missing_sample_is_lost_if_it_was_acknowledged() {
        assert_eq!(counts(&findings(without(1))), [1, 0, 0]);
        assert_eq!(counts(&findings(without(3))), [0, 0, 0]);
    }

    #[test]
    fn a_single_bit_of_a_value_is_altered() {
        for step in [1, 3] {
            let bit =
                findings(|samples| samples[step].1 = f64::from_bits(samples[step].1.to_bits() ^ 1));
            assert_eq!(counts(&bit), [0, 1, 0]);
            assert!(bit.examples[0].starts_with("altered from "));
        }
        assert_eq!(counts(&findings(|samples| samples[0].1 = f64::NAN)), [0, 1, 0]);
    }

    #[test]
    fn samples_twice_between_steps_before_and_after_are_invented() {
        assert_eq!(counts(&findings(|samples| samples.push(samples[2]))), [0, 0, 1]);
        assert_eq!(counts(&findings(|samples| samples.push((2_001, 1.0)))), [0, 0, 1]);
        assert_eq!(counts(&findings(|samples| samples.push((-999, 1.0)))), [0, 0, 1]);
        assert_eq!(counts(&findings(|samples| samples.push((4_000, 1.0)))), [0, 0, 1]);
    }

    #[test]
    fn a_sample_moved_in_time_is_lost_there_and_invented_here() {
        assert_eq!(counts(&findings(|samples| samples[1].0 += 1)), [1, 0, 1]);
    }

    #[test]
    fn only_some_examples_of_each_kind_are_kept() {
        let mut all = Findings::default();
        for _ in 0..20 {
            all.add(findings(without(1)));
            all.add(findings(|samples| samples[1].1 += 1.0));
        }
        assert_eq!((counts(&all), all.examples.len()), ([20, 20, 0], 2 * EXAMPLES_MAX));
    }

    /// What comparing finds if the samples of series 4 of a flood of histograms are changed by `change`.
    fn histogram_findings(change: impl Fn(&mut Vec<(i64, Value<'static>)>)) -> Findings {
        let ledger = ledger(Mixture { histograms_per_million: 1_000_000, ..Mixture::default() });
        let population = ledger.header.population().unwrap();
        let question = questions(&ledger, &population, 1_000_000).remove(0);
        let flood = Flood { ledger: &ledger, population: &population, ignored: &[] };
        let answer = (0..10).map(|number| {
            let sent = flood.sent(&question, number);
            let samples = (0..4).map(|step| (TIMELINE.time(step), sent(u64::from(step))));
            let mut samples = samples.collect();
            if number == 4 {
                change(&mut samples);
            }
            Found { metric: flood.labels(number, &question), samples }
        });
        flood.compare(&question, answer.collect())
    }

    /// Changes the histogram of one step.
    fn with(
        step: usize,
        change: impl Fn(&mut Histogram, &mut bool),
    ) -> impl Fn(&mut Vec<(i64, Value<'static>)>) {
        move |samples| match &mut samples[step].1 {
            Value::Histogram { histogram, float } => change(histogram, float),
            other => panic!("{other:?} is no histogram"),
        }
    }

    #[test]
    fn histograms_that_were_sent_and_are_there_are_clean() {
        let clean = histogram_findings(|_| {});
        assert_eq!((clean.acknowledged, clean.histograms_acknowledged), (30, 30));
        assert_eq!((clean.unknown_found, counts(&clean)), (10, [0; 3]));
    }

    #[test]
    fn a_missing_histogram_is_lost_and_one_too_many_is_invented() {
        assert_eq!(counts(&histogram_findings(|samples| _ = samples.remove(1))), [1, 0, 0]);
        assert_eq!(counts(&histogram_findings(|samples| samples[1].0 += 1)), [1, 0, 1]);
    }

    #[test]
    fn anything_else_in_a_histogram_is_altered() {
        let altered = |change: fn(&mut Histogram, &mut bool)| {
            assert_eq!(counts(&histogram_findings(with(2, change))), [0, 1, 0]);
        };
        altered(|histogram, _| histogram.count += 1);
        altered(|histogram, _| histogram.sum = f64::from_bits(histogram.sum.to_bits() ^ 1));
        altered(|histogram, _| histogram.zero_count += 1);
        altered(|histogram, _| histogram.buckets[3].1 += 1);
        altered(|histogram, _| histogram.buckets[3].0 += 1);
        altered(|histogram, _| _ = histogram.buckets.pop());
        altered(|_, float| *float = true);
        let as_float = |samples: &mut Vec<(i64, Value<'static>)>| {
            samples[2].1 = Value::Float(Cow::Borrowed("1"));
        };
        assert_eq!(counts(&histogram_findings(as_float)), [0, 1, 0]);
    }
}
