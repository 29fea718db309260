//! Reads a flood back, floats through the query API and native histograms through remote read, and compares it with its ledger.

pub mod answer;
mod ask;
pub mod compare;
pub mod native;
pub mod plan;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::VerifyArgs;
use crate::flood::report::thousands;
use crate::http::UrlError;
use crate::ledger::{Fate, Ledger, LedgerError};
use crate::population::Population;
use answer::Metric;
pub use ask::AskError;
use ask::Asker;
use compare::{Findings, Flood, Found};
use plan::{Question, questions};

/// Why a flood could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The server's address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A question that was not answered.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Nothing was acknowledged, and nothing is there.
    #[error(
        "there was not one sample to compare: the ledger acknowledges none and the server has none of the flood's"
    )]
    NothingCompared,
}

/// What verifying found. As JSON its keys are stable: some may be added, none renamed or removed.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of the generator.
    pub version: &'static str,
    /// Nothing lost, altered or invented? Decides the exit code.
    pub ok: bool,
    /// The seed of the flood.
    pub seed: u64,
    /// Its series at any moment.
    pub series: u32,
    /// Its steps.
    pub steps: u32,
    /// Samples that were looked for or found: acknowledged ones, and others that were there.
    pub samples_compared: u64,
    /// Samples that the ledger says were acknowledged. Each of them was looked for.
    pub samples_acknowledged: u64,
    /// Those of them that are native histograms.
    pub histograms_acknowledged: u64,
    /// Samples that were sent and not acknowledged.
    pub samples_unknown: u64,
    /// Those of them that are there.
    pub samples_unknown_found: u64,
    /// Acknowledged samples that are not there.
    pub samples_lost: u64,
    /// Samples that are there with another value.
    pub samples_altered: u64,
    /// Samples that are there and were never sent.
    pub samples_invented: u64,
    /// Series with the flood's cluster label that were never sent.
    pub series_invented: u64,
    /// Questions asked for samples.
    pub queries: usize,
    /// How long it took.
    pub seconds: f64,
    /// Some of what was lost, altered or invented.
    pub examples: Vec<String>,
}

/// Verifies as `args` ask for.
///
/// # Errors
/// See [`VerifyError`]. Lost, altered and invented samples are not an error but a report that says so.
pub fn run(args: &VerifyArgs) -> Result<Report, VerifyError> {
    let begins = Instant::now();
    let ledger = Ledger::open(&args.ledger)?;
    let population = ledger.header.population()?;
    let addresses = args.url.resolve(args.allow_remote)?;
    let mut asker = Asker::new(args, addresses.clone());
    asker.wait_until_ready(args.wait)?;
    let flood = Flood { ledger: &ledger, population: &population, ignored: &args.ignored_labels };
    let questions = questions(&ledger, &population, args.samples_per_query);
    let threads = usize::try_from(args.connections).unwrap_or(usize::MAX).clamp(1, 64);
    let askers = (0..threads).map(|_| Asker::new(args, addresses.clone())).collect();
    let mut findings = ask_all(&flood, &questions, askers, args.quiet)?;
    let strays = stray_series(&flood, &mut asker)?;

    let acknowledged = ledger.count(Fate::Acknowledged);
    assert_eq!(findings.acknowledged, acknowledged, "every acknowledged sample is looked for");
    let compared = acknowledged + findings.unknown_found;
    let bad = findings.altered + findings.invented + strays.len() as u64;
    if compared + bad == 0 {
        return Err(VerifyError::NothingCompared);
    }
    findings
        .examples
        .extend(strays.iter().take(5).map(|stray| format!("invented series {stray:?}")));
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        ok: findings.lost + bad == 0,
        seed: ledger.header.seed,
        series: ledger.header.series,
        steps: ledger.steps().end,
        samples_compared: compared,
        samples_acknowledged: acknowledged,
        histograms_acknowledged: findings.histograms_acknowledged,
        samples_unknown: ledger.count(Fate::Unknown),
        samples_unknown_found: findings.unknown_found,
        samples_lost: findings.lost,
        samples_altered: findings.altered,
        samples_invented: findings.invented,
        series_invented: strays.len() as u64,
        queries: questions.len(),
        seconds: begins.elapsed().as_secs_f64(),
        examples: findings.examples,
    })
}

