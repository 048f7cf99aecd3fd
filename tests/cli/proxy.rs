//! `topobench proxy`: the routing proxy alone, in front of engines that somebody else started.

use crate::attach::Engine;
use crate::support::{Place, eventually};
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
        let mut command = place.command(env!("CARGO_BIN_EXE_topobench"));
        command.arg("proxy").args(args).args(["--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("an address");
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}")).to_string();
        Proxy { child, address }
    }

    /// Status line and body of a completion.
    fn complete(&self) -> String {
        let body = r#"{"model":"m","prompt":[1,2,3],"max_tokens":4,"temperature":0,"ignore_eos":true}"#;
        let mut stream = TcpStream::connect(&self.address).expect("connects");
        stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("set");
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
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
