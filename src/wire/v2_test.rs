//! What the walk of 2.0 could get wrong, request by request: each is held to what `prost` decodes.

use prost::Message;

use super::model_test::{Outcome, expected_v2, walked_v2};
use super::proto::v2;
use super::{WireError, symbols};
use crate::model::Labels;
use crate::model::refusal::LABEL_BYTES_MAX;

/// A time that takes six bytes.
const T: i64 = 1_760_000_000_000;

fn series(labels_refs: &[u32]) -> v2::TimeSeries {
    v2::TimeSeries {
        labels_refs: labels_refs.to_vec(),
        samples: vec![v2::Sample { value: 1.5, timestamp: T, start_timestamp: 0 }],
        ..Default::default()
    }
}

fn request(symbols: &[&str], timeseries: Vec<v2::TimeSeries>) -> Vec<u8> {
    let symbols = symbols.iter().map(|symbol| symbol.as_bytes().to_vec()).collect();
    v2::Request { symbols, timeseries }.encode_to_vec()
}

/// What the walk makes of `body`, which is what `prost` makes of it.
fn read(body: &[u8]) -> Outcome {
    let outcome = walked_v2(body).unwrap();
    assert_eq!(outcome, expected_v2(body));
    outcome
}

fn stored(outcome: &Outcome) -> Vec<Labels> {
    let sets = outcome.parts.iter().flatten().map(|(set, _)| set.clone());
    sets.map(|set| Labels::from_canonical(set).unwrap()).collect()
}

/// Up to one more than this many series are written before the first is hashed.
const BLOCK: usize = 16;

#[test] // once the labels of the series before it were taken for its own, and with them its metric name
fn a_series_without_labels_behind_one_with_labels_has_no_metric_name() {
    let mut empty = series(&[]).encode_to_vec();
    empty.splice(0..0, [0x0a, 0]); // packed references, none of them
    let mut body = request(&["", "__name__", "up"], vec![series(&[1, 2])]);
    body.extend([0x2a, u8::try_from(empty.len()).unwrap()]);
    body.extend(empty);
    let outcome = read(&body);
    assert_eq!(outcome.refused, [(1, "missing metric name".to_owned())]);
    assert_eq!(outcome.counts.samples, 2);
}

#[test] // once its bytes were taken from one place too far to the right
fn a_symbol_whose_length_is_spelled_too_long_is_the_symbol_it_spells() {
    let series = request(&[], vec![series(&[1, 2]), series(&[1, 3]), series(&[1, 2, 3, 2])]);
    let body = [b"\x22\0\x22\x88\x80\0__name__\x22\x82\0up\x22\x03job", &series[..]].concat();
    let up = Labels::from_pairs([("__name__", "up"), ("job", "up")]).unwrap();
    assert!(stored(&read(&body)).contains(&up));
}

#[test]
fn series_in_front_of_their_symbols_are_read_once() {
    let series = request(&[], (0..40).map(|_| series(&[1, 2])).collect());
    let symbols = request(&["", "__name__", "up"], vec![]);
    for body in [[&series[..], &symbols].concat(), [&symbols[..2], &series, &symbols[2..]].concat()]
    {
        let outcome = read(&body);
        assert_eq!((outcome.counts.series, outcome.counts.samples), (40, 40));
    }
}

#[test]
fn a_reference_that_becomes_wrong_is_not_taken_for_the_one_before() {
    let symbols = ["", "__name__", "up", "job", "a"];
    let outcome = read(&request(
        &symbols,
        vec![
            series(&[1, 2, 3, 4]),
            series(&[1, 2, 3, 5]),
            series(&[1, 2, 3, u32::MAX]),
            series(&[1, 2, 3]),
            series(&[1, 2, 3, 0]),
            series(&[3, 4, 1, 2]),
            series(&[1, 2, 1, 2]),
            series(&[1, 2, 0, 4]),
            series(&[3, 4]),
            series(&[1, 2, 3, 4]),
        ],
    ));
    assert_eq!(outcome.counts.refused_series, 6);
}

#[test] // what is copied from the series before has to lie where it did when the buffer has grown
fn sets_are_right_however_many_there_are() {
    let long = "v".repeat(1000);
    let values: Vec<String> = (0..700).map(|i| format!("value {i}")).collect();
    let mut symbols = vec!["", "__name__", "up", "a", &long, "b"];
    let first = u32::try_from(symbols.len()).unwrap();
    symbols.extend(values.iter().map(String::as_str));
    let all = (0..700).map(|i| series(&[1, 2, 3, 4, 5, first + i])).collect();
    assert_eq!(stored(&read(&request(&symbols, all))).len(), 700);
}

#[test] // references take one, two and three bytes, alone and mixed
fn references_of_any_length_are_read() {
    let texts: Vec<String> = (0..17_000).map(|i| format!("s{i:05}")).collect();
    let mut symbols: Vec<&str> = texts.iter().map(String::as_str).collect();
    symbols[1] = "__name__";
    let values = [2, 127, 128, 16_383, 16_384, 16_999];
    let mut all = Vec::new();
    for name in [3, 300, 16_500] {
        all.extend(values.map(|value| series(&[1, value, name, value])));
        all.extend(values.map(|value| series(&[1, 2, name, value])));
    }
    assert_eq!(stored(&read(&request(&symbols, all))).len(), 36);
}

