//! The series entries of an index: many at once through the cache, and their labels as text.

use std::ops::Range;

use super::BlockError;
use super::index_file::IndexFile;
use super::pages::Pages;
use crate::encoding::block::index::read::{
    ChunkMeta, IndexError, series, series_frame_len, split_series,
};
use crate::io::{File, Pace};
use crate::model::labels::encode_canonical;
use crate::model::{Label, Labels, LabelsRef, SeriesId};

/// Series that are read together, at most: some 100 us of work, and as many pages if they are far apart.
pub(super) const SLICE: usize = 256;
/// As long as an entry is taken to be before it is looked at, in bytes.
const ENTRY_BYTES: u64 = 512;

/// One series of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesEntry {
    /// Names it within the block.
    pub id: SeriesId,
    /// Its labels.
    pub labels: Labels,
    /// Its chunks, oldest first.
    pub chunks: Vec<ChunkMeta>,
}

/// Some series with their labels as symbols.
#[derive(Default)]
pub(super) struct Entries {
    labels: Vec<(u32, u32)>,
    chunks: Vec<ChunkMeta>,
    /// Behind which label and which chunk each series ends.
    ends: Vec<(usize, usize)>,
}

impl Entries {
    /// Labels and chunks of each series.
    pub fn iter(&self) -> impl Iterator<Item = (&[(u32, u32)], &[ChunkMeta])> {
        let mut from = (0, 0);
        self.ends.iter().map(move |to| {
            let labels = self.labels.get(from.0..to.0).unwrap_or_default();
            let chunks = self.chunks.get(from.1..to.1).unwrap_or_default();
            from = *to;
            (labels, chunks)
        })
    }
}

impl<F: File> IndexFile<F> {
    /// The entries of these series, which are [`SLICE`] at most.
    pub async fn entries(
        &self,
        ids: &[SeriesId],
        pace: &mut impl Pace,
    ) -> Result<Entries, BlockError> {
        let end = self.toc.series_end();
        let mut frames = Vec::with_capacity(ids.len());
        for id in ids {
            let at = self.toc.offset_of(*id, self.version).ok_or_else(|| {
                self.paged.damaged(self.toc.series, format_args!("there is no series {}", id.0))
            })?;
            frames.push(at..at.saturating_add(ENTRY_BYTES).min(end));
        }
        let pages = self.paged.pages(&frames, pace).await?;
        pace.breathe().await;
        let mut longer = Vec::new();
        for frame in &mut frames {
            let damaged = |error| self.paged.damaged(frame.start, error);
            let needed = series_frame_len(&pages.bytes(frame.clone())).map_err(damaged)?;
            let whole = frame.start..frame.start.saturating_add(needed);
            if whole.end > end {
                let left = usize::try_from(end - frame.start).unwrap_or(usize::MAX);
                return Err(damaged(IndexError::Cut { what: "a series", needed, left }));
            }
            if whole.end > frame.end {
                longer.push(whole.clone());
            }
            *frame = whole;
        }
        let longer =
            if longer.is_empty() { None } else { Some(self.paged.pages(&longer, pace).await?) };
        let mut entries = Entries::default();
        for frame in frames {
            let is_long = frame.end - frame.start > ENTRY_BYTES;
            let pages = longer.as_ref().filter(|_| is_long).unwrap_or(&pages);
            let pushed = push_entry(&mut entries, pages, frame.clone());
            pushed.map_err(|error| self.paged.damaged(frame.start, error))?;
        }
        Ok(entries)
    }

    /// These series with their labels as text.
    pub async fn series(
        &self,
        ids: &[SeriesId],
        pace: &mut impl Pace,
    ) -> Result<Vec<SeriesEntry>, BlockError> {
        let mut found = Vec::with_capacity(ids.len());
        let mut bytes = Vec::new();
        for ids in ids.chunks(SLICE) {
            let entries = self.entries(ids, pace).await?;
            // Names are held; what is read is values.
            let is_held = |symbol: &u32| self.name(*symbol).is_some();
            let names = entries.labels.iter().map(|(name, _)| *name).filter(|s| !is_held(s));
            let values = entries.labels.iter().map(|(_, value)| *value);
            let texts = self.texts(names.chain(values).collect(), pace).await?;
            let mut pairs = Vec::new();
            for (id, (symbols, chunks)) in ids.iter().zip(entries.iter()) {
                pairs.clear();
                pairs.extend(symbols.iter().filter_map(|(name, value)| {
                    let name = match self.name(*name) {
                        Some(name) => name,
                        None => texts.get(*name)?,
                    };
                    Some(Label { name, value: texts.get(*value)? })
                }));
                bytes.clear();
                encode_canonical(&mut pairs, &mut bytes).map_err(|error| {
                    let at = self.toc.offset_of(*id, self.version).unwrap_or_default();
                    self.paged.damaged(at, error)
                })?;
                let labels = LabelsRef::trusted(&bytes).to_owned();
                found.push(SeriesEntry { id: *id, labels, chunks: chunks.to_vec() });
            }
            pace.breathe().await;
        }
        Ok(found)
    }
}

fn push_entry(entries: &mut Entries, pages: &Pages, frame: Range<u64>) -> Result<(), IndexError> {
    let bytes = pages.bytes(frame);
    let (body, _) = split_series(&bytes)?;
    series(body, &mut entries.labels, &mut entries.chunks)?;
    entries.ends.push((entries.labels.len(), entries.chunks.len()));
    Ok(())
}
