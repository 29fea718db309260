//! Counts what an answer to a remote read has, piece by piece.
//!
//! ```text
//! streamed   frames: length varint │ CRC32C u32 big-endian │ ChunkedReadResponse
//!            ChunkedReadResponse 1 ChunkedSeries*    ChunkedSeries 1 Label*, 2 Chunk*    Chunk 3 type, 4 data
//! samples    a snappy block: ReadResponse 1 QueryResult*    QueryResult 1 TimeSeries*    TimeSeries 1 Label*, 2 Sample*, 4 Histogram*
//! ```
//! A chunk of any type says in its first two bytes how many samples it has. Source: Prometheus, `prompb/remote.proto`,
//! `prompb/types.proto`.

use crate::protobuf::{Field, fields, varint};

/// No frame of a server that keeps to its limit is longer; longer ones are not read into memory.
const FRAME_BYTES_MAX: usize = 256 << 20;

/// What an answer has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Series; one that comes in several frames once.
    pub series: u64,
    /// Frames.
    pub frames: u64,
    /// Chunks.
    pub chunks: u64,
    /// Floats.
    pub samples: u64,
    /// Histograms.
    pub histograms: u64,
    /// Bytes of the body.
    pub bytes: u64,
}

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The bytes end within a frame.
    #[error("the answer ends within a frame, with {0} bytes of it")]
    Cut(usize),
    /// A frame that is longer than any.
    #[error("the answer has a frame of {0} bytes")]
    TooLong(u64),
    /// A frame is not what it says.
    #[error("frame {0} of the answer is damaged: its checksum is another one")]
    Checksum(u64),
    /// It is not the message that it should be.
    #[error("the answer is not the protobuf message that it should be: {0}")]
    Message(&'static str),
}

/// An answer that is coming in.
#[derive(Debug)]
pub struct Answer {
    /// Samples in one message, and not chunks in frames?
    samples: bool,
    pending: Vec<u8>,
    /// The labels of the series of the last frame.
    labels: Vec<u8>,
    counts: Counts,
    failed: Option<AnswerError>,
}

impl Answer {
    /// Nothing of it yet.
    #[must_use]
    pub fn new(samples: bool) -> Self {
        let counts = Counts::default();
        Self { samples, pending: Vec::new(), labels: Vec::new(), counts, failed: None }
    }

    /// Takes the next piece.
    pub fn take(&mut self, piece: &[u8]) {
        self.counts.bytes += piece.len() as u64;
        if self.failed.is_some() {
            return;
        }
        self.pending.extend_from_slice(piece);
        if !self.samples
            && let Err(error) = self.frames()
        {
            self.failed = Some(error);
        }
    }

