//! Continuous batching as vLLM's V1 scheduler does it, in any time: the caller says what time it
//! is and sleeps (or not) for the duration of each step.
//!
//! One step serves the running sequences first, then admits waiting ones in order of arrival,
//! within a budget of tokens, a number of sequences and the KV blocks. Prompts are computed in
//! chunks. When blocks run out the youngest running sequence is preempted and recomputed later.
//! Deliberately absent: priorities, speculative decoding, an opinion about what tokens are.

use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::time::Duration;

use crate::predict::model::blocks::{BlockId, BlockPool, contiguous_pieces, hashes_of_its_own};
use crate::predict::model::cost::{CostModel, StepLoad};
use crate::predict::model::sequence::{KvOrigin, NewSequence, Report, Sequence, SequenceId};

/// Sizes that bound a step.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Tokens in one step.
    pub batched_tokens: u32,
    /// Sequences in one step.
    pub sequences: u32,
    /// Tokens in one KV block.
    pub block_size: u32,
}

/// One sampled token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub id: SequenceId,
    /// Set with the sequence's first token: where the KV of its prompt came from.
    pub first: Option<PromptKv>,
    /// Time since the previous token, or since the sequence arrived in the engine.
    pub interval: Duration,
    /// Set with the last token.
    pub finished: Option<Box<Report>>,
}

/// Prompt tokens by where their KV came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptKv {
    pub computed: u32,
    pub cached: u32,
    pub transferred: u32,
}

/// A sequence whose blocks are set aside and whose KV is to be fetched, or will be pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    pub id: SequenceId,
    /// Prompt tokens that are not in the local cache.
    pub missing_tokens: u32,
    /// Pieces of memory that the transfer is made of, on each rank; 0 where the other side makes it.
    pub descriptors: u32,
    /// Where the other side is to write it; empty where it is fetched.
    pub blocks: Vec<BlockId>,
}

/// Totals since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub preemptions: u64,
    pub cache_queries: u64,
    pub cache_hits: u64,
    pub transfer_queries: u64,
    pub transfer_hits: u64,
}

/// What of a sequence is computed in one step.
#[derive(Debug, Clone, Copy)]
struct NextTokens {
    tokens: u32,
    before: u32,
}

/// The scheduler of one engine.
#[derive(Debug)]
pub struct Scheduler {
    limits: BatchLimits,
    cost: CostModel,
    pool: BlockPool,
    sequences: FxHashMap<SequenceId, Sequence>,
    waiting: VecDeque<SequenceId>,
    running: Vec<SequenceId>,
    /// Number of sequences whose KV is on its way.
    loading: usize,
    held: FxHashMap<SequenceId, Vec<BlockId>>,
    fetches: Vec<Fetch>,
    /// Sequences and chunk sizes of the step under way.
    step: Vec<(SequenceId, u32)>,
    load: StepLoad,
    totals: Totals,
}

