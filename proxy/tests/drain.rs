//! Starting and stopping.

mod support;

use std::net::TcpListener;
use std::time::Duration;

use support::*;
use topobench_proxy::{Outcome, Policy, Proxy, ProxyError, Routes};

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn shutdown_lets_a_stream_finish_and_accepts_nothing_more() {
    let mut pair = Pair::start().await;
    let (mut client, mut decode) = pair.decoding().await;
    let idle = Client::connect(pair.proxy.addr()).await;
    decode.begin_stream().await;
    let head = client.head().await;
    let addr = pair.proxy.addr();
    let shutdown = tokio::spawn(async move {
        let drained = pair.proxy.shutdown(LONG).await;
        (pair, drained)
    });
    eventually("nobody listens", || TcpListener::bind(addr).is_ok()).await;
    decode.chunk("data: last\n\n").await;
    decode.end_stream().await;
    assert_eq!(client.rest(&head).await, (b"data: last\n\n".to_vec(), End::Whole));
    let (pair, drained) = within(shutdown).await.unwrap();
    assert_eq!(drained.aborted, 0);
    assert_eq!(outcome(&pair.proxy).await, Outcome::Passed { status: 200 });
    drop(idle);
}

#[tokio::test]
async fn what_outlives_the_grace_is_cut_and_counted() {
    let mut pair = Pair::start().await;
    let (mut client, mut decode) = pair.decoding().await;
    decode.begin_stream().await;
    decode.chunk("data: one\n\n").await;
    let head = client.head().await;
    client.chunk().await.unwrap();
    let drained = within(pair.proxy.shutdown(Duration::from_millis(20))).await;
    assert_eq!(drained.aborted, 1);
    assert_eq!(client.rest(&head).await, (Vec::new(), End::Cut));
    decode.closed().await;
    pair.at_rest().await;
    assert_eq!(outcome(&pair.proxy).await, Outcome::Aborted);
}

#[tokio::test]
async fn dropping_the_handle_aborts_and_frees_the_port() {
    let pair = Pair::start().await;
    let (mut client, mut decode) = pair.decoding().await;
    let addr = pair.proxy.addr();
    drop(pair);
    assert_eq!(client.until_closed().await, b"");
    decode.closed().await;
    TcpListener::bind(addr).unwrap();
}

#[test]
fn it_starts_and_stops_outside_any_runtime() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = balance_config(&[backend.local_addr().unwrap()], Policy::RoundRobin);
    let mut proxy = Proxy::spawn(config).unwrap();
    std::net::TcpStream::connect(proxy.addr()).unwrap();
    assert_eq!(proxy.shutdown_blocking(Duration::ZERO).aborted, 0);
    assert!(std::net::TcpStream::connect(proxy.addr()).is_err());
}

#[tokio::test]
async fn a_taken_port_and_a_role_without_backends_are_errors() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = balance_config(&["127.0.0.1:1".parse().unwrap()], Policy::RoundRobin);
    config.listen = taken.local_addr().unwrap();
    let error = Proxy::spawn(config).unwrap_err();
    assert!(matches!(error, ProxyError::Listen { .. }), "{error}");
    assert!(error.to_string().contains(&taken.local_addr().unwrap().to_string()));

    let mut config = pd_config(&["127.0.0.1:1".parse().unwrap()], &[]);
    let error = Proxy::spawn(config.clone()).unwrap_err().to_string();
    assert!(error.contains("decode"), "{error}");
    config.routes = Routes::Balance { backends: Vec::new(), policy: Policy::RoundRobin };
    assert!(Proxy::spawn(config).is_err());
}
