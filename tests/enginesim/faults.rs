//! Each fault as a client sees it.

use std::io::{ErrorKind, Read};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::{Response, Sim, free_port, greedy, streamed, text_of};
use kit::eventually;

const TOKENS: u32 = 12;

fn faulty(fault: &str) -> Sim {
    Sim::start(&["--sim-fault", fault])
}

fn stream(sim: &Sim) -> Response {
    sim.post("/v1/completions", &streamed("faults", TOKENS)).unwrap()
}

fn token_events(response: &Response) -> usize {
    let has_choice = |event: &&serde_json::Value| event["choices"][0].is_object();
    response.events().iter().filter(has_choice).count()
}

#[test]
fn streams_that_are_only_ugly_still_carry_the_whole_answer() {
    let expected = stream(&Sim::start(&[]));
    assert_eq!(token_events(&expected), TOKENS as usize);
    type Check = fn(&Response, &Response) -> bool;
    let table: &[(&str, Check)] = &[
        ("split-sse", |r, e| r.chunks.len() > 2 * e.chunks.len()),
        ("merge-sse", |r, e| r.chunks.len() < e.chunks.len()),
        ("crlf", |r, _| r.text().contains("}\r\n\r\ndata: ") && !r.text().contains("}\n\n")),
        ("garbage-sse", |r, _| {
            r.text().contains(": a comment") && r.text().contains("data: {\"choices\":[{\"text\":\n")
        }),
        ("multi-token-chunks=5", |r, _| token_events(r) == 3),
        ("empty-text", |r, _| r.events()[0]["choices"][0]["text"] == "" && token_events(r) == TOKENS as usize),
    ];
    for (fault, check) in table {
        let response = stream(&faulty(fault));
        assert!(check(&response, &expected), "{fault}: {}", response.text());
        assert_eq!(response.streamed_text(), expected.streamed_text(), "{fault}");
        let events = response.events();
        assert_eq!(events.last().unwrap(), "[DONE]", "{fault}");
        assert_eq!(events[events.len() - 2]["usage"]["completion_tokens"], TOKENS, "{fault}");
    }
}

#[test]
fn a_stream_can_end_without_done() {
    let response = stream(&faulty("no-done"));
    assert!(response.complete);
    assert!(!response.text().contains("[DONE]"));
    assert_eq!(token_events(&response), TOKENS as usize);
}

#[test]
fn an_error_can_come_after_the_200() {
    let sim = faulty("error-after=3");
    let response = stream(&sim);
    assert_eq!((response.status, token_events(&response)), (200, 3));
    let events = response.events();
    assert_eq!(events[3]["error"]["code"], 500);
    assert_eq!(events[4], "[DONE]");
    assert_eq!(sim.post("/v1/completions", &greedy("x", 9)).unwrap().status, 500);
}

#[test]
fn connections_can_be_reset_before_and_within_an_answer() {
    let error = faulty("reset").post("/v1/completions", &greedy("x", 9)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof), "{error}");
    let sim = faulty("reset=3");
    let body = streamed("x", 9).to_string();
    let mut connection = sim.open("POST", "/v1/completions", &[], &body).unwrap();
    let mut bytes = Vec::new();
    let outcome = connection.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    assert!(outcome.is_err() || !text.ends_with("0\r\n\r\n"), "{text}");
    assert!(text.matches("data: ").count() <= 3);
    assert_eq!(sim.get("/health").unwrap().status, 200);
}

#[test]
fn statuses_can_be_injected_now_and_then() {
    let sim = faulty("status=429@2");
    let statuses: Vec<u16> = (0..4)
        .map(|_| {
            let response = sim.post("/v1/completions", &greedy("x", 1)).unwrap();
            assert_eq!(response.status == 429, response.head.contains("retry-after: 1"));
            response.status
        })
        .collect();
    assert_eq!(statuses, [200, 429, 200, 429]);
    assert_eq!(faulty("status=500").post("/v1/completions", &greedy("x", 1)).unwrap().status, 500);
}

#[test]
fn whole_answers_can_be_broken() {
    let page = faulty("not-json").post("/v1/completions", &greedy("x", 1)).unwrap();
    assert!(page.status == 200 && page.text().starts_with("<html>"));
    let half = faulty("truncated-json").post("/v1/completions", &greedy("x", 1)).unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&half.body).is_err());
    assert!(half.text().starts_with("{\"id\""));
}

