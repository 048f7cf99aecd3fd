//! The physics: how long a step, an admission and a KV transfer take. Pure functions of sizes.
//!
//! A step is a roofline: the matrix products cost the larger of their arithmetic and of reading
//! the weights once; attention adds the arithmetic of the prompt chunks and the reading of the
//! decoding sequences' keys and values; tensor parallelism divides all of that and adds two
//! all-reduces a layer. The shape follows the usual accounting (Kaplan et al. 2020, 2 FLOP a
//! weight and token; Pope et al. 2022 for inference).
//!
//! A model is that of one data-parallel rank, which has a queue and KV memory of its own. Assumed, and not calibrated:
//! - A mixture of experts reads the experts that its tokens choose, evenly among all of them, and no more. Its experts lie
//!   on all of an engine's ranks, sliced or (expert parallel) whole, to the same effect: vLLM slices them over data-parallel
//!   ranks too. So the tokens of all ranks pass through them, gathered and scattered again once a layer, which costs what an
//!   all-reduce over those ranks does; and every rank is taken to have as many tokens in a step as this one.
//! - Data-parallel ranks of a dense model are copies that share nothing.
//! - A pipeline is always full: its stages share the arithmetic and the KV, and each reads its weights once for every stage.
//!
//! Calibration: `enginesim calibrate` fitted the H100's numbers to Qwen3-8B on 2 x H100 under vLLM 0.22, 2048 tokens in
//! and 128 out, 4 to 12 req/s, TP2 and 1P1D. Two TP1 replicas, which the fit never saw, cross 90 % of 250 ms and 10 ms
//! within a few percent of where they were measured; results/curated tells the errors.
//! Deliberately absent: kernel warm-up, clock changes, jitter.

use std::time::Duration;

use crate::plan::parallelism::Parallelism;
use crate::predict::model::preset::{ELEMENT_BYTES, Gpu, Model};

/// Device memory that neither weights nor KV may use: activations, graphs, the runtime.
const RESERVED_BYTES: f64 = 1.9 * 1024.0 * 1024.0 * 1024.0;

/// The work of one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepLoad {
    /// Prompt tokens computed in this step.
    pub prefill_tokens: u64,
    /// Sum over the prompt chunks of `tokens x (context before + tokens / 2)`.
    pub prefill_pairs: u64,
    /// Sequences that decode one token in this step.
    pub decode_sequences: u64,
    /// Tokens of context that the decoding sequences read.
    pub decode_context: u64,
}

impl StepLoad {
    /// Adds a chunk of `tokens` prompt tokens that follow `context` computed ones.
    pub fn add_prefill(&mut self, tokens: u32, context: u32) {
        let (tokens, context) = (u64::from(tokens), u64::from(context));
        self.prefill_tokens += tokens;
        self.prefill_pairs += tokens * context + tokens * tokens / 2;
    }

    /// Adds one token of a sequence that has `context` tokens of KV.
    pub fn add_decode(&mut self, context: u32) {
        self.decode_sequences += 1;
        self.decode_context += u64::from(context);
    }

    /// Tokens computed in this step.
    pub fn tokens(&self) -> u64 {
        self.prefill_tokens + self.decode_sequences
    }
}

/// Step, admission and transfer times of one instance.
#[derive(Debug, Clone)]
pub struct CostModel {
    model: &'static Model,
    gpu: Gpu,
    ranks: Parallelism,
}

impl CostModel {
    pub fn new(model: &'static Model, gpu: &Gpu, ranks: Parallelism) -> Self {
        Self { model, gpu: *gpu, ranks }
    }

    /// Duration of one forward pass over `load`.
    pub fn step(&self, load: &StepLoad) -> Duration {
        let (tensor, stages) = (f64::from(self.ranks.tensor_parallel), f64::from(self.ranks.pipeline_parallel));
        let flops = self.gpu.peak_flops * self.gpu.compute_efficiency * tensor * stages;
        let weights = self.gpu.memory_bandwidth * self.gpu.memory_efficiency * tensor;
        let kv = weights * stages;

        let shared = 2.0 * self.model.shared_parameters() * load.tokens() as f64;
        let shared_bytes = self.model.shared_parameters() * ELEMENT_BYTES;
        let matrix = (shared / flops).max(shared_bytes / weights);
        // The tokens and the ranks of the others: they multiply both.
        let (tokens, sharers) = (self.tokens_of_all_ranks(load), f64::from(self.ranks.data_parallel));
        let experts =
            (self.expert_flops(tokens) / (flops * sharers)).max(self.expert_bytes_read(tokens) / (weights * sharers));
        let attention = self.prefill_attention_flops(load) / flops
            + load.decode_context as f64 * self.model.kv_bytes_per_token() / kv;
        let seconds = matrix + experts + attention + self.exchange(load) + self.gpu.step_overhead;
        Duration::from_secs_f64(seconds)
    }

