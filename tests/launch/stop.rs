use crate::support::{family, launch, launch_of_the_deaf, pair, pids, survivors};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use topobench::launch::{EngineState, ExitStatus};

#[tokio::test]
async fn a_deaf_engine_with_a_detached_family_is_ended_to_the_last() {
    let dir = tempfile::tempdir().expect("a directory");
    let family = family(dir.path());
    let habits = ["--deaf", "--family", family.to_str().expect("utf-8")];
    let fleet = launch_of_the_deaf(&pair(&habits, &habits), dir.path()).await;
    assert_eq!(survivors(&pids(&family)).len(), 6, "two engines, each with a child and a detached grandchild");
    let exits = fleet.shutdown().await;
    assert_eq!(survivors(&pids(&family)), [] as [i32; 0]);
    for exit in exits {
        assert!(exit.forced && exit.is_clean(), "{exit:?}");
        assert_eq!((exit.status, exit.killed), (ExitStatus::Signal(9), 3));
    }
}

#[tokio::test]
async fn a_polite_engine_that_leaves_orphans_is_cleaned_up_after() {
    let dir = tempfile::tempdir().expect("a directory");
    let family = family(dir.path());
    let plan = pair(&["--family", family.to_str().expect("utf-8")], &[]);
    let fleet = launch(&plan, dir.path()).await.unwrap_or_else(|error| panic!("{error}"));
    let exits = fleet.shutdown().await;
    assert_eq!((exits[0].status, exits[0].forced, exits[0].killed), (ExitStatus::Code(0), false, 2));
    assert_eq!(survivors(&pids(&family)), [] as [i32; 0]);
}

#[tokio::test]
async fn a_stopped_engine_is_ended_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let fleet = launch_of_the_deaf(&pair(&[], &[]), dir.path()).await;
    let pid = fleet.instances()[0].pid;
    kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("stops");
    let exits = fleet.shutdown().await;
    assert!(exits[0].forced, "{exits:?}");
    assert_eq!(survivors(&[pid]), [] as [i32; 0]);
}

#[tokio::test]
async fn every_unasked_end_is_told_once_and_its_family_goes_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let family = family(dir.path());
    let plan = pair(&[], &["--family", family.to_str().expect("utf-8")]);
    let fleet = launch(&plan, dir.path()).await.unwrap_or_else(|error| panic!("{error}"));
    let (prefill, decode) = (fleet.instances()[0].pid, fleet.instances()[1].pid);
    kill(Pid::from_raw(decode), Signal::SIGKILL).expect("kills");
    let death = fleet.next_death().await;
    assert_eq!((death.instance.as_str(), death.status), ("decode-0", ExitStatus::Signal(9)));
    assert_eq!(fleet.states(), [EngineState::Ready, EngineState::Exited]);
    // An exit with code 0 is as unexpected as any other.
    kill(Pid::from_raw(prefill), Signal::SIGTERM).expect("terminates");
    let death = fleet.next_death().await;
    assert_eq!((death.instance.as_str(), death.status), ("prefill-0", ExitStatus::Code(0)));
    let exits = fleet.shutdown().await;
    assert!(exits.iter().all(|exit| exit.unasked && exit.is_clean()), "{exits:?}");
    assert_eq!(survivors(&pids(&family)), [] as [i32; 0]);
}

#[tokio::test]
async fn shared_memory_of_a_killed_engine_is_removed_and_a_strangers_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let name = |who: &str| format!("/dev/shm/psm_{who}_{}", std::process::id());
    let (ours, theirs) = (name("ours"), name("theirs"));
    std::fs::write(&theirs, "").expect("writes");
    let plan = pair(&["--deaf", "--shared-memory", &ours], &[]);
    let fleet = launch_of_the_deaf(&plan, dir.path()).await;
    let exits = fleet.shutdown().await;
    assert_eq!(exits[0].leftovers, [std::path::PathBuf::from(&ours)]);
    assert!(!std::path::Path::new(&ours).exists() && std::path::Path::new(&theirs).exists());
    std::fs::remove_file(&theirs).expect("removes");
}
