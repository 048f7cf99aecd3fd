//! Bytes go through unchanged, and as soon as they come.

mod support;

use support::*;
use topobench_proxy::{Policy, Proxy, ProxyHandle};

async fn replica() -> (Backend, ProxyHandle) {
    let backend = Backend::start().await;
    let proxy = Proxy::spawn(balance_config(&[backend.addr()], Policy::RoundRobin)).unwrap();
    (backend, proxy)
}

#[tokio::test]
async fn the_head_and_the_first_chunk_do_not_wait_for_more() {
    let pair = Pair::start().await;
    let (mut client, mut decode) = pair.decoding().await;
    decode.begin_stream().await;
    let head = client.head().await;
    assert_eq!(head.status(), 200);
    for event in ["data: one\n\n", "data: two\n\n", ": keep-alive\n\n"] {
        decode.chunk(event).await;
        assert_eq!(client.chunk().await.unwrap(), event.as_bytes());
    }
    decode.end_stream().await;
    assert_eq!(client.rest(&head).await, (Vec::new(), End::Whole));
}

#[tokio::test]
async fn a_character_cut_in_two_stays_cut_in_two() {
    let pair = Pair::start().await;
    let (mut client, mut decode) = pair.decoding().await;
    decode.begin_stream().await;
    client.head().await;
    let emoji = "😀".as_bytes();
    for half in [&emoji[..1], &emoji[1..3], &emoji[3..]] {
        decode.chunk(half).await;
        assert_eq!(client.chunk().await.unwrap(), half);
    }
}

#[tokio::test]
async fn chunks_of_one_write_arrive_whole_and_in_order() {
    let (backend, proxy) = replica().await;
    let mut client = posted(&proxy, "", BODY).await;
    let (mut peer, _) = backend.request().await;
    let events: Vec<String> = (0..2000).map(|i| format!("data: {{\"i\":{i},\"t\":\"é\"}}\n\n")).collect();
    let mut wire = String::from("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    for event in &events {
        wire += &format!("{:x}\r\n{event}\r\n", event.len());
    }
    wire += "0\r\n\r\n";
    peer.send(wire).await;
    assert_eq!(client.answer().await.text(), events.concat());
}

#[tokio::test]
async fn a_replica_gets_the_client_s_bytes() {
    let (backend, proxy) = replica().await;
    for body in ["{ \"prompt\" : \"\\u00e9\",\"n\":1,\"n\":1 } ", "not json at all", ""] {
        let mut client =
            posted(&proxy, "X-Request-Id: a\r\nX-Topobench-Backend: 0\r\nConnection: close\r\n", body).await;
        let (mut peer, request) = backend.request().await;
        assert_eq!(request.text(), body);
        assert_eq!(request.header("content-length"), Some(body.len().to_string().as_str()));
        assert_eq!((request.header("connection"), request.header("x-topobench-backend")), (None, None));
        peer.reply("200 OK", "connection: close\r\n", "ok").await;
        assert_eq!(client.answer().await.text(), "ok");
    }
}

#[tokio::test]
async fn a_chunked_request_arrives_whole() {
    let (backend, proxy) = replica().await;
    let mut client = Client::connect(proxy.addr()).await;
    client.send("POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    client.send("2\r\nde\r\n0\r\n\r\n").await;
    let (mut peer, request) = backend.request().await;
    assert_eq!((request.first_line.as_str(), request.text()), ("POST /tokenize HTTP/1.1", "abcde"));
    assert_eq!(request.header("transfer-encoding"), None);
    peer.reply("200 OK", "", "ok").await;
    client.answer().await;
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let (backend, proxy) = replica().await;
    let mut client = posted(&proxy, "", BODY).await;
    let (mut peer, _) = backend.request().await;
    peer.send("HTTP/1.0 200 OK\r\n\r\nto the end").await;
    drop(peer);
    assert_eq!(client.answer().await.text(), "to the end");
}

#[tokio::test]
async fn answers_without_a_body_end_at_once() {
    let (backend, proxy) = replica().await;
    let mut client = Client::connect(proxy.addr()).await;
    client.send("HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (mut peer, _) = backend.request().await;
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 456\r\n\r\n").await;
    assert_eq!(client.head().await.header("content-length"), Some("456"));
    client.post("", BODY).await;
    peer.request().await;
    peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 204);
    at_rest(&proxy).await;
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let (backend, proxy) = replica().await;
    let mut client = posted(&proxy, "", BODY).await;
    let (mut peer, _) = backend.request().await;
    for round in 0..5 {
        peer.begin_stream().await;
        peer.chunk(format!("data: {round}\n\n")).await;
        peer.end_stream().await;
        client.answer().await;
        client.post("", BODY).await;
        peer.request().await;
    }
    assert!(backend.is_untouched().await);
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_backend() {
    let (backend, proxy) = replica().await;
    let mut client = posted(&proxy, "", BODY).await;
    let (mut peer, _) = backend.request().await;
    let body: Vec<u8> = (0..64 << 20).map(|i: u32| (i % 251) as u8).collect();
    peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())).await;
    let taken = peer.flood(&body).await;
    // The kernel's socket buffers on both sides take some megabytes; the proxy itself must not take the rest.
    assert!(taken < 32 << 20, "{taken} bytes were taken for a client that reads nothing");
    let rest = body[taken..].to_vec();
    let sending = tokio::spawn(async move {
        peer.send(rest).await;
        peer
    });
    assert!(client.answer().await.body == body, "the bytes are the same");
    sending.await.unwrap();
    at_rest(&proxy).await;
}
