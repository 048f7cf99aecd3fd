//! What each data-parallel rank of an engine did.

use serde::{Deserialize, Serialize};

/// Counters of one rank over a point. `None`: this engine doesn't report the counter.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RankCounters {
    /// `decode-0`.
    pub instance: String,
    /// As vLLM's label `engine` numbers them.
    pub rank: u32,
    pub prompt_tokens: Option<f64>,
    pub generation_tokens: Option<f64>,
    /// Of the prompts, what came over the KV transfer.
    pub external_kv_tokens: Option<f64>,
    /// Of the prompts, what the rank computed itself.
    pub local_compute_tokens: Option<f64>,
    /// Of the prompts, what it found in its own prefix cache.
    pub cache_hit_tokens: Option<f64>,
}
