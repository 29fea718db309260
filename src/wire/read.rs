//! Remote read: what is asked, and the two forms of the answer.
//!
//! ```text
//! samples   prometheus.ReadResponse, as a whole: a result a query, a series each with all its samples and histograms
//! chunks    frames: length uvarint │ CRC-32C u32 big-endian │ prometheus.ChunkedReadResponse: chunks of one series
//! ```
//! Source: `prompb/remote.proto` and `prompb/types.proto` of Prometheus 3.14, `storage/remote/chunked.go`; the remote read
//! specification 1.0.

use prost::Message as _;
use prost::encoding::encode_varint;

use super::proto::read as proto;
use super::proto::v1::{Label, Sample, TimeSeries};
use super::read_histogram;
use crate::model::matcher::MatchOp;
use crate::model::{Labels, Matcher, SamplesRef, TimeRange, TimestampMs};

/// A form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadForm {
    /// Samples, as a whole.
    Samples,
    /// Chunks, in frames.
    Chunks,
}

/// One of the things that are asked for.
#[derive(Debug)]
pub struct ReadQuery {
    /// From the first to the last instant, both included; `None` if there is none.
    pub range: Option<TimeRange>,
    /// For all series for which all of these hold.
    pub matchers: Vec<Matcher>,
}

/// Why a request cannot be answered. The asker's fault.
#[derive(Debug, thiserror::Error)]
pub enum ReadRequestError {
    /// Not the message.
    #[error("not a prometheus.ReadRequest: {0}")]
    Message(#[from] prost::DecodeError),
    /// A form that is not known, and no other.
    #[error(
        "server does not support any of the requested response types: {0:?}; it has SAMPLES and STREAMED_XOR_CHUNKS"
    )]
    Form(Vec<i32>),
    /// A kind of matcher that is not known.
    #[error("invalid matcher type {0}; there are 0 to 3: =, !=, =~, !~")]
    MatcherType(i32),
    /// A matcher that cannot match anything.
    #[error("matcher of the label {name:?}: {source}")]
    Matcher {
        /// The label.
        name: String,
        /// What is wrong with it.
        source: crate::model::matcher::MatcherError,
    },
}

/// What a request asks, and in which form: the first of those it takes that there is.
///
/// - `external`: labels that all series have towards the outside, and none has here: whoever asks for one of them is given
///   the series that do not have it.
///
/// # Errors
/// See [`ReadRequestError`].
pub fn decode_read(
    bytes: &[u8],
    external: &Labels,
) -> Result<(Vec<ReadQuery>, ReadForm), ReadRequestError> {
    let proto::ReadRequest { queries, accepted_response_types: accepted } =
        proto::ReadRequest::decode(bytes)?;
    let form_of = |number: &i32| match number {
        0 => Some(ReadForm::Samples),
        1 => Some(ReadForm::Chunks),
        _ => None,
    };
    let form = match accepted.as_slice() {
        [] => ReadForm::Samples,
        some => {
            some.iter().find_map(form_of).ok_or_else(|| ReadRequestError::Form(accepted.clone()))?
        }
    };
    let query = |query: proto::Query| {
        let (start, end) = (query.start_timestamp_ms, query.end_timestamp_ms);
        let matchers = query.matchers.into_iter().map(|matcher| matcher_of(matcher, external));
        Ok(ReadQuery {
            range: TimeRange::new(TimestampMs(start), TimestampMs(end)),
            matchers: matchers.collect::<Result<_, ReadRequestError>>()?,
        })
    };
    Ok((queries.into_iter().map(query).collect::<Result<_, ReadRequestError>>()?, form))
}

fn matcher_of(
    proto::LabelMatcher { r#type, name, value }: proto::LabelMatcher,
    external: &Labels,
) -> Result<Matcher, ReadRequestError> {
    let op = match r#type {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        other => return Err(ReadRequestError::MatcherType(other)),
    };
    let is_external = op == MatchOp::Equal && external.get(&name) == Some(&*value);
    let value = if is_external { "" } else { &*value };
    Matcher::new(&name, op, value)
        .map_err(|source| ReadRequestError::Matcher { name: name.clone(), source })
}

/// The labels of an answer: a series' own, and those of `external` that it does not have.
fn labels_of(labels: &Labels, external: &Labels) -> Vec<Label> {
    let missing = external.iter().filter(|label| labels.get(label.name).is_none());
    let mut all: Vec<_> = labels.iter().chain(missing).collect();
    all.sort_unstable_by_key(|label| label.name);
    let label = |label: crate::model::Label<'_>| Label {
        name: label.name.as_bytes().to_vec(),
        value: label.value.as_bytes().to_vec(),
    };
    all.into_iter().map(label).collect()
}

/// The answer in samples, growing series by series.
#[derive(Debug, Default)]
pub struct SamplesAnswer {
    /// Of the queries before.
    results: Vec<u8>,
    /// Of this one.
    result: Vec<u8>,
    series: TimeSeries,
    /// What the samples of the series take, about.
    series_bytes: usize,
}

