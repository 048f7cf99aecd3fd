//! A worker thread: one single-threaded runtime that accepts, serves and relays without waking another thread.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{Answering, ClientStream, Progress};
use crate::service::serve;
use crate::state::Worker;

/// Connections that may wait to be accepted: an open-loop burst must not be refused by the kernel.
const BACKLOG: u32 = 4096;
/// Bytes of a request's head, and of what is queued for a slow reader.
const CONNECTION_BUFFER: usize = 64 << 10;
/// A connection idle beyond its time is closed at most this much later.
const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// What the workers are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Serve,
    /// Accept nothing more, finish what is in flight until then.
    Drain {
        until: Instant,
    },
    Abort,
}

pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Binds with a long backlog. Needs a runtime.
pub(crate) fn bind(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The port of an earlier proxy is free again although its connections linger in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Serves until told to stop. Dropping the runtime afterwards closes what is still open.
pub(crate) fn run(
    runtime: Runtime,
    listener: std::net::TcpListener,
    worker: Arc<Worker>,
    phase: watch::Receiver<Phase>,
) {
    let served = runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        Acceptor { worker, phase, connections: JoinSet::new() }.run(listener).await;
        io::Result::Ok(())
    });
    if let Err(error) = served {
        tracing::error!("proxy worker: cannot listen: {error}");
    }
    // A name lookup may hang in the blocking pool: do not wait for it.
    runtime.shutdown_background();
}

struct Acceptor {
    worker: Arc<Worker>,
    phase: watch::Receiver<Phase>,
    connections: JoinSet<()>,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = self.phase.clone();
        while *told.borrow() == Phase::Serve {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.connect(stream),
                    Err(error) => {
                        // Out of file descriptors, mostly: a connection that ends gives one back.
                        tracing::warn!("proxy cannot accept: {error}");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                },
                _ = sweep.tick() => self.worker.pool.sweep(),
                Some(_) = self.connections.join_next() => {}
                changed = told.changed() => if changed.is_err() {
                    return;
                },
            }
        }
        drop(listener);
        self.drain(told).await;
        self.worker.shared.aborting.store(true, Ordering::Relaxed);
    }

    fn connect(&mut self, stream: TcpStream) {
        // Without it the first token waits for the client's delayed acknowledgement, about 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("client connection lost at once: {error}");
            return;
        }
        self.connections.spawn(serve_connection(Arc::clone(&self.worker), stream, self.phase.clone()));
    }

    /// Waits for the connections that are open, until the grace is over or the proxy is dropped.
    async fn drain(&mut self, mut told: watch::Receiver<Phase>) {
        let Phase::Drain { until } = *told.borrow() else {
            return;
        };
        let aborted = async { while told.changed().await.is_ok() && *told.borrow() != Phase::Abort {} };
        let drained = async { while self.connections.join_next().await.is_some() {} };
        tokio::select! {
            () = drained => {}
            () = aborted => {}
            () = tokio::time::sleep_until(until.into()) => {}
        }
    }
}

async fn serve_connection(worker: Arc<Worker>, stream: TcpStream, mut phase: watch::Receiver<Phase>) {
    let progress = Progress::new();
    let within = worker.shared.timeouts.client_head;
    let begun = Arc::clone(&progress);
    let service = service_fn(move |request| {
        let (worker, request_begun) = (Arc::clone(&worker), begun.begin());
        async move {
            let answer = serve(worker, request).await;
            Ok::<_, Infallible>(answer.map(|body| Answering { body, _request: request_begun }))
        }
    });
    let news = phase.clone();
    let mut connection = pin!(
        http1::Builder::new()
            .auto_date_header(false)
            // A chunk's size, its data and its line end as one piece: at a token's length a copy costs less than a
            // vectored write.
            .writev(false)
            // hyper's own would count idle connections as slow.
            .header_read_timeout(None)
            .max_buf_size(CONNECTION_BUFFER)
            .serve_connection(TokioIo::new(ClientStream::new(stream, Arc::clone(&progress))), service)
    );
    let told = async {
        let _ = phase.wait_for(|phase| *phase != Phase::Serve).await;
    };
    let mut told = pin!(told);
    let mut head_due = pin!(tokio::time::sleep(within));
    // Listening once is enough while nothing was said: this task is woken then, whoever woke it last.
    let (mut closing, mut listening) = (false, false);
    let served = std::future::poll_fn(|cx| {
        let mut served = connection.as_mut().poll(cx);
        let said = || news.has_changed().unwrap_or(true);
        if served.is_pending() && !closing && (!listening || said()) {
            listening = true;
            if told.as_mut().poll(cx).is_ready() {
                closing = true;
                connection.as_mut().graceful_shutdown();
                served = connection.as_mut().poll(cx);
            }
        }
        // Only requests are waited for, not those who may send one.
        if served.is_pending() && closing && progress.head_due(within).is_some() {
            return Poll::Ready(Ok(()));
        }
        if served.is_pending()
            && let Some(due) = progress.head_due(within)
        {
            if due <= Instant::now() {
                return Poll::Ready(Ok(()));
            }
            head_due.as_mut().reset(due.into());
            if head_due.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        served
    });
    if let Err(error) = served.await {
        tracing::debug!("client connection: {error}");
    }
}
