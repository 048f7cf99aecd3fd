//! What vLLM does, and the simulated engine must do too.

use crate::bed::Stage;
use serde_json::{Value, json};
use std::time::Duration;
use topobench::drive::{Deadlines, Single, send_one};
use topobench::observe::engine;
use topobench::plan::load::Endpoint;
use topobench::plan::workload::Prompt;

const PROMPT_A: &str =
    "def main(argv): import os, sys and then return the sum of all the arguments given to it as numbers";
const PROMPT_B: &str =
    "class Reader: reads lines from a file, counts the words in each of them and closes the file at its end";

async fn post(url: &str, path: &str, body: &Value) -> (u16, Value) {
    post_as(&format!("scene-{:016x}", rand::random::<u64>()), url, path, body).await
}

async fn post_as(id: &str, url: &str, path: &str, body: &Value) -> (u16, Value) {
    let client = topobench::observe::http::client(Duration::from_secs(300), false).expect("a client");
    let request = client.post(format!("{url}{path}")).header("x-request-id", id);
    let answer = request.json(body).send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

async fn get(url: &str) -> (u16, Value) {
    let client = topobench::observe::http::client(Duration::from_secs(60), false).expect("a client");
    let answer = client.get(url).send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

fn completion(stage: &Stage, prompt: &str, tokens: u32) -> Value {
    json!({"model": stage.model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": true})
}

fn text(answer: &Value) -> &str {
    answer["choices"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {answer}"))
}

pub(crate) async fn engines_say_who_they_are(stage: &Stage) {
    for url in [&stage.replica, &stage.prefill, &stage.decode] {
        assert_eq!(get(&format!("{url}/health")).await.0, 200);
        let (_, version) = get(&format!("{url}/version")).await;
        let version = version["version"].as_str().expect("a version");
        assert_eq!(
            version.contains("enginesim"),
            !stage.real,
            "a simulated engine never passes for a real one: {version}"
        );
        let (_, models) = get(&format!("{url}/v1/models")).await;
        assert_eq!(models["data"][0]["id"], json!(stage.model));
        assert!(models["data"][0]["max_model_len"].as_u64().is_some_and(|n| n >= 1024), "{models}");
    }
}

pub(crate) async fn streams_count_their_tokens(stage: &Stage) {
    for endpoint in [Endpoint::Completions, Endpoint::Chat] {
        let mut target = stage.target(&stage.replica);
        target.endpoint = endpoint;
        let prompt = match endpoint {
            Endpoint::Completions => Prompt::Text(PROMPT_A.to_string()),
            Endpoint::Chat => Prompt::user(PROMPT_A.to_string()),
        };
        let single = Single {
            prompt,
            max_tokens: 9,
            id: "conformance-1".to_string(),
            headers: Vec::new(),
            deadlines: Deadlines { first_token: Duration::from_secs(120), idle: Duration::from_secs(120) },
        };
        let answer = send_one(&target, &single).await.unwrap_or_else(|e| panic!("{endpoint:?}: {e}"));
        let line = answer.timeline;
        assert_eq!(line.output_tokens.map(|n| n.get()), Some(9), "{endpoint:?}: tokens come from usage");
        assert_eq!(line.chunks.iter().map(|c| c.tokens).sum::<u32>(), 9, "{endpoint:?}: a role-only chunk is no token");
        assert!(line.tokens_per_chunk_known, "{endpoint:?}: continuous usage is understood");
        assert!(line.prompt_tokens.is_some_and(|n| n.get() > 8), "{endpoint:?}: usage names the prompt's length");
    }
}

pub(crate) async fn a_hand_off_answers_as_one_instance_does(stage: &Stage) {
    let before = stage.scraper.snapshot().await;
    let mut prompt_tokens = 0.0;
    for prompt in [PROMPT_A, PROMPT_B] {
        let body = completion(stage, prompt, 12);
        let (_, alone) = post(&stage.replica, "/v1/completions", &body).await;
        let (status, handed) = post(&stage.proxied, "/v1/completions", &body).await;
        assert_eq!(status, 200, "{handed}");
        assert_eq!(text(&handed), text(&alone), "greedy answers agree");
        assert_eq!(handed["usage"]["prompt_tokens"], alone["usage"]["prompt_tokens"]);
        prompt_tokens += handed["usage"]["prompt_tokens"].as_f64().expect("usage");
    }
    let counters = engine::between(&before, &stage.scraper.snapshot().await).counters.expect("metrics");
    let transferred = counters.external_kv_tokens.expect("the engine tells where prompt tokens came from");
    let cached = counters.decode_cache_hit_tokens.unwrap_or(0.0);
    // At most the last block of each prompt is not handed over.
    assert!(transferred + cached >= prompt_tokens - 2.0 * 16.0, "{transferred} + {cached} of {prompt_tokens} tokens");
    assert_eq!(counters.kv_failed_transfers.unwrap_or(0.0), 0.0);
    assert_eq!(counters.kv_expired.unwrap_or(0.0), 0.0);
}

/// Pushed, the KV of every prompt is written by prefill, while decode has its request from the start.
pub(crate) async fn both_stages_begin_together(stage: &Stage) {
    let before = stage.scraper.snapshot().await;
    stage.proxy.drain_stamps();
    let body = completion(stage, &format!("{PROMPT_A}, or rather: {PROMPT_B}"), 12);
    let (_, alone) = post(&stage.replica, "/v1/completions", &body).await;
    let (status, handed) = post(&stage.proxied, "/v1/completions", &body).await;
    assert_eq!(status, 200, "{handed}");
    assert_eq!(text(&handed), text(&alone), "greedy answers agree");
    let stamps = stage.proxy.drain_stamps().pop().expect("a request has ended");
    assert!(stamps.decode.sent < stamps.prefill.head, "decode does not wait for prefill: {stamps:?}");
    let counters = engine::between(&before, &stage.scraper.snapshot().await).counters.expect("metrics");
    assert_eq!((counters.kv_transfers, counters.kv_pushed), (Some(1.0), Some(1.0)), "prefill counts it: {counters:?}");
    assert!(counters.kv_descriptors > Some(0.0) && counters.kv_transfer_bytes > Some(0.0), "{counters:?}");
    assert_eq!(counters.kv_expired, Some(0.0));
}

/// Takes a prompt through prefill and returns the params for decode.
async fn prefill(stage: &Stage, id: &str, mut body: Value) -> Value {
    body["kv_transfer_params"] = json!({
        "do_remote_decode": true, "do_remote_prefill": false, "remote_engine_id": null,
        "remote_block_ids": null, "remote_host": null, "remote_port": null
    });
    let (status, answer) = post_as(id, &stage.prefill, "/v1/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    let params = answer["kv_transfer_params"].clone();
    assert_eq!(params["do_remote_prefill"], json!(true), "{answer}");
    params
}

/// The negative control: if the KV were not used, the answer would be that of the prompt in the body.
pub(crate) async fn decode_follows_the_kv_and_not_the_prompt(stage: &Stage) {
    // Equal lengths, as the hand-over requires, and the same last token, which decode computes itself.
    let ids = |step: u32, first: u32| (0..47).map(|i| first + (i * step) % 200).chain([777]).collect::<Vec<u32>>();
    let of = |prompt: Vec<u32>, tokens: u32| {
        let mut body = completion(stage, "", tokens);
        body["prompt"] = json!(prompt);
        body
    };
    let (read_by_prefill, named_in_body) = (ids(7, 300), ids(11, 900));
    let (_, expected) = post(&stage.replica, "/v1/completions", &of(read_by_prefill.clone(), 12)).await;
    let (_, otherwise) = post(&stage.replica, "/v1/completions", &of(named_in_body.clone(), 12)).await;
    assert_ne!(text(&expected), text(&otherwise), "the two prompts are told apart");
    let mut body = of(named_in_body, 12);
    let id = "scene-swapped";
    body["kv_transfer_params"] = prefill(stage, id, of(read_by_prefill, 1)).await;
    let (status, answer) = post_as(id, &stage.decode, "/v1/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(text(&answer), text(&expected), "decode continued what prefill had read");
}

pub(crate) async fn decode_without_params_recomputes_in_silence(stage: &Stage) {
    let before = stage.scraper.snapshot().await;
    let fresh = format!("{PROMPT_B} and never {PROMPT_A}");
    let (status, answer) = post(&stage.decode, "/v1/completions", &completion(stage, &fresh, 2)).await;
    assert_eq!(status, 200, "{answer}");
    let counters = engine::between(&before, &stage.scraper.snapshot().await).counters.expect("metrics");
    assert_eq!(counters.external_kv_tokens.unwrap_or(0.0), 0.0, "nothing was handed over");
    assert!(counters.local_compute_tokens.is_some_and(|n| n > 0.0), "decode computed the prompt itself: {counters:?}");
}

pub(crate) async fn errors_have_vllms_bodies(stage: &Stage) {
    let mut unknown = completion(stage, PROMPT_A, 1);
    unknown["model"] = json!("nope");
    let (status, body) = post(&stage.replica, "/v1/completions", &unknown).await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!(404)), "{body}");
    let (status, body) = post(&stage.replica, "/v1/completions", &completion(stage, PROMPT_A, 9_999_999)).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!(400)), "{body}");
    let mut several = completion(stage, PROMPT_A, 1);
    several["n"] = json!(2);
    let (status, body) = post(&stage.proxied, "/v1/completions", &several).await;
    assert_eq!(status, 400, "the hand-off serves one answer a request: {body}");
}
