//! From the text of a configuration file to what it says.

use std::collections::BTreeMap;

use super::expand::expand;
use super::fault::Fault;
use super::section::Findings;
use super::unserved;
use super::yaml::{self, Entry, Node};
use super::{Config, FloatChunks, Loaded, Retention};
use crate::model::labels::is_legacy_name;

/// Reads the text of a file.
///
/// - `variable`: the value of a variable of the environment; empty if there is none.
///
/// # Errors
/// All that is wrong, in order of the lines.
pub fn read(text: &str, variable: &dyn Fn(&str) -> String) -> Result<Loaded, Vec<Fault>> {
    let mut findings = Findings::default();
    let mut config = Config::default();
    let document = yaml::parse(text).map_err(|fault| vec![fault])?;
    if let Some(document) = document {
        for entry in findings.section(&document, "the configuration") {
            match entry.key.as_str() {
                "global" => global(&mut findings, &mut config, &entry.node, variable),
                "storage" => storage(&mut findings, &mut config, &entry.node),
                key => match unserved::SECTIONS.iter().find(|section| section.key == key) {
                    Some(unserved::Section { key, why }) => {
                        findings.notice(entry.place, format!("{key} has no effect: {why}"));
                    }
                    None => {
                        let served = ["global", "storage"];
                        let known = unserved::SECTIONS.iter().map(|section| section.key);
                        findings.unknown(entry, "the configuration", known.chain(served));
                    }
                },
            }
        }
    }
    let Findings { mut faults, notices } = findings;
    if faults.is_empty() {
        return Ok(Loaded { config, notices });
    }
    faults.sort_by_key(|fault| fault.place);
    Err(faults)
}

fn global(
    findings: &mut Findings,
    config: &mut Config,
    node: &Node,
    variable: &dyn Fn(&str) -> String,
) {
    let entries = findings.section(node, "global");
    let mut legacy_names_only = false;
    for entry in entries.iter().filter(|entry| entry.key == "metric_name_validation_scheme") {
        legacy_names_only = validation_scheme(findings, entry);
    }
    for entry in entries {
        match entry.key.as_str() {
            "external_labels" => {
                config.external_labels =
                    external_labels(findings, &entry.node, legacy_names_only, variable);
            }
            "metric_name_validation_scheme" => {}
            key => match unserved::GLOBAL.iter().find(|unserved| unserved.key == key) {
                Some(unserved::Key { key, kind, why }) => {
                    let path = format!("global.{key}");
                    findings.check(*kind, &entry.node, &path);
                    findings.notice(entry.place, format!("{path} has no effect: {why}"));
                }
                None => {
                    let served = ["external_labels", "metric_name_validation_scheme"];
                    let known = unserved::GLOBAL.iter().map(|unserved| unserved.key);
                    findings.unknown(entry, "global", known.chain(served));
                }
            },
        }
    }
}

/// Are only the names allowed that Prometheus 2 allowed?
fn validation_scheme(findings: &mut Findings, entry: &Entry) -> bool {
    const PATH: &str = "global.metric_name_validation_scheme";
    match findings.text(&entry.node, PATH) {
        None | Some("" | "utf8") => false,
        Some("legacy") => {
            let message = format!(
                "{PATH} holds for external labels alone: a write may have names of any characters"
            );
            findings.notice(entry.place, message);
            true
        }
        Some(text) => {
            let why = format!("{text:?} is no such scheme; write utf8 or legacy");
            findings.wrong_value(entry.node.place, PATH, why);
            false
        }
    }
}

fn external_labels(
    findings: &mut Findings,
    node: &Node,
    legacy_names_only: bool,
    variable: &dyn Fn(&str) -> String,
) -> BTreeMap<String, String> {
    const PATH: &str = "global.external_labels";
    let mut labels = BTreeMap::new();
    for Entry { key: name, place, node } in findings.section(node, PATH) {
        if name.is_empty() || legacy_names_only && !is_legacy_name(name) {
            findings.wrong_value(*place, PATH, format!("{name:?} is not a valid label name"));
        }
        // Any text may be a name, and a message is one line.
        let path = match is_legacy_name(name) {
            true => format!("{PATH}.{name}"),
            false => format!("{PATH}.{name:?}"),
        };
        let value = findings.text(node, &path).unwrap_or_default();
        let missing = |variable: &str| {
            let message =
                format!("{path}: {variable} is not set in the environment, and is taken as empty");
            findings.notice(node.place, message);
        };
        labels.insert(name.clone(), expand(value, variable, missing));
    }
    labels
}

