//! Idle connections, one list a backend. Each worker thread has its own pool, so nothing wakes across threads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use tokio_rustls::rustls::ClientConfig;

use super::link::Written;
use super::{Answer, Link, UpstreamError};
use crate::config::BackendUrl;
use crate::http1::AnswerHead;

/// Connections kept idle for one backend at most.
const MAX_IDLE: usize = 1024;

#[derive(Debug)]
pub(crate) struct Pool {
    keep_alive: Duration,
    /// For backends behind https.
    tls: Option<Arc<ClientConfig>>,
    idle: Mutex<Vec<Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    since: Instant,
    link: Link,
}

/// A request on its way, waiting for its answer.
#[derive(Debug)]
pub(crate) struct Sent {
    link: Link,
    /// A backend that hung up while it was still being sent to may have said why.
    written: Written,
}

impl Pool {
    /// A pool for `backends` backends, numbered from 0.
    pub(crate) fn new(backends: usize, keep_alive: Duration, tls: Option<Arc<ClientConfig>>) -> Self {
        Pool { keep_alive, tls, idle: Mutex::new((0..backends).map(|_| Vec::new()).collect()) }
    }

    /// Sends a request on an idle connection, or on a new one. A connection that died while idle is replaced only if
    /// not one byte of the request left: what was sent may have been acted on.
    pub(crate) async fn send(
        &self,
        slot: usize,
        url: &BackendUrl,
        pieces: &[Bytes],
        connect_within: Duration,
    ) -> Result<Sent, UpstreamError> {
        while let Some(mut link) = self.take(slot) {
            match link.write(pieces).await {
                Written::Nothing => {}
                written => return Ok(Sent { link, written }),
            }
        }
        let mut link = Link::open(url, connect_within, self.tls.as_ref()).await?;
        let written = link.write(pieces).await;
        Ok(Sent { link, written })
    }

    /// Keeps the connection of a finished answer, if it can be used again.
    pub(crate) fn put_back(&self, slot: usize, answer: Answer) {
        let Some(link) = answer.into_link() else {
            return;
        };
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle[slot].len() < MAX_IDLE {
            idle[slot].push(Idle { since: Instant::now(), link });
        }
    }

    /// Closes the connections that have been idle too long.
    pub(crate) fn sweep(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        for links in idle.iter_mut() {
            links.retain_mut(|idle| idle.since.elapsed() < self.keep_alive && idle.link.is_quiet());
        }
    }

    /// The freshest connection that is still open.
    fn take(&self, slot: usize) -> Option<Link> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Idle { since, mut link }) = idle[slot].pop() {
            if since.elapsed() >= self.keep_alive {
                // Older ones lie below it.
                idle[slot].clear();
                return None;
            }
            if link.is_quiet() {
                return Some(link);
            }
        }
        None
    }
}

impl Sent {
    pub(crate) async fn answer(self, method: &Method, max_head: usize) -> Result<(AnswerHead, Answer), UpstreamError> {
        let (head, mut answer) = self.link.answer(method, max_head).await?;
        if self.written != Written::Whole {
            answer.spend();
        }
        Ok((head, answer))
    }
}
