//! Engines that die, hang or are restarted while points are measured.

use crate::support::{Bench, RunDir, command_line, count, parent, signal};
use nix::sys::signal::Signal;
use std::time::Duration;

/// Points long enough to be hit in the middle: two seconds of load each, half a second per request.
const POINTS: &str = "--request-rate 20,21 --num-prompts 40 --random-output-len 64";

#[test]
fn stage_stamps_of_every_handed_over_request_reach_the_journal() {
    let bench = Bench::new("nixl --prefill 2 --decode 2 --request-rate 40 --num-prompts 30 --random-output-len 4");
    let finished = bench.run();
    let run = RunDir(finished.dir());
    let requests = run.requests(40.0);
    assert_eq!(count(&requests, "completed"), 30);
    for request in &requests {
        let stages = &request["stages"];
        let order = ["accepted", "prefill_sent", "prefill_head", "decode_sent", "first_byte", "end"];
        let at: Vec<f64> =
            order.iter().map(|s| stages[s].as_f64().unwrap_or_else(|| panic!("{s}: {request}"))).collect();
        assert!(at.is_sorted(), "{stages}");
        assert!(stages["prefill"].as_u64() < Some(2) && stages["decode"].as_u64() < Some(2), "{stages}");
    }
}

#[test]
fn a_killed_engine_fails_its_point_by_name_and_the_sweep_goes_on() {
    let pairs = "nixl --prefill 2 --decode 2";
    for (words, victim) in [("simple", "replica-0"), (pairs, "decode-1"), (pairs, "prefill-0")] {
        let bench = Bench::at_speed(1, words).args(POINTS);
        let mut running = bench.start();
        let run = RunDir(running.dir());
        running.wait_sent(20.0, 15);
        signal(run.engine(victim), Signal::SIGKILL);
        let finished = running.finish();
        assert_eq!(finished.all("launching").count(), 2, "{victim}: the fleet is restarted once");
        assert_eq!(finished.all("engine_died").count(), 1);

        let failed = run.point(20.0);
        assert_eq!(failed["status"], "failed", "{failed}");
        let why = failed["why"][0].as_str().expect("a reason");
        assert_eq!(why, format!("{victim} ended (killed by SIGKILL)"));
        assert_eq!(run.point(21.0)["status"], "measured");
        assert_eq!(count(&run.requests(21.0), "completed"), 40);
        let requests = run.requests(20.0);
        assert_eq!(requests.len(), 40, "every request of the schedule has its line");
        let died: Vec<_> = requests.iter().filter(|r| r["failure"]["kind"] == "engine_died").collect();
        // A prefill takes milliseconds: none may have been running at that moment.
        assert!(!died.is_empty() || victim == "prefill-0", "requests were in its hands: {requests:#?}");
        assert!(died.iter().all(|r| r["failure"]["instance"] == victim), "{died:?}");
        let manifest = run.manifest();
        assert_eq!(manifest["status"], "completed");
        let exits: Vec<&str> = manifest["instances"]
            .as_array()
            .expect("instances")
            .iter()
            .filter(|i| i["name"] == victim)
            .map(|i| i["exit"].as_str().expect("an exit"))
            .collect();
        assert_eq!(exits, ["ended by itself (killed by SIGKILL)", "stopped (exit code 0)"]);
        assert_eq!(bench.left_after(Duration::ZERO), [""; 0]);
    }
}

/// Deadlines that a loaded machine still meets with healthy engines, and that tests can wait for.
const DEADLINES: &str = "--first-token-timeout 3 --idle-timeout 3 --drain-timeout 20";

