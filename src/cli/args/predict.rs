//! What the commands take that predict instead of measuring.

use crate::plan::options::SloOptions;
use crate::units::RequestRate;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// A model whose shape is known
    #[arg(long, default_value = "qwen3-8b")]
    pub model: String,
    /// The GPU, as measured; `enginesim serve --help` lists them
    #[arg(long, default_value = "h100")]
    pub gpu: String,
    /// How many of them
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub gpus: u32,
    /// Tokens of each prompt
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    pub random_input_len: u32,
    /// Tokens of each answer
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub random_output_len: u32,
    /// Arrivals per second, one row each
    #[arg(long, value_delimiter = ',', default_value = "2,4,8,12,16,20,24,28")]
    pub request_rate: Vec<RequestRate>,
    /// Requests of each rate
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    pub num_prompts: u32,
    /// Seed of the arrivals
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// vLLM's flag, for every engine
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub block_size: u32,
    /// vLLM's flag, for every engine
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_num_batched_tokens: Option<u32>,
    /// vLLM's flag, for every engine
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_num_seqs: Option<u32>,
    #[command(flatten)]
    pub slo: SloOptions,
}

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// Run directories to fit to
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Run directories to predict only
    #[arg(long, num_args = 1.., value_name = "RUN")]
    pub hold_out: Vec<PathBuf>,
    /// The GPU to begin with; `enginesim serve --help` lists them
    #[arg(long, default_value = "h100")]
    pub gpu: String,
    /// Fit nothing: compare the GPU's model as it is
    #[arg(long)]
    pub as_is: bool,
    #[command(flatten)]
    pub slo: SloOptions,
}
