//! Ctrl-C, once and twice.

use crate::support::{Bench, RunDir};
use kit::eventually;
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn one_ctrl_c_keeps_what_was_measured() {
    let bench = Bench::new("nixl --request-rate 40,5 --num-prompts 60 --random-output-len 4");
    let mut running = bench.start();
    let run = RunDir(running.dir());
    running.wait_sent(5.0, 3);
    running.signal(Signal::SIGINT);
    let finished = running.finish();
    assert_eq!(finished.code, Some(130), "{}", finished.words);
    assert_eq!(bench.left_after(Duration::ZERO), [""; 0]);
    let manifest = run.manifest();
    assert_eq!((manifest["status"].as_str(), manifest["reason"].as_str()), (Some("cancelled"), Some("interrupted")));
    assert_eq!(manifest["points"].as_array().map(Vec::len), Some(1), "the cut point is no result");
    assert_eq!(run.point(40.0)["status"], "measured");
    assert!(manifest["instances"].as_array().expect("instances").iter().all(|i| i["exit"] == "stopped (exit code 0)"));
}

#[test]
fn the_second_ctrl_c_does_not_wait_for_the_deaf() {
    let deaf =
        "--engine-arg --sim-fault --engine-arg ignore-sigterm --engine-arg --sim-fault --engine-arg setsid-child";
    let bench = Bench::new("simple --request-rate 5 --num-prompts 60 --random-output-len 4").args(deaf);
    let mut running = bench.start();
    running.wait_sent(5.0, 3);
    running.signal(Signal::SIGINT);
    running.wait("tearing_down", |_| true);
    let since = Instant::now();
    running.signal(Signal::SIGINT);
    let finished = running.finish();
    assert_eq!(finished.code, Some(130), "{}", finished.words);
    assert!(since.elapsed() < Duration::from_secs(5), "the grace is 5 s: {:?}", since.elapsed());
    assert_eq!(bench.left_after(Duration::from_secs(5)), [""; 0]);
}

#[test]
fn ctrl_c_while_engines_start_stops_them_politely_and_twice_at_once() {
    for signals in 1..=2 {
        let bench = Bench::with_engine(
            "trap '' TERM INT; echo loading; while :; do sleep 1; done",
            "--request-rate 5 --num-prompts 5",
        );
        let mut running = bench.start();
        let run = RunDir(running.dir());
        running.wait("engine_progress", |e| e["instance"] == "decode-0");
        let since = Instant::now();
        running.signal(Signal::SIGINT);
        if signals == 2 {
            running.wait("interrupted", |_| true);
            running.signal(Signal::SIGINT);
        }
        let finished = running.finish();
        assert_eq!(finished.code, Some(130), "{}", finished.words);
        if signals == 2 {
            assert!(since.elapsed() < Duration::from_secs(5), "the grace is 5 s: {:?}", since.elapsed());
        }
        assert_eq!(bench.left_after(Duration::from_secs(5)), [""; 0]);
        assert_eq!(run.manifest()["status"], "cancelled");
    }
}

#[test]
fn a_closed_terminal_ends_the_run_in_order() {
    // SIGHUP, with stderr and stdout closed at the other end.
    let bench = Bench::new("simple --request-rate 40,5 --num-prompts 60 --random-output-len 4");
    let mut child = bench.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("\"point_progress\"") && line.contains("\"rate\":5.0")));
    drop(lines);
    crate::support::signal(child.id().cast_signed(), Signal::SIGHUP);
    let status = eventually("its end", || child.try_wait().expect("waits"));
    assert_eq!(status.code(), Some(130));
    assert_eq!(bench.left_after(Duration::ZERO), [""; 0]);
    let runs = std::fs::read_dir(bench.results().join("random")).expect("reads").flatten();
    let run = RunDir(runs.last().expect("a run").path());
    assert_eq!(run.manifest()["status"], "cancelled");
    assert_eq!(run.point(40.0)["status"], "measured");
}