fn storage(findings: &mut Findings, config: &mut Config, node: &Node) {
    for entry in findings.section(node, "storage") {
        match entry.key.as_str() {
            "tsdb" => tsdb(findings, config, &entry.node),
            "exemplars" => exemplars(findings, config, &entry.node),
            _ => findings.unknown(entry, "storage", ["tsdb", "exemplars"]),
        }
    }
}

fn tsdb(findings: &mut Findings, config: &mut Config, node: &Node) {
    const KEYS: [&str; 4] = [
        "out_of_order_time_window",
        "stale_series_compaction_threshold",
        "chunk_encoding",
        "retention",
    ];
    for entry in findings.section(node, "storage.tsdb") {
        let path = format!("storage.tsdb.{}", entry.key);
        match entry.key.as_str() {
            "out_of_order_time_window" => {
                config.out_of_order_window_ms = findings.duration_ms(&entry.node, &path);
            }
            "stale_series_compaction_threshold" => {
                let threshold = findings.number::<f64>(&entry.node, &path);
                if threshold.is_some_and(|threshold| threshold != 0.0) {
                    let message =
                        format!("{path} has no effect: stale series leave memory as all others do");
                    findings.notice(entry.place, message);
                }
            }
            "chunk_encoding" => chunk_encoding(findings, config, &entry.node),
            "retention" => config.retention = retention(findings, &entry.node),
            _ => findings.unknown(entry, "storage.tsdb", KEYS),
        }
    }
}

fn chunk_encoding(findings: &mut Findings, config: &mut Config, node: &Node) {
    const PATH: &str = "storage.tsdb.chunk_encoding.floats";
    for entry in findings.section(node, "storage.tsdb.chunk_encoding") {
        if entry.key != "floats" {
            findings.unknown(entry, "storage.tsdb.chunk_encoding", ["floats"]);
            continue;
        }
        config.float_chunks = match findings.text(&entry.node, PATH) {
            None | Some("") => None,
            Some("xor") => Some(FloatChunks::Xor),
            Some("xor2") => Some(FloatChunks::Xor2),
            Some(text) => {
                let why = format!("{text:?} is no such encoding; write xor or xor2");
                findings.wrong_value(entry.node.place, PATH, why);
                None
            }
        };
    }
}

fn retention(findings: &mut Findings, node: &Node) -> Option<Retention> {
    if let yaml::Value::Null = node.value {
        return None;
    }
    let mut retention = Retention::default();
    for entry in findings.section(node, "storage.tsdb.retention") {
        let path = format!("storage.tsdb.retention.{}", entry.key);
        match entry.key.as_str() {
            "time" => {
                retention.time_ms = findings.duration_ms(&entry.node, &path).unwrap_or_default();
            }
            "size" => retention.bytes = findings.bytes(&entry.node, &path).unwrap_or_default(),
            "percentage" => {
                let percentage = findings.number::<f64>(&entry.node, &path);
                if percentage.is_some_and(|percentage| percentage != 0.0) {
                    // Ignoring it would fill the disk that it was to keep from being filled.
                    let why = "a part of the disk is not a limit here yet; write storage.tsdb.retention.size";
                    findings.wrong_value(entry.node.place, &path, why);
                }
            }
            _ => {
                let known = ["time", "size", "percentage"];
                findings.unknown(entry, "storage.tsdb.retention", known);
            }
        }
    }
    Some(retention)
}

