//! Reads all of a block and tells what is wrong with it.
//!
//! Looked at are all checksums and orders, that what points somewhere points at what it should, that the lists of postings
//! have the series that have their label and no others, and that the samples of chunks, of all encodings that can be read,
//! lie in the time that the index says. Nothing is repaired.

use super::BlockError;
use super::index_file::IndexFile;
use super::reader::Block;
use super::series::SLICE;
use crate::encoding::block::index::read::ChunkMeta;
use crate::encoding::chunk::{ChunkError, ChunkReader};
use crate::io::{Disk, File, Pace};
use crate::model::{SeriesId, TimeRange};

/// No more than this is told.
const TOLD_MAX: usize = 100;
/// Chunks that are read together.
const CHUNKS: usize = 2048;

/// What is wrong so far.
struct Found(Vec<BlockError>);

impl Found {
    fn add(&mut self, error: BlockError) {
        if self.0.len() < TOLD_MAX {
            self.0.push(error);
        }
    }
}

impl<D: Disk> Block<D> {
    /// Reads everything and gives what is wrong, up to a hundred things; nothing if all is well.
    pub async fn verify(&self, pace: &mut impl Pace) -> Vec<BlockError> {
        let mut found = Found(self.chunks.broken().collect());
        let series = self.verify_series(&mut found, pace).await;
        let (series, labels) = series.unwrap_or_else(|error| {
            found.add(error);
            (Vec::new(), None)
        });
        if let Err(error) = self.index.verify_postings(&series, labels, &mut found, pace).await {
            found.add(error);
        }
        for (id, _) in self.tombstones().iter() {
            if series.binary_search(&id).is_err() {
                let path = format!("{}/tombstones", self.dir());
                let what = format!("there is no series {}", id.0);
                found.add(BlockError::Damaged { path, offset: 0, what });
            }
        }
        let (told, counted) = (self.meta().stats.num_series, series.len() as u64);
        if told != counted {
            let path = format!("{}/meta.json", self.dir());
            let what = format!("{told} series are promised, {counted} are there");
            found.add(BlockError::Damaged { path, offset: 0, what });
        }
        found.0
    }

    /// Looks at all series and their chunks; which series there are, and how many labels they have together.
    async fn verify_series(
        &self,
        found: &mut Found,
        pace: &mut impl Pace,
    ) -> Result<(Vec<SeriesId>, Option<usize>), BlockError> {
        let (mut series, mut before, mut labels) = (Vec::new(), Vec::new(), 0);
        let mut chunks: Vec<ChunkMeta> = Vec::new();
        let mut cursor = self.all_series();
        while let Some(next) = cursor.next(pace).await? {
            let at = self.index.toc.offset_of(next.id, self.index.version).unwrap_or_default();
            let mut wrong = |what: &str| found.add(self.index.paged.damaged(at, what));
            // A reference of a symbol is in the order of its text.
            if !series.is_empty() && before.as_slice() >= next.labels {
                wrong("the series is not sorted behind the one before it");
            }
            if !next.labels.is_sorted_by(|a, b| a.0 < b.0) {
                wrong("the labels of the series are not sorted");
            }
            if next.labels.iter().any(|(name, _)| self.index.name(*name).is_none()) {
                wrong("a label of the series has a name of which no value has a list");
            }
            if !next.chunks.is_sorted_by(|a, b| a.range.max() < b.range.min()) {
                wrong("the chunks of the series overlap");
            }
            let (min, max) = (self.meta().min_time, self.meta().max_time);
            let is_inside =
                |range: TimeRange| (min..max).contains(&range.min().0) && range.max().0 < max;
            if !next.chunks.iter().all(|chunk| is_inside(chunk.range)) {
                wrong("a chunk of the series is not in the time of the block");
            }
            series.push(next.id);
            labels += next.labels.len();
            before.clear();
            before.extend_from_slice(next.labels);
            chunks.extend_from_slice(next.chunks);
            if chunks.len() >= CHUNKS {
                self.verify_chunks(&chunks, found, pace).await;
                chunks.clear();
            }
        }
        self.verify_chunks(&chunks, found, pace).await;
        Ok((series, Some(labels)))
    }

    async fn verify_chunks(&self, metas: &[ChunkMeta], found: &mut Found, pace: &mut impl Pace) {
        for metas in metas.chunks(CHUNKS) {
            let references: Vec<_> = metas.iter().map(|meta| meta.reference).collect();
            for (meta, chunk) in metas.iter().zip(self.read_chunks(&references, pace).await) {
                let what = match chunk {
                    Ok(chunk) => wrong_samples(chunk.encoding, &chunk.bytes, meta.range),
                    Err(error) => {
                        found.add(error);
                        None
                    }
                };
                if let Some(what) = what {
                    found.add(self.chunks.damaged(meta.reference, what));
                }
                pace.breathe().await;
            }
        }
    }
}

