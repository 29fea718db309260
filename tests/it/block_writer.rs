//! Blocks that we write are Prometheus's: what promtool wrote comes out of our writer with the same bytes, and what we
//! write promtool lists, analyzes and dumps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use floodplain::encoding::block::chunks::{self, StoredChunk};
use floodplain::encoding::block::index::read::{self, ChunkMeta, Head, TOC_BYTES, Toc};
use floodplain::encoding::block::index::write::{self, SectionSum};
use floodplain::encoding::block::meta::{BlockMeta, Origin, Ulid};
use floodplain::encoding::xor::{Words, XorAppender};
use floodplain::io::sim::{NoPace, Rng, SimDisk, run};
use floodplain::io::{Disk, File};
use floodplain::model::{Labels, TimeRange, TimestampMs};
use floodplain::storage::block;
use floodplain::storage::block::writer::{BlockWriter, ChunkToWrite, WriterOptions};

use crate::peer::installed;

const PROMTOOL: &str = "promtool";
/// The start of an aligned two-hour range, in seconds.
const BEGIN_S: i64 = 236_111 * 7200;

/// The samples of each series: milliseconds and values.
type Data = BTreeMap<Labels, Vec<(i64, f64)>>;

/// Series of few and of many samples, with labels of all sorts, from half an hour before `BEGIN_S` on.
fn data(rng: &mut Rng) -> Data {
    let long = "long ".repeat(60);
    let odd = ["", "\"quoted\" \\ and\nmore", "grüße, 世界", &long];
    let mut data = Data::new();
    for i in 0..600i64 {
        let (metric, instance) = (format!("metric_{}", i % 23), format!("host-{}:9100", i / 5));
        let (job, odd) = (format!("job{}", i % 3), odd[usize::try_from(rng.below(4)).unwrap()]);
        let labels = Labels::from_pairs([
            ("__name__", metric.as_str()),
            ("instance", &instance),
            ("job", &job),
            ("odd", odd),
            (if i % 7 == 0 { "rare" } else { "usual" }, "value"),
        ]);
        let mut value = 0.0;
        let samples = (0..i64::try_from(1 + rng.below(500)).unwrap()).map(|at| {
            value += (rng.below(1000) as f64) / 8.0;
            ((BEGIN_S - 1800 + i % 15 + at * 15) * 1000, value)
        });
        data.insert(labels.unwrap(), samples.collect());
    }
    data
}

/// Samples in the format from which promtool makes blocks.
fn openmetrics(data: &Data) -> String {
    let mut text = String::new();
    for (labels, samples) in data {
        let name = labels.get("__name__").unwrap();
        let escaped =
            |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let rest: Vec<_> = labels
            .iter()
            .filter(|label| label.name != "__name__")
            .map(|label| format!("{}=\"{}\"", label.name, escaped(label.value)))
            .collect();
        for (t, v) in samples {
            writeln!(text, "{name}{{{}}} {v} {}", rest.join(","), t / 1000).unwrap();
        }
    }
    text + "# EOF\n"
}

fn promtool(args: &[&str], path: &Path) -> String {
    let output = Command::new(PROMTOOL).args(args).arg(path).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(output.stderr));
    text(output.stdout)
}

