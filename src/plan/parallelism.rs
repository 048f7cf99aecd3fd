//! How the GPUs of one engine share a model.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Sizes of an engine's groups of ranks, as vLLM's flags have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Parallelism {
    /// Ranks that share every layer.
    pub tensor_parallel: u32,
    /// Copies of the attention layers behind one API server, each with a queue and KV memory of its own. A dense model is
    /// copied whole.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub data_parallel: u32,
    /// Stages that each have some of the layers.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub pipeline_parallel: u32,
    /// Whether whole experts lie on each rank, instead of a slice of every expert.
    #[serde(default, skip_serializing_if = "is_off")]
    pub expert_parallel: bool,
}

pub(super) fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(super) fn is_one(size: &u32) -> bool {
    *size == 1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(super) fn is_off(on: &bool) -> bool {
    !on
}

impl Parallelism {
    pub fn tensor(ranks: u32) -> Self {
        Parallelism { tensor_parallel: ranks, data_parallel: 1, pipeline_parallel: 1, expert_parallel: false }
    }

    /// GPUs of one engine.
    pub fn gpus(self) -> u32 {
        self.tensor_parallel.saturating_mul(self.data_parallel).saturating_mul(self.pipeline_parallel)
    }

    /// GPUs of one data-parallel rank, which holds all layers.
    pub fn gpus_of_rank(self) -> u32 {
        self.tensor_parallel.saturating_mul(self.pipeline_parallel)
    }

    /// Whether vLLM can lay it over so many nodes: with as many GPUs on each, and either whole data-parallel ranks on a node
    /// or a rank over whole nodes.
    pub fn can_share(self, nodes: u32) -> bool {
        let (all, rank) = (self.gpus(), self.gpus_of_rank());
        let each = all.checked_div(nodes).unwrap_or_default();
        each > 0 && all.is_multiple_of(nodes) && (each.is_multiple_of(rank) || rank.is_multiple_of(each))
    }

    /// Whether it is nothing but tensor parallelism.
    pub fn is_tensor_only(self) -> bool {
        self == Parallelism::tensor(self.tensor_parallel)
    }
}

impl Default for Parallelism {
    fn default() -> Self {
        Parallelism::tensor(1)
    }
}

/// The short form people say: `TP2`, `DP4,EP`, `TP2,PP2`.
impl fmt::Display for Parallelism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = [("TP", self.tensor_parallel), ("PP", self.pipeline_parallel), ("DP", self.data_parallel)];
        let mut parts: Vec<String> =
            sizes.iter().filter(|(_, size)| *size != 1).map(|(name, size)| format!("{name}{size}")).collect();
        if parts.is_empty() {
            parts.push("TP1".to_string());
        }
        if self.expert_parallel {
            parts.push("EP".to_string());
        }
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_say_what_is_not_one() {
        let of = |tp, pp, dp, ep| Parallelism {
            tensor_parallel: tp,
            pipeline_parallel: pp,
            data_parallel: dp,
            expert_parallel: ep,
        };
        for (parallelism, said, gpus) in [
            (of(1, 1, 1, false), "TP1", 1),
            (of(2, 1, 1, true), "TP2,EP", 2),
            (of(1, 1, 4, true), "DP4,EP", 4),
            (of(2, 3, 4, false), "TP2,PP3,DP4", 24),
        ] {
            assert_eq!((parallelism.to_string().as_str(), parallelism.gpus()), (said, gpus));
        }
    }

    #[test]
    fn nodes_share_evenly_and_tear_no_rank_unevenly() {
        let dp = |ranks, tp| Parallelism { data_parallel: ranks, ..Parallelism::tensor(tp) };
        for (size, nodes) in [(Parallelism::tensor(8), 2), (dp(4, 2), 2), (dp(2, 8), 4), (dp(3, 2), 3)] {
            assert!(size.can_share(nodes), "{size} over {nodes}");
        }
        for (size, nodes) in [(Parallelism::tensor(8), 3), (dp(3, 2), 2), (dp(1, 4), 8), (dp(1, 4), 0)] {
            assert!(!size.can_share(nodes), "{size} over {nodes}");
        }
    }

    #[test]
    fn old_manifests_know_tensor_parallelism_only() {
        let old: Parallelism = serde_json::from_str(r#"{"tensor_parallel":2}"#).expect("as it was");
        assert_eq!(old, Parallelism::tensor(2));
        assert_eq!(serde_json::to_string(&old).expect("JSON"), r#"{"tensor_parallel":2}"#);
    }
}
