//! What a shard is asked, and what it answers: plain data that crosses cores. Large things lie behind a pointer, because
//! a channel's room is allocated for its largest message.

use std::sync::Arc;

use super::asking::Asking;
use super::changes::Changed;
use super::commit::WriteFailed;
use super::cursor::{CursorPart, CursorStep};
use super::deleting::NotDone;
use super::exemplars::ExemplarSelection;
use super::options::StorageOptions;
use super::snapshotting::{Share, SnapshotStep};
use super::status::{PairUse, ShardStatus};
pub use crate::encoding::block::meta::BlockMeta;
use crate::model::{
    Family, LabelText, Labels, Matcher, Part, Refusals, SeriesExemplars, TimeRange,
};
use crate::query::{Leaf, LeafPart, QueryError};
use crate::storage::head::exemplars::AppendedExemplars;

/// A question to a shard.
pub enum Request {
    /// Store this part and answer when it is durable.
    Append(Box<Part>, Arc<LabelText>),
    /// Would anything of this part be refused? Changes nothing.
    Check(Box<Part>, Arc<LabelText>),
    /// Read and fold the series of each leaf.
    Fold(Arc<FoldRequest>),
    /// The label sets of the series that any selector finds.
    Series(Arc<Selection>),
    /// The names of their labels.
    LabelNames(Arc<Selection>),
    /// The values of one of their labels.
    LabelValues(Arc<str>, Arc<Selection>),
    /// Read all samples of a selection, part by part: a step of the cursor of this name.
    Cursor(u64, CursorStep),
    /// Delete the samples of the series that any selector finds, within the range, and answer when that is durable.
    DeleteSeries(Arc<Selection>),
    /// Rewrite the blocks of which something is deleted, without that.
    CleanTombstones,
    /// Do something for a snapshot.
    Snapshot(Box<SnapshotStep>),
    /// What is known of the blocks that are answered from.
    Blocks,
    /// From now on data is kept so. Also a shard that is not open yet answers.
    Configure(Box<StorageOptions>),
    /// The exemplars of the series that any selector finds.
    Exemplars(Arc<ExemplarSelection>),
    /// What is said of the metric family of this name, or of all.
    Metadata(Option<Arc<str>>),
    /// What has changed since this moment of the shard's; without one, only which moment it is.
    Changes(Option<u64>),
    /// Counters and gauges.
    Status,
    /// How often label pairs are used; with the texts of so many of the most used ones of a name.
    PairUse(usize),
}

/// What a shard reads and folds for one query.
#[derive(Debug)]
pub struct FoldRequest {
    /// The query's leaves.
    pub leaves: Vec<Leaf>,
    /// What the query's memory is charged to, and whether anybody waits for it.
    pub asking: Arc<Asking>,
}

/// Which series a question is about.
#[derive(Debug)]
pub struct Selection {
    /// Series that any of these finds; all series if there are none.
    pub selectors: Vec<Vec<Matcher>>,
    /// Only series with a chunk in this range.
    pub range: TimeRange,
    /// Of more names, values or label sets the first ones are wanted.
    pub items_max: Option<usize>,
    /// What the answer's memory is charged to, and whether anybody waits for it.
    pub asking: Arc<Asking>,
}

impl Selection {
    /// The selectors; one that finds everything if there are none.
    pub fn any_of(&self) -> impl Iterator<Item = &[Matcher]> {
        let everything = self.selectors.is_empty().then_some(&[][..]);
        everything.into_iter().chain(self.selectors.iter().map(Vec::as_slice))
    }
}

/// A shard's answer; of the same kind as the question, unless the shard does not answer.
pub enum Response {
    /// To [`Request::Append`].
    Appended(Box<Part>, Result<Box<Stored>, WriteFailed>),
    /// To [`Request::Check`].
    Checked(Box<Part>, Box<Refusals>),
    /// To [`Request::Fold`]: one part a leaf.
    Folded(Box<Result<Vec<LeafPart>, QueryError>>),
    /// To [`Request::Series`]: each once, sorted.
    Series(Result<Vec<Labels>, Box<QueryError>>),
    /// To [`Request::LabelNames`] and [`Request::LabelValues`]: each once, sorted.
    Names(Result<Vec<String>, Box<QueryError>>),
    /// To [`Request::Cursor`].
    CursorPart(Result<Box<CursorPart>, Box<QueryError>>),
    /// To [`Request::DeleteSeries`], [`Request::CleanTombstones`], [`Request::Configure`] and the steps of
    /// [`Request::Snapshot`] but one.
    Done(Result<(), NotDone>),
    /// To [`SnapshotStep::Give`].
    Share(Result<Box<Share>, NotDone>),
    /// To [`Request::Blocks`], in no order.
    Blocks(Vec<BlockMeta>),
    /// To [`Request::Exemplars`]: each series once, in no order.
    Exemplars(Result<Vec<SeriesExemplars>, Box<QueryError>>),
    /// To [`Request::Metadata`], in no order.
    Metadata(Vec<Family>),
    /// To [`Request::Changes`].
    Changes(Changed),
    /// To [`Request::Status`].
    Status(Box<ShardStatus>),
    /// To [`Request::PairUse`].
    PairUse(Box<PairUse>),
    /// There is no answer: why.
    Failed(String),
    /// The log is still being read back, or the shard stops.
    NotReady,
}

/// What became of an appended part.
#[derive(Debug)]
pub struct Stored {
    /// Floats that the shard has now because or before of this part.
    pub written: u64,
    /// Native histograms likewise.
    pub histograms_written: u64,
    /// What it refused.
    pub refused: Refusals,
    /// What became of its exemplars.
    pub exemplars: AppendedExemplars,
}

const _: () =
    assert!(size_of::<Request>() <= 40 && size_of::<Response>() <= 40, "channels hold thousands");
