//! `topobench proxy`: the routing proxy alone, in front of engines that somebody else started.

use crate::attach::Engine;
use crate::support::Place;
use kit::{PATIENCE, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

struct Proxy {
    child: Child,
    address: String,
}

impl Proxy {
    fn start(place: &Place, args: &[&str]) -> Proxy {
        Proxy::heard(place, args, Stdio::null())
    }

    fn heard(place: &Place, args: &[&str], stderr: Stdio) -> Proxy {
        let mut command = place.command(env!("CARGO_BIN_EXE_topobench"));
        command.arg("proxy").args(args).args(["--port", "0"]).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("an address");
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}")).to_string();
        Proxy { child, address }
    }

    /// Status line and body of a completion.
    fn complete(&self) -> String {
        let mut stream =
            self.send(r#"{"model":"m","prompt":[1,2,3],"max_tokens":4,"temperature":0,"ignore_eos":true}"#);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn send(&self, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
        stream
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prefill_hands_over_to_decode_until_the_proxy_is_told_to_stop() {
    let place = Place::new();
    let (prefill, decode) = (Engine::start("kv_producer"), Engine::start("kv_consumer"));
    let mut proxy = Proxy::start(&place, &["--prefill", &prefill.url(), "--decode", &decode.url()]);
    let answer = proxy.complete();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"completion_tokens\":4"), "{answer}");
    assert!(
        decode.metric("vllm:external_prefix_cache_hits_total") > 0.0,
        "the prompt's KV came from the prefill engine"
    );
    kill(Pid::from_raw(proxy.child.id() as i32), Signal::SIGTERM).expect("signalled");
    let status = eventually("the proxy ends", || proxy.child.try_wait().expect("waits"));
    assert_eq!(status.code(), Some(130));
}

#[test]
fn what_goes_wrong_inside_is_told_on_stderr_as_far_as_rust_log_asks() {
    let (prefill, decode) = (Engine::start(""), Engine::start("kv_consumer"));
    for (place, told) in [(Place::new(), true), (Place::new().with("RUST_LOG", "off"), false)] {
        let args = ["--prefill", &prefill.url(), "--decode", &decode.url()];
        let mut proxy = Proxy::heard(&place, &args, Stdio::piped());
        let answer = proxy.complete();
        assert!(answer.starts_with("HTTP/1.1 502"), "prefill hands nothing over: {answer}");
        kill(Pid::from_raw(proxy.child.id() as i32), Signal::SIGTERM).expect("signalled");
        let mut stderr = String::new();
        proxy.child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("UTF-8");
        assert_eq!(stderr.contains("WARN topobench_proxy"), told, "{stderr}");
        assert_eq!(stderr.contains("kv_transfer_params"), told, "{stderr}");
    }
}

#[test]
fn replicas_take_turns() {
    let place = Place::new();
    let engines = [Engine::start(""), Engine::start("")];
    let urls = [engines[0].url(), engines[1].url()];
    let proxy = Proxy::start(&place, &["--backend", &urls[0], &urls[1], "--decode-policy", "round-robin"]);
    for _ in 0..4 {
        let answer = proxy.complete();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let served: Vec<f64> = engines.iter().map(|e| e.metric("vllm:generation_tokens_total")).collect();
    assert_eq!(served, [8.0, 8.0]);
}

const ENDLESS: &str =
    r#"{"model":"m","prompt":[1,2,3],"max_tokens":3000,"temperature":0,"ignore_eos":true,"stream":true}"#;

/// Waits until an engine has noticed that its client is gone.
fn aborted(engine: &Engine) {
    let noticed = || engine.metric_with("vllm:request_success_total", "\"abort\"") == 1.0;
    eventually("the engine's abort", || noticed().then_some(()));
    assert_eq!(engine.metric("vllm:num_requests_running"), 0.0);
}

#[test]
fn a_client_that_leaves_during_prefill_is_gone_from_the_prefill_engine_and_never_reaches_decode() {
    let place = Place::new();
    // A long prompt in many small, slow steps: the engine checks for aborted requests after each.
    let slow = ["--sim-speed", "0.02", "--max-num-batched-tokens", "64"];
    let prefill = Engine::start_with("kv_producer", &slow);
    let decode = Engine::start("kv_consumer");
    let proxy = Proxy::start(&place, &["--prefill", &prefill.url(), "--decode", &decode.url()]);
    let prompt: Vec<u32> = (1..8000).collect();
    let client = proxy.send(&ENDLESS.replace("[1,2,3]", &format!("{prompt:?}")));
    eventually("prefill", || (prefill.metric("vllm:num_requests_running") == 1.0).then_some(()));
    drop(client);
    aborted(&prefill);
    assert_eq!(decode.metric("vllm:prompt_tokens_total"), 0.0);
}

#[test]
fn a_client_that_leaves_in_mid_stream_is_gone_from_decode_and_holds_no_kv_in_prefill() {
    let place = Place::new();
    let (prefill, decode) = (Engine::start("kv_producer"), Engine::start_with("kv_consumer", &["--sim-speed", "1"]));
    let proxy = Proxy::start(&place, &["--prefill", &prefill.url(), "--decode", &decode.url()]);
    let mut client = proxy.send(ENDLESS);
    let mut seen = String::new();
    while !seen.contains("data: ") {
        let mut buffer = [0; 4096];
        let read = client.read(&mut buffer).expect("a stream");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    drop(client);
    aborted(&decode);
    assert!(decode.metric("vllm:generation_tokens_total") < 3000.0, "it was cut short");
    eventually("free blocks", || (prefill.metric("vllm:kv_cache_usage_perc") == 0.0).then_some(()));
    assert_eq!(prefill.metric("vllm:nixl_num_kv_expired_reqs_total"), 0.0, "it was fetched, not forgotten");
}
