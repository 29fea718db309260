//! The simplest model of both walks that is right: what `prost` decodes, with label sets as sorted maps.
//!
//! `requests_test` and the fuzz targets, which include this file, hold the walks to it.
//!
//! `tests/fuzz` holds the walks to the same model.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::proto::{v1, v2};
use super::{Counts, WireError, decode_v1, decode_v2};
use crate::model::histogram::{Span, schema};
use crate::model::labels::push_canonical;
use crate::model::metadata::{family_of, family_route};
use crate::model::{
    AnyHistogram, AnyHistogramRef, Count, Fingerprinter, HistogramRef, HistogramSample, LabelsRef,
    MetricType, ResetHint, Sample, StartAt, TimestampMs, WriteBatch, route_hash,
};

const SHARDS: usize = 3;

/// A series of a batch: its canonical label bytes and its samples.
pub(super) type Stored = (Vec<u8>, Vec<Sample>);

/// Likewise its histograms.
type StoredHistograms = (Vec<u8>, Vec<HistogramSample>);

/// What is said of a family: its name, its type, its help text and its unit.
type Said = (Vec<u8>, MetricType, Vec<u8>, Vec<u8>);

/// An exemplar: the canonical labels of its series, its own, the bits of its value and its time.
type Example = (Vec<u8>, Vec<u8>, u64, i64);

/// What a request comes to: the series of each part in order, what it says of families, its exemplars, which series were refused, and the
/// counts.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) parts: Vec<Vec<Stored>>,
    pub(super) histograms: Vec<Vec<StoredHistograms>>,
    /// The series, the time of a sample, and its start.
    pub(super) starts: Vec<Vec<(Vec<u8>, i64, i64)>>,
    /// Of each part. A walk may give an entry twice.
    pub(super) metadata: Vec<BTreeSet<Said>>,
    /// Of each part, in order.
    pub(super) exemplars: Vec<Vec<Example>>,
    pub(super) refused: Vec<(u32, String)>,
    pub(super) counts: Counts,
}

fn part_of(route: u64) -> usize {
    usize::try_from(route % SHARDS as u64).unwrap()
}

/// What a walk makes of `body`, having checked what holds for every batch.
fn walked(
    decode: impl FnOnce(Vec<u8>, &Fingerprinter, &mut WriteBatch, &mut Counts) -> Result<(), WireError>,
    body: &[u8],
) -> Result<Outcome, WireError> {
    let (fingerprinter, mut batch, mut counts) =
        (Fingerprinter::new(7), WriteBatch::default(), Counts::default());
    batch.wants_starts = true;
    let result = decode(body.to_vec(), &fingerprinter, &mut batch, &mut counts);
    assert_eq!(batch.parts.len(), SHARDS);
    assert!(batch.text.body.starts_with(body));
    if let Err(error) = result {
        assert!(batch.parts.iter().all(|part| part.is_empty() && part.samples.is_empty()));
        assert!(batch.parts.iter().all(|part| part.metadata.is_empty()));
        assert!(batch.parts.iter().all(|part| part.histograms.is_empty()));
        assert!(batch.parts.iter().all(|part| part.exemplars.is_empty()));
        assert!(batch.refused.is_empty() && counts == Counts::default());
        return Err(error);
    }
    let (mut parts, mut metadata, mut exemplars) = (Vec::new(), Vec::new(), Vec::new());
    let (mut histograms, mut starts) = (Vec::new(), Vec::new());
    for (index, part) in batch.parts.iter().enumerate() {
        let text = |span| batch.text.get(span).unwrap().to_vec();
        let said =
            part.metadata.iter().map(|m| (text(m.family), m.kind, text(m.help), text(m.unit)));
        metadata.push(said.inspect(|m| assert_eq!(part_of(family_route(&m.0)), index)).collect());
        let of_part = part.exemplars.iter().map(|exemplar| {
            let series = batch.text.canonical(exemplar.series).unwrap();
            assert_eq!(exemplar.fingerprint, fingerprinter.of(LabelsRef::trusted(&series)));
            assert_eq!(part_of(exemplar.fingerprint.route), index);
            (series.to_vec(), text(exemplar.labels), exemplar.value.to_bits(), exemplar.t.0)
        });
        exemplars.push(of_part.collect());
        let mut stored = Vec::new();
        for (entry, samples) in part.iter() {
            let labels = batch.text.canonical(entry.labels).unwrap();
            assert_eq!(entry.fingerprint, fingerprinter.of(LabelsRef::trusted(&labels)));
            assert_eq!(part_of(entry.fingerprint.route), index);
            stored.push((labels.to_vec(), samples.to_vec()));
        }
        let mut of_part = Vec::new();
        for (at, (entry, _)) in part.iter().enumerate() {
            for StartAt { sample, start } in part.starts_within(at..at + 1) {
                let labels = batch.text.canonical(entry.labels).unwrap().to_vec();
                of_part.push((labels, part.samples[*sample as usize].t.0, start.0));
            }
        }
        assert_eq!(of_part.len(), part.starts.len());
        starts.push(of_part);
        assert_eq!(part.samples.len(), part.entries.last().map_or(0, |e| e.samples_end as usize));
        parts.push(stored);
        let mut of_part = Vec::new();
        for (entry, places) in part.histogram_series() {
            let labels = batch.text.canonical(entry.labels).unwrap();
            assert_eq!(entry.fingerprint, fingerprinter.of(LabelsRef::trusted(&labels)));
            assert_eq!(part_of(entry.fingerprint.route), index);
            let all = part.histograms.within(places);
            let all = all.map(|(t, h)| HistogramSample { t, histogram: h.to_histogram() });
            of_part.push((labels.to_vec(), all.collect()));
        }
        let end = part.histogram_entries.last().map_or(0, |entry| entry.end as usize);
        assert_eq!(part.histograms.len(), end);
        histograms.push(of_part);
    }
    let refused = batch.refused.iter().map(|r| (r.samples, r.reason.to_string())).collect();
    Ok(Outcome { parts, histograms, starts, metadata, exemplars, refused, counts })
}

