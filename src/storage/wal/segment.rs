//! One log file: its name, and the reading of its batches.
//!
//! While the batches of one window are worked on, the disk reads the next. What the disk does not give is looked at block by
//! block: a block that cannot be read costs the batch that it is of.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use crate::encoding::batch::{self, ALIGN_BYTES, BatchHeader, PAYLOAD_BYTES_MAX};
use crate::io::{BLOCK_BYTES, File, Pace, may_pass};

const _: () = assert!(ALIGN_BYTES == BLOCK_BYTES, "a batch begins where a write may");

/// Bytes that are read at once.
const WINDOW_BYTES: u64 = 1 << 20;

/// Numbers a shard's segments upward; a file that is used again gets the next number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// The number behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The segment that a file name means; `None` for other files.
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<Self> {
        let digits = name.len() >= 8 && name.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| name.parse().ok().map(Self)).flatten()
    }
}

impl std::fmt::Display for SegmentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08}", self.0)
    }
}

/// A stretch of a segment that holds no valid batch although a valid one follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Its first byte.
    pub start: u64,
    /// The byte behind it.
    pub end: u64,
}

/// Reads a segment's batches in order. Never repairs, never writes.
pub struct SegmentReader<F: File> {
    file: Rc<F>,
    id: SegmentId,
    /// Where the next batch should begin.
    offset: u64,
    /// Bytes of the file from `window_start` on.
    window: Vec<u8>,
    window_start: u64,
    /// The bytes that follow the window, on their way.
    ahead: Option<Ahead<F::Read>>,
    /// Header of the last valid batch.
    last: Option<BatchHeader>,
    unread: Option<Unread>,
}

/// What of a segment the disk does not give.
#[derive(Debug)]
pub struct Unread {
    /// Where the first of it is.
    pub start: u64,
    /// How much it is, in bytes.
    pub bytes: u64,
    /// What the disk said of the first.
    pub source: io::Error,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes cannot be read: {}; what was logged there is lost",
            self.bytes, self.source
        )
    }
}

/// A read that was begun before its bytes are needed.
enum Ahead<R> {
    Reading(Pin<Box<dyn Future<Output = io::Result<R>>>>),
    Done(io::Result<R>),
}

impl<R> Ahead<R> {
    /// Begins a read: a future does nothing before it is first polled.
    async fn begin(read: impl Future<Output = io::Result<R>> + 'static) -> Self {
        let mut read: Pin<Box<dyn Future<Output = io::Result<R>>>> = Box::pin(read);
        match poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await {
            Poll::Ready(done) => Self::Done(done),
            Poll::Pending => Self::Reading(read),
        }
    }

    async fn finish(self) -> io::Result<R> {
        match self {
            Self::Reading(read) => read.await,
            Self::Done(done) => done,
        }
    }
}

/// A valid batch, and the hole before it if there is one.
pub struct Batch<'a> {
    /// What the batch says about where it belongs.
    pub header: BatchHeader,
    /// Its records.
    pub payload: &'a [u8],
    /// Where it begins.
    pub offset: u64,
    /// What could not be read before it.
    pub hole: Option<Hole>,
}

impl<F: File> SegmentReader<F> {
    /// A reader at the first byte.
    pub fn new(file: F, id: SegmentId) -> Self {
        let (file, window) = (Rc::new(file), Vec::new());
        Self { file, id, offset: 0, window, window_start: 0, ahead: None, last: None, unread: None }
    }

    /// The file.
    pub fn file(&self) -> &F {
        &self.file
    }

    /// What could not be read so far, if there is any: nothing is known of what stands there.
    pub fn unread(&self) -> Option<&Unread> {
        self.unread.as_ref()
    }

