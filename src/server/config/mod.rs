//! The configuration file: `prometheus.yml`, as far as it concerns this server.
//!
//! ```text
//! text ─► yaml: a tree with places ─► read: section by section, strict ─► Config, what the file says
//!                                        └─► faults, each with line and column; notices of what has no effect
//! flags + Config ─► InForce, what holds ─► current: one for all cores, exchanged as a whole
//! ```
//! A key that Prometheus does not know is an error, as there. One that it knows and that means nothing here is accepted with
//! a notice, so that a file which serves a Prometheus starts this server, and says what it lost. What promises a protection
//! that is not given is refused. Source of the keys: `config/config.go`, Prometheus 3.14.

pub mod current;
pub mod expand;
pub mod fault;
pub mod in_force;
pub mod print;
pub mod read;
pub mod section;
mod unserved;
pub mod yaml;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use current::Current;
pub use fault::{ConfigError, Notice};
pub use in_force::InForce;

pub use crate::coordinator::api::FloatChunks;
use crate::model::Labels;

/// What a configuration file says; what it does not say is `None` or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// `global.external_labels`, variables of the environment put in.
    pub external_labels: BTreeMap<String, String>,
    /// `storage.tsdb.out_of_order_time_window` in milliseconds.
    pub out_of_order_window_ms: Option<i64>,
    /// `storage.tsdb.retention`; as a whole it takes the place of what the flags say.
    pub retention: Option<Retention>,
    /// `storage.tsdb.chunk_encoding.floats`.
    pub float_chunks: Option<FloatChunks>,
    /// `storage.exemplars.max_exemplars`.
    pub exemplars_max: Option<i64>,
}

/// How long data is kept, and how much of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// In milliseconds; 0 is for ever.
    pub time_ms: i64,
    /// 0 is no limit.
    pub bytes: u64,
}

impl Config {
    /// The labels that this server is known by to others. One without a value is none.
    #[must_use]
    pub fn external_labels(&self) -> Labels {
        let pairs =
            self.external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // The reader takes no empty name, and a map has none twice.
        Labels::from_pairs(pairs).unwrap_or_else(|_| Labels::empty())
    }
}

/// A file that was read and is right.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What of it has no effect.
    pub notices: Vec<Notice>,
}

/// Reads a configuration file and what it names of the environment. Blocks.
///
/// # Errors
/// It cannot be read, or is wrong.
pub fn load(file: &Path) -> Result<Loaded, ConfigError> {
    let unreadable = |source| ConfigError::Read { file: file.to_owned(), source };
    let metadata = std::fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(ConfigError::NotAFile { file: file.to_owned() });
    }
    let mut text = String::new();
    // One more than is taken is enough to see that it is too much.
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(yaml::BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    read::read(&text, &variable)
        .map_err(|faults| ConfigError::Wrong { file: file.to_owned(), faults })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_label_without_a_value_is_none() {
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let external_labels = [label("b", "1"), label("a", "")].into();
        let config = Config { external_labels, ..Config::default() };
        assert_eq!(config.external_labels(), Labels::from_pairs([("b", "1")]).unwrap());
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let error = load(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("is not a regular file"), "{error}");
        let error = load(&dir.path().join("none.yml")).unwrap_err().to_string();
        assert!(error.contains("none.yml") && error.contains("No such file"), "{error}");
    }
}
