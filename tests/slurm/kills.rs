//! kill -9 of topobench at random moments, over fleets on two nodes whose engines have children in sessions of their own
//! and ignore SIGTERM.

use crate::cluster::{Bench, sockets_of, turn};
use kit::eventually;
use kit::process::command_line;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const KILLS: u32 = 20;
/// How long everything may take to vanish: Slurm takes seconds to end a step.
const LIMIT: Duration = Duration::from_secs(60);
const HABITS: &str =
    "--engine-arg --sim-fault --engine-arg setsid-child --engine-arg --sim-fault --engine-arg ignore-sigterm";

#[test]
fn kill_9_leaves_no_step_no_process_and_no_port() {
    let Some((cluster, _turn)) = turn() else { return };
    let job = cluster.allocate(4);
    let (mut processes, mut ports) = (0, 0);
    for _ in 0..KILLS {
        let bench = Bench::new("nixl --prefill 2 --decode 2 --request-rate 5 --num-prompts 2000").args(HABITS);
        let mut topobench = bench.start(&job);
        eventually("a first step", || (bench.tagged().len() > 1).then_some(()));
        let (since, delay) = (Instant::now(), Duration::from_millis(rand::random_range(0..5000)));
        let mut sockets = BTreeSet::new();
        while since.elapsed() < delay {
            sockets.extend(sockets_of(&bench.tagged()));
            std::thread::sleep(Duration::from_millis(50));
        }
        processes += bench.tagged().len() - 1;
        ports += sockets.len();
        topobench.kill().expect("kills");
        topobench.wait().expect("reaped");
        bench.assert_gone(&job, &sockets, LIMIT);
    }
    assert!(processes > KILLS as usize && ports > 0, "there was something to leave behind: {processes}, {ports}");
}

/// Slurm doesn't tell a step that its srun is gone: guardians and agents end because they hear nothing for a minute.
#[test]
fn topobench_and_all_its_sruns_killed_at_once_leave_nothing_either() {
    let Some((cluster, _turn)) = turn() else { return };
    let job = cluster.allocate(1);
    let bench = Bench::new("nixl --request-rate 5 --num-prompts 2000").args(HABITS);
    let mut topobench = bench.start(&job);
    let engines =
        || bench.tagged().into_iter().filter(|pid| command_line(*pid).contains(" serve ")).collect::<Vec<_>>();
    eventually("two engines with HTTP and side channel", || (sockets_of(&engines()).len() > 3).then_some(()));
    let sockets = sockets_of(&bench.tagged());
    let doomed = |pid: &i32| command_line(*pid).starts_with("srun ");
    let sruns: Vec<i32> = bench.tagged().into_iter().filter(doomed).collect();
    assert!(sruns.len() >= 4, "two agents and two engines: {sruns:?}");
    for pid in sruns.into_iter().chain([topobench.id().cast_signed()]) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    topobench.wait().expect("reaped");
    // A minute of silence, and Slurm's own seconds.
    bench.assert_gone(&job, &sockets, Duration::from_secs(180));
}
