//! Requests in every spelling that protobuf allows, and damaged ones: both walks do with them what the model says.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;

use super::model_test::{expected_v1, expected_v2, walked_v1, walked_v2};
use super::proto::{v1, v2};
use super::read_histogram::message;
use crate::model::histogram::testing::{floats, integers, steps};
use crate::model::{AnyHistogram, TimestampMs};

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
    let good = (steps(), any::<bool>()).prop_map(|(steps, of_floats)| {
        let last = match of_floats {
            true => floats(&steps).pop().map(AnyHistogram::Float),
            false => integers(&steps).pop().map(AnyHistogram::Int),
        };
        last.map(|h| message(TimestampMs(1_700_000_000_000), h.as_ref())).unwrap_or_default()
    });
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
