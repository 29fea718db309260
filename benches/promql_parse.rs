//! What does it cost to understand a query? Typical ones, one with a pattern, and a chain of a thousand operators.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use floodplain::query::parser::{ParseOptions, parse_expr};

const QUERIES: [(&str, &str); 5] = [
    ("name", "up"),
    ("rate", "sum by (job) (rate(http_requests_total{job=\"api\",code=\"500\"}[5m]))"),
    ("pattern", "sum by (job) (rate(http_requests_total{job=\"api\",code=~\"5..\"}[5m]))"),
    (
        "quantile",
        "histogram_quantile(0.99, sum by (le, job) (rate(http_request_duration_seconds_bucket{job=\"api\"}[5m])))",
    ),
    (
        "alert",
        "sum by (pod) ((kube_pod_container_status_restarts_total{namespace=\"a\",cluster=\"b\"} \
         - kube_pod_container_status_restarts_total{namespace=\"a\",cluster=\"b\"} offset 10m) >= 1 \
         and ignoring (reason) min_over_time(kube_pod_container_status_last_terminated_reason{namespace=\"a\",\
         cluster=\"b\",reason=\"OOMKilled\"}[10m]) == 1)",
    ),
];

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    let chain = vec!["foo{a=\"b\"}"; 1000].join(" + ");
    let chains = [("chain of 1000", chain.as_str())];
    for (name, text) in QUERIES.into_iter().chain(chains) {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), text, |b, text| {
            b.iter(|| parse_expr(black_box(text), &ParseOptions::ALL));
        });
    }
    group.finish();
}

fn print(c: &mut Criterion) {
    let mut group = c.benchmark_group("print");
    for (name, text) in QUERIES {
        let Ok(expr) = parse_expr(text, &ParseOptions::ALL) else { panic!("{text} parses") };
        group.bench_function(name, |b| b.iter(|| black_box(&expr).to_text()));
    }
    group.finish();
}

criterion_group!(benches, parse, print);
criterion_main!(benches);