#[test]
fn sets_of_any_size_up_to_the_limit_are_stored_and_no_longer_one_is() {
    // The metric name takes 16 bytes, and the other label 11 beside a value of three bytes' length.
    for len in [1, 63, 64, 65, 127, 128, 4_000, 4_096, 20_000, LABEL_BYTES_MAX - 27] {
        let long = "v".repeat(len);
        let symbols = ["", "__name__", "up", "a", &long];
        let all = (0..3).map(|_| series(&[1, 2, 3, 4])).collect();
        assert_eq!(stored(&read(&request(&symbols, all))).len(), 3, "a value of {len} bytes");
    }
    let long = "v".repeat(LABEL_BYTES_MAX);
    let body = request(&["", "__name__", "up", "a", &long], vec![series(&[1, 2, 3, 4])]);
    let refused = walked_v2(&body).unwrap().refused;
    let why = "label set of 1048603 bytes; a series may have 1048576";
    assert_eq!(refused, [(1, why.to_owned())]);
}

#[test] // a symbol that is longer than the fast way reads, between some that are not
fn symbols_of_megabytes_are_passed() {
    let long = "v".repeat((2 << 20) + 1);
    let all = vec![series(&[1, 2]), series(&[1, 4])];
    assert_eq!(stored(&read(&request(&["", "__name__", "up", &long, "down"], all))).len(), 2);
}

#[test]
fn sets_of_many_labels_are_stored() {
    let names: Vec<String> = (0..100).map(|i| format!("name{i:03}")).collect();
    let mut symbols = vec!["", "__name__", "up"];
    symbols.extend(names.iter().map(String::as_str));
    for count in [30, 31, 32, 33, 100] {
        let labels: Vec<u32> =
            [1, 2].into_iter().chain((3..3 + count).flat_map(|r| [r, 2])).collect();
        let all = vec![series(&labels), series(&labels), series(&[1, 2])];
        assert_eq!(stored(&read(&request(&symbols, all))).len(), 3, "{count} labels");
    }
}

#[test] // two references to a symbol of a megabyte cost six bytes: here 600 MB in a request of 1.1 MB
fn label_sets_that_outgrow_a_request_are_an_error() {
    let long = "v".repeat(LABEL_BYTES_MAX - 100);
    let all = (0..600).map(|_| series(&[1, 2, 3, 4])).collect();
    let body = request(&["", "__name__", "up", "a", &long], all);
    let error = walked_v2(&body).unwrap_err();
    assert!(matches!(error, WireError::LabelsTooLarge { max, .. } if max == 128 << 20), "{error}");
}

#[test]
fn a_series_of_more_labels_than_could_be_stored_is_an_error() {
    let all = vec![series(&vec![0; 2 * LABEL_BYTES_MAX / 8 + 1])];
    let error = walked_v2(&request(&[""], all)).unwrap_err();
    assert!(matches!(error, WireError::TooManyLabels { .. }), "{error}");
}

#[test]
fn more_symbols_than_a_request_may_have_are_an_error() {
    let body = b"\x22\0".repeat(symbols::SYMBOLS_MAX + 1);
    let error = WireError::TooManySymbols { offset: body.len(), max: symbols::SYMBOLS_MAX };
    assert_eq!(walked_v2(&body), Err(error.clone()));
    assert!(walked_v2(&body[2..]).is_ok());
    let behind = [&[0x48, 1], &body[..]].concat(); // field 9
    assert!(matches!(walked_v2(&behind), Err(WireError::TooManySymbols { .. })));
}

#[test] // each kind of series at each place of a block, so that blocks begin and end with every kind
fn series_of_any_kind_may_stand_anywhere_among_plain_ones() {
    let symbols = ["", "__name__", "up", "a", "b", "Some help."];
    let sample = |timestamp, start_timestamp| v2::Sample { value: 1.0, timestamp, start_timestamp };
    let metadata = v2::Metadata { r#type: 1, help_ref: 5, unit_ref: 0 };
    let exemplar = v2::Exemplar { labels_refs: vec![3, 4], value: 1.5, timestamp: T };
    let histogram = v2::Histogram { schema: 3, timestamp: T, ..Default::default() };
    let plain = || series(&[1, 2, 3, 4]);
    let kinds = [
        v2::TimeSeries { metadata: Some(metadata), ..plain() },
        v2::TimeSeries { exemplars: vec![exemplar], metadata: Some(metadata), ..plain() },
        v2::TimeSeries { histograms: vec![histogram.clone()], ..plain() },
        v2::TimeSeries { histograms: vec![histogram], samples: vec![], ..plain() },
        v2::TimeSeries { samples: vec![], ..plain() },
        v2::TimeSeries { samples: vec![], metadata: Some(metadata), ..plain() },
        v2::TimeSeries { samples: vec![sample(T, T - 1), sample(T + 1, T - 1)], ..plain() },
        v2::TimeSeries { samples: vec![sample(T, 1), sample(5, T), sample(-1, -1)], ..plain() },
        series(&[1, 2, 4, 3, 3, 4]),
        series(&[1, 2, 3, 4, 4, 0]),
        series(&[]),
    ];
    for (kind, at) in kinds.iter().flat_map(|kind| (0..BLOCK + 2).map(move |at| (kind, at))) {
        let mut all: Vec<_> = (0..2 * BLOCK + 3).map(|_| plain()).collect();
        all.insert(at, kind.clone());
        read(&request(&symbols, all));
    }
}

#[test] // protobuf has no order of fields
fn samples_may_stand_in_front_of_references() {
    let body = b"\x22\0\x22\x08__name__\x22\x02up\
        \x2a\x0d\x12\x07\x10\x80\xd0\x95\xff\xbc\x31\x0a\x02\x01\x02\
        \x2a\x11\x0a\x02\x01\x02\x12\x07\x10\x80\xd0\x95\xff\xbc\x31\x0a\x02\x01\x02\
        \x2a\x11\x0a\x02\x01\x02\x12\x07\x10\x80\xd0\x95\xff\xbc\x31\x0a\x02\x02\x02";
    let outcome = read(body);
    assert_eq!((stored(&outcome).len(), outcome.counts.refused_series), (2, 1));
}
