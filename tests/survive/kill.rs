//! kill -9 of topobench at random moments, over fleets whose engines have children, children in sessions of their own,
//! ignore SIGTERM, or leave files in /dev/shm and /tmp.

use crate::support::Bench;
use kit::eventually;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Kills of each of the four fleets; `TOPOBENCH_KILLS` sets another number.
const KILLS: u32 = 25;
/// How long everything may take to vanish.
const LIMIT: Duration = Duration::from_secs(5);

/// How many kills hit, and how much was there in total just before them.
#[derive(Default)]
struct Tally {
    descendants: usize,
    ports: usize,
    files: usize,
}

/// What a fleet has at a moment.
struct Holdings {
    pids: Vec<i32>,
    ports: Vec<SocketAddr>,
    files: Vec<PathBuf>,
}

fn holdings(bench: &Bench, seen: &mut BTreeSet<i32>) -> Holdings {
    let pids = bench.tagged();
    seen.extend(&pids);
    Holdings { ports: listening(&pids), files: files_of(seen), pids }
}

/// Sockets on which these processes listen.
pub(crate) fn listening(pids: &[i32]) -> Vec<SocketAddr> {
    let mut inodes = BTreeSet::new();
    for process in pids.iter().filter_map(|&pid| procfs::process::Process::new(pid).ok()) {
        inodes.extend(process.fd().into_iter().flatten().flatten().filter_map(|fd| match fd.target {
            procfs::process::FDTarget::Socket(inode) => Some(inode),
            _ => None,
        }));
    }
    let tables = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    let listens = tables.filter(|s| s.state == procfs::net::TcpState::Listen && inodes.contains(&s.inode));
    listens.map(|s| s.local_address).collect()
}

/// Files that `leave-files` gives the engines with these pids.
fn files_of(pids: &BTreeSet<i32>) -> Vec<PathBuf> {
    let names = |pid: &i32| {
        [format!("/dev/shm/psm_sim{pid}"), format!("/tmp/{pid:08x}-0000-0000-0000-{pid:012x}")].map(PathBuf::from)
    };
    pids.iter().flat_map(names).filter(|path| path.symlink_metadata().is_ok()).collect()
}

/// Starts a run and kills it; false if it was over before.
fn kill_once(fleet: &str, faults: &str, delay: Duration, tally: &mut Tally) -> bool {
    let faults: String = faults.split(' ').map(|f| format!(" --engine-arg --sim-fault --engine-arg {f}")).collect();
    let bench = Bench::new(fleet).args("--request-rate 40,41 --num-prompts 15 --random-output-len 4").args(&faults);
    let mut command = bench.command();
    let mut child =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().expect("starts");
    eventually("a first descendant", || (bench.tagged().len() > 1).then_some(()));
    let mut seen = BTreeSet::new();
    let since = Instant::now();
    let mut before = holdings(&bench, &mut seen);
    while since.elapsed() < delay {
        std::thread::sleep(Duration::from_millis(15));
        before = holdings(&bench, &mut seen);
    }
    let over = child.try_wait().expect("waits").is_some();
    // Fine if the run is over.
    child.kill().expect("kills");
    child.wait().expect("reaped");
    let left = bench.left_after(LIMIT);
    assert!(left.is_empty(), "{fleet}, killed {delay:?} after its first child, left {left:#?}");
    // Pids are reused: where these engines leave no files, files of such a name belong to somebody else.
    let files = if faults.contains("leave-files") { files_of(&seen) } else { Vec::new() };
    assert!(files.is_empty(), "{fleet}, killed {delay:?} after its first child, left {files:?}");
    if !over {
        tally.descendants += before.pids.len() - 1;
        tally.ports += before.ports.len();
        tally.files += before.files.len();
    }
    !over
}

/// As many kills as asked for, at moments from the first child to beyond the end of the run.
fn kill_often(fleet: &str, faults: &str) -> Tally {
    let kills = std::env::var("TOPOBENCH_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let mut tally = Tally::default();
    let mut hits = 0;
    while hits < kills {
        let delay = Duration::from_millis(rand::random_range(0..1500));
        hits += u32::from(kill_once(fleet, faults, delay, &mut tally));
    }
    assert!(tally.descendants > kills as usize, "there was something to leave behind: {}", tally.descendants);
    assert!(tally.ports > 0, "there were ports to hold");
    tally
}

#[test]
fn a_simple_fleet_with_orphans_vanishes_with_its_topobench() {
    kill_often("simple", "grandchild setsid-child");
}

#[test]
fn a_deaf_fleet_of_replicas_vanishes_with_its_topobench_and_its_files() {
    let tally = kill_often("simple --replicas 2", "ignore-sigterm setsid-child leave-files");
    assert!(tally.files > 0, "there were files to leave behind");
}

#[test]
fn a_nixl_pair_that_is_deaf_vanishes_with_its_topobench() {
    kill_often("nixl", "ignore-sigterm grandchild");
}

#[test]
fn two_prefill_and_two_decode_instances_vanish_with_their_topobench_and_their_files() {
    let tally = kill_often("nixl --prefill 2 --decode 2", "leave-files setsid-child");
    assert!(tally.files > 0, "there were files to leave behind");
}
