//! What the engines counted over a point.

use serde::{Deserialize, Serialize};

/// Counters of the engines over the point (after - before), summed over instances of a role.
/// `None`: this engine doesn't report the counter.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineCounters {
    /// Prompt tokens computed where the request decodes (`prompt_tokens_by_source{source="local_compute"}` on D).
    pub local_compute_tokens: Option<f64>,
    /// Prompt tokens found in a prefix cache; on P for prefill/decode, on the engine itself for simple.
    pub cached_prompt_tokens: Option<f64>,
    /// Prompt tokens found in D's own prefix cache.
    pub decode_cache_hit_tokens: Option<f64>,
    /// Prompt tokens looked up in a prefix cache, where prompts are computed: on P, on the engine itself for simple.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_queries: Option<f64>,
    /// Looked up and found in D's own prefix cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_cache_queries: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_cache_hits: Option<f64>,
    /// The largest part of the prompt tokens that one engine got, of those that compute prompts, and of D; `None` of one alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busiest_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_busiest_share: Option<f64>,
    /// Prompt tokens that came over the KV transfer, on D.
    pub external_kv_tokens: Option<f64>,
    /// All prompt tokens the answering engines saw.
    pub prompt_tokens: Option<f64>,
    pub generation_tokens: Option<f64>,
    pub preemptions: Option<f64>,
    pub kv_failed_transfers: Option<f64>,
    pub kv_failed_notifications: Option<f64>,
    pub kv_expired: Option<f64>,
    pub kv_notifications_after_expiry: Option<f64>,
    pub kv_transfers: Option<f64>,
    /// Of them, those that prefill instances wrote: pushed KV.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_pushed: Option<f64>,
    pub kv_transfer_secs: Option<f64>,
    pub kv_transfer_bytes: Option<f64>,
    /// Pieces of memory that the transfers were made of.
    pub kv_descriptors: Option<f64>,
    /// Time spent posting transfers: inside D's steps where it pulls, beside P's where that pushes.
    pub kv_post_secs: Option<f64>,
    /// Speculative decoding: rounds of drafting, tokens drafted, and of them those that were accepted.
    pub spec_drafts: Option<f64>,
    pub spec_draft_tokens: Option<f64>,
    pub spec_accepted_tokens: Option<f64>,
    /// Sums over finished requests, seconds, and their counts: queue, prefill, decode times as the engines saw them.
    pub prefill_queue: Option<TimeSum>,
    pub prefill_time: Option<TimeSum>,
    pub decode_queue: Option<TimeSum>,
    pub decode_time: Option<TimeSum>,
}

impl EngineCounters {
    /// Whether prefill instances pushed the KV, rather than decode instances pulling it.
    pub fn pushed(&self) -> bool {
        self.kv_pushed.is_some_and(|n| n > 0.0)
    }

    /// Accepted tokens of those drafted, percent; `None` without speculative decoding.
    pub fn acceptance_percent(&self) -> Option<f64> {
        let drafted = self.spec_draft_tokens.filter(|n| *n > 0.0)?;
        Some(100.0 * self.spec_accepted_tokens? / drafted)
    }

    /// Tokens that a round of drafting gives: those accepted, and the one that the model itself adds.
    pub fn acceptance_length(&self) -> Option<f64> {
        let rounds = self.spec_drafts.filter(|n| *n > 0.0)?;
        Some(1.0 + self.spec_accepted_tokens? / rounds)
    }
}

/// A Prometheus histogram's `_sum` and `_count` over a point.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct TimeSum {
    pub secs: f64,
    pub count: f64,
}
