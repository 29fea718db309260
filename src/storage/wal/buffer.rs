//! What was appended to the Head and is not yet on its way to the log.
//!
//! Owns the records that gather while a commit is in flight, in the order of appending: a series' record before its
//! first sample. Its buffers begin with room for a batch header, so that sealing copies nothing.

use crate::encoding::batch::{HEADER_BYTES, PAYLOAD_BYTES_MAX};
use crate::encoding::record::{
    self, CutRecord, HistogramsBody, LoggedSample, LoggedStart, START_BYTES_MAX,
};
use crate::model::refusal::{HISTOGRAM_PARTS_MAX, LABEL_BYTES_MAX};
use crate::model::{AnyHistogramRef, Sample, SeriesRef, TimeRange, TimestampMs};

/// Samples that are gathered into one record at most.
const RECORD_SAMPLES_MAX: usize = 1 << 16;
/// Starts that are gathered into one record at most.
const RECORD_STARTS_MAX: usize = 1 << 14;
/// Label bytes that are gathered into one record, unless a single set is larger.
const RECORD_LABEL_BYTES: usize = 1 << 20;
/// Bytes of histograms that are gathered into one record, unless a single one is larger.
const RECORD_HISTOGRAM_BYTES: usize = 1 << 20;
/// A payload that has reached this takes no further record, in bytes.
const PAYLOAD_BYTES_FULL: usize = PAYLOAD_BYTES_MAX / 4;

const _: () = assert!(
    PAYLOAD_BYTES_FULL + RECORD_SAMPLES_MAX * 20 + 64 < PAYLOAD_BYTES_MAX,
    "samples always fit"
);
const _: () = assert!(
    PAYLOAD_BYTES_FULL + RECORD_STARTS_MAX * START_BYTES_MAX + 64 < PAYLOAD_BYTES_MAX,
    "starts always fit"
);
const _: () = assert!(
    PAYLOAD_BYTES_FULL + RECORD_LABEL_BYTES + LABEL_BYTES_MAX + 64 < PAYLOAD_BYTES_MAX,
    "labels always fit"
);
const _: () = assert!(
    PAYLOAD_BYTES_FULL + RECORD_HISTOGRAM_BYTES + HISTOGRAM_PARTS_MAX * 15 + 128
        < PAYLOAD_BYTES_MAX,
    "histograms always fit: a part of one takes 15 bytes at most"
);

/// Records on their way to the log.
#[derive(Debug, Default)]
pub struct LogBuffer {
    /// Payloads that are full, oldest first; each begins with room for its header.
    full: Vec<Vec<u8>>,
    current: Vec<u8>,
    samples: Vec<LoggedSample>,
    /// The labels of new series, as the body of a record.
    labels: Vec<u8>,
    labels_first: SeriesRef,
    labels_count: u32,
    sample_count: u64,
    starts: Vec<LoggedStart>,
    histograms: HistogramsBody,
    float_histograms: HistogramsBody,
    histogram_count: u64,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

impl LogBuffer {
    /// A buffer without records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing to be written?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.full.is_empty() && self.current.is_empty()
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.current.len() + self.full.iter().map(Vec::len).sum::<usize>()
    }

    /// Gathers one sample.
    #[inline]
    pub fn sample(&mut self, series: SeriesRef, sample: Sample) {
        self.samples.push(LoggedSample { series, sample });
        if self.samples.len() == RECORD_SAMPLES_MAX {
            self.finish_part();
        }
    }

    /// Gathers the beginning of a run of samples with another start.
    pub fn start(&mut self, logged: LoggedStart) {
        self.starts.push(logged);
        if self.starts.len() == RECORD_STARTS_MAX {
            self.finish_part();
        }
    }

    /// Gathers one native histogram.
    pub fn histogram(&mut self, series: SeriesRef, t: TimestampMs, histogram: AnyHistogramRef<'_>) {
        let body = match histogram {
            AnyHistogramRef::Int(h) => {
                self.histograms.push(series, t, h);
                &self.histograms
            }
            AnyHistogramRef::Float(h) => {
                self.float_histograms.push(series, t, h);
                &self.float_histograms
            }
        };
        if body.len() >= RECORD_HISTOGRAM_BYTES {
            self.finish_part();
        }
    }

    /// Gathers a new series: `labels` are canonical bytes.
    pub fn series(&mut self, series: SeriesRef, labels: &[u8]) {
        let consecutive = self.labels_first.0 + u64::from(self.labels_count) == series.0;
        let fits = self.labels.len() + labels.len() <= RECORD_LABEL_BYTES;
        if self.labels_count > 0 && !(consecutive && fits) {
            self.finish_series();
        }
        if self.labels_count == 0 {
            self.labels_first = series;
        }
        record::push_labels(&mut self.labels, labels);
        self.labels_count += 1;
    }

    /// Puts the beginning of a cut behind everything that was gathered so far.
    pub fn cut(&mut self, record: CutRecord) {
        self.finish_part();
        record::push_cut(self.payload(), record);
    }

    /// Deletes of these series what was gathered so far and lies in `range`. Callers bound how many series there are.
    pub fn tombstones(&mut self, series: &[SeriesRef], range: TimeRange) {
        self.finish_part();
        record::push_tombstones(self.payload(), series, range);
    }

