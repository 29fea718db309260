//! The store as one core sees it: questions go to all shards, parts of a write to their owners, answers are put together.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::api::{
    AdminError, BadSampleMode, BlockMeta, Cardinality, Evaluated, Limited, Need, ReadError,
    Readiness, ReplayProgress, ShardStatus, StorageOptions, Store, WriteError, WriteOutcome,
};
use super::cardinality::cardinality;
use super::evaluation::{Asked, Evaluation};
use super::gate::Gate;
use super::gather;
use super::in_order;
use super::merged_read::MergedRead;
use super::results::{Results, ResultsStatus};
use super::route::shard_of;
use super::snapshot::SnapshotTurn;
use crate::model::{
    Family, Fingerprinter, Labels, Matcher, Metadata, Part, Refusals, SeriesExemplars, ShardId,
    TimeRange, WriteBatch,
};
use crate::query::memory::{Budget, BudgetStatus};
use crate::query::{EvalRange, Leaf, LeafPart, Options, QueryError};
use crate::rt::mesh::{CallError, Peers};
use crate::rt::pace::Slice;
use crate::shard::replaying::Replaying;
use crate::shard::{ExemplarSelection, NotDone, Request, Response, Selection};

/// The store as one core sees it. Clones are the same.
#[derive(Clone)]
pub struct Coordinator(pub(super) Rc<Inner>);

pub(super) struct Inner {
    pub(super) peers: Peers<Request, Response>,
    pub(super) shards: u16,
    fingerprinter: Fingerprinter,
    replaying: Replaying,
    reads: Gate,
    writes: Gate,
    pub(super) snapshots: SnapshotTurn,
    pub(super) results: Results,
    pub(super) budget: Budget,
    stopping: Cell<bool>,
}

/// A shard that answered something else than it was asked, or nothing.
pub(super) enum NoAnswer {
    NotReady,
    Failed(String),
    Refused(Box<QueryError>),
}

impl From<CallError> for NoAnswer {
    fn from(error: CallError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<NoAnswer> for WriteError {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::NotReady => Self::NotReady,
            NoAnswer::Failed(why) => Self::Storage(why),
            NoAnswer::Refused(why) => Self::Storage(why.to_string()),
        }
    }
}

impl From<NoAnswer> for ReadError {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::NotReady => Self::NotReady,
            NoAnswer::Failed(why) => Self::Storage(why),
            NoAnswer::Refused(why) => match *why {
                QueryError::Storage(why) => Self::Storage(why),
                why => Self::Refused(why),
            },
        }
    }
}

impl From<NotDone> for AdminError {
    fn from(not_done: NotDone) -> Self {
        match not_done {
            NotDone::Busy(why) => Self::Busy(why),
            NotDone::Failed(why) => Self::Storage(why),
        }
    }
}

impl From<NoAnswer> for AdminError {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::NotReady => Self::NotReady,
            NoAnswer::Failed(why) => Self::Storage(why),
            NoAnswer::Refused(why) => Self::Storage(why.to_string()),
        }
    }
}

/// What to make of an answer that is not of the question's kind.
pub(super) fn other(response: &Response) -> NoAnswer {
    match response {
        Response::NotReady => NoAnswer::NotReady,
        Response::Failed(why) => NoAnswer::Failed(why.clone()),
        _ => NoAnswer::Failed("a shard answered another question than it was asked".to_owned()),
    }
}

impl Coordinator {
    /// The store behind `peers`.
    ///
    /// - `shards`: how many there are.
    /// - `snapshots`, `results`, `budget`: one for all cores.
    #[must_use]
    pub fn new(
        peers: Peers<Request, Response>,
        shards: u16,
        fingerprinter: Fingerprinter,
        replaying: Replaying,
        snapshots: SnapshotTurn,
        (results, budget): (Results, Budget),
    ) -> Self {
        let (of_reads, of_writes) = (replaying.clone(), replaying.clone());
        let reads = Gate::new(move || of_reads.all_done());
        let writes = Gate::new(move || of_writes.all_take_writes());
        Self(Rc::new(Inner {
            peers,
            shards,
            fingerprinter,
            replaying,
            reads,
            writes,
            snapshots,
            results,
            budget,
            stopping: Cell::new(false),
        }))
    }

