//! The Slurm job in which engines are to be started, as far as a plan needs to know it.

use super::deployment::JobNode;
use super::gpus::{GpuPool, Vendor};

/// A job's nodes, and the GPUs that engines may have of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlurmJob {
    pub id: String,
    pub vendor: Vendor,
    pub nodes: Vec<NodeGpus>,
    /// What its GPUs are called, each name once.
    pub gpu_names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeGpus {
    pub node: JobNode,
    /// As they are called there.
    pub ids: Vec<String>,
}

impl SlurmJob {
    /// How many of its first `gpus` GPUs each node has; empty for a job without GPUs.
    pub fn gpus_of_nodes(&self, gpus: u32) -> Vec<u32> {
        let mut left = gpus;
        let take = |node: &NodeGpus| {
            let taken = left.min(node.ids.len() as u32);
            left -= taken;
            taken
        };
        self.nodes.iter().map(take).filter(|taken| *taken > 0).collect()
    }

    /// Its GPUs, each called by its node and its name there: `n1:0`. Of an engine that simulates GPUs they are as many as
    /// the job has; a job without any lets each node simulate `devices`.
    pub(super) fn pool(&self, devices: Option<u32>) -> GpuPool {
        let has_none = self.nodes.iter().all(|node| node.ids.is_empty());
        let invented: Vec<String> = (0..devices.filter(|_| has_none).unwrap_or(0)).map(|i| i.to_string()).collect();
        let of_node = |node: &NodeGpus| {
            let ids = if has_none { &invented } else { &node.ids };
            ids.iter().map(|id| format!("{}:{id}", node.node.name)).collect::<Vec<_>>()
        };
        let vendor = match devices {
            Some(_) => Vendor::Virtual,
            None if has_none => Vendor::None,
            None => self.vendor,
        };
        let counts: Vec<_> =
            self.nodes.iter().map(|node| format!("{} on {}", node.ids.len(), node.node.name)).collect();
        GpuPool {
            vendor,
            ids: self.nodes.iter().flat_map(of_node).collect(),
            places: Vec::new(),
            nodes: self.nodes.iter().map(|node| node.node.clone()).collect(),
            origin: format!("Slurm job {}: {}", self.id, counts.join(", ")),
        }
    }
}
