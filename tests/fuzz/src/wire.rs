//! The messages of remote write and remote read.
//!
//! The walks of both write messages are held to the model that the property tests of the room `wire` hold them to: what
//! `prost` decodes, and what is to become of it by the simplest means.

use floodplain::model::Labels;
use floodplain::wire::proto::read;
use floodplain::wire::proto::{v1, v2};
use floodplain::wire::read::{ReadQuery, decode_read};
use prost::Message;

// What the model names by `super`.
use floodplain::wire::{Counts, WireError, decode_v1, decode_v2, proto};

#[allow(dead_code, unused_imports, reason = "its strategies are for tests")]
#[path = "../../../src/wire/model_test.rs"]
mod model_test;

/// Remote write 1.0.
pub fn write_v1(body: &[u8]) {
    match model_test::walked_v1(body) {
        Ok(walked) => assert_eq!(walked, model_test::expected_v1(body)),
        Err(error) if is_no_message(&error) => {
            assert!(v1::WriteRequest::decode(body).is_err(), "{error}");
        }
        Err(_) => {}
    }
}

/// Remote write 2.0.
pub fn write_v2(body: &[u8]) {
    match model_test::walked_v2(body) {
        Ok(walked) => assert_eq!(walked, model_test::expected_v2(body)),
        Err(error) if is_no_message(&error) => {
            assert!(v2::Request::decode(body).is_err(), "{error}");
        }
        Err(_) => {}
    }
}

/// Does it say that the bytes are no such message? The others are limits, and groups, which `prost` passes over.
fn is_no_message(error: &WireError) -> bool {
    use WireError::{Beyond, Cut, FieldNumber, FieldType, Varint};
    matches!(
        error,
        Beyond { .. } | Cut { .. } | Varint { .. } | FieldNumber { .. } | FieldType { .. }
    )
}

fn external() -> Labels {
    Labels::from_pairs([("cluster", "a")]).unwrap()
}

/// The request of remote read: what it asks is what the message says, and its one spelling by `prost` asks the same.
pub fn read_request(body: &[u8]) {
    let Ok((queries, form)) = decode_read(body, &external()) else { return };
    let request = read::ReadRequest::decode(body).unwrap();
    assert_eq!(queries.len(), request.queries.len());
    for (query, message) in queries.iter().zip(&request.queries) {
        let (start, end) = (message.start_timestamp_ms, message.end_timestamp_ms);
        assert_eq!(
            query.range.map(|range| (range.min().0, range.max().0)),
            (start <= end).then_some((start, end))
        );
        assert_eq!(query.matchers.len(), message.matchers.len());
        for (matcher, message) in query.matchers.iter().zip(&message.matchers) {
            assert_eq!(matcher.name(), message.name);
            assert_eq!(matcher.matches(""), matcher.matches_empty());
            if message.r#type == 0 && message.name != "cluster" {
                assert!(matcher.matches(&message.value));
            }
        }
    }
    let (again, same_form) = decode_read(&request.encode_to_vec(), &external()).unwrap();
    assert_eq!(form, same_form);
    assert_eq!(again.len(), queries.len());
    let same = |(one, other): (&ReadQuery, &ReadQuery)| {
        one.range == other.range && one.matchers == other.matchers
    };
    assert!(queries.iter().zip(&again).all(same));
}

fn histogram_v1(float: bool) -> v1::Histogram {
    let span = |offset, length| v1::BucketSpan { offset, length };
    let histogram = v1::Histogram {
        sum: 2.5,
        schema: 3,
        zero_threshold: 1e-128,
        positive_spans: vec![span(-2, 2), span(3, 1)],
        negative_spans: vec![span(0, 1)],
        reset_hint: 2,
        timestamp: 1_700_000_000_000,
        ..Default::default()
    };
    if float {
        v1::Histogram {
            count: Some(v1::Count::Float(7.5)),
            zero_count: Some(v1::ZeroCount::Float(0.5)),
            positive_counts: vec![1.0, 2.0, 3.0],
            negative_counts: vec![1.0],
            ..histogram
        }
    } else {
        v1::Histogram {
            count: Some(v1::Count::Int(8)),
            zero_count: Some(v1::ZeroCount::Int(1)),
            positive_deltas: vec![1, 1, 1],
            negative_deltas: vec![1],
            ..histogram
        }
    }
}