    /// Takes nothing more; what has been asked is still answered.
    pub fn stop(&self) {
        self.0.stopping.set(true);
    }

    /// The line to the shards.
    #[must_use]
    pub fn peers(&self) -> &Peers<Request, Response> {
        &self.0.peers
    }

    fn is_ready(&self) -> bool {
        matches!(self.readiness(), Readiness::Ready)
    }

    /// Asks every shard; the answers in order of the shards.
    pub(super) async fn ask_all(
        &self,
        request: impl Fn() -> Request,
    ) -> Result<Vec<Response>, CallError> {
        let calls = (0..self.0.shards).map(|shard| self.0.peers.call(ShardId(shard), request()));
        gather::all(calls).await.into_iter().collect()
    }

    /// Sends each part that is not empty to its owner, and puts it back into the batch with the answer.
    async fn send_parts(
        &self,
        batch: &mut WriteBatch,
        request: impl Fn(Box<Part>, Arc<crate::model::LabelText>) -> Request,
        mut answer: impl FnMut(Response) -> Result<Box<Part>, NoAnswer>,
    ) -> Result<(), NoAnswer> {
        let mut owners = Vec::new();
        let mut calls = Vec::new();
        for (shard, part) in
            (0u16..).map(ShardId).zip(&mut batch.parts).filter(|(_, part)| !part.is_empty())
        {
            owners.push(shard);
            let part = Box::new(std::mem::take(part));
            calls.push(self.0.peers.call(shard, request(part, Arc::clone(&batch.text))));
        }
        let mut failed = None;
        for (shard, response) in owners.into_iter().zip(gather::all(calls).await) {
            match response.map_err(NoAnswer::from).and_then(&mut answer) {
                Ok(part) => {
                    if let Some(slot) = batch.parts.get_mut(shard.index()) {
                        *slot = *part;
                    }
                }
                Err(none) => failed = Some(none),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// What the shards make of a query's leaves: a part for each leaf and shard.
    pub(super) async fn fold(
        &self,
        leaves: &[Leaf],
        evaluation: &Evaluation,
    ) -> Result<Vec<Vec<LeafPart>>, QueryError> {
        if leaves.is_empty() {
            return Ok(Vec::new());
        }
        let request = evaluation.request(leaves);
        let responses = self.ask_all(|| Request::Fold(Arc::clone(&request))).await;
        let mut parts: Vec<Vec<LeafPart>> = leaves.iter().map(|_| Vec::new()).collect();
        for response in responses.map_err(|error| QueryError::Internal(error.to_string()))? {
            let Response::Folded(folded) = response else {
                return Err(QueryError::Internal(
                    "a shard does not answer yet, or no more".to_owned(),
                ));
            };
            for (leaf, part) in parts.iter_mut().zip((*folded)?) {
                leaf.push(part);
            }
        }
        Ok(parts)
    }

    /// Has all shards do something; if several do not, what the first of them says.
    async fn have_done(&self, request: impl Fn() -> Request) -> Result<(), AdminError> {
        for response in self.ask_all(request).await.map_err(NoAnswer::from)? {
            match response {
                Response::Done(done) => done?,
                response => return Err(other(&response).into()),
            }
        }
        Ok(())
    }

    /// Asks all shards which items the selection finds: each once, sorted and cut at `limit`.
    async fn find<T: Ord + 'static>(
        &self,
        (selectors, range): (Vec<Vec<Matcher>>, TimeRange),
        limit: Option<usize>,
        request: impl Fn(Arc<Selection>) -> Request,
        items: impl Fn(Response) -> Result<Vec<T>, NoAnswer>,
    ) -> Result<Limited<T>, ReadError> {
        let asked = Asked::new(&self.0.budget.open());
        // One more, so that it is known whether there are more.
        let items_max = limit.map(|limit| limit.saturating_add(1));
        let selection = Selection { selectors, range, items_max, asking: asked.asking() };
        let selection = Arc::new(selection);
        let responses = self.ask_all(|| request(Arc::clone(&selection))).await;
        let mut lists = Vec::new();
        for response in responses.map_err(NoAnswer::from)? {
            lists.push(items(response)?);
        }
        let (items, truncated) =
            in_order::merged(lists, limit.unwrap_or(usize::MAX), &mut Slice::start()).await;
        Ok(Limited { items, truncated, account: asked.account().clone() })
    }
}

fn names(response: Response) -> Result<Vec<String>, NoAnswer> {
    match response {
        Response::Names(names) => names.map_err(NoAnswer::Refused),
        response => Err(other(&response)),
    }
}

impl Store for Coordinator {
    type Reading = MergedRead;

    async fn write(
        &self,
        mut batch: WriteBatch,
        mode: BadSampleMode,
    ) -> Result<WriteOutcome, WriteError> {
        if !self.is_ready() {
            return Err(WriteError::NotReady);
        }
        let mut refused = Refusals::default();
        if mode == BadSampleMode::Rollback {
            self.send_parts(&mut batch, Request::Check, |response| match response {
                Response::Checked(part, refusals) => {
                    refused.append(*refusals);
                    Ok(part)
                }
                response => Err(other(&response)),
            })
            .await?;
            if !refused.is_empty() {
                let Refusals { named, series, .. } = refused;
                return Ok(WriteOutcome {
                    written: 0,
                    histograms_written: 0,
                    refused: named,
                    refused_series: series,
                    exemplars_written: 0,
                    exemplars_refused: Refusals::default(),
                    batch,
                });
            }
        }
        let (mut written, mut histograms_written, mut exemplars_written) = (0, 0, 0);
        let mut exemplars_refused = Refusals::default();
        self.send_parts(&mut batch, Request::Append, |response| match response {
            Response::Appended(part, Ok(stored)) => {
                written += stored.written;
                histograms_written += stored.histograms_written;
                refused.append(stored.refused);
                exemplars_written += stored.exemplars.written;
                exemplars_refused.append(stored.exemplars.refused);
                Ok(part)
            }
            Response::Appended(_, Err(why)) => Err(NoAnswer::Failed(why.to_string())),
            response => Err(other(&response)),
        })
        .await?;
        let Refusals { named, series, .. } = refused;
        Ok(WriteOutcome {
            written,
            histograms_written,
            refused: named,
            refused_series: series,
            exemplars_written,
            exemplars_refused,
            batch,
        })
    }

    async fn series(
        &self,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Limited<Labels>, ReadError> {
        let items = |response| match response {
            Response::Series(series) => series.map_err(NoAnswer::Refused),
            response => Err(other(&response)),
        };
        self.find((selectors, range), limit, Request::Series, items).await
    }

    async fn label_names(
        &self,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Limited<String>, ReadError> {
        self.find((selectors, range), limit, Request::LabelNames, names).await
    }

    async fn label_values(
        &self,
        name: String,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Limited<String>, ReadError> {
        let name = Arc::<str>::from(name);
        let request = |selection| Request::LabelValues(Arc::clone(&name), selection);
        self.find((selectors, range), limit, request, names).await
    }

    fn read(&self, matchers: Vec<Matcher>, range: TimeRange) -> MergedRead {
        MergedRead::new(self.clone(), matchers, range)
    }

    async fn query(
        &self,
        text: &str,
        range: EvalRange,
        options: &Options,
        timeout: Duration,
    ) -> Result<Evaluated, QueryError> {
        self.answer(text, range, options, timeout).await
    }

    fn results(&self) -> ResultsStatus {
        self.0.results.status()
    }

    fn query_memory(&self) -> BudgetStatus {
        self.0.budget.status()
    }

    async fn status(&self) -> Vec<ShardStatus> {
        let responses = self.ask_all(|| Request::Status).await.unwrap_or_default();
        let status = |response| match response {
            Response::Status(status) => Some(*status),
            _ => None,
        };
        responses.into_iter().filter_map(status).collect()
    }

    async fn cardinality(&self, limit: usize) -> Result<Cardinality, ReadError> {
        let mut parts = Vec::new();
        for response in self.ask_all(|| Request::PairUse(limit)).await.map_err(NoAnswer::from)? {
            match response {
                Response::PairUse(part) => parts.push(*part),
                response => return Err(other(&response).into()),
            }
        }
        Ok(cardinality(parts, limit, &mut Slice::start()).await)
    }

    async fn opened(&self, need: Need) {
        match need {
            Need::Reads => self.0.reads.pass().await,
            Need::Writes => self.0.writes.pass().await,
        }
    }

    fn readiness(&self) -> Readiness {
        if self.0.stopping.get() {
            Readiness::Stopping
        } else if self.0.replaying.all_done() {
            Readiness::Ready
        } else {
            let (bytes_read, bytes) = self.0.replaying.bytes();
            Readiness::Replaying(ReplayProgress { bytes_read, bytes })
        }
    }

    fn shard_count(&self) -> usize {
        usize::from(self.0.shards)
    }

    fn shard_of(&self, route: u64) -> usize {
        shard_of(route, self.0.shards).index()
    }

    fn fingerprinter(&self) -> &Fingerprinter {
        &self.0.fingerprinter
    }

    async fn blocks(&self) -> Result<Vec<BlockMeta>, ReadError> {
        let mut blocks = BTreeMap::new();
        for response in self.ask_all(|| Request::Blocks).await.map_err(NoAnswer::from)? {
            let Response::Blocks(of_shard) = response else { return Err(other(&response).into()) };
            // A block that may hold anybody's series is read by several shards.
            blocks.extend(of_shard.into_iter().map(|meta| ((meta.min_time, meta.ulid), meta)));
        }
        Ok(blocks.into_values().collect())
    }

    async fn exemplars(
        &self,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
    ) -> Result<Limited<SeriesExemplars>, ReadError> {
        let asked = Asked::new(&self.0.budget.open());
        let selection = Arc::new(ExemplarSelection { selectors, range, asking: asked.asking() });
        let asking = self.ask_all(|| Request::Exemplars(Arc::clone(&selection)));
        let mut all = Vec::new();
        for response in asking.await.map_err(NoAnswer::from)? {
            let Response::Exemplars(found) = response else { return Err(other(&response).into()) };
            all.extend(found.map_err(NoAnswer::Refused)?);
        }
        // There are no more of them than shards keep exemplars.
        all.sort_by(|a, b| a.series.cmp(&b.series));
        Ok(Limited { items: all, truncated: false, account: asked.account().clone() })
    }

    async fn metadata(&self, name: Option<String>) -> Result<Vec<Family>, ReadError> {
        let name = name.map(Arc::<str>::from);
        let mut all = BTreeMap::<String, Vec<Metadata>>::new();
        for response in
            self.ask_all(|| Request::Metadata(name.clone())).await.map_err(NoAnswer::from)?
        {
            let Response::Metadata(families) = response else {
                return Err(other(&response).into());
            };
            for (family, entries) in families {
                // One shard has a family, unless another rule for which one once made it another.
                let known = all.entry(family).or_default();
                for entry in entries {
                    if !known.contains(&entry) {
                        known.push(entry);
                    }
                }
            }
        }
        Ok(all.into_iter().collect())
    }

    async fn delete_series(
        &self,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
    ) -> Result<(), AdminError> {
        if selectors.is_empty() {
            return Ok(()); // to a shard, none would be all series
        }
        let asked = Asked::new(&self.0.budget.open());
        let asking = asked.asking();
        let selection = Arc::new(Selection { selectors, range, items_max: None, asking });
        self.have_done(|| Request::DeleteSeries(Arc::clone(&selection))).await
    }

    async fn clean_tombstones(&self) -> Result<(), AdminError> {
        self.have_done(|| Request::CleanTombstones).await
    }

    async fn configure(&self, storage: StorageOptions) -> Result<(), AdminError> {
        self.have_done(|| Request::Configure(Box::new(storage))).await
    }

    async fn snapshot(&self, name: String, skip_head: bool) -> Result<(), AdminError> {
        if !self.is_ready() {
            return Err(AdminError::NotReady);
        }
        self.make_snapshot(name, skip_head).await
    }
}
