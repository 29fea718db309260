//! Both walks against the simplest model that is right: what `prost` decodes, with label sets as sorted maps.
//!
//! `tests/fuzz` holds the walks to the same model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;

use super::proto::{v1, v2};
use super::{Counts, WireError, decode_v1, decode_v2};
use crate::model::histogram::{Span, schema};
use crate::model::labels::push_canonical;
use crate::model::metadata::{family_of, family_route};
use crate::model::{
    AnyHistogram, Count, Fingerprinter, HistogramRef, HistogramSample, LabelsRef, MetricType,
    ResetHint, Sample, TimestampMs, WriteBatch, route_hash,
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
    let mut histograms = Vec::new();
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
    Ok(Outcome { parts, histograms, metadata, exemplars, refused, counts })
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
        let histograms = vec![Vec::new(); SHARDS];
        let counts = Counts::default();
        Self { parts, histograms, metadata, exemplars, refused: Vec::new(), counts }
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
    let spans = |spans: &[v1::BucketSpan]| -> Vec<Span> {
        spans.iter().map(|s| Span { offset: s.offset, length: s.length }).collect()
    };
    let (positive, negative) = (spans(&h.positive_spans), spans(&h.negative_spans));
    let known = u8::try_from(h.reset_hint).ok().and_then(ResetHint::of_number);
    let reset_hint = known.unwrap_or_default();
    let (schema, sum) = (h.schema, h.sum);
    let histogram = if let Some(v1::Count::Float(count)) = h.count {
        let zero_count = match h.zero_count {
            Some(v1::ZeroCount::Float(n)) => n,
            _ => 0.0,
        };
        let h = HistogramRef::<f64> {
            reset_hint,
            schema,
            zero_threshold: h.zero_threshold,
            count,
            zero_count,
            sum,
            positive_spans: &positive,
            negative_spans: &negative,
            positive_buckets: &h.positive_counts,
            negative_buckets: &h.negative_counts,
            custom_values: &h.custom_values,
        };
        AnyHistogram::Float(stored(h)?)
    } else {
        let count = match h.count {
            Some(v1::Count::Int(n)) => n,
            _ => 0,
        };
        let zero_count = match h.zero_count {
            Some(v1::ZeroCount::Int(n)) => n,
            _ => 0,
        };
        let h = HistogramRef::<u64> {
            reset_hint,
            schema,
            zero_threshold: h.zero_threshold,
            count,
            zero_count,
            sum,
            positive_spans: &positive,
            negative_spans: &negative,
            positive_buckets: &h.positive_deltas,
            negative_buckets: &h.negative_deltas,
            custom_values: &h.custom_values,
        };
        AnyHistogram::Int(stored(h)?)
    };
    Ok(HistogramSample { t: TimestampMs(h.timestamp), histogram })
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

/// One field as a sender may spell it.
#[derive(Clone, Debug)]
struct Spelled {
    number: u32,
    content: Content,
    /// By how many bytes its varints are longer than they need to be.
    excess: usize,
}

#[derive(Clone, Debug)]
enum Content {
    Varint(u64),
    Fixed64(u64),
    Bytes(Vec<u8>),
    Fixed32(u32),
}

fn spell_varint(mut n: u64, excess: usize, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(u8::try_from(n & 0x7f).unwrap() | 0x80);
        n >>= 7;
    }
    out.push(u8::try_from(n).unwrap());
    for _ in 0..excess {
        *out.last_mut().unwrap() |= 0x80;
        out.push(0);
    }
}

fn spell(fields: &[Spelled]) -> Vec<u8> {
    let mut out = Vec::new();
    for Spelled { number, content, excess } in fields {
        let mut key =
            |wire_type: u64| spell_varint(u64::from(*number) << 3 | wire_type, *excess, &mut out);
        match content {
            Content::Varint(n) => {
                key(0);
                // Ten bytes is all that a varint may have.
                let excess = if *n < 1 << 49 { *excess } else { 0 };
                spell_varint(*n, excess, &mut out);
            }
            Content::Fixed64(n) => {
                key(1);
                out.extend(n.to_le_bytes());
            }
            Content::Bytes(bytes) => {
                key(2);
                spell_varint(bytes.len() as u64, *excess, &mut out);
                out.extend(bytes);
            }
            Content::Fixed32(n) => {
                key(5);
                out.extend(n.to_le_bytes());
            }
        }
    }
    out
}

fn plain(number: u32, content: Content) -> Spelled {
    Spelled { number, content, excess: 0 }
}

