//! From arguments to a configuration that can be served, or the reason why vLLM would not start.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::enginesim::args::{KvTransferConfig, ServeArgs};
use crate::enginesim::faults::Faults;
use crate::enginesim::nodes::{Member, MemberError};
use topobench::predict::model::Parallelism;
use topobench::predict::model::blocks::{BlockPool, mix};
use topobench::predict::model::cost::CostModel;
use topobench::predict::model::preset::{GPUS, Gpu, MODELS, Model};
use topobench::predict::model::scheduler::{BatchLimits, Scheduler};

/// Seconds that vLLM 0.22 and later keep KV for a decode instance.
const DEFAULT_LEASE: f64 = 30.0;

/// Why an instance cannot start. The words begin as vLLM's exceptions do.
#[derive(Debug, Error)]
pub(super) enum ConfigError {
    #[error(
        "OSError: {0} is not a local folder and is not a valid model identifier. enginesim knows: {known}",
        known = names()
    )]
    UnknownModel(String),
    #[error("ValueError: no model given: enginesim serve MODEL")]
    NoModel,
    #[error("ValueError: --sim-gpu {0} is not known; choose one of: {known}", known = gpus())]
    UnknownGpu(String),
    #[error(
        "ValueError: Total number of attention heads ({heads}) must be divisible by tensor parallel size ({tensor_parallel})."
    )]
    Heads { heads: u32, tensor_parallel: u32 },
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error("ValueError: --gpu-memory-utilization must be above 0 and at most 1, not {0}")]
    Utilization(f64),
    #[error("ValueError: --{flag} must be above 0, not {value}")]
    NotPositive { flag: &'static str, value: f64 },
    #[error("ValueError: User-specified max_model_len ({asked}) is greater than the derived max_model_len ({limit}).")]
    ContextTooLong { asked: u32, limit: u32 },
    #[error(
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine."
    )]
    NoMemory,
    #[error(
        "ValueError: To serve at least one request with the model's max seq len ({context}), more KV cache is needed than the available {tokens} tokens. Try increasing `gpu_memory_utilization` or decreasing `max_model_len`."
    )]
    KvTooSmall { context: u32, tokens: u64 },
}

fn names() -> String {
    MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", ")
}

fn gpus() -> String {
    GPUS.iter().map(|gpu| gpu.name).collect::<Vec<_>>().join(", ")
}

/// Everything that one instance needs to know about itself.
#[derive(Debug)]
pub(super) struct Config {
    pub model: &'static Model,
    pub gpu: &'static Gpu,
    /// As given on the command line.
    pub model_path: String,
    /// Names that clients may use; the first one is the one shown.
    pub served_names: Vec<String>,
    pub host: String,
    pub port: u16,
    pub parallelism: Parallelism,
    /// Given where several nodes have a part of it.
    pub member: Option<Member>,
    pub utilization: f64,
    pub max_model_len: u32,
    pub limits: BatchLimits,
    pub kv_blocks: u32,
    pub prefix_caching: bool,
    pub seed: u64,
    pub api_keys: Vec<String>,
    pub kv: Option<KvSide>,
    /// Where the profiler's traces go; `None`: there is no profiler.
    pub traces: Option<PathBuf>,
    pub start_delay: Duration,
    pub handshake: Duration,
    /// Simulated seconds per real second.
    pub speed: f64,
    pub faults: Faults,
}

/// The KV connector of an instance.
#[derive(Debug)]
pub(super) struct KvSide {
    pub transfer: KvTransferConfig,
    pub engine_id: String,
    /// Address that decode instances connect to.
    pub host: String,
    pub port: u16,
    pub lease: Duration,
}

