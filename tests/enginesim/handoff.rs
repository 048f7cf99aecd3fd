//! KV hand-over between a prefill and a decode instance.

use serde_json::{Value, json};

use crate::support::{Response, Sim, greedy, streamed, text_of};
use kit::eventually;

const A: &str = "import os\ndef f(x): return x + 1\nprint(f(41))\n# and so on, for more than one block of tokens";
const B: &str = "Once upon a time there was a benchmark that nobody could reproduce, and it was very, very sad";

fn prefill(config: Value) -> Sim {
    Sim::start_pd("kv_producer", config, &[])
}

fn decode(config: Value) -> Sim {
    Sim::start_pd("kv_consumer", config, &[])
}

/// Runs the prefill of `prompt`; returns the parameters for the decode instance.
fn hand_over(prefill: &Sim, prompt: &str) -> Value {
    let mut body = greedy(prompt, 1);
    body["kv_transfer_params"] = json!({"do_remote_decode": true, "do_remote_prefill": false, "remote_engine_id": null, "remote_block_ids": null, "remote_host": null, "remote_port": null});
    let answer = prefill.complete(&body);
    assert_eq!(answer["usage"]["completion_tokens"], 1);
    answer["kv_transfer_params"].clone()
}

fn with(mut body: Value, params: &Value) -> Value {
    body["kv_transfer_params"] = params.clone();
    body
}

fn source(sim: &Sim, source: &str) -> f64 {
    sim.metric("vllm:prompt_tokens_by_source_total", source)
}

/// The only event before [DONE] is an error, although the status is 200.
fn assert_in_band_error(response: &Response) {
    assert_eq!(response.status, 200);
    let events = response.events();
    assert_eq!(events[0]["error"]["code"], 500, "{}", response.text());
    assert_eq!(events[1], "[DONE]");
    assert_eq!(events.len(), 2);
}

#[test]
fn a_pair_answers_like_one_instance_and_accounts_for_every_token() {
    let (single, p, d) = (Sim::start(&[]), prefill(json!({})), decode(json!({})));
    let expected = single.complete(&greedy(A, 24));
    let params = hand_over(&p, A);
    assert_eq!(params["do_remote_prefill"], true);
    assert_eq!(params["remote_num_tokens"], expected["usage"]["prompt_tokens"]);
    assert!(!params["remote_block_ids"][0].as_array().unwrap().is_empty());
    assert!(p.metric("vllm:kv_cache_usage_perc", "") > 0.0, "blocks are kept");

    let answer = d.post("/v1/completions", &with(streamed(A, 24), &params)).unwrap();
    assert_eq!(answer.streamed_text(), text_of(&expected));
    let tokens = expected["usage"]["prompt_tokens"].as_f64().unwrap();
    assert_eq!(source(&d, "external_kv_transfer"), tokens);
    assert_eq!(source(&d, "local_compute"), 0.0);
    assert_eq!(d.metric("vllm:nixl_xfer_time_seconds_count", ""), 1.0);
    assert!(d.metric("vllm:nixl_bytes_transferred_sum", "") > 0.0);
    eventually("blocks freed", || (p.metric("vllm:kv_cache_usage_perc", "") == 0.0).then_some(()));
    assert_eq!(p.metric("vllm:nixl_num_kv_expired_reqs_total", ""), 0.0);
}

#[test]
fn chat_hands_over_too() {
    let (single, p, d) = (Sim::start(&[]), prefill(json!({})), decode(json!({})));
    let body = |tokens: u32| json!({"messages": [{"role": "user", "content": A}], "max_tokens": tokens, "temperature": 0, "ignore_eos": true});
    let expected = single.post("/v1/chat/completions", &body(9)).unwrap().json();
    let offer = with(body(1), &json!({"do_remote_decode": true}));
    let params = p.post("/v1/chat/completions", &offer).unwrap().json()["kv_transfer_params"].clone();
    let answer = d.post("/v1/chat/completions", &with(body(9), &params)).unwrap().json();
    assert_eq!(answer["choices"][0]["message"], expected["choices"][0]["message"]);
}

#[test]
fn the_continuation_follows_the_transferred_kv_not_the_prompt() {
    let (p, d) = (prefill(json!({})), decode(json!({})));
    let alone = d.complete(&greedy(B, 12));
    let of_a = d.complete(&with(greedy(A, 12), &hand_over(&p, A)));
    let swapped = d.complete(&with(greedy(B, 12), &hand_over(&p, A)));
    assert_eq!(text_of(&swapped), text_of(&of_a));
    assert_ne!(text_of(&swapped), text_of(&alone));
}

