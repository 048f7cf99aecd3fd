//! The hosts of a fleet together: this machine, or nodes of a Slurm job.

use super::host::Host;
use super::shared_memory;
use super::slurm::{Allocation, Node, NodeError};
use crate::observe::gpu::{GpuInfo, GpuSample};
use crate::observe::gpus::Gpus;
use crate::plan::deployment::{InstancePlan, JobNode};
use crate::units::Offset;
use futures_util::future::join_all;
use std::path::Path;
use std::sync::Arc;

/// The machines that a fleet's engines run on.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// In the order in which instances name them; none where all run on this machine.
    nodes: Vec<Arc<Node>>,
}

impl Hosts {
    /// Reaches every node that an instance names, through a step on it that lasts as long as this.
    pub(super) async fn reach(instances: &[InstancePlan], program: &Path) -> Result<Hosts, NodeError> {
        let mut names: Vec<&str> = Vec::new();
        for node in instances.iter().flat_map(|instance| instance.node.iter().chain(&instance.more_nodes)) {
            if !names.contains(&node.name.as_str()) {
                names.push(&node.name);
            }
        }
        if names.is_empty() {
            return Ok(Hosts { nodes: Vec::new() });
        }
        let job = Allocation::id_of_process();
        let nodes = join_all(names.into_iter().map(|name| Node::reach(&job, name, program))).await;
        Ok(Hosts { nodes: nodes.into_iter().collect::<Result<_, _>>()? })
    }

    /// The host of what runs on this node; `None` is this machine.
    pub(super) fn named(&self, node: Option<&JobNode>) -> Host {
        let named = |known: &&Arc<Node>| node.is_some_and(|node| node.name == known.facts().name);
        self.nodes.iter().find(named).map_or(Host::This, |node| Host::Node(Arc::clone(node)))
    }

    /// The first instance's.
    pub(super) fn first(&self) -> Host {
        self.nodes.first().map_or(Host::This, |node| Host::Node(Arc::clone(node)))
    }

    /// Each of them once.
    pub(super) fn all(&self) -> Vec<Host> {
        match self.nodes.is_empty() {
            true => vec![Host::This],
            false => self.nodes.iter().map(|node| Host::Node(Arc::clone(node))).collect(),
        }
    }

    /// Whether they are nodes of a job, and not this machine.
    pub fn are_nodes(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// Free bytes of /dev/shm where there are fewest; `None` where nobody tells.
    pub(super) async fn least_shared_memory(&self) -> Option<u64> {
        if self.nodes.is_empty() {
            return shared_memory::free();
        }
        let free = join_all(self.nodes.iter().map(|node| node.shared_memory_free())).await;
        free.into_iter().filter_map(|told| told.ok().flatten()).min()
    }

    /// Their GPUs, numbered through all of them. Those of a node that doesn't answer are missing.
    pub async fn gpus(&self) -> Vec<GpuInfo> {
        if self.nodes.is_empty() {
            return Gpus::detect().list();
        }
        let told = join_all(self.nodes.iter().map(|node| node.gpus())).await;
        let mut all = Vec::new();
        for ((node, first), gpus) in self.nodes.iter().zip(self.firsts()).zip(told) {
            let named = |gpu: GpuInfo| GpuInfo {
                on_node: Some((node.facts().name.clone(), gpu.index)),
                index: first + gpu.index,
                ..gpu
            };
            all.extend(gpus.unwrap_or_default().into_iter().map(named));
        }
        all
    }

    /// One sample for each of [`Hosts::gpus`], as of now. Not for a runtime's own threads: it waits for the nodes.
    pub fn sample(&self, at: Offset, runtime: &tokio::runtime::Handle) -> Vec<GpuSample> {
        if self.nodes.is_empty() {
            return Gpus::detect().sample(at);
        }
        let told = runtime.block_on(join_all(self.nodes.iter().map(|node| node.sample())));
        let numbered = self.firsts().zip(told).flat_map(|(first, samples)| {
            let samples = samples.unwrap_or_default().into_iter();
            samples.map(move |sample| GpuSample { at, gpu: first + sample.gpu, ..sample })
        });
        numbered.collect()
    }

    /// The number of each node's first GPU.
    fn firsts(&self) -> impl Iterator<Item = u32> {
        self.nodes.iter().scan(0, |next, node| {
            let first = *next;
            *next += node.facts().gpus.iter().map(|gpu| gpu.index + 1).max().unwrap_or(0);
            Some(first)
        })
    }
}
