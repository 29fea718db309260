//! What requests of the crash tests carry besides samples, made from them: what is said of metric families.

use std::cell::RefCell;
use std::collections::BTreeSet;

use floodplain::model::metadata::family_route;
use floodplain::model::{LabelText, MetadataAt, MetricType, Span, TimestampMs};
use floodplain::storage::head::Head;
use floodplain::storage::wal::LogBuffer;

use crate::whole_store::Samples;

/// Everything is said at once: what nobody repeats for an hour would go.
const SAID_AT: TimestampMs = TimestampMs(1_700_000_000_000);

/// What was sent, was acknowledged, or is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// Families and help texts.
    said: BTreeSet<(String, String)>,
}

impl Attached {
    /// What the request with these samples carries. So few texts that a family has room for all.
    pub fn of(samples: &Samples) -> Self {
        let mut attached = Self::default();
        for (series, values) in samples {
            let family = format!("family {}", series.len() + usize::from(series.ends_with('1')));
            let help = |t: &i64| (family.clone(), format!("Help {}.", t.unsigned_abs() % 5));
            attached.said.extend(values.keys().take(2).map(help));
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
        }
        found
    }

    pub fn extend(&mut self, more: &Self) {
        self.said.extend(more.said.iter().cloned());
    }

    /// Fails if something in here is not in `there`.
    pub fn assert_in(&self, there: &Self, what: &str) {
        let missing: Vec<_> = self.said.difference(&there.said).collect();
        assert!(missing.is_empty(), "{what}: {missing:?}");
    }

    /// Puts what belongs to a shard into its Head and log.
    pub fn append_own(
        &self,
        head: &RefCell<Head>,
        log: &RefCell<LogBuffer>,
        is_own: impl Fn(u64) -> bool,
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
            metadata.push(MetadataAt { family, kind: MetricType::Gauge, help, unit });
        }
        head.borrow_mut().append_metadata(&metadata, &text, SAID_AT, &mut log.borrow_mut());
    }
}
