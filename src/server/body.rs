//! Bodies: those of answers, whole or in slices, and those of requests, read within bounds.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_lite::Stream;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::admission::{Overloaded, Reservation, weight};
use super::compression::{Compressor, Encoding};
use super::json::slices::Slices;
use crate::rt::Slice;

/// How many bytes of an answer are written before the core looks after others: some 200 microseconds' work.
const SLICE_BYTES: usize = 32 << 10;

/// Room for most answers that are not long.
const FIRST_BYTES: usize = 4 << 10;

/// A body of fewer bytes fits a packet and is sent as it is.
const COMPRESSED_BYTES_MIN: usize = 1024;

/// The body of an answer.
pub enum Body {
    /// None.
    Empty,
    /// At hand.
    Whole(Bytes),
    /// Written while it is sent.
    Sliced(Box<Sliced>),
    /// Read while it is sent.
    Streamed(Pin<Box<dyn Stream<Item = Result<Bytes, BodyFailed>>>>),
}

/// Why a body breaks off.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BodyFailed(pub String);

impl Body {
    /// The answer that `slices` write. One that fits a slice is written here and now, so that its length is known.
    #[must_use]
    pub fn sliced(mut slices: Box<dyn Slices>) -> Self {
        let mut first = Vec::with_capacity(FIRST_BYTES);
        if !slices.fill(&mut first, SLICE_BYTES) {
            return Self::Whole(Bytes::from(first));
        }
        let pace = Some(Slice::start());
        let rest = Some(slices);
        Self::Sliced(Box::new(Sliced { first, rest, compressor: None, pause: None, pace }))
    }

    /// The answer that comes piece by piece. It is not compressed.
    pub fn streamed(pieces: impl Stream<Item = Result<Bytes, BodyFailed>> + 'static) -> Self {
        Self::Streamed(Box::pin(pieces))
    }

    /// Compresses a body that was not sent yet, if it is worth it. Is it compressed now?
    pub fn compress(&mut self, encoding: Encoding) -> bool {
        match self {
            Self::Empty | Self::Streamed(_) => false,
            Self::Whole(bytes) if bytes.len() < COMPRESSED_BYTES_MIN => false,
            Self::Whole(bytes) => {
                let Ok(mut compressor) = Compressor::new(encoding) else { return false };
                // Writing to memory does not fail.
                let mut packed = compressor.push(bytes).unwrap_or_default();
                packed.extend(compressor.finish().unwrap_or_default());
                *bytes = Bytes::from(packed);
                true
            }
            Self::Sliced(sliced) => {
                let Ok(compressor) = Compressor::new(encoding) else { return false };
                sliced.compressor = Some(compressor);
                true
            }
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        let bytes = match &mut *self {
            Self::Empty => None,
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Some(bytes).filter(|bytes| !bytes.is_empty())
            }
            Self::Sliced(sliced) => ready!(sliced.poll_next(cx)),
            Self::Streamed(pieces) => {
                return pieces.as_mut().poll_next(cx).map_ok(Frame::data);
            }
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Sliced(_) | Self::Streamed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Sliced(_) | Self::Streamed(_) => SizeHint::default(),
        }
    }
}

/// An answer that is written while it is sent, with a breath between two slices.
pub struct Sliced {
    first: Vec<u8>,
    rest: Option<Box<dyn Slices>>,
    compressor: Option<Compressor>,
    pause: Option<Pin<Box<dyn Future<Output = Slice>>>>,
    pace: Option<Slice>,
}

impl Sliced {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(pause) = &mut self.pause {
                self.pace = Some(ready!(pause.as_mut().poll(cx)));
                self.pause = None;
            }
            let bytes = self.next();
            if self.rest.is_some()
                && let Some(mut pace) = self.pace.take()
            {
                self.pause = Some(Box::pin(async move {
                    pace.breathe().await;
                    pace
                }));
            }
            match bytes {
                Some(bytes) if bytes.is_empty() => {}
                bytes => return Poll::Ready(bytes),
            }
        }
    }

    /// The next bytes to send, which may be none yet; `None` at the end.
    fn next(&mut self) -> Option<Bytes> {
        let mut slice = std::mem::take(&mut self.first);
        if slice.is_empty() {
            // Else it would be moved whenever it has to grow.
            slice.reserve_exact(SLICE_BYTES + SLICE_BYTES / 4);
            let more = match &mut self.rest {
                Some(rest) => rest.fill(&mut slice, SLICE_BYTES),
                None => return None,
            };
            if !more {
                self.rest = None;
            }
        }
        // Writing to memory does not fail.
        if let Some(compressor) = &mut self.compressor {
            slice = compressor.push(&slice).unwrap_or_default();
            if self.rest.is_none()
                && let Some(compressor) = self.compressor.take()
            {
                slice.extend(compressor.finish().unwrap_or_default());
            }
        }
        Some(Bytes::from(slice))
    }
}

/// Why a request's body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadBodyError {
    /// It is larger than it may be.
    #[error("the body is larger than {max} bytes; send smaller requests")]
    TooLarge {
        /// What it may be.
        max: usize,
    },
    /// There is no room for it now.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The connection failed, or what came over it is not HTTP.
    #[error("cannot read the body: {0}")]
    Broken(String),
}

/// Bounds on a body.
#[derive(Debug, Clone, Copy)]
pub struct BodyBounds {
    /// It may have so many bytes.
    pub bytes_max: usize,
    /// It may unpack to so many; zero if it is not packed.
    pub unpacked_bytes_max: usize,
}