#[test]
fn prefill_can_answer_null_params() {
    let sim = Sim::start_pd("kv_producer", json!({}), &["--sim-fault", "null-params"]);
    let mut body = greedy("x", 1);
    body["kv_transfer_params"] = json!({"do_remote_decode": true});
    let answer = sim.complete(&body);
    assert!(answer["kv_transfer_params"].is_null());
    assert!(!text_of(&answer).is_empty());
}

#[test]
fn headers_can_be_late() {
    let sim = faulty("late-answer=300");
    let start = Instant::now();
    stream(&sim);
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_hanging_engine_stays_healthy() {
    let sim = faulty("hang-after=4");
    let body = streamed("x", TOKENS).to_string();
    let mut connection = sim.open("POST", "/v1/completions", &[], &body).unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while seen.matches("data: ").count() < 4 {
        let read = connection.read(&mut buffer).unwrap();
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    connection.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let silence = connection.read(&mut buffer).unwrap_err();
    assert!(matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    assert_eq!(sim.get("/health").unwrap().status, 200);
    assert_eq!(sim.metric("vllm:num_requests_running", ""), 1.0);
}

#[test]
fn instances_can_die_in_every_phase() {
    let mut early = Sim::spawn(free_port(), &["--sim-fault", "die-before-ready=7"], &[]);
    assert_eq!(early.wait_exit().code(), Some(7));
    assert!(early.log().contains("Engine core initialization failed"));

    let mut after = faulty("die-after=1");
    after.complete(&greedy("x", 1));
    assert!(after.post("/v1/completions", &greedy("x", 1)).is_err());
    assert_eq!(after.wait_exit().code(), Some(0), "as vLLM does when its engine died");

    let mut midway = faulty("die-mid-stream=5");
    let cut = midway.post("/v1/completions", &streamed("x", TOKENS));
    assert!(cut.is_err() || !cut.unwrap().complete);
    assert_eq!(midway.wait_exit().signal(), Some(9));
}

#[test]
fn readiness_can_be_late_or_never() {
    let mut slow = Sim::spawn(free_port(), &["--sim-fault", "slow-ready=0.3"], &[]);
    let start = Instant::now();
    slow.wait_ready();
    assert!(start.elapsed() >= Duration::from_millis(250));

    let mut never = Sim::spawn(free_port(), &["--sim-fault", "never-ready"], &[]);
    eventually("log", || never.log().contains("GPU KV cache size").then_some(()));
    // A healthy one that was started later is ready by now.
    drop(Sim::start(&[]));
    assert!(never.get("/health").is_err());
    assert!(never.child.try_wait().unwrap().is_none());
}

#[test]
fn sigterm_can_be_ignored() {
    let mut sim = faulty("ignore-sigterm");
    let mut healthy = Sim::start(&[]);
    sim.signal(Signal::SIGTERM);
    // An engine that heeds SIGTERM would be gone by now, even one told later.
    healthy.signal(Signal::SIGTERM);
    healthy.wait_exit();
    assert_eq!(sim.get("/health").unwrap().status, 200);
    assert!(sim.child.try_wait().unwrap().is_none());
}

#[test]
fn children_can_be_left_behind_in_and_out_of_the_session() {
    for (fault, same_session) in [("grandchild", true), ("setsid-child", false)] {
        let mut sim = faulty(fault);
        let log = sim.log();
        let pid = log.split("left child ").nth(1).and_then(|rest| rest.split(' ').next());
        let pid = Pid::from_raw(pid.unwrap().parse().unwrap());
        let session = |pid| nix::unistd::getsid(Some(pid)).unwrap();
        let own = session(Pid::from_raw(sim.child.id() as i32));
        eventually("session", || ((session(pid) == own) == same_session).then_some(()));
        sim.signal(Signal::SIGTERM);
        sim.wait_exit();
        assert!(kill(pid, None).is_ok(), "{fault}: the child lives on");
        kill(pid, Signal::SIGKILL).unwrap();
    }
}

#[test]
fn the_log_can_be_huge_and_not_text() {
    let sim = faulty("huge-log=3");
    eventually("log", || (sim.log_size() >= 3 << 20).then_some(()));
    assert!(sim.log().contains('\u{fffd}'));
    assert_eq!(sim.get("/health").unwrap().status, 200);
}
