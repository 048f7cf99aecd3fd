//! Pushed KV: both stages at once, once it is known who the prefill instance is.

mod support;

use serde_json::{Value, json};
use support::*;
use topobench_proxy::{Dispatch, FaultKind, Outcome, Routes, Stage};

fn answer(engine: &str, mode: &str, blocks: u32) -> String {
    let params = json!({
        "do_remote_prefill": true, "do_remote_decode": false, "remote_block_ids": [[blocks]],
        "remote_engine_id": engine, "remote_request_id": format!("cmpl-{blocks}"), "remote_host": "127.0.0.1",
        "remote_port": 5600, "tp_size": 1, "pp_size": 1, "remote_num_tokens": 17, "transfer_mode": mode,
    });
    json!({"id": "x", "kv_transfer_params": params}).to_string()
}

fn identity_of(engine: &str) -> Value {
    json!({
        "do_remote_prefill": true, "do_remote_decode": false, "remote_block_ids": [], "remote_request_id": null,
        "remote_engine_id": engine, "remote_host": "127.0.0.1", "remote_port": 5600, "tp_size": 1, "pp_size": 1,
        "transfer_mode": "push",
    })
}

/// A pair that has handed over once, one stage after the other, and so is known.
async fn acquainted() -> Pair {
    let pair = Pair::start().await;
    in_turn(&pair, &answer("e-1", "push", 1)).await;
    pair.proxy.drain_stamps();
    pair
}

async fn in_turn(pair: &Pair, told: &str) -> Value {
    let mut client = posted(&pair.proxy, "", BODY).await;
    let (mut prefill, _) = pair.prefill.request().await;
    assert!(pair.decode.is_untouched().await, "decode waits for prefill");
    prefill.reply_json(told).await;
    let (mut decode, request) = pair.decode.request().await;
    decode.reply_json("{}").await;
    assert_eq!(client.answer().await.status(), 200);
    pair.at_rest().await;
    request.json()["kv_transfer_params"].clone()
}

#[tokio::test]
async fn both_engines_get_the_request_before_either_has_answered() {
    let pair = acquainted().await;
    let mut client = posted(&pair.proxy, "X-Request-Id: r-2\r\n", BODY).await;
    let (mut prefill, to_prefill) = pair.prefill.request().await;
    let (mut decode, to_decode) = pair.decode.request().await;
    assert_eq!(to_prefill.header("x-request-id"), Some("r-2"));
    assert_eq!(to_decode.header("x-request-id"), Some("r-2"), "by it the engines find each other");
    assert_eq!(to_prefill.json()["kv_transfer_params"]["do_remote_decode"], true);
    assert_eq!(to_decode.json()["kv_transfer_params"], identity_of("e-1"), "nothing of the request before");
    decode.begin_stream().await;
    assert!(!client.has_anything().await, "decode's 200 proves nothing");
    prefill.reply_json(&answer("e-1", "push", 2)).await;
    decode.chunk("data: one\n\n").await;
    decode.end_stream().await;
    assert_eq!(client.answer().await.text(), "data: one\n\n");
    pair.at_rest().await;
    let stamps = pair.proxy.drain_stamps().remove(0);
    assert!(stamps.decode.sent < stamps.prefill.head, "they overlap: {stamps:?}");
    assert!(stamps.prefill.done.is_some() && stamps.prefill.sent < stamps.prefill.head, "{stamps:?}");
    assert_eq!((stamps.prefill.backend, stamps.decode.backend), (Some(0), Some(0)));
    assert_eq!(stamps.outcome, Outcome::Passed { status: 200 });
}

#[tokio::test]
async fn pulled_kv_stays_one_stage_after_the_other() {
    let pair = Pair::start().await;
    for blocks in [1, 2] {
        let params = in_turn(&pair, &answer("e-1", "pull", blocks)).await;
        assert_eq!(params["remote_block_ids"], json!([[blocks]]), "the params travel as they are");
    }
}