fn exemplars(findings: &mut Findings, config: &mut Config, node: &Node) {
    for entry in findings.section(node, "storage.exemplars") {
        let path = format!("storage.exemplars.{}", entry.key);
        match entry.key.as_str() {
            "max_exemplars" => {
                config.exemplars_max = findings.number(&entry.node, &path);
            }
            _ => findings.unknown(entry, "storage.exemplars", ["max_exemplars"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(name: &str) -> String {
        if name == "POD" { "pod-0".to_owned() } else { String::new() }
    }

    fn config(text: &str) -> Config {
        read(text, &environment).unwrap().config
    }

    fn notices(text: &str) -> Vec<String> {
        let loaded = read(text, &environment).unwrap();
        loaded.notices.iter().map(ToString::to_string).collect()
    }

    fn faults(text: &str) -> Vec<String> {
        read(text, &environment).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_file_and_empty_sections_say_nothing() {
        for text in
            ["", "# nothing\n", "global:\nstorage:\n", "storage:\n  tsdb:\n    retention:\n"]
        {
            assert_eq!(config(text), Config::default(), "{text}");
            assert_eq!(notices(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn what_this_server_has_is_read_from_the_keys_of_prometheus() {
        let text = "
global:
  external_labels: {cluster: a, replica: 1}
storage:
  tsdb:
    out_of_order_time_window: 30m
    retention: {time: 90d, size: 512GB}
    chunk_encoding: {floats: xor}
  exemplars: {max_exemplars: 1000}
";
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            config(text),
            Config {
                external_labels: [label("cluster", "a"), label("replica", "1")].into(),
                out_of_order_window_ms: Some(1_800_000),
                retention: Some(Retention { time_ms: 90 * 86_400_000, bytes: 512 << 30 }),
                float_chunks: Some(FloatChunks::Xor),
                exemplars_max: Some(1000),
            }
        );
    }

    #[test]
    fn a_file_of_a_prometheus_loads_with_a_notice_for_each_thing_that_is_not_served() {
        let text = "
global:
  scrape_interval: 15s
  evaluation_interval: 30s
rule_files: [rules.yml]
alerting:
  alertmanagers:
    - static_configs: [{targets: ['a:9093']}]
scrape_configs:
  - job_name: a
    static_configs:
      - targets: ['a:9100']
remote_write:
  - url: http://b/api/v1/write
";
        assert_eq!(
            notices(text),
            [
                "3:3: global.scrape_interval has no effect: nothing is scraped here; samples come by remote_write",
                "4:3: global.evaluation_interval has no effect: rules are not evaluated here",
                "5:1: rule_files has no effect: rules are not evaluated here",
                "6:1: alerting has no effect: alerts are not sent from here",
                "9:1: scrape_configs has no effect: nothing is scraped here; samples come by remote_write",
                "13:1: remote_write has no effect: nothing is forwarded from here",
            ]
        );
        assert_eq!(config(text), Config::default());
    }

    #[test]
    fn settings_that_are_not_honoured_yet_are_never_taken_silently() {
        let text = "
global: {metric_name_validation_scheme: legacy}
storage:
  tsdb: {chunk_encoding: {floats: xor2}, stale_series_compaction_threshold: 0.5}
";
        let notices = notices(text);
        let keys = ["validation_scheme", "stale_series"];
        assert_eq!(notices.len(), keys.len(), "{notices:?}");
        for (notice, key) in notices.iter().zip(keys) {
            assert!(notice.contains(key), "{notice} is not about {key}");
        }
    }

    #[test]
    fn unknown_keys_are_all_told_in_order_with_what_was_probably_meant() {
        let text = "
storage:
  tsdb:
    out_of_order_window: 1h
    retention: {times: 1d}
  exemplar: {}
globl:
global:
  externl_labels:
  colour: blue
";
        assert_eq!(
            faults(text),
            [
                "4:5: unknown key \"out_of_order_window\" in storage.tsdb; did you mean \"out_of_order_time_window\"?",
                "5:17: unknown key \"times\" in storage.tsdb.retention; did you mean \"time\"?",
                "6:3: unknown key \"exemplar\" in storage; did you mean \"exemplars\"?",
                "7:1: unknown key \"globl\" in the configuration; did you mean \"global\"?",
                "9:3: unknown key \"externl_labels\" in global; did you mean \"external_labels\"?",
                "10:3: unknown key \"colour\" in global",
            ]
        );
    }

    #[test]
    fn values_that_cannot_be_are_told_with_what_would_do() {
        for (text, fault) in [
            (
                "storage: {tsdb: {out_of_order_time_window: 30}}",
                "1:44: storage.tsdb.out_of_order_time_window: not a valid duration string: \"30\"; write it like 30m, \
                 1h30m or 15d",
            ),
            (
                "storage: {tsdb: {chunk_encoding: {floats: gorilla}}}",
                "1:43: storage.tsdb.chunk_encoding.floats: \"gorilla\" is no such encoding; write xor or xor2",
            ),
            ("global: [a]", "1:9: global is a mapping of keys to values, and here is a list"),
            ("- a", "1:1: the configuration is a mapping of keys to values, and here is a list"),
            (
                "global: {scrape_interval: soon}",
                "1:27: global.scrape_interval: not a valid duration string: \"soon\"; write it like 30m, 1h30m or 15d",
            ),
            (
                "global: {metric_name_validation_scheme: all}",
                "1:41: global.metric_name_validation_scheme: \"all\" is no such scheme; write utf8 or legacy",
            ),
        ] {
            assert_eq!(faults(text), [fault]);
        }
    }

    #[test] // ignoring it would fill the disk that it was to keep from being filled
    fn a_limit_that_is_not_kept_is_refused_not_ignored() {
        let text = "storage: {tsdb: {retention: {percentage: 80}}}";
        assert!(
            faults(text)[0].ends_with("write storage.tsdb.retention.size"),
            "{:?}",
            faults(text)
        );
        assert_eq!(
            config("storage: {tsdb: {retention: {percentage: 0}}}").retention,
            Some(Retention::default())
        );
    }

    #[test]
    fn external_labels_have_variables_of_the_environment_put_in() {
        let text = "global: {external_labels: {pod: \"${POD}\", cost: 5$$, no: a$NO}}";
        let labels = config(text).external_labels;
        let values: Vec<&str> = labels.values().map(String::as_str).collect();
        assert_eq!(values, ["5$", "a", "pod-0"]);
        let told = &notices(text)[0];
        assert_eq!(
            told,
            "1:58: global.external_labels.no: NO is not set in the environment, and is taken as empty"
        );
    }

    #[test]
    fn names_of_external_labels_are_of_any_characters_unless_the_scheme_is_legacy() {
        let utf8 = "global: {external_labels: {\"a.b\": c}}";
        assert_eq!(config(utf8).external_labels.len(), 1);
        let legacy =
            "global: {external_labels: {\"a.b\": c}, metric_name_validation_scheme: legacy}";
        assert_eq!(
            faults(legacy),
            ["1:28: global.external_labels: \"a.b\" is not a valid label name"]
        );
        assert_eq!(
            faults("global: {external_labels: {\"\": c}}"),
            ["1:28: global.external_labels: \"\" is not a valid label name"]
        );
    }

    #[test]
    fn a_message_is_one_line_whatever_a_name_is() {
        let text = "global: {external_labels: {\"a\\nb\": [c]}}";
        assert_eq!(
            faults(text),
            ["1:36: global.external_labels.\"a\\nb\" is a single value, and here is a list"]
        );
    }

    #[test]
    fn an_anchor_may_be_used_where_a_value_stands() {
        let text = "global: {external_labels: {a: &x v, b: *x}}";
        assert_eq!(config(text).external_labels["b"], "v");
    }

    proptest! {
        #[test]
        fn pieces_of_a_file_in_any_order_are_read_or_refused(
            pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..24),
        ) {
            if let Err(faults) = read(&pieces.concat(), &environment) {
                prop_assert!(!faults.is_empty());
            }
        }
    }

    /// What a file is made of, and what it should not be made of.
    const PIECES: &[&str] = &[
        "global",
        "storage",
        "tsdb",
        "retention",
        "time",
        "size",
        "percentage",
        "external_labels",
        "out_of_order_time_window",
        "chunk_encoding",
        "floats",
        "xor2",
        "exemplars",
        "max_exemplars",
        "scrape_configs",
        "metric_name_validation_scheme",
        "legacy",
        ":",
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        "\n      ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&a ",
        "*a",
        "!!str ",
        "'",
        "\"",
        "|\n",
        ">-\n",
        "#",
        "? ",
        "15d",
        "5GB",
        "99999999999999999999",
        "-1",
        "1e999",
        "NaN",
        "$",
        "${POD}",
        "${",
        "~",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "<<",
        "\t",
        "\u{feff}",
        "\u{85}",
        "\u{e9}",
        "\r\n",
        "\0",
    ];
}
