//! The process table as /proc tells it: who descends from whom, and how to end a whole tree.
//!
//! Engines rename themselves (`VLLM::EngineCore`), so nothing here looks at command lines to find a process: only at
//! parents, groups and sessions.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// One process of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proc {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    pub zombie: bool,
}

/// All processes at one moment. Processes that vanish while it is read are left out.
#[derive(Debug, Default)]
pub(super) struct ProcTable {
    children: HashMap<i32, Vec<Proc>>,
}

impl ProcTable {
    pub(super) fn read() -> Self {
        let Ok(processes) = procfs::process::all_processes() else { return ProcTable::default() };
        processes
            .flatten()
            .filter_map(|process| process.stat().ok())
            .map(|stat| Proc {
                pid: stat.pid,
                parent: stat.ppid,
                group: stat.pgrp,
                session: stat.session,
                zombie: matches!(stat.state, 'Z' | 'X'),
            })
            .collect()
    }

    /// Everything below `root`, without it.
    pub(super) fn descendants(&self, root: i32) -> Vec<Proc> {
        let mut found: Vec<Proc> = Vec::new();
        let mut parents = vec![root];
        while let Some(parent) = parents.pop() {
            for child in self.children.get(&parent).into_iter().flatten() {
                found.push(*child);
                parents.push(child.pid);
            }
        }
        found
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Proc> {
        self.children.values().flatten()
    }
}

impl FromIterator<Proc> for ProcTable {
    fn from_iter<I: IntoIterator<Item = Proc>>(procs: I) -> Self {
        let mut children: HashMap<i32, Vec<Proc>> = HashMap::new();
        for proc in procs {
            // Pid 0 is its own parent in the table of some kernels' idle task.
            if proc.pid != proc.parent {
                children.entry(proc.parent).or_default().push(proc);
            }
        }
        ProcTable { children }
    }
}

/// A process's command line for a message, at most 200 characters; the short name where the line is empty or hidden.
pub(super) fn command_line(pid: i32) -> String {
    let Ok(process) = procfs::process::Process::new(pid) else { return "?".to_string() };
    let line = process.cmdline().map(|words| words.join(" ")).unwrap_or_default();
    let line = match line.trim() {
        "" => process.stat().map_or_else(|_| "?".to_string(), |stat| format!("[{}]", stat.comm)),
        line => line.to_string(),
    };
    match line.char_indices().nth(200) {
        Some((cut, _)) => format!("{}...", &line[..cut]),
        None => line,
    }
}

/// Of a process on a node of a Slurm job, or on this machine, where its command line is known too.
pub(super) fn described_on(node: Option<&str>, pid: u32) -> String {
    match node {
        Some(node) => format!("pid {pid} on {node}"),
        None => described(pid),
    }
}

/// `pid 4711 (python3 serve.py)`.
pub(super) fn described(pid: u32) -> String {
    format!("pid {pid} ({})", command_line(pid.cast_signed()))
}

/// What a sweep did.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Swept {
    /// Processes that were still alive and got SIGKILL.
    pub killed: u32,
    /// Pids that SIGKILL did not end within the limit: stuck in the kernel, usually in a driver.
    pub survivors: Vec<i32>,
}

/// SIGKILL to everything `find` names, round after round, until it names nothing any more: a process may fork while
/// its siblings are being killed. Zombies among our own children are reaped one by one, never by `waitpid(-1)`, which
/// would steal the exit status of children that somebody else in this process waits for.
pub(super) fn sweep(mut find: impl FnMut() -> Vec<Proc>, limit: Duration) -> Swept {
    let started = Instant::now();
    let mut killed = BTreeSet::new();
    loop {
        let found = find();
        if found.is_empty() || started.elapsed() > limit {
            let survivors = found.iter().map(|p| p.pid).collect();
            return Swept { killed: killed.len() as u32, survivors };
        }
        for proc in &found {
            if proc.zombie {
                reap(proc);
            } else if kill(Pid::from_raw(proc.pid), Signal::SIGKILL) != Err(Errno::ESRCH) {
                killed.insert(proc.pid);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Collects `proc` if it is a zombie child of this process; anybody else's zombie is left to its parent.
pub(super) fn reap(proc: &Proc) {
    if proc.zombie && proc.parent == std::process::id().cast_signed() {
        // A failure means that it is gone already, which is what was wanted.
        let _ = waitpid(Pid::from_raw(proc.pid), Some(WaitPidFlag::WNOHANG));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proc(pid: i32, parent: i32) -> Proc {
        Proc { pid, parent, group: pid, session: pid, zombie: false }
    }

    #[test]
    fn descendants_reach_through_generations_and_leave_strangers_out() {
        let table: ProcTable =
            [proc(1, 0), proc(10, 1), proc(11, 10), proc(12, 11), proc(20, 1), proc(0, 0)].into_iter().collect();
        let mut pids: Vec<i32> = table.descendants(10).iter().map(|p| p.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [11, 12]);
        assert!(table.descendants(12).is_empty());
    }

    #[test]
    fn the_table_holds_this_process_and_its_child() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep runs");
        let pid = child.id().cast_signed();
        let below = ProcTable::read().descendants(std::process::id().cast_signed());
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert!(below.iter().any(|p| p.pid == pid));
    }

    #[test]
    fn a_sweep_ends_when_nothing_is_named_any_more() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep runs");
        let pid = child.id().cast_signed();
        let me = std::process::id().cast_signed();
        let find = || ProcTable::read().descendants(me).into_iter().filter(|p| p.pid == pid).collect();
        assert_eq!(sweep(find, Duration::from_secs(30)), Swept { killed: 1, survivors: vec![] });
        // Reaped by the sweep, so there is nothing left to wait for.
        assert!(child.wait().is_err());
    }

    #[test]
    fn command_lines_are_cut_and_never_missing() {
        assert!(!command_line(std::process::id().cast_signed()).is_empty());
        assert_eq!(command_line(i32::MAX), "?");
    }
}