    /// Puts a record of metric families, whose body is given, behind everything that was gathered so far.
    pub fn metadata(&mut self, body: &[u8]) {
        self.finish_part();
        record::push_metadata(self.payload(), body);
    }

    /// Puts a record of exemplars, whose body is given, behind everything that was gathered so far.
    pub fn exemplars(&mut self, body: &[u8]) {
        self.finish_part();
        record::push_exemplars(self.payload(), body);
    }

    /// Turns what was gathered into records. Until then a commit does not see it.
    pub fn finish_part(&mut self) {
        self.finish_series();
        if !self.samples.is_empty() {
            self.sample_count += self.samples.len() as u64;
            let samples = std::mem::take(&mut self.samples);
            record::push_samples(self.payload(), &samples);
            self.samples = samples;
            self.samples.clear();
        }
        if !self.starts.is_empty() {
            let starts = std::mem::take(&mut self.starts);
            record::push_starts(self.payload(), &starts);
            self.starts = starts;
            self.starts.clear();
        }
        if !self.histograms.is_empty() {
            self.histogram_count += self.histograms.count() as u64;
            let mut body = std::mem::take(&mut self.histograms);
            record::push_histograms::<u64>(self.payload(), &body);
            body.clear();
            self.histograms = body;
        }
        if !self.float_histograms.is_empty() {
            self.histogram_count += self.float_histograms.count() as u64;
            let mut body = std::mem::take(&mut self.float_histograms);
            record::push_histograms::<f64>(self.payload(), &body);
            body.clear();
            self.float_histograms = body;
        }
    }

    fn finish_series(&mut self) {
        if self.labels_count == 0 {
            return;
        }
        let (first, count) = (self.labels_first, std::mem::take(&mut self.labels_count));
        let labels = std::mem::take(&mut self.labels);
        record::push_series(self.payload(), first, count, &labels);
        self.labels = labels;
        self.labels.clear();
    }

    /// The payload that takes the next record.
    fn payload(&mut self) -> &mut Vec<u8> {
        if self.current.len() >= PAYLOAD_BYTES_FULL {
            self.full.push(std::mem::take(&mut self.current));
        }
        if self.current.is_empty() {
            self.current = self.spare.pop().unwrap_or_default();
            self.current.resize(HEADER_BYTES, 0);
        }
        &mut self.current
    }

    /// How many native histograms were put into records since this was last asked.
    pub fn take_histogram_count(&mut self) -> u64 {
        std::mem::take(&mut self.histogram_count)
    }

    /// How many floats were put into records since this was last asked.
    pub fn take_sample_count(&mut self) -> u64 {
        std::mem::take(&mut self.sample_count)
    }

    /// Hands out the payloads that have gathered, oldest first, each behind room for a batch header.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        let mut payloads = std::mem::take(&mut self.full);
        if !self.current.is_empty() {
            payloads.push(std::mem::take(&mut self.current));
        }
        payloads
    }

    /// Takes a written payload's buffer back for use again.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        // One is being filled while one is being written; a burst's large buffers go back to the allocator.
        if self.spare.len() < 2 && buffer.capacity() <= 2 * PAYLOAD_BYTES_FULL {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::record::{Record, records};
    use crate::model::{Labels, TimestampMs};

    fn sample(t: i64) -> Sample {
        Sample { t: TimestampMs(t), v: 0.0 }
    }

    #[test]
    fn a_series_stands_before_its_first_sample() {
        let mut log = LogBuffer::new();
        let labels = Labels::from_pairs([("a", "1")]).unwrap();
        log.sample(SeriesRef(1), sample(1));
        log.series(SeriesRef(2), labels.as_bytes());
        log.sample(SeriesRef(2), sample(1));
        log.finish_part();
        let payloads = log.take();
        let kinds: Vec<_> = records(&payloads[0][HEADER_BYTES..])
            .map(|r| matches!(r, Ok(Record::Series(_))))
            .collect();
        assert_eq!(kinds, [true, false]);
        assert!(log.is_empty());
    }

    #[test]
    fn series_whose_references_are_not_consecutive_take_two_records() {
        let mut log = LogBuffer::new();
        let labels = Labels::from_pairs([("a", "1")]).unwrap();
        for reference in [1, 2, 5] {
            log.series(SeriesRef(reference), labels.as_bytes());
        }
        log.finish_part();
        let payloads = log.take();
        let mut references = Vec::new();
        for record in records(&payloads[0][HEADER_BYTES..]) {
            if let Ok(Record::Series(series)) = record {
                references.extend(series.map(|s| s.unwrap().0.0));
            }
        }
        assert_eq!(references, [1, 2, 5]);
    }

    #[test]
    fn a_long_part_is_split_over_payloads_that_a_batch_can_hold() {
        let mut log = LogBuffer::new();
        for t in 0..1_000_000 {
            log.sample(SeriesRef(1), sample(t));
        }
        log.finish_part();
        let payloads = log.take();
        assert!(payloads.len() > 1);
        assert!(payloads.iter().all(|p| p.len() <= HEADER_BYTES + PAYLOAD_BYTES_MAX));
        let count: usize = payloads
            .iter()
            .flat_map(|p| records(&p[HEADER_BYTES..]))
            .map(|r| match r {
                Ok(Record::Samples(samples)) => samples.len(),
                _ => 0,
            })
            .sum();
        assert_eq!(count, 1_000_000);
    }
}
