//! The test scripts of the query language again, over what stores samples: Heads, and Heads and blocks, in one to eight
//! shards. What is answered rightly in memory has to be from there.
//!
//! By default these are the project's scripts; with `FLOODPLAIN_SCRIPTS_EVERYWHERE=1` also Prometheus's, where they are at hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use floodplain::io::sim::run;
use floodplain::model::{Labels, Sample, Samples, TimestampMs};
use floodplain::query::float_histogram::FloatHistogram;
use floodplain::query::script::{Answered, Loaded, Outcome, Script, Shards};
use floodplain::query::value::Point;
use floodplain::query::{AnswerValue, Options, Unpaced};

use crate::promql_scripts::{OWN, PROMETHEUS};
use crate::script_store::{Kept, StoredShards};

const EVERYWHERE: &str = "FLOODPLAIN_SCRIPTS_EVERYWHERE";
const SHARDS: [u16; 4] = [1, 2, 3, 8];

/// Evals that need what storage does not keep, by script and line, and what that is. Each fails in one of the
/// configurations at least; one that does not has no place here.
const NOT_STORED: &[(&str, &[usize], &str)] = &[
    ("starts.test", &[104, 129, 132, 135, 139, 142, 145], OF_HISTOGRAMS),
    ("start_timestamps.test", &[131, 135, 152, 158, 164, 177, 215], OF_HISTOGRAMS),
    ("starts.test", &[116], "a sample that comes again, to the bit, keeps the start that it had"),
];
const OF_HISTOGRAMS: &str = "chunks of histograms have no room for starts";

/// What is run.
fn scripts() -> Vec<(PathBuf, Script, Options)> {
    let mut scripts = OWN.scripts();
    if std::env::var_os(EVERYWHERE).is_some() {
        scripts.extend(PROMETHEUS.scripts());
    }
    scripts
}