impl SamplesAnswer {
    /// Begins a series of the query that is being answered.
    pub fn begin_series(&mut self, labels: &Labels, external: &Labels) {
        self.end_series();
        self.series.labels = labels_of(labels, external);
    }

    /// Adds samples of the series that was begun last, which follow those it has.
    pub fn push(&mut self, samples: SamplesRef<'_>) {
        let message =
            |sample: &crate::model::Sample| Sample { value: sample.v, timestamp: sample.t.0 };
        self.series.samples.extend(samples.floats.iter().map(message));
        self.series_bytes += size_of_val(samples.floats);
        for sample in samples.histograms {
            let message = read_histogram::message(sample.t, sample.histogram.as_ref());
            self.series_bytes += message.encoded_len();
            self.series.histograms.push(message);
        }
    }

    fn end_series(&mut self) {
        if !self.series.samples.is_empty() || !self.series.histograms.is_empty() {
            push_field(&mut self.result, 1, &self.series);
        }
        self.series.labels.clear();
        self.series.samples.clear();
        self.series.histograms.clear();
        self.series_bytes = 0;
    }

    /// The answer to this query is complete, and it may be empty.
    pub fn end_query(&mut self) {
        self.end_series();
        push_bytes(&mut self.results, 1, &self.result);
        self.result.clear();
    }

    /// How many bytes it has so far, about.
    #[must_use]
    pub fn len(&self) -> usize {
        self.results.len() + self.result.len() + self.series_bytes
    }

    /// Nothing yet?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The message `prometheus.ReadResponse`.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.results
    }
}

/// Appends a field that is a message.
fn push_field(out: &mut Vec<u8>, field: u8, message: &impl prost::Message) {
    out.push(field << 3 | 2);
    encode_varint(message.encoded_len() as u64, out);
    message.encode_raw(out);
}

fn push_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// The frames of one series.
#[derive(Debug)]
pub struct SeriesFrames {
    series: proto::ChunkedSeries,
    query_index: i64,
    /// What the chunks of a frame may take, about.
    bytes_max: usize,
    left: usize,
}

impl SeriesFrames {
    /// Those of a series of the query with this number.
    ///
    /// - `bytes_max`: a frame has one chunk more, at most, than fit into so many bytes together with the labels.
    #[must_use]
    pub fn of(query: usize, labels: &Labels, external: &Labels, bytes_max: usize) -> Self {
        let labels = labels_of(labels, external);
        let bytes_max = bytes_max.saturating_sub(labels.iter().map(Label::encoded_len).sum());
        let series = proto::ChunkedSeries { labels, chunks: Vec::new() };
        let query_index = i64::try_from(query).unwrap_or(i64::MAX);
        Self { series, query_index, bytes_max, left: bytes_max }
    }

    /// Adds a chunk; appends a frame to `out` if it is full.
    ///
    /// - `encoding`: Prometheus's number of it.
    pub fn push(&mut self, range: TimeRange, encoding: u8, data: Vec<u8>, out: &mut Vec<u8>) {
        let chunk = proto::Chunk {
            min_time_ms: range.min().0,
            max_time_ms: range.max().0,
            r#type: encoding.into(),
            data,
        };
        let len = chunk.encoded_len();
        self.series.chunks.push(chunk);
        match self.left.checked_sub(len).filter(|left| *left > 0) {
            Some(left) => self.left = left,
            None => self.finish(out),
        }
    }

