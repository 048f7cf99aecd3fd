//! `topobench proxy`: the routing proxy alone, until it is told to stop.

use super::args::ProxyArgs;
use super::exit::{CliError, Exit};
use super::measure::certificate_file;
use super::out;
use crate::launch::ports::port_holder;
use crate::session::Stop;
use crate::tls::{self, TlsError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use topobench_proxy::{BackendUrl, Dispatch, Policy, Proxy, ProxyConfig, Routes};

/// Streams may take minutes; a proxy that is stopped lets them.
const GRACE: Duration = Duration::from_secs(600);

pub(super) fn run(args: &ProxyArgs) -> Result<Exit, CliError> {
    let mut config = ProxyConfig::new(SocketAddr::new(args.host, args.port), routes(args)?);
    if let Some(limit) = args.max_in_flight {
        config.limits.max_in_flight = limit;
    }
    let is_tls = |urls: &[BackendUrl]| urls.iter().any(BackendUrl::is_tls);
    let behind_tls = match &config.routes {
        Routes::Balance { backends, .. } => is_tls(backends),
        Routes::PrefillDecode { prefill, decode, .. } => is_tls(prefill) || is_tls(decode),
    };
    if behind_tls {
        let trusted = tls::client_config(args.insecure);
        let trusted = trusted.map_err(|e| match e {
            TlsError::CertificateFile { .. } => certificate_file(&e),
            TlsError::Library(e) => CliError::new(Exit::Internal, format!("cannot use TLS: {e}")),
        })?;
        config.tls = Some(Arc::new(trusted));
    }
    if !args.host.is_loopback() {
        out::warn(format!("listening on {}: anyone who can reach it can use the engines behind it", args.host));
    }
    let mut proxy = Proxy::spawn(config).map_err(|e| {
        let holder = port_holder(args.port).map(|h| format!("\nhint: pid {} listens there: {}", h.pid, h.command));
        CliError::new(Exit::LaunchFailed, format!("{e}{}", holder.unwrap_or_default()))
    })?;
    out::line(format!("listening on http://{}", proxy.addr()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::new(Exit::Internal, format!("cannot start the runtime: {e}")))?;
    runtime.block_on(async {
        let stop =
            Stop::on_signals(Arc::new(|_| out::note("stopping; requests in flight may finish (again: at once)")))
                .map_err(|e| CliError::new(Exit::Internal, format!("cannot listen to signals: {e}")))?;
        // Nobody asks for stamps here; they are thrown away so that the ring stays empty.
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        loop {
            tokio::select! {
                () = stop.politely.cancelled() => break,
                _ = ticks.tick() => drop(proxy.drain_stamps()),
            }
        }
        tokio::select! {
            _ = proxy.shutdown(GRACE) => {}
            () = stop.at_once.cancelled() => {}
        }
        Ok(Exit::Interrupted)
    })
}

fn routes(args: &ProxyArgs) -> Result<Routes, CliError> {
    let urls = |urls: &[String]| {
        urls.iter().map(|u| u.parse::<BackendUrl>()).collect::<Result<Vec<_>, _>>().map_err(CliError::usage)
    };
    let policy = |name: &str| name.parse::<Policy>().map_err(CliError::usage);
    let decode_policy = policy(&args.decode_policy)?;
    Ok(match args.backend.is_empty() {
        false => Routes::Balance { backends: urls(&args.backend)?, policy: decode_policy },
        true => Routes::PrefillDecode {
            prefill: urls(&args.prefill)?,
            decode: urls(&args.decode)?,
            prefill_policy: policy(&args.prefill_policy)?,
            decode_policy,
            dispatch: Dispatch::AsTold,
        },
    })
}
