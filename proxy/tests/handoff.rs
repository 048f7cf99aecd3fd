//! The hand-over as vLLM's NIXL connector wants it: two hops, one opaque object between them.

mod support;

use serde_json::json;
use support::*;
use topobench_proxy::{FaultKind, Outcome, Stage};

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("fixtures/handoff/", $name))
    };
}

/// Plays a recorded exchange; the backends answer as vLLM 0.32 did.
async fn replay(path: &str, client_body: &str, answer: &str, decode_body: &str, stream: &str) {
    let pair = Pair::start().await;
    let mut client = Client::connect(pair.proxy.addr()).await;
    client.post_to(path, "X-Request-Id: r-1\r\nAuthorization: Bearer secret\r\n", client_body).await;

    let (mut prefill, request) = pair.prefill.request().await;
    assert_eq!(request.first_line, format!("POST {path} HTTP/1.1"));
    assert_eq!(request.header("x-request-id"), Some("r-1"));
    assert_eq!(request.header("authorization"), Some("Bearer secret"));
    assert_eq!(request.header("host"), Some(pair.prefill.addr().to_string().as_str()));
    assert_eq!(request.json()["kv_transfer_params"]["do_remote_decode"], true);
    assert_eq!(request.json()["stream"], false);
    prefill.reply_json(answer).await;

    let (mut decode, request) = pair.decode.request().await;
    assert_eq!(request.header("x-request-id"), Some("r-1"));
    assert_eq!(request.header("authorization"), Some("Bearer secret"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.text(), decode_body);
    decode.begin_stream().await;
    for event in stream.split_inclusive("\n\n") {
        decode.chunk(event).await;
    }
    decode.end_stream().await;

    let got = client.answer().await;
    assert_eq!(got.status(), 200);
    assert_eq!(got.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(got.text(), stream);
    pair.at_rest().await;
    assert_eq!(outcome(&pair.proxy).await, Outcome::Passed { status: 200 });
}

#[tokio::test]
async fn a_recorded_completion_is_handed_over_byte_for_byte() {
    replay(
        "/v1/completions",
        recorded!("completion_client.json"),
        recorded!("completion_prefill_answer.json"),
        recorded!("completion_decode.json"),
        recorded!("completion_stream.txt"),
    )
    .await;
}

#[tokio::test]
async fn a_recorded_chat_is_handed_over_byte_for_byte() {
    replay(
        "/v1/chat/completions",
        recorded!("chat_client.json"),
        recorded!("chat_prefill_answer.json"),
        recorded!("chat_decode.json"),
        recorded!("chat_stream.txt"),
    )
    .await;
}

#[tokio::test]
async fn a_request_without_an_id_gets_one_for_both_hops() {
    let pair = Pair::start().await;
    let _client = posted(&pair.proxy, "Accept-Encoding: gzip\r\n", BODY).await;
    let (mut prefill, to_prefill) = pair.prefill.request().await;
    prefill.reply_params("kv").await;
    let (_decode, to_decode) = pair.decode.request().await;
    let id = to_prefill.header("x-request-id").unwrap();
    assert!(id.len() > 16, "{id}");
    assert_eq!(to_decode.header("x-request-id"), Some(id));
    assert_eq!(to_prefill.header("accept-encoding"), None, "the proxy reads this answer itself");
    assert_eq!(to_decode.header("accept-encoding"), Some("gzip"));
}

#[tokio::test]
async fn an_answer_without_params_is_a_fault_and_never_a_silent_decode() {
    for answer in [r#"{"id":"x","kv_transfer_params":null}"#, r#"{"id":"x"}"#, r#"{"id":"x","kv_transfer_params":{}}"#]
    {
        let pair = Pair::start().await;
        let mut client = posted(&pair.proxy, "", BODY).await;
        let (mut prefill, _) = pair.prefill.request().await;
        prefill.reply_json(answer).await;
        let got = client.answer().await;
        assert_eq!(got.status(), 502);
        let error = got.error();
        assert_eq!((&error["kind"], &error["stage"]), (&json!("kv_handoff"), &json!("prefill")));
        assert_eq!(error["code"], 502);
        assert!(error["message"].as_str().unwrap().contains(&pair.prefill.addr().to_string()));
        assert!(pair.decode.is_untouched().await);
        assert_eq!(pair.proxy.stats().handoff_faults, 1);
        let expected = Outcome::Failed { stage: Stage::Prefill, kind: FaultKind::KvHandoff, status: Some(502) };
        assert_eq!(outcome(&pair.proxy).await, expected);
        let metrics = client.get("/metrics", "").await;
        assert!(metrics.text().contains("topobench_proxy_kv_handoff_faults_total 1\n"));
    }
}

#[tokio::test]
async fn params_of_two_requests_are_not_mixed_up() {
    let pair = Pair::start().await;
    let _first = posted(&pair.proxy, "X-Request-Id: one\r\n", BODY).await;
    let (mut prefill_one, _) = pair.prefill.request().await;
    let _second = posted(&pair.proxy, "X-Request-Id: two\r\n", BODY).await;
    let (mut prefill_two, _) = pair.prefill.request().await;
    prefill_two.reply_params("kv-two").await;
    let (_decode_two, two) = pair.decode.request().await;
    prefill_one.reply_params("kv-one").await;
    let (_decode_one, one) = pair.decode.request().await;
    for (request, id, mark) in [(one, "one", "kv-one"), (two, "two", "kv-two")] {
        assert_eq!(request.header("x-request-id"), Some(id));
        assert_eq!(request.json()["kv_transfer_params"]["remote_engine_id"], mark);
    }
}

#[tokio::test]
async fn what_the_hand_off_cannot_do_is_refused_before_any_backend_is_asked() {
    let pair = Pair::start().await;
    let mut client = Client::connect(pair.proxy.addr()).await;
    for (body, param) in [
        (r#"{"prompt":"p","n":2}"#, "n"),
        (r#"{"prompt":["p","q"]}"#, "prompt"),
        (r#"{"prompt":"p","echo":true}"#, "echo"),
        (r#"{"prompt":"p","prompt_logprobs":1}"#, "prompt_logprobs"),
    ] {
        client.post("", body).await;
        let got = client.answer().await;
        assert_eq!(got.status(), 400, "{body}");
        assert_eq!(got.error()["param"], param);
    }
    client.post("", "{broken").await;
    assert_eq!(client.answer().await.status(), 400);
    client.post_to("/v1/embeddings", "", "{}").await;
    let got = client.answer().await;
    assert_eq!(got.status(), 404);
    assert!(got.error()["message"].as_str().unwrap().contains("/v1/embeddings"));
    assert!(pair.prefill.is_untouched().await && pair.decode.is_untouched().await);
}

#[tokio::test]
async fn pins_choose_the_pair_and_stay_with_the_proxy() {
    let (p0, p1) = (Backend::start().await, Backend::start().await);
    let (d0, d1) = (Backend::start().await, Backend::start().await);
    let config = pd_config(&[p0.addr(), p1.addr()], &[d0.addr(), d1.addr()]);
    let proxy = topobench_proxy::Proxy::spawn(config).unwrap();
    for (p, prefill) in [&p0, &p1].into_iter().enumerate() {
        for (d, decode) in [&d0, &d1].into_iter().enumerate() {
            let pins = format!("X-Topobench-Prefill: {p}\r\nX-Topobench-Decode: {d}\r\nConnection: close\r\n");
            let mut client = posted(&proxy, &pins, BODY).await;
            let (mut prefill, to_prefill) = prefill.request().await;
            prefill.reply("200 OK", "connection: close\r\n", r#"{"kv_transfer_params":{"a":"kv"}}"#).await;
            let (mut decode, to_decode) = decode.request().await;
            decode.reply("200 OK", "connection: close\r\n", "done").await;
            assert_eq!(client.answer().await.text(), "done");
            for request in [to_prefill, to_decode] {
                assert!(!request.headers.keys().any(|name| name.contains("topobench")));
            }
            let stamps = proxy.drain_stamps();
            assert_eq!((stamps[0].prefill.backend, stamps[0].decode.backend), (Some(p), Some(d)));
        }
    }
    let mut client = posted(&proxy, "X-Topobench-Decode: 2\r\n", BODY).await;
    let got = client.answer().await;
    assert_eq!(got.status(), 400);
    assert!(got.error()["message"].as_str().unwrap().contains("0 to 1"));
}

#[tokio::test]
async fn stamps_follow_the_request_through_its_stages() {
    let pair = Pair::start().await;
    let mut client = posted(&pair.proxy, "X-Request-Id: stamped\r\n", BODY).await;
    let (mut prefill, _) = pair.prefill.request().await;
    prefill.reply_params("kv").await;
    let (mut decode, _) = pair.decode.request().await;
    decode.begin_stream().await;
    decode.chunk("data: one\n\n").await;
    decode.end_stream().await;
    client.answer().await;
    pair.at_rest().await;
    let stamps = pair.proxy.drain_stamps();
    assert_eq!(stamps.len(), 1);
    let stamps = &stamps[0];
    assert_eq!(stamps.request_id, "stamped");
    assert_eq!(stamps.bytes, 11);
    let stages = [
        Some(stamps.accepted),
        stamps.prefill.sent,
        stamps.prefill.head,
        stamps.prefill.done,
        stamps.decode.sent,
        stamps.decode.head,
        stamps.first_byte,
        Some(stamps.end),
    ];
    assert!(stages.iter().all(Option::is_some) && stages.is_sorted(), "{stamps:?}");
    assert_eq!(pair.proxy.stats().lost_stamps, 0);
}

#[tokio::test]
async fn questions_about_the_engine_go_to_decode_unless_prefill_is_pinned() {
    let pair = Pair::start().await;
    let ask = async |headers: &str, backend: &Backend, name: &str| {
        let mut client = Client::connect(pair.proxy.addr()).await;
        let answered = async {
            let (mut peer, request) = backend.request().await;
            assert_eq!(request.first_line, "GET /v1/models?x=1 HTTP/1.1");
            assert_eq!(request.header("content-length"), None);
            peer.reply_json(name).await;
        };
        let (got, ()) = tokio::join!(client.get("/v1/models?x=1", headers), answered);
        assert_eq!(got.text(), name);
    };
    ask("", &pair.decode, "from decode").await;
    ask("X-Topobench-Prefill: 0\r\n", &pair.prefill, "from prefill").await;
}
