//! What the hand-written encoders promise: messages that a protobuf decoder reads as the population says.

use prost::Message;

use super::compress::{Compression, Compressor};
use super::*;
use crate::population::mixture::Mixture;

/// `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

/// The same in both protocols.
#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    count_float: Option<f64>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    zero_count_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int64, tag = "15")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// `io.prometheus.write.v2.Request`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeriesV2>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeriesV2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<Histogram>,
    #[prost(message, repeated, tag = "4")]
    exemplars: Vec<ExemplarV2>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct ExemplarV2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(int32, tag = "1")]
    metric_type: i32,
    #[prost(uint32, tag = "3")]
    help_ref: u32,
    #[prost(uint32, tag = "4")]
    unit_ref: u32,
}

const TIMELINE: Timeline =
    Timeline { start_ms: 1_780_000_000_000, interval_ms: 15_000, value_period: None };

/// Labels, value bits and timestamp of one decoded series.
type Decoded = (Vec<(String, String)>, u64, i64);

/// What the population says about `series` at `step`.
fn expected(population: &Population, series: SeriesRange, step: u32) -> Vec<Decoded> {
    let one = |series| {
        let target = population.target_of(series);
        let (generation, _) = population.generation(target, step);
        let life = population.life(target, generation);
        let labels = population.labels(series, &life);
        let value = population.shape(series, generation).value(u64::from(step));
        (
            labels.map(|(name, value)| (name.to_owned(), value.into_owned())).collect(),
            value.to_bits(),
            TIMELINE.time(step),
        )
    };
    series.map(one).collect()
}

fn decode_v1(raw: &[u8]) -> Vec<Decoded> {
    let request = WriteRequest::decode(raw).unwrap();
    let series = request.timeseries.into_iter().map(|series| {
        let labels = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
        assert_eq!(series.samples.len(), 1);
        (labels, series.samples[0].value.to_bits(), series.samples[0].timestamp)
    });
    series.collect()
}

fn decode_v2(raw: &[u8]) -> Vec<Decoded> {
    let request = Request::decode(raw).unwrap();
    let symbol = |at: u32| request.symbols[at as usize].clone();
    assert_eq!(symbol(0), "");
    let series = request.timeseries.iter().map(|series| {
        let labels = series.labels_refs.chunks(2).map(|pair| (symbol(pair[0]), symbol(pair[1])));
        let about = series.metadata.as_ref().unwrap();
        assert!((1..=3).contains(&about.metric_type) && !symbol(about.help_ref).is_empty());
        assert_eq!(series.samples.len(), 1);
        (labels.collect(), series.samples[0].value.to_bits(), series.samples[0].timestamp)
    });
    series.collect()
}

#[test]
fn a_filled_template_decodes_to_what_the_population_says() {
    let population = Population::new(7, 3_000, Some(20));
    for series in [0..700, 900..2_900, 2_999..3_000] {
        let mut v1 = Template::new(Protocol::V1, &population, series.clone(), 30);
        let mut v2 = Template::new(Protocol::V2, &population, series.clone(), 30);
        assert_eq!(v1.steps(), v2.steps());
        for step in v1.steps() {
            let expected = expected(&population, series.clone(), step);
            assert!(
                decode_v1(v1.fill(&population, step, &TIMELINE)) == expected,
                "{series:?} at step {step}"
            );
            assert!(
                decode_v2(v2.fill(&population, step, &TIMELINE)) == expected,
                "{series:?} at step {step}"
            );
        }
    }
}

#[test]
fn a_template_says_for_which_steps_its_labels_hold() {
    let population = Population::new(7, 3_000, Some(20));
    let steps = Template::new(Protocol::V1, &population, 0..2_000, 30).steps();
    assert!(steps.contains(&30) && steps.len() <= 20);
    assert_eq!(expected(&population, 0..1, steps.start)[0].0, expected(&population, 0..1, 30)[0].0);
    let still = Population::new(7, 3_000, None);
    assert_eq!(Template::new(Protocol::V2, &still, 0..10, 30).steps(), 0..u32::MAX);
}

/// Bytes a sample, raw and compressed, over some whole requests.
fn bytes_per_sample(protocol: Protocol, compression: Compression) -> (f64, f64) {
    let population = Population::new(1, 20_000, None);
    let mut compressor = Compressor::new(compression).unwrap();
    let (mut raw, mut wire) = (0, Vec::new());
    for first in (0..20_000).step_by(2_000) {
        let mut template = Template::new(protocol, &population, first..first + 2_000, 0);
        let message = template.fill(&population, 50, &TIMELINE);
        raw += message.len();
        compressor.compress(message, &mut wire).unwrap();
    }
    (raw as f64 / 20_000.0, wire.len() as f64 / 20_000.0)
}

#[test] // the sizes that the design's budgets were measured with
fn a_sample_costs_as_many_bytes_as_real_ones_do() {
    let (raw, wire) = bytes_per_sample(Protocol::V1, Compression::Snappy);
    assert!((196.0..216.0).contains(&raw), "1.0 raw: {raw}");
    assert!((23.0..34.0).contains(&wire), "1.0 snappy: {wire}");
    let (raw, wire) = bytes_per_sample(Protocol::V2, Compression::Snappy);
    assert!((40.0..60.0).contains(&raw), "2.0 raw: {raw}");
    assert!((13.0..34.0).contains(&wire), "2.0 snappy: {wire}");
    let (_, zstd) = bytes_per_sample(Protocol::V1, Compression::Zstd);
    assert!(zstd < 23.0, "1.0 zstd: {zstd}");
}

