//! One client's connection: whether a request is in progress on it, and since when a head is being waited for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Nothing of a request has come.
const IDLE: u64 = u64::MAX;
/// A request has come and is not answered yet.
const BUSY: u64 = u64::MAX - 1;

/// Shared by what reads the connection and what serves it. Any other value: microseconds from `born` to the first byte of
/// a head that is not complete.
#[derive(Debug)]
pub(crate) struct Progress {
    born: Instant,
    state: AtomicU64,
}

impl Progress {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Progress { born: Instant::now(), state: AtomicU64::new(IDLE) })
    }

    /// Until when the head that is being read must be complete.
    pub(crate) fn head_due(&self, within: Duration) -> Option<Instant> {
        match self.state.load(Ordering::Relaxed) {
            IDLE | BUSY => None,
            micros => Some(self.born + Duration::from_micros(micros) + within),
        }
    }

    fn came(&self) {
        if self.state.load(Ordering::Relaxed) == IDLE {
            let micros = u64::try_from(self.born.elapsed().as_micros()).unwrap_or(0);
            self.state.store(micros.min(BUSY - 1), Ordering::Relaxed);
        }
    }

    /// A request's head is complete.
    pub(crate) fn begin(self: &Arc<Self>) -> InProgress {
        self.state.store(BUSY, Ordering::Relaxed);
        InProgress(Arc::clone(self))
    }
}

/// A request; over when this is dropped.
#[derive(Debug)]
pub(crate) struct InProgress(Arc<Progress>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.state.store(IDLE, Ordering::Relaxed);
    }
}

/// An answer's body, during which its request is in progress.
#[derive(Debug)]
pub(crate) struct Answering<B> {
    pub(crate) body: B,
    pub(crate) _request: InProgress,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A client's bytes; notes when those of a new head begin to come.
#[derive(Debug)]
pub(crate) struct ClientStream {
    stream: TcpStream,
    progress: Arc<Progress>,
}

impl ClientStream {
    pub(crate) fn new(stream: TcpStream, progress: Arc<Progress>) -> Self {
        ClientStream { stream, progress }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            self.progress.came();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
