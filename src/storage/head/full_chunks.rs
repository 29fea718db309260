//! Full chunks on their way out of memory: in which order they leave, and their bytes.
//!
//! Their bytes lie together, many chunks in one allocation, which goes when the last of them has left. A series' own memory is
//! there for hours, its full chunks for seconds: were each an allocation of its own, they would leave holes between those
//! that stay.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// What one allocation holds, in bytes; a longer chunk has one of its own.
const PIECE_BYTES: usize = 64 << 10;

/// The full chunks of a Head that are in memory.
#[derive(Debug, Default)]
pub struct FullChunks {
    /// Whose they are, oldest first. One series may stand several times, or have none any more.
    series: VecDeque<u32>,
    /// What is left of the newest allocation.
    room: BytesMut,
}

impl FullChunks {
    /// Has the bytes of a chunk written behind those of the others.
    ///
    /// - `write`: appends so many bytes.
    #[must_use]
    pub fn gather(&mut self, bytes: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        if self.room.capacity() < bytes {
            self.room = BytesMut::with_capacity(PIECE_BYTES.max(bytes));
        }
        write(&mut self.room);
        self.room.split().freeze()
    }

    /// Copies the bytes of a chunk behind those of the others.
    #[must_use]
    pub fn gather_bytes(&mut self, chunk: &[u8]) -> Bytes {
        self.gather(chunk.len(), |out| out.extend_from_slice(chunk))
    }

    /// Notes that a series has one that did not leave yet.
    pub fn note(&mut self, series: u32) {
        self.series.push_back(series);
    }

    /// Takes the series off whose turn it is.
    pub fn pop(&mut self) -> Option<u32> {
        self.series.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_lie_behind_each_other_and_a_long_one_by_itself() {
        let mut full = FullChunks::default();
        let chunks: Vec<Bytes> = [1, 2].map(|byte| full.gather_bytes(&[byte; 200])).into();
        assert_eq!(chunks[0].as_ptr().wrapping_add(200), chunks[1].as_ptr());
        assert_eq!(full.gather_bytes(&[3; PIECE_BYTES + 1]).len(), PIECE_BYTES + 1);
        assert_eq!(chunks, [vec![1; 200], vec![2; 200]]);
    }

    #[test]
    fn series_come_out_in_the_order_in_which_they_went_in() {
        let mut full = FullChunks::default();
        [7, 3, 7].into_iter().for_each(|series| full.note(series));
        assert_eq!([(); 4].map(|()| full.pop()), [Some(7), Some(3), Some(7), None]);
    }
}
