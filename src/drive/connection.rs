//! Connections to the server under load: opened ahead of need, reused while the server surely keeps them.
//!
//! Why not reqwest or hyper here: both read the socket in one task and hand the bytes to another, which stamps them when
//! its turn comes. Here the task that reads learns when the bytes arrived. A client on hyper's low-level connections was off
//! by 0.8 ms of TTFT at p99 where this one was off by 0.03, at 787 requests a second and for a tenth less CPU without
//! parsing (`cargo bench --bench truth`). Control requests elsewhere use reqwest.

use super::stamped::StampedTcp;
use super::target::{Authority, TargetError};
use crate::tls::client_config;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// vLLM closes idle connections after 5 s (`VLLM_HTTP_TIMEOUT_KEEP_ALIVE`); a request on one that is closing is lost.
const MAX_IDLE: Duration = Duration::from_secs(3);
/// Connections kept open for the requests to come, at the least: a send then never waits for a handshake unless a burst
/// outruns them.
pub(super) const FEWEST_SPARES: usize = 2;

/// A server's addresses and how to reach them.
#[derive(Clone)]
pub(super) struct Connector {
    addresses: Arc<[SocketAddr]>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Connector {
    /// Resolves the host once: a measurement shouldn't contain name lookups.
    pub(super) async fn new(authority: &Authority, insecure: bool) -> Result<Self, TargetError> {
        let host = &authority.host;
        let addresses: Arc<[SocketAddr]> = tokio::net::lookup_host((host.as_str(), authority.port))
            .await
            .map_err(|source| TargetError::Resolve { host: host.clone(), source })?
            .collect();
        if addresses.is_empty() {
            return Err(TargetError::NoAddress { host: host.clone() });
        }
        let tls = authority.tls.then(|| tls(host, insecure)).transpose()?;
        Ok(Connector { addresses, tls })
    }

    pub(super) async fn connect(&self) -> io::Result<Connection> {
        let tcp = TcpStream::connect(&*self.addresses).await?;
        // Nagle's algorithm would hold back the end of a large body for 40 ms.
        tcp.set_nodelay(true)?;
        let tcp = StampedTcp::new(tcp)?;
        Ok(match &self.tls {
            None => Connection::Plain(tcp),
            Some((connector, name)) => Connection::Tls(Box::new(connector.connect(name.clone(), tcp).await?)),
        })
    }
}

fn tls(host: &str, insecure: bool) -> Result<(TlsConnector, ServerName<'static>), TargetError> {
    let failed = |detail: String| TargetError::Tls { host: host.to_string(), detail };
    let name = ServerName::try_from(host.to_string()).map_err(|e| failed(e.to_string()))?;
    let config = client_config(insecure).map_err(|e| failed(e.to_string()))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

/// A byte stream to the server.
pub(super) enum Connection {
    Plain(StampedTcp),
    Tls(Box<tokio_rustls::client::TlsStream<StampedTcp>>),
}

impl Connection {
    /// When what was read last had arrived.
    pub(super) fn arrived(&self) -> Instant {
        match self {
            Connection::Plain(tcp) => tcp.arrived(),
            Connection::Tls(tls) => tls.get_ref().0.arrived(),
        }
    }

    /// Whether the server has neither closed it nor said anything unasked for.
    fn is_silent(&mut self) -> bool {
        let mut byte = [0u8; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(std::task::Waker::noop());
        Pin::new(self).poll_read(&mut context, &mut buffer).is_pending()
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Connection::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Connection::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Connection::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Connection::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// Idle connections of one worker, the freshest on top.
pub(super) struct Pool {
    connector: Connector,
    spares: usize,
    idle: Mutex<Vec<Idle>>,
    /// Spares being opened.
    opening: AtomicUsize,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    pub(super) fn new(connector: Connector, spares: usize) -> Self {
        Pool { connector, spares, idle: Mutex::new(Vec::new()), opening: AtomicUsize::new(0) }
    }

    pub(super) async fn connect(&self) -> io::Result<Connection> {
        self.connector.connect().await
    }

    /// The freshest idle connection that still stands.
    pub(super) fn take_idle(&self) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.idle();
        while let Some(Idle { mut connection, since }) = idle.pop() {
            if now.duration_since(since) > MAX_IDLE {
                // All below are older still.
                idle.clear();
                return None;
            }
            if connection.is_silent() {
                return Some(connection);
            }
        }
        None
    }

    pub(super) fn give_back(&self, connection: Connection) {
        self.idle().push(Idle { connection, since: Instant::now() });
    }

    /// Opens connections in the background until there are enough for the next sends. What fails here will fail again,
    /// and be told, when a request needs it.
    pub(super) fn top_up(self: &Arc<Self>) {
        let now = Instant::now();
        let will_stand = |idle: &&Idle| now.duration_since(idle.since) < MAX_IDLE / 2;
        let fresh = self.idle().iter().rev().take(self.spares).filter(will_stand).count();
        for _ in fresh + self.opening.load(Ordering::Relaxed)..self.spares {
            self.opening.fetch_add(1, Ordering::Relaxed);
            let pool = Arc::clone(self);
            tokio::spawn(async move {
                if let Ok(connection) = pool.connect().await {
                    pool.give_back(connection);
                }
                pool.opening.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    /// A panic while the lock is held leaves a list of connections, which is as good as any.
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn listener() -> (TcpListener, Arc<Pool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let authority = Authority::parse(&format!("http://{}", listener.local_addr().expect("bound"))).expect("a URL");
        let connector = Connector::new(&authority, false).await.expect("resolves");
        (listener, Arc::new(Pool::new(connector, FEWEST_SPARES)))
    }

    #[tokio::test]
    async fn a_connection_that_the_server_closed_is_never_handed_out() {
        let (listener, pool) = listener().await;
        let (stands, closed) = (pool.connect().await.expect("connects"), pool.connect().await.expect("connects"));
        let (first, second) = (listener.accept().await.expect("accepts"), listener.accept().await.expect("accepts"));
        drop(second);
        let Connection::Plain(tcp) = &closed else { panic!("plain") };
        tcp.readable().await;
        pool.give_back(stands);
        pool.give_back(closed);
        assert!(pool.take_idle().is_some());
        assert!(pool.take_idle().is_none());
        drop(first);
    }

    #[tokio::test]
    async fn a_connection_idle_for_long_is_never_handed_out() {
        let (_listener, pool) = listener().await;
        let connection = pool.connect().await.expect("connects");
        let since =
            Instant::now().checked_sub(MAX_IDLE + Duration::from_millis(1)).expect("the machine runs for seconds");
        pool.idle().push(Idle { connection, since });
        assert!(pool.take_idle().is_none());
    }

    #[tokio::test]
    async fn spares_are_opened_once() {
        let (listener, pool) = listener().await;
        pool.top_up();
        pool.top_up();
        let mut accepted = Vec::new();
        for _ in 0..FEWEST_SPARES {
            accepted.push(listener.accept().await.expect("accepts"));
        }
        while pool.opening.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.idle().len(), FEWEST_SPARES);
        pool.top_up();
        assert_eq!(pool.opening.load(Ordering::Relaxed), 0);
    }
}