/// What is wrong with the samples of a chunk that is said to cover `range`; nothing can be said of encodings not known.
fn wrong_samples(encoding: u8, bytes: &[u8], range: TimeRange) -> Option<String> {
    let mut samples = match ChunkReader::new(encoding, bytes) {
        Ok(samples) => samples,
        Err(ChunkError::Encoding(_)) => return None,
        Err(error) => return Some(error.to_string()),
    };
    let (mut first, mut last) = (None, None);
    while let Some(t) = samples.advance() {
        match t {
            Ok(t) if last.is_some_and(|last| last >= t) => {
                return Some(format!("the sample at {} is not behind the one before", t.0));
            }
            Ok(t) => (first, last) = (first.or(Some(t)), Some(t)),
            Err(error) => return Some(error.to_string()),
        }
    }
    if (first, last) == (Some(range.min()), Some(range.max())) {
        return None;
    }
    let (min, max) = (range.min().0, range.max().0);
    Some(format!("samples from {first:?} to {last:?}, the index says {min} to {max}"))
}

impl<F: File> IndexFile<F> {
    /// Looks at all lists: their checksums and orders, and that they have the series that have their label and no others.
    ///
    /// - `labels`: how many labels the series have together, if that is known.
    async fn verify_postings(
        &self,
        series: &[SeriesId],
        labels: Option<usize>,
        found: &mut Found,
        pace: &mut impl Pace,
    ) -> Result<(), BlockError> {
        let names: Vec<String> = self.table.names().map(str::to_owned).collect();
        let mut values: Vec<(u64, Option<(&str, String)>)> =
            self.table.all().into_iter().map(|offset| (offset, None)).collect();
        if values.is_empty() {
            found.add(self.paged.damaged(self.toc.postings_table, "no list of all series"));
            return Ok(());
        }
        for name in &names {
            let mut add = |value: &str, at| values.push((at, Some((name, value.to_owned()))));
            self.each_value(name, "", &mut add, pace).await?;
        }
        // Every list has only series that have its label. So if there are as many as there are labels, none is missing.
        let mut listed = Some(0);
        for (offset, of) in values {
            let list = match self.lists(vec![offset], pace).await {
                Ok(mut lists) => lists.pop(),
                Err(error @ BlockError::Io { .. }) => return Err(error),
                Err(error) => {
                    found.add(error);
                    None
                }
            };
            let Some(list) = list else {
                listed = None;
                continue;
            };
            let list = list.collect(pace).await;
            let label = match &of {
                Some((name, value)) => format!("{name}={value:?}"),
                None => "all series".to_owned(),
            };
            if list.iter().any(|id| series.binary_search(id).is_err()) {
                let what = format_args!("the list of {label} names a series that is not there");
                found.add(self.paged.damaged(offset, what));
                listed = None;
                continue;
            }
            let Some((name, value)) = of else {
                if list.len() != series.len() {
                    let (listed, there) = (list.len(), series.len());
                    let what = format_args!("the list of {label} has {listed}, {there} are there");
                    found.add(self.paged.damaged(offset, what));
                }
                continue;
            };
            match self.without_label(&list, name, &value, pace).await {
                Ok(None) => listed = listed.map(|listed: usize| listed + list.len()),
                Ok(Some(id)) => {
                    let what = format_args!(
                        "the list of {label} names the series {}, which has not",
                        id.0
                    );
                    found.add(self.paged.damaged(offset, what));
                    listed = None;
                }
                Err(error @ BlockError::Io { .. }) => return Err(error),
                Err(error) => {
                    found.add(error);
                    listed = None;
                }
            }
        }
        if let (Some(listed), Some(labels)) = (listed, labels)
            && listed != labels
        {
            let what =
                format_args!("lists have {listed} series together, which have {labels} labels");
            found.add(self.paged.damaged(self.toc.postings_table, what));
        }
        Ok(())
    }

    /// The first of these series that does not have this label.
    async fn without_label(
        &self,
        ids: &[SeriesId],
        name: &str,
        value: &str,
        pace: &mut impl Pace,
    ) -> Result<Option<SeriesId>, BlockError> {
        let name = self.symbol_of_name(name);
        // Of the value, once a series has it.
        let mut symbol = None;
        for ids in ids.chunks(SLICE) {
            let entries = self.entries(ids, pace).await?;
            for (id, (labels, _)) in ids.iter().zip(entries.iter()) {
                let own = labels.iter().find(|label| Some(label.0) == name).map(|label| label.1);
                let Some(own) = own else { return Ok(Some(*id)) };
                if symbol == Some(own) {
                    continue;
                }
                if self.texts(vec![own], pace).await?.get(own) != Some(value) {
                    return Ok(Some(*id));
                }
                symbol = Some(own);
            }
            pace.breathe().await;
        }
        Ok(None)
    }
}
