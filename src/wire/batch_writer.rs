//! Puts decoded series into a write batch: the part of the shard that owns them, or among what was refused.

use super::histogram::Lists;
use super::label_set::LabelSet;
use super::padded::{Padded, Place};
use super::plain_sample::{MetadataRefs, Version, plain_metadata, plain_sample};
use super::{Counts, DECODED_BYTES_MAX, WireError};
use crate::model::metadata::family_route;
use crate::model::{
    Fingerprint, Fingerprinter, LabelText, LabelsAt, LabelsRef, MetadataAt, Part, PartEntry,
    REFUSALS_MAX, Refusal, RefusalReason, Sample, Span, StartAt, Symbol, Told, WriteBatch,
};

/// One request carries at most this many samples. Two bytes can encode one, and sixteen hold it: without a limit, a
/// hostile body would grow eightfold. Prometheus sends 2,000 a request, vmagent 10,000.
pub(super) const SAMPLES_MAX: usize = 4 << 20;

/// One request says this much of metric families at most. Seven bytes can encode one entry, and 28 hold it. Prometheus sends
/// 2,000 a request.
pub(super) const METADATA_MAX: usize = 1 << 20;

/// Buffers behind the body that have grown beyond this are not kept for the next request.
const BYTES_KEPT: usize = 8 << 20;

/// A request's way into the parts of a batch.
pub(super) struct BatchWriter<'a, P> {
    pub(super) fingerprinter: &'a Fingerprinter,
    pub(super) part_of: P,
    pub(super) parts: &'a mut [Part],
    pub(super) refused: &'a mut Vec<Refusal>,
    pub(super) counts: Counts,
    /// Are start timestamps to be kept?
    pub(super) wants_starts: bool,
    /// What need not be said again of metric families.
    pub(super) told: &'a Told,
    /// Entries of metadata that the parts have.
    pub(super) metadata: usize,
    /// Bytes of the labels of exemplars that the parts have.
    pub(super) exemplar_bytes: usize,
    /// Bytes of the histograms that the parts have.
    pub(super) histogram_bytes: usize,
    /// Used for one histogram after the other.
    pub(super) lists: Lists,
}

/// What a batch keeps of a request beside its body.
pub(super) struct Behind {
    /// Canonical forms of label sets that the request spells otherwise.
    pub(super) rewritten: Vec<u8>,
    /// Those of 2.0.
    pub(super) symbols: Vec<Symbol>,
}

impl Behind {
    fn clear(&mut self) {
        self.rewritten.clear();
        self.symbols.clear();
        self.rewritten.shrink_to(BYTES_KEPT);
        self.symbols.shrink_to(BYTES_KEPT / size_of::<Symbol>());
    }
}

/// One series as the general walk has read it; used again for the next one.
#[derive(Default)]
pub(super) struct Series<'b> {
    pub(super) labels: LabelSet<'b>,
    pub(super) samples: Vec<Sample>,
    /// The starts of those that have one, by their place among `samples`.
    pub(super) starts: Vec<StartAt>,
    /// Where its histograms lie.
    pub(super) histograms: Vec<Place>,
    /// Where its exemplars lie.
    pub(super) exemplars: Vec<Place>,
}

/// What became of a series of the general walk.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    /// Are its labels a set?
    pub(super) is_set: bool,
    /// What it is recognised by and where its labels lie, if it has something to store.
    pub(super) series: Option<(Fingerprint, LabelsAt)>,
}