impl Scheduler {
    pub fn new(limits: BatchLimits, cost: CostModel, pool: BlockPool) -> Self {
        Self {
            limits,
            cost,
            pool,
            sequences: FxHashMap::default(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            loading: 0,
            held: FxHashMap::default(),
            fetches: Vec::new(),
            step: Vec::new(),
            load: StepLoad::default(),
            totals: Totals::default(),
        }
    }

    /// Queues a sequence that arrived at `now`.
    pub fn submit(&mut self, spec: NewSequence, now: Duration) {
        self.waiting.push_back(spec.id);
        self.sequences.insert(spec.id, Sequence::new(spec, now));
    }

    /// Composes the next step; `None` when nothing can run. The step lasts the returned time, or as long as it takes to
    /// post its transfers where that is longer: vLLM's worker posts on the thread that launches the steps, which is
    /// ahead of the GPU by one. What is pushed here is posted elsewhere.
    pub fn begin_step(&mut self, now: Duration) -> Option<Duration> {
        self.step.clear();
        self.load = StepLoad::default();
        let mut budget = self.limits.batched_tokens;
        let posted_before = self.fetches.len();
        let preempted = self.continue_running(&mut budget);
        if !preempted {
            self.admit_waiting(now, &mut budget);
        }
        let posted = self.fetches[posted_before..].iter().filter(|fetch| fetch.blocks.is_empty());
        let posting: Duration = posted.map(|fetch| self.cost.post(fetch.descriptors)).sum();
        match self.step.is_empty() {
            true => Some(posting).filter(|posting| !posting.is_zero()),
            false => Some(posting.max(self.cost.step(&self.load))),
        }
    }

    /// Closes the step at `now`: every sequence whose tokens are all computed samples one more.
    pub fn end_step(&mut self, now: Duration) -> Vec<Output> {
        let step = std::mem::take(&mut self.step);
        let mut outputs = Vec::with_capacity(step.len());
        outputs.extend(step.iter().filter_map(|(id, tokens)| self.advance(*id, *tokens, now)));
        if outputs.iter().any(|output: &Output| output.finished.is_some()) {
            let sequences = &self.sequences;
            self.running.retain(|id| sequences.contains_key(id));
        }
        self.step = step;
        outputs
    }

    /// Sequences whose blocks were set aside since the last call and whose KV is to be fetched.
    pub fn take_fetches(&mut self) -> Vec<Fetch> {
        std::mem::take(&mut self.fetches)
    }

    /// The KV of `id` arrived; the answer will have `output_tokens` tokens.
    pub fn kv_loaded(&mut self, id: SequenceId, output_tokens: u32) {
        if !self.finish_loading(id) {
            return;
        }
        if let Some(sequence) = self.sequences.get_mut(&id) {
            sequence.spec.output_tokens = output_tokens;
            sequence.transferred_tokens = sequence.spec.prompt_tokens - sequence.cached_tokens;
            sequence.computed = sequence.spec.prompt_tokens - 1;
            self.totals.transfer_hits += u64::from(sequence.transferred_tokens);
            self.pool.publish(&sequence.blocks, &sequence.spec.hashes);
        }
        self.waiting.push_front(id);
    }

    /// The KV of `id` did not arrive; its prompt is computed here instead, for an answer of
    /// `output_tokens` tokens.
    pub fn kv_recompute(&mut self, id: SequenceId, output_tokens: u32) {
        if !self.finish_loading(id) {
            return;
        }
        if let Some(sequence) = self.sequences.get_mut(&id) {
            sequence.spec.output_tokens = output_tokens;
            sequence.computed = 0;
            let blocks = std::mem::take(&mut sequence.blocks);
            self.pool.give_back(blocks);
        }
        self.waiting.push_front(id);
    }

    /// Ends the wait for the KV of `id`; false when it was not waiting for any.
    fn finish_loading(&mut self, id: SequenceId) -> bool {
        let Some(sequence) = self.sequences.get_mut(&id) else {
            return false;
        };
        if sequence.spec.kv == KvOrigin::Local || sequence.blocks.is_empty() {
            return false;
        }
        sequence.spec.kv = KvOrigin::Local;
        self.loading -= 1;
        true
    }

    /// Forgets a sequence whose client left; true when there was one.
    pub fn abort(&mut self, id: SequenceId) -> bool {
        let Some(sequence) = self.sequences.remove(&id) else {
            return false;
        };
        if sequence.spec.kv != KvOrigin::Local && !sequence.blocks.is_empty() {
            self.loading -= 1;
        }
        self.waiting.retain(|other| *other != id);
        self.running.retain(|other| *other != id);
        match sequence.spec.kv == KvOrigin::Pushed && !sequence.blocks.is_empty() {
            // Whoever was told of these blocks may still write into them: kept until they are released.
            true => drop(self.held.insert(id, sequence.blocks)),
            false => self.pool.give_back(sequence.blocks),
        }
        true
    }

    /// Frees the blocks that a finished sequence held for a decode instance, or an aborted one for a prefill instance.
    pub fn release(&mut self, id: SequenceId) {
        if let Some(blocks) = self.held.remove(&id) {
            self.pool.give_back(blocks);
        }
    }

    /// Sequences in the running batch.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Sequences waiting for capacity.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Sequences waiting for their KV to arrive.
    pub fn loading(&self) -> usize {
        self.loading
    }

    /// Used share of the KV blocks, 0 to 1.
    pub fn kv_usage(&self) -> f64 {
        self.pool.usage()
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The work in the step last begun.
    pub fn load(&self) -> StepLoad {
        self.load
    }

    fn blocks_for(&self, tokens: u32) -> u32 {
        tokens.div_ceil(self.limits.block_size)
    }

    /// Gives every running sequence its next chunk; true when one had to be preempted.
    fn continue_running(&mut self, budget: &mut u32) -> bool {
        let mut preempted = false;
        let mut index = 0;
        while index < self.running.len() && *budget > 0 {
            let id = self.running[index];
            let mut chunk = self.chunk(id, *budget);
            while chunk.is_none() && self.running.len() > index {
                preempted = true;
                let victim = self.preempt_youngest();
                if victim == Some(id) || victim.is_none() {
                    break;
                }
                chunk = self.chunk(id, *budget);
            }
            if let Some(chunk) = chunk {
                self.place(id, chunk, budget);
                index += 1;
            }
        }
        preempted
    }

    fn admit_waiting(&mut self, now: Duration, budget: &mut u32) {
        while *budget > 0 && self.running.len() < self.limits.sequences as usize {
            let Some(id) = self.waiting.front().copied() else {
                return;
            };
            let Some(tokens) = self.start(id, *budget) else {
                return;
            };
            self.waiting.pop_front();
            if tokens == 0 {
                self.loading += 1;
                continue;
            }
            let before = self.sequences.get_mut(&id).map_or(0, |sequence| {
                sequence.mark_scheduled(now);
                sequence.computed
            });
            self.running.push(id);
            self.place(id, NextTokens { tokens, before }, budget);
        }
    }

    /// Sets blocks aside for a waiting sequence. Its first chunk, 0 when its KV must be fetched
    /// first, `None` when the blocks do not suffice.
    fn start(&mut self, id: SequenceId, budget: u32) -> Option<u32> {
        let sequence = self.sequences.get(&id)?;
        if !sequence.blocks.is_empty() {
            return self.chunk(id, budget).map(|chunk| chunk.tokens);
        }
        let prompt = sequence.spec.prompt_tokens;
        let findable = (prompt.saturating_sub(1) / self.limits.block_size) as usize;
        let hashes = &sequence.spec.hashes[..findable.min(sequence.spec.hashes.len())];
        let shared = self.pool.cached(hashes);
        let cached = shared * self.limits.block_size;
        let origin = sequence.spec.kv;
        let remote = origin != KvOrigin::Local;
        let chunk = (sequence.length() - cached).min(budget);
        let target = cached + if remote { prompt - cached } else { chunk };
        let fresh = self.blocks_for(target) - shared;
        let blocks = self.pool.take(hashes, shared, fresh)?;

        let sequence = self.sequences.get_mut(&id)?;
        sequence.blocks = blocks;
        sequence.computed = cached;
        if sequence.preemptions == 0 {
            sequence.cached_tokens = cached;
            self.totals.cache_queries += u64::from(prompt);
            self.totals.cache_hits += u64::from(cached);
        }
        if remote {
            let missing_tokens = prompt - cached;
            let local = &sequence.blocks[shared as usize..];
            let (descriptors, blocks) = match origin {
                KvOrigin::Pushed => (0, local.to_vec()),
                KvOrigin::Local | KvOrigin::Remote => {
                    let remote = sequence.spec.remote_blocks.get(shared as usize..).unwrap_or_default();
                    (self.cost.descriptors(contiguous_pieces(local, remote)), Vec::new())
                }
            };
            self.totals.transfer_queries += u64::from(missing_tokens);
            self.fetches.push(Fetch { id, missing_tokens, descriptors, blocks });
            return Some(0);
        }
        Some(chunk)
    }

    /// The next tokens of a sequence that the budget allows, with room made for them; `None` where the blocks do not suffice.
    fn chunk(&mut self, id: SequenceId, budget: u32) -> Option<NextTokens> {
        let sequence = self.sequences.get_mut(&id)?;
        let tokens = sequence.pending().min(budget);
        let needed = (sequence.computed + tokens).div_ceil(self.limits.block_size);
        let fresh = needed.saturating_sub(sequence.blocks.len() as u32);
        let fits = self.pool.extend(&mut sequence.blocks, fresh);
        fits.then_some(NextTokens { tokens, before: sequence.computed })
    }

    fn place(&mut self, id: SequenceId, chunk: NextTokens, budget: &mut u32) {
        match chunk.tokens {
            1 => self.load.add_decode(chunk.before),
            tokens => self.load.add_prefill(tokens, chunk.before),
        }
        *budget -= chunk.tokens;
        self.step.push((id, chunk.tokens));
    }

    /// Takes the blocks of the sequence that was admitted last and sends it back to the queue.
    fn preempt_youngest(&mut self) -> Option<SequenceId> {
        let id = self.running.pop()?;
        let sequence = self.sequences.get_mut(&id)?;
        if sequence.spec.hashes.is_empty() {
            // Only now can a prompt that shares nothing be looked for again: by itself.
            let hashes = hashes_of_its_own(id, sequence.spec.prompt_tokens, self.limits.block_size);
            let computed = (sequence.computed / self.limits.block_size) as usize;
            self.pool.publish(&sequence.blocks, &hashes[..computed.min(hashes.len())]);
            sequence.spec.hashes = hashes;
        }
        sequence.computed = 0;
        sequence.preemptions += 1;
        let blocks = std::mem::take(&mut sequence.blocks);
        self.pool.give_back(blocks);
        self.totals.preemptions += 1;
        self.waiting.push_front(id);
        Some(id)
    }

    fn advance(&mut self, id: SequenceId, tokens: u32, now: Duration) -> Option<Output> {
        let sequence = self.sequences.get_mut(&id)?;
        sequence.computed += tokens;
        let full = (sequence.computed / self.limits.block_size) as usize;
        let known = full.min(sequence.spec.hashes.len());
        if sequence.generated == 0 {
            let hashes = &sequence.spec.hashes[..known];
            self.pool.publish(&sequence.blocks, hashes);
        }
        if sequence.pending() > 0 {
            return None;
        }
        let interval = sequence.since_previous(now);
        let first = sequence.sample(now).then(|| PromptKv {
            computed: sequence.spec.prompt_tokens - sequence.cached_tokens - sequence.transferred_tokens,
            cached: sequence.cached_tokens,
            transferred: sequence.transferred_tokens,
        });
        let finished = sequence.is_done().then(|| self.finish(id)).flatten().map(Box::new);
        Some(Output { id, first, interval, finished })
    }

    fn finish(&mut self, id: SequenceId) -> Option<Report> {
        let mut sequence = self.sequences.remove(&id)?;
        let blocks = std::mem::take(&mut sequence.blocks);
        if !sequence.spec.hold_blocks {
            self.pool.give_back(blocks);
            return Some(sequence.report(Vec::new()));
        }
        let report = sequence.report(blocks.clone());
        self.held.insert(id, blocks);
        Some(report)
    }
}

#[cfg(test)]
mod tests;
