//! What can be wrong with a workload.

use super::entries::PrepareContext;
use super::lengths::LengthError;
use super::tokenizer::TokenizerError;
use crate::plan::arrivals::ArrivalError;
use std::path::PathBuf;

/// A workload that cannot be sent; the message names the file, the line, the value and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    #[error("cannot read {}: {source}; give the dataset's file with --dataset-path", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}, line {line}: {problem}; {remedy}", path.display())]
    Row { path: PathBuf, line: u64, problem: String, remedy: &'static str },
    #[error("{}: {problem}; {remedy}", path.display())]
    File { path: PathBuf, problem: String, remedy: &'static str },
    #[error(
        "dataset {dataset} holds text, whose length is known only in tokens: name the model's tokenizer with --tokenizer"
    )]
    NeedsTokenizer { dataset: &'static str },
    #[error(
        "random prompts for the chat endpoint are text: name the model's tokenizer with --tokenizer, or use /v1/completions, which takes token ids"
    )]
    ChatNeedsTokenizer,
    #[error(
        "no request falls due at {rate} req/s within {secs} s (attempt {attempt}): give a longer --duration, a higher --request-rate, or --num-prompts"
    )]
    Empty { rate: crate::units::RequestRate, attempt: u32, secs: f64 },
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Arrivals(#[from] ArrivalError),
    #[error("{which} length: {source}")]
    Lengths { which: &'static str, source: LengthError },
    #[error(
        "{what}: {prompt} prompt + {output} output tokens exceed the model's context of {context}; shorten the lengths, serve a longer --max-model-len, or give --overlong clip or --overlong skip"
    )]
    Overlong { what: String, prompt: u32, output: u32, context: PrepareContext },
}