/// A field that no message of remote write has.
fn unknown() -> impl Strategy<Value = Spelled> {
    let content = prop_oneof![
        any::<u64>().prop_map(Content::Varint),
        any::<u64>().prop_map(Content::Fixed64),
        vec(any::<u8>(), 0..9).prop_map(Content::Bytes),
        any::<u32>().prop_map(Content::Fixed32),
    ];
    (select(vec![9u32, 18, 100, (1 << 29) - 1]), content)
        .prop_map(|(number, content)| plain(number, content))
}

/// The same fields in any order, perhaps one twice, with unknown ones between them and varints of any length.
fn disordered(fields: Vec<Spelled>) -> impl Strategy<Value = Vec<Spelled>> {
    let excess = vec(prop_oneof![4 => Just(0usize), 1 => 1usize..3], fields.len());
    (excess, Just(fields), vec(unknown(), 0..2)).prop_flat_map(|(excess, mut fields, unknown)| {
        fields.iter_mut().zip(excess).for_each(|(field, excess)| field.excess = excess);
        fields.extend(unknown);
        Just(fields).prop_shuffle()
    })
}

fn text(limit: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        8 => proptest::string::string_regex("[a-z_é]{1,12}").unwrap(),
        1 => Just(String::new()),
        1 => (1..limit).prop_map(|n| "v".repeat(n)),
    ]
}

/// Labels as senders send them: sorted, no name twice, none empty, a metric name.
fn good_labels() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = prop_oneof![
        90 => "[ -~é]{1,40}",
        10 => (100usize..300).prop_map(|n| "x".repeat(n)),
        1 => (2_000usize..5_000).prop_map(|n| "x".repeat(n)),
    ];
    let count = prop_oneof![15 => 0usize..9, 1 => 28usize..36];
    let labels = count.prop_flat_map(move |n| {
        let name = proptest::string::string_regex("[A-Z_a-z][a-z]{0,11}").unwrap();
        proptest::collection::btree_map(name, value.clone(), n)
    });
    (labels, "[a-z]{1,40}").prop_map(|(mut labels, metric)| {
        labels.insert("__name__".to_owned(), metric);
        labels.into_iter().collect()
    })
}

/// Labels in any order, with names that are empty, that stand twice, that begin alike; with or without a metric name.
fn any_labels() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        select(vec![
            "a",
            "b",
            "ab",
            "a\0",
            "\0",
            "__name__",
            "__name__x",
            "__nam",
            "instance",
            "instance_id",
            ""
        ])
        .prop_map(str::to_owned),
        text(200),
    ];
    let metric = prop_oneof![
        4 => Just(Some(("__name__".to_owned(), "up".to_owned()))),
        1 => Just(None),
    ];
    (metric, vec((name, text(400)), 0..6))
        .prop_map(|(metric, labels)| metric.into_iter().chain(labels).collect::<Vec<_>>())
        .prop_shuffle()
}

fn labels() -> impl Strategy<Value = Vec<(String, String)>> {
    prop_oneof![2 => good_labels(), 1 => any_labels()]
}

fn a_sample() -> impl Strategy<Value = (i64, f64)> {
    let t = prop_oneof![
        4 => 1_700_000_000_000i64..1_800_000_000_000,
        1 => any::<i64>(),
        1 => select(vec![0, 1, -1, 127, 128, 1 << 35, (1 << 42) - 1, 1 << 42, 1 << 56]),
    ];
    let v = prop_oneof![
        2 => Just(0.0),
        2 => any::<u64>().prop_map(f64::from_bits),
        1 => Just(-0.0),
        1 => Just(f64::from_bits(crate::model::STALE_NAN_BITS)),
    ];
    (t, v)
}

/// A sample's fields as `prost` writes them.
fn sample_fields((t, v): (i64, f64), start: i64) -> Vec<Spelled> {
    let mut fields = Vec::new();
    if v.to_bits() != 0 {
        fields.push(plain(1, Content::Fixed64(v.to_bits())));
    }
    if t != 0 {
        fields.push(plain(2, Content::Varint(t.cast_unsigned())));
    }
    if start != 0 {
        fields.push(plain(3, Content::Varint(start.cast_unsigned())));
    }
    fields
}

fn bytes(number: u32, content: Vec<u8>) -> Spelled {
    plain(number, Content::Bytes(content))
}

