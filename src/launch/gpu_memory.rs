//! Whether the GPUs of a fleet that is gone hold no more than before it came.
//!
//! An engine's memory outlives it where a process that was not seen as its descendant keeps the context open, or where
//! the driver is stuck. The next fleet would find less room, or measure beside it, so it is told.

use super::hosts::Hosts;
use super::procs;
use crate::observe::gpu::GpuInfo;
use crate::plan::deployment::{GpuAssignment, InstancePlan};
use crate::words;
use serde::Serialize;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A driver frees the memory of a process some moments after its end.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a driver's own bookkeeping comes and goes by.
const TOLERANCE: u64 = 64 << 20;

/// Memory of a GPU that a fleet did not give back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GpuMemoryHeld {
    pub gpu: String,
    /// More than before the start.
    pub bytes: u64,
    /// Pid and command of those who compute on it now and did not before.
    pub holders: Vec<String>,
}

impl fmt::Display for GpuMemoryHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holders = match self.holders.as_slice() {
            [] => "processes that this user can't see".to_string(),
            holders => holders.join(", "),
        };
        let more = words::bytes(self.bytes);
        write!(f, "GPU {} holds {more} more than before the engines came, used by {holders}: ", self.gpu)?;
        f.write_str("free it before the next run (nvidia-smi, or fuser -v /dev/nvidia*)")
    }
}

/// The GPUs of a fleet as they were before it came.
#[derive(Debug, Clone)]
pub struct GpuBaseline {
    before: Vec<GpuInfo>,
    hosts: Hosts,
}

impl GpuBaseline {
    /// The fleet's GPUs as they are now. Virtual GPUs are left out: they have no memory that a process could hold.
    pub(super) async fn of(instances: &[InstancePlan], hosts: &Hosts) -> Self {
        GpuBaseline { before: of_fleet(instances, &hosts.gpus().await), hosts: hosts.clone() }
    }

    /// Waits until they are as they were, at most some seconds, and tells of those that are not. To be called when the
    /// fleet is gone.
    pub async fn not_given_back(&self) -> Vec<GpuMemoryHeld> {
        if self.before.is_empty() {
            return Vec::new();
        }
        let patience = Instant::now() + PATIENCE;
        loop {
            let held = held(&self.before, &self.hosts.gpus().await);
            if held.is_empty() || Instant::now() >= patience {
                return held;
            }
            sleep(Duration::from_millis(250)).await;
        }
    }
}

fn of_fleet(instances: &[InstancePlan], present: &[GpuInfo]) -> Vec<GpuInfo> {
    let real = |i: &&InstancePlan| matches!(i.gpus, GpuAssignment::Cuda(_) | GpuAssignment::Hip(_));
    let ids: Vec<&String> = instances.iter().filter(real).flat_map(|i| i.gpus.ids()).collect();
    present.iter().filter(|gpu| ids.iter().any(|id| gpu.is_called(id))).cloned().collect()
}

fn held(before: &[GpuInfo], now: &[GpuInfo]) -> Vec<GpuMemoryHeld> {
    let more = |then: &GpuInfo| {
        let now = now.iter().find(|gpu| gpu.index == then.index)?;
        let bytes = now.memory_used_bytes?.saturating_sub(then.memory_used_bytes?);
        let known = |pid: u32| then.processes.iter().any(|process| process.pid == pid);
        let new = now.processes.iter().map(|process| process.pid).filter(|pid| !known(*pid));
        let holders =
            new.map(|pid| procs::described_on(then.on_node.as_ref().map(|(node, _)| node.as_str()), pid)).collect();
        (bytes > TOLERANCE).then_some(GpuMemoryHeld { gpu: then.called(), bytes, holders })
    };
    before.iter().filter_map(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::gpu::GpuProcess;
    use crate::plan::parallelism::Parallelism;
    use crate::plan::topology::Role;

    fn gpu(index: u32, mib: u64, pids: &[u32]) -> GpuInfo {
        let processes = pids.iter().map(|&pid| GpuProcess { pid, memory_bytes: None }).collect();
        GpuInfo { index, memory_used_bytes: Some(mib << 20), processes, ..GpuInfo::default() }
    }

    #[test]
    fn only_growth_beyond_bookkeeping_is_told_with_those_who_came_meanwhile() {
        let me = std::process::id();
        let before = [gpu(0, 600, &[1]), gpu(1, 4, &[])];
        assert_eq!(held(&before, &[gpu(0, 640, &[1]), gpu(1, 0, &[])]), []);
        let held = held(&before, &[gpu(0, 600, &[1]), gpu(1, 1004, &[me])]);
        assert_eq!((&*held[0].gpu, held[0].bytes >> 20, held.len()), ("1", 1000, 1));
        assert!(held[0].holders[0].starts_with(&format!("pid {me} (")), "{held:?}");
    }

    #[test]
    fn a_gpu_that_tells_no_memory_is_not_accused() {
        let silent = GpuInfo { memory_used_bytes: None, ..gpu(0, 0, &[]) };
        assert_eq!(held(&[gpu(0, 600, &[])], std::slice::from_ref(&silent)), []);
        assert_eq!(held(&[silent], &[gpu(0, 9000, &[])]), []);
    }

    #[test]
    fn words() {
        let nobody = GpuMemoryHeld { gpu: "3".into(), bytes: 5 << 30, holders: vec![] };
        insta::assert_snapshot!(nobody, @"GPU 3 holds 5 GiB more than before the engines came, used by processes that this user can't see: free it before the next run (nvidia-smi, or fuser -v /dev/nvidia*)");
    }

    #[test]
    fn the_baseline_holds_the_fleets_real_gpus_only() {
        let instance = |gpus| InstancePlan {
            role: Role::Replica,
            index: 0,
            parallelism: Parallelism::default(),
            gpus,
            args: vec![],
            node: None,
            more_nodes: Vec::new(),
        };
        let present = [gpu(0, 1, &[]), gpu(1, 1, &[])];
        let kept = |gpus| -> Vec<u32> { of_fleet(&[instance(gpus)], &present).iter().map(|gpu| gpu.index).collect() };
        assert_eq!(kept(GpuAssignment::Cuda(vec!["1".into()])), [1]);
        assert_eq!(kept(GpuAssignment::Virtual(vec!["1".into()])), [0; 0]);
        assert_eq!(kept(GpuAssignment::None), [0; 0]);
    }
}
