//! Fronts of others: requests go to one address, and what their engines counted is read somewhere else.

use crate::attach::Engine;
use crate::support::{Ended, Place, read_json, read_json_lines};
use kit::scripted::{Answer, Received, Server};
use kit::{eventually, free_port};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

const LOAD: &str = "--model m --tokenizer enginesim --request-rate 20 --num-prompts 6 --random-input-len 256 --random-output-len 8 --num-warmups 1 --ttft-slo 60s --json";

/// Prefill and decode engines behind a proxy that is no part of the measurement.
struct Front {
    prefill: Engine,
    decode: Engine,
    proxy: Child,
    url: String,
}

impl Front {
    fn start() -> Front {
        let (prefill, decode) = (Engine::start("kv_producer"), Engine::start("kv_consumer"));
        let port = free_port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_topobench"));
        command.args(["proxy", "--host", "127.0.0.1", "--port", &port.to_string(), "--prefill", &prefill.url()]);
        command.args(["--decode", &decode.url()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let proxy = command.spawn().expect("starts");
        eventually("the front listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        Front { prefill, decode, proxy, url: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

fn point(ended: &Ended) -> serde_json::Value {
    ended.json()["arms"][0]["points"][0].clone()
}

/// All that was printed and written for people.
fn told(place: &Place, ended: &Ended) -> String {
    let run = place.runs("random").pop().expect("a run");
    let report = std::fs::read_to_string(run.join("report.html")).expect("a report");
    format!("{}{report}", ended.stderr)
}

#[test]
fn counters_of_engines_behind_a_front_prove_the_hand_over() {
    let (place, front) = (Place::new(), Front::start());
    let (url, prefill, decode) = (&front.url, front.prefill.url(), front.decode.url());
    let ended = place
        .type_in(&format!(
            "nixl --attach {url} --metrics-url prefill={prefill} --metrics-url decode={decode}/metrics --attach-gpus prefill=2,decode=1 {LOAD}"
        ))
        .measured();
    let (arm, point) = (ended.json()["arms"][0].clone(), point(&ended));
    assert_eq!((&point["hand_over_proof"], &arm["gpus"]), (&"proved".into(), &3.into()), "{arm}");
    assert!(point["kv"]["bytes"].as_f64().is_some_and(|bytes| bytes > 0.0), "the audit: {point}");
    assert!(point["prefix_cache"]["prefill"].is_object(), "{point}");
    assert!(told(&place, &ended).contains("the counters of every point prove that nothing was recomputed"));
    let run = place.runs("random").pop().expect("a run");
    let manifest = read_json(run.join("manifest.json"));
    let names: Vec<&str> =
        manifest["instances"].as_array().expect("a list").iter().filter_map(|i| i["name"].as_str()).collect();
    assert_eq!(names, ["replica-0", "prefill-0", "decode-0"]);
    let samples = read_json_lines(run.join("engine-metrics.jsonl"));
    assert!(
        samples.iter().any(|s| s["instance"] == "decode-0" && s["kv_usage"].is_number() && s["waiting"].is_number())
    );
    let engines = &manifest["points"][0]["engines"];
    assert!(engines["prefill_queue"]["count"].as_f64() >= Some(6.0), "{engines}");
}

#[test]
fn without_counters_the_hand_over_is_said_to_be_not_proved() {
    let (place, front) = (Place::new(), Front::start());
    let ended = place.type_in(&format!("nixl --attach {} {LOAD}", front.url)).measured();
    assert_eq!(point(&ended)["hand_over_proof"], "not_proved");
    assert!(told(&place, &ended).contains("the hand-over is not proved"), "{}", ended.stderr);
    let words = place.type_in("show latest").expect(0).stdout;
    assert!(words.contains("KV hand-over:") && words.contains("not proved"), "{words}");
    // A server that serves requests whole hands nothing over.
    let single = Engine::start("");
    let ended = place.type_in(&format!("simple --attach {} {LOAD}", single.url())).measured();
    assert_eq!(point(&ended)["hand_over_proof"], serde_json::Value::Null);
}

#[test]
fn decode_engines_that_compute_prompts_themselves_are_found_out() {
    let (place, front) = (Place::new(), Front::start());
    // A front that forgets its prefill engines.
    let (decode, prefill) = (front.decode.url(), front.prefill.url());
    let ended = place.type_in(&format!(
        "nixl --attach {decode} --metrics-url prefill={prefill} --metrics-url decode={decode} {LOAD}"
    ));
    let ended = ended.expect(4);
    assert_eq!((&point(&ended)["hand_over_proof"], &point(&ended)["valid"]), (&"recomputed".into(), &false.into()));
    assert!(told(&place, &ended).contains("prompt tokens themselves"), "{}", ended.stderr);
}

#[test]
fn engines_that_serve_whole_requests_are_counted_behind_a_balancer() {
    let place = Place::new();
    let engines = [Engine::start(""), Engine::start("")];
    let [one, other] = engines.each_ref().map(Engine::url);
    let ended =
        place.type_in(&format!("simple --attach {one} --metrics-url {one} --metrics-url {other} {LOAD}")).measured();
    let manifest = read_json(place.runs("random")[0].join("manifest.json"));
    let prompts = manifest["points"][0]["engines"]["prompt_tokens"].as_f64();
    assert!(prompts.is_some_and(|n| n >= 6.0 * 256.0), "{prompts:?}: {}", ended.stderr);
}

#[test]
fn a_counters_address_that_does_not_answer_ends_it_before_anything_is_measured() {
    let (place, engine) = (Place::new(), Engine::start("kv_consumer"));
    let url = engine.url();
    let dead = free_port();
    for address in [format!("http://127.0.0.1:{dead}"), format!("{url}/v1/nowhere"), format!("prometheus+{url}")] {
        let refused = place.type_in(&format!("nixl --attach {url} --metrics-url decode={address} {LOAD}")).expect(3);
        assert!(refused.stderr.contains("no counters can be read at decode=") && refused.stderr.contains("hint: "));
    }
    let empty = Server::start_in_thread(|_: Received, mut answer: Answer| async move {
        answer.whole("200 OK", "python_info 1\n").await;
        Some(answer)
    });
    let single = Engine::start("");
    let line = format!("simple --attach {} --metrics-url {} {LOAD}", single.url(), empty.url());
    let refused = place.type_in(&line).expect(3).stderr;
    assert!(refused.contains("no counters of vLLM's are there, though requests were answered"), "{refused}");
    let typed = |flags: &str| place.type_in(&format!("{flags} {LOAD}")).expect(2).stderr;
    assert!(typed(&format!("simple --attach {url} --metrics-url decode={url}")).contains("not a simple deployment"));
    assert!(typed(&format!("nixl --attach {url} --metrics-url {url}")).contains("prefill=URL"));
    assert!(typed(&format!("nixl --metrics-url decode={url}")).contains("--attach URL"));
    assert!(typed(&format!("nixl --attach {url} --metrics-url decode=http://u:s3cret@h")).contains("leave user"));
}

#[test]
fn headers_reach_the_counters_and_the_key_does_not() {
    let (place, engine) = (Place::new(), Engine::start(""));
    let counters = Server::start_in_thread(|request: Received, mut answer: Answer| async move {
        let may = request.header("x-tenant") == Some("blue") && request.header("authorization").is_none();
        answer.whole(if may { "200 OK" } else { "403 Forbidden" }, "vllm:prompt_tokens_total 1\n").await;
        Some(answer)
    });
    let place = place.with("VLLM_API_KEY", "k3y");
    let line = format!("simple --attach {} --metrics-url {} {LOAD}", engine.url(), counters.url());
    assert!(place.type_in(&line).expect(3).stderr.contains("403"));
    place.type_in(&format!("{line} --header X-Tenant=blue")).measured();
}
