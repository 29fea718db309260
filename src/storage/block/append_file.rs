//! A file that is written from its beginning to its end, of any length, on a disk that takes only whole blocks.
//!
//! Owns what does not fill a block yet, and what is gathered so that the disk gets long writes. Nothing here is durable
//! before [`AppendFile::finish`], which also gives the file its exact length: until then its last block is padded.

use super::error::BlockError;
use crate::io::{BLOCK_BYTES, Disk, File};

/// Bytes that are gathered before they are written: long enough for a disk's full speed.
const WRITE_BYTES: usize = 1 << 20;

/// Makes a file of these bytes, durably but for its name.
///
/// # Errors
/// Those of the disk; also if the file exists.
pub async fn write_whole<D: Disk>(disk: &D, path: String, bytes: &[u8]) -> Result<(), BlockError> {
    let mut file = AppendFile::create(disk, path).await?;
    file.append(bytes).await?;
    file.finish().await?;
    Ok(())
}

/// A new file that grows at its end.
pub struct AppendFile<F> {
    file: F,
    path: String,
    /// The bytes from `tail_start` on.
    tail: Vec<u8>,
    /// What is before this is written; a multiple of [`BLOCK_BYTES`].
    tail_start: u64,
}

impl<F: File> AppendFile<F> {
    /// Makes the file.
    ///
    /// # Errors
    /// Those of the disk; also if the file exists.
    pub async fn create<D: Disk<File = F>>(disk: &D, path: String) -> Result<Self, BlockError> {
        let file = disk.create(&path, 0).await.map_err(BlockError::io(&path, "create"))?;
        Ok(Self { file, path, tail: Vec::new(), tail_start: 0 })
    }

    /// The file's path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How many bytes have been appended.
    pub fn len(&self) -> u64 {
        self.tail_start + self.tail.len() as u64
    }

    /// Nothing appended yet?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn append(&mut self, bytes: &[u8]) -> Result<(), BlockError> {
        self.append_with(|tail| tail.extend_from_slice(bytes)).await
    }

    /// Appends what `push` appends to the buffer that it is given, which holds others' bytes before.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn append_with(&mut self, push: impl FnOnce(&mut Vec<u8>)) -> Result<(), BlockError> {
        push(&mut self.tail);
        if self.tail.len() < WRITE_BYTES { Ok(()) } else { self.write_blocks().await }
    }

    /// Appends zeros up to a multiple of `alignment` bytes.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn pad(&mut self, alignment: u64) -> Result<(), BlockError> {
        let zeros = self.len().next_multiple_of(alignment) - self.len();
        let zeros = usize::try_from(zeros).unwrap_or_default();
        self.append_with(|tail| tail.resize(tail.len() + zeros, 0)).await
    }

    /// Writes what fills blocks.
    async fn write_blocks(&mut self) -> Result<(), BlockError> {
        let whole = self.tail.len() - self.tail.len() % BLOCK_BYTES;
        let (blocks, _) = self.tail.split_at(whole);
        if !blocks.is_empty() {
            let written = self.file.write_at(blocks, self.tail_start).await;
            written.map_err(BlockError::io(&self.path, "write"))?;
        }
        self.tail.drain(..whole);
        self.tail_start += whole as u64;
        Ok(())
    }

    /// Makes everything so far readable by [`AppendFile::read`].
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn settle(&mut self) -> Result<(), BlockError> {
        self.write_blocks().await?;
        if self.tail.is_empty() {
            return Ok(());
        }
        let mut block = self.tail.clone();
        block.resize(BLOCK_BYTES, 0);
        let written = self.file.write_at(&block, self.tail_start).await;
        written.map_err(BlockError::io(&self.path, "write"))
    }

    /// Reads bytes that were appended before the file last [settled](AppendFile::settle).
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn read(&self, offset: u64, len: usize) -> Result<F::Read, BlockError> {
        self.file.read_at(offset, len).await.map_err(BlockError::io(&self.path, "read back"))
    }

    /// Puts `bytes` where others were appended before.
    ///
    /// # Errors
    /// Those of the disk.
    ///
    /// # Panics
    /// If there is no such place, or part of it is written and part of it not.
    pub async fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> Result<(), BlockError> {
        if let Some(at) = offset.checked_sub(self.tail_start) {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            put(&mut self.tail, at, bytes);
            return Ok(());
        }
        assert!(offset + bytes.len() as u64 <= self.tail_start, "all of it is written");
        let before = usize::try_from(offset % BLOCK_BYTES as u64).unwrap_or_default();
        let (start, len) = (offset - before as u64, before + bytes.len());
        let mut blocks = self.read(start, len.next_multiple_of(BLOCK_BYTES)).await?.to_vec();
        put(&mut blocks, before, bytes);
        let written = self.file.write_at(&blocks, start).await;
        written.map_err(BlockError::io(&self.path, "write"))
    }

    /// Ends the file where the last byte was appended, and makes its content durable; gives its length. Its name is
    /// durable when the directory is.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn finish(mut self) -> Result<u64, BlockError> {
        let len = self.len();
        self.settle().await?;
        if self.file.len() != len {
            self.file.set_len(len).await.map_err(BlockError::io(&self.path, "cut"))?;
        }
        self.file.sync().await.map_err(BlockError::io(&self.path, "flush"))?;
        Ok(len)
    }
}

/// Replaces the bytes from `at` on.
fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    let place = buffer.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len()));
    place.expect("there are bytes to replace").copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::io::sim::{SimDisk, run};

    async fn content(disk: &SimDisk) -> Vec<u8> {
        let file = disk.open("a").await.unwrap();
        file.read_at(0, usize::try_from(file.len()).unwrap()).await.unwrap()
    }

    proptest! {
        #[test]
        fn a_file_holds_what_was_appended(pieces in proptest::collection::vec(prop_oneof![9 => 0usize..10_000, 1 => 0usize..1_200_000], 0..6), align in 0u32..13, settle: bool) {
            run(async {
                let (disk, mut all) = (SimDisk::new(1), Vec::new());
                let mut file = AppendFile::create(&disk, "a".to_owned()).await.unwrap();
                for (i, len) in pieces.into_iter().enumerate() {
                    let piece = vec![u8::try_from(i).unwrap() + 1; len];
                    file.append(&piece).await.unwrap();
                    all.extend(piece);
                    if settle {
                        file.settle().await.unwrap();
                        let from = all.len() / 2;
                        let read = file.read(from as u64, all.len() - from).await.unwrap();
                        assert_eq!(read, all[from..]);
                    }
                    file.pad(1 << align).await.unwrap();
                    all.resize(all.len().next_multiple_of(1 << align), 0);
                }
                assert_eq!(file.len(), all.len() as u64);
                assert_eq!(file.finish().await.unwrap(), all.len() as u64);
                assert!(content(&disk).await == all);
            });
        }
    }

    #[test]
    fn bytes_are_replaced_whether_they_are_written_or_not() {
        for len in [100, 5000, (1 << 20) + 5000] {
            run(async {
                let (disk, mut all) = (SimDisk::new(1), vec![7; len]);
                let mut file = AppendFile::create(&disk, "a".to_owned()).await.unwrap();
                file.append(&all).await.unwrap();
                for at in [5, len - 10, 4090.min(len - 12)] {
                    file.overwrite(at as u64, b"new bytes!").await.unwrap();
                    all[at..at + 10].copy_from_slice(b"new bytes!");
                }
                file.finish().await.unwrap();
                assert!(content(&disk).await == all, "{len}");
            });
        }
    }
}
