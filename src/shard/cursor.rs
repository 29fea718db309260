//! Cursors: selections that are read part by part, all series in order of labels, as chunks that are encoded anew.
//!
//! ```text
//! begin ─► next ─► next ─► ... ─► the last part, or an end that is asked for
//! ```
//! A cursor holds what it is to read still, as a query does, and nothing that it has read. Who began one ends it. One that
//! nobody has asked for a minute is ended, or that is ten minutes old: blocks and Head are kept for it as they were, and a slow
//! reader must not keep samples from leaving memory.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::life::Life;
use super::request::Selection;
use super::{Shard, reading::storage};
use crate::encoding::chunk;
use crate::encoding::chunk::FloatChunks;
use crate::encoding::chunk_encoder::ChunkEncoder;
pub use crate::encoding::chunk_encoder::EncodedChunk;
use crate::io::{Clock, Disk, Pace};
use crate::model::{Labels, Samples, SamplesRef, TimestampMs};
use crate::query::QueryError;
use crate::rt::clock::Stopwatch;
use crate::rt::pace::Slice;
use crate::rt::task;
use crate::storage::selection::{Batch, Selected};

/// One that was not asked for so long is ended.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Nor is one read for longer.
const AGE_MAX: Duration = Duration::from_secs(10 * 60);
/// How often is looked for such ones.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A step of a cursor, which has a name that no other one of this process has.
#[derive(Debug)]
pub enum CursorStep {
    /// Begin it, of the series of the first selector.
    Begin(Arc<Selection>),
    /// Give the next part.
    Next,
    /// End it, wherever it is.
    End,
}

/// Some consecutive series of a cursor, in order of labels.
#[derive(Debug, Default)]
pub struct CursorPart {
    /// Each with its chunks, or more chunks of it.
    pub series: Vec<ReadSeries>,
    /// There is nothing more; the cursor has ended.
    pub is_last: bool,
}

/// A series, or a part of one that has very many samples.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its chunks, which follow each other in time. Not empty.
    pub chunks: Vec<EncodedChunk>,
}

impl ReadSeries {
    /// Chunks of samples of one series: floats in XOR, which every client reads, and histograms. Start timestamps are not in them.
    pub async fn of(labels: Labels, samples: SamplesRef<'_>, pace: &mut impl Pace) -> Self {
        let (mut encoder, mut chunks) = (ChunkEncoder::new(FloatChunks::Xor), Vec::new());
        let mut chunk_count = 0;
        for (t, value) in samples.iter() {
            encoder.push(TimestampMs(0), t, value, &mut chunks);
            if chunks.len() > chunk_count {
                chunk_count = chunks.len();
                pace.breathe().await;
            }
        }
        encoder.end(&mut chunks);
        Self { labels, chunks }
    }

    /// How many samples it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk::promised(&chunk.bytes))).sum()
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples of one of its chunks, in place of what is in `out`.
    pub fn decode(chunk: &EncodedChunk, out: &mut Samples) {
        out.clear();
        let read = chunk::read(chunk.encoding, &chunk.bytes, |_| true, out);
        debug_assert!(read.is_ok(), "a shard has encoded it");
    }
}

/// The cursors of a life.
pub(super) struct Cursors<D: Disk>(RefCell<HashMap<u64, Cursor<D>>>);

struct Cursor<D: Disk> {
    selected: Selected<D>,
    batch: Batch,
    began: Stopwatch,
    last_asked: Stopwatch,
}

impl<D: Disk> Cursor<D> {
    fn is_over(&self) -> bool {
        self.last_asked.elapsed() >= IDLE_MAX || self.began.elapsed() >= AGE_MAX
    }
}

impl<D: Disk> Cursors<D> {
    /// None yet.
    pub fn new() -> Self {
        Self(RefCell::default())
    }

    fn end(&self, name: u64) {
        self.0.borrow_mut().remove(&name);
    }

    fn end_those_that_are_over(&self) {
        self.0.borrow_mut().retain(|_, cursor| !cursor.is_over());
    }
}

impl<C: Clock, D: Disk> Shard<C, D> {
    /// Ends cursors of a life that nobody asks any more.
    pub(super) fn start_tending_cursors(&self, life: &Rc<Life<D>>) {
        let of = Rc::clone(life);
        life.add_task(task::spawn("cursors", async move {
            while of.rest(LOOK_AGAIN).await {
                of.cursors.end_those_that_are_over();
            }
        }));
    }

    /// Does a step of the cursor with this name. An end gives an empty last part.
    pub(super) async fn step_cursor(
        &self,
        life: &Life<D>,
        name: u64,
        step: CursorStep,
    ) -> Result<CursorPart, QueryError> {
        let (cursors, mut slice) = (&life.cursors, Slice::start());
        let mut cursor = match step {
            CursorStep::Begin(selection) => {
                let matchers = selection.any_of().next().unwrap_or_default();
                let selected = self.select(life, matchers, selection.range, &mut slice).await;
                let selected = selected.map_err(storage)?.in_order(&mut slice).await;
                // Until the end of the read, whose account it is.
                selection.asking.account().charge(selected.held_bytes())?;
                let (began, last_asked) = (Stopwatch::start(), Stopwatch::start());
                Cursor { selected, batch: Batch::default(), began, last_asked }
            }
            CursorStep::Next => cursors.0.borrow_mut().remove(&name).ok_or_else(|| {
                QueryError::Storage(format!(
                    "the read took longer than {AGE_MAX:?}, was not gone on with for {IDLE_MAX:?}, or the shard was opened anew \
                     from its log: ask again, for less at once"
                ))
            })?,
            CursorStep::End => {
                cursors.end(name);
                return Ok(CursorPart { is_last: true, ..CursorPart::default() });
            }
        };
        let mut part = CursorPart::default();
        while part.series.is_empty() && !part.is_last {
            let read = cursor.selected.read(&mut cursor.batch, &mut slice).await;
            part.is_last = !read.map_err(storage)?;
            for (run, samples) in cursor.batch.take_runs() {
                if !samples.is_empty()
                    && let Some(labels) = run.series.labels(&life.head)
                {
                    part.series.push(ReadSeries::of(labels, samples, &mut slice).await);
                }
                slice.breathe().await;
            }
        }
        self.tell_damage(&mut cursor.selected, drop);
        if !part.is_last {
            cursor.last_asked = Stopwatch::start();
            cursors.0.borrow_mut().insert(name, cursor);
        }
        Ok(part)
    }
}
