//! A query's answer, a slice at a time.
//!
//! ```text
//! data     {"resultType":"vector","result":…,"stats":…}          the type first; stats only if asked for
//! scalar   [1.5,"2"]           string  [1.5,"text"]
//! vector   [{"metric":{…},"value":[1.5,"2"]},{"metric":{…},"histogram":[1.5,{…}]},…]
//! matrix   [{"metric":{…},"values":[[1.5,"2"],…],"histograms":[[1.5,{…}],…]},…]     neither list if it is empty
//! ```
//! Source: `web/api/v1/json_codec.go`, `promql/value.go`, Prometheus 3.14.

use std::sync::Arc;

use super::point_line::{self, Stamp};
use super::slices::{Slices, labels};
use super::stats::Stats;
use super::{Notes, SUCCESS, end_of_success, histogram, number, text};
use crate::model::{Labels, TimestampMs};
use crate::query::AnswerValue;
use crate::query::float_histogram::FloatHistogram;
use crate::query::grid::Grid;
use crate::query::memory::Account;
use crate::query::value::{HistogramAt, HistogramPoint, Point, RawSeries, Series, is_absent};
use crate::rt::pace::let_go;

/// Of one series, so many values are written before it is asked whether the slice is full.
const VALUES_AT_ONCE: usize = 256;

/// An answer being written.
pub struct AnswerSlices {
    value: AnswerValue,
    stats: Option<Stats>,
    notes: Notes,
    /// The next series.
    series: usize,
    /// Of that series, the next value; the histograms are counted behind the numbers.
    value_index: usize,
    stamps: Vec<Stamp>,
    begun: bool,
    /// What its memory is charged to.
    account: Option<Account>,
}

impl AnswerSlices {
    /// The answer `value`, with what is to be said besides.
    #[must_use]
    pub fn new(value: AnswerValue, stats: Option<Stats>, notes: Notes) -> Self {
        Self {
            value,
            stats,
            notes,
            series: 0,
            value_index: 0,
            stamps: Vec::new(),
            begun: false,
            account: None,
        }
    }

    /// The same answer, which is charged to `account` until it is written.
    #[must_use]
    pub fn holding(mut self, account: Account) -> Self {
        self.account = Some(account);
        self
    }
}

impl Drop for AnswerSlices {
    fn drop(&mut self) {
        match &mut self.value {
            AnswerValue::Vector { samples, .. } => let_go(std::mem::take(samples)),
            AnswerValue::Matrix { series, .. } => let_go(std::mem::take(series)),
            AnswerValue::Ranges(series) => let_go(std::mem::take(series)),
            AnswerValue::Scalar { .. } | AnswerValue::String { .. } => {}
        }
    }
}

impl Slices for AnswerSlices {
    fn fill(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        let full_at = out.len().saturating_add(enough);
        if !self.begun {
            self.begun = true;
            begin(out, result_type(&self.value));
            if let AnswerValue::Matrix { grid, series } = &self.value
                && !series.is_empty()
            {
                self.stamps = grid.times().map(Stamp::of).collect();
            }
        }
        while self.next(out) {
            if out.len() >= full_at {
                return true;
            }
        }
        self.end(out);
        false
    }
}

impl AnswerSlices {
    /// Appends the next piece of the result; is there another?
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        match &self.value {
            AnswerValue::Scalar { t, v } => {
                out.push(b'[');
                number::scalar_timestamp(out, *t);
                out.push(b',');
                number::scalar_value(out, *v);
                false
            }
            AnswerValue::String { t, v } => {
                out.push(b'[');
                number::scalar_timestamp(out, *t);
                out.push(b',');
                text::bytes(out, v);
                false
            }
            AnswerValue::Vector { t, samples } => {
                let Some((metric, v)) = samples.get(self.series) else {
                    return open_if(out, samples.is_empty());
                };
                begin_series(out, self.series, metric);
                match v {
                    Point::Float(v) => {
                        out.extend_from_slice(b",\"value\":");
                        point(out, *t, *v);
                    }
                    Point::Histogram(h) => {
                        out.extend_from_slice(b",\"histogram\":");
                        histogram::point(out, *t, h);
                    }
                }
                out.push(b'}');
                self.series += 1;
                true
            }
            AnswerValue::Matrix { grid, series } => {
                let Some(one) = series.get(self.series) else {
                    return open_if(out, series.is_empty());
                };
                if self.value_index == 0 {
                    begin_series(out, self.series, &one.labels);
                }
                let next = column(out, (grid, &self.stamps), one, self.value_index);
                self.advance(out, next)
            }
            AnswerValue::Ranges(series) => {
                let Some(one) = series.get(self.series) else {
                    return open_if(out, series.is_empty());
                };
                if self.value_index == 0 {
                    begin_series(out, self.series, &one.labels);
                }
                let next = samples(out, one, self.value_index);
                self.advance(out, next)
            }
        }
    }

    /// Moves behind the values that were written, and on to the next series if there are no more.
    fn advance(&mut self, out: &mut Vec<u8>, written: Option<usize>) -> bool {
        match written {
            Some(next) => self.value_index = next,
            None => {
                out.push(b'}');
                self.value_index = 0;
                self.series += 1;
            }
        }
        true
    }

    fn end(&self, out: &mut Vec<u8>) {
        out.push(b']');
        if let Some(stats) = &self.stats {
            stats.write(out);
        }
        out.push(b'}');
        end_of_success(out, &self.notes);
    }
}