/// A series of a mixed message in either protocol: name, floats, histograms, and the exemplars as `name=value`, value
/// and timestamp.
type Mix = (String, Vec<Sample>, Vec<Histogram>, Vec<(String, f64, i64)>);

fn mix_v1(raw: &[u8]) -> Vec<Mix> {
    let series = WriteRequest::decode(raw).unwrap().timeseries.into_iter().map(|series| {
        let exemplars = series.exemplars.into_iter().map(|exemplar| {
            let label = &exemplar.labels[0];
            (format!("{}={}", label.name, label.value), exemplar.value, exemplar.timestamp)
        });
        let name = series.labels[0].value.clone();
        (name, series.samples, series.histograms, exemplars.collect())
    });
    series.collect()
}

fn mix_v2(raw: &[u8]) -> Vec<Mix> {
    let request = Request::decode(raw).unwrap();
    let symbol = |at: u32| request.symbols[at as usize].clone();
    let series = request.timeseries.iter().map(|series| {
        let native = !series.histograms.is_empty();
        assert!(!native || series.metadata.as_ref().unwrap().metric_type == 3);
        let exemplars = series.exemplars.iter().map(|exemplar| {
            let [name, value] = exemplar.labels_refs[..] else { panic!("one label") };
            (format!("{}={}", symbol(name), symbol(value)), exemplar.value, exemplar.timestamp)
        });
        let name = symbol(series.labels_refs[1]);
        (name, series.samples.clone(), series.histograms.clone(), exemplars.collect())
    });
    series.collect()
}

/// Index and count of each bucket of a decoded histogram.
fn buckets(histogram: &Histogram) -> Vec<(i32, u64)> {
    let mut counts: Vec<u64> =
        histogram.positive_counts.iter().map(|count| count.to_string().parse().unwrap()).collect();
    counts.extend(histogram.positive_deltas.iter().scan(0i64, |count, delta| {
        *count += delta;
        Some(u64::try_from(*count).unwrap())
    }));
    let mut next = 0;
    let indices = histogram.positive_spans.iter().flat_map(|span| {
        let first = next + span.offset;
        next = first + i32::try_from(span.length).unwrap();
        first..next
    });
    indices.zip(counts).collect()
}

#[test]
fn a_mixed_message_decodes_to_what_the_population_says() {
    for float_histograms in [false, true] {
        let mixture =
            Mixture { histograms_per_million: 300_000, float_histograms, exemplars_every: 5 };
        let population = Population::new(7, 3_000, Some(20)).with_mixture(mixture);
        let mut v1 = Template::new(Protocol::V1, &population, 100..400, 30);
        let mut v2 = Template::new(Protocol::V2, &population, 100..400, 30);
        assert_eq!(v1.steps(), v2.steps());
        for step in v1.steps() {
            let decoded = mix_v1(v1.fill(&population, step, &TIMELINE));
            assert!(decoded == mix_v2(v2.fill(&population, step, &TIMELINE)), "both say the same");
            assert_eq!((decoded.len(), v1.samples()), (300, 300));
            let all: usize = decoded.iter().map(|(.., exemplars)| exemplars.len()).sum();
            assert_eq!((v1.exemplars(), v2.exemplars()), (all as u64, all as u64));
            for (series, (name, floats, histograms, exemplars)) in (100..).zip(decoded) {
                let (generation, _) = population.generation(population.target_of(series), step);
                assert_eq!(name.ends_with("_native"), population.is_histogram(series));
                let time = TIMELINE.time(step);
                let exemplar = population.exemplar(series, u64::from(step)).map(|exemplar| {
                    let id = String::from_utf8(exemplar.trace_id.to_vec()).unwrap();
                    (format!("trace_id={id}"), exemplar.value, time)
                });
                assert_eq!(exemplars, exemplar.into_iter().collect::<Vec<_>>());
                if !population.is_histogram(series) {
                    let value = population.shape(series, generation).value(u64::from(step));
                    assert_eq!(floats, [Sample { value, timestamp: time }]);
                    assert!(histograms.is_empty());
                    continue;
                }
                let sent = population.histogram(series, generation).at(u64::from(step));
                let got = &histograms[0];
                assert_eq!((floats.len(), histograms.len(), got.timestamp), (0, 1, time));
                assert_eq!(buckets(got), sent.buckets);
                assert_eq!(
                    (got.sum, got.schema, got.zero_threshold),
                    (sent.sum, 3, 2f64.powi(-128))
                );
                let (count, zero) = (sent.count, sent.zero_count);
                match float_histograms {
                    true => assert_eq!(
                        (got.count_float, got.zero_count_float, got.count_int, got.zero_count_int),
                        (Some(count as f64), Some(zero as f64), None, None)
                    ),
                    false => assert_eq!(
                        (got.count_int, got.zero_count_int, got.count_float, got.zero_count_float),
                        (Some(count), Some(zero), None, None)
                    ),
                }
            }
        }
    }
}
