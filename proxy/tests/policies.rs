//! Which backend gets the next request.

mod support;

use std::time::Duration;

use support::*;
use topobench_proxy::{Policy, Proxy, ProxyHandle};

fn loads(proxy: &ProxyHandle) -> Vec<usize> {
    proxy.stats().backends.iter().map(|backend| backend.in_flight).collect()
}

/// Posts a prompt of that many tokens and waits until it is counted for some backend.
async fn charge(proxy: &ProxyHandle, tokens: usize) -> Client {
    let before: u64 = proxy.stats().backends.iter().map(|backend| backend.total).sum();
    let ids = vec!["7"; tokens].join(",");
    let client = posted(proxy, "", &format!("{{\"prompt\":[{ids}]}}")).await;
    eventually("a backend is charged", || {
        proxy.stats().backends.iter().map(|backend| backend.total).sum::<u64>() > before
    })
    .await;
    client
}

async fn two(policy: Policy) -> (Backend, Backend, ProxyHandle) {
    let (a, b) = (Backend::start().await, Backend::start().await);
    let proxy = Proxy::spawn(balance_config(&[a.addr(), b.addr()], policy)).unwrap();
    (a, b, proxy)
}

#[tokio::test]
async fn least_tokens_sends_small_prompts_around_a_big_one() {
    let (_a, _b, proxy) = two(Policy::LeastTokens).await;
    let mut clients = vec![charge(&proxy, 1000).await];
    for _ in 0..4 {
        clients.push(charge(&proxy, 100).await);
    }
    assert_eq!(loads(&proxy), [1, 4]);
    let tokens: Vec<u64> = proxy.stats().backends.iter().map(|backend| backend.outstanding_tokens).collect();
    assert_eq!(tokens, [1000, 400]);
    drop(clients);
    at_rest(&proxy).await;
}

#[tokio::test]
async fn least_requests_counts_heads() {
    let (_a, _b, proxy) = two(Policy::LeastRequests).await;
    let mut clients = vec![charge(&proxy, 1000).await];
    for _ in 0..3 {
        clients.push(charge(&proxy, 100).await);
    }
    assert_eq!(loads(&proxy), [2, 2]);
}

#[tokio::test]
async fn round_robin_alternates_whatever_the_load() {
    let (a, b, proxy) = two(Policy::RoundRobin).await;
    for backend in [&a, &b, &a, &b] {
        let mut client = posted(&proxy, "Connection: close\r\n", BODY).await;
        let (mut peer, _) = backend.request().await;
        peer.reply("200 OK", "connection: close\r\n", "ok").await;
        client.answer().await;
    }
}

#[tokio::test]
async fn power_of_two_never_picks_the_only_busy_one_of_two() {
    let (_a, _b, proxy) = two(Policy::PowerOfTwo).await;
    let first = charge(&proxy, 1).await;
    let busy = loads(&proxy).iter().position(|&load| load == 1).unwrap();
    for _ in 0..8 {
        let client = charge(&proxy, 1).await;
        assert_eq!(loads(&proxy), [1, 1]);
        drop(client);
        eventually("it left", || loads(&proxy)[1 - busy] == 0).await;
    }
    drop(first);
    at_rest(&proxy).await;
}

/// Sends a body through, has whichever backend gets it answer, and tells which one that was.
async fn served_by(proxy: &ProxyHandle, backends: [&Backend; 2], body: &str) -> usize {
    let mut client = posted(proxy, "Connection: close\r\n", body).await;
    let (index, mut peer) = tokio::select! {
        (peer, _) = backends[0].request() => (0, peer),
        (peer, _) = backends[1].request() => (1, peer),
    };
    peer.reply("200 OK", "connection: close\r\n", "ok").await;
    client.answer().await;
    index
}

#[tokio::test]
async fn prefix_aware_keeps_the_turns_of_a_chat_together_and_spreads_chats() {
    let (a, b, proxy) = two("prefix-aware".parse().unwrap()).await;
    let mut seen = [0; 2];
    for chat in 0..12 {
        let question = format!(r#"{{"role":"user","content":"question {chat}"}}"#);
        let first = served_by(&proxy, [&a, &b], &format!(r#"{{"messages":[{question}]}}"#)).await;
        let more = r#"{"role":"assistant","content":"so"},{"role":"user","content":"and?"}"#;
        let second = served_by(&proxy, [&a, &b], &format!(r#"{{"model":"m","messages":[{question},{more}]}}"#)).await;
        assert_eq!(first, second, "chat {chat}");
        seen[first] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[tokio::test]
async fn prefix_aware_passes_over_a_backend_that_has_far_more_than_its_part() {
    let (_a, _b, proxy) = two("prefix-aware:4".parse().unwrap()).await;
    // All begin alike: half of them would be the part of each, and a quarter more is allowed.
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(charge(&proxy, 100).await);
    }
    let mut counts = loads(&proxy);
    counts.sort_unstable();
    assert_eq!(counts.iter().sum::<usize>(), 8);
    assert!(counts[0] >= 2 && counts[1] > 4, "more on the one that knows them, not all: {counts:?}");
    drop(clients);
    at_rest(&proxy).await;
}

#[tokio::test]
async fn a_replica_that_refuses_is_passed_over_but_not_hidden() {
    let alive = Backend::start().await;
    let gone = refusing_addr().await;
    let mut config = balance_config(&[gone, alive.addr()], Policy::RoundRobin);
    config.timeouts.cooldown = Duration::from_secs(3600);
    let proxy = Proxy::spawn(config).unwrap();
    let mut client = Client::connect(proxy.addr()).await;
    client.post("", BODY).await;
    let got = client.answer().await;
    assert_eq!((got.status(), got.error()["kind"].as_str()), (502, Some("connect")));
    for _ in 0..3 {
        client.post("Connection: keep-alive\r\n", BODY).await;
        let (mut peer, _) = alive.request().await;
        peer.reply("200 OK", "connection: close\r\n", "ok").await;
        assert_eq!(client.answer().await.text(), "ok");
    }
    client.post("X-Topobench-Backend: 0\r\n", BODY).await;
    assert_eq!(client.answer().await.status(), 502, "a pinned backend is tried");
    let health = client.get("/health", "").await;
    assert_eq!(health.status(), 200);
    let backends = &health.json()["roles"][0]["backends"];
    assert_eq!((&backends[0]["accepts"], &backends[1]["accepts"]), (&false.into(), &true.into()));
}