pub(super) fn walked_v1(body: &[u8]) -> Result<Outcome, WireError> {
    walked(|body, fp, batch, counts| decode_v1(body, fp, SHARDS, part_of, batch, counts), body)
}

pub(super) fn walked_v2(body: &[u8]) -> Result<Outcome, WireError> {
    walked(|body, fp, batch, counts| decode_v2(body, fp, SHARDS, part_of, batch, counts), body)
}

impl Outcome {
    fn new() -> Self {
        let (parts, metadata) = (vec![Vec::new(); SHARDS], vec![BTreeSet::new(); SHARDS]);
        let exemplars = vec![Vec::new(); SHARDS];
        let (histograms, starts) = (vec![Vec::new(); SHARDS], vec![Vec::new(); SHARDS]);
        let counts = Counts::default();
        Self { parts, histograms, starts, metadata, exemplars, refused: Vec::new(), counts }
    }

    /// What is to become of an exemplar of a series that is taken.
    fn exemplify(&mut self, series: &[u8], labels: Vec<(Vec<u8>, Vec<u8>)>, value: f64, t: i64) {
        let labels: Vec<_> = labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let chars =
            |text: &[u8]| std::str::from_utf8(text).map_or(text.len(), |t| t.chars().count());
        let all: usize = labels.iter().map(|(name, value)| chars(name) + chars(value)).sum();
        let (count, set) = (labels.len(), labels.into_iter().collect::<BTreeMap<_, _>>());
        if all > 128 || set.len() < count || set.contains_key(&b""[..]) {
            self.counts.refused_exemplars += 1;
            return;
        }
        let mut canonical = Vec::new();
        set.iter().for_each(|(name, value)| push_canonical(&mut canonical, name, value));
        let part = part_of(route_hash(LabelsRef::trusted(series)));
        self.exemplars[part].push((series.to_vec(), canonical, value.to_bits(), t));
    }

    fn say(&mut self, family: &[u8], kind: i32, help: &[u8], unit: &[u8]) {
        let kind = MetricType::of(u64::from(kind.cast_unsigned()));
        let part = &mut self.metadata[part_of(family_route(family))];
        part.insert((family.to_vec(), kind, help.to_vec(), unit.to_vec()));
    }

    fn refuse(&mut self, samples: usize, why: impl Into<String>) {
        self.refused.push((u32::try_from(samples).unwrap(), why.into()));
        self.counts.refused_series += 1;
        self.counts.refused_samples += samples as u64;
    }

    /// What is to become of a series, by the simplest means. Are its labels a set?
    fn series(
        &mut self,
        labels: &[(Vec<u8>, Vec<u8>)],
        samples: Vec<Sample>,
        histograms: Vec<Result<HistogramSample, String>>,
    ) -> bool {
        let refused = self.counts.refused_series;
        self.labelled(labels, samples.len() + histograms.len());
        if self.counts.refused_series > refused {
            return false;
        }
        let (good, bad): (Vec<_>, Vec<_>) = histograms.into_iter().partition(Result::is_ok);
        if let Some(Err(why)) = bad.first() {
            self.refuse(bad.len(), why.clone());
        }
        let canonical = canonical(labels);
        let part = part_of(route_hash(LabelsRef::trusted(&canonical)));
        if !samples.is_empty() {
            self.parts[part].push((canonical.clone(), samples));
        }
        if !good.is_empty() {
            self.histograms[part].push((canonical, good.into_iter().flatten().collect()));
        }
        true
    }

