//! A client that goes away takes its work with it, at whatever stage.

mod support;

use support::*;
use topobench_proxy::{Outcome, Policy, Proxy};

#[tokio::test]
async fn gone_during_prefill() {
    let pair = Pair::start().await;
    let client = posted(&pair.proxy, "", BODY).await;
    let (mut prefill, _) = pair.prefill.request().await;
    drop(client);
    prefill.closed().await;
    pair.at_rest().await;
    assert_eq!(outcome(&pair.proxy).await, Outcome::ClientGone);
    assert!(pair.decode.is_untouched().await);
}

#[tokio::test]
async fn gone_inside_the_prefill_answer() {
    let pair = Pair::start().await;
    let client = posted(&pair.proxy, "", BODY).await;
    let (mut prefill, _) = pair.prefill.request().await;
    prefill.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await;
    drop(client);
    prefill.closed().await;
    pair.at_rest().await;
    assert!(pair.decode.is_untouched().await);
}

#[tokio::test]
async fn gone_before_the_decode_answer() {
    let pair = Pair::start().await;
    let (client, mut decode) = pair.decoding().await;
    drop(client);
    decode.closed().await;
    pair.at_rest().await;
    assert_eq!(outcome(&pair.proxy).await, Outcome::ClientGone);
}

#[tokio::test]
async fn gone_between_the_head_and_the_first_token() {
    let pair = Pair::start().await;
    let (mut client, mut decode) = pair.decoding().await;
    decode.begin_stream().await;
    client.head().await;
    drop(client);
    decode.closed().await;
    pair.at_rest().await;
    assert_eq!(outcome(&pair.proxy).await, Outcome::ClientGone);
}

#[tokio::test]
async fn gone_in_mid_stream_though_the_backend_says_nothing() {
    let pair = Pair::start().await;
    let (mut client, mut decode) = pair.decoding().await;
    decode.begin_stream().await;
    decode.chunk("data: one\n\n").await;
    client.head().await;
    client.chunk().await.unwrap();
    drop(client);
    decode.closed().await;
    pair.at_rest().await;
    assert_eq!(outcome(&pair.proxy).await, Outcome::ClientGone);
}

#[tokio::test]
async fn gone_while_the_backend_floods() {
    let pair = Pair::start().await;
    let (client, mut decode) = pair.decoding().await;
    decode.begin_stream().await;
    decode.send(format!("{:x}\r\n", 64 << 20)).await;
    decode.flood(&vec![b'x'; 64 << 20]).await;
    drop(client);
    decode.closed().await;
    pair.at_rest().await;
}

#[tokio::test]
async fn gone_before_its_request_was_whole() {
    let pair = Pair::start().await;
    let mut client = Client::connect(pair.proxy.addr()).await;
    client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"prompt\":").await;
    eventually("it is in flight", || pair.proxy.stats().in_flight == 1).await;
    drop(client);
    pair.at_rest().await;
    assert_eq!(outcome(&pair.proxy).await, Outcome::ClientGone);
    assert!(pair.prefill.is_untouched().await);
}

#[tokio::test]
async fn gone_from_a_replica() {
    let backend = Backend::start().await;
    let proxy = Proxy::spawn(balance_config(&[backend.addr()], Policy::LeastRequests)).unwrap();
    let client = posted(&proxy, "", BODY).await;
    let (mut peer, _) = backend.request().await;
    assert_eq!(proxy.stats().backends[0].in_flight, 1);
    drop(client);
    peer.closed().await;
    at_rest(&proxy).await;
    assert_eq!(outcome(&proxy).await, Outcome::ClientGone);
}
