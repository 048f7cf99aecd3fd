//! Where prompts come from. All that a `--dataset-name` needs outside of its reader stands here: its flags, what of them
//! goes into the plan, what is said of it. The readers are in `workload/`, and `workload/source.rs` calls them.

use super::dataset_file;
use super::error::PlanError;
use super::lengths::{Lengths, Prefixes};
use super::topology::Defaults;
use super::typed::{number, whole_number};
use crate::units::TokenCount;
use crate::words::short_model;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// The flags of datasets, as typed.
#[derive(Debug, Clone, Default, Args)]
pub struct DatasetOptions {
    /// Where prompts come from
    #[arg(long, value_enum, default_value = "random")]
    pub dataset_name: DatasetName,
    /// File or folder of the dataset (sharegpt: looked for in the working directory and the Hugging Face cache)
    #[arg(long, alias = "dataset")]
    pub dataset_path: Option<String>,
    /// Tokens of a random prompt [default: 1024]
    #[arg(long, alias = "input-len", value_parser = whole_number::<u32>)]
    pub random_input_len: Option<u32>,
    /// Tokens of an answer to a random prompt [default: 128]
    #[arg(long, value_parser = whole_number::<u32>)]
    pub random_output_len: Option<u32>,
    /// Lengths vary uniformly by this share, 0 to 1 (exclusive)
    #[arg(long, value_name = "SHARE", value_parser = number)]
    pub random_range_ratio: Option<f64>,
    /// Lengths vary log-normally with this sigma
    #[arg(long, value_name = "SIGMA", conflicts_with = "random_range_ratio", value_parser = number)]
    pub random_lognormal_sigma: Option<f64>,
    /// Tokens that random prompts share at their beginning
    #[arg(long, default_value_t = 0, value_parser = whole_number::<u32>)]
    pub random_prefix_len: u32,
    /// How many different shared beginnings there are [default: 1]
    #[arg(long, value_name = "K", requires = "random_prefix_len", value_parser = whole_number::<u32>)]
    pub random_prefix_count: Option<u32>,
    /// Share of random prompts that begin with one of them, 0 to 1; the others are all their own [default: 1]
    #[arg(long, value_name = "SHARE", requires = "random_prefix_len", value_parser = number)]
    pub random_prefix_share: Option<f64>,
    /// Whole ShareGPT conversations, this many open at a time: each turn is a request with the conversation so far
    #[arg(long, value_name = "OPEN", num_args = 0..=1, default_missing_value = "16", value_parser = whole_number::<u32>)]
    pub multi_turn: Option<u32>,
    /// Words sent with every picture of an images dataset [default: Describe this image in detail.]
    #[arg(long, value_name = "TEXT")]
    pub image_prompt: Option<String>,
    /// Output tokens of every request, instead of the dataset's
    #[arg(long, visible_aliases = ["sharegpt-output-len", "custom-output-len", "hf-output-len"], value_parser = whole_number::<u32>)]
    pub output_len: Option<u32>,
    /// Column of an hf dataset that holds the prompt [default: the first of prompt, text, question, instruction, input, query, problem, content; else the last question of conversations, messages or items]
    #[arg(long)]
    pub hf_column: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DatasetName {
    /// Fresh random token ids for every request
    #[default]
    Random,
    /// Conversations, as ShareGPT's JSON has them or as OpenAI's messages
    Sharegpt,
    /// Rows with "prompt" or "messages", and optionally "output_tokens"
    Custom,
    /// Local files of a Hugging Face dataset: Parquet, JSON, JSONL or CSV
    Hf,
    /// Recorded arrivals: Azure's CSV or Mooncake's JSONL
    #[value(name = "timed_trace", alias = "timed-trace")]
    TimedTrace,
    /// A folder of pictures for a vision model, over /v1/chat/completions
    Images,
}

/// Where prompts come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Dataset {
    /// Fresh random token ids for every request, after a prefix of `prefix_len` tokens that requests share.
    Random {
        input: Lengths,
        output: Lengths,
        prefix_len: TokenCount,
        #[serde(default)]
        prefixes: Prefixes,
    },
    /// The usual ShareGPT JSON. With `multi_turn` whole conversations, that many of them open at a time; without it the
    /// first question of each.
    Sharegpt {
        path: String,
        output_len: Option<TokenCount>,
        #[serde(default)]
        multi_turn: Option<u32>,
    },
    /// JSONL with `prompt` and optionally `output_tokens`.
    Custom { path: String, output_len: Option<TokenCount> },
    /// Local files of a Hugging Face dataset (JSON, JSONL, CSV) with a text column.
    Hf { path: String, column: Option<String>, output_len: Option<TokenCount> },
    /// Recorded arrivals: Azure's CSV or Mooncake's JSONL.
    TimedTrace { path: String },
    /// A folder of pictures, each sent with the same words to a vision model's chat endpoint.
    Images { path: String, prompt: String, output_len: TokenCount },
}