fn label_field(name: &str, value: &str) -> Spelled {
    let fields = [bytes(1, name.into()), bytes(2, value.into())];
    let sent: Vec<_> = fields
        .into_iter()
        .filter(|f| !matches!(&f.content, Content::Bytes(b) if b.is_empty()))
        .collect();
    bytes(1, spell(&sent))
}

/// A good histogram of either kind: buckets with what is left out before each and how many observations it has, those in the zero
/// bucket, and its schema.
fn good(sides: [Vec<(u8, u32)>; 2], zero: u32, schema: i32, is_float: bool) -> v1::Histogram {
    let is_custom = schema == schema::CUSTOM_BUCKETS;
    let [positive, negative] = sides;
    let (negative, zero) = if is_custom { (Vec::new(), 0) } else { (negative, zero) };
    let spans = |side: &[(u8, u32)]| -> Vec<v1::BucketSpan> {
        side.iter().map(|(gap, _)| v1::BucketSpan { offset: i32::from(*gap), length: 1 }).collect()
    };
    let buckets: usize = positive.iter().map(|(gap, _)| usize::from(*gap) + 1).sum();
    let all: u64 = positive.iter().chain(&negative).map(|(_, n)| u64::from(*n)).sum();
    let all = all + u64::from(zero);
    let mut h = v1::Histogram {
        sum: 2.5,
        schema,
        zero_threshold: if is_custom { 0.0 } else { 0.001 },
        positive_spans: spans(&positive),
        negative_spans: spans(&negative),
        timestamp: 1_700_000_000_000,
        custom_values: if is_custom {
            (0u32..).take(buckets).map(f64::from).collect()
        } else {
            vec![]
        },
        ..Default::default()
    };
    if is_float {
        let counts = |side: &[(u8, u32)]| side.iter().map(|(_, n)| f64::from(*n)).collect();
        h.count = Some(v1::Count::Float(all as f64));
        h.zero_count = Some(v1::ZeroCount::Float(f64::from(zero)));
        (h.positive_counts, h.negative_counts) = (counts(&positive), counts(&negative));
    } else {
        let deltas = |side: &[(u8, u32)]| {
            let before = [0].into_iter().chain(side.iter().map(|(_, n)| i64::from(*n)));
            side.iter().zip(before).map(|((_, n), before)| i64::from(*n) - before).collect()
        };
        h.count = Some(v1::Count::Int(all));
        h.zero_count = Some(v1::ZeroCount::Int(u64::from(zero)));
        (h.positive_deltas, h.negative_deltas) = (deltas(&positive), deltas(&negative));
    }
    h
}

/// What makes of a good histogram another one, mostly a bad one; and fields in another spelling behind it.
fn spoilt(mut h: v1::Histogram, how: u8, by: i32) -> Vec<u8> {
    match how {
        0 => h.schema = by,
        1 => h.schema = 9 + by.rem_euclid(44),
        2 => h.count = None,
        3 => h.zero_count = Some(v1::ZeroCount::Float(f64::from(by))),
        4 => h.positive_deltas.push(i64::from(by)),
        5 => h.negative_spans.push(v1::BucketSpan { offset: by, length: 1 }),
        6 => h.custom_values.push(f64::from(by)),
        7 => h.reset_hint = by,
        8 => h.sum = f64::NAN,
        9 => h.positive_counts.clear(),
        _ => {}
    }
    let mut bytes = h.encode_to_vec();
    match how {
        10 => {
            // One by one what is packed elsewhere, and a sum that counts because it is the last one.
            for field in [
                plain(12, Content::Varint(u64::from(by.unsigned_abs()))),
                plain(13, Content::Fixed64(1.5_f64.to_bits())),
                plain(3, Content::Fixed64(2.5_f64.to_bits())),
                plain(2, Content::Fixed64(f64::from(by).to_bits())),
                plain(17, Content::Varint(5)),
                plain(4, Content::Varint(u64::from(by.cast_unsigned()) << 32 | 6)),
            ] {
                bytes.extend(spell(&[field]));
            }
        }
        11 => bytes.extend(spell(&[plain(1, Content::Varint(u64::from(by.cast_unsigned())))])),
        _ => {}
    }
    bytes
}

/// Messages of histograms, good ones mostly.
fn histograms() -> impl Strategy<Value = Vec<u8>> {
    let side = || vec((0u8..5, 0u32..9), 0..5);
    let schema = prop_oneof![3 => -4i32..9, 1 => Just(schema::CUSTOM_BUCKETS), 1 => 9i32..53];
    let good = (side(), side(), 0u32..9, schema, any::<bool>()).prop_map(
        |(positive, negative, zero, schema, is_float)| {
            good([positive, negative], zero, schema, is_float)
        },
    );
    (good, 0u8..24, prop_oneof![-60i32..60, any::<i32>()])
        .prop_map(|(good, how, by)| spoilt(good, how, by))
}