    /// What it had.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub fn finish(mut self) -> Result<Counts, AnswerError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.samples {
            let message = snap::raw::Decoder::new().decompress_vec(&self.pending);
            let message = message.map_err(|_| AnswerError::Message("it is no snappy block"))?;
            read_response(&message, &mut self.counts)?;
        } else if !self.pending.is_empty() {
            return Err(AnswerError::Cut(self.pending.len()));
        }
        Ok(self.counts)
    }

    fn frames(&mut self) -> Result<(), AnswerError> {
        let pending = std::mem::take(&mut self.pending);
        let mut rest = &pending[..];
        while let Some((len, behind)) = varint(rest) {
            let len = usize::try_from(len).ok().filter(|len| *len <= FRAME_BYTES_MAX);
            let len = len.ok_or_else(|| AnswerError::TooLong(varint(rest).map_or(0, |n| n.0)))?;
            let Some((crc, behind)) = behind.split_first_chunk::<4>() else { break };
            let Some((message, behind)) = behind.split_at_checked(len) else { break };
            if u32::from_be_bytes(*crc) != crc32c(message) {
                return Err(AnswerError::Checksum(self.counts.frames));
            }
            self.counts.frames += 1;
            self.chunked_series(message)?;
            rest = behind;
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    fn chunked_series(&mut self, message: &[u8]) -> Result<(), AnswerError> {
        for series in messages(message) {
            let (mut labels, mut chunks) = (Vec::new(), 0);
            for field in fields(series?) {
                match field {
                    Field { number: 1, bytes: Some(label), .. } => labels.extend_from_slice(label),
                    Field { number: 2, bytes: Some(chunk), .. } => {
                        chunks += 1;
                        self.chunk(chunk)?;
                    }
                    Field { damaged: true, .. } => {
                        return Err(AnswerError::Message("a series is damaged"));
                    }
                    _ => {}
                }
            }
            self.counts.chunks += chunks;
            if labels != self.labels {
                self.counts.series += 1;
                self.labels = labels;
            }
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: &[u8]) -> Result<(), AnswerError> {
        let (mut kind, mut count) = (0, 0);
        for field in fields(chunk) {
            match field {
                Field { number: 3, varint, .. } => kind = varint,
                Field { number: 4, bytes: Some(data), .. } => {
                    count = data.first_chunk().map_or(0, |n| u64::from(u16::from_be_bytes(*n)));
                }
                Field { damaged: true, .. } => {
                    return Err(AnswerError::Message("a chunk is damaged"));
                }
                _ => {}
            }
        }
        match kind {
            1 => self.counts.samples += count,
            2 | 3 => self.counts.histograms += count,
            _ => return Err(AnswerError::Message("a chunk has a type that is none of 1 to 3")),
        }
        Ok(())
    }
}

fn read_response(message: &[u8], counts: &mut Counts) -> Result<(), AnswerError> {
    for result in messages(message) {
        for series in messages(result?) {
            counts.series += 1;
            for field in fields(series?) {
                counts.samples += u64::from(field.number == 2);
                counts.histograms += u64::from(field.number == 4);
            }
        }
    }
    Ok(())
}

/// The messages that are field 1 of a message.
fn messages(message: &[u8]) -> impl Iterator<Item = Result<&[u8], AnswerError>> {
    fields(message).filter_map(|field| match field.damaged {
        true => Some(Err(AnswerError::Message("a field is cut off"))),
        false => field.of(1).map(Ok),
    })
}

/// CRC32C (Castagnoli) of `bytes`, with a table: the generator's other checksum is IEEE's.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let mut crc = !0u32;
    for byte in bytes {
        let at = usize::from(crc.to_le_bytes()[0] ^ byte);
        crc = crc >> 8 ^ TABLE.get(at).copied().unwrap_or_default();
    }
    !crc
}

#[expect(clippy::indexing_slicing, reason = "when compiling")]
const fn table() -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut n = 0u32;
    while n < 256 {
        let (mut crc, mut bit) = (n, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[n as usize] = crc;
        n += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u8, bytes: &[u8]) -> Vec<u8> {
        let len = u8::try_from(bytes.len()).unwrap();
        [&[number << 3 | 2, len][..], bytes].concat()
    }

    fn frame(series: &[u8], chunks: &[(u8, &[u8])]) -> Vec<u8> {
        let mut of_series = message(1, series);
        for (kind, data) in chunks {
            of_series.extend(message(2, &[&[3 << 3, *kind][..], &message(4, data)].concat()));
        }
        let response = message(1, &of_series);
        let mut frame = vec![u8::try_from(response.len()).unwrap()];
        frame.extend(crc32c(&response).to_be_bytes());
        frame.extend(response);
        frame
    }

    #[test] // the check value of the polynomial
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn frames_are_counted_in_whatever_pieces_they_come() {
        let all = [
            frame(b"a", &[(1, &[0, 120, 9]), (1, &[1, 0])]),
            frame(b"a", &[(1, &[0, 1])]),
            frame(b"b", &[(2, &[0, 7]), (3, &[0, 2])]),
        ]
        .concat();
        for size in [1, 3, 1000] {
            let mut answer = Answer::new(false);
            all.chunks(size).for_each(|piece| answer.take(piece));
            let counts = Counts {
                series: 2,
                frames: 3,
                chunks: 5,
                samples: 377,
                histograms: 9,
                bytes: all.len() as u64,
            };
            assert_eq!(answer.finish(), Ok(counts));
        }
    }

    #[test]
    fn samples_are_counted_in_one_message() {
        let series =
            [message(1, b"a"), message(2, b"x"), message(2, b"y"), message(4, b"h")].concat();
        let response = message(1, &[message(1, &series), message(1, &series)].concat());
        let mut answer = Answer::new(true);
        answer.take(&snap::raw::Encoder::new().compress_vec(&response).unwrap());
        let counts = answer.finish().unwrap();
        assert_eq!((counts.series, counts.samples, counts.histograms), (2, 4, 2));
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_said() {
        let good = frame(b"a", &[(1, &[0, 120])]);
        let finish = |bytes: &[u8]| {
            let mut answer = Answer::new(false);
            answer.take(bytes);
            answer.finish()
        };
        assert_eq!(finish(&good[..good.len() - 1]), Err(AnswerError::Cut(good.len() - 1)));
        let mut flipped = good.clone();
        flipped[7] ^= 1;
        assert_eq!(finish(&flipped), Err(AnswerError::Checksum(0)));
        assert_eq!(finish(&[0xff; 9]), Err(AnswerError::Cut(9)));
        assert!(matches!(finish(&[0xff, 0xff, 0xff, 0xff, 0x7f, 1]), Err(AnswerError::TooLong(_))));
        let other = frame(b"a", &[(4, &[0, 120])]);
        assert!(matches!(finish(&other), Err(AnswerError::Message(_))));
    }
}