fn result_type(value: &AnswerValue) -> &'static str {
    match value {
        AnswerValue::Scalar { .. } => "scalar",
        AnswerValue::String { .. } => "string",
        AnswerValue::Vector { .. } => "vector",
        AnswerValue::Matrix { .. } | AnswerValue::Ranges(_) => "matrix",
    }
}

fn begin(out: &mut Vec<u8>, result_type: &str) {
    out.extend_from_slice(SUCCESS);
    out.extend_from_slice(b"{\"resultType\":");
    text::string(out, result_type);
    out.extend_from_slice(b",\"result\":");
}

/// Nothing more to write, but the bracket if nothing was written before.
fn open_if(out: &mut Vec<u8>, empty: bool) -> bool {
    if empty {
        out.push(b'[');
    }
    false
}

/// Appends the labels of the series at `index`.
fn begin_series(out: &mut Vec<u8>, index: usize, metric: &Labels) {
    out.push(if index == 0 { b'[' } else { b',' });
    out.extend_from_slice(b"{\"metric\":");
    labels(out, metric);
}

fn point(out: &mut Vec<u8>, t: TimestampMs, v: f64) {
    out.push(b'[');
    number::timestamp(out, t);
    out.push(b',');
    number::value(out, v);
    out.push(b']');
}

/// Appends some of a series' points from the value `from` on; the first value not looked at, unless that was all.
fn column(
    out: &mut Vec<u8>,
    (grid, stamps): (&Grid, &[Stamp]),
    series: &Series,
    from: usize,
) -> Option<usize> {
    let (first, values) = series.column.run();
    let end = from.saturating_add(VALUES_AT_ONCE).min(values.len());
    if from == 0 && end > 0 {
        out.extend_from_slice(b",\"values\":[");
    }
    let stamps = stamps.get(first..).unwrap_or_default();
    for (i, (v, stamp)) in values.iter().zip(stamps).enumerate().take(end).skip(from) {
        // The first value of a column is never absent, so only it has no comma before it.
        if !is_absent(*v) {
            point_line::point(out, i > 0, stamp, *v);
        }
    }
    let points = series.histograms.points().iter();
    let points = points.map(|(step, h): &HistogramPoint| (TimestampMs(grid.time(*step)), h));
    then_histograms(out, from, (end, values.len()), points)
}

/// Appends some of a series' samples from `from` on; the first one not looked at, unless that was all.
fn samples(out: &mut Vec<u8>, series: &RawSeries, from: usize) -> Option<usize> {
    let floats = &series.samples;
    let end = from.saturating_add(VALUES_AT_ONCE).min(floats.len());
    for (i, sample) in floats.iter().enumerate().take(end).skip(from) {
        open_list(out, i == 0, b",\"values\":[");
        point(out, sample.t, sample.v);
    }
    let points = series.histograms.iter().map(|(t, h): &HistogramAt| (TimestampMs(*t), h));
    then_histograms(out, from, (end, floats.len()), points)
}

/// Behind the floats up to `end` of `len`: closes their list when it is whole, and appends one histogram a call.
fn then_histograms<'a>(
    out: &mut Vec<u8>,
    from: usize,
    (end, len): (usize, usize),
    mut histograms: impl ExactSizeIterator<Item = (TimestampMs, &'a Arc<FloatHistogram>)>,
) -> Option<usize> {
    if end < len {
        return Some(end);
    }
    if from < len {
        out.push(b']');
    }
    let (at, count) = (from.max(len) - len, histograms.len());
    let (t, h) = histograms.nth(at)?;
    open_list(out, at == 0, b",\"histograms\":[");
    histogram::point(out, t, h);
    if at + 1 == count {
        out.push(b']');
        return None;
    }
    Some(len + at + 1)
}

