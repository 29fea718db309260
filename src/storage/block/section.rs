//! A part of a file, read from its first byte to its last in long windows, item by item.

use std::ops::Range;

use super::BlockError;
use super::page_sums::PageSums;
use crate::encoding::block::index::read::{CHECKSUM_BYTES, HEAD_BYTES, Head, IndexError, check};
use crate::io::{File, Pace};

/// Length of a window in bytes.
const WINDOW_BYTES: usize = 1 << 20;
/// Items that are taken between two pauses.
const SLICE: u32 = 512;

/// Where the reading of a part of a file stands.
pub(super) struct Section<'f, F> {
    file: &'f F,
    path: &'f str,
    /// What was read and not yet taken begins at `taken` of the window.
    window: Vec<u8>,
    taken: usize,
    /// Where in the file the window ends.
    at: u64,
    /// Where in the file the part ends.
    end: u64,
    /// Of what was taken, if that is to be known; of a section what follows its count.
    sums: Option<PageSums>,
    /// Of a section, the checksum over its count.
    count_sum: u32,
    since_pause: u32,
}

impl<'f, F: File> Section<'f, F> {
    /// Stands at byte `start`; the part ends at byte `end` or where the file does.
    pub fn new(file: &'f F, path: &'f str, start: u64, end: u64) -> Self {
        let (window, end) = (Vec::new(), end.min(file.len()));
        let (sums, count_sum) = (None, 0);
        Self { file, path, window, taken: 0, at: start, end, sums, count_sum, since_pause: 0 }
    }

    /// Notes checksums of the pages of what is taken from here on. Nothing is to be skipped then.
    pub fn note_sums(&mut self) {
        self.sums = Some(PageSums::new(self.offset()));
    }

    /// The checksums that were noted.
    pub fn sums(&self) -> Option<&PageSums> {
        self.sums.as_ref()
    }

    /// The section of an index that begins at byte `start` and ends before `end`, standing at its first item; and what
    /// it begins with.
    pub async fn of_index(
        file: &'f F,
        path: &'f str,
        start: u64,
        end: u64,
        what: &'static str,
    ) -> Result<(Self, Head), BlockError> {
        let mut section = Self::new(file, path, start, end);
        section.fill(HEAD_BYTES as u64).await?;
        let head = Head::parse(section.rest(), what).map_err(|error| section.damaged(error))?;
        let section_end = start.saturating_add(head.frame_len());
        if section_end > section.end {
            let (needed, left) = (head.frame_len(), usize::try_from(section.end - start));
            let left = left.unwrap_or(usize::MAX);
            return Err(section.damaged(IndexError::Cut { what, needed, left }));
        }
        section.end = section_end - CHECKSUM_BYTES as u64;
        section.window.truncate(usize::try_from(section.end - start).unwrap_or(usize::MAX));
        section.at = section.at.min(section.end);
        section.take(HEAD_BYTES);
        section.count_sum = crc32c::crc32c(&head.count.to_be_bytes());
        section.note_sums();
        Ok((section, head))
    }

    /// The byte of the file at which it stands.
    pub fn offset(&self) -> u64 {
        self.at - self.rest().len() as u64
    }

    /// Has all of it been taken?
    pub fn is_done(&self) -> bool {
        self.offset() >= self.end
    }

    /// Takes one item, by a function that is handed what is there of the bytes from here on: it gives what it made of
    /// the item and how many bytes that took, or [`IndexError::Cut`] for more to be read.
    pub async fn next<T>(
        &mut self,
        mut item: impl FnMut(&[u8]) -> Result<(T, usize), IndexError>,
        pace: &mut impl Pace,
    ) -> Result<T, BlockError> {
        self.since_pause += 1;
        if self.since_pause == SLICE {
            self.since_pause = 0;
            pace.breathe().await;
        }
        loop {
            match item(self.rest()) {
                Ok((item, len)) => {
                    self.take(len);
                    return Ok(item);
                }
                Err(IndexError::Cut { needed, .. })
                    if self.at < self.end && needed <= self.end - self.offset() =>
                {
                    self.fill(needed).await?;
                }
                Err(error) => return Err(self.damaged(error)),
            }
        }
    }

    /// Passes by bytes up to this one of the file, if it does not stand there already.
    pub fn skip_to(&mut self, offset: u64) {
        let distance = offset.saturating_sub(self.offset());
        let there = self.rest().len();
        match usize::try_from(distance) {
            Ok(distance) if distance <= there => self.taken += distance,
            _ => {
                self.window.clear();
                self.taken = 0;
                self.at = offset.min(self.end);
            }
        }
    }

    /// Holds the checksum behind a section to what was taken; gives the checksums of its pages.
    pub async fn check(&mut self, what: &'static str) -> Result<PageSums, BlockError> {
        let found = self.file.read_at(self.end, CHECKSUM_BYTES).await;
        let found = found.map_err(BlockError::io(self.path, "read"))?;
        let stored = found.first_chunk().copied().unwrap_or_default();
        let sums = self.sums.take().unwrap_or_else(|| PageSums::new(self.end));
        let Range { start, end } = sums.range();
        let len = usize::try_from(end - start).unwrap_or(usize::MAX);
        let computed = crc32c::crc32c_combine(self.count_sum, sums.whole(), len);
        check(what, stored, computed).map_err(|error| self.damaged(error))?;
        Ok(sums)
    }

    /// Something is wrong with the item at which it stands.
    pub fn damaged(&self, what: impl std::fmt::Display) -> BlockError {
        let (path, offset) = (self.path.to_owned(), self.offset());
        BlockError::Damaged { path, offset, what: what.to_string() }
    }

    fn rest(&self) -> &[u8] {
        self.window.get(self.taken..).unwrap_or_default()
    }

    fn take(&mut self, len: usize) {
        let rest = self.window.get(self.taken..).unwrap_or_default();
        let taken = rest.get(..len).unwrap_or(rest);
        if let Some(sums) = &mut self.sums {
            sums.note(taken);
        }
        self.taken += taken.len();
    }

    /// Reads on until `needed` bytes are there, or all.
    async fn fill(&mut self, needed: u64) -> Result<(), BlockError> {
        let missing = needed.saturating_sub(self.rest().len() as u64);
        let missing = usize::try_from(missing).unwrap_or(usize::MAX).max(WINDOW_BYTES);
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let len = missing.min(left);
        self.window.drain(..self.taken);
        self.taken = 0;
        let read = self.file.read_at(self.at, len).await;
        self.window.extend_from_slice(&read.map_err(BlockError::io(self.path, "read"))?);
        self.at += len as u64;
        Ok(())
    }
}