    /// Appends the last frame to `out`, if there is anything in it.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.series.chunks.is_empty() {
            return;
        }
        let mut bytes = Vec::new();
        push_field(&mut bytes, 1, &self.series);
        if self.query_index != 0 {
            bytes.push(2 << 3);
            encode_varint(self.query_index.cast_unsigned(), &mut bytes);
        }
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        out.extend_from_slice(&bytes);
        self.series.chunks.clear();
        self.left = self.bytes_max;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    fn range(min: i64, max: i64) -> TimeRange {
        TimeRange::new(TimestampMs(min), TimestampMs(max)).unwrap()
    }

    fn request(matchers: &[(i32, &str, &str)], accepted: &[i32]) -> Vec<u8> {
        let matcher = |(kind, name, value): &(i32, &str, &str)| proto::LabelMatcher {
            r#type: *kind,
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        let query = proto::Query {
            start_timestamp_ms: -5,
            end_timestamp_ms: 7,
            matchers: matchers.iter().map(matcher).collect(),
        };
        let accepted_response_types = accepted.to_vec();
        proto::ReadRequest { queries: vec![query], accepted_response_types }.encode_to_vec()
    }

    #[test]
    fn the_first_form_that_there_is_is_taken() {
        let form = |accepted: &[i32]| {
            decode_read(&request(&[], accepted), &Labels::empty()).map(|(_, form)| form)
        };
        assert_eq!(form(&[]).unwrap(), ReadForm::Samples, "by a client that knows no other");
        assert_eq!(form(&[1, 0]).unwrap(), ReadForm::Chunks);
        assert_eq!(form(&[7, 0, 1]).unwrap(), ReadForm::Samples);
        let error = form(&[7]).unwrap_err().to_string();
        assert!(error.contains("any of the requested response types: [7]"), "{error}");
    }

    #[test]
    fn a_matcher_that_cannot_be_is_an_error_that_names_it() {
        let error = |matcher| {
            decode_read(&request(&[matcher], &[]), &Labels::empty()).unwrap_err().to_string()
        };
        assert!(error((4, "job", "a")).contains("invalid matcher type 4"));
        let error = error((2, "job", "("));
        assert!(error.contains("matcher of the label \"job\""), "{error}");
    }

    #[test]
    fn who_asks_for_an_external_label_gets_the_series_without_it() {
        let external = labels(&[("cluster", "a")]);
        let asked = request(&[(0, "cluster", "a"), (0, "cluster", "b"), (2, "cluster", "a")], &[]);
        let (queries, _) = decode_read(&asked, &external).unwrap();
        let matches =
            |value| queries[0].matchers.iter().map(|m| m.matches(value)).collect::<Vec<_>>();
        assert_eq!(matches(""), [true, false, false]);
        assert_eq!(matches("a"), [false, false, true]);
        assert_eq!(queries[0].range, Some(range(-5, 7)));
    }

    #[test]
    fn external_labels_stand_in_answers_unless_the_series_has_them() {
        let external = labels(&[("cluster", "a"), ("job", "x")]);
        let all = labels_of(&labels(&[("__name__", "up"), ("job", "b")]), &external);
        let text: Vec<_> = all.iter().map(|label| (&*label.name, &*label.value)).collect();
        let want: [(&[u8], &[u8]); 3] = [(b"__name__", b"up"), (b"cluster", b"a"), (b"job", b"b")];
        assert_eq!(text, want);
    }

    #[test] // golden bytes: protoc's of the message, its length and its CRC-32C before it
    fn a_frame_has_these_bytes() {
        let mut frames = SeriesFrames::of(1, &labels(&[("a", "b")]), &Labels::empty(), 100);
        let mut out = Vec::new();
        frames.push(range(1, 2), 1, vec![0xab, 0xcd], &mut out);
        assert!(out.is_empty(), "there is room for more");
        frames.finish(&mut out);
        let message = b"\x0a\x14\x0a\x06\x0a\x01a\x12\x01b\x12\x0a\x08\x01\x10\x02\x18\x01\x22\x02\xab\xcd\x10\x01";
        let sum = crc32c::crc32c(message).to_be_bytes();
        assert_eq!(out, [&[24][..], &sum, message].concat());
        frames.finish(&mut out);
        assert_eq!(out.len(), 29, "there is nothing more");
    }

    #[test]
    fn a_frame_ends_with_the_chunk_that_fills_it() {
        let mut frames = SeriesFrames::of(0, &labels(&[("a", "b")]), &Labels::empty(), 6 + 40);
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        for t in 1..6 {
            // 26 bytes of field and times among them.
            frames.push(range(t, t), 1, vec![0; 18], &mut out);
            ends.push(out.len());
        }
        frames.finish(&mut out);
        assert_eq!(ends[0], 0);
        assert!(ends[1] > 0 && ends[2] == ends[1] && ends[3] == 2 * ends[1] && ends[4] == ends[3]);
        assert!(out.len() > ends[4]);
    }

    #[test]
    fn an_answer_in_samples_has_a_result_for_each_query() {
        let mut answer = SamplesAnswer::default();
        answer.end_query();
        for series in ["x", "y"] {
            answer.begin_series(&labels(&[("a", series)]), &Labels::empty());
            for t in [1, 2] {
                let floats = [crate::model::Sample { t: TimestampMs(t), v: 0.5 }];
                answer.push(SamplesRef::of_floats(&floats));
            }
        }
        answer.begin_series(&labels(&[("a", "z")]), &Labels::empty());
        answer.end_query();
        let bytes = answer.finish();
        #[derive(Clone, PartialEq, prost::Message)]
        struct Result {
            #[prost(message, repeated, tag = "1")]
            series: Vec<TimeSeries>,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        struct Response {
            #[prost(message, repeated, tag = "1")]
            results: Vec<Result>,
        }
        let results = Response::decode(&*bytes).unwrap().results;
        assert_eq!(results.iter().map(|of| of.series.len()).collect::<Vec<_>>(), [0, 2]);
        let y = &results[1].series[1];
        assert_eq!((&*y.labels[0].value, y.samples.len()), (&b"y"[..], 2));
        assert_eq!((y.samples[1].timestamp, y.samples[1].value), (2, 0.5));
    }
}