fn open_list(out: &mut Vec<u8>, is_first: bool, name: &[u8]) {
    if is_first {
        out.extend_from_slice(name);
    } else {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::model::Sample;
    use crate::query::Reads;
    use crate::query::value::{ABSENT, Column, HistogramColumn, RawSeries};
    use crate::server::json::slices::testing::read;

    fn metric(pairs: &[(&'static str, &'static str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    fn written(value: AnswerValue) -> String {
        read(&mut AnswerSlices::new(value, None, Notes::default()), usize::MAX).0
    }

    fn series(labels: Labels, values: &[f64]) -> Series {
        Series::of_floats(labels, false, Column::of(values).unwrap())
    }

    #[test]
    fn a_scalar_and_a_string_are_pairs() {
        let t = TimestampMs(1420);
        assert_eq!(
            written(AnswerValue::Scalar { t, v: 1e21 }),
            r#"{"status":"success","data":{"resultType":"scalar","result":[1.42,"1000000000000000000000"]}}"#
        );
        assert_eq!(
            written(AnswerValue::String { t: TimestampMs(2000), v: b"a<\xff".to_vec() }),
            "{\"status\":\"success\",\"data\":{\"resultType\":\"string\",\"result\":[2,\"a\\u003c\u{fffd}\"]}}"
        );
    }

    #[test]
    fn a_vector_has_a_value_a_series() {
        let t = TimestampMs(1420);
        let samples = vec![
            (metric(&[("__name__", "up"), ("job", "a")]), Point::Float(1.0)),
            (metric(&[]), Point::Float(f64::NAN)),
        ];
        assert_eq!(
            written(AnswerValue::Vector { t, samples }),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1.420,"1"]},{"metric":{},"value":[1.420,"NaN"]}]}}"#
        );
        assert_eq!(
            written(AnswerValue::Vector { t, samples: vec![] }),
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#
        );
    }

    #[test]
    fn a_matrix_has_the_points_that_are_there() {
        let grid = Grid::new(1000, 4000, 1000);
        let all = vec![
            series(metric(&[("a", "1")]), &[ABSENT, 1.0, ABSENT, 2.5]),
            series(metric(&[("a", "2")]), &[0.0, ABSENT, ABSENT, ABSENT]),
        ];
        assert_eq!(
            written(AnswerValue::Matrix { grid, series: all }),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"1"},"values":[[2,"1"],[4,"2.5"]]},{"metric":{"a":"2"},"values":[[1,"0"]]}]}}"#
        );
        assert_eq!(
            written(AnswerValue::Matrix { grid, series: vec![] }),
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#
        );
    }

    #[test]
    fn raw_samples_are_a_matrix_at_their_own_instants() {
        let samples =
            vec![Sample { t: TimestampMs(-1), v: 1.0 }, Sample { t: TimestampMs(7), v: 2.0 }];
        let raw = RawSeries { labels: metric(&[]), samples, histograms: Vec::new() };
        assert_eq!(
            written(AnswerValue::Ranges(vec![raw])),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[-0.001,"1"],[0.007,"2"]]}]}}"#
        );
    }

    fn histogram(counts: &[(i32, f64)]) -> Arc<FloatHistogram> {
        let (count, sum) = (counts.iter().map(|(_, count)| count).sum(), 1.5);
        Arc::new(FloatHistogram {
            count,
            sum,
            positive: counts.to_vec(),
            ..FloatHistogram::empty(0)
        })
    }

    #[test]
    fn histograms_have_their_buckets_and_a_list_of_their_own() {
        let (t, h) = (TimestampMs(2000), histogram(&[(0, 1.0), (1, 0.0), (2, 2.0)]));
        let json = r#"[2,{"count":"3","sum":"1.5","buckets":[[0,"0.5","1","1"],[0,"2","4","2"]]}]"#;
        let samples = vec![(metric(&[]), Point::Histogram(Arc::clone(&h)))];
        assert_eq!(
            written(AnswerValue::Vector { t, samples }),
            format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"histogram":{json}}}]}}}}"#
            )
        );
        let grid = Grid::new(0, 3000, 1000);
        let histograms = HistogramColumn::of(vec![(2, Arc::clone(&h))]);
        let both = Series { histograms: histograms.clone(), ..series(metric(&[]), &[1.0, ABSENT]) };
        let (drop_name, column) = (false, Column::default());
        let alone = Series { labels: metric(&[]), drop_name, column, histograms };
        assert_eq!(
            written(AnswerValue::Matrix { grid, series: vec![both, alone] }),
            format!(
                r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[[0,"1"]],"histograms":[{json}]}},{{"metric":{{}},"histograms":[{json}]}}]}}}}"#
            )
        );
        let empty = FloatHistogram { count: 0.0, ..FloatHistogram::empty(0) };
        let samples = vec![(metric(&[]), Point::Histogram(Arc::new(empty)))];
        assert!(written(AnswerValue::Vector { t, samples }).contains(r#"{"count":"0","sum":"0"}"#));
    }

    #[test]
    fn statistics_stand_behind_the_result_and_warnings_behind_the_data() {
        let value = AnswerValue::Scalar { t: TimestampMs(0), v: 1.0 };
        let stats = Stats {
            queue_seconds: 0.5,
            eval_seconds: 1.25,
            preparation_seconds: 0.25,
            reads: Reads { seen: vec![7], read: vec![5], ..Reads::default() },
            each_of: None,
            held_max: 9,
        };
        let notes = Notes { warnings: vec!["w".to_owned()], infos: vec!["i".to_owned()] };
        let mut slices = AnswerSlices::new(value, Some(stats), notes);
        assert_eq!(
            read(&mut slices, usize::MAX).0,
            r#"{"status":"success","data":{"resultType":"scalar","result":[0,"1"],"stats":{"timings":{"evalTotalTime":1.25,"resultSortTime":0,"queryPreparationTime":0.25,"innerEvalTime":1,"execQueueTime":0.5,"execTotalTime":1.75},"samples":{"totalQueryableSamples":7,"samplesRead":5,"peakSamples":9}}},"warnings":["w"],"infos":["i"]}"#
        );
    }

    #[test]
    fn a_long_series_is_cut_into_slices_too() {
        let grid = Grid::new(0, 10_999_000, 1000);
        let all = vec![series(metric(&[]), &[0.5; 11_000])];
        let mut slices =
            AnswerSlices::new(AnswerValue::Matrix { grid, series: all }, None, Notes::default());
        let (text, count) = read(&mut slices, 10_000);
        assert!(count > 10, "{count} slices");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["data"]["result"][0]["values"].as_array().unwrap().len(), 11_000);
    }

    fn answers() -> impl Strategy<Value = AnswerValue> {
        let values = proptest::collection::vec(prop_oneof![Just(ABSENT), any::<f64>()], 0..600);
        let steps = proptest::collection::btree_set(600usize..700, 0..4);
        let all = || proptest::collection::vec((values.clone(), steps.clone()), 0..5);
        let matrix = all().prop_map(|all| AnswerValue::Matrix {
            grid: Grid::new(0, 700, 1),
            series: all
                .into_iter()
                .map(|(values, steps)| {
                    let h = |step| (step, histogram(&[(0, 1.0)]));
                    let histograms = HistogramColumn::of(steps.into_iter().map(h).collect());
                    let column = Column::of(&values).unwrap_or_default();
                    Series { labels: Labels::empty(), drop_name: false, column, histograms }
                })
                .filter(|one| !one.is_empty())
                .collect(),
        });
        let ranges = all().prop_map(|all| {
            let one = |(values, steps): (Vec<f64>, BTreeSet<usize>)| {
                let samples = (0..).map(TimestampMs).zip(values);
                let samples = samples.map(|(t, v)| Sample { t, v }).collect();
                let h = |step: usize| (step as i64, histogram(&[(0, 1.0)]));
                let histograms = steps.into_iter().map(h).collect();
                RawSeries { labels: Labels::empty(), samples, histograms }
            };
            AnswerValue::Ranges(all.into_iter().map(one).collect())
        });
        let vector = proptest::collection::vec(any::<Option<f64>>(), 0..300).prop_map(|all| {
            let point = |v: Option<f64>| {
                v.map_or_else(|| Point::Histogram(histogram(&[(0, 1.0)])), Point::Float)
            };
            let samples = all.into_iter().map(|v| (metric(&[("a", "b")]), point(v))).collect();
            AnswerValue::Vector { t: TimestampMs(5), samples }
        });
        prop_oneof![3 => matrix, 3 => ranges, 2 => vector]
    }

    proptest! {
        #[test]
        fn an_answer_reads_the_same_however_it_is_cut(value in answers(), enough in 0usize..5000) {
            let whole = written(value.clone());
            let mut slices = AnswerSlices::new(value, None, Notes::default());
            prop_assert_eq!(&read(&mut slices, enough).0, &whole);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&whole).is_ok());
        }
    }
}
