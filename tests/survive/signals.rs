//! Ctrl-C, once and twice.

use crate::support::{Bench, RunDir};
use nix::sys::signal::Signal;
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
