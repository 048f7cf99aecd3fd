//! A search that is killed goes on where it was, with all of its arms.

use crate::support::{Bench, RunDir};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// One request at a time on each arm: a few requests a second are too many.
const ARMS: &str = "ab simple:max-num-seqs=1 nixl:decode.max-num-seqs=1,decode.max-num-batched-tokens=2048";

fn points(run: &RunDir) -> Vec<Value> {
    run.manifest()["points"].as_array().expect("points").clone()
}

#[test]
fn a_search_of_two_arms_that_is_killed_goes_on_with_both() {
    let bench = Bench::at_speed(1, ARMS)
        .args("--random-output-len 8 --num-prompts 30 --max-warmup 0 --budget 25s --goodput ttft:400 tpot:60000");
    let mut running = bench.start();
    let runs = [running.dir(), running.dir()];
    for _ in 0..3 {
        running.wait("point_finished", |_| true);
    }
    running.signal(Signal::SIGKILL);
    running.finish();
    let kept = runs.clone().map(|run| points(&RunDir(run)));
    assert!(kept[0].len() + kept[1].len() >= 3);

    let again = bench.resuming_as("ab", &runs[1]);
    let finished = again.run();
    assert_eq!(finished.code, Some(0), "{}", finished.words);
    assert_eq!((bench.left_after(Duration::from_secs(5)).len(), again.left_after(Duration::ZERO).len()), (0, 0));
    let judged = |points: &[Value]| points.iter().filter(|p| p["pilot"] != true).count();
    for (run, kept) in runs.clone().map(RunDir).iter().zip(&kept) {
        assert_eq!(run.manifest()["status"], "completed");
        let now = points(run);
        assert_eq!(now[..kept.len()], kept[..], "what was measured stays as it is");
        assert!(judged(&now) > 0, "{now:?}");
        assert!(run.manifest()["engine_secs"].as_f64().is_some_and(|secs| secs > 5.0));
    }
    assert!(finished.all("known").next().is_some_and(|e| e["text"].as_str().is_some_and(|t| t.contains("simple"))));

    let compared: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    for (arm, run) in compared["arms"].as_array().expect("arms").iter().zip(runs.map(|r: PathBuf| RunDir(r))) {
        let told = arm["points"].as_array().map_or(0, Vec::len) + arm["stopped"].as_array().map_or(0, Vec::len);
        assert_eq!(told, judged(&points(&run)), "pilots are not judged: {arm}");
    }
}
