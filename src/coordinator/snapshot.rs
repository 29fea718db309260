//! Making a snapshot: every shard gives what it has, and one of them puts it together.
//!
//! Shards give one after the other, so that no more than one Head is in memory twice. What a shard was acknowledged before
//! the request is in what it gives, whenever that is. It is made to its end, also if who asked for it has gone; after a
//! failure what there is of it is removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::api::AdminError;
use super::store::{Coordinator, NoAnswer, other};
use crate::model::ShardId;
use crate::rt::task;
use crate::shard::snapshotting::SnapshotStep;
use crate::shard::{Request, Response};

/// The shard that puts it together.
const ASSEMBLER: ShardId = ShardId(0);
const ANOTHER: &str =
    "another snapshot is being made, and only one is at a time: ask again when it is done";

/// Whose turn it is to make a snapshot. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct SnapshotTurn(Arc<AtomicBool>);

/// It is somebody's turn for as long as this lives.
struct Turn(SnapshotTurn);

impl SnapshotTurn {
    fn take(&self) -> Option<Turn> {
        (!self.0.swap(true, Ordering::Acquire)).then(|| Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}

impl Coordinator {
    /// Makes the snapshot `name`.
    pub(super) async fn make_snapshot(
        &self,
        name: String,
        skip_head: bool,
    ) -> Result<(), AdminError> {
        let turn = self.0.snapshots.take().ok_or(AdminError::Busy(ANOTHER))?;
        let this = self.clone();
        let making = task::spawn("snapshot", async move {
            let _turn = turn;
            let made = this.try_snapshot(&name, skip_head).await;
            if made.is_err() {
                this.discard_snapshot(name).await;
            }
            made
        });
        making.await.unwrap_or_else(|error| Err(AdminError::Storage(error.to_string())))
    }

    async fn try_snapshot(&self, name: &str, skip_head: bool) -> Result<(), AdminError> {
        let mut shares = Vec::new();
        for shard in 0..self.0.shards {
            let step = SnapshotStep::Give { name: name.to_owned(), skip_head };
            match self.have_step(ShardId(shard), step).await? {
                Response::Share(share) => shares.push(*share?),
                response => return Err(other(&response).into()),
            }
        }
        let step = SnapshotStep::Assemble { name: name.to_owned(), shares };
        match self.have_step(ASSEMBLER, step).await? {
            Response::Done(done) => Ok(done?),
            response => Err(other(&response).into()),
        }
    }

    async fn discard_snapshot(&self, name: String) {
        let step = SnapshotStep::Discard { name: name.clone() };
        let why = match self.have_step(ASSEMBLER, step).await {
            Ok(Response::Done(Ok(()))) => return,
            Ok(Response::Done(Err(why))) => AdminError::from(why),
            Ok(response) => other(&response).into(),
            Err(error) => error,
        };
        tracing::warn!(name, %why, "what there is of a snapshot cannot be removed; the next start does");
    }

    async fn have_step(&self, shard: ShardId, step: SnapshotStep) -> Result<Response, AdminError> {
        let response = self.0.peers.call(shard, Request::Snapshot(Box::new(step))).await;
        response.map_err(|error| NoAnswer::from(error).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_the_turn_until_it_lets_go() {
        let (turns, others) = (SnapshotTurn::default(), SnapshotTurn::default());
        let first = turns.take();
        assert!(first.is_some() && turns.clone().take().is_none());
        assert!(others.take().is_some());
        drop(first);
        assert!(turns.take().is_some());
    }
}
