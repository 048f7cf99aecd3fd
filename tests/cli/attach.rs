//! Servers that somebody else runs: driven, told apart, and left alone.

use crate::support::{Place, read_json, read_json_lines};
use kit::{PATIENCE, eventually, free_port};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Child;

/// A simulated engine under the model name `m`, started by hand.
pub(crate) struct Engine {
    child: Child,
    port: u16,
}

impl Engine {
    /// With a KV role, or none for an engine that serves requests whole.
    pub(crate) fn start(role: &str) -> Engine {
        Engine::start_with(role, &["--sim-speed", "50"])
    }

    pub(crate) fn start_with(role: &str, args: &[&str]) -> Engine {
        let port = free_port();
        let hands_over = (!role.is_empty()).then(|| (role, free_port()));
        let mut command = kit::engine(&kit::enginesim!(), port, hands_over);
        command.args(args);
        let engine = Engine { child: command.spawn().expect("starts"), port };
        eventually("the engine answers", || engine.get("/health").filter(|a| a.starts_with("HTTP/1.1 200")));
        engine
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Sum over the samples of a counter.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.metric_with(name, "")
    }

    /// The same over the samples with this label.
    pub(crate) fn metric_with(&self, name: &str, label: &str) -> f64 {
        let page = self.get("/metrics").expect("metrics");
        let samples = page.lines().filter(|l| l.starts_with(&format!("{name}{{")) && l.contains(label));
        samples.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    fn is_alive(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_none())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const LOAD: &str = "--model m --tokenizer enginesim --request-rate 40 --num-prompts 6 --random-input-len 64 --random-output-len 8 --num-warmups 1 --ttft-slo 60s --json";

#[test]
fn one_endpoint_is_measured_and_left_running() {
    let (place, mut engine) = (Place::new(), Engine::start(""));
    // The address as people paste it.
    let ended = place.type_in(&format!("simple --attach {}/v1/ --attach-gpus 2 {LOAD}", engine.url())).measured();
    let arm = &ended.json()["arms"][0];
    assert_eq!((&arm["label"], &arm["points"][0]["offered"]), (&"simple".into(), &6.into()));
    assert_eq!(arm["points"][0]["attainment"]["both"], 100.0);
    assert_eq!(arm["gpus"], 2);
    assert!(engine.is_alive());
    assert!(engine.metric("vllm:generation_tokens_total") >= 48.0);
    let manifest = read_json(place.runs("random")[0].join("manifest.json"));
    assert_eq!((&manifest["status"], &manifest["arm"]["topology"]), (&"completed".into(), &serde_json::Value::Null));
}

#[test]
fn what_a_chat_template_adds_counts_before_anything_is_sent() {
    let (place, engine) = (Place::new(), Engine::start_with("", &["--sim-speed", "50", "--max-model-len", "512"]));
    let line = format!(
        "simple --attach {} --model m --tokenizer enginesim --endpoint /v1/chat/completions --request-rate 40 \
         --num-prompts 6 --random-input-len 448 --random-output-len 64 --num-warmups 1 --json",
        engine.url()
    );
    let refused = place.type_in(&line).expect(2).stderr;
    assert!(refused.contains("exceed") && refused.contains("of which the chat template takes"), "{refused}");
    place.type_in(&format!("{line} --overlong clip")).measured();
    let run = place.runs("random").pop().expect("the second");
    let requests = read_json_lines(run.join("requests.jsonl"));
    assert_eq!(requests.len(), 6);
    for request in requests {
        let prompt = (request["prompt_tokens"].as_u64(), request["server_prompt_tokens"].as_u64());
        assert!(prompt.0 < Some(448) && prompt.1 <= Some(448), "{request}");
        assert_eq!((&request["outcome"], &request["output_tokens"]), (&"completed".into(), &64.into()), "{request}");
    }
}

#[test]
fn prefill_and_decode_engines_get_our_proxy_in_front() {
    let place = Place::new();
    let (prefill, mut decode) = (Engine::start("kv_producer"), Engine::start("kv_consumer"));
    let line = format!("nixl --prefill-url {} --decode-url {} --name borrowed {LOAD}", prefill.url(), decode.url());
    let ended = place.type_in(&line).measured();
    assert_eq!(ended.json()["arms"][0]["label"], "borrowed");
    assert!(decode.metric("vllm:external_prefix_cache_hits_total") > 0.0);
    assert!(decode.is_alive());
    let run = &place.runs("random")[0];
    assert!(run.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("borrowed_")), "{}", run.display());
    let requests = read_json_lines(run.join("requests.jsonl"));
    assert!(requests.iter().all(|r| r["stages"]["decode"] == 0), "every request went through the proxy");
    let show = place.type_in("show latest").expect(0).stdout;
    assert!(show.contains("1P1D") || show.contains("borrowed"), "{show}");
}

#[test]
fn a_router_of_somebody_else_is_a_nixl_run_too() {
    let (place, engine) = (Place::new(), Engine::start(""));
    place.type_in(&format!("nixl --attach {} {LOAD}", engine.url())).measured();
    let run = &place.runs("random")[0];
    assert!(run.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("nixl_")), "{}", run.display());
}

#[test]
fn a_server_of_another_model_is_refused_with_the_names_it_serves() {
    let (place, engine) = (Place::new(), Engine::start(""));
    let load = format!("{LOAD} --model other");
    let ended = place.type_in(&format!("simple --attach {} {load}", engine.url())).expect(3);
    assert!(ended.stderr.contains("serves m and not `other`") && ended.stderr.contains("hint: "), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    let served = place.type_in(&format!("simple --attach {} {load} --served-model-name m", engine.url()));
    served.measured();
}

#[test]
fn nobody_there_is_a_launch_that_failed() {
    let place = Place::new();
    let ended = place.type_in(&format!("simple --attach http://127.0.0.1:{} {LOAD}", free_port())).expect(3);
    assert!(ended.stderr.contains("http://127.0.0.1:") && ended.stderr.contains("hint: "), "{}", ended.stderr);
    assert_eq!(read_json(place.runs("random")[0].join("manifest.json"))["status"], "failed");
}

#[test]
fn prompts_that_a_living_server_has_seen_are_told_and_so_is_what_its_cache_gave() {
    let (place, engine) = (Place::new(), Engine::start(""));
    let sweep = |more: &str| place.type_in(&format!("simple --attach {} {LOAD} {more}", engine.url())).measured();
    let warnings = |run: usize| read_json(place.runs("random")[run].join("manifest.json"))["warnings"].to_string();
    let first = sweep("");
    assert!(!first.stderr.contains("were already sent"), "{}", first.stderr);
    assert!(place.type_in("show latest").expect(0).stdout.find("prefix cache").is_none());
    // The same prompts, of which the second point has two more.
    let again = sweep("--num-prompts 8");
    let told = "6 of the 8 prompts at 40.0 req/s were already sent to this server by run random/simple_";
    assert!(again.stderr.contains(told) && again.stderr.contains("--seed 1"), "{}", again.stderr);
    assert!(warnings(1).contains(told), "{}", warnings(1));
    let shown = place.type_in("show latest").expect(0).stdout;
    assert!(shown.contains("% of the prompt tokens came from a prefix cache"), "{shown}");
    let other = sweep("--seed 1");
    assert!(!other.stderr.contains("were already sent"), "{}", other.stderr);
    let engine = Engine::start("");
    let fresh = place.type_in(&format!("simple --attach {} {LOAD}", engine.url())).measured();
    assert!(!fresh.stderr.contains("were already sent"), "another server: {}", fresh.stderr);
}
