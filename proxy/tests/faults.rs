//! What backends do wrong, and what the client then gets: never a made-up 200, never a made-up end.

mod support;

use std::time::Duration;

use serde_json::json;
use support::*;
use topobench_proxy::{FaultKind, Outcome, Proxy, Stage};

fn failed(stage: Stage, kind: FaultKind, status: impl Into<Option<u16>>) -> Outcome {
    let status = status.into();
    Outcome::Failed { stage, kind, status }
}

/// Checks an error answer of the proxy, and that it was counted.
async fn told(pair: &Pair, client: &mut Client, stage: Stage, kind: FaultKind, status: u16) -> String {
    let got = client.answer().await;
    let error = got.error();
    assert_eq!(got.status(), status, "{error}");
    assert_eq!((&error["kind"], &error["stage"]), (&json!(kind.name()), &json!(stage.name())));
    pair.at_rest().await;
    assert_eq!(outcome(&pair.proxy).await, failed(stage, kind, status));
    error["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_prefill_refusal_is_the_client_s_with_status_headers_and_body() {
    for (status, headers) in [
        ("400 Bad Request", "content-type: application/json\r\n"),
        ("404 Not Found", "content-type: application/json\r\n"),
        ("429 Too Many Requests", "retry-after: 7\r\n"),
        ("503 Service Unavailable", "retry-after: 7\r\n"),
    ] {
        let pair = Pair::start().await;
        let mut client = posted(&pair.proxy, "", BODY).await;
        let (mut prefill, _) = pair.prefill.request().await;
        prefill.reply(status, headers, r#"{"error":{"message":"no"}}"#).await;
        let got = client.answer().await;
        assert_eq!(got.first_line, format!("HTTP/1.1 {status}"));
        assert_eq!(got.text(), r#"{"error":{"message":"no"}}"#);
        for line in headers.trim_end().split("\r\n") {
            let (name, value) = line.split_once(": ").unwrap();
            assert_eq!(got.header(name), Some(value));
        }
        assert!(pair.decode.is_untouched().await);
        pair.at_rest().await;
        assert_eq!(outcome(&pair.proxy).await, Outcome::Passed { status: got.status() });
    }
}

#[tokio::test]
async fn a_prefill_engine_error_is_a_502_that_quotes_it() {
    let pair = Pair::start().await;
    let mut client = posted(&pair.proxy, "", BODY).await;
    let (mut prefill, _) = pair.prefill.request().await;
    prefill.reply("500 Internal Server Error", "", "EngineDeadError").await;
    let message = told(&pair, &mut client, Stage::Prefill, FaultKind::EngineError, 502).await;
    assert!(message.contains("500") && message.contains("EngineDeadError"), "{message}");
    assert!(pair.decode.is_untouched().await);
}

#[tokio::test]
async fn a_prefill_answer_that_cannot_be_read_is_a_502() {
    let huge = format!("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{}", "x".repeat(5000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(500));
    let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(9000));
    for (answer, kind) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\noops", FaultKind::Protocol),
        ("HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"id\":", FaultKind::Closed),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", FaultKind::Protocol),
        ("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", FaultKind::Protocol),
        ("garbage\r\n\r\n", FaultKind::Protocol),
        ("HTTP/1.1 200", FaultKind::Closed),
        ("", FaultKind::Closed),
        (&huge, FaultKind::TooLarge),
        (&many, FaultKind::Protocol),
        (&long, FaultKind::TooLarge),
    ] {
        let pair = Pair::with(|config| {
            config.limits.max_prefill_answer = 4096;
            config.limits.max_response_head = 8192;
        })
        .await;
        let mut client = posted(&pair.proxy, "", BODY).await;
        let (mut prefill, _) = pair.prefill.request().await;
        prefill.send(answer).await;
        drop(prefill);
        told(&pair, &mut client, Stage::Prefill, kind, 502).await;
        assert!(pair.decode.is_untouched().await, "{answer}");
    }
}

#[tokio::test]
async fn a_killed_prefill_is_a_502_and_the_other_requests_go_on() {
    let pair = Pair::start().await;
    let mut doomed = posted(&pair.proxy, "", BODY).await;
    let (prefill, _) = pair.prefill.request().await;
    let (mut other, mut decode) = pair.decoding().await;
    prefill.reset();
    let got = doomed.answer().await;
    assert_eq!(got.status(), 502);
    assert_eq!(got.error()["kind"], "closed");
    decode.reply("200 OK", "", "fine").await;
    assert_eq!(other.answer().await.text(), "fine");
    pair.at_rest().await;
}

#[tokio::test]
async fn a_backend_that_refuses_is_a_502_and_then_a_503_until_it_is_tried_again() {
    let pair = Pair::with(|config| config.timeouts.cooldown = Duration::from_secs(3600)).await;
    let Pair { prefill, decode, proxy } = pair;
    let addr = prefill.addr();
    drop(prefill);
    let mut client = posted(&proxy, "", BODY).await;
    let got = client.answer().await;
    assert_eq!(got.status(), 502);
    assert_eq!((&got.error()["kind"], &got.error()["stage"]), (&json!("connect"), &json!("prefill")));
    client.post("", BODY).await;
    let got = client.answer().await;
    assert_eq!((got.status(), got.header("retry-after")), (503, Some("1")));
    assert_eq!(got.error()["kind"], "no_backend");
    assert!(got.error()["message"].as_str().unwrap().contains(&addr.to_string()));
    assert_eq!(client.get("/health", "").await.status(), 503);

    // It is back on its port; the next health check ends the cooldown.
    let prefill = Backend::at(addr).await;
    assert_eq!(client.get("/health", "").await.status(), 200);
    let _probes = (decode.accept().await, prefill.accept().await, decode.accept().await);
    client.post("", BODY).await;
    let (mut peer, _) = prefill.request().await;
    peer.reply_params("kv").await;
    let (mut peer, _) = decode.request().await;
    peer.reply("200 OK", "", "back").await;
    assert_eq!(client.answer().await.text(), "back");
}

#[tokio::test]
async fn no_prefill_is_spent_while_every_decode_refuses() {
    let prefill = Backend::start().await;
    let mut config = pd_config(&[prefill.addr()], &[refusing_addr().await]);
    config.timeouts.cooldown = Duration::from_secs(3600);
    let proxy = Proxy::spawn(config).unwrap();
    let mut client = posted(&proxy, "", BODY).await;
    let (mut peer, _) = prefill.request().await;
    peer.reply_params("kv").await;
    let got = client.answer().await;
    assert_eq!((got.status(), &got.error()["stage"]), (502, &json!("decode")));
    client.post("", BODY).await;
    assert_eq!(client.answer().await.status(), 503);
    assert!(prefill.is_untouched().await);
    at_rest(&proxy).await;
}

#[tokio::test]
async fn a_decode_answer_keeps_its_status_whatever_it_is() {
    for status in ["400 Bad Request", "429 Too Many Requests", "500 Internal Server Error", "503 Nobody Home"] {
        let pair = Pair::start().await;
        let (mut client, mut decode) = pair.decoding().await;
        decode.reply(status, "retry-after: 3\r\nx-engine: a\r\n", "as it is").await;
        let got = client.answer().await;
        assert_eq!(got.first_line, format!("HTTP/1.1 {status}"));
        assert_eq!((got.header("x-engine"), got.header("retry-after")), (Some("a"), Some("3")));
        assert_eq!(got.text(), "as it is");
        pair.at_rest().await;
        assert_eq!(outcome(&pair.proxy).await, Outcome::Passed { status: got.status() });
    }
}

#[tokio::test]
async fn a_decode_that_dies_before_its_answer_is_a_502_and_the_params_are_not_used_again() {
    let pair = Pair::start().await;
    let (mut client, decode) = pair.decoding().await;
    decode.reset();
    told(&pair, &mut client, Stage::Decode, FaultKind::Closed, 502).await;
    assert!(pair.decode.is_untouched().await && pair.prefill.is_untouched().await);
}

#[tokio::test]
async fn a_decode_that_dies_in_its_stream_cuts_the_client_s() {
    for reset in [false, true] {
        let pair = Pair::start().await;
        let (mut client, mut decode) = pair.decoding().await;
        decode.begin_stream().await;
        decode.chunk("data: one\n\n").await;
        let head = client.head().await;
        assert_eq!(client.chunk().await.unwrap(), b"data: one\n\n");
        if reset {
            decode.reset();
        } else {
            drop(decode);
        }
        let (rest, end) = client.rest(&head).await;
        assert_eq!((rest.as_slice(), end), (&b""[..], End::Cut), "no [DONE], no last chunk");
        pair.at_rest().await;
        let expected = failed(Stage::Decode, FaultKind::Closed, None);
        assert_eq!(outcome(&pair.proxy).await, expected);
    }
}

#[tokio::test]
async fn a_body_shorter_than_its_length_is_not_completed() {
    let pair = Pair::start().await;
    let (mut client, mut decode) = pair.decoding().await;
    decode.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
    drop(decode);
    let head = client.head().await;
    assert_eq!(client.rest(&head).await, (b"abc".to_vec(), End::Cut));
}

#[tokio::test]
async fn an_error_inside_a_stream_is_passed_on_as_it_is() {
    let pair = Pair::start().await;
    let (mut client, mut decode) = pair.decoding().await;
    let stream = "data: {\"error\":{\"message\":\"KV load failed\",\"code\":500}}\n\ndata: [DONE]\n\n";
    decode.begin_stream().await;
    decode.chunk(stream).await;
    decode.end_stream().await;
    let got = client.answer().await;
    assert_eq!((got.status(), got.text()), (200, stream));
}

#[tokio::test]
async fn a_silent_prefill_is_a_504() {
    let pair = Pair::with(|config| config.timeouts.first_byte = Duration::from_millis(50)).await;
    let mut client = posted(&pair.proxy, "", BODY).await;
    let (mut prefill, _) = pair.prefill.request().await;
    told(&pair, &mut client, Stage::Prefill, FaultKind::Timeout, 504).await;
    prefill.closed().await;
}

#[tokio::test]
async fn a_prefill_that_stops_inside_its_answer_is_a_504() {
    let pair = Pair::with(|config| config.timeouts.idle = Duration::from_millis(50)).await;
    let mut client = posted(&pair.proxy, "", BODY).await;
    let (mut prefill, _) = pair.prefill.request().await;
    prefill.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{").await;
    told(&pair, &mut client, Stage::Prefill, FaultKind::Timeout, 504).await;
    prefill.closed().await;
}

#[tokio::test]
async fn a_decode_without_a_first_byte_is_cut_at_the_first_byte_deadline() {
    let pair = Pair::with(|config| config.timeouts.first_byte = Duration::from_millis(500)).await;
    let (mut client, mut decode) = pair.decoding().await;
    decode.begin_stream().await;
    let head = client.head().await;
    assert_eq!(client.rest(&head).await, (Vec::new(), End::Cut));
    decode.closed().await;
    let expected = failed(Stage::Decode, FaultKind::Timeout, None);
    assert_eq!(outcome(&pair.proxy).await, expected);
}

#[tokio::test]
async fn a_stream_that_stalls_is_cut_at_the_idle_deadline() {
    let pair = Pair::with(|config| config.timeouts.idle = Duration::from_millis(50)).await;
    let (mut client, mut decode) = pair.decoding().await;
    decode.begin_stream().await;
    decode.chunk("data: one\n\n").await;
    let head = client.head().await;
    assert_eq!(client.rest(&head).await, (b"data: one\n\n".to_vec(), End::Cut));
    decode.closed().await;
    pair.at_rest().await;
    let expected = failed(Stage::Decode, FaultKind::Timeout, None);
    assert_eq!(outcome(&pair.proxy).await, expected);
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_request() {
    let pair = Pair::start().await;
    let mut client = Client::connect(pair.proxy.addr()).await;
    for round in ["one", "two", "three"] {
        client.post("", BODY).await;
        let (mut prefill, _) = pair.prefill.request().await;
        prefill.reply_params("kv").await;
        let (mut decode, _) = pair.decode.request().await;
        decode.reply("200 OK", "", round).await;
        assert_eq!(client.answer().await.text(), round);
        // Both backends hang up without a word, as vLLM does after 5 s, and wait until the proxy has seen it.
        drop(prefill);
        drop(decode);
        let health = client.get("/health", "").await;
        assert_eq!(health.status(), 200);
        let _probes = (pair.prefill.accept().await, pair.decode.accept().await);
    }
}

#[tokio::test]
async fn an_idle_connection_is_dropped_before_the_backend_would() {
    let pair = Pair::with(|config| config.timeouts.keep_alive = Duration::from_millis(50)).await;
    let (mut client, mut decode) = pair.decoding().await;
    decode.reply("200 OK", "", "done").await;
    client.answer().await;
    decode.closed().await;
}

#[tokio::test]
async fn a_connection_that_dies_with_a_request_sent_is_not_retried() {
    let pair = Pair::start().await;
    let (mut client, mut decode) = pair.decoding().await;
    decode.reply("200 OK", "", "first").await;
    client.answer().await;
    client.post("", BODY).await;
    // The first prefill connection was dropped by the test: a new one comes.
    let (mut prefill, _) = pair.prefill.request().await;
    prefill.reply_params("kv-2").await;
    assert_eq!(decode.request().await.json()["kv_transfer_params"]["remote_engine_id"], "kv-2");
    drop(decode);
    assert_eq!(client.answer().await.status(), 502);
    assert!(pair.decode.is_untouched().await);
}
