//! Start and end of an instance.

use std::io::Read;
use std::net::TcpListener;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::{Sim, free_port, streamed};
use kit::eventually;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(kit::enginesim!()).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_version_tells_that_this_is_a_simulation() {
    let (code, stdout, _) = run(&["--version"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "enginesim 0.32.0+enginesim.0.1.0 (simulated vLLM)\n"));
}

#[test]
fn mistakes_on_the_command_line_end_with_vllm_s_codes() {
    for (arguments, code, words) in [
        (&["serve", "qwen3-8b", "--no-such-flag"][..], 2, "error: unrecognized arguments: --no-such-flag"),
        (&["serve", "qwen3-8b", "--port", "many"], 2, "--port"),
        (&["serve", "qwen3-8b", "--sim-fault", "explode"], 2, "known ones: die-before-ready"),
        (&["serve", "gpt-nothing"], 1, "OSError: gpt-nothing is not a local folder"),
        (&["serve", "llama-3.1-70b"], 1, "No available memory for the cache blocks"),
    ] {
        let (status, _, stderr) = run(arguments);
        assert_eq!(status, Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_taken_http_port_ends_the_start() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let mut sim = Sim::spawn(port, &[], &[]);
    assert_eq!(sim.wait_exit().code(), Some(1));
    assert!(sim.log().contains("Address already in use"), "{}", sim.log());
}

#[test]
fn a_taken_side_channel_hangs_the_start_deaf_to_sigterm() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let side = holder.local_addr().unwrap().port().to_string();
    let kv = r#"{"kv_connector":"NixlConnector","kv_role":"kv_both"}"#;
    let environment = [("VLLM_NIXL_SIDE_CHANNEL_HOST", "127.0.0.1"), ("VLLM_NIXL_SIDE_CHANNEL_PORT", side.as_str())];
    let mut sim = Sim::spawn(free_port(), &["--kv-transfer-config", kv], &environment);
    eventually("traceback", || sim.log().contains("zmq.error.ZMQError: Address already in use").then_some(()));
    eventually("deaf", || signals_caught(sim.child.id(), 15).then_some(()));
    sim.signal(Signal::SIGTERM);
    // An engine that heeds SIGTERM would be gone by now, even one told later.
    let mut healthy = Sim::start(&[]);
    healthy.signal(Signal::SIGTERM);
    healthy.wait_exit();
    assert!(sim.child.try_wait().unwrap().is_none(), "still there");
    assert!(sim.get("/health").is_err(), "never ready");
}

/// Whether a process has a handler for a signal.
fn signals_caught(pid: u32, signal: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() & (1 << (signal - 1)) != 0
}

#[test]
fn sigterm_ends_an_idle_instance_with_code_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut sim = Sim::start(&[]);
        sim.signal(signal);
        assert_eq!(sim.wait_exit().code(), Some(0));
    }
}

#[test]
fn sigterm_waits_for_open_streams_and_ignores_a_second_one() {
    let mut sim = Sim::start(&[]);
    let body = streamed("x", 600).to_string();
    let mut stream = sim.open("POST", "/v1/completions", &[], &body).unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    sim.signal(Signal::SIGTERM);
    eventually("port closed", || sim.get("/health").is_err().then_some(()));
    sim.signal(Signal::SIGTERM);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("data: [DONE]"), "the stream ran to its end");
    assert_eq!(sim.wait_exit().code(), Some(0));
}
