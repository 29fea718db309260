//! What does a query cost for each point, that is each series at each step? Folding on a shard, from decoded samples;
//! and the coordinator's share for what cannot be folded.
//!
//! 1,000 series of 6 hours: samples every 15 s, steps of 1 min and of 15 s, so four samples a point or one; evenly spaced, as
//! Prometheus makes those that it scrapes nearly in time, and with a little jitter.

use std::rc::Rc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use floodplain::model::{Labels, Sample, TimestampMs};
use floodplain::query::memory::Budget;
use floodplain::query::{EvalRange, LeafFold, Options, Prepared, Unpaced, evaluate, prepare};

const SERIES: usize = 1000;
const SPACING_MS: i64 = 15_000;
const SPAN_MS: i64 = 6 * 3_600_000;
const START_MS: i64 = 1_700_000_000_000;

fn labels(series: usize) -> Labels {
    let (instance, le) = (series / 20, series % 20);
    let le = if le == 19 { "+Inf".to_owned() } else { format!("{}", 0.005 * f64::from(1 << le)) };
    Labels::from_pairs([
        ("__name__", "http_request_duration_seconds_bucket"),
        ("cluster", "eu-west-1-production"),
        ("instance", &format!("node-{instance:05}.example.internal:9100")),
        ("job", "api"),
        ("le", &le),
        ("region", "eu-west-1"),
    ])
    .expect("names are unique")
}

/// Counters that rise unevenly and are reset now and then; samples are up to `jitter_ms` late.
fn samples(series: usize, jitter_ms: i64) -> Vec<Sample> {
    // Every target has a phase of its own.
    let first = START_MS - 600_000 + (series as i64 * 7919) % SPACING_MS;
    let count = (SPAN_MS + 600_000) / SPACING_MS;
    let mut v = 0.0;
    let sample = |i: i64| {
        let noise = (series as i64 * 7919 + i * 104_729) % 1000;
        v = if noise == 7 { 0.0 } else { v + (noise % 13) as f64 };
        Sample { t: TimestampMs(first + i * SPACING_MS + noise % (jitter_ms + 1)), v }
    };
    (0..count).map(sample).collect()
}

fn prepared(query: &str, step_ms: i64) -> Prepared {
    let range = EvalRange::range(TimestampMs(START_MS), TimestampMs(START_MS + SPAN_MS), step_ms);
    prepare(query, range, &Options::default()).expect("the query is well-formed")
}

type Stored = Vec<(Labels, Rc<[Sample]>)>;

fn ask(prepared: &Prepared, stored: &Stored) -> usize {
    let answering = async {
        let mut parts = Vec::new();
        for leaf in prepared.leaves() {
            let mut fold = LeafFold::new(leaf);
            for (labels, samples) in stored {
                let folded = fold.push(labels.as_ref(), samples, &Unpaced);
                folded.await.expect("within limits");
            }
            parts.push(vec![fold.finish(&Unpaced).await.expect("within limits")]);
        }
        let account = Budget::unlimited().open();
        let answer = evaluate(prepared, parts, &Unpaced, &account);
        answer.await.expect("the query has an answer")
    };
    usize::from(futures_lite::future::block_on(answering).annotations.is_empty())
}

fn points(c: &mut Criterion) {
    let groups = [
        ("step 1m", 60_000, 0),
        ("step 15s", 15_000, 0),
        ("step 1m, jitter", 60_000, 19),
        ("step 15s, jitter", 15_000, 19),
    ];
    for (name, step_ms, jitter_ms) in groups {
        // Few enough to stay in the caches, as samples that are just being decoded do.
        let decoded: Vec<Rc<[Sample]>> =
            (0..16).map(|series| samples(series, jitter_ms).into()).collect();
        let stored: Stored = (0..SERIES)
            .zip(decoded.iter().cycle())
            .map(|(series, samples)| (labels(series), samples.clone()))
            .collect();
        let mut group = c.benchmark_group(name);
        group.sample_size(10);
        group.throughput(Throughput::Elements((SERIES as i64 * (SPAN_MS / step_ms + 1)) as u64));
        for query in [
            "x",
            "sum(x)",
            "sum(rate(x[5m]))",
            "sum by (instance) (rate(x[5m]))",
            "sum(avg_over_time(x[5m]))",
            "sum(max_over_time(x[5m]))",
            "sum(quantile_over_time(0.9, x[5m]))",
            "topk(5, rate(x[5m]))",
            "rate(x[5m]) * 2 > 1",
            "x / on (instance, le) x",
            "histogram_quantile(0.9, rate(x[5m]))",
        ] {
            let prepared = prepared(query, step_ms);
            group.bench_function(query, |b| b.iter(|| ask(&prepared, &stored)));
        }
        group.finish();
    }
}

criterion_group!(benches, points);
criterion_main!(benches);