impl Config {
    pub(super) fn resolve(args: ServeArgs) -> Result<Self, ConfigError> {
        let tag = args.model_tag.or(args.model);
        let model_path = tag.ok_or(ConfigError::NoModel)?;
        let model = Model::find(&model_path).ok_or_else(|| ConfigError::UnknownModel(model_path.clone()))?;
        let gpu = Gpu::find(&args.sim.sim_gpu).ok_or_else(|| ConfigError::UnknownGpu(args.sim.sim_gpu.clone()))?;
        let tensor_parallel = args.tensor_parallel_size;
        positive("data-parallel-size", f64::from(args.data_parallel_size))?;
        positive("pipeline-parallel-size", f64::from(args.pipeline_parallel_size))?;
        if tensor_parallel == 0 || !model.heads.is_multiple_of(tensor_parallel) {
            let heads = model.heads;
            return Err(ConfigError::Heads { heads, tensor_parallel });
        }
        let utilization = args.gpu_memory_utilization;
        if !(utilization > 0.0 && utilization <= 1.0) {
            return Err(ConfigError::Utilization(utilization));
        }
        let speed = positive("sim-speed", args.sim.sim_speed)?;
        positive("block-size", f64::from(args.block_size))?;
        let limits = BatchLimits {
            batched_tokens: args.max_num_batched_tokens.unwrap_or(gpu.default_batched_tokens),
            sequences: args.max_num_seqs.unwrap_or(gpu.default_sequences),
            block_size: args.block_size,
        };
        positive("max-num-batched-tokens", f64::from(limits.batched_tokens))?;
        positive("max-num-seqs", f64::from(limits.sequences))?;
        let max_model_len = args.max_model_len.unwrap_or(model.max_context);
        if max_model_len > model.max_context || max_model_len == 0 {
            let (asked, limit) = (max_model_len, model.max_context);
            return Err(ConfigError::ContextTooLong { asked, limit });
        }
        let parallelism = Parallelism {
            tensor_parallel,
            data_parallel: args.data_parallel_size,
            pipeline_parallel: args.pipeline_parallel_size,
            expert_parallel: args.enable_expert_parallel,
        };
        let member = Member::resolve(&args.nodes, parallelism, args.inert.api_server_count)?;
        let cost = CostModel::new(model, gpu, parallelism);
        let bytes = args.kv_cache_memory_bytes.map(|bytes| bytes as f64);
        let bytes = bytes.unwrap_or_else(|| cost.kv_memory(utilization));
        let kv_blocks = cost.kv_blocks(bytes, args.block_size);
        check_kv(kv_blocks, args.block_size, max_model_len)?;
        let served_names =
            if args.served_model_name.is_empty() { vec![model_path.clone()] } else { args.served_model_name };
        Ok(Self {
            model,
            gpu,
            model_path,
            served_names,
            host: args.host,
            port: args.port,
            parallelism,
            member,
            utilization,
            max_model_len,
            limits,
            kv_blocks,
            prefix_caching: !args.no_enable_prefix_caching,
            seed: args.seed.unwrap_or(0),
            api_keys: args.api_key,
            kv: args.kv_transfer_config.map(|transfer| KvSide::new(transfer, args.port)),
            traces: args.profiler_config.map(|config| config.torch_profiler_dir),
            start_delay: seconds(args.sim.sim_start_delay),
            handshake: Duration::from_millis(args.sim.sim_handshake_ms),
            speed,
            faults: Faults::new(args.sim.sim_fault),
        })
    }

    pub(super) fn cost(&self) -> CostModel {
        CostModel::new(self.model, self.gpu, self.parallelism)
    }

    pub(super) fn scheduler(&self) -> Scheduler {
        let pool = BlockPool::new(self.kv_blocks, self.prefix_caching);
        Scheduler::new(self.limits, self.cost(), pool)
    }

    /// What one data-parallel rank calls itself to others.
    pub(super) fn engine_id(&self, kv: &KvSide, rank: u32) -> String {
        match self.parallelism.data_parallel {
            1 => kv.engine_id.clone(),
            _ => format!("{}_dp{rank}", kv.engine_id),
        }
    }

    /// Labels of `vllm:cache_config_info` beside the rank's, in alphabetical order. As vLLM does, they tell the blocks of all
    /// ranks together.
    pub(super) fn cache_labels(&self) -> Vec<(&'static str, String)> {
        let python = |value: bool| if value { "True" } else { "False" }.to_owned();
        vec![
            ("block_size", self.limits.block_size.to_string()),
            ("cache_dtype", "auto".to_owned()),
            ("enable_prefix_caching", python(self.prefix_caching)),
            ("gpu_memory_utilization", self.utilization.to_string()),
            ("kv_cache_size_tokens", self.kv_tokens().to_string()),
            ("num_gpu_blocks", (u64::from(self.kv_blocks) * u64::from(self.parallelism.data_parallel)).to_string()),
            ("prefix_caching_hash_algo", "sha256".to_owned()),
        ]
    }

    /// Tokens that the KV cache of one rank holds.
    pub(super) fn kv_tokens(&self) -> u64 {
        u64::from(self.kv_blocks) * u64::from(self.limits.block_size)
    }
}