#[tokio::test]
async fn dispatch_can_be_told_instead() {
    let told = |dispatch| {
        Pair::with(move |config| {
            if let Routes::PrefillDecode { dispatch: of_config, .. } = &mut config.routes {
                *of_config = dispatch;
            }
        })
    };
    let pair = told(Dispatch::InTurn).await;
    in_turn(&pair, &answer("e-1", "push", 1)).await;
    in_turn(&pair, &answer("e-1", "push", 2)).await;
    // vLLM 0.26 doesn't name the mode.
    let pair = told(Dispatch::Together).await;
    in_turn(&pair, &answer("e-1", "push", 1).replace(r#""transfer_mode":"push","#, "")).await;
    let _client = posted(&pair.proxy, "", BODY).await;
    let _both = (pair.prefill.request().await, pair.decode.request().await);
}

#[tokio::test]
async fn decodes_first_bytes_need_not_wait_for_prefills_answer() {
    let pair = acquainted().await;
    let mut client = posted(&pair.proxy, "", BODY).await;
    let (mut prefill, _) = pair.prefill.request().await;
    let (mut decode, _) = pair.decode.request().await;
    decode.begin_stream().await;
    decode.chunk("data: one\n\n").await;
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(client.chunk().await.unwrap(), b"data: one\n\n");
    prefill.reply_json(&answer("e-1", "push", 2)).await;
    decode.chunk("data: two\n\n").await;
    assert_eq!(client.chunk().await.unwrap(), b"data: two\n\n");
    decode.end_stream().await;
    pair.at_rest().await;
    assert_eq!(outcome(&pair.proxy).await, Outcome::Passed { status: 200 });
}

#[tokio::test]
async fn a_prefill_that_fails_takes_its_decode_with_it() {
    for (status, body, kind) in [
        ("500 Internal Server Error", r#"{"error":"boom"}"#, FaultKind::EngineError),
        ("200 OK", r#"{"id":"x","kv_transfer_params":null}"#, FaultKind::KvHandoff),
    ] {
        let pair = acquainted().await;
        let mut client = posted(&pair.proxy, "", BODY).await;
        let (mut prefill, _) = pair.prefill.request().await;
        let (mut decode, _) = pair.decode.request().await;
        decode.begin_stream().await;
        prefill.reply(status, "", body).await;
        decode.closed().await;
        assert_eq!(client.answer().await.status(), 502);
        pair.at_rest().await;
        let expected = Outcome::Failed { stage: Stage::Prefill, kind, status: Some(502) };
        assert_eq!(outcome(&pair.proxy).await, expected);
    }
}

#[tokio::test]
async fn a_prefill_that_fails_after_the_first_token_cuts_the_stream() {
    let pair = acquainted().await;
    let mut client = posted(&pair.proxy, "", BODY).await;
    let (mut prefill, _) = pair.prefill.request().await;
    let (mut decode, _) = pair.decode.request().await;
    decode.begin_stream().await;
    decode.chunk("data: one\n\n").await;
    client.head().await;
    client.chunk().await.unwrap();
    prefill.reply("500 Internal Server Error", "", "{}").await;
    decode.closed().await;
    assert!(client.chunk().await.is_none(), "no last chunk");
    let expected = Outcome::Failed { stage: Stage::Prefill, kind: FaultKind::EngineError, status: None };
    assert_eq!(outcome(&pair.proxy).await, expected);
}

#[tokio::test]
async fn what_an_engine_declines_is_the_clients_answer_and_ends_the_other_stage() {
    let pair = acquainted().await;
    let mut client = posted(&pair.proxy, "", BODY).await;
    let (mut prefill, _) = pair.prefill.request().await;
    let (mut decode, _) = pair.decode.request().await;
    prefill.reply("400 Bad Request", "", r#"{"error":"too long"}"#).await;
    decode.closed().await;
    let got = client.answer().await;
    assert_eq!((got.status(), got.text()), (400, r#"{"error":"too long"}"#));
    drop((prefill, decode));

    let mut client = posted(&pair.proxy, "", BODY).await;
    let (mut prefill, _) = pair.prefill.request().await;
    let (mut decode, _) = pair.decode.request().await;
    decode.reply("503 Service Unavailable", "", "{}").await;
    prefill.closed().await;
    assert_eq!(client.answer().await.status(), 503);
    pair.at_rest().await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_both_stages() {
    let pair = acquainted().await;
    let client = posted(&pair.proxy, "", BODY).await;
    let (mut prefill, _) = pair.prefill.request().await;
    let (mut decode, _) = pair.decode.request().await;
    drop(client);
    prefill.closed().await;
    decode.closed().await;
    pair.at_rest().await;
    assert_eq!(outcome(&pair.proxy).await, Outcome::ClientGone);
}

#[tokio::test]
async fn an_engine_that_was_restarted_is_a_fault_once_and_known_from_then_on() {
    let pair = acquainted().await;
    let mut client = posted(&pair.proxy, "", BODY).await;
    let (mut prefill, _) = pair.prefill.request().await;
    let (mut decode, _) = pair.decode.request().await;
    prefill.reply_json(&answer("e-2", "push", 3)).await;
    decode.closed().await;
    let got = client.answer().await;
    assert_eq!((got.status(), &got.error()["kind"]), (502, &json!("kv_handoff")));
    drop((prefill, decode));
    let _client = posted(&pair.proxy, "", BODY).await;
    pair.prefill.request().await;
    let (_, request) = pair.decode.request().await;
    assert_eq!(request.json()["kv_transfer_params"], identity_of("e-2"));
}
