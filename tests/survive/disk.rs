//! Full disks: what was measured before stays readable, and the run says why it ended.

use crate::support::{Bench, RunDir, count};
use std::process::Command;
use std::time::Duration;

/// The bench's command under a limit on the size of files, in KiB: has the effect of a full disk, on any machine.
fn within(bench: &Bench, kib: u32) -> Command {
    let inner = bench.command();
    let mut outer = Command::new("bash");
    outer.arg("-c").arg(format!("ulimit -f {kib}; exec \"$@\"")).arg("bash");
    outer.arg(inner.get_program()).args(inner.get_args()).current_dir(bench.dir.path());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

#[test]
fn a_disk_that_fills_up_ends_the_run_and_keeps_what_was_measured() {
    let words = "simple --request-rate 40,41 --duration 4 --random-output-len 8";
    let bench = Bench::new(words);
    // Some 0.5 KB a request, 160 requests a point: the second point does not fit.
    let finished = bench.start_as(within(&bench, 100)).finish();
    assert_eq!(finished.code, Some(1), "{}", finished.words);
    let told = |line: &str| line.contains("cannot write") && line.contains("requests.jsonl");
    assert!(finished.words.lines().any(told), "{}", finished.words);
    assert!(finished.words.contains("what was measured before is kept"), "{}", finished.words);
    assert!(finished.words.contains("ulimit -f"), "{}", finished.words);
    assert_eq!(bench.left_after(Duration::ZERO), [""; 0]);
    let run = RunDir(finished.dir());
    let manifest = run.manifest();
    assert_eq!((&manifest["status"], manifest["points"].as_array().map(Vec::len)), (&"failed".into(), Some(1)));
    assert!(manifest["reason"].as_str().is_some_and(|r| r.contains("requests.jsonl")));
    let before = run.point(40.0);
    assert_eq!(before["status"], "measured");

    // With room again, it goes on where it stopped.
    let again = bench.resuming(&run.0).run();
    assert_eq!(again.code, Some(0), "{}", again.words);
    assert_eq!(run.point(40.0), before);
    for rate in [40.0, 41.0] {
        let offered = run.point(rate)["offered"].as_u64().expect("a count") as usize;
        assert_eq!(count(&run.requests(rate), "completed"), offered);
    }
}

#[test]
fn results_that_cannot_be_made_are_refused_before_anything_starts() {
    let bench = Bench::new("simple --request-rate 40 --num-prompts 5");
    std::fs::write(bench.results(), "a file, no directory").expect("writes");
    let finished = bench.run();
    assert_eq!(finished.code, Some(2), "{}", finished.words);
    assert!(finished.words.contains("--result-dir"), "{}", finished.words);
    assert_eq!(finished.all("launching").count(), 0);
}
