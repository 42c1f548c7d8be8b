//! Bodies of answers: sent piece by piece, and broken off, held up or dripped where a fault says so.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures_util::stream;
use http_body::{Frame, SizeHint};
use tokio_util::sync::CancellationToken;

use super::connection::Line;
use super::film::Film;

/// Drips a second.
const DRIPS: u64 = 10;

/// What follows the last byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// Nothing: that was all.
    Whole,
    /// The connection is closed, once all before has left.
    Break,
    /// Silence.
    Stall,
    /// So many bytes of white space.
    Blanks(u64),
}

/// White space.
static BLANKS: [u8; 64 * 1024] = [b' '; 64 * 1024];

/// A body on its way.
pub(super) struct Sending {
    pub(super) film: Film,
    /// The next byte to send.
    pub(super) at: u64,
    /// Behind the last byte to send.
    pub(super) end: u64,
    pub(super) ending: Ending,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) line: Line,
    pub(super) stop: CancellationToken,
}

impl Sending {
    /// The body that hyper asks for its pieces.
    pub(super) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, |mut sending| async move {
            let piece = sending.next().await?;
            Some((piece, sending))
        }))
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.at < self.end {
            let most = match self.bytes_per_second {
                None => self.end,
                Some(rate) => {
                    tokio::time::sleep(Duration::from_secs(1) / DRIPS as u32).await;
                    self.end.min(self.at + (rate / DRIPS).max(1))
                }
            };
            let piece = self.film.read(self.at..most);
            if !piece.is_empty() {
                self.at += piece.len() as u64;
                return Some(Ok(piece));
            }
        }
        match self.ending {
            Ending::Whole => return None,
            // An error at once would throw away what the server still holds.
            Ending::Break => self.line.flushed().await,
            Ending::Stall => self.stop.cancelled().await,
            Ending::Blanks(0) => return None,
            Ending::Blanks(left) => {
                let now = left.min(BLANKS.len() as u64);
                self.ending = Ending::Blanks(left - now);
                return Some(Ok(Bytes::from_static(&BLANKS[..now as usize])));
            }
        }
        self.ending = Ending::Whole;
        Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "broken off by the simulator")))
    }
}

/// A body that says when its last piece was taken.
pub(super) struct Watched<T> {
    body: Body,
    taken: Option<T>,
}

impl<T: FnOnce() + Unpin> Watched<T> {
    /// `taken` is called once there is nothing more to take; never if the body breaks off.
    pub(super) fn new(body: Body, taken: T) -> Self {
        let mut watched = Self { body, taken: Some(taken) };
        // Nobody asks an empty body for a piece.
        watched.look();
        watched
    }

    fn look(&mut self) {
        if self.body.is_end_stream()
            && let Some(taken) = self.taken.take()
        {
            taken();
        }
    }
}

impl<T: FnOnce() + Unpin> HttpBody for Watched<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(None) => {
                if let Some(taken) = self.taken.take() {
                    taken();
                }
            }
            Poll::Ready(Some(Ok(_))) => self.look(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
