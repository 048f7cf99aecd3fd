//! A topology made concrete: every instance with its GPUs, or the URLs of servers that somebody else runs.

use super::access::Access;
use super::attach_gpus::AttachGpus;
use super::engine_env::EngineEnv;
use super::environment::Environment;
use super::mask::{holds_mask, serialize_masked_words};
use super::metrics_url::MetricsUrl;
use super::parallelism::Parallelism;
use super::secret::MASK;
pub use super::secret::Secret;
use super::topology::{KvTransfer, Role};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where an arm's engines come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deployment {
    /// Ours: spawned, proved, torn down.
    Spawn(FleetPlan),
    /// Somebody else's: driven and left alone.
    Attach(AttachPlan),
}

impl Deployment {
    /// Arguments of the first engine; alike for all in what concerns the model.
    pub fn engine_args(&self) -> &[String] {
        match self {
            Deployment::Spawn(fleet) => fleet.instances.first().map_or(&[], |i| i.args.as_slice()),
            Deployment::Attach(_) => &[],
        }
    }

    /// Whether no argument was masked when the deployment was stored.
    pub fn secrets_are_whole(&self) -> bool {
        match self {
            Deployment::Spawn(fleet) => {
                let mut options = fleet.kv.iter().flat_map(|kv| kv.extra_config.values());
                let mut args = fleet.instances.iter().flat_map(|i| &i.args);
                !options.any(holds_mask) && !args.any(|arg| arg.contains(MASK))
            }
            Deployment::Attach(_) => true,
        }
    }

    /// A run that is resumed takes its secrets from the environment: the manifest only holds masks.
    ///
    /// # Errors
    /// Names of variables that the plan gave its engines and the environment doesn't have.
    pub fn take_secrets(&mut self, env: &Environment) -> Result<(), Vec<String>> {
        match self {
            Deployment::Spawn(fleet) => {
                fleet.api_key = env.api_key();
                fleet.env.unmask(env)
            }
            Deployment::Attach(plan) => plan.access.take_secrets(env),
        }
    }
}

/// Engines to be started for one arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetPlan {
    pub program: String,
    pub model: String,
    pub served_model_name: String,
    /// `VLLM_API_KEY` of the engines and the `Authorization` of requests.
    pub api_key: Option<Secret>,
    /// For every instance, merged over the inherited environment.
    pub env: EngineEnv,
    /// Present for prefill/decode.
    pub kv: Option<KvTransfer>,
    pub instances: Vec<InstancePlan>,
    /// How long an instance may show no progress in its log before it counts as stuck.
    pub ready_timeout: Duration,
}

/// One `vllm serve`, before its ports are chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstancePlan {
    pub role: Role,
    /// Position within its role, from 0.
    pub index: u32,
    #[serde(flatten)]
    pub parallelism: Parallelism,
    pub gpus: GpuAssignment,
    /// The topology's args, its group's, then the user's `--engine-arg` and `-- ARGS`.
    #[serde(serialize_with = "serialize_masked_words")]
    pub args: Vec<String>,
    /// The node of a Slurm job that it runs on; `None`: the machine that topobench runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<JobNode>,
    /// Further nodes of an engine that is larger than one. Each has as many of its GPUs as the first, in the GPUs' order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_nodes: Vec<JobNode>,
}

/// A node of a Slurm job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobNode {
    pub name: String,
    /// By which the other nodes reach it.
    pub address: String,
}

impl InstancePlan {
    /// Where it listens.
    pub fn address(&self) -> &str {
        self.node.as_ref().map_or("127.0.0.1", |node| &node.address)
    }

    /// How many nodes have a part of it; 1 on this machine, too.
    pub fn parts(&self) -> usize {
        1 + self.more_nodes.len()
    }

    /// The GPUs of one of its nodes, counted from 0.
    pub fn gpus_of_part(&self, part: usize) -> GpuAssignment {
        let each = self.gpus.ids().len() / self.parts();
        self.gpus.with(self.gpus.ids().iter().skip(part * each).take(each).cloned().collect())
    }

    /// The node of one of its parts; `None`: this machine.
    pub fn node_of_part(&self, part: usize) -> Option<&JobNode> {
        self.node.iter().chain(&self.more_nodes).nth(part)
    }

    /// `prefill-0`, `decode-1`, `replica-0`: the name in logs, manifests and messages.
    pub fn name(&self) -> String {
        format!("{}-{}", self.role.name(), self.index)
    }
}

/// The GPUs an instance gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "ids", rename_all = "snake_case")]
pub enum GpuAssignment {
    /// Set in `CUDA_VISIBLE_DEVICES` (indices or UUIDs).
    Cuda(Vec<String>),
    /// Set in `HIP_VISIBLE_DEVICES`.
    Hip(Vec<String>),
    /// Of an engine that simulates them.
    Virtual(Vec<String>),
    /// This machine has none: the engine computes on the CPU.
    None,
}

impl GpuAssignment {
    /// As they are called on their own node: without the node's name, which comes first in a Slurm job (`n1:0`).
    pub fn local_ids(&self) -> Vec<&str> {
        self.ids().iter().map(|id| id.split_once(':').map_or(id.as_str(), |(_, local)| local)).collect()
    }

    /// Other GPUs of the same kind.
    fn with(&self, ids: Vec<String>) -> GpuAssignment {
        match self {
            GpuAssignment::Cuda(_) => GpuAssignment::Cuda(ids),
            GpuAssignment::Hip(_) => GpuAssignment::Hip(ids),
            GpuAssignment::Virtual(_) => GpuAssignment::Virtual(ids),
            GpuAssignment::None => GpuAssignment::None,
        }
    }

    pub fn ids(&self) -> &[String] {
        match self {
            GpuAssignment::Cuda(ids) | GpuAssignment::Hip(ids) | GpuAssignment::Virtual(ids) => ids,
            GpuAssignment::None => &[],
        }
    }
}

/// Servers that run already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttachPlan {
    #[serde(flatten)]
    pub servers: AttachedServers,
    pub model: String,
    #[serde(flatten)]
    pub access: Access,
    /// Where the counters of engines behind a front are read; empty: from the servers themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricsUrl>,
    /// Seconds until what engines did can be read there, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_lag: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<AttachGpus>,
}

/// Base URLs (`http://host:port`) of running servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AttachedServers {
    /// One endpoint that serves requests whole: an engine, or somebody's front.
    Endpoint {
        url: String,
        /// Prefill and decode engines are behind it, as whoever measures it says.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        hands_over: bool,
    },
    /// Engines behind our proxy.
    PrefillDecode { prefill: Vec<String>, decode: Vec<String> },
}

impl AttachPlan {
    /// Base URLs of all servers.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        let (prefill, decode) = match &self.servers {
            AttachedServers::Endpoint { url, .. } => (std::slice::from_ref(url), [].as_slice()),
            AttachedServers::PrefillDecode { prefill, decode } => (prefill.as_slice(), decode.as_slice()),
        };
        prefill.iter().chain(decode).map(String::as_str)
    }

    /// Whether prefill and decode engines serve it.
    pub fn hands_over(&self) -> bool {
        !matches!(self.servers, AttachedServers::Endpoint { hands_over: false, .. })
    }

    /// Whether counters of decode engines are read.
    pub fn watches_decode(&self) -> bool {
        match &self.servers {
            AttachedServers::PrefillDecode { .. } if self.metrics.is_empty() => true,
            _ => self.metrics.iter().any(|url| url.role == Role::Decode),
        }
    }
}
