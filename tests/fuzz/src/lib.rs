//! What each fuzz target does with bytes, and the bytes that fuzzing begins with.
//!
//! A target takes any bytes, decodes them, and asserts what has to hold of whatever came out: that it encodes back to itself,
//! that two decoders agree, that it is bounded by the input, that it ends. `fuzz_targets/` has a file for each that does
//! nothing but call it, so that all of it builds, and replays its seeds, with the stable toolchain, too.

pub mod block;
pub mod body;
pub mod chunk;
pub mod log;
pub mod mend;
pub mod text;
pub mod wire;

use std::path::Path;

// What the model of the two write messages is written against.
use floodplain::model;

/// One fuzz target.
pub struct Target {
    /// Its name: `cargo +nightly fuzz run --fuzz-dir tests/fuzz NAME`.
    pub name: &'static str,
    /// What it does.
    pub check: fn(&[u8]),
    /// What fuzzing begins with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, check: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, check, seeds }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("snappy", body::snappy, body::snappy_seeds),
    target("packed", body::packed, body::packed_seeds),
    target("write_v1", wire::write_v1, wire::write_v1_seeds),
    target("write_v2", wire::write_v2, wire::write_v2_seeds),
    target("read_request", wire::read_request, wire::read_request_seeds),
    target("floats", chunk::floats, chunk::floats_seeds),
    target("histograms", chunk::histograms, chunk::histograms_seeds),
    target("records", log::records, log::records_seeds),
    target("replay", log::replay, log::replay_seeds),
    target("shard_files", log::shard_files, log::shard_files_seeds),
    target("block_index", block::index, block::index_seeds),
    target("block_files", block::files, block::files_seeds),
    target("config", text::config, text::config_seeds),
    target("promql", text::promql, text::promql_seeds),
    target("matcher", text::matcher, text::matcher_seeds),
    target("params", text::params, text::params_seeds),
];

/// Puts the seeds of a target into its corpus, before the fuzzer reads that.
///
/// # Panics
/// If there is no such target, or they cannot be written.
pub fn begin(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("it is in the table");
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    std::fs::create_dir_all(&corpus).unwrap();
    for (i, seed) in (target.seeds)().into_iter().enumerate() {
        std::fs::write(corpus.join(format!("seed-{i:03}")), seed).unwrap();
    }
}

/// The bytes that a golden file spells.
pub fn golden(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_hold_holds_of_every_seed_and_of_its_beginnings() {
        for Target { name, check, seeds } in TARGETS {
            let seeds = seeds();
            assert!(!seeds.is_empty(), "{name}");
            for seed in seeds {
                check(&seed);
                check(&seed[..seed.len() / 2]);
                check(&seed[..seed.len().saturating_sub(1)]);
            }
        }
    }
}
