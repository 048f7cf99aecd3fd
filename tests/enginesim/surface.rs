//! What the HTTP surface answers when all is well, and what it refuses.

use serde_json::{Value, json};

use crate::support::{Sim, greedy, streamed, text_of};
use kit::eventually;

#[test]
fn plain_pages_answer_as_vllm_does() {
    let sim = Sim::start(&["--served-model-name", "m", "alias"]);
    assert_eq!(sim.get("/ping").unwrap().status, 200);
    assert_eq!(sim.get("/version").unwrap().json(), json!({"version": "0.32.0+enginesim.0.1.0"}));
    assert_eq!(sim.get("/load").unwrap().json(), json!({"server_load": 0}));
    let models = sim.get("/v1/models").unwrap().json();
    assert_eq!(models["data"][0]["id"], "m");
    assert_eq!(models["data"][1]["id"], "alias");
    assert_eq!(models["data"][0]["max_model_len"], 8192);
    let missing = sim.get("/nope").unwrap();
    assert_eq!((missing.status, missing.json()), (404, json!({"detail": "Not Found"})));
    assert_eq!(sim.get("/v1/completions").unwrap().status, 405);
    assert!(sim.log().contains("Application startup complete."));
}

#[test]
fn a_stream_and_a_whole_answer_say_the_same() {
    let sim = Sim::start(&[]);
    let whole = sim.complete(&greedy("def main(argv):", 9));
    assert_eq!(whole["usage"]["completion_tokens"], 9);
    let prompt_tokens = whole["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(whole["usage"]["total_tokens"], prompt_tokens + 9);
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert!(whole["kv_transfer_params"].is_null());

    let stream = sim.post("/v1/completions", &streamed("def main(argv):", 9)).unwrap();
    assert!(stream.head.contains("content-type: text/event-stream"));
    assert_eq!(stream.streamed_text(), text_of(&whole));
    let events = stream.events();
    assert_eq!(events.len(), 9 + 2, "a token an event, usage, done");
    assert_eq!(events[8]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[9]["choices"], json!([]));
    assert_eq!(events[9]["usage"]["completion_tokens"], 9);
    assert_eq!(events[10], "[DONE]");
    assert_eq!(stream.chunks.len(), events.len(), "each event is one chunk");
}

#[test]
fn a_chat_begins_with_a_role_and_no_token() {
    let sim = Sim::start(&[]);
    let parts = json!([{"type": "text", "text": "hello"}]);
    let mut body =
        json!({"messages": [{"role": "user", "content": parts}], "max_completion_tokens": 3, "temperature": 0});
    let whole = sim.post("/v1/chat/completions", &body).unwrap().json();
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true, "continuous_usage_stats": true});
    let events = sim.post("/v1/chat/completions", &body).unwrap().events();
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(events[0]["usage"]["completion_tokens"], 0);
    assert_eq!(events[2]["usage"]["completion_tokens"], 2);
    let text: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, whole["choices"][0]["message"]["content"].as_str().unwrap());
    assert_eq!(events.len(), 1 + 3 + 2);
    assert_eq!(events[3]["choices"][0]["finish_reason"], "length");
}

#[test]
fn prompts_may_be_text_or_tokens_one_or_many() {
    let sim = Sim::start(&[]);
    let mut body = greedy("", 2);
    body["prompt"] = json!([1000, 1001, 1002]);
    body["return_token_ids"] = true.into();
    let one = sim.complete(&body);
    assert_eq!(one["choices"][0]["prompt_token_ids"], json!([1000, 1001, 1002]));
    assert_eq!(one["choices"][0]["token_ids"].as_array().unwrap().len(), 2);
    body["prompt"] = json!([[1000, 1001, 1002], [7, 8]]);
    body["n"] = 2.into();
    let many = sim.complete(&body);
    assert_eq!(many["choices"].as_array().unwrap().len(), 4);
    assert_eq!(many["choices"][1]["text"], one["choices"][0]["text"]);
    assert_eq!(many["choices"][3]["prompt_token_ids"], json!([7, 8]));
    assert_eq!(
        many["usage"],
        json!({"prompt_tokens": 5, "total_tokens": 13, "completion_tokens": 8, "prompt_tokens_details": null, "completion_tokens_details": null})
    );
    body["prompt"] = json!(["a", "b"]);
    assert_eq!(sim.complete(&body)["choices"].as_array().unwrap().len(), 4);
}

#[test]
fn the_client_s_request_id_becomes_the_answer_s() {
    let sim = Sim::start(&[]);
    let body = greedy("x", 1).to_string();
    let response = sim.send("POST", "/v1/completions", &[("X-Request-Id", "req-1")], &body);
    assert_eq!(response.unwrap().json()["id"], "cmpl-req-1");
}

#[test]
fn sampling_differs_from_time_to_time_unless_seeded() {
    let sim = Sim::start(&[]);
    let body = json!({"prompt": "x", "max_tokens": 20, "ignore_eos": true});
    assert_ne!(text_of(&sim.complete(&body)), text_of(&sim.complete(&body)));
    let mut seeded = body;
    seeded["seed"] = 5.into();
    assert_eq!(text_of(&sim.complete(&seeded)), text_of(&sim.complete(&seeded)));
}

