//! Cores for benches that keep a server and a client apart.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// The first core, and the first that isn't a second thread of it. Without one, the second thread.
pub fn apart() -> [usize; 2] {
    let listed = |file: &str| {
        let list = std::fs::read_to_string(format!("/sys/devices/system/cpu/{file}")).unwrap_or_default();
        cores_of(list.trim())
    };
    let siblings = listed("cpu0/topology/thread_siblings_list");
    [0, listed("online").into_iter().find(|core| *core > 0 && !siblings.contains(core)).unwrap_or(1)]
}

/// The cores of a list as the kernel writes it: `0,16` or `0-1`.
fn cores_of(list: &str) -> Vec<usize> {
    list.split(',')
        .filter_map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            Some(from.parse().ok()?..=to.parse().ok()?)
        })
        .flatten()
        .collect()
}

/// Keeps this thread, and what it starts, on a core. Where there is a single core, all share it.
pub fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core).expect("a small number");
    let _ = sched_setaffinity(Pid::from_raw(0), &set);
}
