//! Fleets over two nodes: what is measured, what comes home, what is refused.

use crate::cluster::{Bench, turn, words};
use kit::eventually;
use kit::process::command_line;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long Slurm may take to end a step.
const LIMIT: Duration = Duration::from_secs(60);

/// The driver of a machine with four GPUs.
fn fake_driver(dir: &Path) -> [(&'static str, String); 2] {
    let gpus = dir.join("gpus");
    std::fs::create_dir(&gpus).expect("creates");
    (0..4).for_each(|gpu| std::fs::write(gpus.join(gpu.to_string()), "").expect("writes"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/survive/nvml.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiler = Command::new(rustc)
        .args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "stand_in", "-o"])
        .args([&dir.join("libnvidia-ml.so.1"), &source])
        .output()
        .expect("rustc runs");
    assert!(compiler.status.success(), "{}", words(&compiler));
    [("GPUS_OF_TEST", gpus.display().to_string()), ("LD_LIBRARY_PATH", dir.display().to_string())]
}

#[test]
fn a_fleet_over_two_nodes_is_measured_and_all_of_it_comes_home() {
    let Some((cluster, _turn)) = turn() else { return };
    let job = cluster.allocate(4);
    let bench =
        Bench::new("nixl --prefill 2 --decode 2 --prefill-tp 2 --decode-tp 2 --request-rate 20 --num-prompts 20");
    let driver = fake_driver(bench.dir.path());
    let bench = driver.iter().fold(bench, |bench, (name, value)| bench.env(name, value));
    let output = bench.run(&job);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));

    let manifest = bench.manifest();
    let instances = manifest["instances"].as_array().expect("instances");
    let placed: Vec<String> = instances.iter().map(|i| format!("{} {} {}", i["name"], i["gpus"], i["exit"])).collect();
    insta::assert_snapshot!(placed.join("\n"), @r#"
    "prefill-0" ["n1:0","n1:1"] "stopped (exit code 0)"
    "prefill-1" ["n1:2","n1:3"] "stopped (exit code 0)"
    "decode-0" ["n2:0","n2:1"] "stopped (exit code 0)"
    "decode-1" ["n2:2","n2:3"] "stopped (exit code 0)"
    "#);
    assert!(instances.iter().all(|i| i["node"] == i["gpus"][0].as_str().expect("a GPU")[..2]), "{instances:?}");
    assert_eq!(manifest["points"][0]["host"], "n1", "{}", manifest["points"]);

    let run = bench.run_dir();
    for instance in ["prefill-0", "decode-1"] {
        let log = std::fs::read_to_string(run.join(format!("logs/{instance}.log"))).expect("a log");
        assert!(log.contains("Application startup complete"), "{log}");
    }
    // n1's GPUs come first.
    let rows = std::fs::read_to_string(run.join("gpu.csv")).expect("samples");
    let sampled: BTreeSet<&str> = rows.lines().skip(1).filter_map(|row| row.split(',').nth(1)).collect();
    assert_eq!(sampled, BTreeSet::from(["0", "1", "2", "3", "4", "5", "6", "7"]), "{rows}");
    assert_eq!(manifest["gpus"][5]["on_node"], serde_json::json!(["n2", 1]));
    bench.assert_gone(&job, &BTreeSet::new(), LIMIT);
}

#[test]
fn what_no_job_has_is_refused_before_anything_starts() {
    let Some((cluster, _turn)) = turn() else { return };
    let outside = Bench::new("simple").run_outside(cluster);
    assert_eq!(outside.status.code(), Some(2), "{}", words(&outside));
    assert!(words(&outside).contains("inside a Slurm job"), "{}", words(&outside));

    let job = cluster.allocate(2);
    for (flags, said) in [
        ("simple --replicas 5", "needs 5 GPUs (5xTP1) and there are 4 (Slurm job"),
        ("simple --tp 3", "has an engine of 3 GPUs, which is larger than a node"),
    ] {
        let refused = Bench::new(flags).run(&job);
        assert_eq!(refused.status.code(), Some(2), "{}", words(&refused));
        assert!(words(&refused).contains(said), "{}", words(&refused));
    }
}

#[test]
fn a_port_that_is_taken_on_a_node_is_told_with_its_holder() {
    let Some((cluster, _turn)) = turn() else { return };
    let job = cluster.allocate(1);
    let held = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = held.local_addr().expect("bound").port();
    let bench = Bench::bare(&format!(
        "ab nixl:env.VLLM_NIXL_SIDE_CHANNEL_PORT={port} nixl --launcher slurm --engine sim --request-rate 5 --num-prompts 5"
    ));
    let output = bench.run(&job);
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    let told = format!("on node n1: NIXL side-channel port {port} is taken by pid {}", std::process::id());
    assert!(words(&output).contains(&told), "{}", words(&output));
    bench.assert_gone(&job, &BTreeSet::new(), LIMIT);
}

#[test]
fn an_engine_whose_srun_is_killed_is_noticed_and_swept() {
    let Some((cluster, _turn)) = turn() else { return };
    let job = cluster.allocate(1);
    let habits =
        "--engine-arg --sim-fault --engine-arg setsid-child --engine-arg --sim-fault --engine-arg ignore-sigterm";
    let bench = Bench::new("nixl --request-rate 5 --num-prompts 2000 --on-failure stop").args(habits);
    let mut topobench = bench.start(&job);
    let sruns = eventually("the first requests", || {
        let requests = std::fs::read_dir(bench.dir.path().join("results/random")).ok()?.next()?.ok()?.path();
        let begun = std::fs::metadata(requests.join("requests.jsonl")).is_ok_and(|file| file.len() > 0);
        let of_decode = |pid: &i32| command_line(*pid).contains("--job-name=decode-0");
        begun.then(|| bench.tagged().into_iter().filter(of_decode).collect::<Vec<_>>())
    });
    assert!(!sruns.is_empty());
    sruns.iter().for_each(|&pid| kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kills"));
    assert_eq!(topobench.wait().expect("ends").code(), Some(4));
    let manifest = bench.manifest();
    let exit = manifest["instances"][1]["exit"].as_str().expect("an exit");
    assert!(exit.starts_with("ended by itself (ended unseen"), "{exit}");
    assert!(manifest["points"][0].to_string().contains("decode-0"), "{}", manifest["points"]);
    bench.assert_gone(&job, &BTreeSet::new(), LIMIT);
}