/// What else a series of 1.0 may carry.
fn extras_v1() -> impl Strategy<Value = Vec<Spelled>> {
    let label = (select(vec!["trace_id", "span_id", "é", ""]), text(200))
        .prop_map(|(name, value)| label_field(name, &value));
    let exemplar =
        (vec(label, 0..3), a_sample(), 0usize..3).prop_flat_map(|(labels, (t, v), excess)| {
            let value = plain(2, Content::Fixed64(v.to_bits()));
            let t = plain(3, Content::Varint(t.cast_unsigned()));
            disordered(labels.into_iter().chain([value, t]).collect())
                .prop_map(move |fields| Spelled { excess, ..bytes(3, spell(&fields)) })
        });
    let histogram = histograms().prop_map(|histogram| bytes(4, histogram));
    let one = prop_oneof![2 => exemplar, 2 => histogram];
    prop_oneof![6 => Just(Vec::new()), 1 => vec(one, 1..4)]
}

/// A series as `prost` writes it.
fn tidy_series_v1() -> impl Strategy<Value = Vec<u8>> {
    (labels(), vec(a_sample(), 0..4), extras_v1()).prop_map(|(labels, samples, extras)| {
        let labels = labels.iter().map(|(name, value)| label_field(name, value));
        let samples = samples.into_iter().map(|s| bytes(2, spell(&sample_fields(s, 0))));
        spell(&labels.chain(samples).chain(extras).collect::<Vec<_>>())
    })
}

/// A series in any spelling.
fn untidy_series_v1() -> impl Strategy<Value = Vec<u8>> {
    let label = (text(200), text(200)).prop_flat_map(|(name, value)| {
        disordered(vec![bytes(1, name.into()), bytes(2, value.into())])
            .prop_map(|fields| bytes(1, spell(&fields)))
    });
    let sample = a_sample().prop_flat_map(|s| {
        disordered(sample_fields(s, 0)).prop_map(|fields| bytes(2, spell(&fields)))
    });
    (any_labels(), vec(label, 0..3), vec(sample, 0..4), extras_v1()).prop_flat_map(
        |(tidy, labels, samples, extras)| {
            let tidy = tidy.iter().map(|(name, value)| label_field(name, value));
            let fields = tidy.chain(labels).chain(samples).chain(extras).collect();
            disordered(fields).prop_map(|fields| spell(&fields))
        },
    )
}

fn body_v1() -> impl Strategy<Value = Vec<u8>> {
    let series = prop_oneof![6 => tidy_series_v1(), 1 => untidy_series_v1()];
    let metadata = (0i32..10, "[a-c]{0,2}", "[a-z]{0,3}", "[a-z]{0,3}")
        .prop_flat_map(|(kind, name, help, unit)| {
            let kind = plain(1, Content::Varint(i64::from(kind).cast_unsigned()));
            let texts = [bytes(2, name.into()), bytes(4, help.into()), bytes(5, unit.into())];
            disordered([kind].into_iter().chain(texts).collect())
        })
        .prop_map(|fields| bytes(3, spell(&fields)));
    let field = prop_oneof![
        20 => series.prop_map(|series| bytes(1, series)),
        3 => metadata,
        1 => unknown(),
    ];
    let excess = prop_oneof![9 => Just(0usize), 1 => 1usize..3];
    let any = vec((field, excess).prop_map(|(field, excess)| Spelled { excess, ..field }), 0..8);
    let neighbours = neighbours().prop_map(|all| all.iter().map(SeriesV2::field_v1).collect());
    prop_oneof![any, neighbours].prop_map(|fields: Vec<Spelled>| spell(&fields))
}

/// A table of symbols being built.
#[derive(Default)]
struct Symbols(Vec<String>);

impl Symbols {
    fn of(&mut self, text: &str) -> u32 {
        let at = self.0.iter().position(|known| known == text).unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        });
        u32::try_from(at).unwrap()
    }
}

/// What a series of 2.0 is made of.
#[derive(Clone, Debug)]
struct SeriesV2 {
    labels: Vec<(String, String)>,
    samples: Vec<((i64, f64), i64)>,
    extras: Vec<Spelled>,
    /// Put into the references: one that is wrong, or one too many.
    bad_ref: Option<u32>,
    packed: bool,
    /// By how many bytes its references are longer than they need to be.
    excess: usize,
}