/// The blocks that promtool makes of the data, below `dir`.
fn their_blocks(data: &Data, dir: &Path) -> Vec<PathBuf> {
    fs::write(dir.join("data.txt"), openmetrics(data)).unwrap();
    let args =
        ["tsdb", "create-blocks-from", "openmetrics", dir.join("data.txt").to_str().unwrap()]
            .map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    promtool(&args, &dir.join("theirs"));
    let mut blocks: Vec<_> =
        fs::read_dir(dir.join("theirs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    blocks.sort();
    blocks
}

/// Bytes from `offset` on.
fn at(bytes: &[u8], offset: u64) -> &[u8] {
    &bytes[usize::try_from(offset).unwrap()..]
}

/// The count and the entries of the section at `offset`.
fn section(index: &[u8], offset: u64) -> (u32, &[u8]) {
    let head = Head::parse(at(index, offset), "a section").unwrap();
    let entries = &at(index, offset)[8..4 + usize::try_from(head.len).unwrap()];
    (head.count, entries)
}

fn toc(index: &[u8]) -> Toc {
    Toc::parse(&index[index.len() - TOC_BYTES..], index.len() as u64).unwrap()
}

fn symbols(index: &[u8]) -> Vec<&str> {
    let (_, mut rest) = section(index, toc(index).symbols);
    let mut symbols = Vec::new();
    while !rest.is_empty() {
        let (symbol, behind) = read::split_symbol(rest).unwrap();
        symbols.push(symbol);
        rest = behind;
    }
    symbols
}

/// Labels by the numbers of their symbols, and chunks.
type Series = (Vec<(u32, u32)>, Vec<ChunkMeta>);

/// All series of an index.
fn series(index: &[u8]) -> Vec<Series> {
    let toc = toc(index);
    let (mut all, mut offset) = (Vec::new(), toc.series.next_multiple_of(16));
    while offset < toc.series_end() {
        let (body, behind) = read::split_series(at(index, offset)).unwrap();
        let (mut labels, mut chunks) = (Vec::new(), Vec::new());
        read::series(body, &mut labels, &mut chunks).unwrap();
        all.push((labels, chunks));
        offset = ((index.len() - behind.len()) as u64).next_multiple_of(16);
    }
    all
}

/// What Prometheus 3 makes of an index of Prometheus 2: the same without label indices and their table.
fn without_label_indices(index: &[u8]) -> Vec<u8> {
    let toc = toc(index);
    assert_eq!(index[index.len() - TOC_BYTES..], toc.to_bytes());
    let mut out = index[..usize::try_from(toc.label_indices).unwrap()].to_vec();
    let series_end = out.len() as u64;
    out.resize(out.len().next_multiple_of(4), 0);
    let lists_start = out.len() as u64;
    let lists_len = usize::try_from(toc.label_indices_table - toc.postings).unwrap();
    out.extend(&at(index, toc.postings)[..lists_len]);
    let postings_table = out.len() as u64;
    let (count, mut rest) = section(index, toc.postings_table);
    let (mut entries, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (entry, behind) = read::split_postings_entry(rest).unwrap();
        write::push_offset(&mut theirs, entry.name, entry.value, entry.offset);
        let offset = entry.offset - toc.postings + lists_start;
        write::push_offset(&mut entries, entry.name, entry.value, offset);
        rest = behind;
    }
    assert_eq!(theirs, section(index, toc.postings_table).1, "the table as it is");
    out.extend(write::section_head(count, entries.len() as u64).unwrap());
    out.extend(&entries);
    let mut sum = SectionSum::begin(count);
    sum.add(&entries);
    out.extend(sum.end());
    let toc = Toc {
        label_indices: series_end,
        postings: series_end,
        label_indices_table: postings_table,
        postings_table,
        end: out.len() as u64,
        ..toc
    };
    out.extend(toc.to_bytes());
    out
}

async fn content(disk: &SimDisk, path: &str) -> Vec<u8> {
    let file = disk.open_read(path).await.unwrap();
    file.read_at(0, usize::try_from(file.len()).unwrap()).await.unwrap()
}

#[test]
fn what_promtool_wrote_comes_out_of_our_writer_with_the_same_bytes() {
    if !installed(&[PROMTOOL]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let blocks = their_blocks(&data(&mut Rng::new(7)), dir.path());
    assert_eq!(blocks.len(), 2, "before and after BEGIN_S");
    for theirs in blocks {
        let of = |name: &str| fs::read(theirs.join(name)).unwrap();
        let meta = BlockMeta::parse(&of("meta.json")).unwrap();
        assert_eq!(meta.to_json(), of("meta.json"), "meta.json");
        let (index, segment) = (of("index"), of("chunks/000001"));
        let passes = WriterOptions { postings_bytes: 16 * 100, ..WriterOptions::default() };
        for options in [WriterOptions::default(), passes] {
            run(async {
                let disk = SimDisk::new(1);
                let mut symbols = symbols(&index).into_iter();
                let (ulid, mut pace) = (meta.ulid, NoPace);
                let writer = BlockWriter::create(&disk, "", ulid, &mut symbols, options, &mut pace);
                let mut writer = writer.await.unwrap();
                for (labels, metas) in series(&index) {
                    let chunk = |meta: &ChunkMeta| {
                        let bytes = at(&segment, meta.reference.offset());
                        let (StoredChunk { encoding, data }, _) =
                            chunks::split_chunk(bytes).unwrap();
                        ChunkToWrite { range: meta.range, encoding, bytes: data }
                    };
                    let chunks: Vec<_> = metas.iter().map(chunk).collect();
                    writer.add_series(&labels, &chunks, &mut pace).await.unwrap();
                }
                let ours = writer.finish(meta.clone(), &mut pace).await.unwrap();
                assert_eq!(ours.stats.num_samples, meta.stats.num_samples);
                assert_eq!(ours.stats.num_series, meta.stats.num_series);
                assert_eq!(ours.stats.num_chunks, meta.stats.num_chunks);
                let path = |name| format!("{}/{name}", block::dir("", meta.ulid));
                assert!(content(&disk, &path("chunks/000001")).await == segment, "chunks");
                assert_eq!(content(&disk, &path("tombstones")).await, of("tombstones"));
                let expected = without_label_indices(&index);
                assert!(content(&disk, &path("index")).await == expected, "index");
            });
        }
    }
}

/// The samples as XOR chunks of 120 at most, all before `until` or all from there on.
fn chunks_of(samples: &[(i64, f64)]) -> Vec<(TimeRange, Vec<u8>)> {
    let chunk = |samples: &[(i64, f64)]| {
        let (mut appender, mut words, mut bytes) =
            (XorAppender::new(), Words::default(), Vec::new());
        for (t, v) in samples {
            appender.append(&mut words, TimestampMs(*t), *v);
        }
        appender.write_to(&words, &mut bytes);
        let (first, last) = (samples[0].0, samples[samples.len() - 1].0);
        (TimeRange::new(TimestampMs(first), TimestampMs(last)).unwrap(), bytes)
    };
    samples.chunks(120).map(chunk).collect()
}

/// Writes the data as a block of ours and copies that to `dir`.
fn our_block(data: &Data, dir: &Path) -> BlockMeta {
    let ulid = Ulid::from_parts(BEGIN_S.unsigned_abs() * 1000, 7);
    let mut symbols: Vec<&str> =
        data.keys().flat_map(Labels::iter).flat_map(|label| [label.name, label.value]).collect();
    symbols.sort_unstable();
    symbols.dedup();
    let number = |text: &str| u32::try_from(symbols.binary_search(&text).unwrap()).unwrap();
    run(async {
        let disk = SimDisk::new(1);
        let options = WriterOptions { segment_bytes_max: 100_000, ..WriterOptions::default() };
        let mut iter = symbols.iter().copied();
        let mut pace = NoPace;
        let writer = BlockWriter::create(&disk, "", ulid, &mut iter, options, &mut pace);
        let mut writer = writer.await.unwrap();
        for (labels, samples) in data {
            let labels: Vec<_> =
                labels.iter().map(|label| (number(label.name), number(label.value))).collect();
            let chunks = chunks_of(samples);
            let chunks: Vec<_> = chunks
                .iter()
                .map(|(range, bytes)| ChunkToWrite { range: *range, encoding: 1, bytes })
                .collect();
            writer.add_series(&labels, &chunks, &mut pace).await.unwrap();
        }
        let times = data.values().flatten().map(|sample| sample.0);
        let mut meta = BlockMeta::new(ulid, times.clone().min().unwrap(), times.max().unwrap() + 1);
        meta.floodplain = Some(Origin { shard: 0, shards: 2 });
        let meta = writer.finish(meta, &mut pace).await.unwrap();
        for path in disk.paths() {
            let to = dir.join(&path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, content(&disk, &path).await).unwrap();
        }
        meta
    })
}

#[test]
fn promtool_lists_analyzes_and_dumps_what_we_write() {
    if !installed(&[PROMTOOL]) {
        return;
    }
    let (dir, data) = (tempfile::tempdir().unwrap(), data(&mut Rng::new(8)));
    let meta = our_block(&data, dir.path());
    let segments = fs::read_dir(dir.path().join(meta.ulid.to_string()).join("chunks")).unwrap();
    assert!(segments.count() > 2, "several segments");

    let list = promtool(&["tsdb", "list"], dir.path());
    let line = list.lines().find(|line| line.contains(&meta.ulid.to_string())).unwrap();
    let fields: Vec<&str> = line.split_whitespace().collect();
    let stats = meta.stats;
    let counts = [stats.num_samples, stats.num_chunks, stats.num_series].map(|n| n.to_string());
    assert_eq!(&fields[fields.len() - 4..fields.len() - 1], counts, "{line}");

    let analysis = promtool(&["tsdb", "analyze"], dir.path());
    let pairs: Vec<_> =
        data.keys().flat_map(Labels::iter).map(|label| (label.name, label.value)).collect();
    let distinct: BTreeSet<_> = pairs.iter().collect();
    for says in [
        format!("Series: {}", data.len()),
        "Label names: 6".to_owned(),
        format!("Postings (unique label pairs): {}", distinct.len()),
        format!("Postings entries (total label pairs): {}", pairs.len()),
    ] {
        assert!(analysis.lines().any(|line| line == says), "{says}: {analysis}");
    }

    // It wants a log, even if there is nothing in it.
    fs::create_dir(dir.path().join("wal")).unwrap();
    let dump = promtool(&["tsdb", "dump"], dir.path());
    let mut dumped: BTreeMap<&str, Vec<(i64, u64)>> = BTreeMap::new();
    for line in dump.lines() {
        let (line, t) = line.rsplit_once(' ').unwrap();
        let (labels, v) = line.rsplit_once(' ').unwrap();
        let v: f64 = v.parse().unwrap();
        dumped.entry(labels).or_default().push((t.parse().unwrap(), v.to_bits()));
    }
    assert_eq!(dumped.len(), data.len());
    for (labels, samples) in &data {
        let samples: Vec<_> = samples.iter().map(|(t, v)| (*t, v.to_bits())).collect();
        assert_eq!(dumped.get(labels.to_string().as_str()), Some(&samples), "{labels}");
    }
}