impl BodyBounds {
    /// What to reserve for a body before it is read: by what it declares, or nothing yet if it declares nothing.
    ///
    /// # Errors
    /// It declares more than it may have.
    pub fn weight_of(self, body: &impl HttpBody) -> Result<usize, ReadBodyError> {
        let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if declared > self.bytes_max {
            return Err(ReadBodyError::TooLarge { max: self.bytes_max });
        }
        Ok(weight(declared, self.unpacked_bytes_max))
    }
}

/// Appends a body to `out`. What it weighs beyond what is reserved is reserved as it arrives.
///
/// # Errors
/// A body that is too large, finds no room, or breaks off.
pub async fn read_body<B>(
    body: B,
    bounds: BodyBounds,
    reservation: &mut Reservation,
    out: &mut Vec<u8>,
) -> Result<(), ReadBodyError>
where
    B: HttpBody<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let mut body = std::pin::pin!(body);
    let start = out.len();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|error| ReadBodyError::Broken(error.to_string()))?;
        // Trailers say nothing that is of use here.
        let Ok(data) = frame.into_data() else { continue };
        let arrived = out.len() - start + data.len();
        if arrived > bounds.bytes_max {
            return Err(ReadBodyError::TooLarge { max: bounds.bytes_max });
        }
        let needed = weight(arrived, bounds.unpacked_bytes_max);
        if needed > reservation.bytes() {
            reservation.resize(needed)?;
        }
        out.extend_from_slice(&data);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;
    use crate::model::Labels;
    use crate::rt::executor::testing::on_one_shard;
    use crate::server::admission::{Admission, ServerBudget};
    use crate::server::json::Notes;
    use crate::server::json::slices::{List, labels};
    use crate::server::testing::Pieces;

    const BOUNDS: BodyBounds = BodyBounds { bytes_max: 10, unpacked_bytes_max: 20 };

    fn read(
        pieces: &[&'static [u8]],
        budget: usize,
    ) -> (Result<(), ReadBodyError>, Vec<u8>, usize) {
        let core = Admission::new(ServerBudget::new(1000), budget);
        let body = Pieces::undeclared(pieces);
        let mut reservation = core.reserve(BOUNDS.weight_of(&body).unwrap()).unwrap();
        let mut out = Vec::new();
        let outcome = block_on(read_body(body, BOUNDS, &mut reservation, &mut out));
        (outcome, out, reservation.bytes())
    }

    #[test]
    fn a_body_of_unknown_length_pays_as_it_arrives() {
        let (outcome, out, reserved) = read(&[b"ab", b"cde"], 1000);
        assert!(outcome.is_ok());
        assert_eq!((out.as_slice(), reserved), (&b"abcde"[..], 5 + 20));
        let (outcome, out, _) = read(&[b"a", b"bcd"], 20);
        assert!(matches!(outcome, Err(ReadBodyError::Overloaded(_))), "{outcome:?}");
        assert_eq!(out, b"a");
    }

    #[test]
    fn a_body_that_is_too_large_is_refused_before_it_is_kept() {
        let (outcome, out, _) = read(&[b"abcdefgh", b"ijk"], 1000);
        assert!(matches!(outcome, Err(ReadBodyError::TooLarge { max: 10 })), "{outcome:?}");
        assert_eq!(out, b"abcdefgh");
        let declared = Pieces::declaring(11, &[]);
        assert!(matches!(BOUNDS.weight_of(&declared), Err(ReadBodyError::TooLarge { max: 10 })));
    }

    #[test]
    fn a_body_that_breaks_off_is_an_error() {
        let (outcome, ..) = read(&[b"a", b"broken"], 1000);
        assert!(matches!(outcome, Err(ReadBodyError::Broken(_))), "{outcome:?}");
    }

    /// All frames of a body.
    async fn frames(mut body: Body) -> Vec<Bytes> {
        let mut frames = Vec::new();
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            frames.push(frame.into_data().unwrap());
        }
        frames
    }

    fn many(series: usize) -> Box<dyn Slices> {
        let one = Labels::from_pairs([("__name__", "up"), ("instance", "localhost:9090")]).unwrap();
        Box::new(List::new(vec![one; series], labels, Notes::default()))
    }

    #[test]
    fn a_short_answer_has_a_length_and_stays_as_it_is() {
        let mut body = Body::sliced(many(1));
        let length = body.size_hint().exact();
        assert!(length.is_some_and(|length| length > 50));
        assert!(!body.compress(Encoding::Gzip));
        assert_eq!(body.size_hint().exact(), length);
    }

    fn unpacked(packed: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut plain).unwrap();
        plain
    }

    #[test]
    fn an_answer_worth_it_is_compressed() {
        let mut body = Body::sliced(many(100));
        let length = body.size_hint().exact().unwrap();
        assert!(body.compress(Encoding::Gzip));
        assert!(body.size_hint().exact().is_some_and(|packed| packed < length / 10));
        assert_eq!(unpacked(&block_on(frames(body)).concat()).len() as u64, length);
    }

    #[test]
    fn a_long_answer_comes_in_slices_that_are_one_answer() {
        on_one_shard(|_| async {
            let plain = frames(Body::sliced(many(10_000))).await;
            assert!(plain.len() > 5, "{} frames", plain.len());
            assert!(plain.iter().all(|frame| frame.len() < SLICE_BYTES + 1000));
            let json: serde_json::Value = serde_json::from_slice(&plain.concat()).unwrap();
            assert_eq!(json["data"].as_array().unwrap().len(), 10_000);

            let mut body = Body::sliced(many(10_000));
            assert!(body.compress(Encoding::Gzip));
            assert_eq!(unpacked(&frames(body).await.concat()), plain.concat());
        });
    }
}
