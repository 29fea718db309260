//! All samples of a selection, from all shards, in order of labels: a cursor on each shard, and one part of each in memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::api::{ReadError, ReadSeries, SeriesReading};
use super::evaluation::Asked;
use super::gather;
use super::store::{Coordinator, NoAnswer, other};
use crate::model::{Labels, Matcher, ShardId, TimeRange};
use crate::query::memory::Account;
use crate::rt::task;
use crate::shard::cursor::{CursorPart, CursorStep};
use crate::shard::{Request, Response, Selection};

/// A read over all shards. Dropped before its end, it ends its cursors.
pub struct MergedRead {
    store: Coordinator,
    /// The cursors' name.
    name: u64,
    selection: Arc<Selection>,
    asked: Asked,
    shards: Vec<OfShard>,
}

/// How far a shard is.
#[derive(Default)]
struct OfShard {
    has_begun: bool,
    has_ended: bool,
    /// Read, and not handed out yet.
    series: VecDeque<ReadSeries>,
}

impl OfShard {
    fn needs_more(&self) -> bool {
        self.series.is_empty() && !self.has_ended
    }

    fn next_labels(&self) -> Option<&Labels> {
        self.series.front().map(|series| &series.labels)
    }
}

/// Names cursors, over all cores.
static NEXT_NAME: AtomicU64 = AtomicU64::new(1);

impl MergedRead {
    pub(super) fn new(store: Coordinator, matchers: Vec<Matcher>, range: TimeRange) -> Self {
        let shards = (0..store.0.shards).map(|_| OfShard::default()).collect();
        let asked = Asked::new(&store.0.budget.open());
        let selection =
            Selection { selectors: vec![matchers], range, items_max: None, asking: asked.asking() };
        Self {
            store,
            name: NEXT_NAME.fetch_add(1, Ordering::Relaxed),
            selection: Arc::new(selection),
            asked,
            shards,
        }
    }

    /// Asks every shard whose next series is not known for its next part.
    async fn fill(&mut self) -> Result<(), NoAnswer> {
        let (mut asked, mut calls) = (Vec::new(), Vec::new());
        for (id, shard) in (0u16..).map(ShardId).zip(&mut self.shards) {
            if shard.needs_more() {
                let step = match std::mem::replace(&mut shard.has_begun, true) {
                    true => CursorStep::Next,
                    false => CursorStep::Begin(Arc::clone(&self.selection)),
                };
                calls.push(self.store.peers().call(id, Request::Cursor(self.name, step)));
                asked.push(id);
            }
        }
        for (id, response) in asked.into_iter().zip(gather::all(calls).await) {
            let CursorPart { series, is_last } = match response? {
                Response::CursorPart(part) => *part.map_err(NoAnswer::Refused)?,
                response => return Err(other(&response)),
            };
            if let Some(shard) = self.shards.get_mut(id.index()) {
                shard.series.extend(series);
                shard.has_ended = is_last;
            }
        }
        Ok(())
    }
}

impl SeriesReading for MergedRead {
    fn account(&self) -> &Account {
        self.asked.account()
    }

    async fn next(&mut self) -> Result<Option<ReadSeries>, ReadError> {
        if self.shards.iter().any(OfShard::needs_more) {
            self.fill().await?;
        }
        // More of the series before is less than all others.
        let with_more = self.shards.iter_mut().filter(|shard| !shard.series.is_empty());
        let first = with_more.min_by(|a, b| a.next_labels().cmp(&b.next_labels()));
        Ok(first.and_then(|shard| shard.series.pop_front()))
    }
}

impl Drop for MergedRead {
    fn drop(&mut self) {
        for (id, shard) in (0u16..).map(ShardId).zip(&self.shards) {
            if shard.has_begun && !shard.has_ended {
                let end = Request::Cursor(self.name, CursorStep::End);
                let call = self.store.peers().call(id, end);
                // Whether it is heard does not matter: a cursor that nobody asks ends by itself.
                drop(task::spawn("end of a read", async move { drop(call.await) }));
            }
        }
    }
}
