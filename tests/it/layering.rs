//! Which room may use which: the table of `docs/architecture.md` as data. A new arrow is one line here, in review.

use std::fs;
use std::path::{Path, PathBuf};

/// A room, the rooms it may name, and the foreign crates that only its owners may name.
struct Room {
    name: &'static str,
    uses: &'static [&'static str],
    owns: &'static [&'static str],
}

const ROOMS: &[Room] = &[
    Room { name: "model", uses: &[], owns: &[] },
    Room { name: "encoding", uses: &["model"], owns: &[] },
    Room { name: "wire", uses: &["model"], owns: &["prost", "snap", "zstd", "flate2"] },
    Room { name: "io", uses: &["model"], owns: &[] },
    // `hyper`: the traits by which a connection's bytes reach it, so that `server` never sees a socket.
    Room { name: "rt", uses: &["model", "io"], owns: &["glommio", "hyper"] },
    Room { name: "storage", uses: &["model", "encoding", "io"], owns: &[] },
    // `query`: a shard folds its own series, so that only groups and steps cross cores.
    // `encoding`: what a block's `meta.json` says goes as it is from the disk to the status page.
    Room { name: "shard", uses: &["model", "encoding", "storage", "io", "rt", "query"], owns: &[] },
    // `shard`: which shards there are, as their manifest says.
    Room { name: "offline", uses: &["model", "storage", "shard", "io", "rt"], owns: &[] },
    Room { name: "query", uses: &["model"], owns: &[] },
    Room { name: "coordinator", uses: &["model", "shard", "query", "rt"], owns: &[] },
    Room {
        name: "server",
        uses: &["model", "wire", "coordinator", "offline", "rt", "query"],
        // `flate2`, `zstd`: answers are compressed, too.
        owns: &["hyper", "http", "clap", "flate2", "zstd", "saphyr_parser", "strsim"],
    },
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// The rooms that a source text names, as `crate::room` in a path, a nested import, or a doc link.
fn rooms_named(text: &str) -> Vec<&'static str> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let nested: Vec<&str> = code
        .match_indices("use crate::{")
        .filter_map(|(at, opening)| code.get(at + opening.len()..)?.split(';').next())
        .collect();
    let names = |room: &&Room| {
        code.contains(&format!("crate::{}::", room.name))
            || code.contains(&format!("use crate::{};", room.name))
            || nested.iter().any(|list| {
                list.split([',', '{', '}', ':', ' ', '\n']).any(|word| word == room.name)
            })
    };
    ROOMS.iter().filter(names).map(|room| room.name).collect()
}

/// Does `code` name the foreign crate `name`, as the first part of a path?
fn names_crate(text: &str, name: &str) -> bool {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        let needle = format!("{name}::");
        line.match_indices(&needle).any(|(at, _)| {
            let before = line.get(..at).and_then(|s| s.chars().next_back());
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
        })
    })
}

#[test]
fn arrows_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut forbidden = Vec::new();
    for room in ROOMS {
        for file in sources(&src.join(room.name)) {
            let text = fs::read_to_string(&file).unwrap();
            for named in rooms_named(&text) {
                if named != room.name && !room.uses.contains(&named) {
                    forbidden.push(format!(
                        "{}: `{}` may not use `{named}`",
                        file.display(),
                        room.name
                    ));
                }
            }
            for owner in ROOMS.iter().filter(|owner| owner.name != room.name) {
                let foreign = owner.owns.iter().filter(|owned| !room.owns.contains(owned));
                for owned in foreign.filter(|owned| names_crate(&text, owned)) {
                    forbidden.push(format!(
                        "{}: only `{}` names the crate {owned}",
                        file.display(),
                        owner.name
                    ));
                }
            }
        }
    }
    assert!(forbidden.is_empty(), "{}", forbidden.join("\n"));
}

#[test]
fn every_source_file_has_a_room() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(&src).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known =
            ROOMS.iter().any(|room| room.name == name) || name == "lib.rs" || name == "main.rs";
        assert!(known, "src/{name} is in no room: give it one in the table above");
    }
}

#[test]
fn every_source_file_says_what_it_owns() {
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not open with a `//!` page", file.display());
    }
}