impl Dataset {
    /// The file or folder it is read from.
    pub fn path(&self) -> Option<&str> {
        match self {
            Dataset::Random { .. } => None,
            Dataset::Sharegpt { path, .. }
            | Dataset::Custom { path, .. }
            | Dataset::Hf { path, .. }
            | Dataset::TimedTrace { path }
            | Dataset::Images { path, .. } => Some(path),
        }
    }

    /// As it stands in directory names and `dataset_name`.
    pub fn name(&self) -> &'static str {
        match self {
            Dataset::Random { .. } => "random",
            Dataset::Sharegpt { .. } => "sharegpt",
            Dataset::Custom { .. } => "custom",
            Dataset::Hf { .. } => "hf",
            Dataset::TimedTrace { .. } => "timed_trace",
            Dataset::Images { .. } => "images",
        }
    }

    /// Whether topobench makes up its prompts: any tokenizer's ids will do, and answers have the length that was drawn.
    pub fn is_made_up(&self) -> bool {
        matches!(self, Dataset::Random { .. } | Dataset::TimedTrace { .. })
    }

    /// Whether its requests are messages of a chat.
    pub fn needs_chat(&self) -> bool {
        matches!(self, Dataset::Images { .. })
    }

    /// In one line: `random 1024 in, 128 out`.
    pub fn summary(&self) -> String {
        let name = self.name();
        match self {
            Dataset::Random { input, output, prefix_len, .. } => {
                let prefix = match prefix_len.get() {
                    0 => String::new(),
                    n => format!(" after a shared prefix of {n}"),
                };
                format!("{name} {input} in{prefix}, {output} out")
            }
            Dataset::TimedTrace { path } => format!("{name} {}", short_model(path)),
            other => match other.output_len() {
                Some(n) => format!("{name}, {n} out"),
                None => name.to_string(),
            },
        }
    }

    /// The same with the place of its file.
    pub fn description(&self) -> String {
        let name = self.name();
        let out = self.output_len().map(|n| format!(", {n} tokens out")).unwrap_or_default();
        match self {
            Dataset::Random { input, output, prefix_len, .. } => {
                let prefix = if prefix_len.get() > 0 { format!(" after {prefix_len} shared") } else { String::new() };
                format!("{name}: {input} tokens in{prefix}, {output} out")
            }
            Dataset::Hf { path, column: Some(column), .. } => format!("{name}: {path}, column {column}{out}"),
            other => format!("{name}: {}{out}", other.path().unwrap_or_default()),
        }
    }

    /// What every answer is asked for, where it isn't the dataset's to say.
    fn output_len(&self) -> Option<TokenCount> {
        match self {
            Dataset::Sharegpt { output_len, .. }
            | Dataset::Custom { output_len, .. }
            | Dataset::Hf { output_len, .. } => *output_len,
            Dataset::Images { output_len, .. } => Some(*output_len),
            Dataset::Random { .. } | Dataset::TimedTrace { .. } => None,
        }
    }
}

const IMAGE_PROMPT: &str = "Describe this image in detail.";

