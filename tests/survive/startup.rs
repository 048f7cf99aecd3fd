//! Fleets that do not come up: the message says who is in the way, what went wrong, and what to do.

use crate::support::{Bench, RunDir, command_line};
use kit::eventually;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

const FEW: &str = "--request-rate 40 --num-prompts 5 --random-output-len 4";

fn fault(fault: &str) -> String {
    format!("--engine-arg --sim-fault --engine-arg {fault}")
}

/// Nothing was measured, nothing is left, and the run's directory says why.
fn assert_failed_launch(bench: &Bench, finished: &crate::support::Finished) {
    assert_eq!(finished.code, Some(3), "{}", finished.words);
    assert_eq!(bench.left_after(Duration::ZERO), [""; 0]);
    let manifest = RunDir(finished.dir()).manifest();
    assert_eq!(manifest["status"], "failed");
    assert!(manifest["reason"].is_string() && manifest["points"].as_array().is_some_and(Vec::is_empty));
}

#[test]
fn a_taken_port_is_named_with_its_holder_before_anything_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = taken.local_addr().expect("bound").port();
    for (variable, purpose) in
        [("VLLM_NIXL_SIDE_CHANNEL_PORT", "NIXL side-channel port"), ("VLLM_PORT", "vLLM-internal port")]
    {
        let bench = Bench::bare("run own.toml").args(FEW);
        bench.write_topology("enginesim", &format!("env = {{ {variable} = \"{port}\" }}"));
        let finished = bench.run();
        assert_failed_launch(&bench, &finished);
        let me = std::process::id();
        let words = &finished.words;
        assert!(words.contains(&format!("{purpose} {port} is taken by pid {me} (")), "{words}");
        assert!(words.contains("survive"), "its command is shown: {words}");
        assert_eq!(finished.all("engine_progress").count(), 0, "no engine was started");
    }
}

#[test]
fn a_proxys_taken_port_is_named_with_its_holder_too() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = taken.local_addr().expect("bound").port();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_topobench"))
        .args(["proxy", "--backend", "http://127.0.0.1:9", "--port", &port.to_string()])
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("pid {} listens there: ", std::process::id())), "{said}");
}

#[test]
fn a_stranger_that_answers_health_on_the_engines_port_is_refused_by_name() {
    // The engine is slow to listen; meanwhile this test listens on its port and reports good health.
    let bench = Bench::with_engine("echo \"$@\" > args.$$; mv args.$$ args; exec sleep 600", FEW);
    let running = bench.start();
    let args = bench.dir.path().join("args");
    let port = eventually("the engine's port", || {
        let words = std::fs::read_to_string(&args).ok()?;
        let mut words = words.split_whitespace().skip_while(|w| *w != "--port");
        words.nth(1)?.parse::<u16>().ok()
    });
    let stranger = TcpListener::bind(("127.0.0.1", port)).expect("binds");
    std::thread::spawn(move || {
        for mut stream in stranger.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
        }
    });
    let finished = running.finish();
    assert_failed_launch(&bench, &finished);
    let words = &finished.words;
    assert!(words.contains(&format!("is not who answers on port {port}")), "{words}");
    assert!(words.contains(&format!("pid {} listens there", std::process::id())), "{words}");
}