    /// Whether data-parallel ranks wait for each other: those of a dense model don't.
    fn shares_experts(&self) -> bool {
        self.model.experts.is_some() && self.ranks.data_parallel > 1
    }

    fn tokens_of_all_ranks(&self, load: &StepLoad) -> f64 {
        let ranks = if self.shares_experts() { self.ranks.data_parallel } else { 1 };
        load.tokens() as f64 * f64::from(ranks)
    }

    fn expert_flops(&self, tokens: f64) -> f64 {
        let Some(experts) = self.model.experts else { return 0.0 };
        2.0 * self.model.expert_parameters() * f64::from(experts.active) / f64::from(experts.count) * tokens
    }

    /// Bytes of the experts that at least one of the tokens chooses.
    fn expert_bytes_read(&self, tokens: f64) -> f64 {
        let Some(experts) = self.model.experts else { return 0.0 };
        let idle = (1.0 - f64::from(experts.active) / f64::from(experts.count)).powf(tokens);
        self.model.expert_parameters() * ELEMENT_BYTES * (1.0 - idle)
    }

    /// Estimated FLOP of one step on all ranks.
    pub fn flops(&self, load: &StepLoad) -> f64 {
        let shared = 2.0 * self.model.shared_parameters() * load.tokens() as f64;
        shared + self.expert_flops(load.tokens() as f64) + self.prefill_attention_flops(load)
    }

    /// Estimated bytes read by one step on all ranks.
    pub fn bytes_read(&self, load: &StepLoad) -> f64 {
        let weights = self.model.shared_parameters() * ELEMENT_BYTES + self.expert_bytes_read(load.tokens() as f64);
        weights + load.decode_context as f64 * self.model.kv_bytes_per_token()
    }

    fn prefill_attention_flops(&self, load: &StepLoad) -> f64 {
        let width = f64::from(self.model.heads) * f64::from(self.model.head_dim);
        4.0 * f64::from(self.model.layers) * width * load.prefill_pairs as f64
    }

    /// What the ranks tell each other in a step: two all-reduces a layer, after attention among the tensor-parallel ranks,
    /// after the experts among all ranks that share them; and activations from stage to stage.
    fn exchange(&self, load: &StepLoad) -> f64 {
        let Parallelism { tensor_parallel, data_parallel, pipeline_parallel, .. } = self.ranks;
        let tokens = load.tokens() as f64;
        let sharers = if self.shares_experts() { tensor_parallel * data_parallel } else { tensor_parallel };
        let each_layer =
            self.all_reduce(tensor_parallel, tokens) + self.all_reduce(sharers, self.tokens_of_all_ranks(load));
        let hop = self.gpu.allreduce_latency + self.activation_bytes(tokens) / self.gpu.allreduce_bandwidth;
        f64::from(self.model.layers) * each_layer + f64::from(pipeline_parallel - 1) * hop
    }

    fn activation_bytes(&self, tokens: f64) -> f64 {
        tokens * f64::from(self.model.hidden) * ELEMENT_BYTES
    }

    /// As many rounds deep as the ranks double; a ring moves `2 (n - 1) / n` of the activations over each link.
    fn all_reduce(&self, ranks: u32, tokens: f64) -> f64 {
        if ranks == 1 {
            return 0.0;
        }
        let ranks = f64::from(ranks);
        let wire = self.activation_bytes(tokens) * 2.0 * (ranks - 1.0) / ranks / self.gpu.allreduce_bandwidth;
        self.gpu.allreduce_latency * ranks.log2() + wire
    }

    /// Time from a request's arrival at the API server to its arrival in the engine.
    pub fn admission(&self, prompt_tokens: u32) -> Duration {
        let workers = self.ranks.tensor_parallel * self.ranks.pipeline_parallel;
        let parallel = if workers > 1 { self.gpu.parallel_admission } else { 0.0 };
        let each = self.gpu.admission_per_token * f64::from(prompt_tokens);
        Duration::from_secs_f64(self.gpu.admission + parallel + each)
    }

    /// Bytes of KV that `tokens` tokens occupy over all ranks.
    pub fn kv_bytes(&self, tokens: u32) -> u64 {
        (f64::from(tokens) * self.model.kv_bytes_per_token()) as u64
    }

    /// Descriptors of a transfer in `pieces`: keys and values of every layer lie apart. Each rank posts its own.
    pub fn descriptors(&self, pieces: u32) -> u32 {
        2 * self.model.layers * pieces
    }