    /// Bytes that have been read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next valid batch; `None` if there is none up to the end of the file. What lies behind the last one is a torn
    /// write, an earlier use of the file, or zeros.
    ///
    /// # Errors
    /// Want of memory or descriptors. What else cannot be read is passed over: see [`unread`](Self::unread).
    pub async fn next(&mut self, pace: &mut impl Pace) -> io::Result<Option<Batch<'_>>> {
        let expected = self.offset;
        let mut offset = expected;
        while offset < self.file.len() {
            if let Some((header, len)) = self.valid_at(offset).await? {
                self.last = Some(header);
                self.offset = offset + batch::disk_bytes(len) as u64;
                let start = usize::try_from(offset - self.window_start).unwrap_or(usize::MAX);
                let payload =
                    self.window.get(start + batch::HEADER_BYTES..start + batch::HEADER_BYTES + len);
                let hole = (offset > expected).then_some(Hole { start: expected, end: offset });
                return Ok(Some(Batch {
                    header,
                    payload: payload.unwrap_or_default(),
                    offset,
                    hole,
                }));
            }
            offset += BLOCK_BYTES as u64;
            pace.breathe().await;
        }
        self.offset = offset;
        Ok(None)
    }

    /// Header and payload length of the batch at `offset`, if there is a valid one that belongs to this segment.
    async fn valid_at(&mut self, offset: u64) -> io::Result<Option<(BatchHeader, usize)>> {
        let Some(front) = self.bytes_at(offset, BLOCK_BYTES).await? else { return Ok(None) };
        let Ok(payload) = batch::promised_payload(front) else { return Ok(None) };
        if payload > PAYLOAD_BYTES_MAX {
            return Ok(None);
        }
        let (id, last) = (self.id, self.last);
        let Some(bytes) = self.bytes_at(offset, batch::disk_bytes(payload)).await? else {
            return Ok(None);
        };
        let Ok((header, payload)) = batch::open(bytes) else { return Ok(None) };
        let belongs = header.segment == id.0
            && last.is_none_or(|last| {
                (header.salt, header.run, header.shards) == (last.salt, last.run, last.shards)
                    && header.sequence > last.sequence
            });
        Ok(belongs.then_some((header, payload.len())))
    }

    /// `len` bytes at `offset`, read in windows; `None` if the file ends before.
    async fn bytes_at(&mut self, offset: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let end = offset + len as u64;
        if end > self.file.len() {
            return Ok(None);
        }
        if offset < self.window_start || end > self.window_end() {
            self.move_window(offset, end).await?;
        }
        let start = usize::try_from(offset - self.window_start).unwrap_or(usize::MAX);
        Ok(self.window.get(start..start + len))
    }

    fn window_end(&self) -> u64 {
        self.window_start + self.window.len() as u64
    }

    /// Makes the window begin at `offset` and reach to `end` at least, which is within the file.
    async fn move_window(&mut self, offset: u64, end: u64) -> io::Result<()> {
        let kept = usize::try_from(offset.wrapping_sub(self.window_start)).unwrap_or(usize::MAX);
        if kept <= self.window.len() {
            self.window.drain(..kept);
        } else {
            (self.ahead, self.window) = (None, Vec::new());
        }
        self.window_start = offset;
        if let Some(ahead) = self.ahead.take() {
            let start = self.window_end();
            let until = self.file.len().min(start + WINDOW_BYTES);
            let read = ahead.finish().await;
            self.take(read, start, until).await?;
        }
        let start = self.window_end();
        if end > start {
            let until = self.file.len().min(end.max(start + WINDOW_BYTES));
            let more = usize::try_from(until - start).unwrap_or(usize::MAX);
            let read = self.file.read_at(start, more).await;
            self.take(read, start, until).await?;
        }
        // A file of which only the first batch is wanted is not read any further.
        let (start, file) = (self.window_end(), Rc::clone(&self.file));
        if self.last.is_some() && start < file.len() {
            let more = usize::try_from(WINDOW_BYTES.min(file.len() - start)).unwrap_or(usize::MAX);
            let read = async move { file.read_at(start, more).await };
            self.ahead = Some(Ahead::begin(read).await);
        }
        Ok(())
    }

    /// Appends to the window what was read from `start` to `until`. If that failed it is read again, block by block; one that
    /// the disk does not give is as if nothing had ever been written there.
    async fn take(&mut self, read: io::Result<F::Read>, start: u64, until: u64) -> io::Result<()> {
        match read {
            Ok(bytes) => {
                self.window.extend_from_slice(&bytes);
                return Ok(());
            }
            Err(error) if may_pass(&error) => return Err(error),
            Err(_) => {}
        }
        let mut at = start;
        while at < until {
            let end = until.min(at + BLOCK_BYTES as u64);
            let len = usize::try_from(end - at).unwrap_or(usize::MAX);
            match self.file.read_at(at, len).await {
                Ok(bytes) => self.window.extend_from_slice(&bytes),
                Err(error) if may_pass(&error) => return Err(error),
                Err(source) => {
                    self.window.resize(self.window.len() + len, 0);
                    let none = Unread { start: at, bytes: 0, source };
                    self.unread.get_or_insert(none).bytes += end - at;
                }
            }
            at = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_eight_or_more_digits_are_segments() {
        assert_eq!(SegmentId::from_file_name("00000042"), Some(SegmentId(42)));
        assert_eq!(SegmentId::from_file_name("123456789"), Some(SegmentId(123_456_789)));
        assert_eq!(SegmentId::from_file_name("spare-00000001"), None);
        assert_eq!(SegmentId::from_file_name("0000042"), None);
        assert_eq!(SegmentId::from_file_name("99999999999999999999999"), None);
        assert_eq!(SegmentId(42).to_string(), "00000042");
    }
}
