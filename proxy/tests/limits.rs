//! What the proxy refuses, and what it reports about itself.

mod support;

use std::num::NonZeroUsize;

use support::*;
use topobench_proxy::{Outcome, Policy, Proxy};

#[tokio::test]
async fn one_request_too_many_is_told_to_come_back() {
    let pair = Pair::with(|config| config.limits.max_in_flight = 1).await;
    let (mut first, mut decode) = pair.decoding().await;
    let mut second = posted(&pair.proxy, "", BODY).await;
    let got = second.answer().await;
    assert_eq!((got.status(), got.header("retry-after")), (429, Some("1")));
    assert_eq!(outcome(&pair.proxy).await, Outcome::Refused { status: 429 });
    decode.reply("200 OK", "", "done").await;
    first.answer().await;
    pair.at_rest().await;
    second.post("", "{").await;
    assert_eq!(second.answer().await.status(), 400, "there is room again");
}

#[tokio::test]
async fn a_body_too_large_is_refused_whether_announced_or_not() {
    let pair = Pair::with(|config| config.limits.max_request_body = 1000).await;
    let big = "x".repeat(1500);
    let mut client = posted(&pair.proxy, "", &big).await;
    let got = client.answer().await;
    assert_eq!(got.status(), 413);
    assert!(got.error()["message"].as_str().unwrap().contains("1000 bytes"));
    let mut client = Client::connect(pair.proxy.addr()).await;
    client
        .send(format!(
            "POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{big}\r\n0\r\n\r\n",
            big.len()
        ))
        .await;
    assert_eq!(client.answer().await.status(), 413);
    let mut client = Client::connect(pair.proxy.addr()).await;
    client
        .send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status(), 413, "not 100: the body is not wanted");
    assert!(pair.prefill.is_untouched().await);
    let stamps = pair.proxy.drain_stamps();
    assert!(stamps.iter().all(|stamps| stamps.outcome == Outcome::Refused { status: 413 }));
}

#[tokio::test]
async fn a_client_s_endless_head_is_refused() {
    let pair = Pair::start().await;
    let mut client = Client::connect(pair.proxy.addr()).await;
    client.send(format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(100_000))).await;
    assert_eq!(client.head().await.status(), 431);
}

#[tokio::test]
async fn stamps_beyond_the_ring_are_lost_and_counted() {
    let pair = Pair::with(|config| config.limits.max_stamps = 2).await;
    let mut client = Client::connect(pair.proxy.addr()).await;
    for _ in 0..5 {
        client.post("", "{").await;
        client.answer().await;
    }
    assert_eq!(pair.proxy.stats().lost_stamps, 3);
    assert_eq!(pair.proxy.drain_stamps().len(), 2);
    client.post("", "{").await;
    client.answer().await;
    assert_eq!(pair.proxy.drain_stamps().len(), 1, "drained, it has room again");
}

#[tokio::test]
async fn health_says_who_it_is_and_what_it_found() {
    let pair = Pair::start().await;
    let mut client = Client::connect(pair.proxy.addr()).await;
    let got = client.get("/health", "").await;
    assert_eq!(got.status(), 200);
    let health = got.json();
    assert_eq!(health["proxy"], "topobench-proxy");
    assert_eq!(health["nonce"], pair.proxy.nonce());
    assert_eq!(health["roles"][0]["role"], "prefill");
    assert_eq!(health["roles"][1]["backends"][0]["accepts"], true);

    let Pair { prefill, decode, proxy } = pair;
    drop(decode);
    let got = client.get("/health", "").await;
    assert_eq!(got.status(), 503);
    assert_eq!(got.json()["roles"][0]["healthy"], true);
    assert_eq!(got.json()["roles"][1]["healthy"], false);
    assert!(got.json()["roles"][1]["backends"][0]["error"].is_string());
    drop((prefill, proxy));
}

#[tokio::test]
async fn two_proxies_have_two_names() {
    let (one, two) = (Pair::start().await, Pair::start().await);
    assert_ne!(one.proxy.nonce(), two.proxy.nonce());
}

#[tokio::test]
async fn metrics_tell_outcomes_load_and_bytes() {
    let pair = Pair::start().await;
    let (mut client, mut decode) = pair.decoding().await;
    let mut scraper = Client::connect(pair.proxy.addr()).await;
    let scrape = scraper.get("/metrics", "").await;
    let decode_addr = pair.decode.addr();
    let busy = format!("topobench_proxy_backend_in_flight{{stage=\"decode\",backend=\"{decode_addr}\"}} 1\n");
    assert!(scrape.text().contains(&busy), "{}", scrape.text());
    decode.reply("200 OK", "", "12345").await;
    client.answer().await;
    pair.at_rest().await;
    let text = scraper.get("/metrics", "").await.text().to_owned();
    for line in [
        "topobench_proxy_requests_total{outcome=\"passed\",stage=\"\",kind=\"2xx\"} 1\n",
        "topobench_proxy_body_bytes_total{direction=\"out\"} 5\n",
        &format!("topobench_proxy_body_bytes_total{{direction=\"in\"}} {}\n", BODY.len()),
        "topobench_proxy_stage_seconds_count{stage=\"prefill\"} 1\n",
        "topobench_proxy_in_flight 0\n",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    let well_formed =
        |line: &str| line.starts_with('#') || line.rsplit_once(' ').is_some_and(|(_, v)| v.parse::<f64>().is_ok());
    assert!(text.lines().all(well_formed));
}

#[tokio::test]
async fn several_threads_share_the_count_of_load() {
    let (a, b) = (Backend::start().await, Backend::start().await);
    let mut config = balance_config(&[a.addr(), b.addr()], Policy::LeastRequests);
    config.threads = NonZeroUsize::new(3).unwrap();
    let proxy = Proxy::spawn(config).unwrap();
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(posted(&proxy, "", BODY).await);
    }
    eventually("all are charged", || proxy.stats().in_flight == 20).await;
    eventually("evenly", || proxy.stats().backends.iter().all(|backend| backend.in_flight == 10)).await;
    drop(clients);
    at_rest(&proxy).await;
}