    /// Time that the link is busy with `bytes` in this many descriptors, without the start-up latency.
    pub fn wire(&self, bytes: u64, descriptors: u32) -> Duration {
        let workers = self.ranks.tensor_parallel * self.ranks.pipeline_parallel;
        let bandwidth = self.gpu.transfer_bandwidth * f64::from(workers);
        Duration::from_secs_f64(bytes as f64 / bandwidth + f64::from(descriptors) * self.gpu.descriptor_transfer)
    }

    /// Time that the decode instance's worker takes to post a transfer.
    pub fn post(&self, descriptors: u32) -> Duration {
        Duration::from_secs_f64(self.gpu.post_latency + f64::from(descriptors) * self.gpu.descriptor_post)
    }

    /// Start-up latency of one KV transfer.
    pub fn transfer_latency(&self) -> Duration {
        Duration::from_secs_f64(self.gpu.transfer_latency)
    }

    /// Bytes of KV cache that `utilization` (0 to 1) of the memory leaves on each rank;
    /// zero or less when the weights alone do not fit.
    pub fn kv_memory(&self, utilization: f64) -> f64 {
        let workers = f64::from(self.ranks.tensor_parallel * self.ranks.pipeline_parallel);
        let experts = self.model.expert_parameters() / f64::from(self.ranks.data_parallel);
        let weights = (self.model.shared_parameters() + experts) * ELEMENT_BYTES / workers;
        self.gpu.memory_bytes * utilization - weights - RESERVED_BYTES
    }

    /// Blocks of `block_size` tokens that fit in `bytes` of KV cache on each rank.
    pub fn kv_blocks(&self, bytes: f64, block_size: u32) -> u32 {
        let ranks = f64::from(self.ranks.tensor_parallel.min(self.model.kv_heads) * self.ranks.pipeline_parallel);
        let block = self.model.kv_bytes_per_token() / ranks * f64::from(block_size);
        (bytes / block).max(0.0) as u32
    }
}

/// The wire into one instance: transfers queue behind each other.
#[derive(Debug, Default)]
pub struct Link {
    free_at: Duration,
}