#[test]
fn an_engine_stopped_in_mid_load_is_told_from_a_slow_one_and_replaced() {
    // One of two: the other goes on, and only this one's requests stall.
    let bench = Bench::at_speed(1, "nixl --prefill 2").args(POINTS).args(DEADLINES);
    let mut running = bench.start();
    let run = RunDir(running.dir());
    running.wait_sent(20.0, 15);
    signal(run.engine("prefill-1"), Signal::SIGSTOP);
    let finished = running.finish();
    let mute: Vec<_> = finished.all("engine_mute").collect();
    assert_eq!(mute.len(), 1, "{:#?}", finished.events);
    assert_eq!(mute[0]["instance"], "prefill-1");
    let failed = run.point(20.0);
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(failed["why"][0].as_str().is_some_and(|w| w.starts_with("prefill-1 hangs: not one token")), "{failed}");
    let requests = run.requests(20.0);
    assert_eq!((requests.len(), count(&requests, "completed") + count(&requests, "stalled")), (40, 40));
    assert_eq!(run.point(21.0)["status"], "measured", "{}", run.point(21.0));
    assert_eq!(finished.all("launching").count(), 2);
    assert_eq!(bench.left_after(Duration::ZERO), [""; 0]);
}

#[test]
fn an_engines_core_killed_behind_its_living_front_is_noticed_and_the_whole_group_torn_down() {
    // The guardian watches the leader, which lives on; its child does the computing.
    let engine = kit::enginesim!().display().to_string();
    let script = format!("{engine} \"$@\" --sim-speed 10 --sim-handshake-ms 5 & wait $!; while :; do sleep 1; done");
    let words =
        "--request-rate 20 --num-prompts 40 --attempts 2 --random-input-len 32 --random-output-len 4 --num-warmups 1";
    let bench = Bench::with_engine(&script, words).args(DEADLINES);
    let mut running = bench.start();
    let run = RunDir(running.dir());
    running.wait_sent(20.0, 15);
    let leader = run.engine("decode-0");
    let is_core = |pid: &i32| *pid != leader && parent(*pid) == leader && command_line(*pid).contains("enginesim");
    let core = bench.tagged().into_iter().find(is_core).expect("a core");
    signal(core, Signal::SIGKILL);
    let finished = running.finish();
    let mute: Vec<_> = finished.all("engine_mute").map(|e| (&e["instance"], e["how"].as_str().unwrap_or(""))).collect();
    assert!(
        matches!(mute.as_slice(), [(name, how)] if *name == "decode-0" && how.starts_with("gives no token")),
        "{mute:?}"
    );
    let failed = run.point(20.0);
    assert_eq!(failed["status"], "failed", "not averaged: {failed}");
    let requests = run.requests(20.0);
    assert_eq!(requests.len(), 80, "both attempts are accounted for");
    assert_eq!(run.manifest()["points"][1]["status"], "measured");
    assert_eq!(bench.left_after(Duration::ZERO), [""; 0]);
}

#[test]
fn a_fleet_that_falls_silent_is_cut_short_and_every_request_in_flight_is_stalled() {
    // Warm-up takes 2 + 1 + 4 + 32 tokens on each of the two; what follows dries up early in the first point, on the
    // restarted fleet too.
    let hang = "--engine-arg --sim-fault --engine-arg hang-after=150";
    let bench = Bench::at_speed(1, "simple --request-rate 20,21,22 --num-prompts 300 --random-output-len 32");
    let bench = bench.args(hang).args(DEADLINES);
    let finished = bench.run();
    let run = RunDir(finished.dir());
    for rate in [20.0, 21.0] {
        let point = run.point(rate);
        assert_eq!(point["status"], "failed");
        let why = point["why"].to_string();
        assert!(why.contains("not one token for") && why.contains("replica-0 hangs"), "{why}");
        let requests = run.requests(rate);
        assert!(count(&requests, "stalled") > 20, "{why}");
        let sent = requests.iter().filter(|r| r["sent"].is_number()).count();
        assert_eq!(count(&requests, "stalled") + count(&requests, "completed"), sent, "{why}");
        assert!(sent < 300 && requests.len() == 300, "the rest was never sent, and is told: {sent}");
    }
    assert_eq!(finished.code, Some(4), "{}", finished.words);
    assert!(finished.words.contains("second engine that was lost"), "{}", finished.words);
    assert_eq!(run.manifest()["points"].as_array().map(Vec::len), Some(2));
    assert_eq!(run.manifest()["status"], "failed");
    assert_eq!(bench.left_after(Duration::ZERO), [""; 0]);
}

