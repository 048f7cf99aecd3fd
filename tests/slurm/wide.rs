//! Engines that are larger than a node: a step on each of their nodes, one of which answers requests.

use crate::cluster::{Bench, Job, sockets_of, turn, words};
use kit::eventually;
use kit::process::command_line;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::process::Child;
use std::time::Duration;

/// How long Slurm may take to end a step.
const LIMIT: Duration = Duration::from_secs(60);
const HABITS: &str =
    "--engine-arg --sim-fault --engine-arg setsid-child --engine-arg --sim-fault --engine-arg ignore-sigterm";

fn log(bench: &Bench, name: &str) -> String {
    std::fs::read_to_string(bench.run_dir().join(format!("logs/{name}.log"))).expect("a log")
}

fn argv(of: &serde_json::Value) -> String {
    of["argv"].to_string().replace("\",\"", " ")
}

#[test]
fn tensor_parallel_ranks_over_two_nodes_are_one_engine() {
    let Some((cluster, _turn)) = turn() else { return };
    let job = cluster.allocate(4);
    let bench = Bench::new("simple --tp 8 --request-rate 20 --num-prompts 20");
    let output = bench.run(&job);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));

    let manifest = bench.manifest();
    let instance = &manifest["instances"][0];
    let all = ["n1:0", "n1:1", "n1:2", "n1:3", "n2:0", "n2:1", "n2:2", "n2:3"];
    assert_eq!(instance["gpus"], serde_json::json!(all));
    assert_eq!((&instance["node"], &instance["exit"]), (&"n1".into(), &"stopped (exit code 0)".into()), "{instance}");
    let other = &instance["more_parts"][0];
    assert_eq!((&other["name"], &other["node"]), (&"replica-0@n2".into(), &"n2".into()), "{instance}");
    assert!(argv(instance).contains("--nnodes 2 --node-rank 0 --master-addr 127.0.0.1"), "{}", argv(instance));
    assert!(argv(other).contains("--nnodes 2 --node-rank 1") && argv(other).contains("--headless"), "{}", argv(other));

    assert!(log(&bench, "replica-0").contains("Application startup complete"));
    assert!(log(&bench, "replica-0@n2").contains("Joined the first node"));
    assert_eq!(manifest["points"][0]["engines"]["generation_tokens"], 80.0, "{}", manifest["points"]);
    bench.assert_gone(&job, &BTreeSet::new(), LIMIT);
}

#[test]
fn data_parallel_ranks_of_a_decode_instance_lie_on_both_nodes_beside_prefill() {
    let Some((cluster, _turn)) = turn() else { return };
    let job = cluster.allocate(4);
    let bench = Bench::new("nixl --decode-dp 6 --request-rate 20 --num-prompts 24");
    let output = bench.run(&job);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let manifest = bench.manifest();
    let decode = &manifest["instances"][1];
    assert_eq!(decode["gpus"], serde_json::json!(["n1:1", "n1:2", "n1:3", "n2:0", "n2:1", "n2:2"]));
    let (first, other) = (argv(decode), argv(&decode["more_parts"][0]));
    assert!(first.contains("--data-parallel-size-local 3 --data-parallel-address 127.0.0.1"), "{first}");
    assert!(!first.contains("--headless") && first.contains("--api-server-count 1"), "{first}");
    assert!(other.contains("--data-parallel-size-local 3 --data-parallel-start-rank 3"), "{other}");
    assert!(other.contains("--headless") && !other.contains("--api-server-count"), "{other}");
    let ranks = manifest["points"][0]["ranks"].as_array().expect("counters of ranks");
    let handed_over = ranks.iter().filter(|rank| rank["external_kv_tokens"].as_f64() > Some(0.0));
    assert_eq!(handed_over.count(), 6, "{ranks:?}");
    bench.assert_gone(&job, &BTreeSet::new(), LIMIT);
}

/// Once requests are answered.
fn measuring<'a>(bench: &Bench, job: &Job<'a>) -> Child {
    let topobench = bench.start(job);
    eventually("the first requests", || {
        let run = std::fs::read_dir(bench.dir.path().join("results/random")).ok()?.next()?.ok()?.path();
        std::fs::metadata(run.join("requests.jsonl")).is_ok_and(|file| file.len() > 0).then_some(())
    });
    topobench
}

#[test]
fn a_part_without_requests_that_is_killed_ends_its_engine_and_is_told_with_its_node() {
    let Some((cluster, _turn)) = turn() else { return };
    let job = cluster.allocate(4);
    let bench = Bench::new("simple --tp 8 --request-rate 5,6 --num-prompts 2000 --on-failure stop").args(HABITS);
    let mut topobench = measuring(&bench, &job);
    let sockets = sockets_of(&bench.tagged());
    let headless: Vec<i32> =
        bench.tagged().into_iter().filter(|pid| command_line(*pid).contains("--headless")).collect();
    assert_eq!(headless.len(), 1);
    kill(Pid::from_raw(headless[0]), Signal::SIGKILL).expect("kills");
    assert_eq!(topobench.wait().expect("ends").code(), Some(4));
    let manifest = bench.manifest();
    let exit = manifest["instances"][0]["exit"].as_str().expect("an exit");
    assert!(exit.starts_with("ended by itself on n2 (killed by SIGKILL)"), "{exit}");
    let reason = manifest["reason"].as_str().expect("a reason");
    assert!(reason.contains("ended on n2 (killed by SIGKILL)") && reason.contains("replica-0@n2.log"), "{reason}");
    assert!(manifest["points"][0].to_string().contains("replica-0 ended on n2"), "{}", manifest["points"]);
    bench.assert_gone(&job, &sockets, LIMIT);
}

#[test]
fn kill_9_leaves_nothing_of_an_engine_on_two_nodes() {
    let Some((cluster, _turn)) = turn() else { return };
    let job = cluster.allocate(4);
    let bench = Bench::new("simple --tp 8 --request-rate 5 --num-prompts 2000").args(HABITS);
    let mut topobench = measuring(&bench, &job);
    let (sockets, steps) = (sockets_of(&bench.tagged()), cluster.steps(&job.id));
    assert!(!sockets.is_empty() && steps.len() == 4, "two agents and two parts: {steps:?}");
    topobench.kill().expect("kills");
    topobench.wait().expect("reaped");
    bench.assert_gone(&job, &sockets, LIMIT);
}
