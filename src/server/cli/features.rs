//! What `--enable-feature` switches on: parts of PromQL and what it looks at, by the names that Prometheus has for them.
//!
//! Its other features are accepted with a warning, so that an existing command line starts, and so are names that nobody
//! knows, as Prometheus does it. Source of the names: `cmd/prometheus/main.go`, Prometheus 3.14.

use crate::query::parser::ParseOptions;

/// Which features are switched on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Which parts of the language are.
    pub parse: ParseOptions,
    /// Do metric names stay until an answer is made?
    pub delayed_name_removal: bool,
    /// Do queries look at start timestamps?
    pub use_start_timestamps: bool,
    /// Do queries look at the labels that describe metrics?
    pub type_and_unit_labels: bool,
    /// Are statistics of each step there for who asks for them?
    pub per_step_stats: bool,
}

/// Features of Prometheus that are not switched on here by their names, and why.
const OTHERS: &[(&str, &str)] = &[
    ("auto-reload-config", "the configuration file is read again on SIGHUP, and by /-/reload"),
    ("concurrent-rule-eval", NO_RULES),
    ("created-timestamp-zero-ingestion", NO_SCRAPES),
    ("delayed-compaction", "compaction is not put off"),
    ("exemplar-storage", "exemplars are kept unless storage.exemplars.max_exemplars is 0"),
    ("extra-scrape-metrics", NO_SCRAPES),
    ("fast-startup", "starts are as fast as they can be"),
    ("histograms-st-encoding", "start timestamps of histograms are not kept"),
    ("memory-snapshot-on-shutdown", "a start reads a checkpoint in any case"),
    ("metadata-wal-records", "metadata is kept in any case"),
    ("native-histograms", "native histograms are kept in any case"),
    ("old-ui", NO_UI),
    ("ooo-native-histograms", "late native histograms are kept in any case"),
    ("otlp-deltatocumulative", NO_OTLP),
    ("otlp-native-delta-ingestion", NO_OTLP),
    ("promql-at-modifier", ALWAYS),
    ("promql-duration-expr", ALWAYS),
    ("promql-negative-offset", ALWAYS),
    (
        "remote-write-receiver",
        "remote writes are taken unless --no-web.enable-remote-write-receiver",
    ),
    ("search-api", "there is no such API yet"),
    ("st-storage", "start timestamps are kept where storage.tsdb.chunk_encoding.floats is xor2"),
    ("st-synthesis", NO_SCRAPES),
    ("use-uncached-io", "the page cache is not used in any case"),
    ("xor2-encoding", "set storage.tsdb.chunk_encoding.floats to xor2 in the configuration file"),
];
const ALWAYS: &str = "that part of the language is always there";
const NO_OTLP: &str = "OTLP is not received yet";
const NO_RULES: &str = "rules are not evaluated here";
const NO_SCRAPES: &str = "nothing is scraped here";
const NO_UI: &str = "there is no web interface yet";

impl Features {
    /// What these names switch on, and a sentence about each that switches nothing on.
    #[must_use]
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> (Self, Vec<String>) {
        let (mut features, mut warnings) = (Self::default(), Vec::new());
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            match name {
                "promql-experimental-functions" => features.parse.experimental_functions = true,
                "promql-extended-range-selectors" => features.parse.extended_range_selectors = true,
                "promql-binop-fill-modifiers" => features.parse.binop_fill_modifiers = true,
                "promql-delayed-name-removal" => features.delayed_name_removal = true,
                "promql-per-step-stats" => features.per_step_stats = true,
                // Scrapes would put them there, and nothing is scraped here.
                "type-and-unit-labels" => features.type_and_unit_labels = true,
                "use-start-timestamps" => features.use_start_timestamps = true,
                other => {
                    let known = OTHERS.iter().find(|(known, _)| *known == other);
                    let why = known.map_or("no such feature is known", |(_, why)| why);
                    warnings.push(format!("--enable-feature={other} has no effect: {why}"));
                }
            }
        }
        (features, warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_language_has_its_name() {
        let (features, warnings) = Features::of([
            "promql-experimental-functions",
            "promql-extended-range-selectors",
            "promql-binop-fill-modifiers",
            "promql-delayed-name-removal",
            "promql-per-step-stats",
            "type-and-unit-labels",
            "use-start-timestamps",
        ]);
        let all = Features {
            parse: ParseOptions::ALL,
            delayed_name_removal: true,
            use_start_timestamps: true,
            type_and_unit_labels: true,
            per_step_stats: true,
        };
        assert_eq!(features, all);
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn what_switches_nothing_on_is_told() {
        let (features, warnings) = Features::of(["exemplar-storage", "teleportation", ""]);
        assert_eq!(features, Features::default());
        assert_eq!(
            warnings,
            [
                "--enable-feature=exemplar-storage has no effect: exemplars are kept unless storage.exemplars.max_exemplars is 0",
                "--enable-feature=teleportation has no effect: no such feature is known",
            ]
        );
    }
}
