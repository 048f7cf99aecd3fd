//! One sequence in the engine: what it asks for, how far it is, and what it reports at its end.

use std::time::Duration;

use crate::predict::model::blocks::{BlockId, PrefixHash};

/// Identifies a sequence within one engine.
pub type SequenceId = u64;

/// Where the keys and values of the prompt come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvOrigin {
    /// Computed here, but for cached prefixes.
    Local,
    /// Fetched from a prefill instance once blocks for it are set aside.
    Remote,
    /// Written by a prefill instance once blocks for it are set aside and named to it.
    Pushed,
}

/// A sequence as handed to the scheduler.
#[derive(Debug, Clone)]
pub struct NewSequence {
    pub id: SequenceId,
    pub prompt_tokens: u32,
    /// Hashes of the prompt's full blocks; empty where it shares nothing with any other.
    pub hashes: Vec<PrefixHash>,
    /// Tokens to generate, at least 1.
    pub output_tokens: u32,
    pub kv: KvOrigin,
    /// Where the prompt's KV lies in the prefill instance, block by block; empty where that is not known.
    pub remote_blocks: Vec<BlockId>,
    /// Keep the prompt's blocks after the end, for a decode instance to fetch.
    pub hold_blocks: bool,
}

/// What the engine knows at the end of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub prompt_tokens: u32,
    pub output_tokens: u32,
    /// Prompt tokens found in the local prefix cache.
    pub cached_tokens: u32,
    /// Prompt tokens fetched from a prefill instance.
    pub transferred_tokens: u32,
    pub preemptions: u32,
    /// From arrival to the first step (a KV transfer falls into this).
    pub queued: Duration,
    /// From the first step to the first token.
    pub prefill: Duration,
    /// From the first to the last token.
    pub decode: Duration,
    /// Blocks kept for a decode instance.
    pub held_blocks: Vec<BlockId>,
}

/// A sequence and its progress.
#[derive(Debug)]
pub struct Sequence {
    pub spec: NewSequence,
    pub blocks: Vec<BlockId>,
    /// Tokens (prompt and generated) whose keys and values are in `blocks`.
    pub computed: u32,
    pub generated: u32,
    pub cached_tokens: u32,
    pub transferred_tokens: u32,
    pub preemptions: u32,
    arrived: Duration,
    scheduled: Option<Duration>,
    first_token: Option<Duration>,
    last_token: Duration,
}

impl Sequence {
    pub fn new(spec: NewSequence, now: Duration) -> Self {
        Self {
            spec,
            blocks: Vec::new(),
            computed: 0,
            generated: 0,
            cached_tokens: 0,
            transferred_tokens: 0,
            preemptions: 0,
            arrived: now,
            scheduled: None,
            first_token: None,
            last_token: now,
        }
    }

    /// Tokens that exist: prompt and generated.
    pub fn length(&self) -> u32 {
        self.spec.prompt_tokens + self.generated
    }

    /// Tokens still to compute before the next one can be sampled.
    pub fn pending(&self) -> u32 {
        self.length().saturating_sub(self.computed)
    }

    /// Notes the first step in which this sequence takes part; true the first time.
    pub fn mark_scheduled(&mut self, now: Duration) -> bool {
        let first = self.scheduled.is_none();
        self.scheduled.get_or_insert(now);
        first
    }

    /// Counts a sampled token; true when it was the first one.
    pub fn sample(&mut self, now: Duration) -> bool {
        self.generated += 1;
        self.last_token = now;
        let first = self.first_token.is_none();
        self.first_token.get_or_insert(now);
        first
    }

    /// Time since the token before the one just sampled, or since arrival.
    pub fn since_previous(&self, now: Duration) -> Duration {
        now.saturating_sub(self.last_token)
    }

    pub fn is_done(&self) -> bool {
        self.generated >= self.spec.output_tokens
    }

    pub fn report(&self, held_blocks: Vec<BlockId>) -> Report {
        let scheduled = self.scheduled.unwrap_or(self.last_token);
        let first_token = self.first_token.unwrap_or(self.last_token);
        Report {
            prompt_tokens: self.spec.prompt_tokens,
            output_tokens: self.generated,
            cached_tokens: self.cached_tokens,
            transferred_tokens: self.transferred_tokens,
            preemptions: self.preemptions,
            queued: scheduled.saturating_sub(self.arrived),
            prefill: first_token.saturating_sub(scheduled),
            decode: self.last_token.saturating_sub(first_token),
            held_blocks,
        }
    }
}
