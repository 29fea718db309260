//! What requests of the crash tests carry besides samples, made from them: what is said of metric families, and
//! exemplars.

use std::cell::RefCell;
use std::collections::BTreeSet;

use floodplain::model::metadata::family_route;
use floodplain::model::{
    ExemplarAt, Fingerprinter, LabelText, Labels, LabelsAt, MetadataAt, MetricType, Span,
    TimeRange, TimestampMs,
};
use floodplain::storage::head::exemplars::AppendedExemplars;
use floodplain::storage::head::{Bounds, Head};
use floodplain::storage::wal::LogBuffer;

use crate::whole_store::{Samples, labels};

/// More than any test sends, so that none has to go.
pub const EXEMPLARS_MAX: usize = 1 << 20;
/// Of these bits of a sample its exemplar has its value: none of them is that of a number that is none.
const VALUE_BITS: u64 = (1 << 62) - 1;
/// Everything is said at once: what nobody repeats for an hour would go.
const SAID_AT: TimestampMs = TimestampMs(1_700_000_000_000);

/// What was sent, was acknowledged, or is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// Families and help texts.
    said: BTreeSet<(String, String)>,
    /// Series, time, and bits of the value; the labels follow from the time.
    exemplars: BTreeSet<(String, i64, u64)>,
}

fn trace(t: i64) -> Labels {
    Labels::from_pairs([("trace_id", t.to_string().as_str())]).unwrap()
}

impl Attached {
    /// What the request with these samples carries. So few texts that a family has room for all.
    pub fn of(samples: &Samples) -> Self {
        let mut attached = Self::default();
        for (series, values) in samples {
            let family = format!("family {}", series.len() + usize::from(series.ends_with('1')));
            let help = |t: &i64| (family.clone(), format!("Help {}.", t.unsigned_abs() % 5));
            attached.said.extend(values.keys().take(2).map(help));
            // Of an instant at which there is none yet: an exemplar that is refused would not be there.
            let example = |(t, v): (&i64, &u64)| (series.clone(), *t, *v & VALUE_BITS);
            attached.exemplars.extend(values.iter().step_by(3).map(example));
        }
        attached
    }

    /// What these Heads have.
    pub fn read<'a>(heads: impl Iterator<Item = &'a RefCell<Head>>) -> Self {
        let mut found = Self::default();
        for head in heads {
            let head = head.borrow();
            for at in 0..head.families().len() {
                let (name, entries) = head.families().at(at).unwrap();
                for said in entries {
                    let is_new = found.said.insert((name.clone(), said.help));
                    assert!(is_new, "{name} stands in two shards, or says something twice");
                }
            }
            let exemplars = head.exemplars();
            for series in exemplars.all_series() {
                let of = exemplars.of(series, &[Vec::new()], TimeRange::ALL).unwrap();
                assert!(of.exemplars.is_sorted_by_key(|exemplar| exemplar.t));
                let name = of.series.get("series").unwrap();
                for exemplar in of.exemplars {
                    assert_eq!(exemplar.labels, trace(exemplar.t.0));
                    let one = (name.to_owned(), exemplar.t.0, exemplar.value.to_bits());
                    assert!(found.exemplars.insert(one), "{name} has an exemplar twice");
                }
            }
        }
        found
    }

    pub fn extend(&mut self, more: &Self) {
        self.said.extend(more.said.iter().cloned());
        self.exemplars.extend(more.exemplars.iter().cloned());
    }

    /// Fails if something in here is not in `there`.
    pub fn assert_in(&self, there: &Self, what: &str) {
        let missing: Vec<_> = self.said.difference(&there.said).collect();
        assert!(missing.is_empty(), "{what}: {missing:?}");
        let missing: Vec<_> = self.exemplars.difference(&there.exemplars).collect();
        assert!(missing.is_empty(), "{what}: {missing:?}");
    }

    /// Puts what belongs to a shard into its Head and log; exemplars behind the samples of their series.
    ///
    /// - `keys`: with which the Head knows series.
    pub fn append_own(
        &self,
        head: &RefCell<Head>,
        log: &RefCell<LogBuffer>,
        keys: &Fingerprinter,
        is_own: impl Fn(u64) -> bool,
        bounds: Bounds,
    ) {
        let (mut text, mut metadata) = (LabelText::default(), Vec::new());
        for (name, help) in
            self.said.iter().filter(|(name, _)| is_own(family_route(name.as_bytes())))
        {
            let mut span = |part: &str| {
                let offset = u32::try_from(text.body.len()).unwrap();
                text.body.extend(part.as_bytes());
                Span { offset, len: u32::try_from(part.len()).unwrap() }
            };
            let (family, help, unit) = (span(name), span(help), span(""));
            metadata.push(MetadataAt { family, kind: MetricType::Gauge, help, unit, key: 0 });
        }
        let mut exemplars = Vec::new();
        for (series, t, v) in &self.exemplars {
            let (series, own) = (labels(series), trace(*t));
            let fingerprint = keys.of(series.as_ref());
            if !is_own(fingerprint.route) {
                continue;
            }
            let mut span = |labels: &Labels| {
                let offset = u32::try_from(text.body.len()).unwrap();
                text.body.extend(labels.as_bytes());
                Span { offset, len: u32::try_from(labels.as_bytes().len()).unwrap() }
            };
            let (series, labels) = (LabelsAt::Canonical(span(&series)), span(&own));
            let (value, t) = (f64::from_bits(*v), TimestampMs(*t));
            exemplars.push(ExemplarAt { fingerprint, series, labels, value, t });
        }
        let count = exemplars.len() as u64;
        let (mut head, mut log) = (head.borrow_mut(), log.borrow_mut());
        let appended = head.append_exemplars(&exemplars, &text, bounds, &mut log);
        assert_eq!(appended, AppendedExemplars { written: count, ..Default::default() });
        head.append_metadata(&metadata, &text, SAID_AT, &mut log);
    }
}
