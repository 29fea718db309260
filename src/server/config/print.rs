//! What holds as YAML, for `/api/v1/status/config`: defaults included, as Prometheus prints its own.
//!
//! What it prints loads again and means the same, but for dollar signs: values of external labels are printed with their
//! variables put in, as Prometheus prints them.

use std::fmt::Write;

use super::InForce;
use crate::query::durations::format_duration_ms;
use crate::server::byte_size::ByteSize;

/// A longer key has to say that it is one: readers look for the colon of others within 1,024 characters (YAML 1.2, section 7.4.2).
const IMPLICIT_KEY_BYTES_MAX: usize = 1000;

/// The YAML of what holds.
#[must_use]
pub fn print(in_force: &InForce) -> String {
    let InForce { config, storage, .. } = in_force;
    let mut yaml = String::new();
    // Writing to a `String` does not fail.
    if config.external_labels.is_empty() {
        yaml.push_str("global: {}\n");
    } else {
        yaml.push_str("global:\n  external_labels:\n");
        for (name, value) in &config.external_labels {
            let (name, value) = (scalar(name), scalar(value));
            let _ = if name.len() > IMPLICIT_KEY_BYTES_MAX {
                writeln!(yaml, "    ? {name}\n    : {value}")
            } else {
                writeln!(yaml, "    {name}: {value}")
            };
        }
    }
    let window = format_duration_ms(storage.out_of_order_window_ms);
    let time = format_duration_ms(storage.retention_ms.unwrap_or_default());
    let _ = writeln!(yaml, "storage:\n  tsdb:\n    out_of_order_time_window: {window}");
    let _ = writeln!(yaml, "    retention:\n      time: {time}");
    if let Some(bytes) = storage.retention_bytes {
        let size = ByteSize(usize::try_from(bytes).unwrap_or(usize::MAX));
        let _ = writeln!(yaml, "      size: {size}");
    }
    let floats = in_force.float_chunks();
    let _ = writeln!(yaml, "    chunk_encoding:\n      floats: {floats}");
    let _ = writeln!(yaml, "  exemplars:\n    max_exemplars: {}", storage.exemplars_max);
    yaml
}

/// A text that is read as a text: in quotes unless it is certain that it needs none.
fn scalar(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    // YAML 1.1, which readers of this may know alone, has these for true, false and nothing.
    let means_more = ["y", "yes", "on", "true", "n", "no", "off", "false", "null"];
    if is_word && !means_more.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return text.to_owned();
    }
    // A JSON string is a YAML scalar in double quotes. A text always has a JSON form.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::coordinator::api::StorageOptions;
    use crate::model::TimestampMs;
    use crate::server::config::{Config, FloatChunks, Retention, read};

    fn in_force(config: Config, storage: StorageOptions) -> InForce {
        InForce { config, storage, since: TimestampMs(0) }
    }

    #[test]
    fn defaults_are_printed_where_nothing_is_said() {
        let printed = print(&in_force(Config::default(), StorageOptions::default()));
        let expected = "\
global: {}
storage:
  tsdb:
    out_of_order_time_window: 1h
    retention:
      time: 15d
    chunk_encoding:
      floats: xor
  exemplars:
    max_exemplars: 100000
";
        assert_eq!(printed, expected);
    }

    #[test]
    fn words_that_mean_more_to_some_reader_stand_in_quotes() {
        for (text, printed) in [
            ("eu-west.1", "eu-west.1"),
            ("yes", "\"yes\""),
            ("1", "\"1\""),
            ("", "\"\""),
            ("a: b\n", "\"a: b\\n\""),
        ] {
            assert_eq!(scalar(text), printed);
        }
    }

    /// Fuzzing printed a name of a few hundred control characters, each of which is six characters in quotes, and could not read it.
    #[test]
    fn a_name_that_is_longer_than_keys_of_yaml_is_printed_as_a_key_all_the_same() {
        for name in ["\u{e}".repeat(200), "a".repeat(1000), "a".repeat(1001), "é".repeat(600)] {
            let external_labels = [(name, "b: c".to_owned())].into();
            let config = Config { external_labels, ..Config::default() };
            let printed = print(&in_force(config.clone(), StorageOptions::default()));
            let again = read::read(&printed, &|_| String::new()).unwrap();
            assert_eq!(again.config.external_labels, config.external_labels);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_loads_again_and_means_the_same(
            labels in proptest::collection::btree_map("[^$]{1,8}", "[^$]{0,8}", 0..4),
            window_ms in 0_i64..100_000_000,
            time_ms in 0_i64..100_000_000_000,
            bytes in 0_u64..1 << 50,
            exemplars_max in 0_i64..1 << 40, is_xor2: bool,
        ) {
            let float_chunks = if is_xor2 { FloatChunks::Xor2 } else { FloatChunks::Xor };
            let config = Config { external_labels: labels.clone(), ..Config::default() };
            let storage = StorageOptions {
                out_of_order_window_ms: window_ms,
                retention_ms: Some(time_ms).filter(|ms| *ms > 0),
                retention_bytes: Some(bytes).filter(|bytes| *bytes > 0),
                exemplars_max: exemplars_max.cast_unsigned(),
                float_chunks,
                ..StorageOptions::default()
            };
            let printed = print(&in_force(config, storage));
            let again = read::read(&printed, &|_| String::new());
            let again = again.map_err(|faults| TestCaseError::fail(format!("{faults:?} in {printed}")))?;
            let expected = Config {
                external_labels: labels,
                out_of_order_window_ms: Some(window_ms),
                retention: Some(Retention { time_ms, bytes }),
                exemplars_max: Some(exemplars_max),
                float_chunks: Some(float_chunks),
            };
            prop_assert_eq!(again.config, expected);
        }
    }
}
