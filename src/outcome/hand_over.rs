//! How KV caches were handed over while a point was measured, as the decode instances count it.

use serde::{Deserialize, Serialize};

/// A decode instance's hand-over counters: since its start, or between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct KvTotals {
    pub transfers: f64,
    pub bytes: f64,
    /// Pieces of memory the transfers were made of. Neighbouring KV blocks merge into one.
    pub descriptors: f64,
    /// Time spent posting transfers, seconds. vLLM posts inside the decode step, so the whole batch stands still.
    pub post_secs: f64,
    /// Time from posting a transfer to seeing it finished, seconds.
    pub transfer_secs: f64,
}

impl KvTotals {
    /// What was added since `before`; counts anew where the engine was restarted in between.
    pub fn since(self, before: KvTotals) -> KvTotals {
        if self.transfers < before.transfers {
            return self;
        }
        KvTotals {
            transfers: self.transfers - before.transfers,
            bytes: self.bytes - before.bytes,
            descriptors: self.descriptors - before.descriptors,
            post_secs: self.post_secs - before.post_secs,
            transfer_secs: self.transfer_secs - before.transfer_secs,
        }
    }

    /// Both together.
    pub fn plus(self, other: KvTotals) -> KvTotals {
        KvTotals {
            transfers: self.transfers + other.transfers,
            bytes: self.bytes + other.bytes,
            descriptors: self.descriptors + other.descriptors,
            post_secs: self.post_secs + other.post_secs,
            transfer_secs: self.transfer_secs + other.transfer_secs,
        }
    }

    /// Descriptors a transfer; `None` where nothing was transferred.
    pub fn descriptors_each(self) -> Option<f64> {
        (self.transfers > 0.0).then(|| self.descriptors / self.transfers)
    }
}

/// What was handed over in some seconds of a point, summed over its decode instances.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KvSpan {
    /// Since the point's first sample.
    pub from_secs: f64,
    pub secs: f64,
    #[serde(flatten)]
    pub totals: KvTotals,
}

/// The hand-over of a point over time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HandOverFacts {
    /// Tokens a KV block of the decode instances, where they tell it and agree.
    pub block_size: Option<u32>,
    /// In order of time; spans of about ten seconds.
    pub course: Vec<KvSpan>,
}
