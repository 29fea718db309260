//! Test scripts of the query language: the project's own in `tests/promql`, and Prometheus's where they are at hand.
//!
//! Each script runs over one, two and three shards: what is split must add up to the same.

use std::fs;
use std::path::{Path, PathBuf};

use floodplain::query::parser::ParseOptions;
use floodplain::query::script::{CONFORMANCE, Outcome, Script, Settings, Verdict};
use floodplain::query::{Options, Unpaced};

/// How many queries of each of Prometheus's scripts are answered, at least. The others use what is not supported yet and
/// have to be refused; none may be answered wrongly.
const ANSWERED: [(&str, usize); 21] = [
    ("aggregators.test", 102),
    ("at_modifier.test", 55),
    ("collision.test", 2),
    ("duration_expression.test", 41),
    ("extended_vectors.test", 107),
    ("fill-modifier.test", 27),
    ("functions.test", 292),
    ("histograms.test", 119),
    ("info.test", 34),
    ("limit.test", 24),
    ("literals.test", 17),
    ("name_label_dropping.test", 28),
    ("native_histograms.test", 337),
    ("operators.test", 136),
    ("range_queries.test", 11),
    ("selectors.test", 19),
    ("staleness.test", 10),
    ("start_timestamps.test", 14),
    ("subquery.test", 24),
    ("trig_functions.test", 11),
    ("type_and_unit.test", 35),
];

/// Scripts that are run alike.
pub struct Suite {
    dir: fn() -> PathBuf,
    options: fn(&Path) -> Options,
}

/// The project's own.
pub const OWN: Suite = Suite {
    dir: || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql"),
    options: |path| {
        // `*_delayed.test` are about delayed name removal, `*_typed.test` about types by labels, all others about what is
        // the default.
        let is_for = |end: &str| path.to_str().unwrap().ends_with(end);
        Options {
            delayed_name_removal: is_for("_delayed.test"),
            looks_at_types: is_for("_typed.test"),
            use_start_timestamps: true,
            parse: ParseOptions::ALL,
            ..Options::default()
        }
    },
};

/// Prometheus's, which need not be there.
pub const PROMETHEUS: Suite = Suite {
    dir: || {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/promqltest");
        std::env::var_os("FLOODPLAIN_PROMQLTEST_DIR").map_or(beside, PathBuf::from)
    },
    options: |_| CONFORMANCE,
};

impl Suite {
    /// Its scripts, each with where it is and what the engine is to be set to.
    pub fn scripts(&self) -> Vec<(PathBuf, Script, Options)> {
        let dir = (self.dir)();
        let Ok(entries) = fs::read_dir(&dir) else {
            println!("skipped: no scripts in {}", dir.display());
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
        paths.sort();
        let parsed = |path: PathBuf| {
            let text = fs::read_to_string(&path).unwrap();
            let script = Script::parse(&text);
            let script = script.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let options = (self.options)(&path);
            (path, script, options)
        };
        paths.into_iter().map(parsed).collect()
    }
}

fn run(script: &Script, shards: usize, options: Options) -> Vec<Verdict> {
    futures_lite::future::block_on(script.run(&Settings { shards, options }, &Unpaced))
}

/// The wrong answers among `verdicts`, for people.
fn wrong<'a>(path: &'a Path, verdicts: &'a [Verdict]) -> impl Iterator<Item = String> + 'a {
    verdicts.iter().filter_map(move |verdict| match &verdict.outcome {
        Outcome::Failed(what) => Some(format!("{}:{}: {what}", path.display(), verdict.line)),
        _ => None,
    })
}

#[test]
fn prometheuss_scripts_are_answered_rightly_or_refused() {
    let mut faults = Vec::new();
    for (path, script, options) in &PROMETHEUS.scripts() {
        for shards in [1, 2, 3] {
            let verdicts = run(script, shards, *options);
            faults.extend(wrong(path, &verdicts));
            let answered = verdicts.iter().filter(|v| v.outcome == Outcome::Passed).count();
            let name = path.file_name().unwrap().to_str().unwrap();
            let floor = ANSWERED.iter().find(|(file, _)| *file == name);
            let floor = floor.map_or(0, |(_, floor)| *floor);
            if answered < floor {
                faults.push(format!(
                    "{name}: only {answered} of {floor} answered over {shards} shards"
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_projects_scripts_are_answered() {
    let scripts = OWN.scripts();
    assert!(!scripts.is_empty());
    let mut faults = Vec::new();
    for ((path, script, options), shards) in
        scripts.iter().flat_map(|script| [1, 2, 3].map(|shards| (script, shards)))
    {
        let verdicts = run(script, shards, *options);
        faults.extend(wrong(path, &verdicts));
        faults.extend(verdicts.iter().filter_map(|verdict| match &verdict.outcome {
            Outcome::Refused(what) => Some(format!("{}:{}: {what}", path.display(), verdict.line)),
            _ => None,
        }));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_answer_that_is_wrong_is_noticed() {
    let script =
        "load 1m\n  x 1+1x9\n\neval instant at 5m x\n  x 6.1\n\neval instant at 5m x\n  x 6\n";
    let script = Script::parse(script).unwrap();
    let settings = Settings { shards: 2, options: Options::default() };
    let verdicts = futures_lite::future::block_on(script.run(&settings, &Unpaced));
    assert!(matches!(verdicts[0].outcome, Outcome::Failed(_)), "{verdicts:?}");
    assert_eq!(verdicts[1].outcome, Outcome::Passed);
}