#[test]
fn without_parameters_the_prompt_is_silently_recomputed() {
    let (single, d) = (Sim::start(&[]), decode(json!({})));
    for body in [greedy(A, 8), with(greedy(A, 8), &Value::Null)] {
        assert_eq!(text_of(&d.complete(&body)), text_of(&single.complete(&greedy(A, 8))));
    }
    assert!(source(&d, "local_compute") > 0.0);
    assert_eq!(source(&d, "external_kv_transfer"), 0.0);
}

#[test]
fn an_instance_without_connector_ignores_the_parameters() {
    let (p, plain) = (prefill(json!({})), Sim::start(&[]));
    let params = hand_over(&p, A);
    plain.complete(&with(greedy(A, 4), &params));
    assert!(source(&plain, "local_compute") > 0.0);
    let ignored = plain.complete(&with(greedy(A, 1), &json!({"do_remote_decode": true})));
    assert!(ignored["kv_transfer_params"].is_null());
}

#[test]
fn replayed_parameters_fail_inside_the_stream() {
    let (p, d) = (prefill(json!({})), decode(json!({})));
    let params = hand_over(&p, A);
    d.complete(&with(greedy(A, 4), &params));
    // Different from A, so that nothing of it is cached here.
    let replay = d.post("/v1/completions", &with(streamed(B, 4), &params)).unwrap();
    assert_in_band_error(&replay);
    let whole = d.post("/v1/completions", &with(greedy(B, 4), &params)).unwrap();
    assert_eq!((whole.status, &whole.json()["error"]["code"]), (500, &json!(500)));
    assert_eq!(d.metric("vllm:nixl_num_failed_transfers_total", ""), 2.0);
}

#[test]
fn a_dead_prefill_instance_fails_or_is_recomputed_as_the_policy_says() {
    let p = prefill(json!({}));
    let strict = decode(json!({"kv_load_failure_policy": "fail"}));
    let lenient = decode(json!({"kv_load_failure_policy": "recompute"}));
    let (one, other) = (hand_over(&p, A), hand_over(&p, A));
    drop(p);
    assert_in_band_error(&strict.post("/v1/completions", &with(streamed(A, 4), &one)).unwrap());
    let expected = lenient.complete(&greedy(A, 4));
    let answer = lenient.complete(&with(greedy(A, 4), &other));
    assert_eq!(text_of(&answer), text_of(&expected));
    assert_eq!(source(&lenient, "external_kv_transfer"), 0.0);
}

#[test]
fn an_expired_lease_is_counted_and_the_late_reader_still_served() {
    let lease = json!({"kv_connector_extra_config": {"kv_lease_duration": 0.05}});
    let (p, d) = (prefill(lease), decode(json!({})));
    let params = hand_over(&p, A);
    let expired = || p.metric("vllm:nixl_num_kv_expired_reqs_total", "") == 1.0;
    eventually("expiry", || expired().then_some(()));
    assert_eq!(p.metric("vllm:kv_cache_usage_perc", ""), 0.0);
    assert_eq!(text_of(&d.complete(&with(greedy(A, 4), &params))), text_of(&p.complete(&greedy(A, 4))));
    eventually("late notice", || (p.metric("vllm:nixl_num_notifications_after_expiry_total", "") == 1.0).then_some(()));
}

#[test]
fn instances_of_different_models_do_not_pair() {
    let p = prefill(json!({}));
    let d = Sim::start_pd("kv_consumer", json!({}), &["--block-size", "32"]);
    let params = hand_over(&p, A);
    assert_in_band_error(&d.post("/v1/completions", &with(streamed(A, 4), &params)).unwrap());
}

#[test]
fn several_prompts_cannot_be_handed_over() {
    let p = prefill(json!({}));
    let mut body = with(greedy("", 1), &json!({"do_remote_decode": true}));
    body["prompt"] = json!(["a", "b"]);
    assert_eq!(p.post("/v1/completions", &body).unwrap().status, 400);
    let mut body = with(greedy(A, 1), &json!({"do_remote_decode": true}));
    body["n"] = 2.into();
    assert_eq!(p.post("/v1/completions", &body).unwrap().status, 400);
}