#[test]
fn an_engine_that_dies_is_quoted_with_cause_and_remedy() {
    let script =
        "echo 'INFO Starting to load model'; echo 'torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB.'; exit 4";
    let bench = Bench::with_engine(script, FEW);
    let finished = bench.run();
    assert_failed_launch(&bench, &finished);
    let words = &finished.words;
    for part in ["ended while starting (exit code 4", "cause: the GPU ran out of memory", "remedy: lower --gpu-memory"]
    {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(words.contains("    | torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB."), "{words}");
    let reason = RunDir(finished.dir()).manifest()["reason"].as_str().map(str::to_string).expect("a reason");
    assert!(reason.contains("the GPU ran out of memory"), "{reason}");
}

#[test]
fn a_stuck_start_ends_at_its_deadline_and_a_slow_one_that_gets_on_does_not() {
    let bench = Bench::new("simple --ready-timeout 2").args(FEW).args(&fault("never-ready"));
    let stuck = bench.run();
    assert_failed_launch(&bench, &stuck);
    assert!(stuck.words.contains("is stuck (no progress in its log for 2 s"), "{}", stuck.words);

    // Twice the deadline, with a line of log every second.
    let words = "one two three four five six seven eight";
    let engine = kit::enginesim!().display().to_string();
    let script = format!("for w in {words}; do echo \"loading part $w\"; sleep 0.6; done; exec {engine} \"$@\"");
    let bench = Bench::with_engine(&script, "--ready-timeout 2.5 --random-input-len 32 --num-warmups 1").args(FEW);
    let slow = bench.run();
    assert_eq!(slow.code, Some(0), "{}", slow.words);
    assert!(slow.all("ready").all(|e| e["secs"].as_f64() > Some(4.0)), "{:?}", slow.all("ready").collect::<Vec<_>>());
    let phases: Vec<_> = slow.all("engine_progress").filter(|e| e["instance"] == "decode-0").collect();
    assert!(phases.len() >= 2 && phases[phases.len() - 1]["phase"] == "serving", "{phases:?}");
}

#[test]
fn a_lone_topobench_starts_the_simulated_engine_that_it_carries() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let alone = dir.path().join("topobench");
    std::fs::hard_link(env!("CARGO_BIN_EXE_topobench"), &alone).expect("links");
    let bench = Bench::new("nixl --request-rate 20 --num-prompts 20 --random-output-len 4").program(&alone);
    let bench = bench.env("PATH", "/nowhere");
    let mut running = bench.start();
    let run = RunDir(running.dir());
    running.wait_sent(20.0, 3);
    let engine = run.engine("decode-0");
    let name = std::fs::read_to_string(format!("/proc/{engine}/comm")).expect("reads");
    assert_eq!(name, "enginesim\n", "`pkill topobench` passes it by");
    assert!(command_line(engine).starts_with("enginesim serve qwen3-8b "), "{}", command_line(engine));
    let finished = running.finish();
    assert_eq!(finished.code, Some(0), "{}", finished.words);
    assert!(run.manifest()["instances"][0]["engine_version"].as_str().is_some_and(|v| v.contains("enginesim")));
    assert_eq!(bench.left_after(Duration::ZERO), [""; 0]);
}

#[test]
fn an_engine_that_serves_something_else_is_refused() {
    let engine = kit::enginesim!().display().to_string();
    let bench = Bench::with_engine(&format!("exec {engine} \"$@\" --served-model-name other"), FEW);
    let finished = bench.run();
    assert_failed_launch(&bench, &finished);
    assert!(finished.words.contains("it serves `other`"), "{}", finished.words);
}

#[test]
fn a_prefill_side_that_hands_nothing_over_is_found_before_the_sweep() {
    let bench = Bench::new("nixl").args(FEW).args(&fault("null-params"));
    let finished = bench.run();
    assert_failed_launch(&bench, &finished);
    assert!(finished.words.contains("smoke request"), "{}", finished.words);
    assert_eq!(finished.all("point_started").count(), 0);
}

#[test]
fn a_pair_that_does_not_fit_together_is_found_before_the_sweep() {
    // vLLM reports it at the first hand-over and not at the start; the smoke request is the first.
    let bench = Bench::bare("run own.toml").args(FEW).args("--num-warmups 1");
    bench.write_topology("enginesim", "");
    let file = bench.dir.path().join("own.toml");
    let topology = std::fs::read_to_string(&file).expect("reads");
    let unlike = topology.replace("[decode]", "[decode]\nargs = [\"--block-size\", \"32\"]");
    std::fs::write(&file, unlike).expect("writes");
    let finished = bench.run();
    assert_failed_launch(&bench, &finished);
    assert!(finished.words.contains("smoke request"), "{}", finished.words);
    assert_eq!(finished.all("point_started").count(), 0);
}

#[test]
fn a_log_of_fifty_megabytes_without_a_newline_blocks_nobody() {
    let bench = Bench::new("simple").args(FEW).args(&fault("huge-log"));
    let finished = bench.run();
    assert_eq!(finished.code, Some(0), "{}", finished.words);
    let run = RunDir(finished.dir());
    assert_eq!(run.point(40.0)["status"], "measured");
    let log: PathBuf = run.0.join("logs/replica-0.log");
    assert!(log.metadata().expect("a log").len() > 50 << 20);
}