fn series_v2() -> impl Strategy<Value = SeriesV2> {
    let start = prop_oneof![3 => Just(0i64), 1 => any::<i64>()];
    let metadata = |r#type, help_ref, unit_ref| {
        bytes(5, v2::Metadata { r#type, help_ref, unit_ref }.encode_to_vec())
    };
    let exemplar = |labels_refs: &[u32]| {
        let labels_refs = labels_refs.to_vec();
        bytes(4, v2::Exemplar { labels_refs, value: 1.5, timestamp: 7 }.encode_to_vec())
    };
    let histogram = histograms().prop_map(|histogram| bytes(3, histogram));
    let extra = select(vec![
        metadata(1, 300, 0),
        metadata(3, 1, 2),
        metadata(0, 0, 2),
        metadata(0, 0, 0),
        metadata(-1, 130, 0),
        exemplar(&[1, 2]),
        exemplar(&[2, 1, 3, 4]),
        exemplar(&[1, 2, 1, 3]),
        exemplar(&[]),
        exemplar(&[1, 2, 3]),
        exemplar(&[1, 400]),
        plain(6, Content::Varint(5)),
    ]);
    let extra = prop_oneof![12 => extra, 2 => histogram];
    (
        labels(),
        vec((a_sample(), start), 0..3),
        vec(extra, 0..2),
        prop_oneof![9 => Just(None), 1 => any::<u32>().prop_map(Some)],
        prop_oneof![9 => Just(true), 1 => Just(false)],
        prop_oneof![9 => Just(0usize), 1 => 1usize..4],
    )
        .prop_map(|(labels, samples, extras, bad_ref, packed, excess)| SeriesV2 {
            labels,
            samples,
            extras,
            bad_ref,
            packed,
            excess,
        })
}

/// Series as a scrape has them: most labels are those of the series before, at the same place or moved by one.
fn neighbours() -> impl Strategy<Value = Vec<SeriesV2>> {
    let change = prop_oneof![
        3 => Just(Change::None),
        4 => (any::<prop::sample::Index>(), "[a-c]{1,2}").prop_map(|(at, v)| Change::Value(at, v)),
        2 => any::<prop::sample::Index>().prop_map(Change::Drop),
        1 => (any::<prop::sample::Index>(), any::<prop::sample::Index>())
            .prop_map(|(a, b)| Change::Swap(a, b)),
        1 => any::<prop::sample::Index>().prop_map(Change::Twice),
        2 => good_labels().prop_map(Change::All),
    ];
    let sample = (1_700_000_000_000i64..1_800_000_000_000, any::<f64>());
    let one = (change, prop_oneof![5 => sample.prop_map(Some), 1 => Just(None)]);
    (series_v2(), series_v2(), vec(one, 0..40)).prop_map(|(first, any, changes)| {
        let mut labels = first.labels.clone();
        let mut all = vec![first];
        for (change, sample) in changes {
            change.make(&mut labels);
            let own = SeriesV2 {
                samples: Vec::new(),
                extras: Vec::new(),
                bad_ref: None,
                packed: true,
                excess: 0,
                labels: labels.clone(),
            };
            all.push(match sample {
                Some(sample) => SeriesV2 { samples: vec![(sample, 0)], ..own },
                None => SeriesV2 { labels: labels.clone(), ..any.clone() },
            });
        }
        all
    })
}

/// How a series differs from the one before it.
#[derive(Clone, Debug)]
enum Change {
    None,
    Value(prop::sample::Index, String),
    Drop(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Twice(prop::sample::Index),
    All(Vec<(String, String)>),
}

impl Change {
    fn make(self, labels: &mut Vec<(String, String)>) {
        let len = labels.len();
        match self {
            Self::All(others) => *labels = others,
            Self::None => {}
            _ if len == 0 => {}
            Self::Value(at, value) => labels[at.index(len)].1 = value,
            Self::Drop(at) => _ = labels.remove(at.index(len)),
            Self::Swap(a, b) => labels.swap(a.index(len), b.index(len)),
            Self::Twice(at) => labels.insert(at.index(len), labels[at.index(len)].clone()),
        }
    }
}

impl SeriesV2 {
    /// Its labels and samples as 1.0 spells them.
    fn field_v1(&self) -> Spelled {
        let labels = self.labels.iter().map(|(name, value)| label_field(name, value));
        let samples = self.samples.iter().map(|(s, _)| bytes(2, spell(&sample_fields(*s, 0))));
        bytes(1, spell(&labels.chain(samples).collect::<Vec<_>>()))
    }

    fn fields(&self, symbols: &mut Symbols) -> Vec<Spelled> {
        let mut refs: Vec<u32> =
            self.labels.iter().flat_map(|(n, v)| [symbols.of(n), symbols.of(v)]).collect();
        refs.extend(self.bad_ref);
        if self.bad_ref.is_some_and(|bad| bad % 2 == 0) {
            refs.push(0);
        }
        let refs: Vec<Spelled> = if self.packed {
            let mut packed = Vec::new();
            refs.iter().for_each(|r| spell_varint(u64::from(*r), self.excess, &mut packed));
            vec![bytes(1, packed)]
        } else {
            refs.iter().map(|r| plain(1, Content::Varint(u64::from(*r)))).collect()
        };
        let samples =
            self.samples.iter().map(|(s, start)| bytes(2, spell(&sample_fields(*s, *start))));
        refs.into_iter().chain(samples).chain(self.extras.clone()).collect()
    }
}

fn body_v2() -> impl Strategy<Value = Vec<u8>> {
    let untidy = prop_oneof![6 => Just(false), 1 => Just(true)];
    let series = prop_oneof![vec(series_v2(), 0..6), neighbours()];
    (series, 0u32..200, untidy).prop_flat_map(|(series, spare, untidy)| {
        let mut symbols = Symbols::default();
        symbols.of("");
        (0..spare).for_each(|i| _ = symbols.of(&format!("spare {i}")));
        let series: Vec<_> = series.iter().map(|series| series.fields(&mut symbols)).collect();
        let symbols: Vec<_> =
            symbols.0.into_iter().map(|symbol| bytes(4, symbol.into_bytes())).collect();
        if !untidy {
            let series = series.iter().map(|fields| bytes(5, spell(fields)));
            let tidy = symbols.into_iter().chain(series).collect::<Vec<_>>();
            return Just(spell(&tidy)).boxed();
        }
        // Symbols keep their order among themselves, or the references would mean something else.
        let series: Vec<_> = series
            .into_iter()
            .map(|fields| disordered(fields).prop_map(|f| bytes(5, spell(&f))))
            .collect();
        let overlong = prop_oneof![Just(None), any::<prop::sample::Index>().prop_map(Some)];
        (series, Just(symbols), any::<prop::sample::Index>(), overlong, unknown())
            .prop_map(|(series, mut symbols, at, overlong, unknown)| {
                let at = at.index(symbols.len());
                if let Some(overlong) = overlong {
                    let overlong = overlong.index(symbols.len());
                    symbols[overlong].excess = 1;
                }
                let (before, behind) = symbols.split_at(at);
                let fields = [before, &series, &[unknown], behind].concat();
                spell(&fields)
            })
            .boxed()
    })
}

/// `body` with some bytes changed, or cut short.
fn damaged(body: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let damage = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (body, damage, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mut body, damage, cut, is_cut)| {
            if body.is_empty() {
                return body;
            }
            for (at, byte) in damage {
                let at = at.index(body.len());
                body[at] = byte;
            }
            if is_cut {
                body.truncate(cut.index(body.len()));
            }
            body
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_walk_of_1_0_reads_what_prost_reads(body in body_v1()) {
        prop_assert_eq!(walked_v1(&body).unwrap(), expected_v1(&body));
    }

    #[test]
    fn the_walk_of_2_0_reads_what_prost_reads(body in body_v2()) {
        prop_assert_eq!(walked_v2(&body).unwrap(), expected_v2(&body));
    }

    #[test]
    fn damage_is_an_error_or_a_message_that_prost_reads_alike(
        body_v1 in damaged(body_v1()),
        body_v2 in damaged(body_v2()),
    ) {
        let _ = walked_v1(&body_v2);
        let _ = walked_v2(&body_v1);
        if let Ok(walked) = walked_v1(&body_v1) {
            prop_assert_eq!(walked, expected_v1(&body_v1));
        }
        if let Ok(walked) = walked_v2(&body_v2) {
            prop_assert_eq!(walked, expected_v2(&body_v2));
        }
    }

    #[test]
    fn no_bytes_panic(body in vec(any::<u8>(), 0..64)) {
        let _ = walked_v1(&body);
        let _ = walked_v2(&body);
    }
}