impl DatasetOptions {
    /// The dataset that the flags name.
    ///
    /// # Errors
    /// What is missing, and what a flag may not be.
    pub fn dataset(&self, defaults: &Defaults) -> Result<Dataset, PlanError> {
        let o = self;
        let output_len = positive("--output-len", o.output_len)?.map(TokenCount);
        let path = |name: &str| {
            o.dataset_path.clone().ok_or_else(|| PlanError::Missing {
                what: "--dataset-path".to_string(),
                remedy: format!("--dataset-name {name} reads a local file: give its path"),
            })
        };
        let multi_turn = positive("--multi-turn", o.multi_turn)?;
        if let Some(open) = multi_turn.filter(|_| o.dataset_name != DatasetName::Sharegpt) {
            return Err(PlanError::value("--multi-turn", open, "conversations come from --dataset-name sharegpt"));
        }
        match o.dataset_name {
            DatasetName::Random => random(o, defaults),
            DatasetName::Sharegpt => Ok(Dataset::Sharegpt {
                path: dataset_file::sharegpt(o.dataset_path.as_deref())?,
                output_len,
                multi_turn,
            }),
            DatasetName::Custom => Ok(Dataset::Custom { path: path("custom")?, output_len }),
            DatasetName::Hf => Ok(Dataset::Hf { path: path("hf")?, column: o.hf_column.clone(), output_len }),
            DatasetName::TimedTrace => Ok(Dataset::TimedTrace { path: path("timed_trace")? }),
            DatasetName::Images => Ok(Dataset::Images {
                path: path("images")?,
                prompt: o.image_prompt.clone().unwrap_or_else(|| IMAGE_PROMPT.to_string()),
                output_len: output_len.unwrap_or(TokenCount(128)),
            }),
        }
    }
}

fn random(o: &DatasetOptions, defaults: &Defaults) -> Result<Dataset, PlanError> {
    let input = positive("--random-input-len", o.random_input_len)?.or(defaults.random_input_len).unwrap_or(1024);
    let output = positive("--random-output-len", o.random_output_len.or(o.output_len))?
        .or(defaults.random_output_len)
        .unwrap_or(128);
    if let Some(ratio) = o.random_range_ratio.filter(|r| !(0.0..1.0).contains(r)) {
        return Err(PlanError::value("--random-range-ratio", ratio, "give a share from 0 to below 1"));
    }
    if let Some(sigma) = o.random_lognormal_sigma.filter(|s| !(*s > 0.0 && *s <= 5.0)) {
        return Err(PlanError::value("--random-lognormal-sigma", sigma, "give a sigma above 0, at most 5"));
    }
    let lengths = |tokens| {
        let tokens = TokenCount(tokens);
        match (o.random_range_ratio, o.random_lognormal_sigma) {
            (Some(range_ratio), _) if range_ratio > 0.0 => Lengths::Uniform { tokens, range_ratio },
            (_, Some(sigma)) => Lengths::LogNormal { tokens, sigma },
            _ => Lengths::Fixed { tokens },
        }
    };
    if o.random_prefix_len > MOST_TOKENS {
        return Err(PlanError::value(
            "--random-prefix-len",
            o.random_prefix_len,
            &format!("give at most {MOST_TOKENS}"),
        ));
    }
    let prefix_len = TokenCount(o.random_prefix_len);
    Ok(Dataset::Random { input: lengths(input), output: lengths(output), prefix_len, prefixes: prefixes(o)? })
}

fn prefixes(o: &DatasetOptions) -> Result<Prefixes, PlanError> {
    let count = positive("--random-prefix-count", o.random_prefix_count)?.unwrap_or(1);
    match o.random_prefix_share.unwrap_or(1.0) {
        share if (0.0..=1.0).contains(&share) => Ok(Prefixes { count, share }),
        share => Err(PlanError::value("--random-prefix-share", share, "give a share from 0 to 1")),
    }
}

/// No model's context is longer, and a prompt has to lie in memory.
const MOST_TOKENS: u32 = 100_000_000;
/// Conversations open at a time.
const MOST_OPEN: u32 = 1_000_000;

fn positive(what: &str, number: Option<u32>) -> Result<Option<u32>, PlanError> {
    let most = if what == "--multi-turn" { MOST_OPEN } else { MOST_TOKENS };
    match number {
        Some(0) => Err(PlanError::value(what, 0, "give at least 1")),
        Some(n) if n > most => Err(PlanError::value(what, n, &format!("give at most {most}"))),
        other => Ok(other),
    }
}
