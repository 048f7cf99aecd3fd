//! What the kernel says of processes.

use std::time::{Duration, Instant};

pub fn every_pid() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("reads").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// What follows a process's name in its stat file; empty when it is gone. The state is field 0.
fn stat(pid: i32) -> Vec<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A name may hold anything, brackets and spaces included.
    stat.rsplit_once(") ").map_or_else(Vec::new, |(_, rest)| rest.split(' ').map(str::to_owned).collect())
}

/// Zombies, which their parent has yet to collect, count as dead.
pub fn is_alive(pid: i32) -> bool {
    stat(pid).first().is_some_and(|state| state != "Z" && state != "X")
}

/// 0 when it is gone.
pub fn parent(pid: i32) -> i32 {
    stat(pid).get(1).and_then(|parent| parent.parse().ok()).unwrap_or(0)
}

/// User and system time of its threads, in seconds; `None` when it is gone.
pub fn cpu_secs(pid: i32) -> Option<f64> {
    let stat = stat(pid);
    let ticks = |i: usize| stat.get(i)?.parse::<f64>().ok();
    // utime and stime, the 14th and 15th of proc_pid_stat(5), in ticks of a hundredth of a second.
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// The high-water mark of its resident memory, bytes; `None` when it is gone.
pub fn peak_memory(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(mark.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

pub fn command_line(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Those of these processes that are alive after so long; returns as soon as none is.
pub fn survivors_after(limit: Duration, pids: &[i32]) -> Vec<i32> {
    let started = Instant::now();
    loop {
        let living: Vec<i32> = pids.iter().copied().filter(|&pid| is_alive(pid)).collect();
        if living.is_empty() || started.elapsed() > limit {
            return living;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Those that are alive at this moment.
pub fn survivors(pids: &[i32]) -> Vec<i32> {
    survivors_after(Duration::ZERO, pids)
}
