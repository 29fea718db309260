//! What the tests of this room share: a store of a few lines, requests, and remote write in bytes.

#![expect(clippy::cast_possible_truncation, reason = "what tests encode is small")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::admission::ServerBudget;
use super::cli::{self, Command};
use super::config::Current;
use super::metrics::Counters;
use super::service::Server;
use super::settings::Settings;
use crate::coordinator::api::status::CheckpointStatus;
use crate::coordinator::api::{
    AdminError, BadSampleMode, BlockMeta, BudgetStatus, Cardinality, Evaluated, Limited, Need,
    ReadError, ReadSeries, Readiness, ResultsStatus, SeriesReading, ShardStatus, StorageOptions,
    Store, WriteError, WriteOutcome,
};
use crate::model::{
    Family, Fingerprinter, Labels, Matcher, Refusal, RefusalReason, Refusals, Sample, SamplesRef,
    SeriesExemplars, TimeRange, TimestampMs, WriteBatch,
};
use crate::query::memory::{Account, Budget};
use crate::query::{
    Answer, EvalRange, Leaf, LeafFold, Options, QueryError, Unpaced, evaluate, prepare,
};
use crate::rt::local::Event;
use crate::rt::pace::Slice;

/// What every test takes for now.
pub const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

/// A store in a map. Series with a label `bad` are refused as out of order.
#[derive(Clone)]
pub struct FakeStore(Rc<Fake>);

/// What is in it, and what it is told to do.
pub struct Fake {
    pub samples: RefCell<BTreeMap<Labels, BTreeMap<i64, f64>>>,
    pub readiness: Cell<Readiness>,
    /// Whoever needs the store waits for it.
    pub opened: RefCell<Option<Event>>,
    /// How many began to.
    pub waiting: Cell<usize>,
    /// Every write fails so.
    pub write_error: RefCell<Option<WriteError>>,
    /// Writes and queries wait for it.
    pub gate: RefCell<Option<Event>>,
    /// What every query is answered; without it, queries are evaluated.
    pub answer: RefCell<Option<Result<Answer, QueryError>>>,
    /// The last query.
    pub question: RefCell<Option<Question>>,
    /// What operators asked for, in order.
    pub admin: RefCell<Vec<String>>,
    /// What operators ask for fails so.
    pub admin_error: RefCell<Option<AdminError>>,
    /// Exemplars.
    pub exemplars: RefCell<Vec<SeriesExemplars>>,
    /// What is said of metric families.
    pub families: RefCell<Vec<Family>>,
    /// The blocks there are.
    pub blocks: RefCell<Vec<BlockMeta>>,
    /// Reports panic.
    pub panics: Cell<bool>,
    fingerprinter: Fingerprinter,
}

/// A query as the store was asked it.
#[derive(Debug, PartialEq)]
pub struct Question {
    pub text: String,
    pub range: EvalRange,
    pub options: Options,
    pub timeout: Duration,
}

impl std::ops::Deref for FakeStore {
    type Target = Fake;

    fn deref(&self) -> &Fake {
        &self.0
    }
}

impl FakeStore {
    pub fn new() -> Self {
        Self(Rc::new(Fake {
            samples: RefCell::default(),
            readiness: Cell::new(Readiness::Ready),
            opened: RefCell::default(),
            waiting: Cell::new(0),
            write_error: RefCell::default(),
            gate: RefCell::default(),
            answer: RefCell::default(),
            question: RefCell::default(),
            admin: RefCell::default(),
            admin_error: RefCell::default(),
            exemplars: RefCell::default(),
            families: RefCell::default(),
            blocks: RefCell::default(),
            panics: Cell::new(false),
            fingerprinter: Fingerprinter::new(7),
        }))
    }

    async fn pass_gate(&self) {
        let gate = self.gate.borrow().clone();
        if let Some(gate) = gate {
            gate.wait().await;
        }
    }

    /// Notes what an operator asked for.
    fn administer(&self, what: String) -> Result<(), AdminError> {
        self.admin.borrow_mut().push(what);
        self.admin_error.borrow().clone().map_or(Ok(()), Err)
    }

    fn matching(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> Vec<Labels> {
        let samples = self.samples.borrow();
        let found = samples.iter().filter(|(labels, samples)| {
            let passes = |selector: &Vec<Matcher>| {
                selector.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")))
            };
            (selectors.is_empty() || selectors.iter().any(passes))
                && samples.keys().any(|t| range.contains(TimestampMs(*t)))
        });
        found.map(|(labels, _)| labels.clone()).collect()
    }
}

fn limited<T>(mut items: Vec<T>, limit: Option<usize>) -> Limited<T> {
    let truncated = limit.is_some_and(|limit| items.len() > limit);
    items.truncate(limit.unwrap_or(usize::MAX));
    Limited { items, truncated, account: Budget::unlimited().open() }
}

/// What a read of a [`FakeStore`] gives.
pub struct FakeReading(std::vec::IntoIter<(Labels, Vec<Sample>)>, Account);

impl SeriesReading for FakeReading {
    fn account(&self) -> &Account {
        &self.1
    }