impl Link {
    /// Books `tokens` tokens of KV at `now` and returns how long that transfer takes, posting and waiting included.
    pub fn transfer(&mut self, now: Duration, cost: &CostModel, tokens: u32, descriptors: u32) -> Duration {
        let start = self.free_at.max(now + cost.post(descriptors));
        self.free_at = start + cost.wire(cost.kv_bytes(tokens), descriptors);
        self.free_at - now + cost.transfer_latency()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qwen_8b(tensor_parallel: u32) -> CostModel {
        let model = Model::find("qwen3-8b").unwrap();
        CostModel::new(model, Gpu::find("h100").unwrap(), Parallelism::tensor(tensor_parallel))
    }

    fn mixture(tensor_parallel: u32, data_parallel: u32) -> CostModel {
        let model = Model::find("Qwen/Qwen3-30B-A3B").unwrap();
        let ranks = Parallelism { data_parallel, expert_parallel: true, ..Parallelism::tensor(tensor_parallel) };
        CostModel::new(model, Gpu::find("h100").unwrap(), ranks)
    }

    fn decode(sequences: u32, context: u32) -> StepLoad {
        let mut load = StepLoad::default();
        (0..sequences).for_each(|_| load.add_decode(context));
        load
    }

    fn prefill(tokens: u32) -> StepLoad {
        let mut load = StepLoad::default();
        load.add_prefill(tokens, 0);
        load
    }

    fn ms(duration: Duration) -> f64 {
        duration.as_secs_f64() * 1e3
    }

    #[test]
    fn one_decode_step_of_8b_lies_where_the_h100_measured_it() {
        assert!((6.8..7.6).contains(&ms(qwen_8b(1).step(&decode(1, 2048)))));
        assert!((4.5..5.2).contains(&ms(qwen_8b(2).step(&decode(1, 2048)))));
    }

    #[test]
    fn tensor_parallelism_speeds_prefill_up_but_not_twofold() {
        let (one, two) = (qwen_8b(1).step(&prefill(2048)), qwen_8b(2).step(&prefill(2048)));
        let ratio = ms(one) / ms(two);
        assert!((1.2..1.9).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_batch_of_decodes_costs_less_than_the_decodes_apart() {
        let cost = qwen_8b(1);
        assert!(cost.step(&decode(16, 2048)) < cost.step(&decode(1, 2048)) * 2);
    }

    #[test]
    fn chunks_of_a_prompt_cost_at_least_the_whole() {
        let cost = qwen_8b(1);
        let (mut first, mut second) = (StepLoad::default(), StepLoad::default());
        first.add_prefill(1024, 0);
        second.add_prefill(1024, 1024);
        assert_eq!(first.prefill_pairs + second.prefill_pairs, prefill(2048).prefill_pairs);
        assert!(cost.step(&first) + cost.step(&second) > cost.step(&prefill(2048)));
    }

    #[test]
    fn the_kv_pool_is_as_large_as_vllm_logged_it() {
        // vLLM 0.22 on H100, utilisation 0.85: 367,888 tokens for TP1, 846,832 for TP2.
        for (tensor_parallel, logged) in [(1, 367_888.0), (2, 846_832.0)] {
            let cost = qwen_8b(tensor_parallel);
            let tokens = f64::from(cost.kv_blocks(cost.kv_memory(0.85), 16)) * 16.0;
            assert!((tokens / logged - 1.0).abs() < 0.02, "{tokens} of {logged}");
        }
    }

    #[test]
    fn a_mixture_reads_the_experts_that_its_tokens_choose() {
        let model = Model::find("qwen3-30b-a3b").unwrap();
        // Of 30.5 billion weights, 3.3 compute a token.
        let active = model.shared_parameters() + model.expert_parameters() * 8.0 / 128.0;
        assert!((3.2e9..3.5e9).contains(&active), "{active}");
        let cost = mixture(1, 1);
        let read = |sequences| cost.bytes_read(&decode(sequences, 0));
        assert!((read(1) / (active * ELEMENT_BYTES) - 1.0).abs() < 0.01, "one token reads what computes it");
        assert!(read(64) < 2.0 * 30.53e9 && read(64) > 0.95 * 2.0 * 30.53e9, "many read nearly all");
        // A token of 3.3 billion weights is faster than one of 8, a batch that touches all 30 isn't.
        assert!(cost.step(&decode(1, 2048)) < qwen_8b(1).step(&decode(1, 2048)));
        assert!(cost.step(&decode(64, 2048)) > qwen_8b(1).step(&decode(64, 2048)));
    }

    #[test]
    fn data_parallel_ranks_share_experts_and_keep_kv_of_their_own() {
        let (one, two, four) = (mixture(1, 1), mixture(1, 2), mixture(1, 4));
        let blocks = |cost: &CostModel| cost.kv_blocks(cost.kv_memory(0.9), 16);
        assert!(blocks(&two) > 3 * blocks(&one), "the experts' memory is shared: {} {}", blocks(&one), blocks(&two));
        // Each rank with its own half of the sequences; together they read all experts once.
        assert!(two.step(&decode(32, 2048)) < one.step(&decode(64, 2048)));
        assert!(four.step(&decode(16, 2048)) < two.step(&decode(32, 2048)));
        // What a rank computes alone is not divided: a lone prompt gains less than with tensor parallelism.
        assert!(mixture(2, 1).step(&prefill(2048)) < two.step(&prefill(2048)));
    }

    #[test]
    fn data_parallel_ranks_of_a_dense_model_are_copies() {
        let model = Model::find("qwen3-8b").unwrap();
        let ranks = Parallelism { data_parallel: 4, ..Parallelism::tensor(1) };
        let four = CostModel::new(model, Gpu::find("h100").unwrap(), ranks);
        for load in [decode(16, 2048), prefill(2048)] {
            assert_eq!(four.step(&load), qwen_8b(1).step(&load));
        }
        assert_eq!(four.kv_memory(0.9), qwen_8b(1).kv_memory(0.9));
    }

    #[test]
    fn a_pipeline_shares_memory_and_arithmetic_but_not_the_reading_of_weights() {
        let model = Model::find("qwen3-8b").unwrap();
        let ranks = Parallelism { pipeline_parallel: 2, ..Parallelism::tensor(1) };
        let two = CostModel::new(model, Gpu::find("h100").unwrap(), ranks);
        assert!(two.step(&prefill(8192)) < qwen_8b(1).step(&prefill(8192)));
        assert!(two.step(&decode(1, 16)) >= qwen_8b(1).step(&decode(1, 16)));
        assert!(two.kv_blocks(two.kv_memory(0.9), 16) > 2 * qwen_8b(1).kv_blocks(qwen_8b(1).kv_memory(0.9), 16));
    }

    #[test]
    fn transfers_share_the_link() {
        let cost = qwen_8b(1);
        let mut link = Link::default();
        let first = link.transfer(Duration::ZERO, &cost, 2048, 72);
        let second = link.transfer(Duration::ZERO, &cost, 2048, 72);
        assert_eq!(second - first, cost.wire(cost.kv_bytes(2048), 72));
        let later = link.transfer(Duration::from_secs(1), &cost, 2048, 72);
        assert_eq!(later, first);
    }
}
