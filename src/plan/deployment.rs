//! A topology made concrete: every instance with its GPUs, or the URLs of servers that somebody else runs.

use super::environment::Environment;
use super::topology::{KvTransfer, Role};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What stands where a secret was.
const MASK: &str = "***";

/// A value that must not be seen: it prints as `***`, everywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// For the header of a request or the environment of a child; for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(MASK)
    }
}

/// What was masked stays masked; whoever resumes a run takes the secret from the environment again.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Secret)
    }
}

/// Whether a variable's name says that its value is a secret. `TOKENIZERS_PARALLELISM` is no token.
pub fn names_a_secret(variable: &str) -> bool {
    const SECRET: [&str; 5] = ["KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL"];
    variable.to_ascii_uppercase().split('_').any(|part| SECRET.contains(&part))
}

/// For `serialize_with`: variables with their values, secrets masked.
pub(super) fn masked<S: serde::Serializer>(env: &BTreeMap<String, String>, s: S) -> Result<S::Ok, S::Error> {
    s.collect_map(env.iter().map(|(name, value)| (name, if names_a_secret(name) { MASK } else { value })))
}

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

    /// Puts back what a manifest only holds masked, from the environment of whoever resumes the run. Returns the
    /// variables that are not there.
    pub fn restore_secrets(&mut self, env: &Environment) -> Vec<String> {
        let (key, missing) = match self {
            Deployment::Spawn(fleet) => {
                let masked: Vec<String> =
                    fleet.env.iter().filter(|(_, value)| *value == MASK).map(|(name, _)| name.clone()).collect();
                let missing = masked.into_iter().filter(|name| match env.get(name) {
                    Some(value) => fleet.env.insert(name.clone(), value.to_string()).is_none(),
                    None => true,
                });
                let missing = missing.collect();
                (&mut fleet.api_key, missing)
            }
            Deployment::Attach(AttachPlan::Endpoint { api_key, .. } | AttachPlan::PrefillDecode { api_key, .. }) => {
                (api_key, Vec::new())
            }
        };
        *key = env.api_key();
        missing
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
    #[serde(serialize_with = "masked")]
    pub env: BTreeMap<String, String>,
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
    pub tensor_parallel: u32,
    pub gpus: GpuAssignment,
    /// The topology's args, its group's, then the user's `--engine-arg` and `-- ARGS`.
    pub args: Vec<String>,
}

impl InstancePlan {
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
    pub fn ids(&self) -> &[String] {
        match self {
            GpuAssignment::Cuda(ids) | GpuAssignment::Hip(ids) | GpuAssignment::Virtual(ids) => ids,
            GpuAssignment::None => &[],
        }
    }
}

/// Base URLs (`http://host:port`) of running servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AttachPlan {
    /// One endpoint that serves requests whole: an engine, or somebody's router.
    Endpoint { url: String, model: String, api_key: Option<Secret> },
    /// Engines behind our proxy.
    PrefillDecode { prefill: Vec<String>, decode: Vec<String>, model: String, api_key: Option<Secret> },
}
