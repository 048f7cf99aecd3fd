//! A proxy between stepped backends and clients.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) use kit::stepped::*;

use std::net::SocketAddr;
use topobench_proxy::{BackendUrl, Policy, Proxy, ProxyConfig, ProxyHandle, Routes};

/// Posts a completion on a new connection and returns the connection.
pub(crate) async fn posted(proxy: &ProxyHandle, headers: &str, body: &str) -> Client {
    let mut client = Client::connect(proxy.addr()).await;
    client.post(headers, body).await;
    client
}

pub(crate) const BODY: &str = r#"{"model":"m","prompt":"hello","max_tokens":8,"stream":true}"#;

fn urls(addrs: &[SocketAddr]) -> Vec<BackendUrl> {
    addrs.iter().map(|&addr| addr.into()).collect()
}

pub(crate) fn pd_config(prefill: &[SocketAddr], decode: &[SocketAddr]) -> ProxyConfig {
    let routes = Routes::prefill_decode(urls(prefill), urls(decode));
    ProxyConfig::new("127.0.0.1:0".parse().unwrap(), routes)
}

pub(crate) fn balance_config(backends: &[SocketAddr], policy: Policy) -> ProxyConfig {
    let backends = urls(backends);
    ProxyConfig::new("127.0.0.1:0".parse().unwrap(), Routes::Balance { backends, policy })
}

/// One prefill and one decode backend behind a proxy.
pub(crate) struct Pair {
    pub prefill: Backend,
    pub decode: Backend,
    pub proxy: ProxyHandle,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(tweak: impl FnOnce(&mut ProxyConfig)) -> Self {
        let (prefill, decode) = (Backend::start().await, Backend::start().await);
        let mut config = pd_config(&[prefill.addr()], &[decode.addr()]);
        tweak(&mut config);
        let proxy = Proxy::spawn(config).unwrap();
        Pair { prefill, decode, proxy }
    }

    /// A request that has passed prefill and waits at decode.
    pub(crate) async fn decoding(&self) -> (Client, Peer) {
        let client = posted(&self.proxy, "", BODY).await;
        let (mut prefill, _) = self.prefill.request().await;
        prefill.reply_params("kv").await;
        let (decode, _) = self.decode.request().await;
        (client, decode)
    }

    /// Waits until nothing is counted as in flight.
    pub(crate) async fn at_rest(&self) {
        at_rest(&self.proxy).await;
    }
}

pub(crate) async fn at_rest(proxy: &ProxyHandle) {
    eventually("every in-flight count is 0", || {
        let stats = proxy.stats();
        let idle = |backend: &topobench_proxy::BackendStats| backend.in_flight == 0 && backend.outstanding_tokens == 0;
        stats.in_flight == 0 && stats.backends.iter().all(idle)
    })
    .await;
}

/// The outcome of the only request that has ended.
pub(crate) async fn outcome(proxy: &ProxyHandle) -> topobench_proxy::Outcome {
    let mut stamps = Vec::new();
    eventually("one request has ended", || {
        stamps.extend(proxy.drain_stamps());
        !stamps.is_empty()
    })
    .await;
    assert_eq!(stamps.len(), 1);
    stamps[0].outcome
}