/// Asks all questions, each asker on a thread of its own, with a progress line every second.
fn ask_all(
    flood: &Flood<'_>,
    questions: &[Question],
    askers: Vec<Asker>,
    quiet: bool,
) -> Result<Findings, AskError> {
    let next = AtomicUsize::new(0);
    let ask = |mut asker: Asker| {
        let mut findings = Findings::default();
        while let Some(question) = questions.get(next.fetch_add(1, Ordering::Relaxed)) {
            let selector = question.selector(flood.population);
            let nobody_goes_on = |_: &AskError| next.store(questions.len(), Ordering::Relaxed);
            let mut answer = Vec::new();
            if flood.population.mixture().has_histograms() {
                let matchers = question.native_matchers(flood.population);
                let range = (question.after_ms.saturating_add(1), question.until_ms);
                answer = asker.native(&matchers, range).inspect_err(nobody_goes_on)?;
            }
            let floats = asker.samples(&selector, question.until_ms).inspect_err(nobody_goes_on)?;
            answer.extend(floats.into_iter().map(Found::from));
            findings.add(flood.compare(question, answer));
        }
        Ok(findings)
    };
    thread::scope(|scope| {
        // As in a flood: when the last thread has dropped its sender, receiving fails.
        let (alive, all_done) = channel::<()>();
        let start = |asker| {
            let (ask, alive) = (&ask, alive.clone());
            scope.spawn(move || (ask(asker), drop(alive)).0)
        };
        let asking: Vec<_> = askers.into_iter().map(start).collect();
        drop(alive);
        while all_done.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
            if !quiet {
                let asked = next.load(Ordering::Relaxed).min(questions.len());
                eprintln!("asked {asked} of {} questions", questions.len());
            }
        }
        let mut findings = Findings::default();
        for thread in asking {
            findings.add(thread.join().map_err(|_| AskError::Panicked)??);
        }
        Ok(findings)
    })
}

/// The label sets that the server has for the flood's cluster label and that were never sent.
fn stray_series(flood: &Flood<'_>, asker: &mut Asker) -> Result<Vec<Metric>, AskError> {
    let (ledger, population) = (flood.ledger, flood.population);
    let sent = sent_label_sets(ledger, population);
    let timeline = &ledger.header.timeline;
    let times = (timeline.time(0), timeline.time(ledger.steps().end));
    let cluster = population.cluster();
    let names = population.metric_names();
    let other = format!(r#"{{cluster="{cluster}",__name__!~"{}"}}"#, names.join("|"));
    let selectors = names.iter().map(|name| format!(r#"{name}{{cluster="{cluster}"}}"#));
    let mut strays = Vec::new();
    for selector in selectors.chain([other]) {
        for mut labels in asker.series(&selector, times)? {
            labels.retain(|name, _| !flood.ignored.contains(name));
            if !sent.contains(&digest(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())))) {
                strays.push(labels);
            }
        }
    }
    Ok(strays)
}

/// Digests of all label sets of which at least one sample was sent: a million of them should fit into memory.
fn sent_label_sets(ledger: &Ledger, population: &Population) -> HashSet<u64> {
    let mut sent = HashSet::new();
    let steps = ledger.steps();
    for target in 0..population.target_count() {
        for (generation, part) in plan::lives(population, target, &steps) {
            let life = population.life(target, generation);
            for series in population.series_of(target) {
                if plan::was_sent(ledger, series, &part) {
                    let labels: Vec<_> = population.labels(series, &life).collect();
                    sent.insert(digest(labels.iter().map(|(name, value)| (*name, value.as_ref()))));
                }
            }
        }
    }
    sent
}

/// A label set, sorted by name, in 64 bits.
fn digest<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for label in labels {
        label.hash(&mut hasher);
    }
    hasher.finish()
}

impl Report {
    /// The report as indented JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The report as a table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "compared      {} samples of {} series in {} queries, {:.1} s\n",
            thousands(self.samples_compared),
            thousands(u64::from(self.series)),
            thousands(self.queries as u64),
            self.seconds,
        );
        for (name, count, what) in [
            ("acknowledged", self.samples_acknowledged, "samples"),
            ("", self.histograms_acknowledged, "of them are native histograms"),
            ("unknown", self.samples_unknown, "samples sent but not acknowledged"),
            ("", self.samples_unknown_found, "of them are there"),
            ("lost", self.samples_lost, "samples"),
            ("altered", self.samples_altered, "samples"),
            ("invented", self.samples_invented, "samples"),
            ("", self.series_invented, "series"),
        ] {
            let _infallible = writeln!(text, "{name:<13} {} {what}", thousands(count));
        }
        for example in &self.examples {
            let _infallible = writeln!(text, "example       {example}");
        }
        text.push_str(if self.ok { "verdict       clean" } else { "verdict       DAMAGED" });
        text
    }
}