    async fn next(&mut self) -> Result<Option<ReadSeries>, ReadError> {
        let Some((labels, floats)) = self.0.next() else { return Ok(None) };
        let samples = SamplesRef::of_floats(&floats);
        Ok(Some(ReadSeries::of(labels, samples, &mut Slice::start()).await))
    }
}

impl Store for FakeStore {
    type Reading = FakeReading;

    fn read(&self, matchers: Vec<Matcher>, range: TimeRange) -> FakeReading {
        let found = self.matching(&[matchers], range).into_iter().map(|labels| {
            let stored = self.samples.borrow();
            let samples = stored[&labels].iter().map(|(t, v)| Sample { t: TimestampMs(*t), v: *v });
            let samples: Vec<Sample> = samples.filter(|sample| range.contains(sample.t)).collect();
            (labels, samples)
        });
        FakeReading(found.collect::<Vec<_>>().into_iter(), Budget::unlimited().open())
    }

    async fn write(
        &self,
        batch: WriteBatch,
        mode: BadSampleMode,
    ) -> Result<WriteOutcome, WriteError> {
        self.pass_gate().await;
        if let Some(error) = self.write_error.borrow().clone() {
            return Err(error);
        }
        let (mut good, mut refused) = (Vec::new(), Vec::new());
        for (entry, samples) in batch.parts.iter().flat_map(|part| part.iter()) {
            let labels =
                Labels::from_canonical(&*batch.text.canonical(entry.labels).unwrap()).unwrap();
            if labels.get("bad").is_some() {
                let samples = samples.len() as u32;
                let reason = RefusalReason::OutOfOrder;
                refused.push(Refusal { series: labels.to_string(), samples, reason });
            } else {
                good.push((labels, samples.to_vec()));
            }
        }
        let refused_series = refused.len() as u64;
        if mode == BadSampleMode::Rollback && refused_series > 0 {
            good.clear();
        }
        let mut written = 0;
        for (labels, samples) in good {
            written += samples.len() as u64;
            let mut stored = self.samples.borrow_mut();
            let series = stored.entry(labels).or_default();
            series.extend(samples.iter().map(|sample| (sample.t.0, sample.v)));
        }
        let exemplars_written = batch.parts.iter().map(|part| part.exemplars.len() as u64).sum();
        Ok(WriteOutcome {
            written,
            histograms_written: 0,
            refused,
            refused_series,
            exemplars_written,
            exemplars_refused: Refusals::default(),
            batch,
        })
    }

    async fn query(
        &self,
        text: &str,
        range: EvalRange,
        options: &Options,
        timeout: Duration,
    ) -> Result<Evaluated, QueryError> {
        let prepared_in = Duration::ZERO;
        *self.question.borrow_mut() =
            Some(Question { text: text.to_owned(), range, options: *options, timeout });
        self.pass_gate().await;
        if let Some(answer) = self.answer.borrow().clone() {
            let account = Budget::unlimited().open();
            return answer.map(|answer| Evaluated { answer, prepared_in, account });
        }
        let prepared = prepare(text, range, options)?;
        let fold = |leaf: &Leaf| {
            let mut fold = LeafFold::new(leaf);
            for (labels, samples) in &*self.samples.borrow() {
                if leaf
                    .matchers()
                    .iter()
                    .all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
                {
                    let samples = samples.iter().map(|(t, v)| Sample { t: TimestampMs(*t), v: *v });
                    let samples: Vec<Sample> = samples.collect();
                    futures_lite::future::block_on(fold.push(labels.as_ref(), &samples, &Unpaced))?;
                }
            }
            Ok(vec![futures_lite::future::block_on(fold.finish(&Unpaced))?])
        };
        let parts: Result<_, QueryError> = prepared.leaves().iter().map(fold).collect();
        let account = Budget::unlimited().open();
        let answer = evaluate(&prepared, parts?, &Unpaced, &account).await?;
        Ok(Evaluated { answer, prepared_in, account })
    }

