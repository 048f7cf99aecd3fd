//! Ends that Slurm brings about: a node that fails, and a job's time limit.

use crate::cluster::{Bench, sockets_of, turn, words};
use kit::eventually;
use std::path::PathBuf;
use std::time::Duration;

/// How long Slurm may take to end a step.
const LIMIT: Duration = Duration::from_secs(60);
const HABITS: &str =
    "--engine-arg --sim-fault --engine-arg setsid-child --engine-arg --sim-fault --engine-arg ignore-sigterm";

/// The run's requests, once there are some.
fn requests(bench: &Bench) -> Option<PathBuf> {
    let run = std::fs::read_dir(bench.dir.path().join("results/random")).ok()?.next()?.ok()?.path();
    let requests = run.join("requests.jsonl");
    std::fs::metadata(&requests).is_ok_and(|file| file.len() > 0).then_some(requests)
}

#[test]
fn a_node_that_fails_is_told_and_nothing_is_left_on_the_other() {
    let Some((cluster, _turn)) = turn() else { return };
    let job = cluster.allocate(2);
    let bench = Bench::new("nixl --prefill-tp 2 --decode-tp 2 --request-rate 5,6 --num-prompts 2000 --on-failure stop");
    let bench = bench.args(HABITS);
    let mut topobench = bench.start(&job);
    eventually("the first requests", || requests(&bench));
    let sockets = sockets_of(&bench.tagged());
    let lost = cluster.lose_node("n2");
    assert!(lost.iter().any(|name| name == "slurmd") && lost.iter().filter(|name| *name == "slurmstepd").count() >= 2);
    assert_eq!(topobench.wait().expect("ends").code(), Some(4));
    let manifest = bench.manifest();
    let told = manifest["reason"].as_str().expect("a reason");
    assert!(told.contains("decode-0 ended (ended unseen"), "{told}");
    bench.assert_gone(&job, &sockets, LIMIT);
    drop(job);
    cluster.bring_back("n2");
}

/// Without the signal that `topobench slurm submit` asks for: Slurm sends SIGTERM, and SIGKILL some seconds later.
#[test]
fn the_time_limit_leaves_nothing_and_what_was_measured_is_there() {
    let Some((cluster, _turn)) = turn() else { return };
    // The second point would take five minutes.
    let bench = Bench::new("nixl --request-rate 20,0.2 --num-prompts 60").args(HABITS);
    let job = bench.submit(cluster, &["--nodes=2", "--gres=gpu:1", "--time=1"]);
    eventually("the first requests", || requests(&bench));
    let sockets = sockets_of(&bench.tagged());
    assert!(!sockets.is_empty());
    // Slurm looks for jobs that are over their time every half minute.
    bench.assert_gone(&job, &sockets, Duration::from_secs(240));
    eventually("the job's end", || {
        cluster.ask("scontrol", &["show", "job", &job.id]).contains("JobState=TIMEOUT").then_some(())
    });
    let manifest = bench.manifest();
    assert_eq!(manifest["points"][0]["status"], "measured", "{}", manifest["points"]);
    let listed = Bench::bare("list").within(&bench).run_outside(cluster);
    let name = bench.run_dir().file_name().expect("a name").to_string_lossy().into_owned();
    assert_eq!(listed.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&name), "{}", words(&listed));
}
