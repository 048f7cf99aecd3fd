//! What is predicted: engines, their sizes and those of their settings that the model knows.

use crate::plan::connector::{self, KvDirection};
use crate::plan::deployment::{FleetPlan, InstancePlan};
use crate::plan::parallelism::Parallelism;
use crate::plan::topology::{Role, pair_label, replicas_label};
use std::fmt;

/// vLLM's flags that change what a step or a hand-over costs; `None` is vLLM's default on the GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EngineSettings {
    /// Tokens of one KV block.
    pub block_size: u32,
    pub max_num_batched_tokens: Option<u32>,
    pub max_num_seqs: Option<u32>,
    /// Share of the GPU's memory, 0 to 1.
    pub memory_utilization: f64,
}

impl Default for EngineSettings {
    fn default() -> Self {
        EngineSettings { block_size: 16, max_num_batched_tokens: None, max_num_seqs: None, memory_utilization: 0.8 }
    }
}

impl EngineSettings {
    /// Reads them out of an engine's arguments; the last word on each counts, and what isn't known is passed over.
    pub fn of_args(args: &[String]) -> Self {
        let mut settings = EngineSettings::default();
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word.as_str(), None),
            };
            let mut value = || value.or_else(|| words.next().map(String::as_str)).unwrap_or_default();
            match name.replace('_', "-").as_str() {
                "--block-size" => settings.block_size = value().parse().unwrap_or(settings.block_size).max(1),
                "--max-num-batched-tokens" => settings.max_num_batched_tokens = value().parse().ok(),
                "--max-num-seqs" => settings.max_num_seqs = value().parse().ok(),
                "--gpu-memory-utilization" => {
                    settings.memory_utilization = value().parse().unwrap_or(settings.memory_utilization);
                }
                _ => {}
            }
        }
        settings
    }
}

/// Equal engines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    pub replicas: u32,
    /// Of each of them.
    pub ranks: Parallelism,
    pub settings: EngineSettings,
}

impl Group {
    /// Data-parallel ranks of all of them: each has a queue of its own.
    pub fn queues(&self) -> u32 {
        self.replicas * self.ranks.data_parallel
    }

    pub fn gpus(&self) -> u32 {
        self.replicas * self.ranks.gpus()
    }
}

/// The ways to spend GPUs that can be compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PredictedArm {
    /// Engines that serve requests whole; a router in front of more than one.
    Simple(Group),
    PrefillDecode {
        prefill: Group,
        decode: Group,
        /// Whether prefill pushes the KV, so that decode gets its request at once.
        pushed: bool,
    },
}

impl PredictedArm {
    /// Of a fleet that topobench starts; `None` where its instances are neither replicas nor prefill and decode.
    pub fn of(fleet: &FleetPlan) -> Option<Self> {
        let group = |role: Role| -> Option<Group> {
            let of_role: Vec<&InstancePlan> = fleet.instances.iter().filter(|i| i.role == role).collect();
            let first = of_role.first()?;
            Some(Group {
                replicas: u32::try_from(of_role.len()).ok()?,
                ranks: first.parallelism,
                settings: EngineSettings::of_args(&first.args),
            })
        };
        match (group(Role::Prefill), group(Role::Decode)) {
            (Some(prefill), Some(decode)) => {
                let pushed = fleet.kv.as_ref().map(connector::direction) == Some(Ok(KvDirection::Push));
                Some(PredictedArm::PrefillDecode { prefill, decode, pushed })
            }
            _ => group(Role::Replica).map(PredictedArm::Simple),
        }
    }
}

impl fmt::Display for PredictedArm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PredictedArm::Simple(group) => f.write_str(&replicas_label(group.replicas, group.ranks)),
            PredictedArm::PrefillDecode { prefill, decode, pushed } => {
                let label = pair_label((prefill.replicas, prefill.ranks), (decode.replicas, decode.ranks));
                write!(f, "{label}{}", if *pushed { " push" } else { "" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_vllm_takes_them() {
        let words = "--dtype auto --block_size=128 --max-num-batched-tokens 2048 --max-num-batched-tokens=512 --gpu-memory-utilization 0.9";
        let args: Vec<String> = words.split(' ').map(str::to_string).collect();
        let settings = EngineSettings::of_args(&args);
        assert_eq!((settings.block_size, settings.max_num_batched_tokens), (128, Some(512)));
        assert_eq!((settings.max_num_seqs, settings.memory_utilization), (None, 0.9));
        assert_eq!(EngineSettings::of_args(&[]), EngineSettings::default());
    }
}