#[test]
fn stop_ends_the_run_at_the_first_loss_and_skip_at_none() {
    let die = "--engine-arg --sim-fault --engine-arg die-after=12";
    let words = "simple --request-rate 20,21,22 --num-prompts 20 --random-output-len 4";
    let stopped = Bench::new(words).args(die).args("--on-failure stop");
    let skipped = Bench::new(words).args(die).args("--on-failure skip");
    let finished = stopped.run();
    assert_eq!(finished.code, Some(4), "{}", finished.words);
    assert!(
        finished.words.contains("--on-failure stop") && finished.words.contains("replica-0.log"),
        "{}",
        finished.words
    );
    assert_eq!(finished.all("launching").count(), 1);
    let run = RunDir(finished.dir());
    assert_eq!(run.manifest()["points"].as_array().map(Vec::len), Some(1));
    assert_eq!(run.manifest()["status"], "failed");

    let finished = skipped.run();
    assert_eq!(finished.all("launching").count(), 3, "no fleet is brought up when nothing is left to measure");
    let run = RunDir(finished.dir());
    for rate in [20.0, 21.0, 22.0] {
        let point = run.point(rate);
        assert_eq!(point["status"], "failed");
        assert!(point["why"][0].as_str().is_some_and(|w| w.starts_with("replica-0 ended (exit code 0)")), "{point}");
        assert_eq!(run.requests(rate).len(), 20);
    }
}

#[test]
fn an_engine_that_ends_between_its_points_costs_no_point() {
    // Both fleets are up and take turns: the second loses an engine while the first is under load.
    let bench = Bench::new("ab simple:tp=2 nixl --request-rate 20,21 --num-prompts 30 --random-output-len 4");
    let mut running = bench.start();
    let (simple, nixl) = (RunDir(running.dir()), RunDir(running.dir()));
    running.wait("point_progress", |e| e["arm"] == "simple" && e["sent"].as_u64() > Some(5));
    signal(nixl.engine("decode-0"), Signal::SIGKILL);
    let finished = running.finish();
    let launches = |arm: &str| finished.all("launching").filter(|e| e["arm"] == arm).count();
    assert_eq!((launches("simple"), launches("nixl")), (1, 2));
    for run in [&simple, &nixl] {
        for rate in [20.0, 21.0] {
            assert_eq!(run.point(rate)["status"], "measured", "{}", run.point(rate));
            assert_eq!(count(&run.requests(rate), "completed"), 30);
        }
        assert_eq!(run.manifest()["status"], "completed");
    }
    assert_eq!(bench.left_after(Duration::ZERO), [""; 0]);
}

#[test]
fn an_engine_that_dies_warming_up_is_named_with_its_last_words() {
    let die = "--engine-arg --sim-fault --engine-arg die-mid-stream=9";
    let bench = Bench::new("nixl --request-rate 5 --num-prompts 5 --random-output-len 16").args(die);
    let finished = bench.run();
    assert_eq!(finished.code, Some(3), "{}", finished.words);
    assert!(finished.words.contains("decode-0 ended (killed by SIGKILL)"), "{}", finished.words);
    assert!(finished.words.contains("    | ") && finished.words.contains("warmed up"), "{}", finished.words);
    let run = RunDir(finished.dir());
    assert_eq!(run.manifest()["status"], "failed");
    assert!(run.manifest()["reason"].as_str().is_some_and(|r| r.contains("decode-0")));
}

fn faults(faults: &[&str]) -> String {
    faults.iter().map(|fault| format!(" --engine-arg --sim-fault --engine-arg {fault}")).collect()
}

