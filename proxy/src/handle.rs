//! Starting and stopping a proxy from anywhere, and what it tells from outside its data path.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::config::{BackendUrl, ProxyConfig, ProxyError};
use crate::fault::Stage;
use crate::stamps::StageStamps;
use crate::state::{Routing, Shared, Worker};
use crate::worker::{self, Phase};

/// Starts proxies.
#[derive(Debug)]
pub struct Proxy;

/// A running proxy. Dropping it aborts what is in flight.
#[derive(Debug)]
pub struct ProxyHandle {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stamps: StampReader,
    phase: watch::Sender<Phase>,
    workers: Vec<JoinHandle<()>>,
    /// Yields `None` once every worker has ended.
    ended: mpsc::Receiver<()>,
}

/// Reads a proxy's stage stamps from any thread, also after the proxy has stopped.
#[derive(Debug, Clone)]
pub struct StampReader(Arc<Mutex<mpsc::Receiver<StageStamps>>>);

impl StampReader {
    /// The stamps of the requests that ended since the last call, by whichever reader, oldest first.
    pub fn drain(&self) -> Vec<StageStamps> {
        let mut stamps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| stamps.try_recv().ok()).collect()
    }
}

/// What a proxy is doing now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyStats {
    /// Requests in the proxy, whatever their stage.
    pub in_flight: usize,
    /// Requests routed since the start.
    pub accepted: u64,
    /// Prefill answers without KV transfer params.
    pub handoff_faults: u64,
    /// Stage stamps that nobody drained in time.
    pub lost_stamps: u64,
    pub backends: Vec<BackendStats>,
}

/// The load of one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendStats {
    pub stage: Stage,
    /// Index within its role, as the pin headers count.
    pub index: usize,
    pub url: BackendUrl,
    pub in_flight: usize,
    /// Estimated prompt tokens of the requests in flight.
    pub outstanding_tokens: u64,
    /// Requests ever sent its way.
    pub total: u64,
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Requests that were still in flight when the grace was over, and were aborted.
    pub aborted: usize,
}

impl Proxy {
    /// Binds, starts the worker threads, and returns once connections are accepted. May be called from any thread,
    /// inside a runtime or outside.
    ///
    /// # Errors
    /// If a role has no backend, the address cannot be bound, or a thread cannot be started.
    pub fn spawn(config: ProxyConfig) -> Result<ProxyHandle, ProxyError> {
        let ProxyConfig { listen, routes, limits, timeouts, threads, tls } = config;
        let (shared, stamps) = Shared::new(Routing::new(routes)?, limits, timeouts, tls);
        let (phase, told) = watch::channel(Phase::Serve);
        let (alive, ended) = mpsc::channel(1);
        let mut handle = ProxyHandle {
            addr: listen,
            shared,
            stamps: StampReader(Arc::new(Mutex::new(stamps))),
            phase,
            workers: Vec::with_capacity(threads.get()),
            ended,
        };
        let bound = handle.start_worker(Source::Bind(listen), told.clone(), alive.clone())?;
        handle.addr = bound.local_addr().map_err(|source| ProxyError::Listen { addr: listen, source })?;
        for _ in 1..threads.get() {
            let listener = bound.try_clone().map_err(|source| ProxyError::Worker { source })?;
            handle.start_worker(Source::Share(listener), told.clone(), alive.clone())?;
        }
        Ok(handle)
    }
}

/// Where a worker's listener comes from: the first binds, the others accept from the same queue.
enum Source {
    Bind(SocketAddr),
    Share(std::net::TcpListener),
}

impl ProxyHandle {
    /// Starts a worker and waits for its listener.
    fn start_worker(
        &mut self,
        source: Source,
        told: watch::Receiver<Phase>,
        alive: mpsc::Sender<()>,
    ) -> Result<std::net::TcpListener, ProxyError> {
        let worker = Arc::new(Worker::new(Arc::clone(&self.shared)));
        let (report, started) = std_mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("proxy-{}", self.workers.len()))
            .spawn(move || {
                let _alive = alive;
                // The runtime is made here because it must not be dropped inside a caller's runtime.
                match prepare(source) {
                    Ok((runtime, listener, copy)) => {
                        let _ = report.send(Ok(copy));
                        worker::run(runtime, listener, worker, told);
                    }
                    Err(error) => {
                        let _ = report.send(Err(error));
                    }
                }
            })
            .map_err(|source| ProxyError::Worker { source })?;
        self.workers.push(thread);
        started.recv().unwrap_or_else(|_| {
            Err(ProxyError::Worker { source: std::io::Error::other("the thread ended before it reported") })
        })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The word by which `/health` shows that it is this proxy that answers.
    pub fn nonce(&self) -> &str {
        &self.shared.nonce
    }

    /// The stamps of the requests that ended since the last call, oldest first.
    pub fn drain_stamps(&self) -> Vec<StageStamps> {
        self.stamps.drain()
    }

    /// For a thread that reads the stamps while somebody else holds the proxy.
    pub fn stamp_reader(&self) -> StampReader {
        self.stamps.clone()
    }

    pub fn stats(&self) -> ProxyStats {
        let shared = &self.shared;
        let groups = shared.routing.groups();
        ProxyStats {
            in_flight: shared.in_flight(),
            accepted: shared.metrics.accepted(),
            handoff_faults: shared.metrics.handoff_faults(),
            lost_stamps: shared.metrics.lost_stamps(),
            backends: groups
                .iter()
                .flat_map(|group| group.backends())
                .map(|backend| BackendStats {
                    stage: backend.stage,
                    index: backend.index,
                    url: backend.url.clone(),
                    in_flight: backend.requests(),
                    outstanding_tokens: backend.tokens(),
                    total: backend.total(),
                })
                .collect(),
        }
    }

    /// Stops accepting, lets requests in flight finish for up to `grace`, then aborts the rest. The stamps stay
    /// readable afterwards through [`ProxyHandle::drain_stamps`].
    pub async fn shutdown(&mut self, grace: Duration) -> Drained {
        self.begin_shutdown(grace);
        while self.ended.recv().await.is_some() {}
        self.finish_shutdown()
    }

    /// As [`ProxyHandle::shutdown`], for callers outside a runtime: blocks the thread.
    pub fn shutdown_blocking(&mut self, grace: Duration) -> Drained {
        self.begin_shutdown(grace);
        self.finish_shutdown()
    }

    fn begin_shutdown(&self, grace: Duration) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let until = Instant::now() + grace;
        self.phase.send_replace(Phase::Drain { until });
    }

    fn finish_shutdown(&mut self) -> Drained {
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a proxy worker panicked");
            }
        }
        Drained { aborted: self.shared.aborted() }
    }
}

impl Drop for ProxyHandle {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.phase.send_replace(Phase::Abort);
        // The workers answer at once; when they have, the port is free and no connection is left.
        self.finish_shutdown();
    }
}

type Prepared = (tokio::runtime::Runtime, std::net::TcpListener, std::net::TcpListener);

fn prepare(source: Source) -> Result<Prepared, ProxyError> {
    let runtime = worker::runtime().map_err(|source| ProxyError::Worker { source })?;
    let listener = match source {
        Source::Share(listener) => listener,
        Source::Bind(addr) => {
            let _entered = runtime.enter();
            worker::bind(addr).map_err(|source| ProxyError::Listen { addr, source })?
        }
    };
    let copy = listener.try_clone().map_err(|source| ProxyError::Worker { source })?;
    Ok((runtime, listener, copy))
}
