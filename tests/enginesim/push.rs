//! KV that a prefill instance pushes: found by the request's id, written beside its steps.

use serde_json::{Value, json};

use crate::support::{Sim, greedy, streamed, text_of};
use kit::eventually;

const A: &str = "import os\ndef f(x): return x + 1\nprint(f(41))\n# and so on, for more than one block of tokens";
const B: &str = "Once upon a time there was a benchmark that nobody could reproduce, and it was very, very sad";

fn pushing(role: &str, more: Value) -> Sim {
    let mut config = json!({"kv_connector": "NixlPushConnector"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Sim::start_pd(role, config, &[])
}

fn pair() -> (Sim, Sim) {
    (pushing("kv_producer", json!({})), pushing("kv_consumer", json!({})))
}

fn prefilling(prompt: &str) -> Value {
    let mut body = greedy(prompt, 1);
    body["kv_transfer_params"] = json!({"do_remote_decode": true, "do_remote_prefill": false});
    body
}

fn send(sim: &Sim, id: &str, body: &Value) -> Value {
    let answer = sim.send("POST", "/v1/completions", &[("X-Request-Id", id)], &body.to_string()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// What the answers of `prefill` tell of it, and nothing of their requests.
fn identity(prefill: &Sim) -> Value {
    let params =
        send(prefill, "first", &prefilling("hello, who are you, and where can you be reached?"))["kv_transfer_params"]
            .clone();
    assert_eq!(params["transfer_mode"], "push");
    let mut identity = json!({"do_remote_prefill": true, "do_remote_decode": false, "remote_request_id": null});
    for name in ["remote_engine_id", "remote_host", "remote_port", "tp_size", "pp_size"] {
        identity[name] = params[name].clone();
    }
    identity
}

fn waiting_for(params: &Value, prompt: &str, tokens: u32) -> Value {
    let mut body = streamed(prompt, tokens);
    body["kv_transfer_params"] = params.clone();
    body
}

#[test]
fn decode_waits_for_its_prompt_and_continues_it() {
    let (single, (p, d)) = (Sim::start(&[]), pair());
    let identity = identity(&p);
    let expected = single.complete(&greedy(A, 12));
    let body = waiting_for(&identity, A, 12).to_string();
    let answer = std::thread::scope(|scope| {
        let decoding = scope.spawn(|| d.send("POST", "/v1/completions", &[("X-Request-Id", "r")], &body).unwrap());
        eventually("decode waits", || (d.metric("vllm:num_requests_waiting", "") == 1.0).then_some(()));
        send(&p, "r", &prefilling(A));
        decoding.join().unwrap()
    });
    assert_eq!(answer.streamed_text(), text_of(&expected));
    let tokens = expected["usage"]["prompt_tokens"].as_f64().unwrap();
    assert_eq!(d.metric("vllm:prompt_tokens_by_source_total", "external_kv_transfer"), tokens);
    assert_eq!(d.metric("vllm:prompt_tokens_by_source_total", "local_compute"), 0.0);
    let counted = |sim: &Sim| sim.metric("vllm:nixl_xfer_time_seconds_count", "");
    assert_eq!((counted(&p), counted(&d)), (1.0, 0.0), "who writes counts");
    assert!(p.metric("vllm:nixl_num_descriptors_sum", "") > 0.0);
}

#[test]
fn one_after_the_other_works_too() {
    let (single, (p, d)) = (Sim::start(&[]), pair());
    let params = send(&p, "r", &prefilling(A))["kv_transfer_params"].clone();
    assert!(p.metric("vllm:kv_cache_usage_perc", "") > 0.0, "blocks are kept");
    let mut body = greedy(A, 8);
    body["kv_transfer_params"] = params;
    assert_eq!(text_of(&send(&d, "r", &body)), text_of(&single.complete(&greedy(A, 8))));
    eventually("blocks freed", || (p.metric("vllm:kv_cache_usage_perc", "") == 0.0).then_some(()));
}

#[test]
fn the_continuation_follows_the_pushed_kv_not_the_prompt() {
    let (single, (p, d)) = (Sim::start(&[]), pair());
    let mut body = greedy(B, 12);
    body["kv_transfer_params"] = send(&p, "r", &prefilling(A))["kv_transfer_params"].clone();
    assert_eq!(text_of(&send(&d, "r", &body)), text_of(&single.complete(&greedy(A, 12))));
}

#[test]
fn a_request_under_another_id_is_never_matched() {
    let p = pushing("kv_producer", json!({"kv_connector_extra_config": {"kv_lease_duration": 0.05}}));
    let d = pushing("kv_consumer", json!({}));
    let identity = identity(&p);
    let decoding =
        d.open("POST", "/v1/completions", &[("X-Request-Id", "one")], &waiting_for(&identity, A, 4).to_string());
    eventually("decode waits", || (d.metric("vllm:num_requests_waiting", "") == 1.0).then_some(()));
    send(&p, "another", &prefilling(A));
    // The first one told the identity, and was for nobody too.
    eventually("both leases end", || (p.metric("vllm:nixl_num_kv_expired_reqs_total", "") == 2.0).then_some(()));
    assert_eq!(d.metric("vllm:num_requests_waiting", ""), 1.0, "it waits on");
    drop(decoding);
    eventually("its client is gone", || (d.metric("vllm:num_requests_waiting", "") == 0.0).then_some(()));
    assert!(d.metric("vllm:kv_cache_usage_perc", "") > 0.0, "its blocks may still be written to");
    send(&p, "one", &prefilling(A));
    eventually("they were", || (d.metric("vllm:kv_cache_usage_perc", "") == 0.0).then_some(()));
}

#[test]
fn a_pull_and_a_push_connector_never_shake_hands() {
    let p = pushing("kv_producer", json!({}));
    let d = Sim::start_pd("kv_consumer", json!({}), &[]);
    let params = send(&p, "r", &prefilling(A))["kv_transfer_params"].clone();
    let answer = d.post("/v1/completions", &waiting_for(&params, A, 4)).unwrap();
    assert_eq!(answer.events()[0]["error"]["code"], 500, "{}", answer.text());
}
