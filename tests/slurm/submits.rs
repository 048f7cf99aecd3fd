//! `topobench slurm submit`, and the end of its job; what `doctor` says there.

use crate::cluster::{Bench, turn, words};
use kit::eventually;
use std::collections::BTreeSet;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_submitted_command_runs_in_its_job_and_a_cancelled_one_leaves_nothing() {
    let Some((cluster, _turn)) = turn() else { return };
    let bench = Bench::bare("slurm submit --nodes 2 --gpus-per-node 1 -- nixl --engine sim --random-input-len 32")
        .args("--random-output-len 4 --num-warmups 1 --max-warmup 0 --request-rate 5 --num-prompts 2000");
    let submitted = bench.run_outside(cluster);
    assert_eq!(submitted.status.code(), Some(0), "{}", words(&submitted));
    let said = words(&submitted);
    let id = said.strip_prefix("job ").and_then(|rest| rest.split(' ').next()).expect("its number").to_string();
    let job = cluster.job(&id);
    let requests = eventually("the first requests", || {
        let run = std::fs::read_dir(bench.dir.path().join("results/random")).ok()?.next()?.ok()?.path();
        let requests = run.join("requests.jsonl");
        std::fs::metadata(&requests).is_ok_and(|file| file.len() > 0).then_some(requests)
    });
    assert!(requests.starts_with(bench.dir.path()));
    assert!(cluster.steps(&id).len() >= 4, "two agents and two engines");
    cluster.ask("scancel", &[&id]);
    bench.assert_gone(&job, &BTreeSet::new(), LIMIT);
}

#[test]
fn what_starts_no_engine_is_not_submitted_and_the_script_can_be_seen_before() {
    let Some((cluster, _turn)) = turn() else { return };
    let refused = Bench::bare("slurm submit -- compare a b").run_outside(cluster);
    assert_eq!(refused.status.code(), Some(2), "{}", words(&refused));
    let shown =
        Bench::bare("slurm submit --nodes 2 --gpus-per-node 4 --sbatch time=1:00:00 --dry-run -- simple --tp 2");
    let script = words(&shown.run_outside(cluster)).replace(env!("CARGO_BIN_EXE_topobench"), "topobench");
    insta::assert_snapshot!(script, @r"
    #!/bin/bash
    #SBATCH --job-name=topobench
    #SBATCH --nodes=2
    #SBATCH --gres=gpu:4
    #SBATCH --ntasks-per-node=1
    #SBATCH --signal=B:TERM@60
    #SBATCH --output=results/slurm-%j.out
    #SBATCH --time=1:00:00
    exec topobench simple --launcher slurm --tp 2
    ");
}

#[test]
fn doctor_says_what_the_job_has() {
    let Some((cluster, _turn)) = turn() else { return };
    let doctor = Bench::bare("doctor --quick");
    let outside = words(&doctor.run_outside(cluster));
    assert!(outside.contains("slurm: not from here, outside of a job"), "{outside}");
    let job = cluster.allocate(3);
    let inside = words(&doctor.run(&job));
    assert!(
        inside.contains(&format!("slurm: in job {}, with --launcher slurm: 6 GPUs on 2 nodes", job.id)),
        "{inside}"
    );
    assert!(inside.contains("n2 at 127.0.0.1: GPU 0,1,2"), "{inside}");
}