#[test]
fn bad_requests_get_vllm_s_bodies() {
    let sim = Sim::start(&["--served-model-name", "m"]);
    let with = |key: &str, value: Value| {
        let mut body = greedy("x", 4);
        body[key] = value;
        body.to_string()
    };
    let long: Vec<u32> = vec![5; 8190];
    for (body, status, param, words) in [
        (with("model", "nope".into()), 404, "model", "The model `nope` does not exist. Valid aliases: m."),
        (
            with("max_tokens", 99_999.into()),
            400,
            "max_tokens",
            "max_tokens=99999 cannot be greater than max_model_len=8192.",
        ),
        (with("prompt", json!(long)), 400, "input_tokens", "maximum context length is 8192 tokens"),
        (with("max_tokens", 0.into()), 400, "max_tokens", "max_tokens must be at least 1, got 0"),
        (with("min_tokens", 5.into()), 400, "min_tokens", "got 5"),
        (with("temperature", json!(-1.0)), 400, "temperature", "non-negative"),
        (with("prompt", json!([])), 400, "prompt", "non-empty"),
        (with("prompt", json!([999_999])), 400, "prompt", "out of vocabulary"),
        ("{nope".to_owned(), 400, "body.1", "JSON decode error"),
        ("{}".to_owned(), 400, "body.prompt", "Field required"),
    ] {
        let response = sim.send("POST", "/v1/completions", &[], &body).unwrap();
        let error = &response.json()["error"];
        assert_eq!(response.status, status, "{error}");
        assert_eq!((&error["code"], &error["param"]), (&json!(status), &json!(param)));
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
}

#[test]
fn keys_guard_the_api_and_nothing_else() {
    let mut sim = Sim::spawn(crate::support::free_port(), &[], &[("VLLM_API_KEY", "secret")]);
    sim.wait_ready();
    let refused = sim.get("/v1/models").unwrap();
    assert_eq!((refused.status, refused.json()), (401, json!({"error": "Unauthorized"})));
    let wrong = sim.send("GET", "/v1/models", &[("Authorization", "Bearer guess")], "").unwrap();
    assert_eq!(wrong.status, 401);
    let right = sim.send("GET", "/v1/models", &[("Authorization", "Bearer secret")], "").unwrap();
    assert_eq!(right.status, 200);
    assert!(!sim.log().contains("secret"));
}

#[test]
fn metrics_have_every_name_and_type_that_vllm_has() {
    let sim = Sim::start_pd("kv_consumer", json!({}), &[]);
    let page = sim.get("/metrics").unwrap().text();
    let recorded = include_str!("../fixtures/enginesim/metrics-vllm-0.32.txt");
    assert!(recorded.lines().count() > 60);
    for line in recorded.lines() {
        assert!(page.contains(&format!("# TYPE {line}\n")), "{line}");
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn metrics_count_what_happened() {
    let sim = Sim::start(&[]);
    let prompt = "word ".repeat(100);
    let tokens = sim.complete(&greedy(&prompt, 5))["usage"]["prompt_tokens"].as_f64().unwrap();
    sim.complete(&greedy(&prompt, 5));
    let source = |source| sim.metric("vllm:prompt_tokens_by_source_total", source);
    assert_eq!(sim.metric("vllm:generation_tokens_total", ""), 10.0);
    assert_eq!(sim.metric("vllm:request_success_total", "length"), 2.0);
    assert_eq!(sim.metric("vllm:time_to_first_token_seconds_count", ""), 2.0);
    assert_eq!(sim.metric("vllm:inter_token_latency_seconds_count", ""), 8.0);
    assert_eq!(sim.metric("vllm:prefix_cache_queries_total", ""), 2.0 * tokens);
    let hits = sim.metric("vllm:prefix_cache_hits_total", "");
    assert!(hits > 0.0 && hits < tokens, "the second prompt was cached, but for its tail");
    assert_eq!(source("local_cache_hit"), hits);
    assert_eq!(source("local_compute") + hits, 2.0 * tokens);
    assert_eq!(sim.metric("vllm:kv_cache_usage_perc", ""), 0.0);
}

#[test]
fn a_client_that_leaves_stops_costing_anything() {
    let sim = Sim::start(&[]);
    for stream in [true, false] {
        let mut body = greedy("x", 8000);
        body["stream"] = stream.into();
        let connection = sim.open("POST", "/v1/completions", &[], &body.to_string()).unwrap();
        let running = || sim.metric("vllm:num_requests_running", "");
        eventually("running", || (running() == 1.0).then_some(()));
        drop(connection);
        eventually("aborted", || (running() == 0.0).then_some(()));
    }
    assert_eq!(sim.metric("vllm:request_success_total", "abort"), 2.0);
    assert_eq!(sim.metric("vllm:kv_cache_usage_perc", ""), 0.0);
}