impl KvSide {
    fn new(transfer: KvTransferConfig, port: u16) -> Self {
        let lease = transfer.kv_connector_extra_config.kv_lease_duration;
        let engine_id = transfer.engine_id.clone().unwrap_or_else(|| unique_id(port));
        Self {
            engine_id,
            host: variable("VLLM_NIXL_SIDE_CHANNEL_HOST").unwrap_or_else(|| "localhost".into()),
            port: variable("VLLM_NIXL_SIDE_CHANNEL_PORT").and_then(|port| port.parse().ok()).unwrap_or(5600),
            lease: seconds(lease.unwrap_or(DEFAULT_LEASE)),
            transfer,
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// An id in the form of a UUID that no other process has.
fn unique_id(port: u16) -> String {
    let nanos = chrono::Utc::now().timestamp_nanos_opt().unwrap_or_default() as u64;
    let high = mix(nanos, std::process::id());
    let low = mix(high, u32::from(port));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

fn positive(flag: &'static str, value: f64) -> Result<f64, ConfigError> {
    if value > 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(ConfigError::NotPositive { flag, value })
}

fn check_kv(kv_blocks: u32, block_size: u32, context: u32) -> Result<(), ConfigError> {
    let tokens = u64::from(kv_blocks) * u64::from(block_size);
    if kv_blocks == 0 {
        return Err(ConfigError::NoMemory);
    }
    if tokens < u64::from(context) {
        return Err(ConfigError::KvTooSmall { context, tokens });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enginesim::args::{Cli, Command};
    use clap::Parser;

    fn resolve(words: &str) -> Result<Config, ConfigError> {
        let argv = ["enginesim", "serve"].into_iter().chain(words.split_whitespace());
        match Cli::try_parse_from(argv).unwrap().command {
            Command::Serve(args) => Config::resolve(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_those_of_the_gpu_and_the_model() {
        let config = resolve("Qwen/Qwen3-8B").unwrap();
        assert_eq!(config.limits.batched_tokens, 8192);
        assert_eq!(config.max_model_len, 40_960);
        assert_eq!(config.served_names, ["Qwen/Qwen3-8B"]);
        assert!(config.prefix_caching && config.kv.is_none());
        let small = resolve("qwen3-8b --sim-gpu l4 --max-model-len 8192").unwrap();
        assert_eq!(small.limits.batched_tokens, 2048);
    }

    #[test]
    fn what_vllm_refuses_is_refused() {
        for (words, expected) in [
            ("gpt-nothing", "OSError: gpt-nothing is not a local folder"),
            ("", "no model given"),
            ("qwen3-8b --tensor-parallel-size 3", "divisible by tensor parallel size (3)"),
            ("llama-3.1-70b", "No available memory"),
            ("qwen3-14b --sim-gpu l4", "No available memory"),
            ("qwen3-8b --sim-gpu l4", "more KV cache is needed"),
            ("qwen3-8b --max-model-len 99999", "greater than the derived"),
            ("qwen3-8b --gpu-memory-utilization 1.5", "at most 1"),
            ("qwen3-8b --sim-speed 0", "--sim-speed must be above 0"),
            ("qwen3-8b --tensor-parallel-size 8 --nnodes 3", "must evenly divide the total world size (8)"),
            ("qwen3-8b --tensor-parallel-size 8 --nnodes 2 --node-rank 2", "must be between 0 and 1"),
            ("qwen3-8b --data-parallel-size 2 --data-parallel-size-local 3", "(3) must be <= data_parallel_size (2)"),
            ("qwen3-8b --tensor-parallel-size 2 --nnodes 2 --headless --api-server-count 1", "used with --headless"),
            ("qwen3-8b --headless", "does not simulate"),
            ("qwen3-8b --block-size 0", "--block-size must be above 0"),
            ("qwen3-8b --sim-gpu tpu", "choose one of: h100, h100-vllm-0.22, h100x4-vllm-0.22, h200, a100, l4"),
        ] {
            let error = resolve(words).unwrap_err().to_string();
            assert!(error.contains(expected), "{words}: {error}");
        }
    }

    #[test]
    fn the_70b_model_fits_on_four_gpus() {
        assert!(resolve("llama-3.1-70b --tensor-parallel-size 4 --max-model-len 8192").is_ok());
    }
}
