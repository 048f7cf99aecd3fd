//! topobench itself dies by SIGKILL, at every moment of a fleet's life; or its guardians die instead.

use crate::support::{family, launch, options, pair, pids, survivors, survivors_after};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use topobench::launch::{ExitStatus, Fleet, LaunchEvent};

const DIRECTORY: &str = "TOPOBENCH_TEST_FLEET";

/// Not a test: [`killed_at`] runs it in a process of its own, which holds a fleet until it is killed.
#[tokio::test]
async fn hold_a_fleet_until_killed() {
    let Ok(dir) = std::env::var(DIRECTORY) else { return };
    let family = family(Path::new(&dir));
    let habits = ["--deaf", "--family", family.to_str().expect("utf-8")];
    let tell = |event: LaunchEvent| println!("event {}", serde_json::to_string(&event).expect("serialises"));
    let options = options(Path::new(&dir));
    let fleet = Fleet::launch(&pair(&habits, &habits), &options, tell, &CancellationToken::new()).await;
    println!("event up {}", fleet.is_ok());
    std::future::pending::<()>().await;
}

/// Kills the holder of a fleet right after its `moment`th event; returns what of the fleet is alive 5 s later, and
/// whether the moment came.
fn killed_at(moment: usize) -> (Vec<i32>, bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut holder = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "guardian::hold_a_fleet_until_killed", "--nocapture"])
        .env(DIRECTORY, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    let lines = BufReader::new(holder.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let events = lines.filter(|line| line.starts_with("event")).take_while(|line| !line.starts_with("event up"));
    let came = events.take(moment).count() == moment;
    holder.kill().expect("kills");
    holder.wait().expect("reaped");
    // An engine may have been starting when the holder died, and not have left its pid yet.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = [mentioning(dir.path()), survivors(&pids(&family(dir.path())))].concat();
        if left.is_empty() || Instant::now() > deadline {
            return (left, came);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Processes whose command line mentions the directory: engines, but no process that has renamed itself.
fn mentioning(dir: &Path) -> Vec<i32> {
    let mentions = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&dir.display().to_string())
    };
    let entries = std::fs::read_dir("/proc").expect("reads").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(mentions).collect()
}

#[test]
fn kill_9_at_any_moment_leaves_no_descendant() {
    for moment in 0.. {
        let (left, came) = killed_at(moment);
        assert_eq!(left, [] as [i32; 0], "after event {moment}");
        if !came {
            assert!(moment > 4, "the fleet never came up");
            return;
        }
    }
}

#[tokio::test]
async fn a_killed_guardian_is_noticed_and_its_engine_swept() {
    let dir = tempfile::tempdir().expect("a directory");
    let family = family(dir.path());
    let plan = pair(&["--deaf", "--family", family.to_str().expect("utf-8")], &[]);
    let fleet = launch(&plan, dir.path()).await.unwrap_or_else(|error| panic!("{error}"));
    let engine = fleet.instances()[0].pid;
    let stat = std::fs::read_to_string(format!("/proc/{engine}/stat")).expect("lives");
    let guardian: i32 = stat.rsplit(") ").next().and_then(|s| s.split(' ').nth(1)?.parse().ok()).expect("a parent");
    kill(Pid::from_raw(guardian), Signal::SIGKILL).expect("kills");
    let death = fleet.next_death().await;
    assert_eq!((death.instance.as_str(), death.status), ("prefill-0", ExitStatus::Unseen));
    fleet.shutdown().await;
    // The detached grandchild has neither our session nor our environment: only the guardian knew of it.
    let left = survivors(&pids(&family));
    assert!(left.len() <= 1, "{left:?}");
    left.iter().for_each(|&pid| kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kills"));
}

#[tokio::test]
async fn a_dropped_fleet_is_ended_by_its_guardians() {
    let dir = tempfile::tempdir().expect("a directory");
    let family = family(dir.path());
    let habits = ["--deaf", "--family", family.to_str().expect("utf-8")];
    let fleet = launch(&pair(&habits, &habits), dir.path()).await.unwrap_or_else(|error| panic!("{error}"));
    drop(fleet);
    assert_eq!(survivors_after(Duration::from_secs(30), &pids(&family)), [] as [i32; 0]);
}

#[tokio::test]
async fn polite_signals_pass_the_guardian_by() {
    let dir = tempfile::tempdir().expect("a directory");
    let fleet = launch(&pair(&[], &[]), dir.path()).await.unwrap_or_else(|error| panic!("{error}"));
    let engine = fleet.instances()[0].pid;
    let stat = std::fs::read_to_string(format!("/proc/{engine}/stat")).expect("lives");
    let guardian: i32 = stat.rsplit(") ").next().and_then(|s| s.split(' ').nth(1)?.parse().ok()).expect("a parent");
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        kill(Pid::from_raw(guardian), signal).expect("sends");
    }
    let exits = fleet.shutdown().await;
    assert_eq!(exits[0].status, ExitStatus::Code(0), "the guardian lived to see the engine's own exit");
}