    /// Refuses a series of so many values whose labels are no set.
    fn labelled(&mut self, labels: &[(Vec<u8>, Vec<u8>)], all: usize) {
        let mut set = BTreeMap::new();
        let mut twice = BTreeMap::new();
        for (name, value) in labels {
            if set.insert(name.clone(), value.clone()).is_some() {
                twice.insert(name.clone(), ());
            }
        }
        let mut metric = labels.iter().filter(|label| label.0 == b"__name__");
        if metric.all(|label| label.1.is_empty()) {
            return self.refuse(all, "missing metric name");
        }
        if let Some((_, value)) = labels.iter().find(|label| label.0.is_empty()) {
            let value = shown(value);
            return self
                .refuse(all, format!("a label has an empty name (its value is \"{value}\")"));
        }
        if let Some((name, ())) = twice.first_key_value() {
            let name = shown(name);
            self.refuse(all, format!("label name \"{name}\" is not unique"));
        }
    }
}

/// What is to become of a histogram: it, or why it is refused.
fn histogram(h: &v1::Histogram) -> Result<HistogramSample, String> {
    let histogram = parts(h, |h| match h {
        AnyHistogramRef::Int(h) => stored(h).map(AnyHistogram::Int),
        AnyHistogramRef::Float(h) => stored(h).map(AnyHistogram::Float),
    })?;
    Ok(HistogramSample { t: TimestampMs(h.timestamp), histogram })
}