#[test]
fn errors_now_and_then_degrade_a_point_and_cost_no_engine() {
    for (fault, kind) in [("status=500@5", "status"), ("status=429@5", "shed")] {
        // Four requests come before the point's first: two proofs, the warm-up of the path, and one in the lengths of the
        // load. So none of them is the fifth.
        let bench = Bench::new("simple --request-rate 40 --num-prompts 30 --random-output-len 4");
        let bench = bench.args(&faults(&[fault]));
        let finished = bench.run();
        assert_eq!(finished.code, Some(4), "{}", finished.words);
        assert_eq!(finished.all("launching").count(), 1, "the engine answers: it is not lost");
        let run = RunDir(finished.dir());
        let requests = run.requests(40.0);
        assert_eq!(count(&requests, "completed") + count(&requests, kind), 30);
        assert_eq!(count(&requests, kind), 6, "every fifth");
        let point = run.point(40.0);
        assert_eq!(point["status"], "degraded");
        assert!(
            point["why"][0].as_str().is_some_and(|w| w.starts_with(&format!("6 requests failed ({kind})"))),
            "{point}"
        );
    }
}

#[test]
fn streams_in_any_shape_are_measured() {
    for shape in [&["split-sse", "crlf"][..], &["merge-sse"], &["multi-token-chunks=3", "empty-text"]] {
        let bench = Bench::new("nixl --request-rate 40 --num-prompts 20 --random-output-len 8");
        let finished = bench.args(&faults(shape)).run();
        let run = RunDir(finished.dir());
        assert_eq!(run.point(40.0)["status"], "measured", "{shape:?}: {}", run.point(40.0));
        let requests = run.requests(40.0);
        assert_eq!(count(&requests, "completed"), 20, "{shape:?}");
        assert!(requests.iter().all(|r| r["output_tokens"] == 8), "{shape:?}");
    }
}

#[test]
fn answers_that_are_always_broken_are_found_before_the_sweep() {
    for (arm, fault, word) in [
        ("simple", "error-after=1", "error inside the stream"),
        ("nixl", "error-after=1", "smoke request"),
        ("simple", "reset=1", "ended after"),
        ("simple", "not-json", "gives no token"),
        ("nixl", "truncated-json", "gives no token"),
        ("simple", "status=503", "503"),
    ] {
        let bench = Bench::new(arm).args("--request-rate 40 --num-prompts 5 --random-output-len 4");
        let finished = bench.args(&faults(&[fault])).run();
        assert_eq!(finished.code, Some(3), "{arm} {fault}: {}", finished.words);
        assert_eq!(finished.all("point_started").count(), 0, "{arm} {fault}");
        assert!(finished.words.contains(word), "{arm} {fault}: {}", finished.words);
    }
}

#[test]
fn kv_that_is_fetched_after_its_lease_is_served_and_the_point_doubted() {
    // A lease so short that no decode instance is in time. vLLM answers 200 all the same.
    let bench = Bench::bare("run own.toml").args("--request-rate 20 --num-prompts 20 --random-output-len 4");
    bench.write_topology("enginesim", "args = [\"--sim-speed\", \"10\"]");
    let file = bench.dir.path().join("own.toml");
    let topology = std::fs::read_to_string(&file).expect("reads");
    let short = topology.replace("[kv]", "[kv]\nextra_config = { kv_lease_duration = 0.00001 }");
    std::fs::write(&file, short).expect("writes");
    let finished = bench.args("--random-input-len 32 --num-warmups 1").run();
    assert_eq!(finished.code, Some(4), "{}", finished.words);
    let run = RunDir(finished.dir());
    assert_eq!(count(&run.requests(20.0), "completed"), 20, "nobody was refused");
    let engines = &run.point(20.0)["engines"];
    assert!(engines["kv_expired"].as_f64().is_some_and(|n| n > 0.0), "{engines}");
    assert!(finished.stdout.contains("KV hand-offs expired before they were fetched"), "{}", finished.stdout);
}
