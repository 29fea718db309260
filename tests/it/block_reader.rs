//! Blocks that Debian's promtool made read back as promtool itself reads them, sample for sample.
//!
//! They are copied into a simulated disk: what the reader sees of it is what it sees of any.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use floodplain::encoding::xor::XorReader;
use floodplain::io::sim::{NoPace, SimDisk, run};
use floodplain::io::{BLOCK_BYTES, Disk, File};
use floodplain::model::matcher::MatchOp;
use floodplain::model::{Labels, Matcher};
use floodplain::storage::block::{Block, IndexCache};

use crate::peer::{PROMTOOL, installed};

/// Series, printed, to time to value bits.
type Samples = BTreeMap<String, BTreeMap<i64, u64>>;

const BEGIN_S: i64 = 1_700_000_000;

/// Three hours of 120 series, as OpenMetrics: counters, holes, values of all kinds, labels that need escaping.
fn open_metrics() -> String {
    let mut text = String::from("# TYPE requests counter\n");
    for (i, t) in (0..120).flat_map(|i| (0..180).map(move |t| (i, t))) {
        if (i + t) % 17 == 0 || (i % 5 == 0 && (60..90).contains(&t)) {
            continue;
        }
        let at = BEGIN_S + t * 60;
        let path = if i % 10 == 0 { "/\\\"q\\\" \\\\ \\n ä" } else { "/" };
        let labels = format!("pod=\"pod-{i}\",path=\"{path}\",zone=\"z{}\"", i % 3);
        let _ = writeln!(text, "requests_total{{{labels}}} {} {at}", t * i);
    }
    text.push_str("# TYPE level gauge\n");
    for (i, t) in (0..40i32).flat_map(|i| (0..180i32).map(move |t| (i, t))) {
        let value = match (i + t) % 9 {
            0 => "+Inf".to_owned(),
            1 => "-0".to_owned(),
            2 => format!("{:e}", f64::from(t) / 7.0 * 1e-30),
            _ => format!("{}", (f64::from(i * t) / 13.0).sin()),
        };
        let _ = writeln!(text, "level{{pod=\"pod-{i}\"}} {value} {}", BEGIN_S + i64::from(t) * 60);
    }
    text.push_str("# EOF\n");
    text
}

fn promtool(args: &[&str], dir: &Path) -> String {
    let output = Command::new(PROMTOOL).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What `promtool tsdb dump` says.
fn dumped(dir: &Path) -> Samples {
    let mut samples = Samples::new();
    fs::create_dir(dir.join("data/wal")).unwrap(); // promtool opens a whole database
    for line in promtool(&["tsdb", "dump", "data"], dir).lines() {
        let (rest, t) = line.rsplit_once(' ').unwrap();
        let (labels, value) = rest.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        samples.entry(labels.to_owned()).or_default().insert(t.parse().unwrap(), value.to_bits());
    }
    samples
}

/// Copies all that is below `from` on the host.
fn copy(disk: &SimDisk, from: &Path, to: &str) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{to}/{}", entry.file_name().into_string().unwrap());
        if entry.path().is_dir() {
            copy(disk, &entry.path(), &path);
            continue;
        }
        let mut bytes = fs::read(entry.path()).unwrap();
        let len = bytes.len();
        bytes.resize(len.next_multiple_of(BLOCK_BYTES), 0);
        run(async {
            let mut file = disk.create(&path, 0).await.unwrap();
            file.write_at(&bytes, 0).await.unwrap();
            file.set_len(len as u64).await.unwrap();
        });
    }
}

/// All blocks that promtool makes of the text, open; and what it says is in them.
fn blocks() -> (Vec<Block<SimDisk>>, Samples) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("metrics"), open_metrics()).unwrap();
    promtool(&["tsdb", "create-blocks-from", "openmetrics", "metrics", "data"], dir.path());
    let disk = SimDisk::new(1);
    let data = dir.path().join("data");
    copy(&disk, &data, "data");
    let cache = Rc::new(IndexCache::new(1 << 20));
    let open = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.parse::<floodplain::encoding::block::meta::Ulid>().ok()?;
        let path = format!("data/{name}");
        Some(run(Block::open(&disk, &path, Rc::clone(&cache), &mut NoPace)).unwrap())
    };
    let blocks = fs::read_dir(&data).unwrap().filter_map(open).collect();
    (blocks, dumped(dir.path()))
}

fn read(blocks: &[Block<SimDisk>], matchers: &[Matcher]) -> Samples {
    let (mut samples, mut pace) = (Samples::new(), NoPace);
    for block in blocks {
        run(async {
            let ids = block.select(matchers, &mut pace).await.unwrap();
            for series in block.series(&ids, &mut pace).await.unwrap() {
                let references: Vec<_> = series.chunks.iter().map(|c| c.reference).collect();
                let own = samples.entry(series.labels.to_string()).or_default();
                for chunk in block.read_chunks(&references, &mut pace).await {
                    for sample in XorReader::new(&chunk.unwrap().bytes).unwrap() {
                        let sample = sample.unwrap();
                        own.insert(sample.t.0, sample.v.to_bits());
                    }
                }
            }
        });
    }
    samples
}

#[test]
fn blocks_of_promtool_read_back_as_promtool_reads_them() {
    if !installed(&[PROMTOOL]) {
        return;
    }
    let (blocks, dumped) = blocks();
    assert!(blocks.len() > 1 && dumped.len() == 160, "{} {}", blocks.len(), dumped.len());
    assert_eq!(read(&blocks, &[]), dumped);
    for block in &blocks {
        let wrong = run(block.verify(&mut NoPace));
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

#[test]
fn matchers_select_in_blocks_of_promtool_what_they_match() {
    if !installed(&[PROMTOOL]) {
        return;
    }
    let (blocks, dumped) = blocks();
    let of = |name, op, value| Matcher::new(name, op, value).unwrap();
    let any = |op, value| of("pod", op, value);
    let lists = [
        vec![of("__name__", MatchOp::Equal, "level")],
        vec![any(MatchOp::Regex, "pod-1.*"), of("zone", MatchOp::NotEqual, "z1")],
        vec![any(MatchOp::Regex, "pod-1|pod-117|nobody")],
        vec![any(MatchOp::NotRegex, "pod-[0-9]")],
        vec![of("zone", MatchOp::Equal, "")],
        vec![of("path", MatchOp::Regex, ".*q.*"), any(MatchOp::NotRegex, ".*0")],
        vec![of("nobody", MatchOp::NotEqual, "x"), any(MatchOp::Regex, ".*7")],
    ];
    for matchers in lists {
        // How a set prints is how it was dumped; what it is, the blocks say themselves.
        let holds = |labels: &Labels| {
            matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
        };
        let mut want = Samples::new();
        for block in &blocks {
            run(async {
                let ids = block.select(&[], &mut NoPace).await.unwrap();
                let all = block.series(&ids, &mut NoPace).await.unwrap();
                for labels in all.iter().map(|series| &series.labels).filter(|l| holds(l)) {
                    want.insert(labels.to_string(), dumped[&labels.to_string()].clone());
                }
            });
        }
        assert_eq!(read(&blocks, &matchers), want, "{matchers:?}");
    }
}