    async fn series(
        &self,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Limited<Labels>, ReadError> {
        Ok(limited(self.matching(&selectors, range), limit))
    }

    async fn label_names(
        &self,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Limited<String>, ReadError> {
        let series = self.matching(&selectors, range);
        let names = series.iter().flat_map(Labels::iter).map(|label| label.name.to_owned());
        let names: std::collections::BTreeSet<String> = names.collect();
        Ok(limited(names.into_iter().collect(), limit))
    }

    async fn label_values(
        &self,
        name: String,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Limited<String>, ReadError> {
        let series = self.matching(&selectors, range);
        let values = series.iter().filter_map(|labels| labels.get(&name)).map(str::to_owned);
        let values: std::collections::BTreeSet<String> = values.collect();
        Ok(limited(values.into_iter().collect(), limit))
    }

    async fn status(&self) -> Vec<ShardStatus> {
        assert!(!self.panics.get(), "told to panic");
        vec![ShardStatus {
            series: self.samples.borrow().len() as u64,
            checkpoints: CheckpointStatus { begun: 5, failed: 1, ..CheckpointStatus::default() },
            ..ShardStatus::default()
        }]
    }

    async fn cardinality(&self, limit: usize) -> Result<Cardinality, ReadError> {
        let series_by_metric = vec![("up".to_owned(), limit as u64)];
        Ok(Cardinality { series_by_metric, ..Cardinality::default() })
    }

    async fn exemplars(
        &self,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
    ) -> Result<Limited<SeriesExemplars>, ReadError> {
        let found = self.exemplars.borrow();
        let of = |of: &SeriesExemplars| {
            let passes = |selector: &Vec<Matcher>| {
                selector.iter().all(|m| m.matches(of.series.get(m.name()).unwrap_or("")))
            };
            let within = of.exemplars.iter().filter(|exemplar| range.contains(exemplar.t));
            let exemplars: Vec<_> = within.cloned().collect();
            let is_found = selectors.iter().any(passes) && !exemplars.is_empty();
            is_found.then(|| SeriesExemplars { series: of.series.clone(), exemplars })
        };
        Ok(limited(found.iter().filter_map(of).collect(), None))
    }

    async fn metadata(&self, name: Option<String>) -> Result<Vec<Family>, ReadError> {
        let families = self.families.borrow();
        let asked = |family: &&Family| name.as_ref().is_none_or(|name| *name == family.0);
        Ok(families.iter().filter(asked).cloned().collect())
    }

    async fn blocks(&self) -> Result<Vec<BlockMeta>, ReadError> {
        Ok(self.blocks.borrow().clone())
    }

    async fn delete_series(
        &self,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
    ) -> Result<(), AdminError> {
        self.administer(format!("delete_series {range:?}"))?;
        for labels in self.matching(&selectors, range) {
            if let Some(samples) = self.samples.borrow_mut().get_mut(&labels) {
                samples.retain(|t, _| !range.contains(TimestampMs(*t)));
            }
        }
        Ok(())
    }

    async fn clean_tombstones(&self) -> Result<(), AdminError> {
        self.administer("clean_tombstones".to_owned())
    }

    async fn snapshot(&self, name: String, skip_head: bool) -> Result<(), AdminError> {
        self.administer(format!("snapshot {name} skip_head={skip_head}"))
    }

    async fn configure(&self, storage: StorageOptions) -> Result<(), AdminError> {
        self.administer(format!("configure out_of_order={}", storage.out_of_order_window_ms))
    }

    async fn opened(&self, _: Need) {
        let opened = self.opened.borrow().clone();
        if let Some(opened) = opened {
            self.waiting.set(self.waiting.get() + 1);
            opened.wait().await;
        }
    }

    fn results(&self) -> ResultsStatus {
        ResultsStatus::default()
    }

    fn query_memory(&self) -> BudgetStatus {
        BudgetStatus::default()
    }

    fn readiness(&self) -> Readiness {
        self.readiness.get()
    }

    fn shard_count(&self) -> usize {
        2
    }

    fn shard_of(&self, route: u64) -> usize {
        usize::from(route >= 1 << 63)
    }

    fn fingerprinter(&self) -> &Fingerprinter {
        &self.fingerprinter
    }
}

/// A server on `store` with these flags, as on a command line.
pub fn server(store: &FakeStore, flags: &str) -> Rc<Server<FakeStore>> {
    let args = ["floodplain", "serve"].into_iter().chain(flags.split_whitespace());
    let invocation = cli::parse(args.map(OsString::from)).unwrap();
    let Command::Serve(flags) = invocation.command else { panic!("{flags} is not serve") };
    let (current, _) = Current::at_start(&flags, NOW).unwrap();
    let settings = Settings::new(&flags, invocation.flags, current, NOW);
    let budget = ServerBudget::new(settings.inflight_bytes_max);
    let counters = Counters::for_cores(1).remove(0);
    Server::new(store.clone(), Arc::new(settings), counters, budget, || NOW, Event::new())
}

/// A body that arrives in pieces.
pub struct Pieces {
    pieces: VecDeque<Bytes>,
    declared: Option<u64>,
}

impl Pieces {
    /// All of it is declared beforehand.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { declared: Some(bytes.len() as u64), pieces: [bytes].into() }
    }

    /// Its length is not declared, as in chunked transfer. The piece `broken` is an error.
    pub fn undeclared(pieces: &[&'static [u8]]) -> Self {
        Self {
            pieces: pieces.iter().map(|piece| Bytes::from_static(piece)).collect(),
            declared: None,
        }
    }

    /// It declares a length, and then these pieces come.
    pub fn declaring(length: u64, pieces: &[&'static [u8]]) -> Self {
        Self { declared: Some(length), ..Self::undeclared(pieces) }
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(match self.pieces.pop_front() {
            Some(piece) if piece == "broken" => Some(Err("connection reset")),
            Some(piece) => Some(Ok(Frame::data(piece))),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.declared.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answered {
    /// A header's text; empty if the answer has none of that name.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What the server answers.
pub async fn ask(server: &Server<FakeStore>, request: Request<Pieces>) -> Answered {
    let (head, body) = server.answer(request).await.into_parts();
    let (mut body, mut bytes) = (pin!(body), Vec::new());
    while let Some(Ok(frame)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        bytes.extend_from_slice(&frame.into_data().unwrap());
    }
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Answered { status: head.status, headers: head.headers, body }
}

/// A request without a body.
pub fn request(method: Method, uri: &str) -> Request<Pieces> {
    Request::builder().method(method).uri(uri).body(Pieces::whole("")).unwrap()
}

/// A GET.
pub fn get(uri: &str) -> Request<Pieces> {
    request(Method::GET, uri)
}

/// A form.
pub fn post_form(uri: &str, form: &'static str) -> Request<Pieces> {
    let mut request = request(Method::POST, uri);
    *request.body_mut() = Pieces::whole(form);
    let content_type = "application/x-www-form-urlencoded".parse().unwrap();
    request.headers_mut().insert("content-type", content_type);
    request
}

/// One series for a write: its labels and its samples.
pub type Written<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

/// Remote write 1.0, snappy.
pub fn write_v1(series: &[Written<'_>]) -> Request<Pieces> {
    let mut message = Vec::new();
    for (labels, samples) in series {
        let labels = Labels::from_pairs(labels.iter().copied()).unwrap();
        let mut inner = labels.as_bytes().to_vec();
        for sample in *samples {
            field(&mut inner, 2, &sample_bytes(*sample));
        }
        field(&mut message, 1, &inner);
    }
    post_write("application/x-protobuf", &message)
}

/// Remote write 2.0, snappy.
pub fn write_v2(series: &[Written<'_>]) -> Request<Pieces> {
    let mut symbols = vec![""];
    let mut all = Vec::new();
    for (labels, samples) in series {
        let mut refs = Vec::new();
        for text in labels.iter().flat_map(|(name, value)| [*name, *value]) {
            varint(&mut refs, symbols.len() as u64);
            symbols.push(text);
        }
        let mut inner = Vec::new();
        field(&mut inner, 1, &refs);
        for sample in *samples {
            field(&mut inner, 2, &sample_bytes(*sample));
        }
        field(&mut all, 5, &inner);
    }
    let mut message = Vec::new();
    for symbol in symbols {
        field(&mut message, 4, symbol.as_bytes());
    }
    message.extend(all);
    post_write("application/x-protobuf;proto=io.prometheus.write.v2.Request", &message)
}

/// A write of this message, packed.
pub fn post_write(content_type: &str, message: &[u8]) -> Request<Pieces> {
    let mut request = request(Method::POST, "/api/v1/write");
    *request.body_mut() = Pieces::whole(snappy(message));
    request.headers_mut().insert("content-type", content_type.parse().unwrap());
    request.headers_mut().insert("content-encoding", "snappy".parse().unwrap());
    request
}

/// Snappy's block format with nothing but literals.
fn snappy(plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    varint(&mut packed, plain.len() as u64);
    for literal in plain.chunks(60) {
        packed.push((literal.len() as u8 - 1) << 2);
        packed.extend_from_slice(literal);
    }
    packed
}

fn sample_bytes((t, v): (i64, f64)) -> Vec<u8> {
    let mut bytes = vec![0x09];
    bytes.extend_from_slice(&v.to_bits().to_le_bytes());
    bytes.push(0x10);
    varint(&mut bytes, t as u64);
    bytes
}

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