fn configurations() -> impl Iterator<Item = (u16, Kept)> {
    let kept = [Kept::InHeads, Kept::HalfInBlocks];
    SHARDS.into_iter().flat_map(move |shards| kept.map(|kept| (shards, kept)))
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn is_not_stored(path: &Path, line: usize) -> bool {
    let of_file = NOT_STORED.iter().filter(|(file, ..)| *file == file_name(path));
    of_file.flat_map(|(_, lines, _)| *lines).any(|excused| *excused == line)
}

#[test]
fn scripts_are_answered_from_heads_and_blocks() {
    let (mut faults, mut missed) = (Vec::new(), BTreeSet::new());
    let scripts = scripts();
    for (path, script, options) in &scripts {
        for (shards, kept) in configurations() {
            let mut stored = StoredShards::new(shards, kept);
            for verdict in run(script.run_over(&mut stored, options, &Unpaced)) {
                let what = match verdict.outcome {
                    Outcome::Passed => continue,
                    Outcome::Failed(what) | Outcome::Refused(what) => what,
                };
                if is_not_stored(path, verdict.line) {
                    missed.insert((file_name(path).to_owned(), verdict.line));
                    continue;
                }
                let at = format!("{}:{}", path.display(), verdict.line);
                faults.push(format!("{at}, {shards} shards, {kept:?}: {what}"));
            }
        }
    }
    for (file, lines, reason) in NOT_STORED {
        let was_run = scripts.iter().any(|(path, ..)| file_name(path) == *file);
        for line in lines.iter().filter(|line| !missed.contains(&((*file).to_owned(), **line))) {
            if was_run {
                faults.push(format!("{file}:{line} is answered everywhere, in spite of: {reason}"));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

/// What a series has at an instant, or another part of an answer: its name, when, and the bits of its numbers.
type Bits = (String, i64, Vec<u64>);

/// All of an answer, in its order.
fn bits_of(answered: &Answered) -> Vec<Bits> {
    let answer = match &answered.answer {
        Ok(answer) => answer,
        Err(error) => return vec![(error.to_string(), 0, Vec::new())],
    };
    let point = |labels: &Labels, t: i64, point: &Point| {
        let bits = match point {
            Point::Float(v) => vec![v.to_bits()],
            Point::Histogram(h) => bits_of_histogram(h),
        };
        (labels.to_string(), t, bits)
    };
    let mut bits = Vec::new();
    match &answer.value {
        AnswerValue::Scalar { t, v } => bits.push(("scalar".to_owned(), t.0, vec![v.to_bits()])),
        AnswerValue::String { t, v } => {
            bits.push((String::from_utf8_lossy(v).into_owned(), t.0, Vec::new()));
        }
        AnswerValue::Vector { t, samples } => {
            bits.extend(samples.iter().map(|(labels, of_series)| point(labels, t.0, of_series)));
        }
        AnswerValue::Matrix { grid, series } => {
            for one in series {
                let at = |step| Some(point(&one.labels, grid.time(step), &one.at(step)?));
                bits.extend(one.steps().filter_map(at));
            }
        }
        AnswerValue::Ranges(series) => {
            for one in series {
                let floats = one.samples.iter().map(|s| (s.t.0, Point::Float(s.v)));
                let histograms = one.histograms.iter();
                let histograms = histograms.map(|(t, h)| (*t, Point::Histogram(h.clone())));
                bits.extend(floats.chain(histograms).map(|(t, of)| point(&one.labels, t, &of)));
            }
        }
    }
    let notes = &answer.annotations;
    let texts = notes.warnings(&answered.query).into_iter().chain(notes.infos(&answered.query));
    bits.extend(texts.map(|text| (text, 0, Vec::new())));
    bits
}

/// Buckets come last: of two with the same buckets the same places are the same counts.
fn bits_of_histogram(h: &FloatHistogram) -> Vec<u64> {
    let buckets = h.positive.iter().chain(&h.negative);
    let counts = [h.count, h.sum, h.zero_count].into_iter().chain(buckets.map(|(_, count)| *count));
    counts.map(f64::to_bits).collect()
}

fn answers(script: &Script, options: &Options, shards: u16, kept: Kept) -> Vec<Answered> {
    let mut stored = StoredShards::new(shards, kept);
    run(script.answers_over(&mut stored, options, &Unpaced))
}

#[test]
fn one_configuration_answers_the_same_bits_every_time() {
    for (path, script, options) in &scripts() {
        for (shards, kept) in configurations() {
            let [first, second] = [(); 2].map(|()| answers(script, options, shards, kept));
            for (first, second) in first.iter().zip(&second) {
                let at = format!("{}:{}, {shards} shards", path.display(), first.line);
                assert_eq!(bits_of(first), bits_of(second), "{at}, {kept:?}");
            }
        }
    }
}

/// The largest difference between two numbers at the same place, in parts of the larger one; nothing of those that are not
/// both finite.
fn difference(a: &[Bits], b: &[Bits]) -> f64 {
    let by_place = |bits: &[Bits]| -> BTreeMap<(String, i64), Vec<u64>> {
        bits.iter().map(|(name, t, bits)| ((name.clone(), *t), bits.clone())).collect()
    };
    let (a, b) = (by_place(a), by_place(b));
    let numbers = a.iter().filter_map(|(place, a)| Some((a, b.get(place)?)));
    let pairs = numbers.flat_map(|(a, b)| a.iter().zip(b));
    let parts = pairs.map(|(a, b)| {
        let (a, b) = (f64::from_bits(*a), f64::from_bits(*b));
        let larger = a.abs().max(b.abs());
        if a == b || !larger.is_finite() { 0.0 } else { (a - b).abs() / larger }
    });
    parts.fold(0.0, f64::max)
}

/// Sums are formed in the order of series, shard after shard: how many there are is seen in the last bits. Tells by how much,
/// in `--nocapture`; what a script allows is looked at by the test above.
#[test]
fn what_the_number_of_shards_changes_is_told() {
    let (mut compared, mut differ) = (0, 0);
    let mut largest = (0.0, String::from("nothing"));
    for (path, script, options) in &scripts() {
        let one = answers(script, options, 1, Kept::InHeads);
        for shards in SHARDS.into_iter().filter(|shards| *shards > 1) {
            for (one, other) in one.iter().zip(answers(script, options, shards, Kept::InHeads)) {
                compared += 1;
                let by = difference(&bits_of(one), &bits_of(&other));
                if by > 0.0 {
                    differ += 1;
                }
                if by > largest.0 {
                    let at = format!("{}:{}", file_name(path), one.line);
                    largest = (by, format!("{at}, {shards} shards: {}", one.query));
                }
            }
        }
    }
    let (by, what) = largest;
    println!(
        "{differ} of {compared} answers have numbers that depend on how many shards there are"
    );
    println!("the largest difference is {by:e} of the number: {what}");
}

#[test]
fn half_of_what_is_loaded_goes_into_blocks() {
    const MINUTE: i64 = 60_000;
    let labels = |n: i64| Labels::from_pairs([("n", n.to_string().as_str())]).unwrap();
    let floats = (0..600).map(|n| Sample { t: TimestampMs(n * MINUTE), v: n as f64 });
    let floats: Vec<Sample> = floats.collect();
    let loaded: Vec<Loaded> = (0..10)
        .map(|n| {
            let samples = Samples { floats: floats.clone(), ..Samples::default() };
            Loaded { labels: labels(n), samples }
        })
        .collect();
    let [in_heads, halved] = [Kept::InHeads, Kept::HalfInBlocks].map(|kept| {
        let mut stored = StoredShards::new(1, kept);
        run(stored.load(&loaded));
        (stored.block_count(), stored.oldest_in_heads())
    });
    assert_eq!(in_heads, (0, Some(0)));
    // Half is 299 minutes and a half: a block of two hours, another one, and one of an hour.
    let (blocks, oldest) = halved;
    assert_eq!(blocks, 3);
    assert!(oldest > Some(299 * MINUTE) && oldest <= Some(300 * MINUTE), "{oldest:?}");
}
