//! One connection to a backend, and the answer read from it.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::ClientConfig;

use super::UpstreamError;
use super::socket::Socket;
use crate::config::BackendUrl;
use crate::http1::{AnswerHead, Framing};

/// Bytes asked of the socket at once; with hyper's write queue, what one slow reader can hold.
const READ_SIZE: usize = 32 << 10;
/// Below this much room the read buffer is renewed.
const MIN_READ: usize = 4 << 10;

/// A connection that no request is using.
#[derive(Debug)]
pub(crate) struct Link {
    stream: Socket,
    buffer: BytesMut,
}

/// How much of a request got out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Whole,
    /// The connection broke after a part of it.
    Part,
    Nothing,
}

impl Link {
    /// `tls`: whom to trust, for a backend whose URL says https.
    pub(crate) async fn open(
        url: &BackendUrl,
        within: Duration,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self, UpstreamError> {
        let stream = tokio::time::timeout(within, Socket::open(url, tls))
            .await
            .map_err(|_| UpstreamError::ConnectTimeout(within))?
            .map_err(UpstreamError::Connect)?;
        Ok(Link { stream, buffer: BytesMut::new() })
    }

    /// False once the backend closed it, or said something nobody asked for.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.buffer.is_empty() && self.stream.is_quiet()
    }

    /// Writes the pieces one after another, without joining them.
    pub(crate) async fn write(&mut self, pieces: &[Bytes]) -> Written {
        let mut slices: Vec<IoSlice> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = slices.as_mut_slice();
        let mut written = Written::Nothing;
        // Leading empty pieces would make a write of 0 bytes look like a closed connection.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match self.stream.write_vectored(left).await {
                Ok(0) | Err(_) => return written,
                Ok(bytes) => {
                    written = Written::Part;
                    IoSlice::advance_slices(&mut left, bytes);
                }
            }
        }
        // TLS may still hold some of it.
        if self.stream.flush().await.is_err() { Written::Part } else { Written::Whole }
    }

    /// Reads the head of the answer to a request with that method.
    pub(crate) async fn answer(
        mut self,
        method: &Method,
        max_head: usize,
    ) -> Result<(AnswerHead, Answer), UpstreamError> {
        loop {
            if !self.buffer.is_empty() {
                if let Some(head) = AnswerHead::take(&mut self.buffer, method)? {
                    let answer = Answer { link: self, framing: head.framing.clone(), reusable: head.reusable };
                    return Ok((head, answer));
                }
                if self.buffer.len() > max_head {
                    return Err(UpstreamError::TooLarge { limit: max_head });
                }
            }
            self.make_room();
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(UpstreamError::Closed),
                Ok(_) => {}
                Err(error) => return Err(UpstreamError::Broken(error)),
            }
        }
    }

    fn make_room(&mut self) {
        if self.buffer.capacity() - self.buffer.len() < MIN_READ {
            self.buffer.reserve(READ_SIZE);
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.make_room();
        // The future holds no state of its own, so a new one at every poll loses nothing.
        pin!(self.stream.read_buf(&mut self.buffer)).poll(cx)
    }
}

/// The body of an answer, read as it comes.
#[derive(Debug)]
pub(crate) struct Answer {
    link: Link,
    framing: Framing,
    reusable: bool,
}

impl Answer {
    /// The next bytes of the body, one socket read at most. `None`: the body ended where it should.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        loop {
            match self.framing.take(&mut self.link.buffer) {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(None) if self.framing.is_done() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => {
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
            match ready!(self.link.poll_read(cx)) {
                Ok(0) if self.framing == Framing::UntilClose => {
                    self.framing = Framing::Length(0);
                    self.reusable = false;
                }
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(UpstreamError::Truncated))),
                Ok(_) => {}
            }
        }
    }

    /// True once every byte of the body was taken.
    pub(crate) fn is_done(&self) -> bool {
        self.framing.is_done()
    }

    /// Bytes still to come, where the head told.
    pub(crate) fn bytes_left(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(left) => Some(left),
            _ => None,
        }
    }

    /// The whole body, up to `limit` bytes, waiting at most `idle` between two reads.
    pub(crate) async fn collect(&mut self, limit: usize, idle: Duration) -> Result<Bytes, UpstreamError> {
        let mut body = BytesMut::new();
        loop {
            let next = std::future::poll_fn(|cx| self.poll_data(cx));
            let stalled = UpstreamError::Timeout { awaited: "further byte of its answer", after: idle };
            match tokio::time::timeout(idle, next).await.map_err(|_| stalled)? {
                None => return Ok(body.freeze()),
                // The usual answer comes in one read and is not copied.
                Some(Ok(data)) if body.is_empty() && self.is_done() && data.len() <= limit => {
                    return Ok(data);
                }
                Some(Ok(data)) if body.len() + data.len() <= limit => body.extend_from_slice(&data),
                Some(Ok(_)) => return Err(UpstreamError::TooLarge { limit }),
                Some(Err(error)) => return Err(error),
            }
        }
    }

    /// The connection, if another request may use it.
    pub(crate) fn into_link(self) -> Option<Link> {
        (self.reusable && self.framing.is_done() && self.link.buffer.is_empty()).then_some(self.link)
    }

    /// The connection must not carry another request.
    pub(crate) fn spend(&mut self) {
        self.reusable = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_writes_are_not_held_back() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Link::open(&listener.local_addr().unwrap().into(), Duration::from_secs(5), None).await;
        let Socket::Plain(stream) = link.unwrap().stream else { panic!("no TLS was asked for") };
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn empty_pieces_are_written_as_nothing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = listener.local_addr().unwrap().into();
        let mut link = Link::open(&url, Duration::from_secs(5), None).await.unwrap();
        let pieces = ["", "a", "", "bc", ""].map(Bytes::from);
        assert_eq!(link.write(&pieces).await, Written::Whole);
        drop(link);
        let mut got = String::new();
        listener.accept().await.unwrap().0.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "abc");
    }
}
