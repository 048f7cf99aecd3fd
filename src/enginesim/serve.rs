//! The life of `enginesim serve`: start as vLLM starts, answer, end as vLLM ends.
//!
//! The HTTP port is bound early but accepts nothing before everything is ready: a client sees
//! "connection refused", never a 503, and a port that is taken is found at once.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::future::OptionFuture;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::enginesim::args::ServeArgs;
use crate::enginesim::config::{Config, KvSide};
use crate::enginesim::faults::Fault;
use crate::enginesim::generate::Server;
use crate::enginesim::http;
use crate::enginesim::log;
use crate::enginesim::metrics::Page;
use crate::enginesim::nodes::Member;
use crate::enginesim::rank::Ranks;
use crate::enginesim::startup;
use crate::enginesim::tokenizer::Vocabulary;

/// uvicorn closes connections that stay idle for this long (`VLLM_HTTP_TIMEOUT_KEEP_ALIVE`).
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const BACKLOG: u32 = 2048;

/// Runs an instance to its end.
pub(super) fn run(args: ServeArgs) -> ExitCode {
    startup::banner(&args);
    let config = match Config::resolve(args) {
        Ok(config) => config,
        Err(error) => {
            log::traceback(&["  ...", &error.to_string()]);
            return ExitCode::from(1);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(live(config)),
        Err(error) => {
            log::traceback(&["  ...", &format!("RuntimeError: {error}")]);
            ExitCode::from(1)
        }
    }
}

async fn live(config: Config) -> ExitCode {
    if let Some(member) = config.member.as_ref().filter(|member| member.headless) {
        return match startup::wait(&config).await {
            Some(code) => code,
            None => member.work(config.faults.has(&Fault::IgnoreSigterm)).await,
        };
    }
    let socket = match bind(&config.host, config.port).await {
        Ok(socket) => socket,
        Err(error) => {
            log::traceback(&["  ...", &format!("OSError: {error}")]);
            return ExitCode::from(1);
        }
    };
    if let Some(code) = startup::wait(&config).await {
        return code;
    }
    let others = match OptionFuture::from(config.member.as_ref().map(Member::gather)).await.transpose() {
        Ok(others) => others.unwrap_or_default(),
        Err(error) => {
            log::traceback(&["  ...", &format!("RuntimeError: {error}")]);
            return ExitCode::from(1);
        }
    };
    others.into_iter().for_each(|other| drop(tokio::spawn(other.end_with())));
    let mut side_channels = Vec::new();
    if let Some(kv) = &config.kv {
        for rank in 0..config.parallelism.data_parallel {
            side_channels.push(open_side_channel(kv, rank).await);
        }
    }
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(terminate), Ok(interrupt)) = signals else {
        log::traceback(&["  ...", "OSError: cannot handle signals"]);
        return ExitCode::from(1);
    };
    let server = match assemble(config, side_channels) {
        Ok(server) => server,
        Err(message) => {
            log::traceback(&["  ...", &message]);
            return ExitCode::from(1);
        }
    };
    let listener = match socket.listen(BACKLOG) {
        Ok(listener) => listener,
        Err(error) => {
            log::traceback(&["  ...", &format!("OSError: {error}")]);
            return ExitCode::from(1);
        }
    };
    startup::ready(&server.config);
    accept(&server, listener, terminate, interrupt).await;
    log::uvicorn("Application shutdown complete.");
    ExitCode::SUCCESS
}

async fn bind(host: &str, port: u16) -> std::io::Result<TcpSocket> {
    let mut addresses = lookup_host((host, port)).await?;
    let address = addresses.next().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Without a listener behind it, SO_REUSEADDR would let a second bind succeed.
    drop(std::net::TcpListener::bind(address)?);
    socket.bind(address)?;
    Ok(socket)
}

/// Binds the side channel. A port that is taken hangs the start-up for ever, deaf to SIGTERM:
/// that is what vLLM does, and what a harness must see coming.
async fn open_side_channel(kv: &KvSide, rank: u32) -> TcpListener {
    let port = u16::try_from(u32::from(kv.port) + rank).unwrap_or_default();
    match TcpListener::bind((kv.host.as_str(), port)).await {
        Ok(listener) => listener,
        Err(error) => {
            startup::side_channel_taken(kv, port, &error);
            let _deaf = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
            std::future::pending().await
        }
    }
}

fn assemble(config: Config, side_channels: Vec<TcpListener>) -> Result<Arc<Server>, String> {
    let vocabulary = Vocabulary::load().map_err(|error| error.to_string())?;
    let name = config.served_names[0].clone();
    let page = Page::new(name, config.kv.is_some(), config.cache_labels());
    let ranks = Ranks::start(&config, side_channels).map_err(|error| error.to_string())?;
    Ok(Arc::new(Server { config, vocabulary, ranks, page, requests: AtomicU64::new(0), open: AtomicU64::new(0) }))
}

/// Accepts until told to stop, then waits for the last connection, deaf to further signals.
async fn accept(server: &Arc<Server>, listener: TcpListener, mut terminate: Signal, mut interrupt: Signal) {
    let (stop, stopped) = watch::channel(false);
    let deaf = server.config.faults.has(&Fault::IgnoreSigterm);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, peer)) = accepted {
                    let server = Arc::clone(server);
                    connections.spawn(converse(server, stream, peer, stopped.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
            _ = terminate.recv(), if !deaf => break,
            _ = interrupt.recv(), if !deaf => break,
        }
    }
    drop(listener);
    log::uvicorn("Shutting down");
    // The receivers live in the connections; without any there is nobody to tell.
    let _ = stop.send(true);
    if !connections.is_empty() {
        log::uvicorn("Waiting for connections to close. (CTRL+C to force quit)");
    }
    while connections.join_next().await.is_some() {}
}

async fn converse(server: Arc<Server>, stream: TcpStream, peer: SocketAddr, mut stopped: watch::Receiver<bool>) {
    // A socket that refuses its options is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let resets = server.config.faults.find(|fault| matches!(fault, Fault::Reset(_)).then_some(()));
    if resets.is_some() {
        let _ = stream.set_zero_linger();
    }
    let service = service_fn(move |request| http::handle(Arc::clone(&server), peer, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            // A broken connection concerns its client alone.
            _ = connection.as_mut() => return,
            _ = stopped.changed(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