impl Series<'_> {
    /// How many samples and histograms it has.
    pub(super) fn value_count(&self) -> u32 {
        u32::try_from(self.samples.len() + self.histograms.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn clear(&mut self) {
        self.labels.clear();
        self.samples.clear();
        self.starts.clear();
        self.histograms.clear();
        self.exemplars.clear();
    }

    /// Takes one more sample, the one at `offset`; `before` are those of the request's other series.
    pub(super) fn push(
        &mut self,
        sample: Sample,
        before: u64,
        offset: usize,
    ) -> Result<(), WireError> {
        if before + self.samples.len() as u64 >= SAMPLES_MAX as u64 {
            return Err(WireError::TooManySamples { offset, max: SAMPLES_MAX });
        }
        self.samples.push(sample);
        Ok(())
    }
}

/// Starts `batch`, has `walk` fill it from `body`, and leaves both the body and what was written behind it with the
/// batch. The batch holds nothing if the walk fails.
pub(super) fn fill<P: Fn(u64) -> usize>(
    mut body: Vec<u8>,
    fingerprinter: &Fingerprinter,
    (shards, part_of): (usize, P),
    batch: &mut WriteBatch,
    counts: &mut Counts,
    walk: impl FnOnce(Padded<'_>, &mut Behind, &mut BatchWriter<'_, P>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    batch.start(shards);
    let LabelText { rewritten, symbols, .. } = std::mem::take(batch.text_mut());
    let mut behind = Behind { rewritten, symbols };
    behind.clear();
    let mut writer = BatchWriter {
        fingerprinter,
        part_of,
        parts: &mut batch.parts,
        refused: &mut batch.refused,
        counts: Counts::default(),
        wants_starts: batch.wants_starts,
        told: &batch.told,
        metadata: 0,
        exemplar_bytes: 0,
        histogram_bytes: 0,
        lists: Lists::default(),
    };
    let result = if body.len() > DECODED_BYTES_MAX {
        Err(WireError::TooLarge { len: body.len(), max: DECODED_BYTES_MAX })
    } else {
        walk(Padded::pad(&mut body), &mut behind, &mut writer)
    };
    let found = writer.counts;
    let Behind { rewritten, symbols } = behind;
    *batch.text_mut() = LabelText { body, rewritten, symbols };
    match result {
        Ok(()) => *counts += found,
        Err(_) => batch.start(shards),
    }
    result
}

impl<P: Fn(u64) -> usize> BatchWriter<'_, P> {
    /// Forgets what has been taken and refused.
    pub(super) fn restart(&mut self) {
        self.parts.iter_mut().for_each(Part::clear);
        self.refused.clear();
        self.counts = Counts::default();
        self.metadata = 0;
        self.exemplar_bytes = 0;
        self.histogram_bytes = 0;
    }

    /// The part of the shard that owns a series.
    #[inline(always)]
    pub(super) fn part(&mut self, fingerprint: Fingerprint) -> &mut Part {
        self.part_of_route(fingerprint.route)
    }

    #[inline(always)]
    fn part_of_route(&mut self, route: u64) -> &mut Part {
        let index = (self.part_of)(route);
        let parts = self.parts.len();
        match self.parts.get_mut(index) {
            Some(part) => part,
            None => panic!("routed to part {index} of {parts}"),
        }
    }

    /// Fails if the series before the one at `offset` have more samples than a request may carry.
    #[inline(always)]
    pub(super) fn check_samples(&self, offset: usize) -> Result<(), WireError> {
        if self.counts.samples > SAMPLES_MAX as u64 {
            return Err(WireError::TooManySamples { offset, max: SAMPLES_MAX });
        }
        Ok(())
    }

    /// Takes a series whose labels are where `labels` says, if nothing lies at `rest` of the body but
    /// plain samples, in 2.0 perhaps with metadata behind them, which is handed out. `None`, with nothing taken, if not.
    ///
    /// - `symbols`: how many symbols metadata may refer to.
    #[inline(always)]
    pub(super) fn take_plain(
        &mut self,
        fingerprint: Fingerprint,
        labels: LabelsAt,
        body: Padded<'_>,
        rest: Place,
        (version, symbols): (Version, usize),
    ) -> Option<Option<MetadataRefs>> {
        let wants_starts = self.wants_starts;
        let part = self.part(fingerprint);
        let (before, starts_before) = (part.samples.len(), part.starts.len());
        let mut at = rest.start;
        while at < rest.end
            && let Some((sample, start, end)) = plain_sample(body, at, version)
        {
            if wants_starts && start.0 != 0 {
                part.starts.push(StartAt { sample: index(part.samples.len()), start });
            }
            part.samples.push(sample);
            at = end;
        }
        let samples = part.samples.len() - before;
        let mut metadata = None;
        if version == Version::V2 && at < rest.end {
            at = match plain_metadata(body, at) {
                Some((refs, end)) if (refs.help.max(refs.unit) as usize) < symbols => {
                    metadata = Some(refs);
                    end
                }
                _ => usize::MAX,
            };
        }
        if at != rest.end || samples == 0 {
            part.samples.truncate(before);
            part.starts.truncate(starts_before);
            return None;
        }
        let samples_end = index(part.samples.len());
        part.entries.push(PartEntry { fingerprint, labels, samples_end });
        self.counts.series += 1;
        self.counts.samples += samples as u64;
        self.counts.metadata += u64::from(metadata.is_some());
        Some(metadata)
    }

    /// Takes what is said of a family, and gives it to the shard that has the family; `offset` is where it stands.
    #[cold]
    #[inline(never)]
    pub(super) fn put_metadata(
        &mut self,
        body: Padded<'_>,
        metadata: MetadataAt,
        offset: usize,
    ) -> Result<(), WireError> {
        if self.metadata >= METADATA_MAX {
            return Err(WireError::TooMuchMetadata { offset, max: METADATA_MAX });
        }
        self.metadata += 1;
        let Span { offset: start, len } = metadata.family;
        let place = start as usize..start as usize + len as usize;
        let family = body.body().get(place).unwrap_or_default();
        self.part_of_route(family_route(family)).metadata.push(metadata);
        Ok(())
    }

    /// Takes a series from the general walk, appending its labels to `rewritten`, or refuses it. Its histograms
    /// and exemplars are the caller's to take.
    pub(super) fn take(
        &mut self,
        series: &mut Series<'_>,
        rewritten: &mut Vec<u8>,
        body: Padded<'_>,
    ) -> Taken {
        let start = rewritten.len();
        let is_set = self.canonicalise(series, rewritten);
        if rewritten.len() == start {
            return Taken { is_set, series: None };
        }
        let canonical = rewritten.get(start..).unwrap_or_default();
        let labels = LabelsAt::Canonical(span(body.bytes().len() + start, canonical.len()));
        let fingerprint = self.fingerprinter.of(LabelsRef::trusted(canonical));
        if !series.samples.is_empty() {
            self.store(fingerprint, labels, series);
        }
        Taken { is_set, series: Some((fingerprint, labels)) }
    }

    /// Appends the canonical labels of a series to `out` if it has samples or exemplars to store; refuses what cannot be stored of it,
    /// and leaves `out` as it was if that is everything. Are its labels a set? It has a metric name, so it is not empty.
    fn canonicalise(&mut self, series: &mut Series<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        if let Err(reason) = series.labels.canonicalise(out) {
            self.refuse(|| series.labels.spell(), series.value_count(), reason);
            return false;
        }
        if series.value_count() == 0 && series.exemplars.is_empty() {
            out.truncate(start);
        }
        true
    }

    /// Hands a series whose canonical labels lie where `labels` says to the shard that owns it.
    fn store(&mut self, fingerprint: Fingerprint, labels: LabelsAt, series: &Series<'_>) {
        let wants_starts = self.wants_starts;
        let part = self.part(fingerprint);
        if wants_starts {
            let before = index(part.samples.len());
            let starts = series.starts.iter();
            part.starts.extend(starts.map(|at| StartAt { sample: before + at.sample, ..*at }));
        }
        part.samples.extend_from_slice(&series.samples);
        let samples_end = index(part.samples.len());
        part.entries.push(PartEntry { fingerprint, labels, samples_end });
    }

    /// Counts a series as refused, and names it if there is room.
    #[cold]
    pub(super) fn refuse(
        &mut self,
        series: impl FnOnce() -> String,
        samples: u32,
        reason: RefusalReason,
    ) {
        self.counts.refused_series += 1;
        self.counts.refused_samples += u64::from(samples);
        if self.refused.len() < REFUSALS_MAX {
            self.refused.push(Refusal { series: series(), samples, reason });
        }
    }
}

/// A place in the label text. Both numbers are bounded by the caps on a body and on what is written behind it.
#[inline]
pub(super) fn span(offset: usize, len: usize) -> Span {
    Span { offset: index(offset), len: index(len) }
}

/// A place in an array or a text of a request, of which neither has 2^32.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "asserted in tests and debug builds; bounded by the caps on a request"
)]
pub(super) fn index(n: usize) -> u32 {
    debug_assert!(u32::try_from(n).is_ok(), "{n} is beyond the caps on a request");
    n as u32
}
