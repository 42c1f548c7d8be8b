//! Connections that can be cut from within: the listener and the stream beneath the HTTP server.
//!
//! An HTTP library cannot be told "close this without a word", and it does not say when a request's first byte came. So
//! each accepted stream carries a [`Line`], shared with whoever answers on it: the stream notes the first byte of each
//! request there, and refuses to read or write from the moment it is cut, whereupon the server drops the connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What a connection and those who answer on it share.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Counts the connections from 1.
    pub(super) number: u64,
    cut: Arc<AtomicBool>,
    first_byte_at: Arc<Mutex<Option<Instant>>>,
    flushed: Arc<Notify>,
    /// What is still to be written in place of an answer, and then the end.
    last_words: Arc<Mutex<Option<Bytes>>>,
    /// Who is to be told once everything so far has left.
    sent: Arc<Mutex<Option<Told>>>,
}

/// Told once.
pub(super) struct Told(Box<dyn FnOnce() + Send>);

impl fmt::Debug for Told {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Told")
    }
}

impl Line {
    fn new(number: u64) -> Self {
        Self {
            number,
            cut: Arc::default(),
            first_byte_at: Arc::default(),
            flushed: Arc::default(),
            last_words: Arc::default(),
            sent: Arc::default(),
        }
    }

    /// The next answer is replaced by these very bytes, HTTP or not; behind them the connection ends.
    pub(super) fn say_instead(&self, words: Bytes) {
        *self.last_words() = Some(words);
    }

    fn last_words(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.last_words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing is read or written; the server closes the connection at its next try.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    /// When the first byte after the last answer came.
    pub(super) fn first_byte_at(&self) -> Option<Instant> {
        *self.first_byte_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the server has handed all it had to the system. Called from a body, after its last piece was taken.
    pub(super) async fn flushed(&self) {
        self.flushed.notified().await;
    }

    /// Calls `tell` once the server has handed to the system all that it had by now. Called after the last piece of an answer
    /// was taken, so that is when its last byte has left.
    pub(super) fn once_sent(&self, tell: impl FnOnce() + Send + 'static) {
        *self.sent() = Some(Told(Box::new(tell)));
    }

    fn sent(&self) -> MutexGuard<'_, Option<Told>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    fn note_first_byte(&self) {
        let mut at = self.first_byte_at.lock().unwrap_or_else(PoisonError::into_inner);
        at.get_or_insert_with(Instant::now);
    }

    fn expect_next_request(&self) {
        *self.first_byte_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Connected<IncomingStream<'_, Exchange>> for Line {
    fn connect_info(stream: IncomingStream<'_, Exchange>) -> Self {
        stream.io().line.clone()
    }
}

/// A TCP listener whose streams are [`Wire`]s.
#[derive(Debug)]
pub(super) struct Exchange {
    listener: TcpListener,
    accepted: u64,
    stop: CancellationToken,
}

impl Exchange {
    /// Once `stop` is cancelled, every stream is cut.
    pub(super) fn new(listener: TcpListener, stop: CancellationToken) -> Self {
        Self { listener, accepted: 0, stop }
    }
}

impl Listener for Exchange {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        // Without it a short answer may wait for the client's delayed acknowledgement. A socket that refuses the option
        // works all the same.
        let _slower = stream.set_nodelay(true);
        self.accepted += 1;
        let stopped = Box::pin(self.stop.clone().cancelled_owned());
        (Wire { stream, line: Line::new(self.accepted), stopped }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A TCP stream that can be cut.
pub(super) struct Wire {
    stream: TcpStream,
    line: Line,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Wire {
    /// Whether it is cut; if not, the task is woken when the simulator stops, whatever the socket does.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.line.is_cut() || self.stopped.as_mut().poll(context).is_ready() {
            true => Err(cut_off()),
            false => Ok(()),
        }
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "cut by the simulator")
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.line.note_first_byte();
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        self.line.expect_next_request();
        let instead = self.line.last_words().take();
        let Some(mut words) = instead else { return Pin::new(&mut self.stream).poll_write(context, bytes) };
        while words.has_remaining() {
            match Pin::new(&mut self.stream).poll_write(context, &words) {
                Poll::Ready(Ok(written)) => words.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    *self.line.last_words() = Some(words);
                    return Poll::Pending;
                }
            }
        }
        self.line.cut();
        Poll::Ready(Err(cut_off()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        self.line.flushed.notify_waiters();
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        // The server flushes only what it has written wholly.
        if let Poll::Ready(Ok(())) = polled {
            let told = self.line.sent().take();
            if let Some(Told(tell)) = told {
                tell();
            }
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
