//! The proxy's own HTTP/1.1 client, cut to what a relay needs: a request written in pieces without joining them, an
//! answer read one socket read a frame. A general client moves every chunk through a connection task and a channel;
//! here the task that serves the client reads the backend's socket itself, so that dropping it closes the connection
//! and a slow reader slows the backend. Deliberately absent: HTTP/2, redirects, retries, trailers.

mod link;
mod pool;
mod request;
mod socket;

pub(crate) use link::{Answer, Link};
pub(crate) use pool::Pool;
pub(crate) use request::RequestHead;

use crate::http1::HttpError;
use std::io;
use std::time::Duration;

/// How an exchange with a backend ends badly.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("it refuses connections: {0}")]
    Connect(io::Error),
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("no {awaited} within {after:?}")]
    Timeout { awaited: &'static str, after: Duration },
    #[error("it closed the connection before it answered")]
    Closed,
    #[error("its connection broke before it answered: {0}")]
    Broken(io::Error),
    #[error("its answer was cut short")]
    Truncated,
    #[error(transparent)]
    Protocol(#[from] HttpError),
    #[error("its answer is larger than {limit} bytes")]
    TooLarge { limit: usize },
}