/// Gives a message's histogram to `of`, whatever it is.
pub(super) fn parts<R>(h: &v1::Histogram, of: impl FnOnce(AnyHistogramRef<'_>) -> R) -> R {
    let spans = |spans: &[v1::BucketSpan]| -> Vec<Span> {
        spans.iter().map(|s| Span { offset: s.offset, length: s.length }).collect()
    };
    let known = u8::try_from(h.reset_hint).ok().and_then(ResetHint::of_number);
    let plain = HistogramRef::<u64> {
        reset_hint: known.unwrap_or_default(),
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        sum: h.sum,
        positive_spans: &spans(&h.positive_spans),
        negative_spans: &spans(&h.negative_spans),
        custom_values: &h.custom_values,
        ..HistogramRef::empty()
    };
    if let Some(v1::Count::Float(count)) = h.count {
        let zero = if let Some(v1::ZeroCount::Float(n)) = h.zero_count { n } else { 0.0 };
        let h = plain.counting(count, zero, &h.positive_counts, &h.negative_counts);
        return of(AnyHistogramRef::Float(h));
    }
    let count = if let Some(v1::Count::Int(n)) = h.count { n } else { 0 };
    let zero = if let Some(v1::ZeroCount::Int(n)) = h.zero_count { n } else { 0 };
    of(AnyHistogramRef::Int(plain.counting(count, zero, &h.positive_deltas, &h.negative_deltas)))
}

fn stored<C: Count>(h: HistogramRef<'_, C>) -> Result<crate::model::Histogram<C>, String> {
    if h.is_stale() {
        return Ok(
            HistogramRef { reset_hint: h.reset_hint, ..HistogramRef::stale() }.to_histogram()
        );
    }
    let reduced = schema::is_too_fine(h.schema).then(|| h.reduced(schema::MAX));
    let coarse = match &reduced {
        Some(Ok(reduced)) => reduced.as_ref(),
        Some(Err(_)) => HistogramRef { schema: schema::MAX, ..h },
        None => h,
    };
    coarse.validate().map_err(|error| error.to_string())?;
    Ok(coarse.to_histogram())
}

/// Histograms as 2.0 has them, as 1.0 has them: they share all numbers but one.
fn of_v1(h: &v2::Histogram) -> v1::Histogram {
    v1::Histogram::decode(&h.encode_to_vec()[..]).unwrap()
}

/// The canonical bytes of a set.
fn canonical(labels: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let (set, mut canonical): (BTreeMap<_, _>, _) = (labels.iter().cloned().collect(), Vec::new());
    for (name, value) in set.iter().filter(|(_, value)| !value.is_empty()) {
        push_canonical(&mut canonical, name, value);
    }
    canonical
}

/// A text in a refusal: cut if it is long.
fn shown(text: &[u8]) -> String {
    match text.get(..1024) {
        Some(start) if text.len() > 1024 => format!("{}...", String::from_utf8_lossy(start)),
        _ => String::from_utf8_lossy(text).into_owned(),
    }
}

fn sample(t: i64, v: f64) -> Sample {
    Sample { t: TimestampMs(t), v }
}

pub(super) fn expected_v1(body: &[u8]) -> Outcome {
    let request = v1::WriteRequest::decode(body).expect("prost reads what the walk reads");
    let mut outcome = Outcome::new();
    outcome.counts.metadata = request.metadata.len() as u64;
    for m in request.metadata {
        outcome.say(&m.metric_family_name, m.r#type, &m.help, &m.unit);
    }
    for series in request.timeseries {
        let labels: Vec<_> = series.labels.into_iter().map(|l| (l.name, l.value)).collect();
        let samples: Vec<_> = series.samples.iter().map(|s| sample(s.timestamp, s.value)).collect();
        outcome.counts.series += 1;
        outcome.counts.samples += samples.len() as u64;
        outcome.counts.histograms += series.histograms.len() as u64;
        outcome.counts.exemplars += series.exemplars.len() as u64;
        let histograms: Vec<_> = series.histograms.iter().map(histogram).collect();
        let has_values = !samples.is_empty() || !histograms.is_empty();
        if (has_values || !series.exemplars.is_empty())
            && outcome.series(&labels, samples, histograms)
        {
            for e in series.exemplars {
                let own = e.labels.into_iter().map(|l| (l.name, l.value)).collect();
                outcome.exemplify(&canonical(&labels), own, e.value, e.timestamp);
            }
        }
    }
    outcome
}

pub(super) fn expected_v2(body: &[u8]) -> Outcome {
    let request = v2::Request::decode(body).expect("prost reads what the walk reads");
    let mut outcome = Outcome::new();
    for series in &request.timeseries {
        let samples: Vec<_> = series.samples.iter().map(|s| sample(s.timestamp, s.value)).collect();
        outcome.counts.series += 1;
        outcome.counts.samples += samples.len() as u64;
        outcome.counts.histograms += series.histograms.len() as u64;
        outcome.counts.exemplars += series.exemplars.len() as u64;
        outcome.counts.metadata += u64::from(series.metadata.is_some());
        let all = samples.len() + series.histograms.len();
        let refs = &series.labels_refs;
        if refs.len() % 2 != 0 {
            outcome.refuse(
                all,
                format!("{} label references are not pairs of name and value", refs.len()),
            );
            continue;
        }
        let symbols = &request.symbols;
        if let Some(bad) = refs.iter().find(|r| **r as usize >= symbols.len()) {
            let why = format!(
                "symbol reference {bad} is outside of the {} symbols of the request",
                symbols.len()
            );
            outcome.refuse(all, why);
            continue;
        }
        let of_metadata = series.metadata.iter().flat_map(|m| [m.help_ref, m.unit_ref]);
        if let Some(bad) = of_metadata.into_iter().find(|r| *r as usize >= symbols.len()) {
            let why = format!(
                "symbol reference {bad} is outside of the {} symbols of the request",
                symbols.len()
            );
            outcome.refuse(all, why);
            continue;
        }
        if all == 0 && series.exemplars.is_empty() {
            outcome.refuse(0, "TimeSeries must contain at least one sample or histogram");
            continue;
        }
        let symbol = |r: u32| symbols[r as usize].clone();
        let labels: Vec<_> =
            refs.chunks(2).map(|pair| (symbol(pair[0]), symbol(pair[1]))).collect();
        let histograms = series.histograms.iter().map(|h| histogram(&of_v1(h))).collect();
        let is_set = outcome.series(&labels, samples, histograms);
        let starts = series.samples.iter().filter(|s| is_set && s.start_timestamp != 0);
        for v2::Sample { timestamp, start_timestamp, .. } in starts {
            let canonical = canonical(&labels);
            let part = part_of(route_hash(LabelsRef::trusted(&canonical)));
            outcome.starts[part].push((canonical, *timestamp, *start_timestamp));
        }
        for e in series.exemplars.iter().filter(|_| is_set) {
            let refs = &e.labels_refs;
            if refs.len() % 2 != 0 {
                let why =
                    format!("{} label references are not pairs of name and value", refs.len());
                outcome.refuse(0, why);
            } else if let Some(bad) = refs.iter().find(|r| **r as usize >= symbols.len()) {
                let why = format!(
                    "symbol reference {bad} is outside of the {} symbols of the request",
                    symbols.len()
                );
                outcome.refuse(0, why);
            } else {
                let own = refs.chunks(2).map(|pair| (symbol(pair[0]), symbol(pair[1]))).collect();
                outcome.exemplify(&canonical(&labels), own, e.value, e.timestamp);
            }
        }
        if is_set && let Some(m) = &series.metadata {
            let name = &labels.iter().find(|(name, _)| name == b"__name__").unwrap().1;
            let kind = MetricType::of(u64::from(m.r#type.cast_unsigned()));
            let (help, unit) = (symbol(m.help_ref), symbol(m.unit_ref));
            if kind != MetricType::Unknown || !help.is_empty() || !unit.is_empty() {
                outcome.say(family_of(name, kind), m.r#type, &help, &unit);
            }
        }
    }
    outcome
}