/// Series with everything that 1.0 has, together and each alone.
pub fn write_v1_seeds() -> Vec<Vec<u8>> {
    let label = |name: &str, value: &str| v1::Label { name: name.into(), value: value.into() };
    let labels = |pod: &str| {
        let pairs = [
            ("__name__", "http_requests_total"),
            ("instance", "a:9100"),
            ("job", "api"),
            ("pod", pod),
        ];
        pairs.map(|(name, value)| label(name, value)).to_vec()
    };
    let sample =
        |n: u32| v1::Sample { value: f64::from(n), timestamp: 1_700_000_000_000 + i64::from(n) };
    let samples = |pod: &str| v1::TimeSeries {
        labels: labels(pod),
        samples: (0..3).map(sample).collect(),
        ..Default::default()
    };
    let exemplar =
        v1::Exemplar { labels: vec![label("trace_id", "abc")], value: 1.5, timestamp: 7 };
    let exemplars = v1::TimeSeries { exemplars: vec![exemplar.clone(), exemplar], ..samples("x") };
    let custom = v1::Histogram {
        count: Some(v1::Count::Int(3)),
        schema: -53,
        positive_spans: vec![v1::BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![1, 1],
        custom_values: vec![0.5],
        sum: 1.0,
        ..Default::default()
    };
    let histograms = v1::TimeSeries {
        labels: labels("h"),
        histograms: vec![histogram_v1(false), histogram_v1(true), custom],
        ..Default::default()
    };
    let family = |r#type, name: &str, unit: &str| v1::MetricMetadata {
        r#type,
        metric_family_name: name.into(),
        help: b"What it says.".to_vec(),
        unit: unit.into(),
    };
    let metadata =
        vec![family(1, "http_requests_total", ""), family(3, "size", "bytes"), family(9, "", "")];
    let unsorted = v1::TimeSeries {
        labels: vec![
            label("z", "1"),
            label("__name__", "up"),
            label("a", ""),
            label("z", "2"),
            label("", "x"),
        ],
        ..samples("")
    };
    let request =
        |timeseries: Vec<v1::TimeSeries>, metadata| v1::WriteRequest { timeseries, metadata };
    let all =
        vec![samples("a"), samples("b"), exemplars.clone(), histograms.clone(), unsorted.clone()];
    let none = Vec::new();
    [
        request(vec![samples("a"), samples("b"), samples("c")], none.clone()),
        request(vec![exemplars], none.clone()),
        request(vec![histograms], none.clone()),
        request(vec![unsorted, samples("a")], none.clone()),
        request(none.iter().map(|_: &v1::MetricMetadata| samples("")).collect(), metadata.clone()),
        request(all, metadata),
    ]
    .iter()
    .map(Message::encode_to_vec)
    .collect()
}

/// Series with everything that 2.0 has, together and each alone.
pub fn write_v2_seeds() -> Vec<Vec<u8>> {
    let symbols = [
        "",
        "__name__",
        "http_requests_total",
        "job",
        "api",
        "pod",
        "a",
        "b",
        "trace_id",
        "What it says.",
        "bytes",
    ];
    let symbols: Vec<Vec<u8>> = symbols.iter().map(|symbol| symbol.as_bytes().to_vec()).collect();
    let sample = |n: u32, start: i64| v2::Sample {
        value: f64::from(n),
        timestamp: 1_700_000_000_000 + i64::from(n),
        start_timestamp: start,
    };
    let samples = |pod: u32| v2::TimeSeries {
        labels_refs: vec![1, 2, 3, 4, 5, pod],
        samples: vec![sample(1, 0), sample(2, 0), sample(3, 1_600_000_000_000)],
        ..Default::default()
    };
    let exemplar = v2::Exemplar { labels_refs: vec![8, 6], value: 1.5, timestamp: 7 };
    let exemplars = v2::TimeSeries { exemplars: vec![exemplar.clone(), exemplar], ..samples(6) };
    let metadata = v2::Metadata { r#type: 1, help_ref: 9, unit_ref: 10 };
    let told = v2::TimeSeries { metadata: Some(metadata), ..samples(7) };
    // The two messages share the numbers of a histogram's fields.
    let histogram = |float| v2::Histogram::decode(&*histogram_v1(float).encode_to_vec()).unwrap();
    let custom = v2::Histogram { schema: -53, custom_values: vec![1.0], ..Default::default() };
    let histograms = v2::TimeSeries {
        labels_refs: vec![1, 2, 3, 4],
        histograms: vec![histogram(false), histogram(true), custom],
        metadata: Some(v2::Metadata { r#type: 3, help_ref: 9, unit_ref: 0 }),
        ..Default::default()
    };
    let unsorted = v2::TimeSeries { labels_refs: vec![5, 6, 1, 2, 3, 0], ..samples(6) };
    let wrong = v2::TimeSeries { labels_refs: vec![1, 2, 3, 400], ..samples(6) };
    let odd = v2::TimeSeries { labels_refs: vec![1, 2, 3], ..samples(6) };
    let all = vec![
        samples(6),
        samples(7),
        exemplars.clone(),
        told.clone(),
        histograms.clone(),
        unsorted.clone(),
        wrong,
        odd,
    ];
    [
        vec![samples(6), samples(7), samples(4)],
        vec![exemplars],
        vec![told],
        vec![histograms],
        vec![unsorted],
        all,
    ]
    .into_iter()
    .map(|timeseries| v2::Request { symbols: symbols.clone(), timeseries }.encode_to_vec())
    .collect()
}

/// Requests with each kind of matcher and each form of answer.
pub fn read_request_seeds() -> Vec<Vec<u8>> {
    let matcher = |(r#type, name, value): &(i32, &str, &str)| read::LabelMatcher {
        r#type: *r#type,
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    let request = |matchers: &[(i32, &str, &str)], accepted: &[i32]| {
        let query = read::Query {
            start_timestamp_ms: -5,
            end_timestamp_ms: 1_700_000_000_000,
            matchers: matchers.iter().map(matcher).collect(),
        };
        let queries = vec![query.clone(), query];
        read::ReadRequest { queries, accepted_response_types: accepted.to_vec() }.encode_to_vec()
    };
    vec![
        request(&[(0, "__name__", "up")], &[1, 0]),
        request(
            &[(0, "cluster", "a"), (1, "job", "b"), (2, "pod", "a|b.*"), (3, "x", "[a-c]+")],
            &[],
        ),
        request(&[(2, "", "(?i)a{2,3}")], &[7, 0]),
        request(&[], &[9]),
    ]
}
